/* table.c: the ladder: scalar fills every slot, each ISA up to the tier overwrites what it does better. */
#include "kernels/kernels.h"

#include <pthread.h>

static tsr_kernels records[TSR_TIER_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_all(void) {
    /* the fill functions are themselves compiled with their ISA's flags: only those that this CPU has may run */
    for (int tier = 0; tier < TSR_TIER_COUNT; tier++) {
        if (!tsr_tier_usable((tsr_tier)tier)) continue;
        tsr_kernels *k = &records[tier];
        k->tier = (tsr_tier)tier;
        tsr_kernels_fill_scalar(k);
        tsr_kernels_fill_packed_scalar(k);
        tsr_kernels_fill_wide_scalar(k);
        if (tier >= TSR_TIER_AVX2) {
            tsr_kernels_fill_avx2(k);
            tsr_kernels_fill_dequantize_avx2(k);
            tsr_kernels_fill_act8_avx2(k);
            tsr_kernels_fill_packed_avx2(k);
            tsr_kernels_fill_wide_avx2(k);
        }
        if (tier == TSR_TIER_AVXVNNI) tsr_kernels_fill_packed_avxvnni(k);
        if (tier >= TSR_TIER_AVX512) {
            tsr_kernels_fill_avx512(k);
            tsr_kernels_fill_act8_avx512(k);
            tsr_kernels_fill_packed_avx512(k);
        }
        tsr_kernels_choose(k);
    }
}

const tsr_kernels *tsr_kernels_get(tsr_tier tier) {
    pthread_once(&once, fill_all);
    return &records[tier];
}
