"""What the tests of the command line share: the program, and a tiny chat model. Its weights are random, so its answers are
noise, but quick noise."""
import functools
import os
import pathlib
import subprocess
import tempfile

import make_model as mm
import tsr

TEMPLATE = ("{% for m in messages %}<|begin|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|begin|>assistant\n{% endif %}")
BINARY = str(tsr.BINARY)
folder = tempfile.TemporaryDirectory(prefix="tessera-cli-")


@functools.cache
def tiny(template=TEMPLATE, context=4096, qtype="Q8_0"):
    """Path of the model; template None: none."""
    model = mm.build(mm.Spec(context=context, name="tiny chat", qtype=qtype), seed=3)
    if template:
        model.kv["tokenizer.chat_template"] = mm.typed(template)
    return mm.save(model, pathlib.Path(folder.name) / f"tiny-{'chat' if template else 'plain'}-{context}-{qtype}.gguf")


def environment(**more):
    """The tests' environment with nothing in it that changes what the program shows."""
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "XDG_STATE_HOME", "COLUMNS")}
    return env | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "XDG_STATE_HOME": f"{folder.name}/state"} | more


FINE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def cli(*args, stdin=b"", env=None, timeout=60):
    """(exit status, stdout, stderr) of the program. stdin None: closed."""
    p = subprocess.run([BINARY, *map(str, args)], input=stdin, capture_output=True, timeout=timeout,
                       env=environment(**(env or {})))
    assert p.returncode >= 0, f"killed by signal {-p.returncode}: {p.stderr.decode()}"
    return p.returncode, p.stdout.decode(), p.stderr.decode()
