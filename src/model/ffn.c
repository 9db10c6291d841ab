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
    tsr_forward_matmul(f, &l->ffn_gate, l->ffn_gate_bias, f->h, m, f->gate);
    tsr_forward_matmul(f, &l->ffn_up, l->ffn_up_bias, f->h, m, f->up);
    tsr_profile_lap(&f->profile, TSR_STEP_GATE_UP);
    activate(f, m, f->net->hparams.n_ff);
    tsr_profile_lap(&f->profile, TSR_STEP_ACTIVATION);
    tsr_forward_matmul(f, &l->ffn_down, l->ffn_down_bias, f->gate, m, f->h);
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
    for (int64_t i = 0; i < slots; i++) f->slot_row[i] = next[f->chosen[i]]++;
    return n;
}

static void gather_row(void *ctx, int64_t row, int thread) {
    (void)thread;
    const tsr_forward *f = ctx;
    const tsr_hparams *h = &f->net->hparams;
    for (int64_t s = row * h->n_expert_used; s < (row + 1) * h->n_expert_used; s++)
        memcpy(f->gathered + f->slot_row[s] * h->n_embd, f->h + row * h->n_embd, (size_t)h->n_embd * sizeof(float));
}

/* The token's experts, the best first: always the same order of sums. */
static void combine_row(void *ctx, int64_t row, int thread) {
    (void)thread;
    const tsr_forward *f = ctx;
    const tsr_hparams *h = &f->net->hparams;
    float *out = f->h + row * h->n_embd;
    memset(out, 0, (size_t)h->n_embd * sizeof *out);
    for (int64_t s = row * h->n_expert_used; s < (row + 1) * h->n_expert_used; s++)
        f->net->kern->axpy_f32(f->chosen_weight[s], f->gathered + f->slot_row[s] * h->n_embd, out, h->n_embd);
}

void tsr_forward_experts(tsr_forward *f, int64_t il, int64_t m) {
    const tsr_hparams *h = &f->net->hparams;
    const tsr_layer *l = &f->net->weights.layers[il];
    int64_t slots = m * h->n_expert_used;
    tsr_forward_matmul(f, &l->ffn_gate_inp, NULL, f->h, m, f->router);
    tsr_forward_rows(f, m, route_row, f);
    int64_t n = sort_slots(f, slots);
    tsr_profile_lap(&f->profile, TSR_STEP_ROUTER);
    tsr_forward_rows(f, m, gather_row, f);
    tsr_profile_lap(&f->profile, TSR_STEP_EXPERTS);
    tsr_forward_matmul_experts(f, &l->ffn_gate_exps, f->expert_rows, n, f->gathered, slots, f->gate);
    tsr_forward_matmul_experts(f, &l->ffn_up_exps, f->expert_rows, n, f->gathered, slots, f->up);
    tsr_profile_lap(&f->profile, TSR_STEP_GATE_UP);
    activate(f, slots, h->n_ff_expert);
    tsr_profile_lap(&f->profile, TSR_STEP_ACTIVATION);
    tsr_forward_matmul_experts(f, &l->ffn_down_exps, f->expert_rows, n, f->gate, slots, f->gathered);
    tsr_profile_lap(&f->profile, TSR_STEP_DOWN);
    tsr_forward_rows(f, m, combine_row, f);
    tsr_profile_lap(&f->profile, TSR_STEP_EXPERTS);
}
