/* peaks_avx2.c: vpmaddubsw + vpmaddwd + vpaddd, and FMA, on ymm registers. */
#include "kernels/peaks.h"

#include "kernels/peak_loop.h"

#define BROADCAST "vmovd %1, %%xmm15\nvpbroadcastd %%xmm15, %%ymm15\nvmovdqa %%ymm15, %%ymm14\n"
#define ZERO(i) "vpxor %%xmm" #i ", %%xmm" #i ", %%xmm" #i "\n"

/* Products of one sum wait in ymm6 and ymm7: renaming makes them independent of those of the next. */
#define INT_STEP(i) \
    "vpmaddubsw %%ymm15, %%ymm14, %%ymm6\n" \
    "vpmaddwd %%ymm14, %%ymm6, %%ymm7\n" \
    "vpaddd %%ymm7, %%ymm" #i ", %%ymm" #i "\n"

static void int8__avx2(int64_t steps) {
    __asm__ volatile(BROADCAST TSR_LOOP(TSR_SIX(ZERO), TSR_SIX(INT_STEP)) "vzeroupper\n"
                     : "+r"(steps)
                     : "r"(TSR_PEAK_OPERAND)
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm14", "xmm15");
}

#define FLOAT_STEP(i) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #i "\n"

static void f32__avx2(int64_t steps) {
    __asm__ volatile(BROADCAST TSR_LOOP(TSR_TWELVE(ZERO), TSR_TWELVE(FLOAT_STEP)) "vzeroupper\n"
                     : "+r"(steps)
                     : "r"(TSR_PEAK_OPERAND)
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm14",
                       "xmm15");
}

const tsr_peak tsr_peak_int8__avx2 = {"vpmaddubsw ymm", 6 * 32 * 2, int8__avx2};
const tsr_peak tsr_peak_f32__avx2 = {"vfmadd231ps ymm", 12 * 8 * 2, f32__avx2};

void tsr_peak_read__avx2(const void *p, size_t n) {
    const uint8_t *at = p, *end = at + n;
    if (n == 0) return;
    __asm__ volatile("1:\n"
                     "vpor (%0), %%ymm0, %%ymm0\nvpor 32(%0), %%ymm1, %%ymm1\nvpor 64(%0), %%ymm2, %%ymm2\nvpor 96(%0), %%ymm3, %%ymm3\n"
                     "add $128, %0\ncmp %1, %0\njb 1b\nvzeroupper\n"
                     : "+r"(at)
                     : "r"(end)
                     : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3");
}
