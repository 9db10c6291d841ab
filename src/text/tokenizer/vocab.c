#include "text/tokenizer/vocab.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

/* Real vocabularies have up to 262144 entries and 3 MB. */
#define MAX_VOCAB       (1 << 24)
#define MAX_VOCAB_BYTES ((size_t)64 << 20)

void tsr_ids_push(tsr_ids *ids, tsr_token id) {
    if (ids->oom) return;
    if (ids->n == ids->cap) {
        size_t cap = ids->cap ? 2 * ids->cap : 64;
        tsr_token *data = realloc(ids->data, cap * sizeof *data);
        if (!data) {
            ids->oom = true;
            return;
        }
        ids->data = data;
        ids->cap = cap;
    }
    ids->data[ids->n++] = id;
}

uint64_t tsr_vocab_mix(uint64_t x) { /* the finaliser of MurmurHash3 */
    x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

tsr_token tsr_vocab_find(const tsr_tokenizer *t, const char *text, size_t n) {
    if (n == 0 || n > t->max_entry) return TSR_TOKEN_NONE;
    uint64_t h = XXH3_64bits_withSeed(text, n, t->hash_seed);
    uint32_t tag = (uint32_t)(h >> 32);
    for (uint32_t i = (uint32_t)h & t->slot_mask; t->slots[i].id != UINT32_MAX; i = (i + 1) & t->slot_mask) {
        if (t->slots[i].tag != tag) continue;
        size_t len;
        const char *entry = tsr_vocab_text(t, (tsr_token)t->slots[i].id, &len);
        if (len == n && memcmp(entry, text, n) == 0) return (tsr_token)t->slots[i].id;
    }
    return TSR_TOKEN_NONE;
}

/* Enters all texts, in order of id, so that the lowest id of equal texts is found. Empty entries stay out. */
static tsr_code build_hash(tsr_tokenizer *t, tsr_error *err) {
    uint32_t cap = 64;
    while (cap < 2 * (uint32_t)t->n_vocab) cap *= 2;
    t->slot_mask = cap - 1;
    t->slots = malloc(cap * sizeof *t->slots);
    if (!t->slots) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a vocabulary of %d entries", t->n_vocab);
    memset(t->slots, 0xff, cap * sizeof *t->slots);
    if (getrandom(&t->hash_seed, sizeof t->hash_seed, GRND_NONBLOCK) != (ssize_t)sizeof t->hash_seed)
        t->hash_seed = (uint64_t)(uintptr_t)t; /* no entropy yet: address randomisation will do */
    for (tsr_token id = 0; id < t->n_vocab; id++) {
        size_t n;
        const char *text = tsr_vocab_text(t, id, &n);
        if (n == 0 || tsr_vocab_find(t, text, n) != TSR_TOKEN_NONE) continue;
        uint64_t h = XXH3_64bits_withSeed(text, n, t->hash_seed);
        uint32_t i = (uint32_t)h & t->slot_mask;
        while (t->slots[i].id != UINT32_MAX) i = (i + 1) & t->slot_mask;
        t->slots[i] = (tsr_vocab_slot){(uint32_t)(h >> 32), (uint32_t)id};
    }
    return TSR_OK;
}

static tsr_code load_texts(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    const char *key = "tokenizer.ggml.tokens";
    const tsr_gguf_kv *kv;
    tsr_code code = tsr_gguf_opt_array(g, key, TSR_GGUF_STRING, 0, &kv, err);
    if (code != TSR_OK) return code;
    if (!kv || kv->n == 0)
        return tsr_fail(err, TSR_E_FORMAT, "%s is %s: the file has no vocabulary; use one converted with its tokenizer",
                        key, kv ? "empty" : "missing");
    if (kv->n > MAX_VOCAB)
        return tsr_fail(err, TSR_E_LIMIT, "%s has %llu entries, more than %d", key, (unsigned long long)kv->n,
                        MAX_VOCAB);
    t->n_vocab = (int)kv->n;
    t->offset = malloc((kv->n + 1) * sizeof *t->offset);
    if (!t->offset) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a vocabulary of %d entries", t->n_vocab);
    size_t total = 0;
    for (uint64_t i = 0; i < kv->n; i++) {
        size_t n = kv->strings[i].n;
        if (n > TSR_MAX_ENTRY)
            return tsr_fail(err, TSR_E_LIMIT, "%s: entry %llu has %zu bytes, more than %d", key, (unsigned long long)i,
                            n, TSR_MAX_ENTRY);
        if (n > t->max_entry) t->max_entry = n;
        t->offset[i] = total;
        total += n + 1;
    }
    if (total > MAX_VOCAB_BYTES)
        return tsr_fail(err, TSR_E_LIMIT, "%s has %zu bytes, more than %zu", key, total, MAX_VOCAB_BYTES);
    t->offset[kv->n] = total;
    t->texts = malloc(total);
    if (!t->texts) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a vocabulary of %zu bytes", total);
    for (uint64_t i = 0; i < kv->n; i++) {
        if (kv->strings[i].n) memcpy(t->texts + t->offset[i], kv->strings[i].s, kv->strings[i].n);
        t->texts[t->offset[i + 1] - 1] = '\0';
    }
    return build_hash(t, err);
}

static tsr_code load_kinds(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    const char *key = "tokenizer.ggml.token_type";
    t->kinds = malloc((size_t)t->n_vocab);
    t->flags = calloc((size_t)t->n_vocab, 1);
    if (!t->kinds || !t->flags)
        return tsr_fail(err, TSR_E_NOMEM, "out of memory for a vocabulary of %d entries", t->n_vocab);
    memset(t->kinds, TSR_TOK_NORMAL, (size_t)t->n_vocab);
    if (!tsr_gguf_find(g, key)) return TSR_OK;
    const tsr_gguf_kv *kv;
    tsr_code code = tsr_gguf_opt_array(g, key, TSR_GGUF_I32, (uint64_t)t->n_vocab, &kv, err);
    if (code != TSR_OK) return code;
    for (int i = 0; i < t->n_vocab; i++) {
        int64_t kind = tsr_gguf_int(kv, (uint64_t)i);
        if (kind == 0) kind = TSR_TOK_NORMAL; /* "undefined": written by some converters for plain entries */
        if (kind < TSR_TOK_NORMAL || kind > TSR_TOK_BYTE)
            return tsr_fail(err, TSR_E_FORMAT, "%s: entry %d is %lld, known are 1 to 6", key, i, (long long)kind);
        t->kinds[i] = (uint8_t)kind;
    }
    return TSR_OK;
}

static tsr_code load_scores(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    const char *key = "tokenizer.ggml.scores";
    const tsr_gguf_kv *kv;
    tsr_code code = tsr_gguf_opt_array(g, key, TSR_GGUF_F32, (uint64_t)t->n_vocab, &kv, err);
    if (code != TSR_OK) return code;
    if (!kv) return tsr_fail(err, TSR_E_FORMAT, "%s is missing: a %s tokenizer cannot work without", key, t->describe);
    t->scores = malloc((size_t)t->n_vocab * sizeof *t->scores);
    if (!t->scores) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a vocabulary of %d entries", t->n_vocab);
    for (int i = 0; i < t->n_vocab; i++) {
        t->scores[i] = (float)tsr_gguf_num(kv, (uint64_t)i);
        if (!isfinite(t->scores[i])) return tsr_fail(err, TSR_E_FORMAT, "%s: entry %d is not a finite number", key, i);
    }
    return TSR_OK;
}

tsr_code tsr_vocab_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    tsr_code code = load_texts(t, g, err);
    if (code == TSR_OK) code = load_kinds(t, g, err);
    bool scored = t->model == TSR_MODEL_SPM || t->model == TSR_MODEL_UNIGRAM;
    if (code == TSR_OK && scored) code = load_scores(t, g, err);
    return code;
}
