/* quantize_k.c: quantisers of the formats with super-blocks, and of IQ4_NL. Each searches for scales (search.h), then
 * codes the weights with the scales as the decoder will see them: rounded to binary16 and 6 (or 4, or 8) bits. */
#include "quant/quantize_blocks.h"

#include "quant/blocks.h"
#include "quant/quant.h"
#include "quant/search.h"

#include <math.h>
#include <string.h>

static const tsr_grid grid_q3 = {.lo = -4, .hi = 3, .step = 0.045f, .n_steps = 5};
static const tsr_grid grid_q6 = {.lo = -32, .hi = 31, .step = 0.18f / 32, .n_steps = 5};

static float scaled_f16(uint16_t h, int exponent) { return ldexpf(tsr_f16_to_f32(h), -exponent); }

/* Codes of a super-block for the scales and mins found. */
static void encode_super(const tsr_scaled *s, int n_sub, int nmax, uint16_t d, uint16_t dmin, const uint8_t *ls,
                         const uint8_t *lm, uint8_t q[TSR_QK_K]) {
    int len = TSR_QK_K / n_sub;
    float fd = scaled_f16(d, s->exponent), fm = scaled_f16(dmin, s->exponent);
    for (int j = 0; j < n_sub; j++)
        tsr_encode_affine(len, s->x + j * len, nmax, fd * (float)ls[j], -(fm * (float)lm[j]), q + j * len);
}

/* Adds the two bits at `shift` of each code to the planes that dequantize.c reads. */
static void pack_plane2(const uint8_t q[TSR_QK_K], int shift, uint8_t qs[64]) {
    memset(qs, 0, 64);
    for (int i = 0; i < TSR_QK_K; i++)
        qs[i / 128 * 32 + i % 32] |= (uint8_t)((q[i] >> shift & 3) << (i % 128 / 32 * 2));
}

void tsr_quantize_q2_k(const float *src, void *dst, int64_t k, const float *importance) {
    for (tsr_block_q2_k *b = dst, *end = b + k / TSR_QK_K; b < end; b++, src += TSR_QK_K) {
        tsr_scaled s;
        uint16_t d = 0, dmin = 0;
        uint8_t ls[16] = {0}, lm[16] = {0}, q[TSR_QK_K] = {0};
        if (tsr_scale_block(&s, src, importance, TSR_QK_K)) {
            tsr_search_shared_affine(16, 16, 3, 15, &s, &d, &dmin, ls, lm);
            encode_super(&s, 16, 3, d, dmin, ls, lm, q);
        }
        b->d = d;
        b->dmin = dmin;
        for (int j = 0; j < 16; j++) b->scales[j] = (uint8_t)(ls[j] | lm[j] << 4);
        pack_plane2(q, 0, b->qs);
        if (importance) importance += TSR_QK_K;
    }
}

/* 4 bits: 32 bytes hold 64 weights, the first 32 of them in the low nibbles. */
static void pack_nibble_pairs(const uint8_t q[TSR_QK_K], uint8_t qs[128]) {
    for (int i = 0; i < 128; i++) {
        int first = i / 32 * 64 + i % 32;
        qs[i] = (uint8_t)((q[first] & 15) | (q[first + 32] & 15) << 4);
    }
}

void tsr_quantize_q4_k(const float *src, void *dst, int64_t k, const float *importance) {
    for (tsr_block_q4_k *b = dst, *end = b + k / TSR_QK_K; b < end; b++, src += TSR_QK_K) {
        tsr_scaled s;
        uint16_t d = 0, dmin = 0;
        uint8_t ls[8] = {0}, lm[8] = {0}, q[TSR_QK_K] = {0};
        if (tsr_scale_block(&s, src, importance, TSR_QK_K)) {
            tsr_search_shared_affine(8, 32, 15, 63, &s, &d, &dmin, ls, lm);
            encode_super(&s, 8, 15, d, dmin, ls, lm, q);
        }
        b->d = d;
        b->dmin = dmin;
        tsr_q4_k_pack_scales(ls, lm, b->scales);
        pack_nibble_pairs(q, b->qs);
        if (importance) importance += TSR_QK_K;
    }
}

void tsr_quantize_q5_k(const float *src, void *dst, int64_t k, const float *importance) {
    for (tsr_block_q5_k *b = dst, *end = b + k / TSR_QK_K; b < end; b++, src += TSR_QK_K) {
        tsr_scaled s;
        uint16_t d = 0, dmin = 0;
        uint8_t ls[8] = {0}, lm[8] = {0}, q[TSR_QK_K] = {0};
        if (tsr_scale_block(&s, src, importance, TSR_QK_K)) {
            tsr_search_shared_affine(8, 32, 31, 63, &s, &d, &dmin, ls, lm);
            encode_super(&s, 8, 31, d, dmin, ls, lm, q);
        }
        b->d = d;
        b->dmin = dmin;
        tsr_q4_k_pack_scales(ls, lm, b->scales);
        pack_nibble_pairs(q, b->qs);
        memset(b->qh, 0, sizeof b->qh);
        for (int i = 0; i < TSR_QK_K; i++) b->qh[i % 32] |= (uint8_t)(q[i] >> 4 << (i / 32));
        if (importance) importance += TSR_QK_K;
    }
}

/* One scale a super-block, integers ls a sub-block; codes q, 0 where all weights are. Returns d. */
static uint16_t encode_shared(const tsr_grid *g, int n_sub, int limit, const float *x, const float *importance,
                              int8_t *ls, uint8_t q[TSR_QK_K]) {
    tsr_scaled s;
    uint16_t d = 0;
    int len = TSR_QK_K / n_sub;
    memset(ls, 0, (size_t)n_sub);
    if (!tsr_scale_block(&s, x, importance, TSR_QK_K)) {
        memset(s.x, 0, sizeof s.x);
    } else {
        tsr_search_shared_scale(g, n_sub, len, limit, &s, &d, ls);
    }
    float fd = scaled_f16(d, s.exponent);
    for (int j = 0; j < n_sub; j++) tsr_encode_scaled(g, len, s.x + j * len, fd * (float)ls[j], q + j * len);
    return d;
}

void tsr_quantize_q3_k(const float *src, void *dst, int64_t k, const float *importance) {
    for (tsr_block_q3_k *b = dst, *end = b + k / TSR_QK_K; b < end; b++, src += TSR_QK_K) {
        int8_t ls[16];
        uint8_t biased[16], q[TSR_QK_K];
        b->d = encode_shared(&grid_q3, 16, 32, src, importance, ls, q);
        for (int j = 0; j < 16; j++) biased[j] = (uint8_t)(ls[j] + 32);
        tsr_q3_k_pack_scales(biased, b->scales);
        pack_plane2(q, 0, b->qs);
        memset(b->hmask, 0, sizeof b->hmask);
        for (int i = 0; i < TSR_QK_K; i++) b->hmask[i % 32] |= (uint8_t)(q[i] >> 2 << (i / 32));
        if (importance) importance += TSR_QK_K;
    }
}

void tsr_quantize_q6_k(const float *src, void *dst, int64_t k, const float *importance) {
    for (tsr_block_q6_k *b = dst, *end = b + k / TSR_QK_K; b < end; b++, src += TSR_QK_K) {
        uint8_t q[TSR_QK_K];
        b->d = encode_shared(&grid_q6, 16, 128, src, importance, b->scales, q);
        for (int i = 0; i < 128; i++) {
            int first = i / 64 * 128 + i % 64;
            b->ql[i] = (uint8_t)((q[first] & 15) | (q[first + 64] & 15) << 4);
        }
        pack_plane2(q, 4, b->qh);
        if (importance) importance += TSR_QK_K;
    }
}

void tsr_quantize_iq4_nl(const float *src, void *dst, int64_t k, const float *importance) {
    tsr_grid grid;
    tsr_grid_codebook(&grid, tsr_iq4_values);
    for (tsr_block_iq4_nl *b = dst, *end = b + k / TSR_QK; b < end; b++, src += TSR_QK) {
        tsr_scaled s;
        uint16_t d = 0;
        uint8_t q[TSR_QK];
        if (tsr_scale_block(&s, src, importance, TSR_QK)) {
            d = tsr_search_f16_scale(&grid, TSR_QK, &s);
        } else {
            memset(s.x, 0, TSR_QK * sizeof *s.x);
        }
        b->d = d;
        tsr_encode_scaled(&grid, TSR_QK, s.x, scaled_f16(d, s.exponent), q);
        tsr_pack_nibbles(q, b->qs);
        if (importance) importance += TSR_QK;
    }
}

void tsr_quantize_iq4_xs(const float *src, void *dst, int64_t k, const float *importance) {
    tsr_grid grid;
    tsr_grid_codebook(&grid, tsr_iq4_values);
    for (tsr_block_iq4_xs *b = dst, *end = b + k / TSR_QK_K; b < end; b++, src += TSR_QK_K) {
        int8_t ls[8];
        uint8_t q[TSR_QK_K];
        uint16_t high = 0;
        b->d = encode_shared(&grid, 8, 32, src, importance, ls, q);
        memset(b->scales_l, 0, sizeof b->scales_l);
        for (int j = 0; j < 8; j++) {
            int s = ls[j] + 32;
            b->scales_l[j / 2] |= (uint8_t)((s & 15) << (j % 2 * 4));
            high = (uint16_t)(high | s >> 4 << (2 * j));
            tsr_pack_nibbles(q + 32 * j, b->qs + 16 * j);
        }
        b->scales_h = high;
        if (importance) importance += TSR_QK_K;
    }
}
