"""tsr_quantize: whole files through the library, read back with the Python package gguf."""
import ctypes as C
import functools
import os
import re
import struct
import time

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as T
from gguf import LlamaFileType as F
from gguf import quants

import tsr

ON_TENSOR = C.CFUNCTYPE(None, C.c_void_p, C.c_char_p, C.c_char_p, C.c_char_p, C.c_uint64, C.c_uint64)


class Params(C.Structure):
    _fields_ = [("type", C.c_char_p), ("pure", C.c_bool), ("requantize", C.c_bool), ("n_threads", C.c_int),
                ("progress", tsr.PROGRESS), ("progress_user", C.c_void_p), ("on_tensor", ON_TENSOR),
                ("on_tensor_user", C.c_void_p)]


@functools.cache
def library():
    so = tsr.lib()
    so.tsr_quantize_params_default.restype = Params
    so.tsr_quantize.argtypes = [C.c_char_p, C.c_char_p, C.POINTER(Params), C.POINTER(tsr.Error)]
    so.tsr_quantize_type.restype = C.c_char_p
    so.tsr_quantize_type.argtypes = [C.c_size_t, C.POINTER(C.c_char_p)]
    so.tsr_quantizer.restype = C.c_void_p
    so.tsr_quantizer.argtypes = [C.c_uint32]
    return so


def quantize(source, target, kind, **params):
    p, err = library().tsr_quantize_params_default(), tsr.Error()
    p.type = kind.encode() if kind is not None else None
    p.n_threads = 2
    for key, value in params.items():
        setattr(p, key, value)
    tsr.check(library().tsr_quantize(str(source).encode(), str(target).encode(), C.byref(p), C.byref(err)), err)


def refused(source, target, kind, code, *words, **params):
    """The call fails with this code and these words in the message, and leaves nothing behind."""
    before = target.read_bytes() if target.exists() else None
    with pytest.raises(tsr.TsrError) as e:
        quantize(source, target, kind, **params)
    assert e.value.code == code, e.value.message
    for word in words:
        assert word in e.value.message, e.value.message
    assert (target.read_bytes() if target.exists() else None) == before
    assert not list(target.parent.glob("*.tmp.*"))
    return e.value.message


def row_quantize(x, t):
    """What the library's row quantiser makes of x (float32 [..., k]): the reference for formats gguf cannot write."""
    elems, size = gguf.GGML_QUANT_SIZES[t]
    x = np.ascontiguousarray(x, np.float32)
    out = np.empty((*x.shape[:-1], x.shape[-1] // elems * size), np.uint8)
    fn = C.CFUNCTYPE(None, C.c_void_p, C.c_void_p, C.c_int64, C.c_void_p)(library().tsr_quantizer(t))
    fn(x.ctypes.data, out.ctypes.data, x.size, None)
    return out


def raw(tensor):
    return np.ascontiguousarray(tensor.data).reshape(-1).view(np.uint8)


def types(path):
    return {t.name: t.tensor_type for t in gguf.GGUFReader(path).tensors}


def make(path, tensors, arch="llama", n_layer=2, n_head=8, n_head_kv=8, n_expert=0, alignment=32, **writer):
    """tensors: name -> array (float or, with a type, (bytes, type))."""
    w = gguf.GGUFWriter(path, arch, **writer)
    if alignment != 32:
        w.add_custom_alignment(alignment)
    w.add_name("test")
    w.add_block_count(n_layer)
    w.add_head_count(n_head)
    w.add_head_count_kv(n_head_kv)
    if n_expert:
        w.add_expert_count(n_expert)
    w.add_array("test.strings", ["a", "", "ü"])
    w.add_array("test.numbers", [1, -2, 3])
    w.add_float32("test.float", 0.1)
    w.add_bool("test.bool", True)
    w.add_file_type(F.MOSTLY_F16)
    for name, value in tensors.items():
        if isinstance(value, tuple):
            w.add_tensor(name, value[0], raw_dtype=value[1])
        else:
            w.add_tensor(name, value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


def noise(*shape, seed=1, dtype=np.float16):
    return (np.random.default_rng(seed).standard_normal(shape) * 0.05).astype(dtype)


def layers(n, k=256, rows=2, experts=0):
    """An F16 model of n layers; every matrix has rows of k weights."""
    m = noise(rows, k)
    out = {"token_embd.weight": m, "output.weight": m, "output_norm.weight": noise(k, dtype=np.float32)}
    for i in range(n):
        out[f"blk.{i}.attn_norm.weight"] = noise(k, dtype=np.float32)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            out[f"blk.{i}.{name}.weight"] = m
        if experts:
            out[f"blk.{i}.ffn_gate_inp.weight"] = noise(experts, k, dtype=np.float32)
        for name in ("ffn_gate", "ffn_up", "ffn_down"):
            out[f"blk.{i}.{name}{'_exps' if experts else ''}.weight"] = noise(experts, rows, k) if experts else m
    return out


# ------------------------------------------------------------------------------------------------------- the mixes

MODELS = {"Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf": "Q4_K_M", "gemma-3-270m.Q4_K_M.gguf": "Q4_K_M",
          "SmolLM2-135M-Instruct.Q4_1.gguf": "Q4_1"}


def model(name):
    path = tsr.CACHE / name
    if not path.exists():
        pytest.skip(f"{path} is missing: scripts/fetch_model.py gets it")
    return path


SCALARS = dict(enumerate("BbHhIif?  Qqd"))  # struct letters by GGUF value type; 8 is a string, 9 an array


def directory(path):
    """(metadata scalars, [(name, type, shape, uint8 data)]) of a file: what GGUFReader tells, without the minute that it
    takes for the vocabularies of real models."""
    data = np.memmap(path, np.uint8, "r")
    head, at = data[:64 << 20].tobytes(), 8

    def number(letter):
        nonlocal at
        (v,) = struct.unpack_from("<" + letter, head, at)
        at += struct.calcsize("<" + letter)
        return v

    def string():
        nonlocal at
        at += 8 + struct.unpack_from("<Q", head, at)[0]

    def name():
        start = at + 8
        string()
        return head[start:at].decode()

    n_tensors, n_kv, values = number("Q"), number("Q"), {}
    for _ in range(n_kv):
        key, kind = name(), number("I")
        if kind == 8:
            values[key] = name()
        elif kind == 9:
            kind, n = number("I"), number("Q")
            for _ in range(n):
                string() if kind == 8 else number(SCALARS[kind])
        else:
            values[key] = number(SCALARS[kind])
    entries = []
    for _ in range(n_tensors):
        label, n_dims = name(), number("I")
        shape = [number("Q") for _ in range(n_dims)]
        entries.append((label, shape, T(number("I")), number("Q")))
    align = values.get("general.alignment", 32)
    base = -(-at // align) * align
    tensors = []
    for label, shape, t, offset in entries:
        elems, size = gguf.GGML_QUANT_SIZES[t]
        n = int(np.prod(shape)) // elems * size
        tensors.append((label, t, shape, data[base + offset:base + offset + n]))
    return values, tensors


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


# ----------------------------------------------------------------------------------------------- contents of the file

@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4", "F16", "BF16", "F32", "Q2_K", "Q3_K_S",
                                  "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"])
@pytest.mark.parametrize("source_type", [T.F32, T.F16, T.BF16])
def test_from_every_float(tmp_path, kind, source_type):
    """Larger than a unit of work, with a remainder."""
    x = noise(331, 512, seed=3, dtype=np.float32)
    bits = quants.quantize(x, source_type)
    data = bits if source_type in (T.F32, T.F16) else (bits.view(np.uint8), source_type)
    source = make(tmp_path / "in.gguf", {"blk.0.ffn_up.weight": data})
    quantize(source, tmp_path / "out.gguf", kind, pure=True, n_threads=3)
    (t,) = gguf.GGUFReader(tmp_path / "out.gguf").tensors
    x = quants.dequantize(bits, source_type).reshape(x.shape)
    try:
        want = quants.quantize(x, t.tensor_type)
    except NotImplementedError:
        want = row_quantize(x, t.tensor_type)
    assert t.tensor_type.name == {"Q3_K_S": "Q3_K"}.get(kind, kind)
    assert np.array_equal(raw(t), want.reshape(-1).view(np.uint8))


def check_smollm(tmp_path, kind):
    """Quantises SmolLM2 (its matrices are Q4_1) and compares every tensor."""
    source, target = model("SmolLM2-135M-Instruct.Q4_1.gguf"), tmp_path / "out.gguf"
    start = time.monotonic()
    quantize(source, target, kind, requantize=True)
    print(f"{kind}: {time.monotonic() - start:.1f} s")
    (_, theirs), (_, ours) = directory(source), directory(target)
    assert [t[0] for t in ours] == [t[0] for t in theirs]
    kinds = set()
    for (name, a, shape, before), (_, b, new_shape, after) in zip(theirs, ours):
        kinds.add(b.name)
        assert shape == new_shape
        if a == b:
            assert np.array_equal(before, after), name
            continue
        x = quants.dequantize(before.reshape(-1, shape[0] // 32 * 20), a)
        want = quants.quantize(x, b) if kind == "Q8_0" else row_quantize(x, b)
        assert np.array_equal(after, want.reshape(-1)), name
    return kinds


def test_smollm_q8_0_is_the_python_packages(tmp_path):
    assert check_smollm(tmp_path, "Q8_0") == {"F32", "Q8_0"}


def test_smollm_q4_k_m(tmp_path):
    """Rows of 576 are no multiple of 256, those of 1536 (ffn_down) are."""
    assert check_smollm(tmp_path, "Q4_K_M") == {"F32", "Q5_0", "Q8_0", "Q4_K", "Q6_K"}


def test_threads_do_not_change_a_byte(tmp_path):
    source = make(tmp_path / "in.gguf", {**layers(2), "blk.0.big.weight": noise(700, 512)})
    for n in (1, 2, 7):
        quantize(source, tmp_path / f"{n}.gguf", "Q3_K_M", n_threads=n)
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "2.gguf").read_bytes() == (tmp_path / "7.gguf").read_bytes()


@pytest.mark.parametrize("alignment", [32, 128])
def test_metadata_is_kept(tmp_path, alignment):
    source = make(tmp_path / "in.gguf", layers(1), alignment=alignment)
    quantize(source, tmp_path / "out.gguf", "Q5_K_S")
    a, b = gguf.GGUFReader(source), gguf.GGUFReader(tmp_path / "out.gguf")
    skip = ("GGUF.", "general.file_type", "general.quantization_version")
    want = {k: (v.types, v.contents()) for k, v in a.fields.items() if not k.startswith(skip)}
    assert {k: (v.types, v.contents()) for k, v in b.fields.items() if not k.startswith(skip)} == want
    assert "test.strings" in want
    assert b.fields["general.file_type"].contents() == F.MOSTLY_Q5_K_S
    assert b.fields["general.quantization_version"].contents() == 2
    assert b.alignment == alignment and all(t.data_offset % alignment == 0 for t in b.tensors)


def test_file_types_are_the_fields(tmp_path):
    source = make(tmp_path / "in.gguf", {"blk.0.ffn_up.weight": noise(2, 256)})
    names = []
    while name := library().tsr_quantize_type(len(names), None):
        names.append(name.decode())
        quantize(source, tmp_path / "out.gguf", names[-1])
        got = F(gguf.GGUFReader(tmp_path / "out.gguf").fields["general.file_type"].contents())
        alias = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE"}.get(names[-1], names[-1])
        assert got.name == ("ALL_" if alias == "F32" else "MOSTLY_") + alias
    assert len(names) == len(set(names)) == 25
    what = C.c_char_p()
    assert library().tsr_quantize_type(0, C.byref(what)) and what.value
    assert library().tsr_quantize_type(25, C.byref(what)) is None


def test_split_source(tmp_path):
    make(tmp_path / "whole.gguf", layers(2))
    make(tmp_path / "part.gguf", layers(2), split_max_tensors=7)
    parts = sorted(tmp_path.glob("part-*.gguf"))
    assert len(parts) == 3
    quantize(tmp_path / "whole.gguf", tmp_path / "a.gguf", "Q4_K_M")
    quantize(parts[0], tmp_path / "b.gguf", "Q4_K_M")
    a, b = (gguf.GGUFReader(tmp_path / n) for n in ("a.gguf", "b.gguf"))
    assert [t.name for t in a.tensors] == [t.name for t in b.tensors]
    assert all(x.tensor_type == y.tensor_type and np.array_equal(raw(x), raw(y)) for x, y in zip(a.tensors, b.tensors))
    assert not [k for k in b.fields if k.startswith("split.")]
    refused(parts[0], parts[2], "Q4_K_M", tsr.E_ARG, "source", parts[2].name)
    refused(parts[1], tmp_path / "no.gguf", "Q4_K_M", tsr.E_ARG, parts[0].name)


def test_nothing_to_do_copies(tmp_path):
    source = make(tmp_path / "in.gguf", {"blk.0.ffn_up.weight": (row_quantize(noise(4, 256), T.Q6_K), T.Q6_K),
                                         "rope_freqs.weight": noise(64, dtype=np.float32)})
    quantize(source, tmp_path / "out.gguf", "Q6_K")  # no requantising in it
    for a, b in zip(gguf.GGUFReader(source).tensors, gguf.GGUFReader(tmp_path / "out.gguf").tensors):
        assert np.array_equal(raw(a), raw(b))


def test_f32_model_without_any_tensor_to_convert_and_empty_model(tmp_path):
    source = make(tmp_path / "in.gguf", {})
    calls = []
    quantize(source, tmp_path / "out.gguf", "Q4_0", progress=tsr.PROGRESS(lambda _, *a: calls.append(a) or True))
    assert calls == [(0, 0)] and not gguf.GGUFReader(tmp_path / "out.gguf").tensors


# ------------------------------------------------------------------------------------------------ progress, refusals

def test_progress_and_tensor_reports(tmp_path):
    source = make(tmp_path / "in.gguf", {**layers(2), "blk.1.big.weight": noise(4096, 1024)})
    seen, told = [], []
    on_tensor = ON_TENSOR(lambda _, *a: told.append(a))
    progress = tsr.PROGRESS(lambda _, done, total: seen.append((time.monotonic(), done, total)) or True)
    quantize(source, tmp_path / "out.gguf", "Q4_K_M", progress=progress, on_tensor=on_tensor)
    a, b = (gguf.GGUFReader(tmp_path / n).tensors for n in ("in.gguf", "out.gguf"))
    total = sum(int(t.n_bytes) for t in a)
    assert told == [(x.name.encode(), x.tensor_type.name.encode(), y.tensor_type.name.encode(), x.n_bytes, y.n_bytes)
                    for x, y in zip(a, b)]
    assert [s[2] for s in seen] == [total] * len(seen) and len(seen) >= 3
    done = [s[1] for s in seen]
    assert done == sorted(done) and done[-1] == total and done.count(total) == 1
    gaps = np.diff([s[0] for s in seen[:-1]])
    assert (gaps >= 0.049).all()


@pytest.mark.parametrize("after", [1, 3, 1000])
def test_cancelling(tmp_path, after):
    """At the first call, in the middle of a tensor, at the last call of all."""
    source = make(tmp_path / "in.gguf", {"blk.0.ffn_up.weight": noise(4096, 1024)})
    calls = []

    def progress(_, done, total):
        calls.append(done)
        return len(calls) < after and done < total

    refused(source, tmp_path / "out.gguf", "Q4_K_M", tsr.E_CANCELLED, "cancel", progress=tsr.PROGRESS(progress))
    assert 1 <= len(calls) <= after


@pytest.mark.parametrize("value,word", [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "-infinity")])
@pytest.mark.parametrize("kind", ["Q4_K_M", "Q8_0", "BF16"])
def test_weights_that_are_no_numbers(tmp_path, value, word, kind):
    x = noise(700, 512, dtype=np.float32)
    x[500, 17] = value
    x[650, 0] = np.nan  # in a later unit of work: the first is reported, whatever the threads do
    source = make(tmp_path / "in.gguf", {"blk.0.ok.weight": noise(2, 256), "blk.0.ffn_up.weight": x})
    refused(source, tmp_path / "out.gguf", kind, tsr.E_FORMAT, "in.gguf", "'blk.0.ffn_up.weight'", f"weight {500 * 512 + 17}",
            "row 500", "column 17", f"is {word},", n_threads=4)


def test_weights_too_large_for_half_precision(tmp_path):
    x = noise(8, 256, dtype=np.float32)
    x[3, 5] = 65504
    source = make(tmp_path / "in.gguf", {"blk.0.ffn_up.weight": x})
    quantize(source, tmp_path / "out.gguf", "F16")
    x[3, 5] = -7e4
    source = make(tmp_path / "in.gguf", {"blk.0.ffn_up.weight": x})
    for kind in ("F16", "Q4_0", "Q8_0", "Q2_K", "Q6_K", "IQ4_XS"):
        refused(source, tmp_path / "no.gguf", kind, tsr.E_LIMIT, "blk.0.ffn_up.weight", "weight 773", "-70000", "BF16",
                pure=True)
    for kind in ("BF16", "MXFP4"):
        quantize(source, tmp_path / "out.gguf", kind, pure=True)
        (t,) = gguf.GGUFReader(tmp_path / "out.gguf").tensors
        assert abs(quants.dequantize(t.data, t.tensor_type).reshape(8, 256)[3, 5] + 7e4) < 7e4 / 4


def test_requantising_must_be_asked_for(tmp_path):
    source = make(tmp_path / "in.gguf", {"blk.0.ffn_up.weight": (row_quantize(noise(4, 256), T.Q6_K), T.Q6_K)})
    refused(source, tmp_path / "out.gguf", "Q4_0", tsr.E_ARG, "in.gguf", "'blk.0.ffn_up.weight'", "Q6_K", "F16",
            "requantising")
    quantize(source, tmp_path / "out.gguf", "Q4_0", requantize=True)


def test_formats_that_cannot_be_read(tmp_path):
    data = (np.zeros((4, 66), np.uint8), T.IQ2_XXS)
    source = make(tmp_path / "in.gguf", {"blk.0.ffn_up.weight": noise(4, 256), "blk.0.ffn_gate.weight": data})
    refused(source, tmp_path / "out.gguf", "Q4_0", tsr.E_UNSUPPORTED, "in.gguf", "'blk.0.ffn_gate.weight'", "IQ2_XXS",
            requantize=True)
    ints = make(tmp_path / "ints.gguf", {"blk.0.table": np.arange(8, dtype=np.int32).reshape(2, 4)})
    quantize(ints, tmp_path / "out.gguf", "Q4_0")  # no weight: kept
    assert types(tmp_path / "out.gguf") == {"blk.0.table": T.I32}


def test_in_place_is_refused(tmp_path):
    source = make(tmp_path / "in.gguf", layers(1))
    os.link(source, tmp_path / "hard.gguf")
    os.symlink("in.gguf", tmp_path / "soft.gguf")
    (tmp_path / "d").mkdir()
    for target in (source, tmp_path / "hard.gguf", tmp_path / "soft.gguf", tmp_path / "d/../in.gguf"):
        refused(source, target, "Q4_0", tsr.E_ARG, "source")


def test_bad_arguments(tmp_path):
    source, out = make(tmp_path / "in.gguf", layers(1)), tmp_path / "out.gguf"
    message = refused(source, out, "Q4_X", tsr.E_ARG, "'Q4_X'")
    i = 0
    while name := library().tsr_quantize_type(i, None):
        assert name.decode() in message
        i += 1
    refused(source, out, "", tsr.E_ARG, "Q4_K_M")
    refused(source, out, None, tsr.E_ARG, "Q4_K_M")
    refused(source, out, "Q4_0", tsr.E_ARG, "-1 threads", n_threads=-1)
    refused(tmp_path / "missing.gguf", out, "Q4_0", tsr.E_IO, "missing.gguf")
    refused(source, tmp_path / "nowhere/out.gguf", "Q4_0", tsr.E_IO, "nowhere")
    err = tsr.Error()
    assert library().tsr_quantize(None, b"x", None, C.byref(err)) == tsr.E_ARG
    assert library().tsr_quantize(str(source).encode(), str(source).encode(), None, None) == tsr.E_ARG  # err may be NULL
    assert library().tsr_quantize(str(source).encode(), str(out).encode(), None, None) == tsr.OK
    assert types(out)["blk.0.attn_q.weight"] == T.Q4_K
