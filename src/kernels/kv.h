/* kv.h: the keys and values of one head, in the order in which the kernels of attention read them.
 *
 * Both are operands of matrix products, so both are packed matrices (packed.h):
 *
 *   keys     [positions, Dk]   scores = q K^T: position by position a column of a panel, k = Dk. F16, BF16: the layouts of 16-bit weights;
 *                              F32: [panels][Dk][16 positions]; Q8_0: the layout of Q8_0 weights, a scale for each 32 of Dk
 *   values   [Dv, positions]   out = p V: panels of 16 of Dv, k = positions. F32, F16, BF16 as keys; Q8_0: [panels][positions][16] codes, and
 *                              apart from them scales [ceil(Dv / 32)][positions] (f16): one for each 32 of Dv, so that a position never
 *                              changes those before it
 *
 * Positions that were never stored are zeros, and so are those behind the last stored one in its block of 32 (a value there meets a
 * weight of 0, and must not be NaN). */
#ifndef TSR_KERNELS_KV_H
#define TSR_KERNELS_KV_H

#include "kernels/kernels.h"

/* q8_0 values: codes of a panel of 16 of Dv. */
typedef struct tsr_values8 {
    int8_t *codes;     /* [ceil(Dv / 16)][capacity][16] */
    uint16_t *scale;   /* [ceil(Dv / 32)][capacity] f16 */
} tsr_values8;

typedef struct tsr_kv_head {
    tsr_type type_k, type_v;
    int64_t dim_k, dim_v;  /* Dk, Dv */
    int64_t capacity;      /* positions, a multiple of 32 */
    tsr_packed k;          /* [capacity, Dk] */
    tsr_packed v;          /* [Dv, capacity]; not for Q8_0 */
    tsr_values8 v8;        /* for Q8_0 */
    size_t bytes_k, bytes_v; /* multiples of 64 */
} tsr_kv_head;

/* Lays out a head for at least n positions, without memory. Types: F32, F16, BF16, Q8_0 (which takes only dimensions that are multiples of
 * 32). False when it does not fit. */
bool tsr_kv_head_init(tsr_kv_head *h, tsr_type type_k, tsr_type type_v, int64_t dim_k, int64_t dim_v, int64_t n);
/* Its memory: bytes_k and bytes_v zeroed bytes, 64-byte aligned. */
void tsr_kv_head_place(tsr_kv_head *h, uint8_t *k, uint8_t *v);

/* Stores position pos: k [Dk], v [Dv]. Positions of one block of 32 share cache lines: one thread should store them all. */
void tsr_kv_put(const tsr_kv_head *h, const tsr_kernels *kern, int64_t pos, const float *k, const float *v);
/* Zeroes the values of positions [first, last). */
void tsr_kv_clear(const tsr_kv_head *h, int64_t first, int64_t last);

#endif
