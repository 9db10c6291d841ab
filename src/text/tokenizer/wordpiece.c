/* WordPiece (BERT): the text is cleaned, lower-cased and stripped of accents as the model asks, cut at white space and
 * around punctuation and CJK characters, and each word is spelled by the longest entries from the left, or unknown as a
 * whole. Entries that begin a word are stored with U+2581 in front, others without BERT's "##" (llama.cpp's converter).
 * Source: BERT's BasicTokenizer and WordpieceTokenizer as in Hugging Face tokenizers. */
#include "core/utf8.h"
#include "text/tokenizer/vocab.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define WORD_MARK           "\xe2\x96\x81"
#define MAX_WORD_CHARACTERS 100 /* longer words are unknown: BERT's max_input_chars_per_word */

static bool is_space(uint32_t cp) {
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return (cp >= '\t' && cp <= '\r') || cp == 0x85 || c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL ||
           c == UTF8PROC_CATEGORY_ZP;
}

/* Characters that cleaning drops: controls, format characters, private use, U+FFFD; tab and line ends are spaces. */
static bool is_dropped(uint32_t cp) {
    if (cp == '\t' || cp == '\n' || cp == '\r') return false;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO: return true;
    default: return cp == 0xfffd;
    }
}

static bool is_punctuation(uint32_t cp) {
    if (cp < 0x80)
        return (cp >= '!' && cp <= '/') || (cp >= ':' && cp <= '@') || (cp >= '[' && cp <= '`') ||
               (cp >= '{' && cp <= '~');
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}

static bool is_cjk(uint32_t cp) { /* U+2B820 - U+2B91F are left out by the reference, too */
    return (cp >= 0x4e00 && cp <= 0x9fff) || (cp >= 0x3400 && cp <= 0x4dbf) || (cp >= 0x20000 && cp <= 0x2a6df) ||
           (cp >= 0x2a700 && cp <= 0x2b73f) || (cp >= 0x2b740 && cp <= 0x2b81f) || (cp >= 0x2b920 && cp <= 0x2ceaf) ||
           (cp >= 0xf900 && cp <= 0xfaff) || (cp >= 0x2f800 && cp <= 0x2fa1f);
}

typedef struct encoder {
    const tsr_tokenizer *t;
    tsr_ids *out;
    char word[3 + 4 * MAX_WORD_CHARACTERS]; /* the mark, then the word */
    size_t n;                               /* bytes of it, the mark included; 3: no word yet */
    size_t n_characters;
} encoder;

static void end_word(encoder *e) {
    if (e->n_characters == 0) return;
    size_t first_token = e->out->n, at = 0;
    bool known = e->n_characters <= MAX_WORD_CHARACTERS;
    while (known && at < e->n) {
        tsr_token id = TSR_TOKEN_NONE;
        size_t len = tsr_trie_longest(&e->t->pieces, e->word + at, e->n - at, &id);
        known = at == 0 ? len > 3 : len > 0; /* the mark alone is not the beginning of a word */
        if (known) tsr_ids_push(e->out, id);
        at += len;
    }
    if (!known) {
        e->out->n = first_token < e->out->n ? first_token : e->out->n;
        if (e->t->special.unk != TSR_TOKEN_NONE) tsr_ids_push(e->out, e->t->special.unk);
    }
    e->n = 3;
    e->n_characters = 0;
}

static void add_character(encoder *e, uint32_t cp) {
    if (++e->n_characters > MAX_WORD_CHARACTERS) return;
    e->n += tsr_utf8_encode(cp, e->word + e->n);
}

static void add_plain(encoder *e, uint32_t cp) { /* after normalisation */
    if (is_space(cp)) {
        end_word(e);
    } else if (is_punctuation(cp)) {
        end_word(e);
        add_character(e, cp);
        end_word(e);
    } else {
        add_character(e, cp);
    }
}

static void add_lower(encoder *e, uint32_t cp) {
    if (!e->t->lowercase) {
        add_plain(e, cp);
        return;
    }
    if (cp == 0x130) { /* the only character whose lower case is two, whatever the language */
        add_plain(e, 'i');
        add_plain(e, 0x307);
        return;
    }
    add_plain(e, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
}

/* The canonical decomposition without its non-spacing marks. (Reordering marks is beside the point: they go.) */
static void add_stripped(encoder *e, uint32_t cp) {
    utf8proc_int32_t parts[32];
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, parts, 32, UTF8PROC_DECOMPOSE, &boundary);
    for (utf8proc_ssize_t i = 0; i < n && i < 32; i++)
        if (utf8proc_category(parts[i]) != UTF8PROC_CATEGORY_MN) add_lower(e, (uint32_t)parts[i]);
}

tsr_code tsr_wordpiece_encode(const tsr_tokenizer *t, tsr_fragment f, tsr_ids *out, tsr_error *err) {
    encoder e = {.t = t, .out = out, .word = WORD_MARK, .n = 3};
    for (size_t i = 0; i < f.n;) {
        uint32_t cp = 0;
        size_t len = tsr_utf8_decode(f.s + i, f.n - i, &cp);
        i += len ? len : 1;
        if (len == 0 || is_dropped(cp)) continue; /* bytes that are not UTF-8 would be U+FFFD, which is dropped */
        bool alone = is_cjk(cp);
        if (alone) end_word(&e);
        if (t->strip_accents)
            add_stripped(&e, cp);
        else
            add_lower(&e, cp);
        if (alone) end_word(&e);
    }
    end_word(&e);
    return out->oom ? tsr_fail(err, TSR_E_NOMEM, "out of memory for a text of %zu bytes", f.n) : TSR_OK;
}

tsr_code tsr_wordpiece_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    t->lowercase = true;
    tsr_code code = tsr_gguf_opt_bool(g, "tokenizer.ggml.normalizer.lowercase", &t->lowercase, err);
    t->strip_accents = t->lowercase;
    if (code == TSR_OK) code = tsr_gguf_opt_bool(g, "tokenizer.ggml.normalizer.strip_accents", &t->strip_accents, err);
    if (code != TSR_OK) return code;
    tsr_trie_key *keys = malloc((size_t)t->n_vocab * sizeof *keys);
    if (!keys) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a vocabulary of %d entries", t->n_vocab);
    size_t n_keys = 0;
    for (tsr_token id = 0; id < t->n_vocab; id++) {
        size_t n;
        const char *text = tsr_vocab_text(t, id, &n);
        if (n > 0 && t->kinds[id] == TSR_TOK_NORMAL) keys[n_keys++] = (tsr_trie_key){text, n, id};
    }
    code = tsr_trie_build(&t->pieces, keys, n_keys, err);
    free(keys);
    return code;
}
