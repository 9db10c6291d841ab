"""Block formats against the Python package gguf: dequantisers bit for bit."""
import ctypes as C
import functools

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as T
from gguf import quants

import tsr

TYPES = [T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K,
         T.IQ4_NL, T.IQ4_XS, T.MXFP4]
DEQUANTIZE_FN = C.CFUNCTYPE(None, C.c_void_p, C.c_void_p, C.c_int64)


@functools.cache
def library():
    so = C.CDLL(str(tsr.LIBRARY))
    so.tsr_dequantizer.restype = C.c_void_p
    so.tsr_dequantizer.argtypes = [C.c_uint32]
    return so


def dequantize(data, t):
    """data: bytes of whole blocks, uint8 -> float32 [k]."""
    elems, size = GGML_QUANT_SIZES[t]
    data = np.ascontiguousarray(data, np.uint8).ravel()
    out = np.empty(data.size // size * elems, np.float32)
    DEQUANTIZE_FN(library().tsr_dequantizer(t))(data.ctypes.data, out.ctypes.data, out.size)
    return out


def assert_same_bits(got, want):
    """Bit patterns, all NaN being equal."""
    got, want = got.ravel(), want.ravel()
    same = (got.view(np.uint32) == want.view(np.uint32)) | (np.isnan(got) & np.isnan(want))
    bad = np.flatnonzero(~same)
    assert bad.size == 0, f"{bad.size} of {got.size} differ, first at {bad[0]}: {got[bad[0]]!r}, want {want[bad[0]]!r}"


def rng(name):
    seed = sum(name.encode()) * 1000003
    print("seed", seed)
    return np.random.default_rng(seed)


# Where the 16-bit scales are in a block, for tests that put special values there.
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0]}
SPECIAL = np.array([0, 0x8000, 1, 0x8001, 0x3ff, 0x400, 0x3c00, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7c01, 0x7e00, 0xffff],
                   np.uint16)


@pytest.mark.parametrize("t", TYPES, ids=lambda t: t.name)
def test_dequantize_bit_exact(t):
    r = rng(t.name)
    size = GGML_QUANT_SIZES[t][1]
    data = r.integers(0, 256, (4096, size), np.uint8)
    for place in HALVES.get(t, []):
        data[:2048, place:place + 2] = r.choice(SPECIAL, 2048).view(np.uint8).reshape(-1, 2)
    with np.errstate(all="ignore"):
        want = quants.dequantize(data.reshape(-1) if t == T.F32 else data, t)
    assert_same_bits(dequantize(data, t), want)


@pytest.mark.parametrize("t", list(HALVES), ids=lambda t: t.name)
def test_every_scale_bit_pattern(t):
    """All 65536 patterns of d (and of the min), the codes random."""
    r = rng(t.name)
    size = GGML_QUANT_SIZES[t][1]
    for place in HALVES[t]:
        for scales in np.arange(65536, dtype=np.uint16).reshape(8, -1):
            data = r.integers(0, 256, (scales.size, size), np.uint8)
            data[:, place:place + 2] = scales.view(np.uint8).reshape(-1, 2)
            with np.errstate(all="ignore"):
                assert_same_bits(dequantize(data, t), quants.dequantize(data, t))


def test_every_16_bit_float():
    h = np.arange(65536, dtype=np.uint16)
    assert_same_bits(dequantize(h.view(np.uint8), T.F16), h.view(np.float16).astype(np.float32))
    assert_same_bits(dequantize(h.view(np.uint8), T.BF16), (h.astype(np.uint32) << 16).view(np.float32))


def test_every_mxfp4_scale():
    data = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 17, axis=1)
    data[:, 1:] = np.arange(16, dtype=np.uint8) * 17
    with np.errstate(over="ignore"):
        assert_same_bits(dequantize(data, T.MXFP4), quants.dequantize(data, T.MXFP4))
