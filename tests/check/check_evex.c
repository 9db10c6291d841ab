/* check_evex.c: the record of tier avxvnni on hosts that lack AVX-VNNI but have AVX-512 VNNI, whose vpdpbusd on 256 bits does the same in another
 * encoding: the same source, compiled for that. */
#include "check.h"

/* tsr_kernels_fill_packed_avxvnni of that build (CMakeLists.txt) */
void check_fill_avxvnni_evex(tsr_kernels *k);

const tsr_kernels *check_avxvnni_evex(void) {
    static tsr_kernels record;
    const tsr_cpu *cpu = tsr_cpu_get();
    if (!tsr_tier_usable(TSR_TIER_AVX2) || !cpu->avx512f || !cpu->avx512vl || !cpu->avx512_vnni) return NULL;
    record = *tsr_kernels_get(TSR_TIER_AVX2);
    record.tier = TSR_TIER_AVXVNNI;
    check_fill_avxvnni_evex(&record);
    tsr_kernels_choose(&record);
    return &record;
}
