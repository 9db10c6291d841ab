/* matmul_packed.c: products with packed weights: who computes what. */
#include "kernels/kernels.h"

/* Up to this many rows (before pairing) the narrow kernels, which unpack in registers, are faster than unpacking strips. */
enum { NARROW_ROWS = 8, STRIP_COLUMNS = 2 * TSR_PANEL };

/* Up to this many rows the caller quantises alone: less work than three barriers. */
enum { ALONE_ROWS = TSR_ACT8_PAIRED };

typedef struct packed_job {
    const tsr_kernels *kern;
    tsr_pool *pool;
    const tsr_packed *w;
    const float *x; /* [m, k], rows ldx apart */
    int64_t ldx, m;
    float *y; /* [m, n], rows ldy apart */
    int64_t ldy;
    void *work;
    uint8_t *scratch;
    size_t scratch_bytes;
    tsr_act8 act; /* of x, when m <= ALONE_ROWS */
} packed_job;

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

/* Per panel: codes (16 bytes a k), then scales and mins of at most one group per 16 k (4 + 4 bytes a k). */
static size_t panel_scratch(int64_t k) { return (size_t)k * (16 + 4 + 4); }

size_t tsr_packed_scratch_bytes(int64_t k) { return 2 * panel_scratch((k + 31) / 32 * 32); }

static void narrow_panel(const packed_job *job, const tsr_act8 *a, int64_t panel) {
    float out[2 * NARROW_ROWS * TSR_PANEL] __attribute__((aligned(64))); /* [a->rows][16] */
    job->kern->packed_narrow[job->w->type](job->w, panel, a, out);
    int64_t column = panel * TSR_PANEL, columns = min64(TSR_PANEL, job->w->n - column);
    bool paired = a->rows != job->m;
    for (int64_t i = 0; i < job->m; i++) {
        const float *row = out + (paired ? 2 * i : i) * TSR_PANEL;
        float *y = job->y + i * job->ldy + column;
        for (int64_t c = 0; c < columns; c++) y[c] = paired ? row[c] + row[TSR_PANEL + c] : row[c];
    }
}

static void wide_strip(const packed_job *job, const tsr_act8 *a, int64_t strip, uint8_t *scratch) {
    const tsr_layout *l = job->w->layout;
    int64_t column = strip * STRIP_COLUMNS, k = job->w->k;
    tsr_strip8 s = {.columns = (int)min64(STRIP_COLUMNS, job->w->n - column), .has_min = l->has_min, .halves = l->group_k == 16};
    for (int p = 0; p < 2; p++) {
        s.codes[p] = scratch + (size_t)p * panel_scratch(k);
        s.scale[p] = (float *)(void *)(s.codes[p] + (size_t)k * 16);
        s.min[p] = s.scale[p] + k;
        int64_t panel = 2 * strip + p; /* a strip's second panel may not exist: then the first serves, and its columns are not stored */
        job->kern->packed_unpack[job->w->type](job->w, min64(panel, tsr_packed_panels(job->w) - 1), s.codes[p], s.scale[p], s.min[p]);
    }
    job->kern->packed_gemm(&s, a, job->y + column, job->ldy);
}

static void run(void *ctx, int thread, int n_threads) {
    const packed_job *job = ctx;
    tsr_act8 a = job->act;
    if (job->m > ALONE_ROWS)
        tsr_act8_quantize(&a, job->work, job->kern, job->w->layout, job->x, job->ldx, job->m, job->w->k, job->pool, thread, n_threads);
    bool narrow = job->m <= NARROW_ROWS;
    int64_t panels = tsr_packed_panels(job->w), count = narrow ? panels : (panels + 1) / 2, next;
    while ((next = tsr_pool_next(job->pool, count)) < count) {
        if (narrow) narrow_panel(job, &a, next);
        else wide_strip(job, &a, next, job->scratch + (size_t)thread * job->scratch_bytes);
    }
}

void tsr_matmul_packed(const tsr_kernels *kern, tsr_pool *pool, const tsr_packed *w, const float *x, int64_t ldx, int64_t m, float *y,
                       int64_t ldy, void *work, uint8_t *scratch, size_t scratch_bytes) {
    packed_job job = {kern, pool, w, x, ldx, m, y, ldy, work, scratch, scratch_bytes, {0}};
    if (m <= ALONE_ROWS) tsr_act8_quantize(&job.act, work, kern, w->layout, x, ldx, m, w->k, NULL, 0, 1);
    tsr_pool_run(pool, run, &job);
}
