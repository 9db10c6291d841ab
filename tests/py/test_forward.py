"""The C engine against the numpy reference, for every architecture, feature and weight format, on every kernel tier that this
host has, with packed weights (where the tier packs them) and without, with 1 and 2 threads, in one batch, token by token and
in uneven chunks.

Measure: reference.row_error, the largest |logit - reference| of a row over the largest |reference| of that row.
"""
import ctypes as C
import functools
import re
import zlib

import gguf
import numpy as np
import pytest

import make_model as mm
import reference
import tsr

TOLERANCE = 1e-4   # required of every row without packing; what is seen (below 1e-5) is printed at the end of the run
# With packed weights batches keep 8 bits of most activations (errors of 0.5 % a product), single tokens 16 of all. Random models
# have no outlier channels for the blocks with 16 bits to catch, and amplify noise: what rounding costs shows in full.
PACKED_TOLERANCE = {"batch": 0.12, "chunks": 0.12, "single": 1e-3}
# With experts that noise may decide near ties of the router: so many rows of a batch may be anything (seen: 1).
FLIPPED_ROWS = 4
SENSITIVE = 2e-2   # what a wrong feature must at least change
N_TOKENS = 70     # longer than every window and than YaRN's original context
CHUNKS = (1, 7, 2, 31, 1, 28)

YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32,
        "rope.freq_base": 10000.0}
MOE = dict(experts=6, used=2, expert_ff=96)
GEMMA = dict(arch="gemma3", layers=7, heads=4, kv_heads=1, key=32, vocab="spm", tied=True)
GEMMA_META = {"attention.sliding_window": 8, "rope.freq_base": 1e6}

# name: (model, overrides of the reference that must change the logits: without that the model would not test the feature)
VARIANTS = {
    "llama": (mm.Spec(), dict(rope_base=1e5, eps=1e-2)),
    "llama-spm": (mm.Spec(vocab="spm"), {}),
    "llama-6-heads-of-3": (mm.Spec(embd=96, heads=6, kv_heads=3), {}),
    "llama-every-head-its-own": (mm.Spec(heads=5, kv_heads=5, embd=80), {}),
    "llama-one-kv-head": (mm.Spec(heads=4, kv_heads=1), {}),
    "llama-head-length-24": (mm.Spec(key=24), {}),
    "llama-value-longer": (mm.Spec(key=16, value=24), {}),
    "llama-value-shorter": (mm.Spec(key=32, value=8), {}),
    "llama-partial-rope": (mm.Spec(meta={"rope.dimension_count": 8}), dict(n_rot=16)),
    "llama-defaults": (mm.Spec(heads=4, kv_heads=4, meta={k: None for k in (
        "attention.key_length", "attention.value_length", "attention.head_count_kv", "rope.dimension_count",
        "rope.freq_base")}), dict(rope_base=1e6)),
    "llama-tied": (mm.Spec(tied=True), {}),
    "llama-biases": (mm.Spec(bias=("q", "k", "v", "output")), dict(bias=False)),
    "llama-3.1-factors": (mm.Spec(rope_factors=True, meta={"rope.freq_base": 1e4}), dict(rope_factors=False)),
    "llama-linear": (mm.Spec(meta={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
                     dict(rope_type="none")),
    "llama-linear-untyped": (mm.Spec(meta={"rope.scaling.factor": 2.0}), dict(rope_type="none")),
    "llama-scaling-none": (mm.Spec(meta={"rope.scaling.type": "none", "rope.scaling.factor": 2.0}),
                           dict(rope_type="linear")),
    "llama-yarn": (mm.Spec(meta=YARN), dict(rope_type="none", rope_factor=2.0, rope_orig_ctx=256)),
    "llama-yarn-context-from-training": (mm.Spec(context=128, meta=YARN | {
        "rope.scaling.original_context_length": None}), dict(rope_orig_ctx=32)),
    "llama-yarn-without-factor": (mm.Spec(meta=YARN | {"rope.scaling.factor": None}), {}),  # then nothing is scaled
    "llama-window": (mm.Spec(meta={"attention.sliding_window": 9}), dict(window=10)),
    "llama-window-1": (mm.Spec(meta={"attention.sliding_window": 1}), dict(window=2)),
    "llama-attention-cap": (mm.Spec(meta={"attn_logit_softcapping": 1.5}), dict(attn_softcap=0.0)),
    "llama-final-cap": (mm.Spec(meta={"final_logit_softcapping": 1.0}), dict(final_softcap=0.0)),
    "llama-attention-scale": (mm.Spec(meta={"attention.scale": 0.5}), dict(attn_scale=0.25)),
    "llama-one-layer": (mm.Spec(layers=1), {}),
    "mixtral": (mm.Spec(**MOE), dict(n_expert_used=1)),
    "mixtral-old-names": (mm.Spec(**MOE, old_experts=True), {}),
    "mixtral-1-of-6": (mm.Spec(**(MOE | dict(used=1))), dict(n_expert_used=2)),
    "qwen2": (mm.Spec(arch="qwen2", bias=("q", "k", "v")), dict(bias=False, arch="llama")),
    "qwen2-tied": (mm.Spec(arch="qwen2", bias=("q", "k", "v"), tied=True, heads=7, embd=112, kv_heads=1), {}),
    "qwen3": (mm.Spec(arch="qwen3", key=32), dict(qk_norm=False)),
    "qwen3-yarn": (mm.Spec(arch="qwen3", key=32, meta=YARN), dict(rope_type="linear")),
    "qwen3-tied-partial-rope": (mm.Spec(arch="qwen3", key=32, tied=True, meta={"rope.dimension_count": 16}),
                                dict(n_rot=32)),
    "qwen3moe": (mm.Spec(arch="qwen3moe", key=32, **MOE), dict(n_expert_used=3)),
    "qwen3moe-all-experts": (mm.Spec(arch="qwen3moe", key=32, **(MOE | dict(used=6))), dict(n_expert_used=5)),
    "qwen3moe-expert-length-from-dense": (mm.Spec(arch="qwen3moe", key=32, ff=192, **MOE, meta={
        "expert_feed_forward_length": None}), {}),
    "gemma3": (mm.Spec(**GEMMA, meta=GEMMA_META), dict(
        window=0, post_norms=False, embd_scale=1.0, rope_base=1e4, rope_base_local=1e6, qk_norm=False,
        is_sliding=[True] * 7)),
    "gemma3-linear": (mm.Spec(**GEMMA, meta=GEMMA_META | {
        "rope.scaling.type": "linear", "rope.scaling.factor": 8.0}), dict(rope_type="none")),
    "gemma3-every-second-global": (mm.Spec(**GEMMA, meta=GEMMA_META | {"attention.sliding_window_pattern": 2}),
                                   dict(is_sliding=[(i + 1) % 6 != 0 for i in range(7)])),
    "gemma3-pattern-by-layer": (mm.Spec(**GEMMA, meta=GEMMA_META | {
        "attention.sliding_window_pattern": [True, False, False, True, True, False, True]}),
        dict(is_sliding=[(i + 1) % 6 != 0 for i in range(7)])),
    "gemma3-caps": (mm.Spec(**GEMMA, meta=GEMMA_META | {"attn_logit_softcapping": 1.0, "final_logit_softcapping": 2.0}),
                    dict(attn_softcap=0.0, final_softcap=0.0)),
    "gemma3-local-base": (mm.Spec(**GEMMA, meta=GEMMA_META | {"rope.freq_base_swa": 500.0}),
                          dict(rope_base_local=1e4)),
    "gemma3-no-window": (mm.Spec(**GEMMA), dict(window=8)),
    "gemma3-62-layers": (mm.Spec(**(GEMMA | dict(layers=62, embd=32, ff=32, heads=2, key=32)), meta=GEMMA_META),
                         dict(attn_scale=32 ** -0.5)),
}
FORMAT_SPEC = dict(embd=256, ff=512, heads=4, kv_heads=2, key=64)
FORMATS = {f: mm.Spec(qtype=f, **FORMAT_SPEC) for f in mm.FORMATS} | {
    "Q4_K-experts": mm.Spec(arch="qwen3moe", qtype="Q4_K", embd_type="Q6_K", experts=4, used=2, expert_ff=256,
                            **FORMAT_SPEC),
    "MXFP4-experts": mm.Spec(arch="qwen3moe", qtype="MXFP4", embd_type="Q8_0", experts=4, used=2, expert_ff=256,
                             **FORMAT_SPEC),
    "Q8_0-experts": mm.Spec(qtype="Q8_0", **MOE),
    "Q4_0-experts-old-names": mm.Spec(qtype="Q4_0", **MOE, old_experts=True),
    "Q5_1-experts-all-used": mm.Spec(arch="qwen3moe", qtype="Q5_1", key=32, **(MOE | dict(used=6))),
    "BF16-experts": mm.Spec(qtype="BF16", **MOE),
    "mixed-experts": mm.Spec(qtype="Q8_0", **MOE, old_experts=True),  # of several formats: mix_experts
    "Q5_0-odd-rows": mm.Spec(arch="qwen2", qtype="Q5_0", embd=96, heads=3, kv_heads=1, key=32, ff=160,
                             bias=("q", "k", "v")),
}


def seed_of(name):
    return zlib.crc32(name.encode()) % 1000


def tokens_for(path, n=N_TOKENS):
    n_vocab = len(reference.read_files(path)[0].fields["tokenizer.ggml.tokens"].data)
    return np.random.default_rng(seed_of(str(path.stem))).integers(0, n_vocab, n).astype(np.int32)


def mix_experts(model):
    """Every second expert's matrices in F32 or Q4_1, of the same values or nearly so."""
    for name, (data, qtype) in list(model.tensors.items()):
        expert = re.fullmatch(r"blk\.\d+\.ffn_\w+\.(\d+)\.weight", name)
        if expert and int(expert[1]) % 2:
            kind = gguf.GGMLQuantizationType.F32 if int(expert[1]) % 4 == 1 else gguf.GGMLQuantizationType.Q4_1
            model.tensors[name] = (gguf.quants.quantize(gguf.quants.dequantize(data, qtype), kind), kind)
    return model


def make(name):
    """The model of a variant or format."""
    model = mm.build(VARIANTS[name][0] if name in VARIANTS else FORMATS[name], seed_of(name))
    return mix_experts(model) if name == "mixed-experts" else model


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """case(name) -> (path, tokens, reference logits, the model's spec), made once."""
    folder = tmp_path_factory.mktemp("models")

    @functools.cache
    def of(name):
        spec = VARIANTS[name][0] if name in VARIANTS else FORMATS[name]
        path = mm.save(make(name), folder / f"{name}.gguf")
        tokens, ref = tokens_for(path), reference.Reference(path)
        logits = ref.logits(tokens)
        # f32 and f64 must choose the same experts for the comparison to mean anything; else take another seed
        assert ref.router_margin > 1e-4, f"{name} (seed {seed_of(name)}): router near-tie {ref.router_margin}"
        return path, tokens, logits, spec

    return of


def feed(session, tokens, mode):
    if mode == "batch":
        return session.eval(tokens)
    sizes = [1] * len(tokens) if mode == "single" else CHUNKS
    ends = np.cumsum(sizes)
    assert ends[-1] == len(tokens)
    return np.concatenate([session.eval(tokens[e - s:e]) for s, e in zip(sizes, ends)])


def compare(group, name, path, tokens, expected):
    print(f"{name}: seed {seed_of(name)}, token seed {seed_of(path.stem)}")
    errors = {}
    for tier in tsr.host_tiers():
        for no_packed in (True, False):
            with tsr.Model(path, cpu_tier=tier, no_packed=no_packed) as model:
                packed = model.info().packed_bytes > 0
                if no_packed is packed:  # a tier without packed kernels, or a format without a layout: as before
                    continue
                for threads in (1, 2):
                    for mode in ("batch", "single", "chunks"):
                        session = model.session(n_ctx=N_TOKENS, n_threads=threads, kv_f32=True)
                        rows = np.sort(reference.row_errors(feed(session, tokens, mode), expected))
                        session.close()
                        flips = FLIPPED_ROWS if packed and mode != "single" and model.info().n_expert else 0
                        error = float(rows[len(rows) - 1 - flips])
                        errors[tier, "packed" if packed else "host", threads, mode] = error
    report(group, name, errors)
    bad = {k: v for k, v in errors.items() if not v <= (PACKED_TOLERANCE[k[3]] if k[1] == "packed" else TOLERANCE)}
    assert not bad, f"{name}: relative logit error {bad}"


def report(group, name, errors):
    for label, kept in ((group, lambda k: k[1] == "host"),
                        (f"{group}, packed, tokens one by one", lambda k: k[1] == "packed" and k[3] == "single"),
                        (f"{group}, packed, in batches", lambda k: k[1] == "packed" and k[3] != "single")):
        if any(map(kept, errors)):
            tsr.REPORT.append((label, name, max(v for k, v in errors.items() if kept(k))))


@pytest.mark.parametrize("name", VARIANTS)
def test_variant(case, name):
    compare("variants", name, *case(name)[:3])


@pytest.mark.parametrize("name", FORMATS)
def test_format(case, name):
    compare("formats", name, *case(name)[:3])


@pytest.mark.parametrize("name", [n for n, (_, changes) in VARIANTS.items() if changes])
def test_variant_depends_on_its_feature(case, name):
    """The models are sensitive: getting the feature wrong gives errors far above the tolerance."""
    path, tokens, expected, _ = case(name)
    for key, value in VARIANTS[name][1].items():
        error = reference.row_error(reference.Reference(path, **{key: value}).logits(tokens), expected)
        assert error > SENSITIVE, f"{name}: {key}={value} changes logits by {error:.1e} only"


@pytest.mark.parametrize("name", ["llama", "llama-window", "qwen3moe", "gemma3"])
def test_f16_kv_cache_is_close(case, name):
    """Keys and values rounded to f16 (2^-11 relative): the error stays in that order. (Without packed weights
    attention rounds nothing else.)"""
    path, tokens, expected, _ = case(name)
    for tier in tsr.host_tiers():
        with tsr.Model(path, cpu_tier=tier, no_packed=True) as model:
            got = [feed(model.session(n_ctx=N_TOKENS), tokens, mode) for mode in ("batch", "single")]
        for logits in got:
            assert reference.row_error(logits, expected) < 5e-3


def test_llama3_scaling_is_the_same_as_type_and_as_tensor(tmp_path):
    """Files hold it as rope_freqs.weight; a type of that name means the same, and both together mean it once."""
    typed = {"rope.freq_base": 1e4, "rope.scaling.type": "llama3", "rope.scaling.factor": 8.0,
             "rope.scaling.original_context_length": 64}
    specs = {"tensor": mm.Spec(rope_factors=True, meta={"rope.freq_base": 1e4}), "type": mm.Spec(meta=typed),
             "both": mm.Spec(rope_factors=True, meta=typed)}
    got = {}
    for name, spec in specs.items():
        path = mm.save(mm.build(spec, 5), tmp_path / f"{name}.gguf")
        with tsr.Model(path) as model:
            got[name] = model.session(n_ctx=N_TOKENS, kv_f32=True).eval(range(N_TOKENS))
    expected = reference.Reference(tmp_path / "tensor.gguf").logits(range(N_TOKENS))
    for name, logits in got.items():
        assert reference.row_error(logits, expected) < TOLERANCE, name


@pytest.mark.parametrize("original, used", [(64, "long"), (256, "short"), (None, "short")])
@pytest.mark.parametrize("kind", ["longrope", None])
def test_longrope_factors(tmp_path, original, used, kind):
    """The set for the training context of 256 divides the frequencies, with or without a scaling type."""
    path = mm.save(mm.build(mm.Spec(rope_factors=True), 5), tmp_path / "freqs.gguf")
    expected = reference.Reference(path).logits(range(N_TOKENS))
    meta = {"rope.scaling.original_context_length": original, "rope.scaling.type": kind}
    model = mm.build(mm.Spec(rope_factors=True, meta=meta), 5)
    right, kind_of = model.tensors.pop("rope_freqs.weight")
    model.tensors["rope_factors_long.weight"] = (right if used == "long" else right * 3, kind_of)
    model.tensors["rope_factors_short.weight"] = (right if used == "short" else right * 3, kind_of)
    with tsr.Model(mm.save(model, tmp_path / "longrope.gguf")) as opened:
        got = opened.session(n_ctx=N_TOKENS, kv_f32=True).eval(range(N_TOKENS))
    assert reference.row_error(got, expected) < TOLERANCE


def test_tied_output_tells_its_kernel(case):
    """The embeddings of a tied model are multiplied, those of others only looked up."""
    for name, has_kernel in (("llama-tied", True), ("llama", False)):
        with tsr.Model(case(name)[0]) as model:
            t, i = tsr.TensorInfo(), 0
            while tsr.lib().tsr_model_tensor(model.handle, i, C.byref(t)) and t.name != b"token_embd.weight":
                i += 1
            assert t.name == b"token_embd.weight" and (t.kernel != b"-") == has_kernel, t.kernel


def test_split_file_gives_the_same_logits(case, tmp_path):
    path, tokens, expected, spec = case("mixtral")
    first = mm.save(mm.build(spec, seed_of("mixtral")), tmp_path / "split.gguf", tensors_per_file=7)
    assert np.array_equal(reference.Reference(first).logits(tokens), expected)
    with tsr.Model(first) as split, tsr.Model(path) as whole:
        assert split.info().n_files == 4
        a, b = (m.session(n_ctx=N_TOKENS, kv_f32=True).eval(tokens) for m in (split, whole))
    assert np.array_equal(a, b)


def test_no_mmap_gives_the_same_logits(case):
    path, tokens, _, _ = case("llama")
    with tsr.Model(path) as mapped, tsr.Model(path, no_mmap=True) as read:
        a, b = (m.session(n_ctx=N_TOKENS, kv_f32=True).eval(tokens) for m in (mapped, read))
    assert np.array_equal(a, b)


def test_forced_tier_is_used_and_unknown_tier_refused(case):
    path = case("llama")[0]
    for tier in tsr.host_tiers():
        with tsr.Model(path, cpu_tier=tier) as model:
            assert model.info().cpu_tier.decode() == tier
    for tier in ("sse9", *tsr.missing_tiers()):
        with pytest.raises(tsr.TsrError, match=tier):
            tsr.Model(path, cpu_tier=tier)
