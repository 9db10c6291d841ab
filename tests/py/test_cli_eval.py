"""tessera eval: its numbers against the library's logits, windows, and results that are whole or not there."""
import json
import math
import re
import signal
import subprocess
import time

import pytest

import tsr
from cli_models import BINARY, FAILED, FINE, INTERRUPTED, cli, environment, tiny


def evaluate(*args, text="The engine reads the text and the text is short.\n", **more):
    status, out, err = cli("eval", "-m", tiny(), "--json", "-", *args, stdin=text.encode(), **more)
    assert status == FINE, err
    return json.loads(out), err


def test_eval_json_is_what_the_model_says():
    j, err = evaluate("--top", "7", "--greedy", "5")
    with tsr.Model(tiny()) as model:
        tokens = model.tokenize("The engine reads the text and the text is short.\n", tsr.ADD_SPECIAL | tsr.PARSE_SPECIAL)
        logits = model.session(n_ctx=256).eval(tokens).astype("float64")
        assert j["tokens"] == tokens and len(j["top"]) == len(tokens)
        nll = 0.0
        for i, row in enumerate(logits):
            ln_p = row - math.log(sum(math.exp(x - row.max()) for x in row)) - row.max()
            best = sorted(range(len(row)), key=lambda t: (-row[t], t))[:7]
            assert [t for t, _ in j["top"][i]] == best
            assert all(abs(p - ln_p[t]) < 2e-3 for t, p in j["top"][i])
            assert [p for _, p in j["top"][i]] == sorted((p for _, p in j["top"][i]), reverse=True)
            nll -= ln_p[tokens[i + 1]] if i + 1 < len(tokens) else 0.0
        assert abs(nll / (len(tokens) - 1) - j["nll_mean"]) < 1e-3
        greedy, s = [], model.session(n_ctx=256)
        row = s.eval(tokens[:64], tsr.LOGITS_LAST)[0]
        for _ in range(5):
            greedy.append(int(row.argmax()))
            row = s.eval([greedy[-1]], tsr.LOGITS_LAST)[0]
        assert j["greedy"] == greedy
    assert f"over {len(tokens) - 1} tokens" in err
    assert float(re.search(r"perplexity ([\d.]+)", err)[1]) == pytest.approx(math.exp(j["nll_mean"]), rel=1e-5)


def test_eval_of_two_tokens_claims_no_error_and_says_how_fast_it_read():
    tokens = json.loads(cli("tokenize", "-m", tiny(), "-p", "ab", "--json")[1])["tokens"]
    text = "ab" if len(tokens) == 2 else "a"
    j, err = evaluate("--greedy", "200", text=text)
    assert len(j["tokens"]) == 2, tokens
    assert re.fullmatch(r"perplexity [\d.]+ \(mean negative log-likelihood [\d.]+ over 1 token\), [\d.]+ tok/s\n", err)


def test_eval_of_a_text_longer_than_the_context():
    text = "the text and the engine " * 20
    # what packed products round depends on the batch
    whole, _ = evaluate("--greedy", "0", "-c", "1024", "--no-packed", text=text)
    cut, err = evaluate("--greedy", "0", "-c", "64", "--no-packed", text=text)
    assert "windows of 64" in err and cut["tokens"] == whole["tokens"] and len(cut["top"]) == len(whole["top"])
    assert cut["top"][:64] == whole["top"][:64] and cut["top"][-1] != whole["top"][-1]
    # what the second window says is what its tokens say by themselves: positions 64 to 95 saw tokens from 32 on
    with tsr.Model(tiny(), no_packed=True) as model:
        logits = model.session(n_ctx=64).eval(whole["tokens"][32:96]).astype("float64")
        best = [int(row.argmax()) for row in logits[32:]]
    assert [t[0][0] for t in cut["top"][64:96]] == best


def test_eval_failures(tmp_path):
    for args, text, words in [(["-p", ""], "", "at least 2"), (["-c", "1", "-p", "a b c"], "", "raise it with -c"),
                              (["-p", "some text here", "-c", "40", "--json", tmp_path / "x"], "", "--greedy"),
                              (["-p", "some text", "--json", "/dev/full"], "", "No space left"),
                              (["-p", "some text", "--json", tmp_path / "no" / "x"], "", "No such file")]:
        status, _, err = cli("eval", "-m", tiny(), *args, stdin=text.encode())
        assert status == FAILED and words in err, (args, err)
    assert list(tmp_path.iterdir()) == []  # nothing half-written is left


def test_eval_that_fails_leaves_the_old_result(tmp_path):
    out = tmp_path / "result.json"
    out.write_text("old")
    p = subprocess.Popen([BINARY, "eval", "-m", tiny(), "--json", out, "-c", "4096"], stdin=subprocess.PIPE,
                         stderr=subprocess.PIPE, env=environment())
    p.stdin.write(b"some words that the model reads " * 4000)
    p.stdin.close()
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("result.json.tmp*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    p.send_signal(signal.SIGINT)
    p.stderr.read()
    assert p.wait(timeout=30) == INTERRUPTED
    assert [f.name for f in tmp_path.iterdir()] == ["result.json"] and out.read_text() == "old"
