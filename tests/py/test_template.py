"""Chat templates: Tessera against Python's jinja2 set up as transformers does (see template_c.py)."""
import collections
import re

import pytest

import template_c
import template_conversations
import template_random
import template_snippets
import tsr

TEMPLATES = sorted((tsr.ROOT / "tests/templates").glob("*.jinja"))
# Written for engines that let templates change lists, which transformers' own sandbox refuses.
CHANGES_LISTS = {"kimi-k2-instruct"}


def show(result):
    return result[1] if result[0] is None else repr(result[0])


def test_there_are_enough_templates():
    assert len(TEMPLATES) >= 15


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.stem)
def test_published_template(path):
    """Same text, or an error from both, for every conversation."""
    source = path.read_bytes().decode()
    wrong, count = [], collections.Counter()
    for name, variables in template_conversations.cases():
        mine, theirs = template_c.both(source, variables, path.stem in CHANGES_LISTS)
        count["text" if theirs[0] is not None else "error"] += 1
        if mine[0] != theirs[0]:
            wrong.append(f"{name}\n  tessera: {show(mine)}\n  jinja2:  {show(theirs)}")
    assert not wrong, f"{len(wrong)} differ:\n" + "\n".join(wrong[:5])
    assert count["text"] >= 10, "the conversations hardly exercise this template"


def pieces(line):
    """A line of many {{ }} as single ones, so that each is judged by itself; other lines whole."""
    if "{%" in line or line.count("{{") < 3:
        return [line]
    return re.split(r"(?<=\}\})[ |]*(?=\{\{)", line)


def differences(sources, mutable=False):
    for source in sources:
        mine, theirs = template_c.both(source, template_snippets.VARIABLES, mutable)
        if mine[0] != theirs[0]:
            yield f"{source!r}\n  tessera: {show(mine)}\n  jinja2:  {show(theirs)}"
        if mine[0] is None:
            assert "template line" in mine[1] or "UTF-8" in mine[1], mine


@pytest.mark.parametrize("group, mutable", [("SNIPPETS", False), ("BLOCKS", False), ("CHANGES", True)])
def test_snippets(group, mutable):
    lines = getattr(template_snippets, group)
    sources = lines if group == "BLOCKS" else [p for line in lines for p in pieces(line)]
    wrong = list(differences(sources, mutable))
    assert not wrong, f"{len(wrong)} of {len(sources)} differ:\n" + "\n".join(wrong[:20])


def test_random_templates():
    """Templates made at random from a grammar; the same ones every time."""
    make = template_random.Maker(seed=20240801)
    sources = [make.template() for _ in range(1500)]
    wrong = list(differences(sources))
    assert not wrong, f"{len(wrong)} of {len(sources)} differ (seed {make.seed}):\n" + "\n".join(wrong[:10])
    rendered = sum(template_c.both(s, template_snippets.VARIABLES)[0][0] is not None for s in sources[:400])
    assert rendered > 100, "hardly any random template renders: the generator proves nothing"


def test_errors_name_the_line_jinja2_names():
    for source in ("a\n\n{{ 1 +\n }}", "{% if x %}\n\n{% nope %}{% endif %}", "\n{{ 'a' | nope }}", "\n\n{{ $ }}"):
        with pytest.raises(tsr.TsrError) as mine:
            template_c.render_c(source, {})
        with pytest.raises(template_c.jinja2.TemplateSyntaxError) as theirs:
            template_c.render_reference(source, {})
        assert f"template line {theirs.value.lineno}," in mine.value.message
