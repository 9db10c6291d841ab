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

void tsr_forward_matmul_experts(tsr_forward *f, const tsr_weight *w, const tsr_expert_rows *experts, int64_t n_experts, const float *x,
                                int64_t m, float *y) {
    const tsr_matmul job = {.kern = f->net->kern, .pool = f->pool, .scratch = f->scratch, .scratch_bytes = f->scratch_bytes,
                            .work = f->matmul_work, .w = w, .experts = experts, .n_experts = n_experts,
                            .x = x, .ldx = w->k, .m = m, .y = y, .ldy = w->n};
    tsr_matmul_run(&job);
}

void tsr_forward_matmul(tsr_forward *f, const tsr_weight *w, const float *bias, const float *x, int64_t m, float *y) {
    tsr_forward_matmul_experts(f, w, NULL, 0, x, m, y);
    if (!bias) return;
    for (int64_t i = 0; i < m; i++) f->net->kern->axpy_f32(1.0f, bias, y + i * w->n, w->n);
}

typedef struct norm_job {
    const tsr_forward *f;
    const float *x; /* [m, E] */
    const float *w; /* [E] */
    float *y;       /* [m, E] */
} norm_job;

static void norm_row(void *ctx, int64_t row, int thread) {
    (void)thread;
    const norm_job *job = ctx;
    const tsr_hparams *h = &job->f->net->hparams;
    job->f->net->kern->rms_norm(job->x + row * h->n_embd, job->w, h->norm_eps, job->y + row * h->n_embd, h->n_embd);
}

/* y[m, E] = rms_norm(x[m, E]) * w[E] */
static void norm(tsr_forward *f, const float *x, const float *w, int64_t m, float *y) {
    norm_job job = {f, x, w, y};
    tsr_forward_rows(f, m, norm_row, &job);
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

/* x[m, E] += h[m, E] */
static void add_residual(tsr_forward *f, int64_t m) {
    f->net->kern->axpy_f32(1.0f, f->h, f->x, m * f->net->hparams.n_embd);
}

static void layer(tsr_forward *f, int64_t il, int64_t m) {
    const tsr_layer *l = &f->net->weights.layers[il];

    norm(f, f->x, l->attn_norm, m, f->h);
    tsr_profile_lap(&f->profile, TSR_STEP_NORM);
    tsr_forward_attention(f, il, m);
    if (l->attn_post_norm) norm(f, f->h, l->attn_post_norm, m, f->h);
    add_residual(f, m);

    norm(f, f->x, l->ffn_norm, m, f->h);
    tsr_profile_lap(&f->profile, TSR_STEP_NORM);
    if (f->net->hparams.n_expert > 0) tsr_forward_experts(f, il, m);
    else tsr_forward_ffn(f, il, m);
    if (l->ffn_post_norm) norm(f, f->h, l->ffn_post_norm, m, f->h);
    add_residual(f, m);
    tsr_profile_lap(&f->profile, TSR_STEP_NORM);
}

/* logits[n, V] of the rows that the spans want. */
static void output(tsr_forward *f, float *logits) {
    const tsr_weights *w = &f->net->weights;
    const tsr_hparams *h = &f->net->hparams;
    int64_t n = 0; /* rows of h so far */
    for (const tsr_span *s = f->spans; s < f->spans + f->n_spans; n += s->n_logits, s++)
        if (s->n_logits > 0) norm(f, f->x + (s->row + s->rows - s->n_logits) * h->n_embd, w->output_norm, s->n_logits, f->h + n * h->n_embd);
    if (n == 0) return;
    tsr_forward_matmul(f, &w->output, NULL, f->h, n, logits);
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
