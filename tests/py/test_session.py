"""What include/tessera.h promises about sessions: appending, truncating, failing without a trace, limits, cancelling."""
import ctypes as C
import threading
import time

import numpy as np
import pytest

import make_model as mm
import reference
import tsr

SEED = 3
N_VOCAB = len(mm.byte_level_vocab()["tokens"])
SPECS = {
    "llama": mm.Spec(),
    "window": mm.Spec(meta={"attention.sliding_window": 6}),
    "gemma3": mm.Spec(arch="gemma3", layers=7, kv_heads=1, key=32, tied=True, meta={"attention.sliding_window": 6}),
    "qwen3moe": mm.Spec(arch="qwen3moe", key=32, experts=4, used=2, expert_ff=64),
    "llama-packed": mm.Spec(qtype="Q8_0"),  # where the CPU's tier packs
    "qwen3moe-packed": mm.Spec(arch="qwen3moe", qtype="Q4_0", key=32, experts=4, used=2, expert_ff=64),
}
TOKENS = np.random.default_rng(SEED).integers(0, N_VOCAB, 64).astype(np.int32)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sessions")
    print(f"seed {SEED}")
    opened = {name: tsr.Model(mm.save(mm.build(spec, SEED), folder / f"{name}.gguf")) for name, spec in SPECS.items()}
    yield opened
    for model in opened.values():
        model.close()


@pytest.fixture
def session(models):
    s = models["llama"].session(n_ctx=32, n_batch=16, kv_f32=True)
    yield s
    s.close()


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("kv_f32", [True, False], ids=["f32", "f16"])
def test_truncate_and_eval_again_equals_a_fresh_session(models, name, kv_f32):
    """Also across the sliding window: what a truncated sequence can see again must still be there. (What packed products and attention round
    depends on the batch, so there they are the same.)"""
    first = 0 if kv_f32 and not name.endswith("-packed") else 20
    for threads in (1, 2):
        s = models[name].session(n_ctx=64, n_threads=threads, kv_f32=kv_f32)
        fresh = models[name].session(n_ctx=64, n_threads=threads, kv_f32=kv_f32)
        other = (TOKENS + 1) % N_VOCAB
        s.eval(TOKENS[:20])
        s.eval(other[20:50])
        for keep in (20, 3, 0):
            s.truncate(keep)
            assert len(s) == keep
            got = s.eval(TOKENS[keep:40])
            fresh.truncate(0)
            if keep:
                fresh.eval(TOKENS[:first or keep])
                fresh.truncate(keep)
            assert reference.row_error(got, fresh.eval(TOKENS[keep:40])) < 1e-5
            assert len(s) == 40
        s.close(), fresh.close()


@pytest.mark.parametrize("name", ["qwen3moe", "llama-packed", "qwen3moe-packed"])
def test_same_calls_give_the_same_bits(models, name):
    runs = []
    for threads in (2, 2, 1):
        s = models[name].session(n_ctx=64, n_threads=threads)
        runs.append(np.concatenate([s.eval(TOKENS[:33]), s.eval(TOKENS[33:34]), s.eval(TOKENS[34:])]))
        s.close()
    assert np.array_equal(runs[0], runs[1]) and np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize("name", ["llama", "llama-packed"])
def test_sessions_of_one_model_do_not_see_each_other(models, name):
    alone = models[name].session(n_ctx=64)
    expected = np.concatenate([alone.eval(TOKENS[i:i + 8]) for i in range(0, 40, 8)])
    a, b = models[name].session(n_ctx=64), models[name].session(n_ctx=50, n_threads=2)
    got = []
    for i in range(0, 40, 8):
        got.append(a.eval(TOKENS[i:i + 8]))
        b.eval(TOKENS[::-1][i:i + 8])
    assert np.array_equal(np.concatenate(got), expected)
    for s in (alone, a, b):
        s.close()


def test_sessions_in_two_threads(models):
    """A model may be used by several threads at once."""
    expected = models["gemma3"].session(n_ctx=64).eval(TOKENS)
    results = {}

    def work(i):
        s = models["gemma3"].session(n_ctx=64)
        results[i] = [s.eval(TOKENS) for _ in range(8) if s.truncate(0) is None]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert sorted(results) == [0, 1, 2]
    assert all(np.array_equal(r, expected) for rows in results.values() for r in rows)


def test_which_logits_there_are(session):
    every = session.eval(TOKENS[:10])
    session.truncate(0)
    last = session.eval(TOKENS[:10], tsr.LOGITS_LAST)
    assert reference.row_error(last, every[-1:]) < 1e-5
    assert session.logits(1) is None
    session.eval(TOKENS[10:12], tsr.LOGITS_NONE)
    assert session.logits(0) is None
    assert session.eval(TOKENS[12:15]).shape == (3, N_VOCAB)
    assert session.logits(3) is None and session.logits(1 << 40) is None


def test_more_tokens_than_a_batch(session):
    """Without LOGITS_ALL any number goes; with it, n <= n_batch."""
    last = session.eval(TOKENS[:30], tsr.LOGITS_LAST)
    session.truncate(0)
    rows = np.concatenate([session.eval(TOKENS[:15]), session.eval(TOKENS[15:30])])
    assert reference.row_error(last, rows[-1:]) < 1e-5
    session.truncate(0)
    with pytest.raises(tsr.TsrError, match="17.*16|16.*17") as e:
        session.eval(TOKENS[:17])
    assert e.value.code in (tsr.E_ARG, tsr.E_LIMIT) and len(session) == 0


@pytest.mark.parametrize("bad", [-1, N_VOCAB, 2 ** 31 - 1, -2 ** 31])
@pytest.mark.parametrize("place", [0, 4, 20])
def test_token_out_of_range(session, bad, place):
    """Refused before anything is computed: place 20 is in the second batch."""
    expected = session.eval(TOKENS[:6])
    session.truncate(5)
    tokens = TOKENS[:21].copy()
    tokens[place] = bad
    with pytest.raises(tsr.TsrError, match=str(bad)) as e:
        session.eval(tokens, tsr.LOGITS_LAST)
    assert e.value.code == tsr.E_ARG and len(session) == 5
    assert reference.row_error(session.eval(TOKENS[5:6]), expected[5:6]) < 1e-5


def test_full_context(session):
    assert tsr.lib().tsr_session_capacity(session.handle) == 32
    session.eval(TOKENS[:30], tsr.LOGITS_NONE)
    with pytest.raises(tsr.TsrError, match="32") as e:
        session.eval(TOKENS[30:33])
    assert e.value.code == tsr.E_LIMIT and len(session) == 30
    got = session.eval(TOKENS[30:32])
    assert len(session) == 32
    with pytest.raises(tsr.TsrError) as e:
        session.eval(TOKENS[:1])
    assert e.value.code == tsr.E_LIMIT and len(session) == 32
    session.truncate(0)
    session.eval(TOKENS[:16], tsr.LOGITS_NONE), session.eval(TOKENS[16:30], tsr.LOGITS_NONE)
    assert reference.row_error(session.eval(TOKENS[30:32]), got) < 1e-5


def test_huge_counts_do_not_wrap(session):
    err = tsr.Error()
    _, p = tsr.i32(TOKENS)
    for n in (2 ** 64 - 1, 2 ** 63, 2 ** 32, 2 ** 31):
        for want in (tsr.LOGITS_NONE, tsr.LOGITS_LAST, tsr.LOGITS_ALL):
            assert tsr.lib().tsr_session_eval(session.handle, p, n, want, C.byref(err)) in (tsr.E_LIMIT, tsr.E_ARG)
            assert err.text()
    assert len(session) == 0


def test_arguments_that_make_no_sense(session):
    err = tsr.Error()
    _, p = tsr.i32(TOKENS)
    ev = tsr.lib().tsr_session_eval
    assert ev(session.handle, p, 0, tsr.LOGITS_LAST, C.byref(err)) == tsr.E_ARG  # there is no last token
    assert ev(session.handle, p, 0, tsr.LOGITS_LAST, None) == tsr.E_ARG  # err may be NULL
    assert len(session) == 0 and session.logits(0) is None
    session.eval(TOKENS[:4])
    with pytest.raises(tsr.TsrError, match="5"):
        session.truncate(5)
    assert len(session) == 4
    session.truncate(4)
    assert len(session) == 4


def test_unknown_kind_of_logits(session):
    err = tsr.Error()
    _, p = tsr.i32(TOKENS)
    assert tsr.lib().tsr_session_eval(session.handle, p, 3, 77, C.byref(err)) == tsr.E_ARG
    assert "77" in err.text() and len(session) == 0


def test_null_for_data(session, models):
    """A count without data is an error of the caller, not a crash."""
    lib, err, model = tsr.lib(), tsr.Error(), models["llama"].handle
    assert lib.tsr_session_eval(session.handle, None, 3, tsr.LOGITS_LAST, C.byref(err)) == tsr.E_ARG
    assert "NULL" in err.text() and len(session) == 0
    tokens, text, n = C.POINTER(C.c_int32)(), C.c_void_p(), C.c_size_t(9)
    assert lib.tsr_tokenize(model, None, 3, 0, C.byref(tokens), C.byref(n), C.byref(err)) == tsr.E_ARG
    assert "NULL" in err.text() and not tokens and n.value == 0
    assert lib.tsr_detokenize(model, None, 3, 0, C.byref(text), C.byref(n), C.byref(err)) == tsr.E_ARG
    assert "NULL" in err.text() and not text
    for path in (None, b""):
        assert not lib.tsr_model_open(path, None, C.byref(err)) and err.code == tsr.E_ARG and "path" in err.text()


@pytest.mark.parametrize("request_json, about", [
    (None, "NULL"), (b"", "line 1"), (b"{", "line 1"), (b'{"messages": [], "messages": []}', "duplicate"), (b"[]", "messages"),
    (b'{"messages": "\xff\xfe"}', "line 1"), (b'{"messages": [\x1b[31m]}', "line 1"), (b"[" * 100000, "line 1"),
    (b'{"messages": {}}', "messages")])
def test_chat_request_that_is_no_json(models, request_json, about):
    lib, err, out = tsr.lib(), tsr.Error(), C.c_void_p(1)
    lib.tsr_chat_render.argtypes = [C.c_void_p, C.c_char_p, C.c_char_p, C.POINTER(C.c_void_p), tsr.ERR]
    assert lib.tsr_chat_render(models["llama"].handle, request_json, b"x", C.byref(out), C.byref(err)) == tsr.E_ARG
    assert about in err.text() and not out and err.text().isprintable(), err.text()


@pytest.mark.parametrize("params", [dict(n_ctx=-1), dict(n_batch=-1), dict(n_threads=-1),
                                    dict(n_ctx=2 ** 31 - 1, kv_f32=True), dict(n_ctx=2 ** 30, kv_f32=True)], ids=str)
def test_session_parameters_out_of_range(tmp_path, params):
    """2^30 positions of 512 KiB each fit no machine: out of memory or over a limit, not a crash."""
    wide = mm.save(mm.build(mm.Spec(layers=64, embd=64, heads=2, kv_heads=2, key=512, ff=32), SEED), tmp_path / "wide.gguf")
    with tsr.Model(wide) as model:
        with pytest.raises(tsr.TsrError) as e:
            model.session(**params)
        assert e.value.code in (tsr.E_ARG, tsr.E_LIMIT, tsr.E_NOMEM)
        word = {"n_ctx": "context", "n_batch": "batch", "n_threads": "thread"}[next(iter(params))]
        assert str(params.get("n_ctx", -1)) in e.value.message and word in e.value.message


def test_unknown_kv_type(models):
    p, err = tsr.lib().tsr_session_params_default(), tsr.Error()
    p.kv_k = 9
    assert not tsr.lib().tsr_session_open(models["llama"].handle, C.byref(p), C.byref(err))
    assert err.code in (tsr.E_ARG, tsr.E_UNSUPPORTED) and "kv_k" in err.text() and "9" in err.text()


def test_default_context_is_the_training_context_up_to_4096(models, tmp_path):
    assert tsr.lib().tsr_session_capacity(models["llama"].session().handle) == 256
    with tsr.Model(mm.save(mm.build(mm.Spec(context=9999)), tmp_path / "long.gguf")) as model:
        assert tsr.lib().tsr_session_capacity(model.session().handle) == 4096


def test_vocab_only_model_opens_no_session(models, tmp_path):
    path = mm.save(mm.build(mm.Spec()), tmp_path / "m.gguf")
    with tsr.Model(path, vocab_only=True) as model:
        assert model.info().n_vocab == N_VOCAB and model.tokenize("the and")
        with pytest.raises(tsr.TsrError, match="vocab"):
            model.session()


def test_cancel_leaves_the_sequence_as_it_was(tmp_path):
    """A long prompt (seconds on the scalar tier) is cancelled from another thread and stops soon."""
    path = mm.save(mm.build(mm.Spec(embd=256, ff=1024, key=64, layers=8, context=4096), SEED), tmp_path / "slow.gguf")
    with tsr.Model(path, cpu_tier="scalar") as model:
        s = model.session(n_ctx=4096, n_threads=2)
        expected = s.eval(TOKENS[:10])[8:]
        s.truncate(8)
        prompt = np.tile(TOKENS, 60)
        stopped = threading.Timer(0.2, lambda: tsr.lib().tsr_session_cancel(s.handle))
        start = time.monotonic()
        stopped.start()
        with pytest.raises(tsr.TsrError) as e:
            s.eval(prompt, tsr.LOGITS_LAST)
        took = time.monotonic() - start
        assert e.value.code == tsr.E_CANCELLED and len(s) == 8
        assert took < 5, f"stopped only after {took:.1f} s"
        assert reference.row_error(s.eval(TOKENS[8:10]), expected) < 5e-3


def test_stats_count_tokens_by_kind(models):
    out = tsr.SessionStats()
    sizes = []
    for kv_f32 in (False, True):
        s = models["llama"].session(n_ctx=64, n_threads=2, kv_f32=kv_f32)
        s.eval(TOKENS[:10]), s.eval(TOKENS[10:11]), s.eval(TOKENS[11:12])
        tsr.lib().tsr_session_get_stats(s.handle, C.byref(out))
        assert (out.n_prompt, out.n_generated, out.n_threads) == (10, 2, min(2, tsr.machine().n_logical))
        assert out.prompt_seconds > 0 and out.generate_seconds > 0
        sizes.append(out.kv_bytes)
    # 64 positions, 2 layers, k and v, 2 heads of 16; f32 is twice f16; padding may add, never take away
    assert sizes[0] >= 64 * 2 * 2 * 2 * 16 * 2 and sizes[1] >= 2 * 64 * 2 * 2 * 2 * 16 * 2


def test_counts_of_threads(models):
    """Prompts and generation may use different numbers of threads; more than there are CPUs are not used. What comes out stays the same."""
    cpus = tsr.machine().n_logical
    counts = []
    for n, n_prompt in ((1, 0), (1, 2), (2, 1), (64, 0), (1, 64), (1, 1)):
        s = models["llama"].session(n_ctx=64, n_threads=n, n_threads_prompt=n_prompt)
        out = [s.eval(TOKENS[:20]), s.eval(TOKENS[20:21]), s.eval(TOKENS[21:31]), s.eval(TOKENS[31:33])]
        counts.append(s.thread_counts())
        if len(counts) == 1:
            expected = out
        for a, b in zip(out, expected):
            assert np.allclose(a, b, atol=1e-3)
    assert counts[0] == (1, 1) and counts[-1] == (1, 1)
    assert counts[1] == (1, min(2, cpus)) and counts[2] == (min(2, cpus), 1)
    assert counts[3][0] <= cpus and counts[3][0] == counts[3][1] == counts[4][1] and counts[4][0] == 1


def test_many_threads_do_not_collapse(models):
    """16 threads where there are 2 CPUs: within 4 times of the default (a pool that waits wrongly takes 20 times and more)."""
    def best(n_threads):
        s, took = models["llama"].session(n_ctx=512, n_threads=n_threads), []
        s.eval(TOKENS[:10], tsr.LOGITS_NONE)
        for _ in range(6):
            start = time.monotonic()
            for t in range(30):
                s.eval([t + 1], tsr.LOGITS_LAST)
            took.append(time.monotonic() - start)
        return min(took)
    right = best(0)
    assert best(8 * tsr.machine().n_logical) < 4 * right + 0.01
