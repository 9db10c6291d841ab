# libtessera.a and libtessera.so, of the same objects.
#
# Inside the tree both bring the project's flags and src/ as an include directory (tests see internal headers);
# once installed, only include/ and, for the static library, what it is linked with.

add_library(tessera_static STATIC $<TARGET_OBJECTS:tessera_objects>)
set_target_properties(tessera_static PROPERTIES OUTPUT_NAME tessera)
target_link_libraries(tessera_static INTERFACE
  $<BUILD_INTERFACE:tsr_flags> $<INSTALL_INTERFACE:PkgConfig::TSR_MODULES> $<INSTALL_INTERFACE:Threads::Threads>
  $<INSTALL_INTERFACE:m> $<INSTALL_INTERFACE:${tsr_optional_libraries}>)

# The shared library exports exactly the functions that tessera.h declares: the linker's list is made of the header,
# comments removed. tests/package compares header and library again, by other means.
set(tsr_header ${PROJECT_SOURCE_DIR}/include/tessera.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${tsr_header})
file(READ ${tsr_header} text)
string(REGEX REPLACE "/[*][^*]*[*]+([^/*][^*]*[*]+)*/" "" text "${text}")
string(REGEX MATCHALL "tsr_[a-z0-9_]+[(]" names "${text}")
list(REMOVE_DUPLICATES names)
list(SORT names)
list(TRANSFORM names REPLACE "[(]" "")
list(JOIN names ";\n    " names)
set(tsr_map ${PROJECT_BINARY_DIR}/tessera.map)
file(CONFIGURE OUTPUT ${tsr_map} @ONLY CONTENT
  "TESSERA_${PROJECT_VERSION_MAJOR} {\nglobal:\n    @names@;\nlocal:\n    *;\n};\n")

add_library(tessera_shared SHARED $<TARGET_OBJECTS:tessera_objects>)
set_target_properties(tessera_shared PROPERTIES OUTPUT_NAME tessera EXPORT_NAME tessera
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} LINK_DEPENDS ${tsr_map})
target_link_libraries(tessera_shared PRIVATE $<BUILD_INTERFACE:tsr_flags>)
target_link_options(tessera_shared PRIVATE -Wl,--version-script=${tsr_map} -Wl,-Bsymbolic-functions)
if(NOT TSR_SANITIZE)
  target_link_options(tessera_shared PRIVATE -Wl,--no-undefined) # a sanitizer's runtime is in the program
endif()
