/* pack_table.c: the ladder of the packing kernels, like table.c. */
#include "kernels/pack.h"

static const tsr_pack_kernels records[] = {
    [TSR_TIER_SCALAR] = {TSR_TIER_SCALAR, tsr_pack_get_codes__scalar, tsr_pack_lines__scalar, tsr_pack_lines16__scalar,
                         tsr_pack_transpose__scalar, NULL},
    [TSR_TIER_AVX2] = {TSR_TIER_AVX2, tsr_pack_get_codes__avx2, tsr_pack_lines__avx2, tsr_pack_lines16__avx2,
                       tsr_pack_transpose__avx2, NULL},
    [TSR_TIER_AVX512] = {TSR_TIER_AVX512, tsr_pack_get_codes__avx2, tsr_pack_lines__avx512, tsr_pack_lines16__avx512,
                         tsr_pack_transpose__avx2, tsr_pack_finish__avx512},
};

/* Tiers between and above have nothing of their own. */
const tsr_pack_kernels *tsr_pack_kernels_get(tsr_tier tier) {
    if (tier >= TSR_TIER_AVX512) return &records[TSR_TIER_AVX512];
    return tier >= TSR_TIER_AVX2 ? &records[TSR_TIER_AVX2] : &records[TSR_TIER_SCALAR];
}
