/* Fuzzes tokenizers. The first byte chooses: text for one of four built-in vocabularies (every pre-tokenizer has its
 * turn), or a GGUF image whose tokenizer metadata is the input's, and text after it. Checked beside the sanitizers: ids
 * in range, the decoder's bytes are UTF-8, and byte-level BPE gives the text back. */
#include "core/buf.h"
#include "core/utf8.h"
#include "text/tokenizer/pretokenize.h"
#include "text/tokenizer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_MODELS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put32(tsr_buf *b, uint32_t v) { tsr_buf_append(b, &v, sizeof v); }
static void put64(tsr_buf *b, uint64_t v) { tsr_buf_append(b, &v, sizeof v); }

static void put_str(tsr_buf *b, const char *s, size_t n) {
    put64(b, n);
    tsr_buf_append(b, s, n);
}

static void put_key(tsr_buf *b, const char *key, uint32_t type) {
    put_str(b, key, strlen(key));
    put32(b, type);
}

static void put_text(tsr_buf *b, const char *key, const char *s) {
    put_key(b, key, TSR_GGUF_STRING);
    put_str(b, s, strlen(s));
}

static void put_array(tsr_buf *b, const char *key, uint32_t elem, uint64_t n) {
    put_key(b, key, TSR_GGUF_ARRAY);
    put32(b, elem);
    put64(b, n);
}

/* 256 byte entries in the model's spelling, words, and added entries: what a vocabulary may hold. */
static void put_vocab(tsr_buf *b, const char *model) {
    static const struct {
        const char *text;
        int kind;
    } more[] = {{"ab", 1},    {"aa", 1},     {"aaaa", 1},    {"abaa", 5},       {"▁", 1},   {"▁a", 1},  {"▁▁", 4},
                {"a", 1},     {"b", 1},      {"é", 1},       {"日", 1},         {"▁ab", 1}, {"<s>", 3}, {"</s>", 3},
                {"<unk>", 2}, {"<tool>", 4}, {"<tool>x", 4}, {"<|im_end|>", 3}, {"", 1},    {"ab", 1}};
    const uint32_t n = 256 + sizeof more / sizeof *more;
    bool bpe = !strcmp(model, "gpt2");
    uint32_t other = 0x100;
    put_array(b, "tokenizer.ggml.tokens", TSR_GGUF_STRING, n);
    for (uint32_t byte = 0; byte < 256; byte++) {
        bool itself = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
        char text[8];
        size_t len = bpe ? tsr_utf8_encode(itself ? byte : other++, text)
                         : (size_t)snprintf(text, sizeof text, "<0x%02X>", byte);
        put_str(b, text, len);
    }
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) put_str(b, more[i].text, strlen(more[i].text));
    put_array(b, "tokenizer.ggml.token_type", TSR_GGUF_I32, n);
    for (uint32_t i = 0; i < n; i++)
        put32(b, i >= 256 ? (uint32_t)more[i - 256].kind : bpe ? TSR_TOK_NORMAL : TSR_TOK_BYTE);
    put_array(b, "tokenizer.ggml.scores", TSR_GGUF_F32, n);
    for (uint32_t i = 0; i < n; i++) {
        float score = -(float)(i % 7) - 1;
        tsr_buf_append(b, &score, sizeof score);
    }
}

/* A built-in tokenizer and what it was made of; once made, they live as long as the process. */
typedef struct built {
    tsr_buf image;
    tsr_gguf *g;
    tsr_tokenizer *t;
} built;

static void build(built *out, const char *model, const char *pre) {
    tsr_buf b = {0};
    tsr_buf_puts(&b, "GGUF");
    put32(&b, 3);
    put64(&b, 0);
    put64(&b, 9);
    put_text(&b, "tokenizer.ggml.model", model);
    put_text(&b, "tokenizer.ggml.pre", pre);
    put_vocab(&b, model);
    static const char *const merges[] = {"a b", "a a", "aa aa", "ab aa"};
    put_array(&b, "tokenizer.ggml.merges", TSR_GGUF_STRING, 4);
    for (int i = 0; i < 4; i++) put_str(&b, merges[i], strlen(merges[i]));
    static const char *const ids[] = {"bos", "seperator", "unknown"};
    for (uint32_t i = 0; i < 3; i++) {
        char key[64];
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", ids[i]);
        put_key(&b, key, TSR_GGUF_U32);
        put32(&b, 268 + i);
    }
    tsr_error err = {0};
    out->image = b;
    out->g = tsr_gguf_parse(b.data, b.len, "built-in", &err);
    out->t = out->g ? tsr_tokenizer_open(out->g, &err) : NULL;
    if (!out->t) {
        fprintf(stderr, "built-in vocabulary: %s\n", err.message);
        abort();
    }
}

static void demand(bool ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void run(const tsr_tokenizer *t, const char *s, size_t n, unsigned flags, bool exact) {
    tsr_token *ids;
    size_t n_ids, n_text, n_piece;
    if (tsr_tokenizer_encode(t, s, n, flags & 3, &ids, &n_ids, NULL) != TSR_OK) return;
    tsr_decoder *d = tsr_decoder_open(t, TSR_RENDER_SPECIAL, NULL);
    for (size_t i = 0; i < n_ids; i++) {
        demand(ids[i] >= 0 && ids[i] < tsr_tokenizer_n_vocab(t), "an id out of range");
        const char *piece = tsr_decoder_push(d, ids[i], &n_piece);
        demand(tsr_utf8_valid_prefix(piece, n_piece) == n_piece, "a streamed piece is not UTF-8");
    }
    const char *rest = tsr_decoder_finish(d, &n_piece);
    demand(tsr_utf8_valid_prefix(rest, n_piece) == n_piece, "the last streamed piece is not UTF-8");
    tsr_decoder_close(d);
    char *text;
    demand(tsr_tokenizer_decode(t, ids, n_ids, TSR_RENDER_SPECIAL, &text, &n_text, NULL) == TSR_OK,
           "own ids cannot be decoded");
    if (exact && !(flags & TSR_ADD_SPECIAL)) demand(n_text == n && !memcmp(text, s, n), "the text did not come back");
    tsr_free(text);
    tsr_free(ids);
}

static void fuzz_metadata(const uint8_t *data, size_t size) {
    tsr_gguf *g = tsr_gguf_parse(data, size, "fuzz", NULL);
    if (!g) return;
    tsr_error err = {0};
    tsr_tokenizer *t = tsr_tokenizer_open(g, &err);
    if (t) {
        static const char sample[] = "Hello, World! 123 日本語 aaaa\xff\n <s>";
        run(t, sample, sizeof sample - 1, 3, false);
        run(t, (const char *)data + size - (size < 100 ? size : 100), size < 100 ? size : 100, 2, false);
    } else {
        demand(err.code != TSR_OK && err.message[0], "a refusal without a reason");
    }
    tsr_tokenizer_close(t);
    tsr_gguf_close(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static built models[N_MODELS], pre[256];
    static const char *const names[N_MODELS] = {"gpt2", "llama", "t5", "bert"};
    if (size < 2) return 0;
    uint8_t choice = data[0] % 8, detail = data[1];
    const char *text = (const char *)data + 2;
    if (choice >= 6) {
        fuzz_metadata(data + 2, size - 2);
    } else if (choice >= 3) { /* the pre-tokenizers */
        size_t n_names = 0;
        while (tsr_pretokenizer_name(n_names)) n_names++;
        size_t i = detail % n_names;
        if (!pre[i].t) build(&pre[i], "gpt2", tsr_pretokenizer_name(i));
        run(pre[i].t, text, size - 2, choice, true);
    } else {
        size_t i = detail % N_MODELS;
        if (!models[i].t) build(&models[i], names[i], "gpt-2");
        run(models[i].t, text, size - 2, choice, i == 0);
    }
    return 0;
}
