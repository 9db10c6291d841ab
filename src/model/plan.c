/* plan.c: the memory of a forward pass, laid out once when a session opens. */
#include "core/ints.h"
#include "core/memory.h"
#include "kernels/attention.h"
#include "model/forward.h"

#include <string.h>

/* One array of the plan: where its pointer is, and how many 4-byte elements it has. */
typedef struct region {
    void *pointer; /* address of a float * or int32_t * of tsr_forward */
    size_t count;
} region;

enum { MAX_REGIONS = 24, SPLIT_ITEMS = 8 /* tokens times KV heads per thread up to which attention is split over segments */, MOST_SPLIT = 64 };

typedef struct plan {
    region regions[MAX_REGIONS];
    int n;
    bool overflow;
} plan;

static void want(plan *p, void *pointer, int64_t rows, int64_t columns) {
    region *r = &p->regions[p->n++];
    r->pointer = pointer;
    if (!tsr_mul_size((size_t)rows, (size_t)columns, &r->count)) p->overflow = true;
}

/* Bytes up to the next 64-byte line. */
static bool region_bytes(const region *r, size_t *out) {
    if (!tsr_mul_size(r->count, 4, out) || !tsr_add_size(*out, 63, out)) return false;
    *out &= ~(size_t)63;
    return true;
}

static tsr_code lay_out(tsr_forward *f, plan *p, tsr_error *err) {
    size_t total = 64, bytes;
    for (int i = 0; i < p->n; i++)
        if (!region_bytes(&p->regions[i], &bytes) || !tsr_add_size(total, bytes, &total)) p->overflow = true;
    if (p->overflow) return tsr_fail(err, TSR_E_LIMIT, "the working memory for this context and batch size is too large");
    f->work = tsr_memory_alloc(total, err);
    if (!f->work) {
        tsr_fail_prefix(err, "working memory for batches of %lld tokens (a smaller batch or context needs less)", (long long)f->n_batch);
        return TSR_E_NOMEM;
    }
    f->work_bytes = total;
    uint8_t *next = f->work;
    for (int i = 0; i < p->n; i++) {
        memcpy(p->regions[i].pointer, &next, sizeof next); /* not through a void **, which a float * is not */
        region_bytes(&p->regions[i], &bytes);
        next += bytes;
    }
    return TSR_OK;
}

/* What routing adds: M n_batch, `slots` M * n_expert_used, of at most `groups` experts. */
static void want_experts(plan *p, tsr_forward *f, int64_t slots, int64_t groups) {
    const tsr_hparams *h = &f->net->hparams;
    want(p, &f->router, f->n_batch, h->n_expert);
    want(p, &f->chosen, slots, 1);
    want(p, &f->chosen_weight, slots, 1);
    want(p, &f->slot_row, slots, 1);
    want(p, &f->row_token, slots, 1);
    want(p, &f->expert_next, h->n_expert, 1);
    want(p, &f->expert_rows, groups, sizeof *f->expert_rows / 4);
    want(p, &f->expert_out, slots, h->n_embd);
}

/* The workspace of products: of all, and of those with experts. */
static void want_product_work(plan *p, tsr_forward *f, int64_t slots, int64_t groups) {
    const tsr_hparams *h = &f->net->hparams;
    size_t bytes, expert_bytes = 0;
    int64_t most_k = tsr_max64(tsr_max64(h->n_embd, groups > 0 ? 0 : h->n_ff), h->n_head * h->head_v);
    if (!tsr_product_work_bytes(f->n_batch, 1, most_k, &bytes)) p->overflow = true;
    if (groups > 0 && !tsr_product_work_bytes(slots, groups, tsr_max64(h->n_embd, h->n_ff_expert), &expert_bytes)) p->overflow = true;
    if (p->overflow) return;
    const tsr_nodes *nodes = tsr_pool_nodes(f->pool);
    size_t split = nodes ? tsr_packed_split_work_bytes(tsr_max64(groups, 1), nodes->n) : 0;
    want(p, &f->product_work, ((int64_t)((bytes > expert_bytes ? bytes : expert_bytes) + split) + 3) / 4, 1);
}

/* Partial results of attention: every thread's, and those of the few items that are split. */
static void want_partials(plan *p, tsr_forward *f, int64_t n_ctx) {
    const tsr_hparams *h = &f->net->hparams;
    int64_t threads = tsr_pool_size(f->pool), segments = (n_ctx - 1) / TSR_ATTENTION_SEGMENT + 1;
    f->partial_floats = tsr_attention_partial_floats(h->n_head / h->n_head_kv, h->head_v);
    f->split_items = tsr_max64(SPLIT_ITEMS * threads < MOST_SPLIT ? SPLIT_ITEMS * threads : MOST_SPLIT, threads);
    want(p, &f->partials, 2 * threads + f->split_items * segments, f->partial_floats);
}

/* Bytes of scratch that a thread needs: for products and for attention. */
static size_t scratch_bytes(const tsr_hparams *h) {
    int64_t group = h->n_head / h->n_head_kv;
    size_t most = tsr_product_scratch_bytes(tsr_max64(tsr_max64(h->n_embd, h->n_head * h->head_v), tsr_max64(h->n_ff, h->n_ff_expert)));
    size_t block = tsr_attention_block_bytes(group, h->head_k, h->head_v), segment = tsr_attention_segment_bytes(h->head_k);
    most = most > block ? most : block;
    most = most > segment ? most : segment;
    return (most + 63) & ~(size_t)63;
}

tsr_code tsr_forward_open(tsr_forward *f, const tsr_net *net, tsr_pool *pool, int64_t n_ctx, int64_t n_batch, atomic_bool *cancel,
                          tsr_error *err) {
    const tsr_hparams *h = &net->hparams;
    int64_t m = n_batch, threads = tsr_pool_size(pool);
    int64_t slots = m * h->n_expert_used; /* at most 2^16 * TSR_MAX_EXPERTS: an int32_t counts them */
    int64_t groups = slots < h->n_expert ? slots : h->n_expert;
    bool dense = h->n_expert == 0;
    *f = (tsr_forward){.net = net, .pool = pool, .n_batch = n_batch, .cancel = cancel};
    plan p = {.n = 0};
    want(&p, &f->x, m, h->n_embd);
    want(&p, &f->h, m, h->n_embd);
    want(&p, &f->q, m, h->n_head * h->head_k);
    want(&p, &f->k, m, h->n_head_kv * h->head_k);
    want(&p, &f->v, m, h->n_head_kv * h->head_v);
    want(&p, &f->att, m, h->n_head * h->head_v);
    want(&p, &f->gate, dense ? m : slots, dense ? h->n_ff : h->n_ff_expert);
    want(&p, &f->up, dense ? m : slots, dense ? h->n_ff : h->n_ff_expert);
    want(&p, &f->angles, m, h->n_rot);
    want(&p, &f->angles_swa, m, h->n_rot);
    want(&p, &f->output_row, m, 1);
    want_partials(&p, f, n_ctx);
    f->scratch_bytes = scratch_bytes(h);
    want(&p, &f->scratch, threads, (int64_t)f->scratch_bytes / 4);
    want_product_work(&p, f, slots, groups);
    if (!dense) want_experts(&p, f, slots, groups);
    tsr_code code = lay_out(f, &p, err);
    if (code != TSR_OK) tsr_forward_close(f);
    return code;
}

void tsr_forward_close(tsr_forward *f) {
    tsr_memory_free(f->work, f->work_bytes);
    f->work = NULL;
}
