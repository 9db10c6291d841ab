/* Quantisers at the edges: what they write stays inside the blocks and decodes to finite, sensible weights.
 * Bit-exactness and errors by format are in tests/py/test_quant.py. */
#include "quant/blocks.h"
#include "quant/quant.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { K = 512, GUARD = 64 };

/* Quantises and dequantises K weights, with guard bytes around the blocks and misaligned by one byte. */
static void round_trip(uint32_t type, const float *x, const float *importance, float *y) {
    size_t n = tsr_type_row_bytes(type, K);
    uint8_t *bytes = malloc(n + 2 * GUARD + 1), *blocks = bytes + GUARD + 1;
    assert_non_null(bytes);
    memset(bytes, 0xa5, n + 2 * GUARD + 1);
    tsr_quantizer(type)(x, blocks, K, importance);
    for (int i = 0; i < GUARD; i++) {
        assert_int_equal(bytes[i + 1], 0xa5);
        assert_int_equal(blocks[n + (size_t)i], 0xa5);
    }
    tsr_dequantizer(type)(blocks, y, K);
    free(bytes);
}

static float largest(const float *x) {
    float max = 0;
    for (int i = 0; i < K; i++) max = fmaxf(max, fabsf(x[i]));
    return max;
}

/* Every weight within tolerance * (largest magnitude) + 2^-25 (half the smallest binary16 scale) times the codes'
 * reach. */
static void check(uint32_t type, const float *x, const float *importance, float tolerance) {
    float y[K], max = largest(x);
    round_trip(type, x, importance, y);
    for (int i = 0; i < K; i++) {
        assert_true(isfinite(y[i]));
        if (!(fabsf(x[i] - y[i]) <= tolerance * max + 0x1p-17f))
            fail_msg("%s: weight %d is %g, was %g (largest %g)", tsr_type_get(type)->name, i, (double)y[i],
                     (double)x[i], (double)max);
    }
}

static void for_each_quantizer(const float *x, const float *importance, float tolerance) {
    int n = 0;
    for (uint32_t t = 0; t < TSR_TYPE_COUNT; t++) {
        if (!tsr_quantizer(t)) continue;
        check(t, x, importance, tolerance);
        n++;
    }
    assert_int_equal(n, 16);
}

static float noise(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-31f;
}

static void test_exactly_the_quantising_types_have_a_quantiser(void **state) {
    (void)state;
    for (uint32_t t = 0; t < TSR_TYPE_COUNT + 3; t++) {
        const tsr_type_info *info = tsr_type_get(t);
        assert_int_equal(tsr_quantizer(t) != NULL, info && info->quantizes);
    }
}

static void test_zeros_stay_zero(void **state) {
    (void)state;
    float x[K] = {0}, y[K];
    for (uint32_t t = 0; t < TSR_TYPE_COUNT; t++) {
        if (!tsr_quantizer(t)) continue;
        round_trip(t, x, NULL, y);
        for (int i = 0; i < K; i++) assert_true(y[i] == 0);
        x[3] = x[K - 1] = -0.0f;
    }
}

static void test_constants(void **state) {
    (void)state;
    const float values[] = {1, -1, 0.013f, -1e-3f, 900, -30000};
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
        float x[K];
        for (int i = 0; i < K; i++) x[i] = values[v];
        for_each_quantizer(x, NULL, 0.36f);
    }
}

static void test_one_spike(void **state) {
    (void)state;
    for (int at = 0; at < K; at += 37) {
        float x[K] = {0};
        x[at] = at % 2 ? 2.5f : -2.5f;
        for_each_quantizer(x, NULL, 0.21f);
    }
}

/* Q2_K has 4 levels over a range of 2: 1/3, and some for its coarse scales. */
static void test_every_magnitude(void **state) {
    (void)state;
    uint32_t seed = 7;
    for (int e = -149; e < 14; e++) {
        float x[K];
        for (int i = 0; i < K; i++) x[i] = ldexpf(noise(&seed), e);
        for_each_quantizer(x, NULL, 0.36f);
    }
}

static void test_magnitudes_mixed_in_a_block(void **state) {
    (void)state;
    uint32_t seed = 9;
    float x[K];
    for (int i = 0; i < K; i++) x[i] = ldexpf(noise(&seed), (i * 7) % 160 - 149);
    for_each_quantizer(x, NULL, 0.36f);
}

/* No crash and nothing but numbers or infinity; tsr_quantize reports what became of such weights. */
static void test_too_large_for_binary16(void **state) {
    (void)state;
    uint32_t seed = 11;
    for (int e = 14; e < 128; e += 3) {
        float x[K], y[K];
        for (int i = 0; i < K; i++) x[i] = ldexpf(noise(&seed), e);
        x[0] = e == 125 ? -FLT_MAX : x[0];
        for (uint32_t t = 0; t < TSR_TYPE_COUNT; t++)
            if (tsr_quantizer(t)) round_trip(t, x, NULL, y);
    }
}

/* Weights without importance may be far off, but never beyond their block's range. */
static void test_importance_of_any_size(void **state) {
    (void)state;
    uint32_t seed = 13;
    float x[K], importance[K];
    const float sizes[] = {0, 1e-38f, 1e-45f, 1, 1e38f, FLT_MAX};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (int i = 0; i < K; i++) {
            x[i] = noise(&seed);
            importance[i] = i % 3 ? sizes[s] : sizes[s] * 0.5f;
        }
        for_each_quantizer(x, importance, 1.0f);
        for (int i = 0; i < K; i++) importance[i] = i / 32 % 2 ? sizes[s] : 0; /* whole blocks without importance */
        for_each_quantizer(x, importance, 1.0f);
    }
}

/* A finite float of any bit pattern, magnitude at most `limit`. */
static float any_float(uint32_t *state, float limit) {
    float f;
    do {
        uint32_t high = (*state = *state * 1664525u + 1013904223u) >> 16;
        uint32_t u = high << 16 | (*state = *state * 1664525u + 1013904223u) >> 16;
        memcpy(&f, &u, sizeof f);
    } while (!(fabsf(f) <= limit));
    return f;
}

/* All magnitudes of a float in one block, and zeros; importances likewise. */
static void test_any_floats(void **state) {
    (void)state;
    uint32_t seed = 19;
    for (int round = 0; round < 400; round++) {
        float x[K], importance[K];
        for (int i = 0; i < K; i++) {
            x[i] = round % 2 && i % 3 ? 0 : any_float(&seed, i / 16 % 3 ? 65504 : 1e-30f);
            importance[i] = fabsf(any_float(&seed, round % 4 < 2 ? 1e30f : FLT_MAX));
        }
        for_each_quantizer(x, NULL, 0.36f);
        for_each_quantizer(x, importance, 1.05f);
    }
}

/* A row is the same whether quantised whole or block by block: what the threads of tsr_quantize rely on. */
static void test_blocks_are_independent(void **state) {
    (void)state;
    uint32_t seed = 17;
    float x[K];
    for (int i = 0; i < K; i++) x[i] = noise(&seed);
    for (uint32_t t = 0; t < TSR_TYPE_COUNT; t++) {
        if (!tsr_quantizer(t)) continue;
        uint8_t whole[K * 4], parts[K * 4];
        size_t half = tsr_type_row_bytes(t, K / 2);
        tsr_quantizer(t)(x, whole, K, NULL);
        tsr_quantizer(t)(x, parts, K / 2, NULL);
        tsr_quantizer(t)(x + K / 2, parts + half, K / 2, NULL);
        assert_memory_equal(whole, parts, 2 * half);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exactly_the_quantising_types_have_a_quantiser),
        cmocka_unit_test(test_zeros_stay_zero),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_one_spike),
        cmocka_unit_test(test_every_magnitude),
        cmocka_unit_test(test_magnitudes_mixed_in_a_block),
        cmocka_unit_test(test_too_large_for_binary16),
        cmocka_unit_test(test_importance_of_any_size),
        cmocka_unit_test(test_any_floats),
        cmocka_unit_test(test_blocks_are_independent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
