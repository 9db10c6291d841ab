"""The golden models and outputs: where they are, how they are got, how two outputs are compared."""
import hashlib
import importlib.util
import json
import math
import os
import pathlib
import tempfile

import pytest

import make_model
import tsr

spec = importlib.util.spec_from_file_location("fetch_model", tsr.ROOT / "scripts/fetch_model.py")
fetch_model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fetch_model)

FOLDER = tsr.ROOT / "tests/golden"
OUTPUTS = {"smollm2": "smollm2-135m-q4_1", "qwen2.5-0.5b": "qwen2.5-0.5b-q4_k_m", "gemma3-270m": "gemma3-270m-q4_k_m",
           "tiny-qwen3moe": "tiny-qwen3moe-Q8_0-seed7"}
EXACT = ("smollm2", "qwen2.5-0.5b", "gemma3-270m")  # those with a NAME.f32.json
TINY_SHA256 = "2368e9a057090c72255b6d5e0f2b3ae9048c76a69b6c3dec71e48584f3f1984c"


def expected(name):
    """llama.cpp's output for the model as it is."""
    return json.loads((FOLDER / f"{OUTPUTS[name]}.a.json").read_text())


def exact(name):
    """The output that rounds nothing, or None."""
    path = FOLDER / f"{OUTPUTS[name]}.f32.json"
    return json.loads(path.read_text()) if name in EXACT else None


def tiny_qwen3moe():
    """make_model.py tiny-qwen3moe Q8_0 OUT --vocab-from SMOLLM2 --seed 7, made once, in the cache."""
    path = tsr.CACHE / "tiny-qwen3moe.Q8_0.seed7.gguf"
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == TINY_SHA256:
        return path
    model = make_model.shape_model("tiny-qwen3moe", "Q8_0", fetch_model.fetch("smollm2"), seed=7)
    with tempfile.TemporaryDirectory(dir=tsr.CACHE) as folder:
        made = make_model.save(model, pathlib.Path(folder) / path.name)
        got = hashlib.sha256(made.read_bytes()).hexdigest()
        assert got == TINY_SHA256, f"{made.name}: SHA-256 {got} instead of {TINY_SHA256}: make_model.py or gguf changed"
        os.replace(made, path)
    return path


def model_path(name):
    """The model's file, fetched if need be. Without network the test fails; with TSR_ALLOW_OFFLINE=1 it is skipped."""
    try:
        return tiny_qwen3moe() if name == "tiny-qwen3moe" else fetch_model.fetch(name)
    except fetch_model.FetchError as e:
        if os.environ.get("TSR_ALLOW_OFFLINE") == "1":
            pytest.skip(f"GOLDEN MODEL {name} NOT TESTED, TSR_ALLOW_OFFLINE=1: {e}")
        pytest.fail(f"golden model {name} cannot be had (TSR_ALLOW_OFFLINE=1 skips it): {e}")


def compare(top, other):
    """(mean KL over the reference's likeliest tokens, share of equal top tokens); both lists are [[id, ln p], ...] per
    position. What other does not list counts with its least listed probability, as in the shared tool kl.py."""
    assert len(top) == len(other)
    kl = same = 0
    for x, y in zip(top, other):
        y = dict(y)
        same += x[0][0] == max(y, key=y.get)
        floor = min(y.values())
        kl += sum(math.exp(lp) * (lp - y.get(i, floor)) for i, lp in x)
    return kl / len(top), same / len(top)
