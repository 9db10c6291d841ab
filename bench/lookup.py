#!/usr/bin/env python3
"""What --lookup changes: tokens/s of generation without and with it, in turns, on text that repeats its prompt and text that does not.

    bench/lookup.py [-r ROUNDS] [-n TOKENS] [-t THREADS] MODEL.gguf...

Prints medians, their ratio, and the smallest and largest ratio of a round. Both ways must give the same tokens, or it fails."""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CODE = (ROOT / "bench/interleaved.py").read_text()[:1800]
EDIT = f"Repeat this program, but rename the function main to run_all. Answer with the program alone.\n\n```python\n{CODE}\n```"
STORY = "Write a long story about a lighthouse keeper who finds a map."
DIGITS = "Write random digits, separated by spaces: " + " ".join(str(i * i * 7919 % 10007 % 10) for i in range(1, 300))  # misleads
# name, prompt, sampling
CASES = [("edit code", EDIT, ["--temp", "0"]), ("edit code, sampled", EDIT, ["--temp", "0.7", "--seed", "3"]),
         ("story", STORY, ["--temp", "0"]), ("story, sampled", STORY, ["--temp", "1", "--seed", "3"]),
         ("digits, sampled", DIGITS, ["--temp", "1.3", "--seed", "3", "--top-k", "0", "--min-p", "0", "--top-p", "1"])]


def run(binary, model, prompt, options):
    command = [binary, "run", "-m", model, "-p", prompt, "--json", "--ignore-eos", *options]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="+", metavar="MODEL")
    p.add_argument("-r", "--rounds", type=int, default=5)
    p.add_argument("-n", "--tokens", type=int, default=200)
    p.add_argument("-t", "--threads", type=int, default=0)
    p.add_argument("--only", default="", help="cases whose name contains this")
    p.add_argument("--binary", default=str(ROOT / "build/release/cli/tessera"))
    a = p.parse_args()
    for model in a.models:
        print(f"{pathlib.Path(model).stem}\n{'':24}{'without':>9}{'with':>9}{'ratio':>8}   of rounds   guessed  right")
        for name, prompt, sampling in CASES:
            if a.only not in name:
                continue
            options, rates, ratios = [*sampling, "-n", str(a.tokens), "-t", str(a.threads)], ([], []), []
            for _ in range(a.rounds):
                plain, guessed = (run(a.binary, model, prompt, options + more) for more in ([], ["--lookup"]))
                if plain["tokens"] != guessed["tokens"]:
                    sys.exit(f"{name}: the tokens differ")
                for rate, result in zip(rates, (plain, guessed)):
                    rate.append(result["timings"]["generate_per_second"])
                ratios.append(rates[1][-1] / rates[0][-1])
            found, (x, y) = guessed["timings"]["lookup"], map(statistics.median, rates)
            print(f"  {name:22}{x:9.1f}{y:9.1f}{y / x:8.2f}   {min(ratios):.2f}..{max(ratios):.2f}{found['guessed']:9}{found['right']:7}", flush=True)


if __name__ == "__main__":
    main()
