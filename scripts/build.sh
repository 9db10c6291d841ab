#!/usr/bin/env bash
# build.sh PRESET [JOBS [TARGET...]]: configures build/PRESET when it is new and builds it, or only the targets.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
jobs=${2:-$(nproc)}
targets=("${@:3}")
dir=build/$preset

if [ ! -e "$dir/build.ninja" ]; then
    echo "configuring and building $dir"
    mkdir -p "$dir"
    if ! cmake --preset "$preset" >"$dir/configure.log" 2>&1; then
        cat "$dir/configure.log" >&2
        rm -f "$dir/build.ninja" "$dir/CMakeCache.txt"
        echo "build: configuring $dir failed" >&2
        exit 1
    fi
fi
cd "$dir"
# On a terminal ninja shows its one moving line; elsewhere only problems are worth lines.
if [ -t 1 ]; then
    exec ninja -j "$jobs" "${targets[@]}"
fi
ninja -j "$jobs" --quiet "${targets[@]}" | sed '/^ninja: no work to do\.$/d'
