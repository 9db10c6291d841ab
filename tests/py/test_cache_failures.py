"""What may go wrong around the cache of packed weights, and around loading at all: nothing stops a start that could go on, and nothing is left
behind that a later one would believe, or that would stay forever."""
import concurrent.futures
import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

from cache_runs import (EIO, ENOSPC, GREEDY, big, cache, chat_model, chatting, damage, expected, filled, make, model,  # noqa: F401 (fixtures)
                        only_file, outcome, packs_with_a_warning, popen, run, shim, start, wait_for)
from cli_models import BINARY, FAILED, FINE, INTERRUPTED, USAGE, cli, environment

ENOTSUP = 95


# ----------------------------------------------------------------------------------------------- system calls that fail

@pytest.mark.parametrize("call,after", [("fallocate", 0), ("pwrite", 0), ("pwrite", 5 << 20), ("ftruncate", 0), ("ftruncate", 1), ("fsync", 0),
                                        ("renameat", 0), ("openat", 0)])
@pytest.mark.parametrize("errno", [ENOSPC, EIO])
def test_writing_fails(model, cache, expected, shim, call, after, errno):
    env = {"LD_PRELOAD": shim, "SHIM_FAIL": f"{call}:{errno}", "SHIM_AFTER": str(after)}
    warning = packs_with_a_warning(model, cache, expected, "No space left on device" if errno == ENOSPC else "Input/output error", env=env)
    assert str(cache) in warning and "--no-cache" in warning and "--cache-dir" in warning
    assert not list(cache.iterdir())


@pytest.mark.parametrize("call", ["close", "futimens", "flock"])
@pytest.mark.parametrize("errno", [ENOTSUP, EIO])
def test_what_is_not_needed_fails(model, cache, expected, shim, call, errno):
    env = {"LD_PRELOAD": shim, "SHIM_FAIL": f"{call}:{errno}"}
    assert start(model, cache, env=env) == (expected, "packed", "")
    assert start(model, cache, env=env) == (expected, "mapped", "")
    assert only_file(cache)


@pytest.mark.parametrize("call,reason", [("pread", "cannot be read: Input/output error"), ("openat", "cannot be opened: Input/output error"),
                                         ("mmap", "cannot map .*Input/output error")])
def test_reading_fails(model, cache, filled, expected, shim, call, reason):
    packs_with_a_warning(model, cache, expected, reason, env={"LD_PRELOAD": shim, "SHIM_FAIL": f"{call}:{EIO}"})
    assert start(model, cache) == (expected, "mapped", "")


@contextlib.contextmanager
def small_disk(place, size):
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here; the faults of test_writing_fails stand for it")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_full_disk(model, tmp_path, expected):
    """A real one, where mounting is allowed; what others hold is removed when that makes room."""
    with small_disk(tmp_path / "small", "4m") as place:
        packs_with_a_warning(model, place, expected, "No space left on device; make room", "--cache-limit", "1G")
        assert not list(place.iterdir())
    with small_disk(tmp_path / "larger", "18m") as place:
        other = make(tmp_path / "other.gguf", seed=8)
        assert start(other, place, "--cache-limit", "1G")[1:] == ("packed", "")
        first = only_file(place)
        assert start(model, place, "--cache-limit", "1G") == (expected, "packed", "")
        assert only_file(place) != first


def test_what_does_not_help_is_not_removed(model, cache, expected, shim, tmp_path):
    """Neither for a disk that is full all the same, nor when what takes the space is being written."""
    assert start(make(tmp_path / "other.gguf", seed=8), cache)[1:] == ("packed", "")
    first = only_file(cache)
    env = {"LD_PRELOAD": shim, "SHIM_FAIL": f"fallocate:{ENOSPC}"}
    packs_with_a_warning(model, cache, expected, "No space left", "--cache-limit", "15M", env=env)
    packs_with_a_warning(model, cache, expected, "does not fit the limit", "--cache-limit", "5M")
    writing = cache / ("0" * 32 + ".packed.tmp")
    writing.write_bytes(b"x" * (12 << 20))
    with open(writing) as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        packs_with_a_warning(model, cache, expected, "does not fit the limit", "--cache-limit", "20M")
        assert first.exists() and writing.exists()
    assert start(model, cache, "--cache-limit", "15M") == (expected, "packed", "")
    assert only_file(cache) != first


# ------------------------------------------------------------------------------------------------------- directories

def test_no_place(model, big, tmp_path, expected):
    packs_with_a_warning(model, "/proc/nowhere", expected, "cannot create the directory")
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for place, why in (("file", "Not a directory|File exists"), ("file/below", "Not a directory"), ("loop", "Too many levels of symbolic links"),
                       ("loop/below", "Too many levels of symbolic links"), ("dangling", "No such file")):
        assert "--cache-dir" in packs_with_a_warning(model, tmp_path / place, expected, why)
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    packs_with_a_warning(model, tmp_path / "open", expected, "chmod 700")
    assert not list((tmp_path / "open").iterdir())


def test_no_home(big, tmp_path):
    """Without a directory to be found, weights are packed, and it is said why they are not kept; a relative or empty one counts as none."""
    lost = [["HOME=", "XDG_CACHE_HOME="], ["-u", "HOME", "-u", "XDG_CACHE_HOME"], ["HOME=home", "XDG_CACHE_HOME=cache"]]
    for change in lost:
        p = subprocess.run(["env", *change, BINARY, "run", "-m", str(big), *GREEDY], env=environment(), capture_output=True, timeout=60, cwd=tmp_path)
        how, warning = outcome(p.stderr.decode())
        assert p.returncode == FINE and how == "packed" and "neither XDG_CACHE_HOME nor HOME" in warning and "--cache-dir" in warning
        assert not list(tmp_path.iterdir())
    for xdg in ("", "relative"):
        status, _, err = cli("cache", "ls", env={"HOME": "", "XDG_CACHE_HOME": xdg})
        assert status == FAILED and "neither XDG_CACHE_HOME nor HOME" in err
    for how in ("packed", "mapped"):
        assert outcome(run(big, env={"HOME": str(tmp_path), "XDG_CACHE_HOME": "relative"})[1]) == (how, "")
    assert only_file(tmp_path / ".cache/tessera/packed")


def test_read_only_directory(model, cache, filled, expected):
    """A file that is there is used, one that is not is not written."""
    def as_nobody(*args):
        return subprocess.run([BINARY, *map(str, args)], env=environment(), capture_output=True, timeout=60, user=12345 if os.geteuid() == 0 else None)
    for p in (cache, *cache.iterdir()):
        if os.geteuid() == 0:
            os.chown(p, 12345, -1)
    for p in (model.parent, *model.parents, cache, *cache.parents):
        if os.geteuid() == 0 and p != cache and str(p).count("/") > 1:
            p.chmod(p.stat().st_mode | 0o055)
    cache.chmod(0o500)
    common = ["run", "-m", model, *GREEDY, "--cache-dir", cache]
    p = as_nobody(*common)
    assert p.returncode == 0 and json.loads(p.stdout)["tokens"] == expected and b'"mapped"' in p.stderr
    p = as_nobody("cache", "rm", "--all", "--cache-dir", cache)
    assert p.returncode == FAILED and b"cannot remove: Permission denied" in p.stderr and b"0 files removed" in p.stdout
    cache.chmod(0o700)
    filled.unlink()
    cache.chmod(0o500)
    p = as_nobody(*common)
    assert p.returncode == 0 and json.loads(p.stdout)["tokens"] == expected and b"Permission denied" in p.stderr, p.stderr


# ------------------------------------------------------------------------------------------- what a new user may do

@pytest.mark.parametrize("args,words", [
    (["--cache-limit", "abc"], '--cache-limit must be a whole number of bytes above 0, or one with K, M, G or T (like 20G), not "abc"'),
    (["--cache-limit", "0"], 'above 0'), (["--cache-limit", "1.5G"], 'whole number'), (["--cache-limit", "-1"], "above 0"),
    (["--cache-limit"], "--cache-limit needs a value"), (["--cache-dir"], "--cache-dir needs a value: --cache-dir DIR"),
    (["--cache-dir", ""], "--cache-dir is empty"), (["--cache-dir="], "--cache-dir is empty"), (["--numa", "foo"], "--numa must be one of"),
    (["--huge-pages", "maybe"], "--huge-pages must be one of auto|on|off"), (["--cache-dirs", "x"], "did you mean --cache-dir?"),
])
def test_wrong_flags(model, args, words):
    status, out, err = cli("run", "-m", model, "-p", "x", *args)
    assert status == USAGE and out == "" and words in err and err.count("\n") == 1, err


def test_small_machine(model, cache, expected):
    """One CPU, no huge pages, a limit that makes no sense in the environment: it runs, and says what it must."""
    def lessen():
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE
    for how in ("packed", "read"):
        p = subprocess.run([BINARY, "run", "-m", model, *GREEDY, "--cache-dir", cache, "--huge-pages", "on", "-t", "8"], env=environment(),
                           preexec_fn=lessen, capture_output=True, timeout=60)
        err = p.stderr.decode()
        assert p.returncode == FINE and json.loads(p.stdout)["tokens"] == expected and outcome(err) == (how, "")
        assert "8 threads were asked for, but this process may use 1 CPU" in err and "--huge-pages on: 0 of" in err
    warning = packs_with_a_warning(model, cache / "other", expected, "TESSERA_CACHE_LIMIT is no size", env={"TESSERA_CACHE_LIMIT": "lots"})
    assert "give bytes, or a number with K, M, G or T" in warning


# ------------------------------------------------------------------------------------------------------------ limits

def limited(model, cache, limit, *args):
    command = ["bash", "-c", f'ulimit {limit}; exec "$@"', "-", BINARY, "run", "-m", str(model), *GREEDY, "--cache-dir", str(cache), *args]
    p = subprocess.run(command, env=environment(), capture_output=True, timeout=60)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def test_limit_of_file_size(model, cache, expected):
    status, out, err = limited(model, cache, "-f 100")
    assert status == FINE and json.loads(out)["tokens"] == expected and "ulimit -f" in err


def test_limit_of_address_space(big, cache):
    """From too little for the file to enough: every failure is a message, and what is kept is whole."""
    outcomes = []
    for mib in (60, 120, 200, 260, 320, 400, 800):
        status, out, err = limited(big, cache, f"-v {mib << 10}", "-t", "2")
        outcomes.append(status)
        assert status in (FINE, FAILED), (mib, status, err)
        assert (status == FINE) == bool(out) and (status == FINE or re.search("cannot (allocate|map|load|start)|out of memory|shared object", err)), (mib, err)
        assert all(f.suffix == ".packed" for f in cache.glob("*"))
    assert outcomes[0] != FINE and outcomes[-1] == FINE
    assert cli("cache", "verify", "--cache-dir", cache)[0] == FINE and only_file(cache)


@pytest.mark.skipif("TESSERA_TEST_CGROUP" not in os.environ, reason="TESSERA_TEST_CGROUP names no cgroup (v2, with the memory controller) to make others in")
def test_limit_of_memory(big, cache):
    """In a cgroup with room for the packed weights but not for the file beside them, a start goes on; killed for want of memory, it leaves at
    most a temporary file."""
    group = pathlib.Path(os.environ["TESSERA_TEST_CGROUP"]) / f"tessera-{os.getpid()}"
    group.mkdir()
    try:
        for limit in (200 << 20, 60 << 20):
            (group / "memory.max").write_text(str(limit))
            script = f'echo $$ > {group}/cgroup.procs && exec "$@"'
            command = ["bash", "-c", script, "-", BINARY, "run", "-m", str(big), *GREEDY, "--cache-dir", str(cache)]
            p = subprocess.run(command, env=environment(), capture_output=True, timeout=60)
            assert p.returncode in ((FINE,) if limit > 100 << 20 else (FINE, FAILED, -signal.SIGKILL)), p.stderr
            assert all(".packed" in f.name for f in cache.iterdir())
    finally:
        group.rmdir()
    run(big, "--cache-dir", cache)
    assert only_file(cache)


def test_peak_memory(big, cache):
    """At most 1.1 times the larger of file and packed size, and what the program needs anyway; packing, writing and mapping."""
    status, out, err = cli("info", "-m", big, "--json", "--no-cache")
    size = max(big.stat().st_size, json.loads(out)["packed_bytes"])
    for args in (["--no-cache"], ["--cache-dir", cache], ["--cache-dir", cache], ["--cache-dir", cache, "--no-mmap"]):
        p = subprocess.Popen([BINARY, "run", "-m", big, "--raw", "-p", "abc", "-n", "40", "--ignore-eos", "-c", "256", *map(str, args)],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        peak = 0  # ru_maxrss would also count what this process had when it forked
        while p.poll() is None:
            found = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{p.pid}/status").read_text())
            name = pathlib.Path(f"/proc/{p.pid}/comm").read_text().strip()
            peak = max(peak, int(found[1]) * 1024) if found and name == "tessera" else peak
            time.sleep(0.002)
        assert p.returncode == FINE and size / 2 < peak < 1.1 * size + (30 << 20), (args, peak / size)
    assert [f.suffix for f in cache.iterdir()] == [".packed"]


# ------------------------------------------------------------------------------------------------------------- kills

def test_killed_at_every_call(model, cache, expected, shim, tmp_path):
    """Before each system call of the writer in turn: at most a temporary file is left, which the next start takes over or removes."""
    log = tmp_path / "log"
    assert start(model, cache, env={"LD_PRELOAD": shim, "SHIM_LOG": str(log)})[1] == "packed"
    calls = log.read_text().split()
    assert calls.count("pwrite") >= 5 and "renameat" in calls and "flock" in calls
    shutil.rmtree(cache)
    for number in (i for i, name in enumerate(calls) if name != "futimens" or calls[i - 1] != name):  # which changes nothing
        p = popen(model, cache, LD_PRELOAD=shim, SHIM_KILL=str(number))
        p.communicate(timeout=60)
        assert p.returncode == -signal.SIGKILL, (number, calls[number])
        names = [f.name for f in cache.iterdir()]
        renamed, made = number > calls.index("renameat"), number >= calls.index("flock")
        assert len(names) == made and all(n.endswith(".packed" if renamed else ".packed.tmp") for n in names), (number, names)
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
    assert p.returncode == FINE and json.loads(line)["tokens"] == expected and b"not kept for the next start: interrupted" in err, err
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
    wait_for(lambda: list(cache.glob("*.tmp")), p)
    time.sleep(0.3)
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
    assert p.returncode == FAILED and str(only_file(cache)).encode() in err and b"was truncated" in err, (p.returncode, err)


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
    """One that was truncated is named, whether its matrices were packed or not; one that got another file in its place goes on."""
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
        assert p.returncode == FAILED and str(chat_model).encode() in err and b"was truncated" in err, (p.returncode, err)


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
    """One that stands still, and one that takes too long; and a file that is no good is read once, not whenever somebody looks."""
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
