#!/usr/bin/env bash
# install.sh BUILD CC: installs BUILD below a temporary prefix, moves it, and there builds program.c three ways:
# pkg-config (shared), pkg-config --static, CMake's find_package (shared and static). Runs what it built, and lets it use
# the demo's model when that is in the user's cache (scripts/test.sh fetches it).
set -euo pipefail
build=$1 cc=$2
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

cmake --install "$build" --prefix "$tmp/staged" >"$tmp/install.log" || { cat "$tmp/install.log"; exit 1; }
mv "$tmp/staged" "$tmp/prefix" # an installed tree may be moved
prefix=$tmp/prefix
library=$(dirname "$(find "$prefix" -name libtessera.a)")
export PKG_CONFIG_PATH=$library/pkgconfig
mkdir "$tmp/work"
cd "$tmp/work"

for file in "$library/libtessera.so.0" "$library/cmake/tessera/tesseraConfig.cmake" "$prefix/include/tessera.h" \
            "$library/cmake/tessera/tesseraConfigVersion.cmake" "$library/cmake/tessera/tesseraTargets.cmake"; do
    [ -e "$file" ] || { echo "not installed: $file"; exit 1; }
done
source=$(cd "$here/../.." && pwd)
if grep -rnF -e "$source" -e "$tmp/staged" "$library/pkgconfig" "$library/cmake" "$prefix/include"; then
    echo "installed files name the place they were built in"
    exit 1
fi

version=$(pkg-config --modversion tessera)
expected="tessera $version"
model="${XDG_CACHE_HOME:-$HOME/.cache}/tessera/models/SmolLM2-135M-Instruct.Q4_1.gguf"
if [ -e "$model" ]; then
    expected+=$'\nnext: \xc4\xa0Paris' # the vocabulary writes a space as U+0120
else
    echo "without a model: $model is not there"
    model=
fi
check() { # check PROGRAM dynamic|static: it runs, says the version, and is linked as it should be
    local said
    said=$(LD_LIBRARY_PATH=$library "$1" ${model:+"$model"}) || { echo "$1 failed: $said"; exit 1; }
    [ "$said" = "$expected" ] || { echo "$1 said '$said', not '$expected'"; exit 1; }
    local needs=no
    objdump -p "$1" | grep -q 'NEEDED *libtessera\.so\.0$' && needs=yes
    case $2/$needs in
        dynamic/yes | static/no) echo "$1: ok" ;;
        *) echo "$1: libtessera.so.0 needed: $needs"; exit 1 ;;
    esac
}

flags=(-std=c11 -Wall -Wextra -Werror -pedantic)
# shellcheck disable=SC2046
"$cc" "${flags[@]}" -o shared "$here/program.c" $(pkg-config --cflags --libs tessera)
check ./shared dynamic
# shellcheck disable=SC2046
"$cc" "${flags[@]}" -static -o static "$here/program.c" $(pkg-config --static --cflags --libs tessera)
check ./static static

if ! { cmake -S "$here/consumer" -B cmake -G Ninja -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$prefix" &&
       cmake --build cmake; } >cmake.log 2>&1; then
    cat cmake.log
    exit 1
fi
check cmake/with_shared dynamic
check cmake/with_static static

if [ -x "$prefix/bin/tessera" ]; then
    "$prefix/bin/tessera" --version | grep -qF "$version" || { echo "tessera --version does not say $version"; exit 1; }
    echo "bin/tessera: ok"
fi
