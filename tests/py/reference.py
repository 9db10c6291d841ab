#!/usr/bin/env python3
"""An independent forward pass in numpy: what the C engine must compute, written from the published formulas.

    logits = Reference("model.gguf").logits(tokens)        # [n_tokens, n_vocab], float64 by default

Weights are dequantised by the Python package gguf; nothing is shared with the C code. It favours being evidently right
over being fast: whole sequence at once, no KV cache, f16 KV not modelled. Sources:
  RMSNorm            Zhang, Sennrich 2019                 rotary embedding   Su et al. 2021 (RoFormer)
  SwiGLU, GeGLU      Shazeer 2020                         grouped queries    Ainslie et al. 2023
  Llama 1-3          Touvron et al. 2023, Dubey et al. 2024; Llama 3.1 rope factors come as tensor rope_freqs.weight
  position scaling   Chen et al. 2023 (linear), Peng et al. 2023 (YaRN, with the released code's bounds per dimension)
  Mistral, Mixtral   Jiang et al. 2023 (sliding window), 2024 (top-k experts, softmax over the chosen)
  Qwen2, Qwen3       Yang et al. 2024, 2025 (QKV bias; RMSNorm of each head's q and k before rope)
  Gemma 2, 3         Riviere et al. 2024 (soft caps, norms on both sides), Gemma Team 2025 (5 local : 1 global layers)
Metadata keys: gguf.constants.Keys.
"""
import dataclasses
import math
import pathlib
import re

import gguf
import numpy as np

GEMMA = ("gemma3",)
NEOX_ROPE = ("qwen2", "qwen3", "qwen3moe", "gemma3")  # the others are stored permuted for adjacent pairs
ARCHITECTURES = ("llama", *NEOX_ROPE)


@dataclasses.dataclass
class Hyper:
    """Everything the formulas take from metadata. Tests override fields to prove that each one matters."""
    arch: str
    n_layer: int
    n_embd: int
    n_head: int
    n_head_kv: int
    key_length: int
    value_length: int
    n_rot: int
    eps: float
    rope_base: float
    rope_base_local: float     # sliding layers of Gemma 3
    rope_type: str             # none, linear, yarn
    rope_factor: float
    rope_orig_ctx: int
    yarn_beta_fast: float
    yarn_beta_slow: float
    attn_scale: float
    attn_softcap: float        # 0: none
    final_softcap: float
    embd_scale: float
    window: int                # 0: none
    is_sliding: list           # per layer, when there is a window
    n_expert: int
    n_expert_used: int
    qk_norm: bool
    post_norms: bool
    bias: bool
    rope_factors: bool         # use rope_freqs.weight


def read_files(path):
    """The readers of a model file, or of all files of a split one."""
    readers = [gguf.GGUFReader(path)]
    count = readers[0].get_field("split.count")
    if count and int(count.contents()) > 1:
        n = int(count.contents())
        stem = re.sub(r"-00001-of-\d{5}\.gguf$", "", str(path))
        readers += [gguf.GGUFReader(f"{stem}-{i:05}-of-{n:05}.gguf") for i in range(2, n + 1)]
    return readers


def read_hyper(fields, tensors):
    get_any = lambda key, default=None: fields[key].contents() if key in fields else default  # noqa: E731
    arch = get_any("general.architecture")
    if arch not in ARCHITECTURES:
        raise ValueError(f"the reference does not know architecture {arch}")
    get = lambda key, default=None: get_any(f"{arch}.{key}", default)  # noqa: E731
    n_layer, n_embd, n_head = (get(k) for k in ("block_count", "embedding_length", "attention.head_count"))
    key_length = get("attention.key_length", n_embd // n_head)
    factor = get("rope.scaling.factor", 0.0)
    window = get("attention.sliding_window", 0)
    if arch in GEMMA:
        pattern = get("attention.sliding_window_pattern", 6)
        sliding = pattern if isinstance(pattern, list) else [(i + 1) % pattern != 0 for i in range(n_layer)]
    else:
        sliding = [True] * n_layer
    scale = 1 / math.sqrt(key_length)
    if arch == "gemma3" and n_layer == 62:
        scale = 1 / math.sqrt(n_embd / n_head)  # the 27B model: query_pre_attn_scalar = 168 = n_embd / n_head
    return Hyper(
        arch=arch, n_layer=n_layer, n_embd=n_embd, n_head=n_head, key_length=key_length,
        n_head_kv=get("attention.head_count_kv", n_head), value_length=get("attention.value_length", n_embd // n_head),
        n_rot=get("rope.dimension_count", key_length), eps=get("attention.layer_norm_rms_epsilon"),
        rope_base=get("rope.freq_base", 10000.0), rope_base_local=get("rope.freq_base_swa", 10000.0),
        rope_type=get("rope.scaling.type", "linear") if factor else "none", rope_factor=factor,
        rope_orig_ctx=get("rope.scaling.original_context_length", get("context_length")),
        yarn_beta_fast=get("rope.scaling.yarn_beta_fast", 32.0), yarn_beta_slow=get("rope.scaling.yarn_beta_slow", 1.0),
        attn_scale=get("attention.scale", scale), attn_softcap=get("attn_logit_softcapping", 0.0),
        final_softcap=get("final_logit_softcapping", 0.0), embd_scale=math.sqrt(n_embd) if arch in GEMMA else 1.0,
        window=window, is_sliding=sliding,
        n_expert=get("expert_count", 0), n_expert_used=get("expert_used_count", 0),
        qk_norm="blk.0.attn_q_norm.weight" in tensors, post_norms="blk.0.post_attention_norm.weight" in tensors,
        bias=any(re.fullmatch(r"blk\.0\.attn_(q|k|v|output)\.bias", n) for n in tensors),
        rope_factors="rope_freqs.weight" in tensors)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def silu(x):
    return x / (1 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


class Reference:
    def __init__(self, path, dtype=np.float64, **overrides):
        self.files = read_files(pathlib.Path(path))  # keeps the mappings alive
        self.dtype = dtype
        self.tensors = {t.name: t for f in self.files for t in f.tensors}
        self.h = dataclasses.replace(read_hyper(self.files[0].fields, self.tensors), **overrides)
        self.router_margin = math.inf  # least gap between the last chosen and the first rejected router logit

    def has(self, name):
        return name in self.tensors

    def weight(self, name, rows=None):
        """The tensor as [..., n_out, n_in], dequantised; rows picks some of the first axis."""
        t = self.tensors[name]
        data = t.data if rows is None else t.data[rows]
        joined = math.gcd(int(np.prod(data.shape[:-1])), 16)  # gguf takes 16 rows at a time: give it longer ones
        values = gguf.quants.dequantize(data.reshape(-1, joined * data.shape[-1]), t.tensor_type)
        return values.reshape(*data.shape[:-1], -1).astype(self.dtype, copy=False)

    def linear(self, x, name, bias=False):
        """x [n, n_in] -> [n, n_out]"""
        y = np.empty((len(x), len(self.tensors[f"{name}.weight"].data)), self.dtype)
        for i in range(0, y.shape[1], 4096):  # a vocabulary's worth of rows need not be in memory at once
            y[:, i:i + 4096] = x @ self.weight(f"{name}.weight", slice(i, i + 4096)).T
        return y + self.weight(f"{name}.bias") if bias and self.has(f"{name}.bias") else y

    def norm(self, x, name):
        """RMSNorm over the last axis. Gemma's files hold weight + 1 already."""
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.h.eps) * self.weight(f"{name}.weight")

    def rope_angles(self, n, local):
        """Angles [n, n_rot / 2] of positions 0..n-1, and the factor that q and k are multiplied by."""
        h, i = self.h, np.arange(self.h.n_rot // 2, dtype=np.float64)
        base, magnitude = (h.rope_base_local if local else h.rope_base), 1.0
        freq = base ** (-2 * i / h.n_rot)
        if h.rope_factors:
            freq = freq / self.weight("rope_freqs.weight")
        if h.rope_type == "linear" and not local:
            freq = freq / h.rope_factor
        if h.rope_type == "yarn" and not local:
            # dimension whose wavelength fits `turns` times into the original context
            dim = lambda turns: h.n_rot * math.log(h.rope_orig_ctx / (turns * 2 * math.pi)) / (2 * math.log(base))  # noqa: E731
            low = max(math.floor(dim(h.yarn_beta_fast)), 0)
            high = min(math.ceil(dim(h.yarn_beta_slow)), h.n_rot - 1)
            ramp = np.clip((i - low) / max(high - low, 0.001), 0, 1)  # 0: keep the frequency, 1: interpolate
            freq = freq * (1 - ramp) + freq / h.rope_factor * ramp
            magnitude = 0.1 * math.log(h.rope_factor) + 1
        return np.arange(n)[:, None] * freq, magnitude

    def rope(self, x, angles, magnitude):
        """x [n, heads, length]: rotates the first n_rot of each head, pair i by angles[:, i]."""
        half, out = self.h.n_rot // 2, x.copy()
        if self.h.arch in NEOX_ROPE:
            a, b = slice(0, half), slice(half, 2 * half)
        else:
            a, b = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
        cos, sin = (f(angles)[:, None, :].astype(self.dtype) * magnitude for f in (np.cos, np.sin))
        out[..., a] = x[..., a] * cos - x[..., b] * sin
        out[..., b] = x[..., a] * sin + x[..., b] * cos
        return out

    def attention(self, x, layer):
        """x [n, n_embd] normed -> [n, n_embd]"""
        h, p, n = self.h, f"blk.{layer}.", len(x)
        q = self.linear(x, p + "attn_q", h.bias).reshape(n, h.n_head, h.key_length)
        k = self.linear(x, p + "attn_k", h.bias).reshape(n, h.n_head_kv, h.key_length)
        v = self.linear(x, p + "attn_v", h.bias).reshape(n, h.n_head_kv, h.value_length)
        if h.qk_norm:
            q, k = self.norm(q, p + "attn_q_norm"), self.norm(k, p + "attn_k_norm")
        local = h.window > 0 and h.is_sliding[layer]
        angles, magnitude = self.rope_angles(n, local and h.arch in GEMMA)
        q, k = self.rope(q, angles, magnitude), self.rope(k, angles, magnitude)
        distance = np.arange(n)[:, None] - np.arange(n)[None, :]  # query position - key position
        seen = (distance >= 0) & (distance < h.window if local else True)
        out = np.empty((n, h.n_head, h.value_length), self.dtype)
        for head in range(h.n_head):
            kv = head // (h.n_head // h.n_head_kv)
            score = q[:, head] @ k[:, kv].T * h.attn_scale
            if h.attn_softcap:
                score = h.attn_softcap * np.tanh(score / h.attn_softcap)
            out[:, head] = softmax(np.where(seen, score, -np.inf)) @ v[:, kv]
        return self.linear(out.reshape(n, -1), p + "attn_output", h.bias)

    def expert_weight(self, layer, part, e):
        merged = f"blk.{layer}.ffn_{part}_exps.weight"
        return self.weight(merged, e) if self.has(merged) else self.weight(f"blk.{layer}.ffn_{part}.{e}.weight")

    def experts(self, x, layer):
        """Each row goes through its n_expert_used best experts, weighted by softmax over their router logits."""
        h = self.h
        router = self.linear(x, f"blk.{layer}.ffn_gate_inp")
        order = np.argsort(-router, axis=-1)
        ranked = np.take_along_axis(router, order, axis=-1)
        if h.n_expert_used < h.n_expert:
            self.router_margin = min(self.router_margin,
                                     (ranked[:, h.n_expert_used - 1] - ranked[:, h.n_expert_used]).min())
        share = softmax(ranked[:, :h.n_expert_used])
        out = np.zeros_like(x)
        for e in range(h.n_expert):
            rows, place = np.nonzero(order[:, :h.n_expert_used] == e)
            if len(rows):
                gate, up, down = (self.expert_weight(layer, part, e) for part in ("gate", "up", "down"))
                out[rows] += share[rows, place][:, None] * ((silu(x[rows] @ gate.T) * (x[rows] @ up.T)) @ down.T)
        return out

    def feed_forward(self, x, layer):
        if self.h.n_expert:
            return self.experts(x, layer)
        act, p = (gelu_tanh if self.h.arch in GEMMA else silu), f"blk.{layer}."
        return self.linear(act(self.linear(x, p + "ffn_gate")) * self.linear(x, p + "ffn_up"), p + "ffn_down")

    def logits(self, tokens, rows=slice(None)):
        """Logits [rows, n_vocab] after each of the tokens (or of those picked by rows)."""
        h = self.h
        x = self.weight("token_embd.weight", np.asarray(tokens)) * self.dtype(h.embd_scale)
        for layer in range(h.n_layer):
            p = f"blk.{layer}."
            y = self.attention(self.norm(x, p + "attn_norm"), layer)
            x = x + (self.norm(y, p + "post_attention_norm") if h.post_norms else y)
            y = self.feed_forward(self.norm(x, p + "ffn_norm"), layer)
            x = x + (self.norm(y, p + "post_ffw_norm") if h.post_norms else y)
        y = self.linear(self.norm(x[rows], "output_norm"), "output" if self.has("output.weight") else "token_embd")
        return h.final_softcap * np.tanh(y / h.final_softcap) if h.final_softcap else y


def row_error(a, b):
    """The suite's measure of logit error: max over rows of max |a - b| / max |b|, b being the reference."""
    return float(row_errors(a, b).max())


def row_errors(a, b):
    """Of each row."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.abs(a - b).max(axis=-1) / np.abs(b).max(axis=-1)
