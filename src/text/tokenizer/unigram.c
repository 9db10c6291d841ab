/* SentencePiece unigram: of all ways to cut the normalised text into entries, the one with the highest sum of scores
 * (log probabilities); a character that is no entry costs 10 more than the worst one (Viterbi over bytes).
 * Source: the SentencePiece project (unigram_model.cc). Sums are double: text is not cut into sentences first. */
#include "core/utf8.h"
#include "text/tokenizer/vocab.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define UNKNOWN_PENALTY 10.0f

/* The best way to reach a position: the last token and where it begins. */
typedef struct step {
    double score;
    uint32_t begin;
    tsr_token id;
} step;

static void offer(step *at, double score, size_t begin, tsr_token id) {
    if (score > at->score) *at = (step){score, (uint32_t)begin, id};
}

/* Fills best[0..n]: best[i] is how to reach byte i. NONE as id stands for an unknown character. */
static void search(const tsr_tokenizer *t, const char *s, size_t n, step *best) {
    for (size_t i = 1; i <= n; i++) best[i].score = -HUGE_VAL;
    best[0] = (step){0, 0, TSR_TOKEN_NONE};
    uint32_t cp;
    for (size_t i = 0; i < n;) {
        size_t len = tsr_utf8_decode(s + i, n - i, &cp);
        if (len == 0) len = 1;
        bool whole_character = false;
        uint32_t node = 0;
        for (size_t end = i; end < n;) {
            node = tsr_trie_step(&t->pieces, node, (uint8_t)s[end++]);
            if (node == 0) break;
            tsr_token id = t->pieces.value[node];
            if (id < 0) continue;
            whole_character |= end - i == len;
            offer(&best[end], best[i].score + t->scores[id], i, id);
        }
        if (!whole_character) offer(&best[i + len], best[i].score + t->unknown_score, i, TSR_TOKEN_NONE);
        i += len;
    }
}

/* Appends the chosen tokens; ends: where each ends, the last first. */
static void emit(const tsr_tokenizer *t, const char *s, const step *best, const uint32_t *ends, size_t n_ends,
                 tsr_ids *out) {
    bool after_unknown = false;
    for (size_t k = n_ends; k-- > 0;) {
        step st = best[ends[k]];
        if (st.id != TSR_TOKEN_NONE) {
            tsr_ids_push(out, st.id);
        } else if (t->byte_fallback) {
            for (size_t i = st.begin; i < ends[k]; i++) tsr_ids_push(out, t->byte_ids[(uint8_t)s[i]]);
        } else if (t->special.unk != TSR_TOKEN_NONE && !after_unknown) {
            tsr_ids_push(out, t->special.unk);
        }
        after_unknown = st.id == TSR_TOKEN_NONE;
    }
}

tsr_code tsr_unigram_encode(const tsr_tokenizer *t, tsr_fragment f, tsr_ids *out, tsr_error *err) {
    tsr_buf text = {0};
    tsr_code code = tsr_normalize(&t->normalizer, f, &text, err);
    if (code == TSR_OK && text.len >= UINT32_MAX)
        code = tsr_fail(err, TSR_E_LIMIT, "a text of %zu bytes has %zu when normalised, more than fits 32 bits", f.n,
                        text.len);
    if (code == TSR_OK && text.len > 0) {
        step *best = malloc((text.len + 1) * sizeof *best);
        uint32_t *ends = malloc(text.len * sizeof *ends);
        if (best && ends) {
            search(t, text.data, text.len, best);
            size_t n_ends = 0;
            for (uint32_t at = (uint32_t)text.len; at > 0; at = best[at].begin) ends[n_ends++] = at;
            emit(t, text.data, best, ends, n_ends, out);
        }
        if (!best || !ends || out->oom) code = tsr_fail(err, TSR_E_NOMEM, "out of memory for a text of %zu bytes", f.n);
        free(best);
        free(ends);
    }
    tsr_buf_free(&text);
    return code;
}

tsr_code tsr_unigram_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    tsr_code code = tsr_spm_load(t, g, err); /* byte entries and normaliser are the same */
    if (code != TSR_OK) return code;
    tsr_trie_key *keys = malloc((size_t)t->n_vocab * sizeof *keys);
    if (!keys) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a vocabulary of %d entries", t->n_vocab);
    size_t n_keys = 0;
    float lowest = FLT_MAX;
    for (tsr_token id = 0; id < t->n_vocab; id++) {
        size_t n;
        const char *text = tsr_vocab_text(t, id, &n);
        if (t->kinds[id] == TSR_TOK_NORMAL && t->scores[id] < lowest) lowest = t->scores[id];
        if (n > 0 && t->kinds[id] == TSR_TOK_NORMAL) keys[n_keys++] = (tsr_trie_key){text, n, id};
    }
    t->unknown_score = (n_keys ? lowest : 0) - UNKNOWN_PENALTY;
    code = tsr_trie_build(&t->pieces, keys, n_keys, err);
    free(keys);
    return code;
}
