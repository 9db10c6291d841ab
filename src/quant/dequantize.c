/* dequantize.c: reference dequantisers. The order of the float operations is the oracle's (gguf/quants.py): results are
 * bit-exact with it for every bit pattern. A caller gives k as a multiple of the block. */
#include "quant/blocks.h"
#include "quant/quant.h"

#include <string.h>

static void dequantize_f32(const void *src, float *dst, int64_t k) { memcpy(dst, src, (size_t)k * sizeof *dst); }

static void dequantize_f16(const void *src, float *dst, int64_t k) {
    const uint8_t *s = src;
    for (int64_t i = 0; i < k; i++) dst[i] = tsr_f16_to_f32((uint16_t)(s[2 * i] | s[2 * i + 1] << 8));
}

static void dequantize_bf16(const void *src, float *dst, int64_t k) {
    const uint8_t *s = src;
    for (int64_t i = 0; i < k; i++) dst[i] = tsr_bf16_to_f32((uint16_t)(s[2 * i] | s[2 * i + 1] << 8));
}

static void dequantize_q4_0(const void *src, float *dst, int64_t k) {
    const tsr_block_q4_0 *b = src;
    for (int64_t i = 0; i < k / TSR_QK; i++, dst += TSR_QK) {
        float d = tsr_f16_to_f32(b[i].d);
        for (int l = 0; l < 16; l++) {
            dst[l] = d * (float)((b[i].qs[l] & 15) - 8);
            dst[l + 16] = d * (float)((b[i].qs[l] >> 4) - 8);
        }
    }
}

static void dequantize_q4_1(const void *src, float *dst, int64_t k) {
    const tsr_block_q4_1 *b = src;
    for (int64_t i = 0; i < k / TSR_QK; i++, dst += TSR_QK) {
        float d = tsr_f16_to_f32(b[i].d), m = tsr_f16_to_f32(b[i].m);
        for (int l = 0; l < 16; l++) {
            dst[l] = d * (float)(b[i].qs[l] & 15) + m;
            dst[l + 16] = d * (float)(b[i].qs[l] >> 4) + m;
        }
    }
}

/* Bit l of qh is bit 4 of code l. */
static int q5_code(const uint8_t qh[4], const uint8_t qs[16], int l) {
    int low = l < 16 ? qs[l] & 15 : qs[l - 16] >> 4;
    return low | (qh[l / 8] >> (l % 8) & 1) << 4;
}

static void dequantize_q5_0(const void *src, float *dst, int64_t k) {
    const tsr_block_q5_0 *b = src;
    for (int64_t i = 0; i < k / TSR_QK; i++, dst += TSR_QK) {
        float d = tsr_f16_to_f32(b[i].d);
        for (int l = 0; l < TSR_QK; l++) dst[l] = d * (float)(q5_code(b[i].qh, b[i].qs, l) - 16);
    }
}

static void dequantize_q5_1(const void *src, float *dst, int64_t k) {
    const tsr_block_q5_1 *b = src;
    for (int64_t i = 0; i < k / TSR_QK; i++, dst += TSR_QK) {
        float d = tsr_f16_to_f32(b[i].d), m = tsr_f16_to_f32(b[i].m);
        for (int l = 0; l < TSR_QK; l++) dst[l] = d * (float)q5_code(b[i].qh, b[i].qs, l) + m;
    }
}

static void dequantize_q8_0(const void *src, float *dst, int64_t k) {
    const tsr_block_q8_0 *b = src;
    for (int64_t i = 0; i < k / TSR_QK; i++, dst += TSR_QK) {
        float d = tsr_f16_to_f32(b[i].d);
        for (int l = 0; l < TSR_QK; l++) dst[l] = d * (float)b[i].qs[l];
    }
}

static void dequantize_iq4_nl(const void *src, float *dst, int64_t k) {
    const tsr_block_iq4_nl *b = src;
    for (int64_t i = 0; i < k / TSR_QK; i++, dst += TSR_QK) {
        float d = tsr_f16_to_f32(b[i].d);
        for (int l = 0; l < 16; l++) {
            dst[l] = d * (float)tsr_iq4_values[b[i].qs[l] & 15];
            dst[l + 16] = d * (float)tsr_iq4_values[b[i].qs[l] >> 4];
        }
    }
}

static void dequantize_mxfp4(const void *src, float *dst, int64_t k) {
    const tsr_block_mxfp4 *b = src;
    for (int64_t i = 0; i < k / TSR_QK; i++, dst += TSR_QK) {
        float d = tsr_e8m0_half(b[i].e);
        for (int l = 0; l < 16; l++) {
            dst[l] = d * (float)tsr_mxfp4_values[b[i].qs[l] & 15];
            dst[l + 16] = d * (float)tsr_mxfp4_values[b[i].qs[l] >> 4];
        }
    }
}

/* 2-bit planes of Q2_K, Q3_K (qs) and Q6_K (qh): each 32 bytes hold 4 x 32 weights, lowest bits first. */
static int plane2(const uint8_t *qs, int i) { return qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3; }

static void dequantize_q2_k(const void *src, float *dst, int64_t k) {
    const tsr_block_q2_k *b = src;
    for (const tsr_block_q2_k *end = b + k / TSR_QK_K; b < end; b++, dst += TSR_QK_K) {
        float d = tsr_f16_to_f32(b->d), dmin = tsr_f16_to_f32(b->dmin);
        for (int j = 0; j < 16; j++) {
            float dl = d * (float)(b->scales[j] & 15), ml = dmin * (float)(b->scales[j] >> 4);
            for (int i = 16 * j; i < 16 * j + 16; i++) dst[i] = dl * (float)plane2(b->qs, i) - ml;
        }
    }
}

static void dequantize_q3_k(const void *src, float *dst, int64_t k) {
    const tsr_block_q3_k *b = src;
    uint8_t s[16];
    for (const tsr_block_q3_k *end = b + k / TSR_QK_K; b < end; b++, dst += TSR_QK_K) {
        float d = tsr_f16_to_f32(b->d);
        tsr_q3_k_unpack_scales(b->scales, s);
        for (int j = 0; j < 16; j++) {
            float dl = d * (float)(s[j] - 32);
            for (int i = 16 * j; i < 16 * j + 16; i++) {
                int high = b->hmask[i % 32] >> (i / 32) & 1; /* set: 0..3, clear: -4..-1 */
                dst[i] = dl * (float)(plane2(b->qs, i) - (high ? 0 : 4));
            }
        }
    }
}

static void dequantize_q4_k(const void *src, float *dst, int64_t k) {
    const tsr_block_q4_k *b = src;
    uint8_t s[8], m[8];
    for (const tsr_block_q4_k *end = b + k / TSR_QK_K; b < end; b++, dst += TSR_QK_K) {
        float d = tsr_f16_to_f32(b->d), dmin = tsr_f16_to_f32(b->dmin);
        tsr_q4_k_unpack_scales(b->scales, s, m);
        for (int j = 0; j < 8; j++) {
            const uint8_t *qs = b->qs + j / 2 * 32;
            float dl = d * (float)s[j], ml = dmin * (float)m[j];
            for (int l = 0; l < 32; l++) dst[32 * j + l] = dl * (float)(qs[l] >> (j % 2 * 4) & 15) - ml;
        }
    }
}

static void dequantize_q5_k(const void *src, float *dst, int64_t k) {
    const tsr_block_q5_k *b = src;
    uint8_t s[8], m[8];
    for (const tsr_block_q5_k *end = b + k / TSR_QK_K; b < end; b++, dst += TSR_QK_K) {
        float d = tsr_f16_to_f32(b->d), dmin = tsr_f16_to_f32(b->dmin);
        tsr_q4_k_unpack_scales(b->scales, s, m);
        for (int j = 0; j < 8; j++) {
            const uint8_t *qs = b->qs + j / 2 * 32;
            float dl = d * (float)s[j], ml = dmin * (float)m[j];
            for (int l = 0; l < 32; l++) {
                int q = (qs[l] >> (j % 2 * 4) & 15) | (b->qh[l] >> j & 1) << 4;
                dst[32 * j + l] = dl * (float)q - ml;
            }
        }
    }
}

static void dequantize_q6_k(const void *src, float *dst, int64_t k) {
    const tsr_block_q6_k *b = src;
    for (const tsr_block_q6_k *end = b + k / TSR_QK_K; b < end; b++, dst += TSR_QK_K) {
        float d = tsr_f16_to_f32(b->d);
        for (int j = 0; j < 16; j++) {
            float dl = d * (float)b->scales[j];
            for (int i = 16 * j; i < 16 * j + 16; i++) {
                int low = b->ql[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
                dst[i] = dl * (float)((low | plane2(b->qh, i) << 4) - 32);
            }
        }
    }
}

static void dequantize_iq4_xs(const void *src, float *dst, int64_t k) {
    const tsr_block_iq4_xs *b = src;
    for (const tsr_block_iq4_xs *end = b + k / TSR_QK_K; b < end; b++, dst += TSR_QK_K) {
        float d = tsr_f16_to_f32(b->d);
        for (int j = 0; j < 8; j++) {
            int s = (b->scales_l[j / 2] >> (j % 2 * 4) & 15) | (b->scales_h >> (2 * j) & 3) << 4;
            float dl = d * (float)(s - 32);
            const uint8_t *qs = b->qs + 16 * j;
            for (int l = 0; l < 16; l++) {
                dst[32 * j + l] = dl * (float)tsr_iq4_values[qs[l] & 15];
                dst[32 * j + l + 16] = dl * (float)tsr_iq4_values[qs[l] >> 4];
            }
        }
    }
}

tsr_dequantize_fn tsr_dequantizer(uint32_t type) {
    static const tsr_dequantize_fn fn[TSR_TYPE_COUNT] = {
        [TSR_F32] = dequantize_f32,     [TSR_F16] = dequantize_f16,       [TSR_BF16] = dequantize_bf16,
        [TSR_Q4_0] = dequantize_q4_0,   [TSR_Q4_1] = dequantize_q4_1,     [TSR_Q5_0] = dequantize_q5_0,
        [TSR_Q5_1] = dequantize_q5_1,   [TSR_Q8_0] = dequantize_q8_0,     [TSR_Q2_K] = dequantize_q2_k,
        [TSR_Q3_K] = dequantize_q3_k,   [TSR_Q4_K] = dequantize_q4_k,     [TSR_Q5_K] = dequantize_q5_k,
        [TSR_Q6_K] = dequantize_q6_k,   [TSR_IQ4_NL] = dequantize_iq4_nl, [TSR_IQ4_XS] = dequantize_iq4_xs,
        [TSR_MXFP4] = dequantize_mxfp4,
    };
    return type < TSR_TYPE_COUNT ? fn[type] : NULL;
}
