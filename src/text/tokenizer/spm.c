/* SentencePiece BPE: the normalised text as characters; of all neighbours whose union is an entry, the one with the
 * highest score is joined first, until none is left. What is no entry is spelled in bytes, or unknown. Source: the
 * SentencePiece project (bpe_model.cc); llama.cpp's "llama" vocabularies. */
#include "core/utf8.h"
#include "text/tokenizer/heap.h"
#include "text/tokenizer/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

typedef struct symbol {
    uint32_t begin, n, prev, next;
} symbol; /* n = 0: joined to its left neighbour */

typedef struct encoder {
    const tsr_tokenizer *t;
    const char *text;
    symbol *symbols; /* [n_symbols] */
    uint32_t n_symbols;
    tsr_heap heap;   /* key: urgency, left symbol; value: bytes of both, which tells whether they are still the same */
    uint32_t *split; /* [n_vocab] of an unused entry: bytes of its left half as first joined, 0 = never; or NULL */
    tsr_ids *out;
    bool after_unknown;
} encoder;

/* Orders candidates: the bits of a float, folded so that a higher score is a lower number. */
static uint32_t urgency(float score) {
    uint32_t bits;
    score += 0.0f; /* -0 becomes 0: they are equal */
    memcpy(&bits, &score, sizeof bits);
    return bits >> 31 ? bits : ~(bits | 1u << 31);
}

/* The entry that text may become: control, unknown and byte entries never come from text. */
static tsr_token find_piece(const tsr_tokenizer *t, const char *s, size_t n) {
    tsr_token id = tsr_vocab_find(t, s, n);
    if (id == TSR_TOKEN_NONE) return id;
    bool text =
        t->kinds[id] == TSR_TOK_NORMAL || t->kinds[id] == TSR_TOK_USER_DEFINED || t->kinds[id] == TSR_TOK_UNUSED;
    return text ? id : TSR_TOKEN_NONE;
}

static bool consider(encoder *e, uint32_t left) {
    uint32_t right = left == NONE ? NONE : e->symbols[left].next;
    if (right == NONE) return true;
    uint32_t n = e->symbols[left].n + e->symbols[right].n;
    tsr_token id = find_piece(e->t, e->text + e->symbols[left].begin, n);
    if (id == TSR_TOKEN_NONE) return true;
    if (e->t->kinds[id] == TSR_TOK_UNUSED) { /* a step on the way to longer entries, taken apart again if it remains */
        if (!e->split) e->split = calloc((size_t)e->t->n_vocab, sizeof *e->split);
        if (!e->split) return false;
        e->split[id] = e->symbols[left].n;
    }
    return tsr_heap_push(&e->heap, (tsr_heap_item){(uint64_t)urgency(e->t->scores[id]) << 32 | left, n});
}

static bool join_all(encoder *e) {
    for (uint32_t i = 0; i + 1 < e->n_symbols; i++)
        if (!consider(e, i)) return false;
    while (e->heap.n > 0) {
        tsr_heap_item item = tsr_heap_pop(&e->heap);
        uint32_t at = (uint32_t)item.key;
        symbol *left = &e->symbols[at];
        if (left->n == 0 || left->next == NONE) continue;
        symbol *right = &e->symbols[left->next];
        if (left->n + right->n != item.value) continue; /* joined otherwise meanwhile */
        left->n = item.value;
        right->n = 0;
        left->next = right->next;
        if (left->next != NONE) e->symbols[left->next].prev = at;
        if (!consider(e, left->prev) || !consider(e, at)) return false;
    }
    return true;
}

/* Appends what s[0..n) is: an entry, the two halves of an unused one, bytes, or unknown (once for a run of them). */
static void emit(encoder *e, const char *s, size_t n) {
    const tsr_tokenizer *t = e->t;
    tsr_token id = find_piece(t, s, n);
    if (id != TSR_TOKEN_NONE && t->kinds[id] == TSR_TOK_UNUSED && e->split && e->split[id]) {
        emit(e, s, e->split[id]); /* halves are shorter: at most TSR_MAX_ENTRY deep */
        emit(e, s + e->split[id], n - e->split[id]);
        return;
    }
    if (id != TSR_TOKEN_NONE) {
        tsr_ids_push(e->out, id);
    } else if (t->byte_fallback) {
        for (size_t i = 0; i < n; i++) tsr_ids_push(e->out, t->byte_ids[(uint8_t)s[i]]);
    } else if (t->special.unk != TSR_TOKEN_NONE && !e->after_unknown) {
        tsr_ids_push(e->out, t->special.unk);
    }
    e->after_unknown = id == TSR_TOKEN_NONE;
}

/* One symbol a character; a byte that is not UTF-8 is one by itself. */
static bool split_characters(encoder *e, size_t n) {
    uint32_t cp;
    size_t count = 0;
    for (size_t i = 0; i < n; count++) {
        size_t len = tsr_utf8_decode(e->text + i, n - i, &cp);
        i += len ? len : 1;
    }
    e->symbols = malloc((count ? count : 1) * sizeof *e->symbols);
    if (!e->symbols) return false;
    e->n_symbols = (uint32_t)count;
    size_t i = 0;
    for (uint32_t k = 0; k < e->n_symbols; k++) {
        size_t len = tsr_utf8_decode(e->text + i, n - i, &cp);
        if (len == 0) len = 1;
        e->symbols[k] = (symbol){(uint32_t)i, (uint32_t)len, k - 1, k + 1 < e->n_symbols ? k + 1 : NONE};
        i += len;
    }
    return true;
}

tsr_code tsr_spm_encode(const tsr_tokenizer *t, tsr_fragment f, tsr_ids *out, tsr_error *err) {
    tsr_buf text = {0};
    encoder e = {.t = t, .out = out};
    tsr_code code = tsr_normalize(&t->normalizer, f, &text, err);
    if (code == TSR_OK && text.len > NONE / 2)
        code = tsr_fail(err, TSR_E_LIMIT, "a text of %zu bytes has %zu when normalised, more than %u", f.n, text.len,
                        NONE / 2);
    if (code == TSR_OK && text.len > 0) {
        e.text = text.data;
        bool ok = split_characters(&e, text.len) && join_all(&e);
        for (uint32_t i = 0; ok && i < e.n_symbols; i++)
            if (e.symbols[i].n) emit(&e, e.text + e.symbols[i].begin, e.symbols[i].n);
        if (!ok || out->oom) code = tsr_fail(err, TSR_E_NOMEM, "out of memory for a text of %zu bytes", f.n);
    }
    free(e.symbols);
    free(e.heap.items);
    free(e.split);
    tsr_buf_free(&text);
    return code;
}

/* Byte entries are spelled "<0x0A>"; all 256 make byte fallback. */
static void find_bytes(tsr_tokenizer *t, bool typed) {
    t->byte_fallback = true;
    for (int byte = 0; byte < 256; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
        tsr_token id = tsr_vocab_find(t, name, 6);
        if (id != TSR_TOKEN_NONE && !typed) t->kinds[id] = TSR_TOK_BYTE;
        if (id != TSR_TOKEN_NONE && t->kinds[id] != TSR_TOK_BYTE) id = TSR_TOKEN_NONE;
        t->byte_ids[byte] = id;
        if (id == TSR_TOKEN_NONE) t->byte_fallback = false;
    }
}

tsr_code tsr_spm_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    find_bytes(t, tsr_gguf_find(g, "tokenizer.ggml.token_type") != NULL);
    return tsr_normalizer_load(t, g, err);
}
