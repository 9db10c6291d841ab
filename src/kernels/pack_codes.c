/* pack_codes.c: GGUF blocks <-> codes in k order, one byte each. Eight codes at a time in a 64-bit word, so that plain C is
 * quick and compilers make vectors of it. Where the codes lie in a block: quant/blocks.h and quant/dequantize.c. */
#include "kernels/pack.h"
#include "quant/blocks.h"

#include <string.h>

/* A byte in each of eight. */
#define EIGHT(byte) (0x0101010101010101u * (byte))

static inline uint64_t load64(const uint8_t *p) {
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

static inline void store64(uint8_t *p, uint64_t w) { memcpy(p, &w, sizeof w); }

/* --- low bits: `count` bytes hold a run of codes in each of their fields, lowest field first ------------------------------- */

/* codes[i] and codes[count + i] = low and high nibble of q[i] */
static inline void get_nibbles(const uint8_t *restrict q, int count, uint8_t *restrict codes) {
    for (int i = 0; i < count; i += 8) {
        uint64_t w = load64(q + i);
        store64(codes + i, w & EIGHT(15));
        store64(codes + count + i, w >> 4 & EIGHT(15));
    }
}

static inline void put_nibbles(const uint8_t *restrict codes, int count, uint8_t *restrict q) {
    for (int i = 0; i < count; i += 8)
        store64(q + i, (load64(codes + i) & EIGHT(15)) | (load64(codes + count + i) & EIGHT(15)) << 4);
}

/* codes[32 f + i] = bits 2 f, 2 f + 1 of q[i], i < 32 */
static inline void get_pairs(const uint8_t *restrict q, uint8_t *restrict codes) {
    for (int f = 0; f < 4; f++)
        for (int i = 0; i < 32; i += 8) store64(codes + 32 * f + i, load64(q + i) >> 2 * f & EIGHT(3));
}

/* The inverse for bits shift, shift + 1 of the codes. */
static inline void put_pairs(const uint8_t *restrict codes, int shift, uint8_t *restrict q) {
    for (int i = 0; i < 32; i += 8) {
        uint64_t w = 0;
        for (int f = 0; f < 4; f++) w |= (load64(codes + 32 * f + i) >> shift & EIGHT(3)) << 2 * f;
        store64(q + i, w);
    }
}

/* --- high bits ------------------------------------------------------------------------------------------------------------- */

/* codes[32 j + i] |= bit j of q[i] << shift, i < 32, j < 8 */
static inline void or_bits(const uint8_t *restrict q, int shift, uint8_t *restrict codes) {
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 32; i += 8) {
            uint8_t *c = codes + 32 * j + i;
            store64(c, load64(c) | (load64(q + i) >> j & EIGHT(1)) << shift);
        }
}

static inline void put_bits(const uint8_t *restrict codes, int shift, uint8_t *restrict q) {
    for (int i = 0; i < 32; i += 8) {
        uint64_t w = 0;
        for (int j = 0; j < 8; j++) w |= (load64(codes + 32 * j + i) >> shift & EIGHT(1)) << j;
        store64(q + i, w);
    }
}

/* Byte i = 16 where bit i is set, else 0. */
static inline uint64_t spread16(uint8_t bits) {
    uint64_t picked = EIGHT(bits) & 0x8040201008040201u; /* byte i: bit i alone */
    return ((picked + EIGHT(0x7f)) & EIGHT(0x80)) >> 3;  /* a set bit carries into bit 7, and no further */
}

/* The inverse: bit i = bit 4 of byte i. The product moves bit 0 of byte i to bit 56 + i. */
static inline uint8_t gather16(uint64_t codes) { return (uint8_t)(((codes >> 4 & EIGHT(1)) * 0x0102040810204080u) >> 56); }

/* --- formats of 32 weights: nibbles at qs, and perhaps the fifth bits at qh ------------------------------------------------ */

typedef struct simple {
    int bytes, qs, qh; /* of a block; offsets, qh 0: none */
} simple;

static const simple q4_0 = {sizeof(tsr_block_q4_0), offsetof(tsr_block_q4_0, qs), 0};
static const simple q4_1 = {sizeof(tsr_block_q4_1), offsetof(tsr_block_q4_1, qs), 0};
static const simple q5_0 = {sizeof(tsr_block_q5_0), offsetof(tsr_block_q5_0, qs), offsetof(tsr_block_q5_0, qh)};
static const simple q5_1 = {sizeof(tsr_block_q5_1), offsetof(tsr_block_q5_1, qs), offsetof(tsr_block_q5_1, qh)};
static const simple iq4_nl = {sizeof(tsr_block_iq4_nl), offsetof(tsr_block_iq4_nl, qs), 0};
static const simple mxfp4 = {sizeof(tsr_block_mxfp4), offsetof(tsr_block_mxfp4, qs), 0};

static void get_simple(const simple *f, const uint8_t *b, int64_t k, uint8_t *codes) {
    for (const uint8_t *end = b + k / TSR_QK * f->bytes; b < end; b += f->bytes, codes += TSR_QK) {
        get_nibbles(b + f->qs, 16, codes);
        if (f->qh == 0) continue;
        for (int i = 0; i < 4; i++) store64(codes + 8 * i, load64(codes + 8 * i) | spread16(b[f->qh + i]));
    }
}

static void put_simple(const simple *f, const uint8_t *codes, int64_t k, uint8_t *b) {
    for (const uint8_t *end = b + k / TSR_QK * f->bytes; b < end; b += f->bytes, codes += TSR_QK) {
        put_nibbles(codes, 16, b + f->qs);
        if (f->qh == 0) continue;
        for (int i = 0; i < 4; i++) b[f->qh + i] = gather16(load64(codes + 8 * i));
    }
}

/* Two's complement <-> plus 128 is a flip of the top bit. */
static void get_q8_0(const tsr_block_q8_0 *b, int64_t k, uint8_t *codes) {
    for (const tsr_block_q8_0 *end = b + k / TSR_QK; b < end; b++, codes += TSR_QK)
        for (int i = 0; i < TSR_QK; i++) codes[i] = (uint8_t)b->qs[i] ^ 0x80;
}

static void put_q8_0(const uint8_t *codes, int64_t k, tsr_block_q8_0 *b) {
    for (const tsr_block_q8_0 *end = b + k / TSR_QK; b < end; b++, codes += TSR_QK)
        for (int i = 0; i < TSR_QK; i++) b->qs[i] = (int8_t)(codes[i] ^ 0x80);
}

/* --- K formats, one block of 256 weights ----------------------------------------------------------------------------------- */

static void get_q2_k(const tsr_block_q2_k *b, uint8_t *codes) {
    for (int h = 0; h < 2; h++) get_pairs(b->qs + 32 * h, codes + 128 * h);
}

static void put_q2_k(const uint8_t *codes, tsr_block_q2_k *b) {
    for (int h = 0; h < 2; h++) put_pairs(codes + 128 * h, 0, b->qs + 32 * h);
}

static void get_q3_k(const tsr_block_q3_k *b, uint8_t *codes) {
    for (int h = 0; h < 2; h++) get_pairs(b->qs + 32 * h, codes + 128 * h);
    or_bits(b->hmask, 2, codes);
}

static void put_q3_k(const uint8_t *codes, tsr_block_q3_k *b) {
    for (int h = 0; h < 2; h++) put_pairs(codes + 128 * h, 0, b->qs + 32 * h);
    put_bits(codes, 2, b->hmask);
}

static void get_q4_k(const tsr_block_q4_k *b, uint8_t *codes) {
    for (int j = 0; j < 4; j++) get_nibbles(b->qs + 32 * j, 32, codes + 64 * j);
}

static void put_q4_k(const uint8_t *codes, tsr_block_q4_k *b) {
    for (int j = 0; j < 4; j++) put_nibbles(codes + 64 * j, 32, b->qs + 32 * j);
}

static void get_q5_k(const tsr_block_q5_k *b, uint8_t *codes) {
    for (int j = 0; j < 4; j++) get_nibbles(b->qs + 32 * j, 32, codes + 64 * j);
    or_bits(b->qh, 4, codes);
}

static void put_q5_k(const uint8_t *codes, tsr_block_q5_k *b) {
    for (int j = 0; j < 4; j++) put_nibbles(codes + 64 * j, 32, b->qs + 32 * j);
    put_bits(codes, 4, b->qh);
}

static void get_q6_k(const tsr_block_q6_k *b, uint8_t *restrict codes) {
    for (int h = 0; h < 2; h++, codes += 128) {
        get_nibbles(b->ql + 64 * h, 64, codes);
        for (int f = 0; f < 4; f++)
            for (int i = 0; i < 32; i += 8) {
                uint8_t *c = codes + 32 * f + i;
                store64(c, load64(c) | (load64(b->qh + 32 * h + i) >> 2 * f & EIGHT(3)) << 4);
            }
    }
}

static void put_q6_k(const uint8_t *codes, tsr_block_q6_k *b) {
    for (int h = 0; h < 2; h++) {
        put_nibbles(codes + 128 * h, 64, b->ql + 64 * h);
        put_pairs(codes + 128 * h, 4, b->qh + 32 * h);
    }
}

static void get_iq4_xs(const tsr_block_iq4_xs *b, uint8_t *codes) {
    for (int j = 0; j < 8; j++) get_nibbles(b->qs + 16 * j, 16, codes + 32 * j);
}

static void put_iq4_xs(const uint8_t *codes, tsr_block_iq4_xs *b) {
    for (int j = 0; j < 8; j++) put_nibbles(codes + 32 * j, 16, b->qs + 16 * j);
}

/* --------------------------------------------------------------------------------------------------------------------------- */

void tsr_pack_get_codes(tsr_type type, const uint8_t *blocks, int64_t k, uint8_t *codes) {
    const void *b = blocks;
    switch (type) {
    case TSR_Q4_0: get_simple(&q4_0, b, k, codes); return;
    case TSR_Q4_1: get_simple(&q4_1, b, k, codes); return;
    case TSR_Q5_0: get_simple(&q5_0, b, k, codes); return;
    case TSR_Q5_1: get_simple(&q5_1, b, k, codes); return;
    case TSR_IQ4_NL: get_simple(&iq4_nl, b, k, codes); return;
    case TSR_MXFP4: get_simple(&mxfp4, b, k, codes); return;
    case TSR_Q8_0: get_q8_0(b, k, codes); return;
    default: break;
    }
    int64_t bytes = tsr_type_get(type)->block_bytes;
    for (int64_t i = 0; i < k / TSR_QK_K; i++, b = blocks + i * bytes, codes += TSR_QK_K) switch (type) {
        case TSR_Q2_K: get_q2_k(b, codes); break;
        case TSR_Q3_K: get_q3_k(b, codes); break;
        case TSR_Q4_K: get_q4_k(b, codes); break;
        case TSR_Q5_K: get_q5_k(b, codes); break;
        case TSR_Q6_K: get_q6_k(b, codes); break;
        case TSR_IQ4_XS: get_iq4_xs(b, codes); break;
        default: return;
        }
}

void tsr_pack_put_codes(tsr_type type, const uint8_t *codes, int64_t k, uint8_t *blocks) {
    void *b = blocks;
    switch (type) {
    case TSR_Q4_0: put_simple(&q4_0, codes, k, b); return;
    case TSR_Q4_1: put_simple(&q4_1, codes, k, b); return;
    case TSR_Q5_0: put_simple(&q5_0, codes, k, b); return;
    case TSR_Q5_1: put_simple(&q5_1, codes, k, b); return;
    case TSR_IQ4_NL: put_simple(&iq4_nl, codes, k, b); return;
    case TSR_MXFP4: put_simple(&mxfp4, codes, k, b); return;
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
