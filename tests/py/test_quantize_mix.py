"""Which tensor gets which format in tsr_quantize: against published files and the rules they were made by."""
import re

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as T

import tsr
from quantize_c import directory, layers, make, model, noise, quantize, raw, refused, types

MODELS = {"Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf": "Q4_K_M", "gemma-3-270m.Q4_K_M.gguf": "Q4_K_M",
          "SmolLM2-135M-Instruct.Q4_1.gguf": "Q4_1"}


@pytest.mark.parametrize("name", MODELS)
def test_mix_is_llama_cpps(name, tmp_path):
    """A model with the names and row lengths of a published one: quantised to its mix, every tensor must get the format
    that llama.cpp's quantiser gave it. The Qwen file is of a time when layers were counted in the order of the file
    (0, 1, 10, 11, ...): its layers are renamed to that order."""
    values, theirs = directory(model(name))
    arch = values["general.architecture"]
    number = [values[f"{arch}.{k}"] for k in ("block_count", "attention.head_count", "attention.head_count_kv")]
    order = {}
    tensors, want = {}, {}
    for label, t, shape, _ in theirs:
        if m := re.fullmatch(r"blk\.(\d+)\.(.*)", label):
            label = f"blk.{order.setdefault(m[1], len(order))}.{m[2]}"
        tensors[label] = noise(2, shape[0]) if len(shape) > 1 else np.ones(shape, np.float32)
        want[label] = t
    assert len(order) == number[0]
    source = make(tmp_path / "twin.gguf", tensors, arch, *number)
    quantize(source, tmp_path / "out.gguf", MODELS[name])
    assert types(tmp_path / "out.gguf") == want


def mix_of(tmp_path, kind, tensors, **model_params):
    source = make(tmp_path / "in.gguf", tensors, **model_params)
    quantize(source, tmp_path / "out.gguf", kind)
    return types(tmp_path / "out.gguf")


def column(got, name, n):
    return [got[f"blk.{i}.{name}.weight"].name for i in range(n)]


def test_more_bits_layers(tmp_path):
    """16 layers: 0, 1 and 14, 15 by the eighths; 4, 7, 10, 13 by every third from layer 2."""
    got = mix_of(tmp_path, "q4_k_m", layers(16), n_layer=16)
    want = ["Q6_K" if i in (0, 1, 4, 7, 10, 13, 14, 15) else "Q4_K" for i in range(16)]
    assert column(got, "attn_v", 16) == column(got, "ffn_down", 16) == want
    for name in ("attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up"):
        assert column(got, name, 16) == ["Q4_K"] * 16
    assert got["output.weight"] == T.Q6_K and got["token_embd.weight"] == T.Q4_K
    assert got["output_norm.weight"] == got["blk.3.attn_norm.weight"] == T.F32


@pytest.mark.parametrize("kind,gqa,attn_v,ffn_down,attn_output", [
    ("Q2_K", 1, "Q3_K " * 16, "Q3_K " * 16, "Q3_K " * 16),
    ("Q2_K", 4, "Q4_K " * 16, "Q3_K " * 16, "Q3_K " * 16),
    ("Q2_K_S", 1, "Q2_K " * 16, "Q4_K " * 2 + "Q2_K " * 14, "Q2_K " * 16),
    ("Q2_K_S", 8, "Q4_K " * 16, "Q4_K " * 2 + "Q2_K " * 14, "Q2_K " * 16),
    ("Q3_K_S", 4, "Q3_K " * 16, "Q3_K " * 16, "Q3_K " * 16),
    ("Q3_K_M", 4, "Q5_K " * 2 + "Q4_K " * 14, "Q5_K " + "Q4_K " * 15, "Q4_K " * 16),
    ("Q3_K_L", 4, "Q5_K " * 16, "Q5_K " * 16, "Q5_K " * 16),
    ("Q4_K_S", 4, "Q5_K " * 4 + "Q4_K " * 12, "Q5_K " * 2 + "Q4_K " * 14, "Q4_K " * 16),
    ("Q5_K_S", 4, "Q5_K " * 16, "Q5_K " * 16, "Q5_K " * 16),
    ("Q6_K", 4, "Q6_K " * 16, "Q6_K " * 16, "Q6_K " * 16),
    ("IQ4_XS", 1, "IQ4_XS " * 16, "Q5_K " * 2 + "IQ4_XS " * 14, "IQ4_XS " * 16),
    ("IQ4_NL", 4, "Q5_K " * 16, "Q5_K " * 2 + "IQ4_NL " * 14, "IQ4_NL " * 16),
    ("Q4_0", 4, "Q4_0 " * 16, "Q4_0 " * 16, "Q4_0 " * 16), ("Q5_1", 4, "Q5_1 " * 16, "Q5_1 " * 16, "Q5_1 " * 16),
    ("Q8_0", 4, "Q8_0 " * 16, "Q8_0 " * 16, "Q8_0 " * 16), ("BF16", 4, "BF16 " * 16, "BF16 " * 16, "BF16 " * 16),
])
def test_mix_table(tmp_path, kind, gqa, attn_v, ffn_down, attn_output):
    got = mix_of(tmp_path, kind, layers(16), n_layer=16, n_head_kv=8 // gqa)
    assert column(got, "attn_v", 16) == attn_v.split()
    assert column(got, "ffn_down", 16) == ffn_down.split()
    assert column(got, "attn_output", 16) == attn_output.split()
    assert got["output.weight"].name == {"Q8_0": "Q8_0", "BF16": "BF16"}.get(kind, "Q6_K")


def test_tied_embedding_gets_the_outputs_format(tmp_path):
    tensors = layers(1)
    del tensors["output.weight"]
    assert mix_of(tmp_path, "Q4_K_M", tensors, n_layer=1)["token_embd.weight"] == T.Q6_K


def test_eight_experts(tmp_path):
    got = mix_of(tmp_path, "Q4_K_M", layers(8, experts=8), n_layer=8, n_expert=8)
    assert column(got, "attn_v", 8) == column(got, "attn_k", 8) == ["Q8_0"] * 8
    assert column(got, "attn_output", 8) == ["Q5_K"] * 8
    assert column(got, "ffn_gate_inp", 8) == ["F32"] * 8
    assert column(got, "ffn_down_exps", 8) == ["Q6_K" if i in (0, 3, 6, 7) else "Q4_K" for i in range(8)]
    got = mix_of(tmp_path, "Q4_K_M", layers(8, experts=4), n_layer=8, n_expert=4)
    assert column(got, "attn_k", 8) == ["Q4_K"] * 8


def test_mxfp4_is_for_experts(tmp_path):
    got = mix_of(tmp_path, "MXFP4_MOE", layers(2, experts=4), n_expert=4)
    for name, t in got.items():
        assert t == (T.MXFP4 if "_exps" in name else T.F32 if "norm" in name or "gate_inp" in name else T.Q8_0), name


def test_attention_layers_are_counted_not_numbered(tmp_path):
    """A hybrid model: of 32 layers only every fourth has attention; its first four attn_v get more bits in Q4_K_S."""
    tensors = {f"blk.{i}.attn_v.weight": noise(2, 256) for i in range(3, 32, 4)}
    got = mix_of(tmp_path, "Q4_K_S", tensors, n_layer=32)
    assert [got[name].name for name in tensors] == ["Q5_K"] * 4 + ["Q4_K"] * 4


@pytest.mark.parametrize("kind,k,want", [
    ("Q2_K", 96, "IQ4_NL"), ("Q3_K_S", 96, "IQ4_NL"), ("IQ4_XS", 96, "IQ4_NL"), ("Q4_K_S", 96, "Q5_0"),
    ("Q5_K_S", 96, "Q5_1"), ("Q6_K", 96, "Q8_0"), ("Q4_K_S", 100, "F16"), ("Q4_0", 100, "F16"), ("Q4_0", 96, "Q4_0"),
])
def test_fallback_for_odd_rows(tmp_path, kind, k, want):
    got = mix_of(tmp_path, kind, {"blk.0.ffn_up.weight": noise(3, k, dtype=np.float32)})
    assert got["blk.0.ffn_up.weight"].name == want


def test_what_stays_as_it_is(tmp_path):
    tensors = {f"blk.0.{n}": noise(4, 256, dtype=np.float32) for n in (
        "attn_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d.weight", "attn_q.bias", "attn_rel_b.weight", "ssm_a")}
    tensors["position_embd.weight"] = noise(4, 256, dtype=np.float32)
    tensors["blk.0.one_row.weight"] = noise(1, 256, dtype=np.float32)
    tensors["blk.0.vector.weight"] = noise(256)
    tensors["blk.0.ffn_up.weight"] = noise(4, 256)
    source = make(tmp_path / "in.gguf", tensors)
    for params in (dict(), dict(pure=True)):
        quantize(source, tmp_path / "out.gguf", "Q4_0", **params)
        for a, b in zip(gguf.GGUFReader(source).tensors, gguf.GGUFReader(tmp_path / "out.gguf").tensors):
            if a.name == "blk.0.ffn_up.weight":
                assert b.tensor_type == T.Q4_0
            else:
                assert b.tensor_type == a.tensor_type and np.array_equal(raw(a), raw(b)), a.name


def test_pure(tmp_path):
    source = make(tmp_path / "in.gguf", layers(8), n_layer=8)
    quantize(source, tmp_path / "out.gguf", "Q4_K_M", pure=True)
    assert {t.name for n, t in types(tmp_path / "out.gguf").items() if "norm" not in n} == {"Q4_K"}
    odd = make(tmp_path / "odd.gguf", {"blk.0.ffn_up.weight": noise(3, 96)})
    refused(odd, tmp_path / "no.gguf", "Q4_K_M", tsr.E_ARG, "odd.gguf", "blk.0.ffn_up.weight", "96", "pure", pure=True)
