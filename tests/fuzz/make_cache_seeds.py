"""Writes the seeds of fuzz_cache to tests/fuzz/corpus/cache: heads of cache files, good and bent.
Run it again after a change of the format: python3 tests/fuzz/make_cache_seeds.py"""
import pathlib
import struct

FOLDER = pathlib.Path(__file__).parent / "corpus/cache"


def seed(name, n, repaired, bend=lambda b: b):
    """The size of the file, whether the fuzzer makes the checksum right, and the head."""
    tensors, at = b"", 0
    for i in range(n):
        size = 640 * (i + 1)
        tensors += struct.pack("<72s32sIIqqqQQ32s", b"blk.%d.attn_q.weight" % i, b"p16_u4_f16", 2, 0, 64, 16, 1, at, size, b"\1" * 32)
        at += size
    data = 2 << 20
    header = struct.pack("<8sIIQQQQq48s152s256s", b"TSRPACK\0", 1, n, data + at, data, at, 10000, 1, b"", b"model", b"/model.gguf")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / name).write_bytes(struct.pack("<QB", data + at, repaired) + bend(header + bytes(512) + tensors))


seed("good", 2, 1)
seed("checksum", 1, 0)
seed("zeros", 1, 1, lambda b: bytes(len(b)))
seed("cut", 2, 1, lambda b: b[:1100])
seed("foreign", 1, 1, lambda b: b"GGUF" + b[4:])
