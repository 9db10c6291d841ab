/* forward.c: the way of a token through the network, top to bottom. */
#include "model/forward.h"

#include <math.h>

/* ------------------------------------------------------------------------------------------------- helpers */

typedef struct rows_job {
    tsr_pool *pool;
    int64_t rows;
    tsr_row_fn fn;
    void *ctx;
} rows_job;

static void run_rows(void *ctx, int thread, int n_threads) {
    (void)n_threads;
    const rows_job *job = ctx;
    int64_t row;
    while ((row = tsr_pool_next(job->pool, job->rows)) < job->rows) job->fn(job->ctx, row, thread);
}

void tsr_forward_rows(tsr_forward *f, int64_t rows, tsr_row_fn fn, void *ctx) {
    if (rows == 1) {
        fn(ctx, 0, 0);
        return;
    }
    rows_job job = {f->pool, rows, fn, ctx};
    tsr_pool_run(f->pool, run_rows, &job);
}

tsr_product tsr_forward_product(const tsr_forward *f, const float *x, int64_t m, int64_t k, const float *norm) {
    return (tsr_product){.kern = f->net->kern, .pool = f->pool, .scratch = f->scratch, .scratch_bytes = f->scratch_bytes,
                         .work = f->product_work, .m = m, .rows_alone = f->rows_alone,
                         .x = {.x = x, .ldx = k, .k = k, .norm = norm, .eps = f->net->hparams.norm_eps}};
}

typedef struct norm_job {
    const tsr_forward *f;
    const float *w; /* [E] */
} norm_job;

static void add_normed_row(void *ctx, int64_t row, int thread) {
    (void)thread;
    const norm_job *job = ctx;
    const tsr_kernels *kern = job->f->net->kern;
    int64_t n = job->f->net->hparams.n_embd;
    float *h = job->f->h + row * n;
    kern->rms_norm(h, job->w, job->f->net->hparams.norm_eps, h, n);
    kern->axpy_f32(1.0f, h, job->f->x + row * n, n);
}

void tsr_forward_add_normed(tsr_forward *f, const float *w, int64_t m) {
    norm_job job = {f, w};
    tsr_forward_rows(f, m, add_normed_row, &job);
}

void tsr_forward_add(tsr_forward *f, const tsr_weight *w, const float *bias, const float *in, int64_t m, const float *post_norm) {
    tsr_product p = tsr_forward_product(f, in, m, w->k, NULL);
    tsr_product_output(&p, w, bias, post_norm ? f->h : f->x);
    p.out[0].add = !post_norm;
    tsr_product_run(&p);
    if (post_norm) tsr_forward_add_normed(f, post_norm, m);
}

/* ---------------------------------------------------------------------------------------- the forward pass */

typedef struct embed_job {
    const tsr_forward *f;
    const tsr_token *tokens; /* [m] */
} embed_job;

/* Position of a row. */
static int64_t position(const tsr_forward *f, int64_t row) {
    const tsr_span *span = f->spans;
    while (row >= span->row + span->rows) span++;
    return span->pos + row - span->row;
}

static void embed_row(void *ctx, int64_t i, int thread) {
    (void)thread;
    const embed_job *job = ctx;
    const tsr_net *net = job->f->net;
    const tsr_hparams *h = &net->hparams;
    float *row = job->f->x + i * h->n_embd;
    net->weights.token_embd.buffer_type->row(&net->weights.token_embd, net->kern, job->tokens[i], row);
    if (h->embd_scale != 1.0f)
        for (int64_t j = 0; j < h->n_embd; j++) row[j] *= h->embd_scale;
    int64_t pos = position(job->f, i);
    tsr_rope_angles(&net->rope_global, pos, job->f->angles + i * h->n_rot);
    if (h->n_swa > 0) tsr_rope_angles(&net->rope_swa, pos, job->f->angles_swa + i * h->n_rot);
}

/* x[m, E] = rows of the token embeddings; RoPE angles of the m positions. */
static void embed(tsr_forward *f, const tsr_token *tokens, int64_t m) {
    embed_job job = {f, tokens};
    tsr_forward_rows(f, m, embed_row, &job);
}

static void layer(tsr_forward *f, int64_t il, int64_t m) {
    tsr_forward_attention(f, il, m);
    if (f->net->hparams.n_expert > 0) tsr_forward_experts(f, il, m);
    else tsr_forward_ffn(f, il, m);
}

/* logits[n, V] of the rows that the spans want. */
static void output(tsr_forward *f, float *logits) {
    const tsr_weights *w = &f->net->weights;
    const tsr_hparams *h = &f->net->hparams;
    int64_t n = 0; /* of output_row */
    for (const tsr_span *s = f->spans; s < f->spans + f->n_spans; s++)
        for (int64_t i = s->rows - s->n_logits; i < s->rows; i++) f->output_row[n++] = (int32_t)(s->row + i);
    if (n == 0) return;
    tsr_product p = tsr_forward_product(f, f->x, n, h->n_embd, w->output_norm);
    p.x.index = f->output_row;
    tsr_product_output(&p, &w->output, NULL, logits);
    tsr_product_run(&p);
    float cap = h->final_softcap;
    if (cap > 0.0f)
        for (int64_t i = 0; i < n * h->n_vocab; i++) logits[i] = cap * tanhf(logits[i] / cap);
    tsr_profile_lap(&f->profile, TSR_STEP_LOGITS);
}

static tsr_code run(tsr_forward *f, const tsr_token *tokens, float *logits, tsr_error *err) {
    const tsr_span *last = &f->spans[f->n_spans - 1];
    int64_t m = last->row + last->rows;
    tsr_profile_start(&f->profile);
    for (int64_t i = 0; i < f->n_spans; i++) tsr_kv_begin(f->spans[i].kv, f->spans[i].pos, f->spans[i].rows);
    embed(f, tokens, m);
    tsr_profile_lap(&f->profile, TSR_STEP_EMBED);
    for (int64_t il = 0; il < f->net->hparams.n_layer; il++) {
        if (atomic_load_explicit(f->cancel, memory_order_relaxed)) return tsr_fail(err, TSR_E_CANCELLED, "evaluation was cancelled");
        layer(f, il, m);
    }
    output(f, logits);
    return TSR_OK;
}

tsr_code tsr_forward_run(tsr_forward *f, const tsr_token *tokens, const tsr_span *spans, int64_t n_spans, float *logits, tsr_error *err) {
    unsigned mode = tsr_float_mode_enter(); /* single rows are computed here, not in jobs */
    f->spans = spans;
    f->n_spans = n_spans;
    tsr_code code = run(f, tokens, logits, err);
    tsr_float_mode_restore(mode);
    return code;
}
