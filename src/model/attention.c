/* attention.c: grouped-query attention over the KV cache (Vaswani et al. 2017; Ainslie et al. 2023), causal, with an optional
 * sliding window (Beltagy et al. 2020). Reference form: one (token, head) at a time, its scores in memory. */
#include "model/forward.h"

#include <math.h>

typedef struct attention_job {
    tsr_forward *f;
    const tsr_layer *layer;
    int64_t il, pos;
    bool swa;
} attention_job;

/* Per token: norm and rotate its heads of Q and K, then put K and V into the cache. */
static void prepare_row(void *ctx, int64_t row, int thread) {
    (void)thread;
    const attention_job *job = ctx;
    tsr_forward *f = job->f;
    const tsr_hparams *h = &f->net->hparams;
    const tsr_kernels *kern = f->net->kern;
    const tsr_rope *rope = job->swa ? &f->net->rope_swa : &f->net->rope_global;
    const float *angles = (job->swa ? f->angles_swa : f->angles) + row * h->n_rot;
    float *q = f->q + row * h->n_head * h->head_k, *k = f->k + row * h->n_head_kv * h->head_k;
    for (int64_t i = 0; i < h->n_head; i++) {
        float *head = q + i * h->head_k; /* [Dk] */
        if (job->layer->attn_q_norm) kern->rms_norm(head, job->layer->attn_q_norm, h->norm_eps, head, h->head_k);
        tsr_rope_apply(rope, angles, head);
    }
    for (int64_t i = 0; i < h->n_head_kv; i++) {
        float *head = k + i * h->head_k; /* [Dk] */
        if (job->layer->attn_k_norm) kern->rms_norm(head, job->layer->attn_k_norm, h->norm_eps, head, h->head_k);
        tsr_rope_apply(rope, angles, head);
    }
    tsr_kv_store(&f->kv, kern, job->il, job->pos + row, k, f->v + row * h->n_head_kv * h->head_v);
}

/* scores[n] = scale * q . k of n positions */
static void score(const tsr_forward *f, const float *q, const void *k, int64_t n, float *scores) {
    const tsr_kernels *kern = f->net->kern;
    int64_t d = f->kv.head_k;
    float scale = f->net->hparams.attn_scale, cap = f->net->hparams.attn_softcap;
    for (int64_t i = 0; i < n; i++) {
        float dot = f->kv.type_k == TSR_KV_F32 ? kern->dot_f32(q, (const float *)k + i * d, d) : kern->dot_f16(q, (const uint16_t *)k + i * d, d);
        scores[i] = cap > 0.0f ? cap * tanhf(dot * scale / cap) : dot * scale;
    }
}

/* out[Dv] = sum of weights[n] * v of n positions */
static void mix(const tsr_forward *f, const float *weights, const void *v, int64_t n, float *out) {
    const tsr_kernels *kern = f->net->kern;
    int64_t d = f->kv.head_v;
    for (int64_t i = 0; i < d; i++) out[i] = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        if (f->kv.type_v == TSR_KV_F32) kern->axpy_f32(weights[i], (const float *)v + i * d, out, d);
        else kern->axpy_f16(weights[i], (const uint16_t *)v + i * d, out, d);
    }
}

/* One (token, head): positions [first, last] that it may see. */
static void attend(void *ctx, int64_t item, int thread) {
    const attention_job *job = ctx;
    const tsr_forward *f = job->f;
    const tsr_hparams *h = &f->net->hparams;
    int64_t row = item / h->n_head, head = item % h->n_head, kv_head = head / (h->n_head / h->n_head_kv);
    int64_t last = job->pos + row, first = job->swa && last + 1 > h->n_swa ? last + 1 - h->n_swa : 0, n = last + 1 - first;
    size_t elem_k = f->kv.type_k == TSR_KV_F32 ? 4 : 2, elem_v = f->kv.type_v == TSR_KV_F32 ? 4 : 2;
    const uint8_t *k = (const uint8_t *)tsr_kv_k(&f->kv, job->il, kv_head) + (size_t)(first * h->head_k) * elem_k;
    const uint8_t *v = (const uint8_t *)tsr_kv_v(&f->kv, job->il, kv_head) + (size_t)(first * h->head_v) * elem_v;
    float *scores = f->scores + thread * f->kv.n_ctx;
    score(f, f->q + item * h->head_k, k, n, scores);
    f->net->kern->softmax(scores, n);
    mix(f, scores, v, n, f->att + item * h->head_v);
}

void tsr_forward_attention(tsr_forward *f, int64_t il, int64_t m, int64_t pos) {
    const tsr_hparams *h = &f->net->hparams;
    const tsr_layer *l = &f->net->weights.layers[il];
    attention_job job = {.f = f, .layer = l, .il = il, .pos = pos, .swa = h->n_swa > 0 && h->is_swa[il]};
    tsr_product qkv = tsr_forward_product(f, f->x, m, h->n_embd, l->attn_norm);
    tsr_product_output(&qkv, &l->attn_q, l->attn_q_bias, f->q);
    tsr_product_output(&qkv, &l->attn_k, l->attn_k_bias, f->k);
    tsr_product_output(&qkv, &l->attn_v, l->attn_v_bias, f->v);
    tsr_product_run(&qkv);
    tsr_forward_rows(f, m, prepare_row, &job);
    tsr_forward_rows(f, m * h->n_head, attend, &job);
    tsr_forward_add(f, &l->attn_output, l->attn_output_bias, f->att, m, l->attn_post_norm);
}
