"""Packed weights, the default: matrices repacked at load, activations rounded to 8 bits with the rounding errors of the blocks that
matter. What that may cost: doc/accuracy.md. On tiers without packed kernels every tensor says why it is not packed.
The logits of every format are compared in test_forward.py."""
import ctypes as C
import json
import re
import subprocess
import sys

import numpy as np
import pytest

import golden
import make_model as mm
import reference
import test_forward
from test_golden import top20
import tsr

KL_BOUND, PPL_BOUND = 0.001, 0.005


@pytest.fixture(scope="module")
def model_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    return lambda name: mm.save(test_forward.make(name), folder / f"{name}.gguf")


@pytest.fixture
def packed_tier(model_of, request):
    """A tier that packs, or the test is skipped with the reason."""
    if request.param not in tsr.host_tiers():
        pytest.skip(f"PACKED KERNELS NOT TESTED: this CPU lacks the {request.param} tier")
    with tsr.Model(model_of("Q8_0"), cpu_tier=request.param) as model:
        if not model.info().packed_bytes:
            pytest.skip(f"the {request.param} tier packs nothing")
    return request.param


every_tier = pytest.mark.parametrize("packed_tier", tsr.TIERS, indirect=True)


def buffers(model):
    """{name: TensorInfo} of the model's tensors."""
    found, info, i = {}, tsr.TensorInfo(), 0
    while tsr.lib().tsr_model_tensor(model.handle, i, C.byref(info)):
        found[info.name.decode()], info, i = info, tsr.TensorInfo(), i + 1
    return found


@every_tier
def test_what_is_packed_and_why_not(model_of, packed_tier):
    for name in ("Q4_K", "Q4_K-experts", "Q4_0-experts-old-names"):
        with tsr.Model(model_of(name), cpu_tier=packed_tier) as model:
            for tensor, t in buffers(model).items():
                if t.type == b"F32":
                    assert t.buffer == b"host"
                    assert t.reason == (b"no packed layout for this format" if t.kernel != b"-" else b""), tensor
                elif tensor == "token_embd.weight":
                    assert (t.buffer, t.kernel, t.reason) == (b"host", b"-", b"no product is computed with it")
                else:
                    assert (t.buffer, t.reason) == (b"packed", b""), tensor
                    assert t.layout.startswith(b"p16_u4_") and re.fullmatch(rb"packed_narrow_\w+, (packed_gemm|wide)_\w+", t.kernel), t.kernel
            assert model.info().packed_bytes > 0
        with tsr.Model(model_of(name), cpu_tier=packed_tier, no_packed=True) as model:
            assert {t.buffer for t in buffers(model).values()} == {b"host"} and model.info().packed_bytes == 0


def test_every_tier_packs_or_says_which_do(model_of):
    """A tier refuses with the tier that is needed; that one and those above pack."""
    reasons = {}
    for tier in tsr.host_tiers():
        with tsr.Model(model_of("Q8_0"), cpu_tier=tier) as model:
            reasons[tier] = {t.reason.decode() for t in buffers(model).values() if t.kernel != b"-"}
            assert (model.info().packed_bytes > 0) == (reasons[tier] == {""}), reasons
    for tier in reasons:
        refusal, = reasons[tier]
        needed = re.search(r"(\w+) tier", refusal)
        assert needed or not refusal, reasons
        assert all(reasons[t] == {""} for t in reasons if needed and tsr.TIERS.index(t) >= tsr.TIERS.index(needed[1])), reasons


@pytest.mark.parametrize("tier", tsr.TIERS[1:])
def test_every_tier_but_scalar_packs(model_of, tier):
    """So that none of the tests above is skipped on a CPU that has the tier."""
    if tier not in tsr.host_tiers():
        pytest.skip(f"PACKED KERNELS NOT TESTED: this CPU lacks the {tier} tier")
    with tsr.Model(model_of("Q8_0"), cpu_tier=tier) as model:
        assert model.info().packed_bytes > 0


RESIDENT = """
import sys, tsr
def pages(): return [int(x) for x in open("/proc/self/statm").read().split()]
tsr.lib()
before = pages()
with tsr.Model(sys.argv[1], cpu_tier=sys.argv[2]) as model:
    after, info = pages(), model.info()
    print((after[2] - before[2]) * 4096, (after[1] - before[1]) * 4096, info.packed_bytes)
"""


@every_tier
def test_memory_holds_the_packed_weights_and_not_the_file_too(packed_tier):
    """statm: resident, and of that shared with the file."""
    path = golden.model_path("smollm2")
    run = subprocess.run([sys.executable, "-c", RESIDENT, path, packed_tier], cwd=tsr.ROOT / "tests/py", capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    shared, resident, packed = map(int, run.stdout.split())
    assert packed > 0.95 * path.stat().st_size
    assert shared < 0.1 * path.stat().st_size and resident < packed + 0.4 * path.stat().st_size  # the vocabulary is in it, too


ROUNDINGS = {}  # name: mean KL of each rounding tried


def near_exact(name, source, top, nll):
    """Of one rounding: by chance it lies between half and twice of what the mean of several is (doc/accuracy.md)."""
    exact = golden.exact(name) or golden.expected(name)
    kl, same = golden.compare(exact["top"], top)
    difference = nll - exact["nll_mean"]
    print(f"{name} {source}: KL {kl:.6f}, top {same:.4f}, nll {difference:+.5f}")
    tsr.REPORT.append(("packed: mean KL to the exact output", f"{name} {source}", abs(kl)))
    ROUNDINGS.setdefault(name, []).append(kl)
    assert abs(kl) < 2 * KL_BOUND and same > 0.95 and abs(difference) < 2 * PPL_BOUND


@every_tier
@pytest.mark.parametrize("name", golden.OUTPUTS)
def test_golden(name, packed_tier):
    text = (golden.FOLDER / "a.txt").read_bytes()
    with tsr.Model(golden.model_path(name), cpu_tier=packed_tier) as model:
        tokens = model.tokenize(text, tsr.ADD_SPECIAL | tsr.PARSE_SPECIAL)
        session = model.session(n_ctx=len(tokens), n_threads=2)
        for batch in (128, 99):  # which blocks have their errors entered is chosen for each 8 rows together: other batches round anew
            session.truncate(0)
            top, nll = [], 0.0
            for start in range(0, len(tokens), batch):
                ln_p = reference.log_softmax(session.eval(tokens[start:start + batch]))
                following = tokens[start + 1:start + batch + 1]
                nll -= float(ln_p[np.arange(len(following)), following].sum(dtype=np.float64))
                top += top20(ln_p)
            near_exact(name, f"{packed_tier}, batches of {batch}", top, nll / (len(tokens) - 1))


@pytest.mark.parametrize("name", golden.OUTPUTS)
def test_tessera_eval(name, tmp_path):
    """The program as it comes."""
    out = tmp_path / "out.json"
    command = [tsr.BINARY, "eval", "-m", golden.model_path(name), "-f", golden.FOLDER / "a.txt", "--json", out]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    got = json.loads(out.read_text())
    assert got["tokens"] == golden.expected(name)["tokens"]
    near_exact(name, "tessera eval", got["top"], got["nll_mean"])


def test_mean_of_all_roundings():
    """Mean KL to the exact output at most 0.001, of all the tests above."""
    if not ROUNDINGS:
        pytest.skip("no golden model was compared")
    assert all(np.mean(kl) < KL_BOUND for kl in ROUNDINGS.values()), ROUNDINGS
