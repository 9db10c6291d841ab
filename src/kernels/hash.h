/* hash.h: XXH3 with 128 bits, for checksums of gigabytes: the library's build of it has plain SSE2. */
#ifndef TSR_KERNELS_HASH_H
#define TSR_KERNELS_HASH_H

#include <stddef.h>
#include <stdint.h>

/* out: low, high. Both give what XXH3_128bits gives. */
typedef void (*tsr_hash_fn)(const void *p, size_t n, uint64_t out[2]);
void tsr_hash__scalar(const void *p, size_t n, uint64_t out[2]);
void tsr_hash__avx2(const void *p, size_t n, uint64_t out[2]);

/* The faster of those that this CPU has. */
tsr_hash_fn tsr_hash_get(void);

#endif
