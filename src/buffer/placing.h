/* placing.h: packed weights on several NUMA nodes (doc/numa.md): a copy of all on each, or each matrix cut into rows
 * that lie on one. All but tsr_mirror_fill comes before the first write, which decides where a page goes. */
#ifndef TSR_BUFFER_PLACING_H
#define TSR_BUFFER_PLACING_H

#include "buffer/buffer.h"

/* Fails when there is no room for so many bytes on each node (mirror), or of each node's share of them (local). */
tsr_code tsr_placing_check(const tsr_nodes *nodes, tsr_numa numa, uint64_t bytes, tsr_error *err);

/* Memory for n bytes on each node: b->copy_stride is set. Tensors are written to the first copy. */
tsr_code tsr_mirror_alloc(tsr_buffer *b, size_t n, const tsr_nodes *nodes, tsr_error *err);
/* Binds the copies to their nodes. */
tsr_code tsr_mirror_bind(const tsr_buffer *b, const tsr_nodes *nodes, tsr_error *err);
/* Copies the first to the others. */
void tsr_mirror_fill(const tsr_buffer *b, tsr_pool *pool);

/* A walk through the matrices of a buffer, which binds the pages of their rows. Where rows of two nodes share a page,
 * it goes to the node whose part ends in its second half. */
typedef struct tsr_split_walk {
    tsr_buffer *b;
    const tsr_nodes *nodes;
    size_t at;    /* where the next matrix begins */
    size_t bound; /* pages before this one are bound */
} tsr_split_walk;
/* The next n matrices (of experts), alike. */
tsr_code tsr_split_bind(tsr_split_walk *walk, const tsr_packed *like, int64_t n, tsr_error *err);

#endif
