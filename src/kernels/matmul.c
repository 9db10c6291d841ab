/* matmul.c: the f32 product over GGUF blocks. A strip of 16 weight rows is dequantised 1024 columns at a time into the
 * thread's scratch (64 KiB, stays in L2), and every row of activations is multiplied with it before the next block: each
 * weight is dequantised once per call, whatever m is. Strips are handed out dynamically. */
#include "core/ints.h"
#include "kernels/matmul.h"

typedef struct strip_job {
    const tsr_kernels *kern;
    tsr_pool *pool;
    const tsr_matrix *w;
    const float *x; /* [m, k], rows ldx apart */
    int64_t ldx, m;
    float *y; /* [m, n], rows ldy apart */
    int64_t ldy;
    bool add;
    uint8_t *scratch;
    size_t scratch_bytes; /* of one thread */
} strip_job;

void tsr_matmul_f32_strip(const tsr_kernels *kern, const tsr_matrix *w, int64_t strip, const float *x, int64_t ldx, int64_t m,
                          float *y, int64_t ldy, bool add, float *scratch) {
    const tsr_type_info *type = tsr_type_get(w->type);
    int64_t row0 = strip * TSR_STRIP_ROWS, rows = tsr_min64(TSR_STRIP_ROWS, w->n - row0);
    for (int64_t k0 = 0; k0 < w->k; k0 += TSR_STRIP_COLS) { /* a multiple of every block length */
        int64_t k = tsr_min64(TSR_STRIP_COLS, w->k - k0);
        size_t offset = (size_t)row0 * w->row_bytes + (size_t)(k0 / type->block_elems) * (size_t)type->block_bytes;
        const uint8_t *blocks = (const uint8_t *)w->data + offset;
        bool as_is = w->type == TSR_F32; /* routers */
        const float *b = as_is ? (const float *)(const void *)blocks : scratch;
        int64_t ldb = as_is ? (int64_t)(w->row_bytes / sizeof(float)) : TSR_STRIP_COLS;
        for (int64_t r = 0; r < rows && !as_is; r++)
            kern->dequantize[w->type](blocks + (size_t)r * w->row_bytes, scratch + r * TSR_STRIP_COLS, k);
        for (int64_t i = 0; i < m; i += kern->tile_m)
            for (int64_t j = 0; j < rows; j += kern->tile_n)
                kern->tile_f32(x + i * ldx + k0, ldx, b + j * ldb, ldb, k,
                               y + i * ldy + row0 + j, ldy, (int)tsr_min64(kern->tile_m, m - i), (int)tsr_min64(kern->tile_n, rows - j),
                               add || k0 > 0);
    }
}

static void run_strips(void *ctx, int thread, int n_threads) {
    (void)n_threads;
    const strip_job *job = ctx;
    int64_t n_strips = (job->w->n + TSR_STRIP_ROWS - 1) / TSR_STRIP_ROWS, strip;
    while ((strip = tsr_pool_next(job->pool, n_strips)) < n_strips)
        tsr_matmul_f32_strip(job->kern, job->w, strip, job->x, job->ldx, job->m, job->y, job->ldy, job->add,
                             (float *)(void *)(job->scratch + (size_t)thread * job->scratch_bytes));
}

void tsr_matmul_f32(const tsr_kernels *kern, tsr_pool *pool, const tsr_matrix *w, const float *x, int64_t ldx, int64_t m,
                    float *y, int64_t ldy, bool add, float *scratch, size_t scratch_bytes) {
    strip_job job = {kern, pool, w, x, ldx, m, y, ldy, add, (uint8_t *)scratch, scratch_bytes};
    tsr_pool_run(pool, run_strips, &job);
}
