"""tessera bench: every format and table, peaks that are peaks, lists of shapes from anywhere."""
import csv
import io
import json
import math
import signal
import subprocess
import time

import pytest

import tsr
from cli_models import BINARY, FAILED, FINE, INTERRUPTED, USAGE, cli, environment

FORMATS = ["F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "BF16", "MXFP4"]
TIERS = ["scalar", "avx2", "avxvnni", "avx512", "avx512bf16", "amx", "amxfp16"]
LITTLE = ("-r", "1", "--max-memory", "0.2")  # quick to start anywhere


def shapes_file(tmp_path, text="tiny 80 512\n"):
    path = tmp_path / "shapes.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def bench(*args, **more):
    status, out, err = cli("bench", "--op", "matmul", *args, **more)
    assert status == FINE, err
    return out, err


def rows(*args, **more):
    return json.loads(bench("-o", "json", *args, **more)[0])


def check_row(r):
    assert 0 < r["seconds_best"] <= r["seconds"] < 60 and r["samples"] >= 1
    assert r["n_computed"] == r["n"], "a tiny product is computed whole"
    ops = 2 * r["n"] * r["k"] * r["rows"]
    assert r["ops_per_second"] == pytest.approx(ops / r["seconds"], rel=1e-4)
    bytes_read = (r["packed_bytes"] or r["gguf_bytes"]) * r["groups"] / max(r["experts"], 1)
    assert r["weight_bytes_per_second"] == pytest.approx(bytes_read / r["seconds"], rel=1e-2)
    for kind in ("int8", "half", "f32"):
        peak, share = r[f"peak_{kind}"], r[f"share_{kind}"]
        assert (peak is None) == (share is None) == (r[f"peak_{kind}_name"] == "")
        if peak is not None:
            assert peak > 1e8 * r["threads"] and share == pytest.approx(r["ops_per_second"] / peak, rel=1e-3)
    assert r["share_int8"] > 0
    assert all(math.isfinite(v) for v in r.values() if isinstance(v, float))
    assert r["from"] in ("l2", "l3", "mixed", "dram") and r["set_bytes"] > 0


def check_shares(found):
    """No product is faster than the peak. A neighbour may have slowed down one measurement of a peak, but not all."""
    for n_threads in {r["threads"] for r in found}:
        same = [r for r in found if r["threads"] == n_threads]
        assert max(r["ops_per_second"] for r in same) < 1.2 * max(r["peak_int8"] for r in same)
        read = [r["peak_read"] for r in same if r["peak_read"]]
        assert all(r["weight_bytes_per_second"] < 1.2 * max(read) for r in same if read and r["from"] == "dram")


@pytest.mark.parametrize("tier", TIERS)
def test_every_format_and_number_of_rows_on_every_tier(tmp_path, tier):
    status, _, err = cli("bench", "--op", "matmul", "--shapes", shapes_file(tmp_path), "--types", "F16", "-M", "1", "--cpu-tier", tier, *LITTLE)
    if status == FAILED and f"CPU tier {tier} is not available" in err:
        pytest.skip(f"this CPU lacks {tier}")
    found = rows("--shapes", shapes_file(tmp_path), "-M", "1,2,9,33", "-t", "1", "--cpu-tier", tier, *LITTLE)
    assert [(r["type"], r["m"]) for r in found] == [(t, m) for t in FORMATS for m in (1, 2, 9, 33)]
    check_shares(found)
    for r in found:
        check_row(r)
        assert r["tier"] == tier and r["path"] in ("narrow", "integer", "wide") and r["kernel"] and r["layout"].startswith("p16_")
        assert r["packed_bytes"] <= 1.15 * r["gguf_bytes"] and r["pack_bytes_per_second"] > 0


def test_host_products_and_numbers_of_threads(tmp_path):
    found = rows("--shapes", shapes_file(tmp_path), "--types", "q4_k,BF16", "-M", "1,16", "-t", "1,2", "--host", *LITTLE)
    assert [(r["threads"], r["type"], r["m"]) for r in found] == [(t, f, m) for t in (1, 2) for f in ("Q4_K", "BF16") for m in (1, 16)]
    check_shares(found)
    for r in found:
        check_row(r)
        assert (r["path"], r["layout"], r["packed_bytes"], r["pack_bytes_per_second"]) == ("host", "gguf", 0, None)


def test_experts_share_the_rows(tmp_path):
    path = shapes_file(tmp_path, "moe 48 256 4 2\n")
    found = rows("--shapes", path, "--types", "Q4_0", "-M", "1,2,3,16", "-t", "1", *LITTLE)
    assert [(r["rows"], r["groups"]) for r in found] == [(2, 2), (4, 4), (6, 4), (32, 4)]
    for r in found:
        check_row(r)
        assert (r["experts"], r["used"]) == (4, 2) and r["gguf_bytes"] == 4 * 48 * 256 // 32 * 18
    assert [r["groups"] for r in rows("--shapes", path, "--types", "F16", "-M", "1,7", "--host", *LITTLE)] == [2, 4]


def test_peaks_and_reading(tmp_path):
    """With room for it, reading is measured too, and few rows read a set larger than the caches."""
    found = rows("--shapes", shapes_file(tmp_path, "m 1024 1024\n"), "--types", "Q8_0", "-M", "1,64", "-t", "1", "-r", "5")
    for r in found:
        check_row(r)
        assert r["peak_read"] > 1e8 and r["share_read"] == pytest.approx(r["weight_bytes_per_second"] / r["peak_read"], rel=1e-3)
    few, many = found
    check_shares(found)
    assert few["from"] == "dram" and few["share_read"] > 0 and few["set_bytes"] > 20 * many["set_bytes"]
    assert many["set_bytes"] == many["packed_bytes"]


def test_long_calls_compute_fewer_outputs(tmp_path):
    started = time.monotonic()
    found = rows("--shapes", shapes_file(tmp_path, "wide 65536 1024\n"), "--types", "BF16", "-M", "2048", "-t", "1", "--cpu-tier", "scalar", "-r", "3",
                 "--max-memory", "4")
    assert len(found) == 1 and 0 < found[0]["n_computed"] < 65536 and found[0]["ops_per_second"] > 0
    assert time.monotonic() - started < 40
    out, _ = bench("--shapes", shapes_file(tmp_path, "wide 65536 1024\n"), "--types", "BF16", "-M", "2048", "-t", "1", "--cpu-tier", "scalar", "-r", "1",
                   "--max-memory", "4")
    assert "* |" in out and "with the first outputs" in out


def test_tables_agree_on_what_there_is(tmp_path):
    args = ("--shapes", shapes_file(tmp_path, "# comment\n\n  a 64 256 # here too\r\nb/c+d 33 256\n"), "--types", "Q6_K,F16", "-M", "1,12", "-t", "1", *LITTLE)
    keys = list(rows(*args)[0])
    table = list(csv.reader(io.StringIO(bench("-o", "csv", *args)[0])))
    assert table[0] == keys and len(table) == 1 + 8 and {len(line) for line in table} == {len(keys)}
    named = [dict(zip(keys, line)) for line in table[1:]]
    assert [(r["shape"], r["n"], r["type"], r["m"]) for r in named] == [
        (s, n, t, m) for s, n in (("a", "64"), ("b/c+d", "33")) for t in ("Q6_K", "F16") for m in ("1", "12")]
    assert {r["version"] for r in named} == {cli("version")[1].split()[1]} and {r["model"] for r in named} == {"shapes"}
    assert all(r["peak_read"] == "" or float(r["peak_read"]) > 0 for r in named)  # no room for reading past a large cache
    assert all(float(r["share_int8"]) > 0 for r in named)
    out, _ = bench(*args)
    lines = out.splitlines()
    body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert max(len(line) for line in lines) <= 120
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert [cells[:2] for cells in body if cells[0] != "type"] == [[t, m] for _ in range(2) for t in ("Q6_K", "F16") for m in ("1", "12")]
    assert out.count("### shapes ") == 2 and "a: 64 x 256; 1 thread" in out


def test_the_lists_it_knows_are_those_in_the_tree():
    status, out, _ = cli("bench", "--list")
    assert status == FINE and out.splitlines()[0].split()[1:] == FORMATS
    said, model = {}, None
    for line in out.splitlines()[1:]:
        if line and line[0] != " ":
            model = said.setdefault(line, [])
        elif line:
            model.append([w for w in line.replace(",", "").split() if w not in ("x", "experts", "used")])
    there = {path.stem: [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
             for path in (tsr.ROOT / "bench/shapes").glob("*.txt")}
    assert said == there
    assert set(there) == {"qwen2.5-0.5b", "llama-1b", "llama-8b", "llama-70b", "qwen3-30b-a3b"}


def test_formats_that_do_not_fit_are_left_out_and_named(tmp_path):
    path = shapes_file(tmp_path, "a 32 96\nb 32 256\n")
    out, err = bench("--shapes", path, "--types", "Q4_K,Q4_0", "-M", "1", "-o", "json", *LITTLE)
    assert [(r["shape"], r["type"]) for r in json.loads(out)] == [("a", "Q4_0"), ("b", "Q4_K"), ("b", "Q4_0")]
    assert "shapes a: left out Q4_K, whose blocks do not fit rows of 96 weights" in err
    status, out, err = cli("bench", "--op", "matmul", "--shapes", path, "--types", "Q8_0", "--output", tmp_path / "x", "-M", "1", *LITTLE)
    assert status == FINE and out == "" and "Q8_0" in (tmp_path / "x").read_text()
    (tmp_path / "x").write_text("old")
    path = shapes_file(tmp_path, "a 32 96\n")
    status, out, err = cli("bench", "--op", "matmul", "--shapes", path, "--types", "Q4_K", "--output", tmp_path / "x", *LITTLE)
    assert status == FAILED and "nothing was measured" in err and (tmp_path / "x").read_text() == "old"


def test_too_little_memory_is_an_error_and_the_rest_is_measured(tmp_path):
    path = shapes_file(tmp_path, "big 16777216 16777216\nlarge 100000 4096 64 2\nsmall 32 256\n")
    status, out, err = cli("bench", "--op", "matmul", "--shapes", path, "--types", "Q8_0", "-M", "1", "-o", "json", *LITTLE)
    assert status == FAILED and [r["shape"] for r in json.loads(out)] == ["small"]
    assert err.count("GB of memory, more than the 0.2 GB allowed; allow more (--max-memory)") == 2 and "shapes big, Q8_0, 1 rows" in err


@pytest.mark.parametrize("args, words", [
    ([], "--op matmul"), (["--op", "matmull"], "did you mean --op matmul?"), (["--op", ""], "matmul is all there is"),
    (["--op", "matmul", "--types", "Q4_L"], "unknown format \"Q4_L\""), (["--op", "matmul", "--types", "Q4_0,,Q8_0"], "unknown format \"\""),
    (["--op", "matmul", "--types", ",".join(["F16"] * 65)], "more than 64"),
    (["--op", "matmul", "-M", "0"], "--rows must be whole numbers from 1 to 1048576"), (["--op", "matmul", "-M", "1,,2"], "--rows"),
    (["--op", "matmul", "-M", "1,x"], "--rows"), (["--op", "matmul", "-M", "99999999999999999999"], "--rows"), (["--op", "matmul", "-M", ""], "--rows"),
    (["--op", "matmul", "-M", ",".join(["1"] * 65)], "more than 64 numbers"), (["--op", "matmul", "-M=-1"], "--rows"),
    (["--op", "matmul", "-t", "1025"], "--threads must be whole numbers from 0 to 1024"), (["--op", "matmul", "-r", "0"], "--reps"),
    (["--op", "matmul", "-o", "xml"], "--format must be one of md|csv|json"), (["--op", "matmul", "x"], "unexpected argument"),
    (["--op", "matmul", "--max-memory", "nan"], "--max-memory")])
def test_usage_errors(args, words):
    status, out, err = cli("bench", *args)
    assert status == USAGE and words in err and out == ""


@pytest.mark.parametrize("text, words", [
    ("a 1\n", ":1: a line is `name N K`"), ("a 1 2 3\n", ":1: a line is"), ("a 1 2 3 4 5 6 7\n", ":1: a line is"), ("ok 32 32\n\nb -1 2\n", ":3: N must be"),
    ("a 32 0\n", ":1: K must be a whole number from 1 to 16777216, not \"0\""), ("a 99999999999999999999999 2", ":1: N must be"),
    ("a 16777217 2", ":1: N must be"), ("a 0x10 2", "not \"0x10\""), ("a 1e3 2", ":1: N must be"), ("a +3 2", "not \"+3\""),
    ("a 1 2 4 5\n", ":1: the number of experts used must be a whole number from 1 to 4,"), ("a 1 2 5000 1\n", ":1: the number of experts must"),
    ("a 1 2 4 0\n", ":1: the number of experts used"), ("we\"ird 1 2\n", ":1: a name has"), ("x" * 32 + " 1 2\n", ":1: a name has"),
    ("", ": no shapes"), ("# nothing\n", ": no shapes"), (b"a 1\x002\n", "NUL byte"), (b"\xff 1 2\n", "not UTF-8"), ("a 32 32\n" * 1001, ":1001: more than 1000 shapes"),
    ("a" * (1 << 20) + " 1 2\n", "too long for a list of shapes")])
def test_hostile_lists_of_shapes(tmp_path, text, words):
    path = shapes_file(tmp_path, text)
    status, out, err = cli("bench", "--op", "matmul", "--shapes", path)
    assert status == FAILED and words in err and out == "" and (str(path) in err or "list of shapes is" in err), err


def test_lists_of_shapes_that_are_not_there(tmp_path):
    for name, words in [("llama-1", "did you mean llama-1b?"), ("/no/such/file", "No such file"), (tmp_path, "Is a directory"),
                        ("/dev/zero", "too long")]:
        status, _, err = cli("bench", "--op", "matmul", "--shapes", name)
        assert status == FAILED and words in err, err


def test_failures_of_the_machine(tmp_path):
    args = ["bench", "--op", "matmul", "--shapes", shapes_file(tmp_path), "--types", "Q8_0", "-M", "1", *LITTLE]
    for more, words in [(["--cpu-tier", "z80"], "unknown CPU tier 'z80'"), (["--output", "/dev/full"], "No space left"),
                        (["--output", tmp_path / "no" / "x"], "No such file")]:
        status, _, err = cli(*args, *more)
        assert status == FAILED and words in err and err.count("error:") == 1, err
    status, _, err = cli(*args, stdin=None)
    assert status == FINE, err
    for redirect, wanted, words in [(">/dev/full", FAILED, "No space left"), ("| head -c 1 >/dev/null", FINE, "")]:
        command = " ".join(map(str, [BINARY, *args, "-M", "1,2,3,4,5,6,7,8", redirect]))
        p = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, timeout=60, env=environment())
        assert p.returncode == wanted and words in p.stderr.decode() and (words or not p.stderr), p.stderr


def test_interrupted_it_keeps_what_there_is(tmp_path):
    out = tmp_path / "result.json"
    p = subprocess.Popen([BINARY, "bench", "--op", "matmul", "--shapes", shapes_file(tmp_path), "-o", "json", "--output", out, "-r", "50", *LITTLE[2:]],
                         stderr=subprocess.PIPE, env=environment())
    deadline = time.monotonic() + 30
    while not any(f.stat().st_size > 0 for f in tmp_path.glob("result.json.tmp*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    p.send_signal(signal.SIGINT)
    err = p.stderr.read().decode()
    assert p.wait(timeout=30) == INTERRUPTED and "interrupted: " in err
    found = json.loads(out.read_text())
    assert 1 <= len(found) < 150 and f"interrupted: {len(found)} of 150 products measured" in err
    for r in found:
        check_row(r)
