#include "text/tokenizer/vocab.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Ids with a meaning. A key that is missing leaves `fallback`, when the vocabulary has it. */
static tsr_code load_id(const tsr_tokenizer *t, const tsr_gguf *g, const char *key, tsr_token fallback, tsr_token *out,
                        tsr_error *err) {
    int64_t id = fallback < t->n_vocab ? fallback : TSR_TOKEN_NONE;
    tsr_code code = tsr_gguf_opt_int(g, key, INT64_MIN, INT64_MAX, &id, err);
    if (code != TSR_OK) return code;
    if (id == UINT32_MAX) id = TSR_TOKEN_NONE; /* -1 squeezed into a u32: converters write it for "none" */
    if (id < TSR_TOKEN_NONE || id >= t->n_vocab)
        return tsr_fail(err, TSR_E_FORMAT, "%s is %lld, but the vocabulary has entries 0 to %d", key, (long long)id,
                        t->n_vocab - 1);
    *out = (tsr_token)id;
    return TSR_OK;
}

static tsr_code load_ids(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    /* What files without the key mean, by model; as llama.cpp, whose converters left out what was usual. */
    static const struct {
        tsr_token bos, eos, unk, sep, pad, mask;
    } usual[] = {
        [TSR_MODEL_BPE] = {-1, -1, -1, -1, -1, -1},
        [TSR_MODEL_SPM] = {1, 2, 0, -1, -1, -1},
        [TSR_MODEL_UNIGRAM] = {-1, 1, 2, -1, 0, -1},
        [TSR_MODEL_WORDPIECE] = {101, -1, 100, 102, 0, 103},
    };
    tsr_special *s = &t->special;
    const struct {
        const char *key;
        tsr_token fallback;
        tsr_token *out;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", usual[t->model].bos, &s->bos},
        {"tokenizer.ggml.eos_token_id", usual[t->model].eos, &s->eos},
        {"tokenizer.ggml.eot_token_id", TSR_TOKEN_NONE, &s->eot},
        {"tokenizer.ggml.eom_token_id", TSR_TOKEN_NONE, &s->eom},
        {"tokenizer.ggml.unknown_token_id", usual[t->model].unk, &s->unk},
        {"tokenizer.ggml.seperator_token_id", usual[t->model].sep, &s->sep}, /* sic */
        {"tokenizer.ggml.padding_token_id", usual[t->model].pad, &s->pad},
        {"tokenizer.ggml.cls_token_id", TSR_TOKEN_NONE, &s->cls},
        {"tokenizer.ggml.mask_token_id", usual[t->model].mask, &s->mask},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        tsr_code code = load_id(t, g, ids[i].key, ids[i].fallback, ids[i].out, err);
        if (code != TSR_OK) return code;
    }
    return TSR_OK;
}

/* add_bos, add_eos: from the file, else what the model's kind does. Asking for a token that is not there is an error.
 */
static tsr_code load_adds(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    tsr_special *s = &t->special;
    if (t->model == TSR_MODEL_WORDPIECE) { /* [CLS] text [SEP]: the first and the last token by other names */
        if (s->cls == TSR_TOKEN_NONE) s->cls = s->bos;
        if (s->bos == TSR_TOKEN_NONE) s->bos = s->cls;
    }
    tsr_token last = t->model == TSR_MODEL_WORDPIECE ? s->sep : s->eos;
    bool bos = t->model == TSR_MODEL_SPM || t->model == TSR_MODEL_WORDPIECE || (t->bpe && tsr_bpe_adds_bos(t->bpe));
    bool eos = t->model == TSR_MODEL_UNIGRAM || t->model == TSR_MODEL_WORDPIECE;
    s->add_bos = bos && s->bos != TSR_TOKEN_NONE;
    s->add_eos = eos && last != TSR_TOKEN_NONE;
    tsr_code code = tsr_gguf_opt_bool(g, "tokenizer.ggml.add_bos_token", &s->add_bos, err);
    if (code == TSR_OK)
        code = tsr_gguf_opt_bool(
            g, t->model == TSR_MODEL_WORDPIECE ? "tokenizer.ggml.add_sep_token" : "tokenizer.ggml.add_eos_token",
            &s->add_eos, err);
    if (code != TSR_OK) return code;
    if (s->add_bos && s->bos == TSR_TOKEN_NONE)
        return tsr_fail(err, TSR_E_FORMAT,
                        "tokenizer.ggml.add_bos_token is true, but there is no tokenizer.ggml.bos_token_id");
    if (s->add_eos && last == TSR_TOKEN_NONE)
        return tsr_fail(err, TSR_E_FORMAT,
                        "a token is to be added at the end of the text, but there is no tokenizer.ggml.%s",
                        t->model == TSR_MODEL_WORDPIECE ? "seperator_token_id" : "eos_token_id");
    return TSR_OK;
}

/* Entries that end a generation by their spelling. Those with `any_kind` are never anything else, whatever type the
 * file gives them; the others only count as control tokens ("</s>" is struck-through text's end in Gemma). */
static const struct {
    const char *text;
    bool any_kind, eot;
} ends[] = {
    {"<|eot_id|>", true, true},
    {"<|im_end|>", true, true},
    {"<|end|>", true, true},
    {"<end_of_turn>", true, true},
    {"<|endoftext|>", true, true},
    {"<|end_of_text|>", true, true},
    {"<EOT>", true, true},
    {"_<EOT>", true, true},
    {"[EOT]", false, true},
    {"<｜end▁of▁sentence｜>", true, true},
    {"<end_of_utterance>", true, true},
    {"<|eom_id|>", true, false},
    {"<|return|>", true, false},
    {"<|call|>", true, false},
    {"<|calls|>", true, false},
    {"<|flush|>", true, false},
    {"<turn|>", false, false},
    {"<|tool_response>", false, false},
    {"[EOS]", false, false},
    {"</s>", false, false},
    {"<eos>", false, false},
    {"[e~[", false, false},
    {"<|fim_pad|>", false, false},
    {"<|repo_name|>", false, false},
    {"<|file_sep|>", false, false},
};

static bool has(const tsr_tokenizer *t, const char *text) {
    return tsr_vocab_find(t, text, strlen(text)) != TSR_TOKEN_NONE;
}

static void find_ends(tsr_tokenizer *t) {
    tsr_special *s = &t->special;
    bool has_calls = has(t, "<|call|>") || has(t, "<|calls|>");
    /* These families end a message with <|end|> and go on to the next; the turn ends with <|return|> or <|flush|>. */
    bool end_is_inner = has_calls && (has(t, "<|return|>") || has(t, "<|flush|>"));
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        tsr_token id = tsr_vocab_find(t, ends[i].text, strlen(ends[i].text));
        if (id == TSR_TOKEN_NONE || (end_is_inner && !strcmp(ends[i].text, "<|end|>"))) continue;
        if (t->kinds[id] != TSR_TOK_CONTROL) {
            if (!ends[i].any_kind) continue;
            t->kinds[id] = TSR_TOK_CONTROL; /* mistyped by the converter: it must neither be text nor come from text */
        }
        t->flags[id] |= TSR_TOKF_END;
        if (ends[i].eot && s->eot == TSR_TOKEN_NONE) s->eot = id;
        if (s->eom == TSR_TOKEN_NONE && !strcmp(ends[i].text, "<|eom_id|>")) s->eom = id;
    }
    const tsr_token by_id[] = {s->eos, s->eot, s->eom};
    for (int i = 0; i < 3; i++)
        if (by_id[i] != TSR_TOKEN_NONE) t->flags[by_id[i]] |= TSR_TOKF_END;
}

static bool str_contains(tsr_str s, const char *part) {
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= s.n; i++)
        if (strncasecmp(s.s + i, part, n) == 0) return true;
    return false;
}

/* Added tokens that eat the white space beside them. GGUF has no key for it; these families are known to. */
static tsr_code find_strips(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    tsr_str name = {0}, pre = {0};
    tsr_code code = tsr_gguf_opt_str(g, "general.name", &name, err);
    if (code == TSR_OK) code = tsr_gguf_opt_str(g, "tokenizer.ggml.pre", &pre, err);
    if (code != TSR_OK) return code;
    if (str_contains(name, "phi-3") || str_contains(name, "phi3")) {
        for (tsr_token id = 0; id < t->n_vocab; id++) {
            const char *text = t->texts + t->offset[id];
            bool plain = !strcmp(text, "<unk>") || !strcmp(text, "<s>") || !strcmp(text, "<|endoftext|>");
            if (!plain && (t->kinds[id] == TSR_TOK_CONTROL || t->kinds[id] == TSR_TOK_USER_DEFINED))
                t->flags[id] |= TSR_TOKF_RSTRIP;
        }
    }
    tsr_token mask = tsr_vocab_find(t, "<mask>", 6);
    bool lstrips = str_contains(pre, "jina-v2-") || str_contains(pre, "roberta-bpe");
    if (mask != TSR_TOKEN_NONE && lstrips) t->flags[mask] |= TSR_TOKF_LSTRIP;
    return TSR_OK;
}

/* The trie of entries that are cut out of the text before anything else looks at it. SentencePiece vocabularies may
 * spell the spaces of a user-defined entry as U+2581: such an entry is found under both spellings. */
static tsr_code build_added(tsr_tokenizer *t, tsr_error *err) {
    size_t n_keys = 0, n_bytes = 0;
    for (tsr_token id = 0; id < t->n_vocab; id++) {
        bool added =
            t->kinds[id] == TSR_TOK_CONTROL || t->kinds[id] == TSR_TOK_UNKNOWN || t->kinds[id] == TSR_TOK_USER_DEFINED;
        if (!added) continue;
        n_keys += 2;
        n_bytes += t->offset[id + 1] - t->offset[id];
    }
    tsr_trie_key *keys = malloc((n_keys + 1) * sizeof *keys);
    char *respelt = malloc(n_bytes + 1);
    if (!keys || !respelt) {
        free(keys);
        free(respelt);
        return tsr_fail(err, TSR_E_NOMEM, "out of memory for %zu added tokens", n_keys / 2);
    }
    char *next = respelt;
    n_keys = 0;
    for (tsr_token id = 0; id < t->n_vocab; id++) {
        size_t n;
        const char *text = tsr_vocab_text(t, id, &n);
        bool user = t->kinds[id] == TSR_TOK_USER_DEFINED;
        if (n == 0 || (!user && t->kinds[id] != TSR_TOK_CONTROL && t->kinds[id] != TSR_TOK_UNKNOWN)) continue;
        keys[n_keys++] = (tsr_trie_key){text, n, id};
        if (!user || (t->model != TSR_MODEL_SPM && t->model != TSR_MODEL_UNIGRAM)) continue;
        char *begin = next;
        for (size_t i = 0; i < n;) {
            bool space = n - i >= 3 && memcmp(text + i, "\xe2\x96\x81", 3) == 0;
            *next++ = space ? ' ' : text[i];
            i += space ? 3 : 1;
        }
        if ((size_t)(next - begin) == n)
            next = begin; /* no U+2581 in it */
        else
            keys[n_keys++] = (tsr_trie_key){begin, (size_t)(next - begin), id};
    }
    tsr_code code = tsr_trie_build(&t->added, keys, n_keys, err);
    free(keys);
    free(respelt);
    return code;
}

tsr_code tsr_special_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    tsr_code code = load_ids(t, g, err);
    if (code == TSR_OK) code = load_adds(t, g, err);
    if (code != TSR_OK) return code;
    find_ends(t);
    code = find_strips(t, g, err);
    return code == TSR_OK ? build_added(t, err) : code;
}
