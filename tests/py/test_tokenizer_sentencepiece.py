"""SentencePiece models, trained here in every flavour, written as GGUF and compared with the Python packages."""
import functools
import io

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb

import tokenizers_c as tok
import tsr



@functools.cache
def corpus():
    lines = [t.replace("\n", " ").replace("\r", " ").replace("\0", "") for t in tok.corpus()]
    return [t for t in lines if t.strip()]


def train(model_type, byte_fallback, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(
        corpus()),
        model_writer=model,
        model_type=model_type,
        vocab_size=1000,
        byte_fallback=byte_fallback,
        character_coverage=0.98,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        bos_id=1,
        eos_id=2,
        unk_id=0,
         **options)
    return model.getvalue()


def write(path, model, proto):
    n, t = proto.normalizer_spec, proto.trainer_spec
    keys = {"precompiled_charsmap": bytes(n.precompiled_charsmap)} if n.precompiled_charsmap else {}
    return tok.write_gguf( path,
    model,
    [p.piece for p in proto.pieces],
    scores=[p.score for p in proto.pieces],
    token_type=[p.type for p in proto.pieces],
    add_space_prefix=n.add_dummy_prefix,
    remove_extra_whitespaces=n.remove_extra_whitespaces,
    bos_token_id=t.bos_id,
    eos_token_id=t.eos_id,
    unknown_token_id=t.unk_id,
     **keys)


FLAVOURS = {
    "plain": dict(normalization_rule_name="identity", add_dummy_prefix=True, remove_extra_whitespaces=False),
    "no-prefix": dict(normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False),
    "trimmed": dict(normalization_rule_name="identity", add_dummy_prefix=True, remove_extra_whitespaces=True),
    "trimmed-no-prefix": dict(normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=True),
    "nfkc": dict(normalization_rule_name="nmt_nfkc", add_dummy_prefix=True, remove_extra_whitespaces=True),
    "nfkc-cf": dict(normalization_rule_name="nfkc_cf", add_dummy_prefix=False, remove_extra_whitespaces=False),
    "symbols": dict(normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False,
                    user_defined_symbols=["<sep>", "<sep>x", "foo▁bar"]),
    # For BPE only: in unigram models, sentencepiece itself cuts a symbol when another way scores better.
    "spaces": dict(normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False,
                   user_defined_symbols=["▁▁", "▁▁▁▁"]),
    "symbols-nfkc": dict(normalization_rule_name="nmt_nfkc", add_dummy_prefix=False, remove_extra_whitespaces=True,
                         user_defined_symbols=["<sep>", "<sep>x", "ﬁ"]),
}


def texts(flavour):
    more = [
    "a<sep>b<sep>xy",
    "<sep>",
    "x<sep>  y",
    "a  b   c    d",
    "foo bar foo  bar",
    "<sep><sep>x<sep>",
     " <sep> "] if "symbols" in flavour else []
    return tok.NASTY + more + tok.random_texts(32, 250)


def assert_same(proto, got, want, text):
    """Equal, or, for unigram, a tie: sentencepiece adds scores in single precision, tokenizers and Tessera in double, so
    of two ways to cut that score the same ("3" "33" or "33" "3") rounding picks one."""
    pieces = proto.pieces
    told = f"{text!r}: {[pieces[i].piece for i in got]}, want {[pieces[i].piece for i in want]}"
    if got != want:
        assert proto.trainer_spec.model_type == pb.TrainerSpec.UNIGRAM, told
        sums = [sum(pieces[i].score for i in ids if pieces[i].type == tok.NORMAL) for ids in (got, want)]
        rest = [[i for i in ids if pieces[i].type != tok.NORMAL] for ids in (got, want)]
        joined = ["".join(pieces[i].piece for i in ids) for ids in (got, want)]
        assert abs(sums[0] - sums[1]) < 1e-4 and rest[0] == rest[1] and joined[0] == joined[1], told


@pytest.mark.parametrize("byte_fallback", [False, True], ids=["unk", "bytes"])
@pytest.mark.parametrize("model_type, flavour", [(m, f) for m in ("bpe", "unigram")
                         for f in FLAVOURS if (m, f) != ("unigram", "spaces")])
def test_trained(model_type, flavour, byte_fallback, tmp_path):
    data = train(model_type, byte_fallback, **FLAVOURS[flavour])
    proto = pb.ModelProto.FromString(data)
    sp = sentencepiece.SentencePieceProcessor(model_proto=data)
    path = write(tmp_path / "t.gguf", {"bpe": "llama", "unigram": "t5"}[model_type], proto)
    t = tok.Tokenizer(path)
    exact = byte_fallback and FLAVOURS[flavour]["normalization_rule_name"] == "identity" and not proto.normalizer_spec.remove_extra_whitespaces
    for text in texts(flavour):
        if flavour == "spaces" and tok.WORD_MARK in text:
            continue  # an entry of spaces is found in spaces and in U+2581, but not in a run that mixes them
        got, want = t.encode(text), sp.encode(text)
        assert_same(proto, got, want, text)
        if exact and tok.WORD_MARK not in text:
            assert t.decode(got) == text.encode(), repr(text)
            assert t.decode(got).decode() == sp.decode(want)


def test_special_tokens(tmp_path):
    data = train("bpe", True, **FLAVOURS["plain"])
    t = tok.Tokenizer(write(tmp_path / "t.gguf", "llama", pb.ModelProto.FromString(data)))
    a = t.encode("a")
    assert t.encode("a", tsr.ADD_SPECIAL) == [1] + a  # llama: BOS, no EOS
    assert t.encode("a</s>a", tsr.PARSE_SPECIAL) == a + [2] + a
    assert 2 not in t.encode("a</s>a")
    u = tok.Tokenizer(
    write(
        tmp_path / "u.gguf",
        "t5",
        pb.ModelProto.FromString(
            train(
                "unigram",
                False,
                 **FLAVOURS["plain"]))))
    assert u.encode("a", tsr.ADD_SPECIAL) == u.encode("a") + [2]  # t5: EOS, no BOS


def test_bytes_that_are_not_utf8(tmp_path):
    for fallback in False, True:
        for model_type, model in ("bpe", "llama"), ("unigram", "t5"):
            proto = pb.ModelProto.FromString(train(model_type, fallback, **FLAVOURS["plain"]))
            t = tok.Tokenizer(write(tmp_path / "t.gguf", model, proto))
            broken = b"ab\xff\xfecd\xe4\xbd\x00\xed\xa0\x80"
            if fallback:
                assert t.decode(t.encode(broken)) == broken
            else:
                assert 0 in t.encode(broken)  # U+FFFD, which the model does not know


def unused(proto, every):
    """Marks some longer pieces as unused: they are steps of merges, but never come out."""
    out = pb.ModelProto.FromString(proto.SerializeToString())
    for i, p in enumerate(out.pieces):
        if p.type == tok.NORMAL and len(p.piece) > 2 and i % every == 0:
            p.type = tok.UNUSED
    return out


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
def test_unused_pieces(model_type, tmp_path):
    proto = unused(pb.ModelProto.FromString(train(model_type, True, **FLAVOURS["plain"])), 3)
    sp = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    t = tok.Tokenizer(write(tmp_path / "t.gguf", {"bpe": "llama", "unigram": "t5"}[model_type], proto))
    for text in corpus()[:200] + tok.NASTY:
        assert_same(proto, t.encode(text), sp.encode(text), text)


def test_unigram_against_tokenizers(tmp_path):
    """The other implementation, which sums in double precision as Tessera does."""
    import tokenizers
    from tokenizers import models, pre_tokenizers
    proto = pb.ModelProto.FromString(train("unigram", False, **FLAVOURS["plain"]))
    hf = tokenizers.Tokenizer(models.Unigram([(p.piece, p.score) for p in proto.pieces], unk_id=0, byte_fallback=False))
    hf.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")])
    t = tok.Tokenizer(write(tmp_path / "t.gguf", "t5", proto))
    for text in corpus()[:300] + tok.random_texts(33, 100):
        if tok.WORD_MARK not in text and not any(p in text for p in ("<s>", "</s>", "<unk>")):
            assert t.encode(text) == hf.encode(text).ids, repr(text)
