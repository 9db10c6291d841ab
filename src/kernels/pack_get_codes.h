/* pack_get_codes.h: GGUF blocks -> codes in k order, one byte each. Eight codes at a time in a 64-bit word: plain C from which the
 * compiler makes vectors, so each tier's file includes this and compiles it with its own flags. Where the codes lie in a block:
 * quant/blocks.h and quant/dequantize.c. */
#ifndef TSR_KERNELS_PACK_GET_CODES_H
#define TSR_KERNELS_PACK_GET_CODES_H

#include "kernels/pack.h"
#include "quant/blocks.h"

#include <stddef.h>
#include <string.h>

/* The byte in each of eight. */
static inline uint64_t eight(uint8_t byte) { return 0x0101010101010101u * byte; }

static inline uint64_t load64(const uint8_t *p) {
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

static inline void store64(uint8_t *p, uint64_t w) { memcpy(p, &w, sizeof w); }

typedef struct simple_block {
    int bytes, qs, qh; /* bytes of a block; offsets of nibbles and fifth bits, 0: none */
} simple_block;

static const simple_block simple_q4_0 = {sizeof(tsr_block_q4_0), offsetof(tsr_block_q4_0, qs), 0};
static const simple_block simple_q4_1 = {sizeof(tsr_block_q4_1), offsetof(tsr_block_q4_1, qs), 0};
static const simple_block simple_q5_0 = {sizeof(tsr_block_q5_0), offsetof(tsr_block_q5_0, qs), offsetof(tsr_block_q5_0, qh)};
static const simple_block simple_q5_1 = {sizeof(tsr_block_q5_1), offsetof(tsr_block_q5_1, qs), offsetof(tsr_block_q5_1, qh)};
static const simple_block simple_iq4_nl = {sizeof(tsr_block_iq4_nl), offsetof(tsr_block_iq4_nl, qs), 0};
static const simple_block simple_mxfp4 = {sizeof(tsr_block_mxfp4), offsetof(tsr_block_mxfp4, qs), 0};

/* codes[i] and codes[count + i] = low and high nibble of q[i] */
static inline void get_nibbles(const uint8_t *restrict q, int count, uint8_t *restrict codes) {
    for (int i = 0; i < count; i += 8) {
        uint64_t w = load64(q + i);
        store64(codes + i, w & eight(15));
        store64(codes + count + i, w >> 4 & eight(15));
    }
}

/* Byte i = 16 where bit i is set, else 0. */
static inline uint64_t spread16(uint8_t bits) {
    uint64_t picked = eight(bits) & 0x8040201008040201u; /* byte i: bit i alone */
    return ((picked + eight(0x7f)) & eight(0x80)) >> 3;  /* a set bit carries into bit 7, and no further */
}

static inline __attribute__((always_inline)) void get_simple(const simple_block *f, const uint8_t *b, int64_t k, uint8_t *codes) {
    for (const uint8_t *end = b + k / TSR_QK * f->bytes; b < end; b += f->bytes, codes += TSR_QK) {
        get_nibbles(b + f->qs, 16, codes);
        if (f->qh == 0) continue;
        for (int i = 0; i < 4; i++) store64(codes + 8 * i, load64(codes + 8 * i) | spread16(b[f->qh + i]));
    }
}

/* Two's complement <-> plus 128 is a flip of the top bit. */
static inline void get_q8_0(const tsr_block_q8_0 *b, int64_t k, uint8_t *codes) {
    for (const tsr_block_q8_0 *end = b + k / TSR_QK; b < end; b++, codes += TSR_QK)
        for (int i = 0; i < TSR_QK; i++) codes[i] = (uint8_t)b->qs[i] ^ 0x80;
}

/* --- K formats, one block of 256 weights ----------------------------------------------------------------------------------- */

/* Weight 128 h + 32 f + i: bits 2 f, 2 f + 1 of byte 32 h + i; Q3_K also bit 4 h + f of byte i. */
static inline void get_q2_k(const tsr_block_q2_k *restrict b, uint8_t *restrict codes) {
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 32; i += 8) store64(codes + 32 * j + i, load64(b->qs + j / 4 * 32 + i) >> j % 4 * 2 & eight(3));
}

static inline void get_q3_k(const tsr_block_q3_k *restrict b, uint8_t *restrict codes) {
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 32; i += 8) {
            uint64_t low = load64(b->qs + j / 4 * 32 + i) >> j % 4 * 2 & eight(3);
            store64(codes + 32 * j + i, low | (load64(b->hmask + i) >> j & eight(1)) << 2);
        }
}

static inline void get_q4_k(const tsr_block_q4_k *restrict b, uint8_t *restrict codes) {
    for (int j = 0; j < 4; j++) get_nibbles(b->qs + 32 * j, 32, codes + 64 * j);
}

static inline void get_q5_k(const tsr_block_q5_k *restrict b, uint8_t *restrict codes) {
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 32; i += 8) {
            uint64_t low = load64(b->qs + j / 2 * 32 + i) >> j % 2 * 4 & eight(15);
            store64(codes + 32 * j + i, low | (load64(b->qh + i) >> j & eight(1)) << 4);
        }
}

/* Weight 128 h + 32 f + i: nibble f / 2 of byte 64 h + 32 (f % 2) + i, and bits 2 f, 2 f + 1 of byte 32 h + i. */
static inline void get_q6_k(const tsr_block_q6_k *restrict b, uint8_t *restrict codes) {
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 32; i += 8) {
            uint64_t low = load64(b->ql + j / 4 * 64 + j % 2 * 32 + i) >> j % 4 / 2 * 4 & eight(15);
            store64(codes + 32 * j + i, low | (load64(b->qh + j / 4 * 32 + i) >> j % 4 * 2 & eight(3)) << 4);
        }
}

static inline void get_iq4_xs(const tsr_block_iq4_xs *restrict b, uint8_t *restrict codes) {
    for (int j = 0; j < 8; j++) get_nibbles(b->qs + 16 * j, 16, codes + 32 * j);
}

/* The function of the record (pack.h). */
static inline void get_codes(tsr_type type, const uint8_t *blocks, int64_t k, uint8_t *codes) {
    const void *b = blocks;
    switch (type) {
    case TSR_Q4_0: get_simple(&simple_q4_0, b, k, codes); return;
    case TSR_Q4_1: get_simple(&simple_q4_1, b, k, codes); return;
    case TSR_Q5_0: get_simple(&simple_q5_0, b, k, codes); return;
    case TSR_Q5_1: get_simple(&simple_q5_1, b, k, codes); return;
    case TSR_IQ4_NL: get_simple(&simple_iq4_nl, b, k, codes); return;
    case TSR_MXFP4: get_simple(&simple_mxfp4, b, k, codes); return;
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

#endif
