#include "kernels/hash.h"

#include "core/cpu.h"

#include <xxhash.h>

void tsr_hash__scalar(const void *p, size_t n, uint64_t out[2]) {
    XXH128_hash_t h = XXH3_128bits(p, n);
    out[0] = h.low64;
    out[1] = h.high64;
}

tsr_hash_fn tsr_hash_get(void) { return tsr_cpu_get()->tier >= TSR_TIER_AVX2 ? tsr_hash__avx2 : tsr_hash__scalar; }
