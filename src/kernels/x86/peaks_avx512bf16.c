/* peaks_avx512bf16.c: vdpbf16ps on zmm registers. */
#include "kernels/peaks.h"

#include "kernels/peak_loop.h"

#define ZERO(i) "vpxord %%zmm" #i ", %%zmm" #i ", %%zmm" #i "\n"
#define STEP(i) "vdpbf16ps %%zmm15, %%zmm14, %%zmm" #i "\n"

static void half__avx512bf16(int64_t steps) {
    __asm__ volatile("vpbroadcastd %1, %%zmm15\nvmovdqa64 %%zmm15, %%zmm14\n" TSR_LOOP(TSR_TWELVE(ZERO), TSR_TWELVE(STEP)) "vzeroupper\n"
                     : "+r"(steps)
                     : "r"(TSR_PEAK_OPERAND)
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm14",
                       "xmm15");
}

const tsr_peak tsr_peak_half__avx512bf16 = {"vdpbf16ps zmm", 12 * 32 * 2, half__avx512bf16};
