#include "text/tokenizer.h"

#include "text/tokenizer/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct model_row {
    const char *name, *describe;
    tsr_code (*load)(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err);
    tsr_code (*encode)(const tsr_tokenizer *t, tsr_fragment f, tsr_ids *out, tsr_error *err);
} model_row;

static const model_row models[] = {
    [TSR_MODEL_BPE] = {"gpt2", "bpe", tsr_bpe_load, tsr_bpe_encode},
    [TSR_MODEL_SPM] = {"llama", "spm", tsr_spm_load, tsr_spm_encode},
    [TSR_MODEL_UNIGRAM] = {"t5", "unigram", tsr_unigram_load, tsr_unigram_encode},
    [TSR_MODEL_WORDPIECE] = {"bert", "wordpiece", tsr_wordpiece_load, tsr_wordpiece_encode},
};

static tsr_code find_model(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    const char *key = "tokenizer.ggml.model";
    tsr_str name = {0};
    tsr_code code = tsr_gguf_opt_str(g, key, &name, err);
    if (code != TSR_OK) return code;
    if (!name.s) return tsr_fail(err, TSR_E_FORMAT, "%s is missing: the file has no tokenizer", key);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (strlen(models[i].name) != name.n || memcmp(models[i].name, name.s, name.n) != 0) continue;
        t->model = (tsr_tokenizer_model)i;
        snprintf(t->describe, sizeof t->describe, "%s", models[i].describe);
        return TSR_OK;
    }
    char shown[64];
    return tsr_fail(err, TSR_E_UNSUPPORTED, "%s is \"%s\"; known are gpt2, llama, t5 and bert", key,
                    tsr_printable(name.s, name.n, shown, sizeof shown));
}

tsr_tokenizer *tsr_tokenizer_open(const tsr_gguf *g, tsr_error *err) {
    tsr_tokenizer *t = calloc(1, sizeof *t);
    if (!t) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory for a tokenizer");
        return NULL;
    }
    memset(t->byte_ids, 0xff, sizeof t->byte_ids); /* TSR_TOKEN_NONE */
    tsr_code code = find_model(t, g, err);
    if (code == TSR_OK) code = tsr_vocab_load(t, g, err);
    if (code == TSR_OK) code = models[t->model].load(t, g, err);
    if (code == TSR_OK) code = tsr_special_load(t, g, err);
    if (code == TSR_OK) return t;
    tsr_tokenizer_close(t);
    return NULL;
}

void tsr_tokenizer_close(tsr_tokenizer *t) {
    if (!t) return;
    tsr_bpe_free(t->bpe);
    tsr_trie_free(&t->added);
    tsr_trie_free(&t->pieces);
    free(t->texts);
    free(t->offset);
    free(t->scores);
    free(t->kinds);
    free(t->flags);
    free(t->slots);
    free(t);
}

int tsr_tokenizer_n_vocab(const tsr_tokenizer *t) { return t->n_vocab; }
const char *tsr_tokenizer_describe(const tsr_tokenizer *t) { return t->describe; }
const tsr_special *tsr_tokenizer_special(const tsr_tokenizer *t) { return &t->special; }

static bool in_range(const tsr_tokenizer *t, tsr_token id) { return id >= 0 && id < t->n_vocab; }

const char *tsr_tokenizer_text(const tsr_tokenizer *t, tsr_token id) {
    return in_range(t, id) ? t->texts + t->offset[id] : NULL;
}

tsr_token_kind tsr_tokenizer_kind(const tsr_tokenizer *t, tsr_token id) {
    return in_range(t, id) ? (tsr_token_kind)t->kinds[id] : TSR_TOK_UNKNOWN;
}

tsr_token tsr_tokenizer_find(const tsr_tokenizer *t, const char *text) { return tsr_vocab_find(t, text, strlen(text)); }

bool tsr_tokenizer_is_end(const tsr_tokenizer *t, tsr_token id) {
    return in_range(t, id) && (t->flags[id] & TSR_TOKF_END);
}

/* The longest added entry that s[0..n) starts with: its length, or 0. Control entries only when asked for. */
static size_t match_added(const tsr_tokenizer *t, const char *s, size_t n, bool control, tsr_token *id) {
    size_t longest = 0;
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        node = tsr_trie_step(&t->added, node, (uint8_t)s[i]);
        if (node == 0) break;
        tsr_token value = t->added.value[node];
        if (value < 0 || (!control && t->kinds[value] != TSR_TOK_USER_DEFINED)) continue;
        longest = i + 1;
        *id = value;
    }
    return longest;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static tsr_code encode_fragment(const tsr_tokenizer *t, tsr_fragment f, tsr_ids *out, tsr_error *err) {
    return f.n ? models[t->model].encode(t, f, out, err) : TSR_OK;
}

/* Cuts out added entries, leftmost and longest first, and encodes what lies between. */
static tsr_code encode_text(const tsr_tokenizer *t, const char *s, size_t n, bool control, tsr_ids *out,
                            tsr_error *err) {
    size_t done = 0;
    bool first = true; /* what comes next begins the text, or follows a control token */
    for (size_t i = 0; i < n;) {
        tsr_token id = TSR_TOKEN_NONE;
        size_t len = match_added(t, s + i, n - i, control, &id);
        if (len == 0) {
            i++;
            continue;
        }
        size_t end = i;
        while ((t->flags[id] & TSR_TOKF_LSTRIP) && end > done && is_space(s[end - 1])) end--;
        bool is_control = t->kinds[id] != TSR_TOK_USER_DEFINED;
        tsr_code code = encode_fragment(t, (tsr_fragment){s + done, end - done, first, is_control}, out, err);
        if (code != TSR_OK) return code;
        tsr_ids_push(out, id);
        i += len;
        while ((t->flags[id] & TSR_TOKF_RSTRIP) && i < n && is_space(s[i])) i++;
        done = i;
        first = is_control;
    }
    return encode_fragment(t, (tsr_fragment){s + done, n - done, first, true}, out, err);
}

tsr_code tsr_tokenizer_encode(const tsr_tokenizer *t, const char *text, size_t n_bytes, unsigned flags, tsr_token **out,
                              size_t *n_out, tsr_error *err) {
    *out = NULL;
    *n_out = 0;
    if (n_bytes > TSR_MAX_TEXT)
        return tsr_fail(err, TSR_E_LIMIT, "a text of %zu bytes is too long to tokenize at once; the limit is %zu",
                        n_bytes, TSR_MAX_TEXT);
    const tsr_special *s = &t->special;
    tsr_ids ids = {0};
    if ((flags & TSR_ADD_SPECIAL) && s->add_bos) tsr_ids_push(&ids, s->bos);
    tsr_code code = encode_text(t, text, n_bytes, flags & TSR_PARSE_SPECIAL, &ids, err);
    if ((flags & TSR_ADD_SPECIAL) && s->add_eos) tsr_ids_push(&ids, t->model == TSR_MODEL_WORDPIECE ? s->sep : s->eos);
    if (code == TSR_OK && !ids.data && !ids.oom)
        ids.oom = !(ids.data = malloc(sizeof *ids.data)); /* no tokens, yet not NULL */
    if (code == TSR_OK && ids.oom)
        code = tsr_fail(err, TSR_E_NOMEM, "out of memory for the tokens of %zu bytes", n_bytes);
    if (code != TSR_OK) {
        free(ids.data);
        return code;
    }
    *out = ids.data;
    *n_out = ids.n;
    return TSR_OK;
}
