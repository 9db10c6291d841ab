#include "model/packing.h"

#include "buffer/placing.h"
#include "core/memory.h"
#include "core/numa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Below this, packing takes a moment and a file would only be litter; a directory that the caller names is used for anything. */
enum { LEAST_BYTES = 16 << 20 };

static tsr_code grow(tsr_packing *p, tsr_error *err) {
    if (p->plan.n < p->capacity) return TSR_OK;
    size_t capacity = p->capacity ? 2 * p->capacity : 128;
    tsr_cache_tensor *tensors = realloc(p->plan.tensors, capacity * sizeof *tensors);
    if (tensors) p->plan.tensors = tensors;
    const tsr_gguf_tensor **sources = tensors ? realloc(p->plan.sources, capacity * sizeof *sources) : NULL;
    if (!sources) return tsr_fail(err, TSR_E_NOMEM, "out of memory");
    p->plan.sources = sources;
    p->capacity = capacity;
    return TSR_OK;
}

tsr_code tsr_packing_add(tsr_packing *p, const tsr_gguf *g, const tsr_gguf_tensor *t, size_t n, tsr_error *err) {
    tsr_code code = grow(p, err);
    if (code != TSR_OK) return code;
    p->plan.g = g;
    p->plan.sources[p->plan.n] = t;
    tsr_cache_tensor *entry = &p->plan.tensors[p->plan.n++];
    *entry = (tsr_cache_tensor){.type = t->type, .k = t->ne[0], .n = t->ne[1], .n_experts = t->ne[2], .bytes = n};
    snprintf(entry->name, sizeof entry->name, "%s", t->name);
    snprintf(entry->layout, sizeof entry->layout, "%s", tsr_layout_of(t->type)->name);
    p->plan.bytes += n;
    return TSR_OK;
}

/* Files that can be looked at again, tensors that can be told apart. */
static bool may_cache(const tsr_packing *p, const tsr_cache_params *cache) {
    if (!cache || p->plan.n == 0 || p->plan.n > TSR_CACHE_MOST_TENSORS) return false;
    if (!cache->dir && p->plan.bytes < LEAST_BYTES) return false;
    for (int i = 0; i < p->plan.g->n_files; i++)
        if (p->plan.g->files[i].fd < 0) return false; /* parsed from memory */
    return true;
}

static tsr_code open_cache(tsr_packing *p, const tsr_cache_params *cache, tsr_error *err) {
    tsr_error why = {0};
    tsr_str name = {"", 0};
    tsr_gguf_opt_str(p->plan.g, "general.name", &name, NULL);
    char *model = strndup(name.s, name.n);
    p->plan.model = model;
    if (!model) return tsr_fail(err, TSR_E_NOMEM, "out of memory");
    p->cache = tsr_cache_open(&p->plan, cache, &why);
    if (!p->cache) snprintf(p->note, sizeof p->note, "packed weights are not kept for the next start: %.900s", why.message);
    return TSR_OK;
}

/* Binds the pages of all matrices to the nodes of their rows. */
static tsr_code bind_rows(const tsr_packing *p, const tsr_nodes *nodes, tsr_buffer *b, tsr_error *err) {
    tsr_split_walk walk = {.b = b, .nodes = nodes};
    tsr_code code = TSR_OK;
    for (size_t i = 0; code == TSR_OK && i < p->plan.n; i++) {
        const tsr_cache_tensor *t = &p->plan.tensors[i];
        tsr_packed like;
        tsr_packed_init(&like, t->type, t->n, t->k); /* fits: it was planned */
        code = tsr_split_bind(&walk, &like, t->n_experts, err);
    }
    b->split = true;
    return code;
}

static tsr_code allocate(const tsr_packing *p, tsr_packing_memory memory, tsr_buffer *b, tsr_error *err) {
    size_t n = (size_t)p->plan.bytes + 64; /* never nothing */
    bool mirror = memory.numa == TSR_NUMA_MIRROR, placed = mirror || memory.numa == TSR_NUMA_LOCAL;
    tsr_code code = placed ? tsr_placing_check(memory.nodes, memory.numa, n, err) : TSR_OK;
    if (code == TSR_OK) code = mirror ? tsr_mirror_alloc(b, n, memory.nodes, err) : tsr_buffer_packed.alloc(b, n, err);
    if (code != TSR_OK) return code;
    tsr_memory_huge(b->base, b->n, memory.huge_pages);
    switch (memory.numa) { /* before anything is written, which decides where a page goes */
    case TSR_NUMA_NONE: break;
    case TSR_NUMA_INTERLEAVE: return tsr_numa_interleave(b->base, b->n, err);
    case TSR_NUMA_LOCAL: return bind_rows(p, memory.nodes, b, err);
    case TSR_NUMA_MIRROR: return tsr_mirror_bind(b, memory.nodes, err);
    }
    return TSR_OK;
}

tsr_code tsr_packing_begin(tsr_packing *p, const tsr_cache_params *cache, tsr_packing_memory memory, tsr_buffer *b, tsr_pool *pool,
                           tsr_progress_fn progress, void *user, tsr_error *err) {
    tsr_code code = TSR_OK;
    p->outcome = p->plan.n ? TSR_CACHE_PACKED : TSR_CACHE_NONE;
    if (may_cache(p, cache)) code = open_cache(p, cache, err);
    bool cached = code == TSR_OK && p->cache, memory_first = cached && cache->read;
    if (code == TSR_OK && memory_first) code = allocate(p, memory, b, err);
    if (code == TSR_OK && cached) code = tsr_cache_load(p->cache, b, pool, progress, user, err);
    if (code == TSR_OK && b->filled) p->outcome = b->mapped ? TSR_CACHE_MAPPED : TSR_CACHE_READ;
    else if (code == TSR_OK && !memory_first) code = allocate(p, memory, b, err);
    if (cached) snprintf(p->note, sizeof p->note, "%s", tsr_cache_note(p->cache));
    return code;
}

void tsr_packing_next(tsr_packing *p, tsr_buffer *b) {
    size_t i = p->next++;
    b->source = p->cache ? tsr_cache_source(p->cache, i) : NULL;
}

void tsr_packing_end(tsr_packing *p, const tsr_buffer *b, tsr_pool *pool) {
    if (b->copy_stride) tsr_mirror_fill(b, pool);
    if (!p->cache) return;
    tsr_cache_store(p->cache, b);
    snprintf(p->note, sizeof p->note, "%s", tsr_cache_note(p->cache));
}

void tsr_packing_close(tsr_packing *p, bool abandon) {
    tsr_cache_close(p->cache, abandon);
    free(p->plan.tensors);
    free(p->plan.sources);
    free((void *)(uintptr_t)p->plan.model);
    *p = (tsr_packing){0};
}
