/* weights.h: a model's tensors, bound by name, checked for shape and format, and placed in buffers. */
#ifndef TSR_MODEL_WEIGHTS_H
#define TSR_MODEL_WEIGHTS_H

#include "buffer/select.h"
#include "model/hparams.h"
#include "model/packing.h"

/* One transformer block. Matrices are [n_out, n_in]; a matrix whose name is NULL, and a vector that is NULL, is absent.
 * Dimensions: E n_embd, H n_head, G n_head_kv, Dk head_k, Dv head_v, F n_ff, X n_expert, Fx n_ff_expert. */
typedef struct tsr_layer {
    const float *attn_norm;                     /* [E] */
    tsr_weight attn_q, attn_k, attn_v;          /* [H*Dk, E] [G*Dk, E] [G*Dv, E] */
    const float *attn_q_bias, *attn_k_bias, *attn_v_bias; /* [H*Dk] [G*Dk] [G*Dv] */
    const float *attn_q_norm, *attn_k_norm;     /* [Dk] */
    tsr_weight attn_output;                     /* [E, H*Dv] */
    const float *attn_output_bias;              /* [E] */
    const float *attn_post_norm;                /* [E] */
    const float *ffn_norm;                      /* [E] */
    tsr_weight ffn_gate, ffn_up, ffn_down;      /* [F, E] [F, E] [E, F] */
    const float *ffn_gate_bias, *ffn_up_bias, *ffn_down_bias; /* [F] [F] [E] */
    tsr_weight ffn_gate_inp;                    /* [X, E] the router */
    tsr_weight ffn_gate_exps, ffn_up_exps, ffn_down_exps; /* X times [Fx, E] [Fx, E] [E, Fx] */
    const float *ffn_post_norm;                 /* [E] */
} tsr_layer;

/* What became of one tensor of the file, for `tessera info`. */
typedef struct tsr_placement {
    const tsr_weight *weight; /* NULL for vectors, which are converted to f32 when the model opens */
    tsr_op op;
    const char *reason;       /* why it is in no faster buffer, or "" */
    uint64_t bytes;           /* that it takes in its buffer; mapped: those of the file */
    char kernels[128];        /* that multiply it: for one row and, where another does that, for many; "-": none */
} tsr_placement;

typedef struct tsr_weights {
    tsr_weight token_embd;     /* [V, E], read by rows */
    tsr_weight output;         /* [V, E]; tied models: the token embeddings */
    const float *output_norm;  /* [E] */
    const float *rope_freqs;   /* [n_rot/2] divisors of the RoPE frequencies, or NULL */
    const float *rope_long, *rope_short; /* [n_rot/2] LongRoPE's, or NULL */
    tsr_layer *layers;         /* [n_layer] */
    tsr_placement *placements; /* [g->n_tensors] */
    tsr_weight *parts;         /* matrices of experts in files from before merged experts */
    size_t n_parts;
    float *vectors;            /* arena of all vectors */
    size_t vectors_bytes;
    tsr_buffer host, packed;   /* memory of the copied host tensors (empty when they are mapped) and of the packed ones */
    const tsr_buffer_type *device_type; /* NULL: none */
    tsr_buffer device;
    tsr_buffer_rules *rules;   /* whose texts are reasons */
    tsr_packing packing;       /* of the packed ones: how they came to be, and the cache file that is being written */
    bool complete;             /* all is bound: a cache file is worth waiting for */
    uint64_t host_bytes;       /* GGUF bytes of the matrices in host buffers; packed.used is those of the packed ones */
} tsr_weights;

/* How a model is loaded. */
typedef struct tsr_load {
    tsr_tier tier;             /* kernels to use */
    bool copy;                 /* host tensors in memory instead of the mapping */
    bool packed;               /* matrices in packed buffers where these take them */
    const char *const *tensor_buffers; /* rules ("REGEX=host"), ended by NULL; or NULL */
    const tsr_buffer_type *device;     /* or NULL */
    int64_t n_offload_layers;  /* that are the device's: the last, see tsr_selection */
    tsr_numa numa;             /* where packed and copied weights lie; not NONE only where there are several nodes: */
    const tsr_nodes *nodes;    /* of local and mirror, else NULL */
    tsr_huge_pages huge_pages; /* of weights that are not mapped */
    const tsr_cache_params *cache; /* of packed weights, or NULL */
    int n_threads;             /* that pack, 0: as many as a session would use */
    tsr_progress_fn progress;  /* may be NULL */
    void *progress_user;
} tsr_load;

/* Binds every tensor of g: each must be known to the architecture, of the right shape and of a format with a kernel.
 * g must outlive the weights. */
tsr_code tsr_weights_bind(const tsr_gguf *g, const tsr_hparams *h, const tsr_load *load, tsr_weights *out, tsr_error *err);
void tsr_weights_free(tsr_weights *w);

#endif
