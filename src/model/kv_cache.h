/* kv_cache.h: keys and values of the positions seen so far, one sequence. */
#ifndef TSR_MODEL_KV_CACHE_H
#define TSR_MODEL_KV_CACHE_H

#include "model/net.h"

/* Per layer, K is [n_head_kv][n_ctx][head_k] and V [n_head_kv][n_ctx][head_v]: the positions of one head are contiguous, as
 * attention reads them. */
typedef struct tsr_kv_cache {
    int64_t n_ctx, n_layer, n_head_kv, head_k, head_v;
    tsr_kv_type type_k, type_v;
    uint8_t *k, *v;
    size_t bytes_k, bytes_v;
} tsr_kv_cache;

tsr_code tsr_kv_open(tsr_kv_cache *c, const tsr_hparams *h, int64_t n_ctx, tsr_kv_type type_k, tsr_kv_type type_v, tsr_error *err);
void tsr_kv_close(tsr_kv_cache *c);

/* Position 0 of a head; positions follow one another. */
const void *tsr_kv_k(const tsr_kv_cache *c, int64_t layer, int64_t head);
const void *tsr_kv_v(const tsr_kv_cache *c, int64_t layer, int64_t head);
/* Stores position pos of one layer from k [n_head_kv * head_k] and v [n_head_kv * head_v]. */
void tsr_kv_store(tsr_kv_cache *c, const tsr_kernels *kern, int64_t layer, int64_t pos, const float *k, const float *v);

#endif
