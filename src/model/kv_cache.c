#include "model/kv_cache.h"

#include "core/memory.h"

#include <string.h>

static size_t elem_size(tsr_kv_type t) { return t == TSR_KV_F32 ? sizeof(float) : sizeof(uint16_t); }

static size_t head_offset(const tsr_kv_cache *c, int64_t layer, int64_t head, int64_t dim, tsr_kv_type type) {
    return (size_t)((layer * c->n_head_kv + head) * c->n_ctx * dim) * elem_size(type);
}

/* Bytes of one of K and V; false when they do not fit a size_t. */
static bool plane_bytes(const tsr_kv_cache *c, int64_t dim, tsr_kv_type type, size_t *out) {
    return tsr_mul_size((size_t)c->n_layer * (size_t)c->n_head_kv, (size_t)c->n_ctx, out) &&
           tsr_mul_size(*out, (size_t)dim * elem_size(type), out) && *out < SIZE_MAX / 4;
}

tsr_code tsr_kv_open(tsr_kv_cache *c, const tsr_hparams *h, int64_t n_ctx, tsr_kv_type type_k, tsr_kv_type type_v, tsr_error *err) {
    *c = (tsr_kv_cache){.n_ctx = n_ctx, .n_layer = h->n_layer, .n_head_kv = h->n_head_kv, .head_k = h->head_k, .head_v = h->head_v,
                        .type_k = type_k, .type_v = type_v};
    if (!plane_bytes(c, h->head_k, type_k, &c->bytes_k) || !plane_bytes(c, h->head_v, type_v, &c->bytes_v))
        return tsr_fail(err, TSR_E_LIMIT, "a KV cache of %lld tokens is too large for this machine's address space", (long long)n_ctx);
    c->k = tsr_memory_alloc(c->bytes_k, err);
    c->v = c->k ? tsr_memory_alloc(c->bytes_v, err) : NULL;
    if (c->v) return TSR_OK;
    tsr_fail_prefix(err, "KV cache of %lld tokens (a smaller context needs less)", (long long)n_ctx);
    tsr_kv_close(c);
    return TSR_E_NOMEM;
}

void tsr_kv_close(tsr_kv_cache *c) {
    tsr_memory_free(c->k, c->bytes_k);
    tsr_memory_free(c->v, c->bytes_v);
    c->k = c->v = NULL;
}

const void *tsr_kv_k(const tsr_kv_cache *c, int64_t layer, int64_t head) {
    return c->k + head_offset(c, layer, head, c->head_k, c->type_k);
}

const void *tsr_kv_v(const tsr_kv_cache *c, int64_t layer, int64_t head) {
    return c->v + head_offset(c, layer, head, c->head_v, c->type_v);
}

static void store_head(const tsr_kernels *kern, tsr_kv_type type, uint8_t *to, const float *from, int64_t n) {
    if (type == TSR_KV_F32) memcpy(to, from, (size_t)n * sizeof(float));
    else kern->f32_to_f16(from, (uint16_t *)(void *)to, n);
}

void tsr_kv_store(tsr_kv_cache *c, const tsr_kernels *kern, int64_t layer, int64_t pos, const float *k, const float *v) {
    for (int64_t head = 0; head < c->n_head_kv; head++) {
        uint8_t *to_k = c->k + head_offset(c, layer, head, c->head_k, c->type_k) + (size_t)(pos * c->head_k) * elem_size(c->type_k);
        uint8_t *to_v = c->v + head_offset(c, layer, head, c->head_v, c->type_v) + (size_t)(pos * c->head_v) * elem_size(c->type_v);
        store_head(kern, c->type_k, to_k, k + head * c->head_k, c->head_k);
        store_head(kern, c->type_v, to_v, v + head * c->head_v, c->head_v);
    }
}
