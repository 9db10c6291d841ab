"""--tensor-buffer, info --buffers and what --verbose says about buffers."""
import json

import pytest
from cli_models import FAILED, FINE, USAGE, cli, tiny


def messages(err):
    """Standard error without events of loading, which are lines of JSON."""
    return "".join(line for line in err.splitlines(keepends=True) if not line.startswith("{"))


def buffers(*args):
    """{role: group} of the tiny model; each of its roles is one group. And the messages."""
    status, out, err = cli("info", "-m", tiny(), "--json", *args)
    assert status == FINE, err
    groups = json.loads(out)["buffers"]
    assert len({g["tensors"] for g in groups}) == len(groups)
    return {g["tensors"]: g for g in groups}, messages(err)


def test_buffers():
    groups, err = buffers()
    assert err == ""
    q, norm = groups["blk.*.attn_q.weight"], groups["blk.*.attn_norm.weight"]
    assert (q["count"], q["format"]) == (2, "Q8_0") and q["bytes"] <= q["buffer_bytes"] <= 1.1 * q["bytes"]
    assert (q["buffer"] == "packed") == (q["reason"] == ""), q
    assert norm == {"tensors": "blk.*.attn_norm.weight", "count": 2, "format": "F32", "bytes": 512, "buffer_bytes": 512, "buffer": "host",
                    "layout": "f32", "kernel": "-", "reason": "no product is computed with it"}
    whole = json.loads(cli("info", "-m", tiny(), "--json")[1])
    assert sum(g["count"] for g in groups.values()) == len(whole["tensors"])
    assert sum(g["bytes"] for g in groups.values()) == sum(t["bytes"] for t in whole["tensors"])
    packed = [g for g in groups.values() if g["buffer"] == "packed"]
    assert sum(g["buffer_bytes"] for g in packed) == whole["packed_bytes"]


def test_buffers_as_a_table():
    status, out, _ = cli("info", tiny(), "--buffers")
    table = out[out.index("\n\ntensors "):].strip().splitlines()
    groups, _ = buffers()
    assert status == FINE and [line.split()[0] for line in table[1:]] == list(groups)
    for line, g in zip(table[1:], groups.values()):
        assert line.split()[1:3] == [str(g["count"]), g["format"]] and g["kernel"] in line
        assert ("(" + g["reason"] + ")" in line) == (g["reason"] != "")
    status, _, err = cli("run", "-m", tiny(), "-p", "x", "-n", "1", "-v")
    assert status == FINE and all(line in err for line in table)


def test_rules():
    rule = r"blk\.0\.(?=ffn)=host"
    groups, err = {}, cli("info", "-m", tiny(), "--json", "--tensor-buffer", rule)
    assert messages(err[2]) == ""
    for t in json.loads(err[1])["tensors"]:
        groups[t["name"]] = t
    assert groups["blk.0.ffn_up.weight"]["buffer"] == "host" and groups["blk.0.ffn_up.weight"]["reason"] == f"asked for: {rule}"
    assert groups["blk.0.ffn_norm.weight"]["reason"] == "no product is computed with it"  # rules are for matrices
    assert groups["blk.1.ffn_up.weight"]["reason"] != f"asked for: {rule}"
    # the answer of a model whose matrices lie in several buffers is that of one where none is packed, up to rounding; here: it answers
    status, out, _ = cli("run", "-m", tiny(), "-p", "x", "-n", "3", "--ignore-eos", "--seed", "1", "--tensor-buffer", rule, "--json")
    assert status == FINE and json.loads(out)["generated_tokens"] == 3
    a, b = (cli("run", "-m", tiny(), "-p", "x", "-n", "3", "--ignore-eos", "--temp", "0", *more)[1]
            for more in (["--tensor-buffer", ".=host", "--cpu-tier", "avx2"], ["--tensor-buffer", "_=host", "--cpu-tier", "avx2"]))
    assert a == b


def test_rules_that_match_nothing_are_a_warning():
    _, err = buffers("--tensor-buffer", "attn_q=host", "--tensor-buffer", "attn_q.weight=host", "--tensor-buffer", "output_norm=host")
    assert err.startswith("tessera: warning: --tensor-buffer 'attn_q.weight=host', 'output_norm=host' match no matrix") and err.count("\n") == 1


@pytest.mark.parametrize("rule, words", [
    ("attn_q", "REGEX=host"), ("=host", "REGEX=host"), ("attn_q=", "no buffer ''"), ("attn_q=gpu", "(host, packed)"), ("a(=host", "character 3"),
    ("a\033[2J=host", "a\\x1b[2J"), ("embd=packed", "cannot be where it is asked for: embd=packed"),
])
def test_wrong_rules(rule, words):
    args = ("--cpu-tier", "scalar") if words.startswith("cannot") else ()
    status, out, err = cli("info", "-m", tiny(), "--tensor-buffer", rule, *args)
    assert "\033" not in out + err and words in err, err
    assert (status, out) == (FAILED, "") and tiny().name not in err  # it is not the file that is wrong
    if words.startswith("cannot"):
        assert "tensor token_embd.weight is " in err and "narrower" in err
    assert cli("info", "-m", tiny(), "--tensor-buffer")[0] == USAGE


def test_rules_are_shown_without_control_characters():
    for rule in ("attn_[q\033]=host", "no[\033]=host", "embd[\033]?=packed"):
        status, out, err = cli("info", "-m", tiny(), "--buffers", "--cpu-tier", "scalar", "--tensor-buffer", rule)
        assert "\033" not in out + err and "\\x1b" in out + err and status == (FAILED if "packed" in rule else FINE)


@pytest.mark.parametrize("numa", ["interleave", "local", "mirror"])
def test_numa(numa):
    """On one node: a note, and nothing else changes. On several: the place is shown."""
    plain = json.loads(cli("info", "-m", tiny(), "--json", "--numa", "none")[1])
    assert plain["placed"] == ""
    status, out, err = cli("info", "-m", tiny(), "--numa", numa, "--json")
    got = json.loads(out)
    assert status == FINE and got["buffers"] == plain["buffers"]
    if got["placed"]:
        assert "NUMA nodes" in got["placed"] and messages(err) == "", err
    else:
        assert "one NUMA node: placing makes no difference" in err, err
    runs = [cli("run", "-m", tiny(), "-p", "x", "-n", "5", "--ignore-eos", "--temp", "0", "--numa", n)[1] for n in ("none", numa)]
    assert runs[0] == runs[1]


def test_numa_names():
    assert cli("info", "-m", tiny(), "--numa", "none")[2] == ""
    status, out, err = cli("info", "-m", tiny(), "--numa", "both")
    assert status == USAGE and "none, interleave, local" in err.replace("|", ", "), err


def test_topology():
    """hwloc describes a machine of two sockets; the library reads it like its own."""
    made_up = {"HWLOC_SYNTHETIC": "pack:2 [numa(memory=17179869184)] l3:2(size=33554432) core:4 pu:2"}
    text = json.loads(cli("version", "--json", env=made_up)[1])["topology"]
    if not text:
        pytest.skip("built without hwloc")
    assert text == "2 packages, 2 NUMA nodes, 4 L3 caches, 16 cores, 32 CPUs"
    assert f"machine       {text}\n" in cli("info", tiny(), env=made_up)[1]
    facts = json.loads(cli("doctor", "--quick", "--json", env=made_up)[1])["facts"]["topology"]
    assert facts["machine"] == text and facts["source"] == "hwloc, which describes another machine" and facts["node1"] == "16.0 GiB, CPUs 16-31"
    assert json.loads(cli("version", "--json")[1])["topology"] != text
