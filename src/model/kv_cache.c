#include "model/kv_cache.h"

#include "core/ints.h"
#include "core/memory.h"

static tsr_type elem_type(tsr_kv_type t) {
    static const tsr_type types[] = {[TSR_KV_F16] = TSR_F16, [TSR_KV_F32] = TSR_F32, [TSR_KV_BF16] = TSR_BF16, [TSR_KV_Q8_0] = TSR_Q8_0};
    return types[t];
}

static tsr_code check_dim(const char *what, tsr_kv_type type, int64_t dim, tsr_error *err) {
    if (type != TSR_KV_Q8_0 || dim % TSR_BLOCK_K == 0) return TSR_OK;
    return tsr_fail(err, TSR_E_UNSUPPORTED, "a q8_0 cache of %s takes heads of multiples of %d, this model's have %lld; use f16", what,
                    TSR_BLOCK_K, (long long)dim);
}

/* Bytes of all heads; false when they do not fit a size_t. */
static bool total_bytes(const tsr_kv_cache *c, size_t head, size_t *out) {
    return tsr_mul_size((size_t)c->n_layer * (size_t)c->n_head_kv, head, out) && *out < SIZE_MAX / 4;
}

tsr_code tsr_kv_open(tsr_kv_cache *c, const tsr_hparams *h, int64_t n_ctx, tsr_kv_type type_k, tsr_kv_type type_v, tsr_error *err) {
    *c = (tsr_kv_cache){.n_ctx = n_ctx, .n_layer = h->n_layer, .n_head_kv = h->n_head_kv};
    tsr_code code = check_dim("keys", type_k, h->head_k, err);
    if (code == TSR_OK) code = check_dim("values", type_v, h->head_v, err);
    if (code != TSR_OK) return code;
    if (!tsr_kv_head_init(&c->shape, elem_type(type_k), elem_type(type_v), h->head_k, h->head_v, n_ctx) ||
        !total_bytes(c, c->shape.bytes_k, &c->bytes_k) || !total_bytes(c, c->shape.bytes_v, &c->bytes_v))
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

tsr_kv_head tsr_kv_head_of(const tsr_kv_cache *c, int64_t layer, int64_t head) {
    tsr_kv_head out = c->shape;
    size_t i = (size_t)(layer * c->n_head_kv + head);
    tsr_kv_head_place(&out, c->k + i * out.bytes_k, c->v + i * out.bytes_v);
    return out;
}

static int64_t block_end(int64_t pos) { return tsr_round_up(pos, TSR_BLOCK_K); }

void tsr_kv_begin(tsr_kv_cache *c, int64_t pos, int64_t n) {
    int64_t end = pos + n, last = block_end(end) < c->used ? block_end(end) : c->used;
    if (pos != c->end || block_end(end) != block_end(c->end)) /* else what is behind is clean already */
        for (int64_t i = 0; end < last && i < c->n_layer * c->n_head_kv; i++) {
            tsr_kv_head head = tsr_kv_head_of(c, 0, i);
            tsr_kv_clear(&head, end, last);
        }
    c->end = end;
    c->used = end > c->used ? end : c->used;
}
