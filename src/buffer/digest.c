#include "buffer/digest.h"

#include "core/clock.h"
#include "kernels/hash.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14; older headers */
#endif

tsr_digest tsr_digest_bytes(const void *p, size_t n) {
    uint64_t hash[2];
    tsr_hash_get()(p, n, hash);
    return (tsr_digest){hash[0], hash[1]};
}

static void add_digest(tsr_digest *chain, tsr_digest d) {
    const tsr_digest both[2] = {*chain, d};
    *chain = tsr_digest_bytes(both, sizeof both);
}

void tsr_digest_add(tsr_digest *chain, const void *p, size_t n) { add_digest(chain, tsr_digest_bytes(p, n)); }

bool tsr_digest_equal(tsr_digest a, tsr_digest b) { return a.low == b.low && a.high == b.high; }

tsr_digest tsr_digest_chain(const tsr_digest *blocks, size_t n) {
    tsr_digest chain = {0};
    for (size_t i = 0; i < n; i++) add_digest(&chain, blocks[i]);
    return chain;
}

static size_t block_size(const tsr_digest_item *item) { return item->block ? item->block : TSR_DIGEST_BLOCK; }

static size_t part_size(const tsr_digest_item *item) { return item->part ? item->part : item->n; }

static size_t blocks_of_part(const tsr_digest_item *item) {
    return (part_size(item) + block_size(item) - 1) / block_size(item);
}

static size_t blocks_of(const tsr_digest_item *item) {
    return item->n ? item->n / part_size(item) * blocks_of_part(item) : 0;
}

/* Where block i of an item begins; *n: its bytes. */
static size_t block_at(const tsr_digest_item *item, size_t i, size_t *n) {
    size_t per_part = blocks_of_part(item), at = i % per_part * block_size(item), left = part_size(item) - at;
    *n = left < block_size(item) ? left : block_size(item);
    return i / per_part * part_size(item) + at;
}

tsr_digest tsr_digest_blocks(const void *p, size_t n) {
    tsr_digest chain = {0};
    for (size_t at = 0; at < n; at += TSR_DIGEST_BLOCK)
        tsr_digest_add(&chain, (const uint8_t *)p + at, n - at < TSR_DIGEST_BLOCK ? n - at : TSR_DIGEST_BLOCK);
    return chain;
}

/* ------------------------------------------------------------------------------------------------ threads */

typedef struct run {
    const tsr_digest_job *job;
    size_t *first;        /* [n_items + 1] number of each item's first block */
    tsr_digest *blocks;   /* [first[n_items]] */
    uint64_t total;       /* bytes */
    atomic_ullong done;
    atomic_int failure;   /* an errno, or 0 */
    atomic_bool cancelled;
} run;

/* The item that block belongs to. */
static size_t item_of(const run *r, size_t block) {
    size_t low = 0, high = r->job->n_items;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (r->first[middle] <= block) low = middle;
        else high = middle;
    }
    return low;
}

static int read_block(int fd, uint8_t *to, size_t n, uint64_t offset) {
    while (n > 0) {
        ssize_t got = pread(fd, to, n, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got < 0 ? errno : ENODATA; /* it ends too early: truncated since it was opened */
        to += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

/* Page tables in one call instead of a fault for every few pages; what an older kernel refuses, faults do. */
static void populate(const uint8_t *p, size_t n) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)p & ~(page - 1);
    madvise((void *)from, (uintptr_t)p + n - from, MADV_POPULATE_READ);
}

static void digest_block(run *r, size_t block) {
    const tsr_digest_job *job = r->job;
    const tsr_digest_item *item = &job->items[item_of(r, block)];
    size_t n, at = block_at(item, block - r->first[item - job->items], &n);
    uint8_t *p = (uint8_t *)(uintptr_t)item->p + at;
    if (job->fd >= 0) {
        int failure = read_block(job->fd, p, n, job->offset + (uint64_t)(p - job->items[0].p));
        if (failure) atomic_store(&r->failure, failure);
    } else if (job->mapped) {
        populate(p, n);
    }
    r->blocks[block] = tsr_digest_bytes(p, n);
    atomic_fetch_add(&r->done, n);
}

static void digest_items(void *ctx, int i, int n) {
    (void)n;
    run *r = ctx;
    int64_t count = (int64_t)r->first[r->job->n_items], next;
    double reported = tsr_clock_seconds();
    while ((next = tsr_pool_next(r->job->pool, count)) < count) {
        if (atomic_load(&r->cancelled) || atomic_load(&r->failure)) continue;
        digest_block(r, (size_t)next);
        if (i != 0 || !r->job->progress || tsr_clock_seconds() - reported < 0.05) continue;
        reported = tsr_clock_seconds();
        if (!r->job->progress(r->job->progress_user, atomic_load(&r->done), r->total)) atomic_store(&r->cancelled, true);
    }
}

tsr_code tsr_digest_run(const tsr_digest_job *job, tsr_error *err) {
    run r = {.job = job, .first = calloc(job->n_items + 1, sizeof *r.first)};
    for (size_t i = 0; r.first && i < job->n_items; i++) {
        r.first[i + 1] = r.first[i] + blocks_of(&job->items[i]);
        r.total += job->items[i].n;
    }
    if (r.first) r.blocks = calloc(r.first[job->n_items] + 1, sizeof *r.blocks);
    tsr_code code = r.first && r.blocks ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory");
    if (code == TSR_OK) {
        tsr_pool_run(job->pool, digest_items, &r);
        for (size_t i = 0; i < job->n_items; i++) {
            job->items[i].digest = tsr_digest_chain(r.blocks + r.first[i], r.first[i + 1] - r.first[i]);
        }
        int failure = atomic_load(&r.failure);
        if (atomic_load(&r.cancelled)) code = tsr_fail(err, TSR_E_CANCELLED, "loading was cancelled");
        else if (failure) code = tsr_fail(err, TSR_E_IO, "cannot read: %s", failure == ENODATA ? "it ends too early" : strerror(failure));
    }
    free(r.first);
    free(r.blocks);
    return code;
}
