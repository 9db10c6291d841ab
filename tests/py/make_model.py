#!/usr/bin/env python3
"""Write GGUF models with random weights: tiny ones for the forward pass tests, larger shapes for speed work.

    make_model.py SHAPE TYPE OUT.gguf [--vocab-from MODEL.gguf] [--layers N] [--seed N]

SHAPE  one of SHAPES below; TYPE  one of FORMATS below. The tokenizer is copied from --vocab-from (any GGUF that has one);
without it a vocabulary of some 300 byte-level tokens is made. Quantised blocks are drawn directly (random codes, small
scales), so a full-size model takes seconds. Needs: gguf, numpy.

From Python:  save(build(Spec(arch="qwen3", qtype="Q4_K"), seed=1), path)   - build() gives plain dictionaries of metadata
and tensors, which tests bend out of shape before saving.
"""
import argparse
import dataclasses
import math
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFValueType as V

FORMATS = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
           "IQ4_NL", "IQ4_XS", "MXFP4")
FLOATS = (T.F32, T.F16, T.BF16)
QK_NORM = ("qwen3", "qwen3moe", "gemma3")


@dataclasses.dataclass
class Spec:
    arch: str = "llama"
    embd: int = 64
    ff: int = 96
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    key: int = 16               # length of a head's q and k
    value: int = 0              # length of a head's v; 0: as key
    experts: int = 0
    used: int = 0
    expert_ff: int = 0
    qtype: str = "F32"          # of every matrix
    embd_type: str = ""         # of token_embd; "": as qtype
    vocab: str = "bpe"          # "bpe", "spm", or a GGUF file
    tied: bool = False          # no output.weight
    bias: tuple = ()            # which of q, k, v, output have one
    rope_factors: bool = False  # rope_freqs.weight as Llama 3.1 computes it
    old_experts: bool = False   # one tensor per expert, as the first Mixtral files had
    context: int = 256
    meta: dict = dataclasses.field(default_factory=dict)  # further keys, without "arch."; None removes one
    name: str = ""
    plain: bool = False         # norms of ones, all matrices of one deviation, blocks drawn directly


SHAPES = {
    "llama-1b": dict(arch="llama", embd=2048, ff=8192, layers=16, heads=32, kv_heads=8, key=64),
    "qwen3-0.6b": dict(arch="qwen3", embd=1024, ff=3072, layers=28, heads=16, kv_heads=8, key=128),
    "qwen3moe-30b": dict(arch="qwen3moe", embd=2048, ff=6144, layers=48, heads=32, kv_heads=4, key=128, experts=128,
                         used=8, expert_ff=768),
    "tiny-llama": dict(arch="llama", embd=256, ff=512, layers=2, heads=4, kv_heads=2, key=64),
    "tiny-qwen3moe": dict(arch="qwen3moe", embd=256, ff=512, layers=2, heads=4, kv_heads=2, key=64, experts=8, used=2,
                          expert_ff=256),
}


# ---------------------------------------------------------------------------------------------------- weights

def f16(x):
    return np.asarray(x, dtype=np.float16).view(np.uint8).reshape(len(x), 2)


def blocks(rng, n, qtype, std):
    """n random blocks [n, bytes] of qtype whose dequantised values have roughly the given deviation."""
    u8 = lambda k: rng.integers(0, 256, (n, k), dtype=np.uint8)  # noqa: E731
    jitter = rng.uniform(0.7, 1.3, n)
    d4, d5 = jitter * std / 4.6, jitter * std / 9.2  # uniform codes of 4 and 5 bits deviate by 4.6 and 9.2
    if qtype == T.Q4_0:
        return np.hstack([f16(d4), u8(16)])
    if qtype == T.Q4_1:
        return np.hstack([f16(d4), f16(-d4 * 7.5), u8(16)])
    if qtype == T.Q5_0:
        return np.hstack([f16(d5), u8(4), u8(16)])
    if qtype == T.Q5_1:
        return np.hstack([f16(d5), f16(-d5 * 15.5), u8(4), u8(16)])
    if qtype == T.Q8_0:
        return np.hstack([f16(jitter * std / 74), u8(32)])
    if qtype == T.Q2_K:  # scale and min of 4 bits per 16 codes of 2 bits
        return np.hstack([u8(16), u8(64), f16(jitter * std / 15), f16(jitter * std / 10)])
    if qtype == T.Q3_K:
        return np.hstack([u8(32), u8(64), u8(12), f16(jitter * std / 43)])
    if qtype == T.Q4_K:
        return np.hstack([f16(d4 / 32), f16(d4 * 7.5 / 32), u8(12), u8(128)])
    if qtype == T.Q5_K:
        return np.hstack([f16(d5 / 32), f16(d5 * 15.5 / 32), u8(12), u8(32), u8(128)])
    if qtype == T.Q6_K:
        return np.hstack([u8(128), u8(64), u8(16), f16(jitter * std / 18.5 / 74)])
    if qtype == T.IQ4_NL:
        return np.hstack([f16(jitter * std / 70), u8(16)])
    if qtype == T.IQ4_XS:
        return np.hstack([f16(jitter * std / 70 / 18.5), u8(2), u8(4), u8(128)])
    if qtype == T.MXFP4:  # the exponent byte e means 2^(e - 127); fp4 codes deviate by about 2.8
        e = np.rint(np.log2(jitter * std / 2.8)) + 127
        return np.hstack([e.astype(np.uint8)[:, None], u8(16)])
    raise ValueError(f"no generator for {qtype.name}")


def weight(rng, shape, qtype, std, direct):
    """A random tensor as GGUF bytes. Unless direct, formats that gguf can quantise go through its quantiser."""
    n = int(np.prod(shape))
    if not direct or qtype in FLOATS:
        x = (rng.standard_normal(n, dtype=np.float32) * std).astype(np.float32).reshape(shape)
        try:
            return gguf.quants.quantize(x, qtype)
        except NotImplementedError:
            pass
    block, size = gguf.GGML_QUANT_SIZES[qtype]
    return blocks(rng, n // block, qtype, std).reshape(*shape[:-1], shape[-1] // block * size)


def llama3_factors(n_rot, base, factor=8.0, low=1.0, high=4.0, original=64):
    """What divides each rope frequency in Llama 3.1 (Dubey et al. 2024; its config.json names the parameters): long
    wavelengths by factor, short ones by 1, a linear blend between."""
    turns = original * base ** (-2 * np.arange(n_rot // 2) / n_rot) / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


# ------------------------------------------------------------------------------------------------- vocabularies

WORDS = "the and of to in is that for it was on with as be at by this have from or".split()


def byte_level_vocab():
    """256 bytes, merges of a few words, two control tokens. Byte to character as GPT-2 has it: printable ones stand for
    themselves, the others for U+0100 onwards."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    char = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(rest)}
    tokens, merges = [char[b] for b in range(256)], []
    for word in WORDS:
        left = char[32]
        for c in word:
            if left + c not in tokens:
                merges.append(f"{left} {c}")
                tokens.append(left + c)
            left += c
    n = len(tokens)
    tokens += ["<|begin|>", "<|end|>"]
    return {"model": "gpt2", "pre": "qwen2", "tokens": tokens, "token_type": ([1] * n + [3, 3], V.INT32),
            "merges": merges, "bos_token_id": n, "eos_token_id": n + 1, "add_bos_token": False}


def sentencepiece_vocab():
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    kinds, scores = [2, 3, 3] + [6] * 256, [0.0] * 259
    pieces = ["\u2581", *"etaoinshrdlucmfwypvbgkjqxz"] + [("\u2581" + w)[:n] for w in WORDS for n in range(2, len(w) + 2)]
    for piece in dict.fromkeys(pieces):
        tokens.append(piece)
        kinds.append(1)
        scores.append(-float(len(tokens) - 259))
    return {"model": "llama", "tokens": tokens, "scores": scores, "token_type": (kinds, V.INT32), "bos_token_id": 1,
            "eos_token_id": 2, "unknown_token_id": 0, "add_bos_token": True, "add_space_prefix": True}


def typed(value):
    """(value, GGUF type, element type or None); a pair (list, element type) or a triple is taken as it is."""
    if isinstance(value, tuple) and len(value) == 3:
        return value
    if isinstance(value, tuple) and isinstance(value[0], list):
        return value[0], V.ARRAY, value[1]
    if isinstance(value, tuple):
        return *value, None
    if isinstance(value, list):
        return value, V.ARRAY, typed(value[0])[1]
    return value, {bool: V.BOOL, int: V.UINT32, float: V.FLOAT32, str: V.STRING}[type(value)], None


# ------------------------------------------------------------------------------------------------------- models

@dataclasses.dataclass
class Model:
    arch: str
    kv: dict       # key -> (value, GGUF type, element type or None)
    tensors: dict  # name -> (array as gguf stores it, type)


def metadata(s):
    out = {"block_count": s.layers, "context_length": s.context, "embedding_length": s.embd,
           "feed_forward_length": s.ff, "attention.head_count": s.heads, "attention.head_count_kv": s.kv_heads,
           "attention.key_length": s.key, "attention.value_length": s.value or s.key,
           "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e6, "rope.dimension_count": s.key}
    if s.experts:
        out |= {"expert_count": s.experts, "expert_used_count": s.used, "expert_feed_forward_length": s.expert_ff}
    out |= s.meta
    kv = {"general.name": typed(s.name or f"random {s.arch} {s.qtype}")}
    kv |= {f"{s.arch}.{k}": typed(v) for k, v in out.items() if v is not None}
    if s.vocab in ("bpe", "spm"):
        vocab = byte_level_vocab() if s.vocab == "bpe" else sentencepiece_vocab()
        kv |= {f"tokenizer.ggml.{k}": typed(v) for k, v in vocab.items()}
    else:
        for key, f in gguf.GGUFReader(s.vocab).fields.items():
            if key.startswith("tokenizer."):
                kv[key] = (f.contents(), f.types[0], f.types[-1] if f.types[0] == V.ARRAY else None)
    kv[f"{s.arch}.vocab_size"] = typed(len(kv["tokenizer.ggml.tokens"][0]))
    return kv


def build(s, seed=1):
    rng, kv, tensors = np.random.default_rng(seed), metadata(s), {}
    n_vocab, main = kv[f"{s.arch}.vocab_size"][0], T[s.qtype]
    value = s.value or s.key

    def matrix(name, shape, qtype=main, gain=0.8):
        std = (0.6 if s.plain else gain) / np.sqrt(shape[-1])
        tensors[name] = (weight(rng, shape, qtype, std, s.plain), qtype)

    def vector(name, n, mean=1.0):
        x = np.ones(n) if s.plain else rng.normal(mean, 0.25, n)
        tensors[name] = (x.astype(np.float32), T.F32)

    matrix("token_embd.weight", (n_vocab, s.embd), T[s.embd_type] if s.embd_type else main)
    vector("output_norm.weight", s.embd)
    if not s.tied:
        matrix("output.weight", (n_vocab, s.embd))
    if s.rope_factors:
        n_rot, base = (kv[f"{s.arch}.rope.{k}"][0] for k in ("dimension_count", "freq_base"))
        tensors["rope_freqs.weight"] = (llama3_factors(n_rot, base), T.F32)
    for i in range(s.layers):
        p = f"blk.{i}."
        vector(p + "attn_norm.weight", s.embd)
        vector(p + "ffn_norm.weight", s.embd)
        matrix(p + "attn_q.weight", (s.heads * s.key, s.embd), gain=1.5)  # scores that deviate by about 2:
        matrix(p + "attn_k.weight", (s.kv_heads * s.key, s.embd), gain=1.5)  # attention must matter
        matrix(p + "attn_v.weight", (s.kv_heads * value, s.embd))
        matrix(p + "attn_output.weight", (s.embd, s.heads * value))
        for part in s.bias:
            rows = tensors[f"{p}attn_{part}.weight"][0].shape[0]
            vector(f"{p}attn_{part}.bias", rows, mean=0.0)
        if s.arch in QK_NORM:
            vector(p + "attn_q_norm.weight", s.key)
            vector(p + "attn_k_norm.weight", s.key)
        if s.arch == "gemma3":
            vector(p + "post_attention_norm.weight", s.embd)
            vector(p + "post_ffw_norm.weight", s.embd)
        if s.experts:
            matrix(p + "ffn_gate_inp.weight", (s.experts, s.embd), T.F32, gain=2.0)
            for part, shape in (("gate", (s.expert_ff, s.embd)), ("up", (s.expert_ff, s.embd)),
                                ("down", (s.embd, s.expert_ff))):
                if s.old_experts:
                    for e in range(s.experts):
                        matrix(f"{p}ffn_{part}.{e}.weight", shape)
                else:
                    matrix(f"{p}ffn_{part}_exps.weight", (s.experts, *shape))
        else:
            matrix(p + "ffn_gate.weight", (s.ff, s.embd))
            matrix(p + "ffn_up.weight", (s.ff, s.embd))
            matrix(p + "ffn_down.weight", (s.embd, s.ff))
    return Model(s.arch, kv, tensors)


def save(model, path, tensors_per_file=0):
    """Writes the model; with tensors_per_file as several files NAME-00001-of-N.gguf. Returns the (first) path."""
    w = gguf.GGUFWriter(path, model.arch, split_max_tensors=tensors_per_file,
                        use_temp_file=not tensors_per_file)  # gguf mixes the two up
    for key, (value, kind, sub) in model.kv.items():
        w.add_key_value(key, value, kind, sub)
    for name, (data, qtype) in model.tensors.items():
        w.add_tensor(name, data, raw_dtype=qtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    if not tensors_per_file:
        return path
    files = -(-len(model.tensors) // tensors_per_file)
    return path.with_name(f"{path.stem}-00001-of-{files:05}.gguf")


def shape_model(shape, qtype, vocab="bpe", layers=0, seed=1):
    """A model of one of SHAPES. Made like the shared make_model.py: tiny-qwen3moe Q8_0 seed 7 is a golden model."""
    spec = Spec(**SHAPES[shape], qtype=qtype, vocab=vocab, context=32768, plain=True, name=f"synthetic {shape} {qtype}",
                embd_type=qtype if T[qtype] in FLOATS else "Q8_0")
    spec.layers = layers or spec.layers
    return build(spec, seed)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("shape", choices=SHAPES)
    ap.add_argument("type", choices=FORMATS)
    ap.add_argument("out")
    ap.add_argument("--vocab-from", default="bpe")
    ap.add_argument("--layers", type=int, default=0)
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    save(shape_model(a.shape, a.type, a.vocab_from, a.layers, a.seed), pathlib.Path(a.out))


if __name__ == "__main__":
    main()
