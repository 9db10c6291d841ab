/* dot_avx512.h: what the products with 8-bit activations share (AVX-512 VNNI). */
#ifndef TSR_KERNELS_X86_DOT_AVX512_H
#define TSR_KERNELS_X86_DOT_AVX512_H

#include "kernels/act8.h"
#include "kernels/x86/formats.h"

#include <immintrin.h>
#include <string.h>

/* acc[16] += 4 products each. GCC 12 copies the accumulators around the intrinsic; this keeps them where they are. */
TSR_INLINE void dot4(__m512i *acc, __m512i u8, __m512i s8) { __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(u8), "v"(s8)); }

TSR_INLINE __m512i quad(const int8_t *codes) {
    int32_t four;
    memcpy(&four, codes, sizeof four);
    return _mm512_set1_epi32(four);
}

/* One group of rows, of R lanes, as a kernel walks it. */
typedef struct act8_stream {
    int64_t entries, pairs;
    const int32_t *block; /* [entries] */
    const int8_t *codes;  /* [entries][8][R][4] */
    const float *scale;   /* [entries][R] */
    const int32_t *start; /* [entries][2][R] */
    const float *sum;     /* [entries][2][R] */
} act8_stream;

static inline act8_stream group_stream(const tsr_act8 *a, int64_t g) {
    int64_t base = g * TSR_ACT8_GROUP * a->entries;
    return (act8_stream){a->entries,     a->pairs,         a->block + g * a->entries, a->codes + base * TSR_BLOCK_K,
                         a->scale + base, a->start + 2 * base, a->sum + 2 * base};
}

#endif
