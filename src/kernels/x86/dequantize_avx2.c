/* dequantize_avx2.c: row dequantisers, bit for bit the reference of src/quant: the same float operations in the same order.
 * Each format unpacks 16 or 32 codes into bytes; one of two helpers turns them into floats. Compiled with AVX2 + F16C only. */
#include "kernels/kernels.h"
#include "quant/blocks.h"

#include <immintrin.h>

static inline float half(uint16_t h) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h))); }

/* dst[16] = d * codes */
static inline void put16(__m128i codes, float d, float *dst) {
    __m256 scale = _mm256_set1_ps(d);
    _mm256_storeu_ps(dst, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes))));
    _mm256_storeu_ps(dst + 8, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8)))));
}

/* dst[16] = d * codes + m */
static inline void put16_min(__m128i codes, float d, float m, float *dst) {
    __m256 scale = _mm256_set1_ps(d), min = _mm256_set1_ps(m);
    __m256 lo = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
    __m256 hi = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8)));
    _mm256_storeu_ps(dst, _mm256_add_ps(_mm256_mul_ps(scale, lo), min));
    _mm256_storeu_ps(dst + 8, _mm256_add_ps(_mm256_mul_ps(scale, hi), min));
}

static inline __m128i load16(const void *p) { return _mm_loadu_si128(p); }

static inline __m128i low_nibbles(__m128i q) { return _mm_and_si128(q, _mm_set1_epi8(15)); }

static inline __m128i high_nibbles(__m128i q) { return low_nibbles(_mm_srli_epi16(q, 4)); }

/* Bits [shift, shift + 1] of each byte. */
static inline __m128i two_bits(__m128i q, int shift) { return _mm_and_si128(_mm_srl_epi16(q, _mm_cvtsi32_si128(shift)), _mm_set1_epi8(3)); }

/* 16 where bit l of the two bytes is set, for byte l; else 0. */
static inline __m128i fifth_bits(const uint8_t bits[2]) {
    const __m128i spread = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m128i bit = _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
    __m128i v = _mm_and_si128(_mm_shuffle_epi8(_mm_cvtsi32_si128(bits[0] | bits[1] << 8), spread), bit);
    return _mm_and_si128(_mm_cmpeq_epi8(v, bit), _mm_set1_epi8(16));
}

static void dequantize_f16__avx2(const void *src, float *dst, int64_t k) {
    const uint8_t *s = src;
    int64_t i = 0;
    for (; i + 8 <= k; i += 8) _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(load16(s + 2 * i)));
    for (; i < k; i++) dst[i] = half((uint16_t)(s[2 * i] | s[2 * i + 1] << 8));
}

static void dequantize_bf16__avx2(const void *src, float *dst, int64_t k) {
    const uint8_t *s = src;
    int64_t i = 0;
    for (; i + 8 <= k; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(s + 2 * i)), 16)));
    for (; i < k; i++) dst[i] = tsr_bf16_to_f32((uint16_t)(s[2 * i] | s[2 * i + 1] << 8));
}

static void dequantize_q4_0__avx2(const void *src, float *dst, int64_t k) {
    const __m128i offset = _mm_set1_epi8(8);
    for (const tsr_block_q4_0 *b = src, *end = b + k / TSR_QK; b < end; b++, dst += TSR_QK) {
        __m128i q = load16(b->qs);
        float d = half(b->d);
        put16(_mm_sub_epi8(low_nibbles(q), offset), d, dst);
        put16(_mm_sub_epi8(high_nibbles(q), offset), d, dst + 16);
    }
}

static void dequantize_q4_1__avx2(const void *src, float *dst, int64_t k) {
    for (const tsr_block_q4_1 *b = src, *end = b + k / TSR_QK; b < end; b++, dst += TSR_QK) {
        __m128i q = load16(b->qs);
        float d = half(b->d), m = half(b->m);
        put16_min(low_nibbles(q), d, m, dst);
        put16_min(high_nibbles(q), d, m, dst + 16);
    }
}

static void dequantize_q5_0__avx2(const void *src, float *dst, int64_t k) {
    const __m128i offset = _mm_set1_epi8(16);
    for (const tsr_block_q5_0 *b = src, *end = b + k / TSR_QK; b < end; b++, dst += TSR_QK) {
        __m128i q = load16(b->qs);
        float d = half(b->d);
        put16(_mm_sub_epi8(_mm_or_si128(low_nibbles(q), fifth_bits(b->qh)), offset), d, dst);
        put16(_mm_sub_epi8(_mm_or_si128(high_nibbles(q), fifth_bits(b->qh + 2)), offset), d, dst + 16);
    }
}

static void dequantize_q5_1__avx2(const void *src, float *dst, int64_t k) {
    for (const tsr_block_q5_1 *b = src, *end = b + k / TSR_QK; b < end; b++, dst += TSR_QK) {
        __m128i q = load16(b->qs);
        float d = half(b->d), m = half(b->m);
        put16_min(_mm_or_si128(low_nibbles(q), fifth_bits(b->qh)), d, m, dst);
        put16_min(_mm_or_si128(high_nibbles(q), fifth_bits(b->qh + 2)), d, m, dst + 16);
    }
}

static void dequantize_q8_0__avx2(const void *src, float *dst, int64_t k) {
    for (const tsr_block_q8_0 *b = src, *end = b + k / TSR_QK; b < end; b++, dst += TSR_QK) {
        float d = half(b->d);
        put16(load16(b->qs), d, dst);
        put16(load16(b->qs + 16), d, dst + 16);
    }
}

static void dequantize_iq4_nl__avx2(const void *src, float *dst, int64_t k) {
    const __m128i values = load16(tsr_iq4_values);
    for (const tsr_block_iq4_nl *b = src, *end = b + k / TSR_QK; b < end; b++, dst += TSR_QK) {
        __m128i q = load16(b->qs);
        float d = half(b->d);
        put16(_mm_shuffle_epi8(values, low_nibbles(q)), d, dst);
        put16(_mm_shuffle_epi8(values, high_nibbles(q)), d, dst + 16);
    }
}

static void dequantize_mxfp4__avx2(const void *src, float *dst, int64_t k) {
    const __m128i values = load16(tsr_mxfp4_values);
    for (const tsr_block_mxfp4 *b = src, *end = b + k / TSR_QK; b < end; b++, dst += TSR_QK) {
        __m128i q = load16(b->qs);
        float d = tsr_e8m0_half(b->e);
        put16(_mm_shuffle_epi8(values, low_nibbles(q)), d, dst);
        put16(_mm_shuffle_epi8(values, high_nibbles(q)), d, dst + 16);
    }
}

static void dequantize_q2_k__avx2(const void *src, float *dst, int64_t k) {
    for (const tsr_block_q2_k *b = src, *end = b + k / TSR_QK_K; b < end; b++, dst += TSR_QK_K) {
        float d = half(b->d), dmin = half(b->dmin);
        for (int j = 0; j < 16; j++) { /* sub-block j: bytes 32 (j / 8) + 16 (j % 2), bits 2 (j / 2 % 4) */
            __m128i q = two_bits(load16(b->qs + j / 8 * 32 + j % 2 * 16), j / 2 % 4 * 2);
            put16_min(q, d * (float)(b->scales[j] & 15), -(dmin * (float)(b->scales[j] >> 4)), dst + 16 * j);
        }
    }
}

static void dequantize_q3_k__avx2(const void *src, float *dst, int64_t k) {
    const __m128i four = _mm_set1_epi8(4);
    uint8_t s[16];
    for (const tsr_block_q3_k *b = src, *end = b + k / TSR_QK_K; b < end; b++, dst += TSR_QK_K) {
        float d = half(b->d);
        tsr_q3_k_unpack_scales(b->scales, s);
        for (int j = 0; j < 16; j++) {
            __m128i q = two_bits(load16(b->qs + j / 8 * 32 + j % 2 * 16), j / 2 % 4 * 2);
            __m128i bit = _mm_set1_epi8((char)(1 << (j / 2)));
            __m128i clear = _mm_cmpeq_epi8(_mm_and_si128(load16(b->hmask + j % 2 * 16), bit), _mm_setzero_si128());
            put16(_mm_sub_epi8(q, _mm_and_si128(clear, four)), d * (float)(s[j] - 32), dst + 16 * j);
        }
    }
}

/* Nibbles of sub-block half h (0, 1) of sub-block j of Q4_K and Q5_K. */
static inline __m128i k_nibbles(const uint8_t *qs, int j, int h) {
    __m128i q = load16(qs + j / 2 * 32 + 16 * h);
    return j % 2 ? high_nibbles(q) : low_nibbles(q);
}

static void dequantize_q4_k__avx2(const void *src, float *dst, int64_t k) {
    uint8_t s[8], m[8];
    for (const tsr_block_q4_k *b = src, *end = b + k / TSR_QK_K; b < end; b++, dst += TSR_QK_K) {
        float d = half(b->d), dmin = half(b->dmin);
        tsr_q4_k_unpack_scales(b->scales, s, m);
        for (int j = 0; j < 8; j++)
            for (int h = 0; h < 2; h++)
                put16_min(k_nibbles(b->qs, j, h), d * (float)s[j], -(dmin * (float)m[j]), dst + 32 * j + 16 * h);
    }
}

static void dequantize_q5_k__avx2(const void *src, float *dst, int64_t k) {
    uint8_t s[8], m[8];
    for (const tsr_block_q5_k *b = src, *end = b + k / TSR_QK_K; b < end; b++, dst += TSR_QK_K) {
        float d = half(b->d), dmin = half(b->dmin);
        tsr_q4_k_unpack_scales(b->scales, s, m);
        for (int j = 0; j < 8; j++)
            for (int h = 0; h < 2; h++) {
                __m128i bit = _mm_set1_epi8((char)(1 << j));
                __m128i set = _mm_cmpeq_epi8(_mm_and_si128(load16(b->qh + 16 * h), bit), bit);
                __m128i q = _mm_or_si128(k_nibbles(b->qs, j, h), _mm_and_si128(set, _mm_set1_epi8(16)));
                put16_min(q, d * (float)s[j], -(dmin * (float)m[j]), dst + 32 * j + 16 * h);
            }
    }
}

static void dequantize_q6_k__avx2(const void *src, float *dst, int64_t k) {
    for (const tsr_block_q6_k *b = src, *end = b + k / TSR_QK_K; b < end; b++, dst += TSR_QK_K) {
        float d = half(b->d);
        for (int j = 0; j < 16; j++) { /* low bits: bytes 64 (j / 8) + 16 (j % 4), nibble j / 4 % 2; high bits as in Q2_K */
            __m128i low = load16(b->ql + j / 8 * 64 + j % 4 * 16);
            low = j / 4 % 2 ? high_nibbles(low) : low_nibbles(low);
            __m128i high = two_bits(load16(b->qh + j / 8 * 32 + j % 2 * 16), j / 2 % 4 * 2);
            __m128i q = _mm_sub_epi8(_mm_or_si128(low, _mm_slli_epi16(high, 4)), _mm_set1_epi8(32));
            put16(q, d * (float)b->scales[j], dst + 16 * j);
        }
    }
}

static void dequantize_iq4_xs__avx2(const void *src, float *dst, int64_t k) {
    const __m128i values = load16(tsr_iq4_values);
    for (const tsr_block_iq4_xs *b = src, *end = b + k / TSR_QK_K; b < end; b++, dst += TSR_QK_K) {
        float d = half(b->d);
        for (int j = 0; j < 8; j++) {
            int s = (b->scales_l[j / 2] >> (j % 2 * 4) & 15) | (b->scales_h >> (2 * j) & 3) << 4;
            __m128i q = load16(b->qs + 16 * j);
            put16(_mm_shuffle_epi8(values, low_nibbles(q)), d * (float)(s - 32), dst + 32 * j);
            put16(_mm_shuffle_epi8(values, high_nibbles(q)), d * (float)(s - 32), dst + 32 * j + 16);
        }
    }
}

void tsr_kernels_fill_dequantize_avx2(tsr_kernels *k) {
    k->dequantize[TSR_F16] = dequantize_f16__avx2;
    k->dequantize[TSR_BF16] = dequantize_bf16__avx2;
    k->dequantize[TSR_Q4_0] = dequantize_q4_0__avx2;
    k->dequantize[TSR_Q4_1] = dequantize_q4_1__avx2;
    k->dequantize[TSR_Q5_0] = dequantize_q5_0__avx2;
    k->dequantize[TSR_Q5_1] = dequantize_q5_1__avx2;
    k->dequantize[TSR_Q8_0] = dequantize_q8_0__avx2;
    k->dequantize[TSR_Q2_K] = dequantize_q2_k__avx2;
    k->dequantize[TSR_Q3_K] = dequantize_q3_k__avx2;
    k->dequantize[TSR_Q4_K] = dequantize_q4_k__avx2;
    k->dequantize[TSR_Q5_K] = dequantize_q5_k__avx2;
    k->dequantize[TSR_Q6_K] = dequantize_q6_k__avx2;
    k->dequantize[TSR_IQ4_NL] = dequantize_iq4_nl__avx2;
    k->dequantize[TSR_IQ4_XS] = dequantize_iq4_xs__avx2;
    k->dequantize[TSR_MXFP4] = dequantize_mxfp4__avx2;
}
