"""Special tokens: ends of generation, what is added when the file does not say, added tokens that eat white space."""
import gguf
import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel

import tokenizers_c as tok
import tsr

ALPHABET = sorted(ByteLevel.alphabet())


def bpe(path, added, pre="gpt-2", kinds=None, **keys):
    kinds = [tok.NORMAL] * 257 + (kinds or [tok.CONTROL] * len(added))
    return tok.Tokenizer(
    tok.write_gguf(
        path /
        "t.gguf",
        "gpt2",
        ALPHABET +
        ["ab"] +
        added,
        merges=["a b"],
        token_type=kinds,
        pre=pre,
         **keys))


@pytest.mark.parametrize("text",
    ["<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
    "<|return|>",
     "<|call|>"])
@pytest.mark.parametrize("kind", [tok.CONTROL, tok.NORMAL, tok.USER_DEFINED])
def test_ends_by_text(text, kind, tmp_path):
    t = bpe(tmp_path, [text, "<other>"], kinds=[kind, tok.CONTROL])
    assert t.is_end(257) and not t.is_end(258)
    assert t.decode([257]) == b"" and t.encode(text) != [257] and t.encode(text, tsr.PARSE_SPECIAL) == [257]


@pytest.mark.parametrize("text", ["</s>", "<eos>", "[EOT]", "<|fim_pad|>", "<|file_sep|>", "<|repo_name|>"])
def test_ends_only_as_control_tokens(text, tmp_path):
    assert bpe(tmp_path, [text]).is_end(257)
    for kind in tok.NORMAL, tok.USER_DEFINED:
        t = bpe(tmp_path, [text], kinds=[kind])
        assert not t.is_end(257) and t.decode([257]) == text.encode()


def test_ends_by_id(tmp_path):
    t = bpe(tmp_path, ["<a>", "<b>", "<c>", "<d>"], eos_token_id=257, eot_token_id=258, eom_token_id=259)
    assert [t.is_end(i) for i in range(256, 261)] == [False, True, True, True, False]
    assert (t.special.eos, t.special.eot, t.special.eom) == (257, 258, 259)


def test_end_of_a_message_is_not_the_end_of_the_turn(tmp_path):
    t = bpe(tmp_path, ["<|end|>", "<|return|>", "<|call|>"])
    assert [t.is_end(i) for i in (257, 258, 259)] == [False, True, True]
    assert bpe(tmp_path, ["<|end|>", "<|return|>"]).is_end(257)


def test_what_is_added(tmp_path):
    a = ALPHABET.index("a")
    assert bpe(tmp_path, ["<s>", "</s>"], bos_token_id=257, eos_token_id=258).encode("a", tsr.ADD_SPECIAL) == [a]
    keys = dict(bos_token_id=257, eos_token_id=258)
    assert bpe(tmp_path, ["<s>", "</s>"], **keys, add_bos_token=True,
               add_eos_token=True).encode("a", tsr.ADD_SPECIAL) == [257, a, 258]
    assert bpe(tmp_path, ["<s>", "</s>"], **keys, add_bos_token=True, add_eos_token=True).encode("a") == [a]
    assert bpe(tmp_path, ["<s>", "</s>"], "llama-bpe", **keys).encode("", tsr.ADD_SPECIAL) == [257]
    assert bpe(tmp_path, ["<s>", "</s>"], "llama-bpe", **keys, add_bos_token=False).encode("a", tsr.ADD_SPECIAL) == [a]
    assert bpe(tmp_path, ["<s>", "</s>"], "llama-bpe").encode("a", tsr.ADD_SPECIAL) == [a]  # no id, so nothing to add


def reference(added):
    """added: text -> whether it is special and what it strips."""
    vocab = {text: i for i, text in enumerate(ALPHABET + ["ab"])}
    hf = Tokenizer(models.BPE(vocab=vocab, merges=[("a", "b")]))
    hf.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    hf.add_special_tokens([AddedToken(text, normalized=False, special=True, **strips)
                          for text, strips in added.items()])
    return hf


TEXTS = [
    "a <mask> b",
    "  <mask>  ",
    "<|user|> \n ab",
    "x<|user|>\t<mask><|user|>  ",
    "<|endoftext|>  a",
    "a<mask",
    "<|user|><|user|>",
    "<mask>\n\n<mask>",
    " <|user|>",
     "<|user|><|user|>x ab"]


@pytest.mark.parametrize("pre", ["jina-v2-code", "roberta-bpe", "gpt-2"])
def test_mask_eats_the_space_before_it(pre, tmp_path):
    added = {"<mask>": {"lstrip": pre != "gpt-2"}, "<|user|>": {}, "<|endoftext|>": {}}
    t, hf = bpe(tmp_path, list(added), pre), reference(added)
    for text in TEXTS:
        assert t.encode(text, tsr.PARSE_SPECIAL) == hf.encode(text).ids, repr(text)


def test_phi3_tokens_eat_the_space_behind_them(tmp_path):
    added = {"<mask>": {"rstrip": True}, "<|user|>": {"rstrip": True}, "<|endoftext|>": {}}
    path = tmp_path / "t.gguf"
    w = gguf.GGUFWriter(str(path), "phi3")
    w.add_string("general.name", "Phi-3 mini")
    w.add_string("tokenizer.ggml.model", "gpt2")
    w.add_string("tokenizer.ggml.pre", "gpt-2")
    w.add_array("tokenizer.ggml.tokens", ALPHABET + ["ab"] + list(added))
    w.add_array("tokenizer.ggml.token_type", [tok.NORMAL] * 257 + [tok.CONTROL] * 3)
    w.add_array("tokenizer.ggml.merges", ["a b"])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()
    t, hf = tok.Tokenizer(path), reference(added)
    for text in TEXTS:
        assert t.encode(text, tsr.PARSE_SPECIAL) == hf.encode(text).ids, repr(text)


def test_added_tokens_leftmost_longest(tmp_path):
    added = ["<a>", "<a><b>", "<b><c>", "<c>", "a<b", "  "]
    t = bpe(tmp_path, added, kinds=[tok.USER_DEFINED] * len(added))
    hf = reference({text: {} for text in added})
    for text in [
    "<a><b><c>",
    "<a><a><b><b><c><c>",
    "x<a<b>",
    "aa<b><c>",
    "   a    ",
    "<a",
    "<a><b",
     "a<bb"] + tok.NASTY:
        assert t.encode(text) == hf.encode(text).ids, repr(text)
