# A thin front over the CMake presets: `make help` lists what it does.
PREFIX  ?= /usr/local
DESTDIR ?=
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)
PROMPT  ?= What is the capital of France, and what is it famous for?

export PREFIX DESTDIR PROMPT

.DEFAULT_GOAL := release
.PHONY: release debug asan tsan fuzz clang demo test numa install clean distclean help setup

help:
	@echo "make            build the release: build/release/cli/tessera"
	@echo "make demo       build, fetch a small model and let it answer (PROMPT=\"...\" says what)"
	@echo "make test       everything CI runs; ends with a line 'N passed, N failed'"
	@echo "make numa       --numa on emulated machines of two NUMA nodes (KERNEL=vmlinuz; says what it needs; some minutes)"
	@echo "make install    install to PREFIX ($(PREFIX)), below DESTDIR if set"
	@echo "make asan       build with AddressSanitizer and UndefinedBehaviorSanitizer: build/asan"
	@echo "make tsan       build with ThreadSanitizer: build/tsan"
	@echo "make fuzz       build the libFuzzer programs with clang: build/fuzz/tests/fuzz"
	@echo "make clang      build the release with clang: build/release-clang"
	@echo "make clean      remove the builds; make distclean also removes the tests' Python environment"

# Each build first has setup.sh look for missing tools and libraries (it installs nothing when none is missing).
release:
	@scripts/setup.sh build
	@scripts/build.sh release $(JOBS) product

debug asan tsan fuzz:
	@scripts/setup.sh test
	@scripts/build.sh $@ $(JOBS)

clang:
	@scripts/setup.sh test
	@scripts/build.sh release-clang $(JOBS)

setup:
	@scripts/setup.sh test

demo: release
	@scripts/demo.sh "$$PROMPT"

test:
	@scripts/setup.sh test
	@scripts/test.sh $(JOBS)

numa: release
	@tests/qemu/numa.py $(if $(KERNEL),--kernel "$(KERNEL)")

install: release
	@cmake --install build/release --prefix "$$PREFIX"
	@if [ -z "$$DESTDIR" ] && [ "$$(id -u)" -eq 0 ] && command -v ldconfig >/dev/null; then ldconfig; fi
	@echo "installed to $$DESTDIR$$PREFIX"

clean:
	rm -rf build/release build/release-clang build/debug build/asan build/tsan build/fuzz build/test

distclean:
	rm -rf build
