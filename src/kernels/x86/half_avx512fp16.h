/* half_avx512fp16.h: arithmetic on 32 f16 (AVX512-FP16), as functions, so that tests/check/half_emulation.h can stand in for them on hosts
 * without it. f16 denormals are numbers as any, whatever MXCSR says (the self-test makes sure: kernels/self_test.c). */
#ifndef TSR_KERNELS_X86_HALF_AVX512FP16_H
#define TSR_KERNELS_X86_HALF_AVX512FP16_H

#include <immintrin.h>

static inline __attribute__((always_inline)) __m512i half_mul(__m512i a, __m512i b) {
    return _mm512_castph_si512(_mm512_mul_ph(_mm512_castsi512_ph(a), _mm512_castsi512_ph(b)));
}

static inline __attribute__((always_inline)) __m512i half_sub(__m512i a, __m512i b) {
    return _mm512_castph_si512(_mm512_sub_ph(_mm512_castsi512_ph(a), _mm512_castsi512_ph(b)));
}

/* a b + c */
static inline __attribute__((always_inline)) __m512i half_fma(__m512i a, __m512i b, __m512i c) {
    return _mm512_castph_si512(_mm512_fmadd_ph(_mm512_castsi512_ph(a), _mm512_castsi512_ph(b), _mm512_castsi512_ph(c)));
}

#endif
