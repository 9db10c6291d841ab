"""src/text/tokenizer.h through ctypes, GGUF files that hold only a tokenizer, and texts to try them on."""
import ctypes as C
import functools
import pathlib
import random
import unicodedata

import gguf
import tsr

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
WORD_MARK = "\u2581"


class Special(C.Structure):
    _fields_ = [(name, C.c_int32) for name in ("bos", "eos", "eot", "eom", "unk", "sep", "pad", "cls", "mask")] + \
               [(name, C.c_bool) for name in ("add_bos", "add_eos", "add_space_prefix")]


@functools.cache
def library():
    so = C.CDLL(str(tsr.LIBRARY))
    pointer, size, err = C.c_void_p, C.c_size_t, C.POINTER(tsr.Error)
    for name, result, arguments in [
            ("tsr_gguf_open", pointer, [C.c_char_p, err]), ("tsr_gguf_close", None, [pointer]),
            ("tsr_tokenizer_open", pointer, [pointer, err]), ("tsr_tokenizer_close", None, [pointer]),
            ("tsr_tokenizer_n_vocab", C.c_int, [pointer]), ("tsr_tokenizer_describe", C.c_char_p, [pointer]),
            ("tsr_tokenizer_special", C.POINTER(Special), [pointer]),
            ("tsr_tokenizer_text", C.c_char_p, [pointer, C.c_int32]), ("tsr_tokenizer_kind", C.c_int, [pointer, C.c_int32]),
            ("tsr_tokenizer_find", C.c_int32, [pointer, C.c_char_p]),
            ("tsr_tokenizer_is_end", C.c_bool, [pointer, C.c_int32]),
            ("tsr_tokenizer_encode", C.c_int, [pointer, C.c_char_p, size, C.c_uint, C.POINTER(C.POINTER(C.c_int32)),
                                               C.POINTER(size), err]),
            ("tsr_tokenizer_decode", C.c_int, [pointer, C.POINTER(C.c_int32), size, C.c_uint, C.POINTER(pointer),
                                               C.POINTER(size), err]),
            ("tsr_decoder_open", pointer, [pointer, C.c_uint, err]), ("tsr_decoder_close", None, [pointer]),
            ("tsr_decoder_push", pointer, [pointer, C.c_int32, C.POINTER(size)]),
            ("tsr_decoder_finish", pointer, [pointer, C.POINTER(size)]),
            ("tsr_pretokenizer_name", C.c_char_p, [size]), ("tsr_free", None, [pointer])]:
        function = getattr(so, name)
        function.restype, function.argtypes = result, arguments
    return so


class Tokenizer:
    """A tokenizer of a GGUF file. Texts are str or bytes; results are lists of ids, or bytes."""

    def __init__(self, path):
        self.handle = self.gguf = None
        err = tsr.Error()
        self.gguf = library().tsr_gguf_open(str(path).encode(), C.byref(err))
        if not self.gguf:
            raise tsr.TsrError(err.code, err.text())
        self.handle = library().tsr_tokenizer_open(self.gguf, C.byref(err))
        if not self.handle:
            raise tsr.TsrError(err.code, err.text())

    def __del__(self):
        if self.handle:
            library().tsr_tokenizer_close(self.handle)
        if self.gguf:
            library().tsr_gguf_close(self.gguf)

    @property
    def special(self):
        return library().tsr_tokenizer_special(self.handle).contents

    @property
    def describe(self):
        return library().tsr_tokenizer_describe(self.handle).decode()

    def find(self, text):
        return library().tsr_tokenizer_find(self.handle, text.encode())

    def is_end(self, token):
        return library().tsr_tokenizer_is_end(self.handle, token)

    def encode(self, text, flags=0):
        data = text if isinstance(text, bytes) else text.encode()
        out, n, err = C.POINTER(C.c_int32)(), C.c_size_t(), tsr.Error()
        code = library().tsr_tokenizer_encode(self.handle, data, len(data), flags, C.byref(out), C.byref(n), C.byref(err))
        if code != tsr.OK:
            raise tsr.TsrError(code, err.text())
        ids = out[:n.value]
        library().tsr_free(out)
        return ids

    def decode(self, ids, flags=0):
        out, n, err = C.c_void_p(), C.c_size_t(), tsr.Error()
        code = library().tsr_tokenizer_decode(self.handle, (C.c_int32 * len(ids))(*ids), len(ids), flags, C.byref(out),
                                              C.byref(n), C.byref(err))
        if code != tsr.OK:
            raise tsr.TsrError(code, err.text())
        data = C.string_at(out, n.value)
        library().tsr_free(out)
        return data

    def stream(self, ids, flags=0):
        """The pieces a streaming decoder hands out, one a token, and the last one from finish()."""
        d, n, pieces = library().tsr_decoder_open(self.handle, flags, None), C.c_size_t(), []
        for token in ids:
            p = library().tsr_decoder_push(d, token, C.byref(n))
            pieces.append(C.string_at(p, n.value))
        p = library().tsr_decoder_finish(d, C.byref(n))
        pieces.append(C.string_at(p, n.value))
        library().tsr_decoder_close(d)
        return pieces


def write_gguf(path, model, tokens, **keys):
    """A GGUF file with a tokenizer and nothing else. keys: tokenizer.ggml.NAME = value; None leaves it out."""
    w = gguf.GGUFWriter(str(path), "llama")
    w.add_string("tokenizer.ggml.model", model)
    w.add_array("tokenizer.ggml.tokens", tokens)
    for name, value in keys.items():
        key = "tokenizer.ggml." + name.replace("normalizer_", "normalizer.")
        if value is None:
            continue
        if isinstance(value, bool):
            w.add_bool(key, value)
        elif isinstance(value, int):
            w.add_uint32(key, value)
        elif isinstance(value, str):
            w.add_string(key, value)
        else:
            w.add_array(key, value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()
    return path


NASTY = [
    "",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\t",
    " \t\n ",
    "a",
    " a",
    "a ",
    "  a  b  ",
    "\n\n\na",
    "a\n\n\n b",
    "a\u00a0b",
    "\u3000\u3000全角",
    "don't I'll we've they're she'd it's I'm 'S 'T 'LL DON'T ' 's''t",
    "'ſ 'ſx",
    "x'K'\u212a",
    "0 1 12 123 1234 12345 1234567 ½ ² ⅷ ٣٤ १२३ 3.14 1,000,000 0x1F",
    "a1b22c333",
    "v2.0.1-rc3+build.5",
    "Hello, World! How's it going? (fine)... [ok] {x} <y> «z» “q” ‘r’ —–-",
    "!?!?!?",
    "$+<=>^~|`",
    "a$b+c<d=e>f^g~h|i`j",
    "camelCaseWordsAndHTTPServer",
    "ÀÉÎõü ǅ ǈx ﬁ ß ẞ İ ı ſ",
    "ПриветМир привет",
    "Ελληνικά ς σ",
    "日本語とEnglishの混合",
    "한국어 텍스트 입니다",
    "中文，标点。符号！？",
    "你好12世界",
    "العربية ١٢٣",
    "עברית",
    "हिन्दी देवनागरी",
    "ภาษาไทย",
    "ไม่มีช่องว่าง",
    "e\u0301 a\u0308\u0323 \u0301\u0302",
    "👍🏽 👨‍👩‍👧‍👦 🇩🇪🇫🇷 ❤️ ☺",
    "\u200b\u200c\u200d\u2060\ufeff",
    "\u202eabc\u202c",
    "\u2028x\u2029y",
    "\x00",
    "a\x00b\x00\x00",
    "\x01\x02\x1f\x7f\x80\x85\x9f",
    "\ufffd",
    "\u180e x\u180ey",
    "\U0010ffff\U000f0000\ue000",
    "𝕳𝖊𝖑𝖑𝖔 𐐀𐐨 𞤀𞤢",
    "ﷺ",
    "①②③ Ⅳ ℡ ㎏",
    "ｆｕｌｌ　ｗｉｄｔｈ　１２３",
    "def f(x):\n    return x + 1\n\n\nclass A:\n\tpass\n",
    "if (a&&b){c[i]++;} // x\n/* y */\n",
    "https://example.com/a?b=c&d=%20#e",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<s></s><unk><0x0A>",
    "▁a▁▁b ▁",
    "##a [CLS] [UNK]",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "      six\n       seven\n\t\ttabs  \n",
    " \n \n  \n x",
    "a \n",
    "a  \r\n  b",
    ".\n\n.\n",
    "?/\n/",
    "x\n ",
    "\n\n",
    " \n\n  ",
    "  \n\nx",
    "ab\u0300cd",
    "a\u0300\u0301!",
    "\u0e33\u0eb3",
    "가각힣",
    "ㄱㄴㅏ",
    "\u1100\u1161\u11a8",
    "½x",
    "Ⅷx",
    "x²y³",
    "_under_score__",
    "a_b c-d e.f",
    "tab\tsep\ttext",
     ]


def is_settled(c):
    """Not a character that libraries with older tables see differently: punctuation, in tokenizers, is Unicode 8's."""
    category = unicodedata.category(c)
    return category not in ("Cn", "Cs") and (category[0] != "P" or unicodedata.ucd_3_2_0.category(c) == category)


def random_texts(seed, count, longest=60):
    """Random Unicode: characters of all scripts and categories that Python's Unicode knows, and plain words between."""
    rng = random.Random(seed)
    print(f"random texts: seed {seed}")
    blocks = [(0x20, 0x7e), (0x20, 0x7e), (0x20, 0x7e), (0, 0x2ff), (0x300, 0x36f), (0x370, 0x5ff), (0x600, 0x6ff), (0x900, 0xdff),
              (0xe00, 0x10ff), (0x1100, 0x11ff), (0x1e00, 0x1fff), (0x2000, 0x206f), (0x2070, 0x2bff), (0x3000, 0x30ff),
              (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0xf900, 0xffff), (0x10000, 0x10fff), (0x1d400, 0x1d7ff), (0x1f300, 0x1faff)]
    words = [
    "the",
    "Model",
    "don't",
    "I'LL",
    "2024",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "...",
    "été",
    "naïve",
    "x=1;",
    "世界",
    "мир",
     "🙂"]
    texts = []
    for _ in range(count):
        parts = []
        low, high = rng.choice(blocks)
        for _ in range(rng.randrange(longest)):
            dice = rng.random()
            if dice < 0.1:
                low, high = rng.choice(blocks)
            if dice < 0.35:
                parts.append(rng.choice(words))
            c = chr(rng.randint(low, high))
            if is_settled(c):
                parts.append(c)
        texts.append("".join(parts))
    return texts


@functools.cache
def corpus():
    """Lines to train small vocabularies on: prose, made-up words with Zipf's frequencies, code, and the nasty strings."""
    rng = random.Random(7)
    syllables = [
    "ta",
    "re",
    "in",
    "on",
    "ka",
    "lo",
    "mi",
    "ent",
    "er",
    "ing",
    "the",
    "qu",
    "s",
    "ed",
    "ä",
    "мир",
    "世",
    "の",
    "12",
    "'s",
     "_"]
    words = ["".join(rng.choice(syllables) for _ in range(rng.randint(1, 4))) for _ in range(400)]
    lines = (pathlib.Path(__file__).resolve().parents[1] / "golden/a.txt").read_text().splitlines()
    for _ in range(500):
        line = " ".join(words[min(int(rng.paretovariate(0.7)), 400) - 1] for _ in range(rng.randint(2, 14)))
        lines.append(rng.choice(["{}", "{}.", "{}!", "    {} = 1;", "\t{}()",
                     '"{}"', "  {}", "({})", "{}"]).format(line.capitalize()))
    return lines + NASTY
