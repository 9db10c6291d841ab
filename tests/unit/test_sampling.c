/* The methods on candidate lists and the random generator, against cases worked out by hand. */
#include "engine/sampling.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N 6

/* Logits ln(p): softmax gives back exactly these probabilities (they add up to 1). Ids are out of order. */
static const float probs[N] = {0.05f, 0.4f, 0.1f, 0.25f, 0.05f, 0.15f};
static tsr_candidate data[N];

static tsr_candidates list(void) {
    for (int i = 0; i < N; i++) data[i] = (tsr_candidate){i, logf(probs[i]), 0.0f};
    return (tsr_candidates){data, N, false};
}

static void expect_ids(const tsr_candidates *c, const int *ids, size_t n) {
    assert_int_equal(c->n, n);
    for (size_t i = 0; i < n; i++) assert_int_equal(c->data[i].id, ids[i]);
}

static bool has(const tsr_candidates *c, int id) {
    for (size_t i = 0; i < c->n; i++)
        if (c->data[i].id == id) return true;
    return false;
}

static void sort_breaks_ties_by_id(void **state) {
    (void)state;
    tsr_candidates c = list();
    tsr_sort_candidates(&c);
    expect_ids(&c, (int[]){1, 3, 5, 2, 0, 4}, N); /* 0 and 4 are equally likely */
    assert_true(c.sorted);
}

static void softmax_gives_probabilities(void **state) {
    (void)state;
    tsr_candidates c = list();
    tsr_softmax_candidates(&c);
    for (size_t i = 0; i < N; i++) assert_float_equal(c.data[i].p, probs[c.data[i].id], 1e-6f);
    /* A constant offset changes nothing, even where exp would overflow. */
    c = list();
    for (int i = 0; i < N; i++) data[i].logit += 1000.0f;
    tsr_softmax_candidates(&c);
    for (size_t i = 0; i < N; i++) assert_float_equal(c.data[i].p, probs[c.data[i].id], 1e-4f);
}

static void top_k(void **state) {
    (void)state;
    tsr_candidates c = list();
    tsr_keep_top_k(&c, 3);
    expect_ids(&c, (int[]){1, 3, 5}, 3);
    tsr_keep_top_k(&c, 1); /* already sorted */
    expect_ids(&c, (int[]){1}, 1);
    c = list();
    tsr_keep_top_k(&c, 0);
    assert_int_equal(c.n, N);
    tsr_keep_top_k(&c, 100);
    expect_ids(&c, (int[]){1, 3, 5, 2, 0, 4}, N);
}

static int compare(const void *a, const void *b) {
    const tsr_candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return x->id - y->id;
}

/* Selection of any size gives what a full sort by the C library gives; values repeat, so ties are met. */
static void top_k_is_a_prefix_of_the_sort(void **state) {
    (void)state;
    enum { n = 5000 };
    tsr_candidate *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b);
    tsr_rng rng;
    tsr_rng_seed(&rng, 11);
    static const int ks[] = {1, 2, 40, 63, 1000, n - 1, n};
    for (size_t k = 0; k < sizeof ks / sizeof *ks; k++) {
        for (int i = 0; i < n; i++) a[i] = b[i] = (tsr_candidate){i, (float)(tsr_rng_next(&rng) % 700), 0.0f};
        tsr_candidates c = {a, n, false};
        tsr_keep_top_k(&c, ks[k]);
        qsort(b, n, sizeof *b, compare);
        assert_int_equal(c.n, ks[k]);
        for (size_t i = 0; i < c.n; i++) assert_int_equal(c.data[i].id, b[i].id);
    }
    free(a);
    free(b);
}

static void top_p(void **state) {
    (void)state;
    tsr_candidates c = list();
    tsr_keep_top_p(&c, 0.7f); /* 0.4 + 0.25 = 0.65 < 0.7 <= 0.65 + 0.15 */
    expect_ids(&c, (int[]){1, 3, 5}, 3);
    c = list();
    tsr_keep_top_p(&c, 0.39f);
    expect_ids(&c, (int[]){1}, 1);
    c = list();
    tsr_keep_top_p(&c, 0.0f); /* never empty */
    expect_ids(&c, (int[]){1}, 1);
    c = list();
    tsr_keep_top_p(&c, 1.0f);
    assert_int_equal(c.n, N);
}

/* 1000 equally likely tokens: the list grows through several pieces, and the lower ids win. */
static void top_p_of_a_flat_distribution(void **state) {
    (void)state;
    enum { n = 1000 };
    tsr_candidate *a = malloc(n * sizeof *a);
    for (int i = 0; i < n; i++) a[i] = (tsr_candidate){n - 1 - i, 2.0f, 0.0f};
    tsr_candidates c = {a, n, false};
    tsr_keep_top_p(&c, 0.7495f);
    assert_int_equal(c.n, 750);
    for (int i = 0; i < 750; i++) assert_int_equal(a[i].id, i);
    free(a);
}

static void min_p(void **state) {
    (void)state;
    tsr_candidates c = list();
    tsr_keep_min_p(&c, 0.3f); /* at least 0.3 * 0.4 = 0.12 */
    assert_int_equal(c.n, 3);
    assert_true(has(&c, 1) && has(&c, 3) && has(&c, 5));
    c = list();
    tsr_keep_min_p(&c, 1.0f);
    expect_ids(&c, (int[]){1}, 1);
    c = list();
    tsr_keep_min_p(&c, 0.0f);
    assert_int_equal(c.n, N);
}

/* Entropy of probs: 0.4 ln 2.5 + 0.25 ln 4 + 0.15 ln 6.6667 + 0.1 ln 10 + 2 * 0.05 ln 20 = 1.527490 nat. Surprises:
 * 0.9163 (|d| 0.611), 1.3863 (0.141), 1.8971 (0.370), 2.3026 (0.775), 2.9957 (1.468): typical order 3, 5, 1, 2, 0, 4.
 */
static void typical(void **state) {
    (void)state;
    tsr_candidates c = list();
    tsr_keep_typical(&c, 0.2f); /* 0.25 */
    expect_ids(&c, (int[]){3}, 1);
    c = list();
    tsr_keep_typical(&c, 0.3f); /* 0.25 + 0.15 */
    assert_int_equal(c.n, 2);
    assert_true(has(&c, 3) && has(&c, 5));
    c = list();
    tsr_keep_typical(&c, 0.5f); /* + 0.4: the likeliest comes third */
    assert_int_equal(c.n, 3);
    assert_true(has(&c, 1));
    tsr_softmax_candidates(&c); /* logits are back in place: 0.4, 0.25, 0.15 of 0.8 */
    expect_ids(&c, (int[]){1, 3, 5}, 3);
    assert_float_equal(c.data[0].p, 0.5f, 1e-6f);
}

static void temperature(void **state) {
    (void)state;
    tsr_candidates c = list();
    tsr_scale_temperature(&c, 0.5f); /* squares the probabilities: sum of squares = 0.16+0.0625+0.0225+0.01+2*0.0025 */
    tsr_softmax_candidates(&c);
    assert_float_equal(c.data[0].p, 0.16f / 0.26f, 1e-6f);
    assert_float_equal(c.data[1].p, 0.0625f / 0.26f, 1e-6f);
    c = list();
    tsr_scale_temperature(&c, 1e-30f); /* no overflow: the best takes all */
    tsr_softmax_candidates(&c);
    assert_float_equal(c.data[0].p, 1.0f, 0.0f);
    assert_int_equal(c.data[0].id, 1);
    c = list();
    tsr_scale_temperature(&c, 0.0f);
    expect_ids(&c, (int[]){1}, 1);
}

static void draw(void **state) {
    (void)state;
    tsr_candidates c = list();
    tsr_softmax_candidates(&c); /* 0.4 0.25 0.15 0.1 0.05 0.05 */
    assert_int_equal(tsr_draw(&c, 0.0), 0);
    assert_int_equal(tsr_draw(&c, 0.39), 0);
    assert_int_equal(tsr_draw(&c, 0.41), 1);
    assert_int_equal(tsr_draw(&c, 0.66), 2);
    assert_int_equal(tsr_draw(&c, 0.9999), 5);
    /* Rounding may leave the sum below u: the last one with a chance is taken, never one with none. */
    c.data[5].p = 0.0f;
    assert_int_equal(tsr_draw(&c, 0.9999), 4);
}

static void draws_follow_the_probabilities(void **state) {
    (void)state;
    enum { draws = 100000 };
    int count[N] = {0};
    tsr_candidates c = list();
    tsr_softmax_candidates(&c);
    tsr_rng rng;
    tsr_rng_seed(&rng, 5);
    for (int i = 0; i < draws; i++) count[c.data[tsr_draw(&c, tsr_rng_uniform(&rng))].id]++;
    /* Standard deviation is at most sqrt(0.24 / draws) = 0.0016. */
    for (int i = 0; i < N; i++) assert_float_equal((float)count[i] / draws, probs[i], 0.007f);
}

/* splitmix64 from 0 yields e220a8397b1dcdaf 6e789e6aa1b965f4 06c45d188009454f f88bb8a8724c81ec (its published test
 * values); the first two steps of xoshiro256** on that state were computed separately with Python integers. */
static void rng_known_values(void **state) {
    (void)state;
    tsr_rng r;
    tsr_rng_seed(&r, 0);
    assert_true(r.s[0] == 0xe220a8397b1dcdafu && r.s[1] == 0x6e789e6aa1b965f4u);
    assert_true(r.s[2] == 0x06c45d188009454fu && r.s[3] == 0xf88bb8a8724c81ecu);
    assert_true(tsr_rng_next(&r) == 0x99ec5f36cb75f2b4u);
    assert_true(tsr_rng_next(&r) == 0xbf6e1f784956452au);
    for (int i = 0; i < 1000; i++) {
        double u = tsr_rng_uniform(&r);
        assert_true(u >= 0.0 && u < 1.0);
    }
}

/* mu = 2 bits keeps p >= 1/4: 0.4 and 0.25, renormalised 8/13 and 5/13, surprises 0.7004 and 1.3785 bits. */
static void mirostat(void **state) {
    (void)state;
    tsr_candidates c = list();
    float mu = 2.0001f;
    size_t i = tsr_mirostat2(&c, 1.0f, 0.1f, &mu, 0.3);
    assert_int_equal(c.n, 2);
    assert_int_equal(c.data[i].id, 1);
    assert_float_equal(mu, 2.0001f - 0.1f * (0.70044f - 1.0f), 1e-5f);
    c = list();
    mu = 2.0001f;
    i = tsr_mirostat2(&c, 1.0f, 0.1f, &mu, 0.7);
    assert_int_equal(c.data[i].id, 3);
    assert_float_equal(mu, 2.0001f - 0.1f * (1.37851f - 1.0f), 1e-5f);
    c = list();
    mu = 0.5f; /* less than the best token's 1.32 bits: it is kept all the same; its surprise becomes 0 */
    i = tsr_mirostat2(&c, 1.0f, 0.1f, &mu, 0.99);
    assert_int_equal(c.n, 1);
    assert_int_equal(c.data[i].id, 1);
    assert_float_equal(mu, 0.6f, 1e-6f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sort_breaks_ties_by_id),
        cmocka_unit_test(softmax_gives_probabilities),
        cmocka_unit_test(top_k),
        cmocka_unit_test(top_k_is_a_prefix_of_the_sort),
        cmocka_unit_test(top_p),
        cmocka_unit_test(top_p_of_a_flat_distribution),
        cmocka_unit_test(min_p),
        cmocka_unit_test(typical),
        cmocka_unit_test(temperature),
        cmocka_unit_test(draw),
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(rng_known_values),
        cmocka_unit_test(mirostat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
