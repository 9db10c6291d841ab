"""Chat templates: Tessera against Python's jinja2 set up as transformers does (see template_c.py)."""
import collections

import pytest

import template_c
import template_conversations
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
