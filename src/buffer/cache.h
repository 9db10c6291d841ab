/* cache.h: packed weights on disk, so that a later start maps them instead of packing (doc/cache.md).
 *
 *   tsr_cache_open    what will be packed gives the key, which is the file's name
 *   tsr_cache_load    a valid file fills the buffer; else this process has the lock and will write one, or a note says why not
 *   (packing)         digests every tensor of the source: tsr_cache_source says where to
 *   tsr_cache_store   a thread writes the packed buffer to disk, which from now on is only read
 *   tsr_cache_close
 *
 * Nothing that is wrong with the cache is an error of loading: there is a note, and the weights are packed. */
#ifndef TSR_BUFFER_CACHE_H
#define TSR_BUFFER_CACHE_H

#include "buffer/buffer.h"
#include "buffer/cache_dir.h"

typedef struct tsr_cache tsr_cache;

/* What is packed, in the order in which it lies in the buffer. */
typedef struct tsr_cache_plan {
    const tsr_gguf *g;
    const tsr_gguf_tensor **sources; /* [n] */
    tsr_cache_tensor *tensors;       /* [n], without offsets and digests */
    size_t n;
    uint64_t bytes;
    const char *model; /* general.name */
} tsr_cache_plan;

typedef struct tsr_cache_params {
    const char *dir; /* NULL: the default */
    uint64_t limit;  /* bytes of all files; 0: the default */
    bool read;       /* into memory, instead of mapping */
} tsr_cache_params;

/* The plan must outlive the cache. NULL with a note (in err) when there can be no cache. */
tsr_cache *tsr_cache_open(const tsr_cache_plan *plan, const tsr_cache_params *params, tsr_error *err);
/* On success b holds all packed tensors (b->filled), or they have to be packed (b is as it was). Waits for another process that is writing the
 * same file. b->base of memory that b already has is used when params.read. Fails only with TSR_E_CANCELLED and TSR_E_NOMEM. */
tsr_code tsr_cache_load(tsr_cache *c, tsr_buffer *b, tsr_pool *pool, tsr_progress_fn progress, void *user, tsr_error *err);
/* Before source i of the plan is packed: where its digest (tsr_packed_source) is wanted; NULL: there will be no file. */
tsr_digest *tsr_cache_source(tsr_cache *c, size_t i);
/* After all were packed into b, which must outlive the cache. */
void tsr_cache_store(tsr_cache *c, const tsr_buffer *b);
/* Waits until the file is written; the failure of writing it, which names it and says what to do. progress may be NULL; when it returns false,
 * there will be no file. */
tsr_code tsr_cache_wait(tsr_cache *c, tsr_progress_fn progress, void *user, tsr_error *err);
/* Waits for the file; with abandon, stops writing it and removes what there is. */
void tsr_cache_close(tsr_cache *c, bool abandon);

/* Why there was no file to use, or why none is written; "" when all is well or nothing was to be expected. */
const char *tsr_cache_note(const tsr_cache *c);

/* Verifies all of an open file, whose head was parsed, against its checksums. */
tsr_code tsr_cache_verify_data(int fd, const char *path, const tsr_cache_header *header, const tsr_cache_tensor *tensors, tsr_pool *pool,
                               tsr_progress_fn progress, void *user, tsr_error *err);

#endif
