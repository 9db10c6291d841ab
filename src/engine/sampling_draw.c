/* Chance: the random generator, a draw from a distribution, and Mirostat, which steers by what was drawn. */
#include "engine/sampling.h"

#include <math.h>

void tsr_rng_seed(tsr_rng *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) { /* splitmix64 (Steele, Lea, Flood 2014) */
        uint64_t z = seed += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        r->s[i] = z ^ (z >> 31);
    }
}

static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

uint64_t tsr_rng_next(tsr_rng *r) {
    uint64_t result = rotl(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;
    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotl(r->s[3], 45);
    return result;
}

double tsr_rng_uniform(tsr_rng *r) { return (double)(tsr_rng_next(r) >> 11) * 0x1p-53; }

size_t tsr_draw(const tsr_candidates *c, double u) {
    double sum = 0.0;
    size_t last = 0; /* where u ends up when rounding leaves the sum below 1 */
    for (size_t i = 0; i < c->n; i++) {
        if (c->data[i].p <= 0.0f) continue;
        sum += c->data[i].p;
        last = i;
        if (u < sum) break;
    }
    return last;
}

size_t tsr_mirostat2(tsr_candidates *c, float tau, float eta, float *mu, double u) {
    /* Surprise is -log2 p, so surprise <= mu means p >= 2^-mu. */
    tsr_normalize_candidates(c);
    double least = exp2(-(double)*mu);
    size_t keep = 0, best = 0;
    for (size_t i = 1; i < c->n; i++)
        if (c->data[i].logit > c->data[best].logit) best = i;
    tsr_candidate fallback = c->data[best];
    for (size_t i = 0; i < c->n; i++)
        if (c->data[i].p >= least) c->data[keep++] = c->data[i];
    if (keep == 0) c->data[keep++] = fallback; /* mu asks for less surprise than even the best has */
    c->n = keep;

    tsr_softmax_candidates(c);
    size_t drawn = tsr_draw(c, u);
    double surprise = -log2(c->data[drawn].p);
    *mu -= eta * (float)(surprise - tau);
    return drawn;
}
