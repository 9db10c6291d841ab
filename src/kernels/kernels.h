/* kernels.h: THE CONTRACT between the forward pass and everything that computes.
 *
 * One record, tsr_kernels, holds a function for every operation on one thread. Scalar C fills every slot
 * (kernels_scalar.c); ISA files overwrite slots in a short ladder (table.c), once per tier. Rules for every slot:
 *   - Operands need no alignment beyond their element type; nothing outside the stated extents is read or written.
 *   - Any length is allowed, 0 included; tails are the kernel's business.
 *   - Results are within the bound that tests/check states of the result in double precision.
 *   - NaN is never lost: where an operand of a result is NaN, so is the result (of softmax, every result).
 *   - Functions are pure: no allocation, no locks, no state. Threads have FTZ and DAZ set (core/threads.h).
 * Names are a grammar: operation, operand types, tile, `__isa`; a record's *_name tells it to users.
 */
#ifndef TSR_KERNELS_KERNELS_H
#define TSR_KERNELS_KERNELS_H

#include "core/cpu.h"
#include "core/threads.h"
#include "kernels/act8.h"
#include "kernels/packed.h"
#include "quant/quant.h"

/* c[i * ldc + j] (+)= sum over l < k of a[i * lda + l] * b[j * ldb + l], for i < m <= tile_m, j < n <= tile_n.
 * accumulate: add to c instead of overwriting it. Both operands are row-major along k: a is a block of activations
 * [m, k], b a block of dequantised weight rows [n, k]. */
typedef void (*tsr_tile_f32_fn)(const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k, float *c, int64_t ldc,
                                int m, int n, bool accumulate);

/* Two panels of a packed matrix, unpacked for the wide kernel; every array 64-byte aligned. */
typedef struct tsr_strip8 {
    uint8_t *codes[2];      /* [blocks][8][64] (packed.h); panel 1 may be zeros past the last column */
    float *scale[2], *min[2]; /* [groups][16] */
    int columns;            /* 1..32 that exist */
    bool has_min, halves;   /* halves: two groups a block */
} tsr_strip8;

typedef struct tsr_kernels {
    tsr_tier tier;

    tsr_dequantize_fn dequantize[TSR_TYPE_COUNT]; /* quant.h's contract; NULL when the type does not compute */

    tsr_tile_f32_fn tile_f32;
    int tile_m, tile_n;
    const char *tile_name;

    /* y[n] = x[n] / sqrt(mean(x^2) + eps) * w[n]; y may be x. (Zhang, Sennrich 2019) */
    void (*rms_norm)(const float *x, const float *w, float eps, float *y, int64_t n);
    /* gate[n] = act(gate[n]) * up[n]: SiLU x / (1 + e^-x) and tanh-GELU (Hendrycks, Gimpel 2016) */
    void (*silu_mul)(float *gate, const float *up, int64_t n);
    void (*gelu_mul)(float *gate, const float *up, int64_t n);
    /* x[n] = softmax(x[n]) in place, n >= 1; entries of -INFINITY become 0, and at least one must be finite. */
    void (*softmax)(float *x, int64_t n);
    /* y[n] += a * x[n] */
    void (*axpy_f32)(float a, const float *x, float *y, int64_t n);
    void (*axpy_f16)(float a, const uint16_t *x, float *y, int64_t n);
    /* sum of a[n] * b[n] */
    float (*dot_f32)(const float *a, const float *b, int64_t n);
    float (*dot_f16)(const float *a, const uint16_t *b, int64_t n);
    /* round to nearest even */
    void (*f32_to_f16)(const float *x, uint16_t *y, int64_t n);

    /* Packed weights times 8-bit activations (packed.h, act8.h). */
    /* max[b] = largest magnitude of x[32 b .. 32 b + 31] */
    void (*act8_max)(const float *x, int64_t n_blocks, float *max);
    /* codes[32] (in quads) = round(x[32] * inverse), |x * inverse| <= 127; sum16: of each half's codes; residual[32], if not NULL, =
     * x - scale * code in natural order. */
    void (*act8_quantize)(const float *x, float inverse, float scale, int8_t *codes, int32_t sum16[2], float *residual);
    /* out[a->rows][16] = a times panel p of w */
    void (*packed_narrow[TSR_TYPE_COUNT])(const tsr_packed *w, int64_t p, const tsr_act8 *a, float *out);
    /* panel p of w as tsr_packed_block gives it, all blocks: codes [blocks][8][64], scale and min [groups][16] */
    void (*packed_unpack[TSR_TYPE_COUNT])(const tsr_packed *w, int64_t p, uint8_t *codes, float *scale, float *min);
    /* y[a->rows, columns] = a times a strip, rows ldy apart */
    void (*packed_gemm)(const tsr_strip8 *s, const tsr_act8 *a, float *y, int64_t ldy);
    const char *packed_narrow_name, *packed_gemm_name;
} tsr_kernels;

/* The record of a tier, built once. tier must be one that the CPU has (tsr_cpu_get()->tier or below). */
const tsr_kernels *tsr_kernels_get(tsr_tier tier);

/* Each fills the slots that it does better; called by the ladder in table.c in this order. */
void tsr_kernels_fill_scalar(tsr_kernels *k);
void tsr_kernels_fill_avx2(tsr_kernels *k);
void tsr_kernels_fill_dequantize_avx2(tsr_kernels *k);
void tsr_kernels_fill_avx512(tsr_kernels *k);
void tsr_kernels_fill_packed_scalar(tsr_kernels *k);
void tsr_kernels_fill_packed_avx512(tsr_kernels *k);

/* -------------------------------------------------------------------------------------------------- matmul */

/* A weight matrix of GGUF blocks as the file has them. */
typedef struct tsr_matrix {
    const void *data;   /* [n][k] weights, rows of row_bytes */
    tsr_type type;
    int64_t n, k;       /* n outputs, k inputs */
    size_t row_bytes;
} tsr_matrix;

/* Scratch of one thread: dequantised weights. */
/* y[m, n] = x[m, k] w^T with w packed: activations are rounded to 8 bits (act8.h), once, then strips of w are handed out. With few rows the
 * narrow kernels, else the wide one. work: tsr_act8_bytes; scratch: tsr_packed_scratch_bytes(k) for each thread, 64-byte aligned. */
void tsr_matmul_packed(const tsr_kernels *kern, tsr_pool *pool, const tsr_packed *w, const float *x, int64_t ldx, int64_t m, float *y,
                       int64_t ldy, void *work, uint8_t *scratch, size_t scratch_bytes);
size_t tsr_packed_scratch_bytes(int64_t k);

enum { TSR_STRIP_ROWS = 16, TSR_STRIP_COLS = 1024 };
#define TSR_MATMUL_SCRATCH_FLOATS ((size_t)TSR_STRIP_ROWS * TSR_STRIP_COLS)

/* y[i * ldy + j] = sum over l < k of x[i * ldx + l] * w[j][l] for 0 <= i < m, 0 <= j < n. Weights are dequantised to f32 and
 * multiplied in f32: the reference path that every faster one is measured against.
 * Runs on all threads of the pool; scratch: scratch_bytes for each, at least TSR_MATMUL_SCRATCH_FLOATS floats, 64-byte aligned. */
void tsr_matmul_f32(const tsr_kernels *kern, tsr_pool *pool, const tsr_matrix *w, const float *x, int64_t ldx, int64_t m,
                    float *y, int64_t ldy, float *scratch, size_t scratch_bytes);

/* The part of strip `strip` (TSR_STRIP_ROWS outputs) of the product above, on the calling thread. */
void tsr_matmul_f32_strip(const tsr_kernels *kern, const tsr_matrix *w, int64_t strip, const float *x, int64_t ldx, int64_t m,
                          float *y, int64_t ldy, float *scratch);

#endif
