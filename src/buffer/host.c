/* host.c: the host buffer types: GGUF blocks exactly as the file has them, in the file's mapping or in a copy. */
#include "buffer/buffer.h"

#include "core/mapping.h"

#include <string.h>

static const char *host_refuses(const tsr_gguf_tensor *t, tsr_op op, const tsr_kernels *kern) {
    (void)kern;
    const tsr_type_info *type = tsr_type_get(t->type);
    if (!type->computes) return "Tessera does not compute with this format; get the model in another quantisation";
    if (op == TSR_OP_VECTOR && t->type != TSR_F32 && t->type != TSR_F16 && t->type != TSR_BF16)
        return "norms, biases and factors must be F32, F16 or BF16";
    return NULL;
}

static void bind(const void *data, const tsr_gguf_tensor *t, tsr_weight *w) {
    w->data = data;
    w->row_bytes = tsr_type_row_bytes(t->type, t->ne[0]);
}

static size_t mapped_size(const tsr_gguf_tensor *t) {
    (void)t;
    return 0;
}

static tsr_code mapped_set(tsr_buffer *b, const tsr_gguf_tensor *t, tsr_weight *w, tsr_pool *pool, tsr_error *err) {
    (void)b, (void)pool, (void)err;
    bind(t->data, t, w);
    return TSR_OK;
}

static size_t copied_size(const tsr_gguf_tensor *t) { return ((size_t)t->n_bytes + 63) & ~(size_t)63; }

static tsr_code copied_set(tsr_buffer *b, const tsr_gguf_tensor *t, tsr_weight *w, tsr_pool *pool, tsr_error *err) {
    (void)pool;
    uint8_t *to = tsr_buffer_take(b, copied_size(t), t->name, err);
    if (!to) return TSR_E_ARG;
    size_t n = (size_t)t->n_bytes;
    int mapping = tsr_mapping_find(t->data, n);
    if (mapping < 0 || !tsr_mapping_read(mapping, t->data, n, to)) memcpy(to, t->data, n);
    bind(to, t, w);
    return TSR_OK;
}

static void host_get(const tsr_weight *w, void *out, size_t n_bytes) { memcpy(out, w->data, n_bytes); }

static void host_row(const tsr_weight *w, const tsr_kernels *kern, int64_t row, float *out) {
    kern->dequantize[w->type]((const uint8_t *)w->data + (size_t)row * w->row_bytes, out, w->k);
}

static const char *host_layout(const tsr_weight *w) {
    (void)w;
    return "gguf";
}

static const char *host_kernel(const tsr_weight *w, const tsr_kernels *kern, tsr_op op, int64_t m) {
    (void)w, (void)m;
    return op == TSR_OP_MATMUL || op == TSR_OP_MATMUL_EXPERTS || op == TSR_OP_ROWS_MATMUL ? kern->tile_name : "-";
}

static void host_expert(const tsr_product *p, const tsr_expert_rows *rows) {
    const tsr_output *out = &p->out[0];
    const tsr_weight *w = out->w;
    const tsr_matrix matrix = {tsr_weight_matrix(w, rows->expert, (size_t)w->n * w->row_bytes), w->type, w->n, w->k, w->row_bytes};
    float *y = out->y + rows->first * out->ldy;
    tsr_matmul_f32(p->kern, p->pool, &matrix, p->x.x + rows->first * p->x.ldx, p->x.ldx, rows->rows, y, out->ldy, out->add,
                   (float *)(void *)p->scratch, p->scratch_bytes);
    for (int64_t i = 0; out->bias && i < rows->rows; i++) p->kern->axpy_f32(1.0f, out->bias, y + i * out->ldy, w->n);
}

static void host_multiply(const tsr_product *p) {
    const tsr_expert_rows all = {0, 0, p->m};
    if (!p->experts) host_expert(p, &all);
    for (int64_t i = 0; p->experts && i < p->n_experts; i++) host_expert(p, &p->experts[i]);
}

const tsr_buffer_type tsr_buffer_host_mapped = {
    .name = "host",
    .refuses = host_refuses,
    .size = mapped_size,
    .set_tensor = mapped_set,
    .get_tensor = host_get,
    .row = host_row,
    .layout = host_layout,
    .kernel = host_kernel,
    .multiply = host_multiply,
};

const tsr_buffer_type tsr_buffer_host_copied = {
    .name = "host",
    .refuses = host_refuses,
    .size = copied_size,
    .alloc = tsr_buffer_alloc,
    .free = tsr_buffer_free,
    .set_tensor = copied_set,
    .get_tensor = host_get,
    .row = host_row,
    .layout = host_layout,
    .kernel = host_kernel,
    .multiply = host_multiply,
};
