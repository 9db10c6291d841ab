/* blocks.h: the blocks of the quantised formats as they lie in a GGUF file. Pictures and formulas: doc/formats.md.
 *
 * Little-endian and packed: a block has alignment 1, so a row may start anywhere. d, m and dmin are IEEE 754 binary16
 * bit patterns. Source: gguf/quants.py and gguf/constants.py (GGML_QUANT_SIZES) of the Python package gguf.
 */
#ifndef TSR_QUANT_BLOCKS_H
#define TSR_QUANT_BLOCKS_H

#include <stdint.h>

#define TSR_PACKED __attribute__((packed))

enum {
    TSR_QK = 32,    /* weights in a block of the simple formats */
    TSR_QK_K = 256, /* weights in a super-block of the K formats */
};

/* Codes of the simple formats: byte l of qs holds weight l (low nibble) and weight l + 16 (high nibble). */
typedef struct TSR_PACKED { uint16_t d; uint8_t qs[16]; } tsr_block_q4_0;                    /* d (q - 8) */
typedef struct TSR_PACKED { uint16_t d, m; uint8_t qs[16]; } tsr_block_q4_1;                 /* d q + m */
typedef struct TSR_PACKED { uint16_t d; uint8_t qh[4], qs[16]; } tsr_block_q5_0;             /* d (q - 16) */
typedef struct TSR_PACKED { uint16_t d, m; uint8_t qh[4], qs[16]; } tsr_block_q5_1;          /* d q + m */
typedef struct TSR_PACKED { uint16_t d; int8_t qs[32]; } tsr_block_q8_0;                     /* d q */
typedef struct TSR_PACKED { uint16_t d; uint8_t qs[16]; } tsr_block_iq4_nl;                  /* d codebook[q] */
typedef struct TSR_PACKED { uint8_t e, qs[16]; } tsr_block_mxfp4;                            /* 2^(e-127) e2m1[q] */

/* 16 sub-blocks of 16 weights; scales[i]: low nibble scale, high nibble min. d s q - dmin m */
typedef struct TSR_PACKED { uint8_t scales[16], qs[64]; uint16_t d, dmin; } tsr_block_q2_k;
/* 16 sub-blocks of 16 weights; 16 scales of 6 bits in 12 bytes. d (s - 32) q, q in -4..3 */
typedef struct TSR_PACKED { uint8_t hmask[32], qs[64], scales[12]; uint16_t d; } tsr_block_q3_k;
/* 8 sub-blocks of 32 weights; 8 scales and 8 mins of 6 bits in 12 bytes. d s q - dmin m */
typedef struct TSR_PACKED { uint16_t d, dmin; uint8_t scales[12], qs[128]; } tsr_block_q4_k;
typedef struct TSR_PACKED { uint16_t d, dmin; uint8_t scales[12], qh[32], qs[128]; } tsr_block_q5_k;
/* 16 sub-blocks of 16 weights. d s (q - 32) */
typedef struct TSR_PACKED { uint8_t ql[128], qh[64]; int8_t scales[16]; uint16_t d; } tsr_block_q6_k;
/* 8 sub-blocks of 32 weights; 8 scales of 6 bits: 4 in scales_l, the upper 2 in scales_h. d (s - 32) codebook[q] */
typedef struct TSR_PACKED { uint16_t d, scales_h; uint8_t scales_l[4], qs[128]; } tsr_block_iq4_xs;

_Static_assert(sizeof(tsr_block_q4_0) == 18, "Q4_0 block");
_Static_assert(sizeof(tsr_block_q4_1) == 20, "Q4_1 block");
_Static_assert(sizeof(tsr_block_q5_0) == 22, "Q5_0 block");
_Static_assert(sizeof(tsr_block_q5_1) == 24, "Q5_1 block");
_Static_assert(sizeof(tsr_block_q8_0) == 34, "Q8_0 block");
_Static_assert(sizeof(tsr_block_iq4_nl) == 18, "IQ4_NL block");
_Static_assert(sizeof(tsr_block_mxfp4) == 17, "MXFP4 block");
_Static_assert(sizeof(tsr_block_q2_k) == 84, "Q2_K block");
_Static_assert(sizeof(tsr_block_q3_k) == 110, "Q3_K block");
_Static_assert(sizeof(tsr_block_q4_k) == 144, "Q4_K block");
_Static_assert(sizeof(tsr_block_q5_k) == 176, "Q5_K block");
_Static_assert(sizeof(tsr_block_q6_k) == 210, "Q6_K block");
_Static_assert(sizeof(tsr_block_iq4_xs) == 136, "IQ4_XS block");

/* Weights of the 16 codes. IQ4: unevenly spaced, dense near zero. MXFP4: e2m1 doubled, so the scale is halved. */
extern const int8_t tsr_iq4_values[16];
extern const int8_t tsr_mxfp4_values[16];

/* 2^(e - 128): half the e8m0 scale, to go with the doubled values. Exact also where it is denormal (e < 2). */
float tsr_e8m0_half(uint8_t e);

/* The 12 packed bytes of Q3_K: s[16], 0..63. */
void tsr_q3_k_unpack_scales(const uint8_t packed[12], uint8_t s[16]);
void tsr_q3_k_pack_scales(const uint8_t s[16], uint8_t packed[12]);
/* The 12 packed bytes of Q4_K and Q5_K: scales s[8] and mins m[8], 0..63. */
void tsr_q4_k_unpack_scales(const uint8_t packed[12], uint8_t s[8], uint8_t m[8]);
void tsr_q4_k_pack_scales(const uint8_t s[8], const uint8_t m[8], uint8_t packed[12]);

#endif
