/* ffn.c: the gated feed-forward block (Shazeer 2020), dense and as a mixture of experts (Shazeer et al. 2017; Jiang et al. 2024). */
#include "model/forward.h"

#include <math.h>
#include <string.h>

static tsr_gate_fn activation(const tsr_forward *f) {
    const tsr_net *net = f->net;
    return net->hparams.arch->activation == TSR_ACT_GELU ? net->kern->gelu_mul : net->kern->silu_mul;
}

void tsr_forward_ffn(tsr_forward *f, int64_t il, int64_t m) {
    const tsr_layer *l = &f->net->weights.layers[il];
    tsr_product p = tsr_forward_product(f, f->x, m, f->net->hparams.n_embd, l->ffn_norm);
    tsr_product_output(&p, &l->ffn_gate, l->ffn_gate_bias, f->gate);
    tsr_product_output(&p, &l->ffn_up, l->ffn_up_bias, f->up);
    p.gate = activation(f); /* gate = act(gate) * up */
    tsr_product_run(&p);
    tsr_profile_lap(&f->profile, TSR_STEP_GATE_UP);
    tsr_forward_add(f, &l->ffn_down, l->ffn_down_bias, f->gate, m, l->ffn_post_norm);
    tsr_profile_lap(&f->profile, TSR_STEP_DOWN);
}

/* Scores are never negative, but they can be NaN. Then the NaN are the best: the logits will be NaN too, and the sampler
 * reports them. No expert is ever chosen twice. */
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

/* Sorts the slots by expert (counting: Knuth, The Art of Computer Programming 3, 5.2), tokens in order: their rows, and the runs of
 * rows of the experts that were chosen. Returns how many these are. */
static int64_t sort_slots(tsr_forward *f, int64_t slots) {
    int64_t n_expert = f->net->hparams.n_expert, row = 0, n = 0;
    int32_t *next = f->expert_next;
    memset(next, 0, (size_t)n_expert * sizeof *next);
    for (int64_t i = 0; i < slots; i++) next[f->chosen[i]]++;
    for (int64_t e = 0; e < n_expert; e++) {
        int64_t rows = next[e];
        if (rows > 0) f->expert_rows[n++] = (tsr_expert_rows){e, row, rows};
        next[e] = (int32_t)row;
        row += rows;
    }
    for (int64_t i = 0; i < slots; i++) {
        f->slot_row[i] = next[f->chosen[i]]++;
        f->row_token[f->slot_row[i]] = (int32_t)(i / f->net->hparams.n_expert_used);
    }
    return n;
}

typedef struct experts_job {
    const tsr_forward *f;
    const tsr_layer *layer;
} experts_job;

static void norm_row(void *ctx, int64_t row, int thread) {
    (void)thread;
    const experts_job *job = ctx;
    const tsr_forward *f = job->f;
    int64_t n = f->net->hparams.n_embd;
    f->net->kern->rms_norm(f->x + row * n, job->layer->ffn_norm, f->net->hparams.norm_eps, f->h + row * n, n);
}

/* The token's experts, the best first: always the same order of sums. They go straight to x, or to h when that is to be normed first. */
static void combine_row(void *ctx, int64_t row, int thread) {
    (void)thread;
    const experts_job *job = ctx;
    const tsr_forward *f = job->f;
    const tsr_hparams *h = &f->net->hparams;
    float *out = (job->layer->ffn_post_norm ? f->h : f->x) + row * h->n_embd;
    if (job->layer->ffn_post_norm) memset(out, 0, (size_t)h->n_embd * sizeof *out);
    for (int64_t s = row * h->n_expert_used; s < (row + 1) * h->n_expert_used; s++)
        f->net->kern->axpy_f32(f->chosen_weight[s], f->expert_out + f->slot_row[s] * h->n_embd, out, h->n_embd);
}

/* chosen and chosen_weight of h [m, E] */
static void route(tsr_forward *f, const tsr_weight *router, int64_t m) {
    tsr_product p = tsr_forward_product(f, f->h, m, router->k, NULL);
    tsr_product_output(&p, router, NULL, f->router);
    tsr_product_run(&p);
    tsr_forward_rows(f, m, route_row, f);
}

void tsr_forward_experts(tsr_forward *f, int64_t il, int64_t m) {
    const tsr_hparams *h = &f->net->hparams;
    const tsr_layer *l = &f->net->weights.layers[il];
    int64_t slots = m * h->n_expert_used;
    experts_job job = {f, l};
    tsr_forward_rows(f, m, norm_row, &job); /* once, and not again for each expert of a token */
    route(f, &l->ffn_gate_inp, m);

    tsr_product p = tsr_forward_product(f, f->h, slots, h->n_embd, NULL);
    p.n_experts = sort_slots(f, slots);
    p.experts = f->expert_rows;
    tsr_profile_lap(&f->profile, TSR_STEP_ROUTER);
    p.x.index = f->row_token;
    tsr_product_output(&p, &l->ffn_gate_exps, NULL, f->gate);
    tsr_product_output(&p, &l->ffn_up_exps, NULL, f->up);
    p.gate = activation(f);
    tsr_product_run(&p);
    tsr_profile_lap(&f->profile, TSR_STEP_GATE_UP);

    tsr_product down = tsr_forward_product(f, f->gate, slots, h->n_ff_expert, NULL);
    down.experts = p.experts;
    down.n_experts = p.n_experts;
    tsr_product_output(&down, &l->ffn_down_exps, NULL, f->expert_out);
    tsr_product_run(&down);
    tsr_profile_lap(&f->profile, TSR_STEP_DOWN);
    tsr_forward_rows(f, m, combine_row, &job);
    if (l->ffn_post_norm) tsr_forward_add_normed(f, l->ffn_post_norm, m);
    tsr_profile_lap(&f->profile, TSR_STEP_EXPERTS);
}
