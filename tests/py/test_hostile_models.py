"""Models whose metadata or tensors make no sense: each must give an error that names the key or tensor, and never a crash,
a hang, a huge allocation or an answer. Each attempt runs in a forked child with limits on memory and time."""
import ctypes as C
import gc
import math
import multiprocessing
import os
import re
import resource
import signal

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as T
from gguf import GGUFValueType as V

import make_model as mm
import reference
import tsr

MEMORY = 4 << 30  # bytes of address space beyond what the child starts with: tiny models need a few MB
SECONDS = 30
ROUNDS, REPEATS = 30, 4
LEAK = 16  # bytes per attempt, lost in every round: Python's own growth ends after some

MOE = mm.Spec(arch="qwen3moe", key=32, experts=4, used=2, expert_ff=64)
OLD_MOE = mm.Spec(experts=4, used=2, expert_ff=96, old_experts=True)
GEMMA = mm.Spec(arch="gemma3", layers=6, kv_heads=1, vocab="spm", tied=True, meta={"attention.sliding_window": 8})
QWEN2 = mm.Spec(arch="qwen2", bias=("q", "k", "v"))
LLAMA = mm.Spec()
FACTORS = mm.Spec(rope_factors=True)
WIDE = mm.Spec(embd=256, ff=256, key=64)

U64_MAX, NAN, INF = ((1 << 64) - 1, V.UINT64), (math.nan, V.FLOAT32), (math.inf, V.FLOAT32)


# (spec, key without "arch.", value or None to remove it): the message must contain the key, or what FITS has for it
BAD_KEYS = [
    (LLAMA, "attention.head_count", 0), (LLAMA, "attention.head_count", 3), (LLAMA, "attention.head_count", 8),
    (LLAMA, "attention.head_count", 1 << 31), (LLAMA, "attention.head_count", U64_MAX),
    (LLAMA, "attention.head_count", (-4, V.INT32)), (LLAMA, "attention.head_count", None),
    (LLAMA, "attention.head_count", [4, 2]), (LLAMA, "attention.head_count", "four"),
    (LLAMA, "attention.head_count_kv", 0), (LLAMA, "attention.head_count_kv", 3),
    (LLAMA, "attention.head_count_kv", 8), (LLAMA, "attention.head_count_kv", 1 << 30),
    (LLAMA, "attention.head_count_kv", [2, 1]), (LLAMA, "attention.head_count_kv", [2, 2, 2]),
    (LLAMA, "block_count", 0), (LLAMA, "block_count", 10 ** 9), (LLAMA, "block_count", U64_MAX),
    (LLAMA, "block_count", None), (LLAMA, "block_count", "two"), (LLAMA, "block_count", (-1, V.INT32)),
    (LLAMA, "embedding_length", 0), (LLAMA, "embedding_length", 128), (LLAMA, "embedding_length", (1 << 40, V.UINT64)),
    (LLAMA, "embedding_length", None), (LLAMA, "embedding_length", (64.5, V.FLOAT32)),
    (LLAMA, "feed_forward_length", 0), (LLAMA, "feed_forward_length", 128), (LLAMA, "feed_forward_length", None),
    (LLAMA, "feed_forward_length", (1 << 31) - 1),
    (LLAMA, "context_length", 0), (LLAMA, "context_length", U64_MAX), (LLAMA, "context_length", None),
    (LLAMA, "attention.key_length", 0), (LLAMA, "attention.key_length", 17), (LLAMA, "attention.key_length", 1 << 31),
    (LLAMA, "attention.value_length", 0), (LLAMA, "attention.value_length", 1 << 31),
    (LLAMA, "rope.dimension_count", 15), (LLAMA, "rope.dimension_count", 32), (LLAMA, "rope.dimension_count", U64_MAX),
    (LLAMA, "rope.freq_base", 0.0), (LLAMA, "rope.freq_base", -1e4), (LLAMA, "rope.freq_base", NAN),
    (LLAMA, "rope.freq_base", INF),
    (LLAMA, "rope.scaling.type", "sideways"),
    (LLAMA, "rope.scaling.factor", -2.0), (LLAMA, "rope.scaling.factor", NAN), (LLAMA, "rope.scaling.factor", INF),
    (LLAMA, "attention.layer_norm_rms_epsilon", -1e-5), (LLAMA, "attention.layer_norm_rms_epsilon", NAN),
    (LLAMA, "attention.layer_norm_rms_epsilon", None), (LLAMA, "attention.layer_norm_rms_epsilon", "small"),
    (LLAMA, "attn_logit_softcapping", -30.0), (LLAMA, "attn_logit_softcapping", NAN),
    (LLAMA, "final_logit_softcapping", -30.0), (LLAMA, "final_logit_softcapping", INF),
    (LLAMA, "attention.scale", NAN), (LLAMA, "attention.scale", -0.25),
    (LLAMA, "attention.sliding_window", (-5, V.INT32)), (GEMMA, "attention.sliding_window", "wide"),
    (GEMMA, "attention.sliding_window_pattern", [True, False]), (GEMMA, "attention.sliding_window_pattern", "alternate"),
    (GEMMA, "rope.freq_base_swa", NAN),
    (MOE, "expert_count", 10 ** 9), (MOE, "expert_count", 6), (MOE, "expert_count", (-4, V.INT32)),
    (MOE, "expert_count", None),
    (MOE, "expert_used_count", 0), (MOE, "expert_used_count", 5), (MOE, "expert_used_count", U64_MAX),
    (MOE, "expert_used_count", None),
    (MOE, "expert_feed_forward_length", 0), (MOE, "expert_feed_forward_length", 96),
    (OLD_MOE, "expert_count", 5), (LLAMA, "expert_count", 4),
]
YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}
BAD_KEYS += [(mm.Spec(meta=YARN), k, v) for k, v in (
    ("rope.scaling.factor", -4.0), ("rope.scaling.original_context_length", 0),
    ("rope.scaling.yarn_beta_fast", NAN), ("rope.scaling.yarn_beta_slow", -1.0))]

# shapes follow from these, so naming the tensor that does not fit is as good as naming the key
FITS = {"attention.head_count": "attn_", "attention.head_count_kv": "attn_|head_count_kv", "block_count": r"blk\.",
        "expert_count": "ffn_|expert_used_count",
        "embedding_length": "token_embd", "feed_forward_length": "ffn_", "attention.key_length": "attn_",
        "attention.value_length": "attn_", "expert_feed_forward_length": "ffn_", "expert_used_count": "ffn_"}


def name_of(spec, key, value):
    value = value[0] if isinstance(value, tuple) else value
    return f"{spec.arch}-{key}={'missing' if value is None else value}"


class Mallinfo2(C.Structure):
    _fields_ = [(n, C.c_size_t) for n in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
                                          "fordblks", "keepcost")]


mallinfo2 = C.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2


def allocated():
    """Bytes that malloc has handed out (glibc)."""
    gc.collect()
    m = mallinfo2()
    return m.uordblks + m.hblkhd


def run(path):
    try:
        with tsr.Model(path) as model:
            return "logits", model.session(n_ctx=16, kv_f32=True).eval([1, 2, 3])
    except tsr.TsrError as e:
        return "error", e.code, e.message


def child(path, pipe):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(SECONDS)
    gc.freeze()  # collecting then looks at the child's own objects only
    try:
        answer, growth = run(path), []
        for _ in range(ROUNDS):
            before = allocated()
            for _ in range(REPEATS):
                run(path)
            growth.append(allocated() - before)
            if growth[-1] < LEAK * REPEATS:
                break
        what = answer[1:] if answer[0] == "error" else answer[0]
        pipe.send(("leak", growth, what) if min(growth) >= LEAK * REPEATS else answer)
    except BaseException as e:  # a broken test, not a broken library: say which
        pipe.send(("exception", repr(e)))
    pipe.close()
    os._exit(0)


def attempt(model, tmp_path):
    """("error", code, message), ("logits", array), ("leak", bytes per attempt, ...) or ("died", exit code)"""
    path = mm.save(model, tmp_path / "hostile.gguf")
    tsr.lib()  # loaded here, so that children share it
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=child, args=(path, theirs))
    process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        answer = None
    process.join()
    return answer or ("died", process.exitcode)


def must_fail(model, tmp_path, *mentions):
    """The attempt ends in an error that mentions the file and at least one of the given texts (regular expressions)."""
    answer = attempt(model, tmp_path)
    got = "an answer" if answer[0] == "logits" else answer
    assert answer[0] == "error", f"expected an error about {' or '.join(mentions)}, got {got}"
    code, message = answer[1:]
    assert code in (tsr.E_FORMAT, tsr.E_UNSUPPORTED, tsr.E_LIMIT), (code, message)
    assert message.count("hostile.gguf") == 1, f"the file is not named once: {message}"
    assert message.isprintable(), message
    assert any(re.search(m, message) for m in mentions), f"expected {' or '.join(mentions)} in: {message}"


@pytest.mark.parametrize("spec, key, value", BAD_KEYS, ids=[name_of(*b) for b in BAD_KEYS])
def test_metadata(spec, key, value, tmp_path):
    model = mm.build(spec)
    full = f"{spec.arch}.{key}"
    if value is None:
        del model.kv[full]
    else:
        model.kv[full] = mm.typed(value)
    must_fail(model, tmp_path, full.replace(".", r"\."), *([FITS[key]] if key in FITS else []))


def test_a_value_out_of_range_is_not_called_missing(tmp_path):
    model = mm.build(mm.Spec(meta={"attention.layer_norm_rms_epsilon": -1.0}))
    must_fail(model, tmp_path, r"llama\.attention\.layer_norm_rms_epsilon is -1")


@pytest.mark.parametrize("arch", ["gpt9", "", "LLAMA", "x" * 300, "bert"])
def test_unknown_architecture(arch, tmp_path):
    model = mm.build(LLAMA)
    model.kv = {k.replace("llama.", f"{arch}."): v for k, v in model.kv.items()}
    model.arch = arch
    must_fail(model, tmp_path, "general.architecture|architecture")


@pytest.mark.parametrize("spec, name", [
    (LLAMA, "token_embd.weight"), (LLAMA, "output_norm.weight"), (LLAMA, "blk.1.ffn_down.weight"),
    (LLAMA, "blk.0.attn_q.weight"), (LLAMA, "blk.1.attn_norm.weight"), (LLAMA, "blk.0.ffn_norm.weight"),
    (QWEN2, "blk.0.attn_q.bias"), (QWEN2, "blk.1.attn_v.bias"), (MOE, "blk.0.attn_k_norm.weight"),
    (MOE, "blk.1.ffn_gate_inp.weight"), (MOE, "blk.1.ffn_down_exps.weight"), (OLD_MOE, "blk.0.ffn_up.2.weight"),
    (GEMMA, "blk.3.post_ffw_norm.weight"), (GEMMA, "blk.5.attn_q_norm.weight")])
def test_missing_tensor(spec, name, tmp_path):
    model = mm.build(spec)
    del model.tensors[name]
    must_fail(model, tmp_path, name.replace(".", r"\."))


def zeros(*shape):
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize("spec, name, data", [
    (LLAMA, "token_embd.weight", zeros(300, 64)), (LLAMA, "token_embd.weight", zeros(64, 333)),
    (LLAMA, "output.weight", zeros(7, 64)), (LLAMA, "output_norm.weight", zeros(63)),
    (LLAMA, "output_norm.weight", zeros(1, 2, 64)), (LLAMA, "blk.0.attn_q.weight", zeros(64 * 64)),
    (LLAMA, "blk.0.attn_k.weight", zeros(64, 32)), (LLAMA, "blk.1.attn_v.weight", zeros(2, 16, 64)),
    (LLAMA, "blk.1.attn_output.weight", zeros(64, 65)), (LLAMA, "blk.0.ffn_gate.weight", zeros(64, 96)),
    (LLAMA, "blk.0.ffn_down.weight", zeros(64, 95)), (LLAMA, "blk.0.ffn_norm.weight", zeros(1)),
    (QWEN2, "blk.0.attn_k.bias", zeros(33)), (FACTORS, "rope_freqs.weight", zeros(7)),
    (GEMMA, "blk.0.attn_q_norm.weight", zeros(64)), (MOE, "blk.0.ffn_gate_inp.weight", zeros(5, 64)),
    (MOE, "blk.0.ffn_gate_exps.weight", zeros(4, 64, 63)), (MOE, "blk.0.ffn_up_exps.weight", zeros(4 * 64, 64)),
    (MOE, "blk.1.ffn_down_exps.weight", zeros(3, 64, 64)), (OLD_MOE, "blk.0.ffn_down.1.weight", zeros(96, 64))],
    ids=lambda x: "x".join(map(str, x.shape)) if isinstance(x, np.ndarray) else getattr(x, "arch", x))
def test_wrong_shape(spec, name, data, tmp_path):
    model = mm.build(spec)
    model.tensors[name] = (data, T.F32)
    must_fail(model, tmp_path, name.replace(".", r"\."))


@pytest.mark.parametrize("name, kind, what", [
    ("blk.0.ffn_up.weight", T.IQ2_XXS, "IQ2_XXS"), ("token_embd.weight", T.IQ3_S, "IQ3_S"),
    ("output.weight", T.TQ1_0, "TQ1_0"), ("blk.1.attn_q.weight", T.Q8_K, "Q8_K"),
    ("blk.1.attn_q.weight", T.I32, "I32"), ("blk.1.attn_norm.weight", T.I16, "I16"),
    ("output_norm.weight", T.F64, "F64")])
def test_type_that_does_not_compute(name, kind, what, tmp_path):
    model = mm.build(WIDE)
    shape = model.tensors[name][0].shape
    block, size = gguf.GGML_QUANT_SIZES[kind]
    raw = np.zeros((*shape[:-1], shape[-1] // block * size), np.uint8)
    model.tensors[name] = (raw, kind)
    must_fail(model, tmp_path, rf"(?s){name}.*{what}|{what}.*{name}")


@pytest.mark.parametrize("change", [-1, -100, 1, 5000])
def test_vocabulary_of_another_length_than_the_embedding(change, tmp_path):
    model = mm.build(LLAMA)
    vocab = mm.byte_level_vocab()
    tokens = vocab["tokens"] + [f"extra{i}" for i in range(change)] if change > 0 else vocab["tokens"][:change]
    model.kv["tokenizer.ggml.tokens"] = mm.typed(tokens)
    model.kv["tokenizer.ggml.token_type"] = mm.typed(([1] * len(tokens), V.INT32))
    must_fail(model, tmp_path, r"token_embd\.weight", r"tokenizer\.ggml\.", r"vocab_size")


def test_rope_factors_of_zero(tmp_path):
    """They divide the frequencies."""
    model = mm.build(FACTORS)
    model.tensors["rope_freqs.weight"] = (zeros(8), T.F32)
    must_fail(model, tmp_path, r"rope_freqs\.weight")


def test_tensor_that_nobody_knows(tmp_path):
    """Named so that a terminal shows it as it is; of a layer too many, the key that says so is named."""
    model = mm.build(LLAMA)
    model.tensors["blk.0.\x1b[31mred"] = (zeros(8), T.F32)
    must_fail(model, tmp_path, r"blk\.0\.\\x1b\[31mred")
    model = mm.build(LLAMA)
    model.kv["llama.block_count"] = mm.typed(1)
    must_fail(model, tmp_path, r"blk\.1\..*llama\.block_count")


@pytest.mark.parametrize("gating", [1, 2], ids=["softmax", "sigmoid"])
@pytest.mark.parametrize("tier", tsr.TIERS)
@pytest.mark.parametrize("qtype", ["F32", "Q8_0", "BF16"])
def test_router_weights_of_nan_show_in_the_logits(tmp_path, gating, tier, qtype):
    """Not a choice of other experts, nor one expert twice; and no kernel rounds the NaN of a row away."""
    if tier not in tsr.host_tiers():
        pytest.skip(f"this CPU has no {tier}")
    model = mm.build(mm.Spec(arch="qwen3moe", key=32, experts=4, used=2, expert_ff=64, qtype=qtype,
                            meta={"expert_gating_func": gating}))
    router = model.tensors["blk.0.ffn_gate_inp.weight"][0].copy()
    router[[0, 2, 3]] = np.nan
    model.tensors["blk.0.ffn_gate_inp.weight"] = (router, T.F32)
    with tsr.Model(mm.save(model, tmp_path / "nan.gguf"), cpu_tier=tier) as opened:
        for threads in (1, 2):
            for step in (20, 1, 5):
                session = opened.session(n_ctx=32, n_batch=20, n_threads=threads, kv_f32=True)
                assert all(np.isnan(session.eval(range(i, i + step))).all() for i in range(1, 21, step))


def test_bias_that_the_architecture_does_not_have_is_not_ignored(tmp_path):
    """A tensor that would change the result is either used or refused by name."""
    spec = mm.Spec(arch="qwen3", key=32, bias=("q", "k", "v"))
    answer = attempt(mm.build(spec), tmp_path)
    if answer[0] == "error":
        assert "bias" in answer[2], answer
    else:
        expected = reference.Reference(tmp_path / "hostile.gguf").logits([1, 2, 3])
        assert answer[0] == "logits" and reference.row_error(answer[1], expected) < 1e-3, answer[0]


@pytest.mark.parametrize("window", [0, 0x7FFFFFFF, 0xFFFFFFFF, ((1 << 63) - 1, V.UINT64)])
def test_window_wider_than_anything(window, tmp_path):
    """Sums with it must not wrap: as if there were none, or refused by name. 0 means none."""
    answer = attempt(mm.build(mm.Spec(meta={"attention.sliding_window": window})), tmp_path)
    if answer[0] == "error":
        assert "llama.attention.sliding_window" in answer[2]
    else:
        expected = reference.Reference(tmp_path / "hostile.gguf", window=0).logits([1, 2, 3])
        assert answer[0] == "logits" and reference.row_error(answer[1], expected) < 1e-3, answer


def test_the_unharmed_models_work(tmp_path):
    """Else the errors above could be about anything."""
    for spec in (LLAMA, MOE, OLD_MOE, GEMMA, QWEN2, FACTORS, WIDE, mm.Spec(meta=YARN)):
        answer = attempt(mm.build(spec), tmp_path)
        assert answer[0] == "logits" and np.isfinite(answer[1]).all(), (spec, answer)
