"""The command line through pipes: what it prints, what it refuses and with which words, exit statuses."""
import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import termios
import time

import pytest

import tsr
from cli_models import BINARY, FAILED, FINE, INTERRUPTED, USAGE, cli, environment, tiny

def run(*args, **more):
    status, out, err = cli("run", "-m", tiny(), *args, **more)
    assert status == FINE, err
    return out, err


def run_json(*args, **more):
    return json.loads(run("--json", *args, **more)[0])


def tables():
    return json.loads(cli("help", "--options-json")[1])


# ---- help and usage

def test_overview_and_exit_status_without_a_command():
    status, out, err = cli()
    assert status == USAGE and "Usage: tessera COMMAND" in out
    assert cli("--help")[:2] == (FINE, out)
    assert cli("help")[:2] == (FINE, out)


def test_every_command_explains_itself():
    for command in tables()["commands"]:
        by_option, by_help = cli(command["name"], "--help"), cli("help", command["name"])
        assert by_option == by_help and by_option[0] == FINE
        assert "Examples:" in by_option[1] and f"Usage: tessera {command['name']}" in by_option[1]
        for group in command["groups"]:
            for option in group["options"]:
                assert f"--{option['name']}" in by_option[1]
        assert all(line == line.rstrip() and len(line) < 112 for line in by_option[1].split("\n"))


@pytest.mark.parametrize("args, words", [
    (["rum"], ['"rum"', "did you mean run"]),
    (["frobnicate"], ['"frobnicate"', "tessera help"]),
    (["run", "--temprature", "1"], ["--temprature", "did you mean --temp"]),
    (["run", "--top_k=1"], ["--top_k", "did you mean --top-k"]),
    (["run", "-Z"], ["-Z"]),
    (["run", "-m"], ["-m", "MODEL"]),
    (["run", "-m", "-p", "x"], ["-m", "MODEL"]),
    (["run", "--raw=1"], ["--raw", "no value"]),
    (["run"], ["-m MODEL"]),
    (["run", "-m", "MODEL", "word"], ['"word"']),
    (["run", "model.gguf"], ["did you mean -m model.gguf"]),
    (["run", "-m", "MODEL", "-t", "1025"], ["--threads", "0 to 1024"]),
    (["detokenize", "-m", "MODEL", "1", "2"], ['"1"', '-p "..."']),
    (["run", "-m", "MODEL", "-p", "x", "-f", "y"], ["--prompt", "--file"]),
    (["run", "-m", "MODEL", "-p", "x", "-c", "-1"], ["--ctx", "0 to", '"-1"']),
    (["run", "-m", "MODEL", "-p", "x", "-c", "99999999999999999999"], ["--ctx"]),
    (["run", "-m", "MODEL", "-p", "x", "-n", "2x"], ["--predict", '"2x"']),
    (["run", "-m", "MODEL", "-p", "x", "-n", ""], ["--predict", '""']),
    (["run", "-m", "MODEL", "-p", "x", "--temp", "nan"], ["--temp", '"nan"']),
    (["run", "-m", "MODEL", "-p", "x", "--top-p", "1.1"], ["--top-p", "0 to 1"]),
    (["run", "-m", "MODEL", "-p", "x", "--seed", "-1"], ["--seed"]),
    (["run", "-m", "MODEL", "-p", "x", "--kv", "f8"], ["--kv", "f16|f32"]),
    (["run", "-m", "MODEL", "-p", "x", "--logit-bias", "3"], ["--logit-bias", "ID=X"]),
    (["run", "-m", "MODEL", "-p", ""], ["empty"]),
    (["run", "-m", "MODEL", "--raw", "-p", "x", "--system", "y"], ["--system", "--raw"]),
    (["quantize", "a", "b"], ["IN OUT TYPE"]),
    (["quantize", "a", "b", "Q4_9"], ['"Q4_9"', "--types"]),
    (["help", "rnu"], ["did you mean run"]),
])
def test_wrong_usage(args, words):
    status, out, err = cli(*[tiny() if a == "MODEL" else a for a in args])
    assert (status, out) == (USAGE, "")
    assert err.startswith("tessera: error: ") and err.count("\n") == 1
    for word in words:
        assert word in err


def test_values_behind_equals_sign_and_letter():
    same = [run("-p", "x", "--raw", "-n", "5", "-s", "4", "--temp", "0.5"), run("-px", "--raw", "-n5", "-s4", "--temp=0.5"),
            run("--prompt=x", "--raw", "--predict=5", "--seed=4", "--temp", "0.5")]
    assert same[0][0] == same[1][0] == same[2][0] != ""


def test_options_end_at_two_dashes():
    assert cli("info", "--", tiny())[0] == FINE
    assert cli("info", "--", "--tensors")[0] == FAILED  # a file of that name is looked for


# ---- files that are not what they should be

def damaged(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_bad_model_files(tmp_path):
    whole = tiny().read_bytes()
    cases = [tmp_path / "missing.gguf", tmp_path, damaged(tmp_path, "empty.gguf", b""),
             damaged(tmp_path, "text.gguf", b"hello, this is no model\n" * 9),
             damaged(tmp_path, "cut.gguf", whole[:len(whole) // 2]), damaged(tmp_path, "head.gguf", whole[:100])]
    for path in cases:
        for command in (["run", "-p", "x"], ["chat"], ["info"], ["tokenize", "-p", "x"], ["eval", "-p", "x y"]):
            status, out, err = cli(*command, "-m", path)
            if path.name == "cut.gguf" and command[0] == "tokenize":
                continue  # the vocabulary is in the half that is there
            assert (status, out) == (FAILED, ""), (path, command)
            assert path.name in err and err.startswith("tessera: error: ") and err.count("\n") == 1


def test_missing_models_say_what_to_do(tmp_path):
    assert "check the path" in cli("info", tmp_path / "none.gguf")[2]
    assert "download the file first" in cli("info", "https://example.org/model.gguf")[2]


def test_input_without_an_end():
    status, out, err = cli("run", "-m", tiny(), "-f", "/dev/zero")
    assert (status, out) == (FAILED, "") and "/dev/zero is too long" in err


def test_bad_prompts(tmp_path):
    for args, stdin, words in [
        (["-f", tmp_path / "nofile"], b"", ["nofile", "No such file"]),
        (["-f", tmp_path], b"", ["directory"]),
        (["-f", damaged(tmp_path, "b", b"a\0b")], b"", ["binary", "offset 1"]),
        ([], b"\xff\xfe", ["UTF-8"]),
    ]:
        status, out, err = cli("run", "-m", tiny(), *args, stdin=stdin)
        assert (status, out) == (FAILED, "")
        assert all(word in err for word in words), err


# ---- run

def test_run_from_option_file_and_pipe_is_the_same(tmp_path):
    path = damaged(tmp_path, "prompt.txt", "Grüße\n".encode())
    args = ["-n", "12", "--seed", "5"]
    outs = [run("-p", "Grüße", *args)[0], run("-f", path, *args)[0], run(*args, stdin="Grüße\n".encode())[0],
            run("-f", "-", *args, stdin="Grüße\n".encode())[0]]
    assert len(set(outs)) == 1 and outs[0]


def test_run_json_counts_and_seed():
    a = run_json("-p", "hello", "-n", "9", "--ignore-eos")
    assert a["generated_tokens"] == len(a["tokens"]) == 9 and a["finish_reason"] == "length"
    assert a["prompt_tokens"] > 5 and a["stop_string"] is None and a["architecture"] == "llama"
    assert all(a["timings"][k] >= 0 for k in ("load_seconds", "prompt_seconds", "generate_seconds", "total_seconds",
                                              "prompt_per_second", "generate_per_second"))
    b = run_json("-p", "hello", "-n", "9", "--ignore-eos", "--seed", a["seed"])
    assert (b["tokens"], b["text"], b["seed"]) == (a["tokens"], a["text"], a["seed"])
    assert run("-p", "hello", "-n", "9", "--ignore-eos", "--seed", a["seed"])[0].rstrip("\n") == a["text"].rstrip("\n")
    assert run_json("-p", "hello", "-n", "9", "--ignore-eos", "--seed", 1)["tokens"] != a["tokens"]


def test_timing_line_is_on_stderr():
    out, err = run("-p", "hello", "-n", "5", "--ignore-eos")
    assert re.fullmatch(r"prompt \d+ tokens, [\d.]+ tok/s; generated 5 tokens, [\d.]+ tok/s; total [\d.]+ s\n", err)
    assert "tok/s" not in out


def test_template_system_and_raw():
    n = {name: run_json("-p", "hello", "-n", "0", *args)["prompt_tokens"] for name, args in
         [("raw", ["--raw"]), ("chat", []), ("system", ["--system", "Be brief."])]}
    assert n["raw"] < n["chat"] < n["system"]
    plain = json.loads(cli("run", "-m", tiny(None), "-p", "hello", "-n", "0", "--json")[1])
    assert plain["prompt_tokens"] == n["raw"]  # no template: as --raw
    status, _, err = cli("run", "-m", tiny(None), "-p", "hello", "--system", "x")
    assert status == USAGE and "--chat-template" in err


def test_chat_template_from_a_file(tmp_path):
    path = damaged(tmp_path, "t.jinja", b"{{ messages[0].content }}!")
    bad = damaged(tmp_path, "bad.jinja", b"{% for %}")
    assert run_json("-p", "hello", "-n", "0", "--chat-template", path)["prompt_tokens"] == \
        run_json("-p", "hello!", "-n", "0", "--raw")["prompt_tokens"]
    assert cli("run", "-m", tiny(), "-p", "hello", "--chat-template", bad)[0] == FAILED


def test_stop_strings_end_the_text_before_them():
    args = ["-p", "hello", "--raw", "-n", "60", "--seed", "11", "--ignore-eos"]
    text = run_json(*args)["text"]
    for length in (1, 2, 5):
        stop = text[10:10 + length]
        a = run_json(*args, "--stop", "never to be seen", "--stop", stop)
        assert a["text"] == text[:text.index(stop)]
        assert (a["finish_reason"], a["stop_string"]) == ("stop", stop)
        out = run(*args, "--stop", stop)[0]
        assert out == a["text"] + ("\n" if a["text"] and not a["text"].endswith("\n") else "")
    # text that only begins like a stop string is held back, but not lost
    assert run_json(*args, "--stop", text[-3:] + "\x01")["text"] == text


def test_context_limits():
    status, out, err = cli("run", "-m", tiny(), "--raw", "-p", "q " * 40, "-c", "16")
    n = int(re.search(r"prompt has (\d+) tokens", err)[1])
    assert (status, out) == (FAILED, "") and n > 16 and "holds 16" in err and "-c" in err
    a = run_json("-p", "hello", "-c", "64", "--ignore-eos")
    status, _, err = cli("run", "-m", tiny(), "-p", "x", "-n", "1", "-c", "5000")
    assert status == FINE and "warning" in err and "trained with" in err
    assert a["finish_reason"] == "context" and a["prompt_tokens"] + a["generated_tokens"] == 64 + 1
    out, err = run("-p", "hello", "-c", "64", "--ignore-eos")
    assert "context of 64 tokens is full" in err


def test_sampling_options_reach_the_sampler():
    base = ["-p", "hello", "--raw", "-n", "8", "--ignore-eos", "--temp", "0"]
    greedy = run_json(*base)["tokens"]
    assert run_json(*base, "--seed", "99")["tokens"] == greedy
    assert run_json(*base[:-1], "1.5", "--top-k", "1", "--seed", "99")["tokens"] == greedy
    banned = run_json(*base, "--logit-bias", f"{greedy[0]}=-inf")["tokens"]
    assert greedy[0] not in banned
    forced = run_json(*base, "--logit-bias", "65=1000")["tokens"]
    assert forced == [65] * 8
    # a penalty larger than the bias makes it alternate with something else
    penal = run_json(*base, "--logit-bias", "65=1000", "--repeat-last-n", "1", "--presence-penalty", "100",
                     "--logit-bias", "66=950")["tokens"]
    assert penal == [65, 66] * 4
    for args, word in [(["--logit-bias", "99999=1"], "99999"), (["--dry-multiplier", "1", "--dry-breaker", "zzzzzzz"], "zzzzzzz")]:
        status, _, err = cli("run", "-m", tiny(), "-p", "x", *args)
        assert status == FAILED and word in err


def test_loading_options():
    a = run("-p", "hello", "--raw", "-n", "6", "--temp", "0")[0]
    assert run("-p", "hello", "--raw", "-n", "6", "--temp", "0", "--no-mmap")[0] == a
    assert run("-p", "hello", "--raw", "-n", "6", "--temp", "0", "--no-packed")[0]
    assert run("-p", "hello", "--raw", "-n", "6", "--temp", "0", "--cpu-tier", "scalar", "--kv", "f32", "-t", "1")[0]
    status, _, err = cli("run", "-m", tiny(), "-p", "x", "--cpu-tier", "sse9")
    assert status == FAILED and "sse9" in err
    _, err = run("-p", "hello", "-n", "1", "-v")
    assert "KV cache" in err and "kernel" in err and "seed" in err


def long_run():
    """An answer that would take minutes."""
    return subprocess.Popen([BINARY, "run", "-m", tiny(context=1 << 17), "-c", str(1 << 17), "-p", "hello", "--ignore-eos"],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())


def waiting_bytes(pipe):
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


@pytest.mark.parametrize("fill_the_pipe", [False, True])
def test_ctrl_c_ends_the_answer_cleanly(fill_the_pipe):
    p = long_run()
    if fill_the_pipe:  # a pipe that holds a page: soon the program waits in write()
        fcntl.fcntl(p.stdout, fcntl.F_SETPIPE_SZ, 4096)
    first = p.stdout.read(1)
    deadline = time.monotonic() + 30
    while fill_the_pipe and waiting_bytes(p.stdout) < 4096 - 16 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.1)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=30)
    assert p.returncode == INTERRUPTED and first
    assert b"interrupted" in err and b"tok/s" in err


def test_ctrl_c_while_waiting_for_input():
    for command in (["run"], ["chat"], ["tokenize"]):
        p = subprocess.Popen([BINARY, *command, "-m", tiny()], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env=environment())
        deadline = time.monotonic() + 3  # where the kernel does not tell, after a while it will have come to reading
        while "pipe_read" not in open(f"/proc/{p.pid}/wchan").read() and time.monotonic() < deadline:
            time.sleep(0.01)
        p.send_signal(signal.SIGINT)
        assert p.wait(timeout=30) == INTERRUPTED and p.stderr.read() == b""
        p.stdin.close()


def test_reader_that_goes_away_and_full_disks():
    p = long_run()
    p.stdout.read(1)
    p.stdout.close()
    err = p.stderr.read()
    assert p.wait(timeout=30) == FINE and b"error" not in err
    with open("/dev/full", "wb") as full:
        for args in (["run", "-p", "x", "-n", "3", "--ignore-eos"], ["info"], ["tokenize", "-p", "x"]):
            p = subprocess.run([BINARY, *args, "-m", tiny()], stdout=full, stderr=subprocess.PIPE, env=environment())
            assert p.returncode == FAILED and b"cannot write to standard output: No space left" in p.stderr


def test_closed_streams():
    """With stdin closed, the model's file must not become standard input."""
    def shell(command):
        return subprocess.run(["bash", "-c", command.replace("tessera", BINARY).replace("MODEL", str(tiny()))],
                              capture_output=True, env=environment())
    p = shell("tessera chat -m MODEL <&-")
    assert (p.returncode, p.stdout) == (FINE, b"")
    p = shell("tessera run -m MODEL -p x -n 3 --ignore-eos >&-")
    assert p.returncode == FAILED and b"cannot write to standard output" in p.stderr
    assert shell("tessera run -m MODEL -p x -n 3 2>&-").returncode == FINE


def test_no_colours_and_no_progress_in_pipes():
    for args in (["help"], ["run", "--help"], ["info", tiny()], ["run", "-m", tiny(), "-p", "x", "-n", "2", "--seed", "1"],
                 ["nonsense"]):
        _, out, err = cli(*args)
        assert "\033" not in out and "\033" not in err and "\r" not in err
    assert "\033[1m" in cli("run", "--color", "always", "--help")[1]
    assert "\033[1m" in cli("info", tiny(), "--color=always")[1]


# ---- chat through a pipe

def chat(*lines, args=()):
    return cli("chat", "-m", tiny(), "-n", "6", "--seed", "2", *args, stdin="".join(line + "\n" for line in lines).encode())


def test_chat_answers_every_line_and_keeps_the_cache(tmp_path):
    saved = tmp_path / "chat.json"
    status, out, err = chat("hello", "again", "/stats", f"/save {saved}", "/exit", "not reached", args=["--ignore-eos"])
    assert status == FINE and "\033" not in out + err
    cached, prompt = map(int, re.search(r"(\d+) of (\d+) prompt tokens were in the cache", err).groups())
    assert 10 < cached < prompt
    messages = json.loads(saved.read_text())["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant"] * 2
    assert [m["content"] for m in messages[::2]] == ["hello", "again"]
    # stdout has the answers and nothing else
    assert out == "".join(m["content"] + ("" if m["content"].endswith("\n") else "\n") for m in messages[1::2])
    # a loaded chat goes on where it was
    status, _, err = chat(f"/load {saved}", "/stats")
    assert status == FINE and "4 messages" in err


def test_chat_long_messages(tmp_path):
    saved = tmp_path / "chat.json"
    status, _, err = chat("one\\", "two", '"""', "three", "", "four", '"""', "/multi", "five", "six", '"""', "//seven",
                          f"/save {saved}")
    assert status == FINE, err
    messages = json.loads(saved.read_text())["messages"]
    assert [m["content"] for m in messages[::2]] == ["one\ntwo", "three\n\nfour", "five\nsix", "/seven"]


def test_chat_commands(tmp_path):
    saved = tmp_path / "chat.json"
    status, out, err = chat("/system Be brief.", "/system", "hello", "/regen", "/undo", "/undo", "/regen", "/set temp 0",
                            "/set temp", "/set", "/clear", "/help", f"/save {saved}")
    assert status == FINE, err
    assert json.loads(saved.read_text())["messages"] == [{"role": "system", "content": "Be brief."}]
    for words in ("system message: Be brief.", "nothing to undo", "no answer to give again", "temp is now 0", "temp is 0",
                  "top-k", "new conversation", "/regen"):
        assert words in err
    for line, words in [("/nope", "/help"), ("/stat", "did you mean /stats"), ("/set tmep 1", "did you mean temp"),
                        ("/set temp x", "temp must be"), ("/save", "file name"), ("/load /nowhere", "/nowhere"),
                        (f"/load {tiny()}", "JSON"), ("/save /nowhere/x", "/nowhere/x")]:
        status, _, err = chat(line)
        assert status == FAILED and words in err, (line, err)


def test_chat_regenerates_another_answer_from_its_seed():
    first = chat("hello", "/regen", args=["-n", "20", "--ignore-eos"])
    assert first == chat("hello", "/regen", args=["-n", "20", "--ignore-eos"])  # deterministic as a whole
    out = first[1]
    single = chat("hello", args=["-n", "20", "--ignore-eos"])[1]
    assert out.startswith(single) and out != 2 * single


def test_chat_forgets_the_oldest_turns_but_not_the_system_message(tmp_path):
    saved = tmp_path / "chat.json"
    status, _, err = chat(*[f"message number {i}" for i in range(6)], f"/save {saved}",
                          args=["-c", "160", "--system", "Stay."])
    assert status == FINE and "forgotten" in err
    messages = json.loads(saved.read_text())["messages"]
    assert messages[0] == {"role": "system", "content": "Stay."} and messages[1]["role"] == "user"
    assert messages[-2]["content"] == "message number 5" and len(messages) < 13
    status, _, err = chat("x" * 400, args=["-c", "160"])
    assert status == FAILED and "holds 160" in err


def test_chat_needs_a_template():
    status, _, err = cli("chat", "-m", tiny(None))
    assert status == FAILED and "chat template" in err and "tessera run" in err


# ---- info, tokenize, detokenize, version

def test_info():
    status, out, _ = cli("info", tiny(), "--tensors", "--metadata")
    assert status == FINE
    for words in ("architecture  llama", "tiny chat", "blk.0.attn_q.weight", "general.architecture", "kernel", "host"):
        assert words in out
    j = json.loads(cli("info", "-m", tiny(), "--json", "--no-packed")[1])
    assert {t["buffer"] for t in j["tensors"]} == {"host"} and j["packed_bytes"] == 0
    assert all(t["kernel"].startswith("tile_f32_") for t in j["tensors"] if "attn_q.weight" in t["name"])
    j = json.loads(cli("info", "-m", tiny(), "--json")[1])
    assert (j["architecture"], j["layers"], j["embedding"], j["chat_template"]) == ("llama", 2, 64, True)
    assert {t["name"] for t in j["tensors"]} >= {"token_embd.weight", "blk.1.ffn_down.weight"}
    assert j["metadata"]["general.name"]["value"] == "tiny chat"
    assert sum(t["bytes"] for t in j["tensors"]) <= j["file_bytes"] == tiny().stat().st_size


def test_tokenize_and_back():
    text = "Hello  wörld\n\t<|end|> 日本"
    ids = cli("tokenize", "-m", tiny(), stdin=text.encode())[1]
    assert re.fullmatch(r"(\d+\n)+", ids)
    assert cli("detokenize", "-m", tiny(), stdin=ids.encode())[1] == text
    pieces = cli("tokenize", "-m", tiny(), "--pieces", stdin=text.encode())[1]
    assert cli("detokenize", "-m", tiny(), stdin=pieces.encode())[1] == text
    j = cli("tokenize", "-m", tiny(), "--json", stdin=text.encode())[1]
    tokens = json.loads(j)["tokens"]
    assert tokens == [int(x) for x in ids.split()]
    assert json.loads(cli("detokenize", "-m", tiny(), "--json", stdin=j.encode())[1]) == {"text": text}
    assert cli("tokenize", "-m", tiny(), "--count", stdin=text.encode())[1] == f"{len(tokens)}\n"
    plain = cli("tokenize", "-m", tiny(), "--no-parse-special", stdin=text.encode())[1].split()
    assert len(plain) > len(tokens)
    assert cli("detokenize", "-m", tiny(), "--no-special", stdin=ids.encode())[1] == text.replace("<|end|>", "")
    _, _, err = cli("detokenize", "-m", tiny(), "-p", "1 \033[2Jx")
    assert "\033" not in err
    for bad in ("1 x", "999999", "-1", "[1, 2.5]", "{}", "[1", "9" * 30):
        status, out, err = cli("detokenize", "-m", tiny(), "-p", bad)
        assert (status, out) == (FAILED, "") and err.startswith("tessera: error: "), bad


def test_version():
    status, out, _ = cli("version")
    assert status == FINE and out.startswith("tessera 0.") and cli("--version")[1] == out
    j = json.loads(cli("version", "--json")[1])
    assert f"tessera {j['version']}\n" in out and j["tier"] in tsr.TIERS and j["default_threads"] >= 1


# ---- quantize

def test_quantize(tmp_path):
    out, floats = tmp_path / "q8.gguf", tiny(qtype="F32")
    status, stdout, err = cli("quantize", floats, out, "q8_0", "-v")
    assert status == FINE, err
    assert re.search(r"blk\.0\.attn_q\.weight +F32 +-> Q8_0", stdout) and "bits per weight" in stdout
    assert out.stat().st_size < floats.stat().st_size / 2
    assert cli("run", "-m", out, "-p", "hello", "-n", "3")[0] == FINE
    status, _, err = cli("quantize", out, tmp_path / "again.gguf", "Q4_0")
    assert status == FAILED and "--allow-requantize" in err and not (tmp_path / "again.gguf").exists()
    assert cli("quantize", "--allow-requantize", out, tmp_path / "again.gguf", "Q4_0")[0] == FINE
    status, _, err = cli("quantize", out, out, "Q4_0")
    assert status == USAGE and "same file" in err
    status, _, err = cli("quantize", tmp_path / "none.gguf", tmp_path / "x.gguf", "Q4_0")
    assert status == FAILED and "none.gguf" in err
    types = [line.split()[0] for line in cli("quantize", "--types")[1].splitlines()]
    assert {"Q8_0", "Q4_0", "Q4_K_M"} <= set(types)


# ---- man page and completions

def test_man_page_and_completions_are_what_the_tables_say():
    p = subprocess.run(["python3", tsr.ROOT / "scripts/cli_docs.py", BINARY, "--check"], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    texts = {name: (tsr.ROOT / name).read_text() for name in
             ("man/tessera.1", "completions/tessera.bash", "completions/_tessera", "completions/tessera.fish")}
    for command in tables()["commands"]:
        for group in command["groups"]:
            for option in group["options"]:
                name = option["name"]
                assert "Fl \\&\\-" + name.replace("-", "\\-") in texts["man/tessera.1"]
                assert f"--{name}" in texts["completions/tessera.bash"] and f"--{name}" in texts["completions/_tessera"]
                assert f"-l {name} " in texts["completions/tessera.fish"]


def complete(line, cwd):
    words = line.split(" ")
    script = f"""source {tsr.ROOT}/completions/tessera.bash
        COMP_WORDS=({' '.join(f'"{w}"' for w in words)}); COMP_CWORD={len(words) - 1}; COMPREPLY=(); _tessera
        printf '%s\\n' "${{COMPREPLY[@]}}" """
    return subprocess.run(["bash", "-c", script], cwd=cwd, capture_output=True, text=True,
                          env=environment(PATH=f"{tsr.BINARY.parent}:{os.environ['PATH']}")).stdout.split()


def test_bash_completion(tmp_path):
    for name in ("a.gguf", "b.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "models").mkdir()
    assert complete("tessera to", tmp_path) == ["tokenize"]
    assert complete("tessera run --mirostat-", tmp_path) == ["--mirostat-tau", "--mirostat-eta"]
    assert sorted(complete("tessera run -m ", tmp_path)) == ["a.gguf", "models"]
    assert sorted(complete("tessera run -f ", tmp_path)) == ["a.gguf", "b.txt", "models"]
    assert complete("tessera run --kv ", tmp_path) == ["f16", "f32", "bf16", "q8_0"]
    assert complete("tessera help ev", tmp_path) == ["eval"]
    assert "Q4_K_M" in complete("tessera quantize a.gguf b.gguf Q4", tmp_path)


@pytest.mark.parametrize("shell, name", [("bash", "tessera.bash"), ("zsh", "_tessera"), ("fish", "tessera.fish")])
def test_completions_parse(shell, name):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    p = subprocess.run([shell, "-n", tsr.ROOT / "completions" / name], capture_output=True, text=True)
    assert (p.returncode, p.stderr) == (0, "")
