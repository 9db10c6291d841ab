/* table.c: the ladder: scalar fills every slot, each ISA up to the tier overwrites what it does better. */
#include "kernels/kernels.h"

#include <pthread.h>

static tsr_kernels records[TSR_TIER_COUNT];
static bool filled[TSR_TIER_COUNT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

const tsr_kernels *tsr_kernels_get(tsr_tier tier) {
    /* Only what is asked for: the fill functions are themselves compiled with their ISA's flags, and nothing may touch AMX where it is
     * switched off. */
    tsr_kernels *k = &records[tier];
    pthread_mutex_lock(&lock);
    if (!filled[tier]) {
        k->tier = tier;
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
            tsr_kernels_fill_narrow16_avx512(k);
            tsr_kernels_fill_wide_avx512(k);
            tsr_kernels_fill_gemm8_avx512(k);
        }
        if (tier >= TSR_TIER_AVX512BF16) {
            tsr_kernels_fill_wide_avx512bf16(k);
            tsr_kernels_fill_narrow_avx512bf16(k);
        }
        if (tier >= TSR_TIER_AMX) {
            tsr_kernels_fill_gemm8_amx(k);
            tsr_kernels_fill_wide_amx(k);
        }
        if (tier >= TSR_TIER_AMXFP16) tsr_kernels_fill_wide_amx_f16(k);
        tsr_kernels_choose(k);
        filled[tier] = true;
    }
    pthread_mutex_unlock(&lock);
    return k;
}
