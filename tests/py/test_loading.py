"""Loading as a user sees it: huge pages, locked memory, reading instead of mapping, progress, Ctrl-C, one CPU."""
import ctypes
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

import pexpect
import pytest

import make_model as mm
import tsr
from cli_models import BINARY, FAILED, FINE, INTERRUPTED, TEMPLATE, environment

PR_CAPBSET_DROP, PR_SET_THP_DISABLE, CAP_IPC_LOCK = 24, 41, 14
GREEDY = ["--raw", "-p", "abc", "-n", "6", "-c", "256", "--temp", "0", "--ignore-eos", "--json"]
THP = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
libc = ctypes.CDLL(None)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """About 110 MB of weights."""
    path = tmp_path_factory.mktemp("loading") / "model.gguf"
    built = mm.build(mm.Spec(embd=1024, ff=4096, layers=12, heads=8, kv_heads=8, key=128, qtype="Q4_0", plain=True), seed=1)
    built.kv["tokenizer.chat_template"] = mm.typed(TEMPLATE)
    mm.save(built, path)
    return path


def run(model, *args, before=None):
    p = subprocess.run([BINARY, "run", "-m", model, *GREEDY, *map(str, args)], capture_output=True, text=True, timeout=60,
                       env=environment(), preexec_fn=before)
    return p.returncode, p.stdout, p.stderr


def tokens(model, *args, before=None):
    status, out, err = run(model, *args, before=before)
    assert status == FINE, err
    return json.loads(out)["tokens"], [line for line in err.splitlines() if "tok/s" not in line and not line.startswith("{")]


@pytest.fixture(scope="module")
def expected(model):
    return tokens(model, "--no-cache")[0]


def smaps(model, *args):
    """The kernel's account of the mappings of a program that has loaded the model and waits for a question: [(name, {key: kB})]"""
    p = subprocess.Popen([BINARY, "chat", "-m", model, "-c", "256", "-n", "1", *map(str, args)], env=environment(),
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    p.stdin.write(b"hello\n")
    p.stdin.flush()
    assert p.stdout.read(1)
    text = pathlib.Path(f"/proc/{p.pid}/smaps").read_text()
    p.stdin.close()
    p.stdout.read()
    assert p.wait(60) == FINE
    areas = []
    for line in text.splitlines():
        head = re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)", line)
        value = re.match(r"(\w+): +(\d+) kB", line)
        if head:
            areas.append((head[1], {}))
        elif value:
            areas[-1][1][value[1]] = int(value[2])
    return areas


def kilobytes(areas, key, name=None):
    return sum(values.get(key, 0) for area, values in areas if name is None or area == name)


# --------------------------------------------------------------------------------------------------------- huge pages


@pytest.mark.skipif(not THP.exists() or "[never]" in THP.read_text(), reason="this kernel gives no huge pages")
def test_huge_pages(model, expected):
    size = model.stat().st_size // 1024
    used = {choice: kilobytes(smaps(model, "--no-cache", "--huge-pages", choice), "AnonHugePages") for choice in ("auto", "on", "off")}
    assert used["auto"] > 0.85 * size and used["on"] > 0.85 * size and used["off"] < 0.3 * size, (used, size)
    assert tokens(model, "--no-cache", "--huge-pages", "on") == (expected, [])


@pytest.mark.parametrize("more", [[], ["--no-packed"]])
def test_no_huge_pages_to_be_had(model, more):
    """A start without them is none that fails: it says how many there are, and why."""
    def forbid():
        assert libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0

    status, out, err = run(model, "--no-cache", "--huge-pages", "on", *more, before=forbid)
    assert status == FINE
    assert re.search(r"--huge-pages on: 0 of \d+ MB of weights are in huge pages: they are switched off for this process", err), err
    status, out, err = run(model, "--no-cache", *more, before=forbid)
    assert status == FINE and "huge" not in err, "auto takes what there is"


# -------------------------------------------------------------------------------------------------------------- mlock


def limit_locking():
    """Root may lock what it likes, unless it loses that right before it becomes another program."""
    if os.geteuid() == 0:
        assert libc.prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0) == 0
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))


@pytest.mark.parametrize("more", [["--no-cache"], ["--no-cache", "--no-packed"], ["--no-cache", "--no-packed", "--no-mmap"]])
def test_mlock_beyond_the_limit(model, more):
    status, out, err = run(model, "--mlock", *more, before=limit_locking)
    assert status == FAILED and not out
    assert re.search(r"cannot lock \d+ bytes in memory: the limit is 1048576 \(raise it with ulimit -l, or leave out --mlock\)", err), err
    assert int(re.search(r"lock (\d+)", err)[1]) > 1 << 20, "what is locked already counts, too"
    assert tokens(model, *more, before=limit_locking)[1] == []


def test_mlock(model):
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if os.geteuid() != 0 and hard != resource.RLIM_INFINITY:
        pytest.skip("this user may not lock enough")
    areas = smaps(model, "--no-cache", "--mlock")
    assert kilobytes(areas, "Locked") > 0.85 * model.stat().st_size / 1024
    assert kilobytes(smaps(model, "--no-cache"), "Locked") == 0


# ------------------------------------------------------------------------------------------------ mapped or read


def test_what_stays_mapped(model, expected):
    """Packing and --no-mmap leave next to nothing of the file in this process; --no-packed is the file."""
    size = model.stat().st_size // 1024
    for args, least, most in ((["--no-cache"], 0, 0.2), (["--no-cache", "--no-packed"], 0.7, 1.01), (["--no-cache", "--no-packed", "--no-mmap"], 0, 0.2)):
        resident = kilobytes(smaps(model, *args), "Rss", str(model))
        assert least * size <= resident <= most * size, (args, resident, size)
    assert tokens(model, "--no-cache", "--no-mmap")[0] == expected


def test_truncated_while_it_is_packed(model, tmp_path):
    """What reading does not find, the mapping tells: an error with the file's name, no signal."""
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(model.read_bytes())
    hit = 0
    for wait in (0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.05):
        p = subprocess.Popen([BINARY, "run", "-m", copy, *GREEDY, "--no-cache"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
        time.sleep(wait)
        os.truncate(copy, 60 << 20)
        out, err = p.communicate(timeout=60)
        assert p.returncode in (FINE, FAILED), (p.returncode, err)
        hit += "truncated or became unreadable while it was in use" in err and "copy.gguf" in err
        copy.write_bytes(model.read_bytes())
    assert hit > 0


# ----------------------------------------------------------------------------------------------- progress and Ctrl-C


def hold(pid, cache):
    """Lets half a second pass while it packs: then progress is shown. False when it was too fast."""
    while not list(cache.glob("*.tmp")):
        if list(cache.glob("*.packed")):
            return False
        time.sleep(0.0005)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.7)
    os.kill(pid, signal.SIGCONT)
    return True


def test_events(model, tmp_path):
    seen = 0
    for i in range(8):
        cache = tmp_path / f"cache{i}"
        p = subprocess.Popen([BINARY, "run", "-m", model, *GREEDY, "--cache-dir", cache], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env=environment())
        hold(p.pid, cache)
        out, err = p.communicate(timeout=60)
        assert p.returncode == FINE
        events = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
        assert events[-1]["event"] == "loaded" and events[-1]["packed_weights"] == "packed" and events[-1]["seconds"] > 0, err
        for e in events[:-1]:
            assert e["event"] == "loading" and 0 < e["done"] <= e["total"] <= model.stat().st_size and e["per_second"] > 0 and e["seconds_left"] >= 0
        seen += len(events) > 1
    assert seen > 0


def test_progress_on_a_terminal(model, tmp_path):
    for i in range(8):
        cache = tmp_path / f"cache{i}"
        p = pexpect.spawn(BINARY, ["run", "-m", str(model), *GREEDY, "--cache-dir", str(cache), "--color", "never"], env=environment(), timeout=30,
                          encoding="utf-8", dimensions=(40, 100))
        hold(p.pid, cache)
        shown = p.expect([r"\rloading +\d+ %  [\d.]+ [kMG]?B/s  [\d:]+( s)? left\x1b\[K.*\r\x1b\[K", pexpect.EOF]) == 0
        p.read()
        p.close()
        assert p.exitstatus == FINE
        if shown:
            return
    pytest.fail("no progress line in eight starts")


@pytest.mark.parametrize("more", [["--no-cache"], ["--no-cache", "--no-packed", "--no-mmap"]])
def test_ctrl_c(model, more, tmp_path):
    """In the middle of loading: status 130, no answer, and nothing left."""
    hit = 0
    for wait in (0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06):
        p = subprocess.Popen([BINARY, "run", "-m", model, *GREEDY, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env=environment(TMPDIR=str(tmp_path), XDG_CACHE_HOME=str(tmp_path)))
        time.sleep(wait)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        if p.returncode == INTERRUPTED and not out:
            hit += err.strip() == "interrupted"
    assert hit > 0 and not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------------- one CPU


def test_one_cpu(model, expected, tmp_path):
    cpu = min(os.sched_getaffinity(0))
    before = lambda: os.sched_setaffinity(0, {cpu})
    assert tokens(model, "--cache-dir", tmp_path / "cache", before=before)[0] == expected
    assert tokens(model, "--cache-dir", tmp_path / "cache", before=before)[0] == expected, "from the cache"
    assert any("this process may use 1 CPU" in line for line in tokens(model, "--no-cache", "-t", 4, before=before)[1])


# ------------------------------------------------------------------------------------------------- the measurements


def test_bench(model, tmp_path):
    """bench/loading.py: all ways of starting, what is saved, and no peak of its own in those of others."""
    peer = tmp_path / "llama-bench"
    peer.write_text('#!/bin/sh\necho \'{"build_commit": "abc", "avg_ts": 1}\'\n')
    peer.chmod(0o755)
    command = [sys.executable, tsr.ROOT / "bench/loading.py", BINARY, model, "--llama-bench", peer, "--rounds", "2", "--settle", "0", "--threads", "1",
               "--scratch", tmp_path, "--output", tmp_path / "out"]
    p = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, env=environment())
    assert p.returncode == 0, p.stderr
    saved = json.loads((tmp_path / "out.json").read_text())
    assert saved["about"]["llama.cpp"] == "abc" and saved["about"]["rounds"] == 2
    case = saved["medians"][0]
    assert set(case["medians"]) == {"packing", "first", "warm", "mmap", "llama.cpp", "llama.cpp-plain", "bound"}
    assert case["packed_bytes"] > 0.8 * case["file_bytes"]
    for way, of in case["facts"]["peak_to_larger"].items():
        assert of < (0.5 if "llama" in way else 1.6), (way, of)
    assert case["medians"]["warm"]["least_load_seconds"] < case["medians"]["packing"]["load_seconds"]
    assert (tmp_path / "out.txt").read_text().endswith(p.stdout) and p.stdout.count("| 1 |") == 7
    assert subprocess.run([sys.executable, command[1], BINARY, tmp_path / "none.gguf"], capture_output=True).returncode == 2
