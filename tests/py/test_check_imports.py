"""scripts/check_imports.py finds each kind of disorder in a small bad tree, and only that."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKER = ROOT / "scripts" / "check_imports.py"
CONTRIBUTING = (
    "Imports point one way: cli -> tessera.h; engine -> model; model -> kernels; kernels -> quant,\n"
    "core. `scripts/check_imports.py` keeps it so.\n"
)
ROOMS = ("core", "quant", "kernels", "model", "engine")


@pytest.fixture
def tree(tmp_path):
    """A tree in order."""
    def put(path, text):
        path = tmp_path / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    put("CONTRIBUTING.md", CONTRIBUTING)
    put("include/tessera.h", "#include <stdint.h>\n")
    for room in ROOMS:
        put(f"src/{room}/{room}.h", "/* a header */\n")
    put("src/core/core.c", '#include "core/core.h"\n#include "tessera.h"\n#include <stdlib.h>\n')
    put("src/quant/quant.c", '#include "quant/quant.h"\n#include "core/core.h"\n')  # every room may use core
    put("src/engine/engine.c", '#include "engine/engine.h"\n#include "quant/quant.h"\n')  # by way of model, kernels
    put("cli/cli.h", "")
    put("cli/main.c", '#include "cli.h"\n#include "tessera.h"\n#include <stdio.h>\nint main(void) { exit(printf("")); }\n')
    put("tests/unit/test_x.c", '#include "kernels/kernels.h"\nvoid f(void) { abort(); }\n')
    return put, tmp_path


def check(root):
    run = subprocess.run([sys.executable, CHECKER, root], capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


def test_this_tree_is_in_order():
    code, said = check(ROOT)
    assert code == 0, said


def test_good_tree(tree):
    code, said = check(tree[1])
    assert (code, said) == (0, "12 files, 0 problems\n")


def test_words_in_comments_and_strings_are_free(tree):
    put, root = tree
    put("src/core/words.c", '/* #include "engine/engine.h"\n abort() */\n// exit(1)\nchar *s = "printf(\\"x\\") exit(1) // ";\n'
        "void myexit(int); void f(void) { myexit(1); sprintf(s, s); snprintf(s, 1, s); _Static_assert(1, s); }\n")
    assert check(root)[0] == 0


@pytest.mark.parametrize("path, text, where, what", [
    ("src/core/a.c", '\n#include "quant/quant.h"\n', ":2:", "core must not include quant"),
    ("src/quant/a.c", '#include "kernels/kernels.h"\n', ":1:", "quant must not include kernels"),
    ("src/kernels/x86/a.c", '#  include "engine/engine.h"\n', ":1:", "kernels must not include engine"),
    ("src/core/a.c", "#include <model/model.h>\n", ":1:", "core must not include model"),
    ("src/model/a.c", '#include "model.h"\n', ":1:", "neither"),
    ("src/model/a.c", '#include "../core/core.h"\n', ":1:", "neither"),
    ("src/model/a.c", '#include "core/gone.h"\n', ":1:", "neither"),
    ("include/more.h", '#include "core/core.h"\n', ":1:", "public header"),
    ("cli/run.c", '#include "core/core.h"\n', ":1:", "cli may include"),
    ("cli/run.c", '#include "../src/core/core.h"\n', ":1:", "cli may include"),
    ("cli/run.c", "#include <core/core.h>\n", ":1:", "cli may include"),
    ("server/http.c", '#include "engine/engine.h"\n', ":1:", "server may include"),
    ("src/core/a.c", "void f(void) {\n    abort();\n}\n", ":2:", "abort: the library never ends"),
    ("src/core/a.c", '/*\n*/ void f(void) { char c = \'"\'; exit (1); }\n', ":2:", "exit: the library never ends"),
    ("src/core/a.h", "#define CHECK(x) assert(x)\n", ":1:", "assert: the library never ends"),
    ("src/core/a.c", 'void f(void) { printf("x"); }\n', ":1:", "printf: the library never prints"),
    ("src/core/a.c", 'void f(void) { fprintf(stderr, "x"); }\n', ":1:", "stderr: the library never prints"),
    ("src/core/a.c", "int x; /* TO" "DO: more */\n", ":1:", "do it, or open an issue"),
    ("cli/run.c", "\n\n// FIX" "ME\n", ":3:", "do it, or open an issue"),
    ("src/core/a.c", "int f(void);\n" * 601, ":", "601 lines, more than 600"),
    ("scripts/a.py", "x = 1\n" * 601, ":", "601 lines, more than 600"),
    ("src/odd/a.c", "", ":", "does not say what this room may import"),
])
def test_bad_trees(tree, path, text, where, what):
    put, root = tree
    put(path, text)
    code, said = check(root)
    assert code == 1, said
    place = path if where != ":" or "lines" in what else "src/odd"
    assert f"{place}{where}" in said and what in said, said
    assert "1 problems" in said, said


def test_long_files_warn(tree):
    put, root = tree
    put("src/core/a.c", "int f(void);\n" * 501)
    code, said = check(root)
    assert code == 0 and "warning: src/core/a.c: 501 lines" in said
    put("src/core/a.c", "int f(void);\n" * 500)
    assert "warning" not in check(root)[1]


@pytest.mark.parametrize("text, what", [
    ("nothing about imports", "no sentence"),
    (CONTRIBUTING.replace("quant,", "engine,"), "going round"),
    (CONTRIBUTING.replace("model -> kernels", "model kernels"), "no arrow"),
])
def test_bad_rules(tree, text, what):
    put, root = tree
    put("CONTRIBUTING.md", text)
    code, said = check(root)
    assert code == 1 and what in said, said
