#!/usr/bin/env bash
# build_peers.sh DIR [llama|ik|openvino]: the engines that compare.py compares with, built from pinned PyPI archives. About 20 minutes on two cores.
#   DIR/llama.cpp/bin/llama-bench      from llama-cpp-python (gcc; AMX on where the host has it)
#   DIR/ik_llama.cpp/bin/llama-bench   from ik-llama-cpp-python (clang-19: gcc 12 does not compile its AVX-512 code)
#   DIR/openvino/bin/python            a virtual environment with openvino-genai
# Each has a file VERSION beside bin. Needs gcc, clang-19, cmake, python3 with venv. What is there already is kept.
set -euo pipefail
LLAMA=0.3.36
IK=0.1.5
OPENVINO=2026.4.1.0
[ $# -eq 1 ] || [ $# -eq 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }
for tool in gcc clang-19 cmake python3; do
    command -v $tool >/dev/null || { echo "build_peers.sh: $tool is missing (Debian: apt-get install build-essential clang-19 cmake python3-venv)" >&2; exit 1; }
done
self=$(realpath "$0")
dir=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$dir"
jobs=$(nproc)

# source PACKAGE VERSION FOLDER: fetches and unpacks an archive
source_of() {
    [ -d "$3" ] && return
    python3 -m pip download -q --disable-pip-version-check --no-deps --no-binary "$1" -d . "$1==$2"
    tar xzf "$3.tar.gz"
}

build_llama() {
    local folder=llama_cpp_python-$LLAMA src=llama_cpp_python-$LLAMA/vendor/llama.cpp
    source_of llama-cpp-python $LLAMA $folder
    # GCC 12 takes the operand of _tile_loadconfig for 8 bytes and drops the stores to the rest of the struct; unpatched, the AMX build dies of
    # SIGILL at its first tile load.
    if ! grep -q 'asm volatile("" ::: "memory"); _tile_loadconfig' $src/ggml/src/ggml-cpu/amx/mmq.cpp; then
        sed -i 's/^    _tile_loadconfig(&tc);/    asm volatile("" ::: "memory"); _tile_loadconfig(\&tc);/' $src/ggml/src/ggml-cpu/amx/mmq.cpp
    fi
    cmake -S $src -B llama.cpp -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
    cmake --build llama.cpp -j"$jobs" --target llama-bench
    echo "llama-cpp-python $LLAMA" >llama.cpp/VERSION
}

build_ik() {
    local folder=ik_llama_cpp_python-$IK src=ik_llama_cpp_python-$IK/vendor/ik_llama.cpp
    source_of ik-llama-cpp-python $IK $folder
    mkdir -p $src/common/cmake # the archive lacks this generator
    cat >$src/common/cmake/build-info-gen-cpp.cmake <<'END'
file(WRITE "${CMAKE_CURRENT_SOURCE_DIR}/common/build-info.cpp" "int LLAMA_BUILD_NUMBER = 1; char const *LLAMA_COMMIT = \"\"; char const *LLAMA_COMPILER = \"\"; char const *LLAMA_BUILD_TARGET = \"\";")
END
    cmake -S $src -B ik_llama.cpp -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF \
        -DCMAKE_C_COMPILER=clang-19 -DCMAKE_CXX_COMPILER=clang++-19
    cmake --build ik_llama.cpp -j"$jobs" --target llama-bench
    echo "ik-llama-cpp-python $IK" >ik_llama.cpp/VERSION
}

build_openvino() {
    python3 -m venv openvino
    openvino/bin/pip install -q --disable-pip-version-check "openvino-genai==$OPENVINO" numpy
    echo "openvino-genai $OPENVINO" >openvino/VERSION
}

if [ $# -eq 2 ]; then
    "build_$2"
    exit
fi
# Each in a shell of its own, which set -e ends at the first failure.
for peer in llama:llama.cpp ik:ik_llama.cpp openvino:openvino; do
    folder=${peer#*:}
    [ -e "$folder/VERSION" ] && { echo "$folder: there already"; continue; }
    echo "$folder: building, see $dir/$folder.log"
    bash "$self" "$dir" "${peer%:*}" >"$folder.log" 2>&1 || { tail -5 "$folder.log" >&2; echo "build_peers.sh: $folder did not build" >&2; exit 1; }
done
