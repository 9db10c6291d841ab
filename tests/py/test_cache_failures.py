"""What may fail around the cache of packed weights, and around loading: system calls, disks, directories, limits, and
people. Nothing stops a start that could go on, nothing is left that a later one would believe. Those who write:
test_cache_writers.py."""
import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from cache_runs import (EIO, ENOSPC, GREEDY, big, cache, expected, filled, make, model, only_file,  # noqa: F401
                        outcome, packs_with_a_warning, run, shim, start)
from cli_models import BINARY, FAILED, FINE, USAGE, cli, environment

ENOTSUP = 95


# ----------------------------------------------------------------------------------------------- system calls that fail


@pytest.mark.parametrize(
    "call,after",
    [
        ("fallocate", 0),
        ("pwrite", 0),
        ("pwrite", 5 << 20),
        ("ftruncate", 0),
        ("ftruncate", 1),
        ("fsync", 0),
        ("renameat", 0),
        ("openat", 0),
    ],
)
@pytest.mark.parametrize("errno", [ENOSPC, EIO])
def test_writing_fails(model, cache, expected, shim, call, after, errno):
    env = {"LD_PRELOAD": shim, "SHIM_FAIL": f"{call}:{errno}", "SHIM_AFTER": str(after)}
    warning = packs_with_a_warning(
        model, cache, expected, "No space left on device" if errno == ENOSPC else "Input/output error", env=env
    )
    assert str(cache) in warning and "--no-cache" in warning and "--cache-dir" in warning
    assert not list(cache.iterdir())


@pytest.mark.parametrize("call", ["close", "futimens", "flock"])
@pytest.mark.parametrize("errno", [ENOTSUP, EIO])
def test_what_is_not_needed_fails(model, cache, expected, shim, call, errno):
    env = {"LD_PRELOAD": shim, "SHIM_FAIL": f"{call}:{errno}"}
    assert start(model, cache, env=env) == (expected, "packed", "")
    assert start(model, cache, env=env) == (expected, "mapped", "")
    assert only_file(cache)


@pytest.mark.parametrize(
    "call,reason",
    [
        ("pread", "cannot be read: Input/output error"),
        ("openat", "cannot be opened: Input/output error"),
        ("mmap", "cannot map .*Input/output error"),
    ],
)
def test_reading_fails(model, cache, filled, expected, shim, call, reason):
    packs_with_a_warning(model, cache, expected, reason, env={"LD_PRELOAD": shim, "SHIM_FAIL": f"{call}:{EIO}"})
    assert start(model, cache) == (expected, "mapped", "")


def test_reading_the_model_fails(model, cache, expected, shim, tmp_path):
    """Weights that the system does not read are taken from the mapping, which says what is wrong if that is lost too."""
    ours = tmp_path / "model.packed.gguf"  # a name that the shim knows
    ours.write_bytes(pathlib.Path(model).read_bytes())
    log = tmp_path / "calls"
    env = {"LD_PRELOAD": shim, "SHIM_FAIL": f"pread:{EIO}", "SHIM_LOG": str(log)}
    assert run(ours, "--no-cache", env=env)[0] == expected
    assert "pread" in log.read_text()


@contextlib.contextmanager
def small_disk(place, size):
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", place], capture_output=True
    ).returncode:
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
    for place, why in (
        ("file", "Not a directory|File exists"),
        ("file/below", "Not a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("loop/below", "Too many levels of symbolic links"),
        ("dangling", "No such file"),
    ):
        assert "--cache-dir" in packs_with_a_warning(model, tmp_path / place, expected, why)
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    packs_with_a_warning(model, tmp_path / "open", expected, "chmod 700")
    assert not list((tmp_path / "open").iterdir())


def test_no_home(big, tmp_path):
    """Without a directory to be found, weights are packed, and it is said why they are not kept; a relative or empty
    one counts as none."""
    lost = [["HOME=", "XDG_CACHE_HOME="], ["-u", "HOME", "-u", "XDG_CACHE_HOME"], ["HOME=home", "XDG_CACHE_HOME=cache"]]
    for change in lost:
        p = subprocess.run(
            ["env", *change, BINARY, "run", "-m", str(big), *GREEDY],
            env=environment(),
            capture_output=True,
            timeout=60,
            cwd=tmp_path,
        )
        how, warning = outcome(p.stderr.decode())
        assert (
            p.returncode == FINE
            and how == "packed"
            and "neither XDG_CACHE_HOME nor HOME" in warning
            and "--cache-dir" in warning
        )
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
        return subprocess.run(
            [BINARY, *map(str, args)],
            env=environment(),
            capture_output=True,
            timeout=60,
            user=12345 if os.geteuid() == 0 else None,
        )
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
    assert (
        p.returncode == 0 and json.loads(p.stdout)["tokens"] == expected and b"Permission denied" in p.stderr
    ), p.stderr


# ------------------------------------------------------------------------------------------- what a new user may do


@pytest.mark.parametrize(
    "args,words",
    [
        (
            ["--cache-limit", "abc"],
            '--cache-limit must be a whole number of bytes above 0, or one with K, M, G or T (like 20G), not "abc"',
        ),
        (["--cache-limit", "0"], 'above 0'),
        (["--cache-limit", "1.5G"], 'whole number'),
        (["--cache-limit", "-1"], "above 0"),
        (["--cache-limit"], "--cache-limit needs a value"),
        (["--cache-dir"], "--cache-dir needs a value: --cache-dir DIR"),
        (["--cache-dir", ""], "--cache-dir is empty"),
        (["--cache-dir="], "--cache-dir is empty"),
        (["--numa", "foo"], "--numa must be one of"),
        (["--huge-pages", "maybe"], "--huge-pages must be one of auto|on|off"),
        (["--cache-dirs", "x"], "did you mean --cache-dir?"),
    ],
)
def test_wrong_flags(model, args, words):
    status, out, err = cli("run", "-m", model, "-p", "x", *args)
    assert status == USAGE and out == "" and words in err and err.count("\n") == 1, err


def test_small_machine(model, cache, expected):
    """One CPU, no huge pages, a limit that makes no sense in the environment: it runs, and says what it must."""
    def lessen():
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE
    for how in ("packed", "read"):
        p = subprocess.run(
            [BINARY, "run", "-m", model, *GREEDY, "--cache-dir", cache, "--huge-pages", "on", "-t", "8"],
            env=environment(),
            preexec_fn=lessen,
            capture_output=True,
            timeout=60,
        )
        err = p.stderr.decode()
        assert p.returncode == FINE and json.loads(p.stdout)["tokens"] == expected and outcome(err) == (how, "")
        assert "8 threads were asked for, but this process may use 1 CPU" in err and "--huge-pages on: 0 of" in err
    warning = packs_with_a_warning(
        model, cache / "other", expected, "TESSERA_CACHE_LIMIT is no size", env={"TESSERA_CACHE_LIMIT": "lots"}
    )
    assert "give bytes, or a number with K, M, G or T" in warning


# ------------------------------------------------------------------------------------------------------------ limits

def limited(model, cache, limit, *args):
    command = [
        "bash",
        "-c",
        f'ulimit {limit}; exec "$@"',
        "-",
        BINARY,
        "run",
        "-m",
        str(model),
        *GREEDY,
        "--cache-dir",
        str(cache),
        *args,
    ]
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
        assert (status == FINE) == bool(out) and (
            status == FINE or re.search("cannot (allocate|map|load|start)|out of memory|shared object", err)
        ), (mib, err)
        assert all(f.suffix == ".packed" for f in cache.glob("*"))
    assert outcomes[0] != FINE and outcomes[-1] == FINE
    assert cli("cache", "verify", "--cache-dir", cache)[0] == FINE and only_file(cache)


@pytest.mark.skipif(
    "TESSERA_TEST_CGROUP" not in os.environ,
    reason="TESSERA_TEST_CGROUP names no cgroup (v2, with the memory controller) to make others in",
)
def test_limit_of_memory(big, cache):
    """In a cgroup with room for the packed weights but not for the file beside them, a start goes on; killed for want
    of memory, it leaves at most a temporary file."""
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
    """At most 1.1 times the larger of file and packed size, and what the program needs anyway; packing, writing and
    mapping."""
    status, out, err = cli("info", "-m", big, "--json", "--no-cache")
    size = max(big.stat().st_size, json.loads(out)["packed_bytes"])
    for args in (["--no-cache"], ["--cache-dir", cache], ["--cache-dir", cache], ["--cache-dir", cache, "--no-mmap"]):
        p = subprocess.Popen(
            [BINARY, "run", "-m", big, "--raw", "-p", "abc", "-n", "40", "--ignore-eos", "-c", "256", *map(str, args)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        peak = 0  # ru_maxrss would also count what this process had when it forked
        while p.poll() is None:
            found = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{p.pid}/status").read_text())
            name = pathlib.Path(f"/proc/{p.pid}/comm").read_text().strip()
            peak = max(peak, int(found[1]) * 1024) if found and name == "tessera" else peak
            time.sleep(0.002)
        assert p.returncode == FINE and size / 2 < peak < 1.1 * size + (30 << 20), (args, peak / size)
    assert [f.suffix for f in cache.iterdir()] == [".packed"]
