/* arch.h: the architecture table: what distinguishes one model family from another, one row each.
 * doc/adding-an-architecture.md walks through a new row. */
#ifndef TSR_MODEL_ARCH_H
#define TSR_MODEL_ARCH_H

#include "core/error.h"

/* Which elements of a head RoPE rotates together: (2i, 2i+1) or (i, i + n_rot/2). */
typedef enum tsr_rope_pairs { TSR_ROPE_ADJACENT, TSR_ROPE_HALVES } tsr_rope_pairs;
typedef enum tsr_activation { TSR_ACT_SILU, TSR_ACT_GELU } tsr_activation;

typedef struct tsr_arch {
    const char *name;            /* general.architecture */
    const char *describes;       /* for users */
    tsr_rope_pairs rope_pairs;
    tsr_activation activation;
    bool qkv_bias;               /* attn_{q,k,v}.bias are required (elsewhere optional) */
    bool qk_norm;                /* RMS norm over each head of Q and K before RoPE */
    bool post_norms;             /* RMS norms after attention and after the FFN, before the residual adds */
    bool scale_embedding;        /* embeddings times sqrt(n_embd) */
    bool experts_required;       /* a mixture of experts; else experts are used when expert_count says so */
    bool experts_allowed;
    int swa_period;              /* sliding window: every swa_period-th layer is global; 0: none is */
    float rope_base_swa;         /* RoPE base of sliding-window layers, 0: as the others */
} tsr_arch;

/* NULL and an error that lists the known names when there is none. */
const tsr_arch *tsr_arch_find(const char *name, size_t n, tsr_error *err);

#endif
