/* Candidate lists: ordering, softmax, and the methods that cut the list short. */
#include "engine/sampling.h"

#include <math.h>

/* The order of a sorted list: higher logit first, and between equals the lower id, so that it is a total order and
 * the result does not depend on the algorithm. */
static bool goes_before(tsr_candidate a, tsr_candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* Lets the element at `root` of the heap data[0..n) sink; the candidate that goes last in the order is on top. */
static void sink(tsr_candidate *data, size_t n, size_t root) {
    tsr_candidate x = data[root];
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && goes_before(data[child], data[child + 1])) child++;
        if (!goes_before(x, data[child])) break;
        data[root] = data[child];
    }
    data[root] = x;
}

static void swap(tsr_candidate *a, tsr_candidate *b) {
    tsr_candidate t = *a;
    *a = *b;
    *b = t;
}

/* Brings the k best candidates, in order, to data[0..k); the others follow in any order. A heap of k serves both a
 * small k (nearly every other candidate costs one comparison) and k = n (heapsort: no allocation, as qsort would). */
static void select_best(tsr_candidate *data, size_t n, size_t k) {
    if (k == 0) return;
    for (size_t i = k / 2; i-- > 0;) sink(data, k, i);
    for (size_t i = k; i < n; i++) {
        if (!goes_before(data[i], data[0])) continue;
        swap(&data[i], &data[0]);
        sink(data, k, 0);
    }
    for (size_t end = k - 1; end > 0; end--) {
        swap(&data[0], &data[end]);
        sink(data, end, 0);
    }
}

void tsr_sort_candidates(tsr_candidates *c) {
    if (!c->sorted) select_best(c->data, c->n, c->n);
    c->sorted = true;
}

static float highest_logit(const tsr_candidates *c) {
    float best = c->data[0].logit;
    for (size_t i = 1; i < c->n && !c->sorted; i++)
        if (c->data[i].logit > best) best = c->data[i].logit;
    return best;
}

/* ln of the sum of exp(logit). */
static double log_sum_exp(const tsr_candidates *c, float best) {
    double sum = 0.0;
    for (size_t i = 0; i < c->n; i++) sum += exp((double)c->data[i].logit - best);
    return best + log(sum);
}

void tsr_normalize_candidates(tsr_candidates *c) {
    if (c->n == 0) return;
    double lse = log_sum_exp(c, highest_logit(c));
    for (size_t i = 0; i < c->n; i++) c->data[i].p = (float)exp(c->data[i].logit - lse);
}

void tsr_softmax_candidates(tsr_candidates *c) {
    tsr_sort_candidates(c);
    tsr_normalize_candidates(c);
}

void tsr_keep_top_k(tsr_candidates *c, int k) {
    if (k <= 0) return;
    size_t keep = (size_t)k < c->n ? (size_t)k : c->n;
    if (!c->sorted) select_best(c->data, c->n, keep);
    c->sorted = true;
    c->n = keep;
}

/* Keeps the first candidates, in the order of .logit, whose probabilities add up to `mass`; .p holds the logits that
 * the probabilities come from. The set is usually small, so the list is ordered a piece at a time. */
static void keep_mass(tsr_candidates *c, double mass, double lse) {
    double sum = 0.0;
    size_t ordered = c->sorted ? c->n : 0, keep = 0;
    do {
        if (keep == ordered) {
            size_t piece = ordered ? 7 * ordered : 64, rest = c->n - ordered;
            if (piece > rest) piece = rest;
            select_best(c->data + ordered, rest, piece);
            ordered += piece;
        }
        sum += exp(c->data[keep++].p - lse);
    } while (sum < mass && keep < c->n);
    c->n = keep;
    c->sorted = true;
}

void tsr_keep_top_p(tsr_candidates *c, float p) {
    if (p >= 1.0f || c->n == 0) return;
    double lse = log_sum_exp(c, highest_logit(c));
    for (size_t i = 0; i < c->n; i++) c->data[i].p = c->data[i].logit;
    keep_mass(c, p, lse);
}

void tsr_keep_min_p(tsr_candidates *c, float p) {
    if (p <= 0.0f || c->n == 0) return;
    /* p_i >= p * p_best, in logits: no softmax needed. */
    float least = highest_logit(c) + logf(p < 1.0f ? p : 1.0f);
    size_t keep = 0;
    for (size_t i = 0; i < c->n; i++)
        if (c->data[i].logit >= least) c->data[keep++] = c->data[i];
    c->n = keep;
}

void tsr_keep_typical(tsr_candidates *c, float p) {
    if (p >= 1.0f || c->n == 0) return;
    double lse = log_sum_exp(c, highest_logit(c)), entropy = 0.0;
    for (size_t i = 0; i < c->n; i++) {
        double ln_p = c->data[i].logit - lse;
        entropy -= exp(ln_p) * ln_p;
    }
    /* Order by how close the surprise is to the entropy: for a moment that closeness takes the logit's place. */
    for (size_t i = 0; i < c->n; i++) {
        tsr_candidate *x = &c->data[i];
        x->p = x->logit;
        x->logit = (float)-fabs(lse - x->p - entropy);
    }
    c->sorted = false;
    keep_mass(c, p, lse);
    for (size_t i = 0; i < c->n; i++) c->data[i].logit = c->data[i].p;
    c->sorted = false;
}

void tsr_scale_temperature(tsr_candidates *c, float t) {
    if (c->n == 0) return;
    if (t <= 0.0f) {
        tsr_keep_top_k(c, 1);
        return;
    }
    float best = highest_logit(c);
    for (size_t i = 0; i < c->n; i++) c->data[i].logit = (c->data[i].logit - best) / t;
}
