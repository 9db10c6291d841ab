#!/usr/bin/env python3
"""compare.py BINARY [--shapes NAME|FILE] [--types LIST] [-M LIST] [-t N] [--rounds N] [--output FILE]

`tessera bench --op matmul` beside Intel MKL's bf16 GEMM with packed weights, on the same shapes. In each round every shape
runs once in both programs, one right after the other, the first of them changing from round to round. A CSV line a shape, format and
number of rows: medians of operations a second, and the ratio of the two (tessera / MKL) within each round: median, least, most.

The first run installs mkl and mkl-include from PyPI into build/mkl and builds mkl_bf16.c there. MKL multiplies bf16 weights
whatever the format in its line is. `note` says so where MKL stays below half of the bf16 peak with many rows: then it does not use
the CPU's bf16 instructions well, and the ratio says little. MKL gets activations in bf16 already and reads one matrix again and again, from
cache where it fits; Tessera converts activations from f32, and with up to 16 rows reads weights from memory: compare from 32 rows on. Shapes with experts are left out: MKL has no product of groups.
"""
import argparse
import csv
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = ROOT / "build/mkl"
SAMPLES = 3  # of a product, in a round
MANY_ROWS = 128


def build():
    """The program and the version of MKL."""
    python, program = PLACE / "bin/python", PLACE / "mkl_bf16"
    if not list(PLACE.glob("lib/libmkl_rt.so.*")):
        venv.create(PLACE, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "mkl", "mkl-include"], check=True)
    source = pathlib.Path(__file__).parent / "mkl_bf16.c"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        library = sorted(PLACE.glob("lib/libmkl_rt.so.*"))[-1]
        subprocess.run(["cc", "-O2", "-std=c11", "-D_GNU_SOURCE", source, f"-I{PLACE}/include", "-o", program, library,
                        f"-Wl,-rpath,{PLACE}/lib"], check=True)
    packages = json.loads(subprocess.run([python, "-m", "pip", "list", "--disable-pip-version-check", "--format=json"], check=True,
                                         capture_output=True, text=True).stdout)
    return program, next(p["version"] for p in packages if p["name"] == "mkl")


def read_shapes(name):
    """[(name, n, k)] of a list of shapes without experts."""
    path = ROOT / "bench/shapes" / f"{name}.txt"
    shapes = []
    for line in (path if path.exists() else pathlib.Path(name)).read_text().splitlines():
        fields = line.split("#")[0].split()
        if len(fields) == 3:
            shapes.append((fields[0], int(fields[1]), int(fields[2])))
        elif fields:
            print(f"left out: {fields[0]}, which has experts", file=sys.stderr)
    return shapes


def run_tessera(a, shape):
    """{(type, m): row} of `tessera bench`."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
        f.write("{} {} {}\n".format(*shape))
        f.flush()
        out = subprocess.run([a.binary, "bench", "--op", "matmul", "--shapes", f.name, "--types", a.types, "-M", a.M, "-t", str(a.t),
                              "-r", str(SAMPLES), "-o", "json"], check=True, capture_output=True, text=True).stdout
    return {(row["type"], row["m"]): row for row in json.loads(out)}


def run_mkl(a, program, shape):
    """{m: seconds}"""
    _, n, k = shape
    # One thread of the GNU layer was seen to use two CPUs; and its idle threads must not spin while the other program runs.
    env = os.environ | {"MKL_THREADING_LAYER": "SEQUENTIAL" if a.t == 1 else "GNU", "OMP_WAIT_POLICY": "passive"}
    out = subprocess.run([program, str(n), str(k), str(a.t), str(SAMPLES), *a.M.split(",")], check=True, capture_output=True, text=True,
                         env=env).stdout
    return {int(m): float(seconds) for m, seconds, _ in (line.split() for line in out.splitlines())}


def summary(shape, key, rounds, mkl_version):
    """A line of the result from [(tessera's row, MKL's operations a second)]."""
    tessera = [row["ops_per_second"] for row, _ in rounds]
    mkl = [ops for _, ops in rounds]
    ratios = [t / m for t, m in zip(tessera, mkl)]
    row, share = rounds[0][0], None
    peaks = [r["peak_half"] for r, _ in rounds if r["peak_half"]]
    if peaks:
        share = statistics.median(mkl) / statistics.median(peaks)
    note = "no bf16 instructions on this tier" if share is None else ""
    if share is not None and key[1] >= MANY_ROWS and share < 0.5:
        note = f"MKL reaches {share:.0%} of the bf16 peak"
    return {"cpu": row["cpu"], "tier": row["tier"], "version": row["version"], "mkl": mkl_version, "threads": row["threads"], "shape": shape[0],
            "n": shape[1], "k": shape[2], "type": key[0], "m": key[1], "rounds": len(rounds),
            "tessera_ops_per_second": f"{statistics.median(tessera):.4g}", "mkl_ops_per_second": f"{statistics.median(mkl):.4g}",
            "ratio": f"{statistics.median(ratios):.3f}", "ratio_least": f"{min(ratios):.3f}", "ratio_most": f"{max(ratios):.3f}",
            "mkl_share_of_bf16_peak": "" if share is None else f"{share:.3f}", "note": note}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--shapes", default="llama-1b")
    parser.add_argument("--types", default="Q4_0,Q4_K,Q6_K,Q8_0,BF16")
    parser.add_argument("-M", default="1,32,512")
    parser.add_argument("-t", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output")
    a = parser.parse_args()
    program, mkl_version = build()
    shapes, results = read_shapes(a.shapes), {}
    for r in range(a.rounds):
        for i, shape in enumerate(shapes):
            first_mkl = run_mkl(a, program, shape) if r % 2 else None
            tessera = run_tessera(a, shape)
            mkl = first_mkl or run_mkl(a, program, shape)
            for key, row in tessera.items():
                ops = 2.0 * shape[1] * shape[2] * key[1] / mkl[key[1]]
                results.setdefault((i, key), []).append((row, ops))
            print(f"round {r + 1} of {a.rounds}: {shape[0]}", file=sys.stderr)
    if not results:
        sys.exit("nothing was measured: no shape without experts")
    lines = [summary(shapes[i], key, rounds, mkl_version) for (i, key), rounds in results.items()]
    with open(a.output, "w", newline="") if a.output else sys.stdout as f:
        writer = csv.DictWriter(f, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
