"""The cache of packed weights: it is used, it is never believed, and nothing that is wrong with it stops a start."""
import concurrent.futures
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

import pytest

import make_model as mm
from cli_models import BINARY, FAILED, FINE, INTERRUPTED, USAGE, cli, environment

HERE = pathlib.Path(__file__).parent
HEAD, TENSOR = 1024, 184  # bytes of the format: before the directory, of a tensor in it
ENOSPC, EIO = 28, 5


def make(path, seed=3):
    """About 10 MB of weights, so that several pieces are written."""
    mm.save(mm.build(mm.Spec(embd=512, ff=1024, layers=4, heads=8, kv_heads=4, key=64, qtype="Q8_0", name="cached", plain=True), seed=seed), path)
    old = time.time() - 60  # settled: its times will tell a change
    os.utime(path, (old, old))
    with open(path, "r+b") as f:
        os.fsync(f.fileno())  # pages on disk can be dropped from memory
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = make(tmp_path_factory.mktemp("model") / "model.gguf")
    time.sleep(2.1)  # and so will the time of its last change
    return path


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    library = tmp_path_factory.mktemp("shim") / "fault_shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "fault_shim.c", "-ldl"], check=True)
    return str(library)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def run(model, *args, env=None, timeout=60):
    """(tokens, stderr) of a short greedy run."""
    status, out, err = cli("run", "-m", model, "--raw", "-p", "abc", "-n", 6, "--temp", 0, "--ignore-eos", "--json", *args, env=env, timeout=timeout)
    assert status == FINE, err
    return json.loads(out)["tokens"], err


def start(model, cache, *args, env=None):
    """(tokens, what became of the packed weights, warnings) of a run with that cache."""
    tokens, err = run(model, "--cache-dir", cache, *args, env=env)
    events = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    return tokens, events[-1]["packed_weights"], "\n".join(line for line in err.splitlines() if "warning" in line)


@pytest.fixture(scope="module")
def expected(model):
    return run(model, "--no-cache")[0]


def only_file(cache):
    files = sorted(cache.iterdir())
    assert len(files) == 1 and files[0].suffix == ".packed", files
    return files[0]


@pytest.fixture
def filled(model, cache, expected):
    assert start(model, cache) == (expected, "packed", "")
    return only_file(cache)


def check_rebuilt(model, cache, expected, reason):
    """The next start names the file and why, packs, and the one after it maps again."""
    name = only_file(cache).name
    tokens, how, warning = start(model, cache)
    assert (tokens, how) == (expected, "packed")
    assert name in warning and re.search(reason, warning) and "packed anew" in warning, warning
    assert start(model, cache) == (expected, "mapped", "")


# --------------------------------------------------------------------------------------------------- it works

def test_second_start_maps(model, cache, filled, expected):
    assert (cache.stat().st_mode & 0o777, filled.stat().st_mode & 0o777) == (0o700, 0o600)
    assert start(model, cache) == (expected, "mapped", "")
    assert start(model, cache, "--no-mmap") == (expected, "read", "")
    assert start(model, cache, "--huge-pages", "off", "--no-cache") == (expected, "packed", "")
    assert start(model, cache, "--mlock")[:2] == (expected, "mapped")


def test_default_directory(model, tmp_path, expected):
    """Small models are not worth a file unless a directory is named; where it would be is seen with `cache ls`."""
    assert run(model, env={"XDG_CACHE_HOME": str(tmp_path)})[0] == expected
    assert not list(tmp_path.rglob("*.packed"))
    assert start(model, tmp_path / "tessera/packed")[1] == "packed"
    assert "cached (model.gguf)" in cli("cache", "ls", env={"XDG_CACHE_HOME": str(tmp_path)})[1]
    home = tmp_path / "home"
    (home / ".cache/tessera").mkdir(parents=True)
    (tmp_path / "tessera/packed").rename(home / ".cache/tessera/packed")
    assert "1 file" in cli("cache", "ls", env={"XDG_CACHE_HOME": "relative, which counts as none", "HOME": str(home)})[1]


def test_copies_of_a_model_share_a_file(model, cache, filled, expected, tmp_path):
    copy = tmp_path / "copy.gguf"
    shutil.copyfile(model, copy)
    assert start(copy, cache)[1:] == ("mapped", "")
    assert only_file(cache) == filled


@pytest.mark.parametrize("settled", [True, False])
def test_other_weights_are_noticed(cache, tmp_path, settled):
    """Same size, same name, same time of modification: the file is not taken for what it was."""
    path, other = make(tmp_path / "model.gguf"), make(tmp_path / "other.gguf", seed=4)
    if settled:
        time.sleep(2.1)
    assert start(path, cache)[1] == "packed"
    data, times = bytearray(path.read_bytes()), path.stat()
    changed = other.read_bytes()
    at = len(data) // 2 + 300000  # not where samples are taken
    data[at:at + 1000] = changed[at:at + 1000]
    assert bytes(data) != path.read_bytes()
    with open(path, "r+b") as f:
        f.write(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    tokens, how, warning = start(path, cache)
    assert how == "packed" and "made from other weights" in warning
    assert tokens == run(path, "--no-cache")[0]
    assert start(path, cache)[1:] == ("mapped", "")


def test_source_is_not_read(model, filled, cache):
    """A warm start of a known model leaves the pages of packed tensors alone."""
    status, out, err = cli("info", "-m", model, "--json", "--cache-dir", cache)
    assert status == FINE and json.loads(out)["packed_bytes"] > 8e6
    script = (f"import ctypes, mmap, os\nfd = os.open({str(model)!r}, 0)\nn = os.fstat(fd).st_size\nos.posix_fadvise(fd, 0, 0, 4)\n"
              "m = mmap.mmap(fd, n, access=mmap.ACCESS_COPY)\nv = (ctypes.c_ubyte * ((n + 4095) // 4096))()\n"
              "a = ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
              "ctypes.CDLL(None).mincore(ctypes.c_void_p(a), ctypes.c_size_t(n), v)\nprint(sum(x & 1 for x in v) * 4096)")
    before = int(subprocess.run(["python3", "-c", script], capture_output=True, check=True).stdout)
    assert start(model, cache)[1] == "mapped"
    peek = script.replace("os.posix_fadvise(fd,0,0,4)", "")
    after = int(subprocess.run(["python3", "-c", peek], capture_output=True, check=True).stdout)
    if before > 1e6:
        pytest.skip("this file system does not drop pages when told to")
    assert after < 5e6  # of some 9 MB: header, embeddings, samples, and what is read ahead of these


# -------------------------------------------------------------------------------------------- it is never believed

def damage(path, at, bytes_=None, flip=None):
    with open(path, "r+b") as f:
        f.seek(at)
        old = f.read(1)
        f.seek(at)
        f.write(bytes_ if bytes_ is not None else bytes([old[0] ^ flip]))


def test_bit_flips(model, cache, filled, expected):
    """Anywhere in header, directory and data."""
    rng = random.Random(7)
    size, data = filled.stat().st_size, 2 << 20
    n_tensors = int.from_bytes(filled.read_bytes()[12:16], "little")
    places = [rng.randrange(0, 512) for _ in range(4)] + [rng.randrange(HEAD, HEAD + n_tensors * TENSOR) for _ in range(4)]
    places += [rng.randrange(data, size) for _ in range(6)] + [data, size - 1]
    good = filled.read_bytes()
    for at in places:
        damage(filled, at, flip=1 << rng.randrange(8))
        tokens, how, warning = start(model, cache)
        assert (tokens, how) == (expected, "packed") and "is not used" in warning, (at, warning)
        again = only_file(cache).read_bytes()
        assert again[data:] == good[data:], at


def test_flip_in_the_seen_sources_only_costs_a_look(model, cache, filled, expected):
    damage(filled, 512, flip=1)
    assert start(model, cache) == (expected, "mapped", "")


def test_truncation(model, cache, filled, expected):
    rng = random.Random(5)
    size = filled.stat().st_size
    for n in [0, 7, 511, 1024, rng.randrange(2 << 20), rng.randrange(2 << 20, size), size - 1]:
        os.truncate(filled, n)
        check_rebuilt(model, cache, expected, "too short|bytes, but should have|not written to its end")


@pytest.mark.parametrize("what,reason", [("foreign", "no cache file of Tessera"), ("version", "of version 99"), ("zeros", "not written to its end"),
                                         ("readable", "others may read"), ("link", "symbolic link"), ("two names", "another name"),
                                         ("other model", "another model"), ("pipe", "no regular file"), ("directory", "no regular file|cannot be")])
def test_what_is_no_cache_file(model, cache, filled, expected, tmp_path, what, reason):
    if what == "foreign":
        filled.write_bytes(random.Random(1).randbytes(9 << 20))
    elif what == "version":
        damage(filled, 8, b"\x63\0\0\0")
    elif what == "zeros":
        filled.write_bytes(bytes(filled.stat().st_size))
    elif what == "readable":
        filled.chmod(0o644)
    elif what == "link":
        filled.rename(tmp_path / "elsewhere")
        filled.symlink_to(tmp_path / "elsewhere")
    elif what == "two names":
        os.link(filled, tmp_path / "elsewhere")
    elif what == "other model":
        assert start(make(tmp_path / "other.gguf", seed=9), tmp_path / "cache2")[1] == "packed"
        only_file(tmp_path / "cache2").replace(filled)
    elif what == "pipe":
        filled.unlink()
        os.mkfifo(filled, 0o600)
    elif what == "directory":
        filled.unlink()
        filled.mkdir()
        tokens, how, warning = start(model, cache)
        assert (tokens, how) == (expected, "packed") and re.search(reason, warning)
        return
    check_rebuilt(model, cache, expected, reason)


def test_directory_that_others_may_write(model, cache, filled, expected):
    cache.chmod(0o777)
    tokens, how, warning = start(model, cache)
    assert (tokens, how) == (expected, "packed") and "chmod 700" in warning


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_files_of_somebody_else(model, cache, filled, expected):
    os.chown(filled, 12345, -1)
    check_rebuilt(model, cache, expected, "belongs to another user")
    os.chown(cache, 12345, -1)
    assert "belongs to another user" in start(model, cache)[2]


# ---------------------------------------------------------------------------------------------- failures are notes

def packs_with_a_warning(model, cache, expected, reason, *args, env=None):
    tokens, how, warning = start(model, cache, *args, env=env)
    assert (tokens, how) == (expected, "packed") and re.search(reason, warning), warning
    return warning


@pytest.mark.parametrize("call,after", [("fallocate", 0), ("pwrite", 0), ("pwrite", 5 << 20), ("ftruncate", 1), ("fsync", 0), ("renameat", 0)])
@pytest.mark.parametrize("errno", [ENOSPC, EIO])
def test_writing_fails(model, cache, expected, shim, call, after, errno):
    env = {"LD_PRELOAD": shim, "SHIM_FAIL": f"{call}:{errno}", "SHIM_AFTER": str(after)}
    warning = packs_with_a_warning(model, cache, expected, "No space left on device; make room" if errno == ENOSPC else "Input/output error", env=env)
    assert str(cache) in warning and "--no-cache" in warning
    assert not list(cache.iterdir())


def test_reading_fails(model, cache, filled, expected, shim):
    packs_with_a_warning(model, cache, expected, "cannot be read: Input/output error", env={"LD_PRELOAD": shim, "SHIM_FAIL": f"pread:{EIO}"})


def test_full_disk(model, tmp_path, expected):
    """A real one, where mounting is allowed."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here; the faults of test_writing_fails stand for it")
    try:
        packs_with_a_warning(model, place, expected, "No space left on device; make room", "--cache-limit", "1G")
        assert not list(place.iterdir())
    finally:
        subprocess.run(["umount", place], check=True)


def test_no_place(model, tmp_path, expected):
    packs_with_a_warning(model, "/proc/nowhere", expected, "cannot create the directory")
    (tmp_path / "file").write_text("x")
    packs_with_a_warning(model, tmp_path / "file", expected, "Not a directory|File exists")
    status, out, err = cli("cache", "ls", env={"HOME": "", "XDG_CACHE_HOME": ""})
    assert status == FAILED and "neither XDG_CACHE_HOME nor HOME" in err


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
    common = ["run", "-m", model, "--raw", "-p", "abc", "-n", 6, "--temp", 0, "--ignore-eos", "--json", "--cache-dir", cache]
    p = as_nobody(*common)
    assert p.returncode == 0 and json.loads(p.stdout)["tokens"] == expected and b'"mapped"' in p.stderr
    cache.chmod(0o700)
    filled.unlink()
    cache.chmod(0o500)
    p = as_nobody(*common)
    assert p.returncode == 0 and json.loads(p.stdout)["tokens"] == expected and b"Permission denied" in p.stderr, p.stderr


def test_limit_of_file_size(model, cache, expected):
    command = ["bash", "-c", 'ulimit -f 100; exec "$@"', "-", BINARY, "run", "-m", str(model), "--raw", "-p", "abc", "-n", "6", "--temp", "0",
               "--ignore-eos", "--json", "--cache-dir", str(cache)]
    p = subprocess.run(command, env=environment(), capture_output=True, timeout=60)
    assert p.returncode == 0 and json.loads(p.stdout)["tokens"] == expected and b"ulimit -f" in p.stderr


# --------------------------------------------------------------------------------------------------------- kills

def popen(model, cache, **env):
    command = [BINARY, "run", "-m", str(model), "--raw", "-p", "abc", "-n", "6", "--temp", "0", "--ignore-eos", "--json", "--cache-dir", str(cache)]
    return subprocess.Popen(command, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_killed_at_every_call(model, cache, expected, shim, tmp_path):
    """Before each system call of the writer in turn: at most a temporary file is left, which the next start takes over or removes."""
    log = tmp_path / "log"
    assert start(model, cache, env={"LD_PRELOAD": shim, "SHIM_LOG": str(log)})[1] == "packed"
    calls = log.read_text().split()
    assert calls.count("pwrite") >= 5 and "renameat" in calls
    shutil.rmtree(cache)
    for number in range(len(calls)):
        p = popen(model, cache, LD_PRELOAD=shim, SHIM_KILL=str(number))
        p.communicate(timeout=60)
        assert p.returncode == -signal.SIGKILL, (number, calls[number])
        names = [f.name for f in cache.iterdir()]
        renamed = number > calls.index("renameat")
        assert len(names) == 1 and names[0].endswith(".packed" if renamed else ".packed.tmp"), (number, names)
        if not renamed:
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


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """About 110 MB of weights."""
    path = tmp_path_factory.mktemp("big") / "big.gguf"
    mm.save(mm.build(mm.Spec(embd=1024, ff=4096, layers=12, heads=8, kv_heads=8, key=128, qtype="Q4_0", plain=True), seed=1), path)
    return path


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


def test_peak_memory(big, cache):
    """At most 1.1 times the larger of file and packed size, and what the program needs anyway; packing, writing and mapping."""
    status, out, err = cli("info", "-m", big, "--json", "--no-cache")
    size = max(big.stat().st_size, json.loads(out)["packed_bytes"])
    for args in (["--no-cache"], ["--cache-dir", cache], ["--cache-dir", cache], ["--cache-dir", cache, "--no-mmap"]):
        p = subprocess.Popen([BINARY, "run", "-m", big, "--raw", "-p", "abc", "-n", "100", "--ignore-eos", "-c", "256", *map(str, args)],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
        peak = 0  # ru_maxrss would also count what this process had when it forked
        while p.poll() is None:
            found = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{p.pid}/status").read_text())
            name = pathlib.Path(f"/proc/{p.pid}/comm").read_text().strip()
            peak = max(peak, int(found[1]) * 1024) if found and name == "tessera" else peak
            time.sleep(0.002)
        assert p.returncode == FINE and size / 2 < peak < 1.1 * size + (30 << 20), (args, peak / size)
    assert [f.suffix for f in cache.iterdir()] == [".packed"]


# ------------------------------------------------------------------------------------------ while it is in use

def chatting(model, cache):
    p = subprocess.Popen([BINARY, "chat", "-m", str(model), "--cache-dir", str(cache), "--seed", "1", "-n", "8", "--ignore-eos"], env=environment(),
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdin.write(b"hello\n")
    p.stdin.flush()
    assert p.stdout.read(1)
    return p


@pytest.fixture
def chat_model(tmp_path):
    from cli_models import TEMPLATE
    built = mm.build(mm.Spec(embd=512, ff=1024, layers=4, heads=8, kv_heads=4, key=64, qtype="Q8_0", context=4096, plain=True), seed=3)
    built.kv["tokenizer.chat_template"] = mm.typed(TEMPLATE)
    path = tmp_path / "chat.gguf"
    mm.save(built, path)
    return path


@pytest.mark.parametrize("n", [0, 3 << 20])
def test_truncated_while_mapped(chat_model, cache, n):
    assert start(chat_model, cache)[1] == "packed"
    p = chatting(chat_model, cache)
    os.truncate(only_file(cache), n)
    out, err = p.communicate(b"and now?\n", timeout=60)
    assert p.returncode == FAILED and str(only_file(cache)).encode() in err and b"was truncated" in err, (p.returncode, err)


def test_replaced_while_mapped(chat_model, cache):
    assert start(chat_model, cache)[1] == "packed"
    p = chatting(chat_model, cache)
    other = cache / "other"
    other.write_bytes(b"something else")
    other.replace(only_file(cache) if not other.exists() else next(f for f in cache.iterdir() if f.suffix == ".packed"))
    out, err = p.communicate(b"and now?\n", timeout=60)
    assert p.returncode == FINE, err


# --------------------------------------------------------------------------------------------------- many at once

def test_twenty_starts_at_once(model, cache, expected, shim):
    """One writes, the others wait for it and map."""
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda _: start(model, cache, env={"LD_PRELOAD": shim, "SHIM_SLEEP": "10"}), range(20)))
    assert [tokens for tokens, _, _ in results] == [expected] * 20
    assert sorted(how for _, how, _ in results) == ["mapped"] * 19 + ["packed"] and not any(w for _, _, w in results)
    assert only_file(cache)


def test_a_writer_that_stands_still_is_not_waited_for(model, cache, expected):
    p = popen(model, cache)
    while not list(cache.glob("*.tmp")):
        assert p.poll() is None
        time.sleep(0.001)
    p.send_signal(signal.SIGSTOP)
    try:
        if list(cache.glob("*.packed")):
            pytest.skip("it was quicker")
        assert "stands still" in packs_with_a_warning(model, cache, expected, "another process has begun")
    finally:
        p.send_signal(signal.SIGCONT)
        p.communicate(timeout=60)
    assert start(model, cache) == (expected, "mapped", "")


# ------------------------------------------------------------------------------------------- limits, and looking at it

def test_least_recently_used_goes(cache, tmp_path):
    models = [make(tmp_path / f"{i}.gguf", seed=20 + i) for i in range(3)]
    limit = ["--cache-limit", "30M"]  # two of them
    files = []
    for m in models[:2]:
        before = set(cache.glob("*"))
        assert start(m, cache, *limit)[1:] == ("packed", "")
        files += set(cache.glob("*")) - before
    time.sleep(1.1)
    assert start(models[0], cache, *limit)[1:] == ("mapped", "")
    assert start(models[2], cache, *limit)[1:] == ("packed", "")
    assert files[0].exists() and not files[1].exists() and len(list(cache.iterdir())) == 2
    warning = start(models[1], cache, "--cache-limit", "5M")[2]
    assert "does not fit the limit" in warning and "--cache-limit" in warning
    assert "no size" in start(models[1], cache, env={"TESSERA_CACHE_LIMIT": "much"})[2]
    assert cli("run", "-m", models[0], "-p", "x", "--cache-limit", "5X")[0] == USAGE


def test_cache_command(model, cache, filled, tmp_path):
    status, out, err = cli("cache", "ls", "--cache-dir", cache)
    assert status == FINE and filled.name in out and "cached (model.gguf)" in out and "1 file" in out
    entry, = json.loads(cli("cache", "ls", "--json", "--cache-dir", cache)[1])
    assert entry["bytes"] >= filled.stat().st_size and entry["source"] == str(model) and entry["problem"] == "" and not entry["temporary"]
    assert abs(entry["created"] - time.time()) < 60 and abs(entry["used"] - time.time()) < 60
    status, out, err = cli("cache", "verify", filled.name[:6], "--cache-dir", cache)
    assert status == FINE and "good" in out
    damage(filled, filled.stat().st_size - 100, flip=8)
    status, out, err = cli("cache", "verify", "--cache-dir", cache)
    assert status == FAILED and "the checksum of tensor" in out and "cannot be used" in err
    status, out, err = cli("cache", "rm", "zz", "--cache-dir", cache)
    assert status == FAILED and "begins so" in err
    assert cli("cache", "rm", "--cache-dir", cache)[0] == USAGE
    assert cli("cache", "frobnicate")[0] == USAGE
    status, out, err = cli("cache", "rm", filled.name[:8], "--cache-dir", cache)
    assert status == FINE and "1 file removed" in out and not list(cache.iterdir())


def test_verify_compares_with_the_model(cache, tmp_path):
    path = make(tmp_path / "model.gguf")
    start(path, cache)
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(data)
    status, out, err = cli("cache", "verify", "--cache-dir", cache)
    assert status == FAILED and "its model has other weights now" in out
    path.unlink()
    assert cli("cache", "verify", "--cache-dir", cache)[0] == FINE
