"""Those who write a file of the cache of packed weights, and those who wait for it: killed, interrupted, slow, many at
once, or with their file replaced; and files that change while they are in use."""
import concurrent.futures
import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import threading
import time

import pytest

from cache_runs import (GREEDY, big, cache, chat_model, chatting, damage, expected, filled, make, model,  # noqa: F401
                        only_file, popen, shim, start, wait_for)
from cli_models import FAILED, FINE, INTERRUPTED, cli

ENOTSUP = 95


# ------------------------------------------------------------------------------------------------------------- kills

def test_killed_at_every_call(model, cache, expected, shim, tmp_path):
    """Before each system call of the writer in turn: at most a temporary file is left, which the next start takes over
    or removes."""
    log = tmp_path / "log"
    assert start(model, cache, env={"LD_PRELOAD": shim, "SHIM_LOG": str(log)})[1] == "packed"
    calls = log.read_text().split()
    assert calls.count("pwrite") >= 5 and "renameat" in calls and "flock" in calls
    shutil.rmtree(cache)
    for number, call in enumerate(calls):
        if number > 0 and call == calls[number - 1] == "futimens":
            continue  # changes nothing
        p = popen(model, cache, LD_PRELOAD=shim, SHIM_KILL=str(number))
        p.communicate(timeout=60)
        assert p.returncode == -signal.SIGKILL, (number, calls[number])
        names = [f.name for f in cache.iterdir()]
        renamed, made = number > calls.index("renameat"), number >= calls.index("flock")
        assert len(names) == made and all(n.endswith(".packed" if renamed else ".packed.tmp") for n in names), (
            number,
            names,
        )
        if made and not renamed:
            assert "left by a killed process" in cli("cache", "ls", "--cache-dir", cache)[1]
        assert start(model, cache) == (expected, "mapped" if renamed else "packed", ""), number
        assert only_file(cache)
        shutil.rmtree(cache)


def test_killed_at_random_times(model, cache, expected, shim):
    rng = random.Random(11)
    for _ in range(12):
        p = popen(model, cache, LD_PRELOAD=shim, SHIM_SLEEP="20")
        time.sleep(rng.uniform(0.0, 0.3))
        p.kill()
        p.communicate()
    tokens, how, warning = start(model, cache)
    assert (tokens, warning) == (expected, "") and only_file(cache)


def test_stale_temporary_of_another_model_goes(model, cache, expected):
    cache.mkdir(mode=0o700)
    stale = cache / ("0" * 32 + ".packed.tmp")
    stale.write_bytes(b"x" * 1000)
    notes = cache / "notes.txt"
    notes.write_text("not ours")
    assert start(model, cache) == (expected, "packed", "")
    assert not stale.exists() and notes.exists()


def test_without_locks(model, cache, expected, shim, tmp_path):
    """Where the file system has none, the age of a temporary file tells whether its writer lives."""
    env = {"LD_PRELOAD": shim, "SHIM_FAIL": f"flock:{ENOTSUP}"}
    name = only_file(cache).name if start(model, cache, env=env)[1] == "packed" else ""
    young, old, own = (cache / (n + ".tmp") for n in ("0" * 32 + ".packed", "1" * 32 + ".packed", name))
    for f in (young, old, own):
        f.write_bytes(b"x" * 1000)
    for f in (old, own):
        os.utime(f, (time.time() - 700,) * 2)
    (cache / name).unlink()
    assert start(model, cache, env=env) == (expected, "packed", "")
    assert sorted(f.name for f in cache.iterdir()) == [young.name, name]
    status, out, err = cli("cache", "rm", "--all", "--cache-dir", cache, env=env)
    assert status == FAILED and "another process is writing it" in err and "1 file removed" in out and young.exists()
    os.utime(young, (time.time() - 700,) * 2)
    assert cli("cache", "rm", "--all", "--cache-dir", cache, env=env)[0] == FINE and not list(cache.iterdir())


def test_writer_whose_file_was_replaced(model, cache, expected, shim):
    """It neither gives its name to the other file nor removes it."""
    for other in (b"of somebody else", None):
        p = popen(model, cache, LD_PRELOAD=shim, SHIM_SLEEP="100")
        temporary, = wait_for(lambda: list(cache.glob("*.tmp")), p)
        wait_for(lambda: temporary.stat().st_size > 0, p)
        temporary.unlink()
        if other:
            temporary.write_bytes(other)
        out, err = p.communicate(timeout=60)
        assert p.returncode == FINE and json.loads(out)["tokens"] == expected and b"removed or replaced" in err, err
        assert [f.read_bytes() for f in cache.iterdir()] == ([other] if other else [])
        shutil.rmtree(cache)
    assert start(model, cache) == (expected, "packed", "") and only_file(cache)


# ------------------------------------------------------------------------------------------------------------ Ctrl-C

def test_interrupted_while_packing(big, cache):
    """Ctrl-C leaves nothing behind."""
    cache.mkdir(mode=0o700)
    hit = 0
    for wait in (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12):
        p = popen(big, cache)
        while p.poll() is None and not list(cache.glob("*.tmp")):
            time.sleep(0.001)
        time.sleep(wait - 0.02)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        if p.returncode == INTERRUPTED and not out:
            hit += 1
            assert not list(cache.iterdir()), err
        for f in cache.iterdir():
            f.unlink()
    assert hit > 0


def test_interrupted_while_keeping(model, cache, expected, shim):
    """After the answer, while the file is written: the answer is there, the file is given up, and a line says so."""
    p = popen(model, cache, LD_PRELOAD=shim, SHIM_SLEEP="300")
    line = p.stdout.readline()
    time.sleep(0.2)
    p.send_signal(signal.SIGINT)
    err = p.communicate(timeout=60)[1]
    assert (
        p.returncode == FINE
        and json.loads(line)["tokens"] == expected
        and b"not kept for the next start: interrupted" in err
    ), err
    assert not list(cache.iterdir())


def test_interrupted_twice_while_keeping(model, cache, expected, shim):
    """The second one does not wait for a disk that hangs. What it leaves, the next start removes."""
    p = popen(model, cache, LD_PRELOAD=shim, SHIM_SLEEP="20000")
    assert json.loads(p.stdout.readline())["tokens"] == expected
    time.sleep(0.1)
    p.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert p.poll() is None  # waits for the call that hangs
    began = time.monotonic()
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=10)
    assert p.returncode == INTERRUPTED and time.monotonic() - began < 5
    assert [f.suffix for f in cache.iterdir()] == [".tmp"]
    assert start(model, cache) == (expected, "packed", "") and only_file(cache)


@pytest.mark.parametrize("twice", [False, True])
def test_interrupted_answer(model, cache, expected, shim, twice):
    """The first Ctrl-C ends the answer and the file is still kept; a second one leaves at once."""
    p = popen(model, cache, "-n", "3000", "-c", "4000", LD_PRELOAD=shim, SHIM_SLEEP="20000" if twice else "100")
    assert b"loaded" in p.stderr.readline()
    time.sleep(0.05)
    p.send_signal(signal.SIGINT)
    assert json.loads(p.stdout.readline())["finish_reason"] == "interrupted"
    if twice:
        time.sleep(0.1)
        p.send_signal(signal.SIGINT)
    p.communicate(timeout=10)
    assert p.returncode == INTERRUPTED
    assert [f.suffix for f in cache.iterdir()] == [".tmp" if twice else ".packed"]
    assert start(model, cache) == (expected, "packed" if twice else "mapped", "") and only_file(cache)


# --------------------------------------------------------------------------------------- files change while in use

@pytest.mark.parametrize("n", [0, 3 << 20])
def test_truncated_while_mapped(chat_model, cache, n):
    assert start(chat_model, cache)[1] == "packed"
    p = chatting(chat_model, "--cache-dir", cache)
    os.truncate(only_file(cache), n)
    out, err = p.communicate(b"and now?\n", timeout=60)
    assert p.returncode == FAILED and str(only_file(cache)).encode() in err and b"was truncated" in err, (
        p.returncode,
        err,
    )


def test_replaced_while_mapped(chat_model, cache):
    assert start(chat_model, cache)[1] == "packed"
    p = chatting(chat_model, "--cache-dir", cache)
    other = cache / "other"
    other.write_bytes(b"something else")
    other.replace(next(cache.glob("*.packed")))
    out, err = p.communicate(b"and now?\n", timeout=60)
    assert p.returncode == FINE, err


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("what", ["truncated", "replaced"])
def test_model_changes_while_mapped(chat_model, what, packed):
    """One that was truncated is named, whether its matrices were packed or not; one that got another file in its place
    goes on."""
    p = chatting(chat_model, "--no-cache", *([] if packed else ["--no-packed"]))
    if what == "truncated":
        os.truncate(chat_model, 5000)
    else:
        other = chat_model.parent / "other"
        other.write_bytes(b"something else")
        other.replace(chat_model)
    out, err = p.communicate(b"and now?\n", timeout=60)
    if what == "replaced":
        assert p.returncode == FINE, err
    else:
        assert p.returncode == FAILED and str(chat_model).encode() in err and b"was truncated" in err, (
            p.returncode,
            err,
        )


def test_model_is_truncated_while_it_is_packed(cache, tmp_path, shim):
    path = make(tmp_path / "model.gguf")
    env = {"LD_PRELOAD": shim, "SHIM_CUT": str(path)}
    status, out, err = cli("run", "-m", path, *GREEDY, "--cache-dir", cache, env=env)
    assert status == FAILED and out == "" and str(path) in err and "was truncated" in err, err
    assert not list(cache.iterdir())


# --------------------------------------------------------------------------------------------------- many at once

@pytest.mark.parametrize("locks", [True, False])
def test_twenty_starts_at_once(model, cache, expected, shim, locks):
    """One writes, the others wait for it and map."""
    env = {"LD_PRELOAD": shim, "SHIM_SLEEP": "10"} | ({} if locks else {"SHIM_FAIL": f"flock:{ENOTSUP}"})
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda _: start(model, cache, env=env), range(20)))
    assert [tokens for tokens, _, _ in results] == [expected] * 20
    assert sorted(how for _, how, _ in results) == ["mapped"] * 19 + ["packed"] and not any(w for _, _, w in results)
    assert only_file(cache)


def test_writers_that_are_not_waited_for(filled, model, cache, expected, shim, tmp_path):
    """One that stands still, and one that takes too long; and a file that is no good is read once, not whenever
    somebody looks."""
    damage(filled, filled.stat().st_size - 5, flip=1)
    slow, log = tmp_path / "slow", tmp_path / "log"
    slow.mkdir(mode=0o700)
    done = threading.Event()

    def write_slowly():
        while not done.wait(0.1):
            os.utime(slow / (filled.name + ".tmp"))

    with contextlib.ExitStack() as stack:
        for place in (cache, slow):
            f = stack.enter_context(open(place / (filled.name + ".tmp"), "w"))
            fcntl.flock(f, fcntl.LOCK_EX)
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(3))
        pool.submit(write_slowly)
        stack.callback(done.set)
        began = time.monotonic()
        still = pool.submit(start, model, cache, env={"LD_PRELOAD": shim, "SHIM_LOG": str(log)})
        moves = pool.submit(start, model, slow)
        for result, why in ((still, "stands still"), (moves, "still writing it, and packing takes no longer")):
            tokens, how, warning = result.result()
            assert (tokens, how) == (expected, "packed") and why in warning and "not kept" in warning
        assert 3 < time.monotonic() - began < 15
    calls = log.read_text().split()
    assert calls.count("openat") > 10 and calls.count("mmap") == 1 and calls.count("pread") == 2
    assert "checksum of tensor" in still.result()[2]
    for place, how in ((cache, "packed"), (slow, "packed")):
        assert start(model, place)[:2] == (expected, how) and only_file(place)
