# make install: program, libraries, header, pkg-config and CMake files, man page, completions, documents.
include(CMakePackageConfigHelpers)

foreach(lib tessera_static tessera_shared)
  target_include_directories(${lib} INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()
# Two export sets: users of the shared library need not have what the static one is linked with.
install(TARGETS tessera_shared EXPORT tessera)
install(TARGETS tessera_static EXPORT tessera_static)
install(FILES include/tessera.h TYPE INCLUDE)
foreach(program ${tsr_programs})
  install(TARGETS ${program} RUNTIME)
endforeach()

set(cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/tessera)
install(EXPORT tessera NAMESPACE tessera:: FILE tesseraTargets.cmake DESTINATION ${cmake_dir})
install(EXPORT tessera_static NAMESPACE tessera:: FILE tesseraStaticTargets.cmake DESTINATION ${cmake_dir})
configure_package_config_file(cmake/tesseraConfig.cmake.in tesseraConfig.cmake INSTALL_DESTINATION ${cmake_dir}
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(tesseraConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tesseraConfig.cmake ${PROJECT_BINARY_DIR}/tesseraConfigVersion.cmake
  DESTINATION ${cmake_dir})

# tessera.pc finds its prefix from where it lies, so that an installed tree may be moved.
file(RELATIVE_PATH pc_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
list(JOIN tsr_modules " " pc_modules)
list(TRANSFORM tsr_optional_libraries PREPEND " -l" OUTPUT_VARIABLE pc_libraries)
configure_file(cmake/tessera.pc.in tessera.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/tessera.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(FILES LICENSE README.md TYPE DOC)
install(DIRECTORY doc/ TYPE DOC OPTIONAL FILES_MATCHING PATTERN "*.md")
file(GLOB man_pages CONFIGURE_DEPENDS man/*.1)
install(FILES ${man_pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES completions/tessera.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME tessera
  OPTIONAL)
install(FILES completions/_tessera DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions OPTIONAL)
install(FILES completions/tessera.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d OPTIONAL)
