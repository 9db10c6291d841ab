#!/usr/bin/env python3
"""loading.py TESSERA MODEL... [--llama-bench PATH] [--rounds N] [--threads LIST] [--from memory|disk] [--output NAME]

What a start costs: seconds from the start of the process to its first token, and the most memory it had resident, for

  packing      no cache: the weights are packed and nothing is kept
  first        the first start: packs, and keeps the packed weights for the next one (behind the first token; "whole" has it)
  warm         a later start, with that file there
  mmap         --no-packed: the model is mapped, nothing is moved, products are computed in f32
  llama.cpp    llama-bench, which repacks weights at load where it can; llama.cpp-plain: --repack 0

In each round all of them run one after the other, each round another one first. The prompt is a few tokens; llama-bench reads as many. Files are in
the page cache before a run, or out of it with --from disk. Beside them stands a bound that is measured in the same round: fresh huge pages of the
packed size, zeroed by the kernel, and as much of the file read from the page cache (or the disk) into a small buffer, with as many threads.

Under a hypervisor, memory that was not used for a while may have to be found by the host at its first touch, ten times slower than the kernel clears
it. So that this does not decide who wins, memory of the size that a run needs is touched and given back right before each (--untouched: not).

Prints medians, and the least; --output NAME writes NAME.json, with every run, and NAME.txt. Ctrl-C ends with the rounds that are complete.
"""
import argparse
import ctypes
import importlib.util
import json
import mmap
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
PROMPT = "Once upon a time there was"
PIECE = 4 << 20
POPULATE_WRITE = 23  # Linux 5.14
LOADED = ("packing", "first", "warm", "mmap")


def load_compare():
    spec = importlib.util.spec_from_file_location("compare", HERE / "compare/compare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------------------------------------- in a process of their own


def in_threads(work, n_bytes, threads):
    """Seconds that work(first, last) takes on all parts of n_bytes."""
    share = -(-n_bytes // threads // PIECE) * PIECE
    all_of_them = [threading.Thread(target=work, args=(i * share, min(n_bytes, (i + 1) * share))) for i in range(threads)]
    start = time.perf_counter()
    for t in all_of_them:
        t.start()
    for t in all_of_them:
        t.join()
    return time.perf_counter() - start


def touch_memory(n_bytes, threads):
    """Seconds that the kernel takes to zero fresh huge pages."""
    libc = ctypes.CDLL(None, use_errno=True)
    memory = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))

    def work(first, last):
        for at in range(first, last, PIECE):  # mmap.madvise would hold Python's lock
            n = min(PIECE, last - at)
            if libc.madvise(ctypes.c_void_p(base + at), ctypes.c_size_t(n), POPULATE_WRITE) != 0:
                ctypes.memset(base + at, 1, n)

    return in_threads(work, n_bytes, threads)


def read_file(path, n_bytes, threads):
    """Seconds that reading so much of it takes."""
    fd = os.open(path, os.O_RDONLY)

    def work(first, last):
        buffer = bytearray(256 << 10)
        for at in range(first, last, len(buffer)):
            os.preadv(fd, [buffer], at)

    return in_threads(work, min(n_bytes, os.fstat(fd).st_size), threads)


def helper(*args):
    """The two above in another process: the peak of this one would else count as that of those it starts."""
    out = subprocess.run([sys.executable, __file__, *map(str, args)], capture_output=True, text=True, check=True).stdout
    return float(out)


# ------------------------------------------------------------------------------------------------------------- one start


def prepare(a, path, cache, need):
    for file in [path, *cache.glob("*.packed")]:
        fd = os.open(file, os.O_RDONLY)
        if a.source == "disk":
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        if a.source == "memory":
            helper("--read", file, sys.maxsize, 1)
    if not a.untouched:
        helper("--touch", need, 1)


def start(command, cpus):
    """(seconds to the first byte of standard output, seconds to the end, peak resident bytes, output)"""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as err:
        p = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=err, preexec_fn=lambda: os.sched_setaffinity(0, cpus))
        out = os.read(p.stdout.fileno(), 1 << 16)
        first = time.perf_counter() - began
        while more := os.read(p.stdout.fileno(), 1 << 16):
            out += more
        _, status, usage = os.wait4(p.pid, 0)
        whole = time.perf_counter() - began
        p.stdout.close()
        p.returncode = os.waitstatus_to_exitcode(status)
        if p.returncode != 0:
            err.seek(0)
            sys.exit(f"{' '.join(str(c) for c in command)}: status {p.returncode}: {err.read().decode(errors='replace')[-300:]}")
    return first, whole, usage.ru_maxrss * 1024, out.decode(errors="replace")


def commands(a, model, cache, threads):
    """{way: command}; how many tokens llama-bench is to read is told later."""
    run = [a.tessera, "run", "-m", model, "--raw", "-p", PROMPT, "-n", 1, "--ignore-eos", "--temp", 0, "--json", "-c", 256, "-t", threads]
    made = {"packing": [*run, "--no-cache"], "first": [*run, "--cache-dir", cache], "warm": [*run, "--cache-dir", cache],
            "mmap": [*run, "--no-packed", "--no-cache"]}
    if a.llama_bench:
        bench = [a.llama_bench, "-m", model, "-t", threads, "-n", 0, "-r", 1, "--no-warmup", "-o", "jsonl", "-p"]
        made |= {"llama.cpp": bench, "llama.cpp-plain": [*bench[:-1], "--repack", 0, "-p"]}
    return made


def one(a, way, command, model, cache, need, cpus, tokens):
    if way in ("first", "warm") and (way == "first") == bool(list(cache.glob("*.packed"))):
        if way == "first":
            shutil.rmtree(cache)
            cache.mkdir(mode=0o700)
            os.sync()
            time.sleep(a.settle)
        else:
            start(command, cpus)  # makes the file
    prepare(a, model, cache, need)
    ours = way in LOADED
    first, whole, rss, out = start(command if ours else [*command, tokens], cpus)
    if not ours:
        a.peer = json.loads(out.splitlines()[0])["build_commit"]
    row = {"way": way, "first_token_seconds": first, "whole_seconds": whole, "peak_rss_bytes": rss}
    if ours:
        said = json.loads(out)
        row |= {"load_seconds": said["timings"]["load_seconds"], "prompt_tokens": said["prompt_tokens"]}
    return row


def bound(a, model, packed, need, threads):
    prepare(a, model, pathlib.Path("/nonexistent"), need)
    read, zero = helper("--read", model, packed, threads), helper("--touch", packed, threads)
    return {"way": "bound", "read_seconds": read, "zero_seconds": zero, "load_seconds": read + zero}


def sizes(a, model):
    """(bytes of the file, bytes that its packed weights take)"""
    info = json.loads(subprocess.run([a.tessera, "info", "-m", model, "--no-cache", "--json"], capture_output=True, text=True, check=True).stdout)
    return info["file_bytes"], info["packed_bytes"]


# ---------------------------------------------------------------------------------------------------------------- rounds


def measure(a, turn):
    """[{model, threads, file_bytes, packed_bytes, rounds: [[row]]}]"""
    results = []
    with tempfile.TemporaryDirectory(dir=a.scratch) as scratch:
        for model in a.models:
            file_bytes, packed = sizes(a, model)
            for threads in a.threads:
                case = {"model": model.name, "threads": threads, "file_bytes": file_bytes, "packed_bytes": packed, "rounds": []}
                results.append(case)
                cache = pathlib.Path(scratch) / "cache"
                cache.mkdir(mode=0o700)
                try:
                    for r in range(a.rounds):
                        case["rounds"].append(measure_round(a, model, cache, case, r, turn))
                except KeyboardInterrupt:
                    print("interrupted: what has been measured follows", file=sys.stderr)
                    return [c for c in results if c["rounds"]]
                shutil.rmtree(cache)
    return results


def measure_round(a, model, cache, case, r, turn):
    threads, packed = case["threads"], case["packed_bytes"]
    need = max(case["file_bytes"], packed) * 5 // 4 + (256 << 20)
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    made = commands(a, model, cache, threads)
    rows, tokens = [], 6
    for way in [*made][r % len(made):] + [*made][:r % len(made)]:
        with turn(a.lock):
            rows.append(one(a, way, made[way], model, cache, need, cpus, tokens))
        tokens = rows[-1].get("prompt_tokens", tokens)
        print(f"{model.name}  {threads} threads  round {r + 1}  {way}: {rows[-1]['first_token_seconds']:.3f} s", file=sys.stderr, flush=True)
    with turn(a.lock):
        rows.append(bound(a, model, packed, need, threads))
    return rows


def medians(case):
    """{way: {key: median over the rounds}}"""
    ways = {}
    for row in (row for rows in case["rounds"] for row in rows):
        for key, value in row.items():
            if key != "way":
                ways.setdefault(row["way"], {}).setdefault(key, []).append(value)
    least = {way: {f"least_{key}": min(values) for key, values in by_key.items() if key.endswith("seconds")} for way, by_key in ways.items()}
    return {way: {key: statistics.median(values) for key, values in by_key.items()} | least[way] for way, by_key in ways.items()}


def facts(case):
    """The figures that are asked for, from the medians."""
    m, threads, largest = medians(case), case["threads"], max(case["file_bytes"], case["packed_bytes"])
    fixed = m["mmap"]["load_seconds"]  # what loading costs without packing: vocabulary, metadata
    first = {way: row["first_token_seconds"] for way, row in m.items() if "first_token_seconds" in row}
    return {"packed_gb_per_second_per_core": case["packed_bytes"] / 1e9 / (m["packing"]["load_seconds"] - fixed) / threads,
            "packing_to_bound": (m["packing"]["load_seconds"] - fixed) / m["bound"]["load_seconds"],
            "first_to_packing": first["first"] / first["packing"],
            "warm_to_mmap": first["warm"] / first["mmap"],
            "packing_to_warm": first["packing"] / first["warm"],
            "packing_to_warm_loading": m["packing"]["load_seconds"] / m["warm"]["load_seconds"],
            "peak_to_larger": {way: row["peak_rss_bytes"] / largest for way, row in m.items() if "peak_rss_bytes" in row},
            "to_llama_cpp": {way: s / first["llama.cpp"] for way, s in first.items()} if "llama.cpp" in first else {}}


def report(results):
    lines = ["| model | threads | start | first token s (least) | loading s (least) | whole s | peak MB | peak / larger of file and packed | / llama.cpp |",
             "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for case in results:
        of, m = facts(case), medians(case)
        for way, row in m.items():
            if way == "bound":
                continue
            load = f"{row['load_seconds']:.3f} ({row['least_load_seconds']:.3f})" if "load_seconds" in row else "-"
            beside = f"{of['to_llama_cpp'][way]:.2f}" if of["to_llama_cpp"] else "-"
            lines.append(f"| {case['model']} | {case['threads']} | {way} | {row['first_token_seconds']:.3f} ({row['least_first_token_seconds']:.3f}) | {load} | {row['whole_seconds']:.3f} | "
                         f"{row['peak_rss_bytes'] / 1e6:.0f} | {of['peak_to_larger'][way]:.2f} | {beside} |")
    lines += ["", "| model | threads | file MB | packed MB | packing GB/s a core | bound s (read + zero) | packing / bound | first / packing | warm / mmap | "
              "packing / warm | the same, loading alone |", "| --- |" + " ---: |" * 10]
    for case in results:
        of, b = facts(case), medians(case)["bound"]
        lines.append(f"| {case['model']} | {case['threads']} | {case['file_bytes'] / 1e6:.0f} | {case['packed_bytes'] / 1e6:.0f} | "
                     f"{of['packed_gb_per_second_per_core']:.2f} | {b['load_seconds']:.3f} ({b['read_seconds']:.3f} + {b['zero_seconds']:.3f}) | "
                     f"{of['packing_to_bound']:.2f} | {of['first_to_packing']:.2f} | {of['warm_to_mmap']:.2f} | {of['packing_to_warm']:.2f} | "
                     f"{of['packing_to_warm_loading']:.2f} |")
    return "\n".join(lines) + "\n"


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tessera", type=pathlib.Path, help="the program")
    parser.add_argument("models", nargs="+", type=pathlib.Path, help="GGUF files, not split")
    parser.add_argument("--llama-bench", type=pathlib.Path, help="llama.cpp's, to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", default=str(len(os.sched_getaffinity(0))), help="comma-separated: so many, on as many CPUs (default: the CPUs of this process)")
    parser.add_argument("--from", dest="source", choices=("memory", "disk"), default="memory", help="where the files are when a start begins")
    parser.add_argument("--settle", type=float, default=6, help="seconds that the disk gets after a cache file was removed (default 6)")
    parser.add_argument("--untouched", action="store_true", help="do not touch memory before")
    parser.add_argument("--scratch", type=pathlib.Path, help="where cache files of a run go (default: the directory for temporary files)")
    parser.add_argument("--lock", type=pathlib.Path, metavar="FILE", help="lock FILE during each start: for machines on which others measure too")
    parser.add_argument("--output", metavar="NAME", help="write NAME.json and NAME.txt")
    a = parser.parse_args()
    a.peer = None  # its commit, as it says itself
    a.threads = [int(t) for t in a.threads.split(",")]
    absent = [str(p) for p in [a.tessera, *a.models, *([a.llama_bench] if a.llama_bench else [])] if not p.exists()]
    if absent:
        parser.error(f"there is no {', '.join(absent)}")
    return a


def main():
    if sys.argv[1:2] == ["--touch"]:
        return print(touch_memory(int(sys.argv[2]), int(sys.argv[3])))
    if sys.argv[1:2] == ["--read"]:
        return print(read_file(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    a = parse_options()
    compare = load_compare()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = measure(a, compare.turn)
    text = report(results)
    print(text, end="")
    if a.output:
        version = subprocess.run([a.tessera, "version"], capture_output=True, text=True, check=True).stdout.splitlines()[0].split()[-1]
        machine = json.loads(subprocess.run([a.tessera, "version", "--json"], capture_output=True, text=True, check=True).stdout)
        about = {"cpu": machine["cpu"], "tier": machine["tier"], "kernel": os.uname().release, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                 "tessera": version, "llama.cpp": a.peer, "rounds": a.rounds,
                 "from": a.source, "touched": not a.untouched}
        pathlib.Path(f"{a.output}.json").write_text(json.dumps({"about": about, "medians": [c | {"rounds": None, "medians": medians(c), "facts": facts(c)}
                                                                for c in results], "runs": results}, indent=1) + "\n")
        pathlib.Path(f"{a.output}.txt").write_text(", ".join(f"{k} {v}" for k, v in about.items()) + "\n\n" + text)


if __name__ == "__main__":
    main()
