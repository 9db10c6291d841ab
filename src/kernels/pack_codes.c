/* pack_codes.c: codes in k order, one byte each -> GGUF blocks: the inverse of pack_get_codes.h, in its way. */
#include "kernels/pack_get_codes.h"

void tsr_pack_get_codes__scalar(tsr_type type, const uint8_t *blocks, int64_t k, uint8_t *codes) {
    get_codes(type, blocks, k, codes);
}

/* Low nibbles of codes[i] and codes[count + i] to q[i]. */
static inline void put_nibbles(const uint8_t *restrict codes, int count, uint8_t *restrict q) {
    for (int i = 0; i < count; i += 8)
        store64(q + i, (load64(codes + i) & eight(15)) | (load64(codes + count + i) & eight(15)) << 4);
}

/* Bits shift, shift + 1 of codes[32 f + i] to bits 2 f, 2 f + 1 of q[i], i < 32. */
static inline void put_pairs(const uint8_t *restrict codes, int shift, uint8_t *restrict q) {
    for (int i = 0; i < 32; i += 8) {
        uint64_t w = 0;
        for (int f = 0; f < 4; f++) w |= (load64(codes + 32 * f + i) >> shift & eight(3)) << 2 * f;
        store64(q + i, w);
    }
}

/* Bit shift of codes[32 j + i] to bit j of q[i], i < 32. */
static inline void put_bits(const uint8_t *restrict codes, int shift, uint8_t *restrict q) {
    for (int i = 0; i < 32; i += 8) {
        uint64_t w = 0;
        for (int j = 0; j < 8; j++) w |= (load64(codes + 32 * j + i) >> shift & eight(1)) << j;
        store64(q + i, w);
    }
}

/* The inverse of spread16: bit i = bit 4 of byte i. The product moves bit 0 of byte i to bit 56 + i. */
static inline uint8_t gather16(uint64_t codes) { return (uint8_t)(((codes >> 4 & eight(1)) * 0x0102040810204080u) >> 56); }

/* --- formats of 32 weights: nibbles at qs, and perhaps the fifth bits at qh ------------------------------------------------ */

static void put_simple(const simple_block *f, const uint8_t *codes, int64_t k, uint8_t *b) {
    for (const uint8_t *end = b + k / TSR_QK * f->bytes; b < end; b += f->bytes, codes += TSR_QK) {
        put_nibbles(codes, 16, b + f->qs);
        if (f->qh == 0) continue;
        for (int i = 0; i < 4; i++) b[f->qh + i] = gather16(load64(codes + 8 * i));
    }
}

static void put_q8_0(const uint8_t *codes, int64_t k, tsr_block_q8_0 *b) {
    for (const tsr_block_q8_0 *end = b + k / TSR_QK; b < end; b++, codes += TSR_QK)
        for (int i = 0; i < TSR_QK; i++) b->qs[i] = (int8_t)(codes[i] ^ 0x80);
}

/* --- K formats, one block of 256 weights ----------------------------------------------------------------------------------- */

static void put_q2_k(const uint8_t *codes, tsr_block_q2_k *b) {
    for (int h = 0; h < 2; h++) put_pairs(codes + 128 * h, 0, b->qs + 32 * h);
}

static void put_q3_k(const uint8_t *codes, tsr_block_q3_k *b) {
    for (int h = 0; h < 2; h++) put_pairs(codes + 128 * h, 0, b->qs + 32 * h);
    put_bits(codes, 2, b->hmask);
}

static void put_q4_k(const uint8_t *codes, tsr_block_q4_k *b) {
    for (int j = 0; j < 4; j++) put_nibbles(codes + 64 * j, 32, b->qs + 32 * j);
}

static void put_q5_k(const uint8_t *codes, tsr_block_q5_k *b) {
    for (int j = 0; j < 4; j++) put_nibbles(codes + 64 * j, 32, b->qs + 32 * j);
    put_bits(codes, 4, b->qh);
}

static void put_q6_k(const uint8_t *codes, tsr_block_q6_k *b) {
    for (int h = 0; h < 2; h++) {
        put_nibbles(codes + 128 * h, 64, b->ql + 64 * h);
        put_pairs(codes + 128 * h, 4, b->qh + 32 * h);
    }
}

static void put_iq4_xs(const uint8_t *codes, tsr_block_iq4_xs *b) {
    for (int j = 0; j < 8; j++) put_nibbles(codes + 32 * j, 16, b->qs + 16 * j);
}

/* --------------------------------------------------------------------------------------------------------------------------- */

void tsr_pack_put_codes(tsr_type type, const uint8_t *codes, int64_t k, uint8_t *blocks) {
    void *b = blocks;
    switch (type) {
    case TSR_Q4_0: put_simple(&simple_q4_0, codes, k, b); return;
    case TSR_Q4_1: put_simple(&simple_q4_1, codes, k, b); return;
    case TSR_Q5_0: put_simple(&simple_q5_0, codes, k, b); return;
    case TSR_Q5_1: put_simple(&simple_q5_1, codes, k, b); return;
    case TSR_IQ4_NL: put_simple(&simple_iq4_nl, codes, k, b); return;
    case TSR_MXFP4: put_simple(&simple_mxfp4, codes, k, b); return;
    case TSR_Q8_0: put_q8_0(codes, k, b); return;
    default: break;
    }
    int64_t bytes = tsr_type_get(type)->block_bytes;
    for (int64_t i = 0; i < k / TSR_QK_K; i++, b = blocks + i * bytes, codes += TSR_QK_K) switch (type) {
        case TSR_Q2_K: put_q2_k(codes, b); break;
        case TSR_Q3_K: put_q3_k(codes, b); break;
        case TSR_Q4_K: put_q4_k(codes, b); break;
        case TSR_Q5_K: put_q5_k(codes, b); break;
        case TSR_Q6_K: put_q6_k(codes, b); break;
        case TSR_IQ4_XS: put_iq4_xs(codes, b); break;
        default: return;
        }
}
