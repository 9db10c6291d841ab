"""bench/compare/compare.py: rounds, ratios and their spread, peers that refuse, peers that are not there. The peers are scripts that answer as theirs do."""
import csv
import importlib.util
import json
import subprocess
import sys

import pytest

import tsr
from cli_models import BINARY, tiny

PROGRAM = tsr.ROOT / "bench/compare/compare.py"
LLAMA = """#!/bin/sh
echo "$@" >> {log}
case "$*" in *"-d 7"*) echo "main: error: failed to create context" >&2; exit 1;; esac
echo "some noise"; printf '[\\n {{ "avg_ts": 5.0, "samples_ts": [ 4.0, 5.0 ] }}\\n]\\n'
"""
OPENVINO = """#!/bin/sh
echo "a warning"
case "$3" in 16) echo '{"version": "1", "refused": "no such format"}';; *) echo '{"version": "1", "samples_ts": [2.5, 2.0]}';; esac
"""


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("compare", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def peers(tmp_path):
    for name, text in (("llama.cpp/bin/llama-bench", LLAMA), ("ik_llama.cpp/bin/llama-bench", LLAMA), ("openvino/bin/python", OPENVINO)):
        path = tmp_path / "peers" / name
        path.parent.mkdir(parents=True)
        path.write_text(text.format(log=tmp_path / f"{name.split('/')[0]}.log") if text is LLAMA else text)
        path.chmod(0o755)
        (path.parents[1] / "VERSION").write_text(f"{name.split('/')[0]} 1.2\n")
    return tmp_path / "peers"


def run(*args):
    p = subprocess.run([sys.executable, PROGRAM, BINARY, *map(str, args)], capture_output=True, text=True, timeout=120)
    return p.returncode, p.stdout, p.stderr


def test_rounds_ratios_and_refusals(tmp_path, peers):
    status, out, err = run(tiny(), "--peers-dir", peers, "--peers", "llama.cpp,llama.cpp-plain,ik_llama.cpp,ik_llama.cpp-rtr,openvino", "--also", f"old={BINARY}",
                           "--tests", "pp16,tg3,tg2@d7", "--rounds", "3", "-t", "1", "--lock", tmp_path / "lock", "--output", tmp_path / "x")
    assert status == 0, err
    saved = json.loads((tmp_path / "x.json").read_text())
    rows = {(r["test"], r["engine"]): r for r in saved["summary"]}
    assert len(rows) == 3 * 7
    for test in ("pp16", "tg3"):
        row = rows[test, "llama.cpp"]
        assert row["rounds"] == 3 and row["median_ts"] == row["low_ts"] == row["high_ts"] == 5.0, "the better repetition"
        ours = next(r["samples_ts"] for r in saved["rounds"] if (r["test"], r["engine"]) == (test, "tessera"))
        assert row["ratio"] == pytest.approx(sorted(ours)[1] / 5.0) and row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert rows[test, "old"]["ratio"] > 0 and rows[test, "tessera"]["ratio"] is None
    assert rows["tg2@d7", "llama.cpp"]["note"] == "status 1: main: error: failed to create context" and rows["tg2@d7", "llama.cpp"]["median_ts"] is None
    assert rows["tg2@d7", "ik_llama.cpp"]["median_ts"] == 5.0, "it is asked in its own way"
    assert rows["pp16", "openvino"]["note"] == "no such format" and rows["tg3", "openvino"]["median_ts"] == 2.5
    asked = (tmp_path / "llama.cpp.log").read_text().splitlines()
    assert sum("-p 16 -n 0 -d 0" in line for line in asked) == 2 * 3 and sum("--repack 0" in line for line in asked) == 3 + 3 + 1
    assert sum("-d 7" in line for line in asked) == 2, "who has refused once is not asked again"
    asked = (tmp_path / "ik_llama.cpp.log").read_text()
    assert asked.count("-gp 7,2") == 2 * 3 and asked.count("-rtr 1") == 9
    assert saved["host"]["threads"] == 1 and saved["host"]["versions"]["ik_llama.cpp-rtr"] == "ik_llama.cpp 1.2" and saved["host"]["versions"]["tessera"]
    lines = (tmp_path / "x.csv").read_text().splitlines()
    assert lines[0].startswith("# cpu ") and "llama.cpp 1.2" in lines[1]
    assert len(list(csv.DictReader(lines[2:]))) == 21
    table = [[c.strip() for c in line.strip("|").split("|")] for line in out.splitlines() if line.startswith("|")]
    assert [len(cells) for cells in table] == [10] * 5 and table[0][2] == "tessera t/s" and table[4][1] == "tg2@d7" and table[4][4] == "-"
    assert table[2][-1].endswith("(llama.cpp)") and "- openvino, " in out
    first = [block.splitlines()[0].split()[2] for block in err.split("round ")[1:] for block in [block.split("\n", 1)[1]]]
    assert first == ["tessera:", "old:", "llama.cpp:"], "each round another engine is first"


def test_what_is_missing_or_wrong(tmp_path, peers):
    for args, words in [((tiny(), "--peers-dir", tmp_path / "none"), "build the peers with"), ((tiny(), "--peers", "lama"), "unknown peer 'lama'"),
                        ((tiny(), "--tests", "pp"), "a test is pp512"), ((tmp_path / "none.gguf",), "no such model"), ((tiny(), "--also", "x"), "NAME=VALUE")]:
        status, out, err = run(*args)
        assert status != 0 and words in err and out == "", err


def test_a_run_lost_is_no_refusal(compare, tmp_path):
    """A timeout in a later round leaves the other rounds' figures; ratios pair figures of the same round."""
    speeds = {"tessera": iter([10.0, 20.0, 30.0]), "llama.cpp": iter([5.0, compare.Refused("took more than 1 s"), 10.0])}

    def engine(name):
        def run(model, test):
            got = next(speeds[name])
            if isinstance(got, Exception):
                raise got
            return [got]
        return run

    class Options:
        models, tests, rounds, lock = [tmp_path / "m.gguf"], ["tg8"], 3, None

    results = compare.measure(Options, {name: engine(name) for name in speeds})
    tessera, llama = compare.summary(results)
    assert (tessera["median_ts"], llama["median_ts"], llama["rounds"]) == (20.0, 7.5, 2)
    assert (llama["ratio"], llama["ratio_low"], llama["ratio_high"]) == (2.5, 2.25, 2.75)


def test_interrupted_it_keeps_what_there_is(compare, tmp_path):
    speeds = iter([10.0, 5.0, 12.0, KeyboardInterrupt()])

    def engine(model, test):
        got = next(speeds)
        if isinstance(got, BaseException):
            raise got
        return [got]

    class Options:
        models, tests, rounds, lock = [tmp_path / "m.gguf"], ["tg8", "tg9"], 3, None

    tessera, llama, again, never = compare.summary(compare.measure(Options, {"tessera": engine, "llama.cpp": engine}))
    assert (tessera["median_ts"], llama["ratio"]) == (10.0, 2.0)
    assert (again["median_ts"], never["median_ts"], never["ratio"]) == (None, 12.0, None), "the second test began with the other engine"
    assert again["note"] == "interrupted before"


def test_quartiles(compare):
    assert compare.quartiles([3.0]) == (3.0, 3.0)
    assert compare.quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)
