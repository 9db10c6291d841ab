/* quant.h: the block formats of GGUF tensors: the type table and reference (de)quantisers.
 *
 * Source of the formats: the GGML/GGUF specification as implemented by the Python package `gguf`
 * (gguf/constants.py, gguf/quants.py), which is also the oracle of the tests. Portable C, no ISA.
 */
#ifndef TSR_QUANT_QUANT_H
#define TSR_QUANT_QUANT_H

#include "core/error.h"

/* Numbers are those that GGUF files store. */
typedef enum tsr_type {
    TSR_F32 = 0, TSR_F16 = 1, TSR_Q4_0 = 2, TSR_Q4_1 = 3, TSR_Q5_0 = 6, TSR_Q5_1 = 7, TSR_Q8_0 = 8, TSR_Q8_1 = 9,
    TSR_Q2_K = 10, TSR_Q3_K = 11, TSR_Q4_K = 12, TSR_Q5_K = 13, TSR_Q6_K = 14, TSR_Q8_K = 15,
    TSR_IQ2_XXS = 16, TSR_IQ2_XS = 17, TSR_IQ3_XXS = 18, TSR_IQ1_S = 19, TSR_IQ4_NL = 20, TSR_IQ3_S = 21,
    TSR_IQ2_S = 22, TSR_IQ4_XS = 23, TSR_I8 = 24, TSR_I16 = 25, TSR_I32 = 26, TSR_I64 = 27, TSR_F64 = 28,
    TSR_IQ1_M = 29, TSR_BF16 = 30, TSR_TQ1_0 = 34, TSR_TQ2_0 = 35, TSR_MXFP4 = 39, TSR_NVFP4 = 40,
    TSR_TYPE_COUNT = 41
} tsr_type;

typedef struct tsr_type_info {
    const char *name;   /* "Q4_K" */
    int block_elems;    /* weights in a block, along ne[0] */
    int block_bytes;
    bool computes;      /* Tessera can dequantise it, so it can be a weight */
    bool quantizes;     /* Tessera can produce it */
} tsr_type_info;

/* NULL for a number that is no type (including the holes left by removed types). */
const tsr_type_info *tsr_type_get(uint32_t type);
/* Case-insensitive; -1 when unknown. */
int tsr_type_find(const char *name);

/* Bytes of a row of k weights; 0 when k is no multiple of the block or the type is unknown. */
size_t tsr_type_row_bytes(uint32_t type, int64_t k);

/* dst[k] = the weights of src, k a multiple of block_elems. Bit-exact with the Python package gguf. */
typedef void (*tsr_dequantize_fn)(const void *src, float *dst, int64_t k);
/* NULL when the type does not compute. */
tsr_dequantize_fn tsr_dequantizer(uint32_t type);

/* dst = blocks of the k weights of src (k a multiple of block_elems). importance[k] (>= 0) weights the squared errors
 * of the columns, or NULL; formats without a choice of scale (F32, F16, BF16, Q8_0, MXFP4) ignore it.
 * Bit-exact with the Python package gguf for the formats that it quantises, when importance is NULL (MXFP4: and the
 * largest weight of a block is at least 2^-125). Input must be finite; tsr_quantize checks. Weights too large for the
 * format's 16-bit scales come out as infinity or clipped. The thread must not flush denormals. */
typedef void (*tsr_quantize_fn)(const float *src, void *dst, int64_t k, const float *importance);
tsr_quantize_fn tsr_quantizer(uint32_t type);

/* IEEE 754 binary16 and bfloat16 conversions, round to nearest even, NaN kept NaN. */
float tsr_f16_to_f32(uint16_t h);
uint16_t tsr_f32_to_f16(float f);
float tsr_bf16_to_f32(uint16_t h);
uint16_t tsr_f32_to_bf16(float f);

#endif
