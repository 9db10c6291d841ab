"""KV caches of every type, and passes over several sessions (tsr_session_eval_batch)."""
import ctypes as C
import itertools

import numpy as np
import pytest

import make_model as mm
import reference
import tsr

SEED = 5
N_VOCAB = len(mm.byte_level_vocab()["tokens"])
TOKENS = np.random.default_rng(SEED).integers(0, N_VOCAB, 150).astype(np.int32)
TYPES = {"f16": 0, "f32": 1, "bf16": 2, "q8_0": 3}
# Of a row's error relative to its size. Tiers that multiply bf16 round what they read of an f16 cache.
BOUNDS = {"f16": 0.04, "f32": 1e-4, "bf16": 0.04, "q8_0": 0.1}


class BatchItem(C.Structure):
    _fields_ = [("session", C.c_void_p), ("tokens", C.POINTER(C.c_int32)), ("n", C.c_size_t), ("want", C.c_int)]


def open_session(model, kv_k="f32", kv_v=None, n_ctx=160, n_batch=128, n_threads=2):
    p, err = tsr.lib().tsr_session_params_default(), tsr.Error()
    p.n_ctx, p.n_batch, p.n_threads = n_ctx, n_batch, n_threads
    p.kv_k, p.kv_v = TYPES[kv_k], TYPES[kv_v or kv_k]
    s = tsr.Session.__new__(tsr.Session)
    s.n_vocab = model.info().n_vocab
    s.handle = tsr.lib().tsr_session_open(model.handle, C.byref(p), C.byref(err))
    if not s.handle:
        raise tsr.TsrError(err.code, err.text())
    model.sessions.append(s)
    return s


def eval_batch(items):
    """items: (session, tokens, want)."""
    lib, err = tsr.lib(), tsr.Error()
    lib.tsr_session_eval_batch.argtypes = [C.POINTER(BatchItem), C.c_size_t, tsr.ERR]
    arrays = [tsr.i32(tokens) for _, tokens, _ in items]
    batch = (BatchItem * len(items))(*[BatchItem(s.handle if s is not None else None, ptr, len(a), want)
                                       for (s, _, want), (a, ptr) in zip(items, arrays)])
    tsr.check(lib.tsr_session_eval_batch(batch, len(items), C.byref(err)), err)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kv")
    specs = {"llama": mm.Spec(), "gqa": mm.Spec(heads=4, kv_heads=1, key=64), "window": mm.Spec(key=32, meta={"attention.sliding_window": 40}),
             "packed": mm.Spec(qtype="Q8_0")}
    opened = {name: tsr.Model(mm.save(mm.build(spec, SEED), folder / f"{name}.gguf")) for name, spec in specs.items()}
    yield opened
    for model in opened.values():
        model.close()


@pytest.mark.parametrize("kv_k, kv_v", list(itertools.product(TYPES, TYPES)))
@pytest.mark.parametrize("name", ["gqa", "window"])
def test_types_of_cache(models, name, kv_k, kv_v):
    """As a long batch, as short ones and token by token, against an f32 cache."""
    exact, s = open_session(models[name]), open_session(models[name], kv_k, kv_v)
    bound = max(BOUNDS[kv_k], BOUNDS[kv_v])
    for n in (100, 1, 5, 30, 1, 1):
        at = len(s)
        want = exact.eval(TOKENS[at:at + n])
        assert reference.row_error(s.eval(TOKENS[at:at + n]), want) < bound
    exact.close(), s.close()


@pytest.mark.parametrize("kv", TYPES)
@pytest.mark.parametrize("keep", [0, 31, 32, 33, 70, 99])
def test_truncation_forgets(models, kv, keep):
    """What lies behind the end in its block of positions must not be seen again; NaN would be."""
    s, fresh = open_session(models["gqa"], kv), open_session(models["gqa"], kv)
    s.eval((TOKENS[:128] + 7) % N_VOCAB)
    s.truncate(0)
    s.eval(TOKENS[:100])
    s.truncate(keep)
    fresh.eval(TOKENS[:100])
    fresh.truncate(keep)
    for n in (3, 40, 1):
        at = len(s)
        assert np.array_equal(s.eval(TOKENS[at:at + n]), fresh.eval(TOKENS[at:at + n]))
    s.close(), fresh.close()


def test_q8_0_takes_heads_of_multiples_of_32(tmp_path):
    path = mm.save(mm.build(mm.Spec(heads=2, kv_heads=2, key=48), SEED), tmp_path / "m.gguf")
    with tsr.Model(path) as model:
        with pytest.raises(tsr.TsrError) as e:
            open_session(model, "q8_0")
        assert e.value.code == tsr.E_UNSUPPORTED and "48" in e.value.message and "f16" in e.value.message
        open_session(model, "bf16").close()


@pytest.mark.parametrize("name", ["llama", "gqa", "window"])
def test_a_batch_is_what_each_session_would_get(models, name):
    counts = [(1, 20, 5), (1, 1, 1), (30, 1, 9), (2, 3, 40), (1, 1, 1)]
    together = [open_session(models[name]) for _ in range(3)]
    alone = [open_session(models[name]) for _ in range(3)]
    for step in counts:
        wants = [tsr.LOGITS_ALL, tsr.LOGITS_LAST, tsr.LOGITS_NONE]
        tokens = [TOKENS[len(s) + 7 * i:len(s) + 7 * i + n] for i, (s, n) in enumerate(zip(together, step))]
        eval_batch(list(zip(together, tokens, wants)))
        for s, single, part, want in zip(together, alone, tokens, wants):
            rows = single.eval(part, want)
            assert len(s) == len(single)
            n = {tsr.LOGITS_ALL: len(part), tsr.LOGITS_LAST: 1, tsr.LOGITS_NONE: 0}[want]
            for i in range(n):
                assert reference.row_error(s.logits(i)[None], rows[i][None]) < 2e-5
            assert s.logits(n) is None
    for s in together + alone:
        s.close()


def test_a_packed_batch_is_near(models):
    """What packed products round depends on the batch."""
    together, alone = [open_session(models["packed"]) for _ in range(8)], open_session(models["packed"])
    for i, s in enumerate(together):
        s.eval(TOKENS[i:i + 20])
    eval_batch([(s, TOKENS[i + 20:i + 21], tsr.LOGITS_LAST) for i, s in enumerate(together)])
    for i, s in enumerate(together):
        alone.truncate(0)
        alone.eval(TOKENS[i:i + 20])
        assert reference.row_error(s.logits(0)[None], alone.eval(TOKENS[i + 20:i + 21])) < 0.03
    for s in together + [alone]:
        s.close()


def test_batches_that_are_refused(models):
    a, b, small = open_session(models["llama"]), open_session(models["llama"]), open_session(models["llama"], n_ctx=64, n_batch=64)
    other = open_session(models["gqa"])
    a.eval(TOKENS[:10])
    before = a.logits(0)
    refused = {
        "same session": [(a, TOKENS[:1], 1), (b, TOKENS[:1], 1), (a, TOKENS[:1], 1)],
        "another model": [(a, TOKENS[:1], 1), (other, TOKENS[:1], 1)],
        "no session": [(a, TOKENS[:1], 1), (None, TOKENS[:1], 1)],
        "put it first": [(small, TOKENS[:1], 1), (a, TOKENS[:1], 1)],
        "holds 128": [(a, TOKENS[:64], 1), (b, TOKENS[:65], 1)],
        "item 1 of the batch": [(a, TOKENS[:1], 1), (b, np.array([N_VOCAB]), 1)],
        "do not fit": [(a, TOKENS[:1], 1), (small, TOKENS[:65], 1)],
    }
    for message, items in refused.items():
        with pytest.raises(tsr.TsrError) as e:
            eval_batch(items)
        assert message in e.value.message, e.value.message
        assert len(a) == 10 and len(b) == 0 and np.array_equal(a.logits(0), before)
    with pytest.raises(tsr.TsrError) as e:
        eval_batch([])
    assert "at least one" in e.value.message
    for s in (a, b, small, other):
        s.close()
