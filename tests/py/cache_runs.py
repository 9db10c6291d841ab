"""What the tests of the cache of packed weights share: models, starts with a cache directory, the library that injects
faults."""

import json
import os
import pathlib
import re
import subprocess
import time

import pytest

import make_model as mm
from cli_models import BINARY, FINE, TEMPLATE, cli, environment

HERE = pathlib.Path(__file__).parent
HEAD, TENSOR = 1024, 184  # bytes of the format: before the directory, of a tensor in it
ENOSPC, EIO = 28, 5
GREEDY = ["--raw", "-p", "abc", "-n", "6", "--temp", "0", "--ignore-eos", "--json"]


def make(path, seed=3):
    """About 10 MB of weights, so that several pieces are written."""
    spec = mm.Spec(embd=512, ff=1024, layers=4, heads=8, kv_heads=4, key=64, qtype="Q8_0", name="cached", plain=True)
    mm.save(mm.build(spec, seed=seed), path)
    old = time.time() - 60  # settled: its times will tell a change
    os.utime(path, (old, old))
    with open(path, "r+b") as f:
        os.fsync(f.fileno())  # pages on disk can be dropped from memory
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "model.gguf"  # made once, though each module has this fixture for itself
    if not path.exists():
        make(path)
        time.sleep(2.1)  # so will the time of its last change
    return path


@pytest.fixture(scope="session")
def big(tmp_path_factory):
    """About 110 MB of weights."""
    path = tmp_path_factory.getbasetemp() / "big.gguf"
    spec = mm.Spec(embd=1024, ff=4096, layers=12, heads=8, kv_heads=8, key=128, qtype="Q4_0", plain=True)
    return path if path.exists() else mm.save(mm.build(spec, seed=1), path)


@pytest.fixture
def chat_model(tmp_path):
    spec = mm.Spec(embd=512, ff=1024, layers=4, heads=8, kv_heads=4, key=64, qtype="Q8_0", context=4096, plain=True)
    built = mm.build(spec, seed=3)
    built.kv["tokenizer.chat_template"] = mm.typed(TEMPLATE)
    path = tmp_path / "chat.gguf"
    mm.save(built, path)
    return path


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    library = tmp_path_factory.mktemp("shim") / "fault_shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "fault_shim.c", "-ldl"], check=True)
    return str(library)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def run(model, *args, env=None, timeout=60):
    """(tokens, stderr) of a short greedy run."""
    status, out, err = cli("run", "-m", model, *GREEDY, *args, env=env, timeout=timeout)
    assert status == FINE, err
    return json.loads(out)["tokens"], err


def outcome(err):
    """(what became of the packed weights, warnings) from stderr."""
    events = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    return events[-1]["packed_weights"], "\n".join(line for line in err.splitlines() if "warning" in line)


def start(model, cache, *args, env=None):
    """(tokens, what became of the packed weights, warnings) of a run with that cache."""
    tokens, err = run(model, "--cache-dir", cache, *args, env=env)
    return tokens, *outcome(err)


@pytest.fixture(scope="session")
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


def packs_with_a_warning(model, cache, expected, reason, *args, env=None):
    tokens, how, warning = start(model, cache, *args, env=env)
    assert (tokens, how) == (expected, "packed") and re.search(reason, warning), warning
    return warning


def popen(model, cache, *args, **env):
    command = [BINARY, "run", "-m", str(model), *GREEDY, "--cache-dir", str(cache), *map(str, args)]
    return subprocess.Popen(command, env=environment(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(condition, process=None):
    """Polls; fails when the process ends first, or after half a minute."""
    end = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < end and (process is None or process.poll() is None)
        time.sleep(0.001)
    return found


def chatting(model, *args):
    """A chat that has answered once."""
    p = subprocess.Popen(
        [BINARY, "chat", "-m", str(model), "--seed", "1", "-n", "8", "--ignore-eos", *map(str, args)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    p.stdin.write(b"hello\n")
    p.stdin.flush()
    assert p.stdout.read(1)
    return p


def damage(path, at, bytes_=None, flip=None):
    with open(path, "r+b") as f:
        f.seek(at)
        old = f.read(1)
        f.seek(at)
        f.write(bytes_ if bytes_ is not None else bytes([old[0] ^ flip]))
