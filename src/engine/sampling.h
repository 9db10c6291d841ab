/* sampling.h: the sampling methods, each a pure function over a candidate list, and the chain that applies them.
 *
 * Order of the chain (llama.cpp's default): logit bias, penalties, DRY, then either greedy, or Mirostat 2 (after
 * temperature), or top-k, typical-p, top-p, min-p, temperature, and a draw.
 */
#ifndef TSR_ENGINE_SAMPLING_H
#define TSR_ENGINE_SAMPLING_H

#include "core/error.h"

typedef struct tsr_candidate { tsr_token id; float logit; float p; } tsr_candidate;

/* data[0..n): sorted says by descending logit (ties: ascending id). p is valid only right after tsr_softmax. */
typedef struct tsr_candidates {
    tsr_candidate *data;
    size_t n;
    bool sorted;
} tsr_candidates;

void tsr_sort_candidates(tsr_candidates *c);
void tsr_normalize_candidates(tsr_candidates *c); /* softmax: sets p, keeps the order */
void tsr_softmax_candidates(tsr_candidates *c);   /* sets p, sorts */

void tsr_apply_logit_bias(float *logits, size_t n_vocab, const tsr_logit_bias *bias, size_t n_bias);
/* Repetition penalty (Keskar et al. 2019, CTRL): positive logits divided, negative multiplied; then frequency x count and
 * presence are subtracted (OpenAI's definitions). history: the last n tokens. count: scratch [n_vocab], all zero before
 * and after. */
void tsr_apply_penalties(float *logits, size_t n_vocab, const tsr_token *history, size_t n, float repeat, float frequency,
                         float presence, uint32_t *count);
/* DRY (p-e-w): tokens that would extend a repetition of length L >= allowed get multiplier * base^(L - allowed) taken off.
 * A breaker (is_breaker[n_vocab], may be NULL) ends every match and is never penalised. Scratch: match [n], longest
 * [n_vocab] all zero before and after; time is linear in n. */
void tsr_apply_dry(float *logits, size_t n_vocab, const tsr_token *history, size_t n, float multiplier, float base,
                   int allowed_length, const uint8_t *is_breaker, uint32_t *match, uint32_t *longest);

/* Each keeps at least one candidate of a non-empty list. */
void tsr_keep_top_k(tsr_candidates *c, int k);         /* k <= 0: all; sorts what it keeps */
void tsr_keep_top_p(tsr_candidates *c, float p);       /* Holtzman et al. 2019 */
void tsr_keep_min_p(tsr_candidates *c, float p);       /* Nguyen et al. 2024 */
void tsr_keep_typical(tsr_candidates *c, float p);     /* Meister et al. 2022 */
/* Divides by t the distance of every logit to the highest (a constant offset does not matter to softmax, and nothing
 * overflows). t <= 0 keeps only the best candidate. */
void tsr_scale_temperature(tsr_candidates *c, float t);

/* xoshiro256** (Blackman, Vigna 2018), seeded by splitmix64: the same seed gives the same text on any machine. */
typedef struct tsr_rng { uint64_t s[4]; } tsr_rng;
void tsr_rng_seed(tsr_rng *r, uint64_t seed);
uint64_t tsr_rng_next(tsr_rng *r);
double tsr_rng_uniform(tsr_rng *r); /* [0, 1), 53 bits */

/* Index into c->data drawn with probability p at u in [0, 1) (inverse of the cumulative sum). Softmax first. */
size_t tsr_draw(const tsr_candidates *c, double u);
/* Mirostat 2.0 (Basu et al. 2021): truncates to surprise <= *mu, draws at u, updates *mu. Returns the index. */
size_t tsr_mirostat2(tsr_candidates *c, float tau, float eta, float *mu, double u);

/* Everything together; the public tsr_sampler wraps it. breakers: as tsr_apply_dry, may be NULL. Copies what it needs. */
typedef struct tsr_chain tsr_chain;
tsr_chain *tsr_chain_open(const tsr_sampler_params *params, int n_vocab, const uint8_t *is_breaker, tsr_error *err);
void tsr_chain_close(tsr_chain *c);
tsr_code tsr_chain_sample(tsr_chain *c, const float *logits, tsr_token *out, tsr_error *err);
tsr_code tsr_chain_accept(tsr_chain *c, tsr_token token, tsr_error *err);
void tsr_chain_reset(tsr_chain *c);
uint64_t tsr_chain_seed(const tsr_chain *c);

#endif
