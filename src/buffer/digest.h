/* digest.h: checksums of tensors (XXH3, 128 bits), on all threads of a pool. They tell damage and other files apart; they
 * are no defence against somebody who may write the file and computes them anew. */
#ifndef TSR_BUFFER_DIGEST_H
#define TSR_BUFFER_DIGEST_H

#include "core/threads.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tsr_digest {
    uint64_t low, high;
} tsr_digest;

/* Bytes that are digested as one; a tensor's digest is the chain of those of its blocks, so that threads share a tensor. */
enum { TSR_DIGEST_BLOCK = 1 << 20 };

tsr_digest tsr_digest_bytes(const void *p, size_t n);
/* *chain and the n bytes that follow. A chain begins with zeros. */
void tsr_digest_add(tsr_digest *chain, const void *p, size_t n);
/* Of n bytes by blocks, on this thread. */
tsr_digest tsr_digest_blocks(const void *p, size_t n);
bool tsr_digest_equal(tsr_digest a, tsr_digest b);

typedef struct tsr_digest_item {
    const uint8_t *p;   /* [n] */
    size_t n;
    size_t part, block; /* n is cut into parts, and each of these into blocks; 0: one part, blocks of TSR_DIGEST_BLOCK */
    tsr_digest digest;  /* the result: the chain of the blocks' digests */
} tsr_digest_item;

typedef struct tsr_digest_job {
    tsr_digest_item *items;
    size_t n_items;
    tsr_pool *pool;
    bool mapped;    /* items lie in the mapping of a file: page tables are filled a block at a time */
    int fd;         /* >= 0: items are read from this file first, item 0 from `offset`, the others behind it, and p is written to */
    uint64_t offset;
    tsr_progress_fn progress; /* may be NULL; called by the calling thread */
    void *progress_user;
} tsr_digest_job;

/* Of the blocks' digests: what an item's is. */
tsr_digest tsr_digest_chain(const tsr_digest *blocks, size_t n);
/* Digests all items. TSR_E_IO when reading fails, TSR_E_CANCELLED, TSR_E_NOMEM. */
tsr_code tsr_digest_run(const tsr_digest_job *job, tsr_error *err);

#endif
