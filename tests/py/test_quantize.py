"""tsr_quantize: contents of the files it writes, read back with the Python package gguf; progress; refusals."""
import ctypes as C
import os
import time

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as T
from gguf import LlamaFileType as F
from gguf import quants

import tsr
from quantize_c import (ON_TENSOR, directory, layers, library, make, model, noise, quantize, raw, refused,
                        row_quantize, types)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4", "F16", "BF16", "F32", "Q2_K",
                                  "Q3_K_S", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"])
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
    one, two, seven = ((tmp_path / f"{n}.gguf").read_bytes() for n in (1, 2, 7))
    assert one == two == seven


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
    refused(source, tmp_path / "out.gguf", kind, tsr.E_FORMAT, "in.gguf", "'blk.0.ffn_up.weight'",
            f"weight {500 * 512 + 17}", "row 500", "column 17", f"is {word},", n_threads=4)


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
    source = str(source).encode()
    assert library().tsr_quantize(source, source, None, None) == tsr.E_ARG  # err may be NULL
    assert library().tsr_quantize(source, str(out).encode(), None, None) == tsr.OK
    assert types(out)["blk.0.attn_q.weight"] == T.Q4_K
