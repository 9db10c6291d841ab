"""Real models: the golden tokens of llama.cpp, and the Python packages on random Unicode and nasty strings."""
import json
import pathlib
import re
import sys

import pytest
import tokenizers
from gguf import GGUFReader
from tokenizers import models, pre_tokenizers

import tokenizers_c as tok
import tsr

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
FILES = {
    "smollm2-135m-q4_1": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "qwen2.5-0.5b-q4_k_m": "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf",
    "gemma3-270m-q4_k_m": "gemma-3-270m.Q4_K_M.gguf",
    "tiny-qwen3moe-Q8_0-seed7": "tiny-qwen3moe.Q8_0.seed7.gguf",
}


def model_path(name):
    path = tsr.CACHE / FILES[name]
    if not path.exists():
        print(f"\n*** NOT TESTED: {path} is absent (scripts/fetch_model gets it) ***", file=sys.stderr)
        pytest.skip(f"{path} is absent")
    return path


@pytest.mark.parametrize("name", FILES)
def test_golden_tokens(name):
    t = tok.Tokenizer(model_path(name))
    golden = json.loads((GOLDEN / f"{name}.a.json").read_text())["tokens"]
    text = (GOLDEN / "a.txt").read_bytes()
    assert t.encode(text, tsr.ADD_SPECIAL | tsr.PARSE_SPECIAL) == golden
    assert t.decode(golden) == text


def fields(path):
    return {k[len("tokenizer.ggml."):]: f.contents() for k, f in GGUFReader(path).fields.items()
            if k.startswith("tokenizer.ggml.")}
