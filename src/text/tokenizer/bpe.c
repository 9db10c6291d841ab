/* Byte-level BPE (GPT-2): every byte is a character of the vocabulary, words are cut by the pre-tokenizer, and in each
 * word the neighbours whose merge ranks first are joined until none is left. Works on ids: a merge is (left id, right
 * id) -> id. */
#include "core/utf8.h"
#include "text/tokenizer/heap.h"
#include "text/tokenizer/pretokenize.h"
#include "text/tokenizer/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct merge {
    int32_t left, right, rank, id;
} merge; /* rank -1: empty slot */

struct tsr_bpe {
    tsr_pretokenizer *pre;
    merge *merges; /* [merge_mask + 1] */
    uint32_t merge_mask;
    char spelling[256][4]; /* each byte's character in the vocabulary, NUL-terminated */
};

bool tsr_bpe_adds_bos(const tsr_bpe *b) { return tsr_pretokenizer_adds_bos(b->pre); }

/* GPT-2's byte alphabet: printable Latin-1 stands for itself, the other 68 bytes are U+0100 onwards. */
static bool byte_is_itself(int byte) {
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

static void spell_bytes(tsr_bpe *b) {
    uint32_t other = 0x100;
    for (int byte = 0; byte < 256; byte++) {
        size_t n = tsr_utf8_encode(byte_is_itself(byte) ? (uint32_t)byte : other++, b->spelling[byte]);
        b->spelling[byte][n] = '\0';
    }
}

/* The byte that character cp stands for, or -1. */
static int byte_of(uint32_t cp) {
    if (cp < 0x100) return byte_is_itself((int)cp) ? (int)cp : -1;
    if (cp < 0x100 + 33) return (int)(cp - 0x100);             /* 0x00 - 0x20 */
    if (cp < 0x100 + 67) return (int)(cp - 0x100 - 33 + 0x7f); /* 0x7f - 0xa0 */
    return cp == 0x100 + 67 ? 0xad : -1;
}

void tsr_bpe_spell(const char *text, size_t n, tsr_buf *b) {
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        size_t len = tsr_utf8_decode(text + i, n - i, &cp);
        int byte = len ? byte_of(cp) : -1;
        if (byte >= 0)
            tsr_buf_putc(b, (char)byte);
        else
            tsr_buf_append(b, text + i, len ? len : 1); /* not of the alphabet: an added entry in plain spelling */
        i += len ? len : 1;
    }
}

static uint32_t merge_slot(const tsr_tokenizer *t, int32_t left, int32_t right) {
    return (uint32_t)tsr_vocab_mix(((uint64_t)(uint32_t)left << 32 | (uint32_t)right) ^ t->hash_seed) &
           t->bpe->merge_mask;
}

static const merge *find_merge(const tsr_tokenizer *t, int32_t left, int32_t right) {
    const tsr_bpe *b = t->bpe;
    for (uint32_t i = merge_slot(t, left, right); b->merges[i].rank >= 0; i = (i + 1) & b->merge_mask)
        if (b->merges[i].left == left && b->merges[i].right == right) return &b->merges[i];
    return NULL;
}

static void add_merge(const tsr_tokenizer *t, merge m) {
    if (find_merge(t, m.left, m.right)) return; /* given twice: the first counts */
    uint32_t i = merge_slot(t, m.left, m.right);
    while (t->bpe->merges[i].rank >= 0) i = (i + 1) & t->bpe->merge_mask;
    t->bpe->merges[i] = m;
}

static tsr_code fail_merge(uint64_t i, tsr_str line, const char *what, tsr_error *err) {
    char shown[128];
    return tsr_fail(err, TSR_E_FORMAT, "tokenizer.ggml.merges: entry %llu \"%s\" %s", (unsigned long long)i,
                    tsr_printable(line.s, line.n, shown, sizeof shown), what);
}

/* "left right": both halves and their union must be vocabulary entries. */
static tsr_code parse_merge(const tsr_tokenizer *t, uint64_t i, tsr_str line, tsr_error *err) {
    const char *space = line.n > 1 ? memchr(line.s + 1, ' ', line.n - 1) : NULL;
    if (!space || space + 1 == line.s + line.n)
        return fail_merge(i, line, "is not two entries with a space between", err);
    size_t n_left = (size_t)(space - line.s), n_right = line.n - n_left - 1;
    char joined[2 * TSR_MAX_ENTRY];
    if (n_left + n_right > sizeof joined) return fail_merge(i, line, "is too long", err);
    memcpy(joined, line.s, n_left);
    memcpy(joined + n_left, space + 1, n_right);
    merge m = {tsr_vocab_find(t, line.s, n_left), tsr_vocab_find(t, space + 1, n_right), (int32_t)i,
               tsr_vocab_find(t, joined, n_left + n_right)};
    if (m.left == TSR_TOKEN_NONE || m.right == TSR_TOKEN_NONE || m.id == TSR_TOKEN_NONE)
        return fail_merge(i, line,
                          m.id == TSR_TOKEN_NONE ? "makes an entry that the vocabulary lacks"
                                                 : "names an entry that the vocabulary lacks",
                          err);
    add_merge(t, m);
    return TSR_OK;
}

static tsr_code load_merges(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    const char *key = "tokenizer.ggml.merges";
    const tsr_gguf_kv *kv;
    tsr_code code = tsr_gguf_opt_array(g, key, TSR_GGUF_STRING, 0, &kv, err);
    if (code != TSR_OK) return code;
    if (!kv) return tsr_fail(err, TSR_E_FORMAT, "%s is missing: byte-level BPE cannot work without", key);
    if (kv->n > 1 << 26)
        return tsr_fail(err, TSR_E_LIMIT, "%s has %llu entries, more than %d", key, (unsigned long long)kv->n, 1 << 26);
    uint32_t cap = 64;
    while (cap < 2 * kv->n) cap *= 2;
    t->bpe->merges = malloc(cap * sizeof(merge));
    if (!t->bpe->merges) return tsr_fail(err, TSR_E_NOMEM, "out of memory for %llu merges", (unsigned long long)kv->n);
    memset(t->bpe->merges, 0xff, cap * sizeof(merge));
    t->bpe->merge_mask = cap - 1;
    for (uint64_t i = 0; i < kv->n && code == TSR_OK; i++) code = parse_merge(t, i, kv->strings[i], err);
    return code;
}

tsr_code tsr_bpe_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    t->bpe = calloc(1, sizeof *t->bpe);
    if (!t->bpe) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a tokenizer");
    spell_bytes(t->bpe);
    for (int byte = 0; byte < 256; byte++)
        t->byte_ids[byte] = tsr_vocab_find(t, t->bpe->spelling[byte], strlen(t->bpe->spelling[byte]));
    tsr_str pre = {"default", 7};
    tsr_code code = tsr_gguf_opt_str(g, "tokenizer.ggml.pre", &pre, err);
    if (code != TSR_OK) return code;
    t->bpe->pre = tsr_pretokenizer_open(pre.s, pre.n, err);
    if (!t->bpe->pre) return err ? err->code : TSR_E_UNSUPPORTED;
    snprintf(t->describe, sizeof t->describe, "bpe (%.*s)", (int)pre.n, pre.s);
    return load_merges(t, g, err);
}

void tsr_bpe_free(tsr_bpe *b) {
    if (!b) return;
    tsr_pretokenizer_close(b->pre);
    free(b->merges);
    free(b);
}

/* A word in the making: a list of tokens linked by position. prev, next: UINT32_MAX at the ends. */
typedef struct symbol {
    int32_t id;
    uint32_t prev, next;
} symbol;

typedef struct encoder {
    const tsr_tokenizer *t;
    tsr_ids *out;
    symbol *symbols;
    size_t cap_symbols;
    tsr_heap heap; /* key: rank, position of the left symbol; value: index of the merge */
    tsr_buf spelt;
} encoder;

/* Queues the merge of symbol `at` with the one behind it, if there is one. */
static bool consider(encoder *e, uint32_t at) {
    uint32_t next = at == UINT32_MAX ? UINT32_MAX : e->symbols[at].next;
    if (next == UINT32_MAX) return true;
    const merge *m = find_merge(e->t, e->symbols[at].id, e->symbols[next].id);
    if (!m) return true;
    return tsr_heap_push(&e->heap, (tsr_heap_item){(uint64_t)m->rank << 32 | at, (uint32_t)(m - e->t->bpe->merges)});
}

static bool merge_all(encoder *e, uint32_t n) {
    for (uint32_t i = 0; i + 1 < n; i++)
        if (!consider(e, i)) return false;
    while (e->heap.n > 0) {
        tsr_heap_item item = tsr_heap_pop(&e->heap);
        const merge *m = &e->t->bpe->merges[item.value];
        uint32_t at = (uint32_t)item.key;
        symbol *left = &e->symbols[at];
        if (left->id != m->left || left->next == UINT32_MAX) continue; /* merged meanwhile */
        symbol *right = &e->symbols[left->next];
        if (right->id != m->right) continue;
        left->id = m->id;
        right->id = TSR_TOKEN_NONE;
        left->next = right->next;
        if (left->next != UINT32_MAX) e->symbols[left->next].prev = at;
        if (!consider(e, left->prev) || !consider(e, at)) return false;
    }
    return true;
}

static bool reserve_symbols(encoder *e, size_t n) {
    if (n <= e->cap_symbols) return true;
    size_t cap = n < 64 ? 64 : n + n / 2;
    symbol *symbols = realloc(e->symbols, cap * sizeof *symbols);
    if (!symbols) return false;
    e->symbols = symbols;
    e->cap_symbols = cap;
    return true;
}

/* The token that is the whole word, or NONE. */
static tsr_token whole_word(encoder *e, const char *s, size_t n) {
    if (n > e->t->max_entry) return TSR_TOKEN_NONE;
    tsr_buf_clear(&e->spelt);
    for (size_t i = 0; i < n; i++) tsr_buf_puts(&e->spelt, e->t->bpe->spelling[(uint8_t)s[i]]);
    tsr_token id = e->spelt.oom ? TSR_TOKEN_NONE : tsr_vocab_find(e->t, e->spelt.data, e->spelt.len);
    bool text = id != TSR_TOKEN_NONE && e->t->kinds[id] != TSR_TOK_CONTROL && e->t->kinds[id] != TSR_TOK_UNKNOWN;
    return text ? id : TSR_TOKEN_NONE;
}

static tsr_code encode_word(void *ctx, const char *s, size_t n, tsr_error *err) {
    encoder *e = ctx;
    if (tsr_pretokenizer_ignores_merges(e->t->bpe->pre)) {
        tsr_token id = whole_word(e, s, n);
        if (id != TSR_TOKEN_NONE) {
            tsr_ids_push(e->out, id);
            return TSR_OK;
        }
    }
    uint32_t n_symbols = 0;
    bool ok = reserve_symbols(e, n);
    for (size_t i = 0; ok && i < n; i++) {
        tsr_token id = e->t->byte_ids[(uint8_t)s[i]];
        if (id ==
            TSR_TOKEN_NONE) { /* the model was never taught this byte: its unknown token, if that is one, or nothing */
            tsr_token unk = e->t->special.unk;
            if (unk == TSR_TOKEN_NONE || e->t->kinds[unk] != TSR_TOK_UNKNOWN) continue;
            id = unk;
        }
        e->symbols[n_symbols] = (symbol){id, n_symbols - 1, n_symbols + 1};
        n_symbols++;
    }
    if (n_symbols > 0) e->symbols[n_symbols - 1].next = UINT32_MAX;
    ok = ok && merge_all(e, n_symbols);
    for (uint32_t i = 0; ok && i < n_symbols; i++)
        if (e->symbols[i].id != TSR_TOKEN_NONE) tsr_ids_push(e->out, e->symbols[i].id);
    return ok && !e->out->oom ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for a word of %zu bytes", n);
}

tsr_code tsr_bpe_encode(const tsr_tokenizer *t, tsr_fragment f, tsr_ids *out, tsr_error *err) {
    encoder e = {.t = t, .out = out};
    tsr_code code = tsr_pretokenize(t->bpe->pre, f.s, f.n, encode_word, &e, err);
    free(e.symbols);
    free(e.heap.items);
    tsr_buf_free(&e.spelt);
    return code;
}
