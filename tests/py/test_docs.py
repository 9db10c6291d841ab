"""The documentation against the tree: links, paths, commands, options and C names that the pages mention exist."""
import functools
import json
import re

import pytest

import tsr
from cli_models import cli

PAGES = sorted([tsr.ROOT / "README.md", tsr.ROOT / "CONTRIBUTING.md", *(tsr.ROOT / "doc").glob("*.md"),
                *(tsr.ROOT / "tests").glob("**/README.md")])
ROOMS = ("include", "src", "cli", "tests", "scripts", "doc", "cmake", "man", "completions", ".ci", "bench", "server")
page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(tsr.ROOT)))


def prose_and_code(path):
    """The page without its code blocks, and the commands and names written as code, inline or in blocks."""
    text = path.read_text()
    blocks = re.findall(r"(?m)^(?: {4}.*\n?)+", text)
    prose = re.sub(r"(?m)^ {4}.*\n?", "", text)
    return prose, re.findall(r"`([^`\n]+)`", prose) + [line.strip() for block in blocks for line in block.splitlines()]


def anchors(path):
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            for title in re.findall(r"(?m)^#+ (.+)$", path.read_text())}


@functools.cache
def options():
    """Names of the options of each command."""
    commands = json.loads(cli("help", "--options-json")[1])["commands"]
    return {c["name"]: {"help", *(o["name"] for g in c["groups"] for o in g["options"])} for c in commands}


def test_the_pages_there_must_be():
    pages = {path.stem for path in PAGES if path.parent.name == "doc"}
    assert pages >= {"accuracy", "adding-an-architecture", "chat-templates", "command-line", "formats", "gguf", "kernels",
                     "threads", "tokenizers"}
    readme = (tsr.ROOT / "README.md").read_text()
    assert [name for name in sorted(pages) if f"(doc/{name}.md)" not in readme] == [], "pages that README does not link to"


@page
def test_links_resolve(path):
    prose, _ = prose_and_code(path)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), f"link to {target}"
        assert not anchor or anchor in anchors(there), f"link to {target}: no such heading"


@page
def test_paths_in_code_exist(path):
    _, code = prose_and_code(path)
    for word in {word.rstrip(".,:;") for piece in code for word in re.split(r"[\s()|=]+", piece)}:
        if word.startswith(tuple(room + "/" for room in ROOMS)) and "$" not in word:
            assert list(tsr.ROOT.glob(word)), f"{word} is not in the tree"


@page
def test_commands_and_options_exist(path):
    _, code = prose_and_code(path)
    targets = set(re.findall(r"(?m)^([\w-]+):", (tsr.ROOT / "Makefile").read_text()))
    targets |= set(re.search(r"(?m)^\.PHONY: (.+)$", (tsr.ROOT / "Makefile").read_text())[1].split())
    for piece in code:
        for command in re.findall(r"(?:^|[;|&/]\s*)make ([a-z]\w*)", piece):
            assert command in targets, piece
        for command, rest in re.findall(r"\btessera (\w+)([^|#]*)", piece):
            if command in options():
                unknown = set(re.findall(r"(?<=\s)--([\w-]+)", rest)) - options()[command]
                assert not unknown, f"tessera {command} has no {unknown}"
        if re.match(r"--[\w-]+", piece) and "tessera" in path.read_text():
            name = re.match(r"--([\w-]+)", piece)[1]
            assert any(name in known for known in options().values()) or name == "options-json", piece


@page
def test_c_names_exist(path):
    _, code = prose_and_code(path)
    sources = tree_sources()
    for name in {name for piece in code for name in re.findall(r"\b(?:tsr|TSR)_\w+", piece)}:
        assert name.rstrip("_") in sources, f"{name} is nowhere in the sources"


@functools.cache
def tree_sources():
    return "\n".join(file.read_text() for room in ("include", "src", "tests/fuzz", "cmake", "scripts", "CMakeLists.txt")
                     for file in ([tsr.ROOT / room] if (tsr.ROOT / room).is_file() else (tsr.ROOT / room).rglob("*"))
                     if file.is_file() and file.suffix in (".h", ".c", ".txt", ".cmake", ".sh"))
