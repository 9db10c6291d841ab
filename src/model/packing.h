/* packing.h: which matrices of a model are packed, and where their packed bytes come from: the cache on disk, or packing now. */
#ifndef TSR_MODEL_PACKING_H
#define TSR_MODEL_PACKING_H

#include "buffer/cache.h"

/* How the packed matrices of this process came to be; the value of tsr_model_info.cache. */
#define TSR_CACHE_NONE ""            /* nothing is packed */
#define TSR_CACHE_MAPPED "mapped"    /* from a cache file */
#define TSR_CACHE_READ "read"        /* from a cache file, into memory */
#define TSR_CACHE_PACKED "packed"    /* packed now */

typedef struct tsr_packing {
    tsr_cache_plan plan;
    size_t capacity;       /* of the plan's arrays */
    size_t next;           /* the tensor that is packed next */
    tsr_cache *cache;      /* NULL: there is none */
    const char *outcome;   /* TSR_CACHE_... */
    char note[1024];       /* why the cache was not used or written, or "" */
} tsr_packing;

/* Appends a tensor that packs into n bytes; tensors are packed in this order. */
tsr_code tsr_packing_add(tsr_packing *p, const tsr_gguf *g, const tsr_gguf_tensor *t, size_t n, tsr_error *err);
/* What memory packed weights are to have; a file that is mapped has the page cache's. */
typedef struct tsr_packing_memory {
    tsr_huge_pages huge_pages;
    tsr_numa numa;
    const tsr_nodes *nodes; /* of local and mirror: at least two */
} tsr_packing_memory;

/* Fills b from the cache, or gives it such memory to pack into. cache: NULL for none. */
tsr_code tsr_packing_begin(tsr_packing *p, const tsr_cache_params *cache, tsr_packing_memory memory, tsr_buffer *b, tsr_pool *pool,
                           tsr_progress_fn progress, void *user, tsr_error *err);
/* Before each tensor of the plan is set in b. */
void tsr_packing_next(tsr_packing *p, tsr_buffer *b);
/* After the last one: fills the copies on other NUMA nodes, and begins to write a cache file, if there is to be one. */
void tsr_packing_end(tsr_packing *p, const tsr_buffer *b, tsr_pool *pool);
/* Before b is freed. Waits for a cache file that is being written; with abandon, gives it up. */
void tsr_packing_close(tsr_packing *p, bool abandon);

#endif
