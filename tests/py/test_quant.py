"""Block formats against the Python package gguf: dequantisers and the simple quantisers bit for bit;
the quantisers that search for scales against plain rounding."""
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
SEARCHED = [T.Q6_K, T.Q5_K, T.Q4_K, T.IQ4_XS, T.IQ4_NL, T.Q3_K, T.Q2_K]  # the package cannot quantise to these
SIMPLE = [t for t in TYPES if t not in SEARCHED]
QUANTIZE_FN = C.CFUNCTYPE(None, C.c_void_p, C.c_void_p, C.c_int64, C.c_void_p)
DEQUANTIZE_FN = C.CFUNCTYPE(None, C.c_void_p, C.c_void_p, C.c_int64)


@functools.cache
def library():
    so = C.CDLL(str(tsr.LIBRARY))
    so.tsr_dequantizer.restype = C.c_void_p
    so.tsr_dequantizer.argtypes = [C.c_uint32]
    so.tsr_quantizer.restype = C.c_void_p
    so.tsr_quantizer.argtypes = [C.c_uint32]
    return so


def dequantize(data, t):
    """data: bytes of whole blocks, uint8 -> float32 [k]."""
    elems, size = GGML_QUANT_SIZES[t]
    data = np.ascontiguousarray(data, np.uint8).ravel()
    out = np.empty(data.size // size * elems, np.float32)
    DEQUANTIZE_FN(library().tsr_dequantizer(t))(data.ctypes.data, out.ctypes.data, out.size)
    return out


def quantize(x, t, importance=None):
    """float32, a multiple of the block -> uint8 [n_blocks, block_bytes]."""
    elems, size = GGML_QUANT_SIZES[t]
    x = np.ascontiguousarray(x, np.float32).ravel()
    out = np.empty((x.size // elems, size), np.uint8)
    if importance is not None:
        importance = np.ascontiguousarray(importance, np.float32)
        assert importance.size == x.size
    QUANTIZE_FN(library().tsr_quantizer(t))(x.ctypes.data, out.ctypes.data, x.size,
                                            None if importance is None else importance.ctypes.data)
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


def simple_inputs():
    """name -> float32 blocks of 32, for the bit-exact comparison."""
    r = rng("simple")
    g = r.standard_normal((2048, 32)).astype(np.float32)
    spread = g * np.exp2(r.integers(-20, 20, (2048, 1))).astype(np.float32)
    return {
        "gauss": g, "uniform": r.uniform(-1, 1, (2048, 32)).astype(np.float32), "spread": spread,
        "heavy": r.standard_t(2, (2048, 32)).astype(np.float32),
        "constant": np.repeat(r.standard_normal(256), 32).astype(np.float32),
        "zero": np.zeros((4, 32), np.float32), "minus zero": np.full((4, 32), -0.0, np.float32),
        "one": np.eye(32, dtype=np.float32) * 3, "minus one": np.eye(32, dtype=np.float32) * -3,
        "ties": (r.integers(-16, 17, (2048, 32)) / 2).astype(np.float32), "signs": np.sign(g) * np.float32(0.1),
        "powers of two": np.exp2(r.integers(-30, 10, (2048, 32))).astype(np.float32) * np.sign(g),
        "tiny": g * np.float32(1e-7), "tinier": g * np.float32(1e-30), "huge": g * np.float32(1e5),
        "largest": g / np.abs(g).max(1, keepdims=True) * np.float32(3e38),
    }


@pytest.mark.parametrize("t", SIMPLE, ids=lambda t: t.name)
def test_quantize_bit_exact(t):
    for name, x in simple_inputs().items():
        with np.errstate(all="ignore"):
            want = quants.quantize(x, t).reshape(-1).view(np.uint8)
        got = quantize(x, t).ravel()
        if t in (T.Q4_1, T.Q5_1) and name == "minus zero":  # which zero is the minimum of zeros is numpy's secret
            got, want = (a.reshape(4, -1)[:, 4:] for a in (got, want))
        bad = np.flatnonzero((got != want).ravel())
        assert bad.size == 0, f"{name}: {bad.size} of {want.size} bytes differ, first at {bad[0]}"


@pytest.mark.parametrize("t", SIMPLE, ids=lambda t: t.name)
def test_quantize_denormals(t):
    """Blocks of float32 denormals and around: where the package still computes (not MXFP4, whose exponent wraps)."""
    r = rng("denormals")
    x = r.integers(0, 1 << 24, (512, 32), np.uint32).view(np.float32)
    x *= r.choice(np.array([-1, 1], np.float32), x.shape)
    if t == T.MXFP4:
        y = dequantize(quantize(x, t), t).reshape(x.shape)
        assert np.all(np.abs(x - y) <= np.maximum(np.abs(x).max(1, keepdims=True) / 3, np.float32(2.0**-128)))
        return
    with np.errstate(all="ignore"):
        want = quants.quantize(x, t).reshape(-1).view(np.uint8)
    assert np.array_equal(quantize(x, t).ravel(), want)


IQ4 = np.array((-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113), np.float32)
# (sub-blocks, greatest code, greatest integer scale) and (weights, sub-blocks, limit of integer scales, grid)
AFFINE = {T.Q2_K: (16, 3, 15), T.Q4_K: (8, 15, 63), T.Q5_K: (8, 31, 63)}
SCALED = {T.Q3_K: (256, 16, 32, np.arange(-4, 4, dtype=np.float32)), T.IQ4_NL: (32, 1, 0, IQ4),
          T.Q6_K: (256, 16, 128, np.arange(-32, 32, dtype=np.float32)), T.IQ4_XS: (256, 8, 32, IQ4)}


def div(a, b):
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape, np.float32), where=b != 0)


def plain_rounding(x, t):
    """What decodes after the obvious quantisation: scales that map the range of each sub-block onto the codes."""
    def f16(a):
        return a.astype(np.float16).astype(np.float32)

    if t in AFFINE:
        n_sub, nmax, limit = AFFINE[t]
        b = x.reshape(-1, n_sub, 256 // n_sub)
        low = np.minimum(b.min(2), 0)
        s, m = (b.max(2) - low) / nmax, -low
        d, dmin = f16(s.max(1, keepdims=True) / limit), f16(m.max(1, keepdims=True) / limit)
        dl = (d * np.clip(np.rint(div(s, d)), 0, limit))[..., None]
        ml = (dmin * np.clip(np.rint(div(m, dmin)), 0, limit))[..., None]
        return (dl * np.clip(np.rint(div(b + ml, dl)), 0, nmax) - ml).ravel()
    n, n_sub, limit, grid = SCALED[t]
    b = x.reshape(-1, n_sub, n // n_sub)
    s = np.take_along_axis(b, np.abs(b).argmax(2)[..., None], 2)[..., 0] / grid[0]
    if limit:
        d = f16(np.take_along_axis(s, np.abs(s).argmax(1)[:, None], 1) / -limit)
        dl = (d * np.clip(np.rint(div(s, d)), -limit, limit - 1))[..., None]
    else:
        dl = f16(s)[..., None]
    return (dl * grid[np.searchsorted((grid[1:] + grid[:-1]) / 2, div(b, dl))]).ravel()


def rms(x, y, w=1):
    """Relative error."""
    return float(np.sqrt((w * (x.astype(float) - y) ** 2).sum() / max((w * x.astype(float) ** 2).sum(), 1e-300)))


@pytest.fixture(scope="module")
def weights():
    """name -> float32 [65536]"""
    r = rng("weights")
    n = 65536
    g = r.standard_normal(n)
    data = {
        "gauss": 0.02 * g, "heavy": 0.02 * r.standard_t(3, n), "uniform": r.uniform(-1, 1, n),
        "positive": r.uniform(0.5, 1, n), "sparse": g * (r.random(n) < 0.1), "laplace": r.laplace(0, 1, n),
        "uneven": g * np.repeat(np.exp(r.standard_normal(n // 16)), 16), "tiny": g * 1e-5, "huge": g * 1e4,
        "signs": np.sign(g) * 0.1, "negative": r.uniform(-1, -0.5, n),
        "spikes": np.where(r.random(n) < 0.004, 30 * g, g),
    }
    return {k: v.astype(np.float32) for k, v in data.items()}


@pytest.mark.parametrize("t", SEARCHED, ids=lambda t: t.name)
def test_search_is_never_worse_than_plain_rounding(t, weights):
    for name, x in weights.items():
        got, plain = rms(x, dequantize(quantize(x, t), t)), rms(x, plain_rounding(x, t))
        print(f"{t.name} {name}: {got:.5f}, plain {plain:.5f}")
        assert got <= max(plain, 3e-4), name  # 3e-4: half a unit of a binary16 scale


# Relative rms error that each format must reach on Gaussian and heavy-tailed (Student, 3 degrees) weights.
BOUNDS = {T.Q8_0: (0.0056, 0.010), T.Q6_K: (0.0175, 0.027), T.Q5_K: (0.0358, 0.050), T.Q4_K: (0.0730, 0.098),
          T.IQ4_NL: (0.0765, 0.107), T.IQ4_XS: (0.0772, 0.108), T.MXFP4: (0.118, 0.150), T.Q3_K: (0.151, 0.198),
          T.Q2_K: (0.282, 0.325)}


@pytest.mark.parametrize("t", list(BOUNDS), ids=lambda t: t.name)
def test_error_bounds(t, weights):
    for name, bound in zip(("gauss", "heavy"), BOUNDS[t]):
        assert rms(weights[name], dequantize(quantize(weights[name], t), t)) <= bound


def test_more_bits_less_error(weights):
    for name, x in weights.items():
        e = [rms(x, dequantize(quantize(x, t), t)) for t in (T.Q6_K, T.Q5_K, T.Q4_K, T.Q3_K, T.Q2_K)]
        if name in ("signs", "positive", "negative"):  # formats with a minimum are better at these, whatever their bits
            continue
        assert e == sorted(e) and len(set(e)) == len(e), (name, e)


@pytest.mark.parametrize("t", SEARCHED, ids=lambda t: t.name)
def test_requantising_nearly_reproduces(t, weights):
    for name in ("gauss", "heavy", "uniform", "laplace", "huge"):
        x = weights[name]
        y = dequantize(quantize(x, t), t)
        assert rms(y, dequantize(quantize(y, t), t)) <= 0.25 * rms(x, y), name


@pytest.mark.parametrize("t", SEARCHED + [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1], ids=lambda t: t.name)
def test_importance_moves_the_error(t, weights):
    """A few columns matter much more: their error falls, and uniform importance is no disaster for the rest."""
    r = rng("importance")
    x = weights["gauss"]
    importance = np.where(r.random(x.size) < 0.1, 100.0, 1.0).astype(np.float32)
    plain, aware = dequantize(quantize(x, t), t), dequantize(quantize(x, t, importance), t)
    assert rms(x, aware, importance) < 0.97 * rms(x, plain, importance)
    even = dequantize(quantize(x, t, np.full_like(x, 7)), t)
    assert rms(x, even) <= 1.02 * rms(x, plain)
    nothing = dequantize(quantize(x, t, np.zeros_like(x)), t)
    assert rms(x, nothing) <= 1.1 * rms(x, plain)


def doc_table(first_cell):
    """Rows of the table of doc/formats.md whose header starts so, as lists of cells."""
    lines = (tsr.ROOT / "doc/formats.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(first_cell))
    rows = []
    for line in lines[start + 2:]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split("|")])


def test_documented_sizes():
    rows = doc_table("| Format | Weights |")
    sizes = {T[name]: (int(elems), int(size)) for name, elems, size, *_ in rows}
    assert sizes == {t: GGML_QUANT_SIZES[t] for t in TYPES}
    for name, elems, size, bits, _, written in rows:
        assert float(bits) == 8 * int(size) / int(elems), name
        assert ("search" in written) == (T[name] in SEARCHED), name


def test_documented_errors(weights):
    rows = doc_table("| Format | normal |")
    assert {T[row[0]] for row in rows} == {t for t in TYPES if GGML_QUANT_SIZES[t][0] > 1}
    for name, *cells in rows:
        t, want = T[name], []
        for x in (weights["gauss"], weights["heavy"]):
            want += [rms(x, dequantize(quantize(x, t), t)), rms(x, plain_rounding(x, t)) if t in SEARCHED else None]
        for cell, error in zip(cells, want, strict=True):
            if error is None:
                assert cell == ""
            else:
                assert abs(float(cell.removesuffix("%")) - 100 * error) < 0.02, (name, cell, error)
