#!/usr/bin/env bash
# build.sh PRESET [JOBS]: configures build/PRESET when it is new and builds it. Quiet when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
jobs=${2:-$(nproc)}
dir=build/$preset

if [ ! -e "$dir/build.ninja" ]; then
    mkdir -p "$dir"
    if ! cmake --preset "$preset" >"$dir/configure.log" 2>&1; then
        cat "$dir/configure.log" >&2
        rm -f "$dir/build.ninja" "$dir/CMakeCache.txt"
        echo "build: configuring $dir failed" >&2
        exit 1
    fi
fi
# On a terminal ninja shows its one moving line; elsewhere only problems are worth a line.
if [ -t 1 ]; then
    exec ninja -C "$dir" -j "$jobs"
fi
exec ninja -C "$dir" -j "$jobs" --quiet
