/* forward.h: tokens in, logits out: the transformer's forward pass over one batch of tokens of one or several
 * sequences. */
#ifndef TSR_MODEL_FORWARD_H
#define TSR_MODEL_FORWARD_H

#include "model/kv_cache.h"
#include "model/profile.h"

#include <stdatomic.h>

/* The tokens of one sequence in a batch. */
typedef struct tsr_span {
    tsr_kv_cache *kv;
    int64_t pos;            /* of its first token */
    int64_t row, rows;      /* rows [row, row + rows) of the batch, at positions pos .. pos + rows - 1 */
    int64_t n_logits;       /* wanted of its last so many rows */
} tsr_span;

/* Everything one session needs to run the network; planned and allocated once. M = n_batch rows.
 * Dimensions as in weights.h. */
typedef struct tsr_forward {
    const tsr_net *net;
    tsr_pool *pool;
    int64_t n_batch;
    atomic_bool *cancel;    /* checked between layers */
    bool rows_alone;        /* each row bit for bit as if it were alone: batches of up to TSR_ACT8_ALONE tokens */
    const tsr_span *spans;  /* [n_spans] of the batch that is being computed, in rows' order */
    int64_t n_spans;
    tsr_profile profile;    /* off at first */

    /* one row per token of the batch */
    float *x;               /* [M, E] the residual stream */
    float *h;               /* [M, E] normed input of the experts; output of a block that is normed before it is added to x */
    float *q, *k, *v;       /* [M, H*Dk] [M, G*Dk] [M, G*Dv] */
    float *att;             /* [M, H*Dv] */
    float *gate, *up;       /* [M, F]; with experts [M*used, Fx]; up: only where it is not multiplied into gate on the way */
    float *angles, *angles_swa; /* [M, n_rot/2, 2] cos, sin */
    int32_t *output_row;    /* [M] rows of x of which logits are wanted */
    /* experts */
    float *router;          /* [M, X] */
    int32_t *chosen;        /* [M, used] expert of each slot */
    float *chosen_weight;   /* [M, used] */
    int32_t *slot_row;      /* [M, used] the row of a slot below, where rows are in the order of experts */
    int32_t *row_token;     /* [M*used] the row of h that such a row stands for */
    int32_t *expert_next;   /* [X] the next row of each expert, while slots get their rows */
    tsr_expert_rows *expert_rows; /* [min(X, M*used)] rows of the experts that were chosen */
    float *expert_out;      /* [M*used, E] outputs of the experts */
    /* per thread */
    uint8_t *scratch;       /* [threads][scratch_bytes] */
    size_t scratch_bytes;
    /* attention to KV segments (kernels/attention.h) */
    float *partials;        /* [threads][2] and [split_items][segments of n_ctx] of partial_floats */
    int64_t partial_floats, split_items;
    void *product_work;     /* shared by all threads of a product */

    uint8_t *work;          /* one block that holds all of the above */
    size_t work_bytes;
} tsr_forward;

/* n_ctx: the longest sequence that a batch can have. */
tsr_code tsr_forward_open(tsr_forward *f, const tsr_net *net, tsr_pool *pool, int64_t n_ctx, int64_t n_batch, atomic_bool *cancel,
                          tsr_error *err);
void tsr_forward_close(tsr_forward *f);

/* Computes a batch of at most n_batch tokens; their keys and values go into the caches of their spans. Logits of the rows that the spans want
 * go to logits [sum of n_logits, n_vocab], in order. Tokens must be in range and fit their caches. */
tsr_code tsr_forward_run(tsr_forward *f, const tsr_token *tokens, const tsr_span *spans, int64_t n_spans, float *logits, tsr_error *err);

/* The blocks (attention.c, ffn.c): x [m, E] += block(norm(x)). */
void tsr_forward_attention(tsr_forward *f, int64_t layer, int64_t m);
void tsr_forward_ffn(tsr_forward *f, int64_t layer, int64_t m);
void tsr_forward_experts(tsr_forward *f, int64_t layer, int64_t m);

/* A product of x [m, k], to which outputs are still to be added. norm: weights of an RMS norm that rows go through first, or NULL. */
tsr_product tsr_forward_product(const tsr_forward *f, const float *x, int64_t m, int64_t k, const float *norm);
/* The end of a block: x [m, E] += in [m, k] W^T + bias, normed before it is added where post_norm is not NULL. */
void tsr_forward_add(tsr_forward *f, const tsr_weight *w, const float *bias, const float *in, int64_t m, const float *post_norm);
/* x[m, E] += rms_norm(h[m, E]) * w[E] */
void tsr_forward_add_normed(tsr_forward *f, const float *w, int64_t m);

/* Calls fn(ctx, row) for 0 <= row < rows, spread over the threads (on the caller alone when there is only one). */
typedef void (*tsr_row_fn)(void *ctx, int64_t row, int thread);
void tsr_forward_rows(tsr_forward *f, int64_t rows, tsr_row_fn fn, void *ctx);

#endif
