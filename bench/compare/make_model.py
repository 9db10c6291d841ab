#!/usr/bin/env python3
"""make_model.py SHAPE TYPE OUT.gguf --vocab-from MODEL.gguf [--layers N] [--seed N]
make_model.py set FOLDER --vocab-from MODEL.gguf

A model of a shape that real ones have, with random weights, for measuring speed; the second form makes those that compare.py is meant for.
Blocks of the format are drawn at random and get scales that keep activations in the range they have in real models. The tokenizer is that of
--vocab-from. Needs gguf and numpy (build/venv has them, see scripts/venv.sh).
"""
import argparse
import pathlib

import gguf
import numpy
from gguf import GGMLQuantizationType as Type

#         architecture width ff heads kv_heads head layers experts used expert_ff
SHAPES = {
    "llama-1b": ("llama", 2048, 8192, 32, 8, 64, 16, 0, 0, 0),
    "qwen3moe-30b": ("qwen3moe", 2048, 6144, 32, 4, 128, 48, 128, 8, 768),
    "tiny": ("llama", 256, 512, 4, 2, 64, 2, 0, 0, 0),
    "tiny-moe": ("qwen3moe", 256, 512, 4, 2, 64, 2, 8, 2, 256),
}
SET = [("llama-1b", t, None) for t in ("Q4_0", "Q4_K", "Q4_1", "Q8_0", "Q6_K", "BF16")] + [("qwen3moe-30b", t, 6) for t in ("Q4_K", "Q4_0")]

# Where the f16 scales of a block lie, and what they are when weights shall have deviation 1 (codes are uniform).
SCALES = {
    Type.Q4_0: [(0, 1 / 4.6)], Type.Q4_1: [(0, 1 / 4.6), (2, -7.5 / 4.6)], Type.Q5_0: [(0, 1 / 9.2)], Type.Q5_1: [(0, 1 / 9.2), (2, -15.5 / 9.2)],
    Type.Q8_0: [(0, 1 / 74)], Type.Q4_K: [(0, 1 / 147), (2, 7.5 / 147)], Type.Q5_K: [(0, 1 / 294), (2, 15.5 / 294)], Type.Q6_K: [(208, 1 / 1370)],
    Type.IQ4_XS: [(0, 1 / 1300)],
}
CHUNK = 1 << 24  # weights made at a time


def random_rows(rng, n, kind, deviation):
    """n weights as the bytes of `kind`, or as floats for the types without blocks."""
    if kind not in SCALES:
        return gguf.quants.quantize(rng.standard_normal((1, n), dtype=numpy.float32) * numpy.float32(deviation), kind).reshape(-1)
    elems, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (n // elems, size), dtype=numpy.uint8)
    jitter = rng.uniform(0.7, 1.3, len(blocks)) * deviation
    for at, scale in SCALES[kind]:
        blocks[:, at:at + 2] = (jitter * scale).astype(numpy.float16).view(numpy.uint8).reshape(-1, 2)
    return blocks.reshape(-1)


def matrix(rng, shape, kind):
    n = int(numpy.prod(shape))
    parts = [random_rows(rng, min(CHUNK, n - i), kind, 0.6 / shape[-1] ** 0.5) for i in range(0, n, CHUNK)]
    return numpy.concatenate(parts).reshape(*shape[:-1], -1)


def copy_tokenizer(writer, path):
    """Returns the number of tokens."""
    source = gguf.GGUFReader(path)
    for key, field in source.fields.items():
        if key.startswith("tokenizer."):
            kind = field.types[0]
            writer.add_key_value(key, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    return len(source.fields["tokenizer.ggml.tokens"].data)


def make(shape, type_name, out, vocab_from, layers=None, seed=1):
    arch, width, ff, heads, kv_heads, head, n_layer, experts, used, expert_ff = SHAPES[shape]
    n_layer, kind, rng = layers or n_layer, Type[type_name], numpy.random.default_rng(seed)
    w = gguf.GGUFWriter(out, arch, use_temp_file=True)
    w.add_name(f"random {shape} {type_name}")
    w.add_block_count(n_layer)
    w.add_context_length(32768)
    w.add_embedding_length(width)
    w.add_feed_forward_length(ff)
    w.add_head_count(heads)
    w.add_head_count_kv(kv_heads)
    w.add_key_length(head)
    w.add_value_length(head)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_rope_freq_base(1e6)
    w.add_rope_dimension_count(head)
    if experts:
        w.add_expert_count(experts)
        w.add_expert_used_count(used)
        w.add_expert_feed_forward_length(expert_ff)
    vocab = copy_tokenizer(w, vocab_from)
    w.add_vocab_size(vocab)

    def add(name, *size, kind=kind):
        w.add_tensor(name + ".weight", matrix(rng, size, kind), raw_dtype=kind)

    def ones(name, n):
        w.add_tensor(name + ".weight", numpy.ones(n, numpy.float32))

    add("token_embd", vocab, width, kind=kind if kind in (Type.BF16, Type.F16, Type.F32) else Type.Q8_0)
    ones("output_norm", width)
    add("output", vocab, width)
    for i in range(n_layer):
        b = f"blk.{i}."
        ones(b + "attn_norm", width)
        ones(b + "ffn_norm", width)
        add(b + "attn_q", heads * head, width)
        add(b + "attn_k", kv_heads * head, width)
        add(b + "attn_v", kv_heads * head, width)
        add(b + "attn_output", width, heads * head)
        if arch == "qwen3moe":
            ones(b + "attn_q_norm", head)
            ones(b + "attn_k_norm", head)
        if experts:
            add(b + "ffn_gate_inp", experts, width, kind=Type.F32)
        for name, size in (("gate", (expert_ff or ff, width)), ("up", (expert_ff or ff, width)), ("down", (width, expert_ff or ff))):
            add(f"{b}ffn_{name}_exps" if experts else f"{b}ffn_{name}", *((experts,) if experts else ()), *size)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=[*SHAPES, "set"])
    parser.add_argument("type_or_folder")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--vocab-from", required=True)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    if a.shape != "set":
        if not a.out:
            parser.error("give the file to write")
        make(a.shape, a.type_or_folder, a.out, a.vocab_from, a.layers, a.seed)
        return
    folder = pathlib.Path(a.type_or_folder)
    folder.mkdir(parents=True, exist_ok=True)
    for shape, type_name, layers in SET:
        path = folder / f"{shape}{f'-{layers}-layers' if layers else ''}.{type_name}.gguf"
        if not path.exists():
            make(shape, type_name, path.with_suffix(".part"), a.vocab_from, layers, a.seed)
            path.with_suffix(".part").rename(path)
        print(path)


if __name__ == "__main__":
    main()
