/* half_emulation.h: the functions of kernels/x86/half_avx512fp16.h in f32 with F16C: products and differences of f16 are exact in f32, so
 * they are rounded once, as AVX512-FP16 does; half_fma rounds twice, which can differ in the last bit. */
#ifndef TSR_TESTS_HALF_EMULATION_H
#define TSR_TESTS_HALF_EMULATION_H

#include <immintrin.h>

static inline __m512 half_low(__m512i h) { return _mm512_cvtph_ps(_mm512_castsi512_si256(h)); }
static inline __m512 half_high(__m512i h) { return _mm512_cvtph_ps(_mm512_extracti64x4_epi64(h, 1)); }

static inline __m512i half_both(__m512 low, __m512 high) {
    enum { NEAREST_EVEN = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtps_ph(low, NEAREST_EVEN)), _mm512_cvtps_ph(high, NEAREST_EVEN), 1);
}

static inline __m512i half_mul(__m512i a, __m512i b) {
    return half_both(_mm512_mul_ps(half_low(a), half_low(b)), _mm512_mul_ps(half_high(a), half_high(b)));
}

static inline __m512i half_sub(__m512i a, __m512i b) {
    return half_both(_mm512_sub_ps(half_low(a), half_low(b)), _mm512_sub_ps(half_high(a), half_high(b)));
}

static inline __m512i half_fma(__m512i a, __m512i b, __m512i c) {
    return half_both(_mm512_fmadd_ps(half_low(a), half_low(b), half_low(c)), _mm512_fmadd_ps(half_high(a), half_high(b), half_high(c)));
}

#endif
