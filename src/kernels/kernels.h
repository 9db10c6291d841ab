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

/* Two panels of a packed matrix, unpacked for packed_gemm; every array 64-byte aligned. */
typedef struct tsr_strip8 {
    uint8_t *codes[2];      /* [blocks][8][64] (packed.h), which packed_gemm may change; panel 1 may be any where columns <= 16 */
    float *scale[2], *min[2]; /* [groups][16] */
    tsr_type type;
    int64_t blocks;         /* of k */
    int columns;            /* 1..32 that exist */
    bool has_min, halves;   /* halves: two groups a block */
} tsr_strip8;

/* --- the wide float path: weights unpacked to bf16, f16 or f32, activations converted to the same, sums in f32 over all of k ---
 *
 *   A, activations: row tiles of 16 rows (rows that do not exist are zeros), each [blocks][16 rows][32 k]; k in natural order; behind them
 *      row_tile_extra bytes
 *   B, weights: of a panel, [blocks][16][16 columns][2] for 16-bit elements: row r of a block holds k = 2 r and 2 r + 1 (the operand of TDPBF16PS
 *      and VDPBF16PS); [blocks][32 k][16 columns] for f32
 *   C, results: [row tiles][2 panels][16 rows][16 columns] f32
 *
 * All arrays are 64-byte aligned, blocks are blocks of 32 k, and k that does not exist is zeros. */

/* One strip (two panels) and a run of blocks, times all rows: C (+)= A B. */
typedef struct tsr_wide_job {
    const tsr_packed *w;
    int64_t panel[2];      /* the panels of the strip; equal where the second does not exist */
    int64_t block, blocks; /* the run: blocks [block, block + blocks) of k */
    void *b;               /* scratch: [2][blocks] unpacked blocks */
    const void *a;         /* block `block` of the first row tile; row tiles are a_stride bytes apart */
    size_t a_stride;
    int64_t rows;
    float *c;
    bool accumulate;       /* add to c instead of overwriting it */
} tsr_wide_job;

enum { TSR_WIDE_MAX_BLOCKS = 32 };

/* One format of elements and what works in it: a constant that tiers share. Which of them a type of weights uses, a record says. */
typedef struct tsr_wide {
    const char *name;
    tsr_type elem;         /* TSR_BF16, TSR_F16 or TSR_F32 */
    int elem_bytes;
    int run_blocks;        /* blocks of k that a job should have, at most TSR_WIDE_MAX_BLOCKS: as many as make B fit the L1 cache */
    /* A's tiles of one row tile: rows (1..16) rows of x, ldx apart, [rows, k] */
    void (*pack_rows)(const float *x, int64_t ldx, int rows, int64_t k, void *tiles);
    /* Blocks [first, first + n) of a panel as B has them. NULL, as strip, for types that are not multiplied in this format. */
    void (*unpack[TSR_TYPE_COUNT])(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *out);
    /* The product of a job, rows >= 1. job->b is scratch: what is in it afterwards is not defined. */
    void (*strip[TSR_TYPE_COUNT])(const tsr_wide_job *job);
    /* n blocks of 32 k of a panel of q8_0 values (kv.h) as B: codes [32 n][16] times scale [32 n] (f16). */
    void (*unpack_values8)(const int8_t *codes, const uint16_t *scale, int64_t n, void *out);
    size_t row_tile_extra; /* bytes behind the blocks of a row tile, a multiple of 64, that pack_rows writes and strip reads; mostly 0 */
} tsr_wide;

/* Up to narrow_rows rows: packed_narrow (16-bit weights: packed_narrow_f32). From wide_rows on: the wide float path. Between: packed_gemm.
 * TSR_ACT8_PAIRED <= narrow_rows <= TSR_NARROW_MAX; with 16-bit weights narrow_rows <= TSR_NARROW_F32_MAX and wide_rows = narrow_rows + 1.
 * Measured: doc/packed.md. */
typedef struct tsr_choice {
    int narrow_rows, wide_rows;
} tsr_choice;

enum { TSR_WIDE_NEVER = 1 << 30, TSR_NARROW_MAX = 32, TSR_NARROW_F32_MAX = 16 }; /* limits of wide_rows and narrow_rows */

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
    /* One step of the online softmax (Milakov, Gimelshein 2018) over n more scores of a row: z = scale * x, or, where cap > 0,
     * cap * tanh(scale * x / cap), or -INFINITY where x is; then *max = the largest so far, x[n] = e^(z - *max), and *sum, as what the caller
     * has accumulated, times the result, e^(old *max - new *max) (1 where nothing changes); then *sum += the x. scale > 0. Starts with *max = -INFINITY
     * and *sum = 0. */
    float (*softmax_step)(float *x, int64_t n, float scale, float cap, float *max, float *sum);
    /* y[n] += a * x[n] */
    void (*axpy_f32)(float a, const float *x, float *y, int64_t n);
    /* round to nearest even */
    void (*f32_to_f16)(const float *x, uint16_t *y, int64_t n);
    void (*f32_to_bf16)(const float *x, uint16_t *y, int64_t n);

    /* Packed weights times 8-bit activations (packed.h, act8.h); NULL for types with 16-bit codes. */
    /* max[b] = largest magnitude of x[32 b .. 32 b + 31], NaN if one of them is NaN */
    void (*act8_max)(const float *x, int64_t n_blocks, float *max);
    /* codes[32] (in quads) = round(x[32] * inverse), |x * inverse| <= 127; sum16: of each half's codes; residual[32], if not NULL, =
     * x - scale * code in natural order. */
    void (*act8_quantize)(const float *x, float inverse, float scale, int8_t *codes, int32_t sum16[2], float *residual);
    /* out[a->rows][16] = a times panel p of w. As with packed_narrow_f32 and tile_f32, a row's result is bit for bit the same whatever other rows
     * there are (tests/unit/test_rows_alone.c). */
    void (*packed_narrow[TSR_TYPE_COUNT])(const tsr_packed *w, int64_t p, const tsr_act8 *a, float *out);
    /* panel p of w as tsr_packed_block gives it, all blocks: codes [blocks][8][64], scale and min [groups][16] */
    void (*packed_unpack[TSR_TYPE_COUNT])(const tsr_packed *w, int64_t p, uint8_t *codes, float *scale, float *min);
    /* y[a->rows, columns] = a times a strip, rows ldy apart */
    void (*packed_gemm)(const tsr_strip8 *s, const tsr_act8 *a, float *y, int64_t ldy);
    bool gemm_changes_strip; /* packed_gemm leaves other codes in a strip: each call needs it unpacked anew */
    const char *packed_narrow_name, *packed_gemm_name;

    /* 16-bit weights times f32 activations, 1 to TSR_NARROW_F32_MAX rows: out[rows][16] = x [rows, k] (rows ldx apart) times panel p of w.
     * For TSR_F16 and TSR_BF16, and TSR_F32 (panels as tsr_wide's B has them: attention's), else NULL. */
    void (*packed_narrow_f32[TSR_TYPE_COUNT])(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, int rows, float *out);
    const char *packed_narrow_f32_name;
    /* The same with x of bf16, k even, for attention to caches of TSR_F16 and TSR_BF16 where a CPU multiplies bf16; else NULL. */
    void (*narrow_bf16[TSR_TYPE_COUNT])(const tsr_packed *w, int64_t p, const uint16_t *x, int64_t ldx, int rows, float *out);

    /* Packed weights times float activations, many rows; NULL for types without a packed layout. */
    const tsr_wide *wide[TSR_TYPE_COUNT];
    /* The same for attention, by the type of the KV cache: F32, F16, BF16 and Q8_0 (attention.h), with row_tile_extra 0. wide_f32 rounds nothing, and its strip of
     * TSR_F32 takes panels that are laid out as B. */
    const tsr_wide *wide_attention[TSR_TYPE_COUNT], *wide_f32;

    tsr_choice choice[TSR_TYPE_COUNT]; /* which of these a product of so many rows uses */

    /* What a thread needs around its calls of wide strips (AMX: load and release the tile configuration); NULL: nothing. */
    void (*enter)(void);
    void (*leave)(void);
} tsr_kernels;

/* The record of a tier, built once. tier must be usable (tsr_tier_usable). */
const tsr_kernels *tsr_kernels_get(tsr_tier tier);

/* Each fills the slots that it does better; called by the ladder in table.c in this order. */
void tsr_kernels_fill_scalar(tsr_kernels *k);
void tsr_kernels_fill_avx2(tsr_kernels *k);
void tsr_kernels_fill_dequantize_avx2(tsr_kernels *k);
void tsr_kernels_fill_act8_avx2(tsr_kernels *k);
void tsr_kernels_fill_packed_avx2(tsr_kernels *k);
void tsr_kernels_fill_wide_avx2(tsr_kernels *k);
void tsr_kernels_fill_packed_avxvnni(tsr_kernels *k);
void tsr_kernels_fill_avx512(tsr_kernels *k);
void tsr_kernels_fill_wide_amx(tsr_kernels *k);
void tsr_kernels_fill_wide_amx_f16(tsr_kernels *k); /* after wide_amx */
void tsr_kernels_fill_packed_scalar(tsr_kernels *k);
void tsr_kernels_fill_act8_avx512(tsr_kernels *k);
void tsr_kernels_fill_packed_avx512(tsr_kernels *k);
void tsr_kernels_fill_gemm8_avx512(tsr_kernels *k);
void tsr_kernels_fill_gemm8_amx(tsr_kernels *k);
void tsr_kernels_fill_wide_scalar(tsr_kernels *k);
void tsr_kernels_fill_narrow16_avx512(tsr_kernels *k);
void tsr_kernels_fill_wide_avx512(tsr_kernels *k);
void tsr_kernels_fill_wide_avx512bf16(tsr_kernels *k);
void tsr_kernels_fill_narrow_avx512bf16(tsr_kernels *k);

/* Fills choice, after all others. */
void tsr_kernels_choose(tsr_kernels *k);

#endif
