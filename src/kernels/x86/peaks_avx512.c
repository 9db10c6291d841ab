/* peaks_avx512.c: vpdpbusd and FMA on zmm registers. */
#include "kernels/peaks.h"

#include "kernels/peak_loop.h"

#define BROADCAST "vpbroadcastd %1, %%zmm15\nvmovdqa64 %%zmm15, %%zmm14\n"
#define ZERO(i) "vpxord %%zmm" #i ", %%zmm" #i ", %%zmm" #i "\n"
#define CLOBBERED \
    "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm14", "xmm15"

#define INT_STEP(i) "vpdpbusd %%zmm15, %%zmm14, %%zmm" #i "\n"

static void int8__avx512(int64_t steps) {
    __asm__ volatile(BROADCAST TSR_LOOP(TSR_TWELVE(ZERO), TSR_TWELVE(INT_STEP)) "vzeroupper\n"
                     : "+r"(steps)
                     : "r"(TSR_PEAK_OPERAND)
                     : CLOBBERED);
}

#define FLOAT_STEP(i) "vfmadd231ps %%zmm14, %%zmm15, %%zmm" #i "\n"

static void f32__avx512(int64_t steps) {
    __asm__ volatile(BROADCAST TSR_LOOP(TSR_TWELVE(ZERO), TSR_TWELVE(FLOAT_STEP)) "vzeroupper\n"
                     : "+r"(steps)
                     : "r"(TSR_PEAK_OPERAND)
                     : CLOBBERED);
}

const tsr_peak tsr_peak_int8__avx512 = {"vpdpbusd zmm", 12 * 64 * 2, int8__avx512};
const tsr_peak tsr_peak_f32__avx512 = {"vfmadd231ps zmm", 12 * 16 * 2, f32__avx512};

void tsr_peak_read__avx512(const void *p, size_t n) {
    const uint8_t *at = p, *end = at + n;
    if (n == 0) return;
    __asm__ volatile("1:\n"
                     "vpord (%0), %%zmm0, %%zmm0\nvpord 64(%0), %%zmm1, %%zmm1\nvpord 128(%0), %%zmm2, %%zmm2\nvpord 192(%0), %%zmm3, %%zmm3\n"
                     "add $256, %0\ncmp %1, %0\njb 1b\nvzeroupper\n"
                     : "+r"(at)
                     : "r"(end)
                     : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3");
}
