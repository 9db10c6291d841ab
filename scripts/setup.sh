#!/usr/bin/env bash
# setup.sh [build|test]: installs the Debian packages that Tessera is built (and, by default, tested) with.
# It looks for the tools and libraries themselves and touches nothing when all are there. Root or sudo.
set -euo pipefail

group=${1:-test}
case $group in
    build | test) ;;
    *) echo "usage: setup.sh [build|test]" >&2; exit 2 ;;
esac

missing=()
# need PACKAGE COMMAND...: PACKAGE is missing unless COMMAND succeeds.
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
library() { command -v pkg-config && pkg-config --exists "$1"; }
runtime() { [ -e "$("$1" -print-file-name="$2")" ]; }

need gcc command -v gcc
need libc6-dev runtime gcc crt1.o
need cmake command -v cmake
need ninja-build command -v ninja
need pkg-config command -v pkg-config
need libpcre2-dev library libpcre2-8
need libjansson-dev library jansson
need libutf8proc-dev library libutf8proc
need libxxhash-dev library libxxhash
need libedit-dev library libedit
need libhwloc-dev library hwloc
need libcmocka-dev library cmocka
need python3 command -v python3
need python3-venv python3 -I -c 'import ensurepip'
need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
if [ "$group" = test ]; then
    need make command -v make
    need git command -v git
    need binutils command -v objdump
    need qemu-user command -v qemu-x86_64
    need clang command -v clang
    need llvm command -v llvm-symbolizer
    need libclang-rt-14-dev runtime clang libclang_rt.fuzzer-x86_64.a
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "setup: please install these first (Debian's names): ${missing[*]}" >&2
    exit 1
fi
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup: as root, please: apt-get install ${missing[*]}" >&2; exit 1; }
    sudo=(sudo)
fi
echo "setup: installing ${missing[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >>"$log" 2>&1
}
if ! apt update || ! apt install -y --no-install-recommends "${missing[@]}"; then
    cat "$log" >&2
    echo "setup: that failed. As root, this installs what is missing: apt-get install ${missing[*]}" >&2
    exit 1
fi
