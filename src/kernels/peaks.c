/* peaks.c: which loop is a tier's peak, and the loops of plain x86-64 (SSE2). */
#include "kernels/peaks.h"

#include "kernels/peak_loop.h"

/* --- SSE2: the scalar tier is compiled for it -------------------------------------------------------------------------------- */

#define ZERO(i) "pxor %%xmm" #i ", %%xmm" #i "\n"

/* 8-bit operands widened to 16 bits: the sum of two products in each of 4 lanes. Sums in xmm0-5, products in xmm6. */
#define INT_STEP(i) \
    "movdqa %%xmm15, %%xmm6\n" \
    "pmaddwd %%xmm14, %%xmm6\n" \
    "paddd %%xmm6, %%xmm" #i "\n"

static void int8__sse2(int64_t steps) {
    __asm__ volatile("movd %1, %%xmm15\npshufd $0, %%xmm15, %%xmm15\nmovdqa %%xmm15, %%xmm14\n" TSR_LOOP(TSR_SIX(ZERO), TSR_SIX(INT_STEP))
                     : "+r"(steps)
                     : "r"(TSR_PEAK_OPERAND)
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm14", "xmm15");
}

#define FLOAT_STEP(i) \
    "movaps %%xmm15, %%xmm12\n" \
    "mulps %%xmm14, %%xmm12\n" \
    "addps %%xmm12, %%xmm" #i "\n"

static void f32__sse2(int64_t steps) {
    __asm__ volatile("movd %1, %%xmm15\npshufd $0, %%xmm15, %%xmm15\nmovdqa %%xmm15, %%xmm14\n" TSR_LOOP(TSR_TWELVE(ZERO), TSR_TWELVE(FLOAT_STEP))
                     : "+r"(steps)
                     : "r"(TSR_PEAK_OPERAND)
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm14",
                       "xmm15");
}

static const tsr_peak peak_int8__sse2 = {"pmaddwd xmm", 6 * 8 * 2, int8__sse2};
static const tsr_peak peak_f32__sse2 = {"mulps xmm", 12 * 4 * 2, f32__sse2};

static void read__sse2(const void *p, size_t n) {
    const uint8_t *at = p, *end = at + n;
    if (n == 0) return;
    __asm__ volatile("1:\n"
                     "por (%0), %%xmm0\npor 16(%0), %%xmm1\npor 32(%0), %%xmm2\npor 48(%0), %%xmm3\n"
                     "add $64, %0\ncmp %1, %0\njb 1b\n"
                     : "+r"(at)
                     : "r"(end)
                     : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3");
}

/* --- the table --------------------------------------------------------------------------------------------------------------- */

/* The best of each tier; a tier without an entry has that of the tier before. */
static const tsr_peak *const best[TSR_TIER_COUNT][TSR_PEAK_KINDS] = {
    [TSR_TIER_SCALAR] = {[TSR_PEAK_INT8] = &peak_int8__sse2, [TSR_PEAK_F32] = &peak_f32__sse2},
    [TSR_TIER_AVX2] = {[TSR_PEAK_INT8] = &tsr_peak_int8__avx2, [TSR_PEAK_F32] = &tsr_peak_f32__avx2},
    [TSR_TIER_AVXVNNI] = {[TSR_PEAK_INT8] = &tsr_peak_int8__avxvnni},
    [TSR_TIER_AVX512] = {[TSR_PEAK_INT8] = &tsr_peak_int8__avx512, [TSR_PEAK_F32] = &tsr_peak_f32__avx512},
    [TSR_TIER_AVX512BF16] = {[TSR_PEAK_HALF] = &tsr_peak_half__avx512bf16},
    [TSR_TIER_AMX] = {[TSR_PEAK_INT8] = &tsr_peak_int8__amx, [TSR_PEAK_HALF] = &tsr_peak_half__amx},
    [TSR_TIER_AMXFP16] = {[TSR_PEAK_HALF] = &tsr_peak_half__amxfp16},
};

const tsr_peak *tsr_peak_get(tsr_tier tier, tsr_peak_kind kind) {
    for (int t = (int)tier; t >= 0; t--)
        if (best[t][kind]) return best[t][kind];
    return NULL;
}

tsr_peak_read_fn tsr_peak_read(tsr_tier tier) {
    return tier >= TSR_TIER_AVX512 ? tsr_peak_read__avx512 : tier >= TSR_TIER_AVX2 ? tsr_peak_read__avx2 : read__sse2;
}
