"""WordPiece against tokenizers' BertWordPieceTokenizer, trained here."""
import unicodedata

import pytest
from tokenizers import BertWordPieceTokenizer

import tokenizers_c as tok
import tsr

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def phantom(token):
    """How GGUF stores an entry: word beginnings with U+2581 in front, continuations without "##"."""
    if token in SPECIAL:
        return token
    return token[2:] if token.startswith("##") else tok.WORD_MARK + token


def train(**options):
    hf = BertWordPieceTokenizer(**options)
    hf.train_from_iterator(tok.corpus(), vocab_size=900, show_progress=False, special_tokens=SPECIAL)
    return hf


def write(path, hf, **keys):
    vocab = sorted(hf.get_vocab(), key=hf.get_vocab().get)
    kinds = [tok.UNKNOWN if v == "[UNK]" else tok.CONTROL if v in SPECIAL else tok.NORMAL for v in vocab]
    return tok.write_gguf(path,
    "bert",
    [phantom(v) for v in vocab],
    token_type=kinds,
    bos_token_id=2,
    eos_token_id=3,
    seperator_token_id=3,
    unknown_token_id=1,
    padding_token_id=0,
    mask_token_id=4,
    cls_token_id=2,
     **keys)


def is_settled(text):
    """Leaves out what newer Unicode tables see differently than the tokenizers package, which has Unicode 8's."""
    return all(ord(c) < 128 or unicodedata.ucd_3_2_0.category(c) == unicodedata.category(c) for c in text)


@pytest.mark.parametrize("lowercase, strip_accents",
                         [(True, None), (True, True), (True, False), (False, False), (False, True), (False, None)])
def test_against_tokenizers(lowercase, strip_accents, tmp_path):
    hf = train(lowercase=lowercase, strip_accents=strip_accents)
    keys = {} if strip_accents is None else {"normalizer_strip_accents": strip_accents}
    t = tok.Tokenizer(write(tmp_path / "t.gguf", hf, normalizer_lowercase=lowercase, **keys))
    assert t.describe == "wordpiece"
    compared = 0
    for text in tok.corpus() + tok.random_texts(41, 400, longest=25):
        if not is_settled(text) or tok.WORD_MARK in text:
            continue  # U+2581 in the text itself: GGUF's spelling cannot tell it from the beginning of a word
        compared += 1
        want = hf.encode(text, add_special_tokens=False)
        assert t.encode(text, tsr.PARSE_SPECIAL) == want.ids, f"{text!r}: want {want.tokens}"
        assert t.encode(text, tsr.PARSE_SPECIAL | tsr.ADD_SPECIAL) == [2] + want.ids + [3]
    assert compared > 150


def test_long_words_are_unknown(tmp_path):
    hf = train()
    t = tok.Tokenizer(write(tmp_path / "t.gguf", hf))
    for n in 99, 100, 101, 5000:
        for text in "a" * n, "é" * n, "a" * n + " a", "." * n:
            assert t.encode(text) == hf.encode(text, add_special_tokens=False).ids, n


def test_decode(tmp_path):
    t = tok.Tokenizer(write(tmp_path / "t.gguf", train()))
    assert t.decode(t.encode("The engine runs models", tsr.ADD_SPECIAL)) == b"the engine runs models"
    assert t.encode(b"a\xffb") == t.encode("ab")  # invalid bytes are U+FFFD, which cleaning drops
    assert t.encode("[MASK]") != [4] and t.encode("[MASK]", tsr.PARSE_SPECIAL) == [4]
