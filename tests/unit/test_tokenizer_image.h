/* test_tokenizer_image.h: GGUF images with small vocabularies, good and hostile. */
#ifndef TEST_TOKENIZER_IMAGE_H
#define TEST_TOKENIZER_IMAGE_H

#include "test_gguf_image.h"

#include "core/utf8.h"
#include "text/tokenizer/pretokenize.h"
#include "text/tokenizer.h"

typedef struct fixture {
    image bytes;
    tsr_gguf *g;
    tsr_tokenizer *t;
} fixture;

/* Takes the image over. */
static inline fixture open_fixture(image bytes) {
    fixture f = {.bytes = bytes};
    tsr_error err = {0};
    f.g = tsr_gguf_parse(f.bytes.data, f.bytes.len, "test", &err);
    if (!f.g) fail_msg("%s", err.message);
    f.t = tsr_tokenizer_open(f.g, &err);
    if (!f.t) fail_msg("%s", err.message);
    return f;
}

static inline void close_fixture(fixture *f) {
    tsr_tokenizer_close(f->t);
    tsr_gguf_close(f->g);
    tsr_buf_free(&f->bytes);
}

/* A vocabulary in the making: entries with kind and score, put as three arrays. */
typedef struct vocab {
    struct {
        char text[32];
        int kind;
        float score;
    } entry[400];
    int n;
} vocab;

static inline void add(vocab *v, const char *text, int kind, float score) {
    snprintf(v->entry[v->n].text, sizeof v->entry[0].text, "%s", text);
    v->entry[v->n].kind = kind;
    v->entry[v->n++].score = score;
}

static inline void put_vocab(image *b, const vocab *v) {
    put_array(b, "tokenizer.ggml.tokens", TSR_GGUF_STRING, (uint64_t)v->n);
    for (int i = 0; i < v->n; i++) put_str(b, v->entry[i].text);
    put_array(b, "tokenizer.ggml.token_type", TSR_GGUF_I32, (uint64_t)v->n);
    for (int i = 0; i < v->n; i++) put32(b, (uint32_t)v->entry[i].kind);
    put_array(b, "tokenizer.ggml.scores", TSR_GGUF_F32, (uint64_t)v->n);
    for (int i = 0; i < v->n; i++) tsr_buf_append(b, &v->entry[i].score, sizeof(float));
}

/* The 256 bytes in GPT-2's spelling, a few merges, and added tokens. */
static inline image bpe_image(const char *pre, const char *merge) {
    static const char *const merges[] = {"a b", "a a", "ab c"};
    vocab v = {.n = 0};
    uint32_t other = 0x100;
    for (int byte = 0; byte < 256; byte++) {
        bool itself = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
        char text[8] = {0};
        tsr_utf8_encode(itself ? (uint32_t)byte : other++, text);
        add(&v, text, TSR_TOK_NORMAL, 0);
    }
    add(&v, "ab", TSR_TOK_NORMAL, 0);
    add(&v, "aa", TSR_TOK_NORMAL, 0);
    add(&v, "abc", TSR_TOK_NORMAL, 0);
    add(&v, "cab", TSR_TOK_NORMAL, 0);
    add(&v, "<|im_end|>", TSR_TOK_CONTROL, 0);
    add(&v, "<tool>", TSR_TOK_USER_DEFINED, 0);
    add(&v, "<tool>x", TSR_TOK_USER_DEFINED, 0);
    image b = {0};
    put_header(&b, 0, 6);
    put_str_kv(&b, "tokenizer.ggml.model", "gpt2");
    put_str_kv(&b, "tokenizer.ggml.pre", pre);
    put_vocab(&b, &v);
    put_array(&b, "tokenizer.ggml.merges", TSR_GGUF_STRING, merge ? 4 : 3);
    for (int i = 0; i < 3; i++) put_str(&b, merges[i]);
    if (merge) put_str(&b, merge);
    return b;
}

static inline image bpe_default_image(void) { return bpe_image("default", NULL); }

static inline void add_bytes(vocab *v) {
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        add(v, text, TSR_TOK_BYTE, 0);
    }
}

static inline image sentencepiece_image(const char *model, float sign) {
    vocab v = {.n = 0};
    add(&v, "<unk>", TSR_TOK_UNKNOWN, 0);
    add(&v, "<s>", TSR_TOK_CONTROL, 0);
    add(&v, "</s>", TSR_TOK_CONTROL, 0);
    add_bytes(&v);
    const char *const pieces[] = {"▁", "a", "b", "ab", "▁ab", "aa", "▁▁", "A"};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        add(&v, pieces[i], TSR_TOK_NORMAL, sign * (float)(i + 1));
    image b = {0};
    put_header(&b, 0, 4);
    put_str_kv(&b, "tokenizer.ggml.model", model);
    put_vocab(&b, &v);
    return b;
}

static inline image spm_image(void) { return sentencepiece_image("llama", -1); }
static inline image unigram_image(void) { return sentencepiece_image("t5", -2); }

static inline image wordpiece_image(void) {
    vocab v = {.n = 0};
    add(&v, "[UNK]", TSR_TOK_UNKNOWN, 0);
    add(&v, "[CLS]", TSR_TOK_CONTROL, 0);
    add(&v, "[SEP]", TSR_TOK_CONTROL, 0);
    const char *const pieces[] = {"▁a", "a", "b", "▁ab", "▁!", "▁1", "1"};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) add(&v, pieces[i], TSR_TOK_NORMAL, 0);
    image b = {0};
    put_header(&b, 0, 7);
    put_str_kv(&b, "tokenizer.ggml.model", "bert");
    put_vocab(&b, &v);
    put_u32_kv(&b, "tokenizer.ggml.unknown_token_id", 0);
    put_u32_kv(&b, "tokenizer.ggml.bos_token_id", 1);
    put_u32_kv(&b, "tokenizer.ggml.seperator_token_id", 2);
    return b;
}

typedef enum hostile {
    H_NO_MODEL,
    H_BAD_MODEL,
    H_NO_TOKENS,
    H_EMPTY_TOKENS,
    H_NUMBER_TOKENS,
    H_LONG_TOKEN,
    H_SHORT_TYPES,
    H_BAD_TYPE,
    H_NO_SCORES,
    H_SHORT_SCORES,
    H_NAN_SCORE,
    H_NO_MERGES,
    H_BAD_MERGE,
    H_UNKNOWN_MERGE,
    H_UNKNOWN_RESULT,
    H_BAD_PRE,
    H_ID_TOO_HIGH,
    H_ID_NEGATIVE,
    H_BOS_ABSENT,
    H_CHARSMAP_TYPE,
    H_CHARSMAP_SHORT,
    H_CHARSMAP_SIZE,
    H_CHARSMAP_OUTSIDE,
    H_CHARSMAP_VALUE,
    H_CHARSMAP_GROWTH,
    H_NONE_IDS,
    H_DUPLICATES
} hostile;

static inline void put_numbers(image *b, const char *key, uint32_t elem, uint64_t n, const uint32_t *values) {
    put_array(b, key, elem, n);
    for (uint64_t i = 0; i < n; i++) put32(b, values[i]);
}

static inline void put_charsmap(image *b, hostile h) {
    const char *key = "tokenizer.ggml.precompiled_charsmap";
    /* root: children at 'a' ^ 4; the unit there says it has a value, at unit 7 */
    uint32_t units[8] = {('a' ^ 4u) << 10, 0, 0, 0, 'a' | 1u << 8 | 3u << 10, 0, 0, 1u << 31 | 900};
    char replacement[200] = "x";
    if (h == H_CHARSMAP_OUTSIDE) units[4] = 'a' | 1u << 8 | 1000u << 10;
    if (h == H_CHARSMAP_GROWTH) {
        units[7] = 1u << 31;
        memset(replacement, 'x', sizeof replacement - 1);
    }
    put_array(b, key, TSR_GGUF_U8, h == H_CHARSMAP_SHORT ? 3 : sizeof units + 4 + sizeof replacement);
    if (h == H_CHARSMAP_SHORT) {
        tsr_buf_append(b, "abc", 3);
        return;
    }
    put32(b, h == H_CHARSMAP_SIZE ? UINT32_MAX : sizeof units);
    tsr_buf_append(b, units, sizeof units);
    tsr_buf_append(b, replacement, sizeof replacement);
}

/* Three entries, everything in order but for one thing. */
static inline image hostile_image(hostile h) {
    bool bpe = h < H_SHORT_TYPES || (h >= H_NO_MERGES && h < H_CHARSMAP_TYPE) || h == H_DUPLICATES || h == H_NONE_IDS;
    bool charsmap = h >= H_CHARSMAP_TYPE && h <= H_CHARSMAP_GROWTH;
    const char *const tokens[] = {h == H_DUPLICATES ? "" : "b", "a", h == H_DUPLICATES ? "a" : "ab"};
    char long_token[5001] = {0};
    memset(long_token, 'x', 5000);
    image b = {0};
    put_header(&b, 0, 7);
    put_str_kv(&b, h == H_NO_MODEL ? "x1" : "tokenizer.ggml.model", h == H_BAD_MODEL ? "rwkv" : bpe ? "gpt2" : "llama");
    if (h == H_NUMBER_TOKENS)
        put_numbers(&b, "tokenizer.ggml.tokens", TSR_GGUF_U32, 3, (uint32_t[]){1, 2, 3});
    else
        put_array(&b, h == H_NO_TOKENS ? "x2" : "tokenizer.ggml.tokens", TSR_GGUF_STRING, h == H_EMPTY_TOKENS ? 0 : 3);
    if (h == H_LONG_TOKEN) put_str(&b, long_token);
    for (int i = h == H_LONG_TOKEN; i < 3 && h != H_NUMBER_TOKENS && h != H_EMPTY_TOKENS; i++) put_str(&b, tokens[i]);
    put_numbers(&b, "tokenizer.ggml.token_type", TSR_GGUF_I32, h == H_SHORT_TYPES ? 2 : 3,
                (uint32_t[]){1, 1, h == H_BAD_TYPE ? 77 : 1});
    put_numbers(&b, h == H_NO_SCORES ? "x3" : "tokenizer.ggml.scores", TSR_GGUF_F32, h == H_SHORT_SCORES ? 2 : 3,
                (uint32_t[]){0, h == H_NAN_SCORE ? 0x7fc00000 : 0, 0});
    const char *merge = h == H_BAD_MERGE        ? "ab"
                        : h == H_UNKNOWN_MERGE  ? "a zzz"
                        : h == H_UNKNOWN_RESULT ? "b a"
                                                : "a b";
    put_array(&b, h == H_NO_MERGES ? "x4" : "tokenizer.ggml.merges", TSR_GGUF_STRING, h == H_DUPLICATES ? 0 : 1);
    if (h != H_DUPLICATES) put_str(&b, merge);
    put_str_kv(&b, "tokenizer.ggml.pre", h == H_BAD_PRE ? "no-such-pre" : "gpt-2");
    if (h == H_CHARSMAP_TYPE)
        put_numbers(&b, "tokenizer.ggml.precompiled_charsmap", TSR_GGUF_U32, 1, (uint32_t[]){4});
    else if (charsmap)
        put_charsmap(&b, h);
    else if (h == H_ID_TOO_HIGH)
        put_u32_kv(&b, "tokenizer.ggml.eos_token_id", 3);
    else if (h == H_NONE_IDS)
        put_u32_kv(&b, "tokenizer.ggml.padding_token_id", UINT32_MAX);
    else if (h == H_ID_NEGATIVE) {
        put_key(&b, "tokenizer.ggml.eos_token_id", TSR_GGUF_I32);
        put32(&b, (uint32_t)-7);
    } else {
        put_key(&b, h == H_BOS_ABSENT ? "tokenizer.ggml.add_bos_token" : "x5", TSR_GGUF_BOOL);
        tsr_buf_putc(&b, 1);
    }
    return b;
}

#endif
