/* act8_avx2.c: rounding activations to 8 bits. Compiled with this ISA's flags only. */
#include "kernels/act8.h"
#include "kernels/kernels.h"

#include <immintrin.h>

/* The bits of magnitudes, compared as integers: as such NaN is the largest, which a maximum of floats may lose. */
static inline __m256i load_abs(const float *x) { return _mm256_castps_si256(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_loadu_ps(x))); }

static void act8_max__avx2(const float *x, int64_t n_blocks, float *max) {
    for (int64_t b = 0; b < n_blocks; b++, x += TSR_BLOCK_K) {
        __m256i eight = _mm256_max_epi32(_mm256_max_epi32(load_abs(x), load_abs(x + 8)), _mm256_max_epi32(load_abs(x + 16), load_abs(x + 24)));
        __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
        four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
        max[b] = _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1))));
    }
}

static inline int32_t reduce_add(__m256i v) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

static void act8_quantize__avx2(const float *x, float inverse, float scale, int8_t *codes, int32_t sum16[2], float *residual) {
    /* natural order -> quads: of each 8 k: 0 4 1 5 2 6 3 7. Packing leaves the fours in the order that `lanes` undoes. */
    const __m256i lanes = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15));
    __m256i q[4];
    for (int i = 0; i < 4; i++) {
        __m256 eight = _mm256_loadu_ps(x + 8 * i);
        q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(eight, _mm256_set1_ps(inverse)));
        if (residual) _mm256_storeu_ps(residual + 8 * i, _mm256_fnmadd_ps(_mm256_set1_ps(scale), _mm256_cvtepi32_ps(q[i]), eight));
    }
    sum16[0] = reduce_add(_mm256_add_epi32(q[0], q[1]));
    sum16[1] = reduce_add(_mm256_add_epi32(q[2], q[3]));
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    bytes = _mm256_shuffle_epi8(_mm256_permutevar8x32_epi32(bytes, lanes), order);
    _mm256_storeu_si256((__m256i *)(void *)codes, bytes);
}

void tsr_kernels_fill_act8_avx2(tsr_kernels *k) {
    k->act8_max = act8_max__avx2;
    k->act8_quantize = act8_quantize__avx2;
}
