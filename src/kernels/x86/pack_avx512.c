/* pack_avx512.c: 16 columns to lines with AVX-512 (F, BW): a transposition of 32-bit elements, which are four codes. */
#include "kernels/pack.h"

#include <immintrin.h>

/* Lines are written once and read much later, by others: past the caches, without reading what was there before. Out of cache
 * this nearly doubles the rate. Such stores are in no order with others until the fence. */
static inline void stream(uint8_t *line, __m512i v) { _mm512_stream_si512((void *)line, v); }

void tsr_pack_finish__avx512(void) { _mm_sfence(); }

/* r[d] lane L = element d of lane L of a, b, c and d, side by side. */
static inline void transpose4(__m512i a, __m512i b, __m512i c, __m512i d, __m512i r[4]) {
    __m512i ab_lo = _mm512_unpacklo_epi32(a, b), ab_hi = _mm512_unpackhi_epi32(a, b);
    __m512i cd_lo = _mm512_unpacklo_epi32(c, d), cd_hi = _mm512_unpackhi_epi32(c, d);
    r[0] = _mm512_unpacklo_epi64(ab_lo, cd_lo);
    r[1] = _mm512_unpackhi_epi64(ab_lo, cd_lo);
    r[2] = _mm512_unpacklo_epi64(ab_hi, cd_hi);
    r[3] = _mm512_unpackhi_epi64(ab_hi, cd_hi);
}

/* The codes of columns c and c + 4; each eight k in the order of vectors 2 g and 2 g + 1. */
static inline __m512i two_columns(const uint8_t *codes, size_t stride, int c) {
    const __m512i order = _mm512_set4_epi32(0x0f0b0e0a, 0x0d090c08, 0x07030602, 0x05010400);
    __m256i lo = _mm256_loadu_si256((const void *)(codes + (size_t)c * stride));
    __m256i hi = _mm256_loadu_si256((const void *)(codes + (size_t)(c + 4) * stride));
    return _mm512_shuffle_epi8(_mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1), order);
}

/* q[v] = vector v */
static inline void vectors(const uint8_t *codes, size_t stride, __m512i q[TSR_QUADS]) {
    __m512i in[8], a[4], b[4];
    for (int i = 0; i < 8; i++) in[i] = two_columns(codes, stride, i % 4 + i / 4 * 8);
    transpose4(in[0], in[1], in[2], in[3], a); /* lanes of a[r]: vector r, r + 4 of columns 0..3; r, r + 4 of columns 4..7 */
    transpose4(in[4], in[5], in[6], in[7], b); /* the same of columns 8..15 */
    for (int r = 0; r < 4; r++) {
        q[r] = _mm512_shuffle_i32x4(a[r], b[r], 0x88);
        q[r + 4] = _mm512_shuffle_i32x4(a[r], b[r], 0xdd);
    }
}

/* Bits shift, shift + 1 of the codes. */
static inline void store_pairs(const __m512i q[TSR_QUADS], int shift, uint8_t *lines) {
    const __m128i right = _mm_cvtsi32_si128(shift);
    const __m512i mask = _mm512_set1_epi8(3);
    for (int l = 0; l < 2; l++) {
        __m512i line = _mm512_and_si512(_mm512_srl_epi16(q[4 * l], right), mask);
        for (int f = 1; f < 4; f++) {
            __m512i pair = _mm512_and_si512(_mm512_srl_epi16(q[4 * l + f], right), mask);
            line = _mm512_or_si512(line, _mm512_sll_epi16(pair, _mm_cvtsi32_si128(2 * f)));
        }
        stream(lines + 64 * l, line);
    }
}

void tsr_pack_lines__avx512(const uint8_t *codes, size_t stride, int code_bits, int high_bits, uint8_t *low, uint8_t *high) {
    __m512i q[TSR_QUADS];
    vectors(codes, stride, q);
    if (code_bits == 8) {
        for (int v = 0; v < TSR_QUADS; v++) stream(low + 64 * v, q[v]);
    } else if (code_bits == 4) {
        const __m512i mask = _mm512_set1_epi8(15);
        for (int g = 0; g < 4; g++) {
            __m512i odd = _mm512_slli_epi16(_mm512_and_si512(q[2 * g + 1], mask), 4);
            stream(low + 64 * g, _mm512_or_si512(_mm512_and_si512(q[2 * g], mask), odd));
        }
    } else {
        store_pairs(q, 0, low);
    }
    if (high_bits == 2) store_pairs(q, code_bits, high);
    if (high_bits == 1) {
        const __m512i bit = _mm512_set1_epi8((char)(1 << code_bits));
        long long m[TSR_QUADS];
        for (int v = 0; v < TSR_QUADS; v++) m[v] = (long long)_mm512_test_epi8_mask(q[v], bit);
        stream(high, _mm512_set_epi64(m[7], m[6], m[5], m[4], m[3], m[2], m[1], m[0]));
    }
}

void tsr_pack_lines16__avx512(const uint8_t *weights, size_t stride, uint8_t *lines) {
    __m512i r[4][4]; /* [columns 4 j ..][d]: lane L is element 4 L + d */
    for (int j = 0; j < 4; j++) {
        const uint8_t *w = weights + (size_t)(4 * j) * stride;
        transpose4(_mm512_loadu_si512(w), _mm512_loadu_si512(w + stride), _mm512_loadu_si512(w + 2 * stride),
                   _mm512_loadu_si512(w + 3 * stride), r[j]);
    }
    for (int d = 0; d < 4; d++) {
        __m512i a_lo = _mm512_shuffle_i32x4(r[0][d], r[1][d], 0x44), a_hi = _mm512_shuffle_i32x4(r[0][d], r[1][d], 0xee);
        __m512i b_lo = _mm512_shuffle_i32x4(r[2][d], r[3][d], 0x44), b_hi = _mm512_shuffle_i32x4(r[2][d], r[3][d], 0xee);
        stream(lines + 64 * d, _mm512_shuffle_i32x4(a_lo, b_lo, 0x88));
        stream(lines + 64 * (4 + d), _mm512_shuffle_i32x4(a_lo, b_lo, 0xdd));
        stream(lines + 64 * (8 + d), _mm512_shuffle_i32x4(a_hi, b_hi, 0x88));
        stream(lines + 64 * (12 + d), _mm512_shuffle_i32x4(a_hi, b_hi, 0xdd));
    }
}
