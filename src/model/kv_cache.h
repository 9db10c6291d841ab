/* kv_cache.h: keys and values of the positions seen so far, one sequence, all layers. */
#ifndef TSR_MODEL_KV_CACHE_H
#define TSR_MODEL_KV_CACHE_H

#include "kernels/kv.h"
#include "model/net.h"

typedef struct tsr_kv_cache {
    int64_t n_ctx, n_layer, n_head_kv;
    tsr_kv_head shape;        /* of every head, without memory */
    uint8_t *k, *v;           /* [n_layer][n_head_kv] heads of shape.bytes_k, shape.bytes_v */
    size_t bytes_k, bytes_v;  /* of all */
    /* Values behind the last stored position of its block must be zeros (kv.h): */
    int64_t end;              /* behind the last position of the last batch */
    int64_t used;             /* behind the last position that was ever stored */
} tsr_kv_cache;

tsr_code tsr_kv_open(tsr_kv_cache *c, const tsr_hparams *h, int64_t n_ctx, tsr_kv_type type_k, tsr_kv_type type_v, tsr_error *err);
void tsr_kv_close(tsr_kv_cache *c);

/* One head of a layer. */
tsr_kv_head tsr_kv_head_of(const tsr_kv_cache *c, int64_t layer, int64_t head);
/* Before positions [pos, pos + n) are stored. What was behind pos is forgotten. */
void tsr_kv_begin(tsr_kv_cache *c, int64_t pos, int64_t n);

#endif
