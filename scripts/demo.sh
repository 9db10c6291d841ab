#!/usr/bin/env bash
# demo.sh PROMPT: fetches a small instruct model into the user's cache (once) and lets it answer.
set -euo pipefail
cd "$(dirname "$0")/.."
model=$(python3 scripts/fetch_model.py smollm2 --print-path)
printf '\n%s\n\n' "> $1"
exec build/release/cli/tessera run -m "$model" -p "$1" -n 256 --temp 0 # a model this small is at its best without dice
