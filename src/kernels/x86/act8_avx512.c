/* act8_avx512.c: rounding activations to 8 bits. Compiled with this ISA's flags only. */
#include "kernels/act8.h"
#include "kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

static void act8_max__avx512(const float *x, int64_t n_blocks, float *max) {
    for (int64_t b = 0; b < n_blocks; b++, x += TSR_BLOCK_K) {
        /* compared as integers, as which NaN is the largest: a maximum of floats may lose it */
        __m512i lo = _mm512_castps_si512(_mm512_abs_ps(_mm512_loadu_ps(x))), hi = _mm512_castps_si512(_mm512_abs_ps(_mm512_loadu_ps(x + 16)));
        int32_t bits = _mm512_reduce_max_epi32(_mm512_max_epi32(lo, hi));
        memcpy(max + b, &bits, sizeof bits);
    }
}

static void act8_quantize__avx512(const float *x, float inverse, float scale, int8_t *codes, int32_t sum16[2], float *residual) {
    /* natural order -> quads: of each 8 k: 0 4 1 5 2 6 3 7 */
    const __m256i order = _mm256_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15, 0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10,
                                           14, 11, 15);
    __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16), inv = _mm512_set1_ps(inverse);
    __m512i q0 = _mm512_cvtps_epi32(_mm512_mul_ps(x0, inv)), q1 = _mm512_cvtps_epi32(_mm512_mul_ps(x1, inv));
    if (residual) {
        __m512 d = _mm512_set1_ps(scale);
        _mm512_storeu_ps(residual, _mm512_fnmadd_ps(d, _mm512_cvtepi32_ps(q0), x0));
        _mm512_storeu_ps(residual + 16, _mm512_fnmadd_ps(d, _mm512_cvtepi32_ps(q1), x1));
    }
    __m256i bytes = _mm256_set_m128i(_mm512_cvtsepi32_epi8(q1), _mm512_cvtsepi32_epi8(q0));
    _mm256_storeu_si256((__m256i *)(void *)codes, _mm256_shuffle_epi8(bytes, order));
    /* sums of 4 codes, then of 16: the lanes of a half of the register are a half of the block */
    __m256i sums = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(1));
    sums = _mm256_hadd_epi32(sums, sums);
    sums = _mm256_hadd_epi32(sums, sums);
    sum16[0] = _mm256_cvtsi256_si32(sums);
    sum16[1] = _mm256_extract_epi32(sums, 4);
}

void tsr_kernels_fill_act8_avx512(tsr_kernels *k) {
    k->act8_max = act8_max__avx512;
    k->act8_quantize = act8_quantize__avx512;
}
