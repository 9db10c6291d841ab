/* weights.c: binding. One table lists every tensor name that a model may have, with its shape and its place in tsr_weights
 * or tsr_layer; the architecture decides which rows apply. A tensor of the file that no row claims is an error: a model
 * that has one is not the model that we would compute. */
#include "model/weights.h"

#include "core/mapping.h"
#include "core/memory.h"
#include "core/numa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A dimension, by what it counts; resolved through the hyperparameters. */
typedef enum dim { D_NONE, D_VOCAB, D_EMBD, D_Q, D_K, D_V, D_ATT, D_HEAD, D_FF, D_EXPERT, D_FF_EXPERT, D_ROT_HALF } dim;

static int64_t dim_size(dim d, const tsr_hparams *h) {
    switch (d) {
    case D_NONE: return 1;
    case D_VOCAB: return h->n_vocab;
    case D_EMBD: return h->n_embd;
    case D_Q: return h->n_head * h->head_k;
    case D_K: return h->n_head_kv * h->head_k;
    case D_V: return h->n_head_kv * h->head_v;
    case D_ATT: return h->n_head * h->head_v;
    case D_HEAD: return h->head_k;
    case D_FF: return h->n_ff;
    case D_EXPERT: return h->n_expert;
    case D_FF_EXPERT: return h->n_ff_expert;
    case D_ROT_HALF: return h->n_rot / 2;
    }
    return 0;
}

/* When a model has the tensor. */
typedef enum presence { P_ALWAYS, P_OPTIONAL, P_QKV_BIAS, P_QK_NORM, P_POST_NORM, P_DENSE, P_DENSE_OPTIONAL, P_EXPERTS } presence;
typedef enum wants { W_REQUIRED, W_OPTIONAL, W_ABSENT } wants;

static wants presence_of(presence p, const tsr_hparams *h) {
    switch (p) {
    case P_ALWAYS: return W_REQUIRED;
    case P_OPTIONAL: return W_OPTIONAL;
    case P_QKV_BIAS: return h->arch->qkv_bias ? W_REQUIRED : W_OPTIONAL;
    case P_QK_NORM: return h->arch->qk_norm ? W_REQUIRED : W_ABSENT;
    case P_POST_NORM: return h->arch->post_norms ? W_REQUIRED : W_ABSENT;
    case P_DENSE: return h->n_expert == 0 ? W_REQUIRED : W_ABSENT;
    case P_DENSE_OPTIONAL: return h->n_expert == 0 ? W_OPTIONAL : W_ABSENT;
    case P_EXPERTS: return h->n_expert > 0 ? W_REQUIRED : W_ABSENT;
    }
    return W_ABSENT;
}

typedef struct row {
    const char *name;   /* of a layer's tensor: what follows "blk.N." */
    tsr_op op;
    size_t offset;      /* of the tsr_weight, or of the const float * of a vector, in tsr_weights or tsr_layer */
    dim k, n, e;        /* ne[0], ne[1], ne[2] */
    presence presence;
} row;

#define IN_MODEL(field) offsetof(tsr_weights, field)
#define IN_LAYER(field) offsetof(tsr_layer, field)

static const row model_rows[] = {
    {"token_embd.weight", TSR_OP_ROWS, IN_MODEL(token_embd), D_EMBD, D_VOCAB, D_NONE, P_ALWAYS},
    {"output.weight", TSR_OP_MATMUL, IN_MODEL(output), D_EMBD, D_VOCAB, D_NONE, P_OPTIONAL},
    {"output_norm.weight", TSR_OP_VECTOR, IN_MODEL(output_norm), D_EMBD, D_NONE, D_NONE, P_ALWAYS},
    {"rope_freqs.weight", TSR_OP_VECTOR, IN_MODEL(rope_freqs), D_ROT_HALF, D_NONE, D_NONE, P_OPTIONAL},
    {"rope_factors_long.weight", TSR_OP_VECTOR, IN_MODEL(rope_long), D_ROT_HALF, D_NONE, D_NONE, P_OPTIONAL},
    {"rope_factors_short.weight", TSR_OP_VECTOR, IN_MODEL(rope_short), D_ROT_HALF, D_NONE, D_NONE, P_OPTIONAL},
};

static const row layer_rows[] = {
    {"attn_norm.weight", TSR_OP_VECTOR, IN_LAYER(attn_norm), D_EMBD, D_NONE, D_NONE, P_ALWAYS},
    {"attn_q.weight", TSR_OP_MATMUL, IN_LAYER(attn_q), D_EMBD, D_Q, D_NONE, P_ALWAYS},
    {"attn_k.weight", TSR_OP_MATMUL, IN_LAYER(attn_k), D_EMBD, D_K, D_NONE, P_ALWAYS},
    {"attn_v.weight", TSR_OP_MATMUL, IN_LAYER(attn_v), D_EMBD, D_V, D_NONE, P_ALWAYS},
    {"attn_q.bias", TSR_OP_VECTOR, IN_LAYER(attn_q_bias), D_Q, D_NONE, D_NONE, P_QKV_BIAS},
    {"attn_k.bias", TSR_OP_VECTOR, IN_LAYER(attn_k_bias), D_K, D_NONE, D_NONE, P_QKV_BIAS},
    {"attn_v.bias", TSR_OP_VECTOR, IN_LAYER(attn_v_bias), D_V, D_NONE, D_NONE, P_QKV_BIAS},
    {"attn_q_norm.weight", TSR_OP_VECTOR, IN_LAYER(attn_q_norm), D_HEAD, D_NONE, D_NONE, P_QK_NORM},
    {"attn_k_norm.weight", TSR_OP_VECTOR, IN_LAYER(attn_k_norm), D_HEAD, D_NONE, D_NONE, P_QK_NORM},
    {"attn_output.weight", TSR_OP_MATMUL, IN_LAYER(attn_output), D_ATT, D_EMBD, D_NONE, P_ALWAYS},
    {"attn_output.bias", TSR_OP_VECTOR, IN_LAYER(attn_output_bias), D_EMBD, D_NONE, D_NONE, P_OPTIONAL},
    {"post_attention_norm.weight", TSR_OP_VECTOR, IN_LAYER(attn_post_norm), D_EMBD, D_NONE, D_NONE, P_POST_NORM},
    {"ffn_norm.weight", TSR_OP_VECTOR, IN_LAYER(ffn_norm), D_EMBD, D_NONE, D_NONE, P_ALWAYS},
    {"ffn_gate.weight", TSR_OP_MATMUL, IN_LAYER(ffn_gate), D_EMBD, D_FF, D_NONE, P_DENSE},
    {"ffn_up.weight", TSR_OP_MATMUL, IN_LAYER(ffn_up), D_EMBD, D_FF, D_NONE, P_DENSE},
    {"ffn_down.weight", TSR_OP_MATMUL, IN_LAYER(ffn_down), D_FF, D_EMBD, D_NONE, P_DENSE},
    {"ffn_gate.bias", TSR_OP_VECTOR, IN_LAYER(ffn_gate_bias), D_FF, D_NONE, D_NONE, P_DENSE_OPTIONAL},
    {"ffn_up.bias", TSR_OP_VECTOR, IN_LAYER(ffn_up_bias), D_FF, D_NONE, D_NONE, P_DENSE_OPTIONAL},
    {"ffn_down.bias", TSR_OP_VECTOR, IN_LAYER(ffn_down_bias), D_EMBD, D_NONE, D_NONE, P_DENSE_OPTIONAL},
    {"ffn_gate_inp.weight", TSR_OP_MATMUL, IN_LAYER(ffn_gate_inp), D_EMBD, D_EXPERT, D_NONE, P_EXPERTS},
    {"ffn_gate_exps.weight", TSR_OP_MATMUL_EXPERTS, IN_LAYER(ffn_gate_exps), D_EMBD, D_FF_EXPERT, D_EXPERT, P_EXPERTS},
    {"ffn_up_exps.weight", TSR_OP_MATMUL_EXPERTS, IN_LAYER(ffn_up_exps), D_EMBD, D_FF_EXPERT, D_EXPERT, P_EXPERTS},
    {"ffn_down_exps.weight", TSR_OP_MATMUL_EXPERTS, IN_LAYER(ffn_down_exps), D_FF_EXPERT, D_EMBD, D_EXPERT, P_EXPERTS},
    {"post_ffw_norm.weight", TSR_OP_VECTOR, IN_LAYER(ffn_post_norm), D_EMBD, D_NONE, D_NONE, P_POST_NORM},
};

typedef struct binder {
    const tsr_gguf *g;
    const tsr_hparams *h;
    const tsr_load *load;
    tsr_selection selection;
    tsr_buffer *buffers[TSR_PLACES];   /* of each type in it */
    tsr_pool *pool;                    /* that packs, or NULL */
    bool planning;                     /* the first of two passes: everything is checked and nothing is moved */
    size_t device_bytes;               /* that planning found to be the device's */
    uint64_t bytes_done, bytes_total;
    tsr_weights *w;
    bool *used;            /* [n_tensors] claimed by a row */
    float *next_vector;    /* next free float of w->vectors */
    tsr_error *err;
} binder;

static size_t align64(size_t n) { return (n + 63) & ~(size_t)63; }

static tsr_code check_shape(const binder *b, const tsr_gguf_tensor *t, int64_t k, int64_t n, int64_t e) {
    if (t->ne[0] == k && t->ne[1] == n && t->ne[2] == e && t->ne[3] == 1) return TSR_OK;
    return tsr_fail(b->err, TSR_E_FORMAT, "tensor %s is [%lld, %lld, %lld, %lld], but the hyperparameters say [%lld, %lld, %lld, 1]",
                    t->name, (long long)t->ne[0], (long long)t->ne[1], (long long)t->ne[2], (long long)t->ne[3], (long long)k,
                    (long long)n, (long long)e);
}

/* Those of a token and of a long prompt. */
static void name_kernels(tsr_placement *p, const tsr_kernels *kern) {
    enum { MANY = 512 };
    const tsr_weight *w = p->weight;
    const char *one = w ? w->buffer_type->kernel(w, kern, p->op, 1) : "-", *many = w ? w->buffer_type->kernel(w, kern, p->op, MANY) : "-";
    bool same = strcmp(one, many) == 0;
    snprintf(p->kernels, sizeof p->kernels, "%s%s%s", one, same ? "" : ", ", same ? "" : many);
}

/* weight: NULL for vectors. */
static tsr_code account(binder *b, const tsr_gguf_tensor *t, tsr_op op, const tsr_weight *weight, const char *reason) {
    size_t i = (size_t)(t - b->g->tensors);
    b->used[i] = true;
    uint64_t bytes = weight ? weight->buffer_type->size(t) : t->n_elems * sizeof(float);
    b->w->placements[i] = (tsr_placement){.weight = weight, .op = op, .reason = reason, .bytes = bytes ? bytes : t->n_bytes};
    name_kernels(&b->w->placements[i], tsr_kernels_get(b->load->tier));
    b->bytes_done += t->n_bytes;
    if (b->load->progress && !b->load->progress(b->load->progress_user, b->bytes_done, b->bytes_total))
        return tsr_fail(b->err, TSR_E_CANCELLED, "loading was cancelled");
    return TSR_OK;
}

static tsr_code bind_matrix(binder *b, const tsr_gguf_tensor *t, tsr_op op, int64_t k, int64_t n, int64_t e, tsr_weight *w) {
    tsr_code code = check_shape(b, t, k, n, e);
    if (code != TSR_OK) return code;
    *w = (tsr_weight){.name = t->name, .type = t->type, .k = k, .n = n, .n_experts = e};
    tsr_place place;
    code = tsr_buffer_select(&b->selection, t, op, &place, &w->reason, b->err);
    if (code != TSR_OK) return code;
    w->buffer_type = b->selection.types[place];
    if (b->planning) {
        b->used[t - b->g->tensors] = true;
        if (place == TSR_PLACE_DEVICE) b->device_bytes += w->buffer_type->size(t);
        return place == TSR_PLACE_PACKED ? tsr_packing_add(&b->w->packing, b->g, t, w->buffer_type->size(t), b->err) : TSR_OK;
    }
    if (place == TSR_PLACE_PACKED) tsr_packing_next(&b->w->packing, &b->w->packed);
    code = w->buffer_type->set_tensor(b->buffers[place], t, w, b->pool, b->err);
    if (code != TSR_OK) return code;
    if (place == TSR_PLACE_HOST) b->w->host_bytes += t->n_bytes;
    int mapping = b->g->files[t->file].mapping;
    bool moved = place == TSR_PLACE_PACKED ? !b->w->packed.filled : w->buffer_type != &tsr_buffer_host_mapped;
    if (moved && mapping >= 0) tsr_mapping_release(mapping, t->data, (size_t)t->n_bytes);
    if (!moved && mapping >= 0 && place == TSR_PLACE_HOST && op == TSR_OP_ROWS) tsr_mapping_expect(mapping, t->data, (size_t)t->n_bytes);
    return account(b, t, op, w, w->reason);
}

/* Vectors are small and read as f32 by every kernel: converted once, here. */
static tsr_code bind_vector(binder *b, const tsr_gguf_tensor *t, int64_t k, const float **out) {
    tsr_code code = check_shape(b, t, k, 1, 1);
    if (code != TSR_OK) return code;
    const char *reason;
    tsr_place place;
    code = tsr_buffer_select(&b->selection, t, TSR_OP_VECTOR, &place, &reason, b->err);
    if (code != TSR_OK) return code;
    b->used[t - b->g->tensors] = true;
    if (b->planning) return TSR_OK;
    tsr_dequantizer(t->type)(t->data, b->next_vector, k);
    *out = b->next_vector;
    b->next_vector += align64((size_t)k * sizeof(float)) / sizeof(float);
    return account(b, t, TSR_OP_VECTOR, NULL, reason);
}

/* Files from before merged experts hold "ffn_gate.3.weight" for "ffn_gate_exps.weight". */
static tsr_code bind_parts(binder *b, const row *r, int64_t layer, tsr_weight *w, bool *found) {
    char name[96];
    int64_t k = dim_size(r->k, b->h), n = dim_size(r->n, b->h), e = dim_size(r->e, b->h);
    int stem = (int)(strstr(r->name, "_exps") - r->name);
    snprintf(name, sizeof name, "blk.%lld.%.*s.0.weight", (long long)layer, stem, r->name);
    *found = tsr_gguf_find_tensor(b->g, name) != NULL;
    if (!*found) return TSR_OK;
    tsr_weight *parts = b->w->parts + b->w->n_parts;
    b->w->n_parts += (size_t)e;
    for (int64_t i = 0; i < e; i++) {
        snprintf(name, sizeof name, "blk.%lld.%.*s.%lld.weight", (long long)layer, stem, r->name, (long long)i);
        const tsr_gguf_tensor *t = tsr_gguf_find_tensor(b->g, name);
        if (!t) return tsr_fail(b->err, TSR_E_FORMAT, "tensor %s is missing", name);
        tsr_code code = bind_matrix(b, t, TSR_OP_MATMUL, k, n, 1, &parts[i]);
        if (code != TSR_OK) return code;
    }
    *w = parts[0];
    w->n_experts = e;
    w->parts = parts;
    for (int64_t i = 1; i < e; i++)
        if (parts[i].type != w->type || parts[i].buffer_type != w->buffer_type) w->parts_differ = true;
    return TSR_OK;
}

static tsr_code bind_row(binder *b, const row *r, int64_t layer, void *base) {
    wants wanted = presence_of(r->presence, b->h);
    if (wanted == W_ABSENT) return TSR_OK;
    char name[96];
    if (layer < 0) snprintf(name, sizeof name, "%s", r->name);
    else snprintf(name, sizeof name, "blk.%lld.%s", (long long)layer, r->name);
    const tsr_gguf_tensor *t = tsr_gguf_find_tensor(b->g, name);
    void *place_of = (uint8_t *)base + r->offset;
    if (!t && r->op == TSR_OP_MATMUL_EXPERTS) {
        bool found;
        tsr_code code = bind_parts(b, r, layer, place_of, &found);
        if (code != TSR_OK || found) return code;
    }
    if (!t && wanted == W_REQUIRED)
        return tsr_fail(b->err, TSR_E_FORMAT, "tensor %s is missing: the file is incomplete, or no %s model", name, b->h->arch->name);
    if (!t) return TSR_OK;
    if (r->op == TSR_OP_VECTOR) return bind_vector(b, t, dim_size(r->k, b->h), place_of);
    bool tied = r->op == TSR_OP_ROWS && !tsr_gguf_find_tensor(b->g, "output.weight");
    return bind_matrix(b, t, tied ? TSR_OP_ROWS_MATMUL : r->op, dim_size(r->k, b->h), dim_size(r->n, b->h), dim_size(r->e, b->h), place_of);
}

/* Memory that binding fills: sized by what the file holds, whose tensor extents the reader has checked. */
static tsr_code allocate(binder *b) {
    const tsr_buffer_type *host = b->selection.types[TSR_PLACE_HOST];
    const tsr_kernels *kern = b->selection.kern;
    size_t vector_bytes = 64, host_bytes = 64;
    for (size_t i = 0; i < b->g->n_tensors; i++) {
        const tsr_gguf_tensor *t = &b->g->tensors[i];
        bool vector = t->ne[1] == 1 && t->ne[2] == 1 && t->ne[3] == 1;
        if (vector && !host->refuses(t, TSR_OP_VECTOR, kern)) vector_bytes += align64(t->n_elems * sizeof(float));
        if (!host->refuses(t, TSR_OP_MATMUL, kern)) host_bytes += host->size(t); /* more than is used; untouched pages cost nothing */
        b->bytes_total += t->n_bytes;
    }
    b->w->layers = calloc((size_t)b->h->n_layer, sizeof *b->w->layers);
    b->w->placements = calloc(b->g->n_tensors + 1, sizeof *b->w->placements);
    /* every part is a tensor of the file, but for the last triple of an incomplete one, which fails */
    b->w->parts = calloc(b->g->n_tensors + TSR_MAX_EXPERTS, sizeof *b->w->parts);
    b->used = calloc(b->g->n_tensors + 1, sizeof *b->used);
    if (!b->w->layers || !b->w->placements || !b->w->parts || !b->used) return tsr_fail(b->err, TSR_E_NOMEM, "out of memory");
    b->w->vectors = tsr_memory_alloc(vector_bytes, b->err);
    if (!b->w->vectors) return TSR_E_NOMEM;
    b->w->vectors_bytes = vector_bytes;
    b->next_vector = b->w->vectors;
    if (!host->alloc) return TSR_OK;
    if (host->alloc(&b->w->host, host_bytes, b->err) != TSR_OK) return TSR_E_NOMEM;
    tsr_memory_huge(b->w->host.base, b->w->host.n, b->load->huge_pages);
    return b->load->numa != TSR_NUMA_NONE ? tsr_numa_interleave(b->w->host.base, b->w->host.n, b->err) : TSR_OK;
}

static tsr_code fail_unknown(const binder *b, const char *name) {
    char shown[128];
    tsr_printable(name, strlen(name), shown, sizeof shown);
    long long layer;
    if (sscanf(name, "blk.%9lld.", &layer) == 1 && layer >= b->h->n_layer)
        return tsr_fail(b->err, TSR_E_FORMAT, "tensor %s is of a layer beyond %s.block_count, which is %lld", shown, b->h->arch->name,
                        (long long)b->h->n_layer);
    return tsr_fail(b->err, TSR_E_UNSUPPORTED, "tensor %s is not one that %s models have: this is a variant Tessera does not know",
                    shown, b->h->arch->name);
}

static tsr_code bind_all(binder *b) {
    tsr_code code = TSR_OK;
    for (size_t i = 0; code == TSR_OK && i < sizeof model_rows / sizeof *model_rows; i++)
        code = bind_row(b, &model_rows[i], -1, b->w);
    for (int64_t layer = 0; layer < b->h->n_layer; layer++)
        for (size_t i = 0; code == TSR_OK && i < sizeof layer_rows / sizeof *layer_rows; i++)
            code = bind_row(b, &layer_rows[i], layer, &b->w->layers[layer]);
    if (code != TSR_OK) return code;
    for (size_t i = 0; i < b->g->n_tensors; i++)
        if (!b->used[i]) return fail_unknown(b, b->g->tensors[i].name);
    if (!b->planning && !b->w->output.name) b->w->output = b->w->token_embd; /* tied */
    return TSR_OK;
}

/* What is wrong with the model shows before the work of packing begins, and what will be packed is known: what the cache is asked for. */
static tsr_code plan(binder *b) {
    b->planning = true;
    tsr_code code = bind_all(b);
    b->planning = false;
    b->w->n_parts = 0;
    return code;
}

static tsr_code load_all(binder *b) {
    tsr_code code = plan(b);
    tsr_packing *packing = &b->w->packing;
    if (code == TSR_OK && b->selection.types[TSR_PLACE_PACKED])
        code = tsr_packing_begin(packing, b->load->cache,
                                 (tsr_packing_memory){b->load->huge_pages, b->load->numa, b->load->nodes},
                                 &b->w->packed, b->pool, b->load->progress, b->load->progress_user, b->err);
    const tsr_buffer_type *device = b->load->device;
    if (code == TSR_OK && device && device->alloc) code = device->alloc(&b->w->device, b->device_bytes + 64, b->err); /* never nothing */
    if (code == TSR_OK) code = bind_all(b);
    if (code == TSR_OK) tsr_packing_end(packing, &b->w->packed, b->pool);
    return code;
}

/* The threads that pack. */
static tsr_code open_pool(binder *b) {
    tsr_cpuset cpus;
    tsr_cpuset_read("", &cpus);
    b->pool = tsr_pool_open(tsr_cpuset_threads(&cpus, b->load->n_threads), true, b->err);
    return b->pool ? TSR_OK : TSR_E_NOMEM;
}

/* The buffers that there are, and what decides between them. */
static tsr_code open_selection(binder *b) {
    const tsr_load *load = b->load;
    tsr_weights *w = b->w;
    w->rules = tsr_buffer_rules_open(load->tensor_buffers, load->device, b->err);
    if (!w->rules) return TSR_E_ARG;
    w->device_type = load->device;
    b->selection = (tsr_selection){.kern = tsr_kernels_get(load->tier), .rules = w->rules, .packed = load->packed, .n_layer = b->h->n_layer,
                                   .n_offload_layers = load->n_offload_layers};
    const tsr_buffer_type **types = b->selection.types;
    bool packed = load->packed || tsr_buffer_rules_want(w->rules, TSR_PLACE_PACKED);
    types[TSR_PLACE_HOST] = load->copy ? &tsr_buffer_host_copied : &tsr_buffer_host_mapped;
    types[TSR_PLACE_PACKED] = packed ? &tsr_buffer_packed : NULL;
    types[TSR_PLACE_DEVICE] = load->device;
    b->buffers[TSR_PLACE_HOST] = &w->host;
    b->buffers[TSR_PLACE_PACKED] = &w->packed;
    b->buffers[TSR_PLACE_DEVICE] = &w->device;
    return packed || load->device ? open_pool(b) : TSR_OK;
}

tsr_code tsr_weights_bind(const tsr_gguf *g, const tsr_hparams *h, const tsr_load *load, tsr_weights *out, tsr_error *err) {
    *out = (tsr_weights){0};
    binder b = {.g = g, .h = h, .load = load, .w = out, .err = err};
    tsr_code code = open_selection(&b);
    if (code == TSR_OK) code = allocate(&b);
    if (code == TSR_OK) code = load_all(&b);
    out->complete = code == TSR_OK;
    if (b.pool) tsr_pool_close(b.pool);
    free(b.used);
    if (code != TSR_OK) tsr_weights_free(out);
    return code;
}

void tsr_weights_free(tsr_weights *w) {
    free(w->layers);
    free(w->placements);
    free(w->parts);
    tsr_memory_free(w->vectors, w->vectors_bytes);
    tsr_packing_close(&w->packing, !w->complete); /* before the memory that it writes goes */
    tsr_buffer_free(&w->host);
    tsr_buffer_free(&w->packed);
    if (w->device_type && w->device_type->free) w->device_type->free(&w->device);
    tsr_buffer_rules_close(w->rules);
    *w = (tsr_weights){0};
}
