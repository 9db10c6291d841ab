"""The command line on a terminal (a pseudo-terminal): colours, Ctrl-C, line editing, pastes."""
import json
import os

import pexpect
import pytest

from cli_models import BINARY, cli, environment, folder, tiny

PROMPT = r">(\x1b\[0m)? "


def spawn(*args, **env):
    return pexpect.spawn(BINARY, [str(a) for a in args], env=environment(**env), timeout=30, encoding="utf-8",
                         dimensions=(40, 100))


def start_chat(*args, context=4096, **env):
    p = spawn("chat", "-m", tiny(context=context), "-c", context, "--ignore-eos", "--seed", "1", *args, **env)
    p.expect("Ctrl-D leaves")
    p.expect(PROMPT)
    return p


def finish(p):
    p.expect(pexpect.EOF)
    p.close()
    return p.exitstatus


def test_colours_only_where_they_are_wanted():
    def help_text(*args, **env):
        p = spawn("help", "run", *args, **env)
        text = p.read()
        p.close()
        return text
    assert "\033[1m" in help_text()
    assert "\033" not in help_text(NO_COLOR="1")
    assert "\033[1m" in help_text(NO_COLOR="")
    assert "\033" not in help_text(TERM="dumb")
    assert "\033" not in help_text("--color", "never")


def test_help_fits_a_narrow_terminal():
    p = pexpect.spawn(BINARY, ["help", "run"], env=environment(NO_COLOR="1"), timeout=30, encoding="utf-8",
                      dimensions=(40, 40))
    text = p.read().replace("\r", "")
    p.close()
    options = text[text.index("Model:"):text.index("Examples:")]
    assert max(map(len, options.split("\n"))) < 40 and "\n        the GGUF file (of a" in options


def test_run_without_a_prompt_says_how_to_give_one():
    p = spawn("run", "-m", tiny())
    p.expect("give it with -p TEXT or -f FILE, or pipe it in")
    assert finish(p) == 2


def test_generated_control_characters_do_not_reach_the_terminal():
    ids = cli("tokenize", "-m", tiny(), "-p", "\033")[1].split()
    p = spawn("run", "-m", tiny(), "--raw", "-p", "x", "-n", "3", "--logit-bias", f"{ids[0]}=1000", "--color", "never")
    text = p.read()
    assert text.startswith("\ufffd" * 3) and "\033" not in text
    assert finish(p) == 0


def test_ctrl_c_in_run():
    p = spawn("run", "-m", tiny(context=1 << 17), "-c", 1 << 17, "-p", "hello", "--ignore-eos", "--color", "never")
    p.read_nonblocking(1)
    p.sendintr()
    p.expect("interrupted")
    p.expect("tok/s")
    assert finish(p) == 130


def test_progress_with_rate_and_time_left(tmp_path):
    text = tmp_path / "long.txt"
    text.write_text("the engine reads the text " * 40000)
    p = spawn("eval", "-m", tiny(), "-c", "256", "-f", text, "--color", "never")
    p.expect("in windows of 256")
    for _ in range(2):
        p.expect(r"\revaluating +\d+ %  \d+ tokens/s  [\d:]+( s)? left\x1b\[K")
    p.sendintr()
    p.expect(r"\r\x1b\[Kinterrupted")  # the line is erased first
    assert finish(p) == 130


def test_chat_ctrl_c_stops_the_answer_but_not_the_chat():
    p = start_chat("--color", "never", context=1 << 17)
    p.send("hello\r")
    p.expect_exact("\033[?2004l")  # the line was read
    p.expect(".")                  # and the answer has begun
    p.sendintr()
    p.expect_exact("(stopped)")
    p.expect(PROMPT)
    p.send("/stats\r")
    p.expect("2 messages")
    p.expect(PROMPT)
    p.sendintr()  # at the prompt: a hint
    p.expect("Ctrl-D or /exit leaves")
    p.expect(PROMPT)
    p.sendintr()
    p.expect(PROMPT)
    p.sendeof()
    assert finish(p) == 0


def test_chat_help_fits_the_terminal():
    p = start_chat("--color", "never")
    p.setwinsize(40, 60)
    for line, last in (("/help", "begins with /."), ("/set", "ignore-eos")):
        p.send(line + "\r")
        p.expect_exact("\033[?2004l")
        p.expect(PROMPT)
        text = p.before.replace("\r", "").replace("\033[?2004h", "")
        assert all(len(row) < 60 for row in text.split("\n")), text
        assert last in " ".join(text.split())
    p.send("/exit\r")
    assert finish(p) == 0


def test_chat_exit_command():
    p = start_chat()
    p.send("/exit\r")
    assert finish(p) == 0


def saved_questions(p, path):
    p.send(f"/save {path}\r")
    p.expect("saved to")
    p.send("/exit\r")
    assert finish(p) == 0
    return [m["content"] for m in json.loads(path.read_text())["messages"][::2]]


def test_chat_pasted_lines_are_one_message(tmp_path):
    p = start_chat("--color", "never", "-n", "3")
    p.send("see: \033[200~first\rsecond\r\tthird\r\033[201~ end\r")
    p.expect("stopped after 3 tokens")
    p.expect(PROMPT)
    assert saved_questions(p, tmp_path / "c.json") == ["see: first\nsecond\n\tthird end"]


def test_chat_blocks_and_continuation(tmp_path):
    p = start_chat("--color", "never", "-n", "3")
    for line in ('"""', "a", "b", '"""'):
        p.send(line + "\r")
    p.expect("stopped after 3 tokens")
    p.send("c\\\rd\r")
    p.expect("stopped after 3 tokens")
    assert saved_questions(p, tmp_path / "c.json") == ["a\nb", "c\nd"]


def test_chat_line_editing_and_history_file(tmp_path):
    state = tmp_path / "state"
    p = start_chat("--color", "never", "-n", "2", XDG_STATE_HOME=str(state))
    p.send("wörld\x01hello \r")  # Ctrl-A: to the beginning of the line
    p.expect("stopped after 2 tokens")
    assert saved_questions(p, tmp_path / "c.json") == ["hello wörld"]
    history = state / "tessera/history"
    assert history.stat().st_mode & 0o777 == 0o600 and history.parent.stat().st_mode & 0o777 == 0o700
    p = start_chat("--color", "never", "-n", "2", XDG_STATE_HOME=str(state))
    p.send("\x10\x10\x10\r")  # Ctrl-P three times: /exit, /save, the question
    p.expect("stopped after 2 tokens")
    assert saved_questions(p, tmp_path / "d.json") == ["hello wörld"]
    before = history.read_bytes()
    p = start_chat("--no-history", XDG_STATE_HOME=str(state))
    p.send("/exit\r")
    finish(p)
    assert history.read_bytes() == before


@pytest.mark.parametrize("where", ["/proc/nowhere", "/dev/null"])
def test_chat_works_without_a_place_for_the_history(where):
    p = start_chat("--color", "never", XDG_STATE_HOME=where)
    p.send("/exit\r")
    assert finish(p) == 0
    assert os.path.isdir(folder.name)
