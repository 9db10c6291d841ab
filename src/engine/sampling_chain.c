/* The chain: one set of parameters, the recent text, and the methods applied in order to a model's logits. */
#include "engine/sampling.h"
#include "engine/sampling_params.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct tsr_chain {
    tsr_sampler_params params; /* logit_bias points to `bias`; breakers are not used from here */
    tsr_logit_bias *bias;
    size_t n_vocab;
    uint8_t *is_breaker; /* [n_vocab] or NULL */
    uint64_t seed;
    tsr_rng rng;
    float mu; /* Mirostat's bound on surprise, in bits */

    /* The last accepted tokens. At most `keep` are ever looked at (0: none); the array is filled to twice that before
     * the last `keep` move to its front, so the methods see a plain array and a move costs little per token. */
    tsr_token *history; /* [cap] */
    uint32_t *match;    /* [cap], scratch of DRY */
    size_t n_history, cap, keep;

    float *logits;       /* [n_vocab] */
    uint32_t *count;     /* [n_vocab], zero between calls */
    tsr_candidate *data; /* [n_vocab] */
};

static uint64_t clock_seed(void) {
    struct timespec t;
    tsr_rng r;
    clock_gettime(CLOCK_REALTIME, &t);
    tsr_rng_seed(&r, (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec);
    return tsr_rng_next(&r) >> 32 | 1; /* short enough to type again, never 0 */
}

/* How many tokens of history the parameters call for. */
static size_t history_needed(const tsr_sampler_params *p) {
    bool penalties = p->repeat_penalty != 1.0f || p->presence_penalty != 0.0f || p->frequency_penalty != 0.0f;
    size_t a = penalties ? (p->penalty_last_n < 0 ? SIZE_MAX : (size_t)p->penalty_last_n) : 0;
    size_t b = p->dry_multiplier > 0.0f ? (p->dry_last_n < 0 ? SIZE_MAX : (size_t)p->dry_last_n) : 0;
    return a > b ? a : b;
}

tsr_chain *tsr_chain_open(const tsr_sampler_params *params, int n_vocab, const uint8_t *is_breaker, tsr_error *err) {
    if (n_vocab <= 0) {
        tsr_fail(err, TSR_E_ARG, "cannot sample from a vocabulary of %d tokens", n_vocab);
        return NULL;
    }
    tsr_sampler_params p = params ? *params : tsr_sampler_params_default();
    if (tsr_sampler_params_check(&p, n_vocab, err) != TSR_OK) return NULL;

    tsr_chain *c = calloc(1, sizeof *c);
    if (!c) goto no_memory;
    c->params = p;
    c->n_vocab = (size_t)n_vocab;
    c->keep = history_needed(&p);
    c->seed = p.seed ? p.seed : clock_seed();
    c->logits = malloc(c->n_vocab * sizeof *c->logits);
    c->count = calloc(c->n_vocab, sizeof *c->count);
    c->data = malloc(c->n_vocab * sizeof *c->data);
    c->bias = malloc((p.n_logit_bias + 1) * sizeof *c->bias);
    if (!c->logits || !c->count || !c->data || !c->bias) goto no_memory;
    if (p.n_logit_bias > 0) memcpy(c->bias, p.logit_bias, p.n_logit_bias * sizeof *c->bias);
    c->params.logit_bias = c->bias;
    c->params.dry_breakers = NULL;
    if (is_breaker) {
        c->is_breaker = malloc(c->n_vocab);
        if (!c->is_breaker) goto no_memory;
        memcpy(c->is_breaker, is_breaker, c->n_vocab);
    }
    tsr_chain_reset(c);
    return c;

no_memory:
    tsr_fail(err, TSR_E_NOMEM, "out of memory for a sampler over %d tokens", n_vocab);
    tsr_chain_close(c);
    return NULL;
}

void tsr_chain_close(tsr_chain *c) {
    if (!c) return;
    free(c->bias);
    free(c->is_breaker);
    free(c->history);
    free(c->match);
    free(c->logits);
    free(c->count);
    free(c->data);
    free(c);
}

void tsr_chain_reset(tsr_chain *c) {
    c->n_history = 0;
    c->mu = 2.0f * c->params.mirostat_tau;
    tsr_rng_seed(&c->rng, c->seed);
}

uint64_t tsr_chain_seed(const tsr_chain *c) { return c->seed; }

static tsr_code grow_history(tsr_chain *c, tsr_error *err) {
    size_t cap = c->cap ? 2 * c->cap : 128;
    tsr_token *history = realloc(c->history, cap * sizeof *history);
    if (history) c->history = history;
    uint32_t *match = realloc(c->match, cap * sizeof *match);
    if (match) c->match = match;
    if (!history || !match)
        return tsr_fail(err, TSR_E_NOMEM,
                        "out of memory for a sampling history of %zu tokens; lower penalty_last_n or "
                        "dry_last_n",
                        cap);
    c->cap = cap;
    return TSR_OK;
}

tsr_code tsr_chain_accept(tsr_chain *c, tsr_token token, tsr_error *err) {
    if (token < 0 || (size_t)token >= c->n_vocab)
        return tsr_fail(err, TSR_E_ARG, "token %d is not in the vocabulary (0 to %zu)", token, c->n_vocab - 1);
    if (c->keep == 0) return TSR_OK;
    if (c->n_history == c->cap) {
        if (c->cap / 2 >= c->keep) {
            memmove(c->history, c->history + c->n_history - c->keep, c->keep * sizeof *c->history);
            c->n_history = c->keep;
        } else if (grow_history(c, err) != TSR_OK) {
            return TSR_E_NOMEM;
        }
    }
    c->history[c->n_history++] = token;
    return TSR_OK;
}

/* The last tokens that a method with window last_n (-1: all) looks at. */
static const tsr_token *window(const tsr_chain *c, int last_n, size_t *n) {
    *n = last_n < 0 || (size_t)last_n > c->n_history ? c->n_history : (size_t)last_n;
    return c->n_history ? c->history + c->n_history - *n : NULL;
}

/* The logits with bias and penalties: those given, or an adjusted copy of them. */
static const float *adjust_logits(tsr_chain *c, const float *logits) {
    const tsr_sampler_params *p = &c->params;
    size_t n;
    if (p->n_logit_bias == 0 && c->n_history == 0) return logits;
    memcpy(c->logits, logits, c->n_vocab * sizeof *c->logits);
    tsr_apply_logit_bias(c->logits, c->n_vocab, p->logit_bias, p->n_logit_bias);
    const tsr_token *recent = window(c, p->penalty_last_n, &n);
    if (n > 0)
        tsr_apply_penalties(c->logits, c->n_vocab, recent, n, p->repeat_penalty, p->frequency_penalty,
                            p->presence_penalty, c->count);
    recent = window(c, p->dry_last_n, &n);
    if (n > 0)
        tsr_apply_dry(c->logits, c->n_vocab, recent, n, p->dry_multiplier, p->dry_base, p->dry_allowed_length,
                      c->is_breaker, c->match, c->count);
    return c->logits;
}

static tsr_candidates finite_candidates(tsr_chain *c, const float *logits) {
    tsr_candidates list = {c->data, 0, false};
    for (size_t i = 0; i < c->n_vocab; i++)
        if (isfinite(logits[i])) list.data[list.n++] = (tsr_candidate){(tsr_token)i, logits[i], 0.0f};
    return list;
}

tsr_code tsr_chain_sample(tsr_chain *c, const float *logits, tsr_token *out, tsr_error *err) {
    if (!logits || !out) return tsr_fail(err, TSR_E_ARG, "no logits to sample from: evaluate at least one token first");
    const tsr_sampler_params *p = &c->params;
    tsr_candidates list = finite_candidates(c, adjust_logits(c, logits));
    if (list.n == 0)
        return tsr_fail(err, TSR_E_ARG,
                        "none of the %zu tokens has a finite logit: the model's output is broken, or "
                        "logit_bias bans every token",
                        c->n_vocab);

    size_t chosen = 0;
    if (p->temperature <= 0.0f) {
        tsr_keep_top_k(&list, 1);
    } else if (p->mirostat == 2) {
        tsr_scale_temperature(&list, p->temperature);
        chosen = tsr_mirostat2(&list, p->mirostat_tau, p->mirostat_eta, &c->mu, tsr_rng_uniform(&c->rng));
    } else {
        tsr_keep_top_k(&list, p->top_k);
        tsr_keep_typical(&list, p->typical_p);
        tsr_keep_top_p(&list, p->top_p);
        tsr_keep_min_p(&list, p->min_p);
        tsr_scale_temperature(&list, p->temperature);
        tsr_normalize_candidates(&list);
        chosen = tsr_draw(&list, tsr_rng_uniform(&c->rng));
    }
    *out = list.data[chosen].id;
    return TSR_OK;
}
