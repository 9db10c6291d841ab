#!/usr/bin/env python3
"""interleaved.py BINARY MODEL... [--rounds N] [--threads N]: speed of `tessera run` with packed weights and without.

The variants take turns, so a noisy machine disturbs all of them alike; medians and the range over the rounds are printed,
one CSV line a model and variant. The prompt is tests/golden/a.txt, repeated and cut to 2300 bytes, then 48 tokens follow.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

VARIANTS = {"host": ["--no-packed"], "packed": []}
TEXT = pathlib.Path(__file__).parent.parent / "tests/golden/a.txt"


def run(binary, model, prompt, threads, options):
    command = [binary, "run", "-m", model, "--raw", "-f", prompt, "-n", "48", "--ignore-eos", "--temp", "0",
               "-t", str(threads), "--json"]
    return json.loads(subprocess.run(command + options, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    a = parser.parse_args()
    results = {}
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as prompt:
        prompt.write((TEXT.read_text() * 3)[:2300])
        prompt.flush()
        for _ in range(a.rounds):
            for model in a.models:
                for variant, options in VARIANTS.items():
                    got = run(a.binary, model, prompt.name, a.threads, options)
                    results.setdefault((model, variant), []).append(got)
    print("model,variant,prompt_tokens,prompt_per_second,min,max,generate_per_second,min,max,load_seconds")
    for (model, variant), runs in results.items():
        columns = [pathlib.Path(model).name, variant, str(runs[0]["prompt_tokens"])]
        for key in ("prompt_per_second", "generate_per_second"):
            rates = [r["timings"][key] for r in runs]
            columns += [f"{x:.1f}" for x in (statistics.median(rates), min(rates), max(rates))]
        columns.append(f"{statistics.median(r['timings']['load_seconds'] for r in runs):.2f}")
        print(",".join(columns))


if __name__ == "__main__":
    main()
