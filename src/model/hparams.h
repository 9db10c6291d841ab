/* hparams.h: a model's hyperparameters, read from GGUF metadata and checked: after tsr_hparams_read every number is in a
 * range that the forward pass can rely on. Key names: the GGUF specification. */
#ifndef TSR_MODEL_HPARAMS_H
#define TSR_MODEL_HPARAMS_H

#include "gguf/gguf.h"
#include "model/arch.h"

enum { TSR_MAX_LAYERS = 1024, TSR_MAX_EXPERTS = 1024 };

/* Long-context scaling: linear (Chen et al. 2023), YaRN (Peng et al. 2023), LongRoPE (Ding et al. 2024), Llama 3.1's. */
typedef enum tsr_rope_scaling { TSR_ROPE_NONE, TSR_ROPE_LINEAR, TSR_ROPE_YARN, TSR_ROPE_LONGROPE, TSR_ROPE_LLAMA3 } tsr_rope_scaling;

typedef struct tsr_rope_params {
    tsr_rope_scaling scaling;
    float factor;                 /* context is stretched by this; 1 none */
    float base, base_swa;         /* theta_i = position * base^(-2i / n_rot) */
    int64_t n_ctx_orig;           /* training context before stretching */
    float ext_factor, attn_factor, beta_fast, beta_slow; /* YaRN; attn_factor scales rotated vectors */
    float low_freq_factor, high_freq_factor;             /* Llama 3.1 */
} tsr_rope_params;

typedef struct tsr_hparams {
    const tsr_arch *arch;
    int64_t n_vocab, n_ctx_train, n_embd, n_layer;
    int64_t n_head, n_head_kv;    /* n_head is a multiple of n_head_kv */
    int64_t head_k, head_v;       /* elements of a head of Q, K and of V */
    int64_t n_rot;                /* leading elements of a head that RoPE rotates, even */
    int64_t n_ff;                 /* dense layers */
    int64_t n_expert, n_expert_used, n_ff_expert; /* 0 in dense models */
    bool expert_sigmoid;          /* router scores by sigmoid instead of softmax */
    bool expert_norm;             /* the chosen experts' weights are scaled to sum 1 */
    float expert_scale;
    float norm_eps;
    float attn_scale;             /* QK^T times this, usually 1 / sqrt(head_k) */
    float attn_softcap, final_softcap; /* cap * tanh(x / cap), 0: none */
    float embd_scale;
    int64_t n_swa;                /* a sliding-window layer sees this many positions, its own included; 0: no window */
    bool is_swa[TSR_MAX_LAYERS];
    tsr_rope_params rope;
} tsr_hparams;

/* n_vocab: the tokenizer's. */
tsr_code tsr_hparams_read(const tsr_gguf *g, int64_t n_vocab, tsr_hparams *out, tsr_error *err);

#endif
