"""The cache of packed weights: it is used, it is never believed, and people can look after it. What may fail is in
test_cache_failures.py and test_cache_writers.py."""

import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import time

import pytest

from cache_runs import (HEAD, TENSOR, cache, damage, expected, filled, make, model, only_file, run,  # noqa: F401
                        start)
from cli_models import FAILED, FINE, USAGE, cli, tiny


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
    assert (
        "1 file" in cli("cache", "ls", env={"XDG_CACHE_HOME": "relative, which counts as none", "HOME": str(home)})[1]
    )


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
    script = (
        f"import ctypes, mmap, os\nfd = os.open({str(model)!r}, 0)\nn = os.fstat(fd).st_size\n"
        "os.posix_fadvise(fd, 0, 0, 4)\n"
        "m = mmap.mmap(fd, n, access=mmap.ACCESS_COPY)\nv = (ctypes.c_ubyte * ((n + 4095) // 4096))()\n"
        "a = ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
        "ctypes.CDLL(None).mincore(ctypes.c_void_p(a), ctypes.c_size_t(n), v)\nprint(sum(x & 1 for x in v) * 4096)"
    )
    before = int(subprocess.run(["python3", "-c", script], capture_output=True, check=True).stdout)
    assert start(model, cache)[1] == "mapped"
    peek = script.replace("os.posix_fadvise(fd,0,0,4)", "")
    after = int(subprocess.run(["python3", "-c", peek], capture_output=True, check=True).stdout)
    if before > 1e6:
        pytest.skip("this file system does not drop pages when told to")
    assert after < 5e6  # of some 9 MB: header, embeddings, samples, and what is read ahead of these


# -------------------------------------------------------------------------------------------- it is never believed

def test_bit_flips(model, cache, filled, expected):
    """Anywhere in header, directory and data."""
    rng = random.Random(7)
    size, data = filled.stat().st_size, 2 << 20
    n_tensors = int.from_bytes(filled.read_bytes()[12:16], "little")
    places = [rng.randrange(0, 512) for _ in range(4)] + [
        rng.randrange(HEAD, HEAD + n_tensors * TENSOR) for _ in range(4)
    ]
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


@pytest.mark.parametrize(
    "what,reason",
    [
        ("foreign", "no cache file of Tessera"),
        ("version", "of version 99"),
        ("zeros", "not written to its end"),
        ("readable", "others may read"),
        ("link", "symbolic link"),
        ("two names", "another name"),
        ("other model", "another model"),
        ("pipe", "no regular file"),
        ("directory", "no regular file|cannot be"),
    ],
)
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
    listed = json.loads(cli("cache", "ls", "--json", "--cache-dir", cache)[1])
    entry, = listed["files"]
    assert listed["bytes"] == entry["bytes"] and listed["stale"] == listed["damaged"] == 0
    assert (
        entry["bytes"] >= filled.stat().st_size
        and entry["source"] == str(model)
        and entry["problem"] == ""
        and not entry["temporary"]
    )
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


def verify(cache):
    """(status, stdout, {model: (stale, problem)}, counts of stale and damaged ones)"""
    status, out, _ = cli("cache", "verify", "--cache-dir", cache)
    status_json, listed, _ = cli("cache", "verify", "--json", "--cache-dir", cache)
    listed = json.loads(listed)
    assert status == status_json
    return (
        status,
        out,
        {pathlib.Path(f["source"]).name: (f["stale"], f["problem"]) for f in listed["files"]},
        (listed["stale"], listed["damaged"]),
    )


def test_verify_tells_stale_from_damaged(cache, tmp_path):
    """A file whose model was deleted, or is another one now, is whole all the same."""
    paths = [
        make(tmp_path / f"{name}.gguf", seed=30 + i)
        for i, name in enumerate(("kept", "changed", "gone", "other", "no_model", "hurt"))
    ]
    for path in paths:
        start(path, cache)
    hurt = set(cache.iterdir())
    assert verify(cache)[::3] == (FINE, (0, 0)) and len(hurt) == 6
    kept, changed, gone, other, no_model, hurt = paths
    data = bytearray(changed.read_bytes())
    data[-5] ^= 4
    changed.write_bytes(data)
    gone.unlink()
    shutil.copyfile(tiny(), other)
    no_model.write_text("something else")
    status, out, files, counts = verify(cache)
    assert status == FINE and counts == (4, 0) and "4 stale, 0 damaged" in out
    assert files == {
        "kept.gguf": (False, ""),
        "changed.gguf": (True, "the model has changed"),
        "gone.gguf": (True, "the model is gone"),
        "other.gguf": (True, "the model has changed"),
        "no_model.gguf": (True, "the model has changed"),
        "hurt.gguf": (False, ""),
    }
    assert "gone.gguf): stale: the model is gone\n" in out and "kept.gguf): good\n" in out
    for f in json.loads(cli("cache", "ls", "--json", "--cache-dir", cache)[1])["files"]:
        if f["source"] in (str(hurt), str(gone)):
            damage(cache / f["file"], (3 << 20), flip=1)
    status, out, files, counts = verify(cache)
    assert status == FAILED and counts == (3, 2) and "3 stale, 2 damaged" in out
    assert all(not files[name][0] and "the checksum of tensor" in files[name][1] for name in ("gone.gguf", "hurt.gguf"))


def test_verify_does_not_guess(cache, tmp_path):
    """A path too long to be kept says nothing about the model."""
    deep = tmp_path / ("d" * 150) / ("e" * 150)
    deep.mkdir(parents=True)
    start(make(deep / "model.gguf"), cache)
    deep = tmp_path / ("d" * 150) / ("e" * (255 - len("//model.gguf")))
    deep.mkdir()
    start(make(deep / "model.gguf", seed=4), cache)  # what is kept of it would begin with a slash
    shutil.rmtree(tmp_path / ("d" * 150))
    status, out, _, counts = verify(cache)
    assert (status, counts) == (FINE, (0, 0)) and out.count("): good\n") == 2, out


@pytest.mark.parametrize(
    "name,shown",
    [
        ("evil\x1b[31m\x07\n.gguf", "evil\ufffd[31m\ufffd\\n.gguf"),
        ("c1\x9b2J.gguf", "c1\ufffd2J.gguf"),
        (os.fsdecode(b"latin\xe9.gguf"), "latin\\xe9.gguf"),
    ],
)
def test_names_cannot_steer_the_terminal(cache, tmp_path, name, shown):
    """What is printed for people is clean, what is printed for programs is exact, as far as JSON can say it."""
    path = tmp_path / name
    make(path)
    assert cli("run", "-m", path, "--raw", "-p", "abc", "-n", 1, "--cache-dir", cache)[0] == FINE
    for verb in ("ls", "verify"):
        status, out, err = cli("cache", verb, "--cache-dir", cache)
        assert status == FINE and shown in out and "\x1b" not in out and "\x07" not in out and "\x9b" not in out, out
        entry, = json.loads(cli("cache", verb, "--json", "--cache-dir", cache)[1])["files"]
        assert (
            entry["source"] == (str(path) if "latin" not in name else f"{tmp_path}/{shown}") and entry["problem"] == ""
        )


def test_rm_goes_on(model, cache, filled):
    """What cannot be removed is named, the rest goes."""
    stubborn = [cache / (digit * 32 + ".packed") for digit in "0f"]  # before and behind it
    for s in stubborn:
        s.mkdir()
    status, out, err = cli("cache", "rm", "--all", "--cache-dir", cache)
    assert status == FAILED and "1 file removed" in out and all(f"{s}: cannot remove" in err for s in stubborn)
    assert sorted(cache.iterdir()) == stubborn
    start(model, cache)
    status, out, err = cli("cache", "rm", "--all", "--json", "--cache-dir", cache)
    result = json.loads(out)
    assert status == FAILED and result["removed"] == [filled.name] and result["bytes"] > 9e6
    assert [f["file"] for f in result["failed"]] == [s.name for s in stubborn] and all(
        "cannot remove" in f["problem"] for f in result["failed"]
    )
    for s in stubborn:
        s.rmdir()
    assert json.loads(cli("cache", "rm", "--all", "--json", "--cache-dir", cache)[1]) == {
        "removed": [],
        "failed": [],
        "bytes": 0,
    }
