#!/usr/bin/env bash
# make_models.sh DIR MODEL.gguf: the models with random weights that compare.py is meant for, about 12 GB, with the tokenizer of MODEL.
# Llama 3.2 1B's shape in six formats; Qwen3-30B-A3B's (128 experts, 8 used), cut to 6 layers, in two. What is there already is kept.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,3s/^# \{0,1\}//p' "$0"; exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
"$root/scripts/venv.sh"

make_one() { # SHAPE TYPE LAYERS
    local out=$1.$2.gguf
    [ -n "$3" ] && out=$1-$3-layers.$2.gguf
    [ -e "$DIR/$out" ] && return
    "$root/build/venv/bin/python3" "$root/tests/py/make_model.py" "$1" "$2" "$DIR/$out.part" --vocab-from "$VOCAB" ${3:+--layers "$3"}
    mv "$DIR/$out.part" "$DIR/$out"
    echo "$DIR/$out"
}

DIR=$1 VOCAB=$2
for type in Q4_0 Q4_K Q4_1 Q8_0 Q6_K BF16; do make_one llama-1b $type ""; done
for type in Q4_K Q4_0; do make_one qwen3moe-30b $type 6; done
