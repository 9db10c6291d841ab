"""Plumbing of the tests of tsr_quantize: calling it, making small models, reading files back.

    quantize(source, target, "Q4_K_M", requantize=True)      # raises tsr.TsrError
    refused(source, target, "Q4_0", tsr.E_ARG, "words of the message")
"""
import ctypes as C
import functools
import struct

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as T
from gguf import LlamaFileType as F

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


def model(name):
    path = tsr.CACHE / name
    if not path.exists():
        pytest.skip(f"{path} is missing: scripts/fetch_model.py gets it")
    return path


SCALARS = dict(enumerate("BbHhIif?  Qqd"))  # struct letters by GGUF value type; 8 is a string, 9 an array


def directory(path):
    """(metadata scalars, [(name, type, shape, uint8 data)]) of a file: what GGUFReader tells, without the time that it
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
