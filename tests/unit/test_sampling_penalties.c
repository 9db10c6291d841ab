/* Logit bias, penalties and DRY against cases worked out by hand, and DRY against a slow second opinion. */
#include "engine/sampling.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define V 8

static float logits[V];
static uint32_t match[256], scratch[V];

static void set_logits(void) {
    static const float initial[V] = {1, 2, -1, 0, 4, -2, 3, 0.5f};
    memcpy(logits, initial, sizeof logits);
}

static void expect_logits(const float *expected) {
    for (int i = 0; i < V; i++) assert_float_equal(logits[i], expected[i], 1e-5f);
    for (int i = 0; i < V; i++) assert_int_equal(scratch[i], 0);
}

static void bias(void **state) {
    (void)state;
    set_logits();
    const tsr_logit_bias b[] = {{0, 1.5f}, {4, -INFINITY}, {0, 1.0f}, {V, 9.0f}, {-1, 9.0f}};
    tsr_apply_logit_bias(logits, V, b, 5);
    assert_float_equal(logits[0], 3.5f, 0.0f);
    assert_true(isinf(logits[4]) && logits[4] < 0);
    assert_float_equal(logits[1], 2.0f, 0.0f);
}

static void repeat_penalty(void **state) {
    (void)state;
    set_logits();
    /* Once per token however often it came; positive divided, negative multiplied; ids outside are passed over. */
    tsr_apply_penalties(logits, V, (tsr_token[]){1, 2, 1, 99, -5, 3}, 6, 2.0f, 0.0f, 0.0f, scratch);
    expect_logits((float[]){1, 1, -2, 0, 4, -2, 3, 0.5f});
}

static void frequency_and_presence(void **state) {
    (void)state;
    set_logits();
    tsr_apply_penalties(logits, V, (tsr_token[]){4, 6, 4, 4}, 4, 1.0f, 0.5f, 0.25f, scratch);
    expect_logits((float[]){1, 2, -1, 0, 4 - 3 * 0.5f - 0.25f, -2, 3 - 0.5f - 0.25f, 0.5f});
    set_logits();
    tsr_apply_penalties(logits, V, (tsr_token[]){4, 5}, 2, 2.0f, 1.0f, 0.0f, scratch); /* repetition first */
    expect_logits((float[]){1, 2, -1, 0, 4 / 2.0f - 1, -2 * 2.0f - 1, 3, 0.5f});
}

/* 1 2 3 4 1 2 3: the last three tokens came before and 4 followed: length 3, allowed 2 -> 2 * 3^1. */
static void dry(void **state) {
    (void)state;
    static const tsr_token h[] = {1, 2, 3, 4, 1, 2, 3};
    set_logits();
    tsr_apply_dry(logits, V, h, 7, 2.0f, 3.0f, 2, NULL, match, scratch);
    expect_logits((float[]){1, 2, -1, 0, 4 - 2 * 3.0f, -2, 3, 0.5f});
    set_logits();
    tsr_apply_dry(logits, V, h, 7, 2.0f, 3.0f, 3, NULL, match, scratch); /* exactly as long as allowed: base^0 */
    expect_logits((float[]){1, 2, -1, 0, 4 - 2, -2, 3, 0.5f});
    set_logits();
    tsr_apply_dry(logits, V, h, 7, 2.0f, 3.0f, 4, NULL, match, scratch);
    expect_logits((float[]){1, 2, -1, 0, 4, -2, 3, 0.5f});
}

static void dry_takes_the_longest(void **state) {
    (void)state;
    /* Before the final 1 2 3: "5 2 3 4" matches 2 tokens, "1 2 3 4" 3 tokens. */
    static const tsr_token h[] = {5, 2, 3, 4, 1, 2, 3, 4, 0, 1, 2, 3};
    set_logits();
    tsr_apply_dry(logits, V, h, 12, 1.0f, 2.0f, 2, NULL, match, scratch);
    expect_logits((float[]){1, 2, -1, 0, 4 - 2, -2, 3, 0.5f});
}

static void dry_breakers(void **state) {
    (void)state;
    uint8_t breaker[V] = {0};
    breaker[7] = 1;
    /* 7 breaks: only "2 3" after it counts, length 2 instead of 4. */
    static const tsr_token h[] = {1, 7, 2, 3, 4, 1, 7, 2, 3};
    set_logits();
    tsr_apply_dry(logits, V, h, 9, 2.0f, 3.0f, 1, breaker, match, scratch);
    expect_logits((float[]){1, 2, -1, 0, 4 - 2 * 3.0f, -2, 3, 0.5f});
    set_logits();
    tsr_apply_dry(logits, V, h, 9, 2.0f, 3.0f, 3, breaker, match, scratch);
    expect_logits((float[]){1, 2, -1, 0, 4, -2, 3, 0.5f});
    /* A breaker itself is never penalised, and right after one nothing is. */
    static const tsr_token before[] = {1, 2, 7, 1, 2}, after[] = {7, 1, 7};
    set_logits();
    tsr_apply_dry(logits, V, before, 5, 2.0f, 3.0f, 1, breaker, match, scratch);
    tsr_apply_dry(logits, V, after, 3, 2.0f, 3.0f, 1, breaker, match, scratch);
    expect_logits((float[]){1, 2, -1, 0, 4, -2, 3, 0.5f});
}

static void dry_long_repetition_stays_finite(void **state) {
    (void)state;
    enum { n = 20000 };
    tsr_token *h = calloc(n, sizeof *h);
    uint32_t *m = calloc(n, sizeof *m);
    set_logits();
    tsr_apply_dry(logits, V, h, n, 1.0f, 1.75f, 2, NULL, m, scratch);
    assert_true(isfinite(logits[0]) && logits[0] < -1e29f);
    assert_float_equal(logits[1], 2.0f, 0.0f);
    free(h);
    free(m);
}

/* The definition, word for word and quadratic: for every earlier position, how far the two endings agree. */
static void dry_slow(float *out, const tsr_token *h, int n, float multiplier, float base, int allowed,
                     const uint8_t *breaker) {
    int longest[V] = {0};
    for (int i = 0; i + 1 < n; i++) {
        int len = 0;
        while (len <= i && h[i - len] == h[n - 1 - len] && !breaker[h[i - len]]) len++;
        if (!breaker[h[i + 1]] && len > longest[h[i + 1]]) longest[h[i + 1]] = len;
    }
    for (int t = 0; t < V; t++)
        if (longest[t] >= allowed) out[t] -= multiplier * powf(base, (float)(longest[t] - allowed));
}

static void dry_against_the_definition(void **state) {
    (void)state;
    tsr_rng rng;
    tsr_rng_seed(&rng, 3);
    for (int round = 0; round < 3000; round++) {
        tsr_token h[60];
        uint8_t breaker[V] = {0};
        int n = (int)(tsr_rng_next(&rng) % 61), kinds = 1 + (int)(tsr_rng_next(&rng) % 4);
        int allowed = 1 + (int)(tsr_rng_next(&rng) % 3);
        for (int i = 0; i < n; i++) h[i] = (tsr_token)(tsr_rng_next(&rng) % (unsigned)kinds);
        breaker[tsr_rng_next(&rng) % V] = 1;
        set_logits();
        float expected[V];
        memcpy(expected, logits, sizeof expected);
        dry_slow(expected, h, n, 0.5f, 1.1f, allowed, breaker);
        tsr_apply_dry(logits, V, h, (size_t)n, 0.5f, 1.1f, allowed, breaker, match, scratch);
        for (int t = 0; t < V; t++) assert_float_equal(logits[t], expected[t], 1e-3f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bias),
        cmocka_unit_test(repeat_penalty),
        cmocka_unit_test(frequency_and_presence),
        cmocka_unit_test(dry),
        cmocka_unit_test(dry_takes_the_longest),
        cmocka_unit_test(dry_breakers),
        cmocka_unit_test(dry_long_repetition_stays_finite),
        cmocka_unit_test(dry_against_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
