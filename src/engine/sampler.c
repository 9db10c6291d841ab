/* The public sampler: a chain bound to a model's vocabulary. */
#include "tessera.h"

#include "engine/sampling.h"

#include <stdlib.h>
#include <string.h>

struct tsr_sampler {
    tsr_chain *chain;
};

/* The usual set since DRY was proposed (p-e-w, text-generation-webui #5677). */
static const char *const default_breakers[] = {"\n", ":", "\"", "*"};

static bool contains(const char *text, size_t n, const char *part) {
    return memmem(text, n, part, strlen(part)) != NULL;
}

/* Marks in table[n_vocab] every token whose text contains one of the breakers, and in found[n_breakers] those that
 * are in some token. */
static tsr_code mark_breakers(const tsr_model *model, int n_vocab, const char *const *breakers, size_t n_breakers,
                              uint8_t *table, bool *found, tsr_error *err) {
    for (tsr_token t = 0; t < n_vocab; t++) {
        char *text;
        size_t n;
        tsr_code code = tsr_detokenize(model, &t, 1, 0, &text, &n, err);
        if (code != TSR_OK) return code;
        for (size_t i = 0; i < n_breakers; i++) {
            if (!contains(text, n, breakers[i])) continue;
            table[t] = 1;
            found[i] = true;
        }
        tsr_free(text);
    }
    return TSR_OK;
}

/* The table of breaker tokens, to be freed; NULL on failure. */
static uint8_t *breaker_table(const tsr_model *model, const tsr_sampler_params *p, int n_vocab, tsr_error *err) {
    const char *const *breakers = p->dry_breakers ? p->dry_breakers : default_breakers;
    size_t n = p->dry_breakers ? p->n_dry_breakers : sizeof default_breakers / sizeof *default_breakers;
    for (size_t i = 0; i < n; i++) {
        if (breakers[i] && breakers[i][0]) continue;
        tsr_fail(err, TSR_E_ARG, "DRY breaker %zu is empty; give text that ends a repetition, such as a newline", i);
        return NULL;
    }
    uint8_t *table = calloc((size_t)n_vocab, 1);
    bool *found = calloc(n + 1, sizeof *found);
    bool ok = table && found;
    if (!ok)
        tsr_fail(err, TSR_E_NOMEM, "out of memory for the DRY breakers of %d tokens", n_vocab);
    else
        ok = mark_breakers(model, n_vocab, breakers, n, table, found, err) == TSR_OK;
    for (size_t i = 0; ok && p->dry_breakers && i < n; i++) {
        if (found[i]) continue;
        char shown[64];
        tsr_fail(err, TSR_E_ARG,
                 "DRY breaker \"%s\" is in no token of this vocabulary and could never break a repetition; "
                 "use a shorter one",
                 tsr_printable(breakers[i], strlen(breakers[i]), shown, sizeof shown));
        ok = false;
    }
    free(found);
    if (ok) return table;
    free(table);
    return NULL;
}

tsr_sampler *tsr_sampler_open(const tsr_model *model, const tsr_sampler_params *params, tsr_error *err) {
    if (!model) {
        tsr_fail(err, TSR_E_ARG, "a sampler needs a model");
        return NULL;
    }
    tsr_sampler_params p = params ? *params : tsr_sampler_params_default();
    tsr_model_info info;
    tsr_model_get_info(model, &info);

    uint8_t *breakers = NULL;
    if (p.dry_multiplier > 0.0f && p.dry_last_n != 0 && info.n_vocab > 0) {
        breakers = breaker_table(model, &p, info.n_vocab, err);
        if (!breakers) return NULL;
    }
    tsr_sampler *s = calloc(1, sizeof *s);
    if (!s) tsr_fail(err, TSR_E_NOMEM, "out of memory for a sampler");
    if (s) s->chain = tsr_chain_open(&p, info.n_vocab, breakers, err);
    free(breakers);
    if (s && s->chain) return s;
    free(s);
    return NULL;
}

void tsr_sampler_close(tsr_sampler *s) {
    if (!s) return;
    tsr_chain_close(s->chain);
    free(s);
}

tsr_code tsr_sampler_sample(tsr_sampler *s, const float *logits, tsr_token *out, tsr_error *err) {
    return tsr_chain_sample(s->chain, logits, out, err);
}

tsr_code tsr_sampler_accept(tsr_sampler *s, tsr_token token, tsr_error *err) {
    return tsr_chain_accept(s->chain, token, err);
}

void tsr_sampler_reset(tsr_sampler *s) { tsr_chain_reset(s->chain); }

uint64_t tsr_sampler_seed(const tsr_sampler *s) { return tsr_chain_seed(s->chain); }
