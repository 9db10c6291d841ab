#!/usr/bin/env bash
# test.sh [JOBS]: everything CI checks. Builds release (gcc and clang), asan, tsan and fuzz, then runs, JOBS at a time,
# the unit tests under each (those that start threads under tsan), the Python tests, every fuzz target for some seconds
# on its corpus, and the package tests.
# Logs are in build/test. The last line is "N passed, N failed"; the exit status is 0 when nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
slots=${1:-$(nproc)}
fuzz_seconds=${FUZZ_SECONDS:-12} fuzz_seed=${FUZZ_SEED:-1} # for a longer or another search
logs=$PWD/build/test
export CTEST_OUTPUT_ON_FAILURE=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONUNBUFFERED=1
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1:allocator_may_return_null=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-second_deadlock_stack=1}
rm -rf "$logs"
mkdir -p "$logs"

passed=0 failed=0
declare -A running=() # pid -> name
declare -A started=() # name -> seconds
declare -A ok=()      # name -> 1 when the job's command succeeded
# shellcheck disable=SC2046
trap 'trap - INT TERM; kill -- $(jobs -p) 2>/dev/null; exit 130' INT TERM

# count NAME STATUS: "passed failed skipped" of a finished job. A job with a JUnit report counts the report's tests, any
# other counts as one. A status that the report does not explain (crash, time limit, no tests) is one failure more.
count() {
    local report=$logs/$1.xml p=0 f=0 s=0
    if [ -e "$logs/$1.counted" ]; then
        read -r p f s < <(python3 -I scripts/count_junit.py "$report")
        if [ "$2" -ne 0 ] && [ "${f:-0}" -eq 0 ]; then f=1; fi
        if [ "$((p + f))" -eq 0 ]; then f=1; fi
    elif [ "$2" -eq 0 ]; then
        p=1
    else
        f=1
    fi
    echo "$p $f $s"
}

# finish PID STATUS: reports a job that has ended.
finish() {
    local name=${running[$1]} p f s
    unset "running[$1]"
    read -r p f s < <(count "$name" "$2")
    passed=$((passed + p)) failed=$((failed + f))
    [ "$2" -eq 0 ] && ok[$name]=1
    local skipped=''
    [ "$s" -gt 0 ] && skipped=", $s skipped"
    printf '%-28s %4d passed, %d failed%s  (%d s)\n' "$name" "$p" "$f" "$skipped" $((SECONDS - started[$name]))
    if [ "$f" -gt 0 ]; then
        echo "---- the end of build/test/$name.log (status $2)"
        tail -n 80 "$logs/$name.log"
        echo "----"
    fi
}

# Waits until fewer than $1 jobs run.
wait_below() {
    local pid status
    while [ ${#running[@]} -ge "$1" ]; do
        pid=
        wait -n -p pid "${!running[@]}"
        status=$?
        [ -n "$pid" ] && finish "$pid" "$status"
    done
}

# job NAME COMMAND...: starts a job when one of the slots is free.
job() {
    local name=$1
    shift
    wait_below "$slots"
    started[$name]=$SECONDS
    timeout --kill-after=10 600 "$@" >"$logs/$name.log" 2>&1 </dev/null &
    running[$!]=$name
}

# counted_job NAME COMMAND...: a job that writes the JUnit report $logs/NAME.xml.
counted_job() {
    touch "$logs/$1.counted"
    job "$@"
}

# Sanitizers want their shadow memory where address space randomisation of recent kernels may put a library.
fixed=()
setarch -R true 2>/dev/null && fixed=(setarch -R)

# background NAME COMMAND...: a job beside the builds, for what waits for the network; counted only when it fails.
declare -A background=() # name -> pid
background() {
    local name=$1
    shift
    started[$name]=$SECONDS
    timeout --kill-after=10 600 "$@" >"$logs/$name.log" 2>&1 </dev/null &
    background[$name]=$!
}
wait_background() {
    local name status
    for name in "${!background[@]}"; do
        wait "${background[$name]}"
        status=$?
        ok[$name]=1
        if [ "$status" -ne 0 ]; then
            unset "ok[$name]"
            running[${background[$name]}]=$name
            finish "${background[$name]}" "$status"
        fi
    done
}

# ---- builds: one at a time, each on all cores
echo "building: release, asan, tsan, fuzz, release-clang"
background venv scripts/venv.sh
background model python3 scripts/fetch_model.py smollm2
for preset in release asan tsan fuzz release-clang; do
    case $preset in
        tsan) targets=(thread_tests) ;;
        fuzz) targets=(fuzzers) ;;
        *) targets=(all) ;;
    esac
    started[build-$preset]=$SECONDS
    scripts/build.sh "$preset" "$slots" "${targets[@]}" >"$logs/build-$preset.log" 2>&1 </dev/null &
    running[$!]=build-$preset
    wait_below 1
done
wait_background

# ---- tests: the long ones first, so that the slots end together
shopt -s nullglob
if [ -n "${ok[build-release]:-}" ]; then
    py=(tests/py/test_*.py)
    for half in 0 1; do # every second file each
        files=()
        for ((i = half; i < ${#py[@]}; i += 2)); do files+=("${py[i]}"); done
        [ -n "${ok[venv]:-}" ] &&
            counted_job "pytest-$half" env TSR_BUILD_DIR="$PWD/build/release" build/venv/bin/python -m pytest -q -ra --durations=15 \
                -p no:cacheprovider --junit-xml="$logs/pytest-$half.xml" "${files[@]}"
    done
    counted_job ctest-release ctest --test-dir build/release --output-junit "$logs/ctest-release.xml"
fi
[ -n "${ok[build-asan]:-}" ] &&
    counted_job ctest-asan "${fixed[@]}" ctest --test-dir build/asan --output-junit "$logs/ctest-asan.xml"
[ -n "${ok[build-tsan]:-}" ] &&
    counted_job ctest-tsan "${fixed[@]}" ctest --test-dir build/tsan -L threads --output-junit "$logs/ctest-tsan.xml"
[ -n "${ok[build-release-clang]:-}" ] &&
    counted_job ctest-release-clang ctest --test-dir build/release-clang -L unit \
        --output-junit "$logs/ctest-release-clang.xml"
if [ -n "${ok[build-fuzz]:-}" ]; then
    for source in tests/fuzz/fuzz_*.c; do
        name=$(basename "$source" .c)
        corpus=()
        [ -d "tests/fuzz/corpus/${name#fuzz_}" ] && corpus+=("tests/fuzz/corpus/${name#fuzz_}")
        [ -d "tests/fuzz/corpus/$name" ] && corpus+=("tests/fuzz/corpus/$name")
        mkdir -p "$logs/$name.new"
        job "$name" "${fixed[@]}" "build/fuzz/tests/fuzz/$name" -seed="$fuzz_seed" -max_total_time="$fuzz_seconds" \
            -timeout=20 -rss_limit_mb=3000 -print_final_stats=1 -artifact_prefix="$logs/$name-" \
            "$logs/$name.new" "${corpus[@]}"
    done
fi
wait_below 1

echo
printf 'logs: build/test; %d s\n' "$SECONDS"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
