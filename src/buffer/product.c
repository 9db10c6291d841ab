/* product.c: products of one input with several weights: at once where the buffer type that holds them can, else one after the other. */
#include "buffer/buffer.h"

#include "core/memory.h"

void tsr_product_output(tsr_product *p, const tsr_weight *w, const float *bias, float *y) {
    p->out[p->n_out++] = (tsr_output){.w = w, .bias = bias, .y = y, .ldy = w->n};
}

/* ------------------------------------------------------------------------------------------------- at once */

static bool runs_at_once(const tsr_product *p) {
    const tsr_buffer_type *type = p->out[0].w->buffer_type;
    for (int i = 0; i < p->n_out; i++)
        if (p->out[i].w->parts_differ || p->out[i].w->buffer_type != type) return false;
    return type->fuses ? type->fuses(p) : p->n_out == 1 && !p->x.index && !p->x.norm;
}

/* --------------------------------------------------------------------------------------- output by output */

typedef struct rows_job {
    const tsr_product *p;
    float *copy; /* [m, k] */
} rows_job;

static void copy_rows(void *ctx, int thread, int n_threads) {
    const rows_job *job = ctx;
    tsr_rows_copy_share(&job->p->x, job->p->kern, job->p->m, thread, n_threads, job->copy);
}

/* Experts whose matrices are weights of their own, of several formats or buffer types. */
static void multiply_parts(const tsr_product *p) {
    const tsr_output *out = &p->out[0];
    for (int64_t i = 0; i < p->n_experts; i++) {
        const tsr_expert_rows *rows = &p->experts[i];
        tsr_product part = *p;
        part.x = tsr_rows_from(&p->x, rows->first);
        part.m = rows->rows;
        part.out[0].w = &out->w->parts[rows->expert];
        part.out[0].y = out->y + rows->first * out->ldy;
        part.experts = NULL;
        part.out[0].w->buffer_type->multiply(&part);
    }
}

/* One output, plain rows. */
static void multiply_alone(const tsr_product *p, int i) {
    tsr_product one = *p;
    one.out[0] = p->out[i];
    one.n_out = 1;
    if (one.out[0].w->parts_differ) multiply_parts(&one);
    else one.out[0].w->buffer_type->multiply(&one);
}

static void gate_rows(void *ctx, int thread, int n_threads) {
    const tsr_product *p = ctx;
    int64_t begin, end;
    tsr_split(p->m, 1, thread, n_threads, &begin, &end);
    for (int64_t i = begin; i < end; i++) p->gate(p->out[0].y + i * p->out[0].ldy, p->out[1].y + i * p->out[1].ldy, p->out[0].w->n);
}

/* Bytes of the copy of rows, at the start of the workspace. */
static bool copy_bytes(int64_t m, int64_t k, size_t *out) {
    if (!tsr_mul_size((size_t)m, (size_t)k, out) || !tsr_mul_size(*out, sizeof(float), out) || !tsr_add_size(*out, 63, out)) return false;
    *out &= ~(size_t)63;
    return true;
}

static void run_one_by_one(const tsr_product *p) {
    tsr_product plain = *p;
    plain.gate = NULL;
    if (p->x.index || p->x.norm) {
        size_t bytes;
        rows_job job = {p, p->work};
        tsr_pool_run(p->pool, copy_rows, &job);
        copy_bytes(p->m, p->x.k, &bytes);
        plain.x = (tsr_rows){.x = job.copy, .ldx = p->x.k, .k = p->x.k};
        plain.work = (uint8_t *)p->work + bytes;
    }
    for (int i = 0; i < p->n_out; i++) multiply_alone(&plain, i);
    if (p->gate) tsr_pool_run(p->pool, gate_rows, (void *)(uintptr_t)p);
}

void tsr_product_run(const tsr_product *p) {
    if (runs_at_once(p)) p->out[0].w->buffer_type->multiply(p);
    else run_one_by_one(p);
}

/* -------------------------------------------------------------------------------------------------- memory */

bool tsr_product_work_bytes(int64_t max_m, int64_t max_experts, int64_t max_k, size_t *out) {
    size_t copy;
    return copy_bytes(max_m, max_k, &copy) && tsr_packed_product_work_bytes(max_m, max_experts, max_k, out) &&
           tsr_add_size(*out, copy, out);
}

size_t tsr_product_scratch_bytes(int64_t max_k) {
    size_t host = TSR_MATMUL_SCRATCH_FLOATS * sizeof(float), packed = tsr_packed_scratch_bytes(max_k);
    return ((host > packed ? host : packed) + 63) & ~(size_t)63;
}
