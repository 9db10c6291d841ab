"""tessera bench -m: llama-bench's tests and names, numbers that agree with each other, costs that can be counted by hand, profile, plot."""
import csv
import io
import json
import re
import signal
import statistics
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import pytest

import make_model as mm
from cli_models import BINARY, FAILED, FINE, INTERRUPTED, USAGE, cli, environment, tiny

# As llama-bench writes them.
LLAMA_BENCH = ["cpu_info", "backends", "model_filename", "model_type", "model_size", "model_n_params", "n_batch", "n_ubatch", "n_threads", "type_k", "type_v",
               "n_prompt", "n_gen", "n_depth", "test_time", "avg_ns", "stddev_ns", "avg_ts", "stddev_ts", "samples_ns", "samples_ts"]
LITTLE = ("-p", "24", "-n", "3", "-r", "3", "-t", "1")


def bench(*args, model=None):
    status, out, err = cli("bench", "-m", model or tiny(), *args)
    assert status == FINE, err
    return out, err


def run_tests(*args, model=None):
    return json.loads(bench("-o", "json", *args, model=model)[0])


def check(t):
    tokens = (t["n_prompt"] + t["n_gen"]) * t["n_parallel"]
    assert all(t[key] is not None for key in LLAMA_BENCH)
    assert len(t["samples_ns"]) == len(t["samples_ts"])
    assert all(ts == pytest.approx(tokens * 1e9 / ns, rel=1e-4) for ns, ts in zip(t["samples_ns"], t["samples_ts"]))
    for key, digits in (("ns", 1e-6), ("ts", 1e-4)):
        assert t[f"avg_{key}"] == pytest.approx(statistics.mean(t[f"samples_{key}"]), rel=digits, abs=1 if key == "ns" else 0)
        deviation = statistics.stdev(t[f"samples_{key}"]) if len(t[f"samples_{key}"]) > 1 else 0
        assert t[f"stddev_{key}"] == pytest.approx(deviation, rel=1e-2, abs=1e-3 * t[f"avg_{key}"])
    seconds = t["avg_ns"] * 1e-9
    assert t["share_int8"] == pytest.approx(t["ops"] / seconds / t["peak_int8"], rel=1e-3)
    assert (t["share_half"] is None) == (t["peak_half"] is None) == (t["peak_half_name"] == "")
    if t["peak_read"]:
        assert t["share_read"] == pytest.approx((t["weight_bytes_read"] + t["kv_bytes_read"]) / seconds / t["peak_read"], rel=1e-3)
        assert 0 < t["share_of_peak"] < 2 and t["share_of_peak"] >= 0.999 * max(t["share_int8"], t["share_read"])
    assert t["load_seconds"] > 0 and t["peak_rss_bytes"] > t["kv_cache_bytes"] > 0 and t["work_bytes"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", t["test_time"])


def test_tests_and_their_names():
    found = run_tests("-p", "8,24", "-n", "3", "-pg", "8,2", "-pg", "5,1", "-d", "0,10", "-r", "2", "-t", "1,2")
    assert [(t["n_threads"], t["n_depth"], t["n_prompt"], t["n_gen"]) for t in found] == [
        (threads, depth, p, g) for threads in (1, 2) for depth in (0, 10) for p, g in ((8, 0), (24, 0), (0, 3), (8, 2), (5, 1))]
    for t in found:
        check(t)
        assert len(t["samples_ns"]) == 2 and t["n_batch"] == 2048 and t["n_ubatch"] == 512 and t["type_k"] == t["type_v"] == "f16"
    out, _ = bench("-p", "8,24", "-n", "3", "-pg", "8,2", "-d", "0,10", "-r", "2", "-t", "1")
    lines = [line for line in out.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1, "the table is aligned"
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["model", "size", "params", "backend", "threads", "test", "t/s", "% peak", "load s", "memory"]
    assert [c[5] for c in cells[2:]] == [n + d for d in ("", " @ d10") for n in ("pp8", "pp24", "tg3", "pp8+tg2")]
    assert all(re.fullmatch(r"\d+\.\d\d ± \d+\.\d\d", c[6]) for c in cells[2:])


def test_what_differs_becomes_a_column():
    args = ("-p", "24", "-n", "0", "-r", "1", "-t", "1", "-b", "8,16", "-ub", "4", "-ctk", "f32", "-ctv", "f16,f32")
    found = run_tests(*args)
    assert [(t["type_v"], t["n_batch"], t["n_ubatch"], t["type_k"]) for t in found] == [(v, b, 4, "f32") for v in ("f16", "f32") for b in (8, 16)]
    assert found[0]["kv_cache_bytes"] < found[-1]["kv_cache_bytes"]
    for t in found:
        check(t)
    head = bench(*args)[0].splitlines()[0]
    assert [c.strip() for c in head.strip("|").split("|")][5:9] == ["n_batch", "n_ubatch", "type_k", "type_v"]
    assert run_tests("-p", "24", "-n", "0", "-r", "1", "-b", "8", "-ub", "100")[0]["n_ubatch"] == 8, "never more than the batch"


def test_sequences_generated_together():
    found = run_tests("-p", "16", "-n", "4", "-pg", "6,2", "-npl", "1,3", "-d", "0,9", "-r", "2", "-t", "2")
    assert [(t["n_depth"], t["n_prompt"], t["n_gen"], t["n_parallel"]) for t in found] == [
        (depth, *what) for depth in (0, 9) for what in ((16, 0, 1), (0, 4, 1), (0, 4, 3), (6, 2, 1), (6, 2, 3))]
    for t in found:
        check(t)
    one, three = found[1:3]
    assert three["ops"] == pytest.approx(3 * one["ops"], rel=1e-4) and three["kv_bytes_read"] == pytest.approx(3 * one["kv_bytes_read"], rel=1e-4)
    assert three["weight_bytes_read"] == one["weight_bytes_read"] and three["kv_cache_bytes"] == 3 * one["kv_cache_bytes"]
    out, _ = bench("-p", "0", "-n", "1", "-npl", "40", "-d", "3", "-r", "1", "-t", "1")
    assert "| tg1 x40 @ d3 |" in re.sub(" +", " ", out)


def test_threads_for_prompts():
    found = run_tests("-p", "16", "-n", "2", "-pg", "9,2", "-t", "2", "-tb", "0,1", "-r", "1", "--profile")
    assert [(t["n_threads"], t["n_threads_prompt"]) for t in found] == [(2, 2)] * 3 + [(2, 1)] * 3
    for t in found:
        check(t)
    out, _ = bench("-p", "16", "-n", "2", "-t", "2", "-tb", "1", "-r", "1")
    assert [c.strip() for c in out.splitlines()[0].strip("|").split("|")][4:6] == ["threads", "tb"]
    assert out.count("Peaks on 1 thread:") == out.count("Peaks on 2 threads:") == 1
    _, err = bench(*LITTLE[:-1], "999")
    assert "more threads than CPUs" in err


def test_csv_has_what_json_has():
    keys = [k for k, v in run_tests(*LITTLE)[0].items() if not isinstance(v, list)]
    table = list(csv.reader(io.StringIO(bench("-o", "csv", *LITTLE)[0])))
    assert table[0] == keys and len(table) == 3 and {len(line) for line in table} == {len(keys)}
    named = [dict(zip(keys, line)) for line in table[1:]]
    assert [(r["n_prompt"], r["n_gen"]) for r in named] == [("24", "0"), ("0", "3")] and all(float(r["avg_ts"]) > 0 for r in named)


def products(spec, tokens, logits):
    """Operations of a model's products, and the weights that they read."""
    head = spec.key * spec.embd
    attention = 2 * spec.heads * head + 2 * spec.kv_heads * head
    width = spec.expert_ff or spec.ff
    ffn = 3 * spec.embd * width
    active, router = (spec.used, spec.experts * spec.embd) if spec.experts else (1, 0)
    touched = spec.experts * (1 - (1 - spec.used / spec.experts) ** tokens) if spec.experts else 1
    vocab = len(mm.byte_level_vocab()["tokens"])
    ops = 2 * tokens * spec.layers * (attention + router + active * ffn) + 2 * logits * vocab * spec.embd
    f32, rest = spec.layers * router, spec.layers * (attention + touched * ffn) + bool(logits) * vocab * spec.embd
    return ops, f32 * 4 + rest * 2  # BF16


@pytest.mark.parametrize("name, spec", [
    ("dense", mm.Spec(qtype="BF16", embd=64, ff=96, key=32)),
    ("window", mm.Spec(qtype="BF16", arch="gemma3", layers=7, kv_heads=1, key=32, tied=True, meta={"attention.sliding_window": 6})),
    ("experts", mm.Spec(qtype="BF16", arch="qwen3moe", key=32, experts=4, used=2, expert_ff=64))])
def test_costs_counted_by_hand(tmp_path, name, spec):
    """Not packed, so that a matrix has the bytes that it has in the file."""
    model = mm.save(mm.build(spec, seed=1), tmp_path / "m.gguf")
    prompt, gen = run_tests("-p", "20", "-n", "2", "-d", "5", "-r", "1", "-t", "1", "--no-packed", "-ub", "8", model=model)
    windows = [6 if name == "window" and (i + 1) % 6 else 0 for i in range(spec.layers)]

    def seen(pos, window):
        return min(pos + 1, window) if window else pos + 1

    def attention(first, last):
        return sum(2 * spec.heads * 2 * spec.key * seen(pos, w) for pos in range(first, last) for w in windows)

    for t, passes in ((prompt, [(5, 8, 0), (13, 8, 0), (21, 4, 1)]), (gen, [(5, 1, 1), (6, 1, 1)])):
        ops = weights = kv = 0
        for first, n, logits in passes:
            got = products(spec, n, logits)
            ops += got[0] + attention(first, first + n)
            weights += got[1]
            kv += sum(2 * 2 * spec.kv_heads * spec.key * min(first + n, w + n - 1 if w else first + n) for w in windows)
        assert t["ops"] == pytest.approx(ops, rel=1e-4)
        assert t["weight_bytes_read"] == pytest.approx(weights, rel=1e-4)
        assert t["kv_bytes_read"] == pytest.approx(kv, rel=1e-4)


def test_models_one_after_the_other(tmp_path):
    other = mm.save(mm.build(mm.Spec(qtype="Q4_0"), seed=1), tmp_path / 'we"ird, 1.gguf')
    found = json.loads(cli("bench", "-m", tiny(), "-m", other, "-o", "json", *LITTLE)[1])
    assert [t["model_filename"] for t in found] == [str(tiny())] * 2 + [str(other)] * 2
    assert found[0]["model_size"] == sum(t["bytes"] for t in json.loads(cli("info", "--json", "--tensors", tiny())[1])["tensors"])
    assert found[-1]["model_type"].startswith("llama 0.") and found[-1]["model_type"].endswith("Q4_0")
    rows = list(csv.DictReader(io.StringIO(cli("bench", "-m", other, "-o", "csv", *LITTLE)[1])))
    assert rows[0]["model_filename"] == str(other)


@pytest.mark.parametrize("spec", [mm.Spec(qtype="Q8_0"), mm.Spec(qtype="Q8_0", arch="qwen3moe", key=32, experts=4, used=2, expert_ff=64)], ids=["dense", "experts"])
def test_profile(tmp_path, spec):
    model = mm.save(mm.build(spec, seed=1), tmp_path / "m.gguf")
    for threads in (1, 2):
        for t in run_tests("--profile", "-p", "24", "-n", "4", "-r", "2", "-t", str(threads), "--no-warmup", model=model):
            passes = 2 * (4 if t["n_gen"] else 1)
            calls = {line["op"]: line["calls"] for line in t["profile"]}
            assert calls["embed"] == calls["logits"] == passes
            assert calls["qkv"] == calls["attention"] == calls["attention output"] == calls["down"] == spec.layers * passes
            assert calls["rope, kv store"] == spec.layers * passes
            assert calls["router"] == calls["expert sums"] == (spec.layers * passes if spec.experts else 0)
            assert sum(line["seconds"] for line in t["profile"]) == pytest.approx(sum(t["samples_ns"]) * 1e-9, rel=1e-3)
            assert all(line["seconds"] >= -1e-6 for line in t["profile"])
            assert 0 < t["jobs_per_token"] <= t["barriers_per_token"]
    out, _ = bench("--profile", "-r", "1", "-p", "24", "-n", "2", "-t", "1", model=model)
    assert out.count("### ") == 2 and out.count("| attention output |") == 2 and out.count("Barriers per token: ") == 2
    assert "| router" in out if spec.experts else "router" not in out
    assert "profile" not in run_tests(*LITTLE)[0]
    status, _, err = cli("bench", "-m", model, "--profile", "-o", "csv")
    assert status == USAGE and "--profile does not fit into CSV" in err


def test_plot(tmp_path):
    path = tmp_path / "depth.svg"
    other = mm.save(mm.build(mm.Spec(qtype="Q4_0"), seed=1), tmp_path / "a&b.gguf")
    status, _, err = cli("bench", "-m", tiny(), "-m", other, "-p", "8", "-n", "2", "-pg", "8,2", "-d", "40,0,20", "-r", "2", "-t", "1,2", "--plot", path)
    assert status == FINE, err
    root = ElementTree.parse(path).getroot()
    space = {"s": "http://www.w3.org/2000/svg"}
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    lines = root.findall("s:polyline", space)
    assert len(lines) == 2 * 2 * 2, "a line for each model, number of threads, and of pp8 and tg2"
    for line in lines:
        points = [tuple(map(float, p.split(","))) for p in line.get("points").split()]
        assert len(points) == 3 and points == sorted(points)
        assert all(0 <= x <= float(root.get("width")) and 0 <= y <= float(root.get("height")) for x, y in points)
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "a&b pp8, 2 threads" in texts and {"0", "20", "40"} <= set(texts)
    bench("-p", "8", "-n", "0", "-r", "1", "-t", "1", "--plot", path)
    assert len(ElementTree.parse(path).getroot().findall("s:polyline", space)) == 1
    status, _, err = cli("bench", "-m", tiny(), *LITTLE, "--plot", tmp_path / "no" / "x.svg")
    assert status == FAILED and "No such file" in err


@pytest.mark.parametrize("args, words", [
    (["-p", "0", "-n", "0"], "no tests"), (["-p", "x"], "--n-prompt must be whole numbers"), (["-n=-1"], "--n-gen must be"), (["-d", "1-"], "--n-depth"),
    (["-pg", "5"], "--pg must be two numbers"), (["-pg", "5,1,2"], "--pg must be two numbers"), (["-pg", "1-4"], "--pg must be two numbers"),
    (["-pg", "0,4"], "--pg must be whole numbers from 1"), (["-ctk", "q3"], "--ctk must be one of f16"), (["-ctv", ""], "--ctv must be one of"),
    (["-b", "0"], "--batch-size"), (["-ub", "0"], "--ub"), (["-t", "9999"], "--threads"), (["-r", "0"], "--reps"), (["-o", "sql"], "--format"),
    (["--op", "matmul"], "takes no model"), (["x"], "unexpected argument"), (["-npl", "0"], "--npl"), (["-npl", "257"], "--npl"), (["-npl", "8", "-ub", "7"], "take batches of as many tokens"),
    (["-pq"], "--n-prompt must be")])
def test_usage_errors(args, words):
    status, out, err = cli("bench", "-m", tiny(), *args)
    assert status == USAGE and words in err and out == "", err


def test_failures(tmp_path):
    for args, words in [(["-m", tmp_path / "none.gguf"], "none.gguf"), (["-m", tiny(), "--cpu-tier", "z80"], "unknown CPU tier"),
                        (["-m", tiny(), "--output", "/dev/full"], "No space left")]:
        status, _, err = cli("bench", *args, *LITTLE)
        assert status == FAILED and words in err and err.count("error:") == 1, err
    status, out, err = cli("bench", "-m", tiny(), "-m", tmp_path / "none.gguf", "-o", "json", *LITTLE)
    assert status == FAILED and len(json.loads(out)) == 2, "what was measured stays"


@pytest.mark.parametrize("format", ["json", "csv", "md"])
def test_interrupted_it_keeps_what_there_is(tmp_path, format):
    """In the middle of a test too: its samples so far count."""
    out = tmp_path / "result"
    p = subprocess.Popen([BINARY, "bench", "-m", tiny(), "-p", "64", "-n", "0", "-d", "0-2000+50", "-r", "200", "-t", "1", "-o", format, "--output", out,
                          "--plot", tmp_path / "x.svg"], stderr=subprocess.PIPE, env=environment())
    deadline = time.monotonic() + 30
    while not any(f.stat().st_size > 0 for f in tmp_path.glob("result.tmp*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    p.send_signal(signal.SIGINT)
    err = p.stderr.read().decode()
    assert p.wait(timeout=30) == INTERRUPTED and "interrupted: " in err
    text = out.read_text()
    n = len(json.loads(text)) if format == "json" else text.count("avx") + text.count("amx") + text.count("scalar")
    assert 1 <= n < 41 and f"interrupted: {n} of 41 tests measured" in err
    if format == "json":
        found = json.loads(text)
        assert len(found[0]["samples_ts"]) == 200 and len(found[-1]["samples_ts"]) >= 1
    assert ElementTree.parse(tmp_path / "x.svg").getroot().tag.endswith("svg")
