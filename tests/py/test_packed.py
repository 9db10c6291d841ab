"""Packed buffers (--packed): matrices repacked at load, activations rounded to 8 bits with the rounding errors of the blocks that matter.
What that may cost: doc/accuracy.md. Only the avx512 tier has packed kernels; elsewhere every tensor says why it is not packed."""
import ctypes as C

import numpy as np
import pytest

import golden
import make_model as mm
import reference
import test_forward
from test_golden import top20
import tsr

HAS_KERNELS = "avx512" in tsr.host_tiers()
KL_BOUND, PPL_BOUND = 0.001, 0.005
FORMATS = sorted(test_forward.FORMATS)
# Random models have no outlier channels to spend the rounding errors on, and amplify noise: what rounding to 8 bits costs shows in full.
LOGIT_BOUND = {"batch": 0.12, "single": 0.001}

needs_kernels = pytest.mark.skipif(not HAS_KERNELS, reason="PACKED KERNELS NOT TESTED: this CPU lacks the avx512 tier")


@pytest.fixture(scope="module")
def model_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")

    def make(name):
        spec = test_forward.FORMATS.get(name) or test_forward.VARIANTS[name][0]
        return mm.save(mm.build(spec, test_forward.seed_of(name)), folder / f"{name}.gguf")

    return make


def buffers(model):
    """{name: TensorInfo} of the model's tensors."""
    found, info, i = {}, tsr.TensorInfo(), 0
    while tsr.lib().tsr_model_tensor(model.handle, i, C.byref(info)):
        found[info.name.decode()], info, i = info, tsr.TensorInfo(), i + 1
    return found


@needs_kernels
@pytest.mark.parametrize("name", FORMATS + ["mixtral", "qwen3moe", "gemma3", "llama-tied"])
def test_logits(model_of, name):
    """Batches keep 8 bits of most activations, single tokens keep 16 of all."""
    path = model_of(name)
    tokens = test_forward.tokens_for(path)
    with tsr.Model(path) as plain, tsr.Model(path, packed=True) as packed:
        want = plain.session(n_ctx=len(tokens), kv_f32=True).eval(tokens)
        for mode, bound in LOGIT_BOUND.items():
            for threads in (1, 2):
                got = test_forward.feed(packed.session(n_ctx=len(tokens), n_threads=threads, kv_f32=True), tokens, mode)
                error = reference.row_error(got, want)
                tsr.REPORT.append((f"packed, {mode}", name, error))
                assert error < bound, f"{name}, {mode}, {threads} threads: {error}"


@needs_kernels
def test_what_is_packed_and_why_not(model_of):
    with tsr.Model(model_of("Q4_K"), packed=True) as model:
        for name, t in buffers(model).items():
            if t.type in (b"F32",):
                assert t.buffer == b"host"
            elif name == "token_embd.weight":
                assert t.buffer in (b"host", b"packed")
            else:
                assert (t.buffer, t.reason) == (b"packed", b""), name
                assert t.layout.startswith(b"p16_")
        info = model.info()
        assert info.packed_bytes > 0


def test_a_tier_without_packed_kernels_says_so(model_of):
    with tsr.Model(model_of("Q8_0"), packed=True, cpu_tier="scalar") as model:
        reasons = {t.reason for t in buffers(model).values() if t.type == b"Q8_0" and t.n_dims == 2}
        assert b"packed kernels need the avx512 tier" in reasons
        assert model.info().packed_bytes == 0


@needs_kernels
@pytest.mark.parametrize("name", golden.OUTPUTS)
def test_golden(name):
    """Mean KL to the exact output at most 0.001, perplexity within 0.5 %."""
    text = (golden.FOLDER / "a.txt").read_bytes()
    with tsr.Model(golden.model_path(name), packed=True) as model:
        tokens = model.tokenize(text, tsr.ADD_SPECIAL | tsr.PARSE_SPECIAL)
        session, top, nll = model.session(n_ctx=len(tokens), n_threads=2), [], 0.0
        for start in range(0, len(tokens), 128):
            ln_p = reference.log_softmax(session.eval(tokens[start:start + 128]))
            following = tokens[start + 1:start + 129]
            nll -= float(ln_p[np.arange(len(following)), following].sum(dtype=np.float64))
            top += top20(ln_p)
    exact = golden.exact(name) or golden.expected(name)
    kl, same = golden.compare(exact["top"], top)
    difference = nll / (len(tokens) - 1) - exact["nll_mean"]
    print(f"{name} packed: KL {kl:.6f}, top {same:.4f}, nll {difference:+.5f}")
    tsr.REPORT.append(("packed: mean KL to the exact output", name, abs(kl)))
    assert abs(kl) < KL_BOUND and same > 0.95 and abs(difference) < PPL_BOUND
