/* quantize.c: quantisers of the simple formats, and the table of all. Without importance they follow the oracle
 * (gguf/quants.py) operation by operation: results are bit-exact with it. With importance, Q4 and Q5 search. */
#include "quant/quantize_blocks.h"

#include "quant/blocks.h"
#include "quant/quant.h"
#include "quant/search.h"

#include <math.h>
#include <string.h>

static void quantize_f32(const float *src, void *dst, int64_t k, const float *importance) {
    (void)importance;
    memcpy(dst, src, (size_t)k * sizeof *src);
}

static void store_u16(uint8_t *dst, uint16_t h) {
    dst[0] = (uint8_t)h;
    dst[1] = (uint8_t)(h >> 8);
}

static void quantize_f16(const float *src, void *dst, int64_t k, const float *importance) {
    (void)importance;
    uint8_t *out = dst;
    for (int64_t i = 0; i < k; i++) store_u16(out + 2 * i, tsr_f32_to_f16(src[i]));
}

static void quantize_bf16(const float *src, void *dst, int64_t k, const float *importance) {
    (void)importance;
    uint8_t *out = dst;
    for (int64_t i = 0; i < k; i++) store_u16(out + 2 * i, tsr_f32_to_bf16(src[i]));
}

/* v truncated to 0..max. A block so small that 1 / d overflows yields v that are no number; its d is stored as 0. */
static uint8_t code(float v, int max) {
    if (!isfinite(v)) return 0;
    return v < (float)max ? (uint8_t)v : (uint8_t)max;
}

/* One scale: d = (weight of largest magnitude, the first of equals) / -zero; codes round(x / d) + zero. */
static float encode_signed(const float *x, int zero, uint8_t *q) {
    float max = 0;
    bool first = true;
    for (int l = 0; l < TSR_QK; l++) {
        if (first || fabsf(x[l]) > fabsf(max)) max = x[l];
        first = false;
    }
    float d = max / (float)-zero, inverse = d == 0 ? 0 : 1 / d;
    for (int l = 0; l < TSR_QK; l++) q[l] = code(x[l] * inverse + ((float)zero + 0.5f), 2 * zero - 1);
    return d;
}

/* Scale and minimum: the range of x on 0..max. */
static float encode_unsigned(const float *x, int max, float *m, uint8_t *q) {
    float low = x[0], high = x[0];
    for (int l = 1; l < TSR_QK; l++) {
        low = x[l] < low ? x[l] : low;
        high = x[l] > high ? x[l] : high;
    }
    float d = (high - low) / (float)max, inverse = d == 0 ? 0 : 1 / d;
    for (int l = 0; l < TSR_QK; l++) q[l] = code((x[l] - low) * inverse + 0.5f, max);
    *m = low;
    return d;
}

/* The same two with importance: least squares, as in the K formats. */
static uint16_t search_signed(const float *x, const float *importance, int zero, uint8_t *q) {
    const tsr_grid grid = {.lo = -zero, .hi = zero - 1, .step = 0.1f / (float)zero, .n_steps = 9};
    tsr_scaled b;
    memset(q, zero, TSR_QK);
    if (!tsr_scale_block(&b, x, importance, TSR_QK)) return 0;
    uint16_t d = tsr_search_f16_scale(&grid, TSR_QK, &b);
    tsr_encode_scaled(&grid, TSR_QK, b.x, ldexpf(tsr_f16_to_f32(d), -b.exponent), q);
    return d;
}

static uint16_t search_unsigned(const float *x, const float *importance, int max, uint16_t *m, uint8_t *q) {
    tsr_scaled b;
    memset(q, 0, TSR_QK);
    *m = 0;
    if (!tsr_scale_block(&b, x, importance, TSR_QK)) return 0;
    float scale, low;
    tsr_search_affine(TSR_QK, b.x, b.w, max, false, &scale, &low);
    uint16_t d = tsr_scale_f16(scale, b.exponent);
    *m = tsr_scale_f16(low, b.exponent);
    tsr_encode_affine(TSR_QK, b.x, max, ldexpf(tsr_f16_to_f32(d), -b.exponent), ldexpf(tsr_f16_to_f32(*m), -b.exponent),
                      q);
    return d;
}

static uint16_t block_signed(const float *x, const float *importance, int zero, uint8_t *q) {
    return importance ? search_signed(x, importance, zero, q) : tsr_f32_to_f16(encode_signed(x, zero, q));
}

static uint16_t block_unsigned(const float *x, const float *importance, int max, uint16_t *m, uint8_t *q) {
    if (importance) return search_unsigned(x, importance, max, m, q);
    float low, d = encode_unsigned(x, max, &low, q);
    *m = tsr_f32_to_f16(low);
    return tsr_f32_to_f16(d);
}

static void quantize_q4_0(const float *src, void *dst, int64_t k, const float *importance) {
    uint8_t q[TSR_QK];
    for (tsr_block_q4_0 *b = dst, *end = b + k / TSR_QK; b < end; b++, src += TSR_QK) {
        b->d = block_signed(src, importance, 8, q);
        tsr_pack_nibbles(q, b->qs);
        if (importance) importance += TSR_QK;
    }
}

static void quantize_q4_1(const float *src, void *dst, int64_t k, const float *importance) {
    uint8_t q[TSR_QK];
    uint16_t m;
    for (tsr_block_q4_1 *b = dst, *end = b + k / TSR_QK; b < end; b++, src += TSR_QK) {
        b->d = block_unsigned(src, importance, 15, &m, q);
        b->m = m;
        tsr_pack_nibbles(q, b->qs);
        if (importance) importance += TSR_QK;
    }
}

static void pack_high_bits(const uint8_t q[TSR_QK], uint8_t qh[4]) {
    memset(qh, 0, 4);
    for (int l = 0; l < TSR_QK; l++) qh[l / 8] |= (uint8_t)(q[l] >> 4 << (l % 8));
}

static void quantize_q5_0(const float *src, void *dst, int64_t k, const float *importance) {
    uint8_t q[TSR_QK];
    for (tsr_block_q5_0 *b = dst, *end = b + k / TSR_QK; b < end; b++, src += TSR_QK) {
        b->d = block_signed(src, importance, 16, q);
        tsr_pack_nibbles(q, b->qs);
        pack_high_bits(q, b->qh);
        if (importance) importance += TSR_QK;
    }
}

static void quantize_q5_1(const float *src, void *dst, int64_t k, const float *importance) {
    uint8_t q[TSR_QK];
    uint16_t m;
    for (tsr_block_q5_1 *b = dst, *end = b + k / TSR_QK; b < end; b++, src += TSR_QK) {
        b->d = block_unsigned(src, importance, 31, &m, q);
        b->m = m;
        tsr_pack_nibbles(q, b->qs);
        pack_high_bits(q, b->qh);
        if (importance) importance += TSR_QK;
    }
}

/* Importance has nothing to decide here: with 8 bits the scale that maps the largest weight to 127 is as good as any.
 */
static void quantize_q8_0(const float *src, void *dst, int64_t k, const float *importance) {
    (void)importance;
    for (tsr_block_q8_0 *b = dst, *end = b + k / TSR_QK; b < end; b++, src += TSR_QK) {
        float max = 0;
        for (int l = 0; l < TSR_QK; l++) max = fmaxf(max, fabsf(src[l]));
        float d = max / 127, inverse = d == 0 ? 0 : 1 / d;
        b->d = tsr_f32_to_f16(d);
        for (int l = 0; l < TSR_QK; l++) {
            float v = src[l] * inverse;
            b->qs[l] = isfinite(v) ? (int8_t)roundf(v) : 0; /* not finite: as in code() */
        }
    }
}

/* The scale is the power of two that brings the largest weight to [4, 8) (the grid ends at 6), as the OCP MX
 * specification says and the oracle does; importance has nothing to decide. Below 2^-125 the oracle's exponent wraps
 * around (it converts a negative number to unsigned); here it stays at the smallest scale. */
static void quantize_mxfp4(const float *src, void *dst, int64_t k, const float *importance) {
    (void)importance;
    uint8_t q[TSR_QK];
    for (tsr_block_mxfp4 *b = dst, *end = b + k / TSR_QK; b < end; b++, src += TSR_QK) {
        float max = 0;
        for (int l = 0; l < TSR_QK; l++) max = fmaxf(max, fabsf(src[l]));
        b->e = max > 0 ? (uint8_t)fmaxf(floorf(log2f(max)) + 125, 0) : 0;
        float d = tsr_e8m0_half(b->e);
        for (int l = 0; l < TSR_QK; l++) {
            float best = INFINITY;
            q[l] = 0;
            for (int i = 0; i < 16; i++) {
                float e = fabsf(d * (float)tsr_mxfp4_values[i] - src[l]);
                if (e < best) q[l] = (uint8_t)i;
                best = fminf(e, best);
            }
        }
        tsr_pack_nibbles(q, b->qs);
    }
}

tsr_quantize_fn tsr_quantizer(uint32_t type) {
    static const tsr_quantize_fn fn[TSR_TYPE_COUNT] = {
        [TSR_F32] = quantize_f32,           [TSR_F16] = quantize_f16,       [TSR_BF16] = quantize_bf16,
        [TSR_Q4_0] = quantize_q4_0,         [TSR_Q4_1] = quantize_q4_1,     [TSR_Q5_0] = quantize_q5_0,
        [TSR_Q5_1] = quantize_q5_1,         [TSR_Q8_0] = quantize_q8_0,     [TSR_MXFP4] = quantize_mxfp4,
        [TSR_Q2_K] = tsr_quantize_q2_k,     [TSR_Q3_K] = tsr_quantize_q3_k, [TSR_Q4_K] = tsr_quantize_q4_k,
        [TSR_Q5_K] = tsr_quantize_q5_k,     [TSR_Q6_K] = tsr_quantize_q6_k, [TSR_IQ4_NL] = tsr_quantize_iq4_nl,
        [TSR_IQ4_XS] = tsr_quantize_iq4_xs,
    };
    return type < TSR_TYPE_COUNT ? fn[type] : NULL;
}
