/* cache_key.h: what a cache file is found by, and how its source is known again. */
#ifndef TSR_BUFFER_CACHE_KEY_H
#define TSR_BUFFER_CACHE_KEY_H

#include "buffer/cache.h"

/* The file's name: format version, the tensors and their layouts, what packing makes of a probe of each format, and of the model's files the
 * sizes, all that is before the tensors, and samples of these. Equal for a copy of the model; the weights themselves are compared by their
 * digests. TSR_E_IO when a file cannot be read. */
tsr_code tsr_cache_key(const tsr_cache_plan *plan, tsr_digest *key, tsr_error *err);

/* Device, inode, size, times of modification and of change of the model's files: as long as they are equal, nobody has written to them.
 * *settled: they were written long enough ago for that to hold (clocks of file systems tick slowly). */
tsr_code tsr_cache_identity(const tsr_gguf *g, tsr_digest *identity, bool *settled, tsr_error *err);

/* Bytes in all files of the model. */
uint64_t tsr_cache_source_bytes(const tsr_gguf *g);

#endif
