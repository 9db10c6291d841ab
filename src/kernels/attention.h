/* attention.h: scaled dot-product attention (Vaswani et al. 2017) of the query heads that share a key and value head (Ainslie et al. 2023),
 * causal, optionally in a sliding window, with the online softmax (Milakov, Gimelshein 2018; Dao et al. 2022): scores of a few positions at
 * a time, never the whole matrix.
 *
 * Two ways: many tokens, in blocks, on the kernels of the wide float path; or token by token, split over segments of positions, on those for
 * few rows, where time goes to reading keys and values. A token's result of the second does not depend on the tokens beside it. */
#ifndef TSR_KERNELS_ATTENTION_H
#define TSR_KERNELS_ATTENTION_H

#include "kernels/kv.h"

typedef struct tsr_attention {
    const tsr_kernels *kern;
    bool exact;            /* f32 throughout (keys and values as they are stored) */
    const tsr_kv_head *kv;
    int64_t pos;           /* of token 0; the tokens follow, and their keys and values are stored */
    int64_t heads;         /* that share the keys and values: 1.. */
    int64_t window;        /* a token sees so many positions, itself the last; 0: all */
    float scale, softcap;  /* score = scale * q k, or with softcap > 0 softcap * tanh(that / softcap) */
    const float *q;        /* token t, head h: q + t * ldq + h * Dk */
    int64_t ldq;
    float *out;            /* token t, head h: out + t * ldo + h * Dv */
    int64_t ldo;
} tsr_attention;

/* The record that multiplies, or unpacks, keys or values of a type of cache. */
static inline const tsr_wide *tsr_attention_wide(const tsr_attention *a, tsr_type type) {
    return a->exact ? a->kern->wide_f32 : a->kern->wide_attention[type];
}

/* Fewer tokens than this are better off one by one. */
enum { TSR_ATTENTION_BLOCK_MIN = 9 };

/* Tokens that a block should have, a multiple of 16. */
int64_t tsr_attention_block(int64_t heads, int64_t dim_k, int64_t dim_v);
/* Tokens [first, first + n), n <= tsr_attention_block. */
void tsr_attend_block(const tsr_attention *a, int64_t first, int64_t n, void *scratch);

/* Positions of a segment: segment s has [s, s + 1) * TSR_ATTENTION_SEGMENT. */
enum { TSR_ATTENTION_SEGMENT = 512 };
/* First and last segment that a token sees. */
void tsr_attention_segments(const tsr_attention *a, int64_t token, int64_t *first, int64_t *last);
/* What a token's heads get from one segment: floats of partial. */
int64_t tsr_attention_partial_floats(int64_t heads, int64_t dim_v);
void tsr_attend_segment(const tsr_attention *a, int64_t token, int64_t segment, float *partial, void *scratch);
/* sum += more: of a token, segment after segment in order; and out of the token from the sum of all. */
void tsr_attention_add(const tsr_attention *a, float *sum, const float *more);
void tsr_attention_finish(const tsr_attention *a, int64_t token, const float *sum);

/* Scratch of one thread, 64-byte aligned: of either way. */
size_t tsr_attention_block_bytes(int64_t heads, int64_t dim_k, int64_t dim_v);
size_t tsr_attention_segment_bytes(int64_t dim_k);

#endif
