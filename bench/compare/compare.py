#!/usr/bin/env python3
"""compare.py TESSERA MODEL... [--peers LIST] [--peers-dir DIR] [--tests LIST] [--rounds N] [-t N] [--output NAME]

Tessera beside other engines: every round runs each test of each model with all engines, one right after the other and each round another one
first, so that a noisy machine disturbs all of them alike. Prints, per model and test, the median speed of each engine and the ratio
tessera / peer within a round: median, and the quartiles over the rounds. With --output NAME everything goes to NAME.csv and NAME.json too.

Tests: pp512 (reads a prompt of 512 tokens), tg64 (generates 64), tg32@d8192 (generates 32 behind 8192 tokens).
Peers, of which build_peers.sh DIR makes the programs:
  llama.cpp          llama-bench (repacks weights at load where it can; AMX where the host has it)
  llama.cpp-plain    the same with --repack 0
  ik_llama.cpp       its llama-bench
  ik_llama.cpp-rtr   the same with -rtr 1, which repacks at load
  openvino           OpenVINO GenAI, as it is
A peer that cannot run a model or a test gets its message in the place of a figure. Ctrl-C ends with what has been measured. --also NAME=PATH adds another build of tessera as a peer.
"""
import argparse
import contextlib
import csv
import fcntl
import json
import os
import pathlib
import platform
import re
import signal
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
LLAMA_BENCH = {  # peer: folder, options
    "llama.cpp": ("llama.cpp", []),
    "llama.cpp-plain": ("llama.cpp", ["--repack", "0"]),
    "ik_llama.cpp": ("ik_llama.cpp", []),
    "ik_llama.cpp-rtr": ("ik_llama.cpp", ["-rtr", "1"]),
}
PEERS = [*LLAMA_BENCH, "openvino"]


class Refused(Exception):
    """The engine cannot run this model or test; the message says why."""


def parse_test(text):
    """(prompt, generated, depth)"""
    found = re.fullmatch(r"(pp|tg)([1-9]\d*)(?:@d([1-9]\d*))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"a test is pp512, tg64, pp512@d4096 or tg32@d8192, not {text!r}")
    n, depth = int(found[2]), int(found[3] or 0)
    return (n, 0, depth) if found[1] == "pp" else (0, n, depth)


def run(a, command):
    """The standard output of a command that must end well and in time."""
    try:
        p = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=a.timeout, errors="replace")
    except subprocess.TimeoutExpired:
        raise Refused(f"took more than {a.timeout} s") from None
    if p.returncode != 0:
        lines = [line for line in p.stderr.splitlines() if "error" in line.lower() or "failed" in line.lower()] or p.stderr.splitlines() or ["?"]
        raise Refused(f"status {p.returncode}: {lines[-1].strip()[-200:]}")
    return p.stdout


def last_json(text):
    """Some write lines of their own before the JSON array."""
    return json.loads(text[re.search(r"^\[", text, re.MULTILINE).start():])


def run_bench(a, program, model, test, options):
    """llama-bench's options are Tessera's too."""
    prompt, gen, depth = test
    command = [program, *(("bench",) if options is None else ()), "-m", model, "-t", a.t, "-r", a.reps, "-o", "json", "-p", prompt, "-n", gen, "-d", depth]
    return last_json(run(a, command + (options or [])))[0]["samples_ts"]


def run_ik(a, program, model, test, options):
    """It has no depth, but -gp, which times the generation only."""
    prompt, gen, depth = test
    if prompt and depth:
        raise Refused("has no prompts behind a depth")
    what = ["-p", 0, "-n", 0, "-gp", f"{depth},{gen}"] if depth else ["-p", prompt, "-n", gen]
    return last_json(run(a, [program, "-m", model, "-t", a.t, "-r", a.reps, "-o", "json", *what, *options]))[0]["samples_ts"]


def run_openvino(a, python, model, test, options):
    prompt, gen, depth = test
    if prompt and depth:
        raise Refused("prompts behind a depth are not measured")
    result = json.loads(run(a, [python, HERE / "openvino_run.py", model, prompt, gen, depth, a.t, a.reps, *options]).splitlines()[-1])
    if "refused" in result:
        raise Refused(result["refused"])
    return result["samples_ts"]


def engines(a):
    """{name: function(model, test) -> samples in tokens per second}, Tessera first; ends with advice when a program is missing."""
    also = dict(pair.split("=", 1) for pair in a.also)
    made, missing = {}, []

    def add(name, how, program, options):
        if not os.access(program, os.X_OK):
            missing.append(f"{name}: there is no program {program}")
        made[name] = lambda model, test: how(a, program, model, test, options)

    for name, program in {"tessera": a.tessera, **also}.items():
        add(name, run_bench, program, None)
    for name in a.peers:
        if name == "openvino":
            add(name, run_openvino, a.peers_dir / "openvino/bin/python", a.openvino_option)
        else:
            folder, options = LLAMA_BENCH[name]
            add(name, run_ik if folder == "ik_llama.cpp" else run_bench, a.peers_dir / folder / "bin/llama-bench", options)
    if missing:
        sys.exit("\n".join(missing) + f"\nbuild the peers with {HERE / 'build_peers.sh'} DIR and give --peers-dir DIR, or choose others with --peers")
    return made


def versions(a):
    found = {"tessera": subprocess.run([a.tessera, "version"], capture_output=True, text=True, check=True).stdout.splitlines()[0].split()[-1]}
    for name in a.peers:
        path = a.peers_dir / LLAMA_BENCH.get(name, (name,))[0] / "VERSION"
        found[name] = path.read_text().strip() if path.exists() else "?"
    return found


def host(a):
    machine = json.loads(subprocess.run([a.tessera, "version", "--json"], capture_output=True, text=True, check=True).stdout)
    return {"cpu": machine["cpu"], "tier": machine["tier"], "cores": machine["physical_cores"], "kernel": platform.release(), "threads": a.t,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


@contextlib.contextmanager
def turn(path):
    """Holds an exclusive lock on the file, if one is given."""
    if path is None:
        yield
        return
    with open(path, "a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def measure_once(a, made, r, model, test, by_engine):
    """One run of each engine that has not refused, in the order of the round."""
    names = list(made)
    for name in names[r % len(names):] + names[:r % len(names)]:
        got = by_engine[name]
        if isinstance(got, str):
            continue
        try:
            got.append(max(made[name](model, parse_test(test))))
            said = f"{got[-1]:.1f}"
        except Refused as problem:
            said = str(problem)
            if any(got):
                got.append(None)  # it can, but not this time
            else:
                by_engine[name] = said
        print(f"{model.name}  {test}  {name}: {said}", file=sys.stderr, flush=True)


def measure(a, made):
    """{(model, test): {engine: [best of the repetitions, or None, per round] or a message}}"""
    results = {(m, t): {name: [] for name in made} for m in a.models for t in a.tests}
    try:
        for r in range(a.rounds):
            print(f"round {r + 1} of {a.rounds}", file=sys.stderr, flush=True)
            for i, ((model, test), by_engine) in enumerate(results.items()):
                with turn(a.lock):
                    measure_once(a, made, r + i, model, test, by_engine)
    except KeyboardInterrupt:
        print("interrupted: what has been measured follows", file=sys.stderr)
    return results


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    q = statistics.quantiles(values, n=4, method="inclusive")
    return q[0], q[2]


def summary(results):
    """A dict for every model, test and engine. ratio: tessera / engine in the same round."""
    rows = []
    for (model, test), by_engine in results.items():
        ours = by_engine["tessera"]
        for name, got in by_engine.items():
            row = {"model": model.name, "test": test, "engine": name, "rounds": 0, "median_ts": None, "low_ts": None, "high_ts": None,
                   "ratio": None, "ratio_low": None, "ratio_high": None, "note": ""}
            if isinstance(got, str):
                row["note"] = got
            elif got:
                speeds = [x for x in got if x]
                low, high = quartiles(speeds)
                row |= {"rounds": len(speeds), "median_ts": statistics.median(speeds), "low_ts": low, "high_ts": high}
                ratios = [x / y for x, y in zip(ours, got) if x and y] if not isinstance(ours, str) and name != "tessera" else []
                if ratios:
                    low, high = quartiles(ratios)
                    row |= {"ratio": statistics.median(ratios), "ratio_low": low, "ratio_high": high}
            else:
                row["note"] = "interrupted before"
            rows.append(row)
    return rows


def best_peer(rows, model, test):
    peers = [r for r in rows if (r["model"], r["test"]) == (model, test) and r["ratio"] is not None and r["engine"] in PEERS]
    return max(peers, key=lambda r: r["median_ts"], default=None)


def show(rows, names):
    print("| model | test | " + " | ".join(f"{n} t/s" if n == "tessera" else f"{n} t/s (ratio)" for n in names) + " | tessera / best |")
    print("| --- | --- |" + " ---: |" * (len(names) + 1))
    notes = []
    for model, test in dict.fromkeys((r["model"], r["test"]) for r in rows):
        cells = []
        for r in (r for r in rows if (r["model"], r["test"]) == (model, test)):
            cell = "-" if r["median_ts"] is None else f"{r['median_ts']:.1f}"
            cells.append(cell if r["ratio"] is None else f"{cell} ({r['ratio']:.2f}, {r['ratio_low']:.2f}-{r['ratio_high']:.2f})")
            if r["note"]:
                notes.append(f"- {r['engine']}, {model}, {test}: {r['note']}")
        best = best_peer(rows, model, test)
        cells.append(f"{best['ratio']:.2f} ({best['engine']})" if best else "-")
        print(f"| {model} | {test} | " + " | ".join(cells) + " |")
    if notes:
        print("\nNot run:\n" + "\n".join(notes))


def save(a, rows, results):
    about = host(a) | {"versions": versions(a), "rounds": a.rounds, "repetitions": a.reps, "openvino_options": a.openvino_option}
    values = [{"model": m.name, "test": t, "engine": n, "samples_ts": v} for (m, t), by in results.items() for n, v in by.items()]
    pathlib.Path(f"{a.output}.json").write_text(json.dumps({"host": about, "summary": rows, "rounds": values}, indent=1) + "\n")
    with open(f"{a.output}.csv", "w", newline="") as f:
        f.write("# " + ", ".join(f"{k} {v}" for k, v in about.items() if not isinstance(v, (dict, list))) + "\n")
        f.write("# " + ", ".join(f"{k}: {v}" for k, v in about["versions"].items()) + "\n")
        writer = csv.DictWriter(f, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in r.items()} for r in rows)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tessera", type=pathlib.Path, help="the program")
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--peers", default="llama.cpp,ik_llama.cpp,ik_llama.cpp-rtr,openvino", help="comma-separated; empty: none (default %(default)s)")
    parser.add_argument("--peers-dir", type=pathlib.Path, default=HERE.parents[1] / "build/peers", help="where build_peers.sh built them (default build/peers)")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=PATH", help="another build of tessera; may be given several times")
    parser.add_argument("--tests", default="pp512,pp4096,tg64,tg32@d8192", help="comma-separated (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reps", type=int, default=2, help="repetitions in a process, of which the best counts (default 2)")
    parser.add_argument("-t", type=int, default=len(os.sched_getaffinity(0)), help="threads (default: the CPUs of this process)")
    parser.add_argument("--timeout", type=int, default=900, help="seconds that one run may take (default 900)")
    parser.add_argument("--openvino-option", action="append", default=[], metavar="KEY=VALUE", help="a property of its CPU device")
    parser.add_argument("--lock", type=pathlib.Path, metavar="FILE", help="lock FILE while the engines run one test: for machines on which others measure too")
    parser.add_argument("--output", metavar="NAME", help="write NAME.csv and NAME.json")
    a = parser.parse_args()
    a.peers = [p for p in a.peers.split(",") if p]
    unknown = [p for p in a.peers if p not in PEERS]
    if unknown:
        parser.error(f"unknown peer {unknown[0]!r}; there are {', '.join(PEERS)}")
    a.tests = a.tests.split(",")
    try:
        for test in a.tests:
            parse_test(test)
    except argparse.ArgumentTypeError as problem:
        parser.error(str(problem))
    if any("=" not in pair for pair in a.also + a.openvino_option):
        parser.error("--also and --openvino-option take NAME=VALUE")
    absent = [str(m) for m in a.models if not m.exists()]
    if absent:
        parser.error(f"no such model: {', '.join(absent)}")
    return a


def main():
    a = parse_options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    made = engines(a)
    results = measure(a, made)
    rows = summary(results)
    show(rows, list(made))
    if a.output:
        save(a, rows, results)


if __name__ == "__main__":
    main()
