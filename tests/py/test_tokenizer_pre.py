"""Every pre-tokenizer: words cut as Hugging Face's tokenizers cuts them with the pattern of the models' tokenizer.json,
and small BPEs trained with it encode alike."""
import ctypes as C
import json
import time

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Punctuation, Sequence

import tokenizers_c as tok
import tsr

CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cased(suffix):
    return rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{suffix}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{suffix}"


DEEPSEEK_LLM_LETTERS = (
    r"\s?[A-Za-z"
    "\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376"
    "\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d"
    "\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4"
    "\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf"
    "\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
    "]+")
CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"

LLAMA3 = CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL
QWEN2 = CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"


def split(*patterns):
    """Split on each pattern in turn, matches isolated."""
    return [pre_tokenizers.Split(tokenizers.Regex(p), "isolated") for p in patterns]


def gpt2():
    return [ByteLevel(add_prefix_space=False, trim_offsets=False)]


def digits_gpt2():
    return [Digits(individual_digits=True), *gpt2()]


# The pre_tokenizer sections of the models' tokenizer.json files (facts),
# less the ByteLevel(use_regex=false) at the end.
FAMILIES = {
    "gpt-2": gpt2, "starcoder": digits_gpt2,
    "llama-bpe": lambda: split(LLAMA3), "qwen2": lambda: split(QWEN2),
    "qwen35": lambda: split(CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
                            r"|\s+(?!\S)|\s+"),
    "tekken": lambda: split(cased("") + r"|\p{N}" + O200K_TAIL),
    "gpt-4o": lambda: split(cased(CONTRACTION + "?") + r"|\p{N}{1,3}" + O200K_TAIL),
    # Published with ByteLevel before Digits, which then sees ASCII digits,
    # and bytes such as 0xb2 ("²"), that no merge joins.
    "falcon": lambda: [Punctuation("contiguous"), *split(GPT2, "[0-9]+", "[0-9][0-9][0-9]")],
    "default": lambda: [*split(r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]")],
    "deepseek-llm": lambda: split(r"[\r\n]", DEEPSEEK_LLM_LETTERS, "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
                                  r"\s+$", CJK, r"\p{N}+"),
    "deepseek-coder": lambda: [*split(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK), Digits(True)],
    "deepseek-v3": lambda: split(r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                                 r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
                                 r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
    "bloom": lambda: split(BLOOM), "viking": lambda: split(BLOOM, r"\p{N}"),
    "bailingmoe": lambda: split(r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
                                r"|\s+(?!\S)|\s+"),
    "seed-coder": lambda: split(CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"),
}
NAMES = {
    "gpt-2": "gpt-2 gpt2 phi-2 mpt olmo jais trillion gigachat modern-bert roberta-bpe jina-es jina-de jina-v1-en jina-v2-es "
    "jina-v2-de jina-v2-code exaone4 granite-docling mellum a.x-4.0",
    "starcoder": "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2",
    "llama-bpe": "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx smaug-bpe chatglm-bpe glm4 glm5",
    "qwen2": "qwen2 deepseek-r1-qwen stablelm2 hunyuan megrez grok-2 solar-open kormo f2llmv2",
    "qwen35": "qwen35",
    "tekken": "tekken",
    "gpt-4o": "gpt-4o llama4 kanana2 minimax-m2",
    "falcon": "falcon",
    "default": "default",
    "deepseek-llm": "deepseek-llm",
    "deepseek-coder": "deepseek-coder",
    "deepseek-v3": "deepseek-v3 hunyuan-dense joyai-llm",
    "bloom": "bloom gpt3-finnish poro-chat",
    "viking": "viking",
    "bailingmoe": "bailingmoe bailingmoe2 llada-moe",
    "seed-coder": "seed-coder",
     }
FAMILY_OF = {name: family for family, names in NAMES.items() for name in names.split()}
IGNORE_MERGES = set(
    "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano glm4 glm5 tekken".split())
ADD_BOS = IGNORE_MERGES - {"glm4", "glm5"}
WORD_FN = C.CFUNCTYPE(C.c_int, C.c_void_p, C.c_void_p, C.c_size_t, C.c_void_p)


def known_names():
    names = []
    while name := tok.library().tsr_pretokenizer_name(len(names)):
        names.append(name.decode())
    return names


def words(name, data):
    so, found, err = tok.library(), [], tsr.Error()
    so.tsr_pretokenizer_open.restype = C.c_void_p
    so.tsr_pretokenizer_open.argtypes = [C.c_char_p, C.c_size_t, C.POINTER(tsr.Error)]
    so.tsr_pretokenizer_close.argtypes = [C.c_void_p]
    so.tsr_pretokenize.argtypes = [C.c_void_p, C.c_char_p, C.c_size_t, WORD_FN, C.c_void_p, C.POINTER(tsr.Error)]
    p = so.tsr_pretokenizer_open(name.encode(), len(name), C.byref(err))
    assert p, err.text()

    def take(_, s, n, __):
        found[-1].append(C.string_at(s, n))
        return 0
    callback = WORD_FN(take)
    for text in data:
        found.append([])
        tsr.check(so.tsr_pretokenize(p, text, len(text), callback, None, C.byref(err)), err)
    so.tsr_pretokenizer_close(p)
    return found


def texts():
    return tok.NASTY + tok.random_texts(22, 250)


def test_the_table_of_names_is_complete():
    assert sorted(known_names()) == sorted(FAMILY_OF)


@pytest.mark.parametrize("family", FAMILIES)
def test_words(family):
    hf = Sequence(FAMILIES[family]())
    data = texts()
    for text, got in zip(data, words(family, [t.encode() for t in data])):
        want = [text[a:b].encode() for _, (a, b) in hf.pre_tokenize_str(text) if b > a]
        assert got == want, repr(text)


def test_words_of_all_names():
    data = [t.encode() for t in tok.NASTY]
    of_family = {family: words(family, data) for family in FAMILIES}
    for name, family in FAMILY_OF.items():
        assert words(name, data) == of_family[family], name


def test_bytes_that_are_not_utf8_are_words():
    assert words("qwen2", [b"ab\xff\xfecd \xe4\xbd 1\xed\xa0\x80"]) == [
                 [b"ab", b"\xff\xfe", b"cd", b" ", b"\xe4\xbd", b" ", b"1", b"\xed\xa0\x80"]]


def train(family, ignore_merges):
    t = tokenizers.Tokenizer(models.BPE(ignore_merges=ignore_merges))
    stages = FAMILIES[family]()
    if not isinstance(stages[-1], ByteLevel):
        stages.append(ByteLevel(add_prefix_space=False, use_regex=False))
    if family == "falcon":  # as published
        stages = [
    Punctuation("contiguous"),
    ByteLevel(
        add_prefix_space=False),
        Digits(False),
         *split("[0-9][0-9][0-9]")]
    t.pre_tokenizer = Sequence(stages)
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
    vocab_size=1200,
    initial_alphabet=ByteLevel.alphabet(),
    special_tokens=["<|endoftext|>"],
     show_progress=False)
    t.train_from_iterator(tok.corpus(), trainer)
    return t


@pytest.mark.parametrize("family", FAMILIES)
def test_trained_bpe(family, tmp_path):
    hf = train(family, family in IGNORE_MERGES)
    model = json.loads(hf.to_str())["model"]
    vocab = sorted(model["vocab"], key=model["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    kinds = [tok.CONTROL if v == "<|endoftext|>" else tok.NORMAL for v in vocab]
    path = tok.write_gguf(tmp_path / "t.gguf", "gpt2", vocab, token_type=kinds, merges=merges, pre=family,
                          bos_token_id=0, eos_token_id=0)
    t = tok.Tokenizer(path)
    assert t.describe == f"bpe ({family})"
    assert t.special.add_bos == (family in ADD_BOS)
    for text in texts():
        got, want = t.encode(text, tsr.PARSE_SPECIAL), hf.encode(text).ids
        assert got == want, f"{text!r}: {[vocab[i] for i in got]}, want {[vocab[i] for i in want]}"
        assert t.decode(got, tsr.RENDER_SPECIAL) == text.encode()


def test_without_a_name_it_is_default(tmp_path):
    alphabet = sorted(ByteLevel.alphabet())
    path = tok.write_gguf(tmp_path / "t.gguf", "gpt2", alphabet + ["ab"], merges=["a b"])
    assert tok.Tokenizer(path).describe == "bpe (default)"


@pytest.mark.parametrize("name", sorted(IGNORE_MERGES | {"gpt-2", "glm4", "dbrx"}))
def test_merges_ignored_or_not(name, tmp_path):
    """An entry that no merge makes is found as a whole word only where models ignore merges."""
    alphabet = sorted(ByteLevel.alphabet())
    path = tok.write_gguf(tmp_path / "t.gguf", "gpt2", alphabet + ["ab", "xyz", "<s>"], merges=["a b"], pre=name,
                          bos_token_id=258)
    t = tok.Tokenizer(path)
    assert (len(t.encode("xyz")) == 1) == (name in IGNORE_MERGES)
    assert t.special.add_bos == (name in ADD_BOS)


def test_unknown_name_lists_the_known(tmp_path):
    alphabet = sorted(ByteLevel.alphabet())
    path = tok.write_gguf(tmp_path / "t.gguf", "gpt2", alphabet + ["ab"], merges=["a b"], pre="brand-new")
    with pytest.raises(tsr.TsrError) as e:
        tok.Tokenizer(path)
    assert e.value.code == tsr.E_UNSUPPORTED and "brand-new" in e.value.message
    missing = [name for name in FAMILY_OF if name not in e.value.message]
    assert not missing, missing


@pytest.mark.parametrize("family", FAMILIES)
def test_no_text_takes_quadratic_time(family):
    """64 KiB of anything takes about 20 ms; backtracking from each position would take seconds."""
    so, err, size = tok.library(), tsr.Error(), 1 << 16
    words(family, [b""])  # sets the argument types
    p = so.tsr_pretokenizer_open(family.encode(), len(family), C.byref(err))
    callback = WORD_FN(lambda *_: 0)
    for fill in "a", " ", "A", "\n ", " \t\u3000", "é", "'", "日", "a\u0301", "ſ", "!", "1":
        for tail in "", "x":
            text = (fill * (size // len(fill.encode())) + tail).encode()
            start = time.process_time()
            tsr.check(so.tsr_pretokenize(p, text, len(text), callback, None, C.byref(err)), err)
            assert time.process_time() - start < 1, (fill, tail)
    so.tsr_pretokenizer_close(p)
