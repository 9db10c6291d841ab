"""Speculation by prompt lookup: the same tokens as without, greedy and sampled, on every model, tier and cache; and its public functions."""
import ctypes as C
import json

import numpy as np
import pytest

import golden
import make_model as mm
import tsr
from cli_models import FINE, USAGE, cli, tiny

CODE = """def area(width, height):
    if width < 0 or height < 0:
        raise ValueError("negative")
    return width * height

def volume(width, height, depth):
    if width < 0 or height < 0 or depth < 0:
        raise ValueError("negative")
    return width * height * depth
"""
PROMPTS = ["Repeat this code:\n\n" + CODE, "one two three one two three one two", "Write a short story about a lighthouse keeper."]
SAMPLING = [["--temp", "0"], ["--temp", "0.8", "--seed", "11"],
            ["--temp", "1.2", "--seed", "12", "--repeat-penalty", "1.1", "--top-k", "0", "--top-p", "0.9"]]


def answer(path, *args):
    status, out, err = cli("run", "-m", path, "--json", "--ignore-eos", *args, timeout=300)
    assert status == FINE, err
    return json.loads(out)


def check_same(path, *args, n=60):
    """Both answers; the second was computed with guesses."""
    plain, guessed = (answer(path, "-n", n, *args, *more) for more in ([], ["--lookup"]))
    assert plain["tokens"] == guessed["tokens"] and plain["text"] == guessed["text"]
    assert plain["finish_reason"] == guessed["finish_reason"]
    assert "lookup" not in plain["timings"]
    return guessed["timings"]["lookup"]


@pytest.mark.parametrize("prompt", range(len(PROMPTS)))
@pytest.mark.parametrize("name", golden.OUTPUTS)
def test_real_models_say_the_same(name, prompt):
    path, right = golden.model_path(name), 0
    for sampling in SAMPLING:
        found = check_same(path, "-p", PROMPTS[prompt], *sampling)
        right += found["right"]
        assert found["right"] <= found["guessed"] and found["passes"] + found["right"] >= 59
    if prompt < 2 and name != "tiny-qwen3moe":  # that one's weights are random: it repeats nothing
        assert right > 0


@pytest.mark.parametrize("tier", tsr.TIERS)
def test_every_tier_says_the_same(tier):
    if tier not in tsr.host_tiers():
        pytest.skip(f"this CPU has no {tier}")
    right = 0
    for qtype in ("Q8_0", "Q4_0", "BF16"):
        for sampling in SAMPLING[:2]:
            right += check_same(tiny(qtype=qtype), "--raw", "-p", "ab ab ab ab ab ab", "--cpu-tier", tier, *sampling, n=120)["right"]
    assert right > 0


@pytest.mark.parametrize("more", [["--no-packed"], ["--kv", "f32"], ["--kv", "bf16"], ["--kv", "q8_0"], ["-t", "1"], ["--lookup-max", "1"],
                                  ["--lookup-max", "3"], ["-c", "64"], ["--stop", "a"]], ids=" ".join)
def test_every_way_to_run_says_the_same(more):
    check_same(golden.model_path("smollm2"), "-p", PROMPTS[1], "--temp", "0", *more, n=50)


def test_a_chat_goes_on_from_what_was_kept():
    lines = b"".join(line + b"\n" for line in (b"ab ab ab ab", b"ab ab ab", b"/stats", b"again ab ab"))
    path = golden.model_path("smollm2")
    plain, guessed = (cli("chat", "-m", path, "-n", 25, "--temp", 0, *more, stdin=lines) for more in ([], ["--lookup"]))
    assert plain[0] == guessed[0] == FINE and plain[1] == guessed[1]


def test_options():
    assert cli("run", "-m", tiny(), "-p", "x", "--lookup-max", "8")[0] == USAGE
    status, _, err = cli("run", "-m", tiny(), "-p", "x", "-n", 8, "--lookup")
    assert status == FINE and "lookup:" in err and "right" in err


# ---- the library

class Stats(C.Structure):
    _fields_ = [("n_passes", C.c_uint64), ("n_drafted", C.c_uint64), ("n_accepted", C.c_uint64)]


class Lookup:
    def __init__(self, session, max_draft=0):
        so, p = tsr.lib(), C.POINTER(tsr.Error)
        for name, restype, *argtypes in (
                ("open", C.c_void_p, C.c_void_p, C.c_int, p), ("close", None, C.c_void_p),
                ("begin", C.c_int, C.c_void_p, C.POINTER(C.c_int32), C.c_size_t, p),
                ("next", C.c_int, C.c_void_p, C.c_void_p, C.POINTER(C.c_int32), p), ("get_stats", None, C.c_void_p, C.POINTER(Stats))):
            f = getattr(so, f"tsr_lookup_{name}")
            f.restype, f.argtypes = restype, argtypes
            setattr(self, f"c_{name}", f)
        err = tsr.Error()
        self.handle = self.c_open(session.handle, max_draft, C.byref(err))
        if not self.handle:
            raise tsr.TsrError(err.code, err.text())

    def begin(self, prompt):
        err = tsr.Error()
        tsr.check(self.c_begin(self.handle, tsr.i32(prompt)[1], len(prompt), C.byref(err)), err)

    def next(self, sampler):
        out, err = C.c_int32(), tsr.Error()
        tsr.check(self.c_next(self.handle, sampler, C.byref(out), C.byref(err)), err)
        return out.value

    def stats(self):
        out = Stats()
        self.c_get_stats(self.handle, C.byref(out))
        return out


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with tsr.Model(mm.save(mm.build(mm.Spec(context=256, qtype="Q8_0"), seed=5), tmp_path_factory.mktemp("lookup") / "m.gguf")) as m:
        yield m


class SamplerParams(C.Structure):
    _fields_ = [("seed", C.c_uint64), ("temperature", C.c_float), ("rest", C.c_char * 256)]  # what is behind is left as it is


@pytest.fixture
def sampler(model):
    """Greedy."""
    so = tsr.lib()
    so.tsr_sampler_params_default.restype = SamplerParams
    so.tsr_sampler_open.restype, so.tsr_sampler_open.argtypes = C.c_void_p, [C.c_void_p, C.POINTER(SamplerParams), C.POINTER(tsr.Error)]
    so.tsr_sampler_close.argtypes = [C.c_void_p]
    params, err = so.tsr_sampler_params_default(), tsr.Error()
    params.temperature = 0
    handle = so.tsr_sampler_open(model.handle, C.byref(params), C.byref(err))
    assert handle, err.text()
    yield handle
    so.tsr_sampler_close(handle)


MOE = dict(experts=6, used=2, expert_ff=64)
ROWS_OF = {  # rows of 64: codes come in blocks of 32
    "llama": mm.Spec(context=2048, qtype="Q8_0"), "window": mm.Spec(context=2048, qtype="Q4_0", meta={"attention.sliding_window": 100}),
    "gemma3": mm.Spec(context=2048, arch="gemma3", qtype="Q5_1"), "bf16": mm.Spec(context=2048, qtype="BF16", bias=("q", "k", "v")),
    "f32": mm.Spec(context=2048), "experts": mm.Spec(context=2048, arch="qwen3moe", qtype="Q8_0", **MOE),
    "one-kv-head": mm.Spec(context=2048, qtype="Q4_1", kv_heads=1)}


@pytest.mark.parametrize("kv_f32", [False, True], ids=["f16", "f32"])
@pytest.mark.parametrize("name", ROWS_OF)
def test_rows_of_a_pass_are_those_of_single_tokens(name, kv_f32, tmp_path):
    """At the beginning, within and across the blocks, segments and windows of attention; on every tier."""
    path = mm.save(mm.build(ROWS_OF[name], seed=6), tmp_path / "m.gguf")
    verify = tsr.lib().tsr_session_verify
    verify.restype, verify.argtypes = C.c_int, [C.c_void_p, C.POINTER(C.c_int32), C.c_size_t, C.POINTER(tsr.Error)]
    tokens, before = [5, 9, 5, 7, 30, 2, 8, 11], [3 + i * i % 250 for i in range(1100)]
    for tier in tsr.host_tiers():
        with tsr.Model(path, cpu_tier=tier) as m:
            one, many = m.session(n_ctx=1200, kv_f32=kv_f32), m.session(n_ctx=1200, n_threads=2, kv_f32=kv_f32)
            for at in (0, 1, 28, 96, 508, 1020):
                for s in (one, many):
                    s.eval(before[len(s):at], tsr.LOGITS_NONE) if at > len(s) else None
                want = np.stack([one.eval([t])[0] for t in tokens])
                for n in range(1, 9):
                    err = tsr.Error()
                    tsr.check(verify(many.handle, tsr.i32(tokens[:n])[1], n, C.byref(err)), err)
                    got = np.stack([many.logits(i) for i in range(n)])
                    assert got.tobytes() == want[:n].tobytes(), (tier, at, n)
                    if n < 8:
                        many.truncate(at)
                assert many.eval([4])[0].tobytes() == one.eval([4])[0].tobytes()  # the cache too
                one.truncate(at), many.truncate(at)


def test_next_is_what_the_sampler_says_and_the_session_keeps_up(model, sampler):
    prompt = [5, 9, 13, 5, 9, 13, 5, 9]
    plain, s = model.session(n_ctx=256), model.session(n_ctx=256)
    logits, want = plain.eval(prompt)[-1], []
    while len(want) < 100:
        want.append(int(np.argmax(logits)))
        logits = plain.eval(want[-1:])[0]
    s.eval(prompt, tsr.LOGITS_LAST)
    lookup = Lookup(s)
    lookup.begin(prompt)
    assert [lookup.next(sampler) for _ in range(60)] == want[:60]
    stats = lookup.stats()
    assert stats.n_accepted <= stats.n_drafted and stats.n_passes + stats.n_accepted >= 59
    keep = len(prompt) + 40  # back to where it was, and on again: evaluated anew
    s.truncate(keep)
    with pytest.raises(tsr.TsrError):
        lookup.begin((prompt + want)[:keep])  # no logits
    s.truncate(keep - 1)
    s.eval(want[39:40], tsr.LOGITS_LAST)
    lookup.begin((prompt + want)[:keep])
    assert [lookup.next(sampler) for _ in range(60)] == want[40:100]
    lookup.c_close(lookup.handle)


def test_to_the_end_of_the_context_and_what_is_refused(model, sampler):
    s = model.session(n_ctx=40, n_batch=4)
    for bad in (-1, 8):
        with pytest.raises(tsr.TsrError) as e:
            Lookup(s, bad)
        assert e.value.code == tsr.E_ARG and str(bad) in e.value.message
    lookup = Lookup(s, 7)
    with pytest.raises(tsr.TsrError) as e:
        lookup.next(sampler)
    assert e.value.code == tsr.E_ARG and "tsr_lookup_begin" in e.value.message
    with pytest.raises(tsr.TsrError) as e:
        lookup.begin([1, 2])
    assert e.value.code == tsr.E_ARG and "2 tokens" in e.value.message
    prompt = [5, 9] * 10
    s.eval(prompt, tsr.LOGITS_LAST)
    lookup.begin(prompt)
    for _ in range(21):
        lookup.next(sampler)
    with pytest.raises(tsr.TsrError) as e:
        lookup.next(sampler)
    assert e.value.code == tsr.E_LIMIT and len(s) == 40
    lookup.c_close(lookup.handle)
