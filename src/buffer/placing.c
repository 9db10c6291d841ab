#include "buffer/placing.h"

#include "core/ints.h"
#include "core/numa.h"

#include <string.h>
#include <unistd.h>

enum { HUGE_PAGE = 2 << 20, COPY_BYTES = 1 << 20 };

/* ---------------------------------------------------------------------------------------------------------- room */

static unsigned long long megabytes(uint64_t n) { return (n + 999999) / 1000000; }

tsr_code tsr_placing_check(const tsr_nodes *nodes, tsr_numa numa, uint64_t bytes, tsr_error *err) {
    bool mirror = numa == TSR_NUMA_MIRROR;
    const char *advice =
        mirror ? "--numa local and interleave keep one copy" : "--numa interleave takes the memory of any node";
    uint64_t all = bytes * (mirror ? (uint64_t)nodes->n : 1);
    if (all > nodes->left)
        return tsr_fail(
            err, TSR_E_NOMEM,
            "%llu MB of packed weights on %d NUMA nodes need %llu MB, but this process may use %llu MB more: %s",
            megabytes(bytes), nodes->n, megabytes(all), megabytes(nodes->left), advice);
    for (int k = 0; k < nodes->n; k++) {
        int64_t begin = 0, end = (int64_t)bytes;
        if (!mirror) tsr_nodes_share(nodes, (int64_t)bytes, k, &begin, &end);
        if ((uint64_t)(end - begin) > nodes->available[k])
            return tsr_fail(err, TSR_E_NOMEM, "packed weights need %llu MB of NUMA node %d, which has %llu MB left: %s",
                            megabytes((uint64_t)(end - begin)), nodes->id[k], megabytes(nodes->available[k]), advice);
    }
    return TSR_OK;
}

/* -------------------------------------------------------------------------------------------------------- mirror */

tsr_code tsr_mirror_alloc(tsr_buffer *b, size_t n, const tsr_nodes *nodes, tsr_error *err) {
    size_t stride = (size_t)tsr_round_up((int64_t)n, HUGE_PAGE); /* so that copies are alike in huge pages too */
    tsr_code code = tsr_buffer_alloc(b, stride * (size_t)nodes->n, err);
    if (code == TSR_OK) b->copy_stride = stride;
    return code;
}

tsr_code tsr_mirror_bind(const tsr_buffer *b, const tsr_nodes *nodes, tsr_error *err) {
    tsr_code code = TSR_OK;
    for (int k = 0; code == TSR_OK && k < nodes->n; k++)
        code = tsr_numa_bind(b->base + (size_t)k * b->copy_stride, b->copy_stride, nodes->id[k], err);
    return code;
}

typedef struct fill_job {
    const tsr_buffer *b;
    tsr_pool *pool;
} fill_job;

/* A chunk at a time to all copies: the first is read once. */
static void fill(void *ctx, int i, int n) {
    (void)i, (void)n;
    const fill_job *job = ctx;
    const tsr_buffer *b = job->b;
    int64_t chunks = tsr_round_up((int64_t)b->used, COPY_BYTES) / COPY_BYTES, next;
    while ((next = tsr_pool_next(job->pool, chunks)) < chunks) {
        size_t at = (size_t)next * COPY_BYTES, size = b->used - at < COPY_BYTES ? b->used - at : COPY_BYTES;
        for (size_t copy = b->copy_stride; copy < b->n; copy += b->copy_stride)
            memcpy(b->base + copy + at, b->base + at, size);
    }
}

void tsr_mirror_fill(const tsr_buffer *b, tsr_pool *pool) {
    fill_job job = {b, pool};
    tsr_pool_run(pool, fill, &job);
}

/* --------------------------------------------------------------------------------------------------------- local */

/* Pages from those that are bound to the one that `end` lies in, with it when more of it is before end than behind. */
static tsr_code bind_until(tsr_split_walk *walk, size_t end, int k, tsr_error *err) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), to = (end + page / 2) / page * page;
    if (to <= walk->bound) return TSR_OK;
    tsr_code code = tsr_numa_bind(walk->b->base + walk->bound, to - walk->bound, walk->nodes->id[k], err);
    walk->bound = to;
    return code;
}

tsr_code tsr_split_bind(tsr_split_walk *walk, const tsr_packed *like, int64_t n, tsr_error *err) {
    tsr_code code = TSR_OK;
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; code == TSR_OK && k < walk->nodes->n; k++) {
            int64_t begin, end;
            tsr_packed_share(like, walk->nodes, k, &begin, &end);
            int64_t panels = tsr_min64(2 * end, tsr_packed_panels(like));
            code = bind_until(walk, walk->at + (size_t)panels * like->panel_bytes, k, err);
        }
        walk->at += tsr_packed_bytes(like);
    }
    return code;
}
