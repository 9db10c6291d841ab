#!/usr/bin/env bash
# make_reference.sh WORK_DIR: writes ../*.f32.json, the golden outputs that hold no rounding of activations: llama.cpp (from the
# PyPI sdist llama-cpp-python 0.3.36) on the golden models with all weights dequantised to F32, and an f32 KV cache.
# Why: llama.cpp rounds activations to 8 bits before it multiplies them with quantised weights. That alone moves its output by a
# mean KL of 0.0045 (SmolLM2) and 0.0042 (Gemma 3), see doc/accuracy.md; with F32 weights it rounds nothing.
# Needs: gcc, cmake, ninja, python3 with gguf and numpy. About 15 minutes on two cores.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mkdir -p "$1" && cd "$1" && pwd)
models=${XDG_CACHE_HOME:-$HOME/.cache}/tessera/models
cd "$work"
if [ ! -d llama_cpp_python-0.3.36 ]; then
    python3 -m pip download -q --no-deps --no-binary :all: -d . llama-cpp-python==0.3.36
    tar xzf llama_cpp_python-0.3.36.tar.gz
fi
src=$work/llama_cpp_python-0.3.36/vendor/llama.cpp
cmake -S "$src" -B llama.cpp -G Ninja -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF \
      -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF >cmake.log 2>&1
cmake --build llama.cpp --target llama >>cmake.log 2>&1
gcc -O2 -I"$src/include" -I"$src/ggml/include" "$here/llama_reference.c" -o llama_reference -Lllama.cpp/bin -lllama -lggml \
    -lggml-base -lm -Wl,-rpath,"$work/llama.cpp/bin"
reference() { # model file, golden name
    python3 "$here/to_f32.py" "$1" f32.gguf
    ./llama_reference f32.gguf "$here/../a.txt" "$here/../$2.f32.json"
    rm f32.gguf
}
reference "$models/SmolLM2-135M-Instruct.Q4_1.gguf" smollm2-135m-q4_1
reference "$models/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf" qwen2.5-0.5b-q4_k_m
reference "$models/gemma-3-270m.Q4_K_M.gguf" gemma3-270m-q4_k_m
