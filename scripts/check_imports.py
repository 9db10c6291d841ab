#!/usr/bin/env python3
"""check_imports.py [ROOT]: keeps the tree in the order that CONTRIBUTING.md describes.

Rooms under src/ include only rooms below them (the arrows are read from CONTRIBUTING.md; every room may use core and
tessera.h), cli and server only tessera.h and their own headers, tessera.h nothing of the project. The library neither
prints nor ends the process. No notes to self; no file over 600 lines (over 500: a warning).
Prints `path:line: problem` and exits 1 when there is one.
"""
import re
import sys
from pathlib import Path

PROGRAMS = ("cli", "server")
TREES = ("src", "include", *PROGRAMS, "tests", "bench", "scripts", "doc")
CODE = {".c", ".h", ".inc", ".py", ".sh", ".js", ".css", ".html", ".cl"}
WARN_LINES, MAX_LINES = 500, 600
NOTE = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")  # split, so that this file may be checked too
FORBIDDEN = re.compile(
    r"\b(?:(abort|exit|_exit|_Exit|quick_exit|assert)|(printf|vprintf|puts|putchar|perror))\s*\(|\b(stdout|stderr)\b")
TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', re.MULTILINE)


def arrows(text):
    """{importer: names it points at} from the sentence in CONTRIBUTING.md."""
    found = re.search(r"Imports point one way:(.*?)\.\s+`scripts/check_imports", text, re.DOTALL)
    if not found:
        raise SystemExit("CONTRIBUTING.md: no sentence 'Imports point one way: a -> b, c; ... . `scripts/check_imports'")
    graph = {}
    for part in found.group(1).split(";"):
        left, arrow, right = part.partition("->")
        if not arrow:
            raise SystemExit(f"CONTRIBUTING.md: '{part.strip()}' has no arrow")
        for name in left.split(","):
            graph.setdefault(name.strip(), set()).update(r.strip() for r in right.split(","))
    return graph


def reachable(graph, start):
    seen, todo = set(), [start]
    while todo:
        for name in graph.get(todo.pop(), ()):
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return seen


def blank(text, comments_only):
    """The text with comments (and literals) emptied, every line still in its place."""
    def empty(match):
        token = match.group()
        if comments_only and token[0] != "/":
            return token
        return " " + "\n" * token.count("\n")
    return TOKEN.sub(empty, text)


class Checker:
    def __init__(self, root):
        self.root = root
        self.graph = arrows((root / "CONTRIBUTING.md").read_text())
        self.rooms = {p.name for p in (root / "src").iterdir() if p.is_dir()}
        self.problems, self.warnings, self.n_files = [], [], 0

    def problem(self, path, text, offset, message):
        line = text.count("\n", 0, offset) + 1
        self.problems.append(f"{path.relative_to(self.root)}:{line}: {message}")

    def rooms_in_order(self):
        for name in sorted(self.rooms):
            if name != "core" and name not in self.graph and not any(name in r for r in self.graph.values()):
                self.problems.append(f"src/{name}: CONTRIBUTING.md does not say what this room may import")
        for name in sorted(self.graph):
            if name in reachable(self.graph, name):
                self.problems.append(f"CONTRIBUTING.md: {name} imports itself, going round")

    def include_of_room(self, room, name):
        """What is wrong with a file of src/ROOM including "name", or None."""
        first = name.split("/")[0]
        if name == "tessera.h":
            return None
        if first not in self.rooms or not (self.root / "src" / name).is_file():
            return f'"{name}" is neither tessera.h nor a file under src/ written from its room ("room/file.h")'
        if first in {room, "core"} | reachable(self.graph, room):
            return None
        return f"{room} must not include {first} ({name}): see CONTRIBUTING.md for the order of the rooms"

    def include(self, path, quote, name):
        top, *rest = path.relative_to(self.root).parts
        ours = quote == '"' or (self.root / "src" / name).is_file() or name == "tessera.h"
        if not ours:
            return None
        if top == "src":
            return self.include_of_room(rest[0], name)
        if top == "include":
            return f"the public header must not include {name}"
        if top in PROGRAMS:
            own = [self.root / top / name, path.parent / name, self.root / name]
            mine = any(p.is_file() and (self.root / top) in p.resolve().parents for p in own)
            return None if name == "tessera.h" or mine else f"{top} may include tessera.h and its own headers, not {name}"
        return None

    def c_file(self, path, text):
        code = blank(text, comments_only=True)
        for match in INCLUDE.finditer(code):
            wrong = self.include(path, *match.groups())
            if wrong:
                self.problem(path, code, match.start(2), wrong)
        if path.relative_to(self.root).parts[0] != "src":
            return
        code = blank(text, comments_only=False)
        for match in FORBIDDEN.finditer(code):
            ends, prints, stream = match.groups()
            word = ends or prints or stream
            self.problem(path, code, match.start(), f"{word}: the library never {'ends the process' if ends else 'prints'}")

    def file(self, path):
        self.n_files += 1
        text = path.read_text(encoding="utf-8")
        for match in NOTE.finditer(text):
            self.problem(path, text, match.start(), f"'{match.group()}': do it, or open an issue")
        if path.suffix in CODE:
            lines = len(text.splitlines())
            where = f"{path.relative_to(self.root)}: {lines} lines"
            if lines > MAX_LINES:
                self.problems.append(f"{where}, more than {MAX_LINES}: split it")
            elif lines > WARN_LINES:
                self.warnings.append(f"{where}, more than {WARN_LINES}")
        if path.suffix in {".c", ".h", ".inc"}:
            self.c_file(path, text)

    def run(self):
        self.rooms_in_order()
        for tree in TREES:
            for path in sorted((self.root / tree).rglob("*")):
                if path.is_file() and path.suffix in CODE | {".md", ".txt"} and "golden" not in path.parts:
                    self.file(path)
        for line in self.warnings:
            print(f"warning: {line}")
        for line in self.problems:
            print(line)
        print(f"{self.n_files} files, {len(self.problems)} problems")
        return 1 if self.problems or self.n_files == 0 else 0


if __name__ == "__main__":
    here = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent
    sys.exit(Checker(here.resolve()).run())
