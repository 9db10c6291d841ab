"""Writes the seeds of fuzz_gguf to tests/fuzz/corpus/gguf: small valid files that reach every branch of the parser.
Run it again after a change of the format: python3 tests/fuzz/make_gguf_seeds.py
The files there that are named by a hash are what fuzzing found beyond these, one for each branch reached."""
import pathlib
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}


def string(s):
    return struct.pack("<Q", len(s)) + s


def value(kind, v):
    return string(v) if kind == STRING else struct.pack("<" + CODES[kind], v)


def kv(key, kind, v):
    return string(key) + struct.pack("<I", kind) + value(kind, v)


def array(key, kind, vs):
    return string(key) + struct.pack("<IIQ", ARRAY, kind, len(vs)) + b"".join(value(kind, v) for v in vs)


def tensor(name, kind, dims, offset):
    return string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def image(kvs, tensors=(), data=0, alignment=32, version=3):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(kvs)) + b"".join(kvs) + b"".join(tensors)
    return head + bytes(-len(head) % alignment + data) if tensors else head


SEEDS = {
    "empty": image([]),
    "version2": image([kv(b"a", U32, 1)], version=2),
    "scalars": image([kv(b"u8", U8, 1), kv(b"i8", I8, -1), kv(b"u16", U16, 2), kv(b"i16", I16, -2), kv(b"u32", U32, 3),
                      kv(b"i32", I32, -3), kv(b"f32", F32, 0.1), kv(b"b", BOOL, True), kv(b"s", STRING, b"text"),
                      kv(b"u64", U64, 2**64 - 1), kv(b"i64", I64, -2**63), kv(b"f64", F64, 1e300)]),
    "arrays": image([array(b"s", STRING, [b"a", b"", b"bc"]), array(b"i", I32, [1, 2, 3]), array(b"f", F32, [0.5]),
                     array(b"b", BOOL, [True, False]), array(b"none", U64, [])]),
    "tensors": image([kv(b"general.alignment", U32, 8)],
                     [tensor(b"a", 0, [2], 0), tensor(b"b", 8, [32, 2], 8), tensor(b"c", 1, [1, 1, 1, 2], 80)],
                     84, alignment=8),
    "duplicate": image([kv(b"a", U8, 1), kv(b"a", U8, 1)]),
    "overlap": image([], [tensor(b"a", 0, [8], 0), tensor(b"b", 0, [8], 0)], 32),
    "nested": image([string(b"n") + struct.pack("<IIQIQ", ARRAY, ARRAY, 1, U8, 1) + b"x"]),
    "split": image([kv(b"split.count", U16, 2)]),
    "big_endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "safetensors": struct.pack("<Q", 2) + b"{}",
    "html": b"<!doctype html>",
}

if __name__ == "__main__":
    directory = pathlib.Path(__file__).parent / "corpus/gguf"
    directory.mkdir(parents=True, exist_ok=True)
    for name, seed in SEEDS.items():
        (directory / name).write_bytes(seed)
