/* peaks_avxvnni.c: vpdpbusd on ymm registers, in the VEX encoding of CPUs without AVX-512. */
#include "kernels/peaks.h"

#include "kernels/peak_loop.h"

#define ZERO(i) "vpxor %%xmm" #i ", %%xmm" #i ", %%xmm" #i "\n"
#define STEP(i) "%{vex%} vpdpbusd %%ymm15, %%ymm14, %%ymm" #i "\n"

static void int8__avxvnni(int64_t steps) {
    __asm__ volatile("vmovd %1, %%xmm15\nvpbroadcastd %%xmm15, %%ymm15\nvmovdqa %%ymm15, %%ymm14\n" TSR_LOOP(TSR_TWELVE(ZERO), TSR_TWELVE(STEP))
                     "vzeroupper\n"
                     : "+r"(steps)
                     : "r"(TSR_PEAK_OPERAND)
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm14",
                       "xmm15");
}

const tsr_peak tsr_peak_int8__avxvnni = {"vpdpbusd ymm", 12 * 32 * 2, int8__avxvnni};
