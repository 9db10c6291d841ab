"""tessera doctor, on whatever this machine offers; what it makes of other machines is tests/unit/test_doctor.c."""
import json
import os
import subprocess

from cli_models import BINARY, FAILED, FINE, USAGE, cli

MACHINE = json.loads(cli("version", "--json")[1])


def test_json(tmp_path):
    status, out, err = cli("doctor", "--json", "--quick", "--cache-dir", tmp_path / "a/b")
    d = json.loads(out)
    assert err == "" and status == (FINE if d["ok"] else FAILED) and d["ok"] == (d["problems"] == [])
    assert all(p.keys() == {"section", "name", "problem", "advice"} and all(p.values()) for p in d["problems"])
    assert all(n.keys() == {"section", "name", "advice"} and all(n.values()) for n in d["notes"])
    facts = d["facts"]
    assert all(p["name"] in facts[p["section"]] for p in d["problems"] + d["notes"])
    assert {"system", "cpu", "amx", "tiers", "threads", "memory", "limits", "disk"} <= facts.keys() and "speed" not in d
    assert facts["cpu"]["features"] == (MACHINE["features"] or "none that kernels use") and MACHINE["cpu"] in facts["cpu"]["model"]
    assert facts["tiers"][MACHINE["tier"]] == "usable" and facts["tiers"]["scalar"] == "usable"
    assert facts["amx"]["usable"].startswith("yes" if MACHINE["amx_usable"] else "no: ")
    assert (facts["threads"]["cpus"], facts["threads"]["cores"]) == (MACHINE["logical_cpus"], MACHINE["physical_cores"])
    assert facts["threads"]["default"] == MACHINE["default_threads"]
    assert 0 < facts["memory"]["available"] <= facts["memory"]["total"]
    assert facts["disk"]["cache"] == str(tmp_path / "a/b") and not (tmp_path / "a").exists()  # looks, and makes nothing


def test_text():
    status, out, _ = cli("doctor", "--quick")
    assert status in (FINE, FAILED) and ("problems\n" in out) == (status == FAILED) == (out.count("\n    -> ") > 0)
    assert ("nothing stands in the way" in out) == (status == FINE) and "speed" not in out
    assert "\nmemory\n  total " in out.replace("!", " ") and max(map(len, out.splitlines())) <= 80
    assert "\033[1m" in cli("doctor", "--quick", "--color=always")[1]


def test_speed():
    status, out, _ = cli("doctor", "--json")
    speed = json.loads(out)["speed"]
    assert speed["f32"] > 1e8 and speed["read"] > 1e7 and speed["f32_name"]
    assert (speed["int8"] > 0) == (speed["int8_name"] != "") and (speed["half"] > 0) == (speed["half_name"] != "")


def test_a_directory_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    for bad, why in ((tmp_path / "file/below", "Not a directory"), ("/" * 5000, "too long")):
        status, out, _ = cli("doctor", "--quick", "--json", "--cache-dir", bad)
        problem, = (p for p in json.loads(out)["problems"] if p["section"] == "disk")
        assert status == FAILED and why in problem["problem"] and problem["advice"]
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        assert cli("doctor", "--quick", "--cache-dir", tmp_path / "x")[0] == FAILED
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    problems = json.loads(cli("doctor", "--quick", "--json", "--cache-dir", tmp_path / "open")[1])["problems"]
    problem, = (p for p in problems if p["section"] == "disk")
    assert "other users may write" in problem["problem"]
    status, out, _ = cli("doctor", "--quick", "--json", "--cache-dir", f"{tmp_path}/\033[2J")
    assert "\\x1b" in json.loads(out)["facts"]["disk"]["cache"]
    out = cli("doctor", "--quick", "--json", env={"HOME": "", "XDG_CACHE_HOME": "relative"})[1]
    assert any("HOME" in p["problem"] for p in json.loads(out)["problems"])


def test_relative_directories(tmp_path):
    """What would be made is judged by where it would be made, which is here."""
    (tmp_path / "file").write_text("")
    for name, works in (("a", True), ("a/b", True), ("./a//b/", True), ("../x", True), ("file/a", False)):
        command = [BINARY, "doctor", "--quick", "--json", "--cache-dir", name]
        d = json.loads(subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60).stdout)
        assert any(x["section"] == "disk" for x in d["problems"]) != works, (name, d)
        assert ("free" in d["facts"]["disk"]) == works, (name, d)
    assert [f.name for f in tmp_path.iterdir()] == ["file"]
    assert cli("doctor", "--quick", "--cache-dir", "")[0] == USAGE


def test_limits_are_found(tmp_path):
    """Soft limits of a shell around the program."""
    for limit, name in (("-v 8000000", "address_space"), ("-d 8000000", "data")):
        p = subprocess.run(["sh", "-c", f"ulimit {limit}; exec {BINARY} doctor --quick --json"], capture_output=True, timeout=60)
        assert p.returncode == FAILED and name in [x["name"] for x in json.loads(p.stdout)["problems"]]


def test_wrong_usage():
    assert cli("doctor", "extra")[0] == USAGE and cli("doctor", "--nope")[0] == USAGE
