#!/usr/bin/env bash
# oldcpu.sh TESSERA: the program runs, and picks the right kernels, on an emulated CPU without AVX and on one without
# AVX-512. An instruction that the CPU lacks ends it with SIGILL. Exit status 77: not tried (no model in the cache).
set -euo pipefail
model="${XDG_CACHE_HOME:-$HOME/.cache}/tessera/models/SmolLM2-135M-Instruct.Q4_1.gguf"
[ -e "$model" ] || { echo "$model is not there"; exit 77; }

for pair in qemu64:scalar Haswell:avx2; do
    said=$(qemu-x86_64 -cpu "${pair%:*}" "$1" info -m "$model") || { echo "on ${pair%:*} it ended with $?"; exit 1; }
    grep -qE "^kernels +${pair#*:} on " <<<"$said" || { echo "on ${pair%:*} it said: $said"; exit 1; }
    echo "$pair: ok"
done
