/* attention.c: the attention block of a layer: projections, rotary positions, the KV cache, and who computes which part of
 * attention (kernels/attention.h). */
#include "core/ints.h"
#include "kernels/attention.h"
#include "model/forward.h"

#include <math.h>

/* Items of a phase, of all spans one after the other. */
typedef enum phase { STORE, LONG, SHORT, PHASES } phase;

typedef struct attention_job {
    tsr_forward *f;
    const tsr_layer *layer;
    int64_t il;
    bool swa;
    int64_t block;           /* tokens of an item of a long span */
    int64_t count[PHASES];   /* items */
    int64_t segments;        /* at most, of a token of a short span */
    bool split;              /* short items: segment by segment */
} attention_job;

/* --- phase 1: norm and rotate Q and K, store K and V ----------------------------------------------------------------------- */

/* x[n heads of D] of a row: norm (if the model has one) and rotary positions. */
static void turn(const attention_job *job, float *x, int64_t heads, const float *norm, const float *angles) {
    const tsr_net *net = job->f->net;
    const tsr_rope *rope = job->swa ? &net->rope_swa : &net->rope_global;
    int64_t dim = net->hparams.head_k;
    for (int64_t i = 0; i < heads; i++, x += dim) {
        if (norm) net->kern->rms_norm(x, norm, net->hparams.norm_eps, x, dim);
        tsr_rope_apply(rope, angles, x);
    }
}

/* x[n heads of D] times a Hadamard matrix of the largest power of two that divides D, which leaves q k as it is (Ashkboos et al. 2024, QuaRot):
 * few large elements of keys would take the bits of all others of their block of q8_0. */
static void spread(float *x, int64_t heads, int64_t dim) {
    int64_t size = dim & -dim;
    float scale = 1.0f / sqrtf((float)size);
    for (int64_t block = 0; block < heads * dim; block += size, x += size) {
        for (int64_t half = 1; half < size; half *= 2)
            for (int64_t i = 0; i < size; i += 2 * half)
                for (int64_t j = i; j < i + half; j++) {
                    float a = x[j], b = x[j + half];
                    x[j] = a + b;
                    x[j + half] = a - b;
                }
        for (int64_t i = 0; i < size; i++) x[i] *= scale;
    }
}

/* One KV head, its query heads and the tokens of the span in one block of 32 positions. */
static void store_item(const attention_job *job, const tsr_span *span, int64_t item) {
    tsr_forward *f = job->f;
    const tsr_hparams *h = &f->net->hparams;
    int64_t g = item % h->n_head_kv, group = h->n_head / h->n_head_kv;
    int64_t begin = (span->pos / TSR_BLOCK_K + item / h->n_head_kv) * TSR_BLOCK_K, end = tsr_min64(begin + TSR_BLOCK_K, span->pos + span->rows);
    tsr_kv_head kv = tsr_kv_head_of(span->kv, job->il, g);
    for (int64_t pos = begin > span->pos ? begin : span->pos; pos < end; pos++) {
        int64_t row = span->row + pos - span->pos;
        const float *angles = (job->swa ? f->angles_swa : f->angles) + row * h->n_rot;
        float *q = f->q + (row * h->n_head + g * group) * h->head_k;  /* [group, Dk] */
        float *k = f->k + (row * h->n_head_kv + g) * h->head_k;       /* [Dk] */
        turn(job, q, group, job->layer->attn_q_norm, angles);
        turn(job, k, 1, job->layer->attn_k_norm, angles);
        if (kv.type_k == TSR_Q8_0) {
            spread(q, group, h->head_k);
            spread(k, 1, h->head_k);
        }
        tsr_kv_put(&kv, f->net->kern, pos, k, f->v + (row * h->n_head_kv + g) * h->head_v);
    }
}

/* --- phase 2: attention ---------------------------------------------------------------------------------------------------- */

/* Attention of a span's tokens to KV head g. */
static tsr_attention head_attention(const attention_job *job, const tsr_span *span, const tsr_kv_head *kv, int64_t g) {
    const tsr_forward *f = job->f;
    const tsr_hparams *h = &f->net->hparams;
    int64_t group = h->n_head / h->n_head_kv;
    return (tsr_attention){.kern = f->net->kern, .exact = f->net->exact, .kv = kv, .pos = span->pos, .heads = group,
                           .window = job->swa ? h->n_swa : 0, .scale = h->attn_scale, .softcap = h->attn_softcap,
                           .q = f->q + (span->row * h->n_head + g * group) * h->head_k, .ldq = h->n_head * h->head_k,
                           .out = f->att + (span->row * h->n_head + g * group) * h->head_v, .ldo = h->n_head * h->head_v};
}

/* A block of tokens and a KV head. The last blocks see the most and come first. */
static void long_item(const attention_job *job, const tsr_span *span, int64_t item, void *scratch) {
    int64_t n_kv = job->f->net->hparams.n_head_kv, blocks = (span->rows + job->block - 1) / job->block;
    int64_t first = (blocks - 1 - item / n_kv) * job->block;
    tsr_kv_head kv = tsr_kv_head_of(span->kv, job->il, item % n_kv);
    tsr_attention a = head_attention(job, span, &kv, item % n_kv);
    tsr_attend_block(&a, first, tsr_min64(job->block, span->rows - first), scratch);
}

/* A token and a KV head, and the segments that it sees. */
typedef struct short_view {
    tsr_kv_head kv;
    tsr_attention a;         /* of kv */
    int64_t token, first, last;
} short_view;

static void open_short(const attention_job *job, const tsr_span *span, int64_t item, short_view *v) {
    int64_t n_kv = job->f->net->hparams.n_head_kv;
    v->kv = tsr_kv_head_of(span->kv, job->il, item % n_kv);
    v->a = head_attention(job, span, &v->kv, item % n_kv);
    v->token = item / n_kv;
    tsr_attention_segments(&v->a, v->token, &v->first, &v->last);
}

/* All segments, one after the other. */
static void short_item(const attention_job *job, const tsr_span *span, int64_t item, int thread, void *scratch) {
    short_view v;
    open_short(job, span, item, &v);
    float *sum = job->f->partials + thread * 2 * job->f->partial_floats, *next = sum + job->f->partial_floats;
    tsr_attend_segment(&v.a, v.token, v.first, sum, scratch);
    for (int64_t s = v.first + 1; s <= v.last; s++) {
        tsr_attend_segment(&v.a, v.token, s, next, scratch);
        tsr_attention_add(&v.a, sum, next);
    }
    tsr_attention_finish(&v.a, v.token, sum);
}

/* Where the results of all segments of a split item are. */
static float *split_partials(const attention_job *job, int64_t item_of_all) {
    const tsr_forward *f = job->f;
    return f->partials + (tsr_pool_size(f->pool) * 2 + item_of_all * job->segments) * f->partial_floats;
}

/* The same, split: one segment, and in the end their sum. */
static void segment_item(const attention_job *job, const tsr_span *span, int64_t item, int64_t segment, float *partial, void *scratch) {
    short_view v;
    open_short(job, span, item, &v);
    if (v.first + segment <= v.last) tsr_attend_segment(&v.a, v.token, v.first + segment, partial, scratch);
}

static void sum_item(const attention_job *job, const tsr_span *span, int64_t item, float *partials) {
    short_view v;
    open_short(job, span, item, &v);
    for (int64_t s = 1; s <= v.last - v.first; s++) tsr_attention_add(&v.a, partials, partials + s * job->f->partial_floats);
    tsr_attention_finish(&v.a, v.token, partials);
}

/* --- all of it ------------------------------------------------------------------------------------------------------------- */

static bool is_short(const tsr_span *span) { return span->rows < TSR_ATTENTION_BLOCK_MIN; }

static int64_t items_of(const attention_job *job, const tsr_span *span, phase p) {
    int64_t n_kv = job->f->net->hparams.n_head_kv;
    if (p == STORE) return ((span->pos + span->rows - 1) / TSR_BLOCK_K - span->pos / TSR_BLOCK_K + 1) * n_kv;
    if (p == LONG) return is_short(span) ? 0 : (span->rows + job->block - 1) / job->block * n_kv;
    return is_short(span) ? span->rows * n_kv : 0;
}

/* The span that an item of all belongs to; *item becomes that of the span. */
static const tsr_span *span_of(const attention_job *job, phase p, int64_t *item) {
    const tsr_span *span = job->f->spans;
    for (int64_t n; *item >= (n = items_of(job, span, p)); span++) *item -= n;
    return span;
}

static void run_short(const attention_job *job, int64_t all, int thread, void *scratch) {
    int64_t item = job->split ? all / job->segments : all;
    float *partials = split_partials(job, item);
    const tsr_span *span = span_of(job, SHORT, &item);
    if (!job->split) short_item(job, span, item, thread, scratch);
    else segment_item(job, span, item, all % job->segments, partials + all % job->segments * job->f->partial_floats, scratch);
}

static void run(void *ctx, int thread, int n_threads) {
    (void)n_threads;
    const attention_job *job = ctx;
    tsr_pool *pool = job->f->pool;
    void *scratch = job->f->scratch + (size_t)thread * job->f->scratch_bytes;
    int64_t next, begin = 0, end = job->count[STORE];
    while ((next = tsr_pool_next(pool, end)) < end) {
        int64_t item = next;
        const tsr_span *span = span_of(job, STORE, &item);
        store_item(job, span, item);
    }
    tsr_pool_barrier(pool, thread);
    if (thread == 0) tsr_profile_lap(&job->f->profile, TSR_STEP_ROPE);
    begin = end;
    end += job->count[LONG];
    while ((next = tsr_pool_next(pool, end)) < end) {
        int64_t item = next - begin;
        const tsr_span *span = span_of(job, LONG, &item);
        long_item(job, span, item, scratch);
    }
    begin = end;
    end += job->count[SHORT] * (job->split ? job->segments : 1);
    while ((next = tsr_pool_next(pool, end)) < end) run_short(job, next - begin, thread, scratch);
    if (!job->split) return;
    tsr_pool_barrier(pool, thread);
    begin = end;
    end += job->count[SHORT];
    while ((next = tsr_pool_next(pool, end)) < end) {
        int64_t item = next - begin;
        float *partials = split_partials(job, item);
        const tsr_span *span = span_of(job, SHORT, &item);
        sum_item(job, span, item, partials);
    }
}

/* How the work of short spans is cut: with few items, segment by segment. Either way the sums are the same. */
static void cut_short(attention_job *job) {
    const tsr_forward *f = job->f;
    for (int64_t i = 0; i < f->n_spans; i++) {
        if (!is_short(&f->spans[i])) continue;
        int64_t seen = f->spans[i].pos + f->spans[i].rows, n_swa = f->net->hparams.n_swa;
        int64_t segments = (seen - 1) / TSR_ATTENTION_SEGMENT + 1;
        if (job->swa) segments = tsr_min64(segments, n_swa / TSR_ATTENTION_SEGMENT + 2);
        job->segments = segments > job->segments ? segments : job->segments;
    }
    job->split = job->segments > 1 && job->count[SHORT] <= f->split_items;
}

void tsr_forward_attention(tsr_forward *f, int64_t il, int64_t m) {
    const tsr_hparams *h = &f->net->hparams;
    const tsr_layer *l = &f->net->weights.layers[il];
    attention_job job = {.f = f, .layer = l, .il = il, .swa = h->n_swa > 0 && h->is_swa[il],
                         .block = tsr_attention_block(h->n_head / h->n_head_kv, h->head_k, h->head_v)};
    tsr_product qkv = tsr_forward_product(f, f->x, m, h->n_embd, l->attn_norm);
    tsr_product_output(&qkv, &l->attn_q, l->attn_q_bias, f->q);
    tsr_product_output(&qkv, &l->attn_k, l->attn_k_bias, f->k);
    tsr_product_output(&qkv, &l->attn_v, l->attn_v_bias, f->v);
    tsr_product_run(&qkv);
    tsr_profile_lap(&f->profile, TSR_STEP_QKV);
    for (int64_t i = 0; i < f->n_spans; i++)
        for (int p = 0; p < PHASES; p++) job.count[p] += items_of(&job, &f->spans[i], (phase)p);
    cut_short(&job);
    tsr_pool_run(f->pool, run, &job);
    tsr_profile_lap(&f->profile, TSR_STEP_ATTENTION);
    tsr_forward_add(f, &l->attn_output, l->attn_output_bias, f->att, m, l->attn_post_norm);
    tsr_profile_lap(&f->profile, TSR_STEP_ATTN_OUT);
}
