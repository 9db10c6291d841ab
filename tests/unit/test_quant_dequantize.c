/* 16-bit floats over every value, and dequantisers on blocks worked out by hand. The bit-exact comparison of every
 * format with an independent implementation is tests/py/test_quant.py. */
#include "quant/blocks.h"
#include "quant/quant.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static uint32_t bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* Value of a 16-bit pattern with e exponent and m fraction bits, in double arithmetic. */
static double value_of(uint16_t h, int e, int m) {
    int exp = h >> m & ((1 << e) - 1), frac = h & ((1 << m) - 1), bias = (1 << (e - 1)) - 1;
    double v = exp == 0 ? ldexp(frac, 1 - bias - m) : ldexp(frac + (1 << m), exp - bias - m);
    return h & 0x8000 ? -v : v;
}

static bool is_special(uint16_t h, int e, int m) { return (h >> m & ((1 << e) - 1)) == (1 << e) - 1; }

static void check_every_value(float (*widen)(uint16_t), uint16_t (*narrow)(float), int e, int m) {
    for (int i = 0; i < 65536; i++) {
        uint16_t h = (uint16_t)i;
        float f = widen(h);
        if (!is_special(h, e, m)) {
            assert_true((double)f == value_of(h, e, m) && !signbit(f) == !(h & 0x8000));
        } else if (h & ((1 << m) - 1)) {
            assert_true(isnan(f));
            assert_true(isnan(widen(narrow(f))));
            continue;
        } else {
            assert_true(isinf(f) && !signbit(f) == !(h & 0x8000));
        }
        assert_int_equal(narrow(f), h);
    }
}

/* Between each pair of neighbours: the midpoint goes to the even one, its float neighbours to the nearer one. */
static void check_rounding(float (*widen)(uint16_t), uint16_t (*narrow)(float), int e, int m) {
    for (uint16_t h = 0; !is_special((uint16_t)(h + 1), e, m); h++) {
        uint16_t up = (uint16_t)(h + 1), even = h & 1 ? up : h;
        float mid = (float)((value_of(h, e, m) + value_of(up, e, m)) / 2);
        assert_true((double)mid == (value_of(h, e, m) + value_of(up, e, m)) / 2);
        for (int sign = 0; sign < 2; sign++) {
            uint16_t s = sign ? 0x8000 : 0;
            float x = sign ? -mid : mid;
            assert_int_equal(narrow(x), s | even);
            assert_int_equal(narrow(nextafterf(x, 0)), s | h);
            assert_int_equal(narrow(nextafterf(x, 2 * x)), s | up);
        }
        assert_int_equal(narrow(widen(h)), h);
    }
}

static void test_f16_every_value(void **state) {
    (void)state;
    check_every_value(tsr_f16_to_f32, tsr_f32_to_f16, 5, 10);
}

static void test_bf16_every_value(void **state) {
    (void)state;
    check_every_value(tsr_bf16_to_f32, tsr_f32_to_bf16, 8, 7);
}

static void test_f16_rounding(void **state) {
    (void)state;
    check_rounding(tsr_f16_to_f32, tsr_f32_to_f16, 5, 10);
    assert_int_equal(tsr_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(tsr_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(tsr_f32_to_f16(-3e38f), 0xfc00);
    assert_int_equal(tsr_f32_to_f16(0x1p-149f), 0);
}

static void test_bf16_rounding(void **state) {
    (void)state;
    check_rounding(tsr_bf16_to_f32, tsr_f32_to_bf16, 8, 7);
    assert_int_equal(tsr_f32_to_bf16(3.4028235e38f), 0x7f80);
}

static void test_e8m0_is_half_a_power_of_two(void **state) {
    (void)state;
    for (int e = 0; e < 256; e++) assert_true((double)tsr_e8m0_half((uint8_t)e) == ldexp(1, e - 128));
}

static void test_packed_scales_round_trip(void **state) {
    (void)state;
    uint8_t s[16], m[8], packed[12], s2[16], m2[8];
    for (int seed = 0; seed < 64; seed++) { /* every 6-bit value at every place */
        for (int j = 0; j < 16; j++) s[j] = (uint8_t)((seed + 11 * j) & 63);
        for (int j = 0; j < 8; j++) m[j] = (uint8_t)((seed * 5 + 7 * j) & 63);
        tsr_q3_k_pack_scales(s, packed);
        tsr_q3_k_unpack_scales(packed, s2);
        assert_memory_equal(s, s2, 16);
        tsr_q4_k_pack_scales(s, m, packed);
        tsr_q4_k_unpack_scales(packed, s2, m2);
        assert_memory_equal(s, s2, 8);
        assert_memory_equal(m, m2, 8);
    }
}

/* One weight at a time: which byte and which bits hold weight i, as doc/formats.md draws it. */
static void test_q4_k_places(void **state) {
    (void)state;
    for (int i = 0; i < 256; i++) {
        tsr_block_q4_k b = {.d = tsr_f32_to_f16(0.5f), .dmin = tsr_f32_to_f16(0.25f)};
        uint8_t s[8] = {0}, m[8] = {0};
        float out[256];
        s[i / 32] = 63;
        m[i / 32] = 33;
        tsr_q4_k_pack_scales(s, m, b.scales);
        b.qs[i / 64 * 32 + i % 32] = (uint8_t)(i / 32 % 2 ? 0xd0 : 0x0d);
        tsr_dequantizer(TSR_Q4_K)(&b, out, 256);
        for (int k = 0; k < 256; k++) {
            float want = (k / 32 == i / 32 ? -0.25f * 33 : 0) + (k == i ? 0.5f * 63 * 13 : 0);
            assert_true(out[k] == want);
        }
    }
}

static void test_q6_k_places(void **state) {
    (void)state;
    for (int i = 0; i < 256; i++) {
        tsr_block_q6_k b = {.d = tsr_f32_to_f16(1)};
        float out[256];
        b.scales[i / 16] = -3;
        b.ql[i / 128 * 64 + i % 64] = (uint8_t)(i / 64 % 2 ? 0x90 : 0x09);
        b.qh[i / 128 * 32 + i % 32] = (uint8_t)(3 << (i / 32 % 4 * 2));
        tsr_dequantizer(TSR_Q6_K)(&b, out, 256);
        for (int k = 0; k < 256; k++) assert_true(out[k] == (k / 16 == i / 16 ? -3.0f * (k == i ? 57 - 32 : -32) : 0));
    }
}

static void test_unaligned_source(void **state) {
    (void)state;
    tsr_block_q8_0 b = {.d = tsr_f32_to_f16(0.5f), .qs = {-128, 127, 1}};
    uint8_t bytes[1 + sizeof b];
    float out[32];
    memcpy(bytes + 1, &b, sizeof b);
    tsr_dequantizer(TSR_Q8_0)(bytes + 1, out, 32);
    assert_int_equal(bits(out[0]), bits(-64.0f));
    assert_int_equal(bits(out[1]), bits(63.5f));
    assert_int_equal(bits(out[2]), bits(0.5f));
    assert_int_equal(bits(out[3]), 0);
}

static void test_exactly_the_computing_types_have_a_dequantiser(void **state) {
    (void)state;
    int n = 0;
    for (uint32_t t = 0; t < TSR_TYPE_COUNT + 3; t++) {
        const tsr_type_info *info = tsr_type_get(t);
        assert_int_equal(tsr_dequantizer(t) != NULL, info && info->computes);
        n += tsr_dequantizer(t) != NULL;
    }
    assert_int_equal(n, 16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_every_value),
        cmocka_unit_test(test_bf16_every_value),
        cmocka_unit_test(test_f16_rounding),
        cmocka_unit_test(test_bf16_rounding),
        cmocka_unit_test(test_e8m0_is_half_a_power_of_two),
        cmocka_unit_test(test_packed_scales_round_trip),
        cmocka_unit_test(test_q4_k_places),
        cmocka_unit_test(test_q6_k_places),
        cmocka_unit_test(test_unaligned_source),
        cmocka_unit_test(test_exactly_the_computing_types_have_a_dequantiser),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
