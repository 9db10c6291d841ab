/* rope.h: rotary position embeddings (Su et al. 2021) with linear, YaRN, LongRoPE and Llama 3.1 scaling. */
#ifndef TSR_MODEL_ROPE_H
#define TSR_MODEL_ROPE_H

#include "model/hparams.h"

/* The n_rot/2 angles per position of one kind of layer, and the factor on rotated vectors. */
typedef struct tsr_rope {
    tsr_rope_pairs pairs;
    int64_t n_half;     /* n_rot / 2 */
    float *freq;        /* [n_half] radians per position, owned */
    float magnitude;    /* rotated vectors are multiplied by this */
} tsr_rope;

/* swa: for sliding-window layers (own base, no stretching). divisors: [n_half] from the file's tensor `name`, or NULL. */
tsr_code tsr_rope_init(tsr_rope *r, const tsr_hparams *h, bool swa, const float *divisors, const char *name, tsr_error *err);
void tsr_rope_free(tsr_rope *r);

/* cos_sin[n_half][2] for one position. */
void tsr_rope_angles(const tsr_rope *r, int64_t pos, float *cos_sin);
/* Rotates the first 2 n_half elements of one head in place. */
void tsr_rope_apply(const tsr_rope *r, const float *cos_sin, float *head);

#endif
