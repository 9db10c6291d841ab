"""The GGUF reader and writer against the Python package gguf, an independent implementation: what Python writes C reads
the same, what C copies Python reads the same."""
import ctypes as C
import struct

import gguf
import numpy as np
import pytest

import tsr

VTYPES = ["UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "FLOAT32", "BOOL", "STRING", "ARRAY", "UINT64", "INT64",
          "FLOAT64"]
DTYPES = dict(UINT8="u1", INT8="i1", UINT16="<u2", INT16="<i2", UINT32="<u4", INT32="<i4", FLOAT32="<f4", BOOL="?",
              UINT64="<u8", INT64="<i8", FLOAT64="<f8")


class Str(C.Structure):
    _fields_ = [("s", C.c_void_p), ("n", C.c_size_t)]


class Kv(C.Structure):
    _fields_ = [("key", C.c_char_p), ("type", C.c_int), ("elem", C.c_int), ("n", C.c_uint64), ("data", C.c_void_p),
                ("strings", C.POINTER(Str))]


class Tensor(C.Structure):
    _fields_ = [("name", C.c_char_p), ("type", C.c_int), ("n_dims", C.c_int), ("ne", C.c_int64 * 4),
                ("n_elems", C.c_uint64), ("n_bytes", C.c_uint64), ("file", C.c_int), ("offset", C.c_uint64),
                ("data", C.c_void_p)]


class File(C.Structure):
    _fields_ = [("path", C.c_char_p), ("base", C.c_void_p), ("size", C.c_size_t), ("fd", C.c_int), ("mapping", C.c_int)]


class Gguf(C.Structure):
    _fields_ = [("version", C.c_uint32), ("alignment", C.c_uint32), ("files", C.POINTER(File)), ("n_files", C.c_int),
                ("kv", C.POINTER(Kv)), ("n_kv", C.c_size_t), ("tensors", C.POINTER(Tensor)), ("n_tensors", C.c_size_t),
                ("index", C.c_void_p)]


def lib():
    so = tsr.lib()
    so.tsr_gguf_open.restype = C.POINTER(Gguf)
    so.tsr_gguf_open.argtypes = [C.c_char_p, tsr.ERR]
    so.tsr_gguf_close.argtypes = [C.POINTER(Gguf)]
    so.tsr_gguf_writer_open.restype = C.c_void_p
    so.tsr_gguf_writer_open.argtypes = [C.c_char_p, C.c_uint32, tsr.ERR]
    so.tsr_gguf_writer_copy.argtypes = [C.c_void_p, C.POINTER(Kv), tsr.ERR]
    so.tsr_gguf_writer_tensor.argtypes = [C.c_void_p, C.c_char_p, C.c_int, C.c_int, C.POINTER(C.c_int64), tsr.ERR]
    so.tsr_gguf_writer_begin.argtypes = [C.c_void_p, tsr.ERR]
    so.tsr_gguf_writer_data.argtypes = [C.c_void_p, C.c_void_p, C.c_size_t, tsr.ERR]
    so.tsr_gguf_writer_finish.argtypes = [C.c_void_p, tsr.ERR]
    return so


class Reader:
    """tsr_gguf_open as a context manager."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        err = tsr.Error()
        self.p = lib().tsr_gguf_open(str(self.path).encode(), C.byref(err))
        if not self.p:
            raise tsr.TsrError(err.code, err.text())
        return self.p.contents

    def __exit__(self, *_):
        lib().tsr_gguf_close(self.p)


def c_value(kv):
    """(type, element type or None, value) as C sees it; numbers as arrays, strings as bytes."""
    kind = VTYPES[kv.type]
    elem = VTYPES[kv.elem] if kind == "ARRAY" else None
    scalar = elem or kind
    if scalar == "STRING":
        values = [C.string_at(kv.strings[i].s, kv.strings[i].n) for i in range(kv.n)]
    else:
        values = np.frombuffer(C.string_at(kv.data, kv.n * np.dtype(DTYPES[scalar]).itemsize), DTYPES[scalar])
    return kind, elem, values if elem else values[0]


def py_value(field):
    kind = field.types[0].name
    elem = field.types[-1].name if kind == "ARRAY" else None
    scalar = elem or kind
    parts = [field.parts[i] for i in field.data]
    values = [p.tobytes() for p in parts] if scalar == "STRING" else np.concatenate(parts).astype(DTYPES[scalar])
    return kind, elem, values if elem else values[0]


def same(a, b):
    if a[:2] != b[:2]:
        return False
    if isinstance(a[2], (bytes, list)):
        return a[2] == b[2]
    return np.asarray(a[2]).tobytes() == np.asarray(b[2]).tobytes()  # bits: NaN and -0 count


def compare(path, reader=None):
    """Everything the two readers say about the file at path; returns the number of things compared."""
    py = reader or gguf.GGUFReader(path)
    fields = {k: f for k, f in py.fields.items() if not k.startswith("GGUF.")}
    with Reader(path) as c:
        assert c.version == py.fields["GGUF.version"].parts[0][0]
        assert c.alignment == py.alignment
        assert [c.kv[i].key.decode() for i in range(c.n_kv)] == list(fields)
        for i, (key, field) in enumerate(fields.items()):
            assert same(c_value(c.kv[i]), py_value(field)), key
        assert c.n_tensors == len(py.tensors)
        for i, t in enumerate(py.tensors):
            x = c.tensors[i]
            assert (x.name.decode(), x.type, x.offset) == (t.name, int(t.tensor_type), t.data_offset)
            assert list(x.ne[:x.n_dims]) == [int(n) for n in t.shape]
            assert (x.n_elems, x.n_bytes) == (t.n_elements, t.n_bytes)
            assert C.string_at(x.data, x.n_bytes) == np.ascontiguousarray(t.data).tobytes()
        return len(fields) + len(py.tensors)


def write_python(path, seed, alignment=None, **split):
    """A file with every value type, arrays of all of them, and tensors of assorted types and shapes."""
    rng = np.random.default_rng(seed)
    w = gguf.GGUFWriter(path, "test", **split)
    if alignment:
        w.add_custom_alignment(alignment)
    limits = {k: np.iinfo(DTYPES[k]) for k in VTYPES if k in DTYPES and k[0] in "UI"}
    for kind, info in limits.items():
        getattr(w, f"add_{kind.lower()}")(f"min.{kind}", int(info.min))
        getattr(w, f"add_{kind.lower()}")(f"max.{kind}", int(info.max))
        values = [int(v) for v in rng.integers(info.min, info.max, 50, dtype=DTYPES[kind], endpoint=True)]
        w.add_key_value(f"array.{kind}", values, gguf.GGUFValueType.ARRAY, gguf.GGUFValueType[kind])
    for i, v in enumerate([0.1, -0.0, float("inf"), float("nan"), 1e-45, 3.4e38]):
        w.add_float32(f"f32.{i}", v)
        w.add_float64(f"f64.{i}", v)
    for kind in ("FLOAT32", "FLOAT64"):
        w.add_key_value(f"array.{kind}", rng.standard_normal(33).tolist(), gguf.GGUFValueType.ARRAY,
                        gguf.GGUFValueType[kind])
    w.add_bool("true", True)
    w.add_bool("false", False)
    w.add_array("array.bool", [True, False, True])
    w.add_string("text", "ünïcödé \n 模型")
    w.add_array("array.text", ["", "a", "模型", "x" * 1000])
    for i, kind in enumerate(["Q8_0", "Q4_0", "Q5_1", "Q6_K", "BF16", "IQ2_XS"]):
        elems, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        shape = [(512,), (3, 256), (2, 3, 256), (1, 2, 3, 256)][i % 4]
        data = rng.integers(0, 256, (*shape[:-1], shape[-1] // elems * size), dtype=np.uint8)
        w.add_tensor(f"blk.{i}.{kind}", data, raw_dtype=gguf.GGMLQuantizationType[kind])
    for kind in ("float32", "float64", "int8", "int16", "int32", "int64"):
        w.add_tensor(f"plain.{kind}", rng.integers(-100, 100, (5, 3)).astype(kind))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def copy_with_c(source, target, alignment):
    """Reader -> writer, all keys and tensors."""
    err = tsr.Error()
    with Reader(source) as g:
        w = lib().tsr_gguf_writer_open(str(target).encode(), alignment, C.byref(err))
        assert w, err.text()
        for i in range(g.n_kv):
            tsr.check(lib().tsr_gguf_writer_copy(w, C.byref(g.kv[i]), C.byref(err)), err)
        tensors = [g.tensors[i] for i in range(g.n_tensors)]
        for t in tensors:
            tsr.check(lib().tsr_gguf_writer_tensor(w, t.name, t.type, t.n_dims, t.ne, C.byref(err)), err)
        tsr.check(lib().tsr_gguf_writer_begin(w, C.byref(err)), err)
        for t in tensors:
            tsr.check(lib().tsr_gguf_writer_data(w, t.data, t.n_bytes, C.byref(err)), err)
        tsr.check(lib().tsr_gguf_writer_finish(w, C.byref(err)), err)


@pytest.mark.parametrize("alignment", [None, 8, 32, 64, 4096])
def test_python_to_c_and_back(tmp_path, alignment):
    source, target = tmp_path / "python.gguf", tmp_path / "c.gguf"
    write_python(source, seed=alignment or 0, alignment=alignment)
    assert compare(source) > 50
    copy_with_c(source, target, alignment or 32)
    assert compare(target) == compare(source)
    assert target.read_bytes() == source.read_bytes()  # same order, same padding: the very same file
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.gguf", "python.gguf"]


def test_realigned_copy(tmp_path):
    source, target = tmp_path / "python.gguf", tmp_path / "c.gguf"
    write_python(source, seed=1, alignment=64)
    copy_with_c(source, target, 1024)
    old, new = gguf.GGUFReader(source), gguf.GGUFReader(target)
    assert new.alignment == 1024 and compare(target, new) == compare(source, old)
    for a, b in zip(old.tensors, new.tensors):
        assert b.data_offset % 1024 == 0
        assert a.data.tobytes() == b.data.tobytes()


def test_split(tmp_path):
    whole = tmp_path / "whole.gguf"
    write_python(whole, seed=2)
    write_python(tmp_path / "m.gguf", seed=2, split_max_tensors=5)
    parts = sorted(tmp_path.glob("m-*.gguf"))
    assert [p.name for p in parts] == [f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    tensors = gguf.GGUFReader(whole).tensors
    with Reader(parts[0]) as c:
        assert c.n_files == 3
        assert [c.tensors[i].file for i in range(c.n_tensors)] == [0] * 5 + [1] * 5 + [2] * 2
        for i, t in enumerate(tensors):
            x = c.tensors[i]
            assert (x.name.decode(), x.type) == (t.name, int(t.tensor_type))
            assert C.string_at(x.data, x.n_bytes) == t.data.tobytes()
    with pytest.raises(tsr.TsrError, match="open its first file: .*/m-00001-of-00003.gguf") as e, Reader(parts[1]):
        pass
    assert e.value.code == tsr.E_ARG


def test_big_endian_is_named(tmp_path):
    path = tmp_path / "big.gguf"
    w = gguf.GGUFWriter(path, "test", endianess=gguf.GGUFEndian.BIG)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()
    with pytest.raises(tsr.TsrError, match="big-endian GGUF file \\(version 3\\)") as e, Reader(path):
        pass
    assert e.value.code == tsr.E_UNSUPPORTED


ARCHITECTURES = {"SmolLM2-135M-Instruct.Q4_1.gguf": "llama", "tiny-qwen3moe.Q8_0.seed7.gguf": "qwen3moe",
                 "gemma-3-270m.Q4_K_M.gguf": "gemma3", "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf": "qwen2"}


def cached(name):
    path = tsr.CACHE / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_real_models(name):
    """Without the Python reader, which takes its time over big vocabularies."""
    path = cached(name)
    with Reader(path) as c:
        keys = {c.kv[i].key.decode(): c.kv[i] for i in range(c.n_kv)}
        with open(path, "rb") as f:
            assert struct.unpack("<4sIQQ", f.read(24)) == (b"GGUF", c.version, c.n_tensors, c.n_kv)
        assert c_value(keys["general.architecture"])[2].decode() == ARCHITECTURES[name]
        assert keys["tokenizer.ggml.tokens"].n == keys["tokenizer.ggml.token_type"].n > 100
        end = max(c.tensors[i].offset + c.tensors[i].n_bytes for i in range(c.n_tensors))
        assert end <= path.stat().st_size < end + c.alignment


def test_real_model_against_python():
    assert compare(cached("SmolLM2-135M-Instruct.Q4_1.gguf")) > 200


def test_truncated_real_model_is_refused(tmp_path):
    """Cut at random places of a real file's metadata and directory (seed 3)."""
    path = cached("tiny-qwen3moe.Q8_0.seed7.gguf")
    with Reader(path) as c:
        start = c.tensors[0].offset
    head = path.read_bytes()[:start]
    cut = tmp_path / "cut.gguf"
    for n in sorted(np.random.default_rng(3).integers(1, start, 100)):
        cut.write_bytes(head[:n])
        with pytest.raises(tsr.TsrError, match="cut.gguf: ") as e, Reader(cut):
            pass
        assert e.value.code == tsr.E_FORMAT, (n, e.value)
