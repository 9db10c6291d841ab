/* ffn.c: the gated feed-forward block (Shazeer 2020), dense and as a mixture of experts (Shazeer et al. 2017; Jiang et al. 2024). */
#include "model/forward.h"

#include <math.h>
#include <string.h>

typedef struct gate_job {
    const tsr_forward *f;
    int64_t n;
} gate_job;

static void gate_row(void *ctx, int64_t row, int thread) {
    (void)thread;
    const gate_job *job = ctx;
    const tsr_net *net = job->f->net;
    float *gate = job->f->gate + row * job->n;
    const float *up = job->f->up + row * job->n;
    if (net->hparams.arch->activation == TSR_ACT_GELU) net->kern->gelu_mul(gate, up, job->n);
    else net->kern->silu_mul(gate, up, job->n);
}

/* gate[m, n] = act(gate) * up */
static void activate(tsr_forward *f, int64_t m, int64_t n) {
    gate_job job = {f, n};
    tsr_forward_rows(f, m, gate_row, &job);
}

void tsr_forward_ffn(tsr_forward *f, int64_t il, int64_t m) {
    const tsr_layer *l = &f->net->weights.layers[il];
    tsr_forward_matmul(f, &l->ffn_gate, 0, l->ffn_gate_bias, f->h, m, f->gate);
    tsr_forward_matmul(f, &l->ffn_up, 0, l->ffn_up_bias, f->h, m, f->up);
    activate(f, m, f->net->hparams.n_ff);
    tsr_forward_matmul(f, &l->ffn_down, 0, l->ffn_down_bias, f->gate, m, f->h);
}

/* Scores are never negative, but they can be NaN. Then the NaN are the best: the logits will be NaN too, and the sampler
 * reports them. No expert is ever chosen twice, as `rows` has room for each token once. */
#define TAKEN (-1.0f)

/* Per token: scores of the X experts -> the best `used` of them and their weights. */
static void route_row(void *ctx, int64_t row, int thread) {
    (void)thread;
    tsr_forward *f = ctx;
    const tsr_hparams *h = &f->net->hparams;
    float *score = f->router + row * h->n_expert; /* [X] */
    int32_t *chosen = f->chosen + row * h->n_expert_used;
    float *weight = f->chosen_weight + row * h->n_expert_used;
    if (h->expert_sigmoid)
        for (int64_t e = 0; e < h->n_expert; e++) score[e] = 1.0f / (1.0f + expf(-score[e]));
    else f->net->kern->softmax(score, h->n_expert);
    float sum = 0.0f;
    for (int64_t s = 0; s < h->n_expert_used; s++) { /* the best first; equal scores: the lower expert */
        int64_t best = -1;
        for (int64_t e = 0; e < h->n_expert; e++)
            if (score[e] != TAKEN && (best < 0 || isnan(score[e]) || score[e] > score[best])) best = e;
        chosen[s] = (int32_t)best;
        weight[s] = score[best];
        sum += weight[s];
        score[best] = TAKEN;
    }
    float scale = h->expert_norm ? h->expert_scale / (sum < 6.103515625e-5f ? 6.103515625e-5f : sum) : h->expert_scale;
    for (int64_t s = 0; s < h->n_expert_used; s++) weight[s] *= scale;
}

/* Rows of the batch that chose expert e, and with which weight. Returns how many. */
static int64_t rows_of(tsr_forward *f, int64_t e, int64_t m) {
    int64_t used = f->net->hparams.n_expert_used, n = 0;
    for (int64_t i = 0; i < m * used; i++)
        if (f->chosen[i] == e) {
            f->rows[n] = (int32_t)(i / used);
            f->rows_weight[n++] = f->chosen_weight[i];
        }
    return n;
}

void tsr_forward_experts(tsr_forward *f, int64_t il, int64_t m) {
    const tsr_hparams *h = &f->net->hparams;
    const tsr_layer *l = &f->net->weights.layers[il];
    int64_t embd = h->n_embd;
    tsr_forward_matmul(f, &l->ffn_gate_inp, 0, NULL, f->h, m, f->router);
    tsr_forward_rows(f, m, route_row, f);
    /* the output collects in expert_out; h stays the input until all experts are done */
    memset(f->expert_out, 0, (size_t)(m * embd) * sizeof(float));
    for (int64_t e = 0; e < h->n_expert; e++) {
        int64_t n = rows_of(f, e, m);
        if (n == 0) continue;
        for (int64_t i = 0; i < n; i++)
            memcpy(f->gathered + i * embd, f->h + f->rows[i] * embd, (size_t)embd * sizeof(float));
        tsr_forward_matmul(f, &l->ffn_gate_exps, e, NULL, f->gathered, n, f->gate);
        tsr_forward_matmul(f, &l->ffn_up_exps, e, NULL, f->gathered, n, f->up);
        activate(f, n, h->n_ff_expert);
        tsr_forward_matmul(f, &l->ffn_down_exps, e, NULL, f->gate, n, f->gathered);
        for (int64_t i = 0; i < n; i++)
            f->net->kern->axpy_f32(f->rows_weight[i], f->gathered + i * embd, f->expert_out + f->rows[i] * embd, embd);
    }
    memcpy(f->h, f->expert_out, (size_t)(m * embd) * sizeof(float));
}
