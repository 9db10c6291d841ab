/* packed.c: the packed buffer type: weights move once, at load, into the order of the packed kernels. */
#include "buffer/buffer.h"

#include "core/ints.h"
#include "core/mapping.h"
#include "core/memory.h"

#include <stdlib.h>

static const char *packed_refuses(const tsr_gguf_tensor *t, tsr_op op, const tsr_kernels *kern) {
    if (op == TSR_OP_VECTOR || op == TSR_OP_ROWS) return "no product is computed with it";
    if (!tsr_layout_of(t->type)->name) return "no packed layout for this format";
    if (kern->tier < TSR_TIER_AVX2) return "packed kernels need the avx2 tier";
    if (!kern->packed_narrow[t->type] && !kern->packed_narrow_f32[t->type]) return "no packed kernel for this format";
    tsr_packed p;
    if (!tsr_packed_init(&p, t->type, t->ne[1], t->ne[0])) return "too large to be packed";
    return NULL;
}

/* One matrix of the tensor; the tensor has ne[2] of them. */
static tsr_packed matrix_of(const tsr_gguf_tensor *t) {
    tsr_packed p;
    tsr_packed_init(&p, t->type, t->ne[1], t->ne[0]); /* fits: packed_refuses has tried */
    return p;
}

static size_t packed_size(const tsr_gguf_tensor *t) {
    tsr_packed p = matrix_of(t);
    return tsr_packed_bytes(&p) * (size_t)t->ne[2];
}

/* Panels are packed some at a time: as many as have rows that stay in the second-level cache between being read,
 * digested and packed, at least one. Digests of sources depend on it: another number is another TSR_CACHE_VERSION. */
enum { ROWS_BYTES = 256 << 10 };

static int64_t panels_at_once(const tsr_gguf_tensor *t) {
    size_t panel = tsr_type_row_bytes(t->type, t->ne[0]) * TSR_PANEL;
    return panel < ROWS_BYTES ? (int64_t)(ROWS_BYTES / panel) : 1;
}

tsr_digest_item tsr_packed_source(const tsr_gguf_tensor *t) {
    size_t row = tsr_type_row_bytes(t->type, t->ne[0]);
    return (tsr_digest_item){.p = t->data, .n = (size_t)t->n_bytes, .part = (size_t)t->ne[1] * row,
                             .block = (size_t)(panels_at_once(t) * TSR_PANEL) * row};
}

typedef struct pack_job {
    const tsr_gguf_tensor *t;
    tsr_packed matrix;
    uint8_t *to; /* [n_bytes] */
    size_t n_bytes, row_bytes;
    int64_t panels, chunks; /* at a time; so many times for a matrix */
    tsr_pool *pool;
    int mapping;         /* that holds the tensor, or -1 */
    uint8_t *rows;       /* [threads][panels][TSR_PANEL][row_bytes], or NULL: packed from where they are mapped */
    tsr_digest *digests; /* [experts][chunks], or NULL */
} pack_job;

static void pack_chunk(const pack_job *job, int64_t chunk, uint8_t *rows) {
    tsr_packed p = job->matrix;
    int64_t expert = chunk / job->chunks, panel = chunk % job->chunks * job->panels, row = panel * TSR_PANEL;
    int64_t n = tsr_min64(job->panels * TSR_PANEL, p.n - row);
    const uint8_t *from = (const uint8_t *)job->t->data + (size_t)(expert * p.n + row) * job->row_bytes;
    if (rows && tsr_mapping_read(job->mapping, from, (size_t)n * job->row_bytes, rows)) from = rows;
    if (job->digests) job->digests[chunk] = tsr_digest_bytes(from, (size_t)n * job->row_bytes);
    p.data = job->to + (size_t)expert * tsr_packed_bytes(&p) + (size_t)panel * p.panel_bytes;
    p.n = n;
    tsr_pack(&p, from, job->row_bytes, 0, tsr_packed_panels(&p));
}

static void pack_chunks(void *ctx, int i, int n) {
    (void)n;
    const pack_job *job = ctx;
    int64_t count = job->chunks * job->t->ne[2], pieces = (int64_t)(job->n_bytes / TSR_MEMORY_PIECE) + 1, next;
    uint8_t *rows = job->rows ? job->rows + (size_t)(i * job->panels * TSR_PANEL) * job->row_bytes : NULL;
    while ((next = tsr_pool_next(job->pool, pieces)) < pieces) tsr_memory_populate(job->to, job->n_bytes, (size_t)next);
    while ((next = tsr_pool_next(job->pool, pieces + count) - pieces) < count) pack_chunk(job, next, rows);
}

static tsr_code pack(tsr_buffer *b, const tsr_gguf_tensor *t, const tsr_packed *matrix, uint8_t *to, tsr_pool *pool,
                     tsr_error *err) {
    pack_job job = {.t = t, .matrix = *matrix, .to = to, .n_bytes = packed_size(t), .pool = pool,
                    .row_bytes = tsr_type_row_bytes(t->type, t->ne[0]), .panels = panels_at_once(t),
                    .mapping = tsr_mapping_find(t->data, (size_t)t->n_bytes)};
    job.chunks = (tsr_packed_panels(matrix) + job.panels - 1) / job.panels;
    size_t n = (size_t)(job.chunks * t->ne[2]);
    if (b->source) job.digests = malloc(n * sizeof *job.digests);
    if (b->source && !job.digests) return tsr_fail(err, TSR_E_NOMEM, "out of memory");
    if (job.mapping >= 0) job.rows = malloc((size_t)(tsr_pool_size(pool) * job.panels * TSR_PANEL) * job.row_bytes);
    tsr_pool_run(pool, pack_chunks, &job);
    if (b->source) *b->source = tsr_digest_chain(job.digests, n);
    free(job.rows);
    free(job.digests);
    return TSR_OK;
}

static tsr_code packed_set(tsr_buffer *b, const tsr_gguf_tensor *t, tsr_weight *w, tsr_pool *pool, tsr_error *err) {
    uint8_t *to = tsr_buffer_take(b, packed_size(t), t->name, err);
    if (!to) return TSR_E_ARG;
    w->data = to;
    w->packed = matrix_of(t);
    w->packed.copy_stride = b->copy_stride;
    w->packed.split = b->split;
    return b->filled ? TSR_OK : pack(b, t, &w->packed, to, pool, err);
}

/* The matrix of one expert. */
static tsr_packed expert_of(const tsr_weight *w, int64_t expert) {
    tsr_packed p = w->packed;
    p.data = (uint8_t *)(uintptr_t)tsr_weight_matrix(w, expert, tsr_packed_bytes(&p));
    return p;
}

static void packed_get(const tsr_weight *w, void *out, size_t n_bytes) {
    size_t row_bytes = tsr_type_row_bytes(w->type, w->k), expert_bytes = row_bytes * (size_t)w->n;
    for (int64_t e = 0; e < w->n_experts && (size_t)(e + 1) * expert_bytes <= n_bytes; e++) {
        tsr_packed p = expert_of(w, e);
        tsr_unpack(&p, (uint8_t *)out + (size_t)e * expert_bytes, row_bytes, 0, tsr_packed_panels(&p));
    }
}

static void packed_row(const tsr_weight *w, const tsr_kernels *kern, int64_t row, float *out) {
    tsr_packed p = expert_of(w, 0);
    tsr_packed_row_with(&p, row, kern->dequantize[w->type], out);
}

static const char *packed_layout(const tsr_weight *w) { return w->packed.layout->name; }

static const char *packed_kernel(const tsr_weight *w, const tsr_kernels *kern, tsr_op op, int64_t m) {
    (void)op; /* each that this type takes multiplies */
    return tsr_packed_kernel_name(kern, w->type, m);
}

/* Bytes of the list of groups, at the start of the workspace. */
static size_t groups_bytes(int64_t n) { return ((size_t)n * sizeof(tsr_group) + 63) & ~(size_t)63; }

bool tsr_packed_product_work_bytes(int64_t max_m, int64_t max_experts, int64_t max_k, size_t *out) {
    return tsr_packed_work_bytes(max_m, max_experts, max_k, out) && tsr_add_size(*out, groups_bytes(max_experts), out);
}

static bool packed_fuses(const tsr_product *p) {
    const tsr_weight *first = p->out[0].w;
    for (int i = 1; i < p->n_out; i++)
        if (!tsr_packed_fuses(p->kern, first->type, p->out[i].w->type)) return false;
    return !p->gate || first->type == p->out[1].w->type;
}

/* The matrices of an expert and its rows. */
static tsr_group group_of(const tsr_product *p, const tsr_expert_rows *rows) {
    tsr_group group = {.first = rows->first, .rows = rows->rows};
    for (int i = 0; i < p->n_out; i++) group.data[i] = expert_of(p->out[i].w, rows->expert).data;
    return group;
}

static void packed_multiply(const tsr_product *p) {
    tsr_group *groups = p->work;
    const tsr_expert_rows all = {0, 0, p->m};
    int64_t n = p->experts ? p->n_experts : 1;
    for (int64_t i = 0; i < n; i++) groups[i] = group_of(p, p->experts ? &p->experts[i] : &all);
    tsr_packed_product product = {.kern = p->kern, .pool = p->pool, .x = p->x, .n_out = p->n_out, .gate = p->gate, .rows_alone = p->rows_alone,
                                  .groups = groups, .n_groups = n, .work = (uint8_t *)p->work + groups_bytes(n), .scratch = p->scratch,
                                  .scratch_bytes = p->scratch_bytes};
    for (int i = 0; i < p->n_out; i++) {
        const tsr_output *out = &p->out[i];
        product.out[i] = (tsr_packed_output){out->w->packed, out->bias, out->y, out->ldy, out->add};
    }
    tsr_packed_multiply(&product);
}

const tsr_buffer_type tsr_buffer_packed = {
    .name = "packed",
    .refuses = packed_refuses,
    .size = packed_size,
    .alloc = tsr_buffer_alloc,
    .free = tsr_buffer_free,
    .set_tensor = packed_set,
    .get_tensor = packed_get,
    .row = packed_row,
    .layout = packed_layout,
    .kernel = packed_kernel,
    .fuses = packed_fuses,
    .multiply = packed_multiply,
};
