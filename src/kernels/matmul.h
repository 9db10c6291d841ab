/* matmul.h: matrix products on all threads of a pool: who computes what, with which kernel of the record. */
#ifndef TSR_KERNELS_MATMUL_H
#define TSR_KERNELS_MATMUL_H

#include "kernels/kernels.h"

/* --- weights in GGUF blocks, f32 ------------------------------------------------------------------------------------------- */

/* A weight matrix of GGUF blocks as the file has them. */
typedef struct tsr_matrix {
    const void *data;   /* [n][k] weights, rows of row_bytes */
    tsr_type type;
    int64_t n, k;       /* n outputs, k inputs */
    size_t row_bytes;
} tsr_matrix;

/* Scratch of one thread: dequantised weights. */
enum { TSR_STRIP_ROWS = 16, TSR_STRIP_COLS = 1024 };
#define TSR_MATMUL_SCRATCH_FLOATS ((size_t)TSR_STRIP_ROWS * TSR_STRIP_COLS)

/* y[i * ldy + j] (+)= sum over l < k of x[i * ldx + l] * w[j][l] for 0 <= i < m, 0 <= j < n. Weights are dequantised to f32 and
 * multiplied in f32: the reference path that every faster one is measured against. add: to what is in y, instead of overwriting it.
 * Runs on all threads of the pool; scratch: scratch_bytes for each, at least TSR_MATMUL_SCRATCH_FLOATS floats, 64-byte aligned. */
void tsr_matmul_f32(const tsr_kernels *kern, tsr_pool *pool, const tsr_matrix *w, const float *x, int64_t ldx, int64_t m,
                    float *y, int64_t ldy, bool add, float *scratch, size_t scratch_bytes);

/* The part of strip `strip` (TSR_STRIP_ROWS outputs) of the product above, on the calling thread. */
void tsr_matmul_f32_strip(const tsr_kernels *kern, const tsr_matrix *w, int64_t strip, const float *x, int64_t ldx, int64_t m,
                          float *y, int64_t ldy, bool add, float *scratch);

/* --- packed weights -------------------------------------------------------------------------------------------------------- */

/* A product multiplies its rows with up to so many weights. */
enum { TSR_MAX_OUTPUTS = 3 };

/* gate[n] = act(gate[n]) * up[n]: silu_mul and gelu_mul of the record. */
typedef void (*tsr_gate_fn)(float *gate, const float *up, int64_t n);

/* One of them, and what becomes of its results: y (+)= x w^T + bias. */
typedef struct tsr_packed_output {
    tsr_packed w;            /* what the matrices of all groups share; data is not used */
    const float *bias;       /* [n], or NULL */
    float *y;                /* [m, n], rows ldy apart */
    int64_t ldy;
    bool add;                /* to what is in y, instead of overwriting it */
} tsr_packed_output;

/* The matrices, one for each output, of some of the rows: of the experts that a batch chose, each has a group. */
typedef struct tsr_group {
    const uint8_t *data[TSR_MAX_OUTPUTS]; /* packed */
    int64_t first, rows;     /* rows [first, first + rows) of x and y, rows >= 1 */
} tsr_group;

/* One product: every row of x [m, k] with the weights of its group. Rows are converted once for all of them. */
typedef struct tsr_packed_product {
    const tsr_kernels *kern;
    tsr_pool *pool;
    tsr_rows x;
    tsr_packed_output out[TSR_MAX_OUTPUTS]; /* [n_out], of the same k; each two of them as tsr_packed_fuses says */
    int n_out;
    tsr_gate_fn gate;        /* not NULL: two outputs of the same type and n, of which out[0].y (+)= gate(first, second) is stored */
    bool rows_alone;         /* each row of y bit for bit as if the others were not there; groups of up to TSR_ACT8_ALONE rows */
    const tsr_group *groups; /* [n_groups], in rows' order, which together are rows 0 .. m - 1 */
    int64_t n_groups;
    void *work;              /* tsr_packed_work_bytes(m, n_groups, k), 64-byte aligned, shared */
    uint8_t *scratch;        /* scratch_bytes for each thread, at least tsr_packed_scratch_bytes(k), 64-byte aligned */
    size_t scratch_bytes;
} tsr_packed_product;

/* Each group's number of rows chooses its kernel (kern->choice). All threads work on all groups: items are handed out dynamically. */
void tsr_packed_multiply(const tsr_packed_product *p);

/* Can weights of both types be outputs of one product? They can where they take activations in the same forms. */
bool tsr_packed_fuses(const tsr_kernels *kern, tsr_type a, tsr_type b);

/* The kernel of a group of so many rows with weights of the type (which must have a packed layout). */
const char *tsr_packed_kernel_name(const tsr_kernels *kern, tsr_type type, int64_t rows);

/* Enough for every m and n_groups up to these, on any tier, with any outputs. False when it does not fit a size_t. */
bool tsr_packed_work_bytes(int64_t m, int64_t n_groups, int64_t k, size_t *out);
/* So much more of it where weights are split over n_nodes nodes (tsr_packed.split). */
size_t tsr_packed_split_work_bytes(int64_t n_groups, int n_nodes);
size_t tsr_packed_scratch_bytes(int64_t k);

#endif
