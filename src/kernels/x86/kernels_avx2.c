/* kernels_avx2.c: AVX2 + FMA + F16C versions of the f32 slots. Compiled with this ISA's flags only. Tails of fewer than
 * eight elements go through masked loads and stores. */
#include "kernels/kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

/* All ones in the lanes that exist when `left` elements remain. */
static inline __m256i lanes(int64_t left) {
    int n = left > 8 ? 8 : (int)left;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline float reduce_add(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* One tile: m x n accumulators of 8 partial sums along k. m and n are constants after inlining. */
static inline __attribute__((always_inline)) void tile(const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k,
                                                       float *c, int64_t ldc, const int m, const int n, bool accumulate) {
    __m256 sum[3][4];
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) sum[i][j] = _mm256_setzero_ps();
    int64_t l = 0;
    for (; l + 8 <= k; l += 8) {
        __m256 x[3];
        for (int i = 0; i < m; i++) x[i] = _mm256_loadu_ps(a + i * lda + l);
        for (int j = 0; j < n; j++) {
            __m256 w = _mm256_loadu_ps(b + j * ldb + l);
            for (int i = 0; i < m; i++) sum[i][j] = _mm256_fmadd_ps(x[i], w, sum[i][j]);
        }
    }
    if (l < k) {
        __m256i mask = lanes(k - l);
        for (int j = 0; j < n; j++) {
            __m256 w = _mm256_maskload_ps(b + j * ldb + l, mask);
            for (int i = 0; i < m; i++) sum[i][j] = _mm256_fmadd_ps(_mm256_maskload_ps(a + i * lda + l, mask), w, sum[i][j]);
        }
    }
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            float s = reduce_add(sum[i][j]);
            c[i * ldc + j] = accumulate ? c[i * ldc + j] + s : s;
        }
}

static void tile_f32_3x4__avx2(const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k, float *c, int64_t ldc,
                               int m, int n, bool accumulate) {
    if (n == 4 && m == 3) {
        tile(a, lda, b, ldb, k, c, ldc, 3, 4, accumulate);
        return;
    }
    for (int i = 0; i < m; i++) {
        if (n == 4) {
            tile(a + i * lda, lda, b, ldb, k, c + i * ldc, ldc, 1, 4, accumulate);
        } else {
            for (int j = 0; j < n; j++) tile(a + i * lda, lda, b + j * ldb, ldb, k, c + i * ldc + j, ldc, 1, 1, accumulate);
        }
    }
}

/* e^x = 2^n p(r): see kernels_avx512.c. 2^n is applied in two steps of 2^(n/2), each a normal float, so that the whole
 * range is reached; results below the float range are 0 or denormal, above it infinity. */
static inline __m256 exp_ps(__m256 x) {
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT | 8);
    n = _mm256_min_ps(_mm256_max_ps(n, _mm256_set1_ps(-200.0f)), _mm256_set1_ps(200.0f));
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693145751953125f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(1.42860682030941723212e-6f), r);
    r = _mm256_min_ps(_mm256_set1_ps(1.0f), _mm256_max_ps(_mm256_set1_ps(-1.0f), r));
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1), bias = _mm256_set1_epi32(127);
    __m256 lo = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    __m256 hi = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, half), bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(p, lo), hi);
}

static void rms_norm__avx2(const float *x, const float *w, float eps, float *y, int64_t n) {
    __m256 sum = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_maskload_ps(x + i, lanes(n - i));
        sum = _mm256_fmadd_ps(v, v, sum);
    }
    __m256 scale = _mm256_set1_ps(1.0f / sqrtf(reduce_add(sum) / (float)n + eps));
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n - i);
        __m256 v = _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), scale);
        _mm256_maskstore_ps(y + i, mask, _mm256_mul_ps(v, _mm256_maskload_ps(w + i, mask)));
    }
}

static inline __m256 silu(__m256 x) {
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), exp_ps(_mm256_sub_ps(_mm256_setzero_ps(), x))));
}

/* 0.5 x (1 + tanh(t)) = x / (1 + e^-2t) */
static inline __m256 gelu(__m256 x) {
    __m256 inner = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_mul_ps(x, x), x), _mm256_set1_ps(0.044715f), x);
    __m256 e = exp_ps(_mm256_mul_ps(inner, _mm256_set1_ps(-2.0f * 0.79788456080286535588f)));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

static void silu_mul__avx2(float *gate, const float *up, int64_t n) {
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n - i);
        __m256 g = silu(_mm256_maskload_ps(gate + i, mask));
        _mm256_maskstore_ps(gate + i, mask, _mm256_mul_ps(g, _mm256_maskload_ps(up + i, mask)));
    }
}

static void gelu_mul__avx2(float *gate, const float *up, int64_t n) {
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n - i);
        __m256 g = gelu(_mm256_maskload_ps(gate + i, mask));
        _mm256_maskstore_ps(gate + i, mask, _mm256_mul_ps(g, _mm256_maskload_ps(up + i, mask)));
    }
}

static void softmax__avx2(float *x, int64_t n) {
    float top = -INFINITY;
    for (int64_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    __m256 sum = _mm256_setzero_ps(), vtop = _mm256_set1_ps(top);
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n - i);
        __m256 e = exp_ps(_mm256_sub_ps(_mm256_maskload_ps(x + i, mask), vtop));
        sum = _mm256_add_ps(sum, _mm256_and_ps(e, _mm256_castsi256_ps(mask)));
        _mm256_maskstore_ps(x + i, mask, e);
    }
    __m256 scale = _mm256_set1_ps(1.0f / reduce_add(sum));
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n - i);
        _mm256_maskstore_ps(x + i, mask, _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), scale));
    }
}

/* cap * tanh(x / cap) = cap - 2 cap / (1 + e^(2 x / cap)); -infinity stays. */
static inline __m256 softcap(__m256 x, float cap) {
    __m256 e = exp_ps(_mm256_mul_ps(x, _mm256_set1_ps(2.0f / cap)));
    __m256 y = _mm256_sub_ps(_mm256_set1_ps(cap), _mm256_div_ps(_mm256_set1_ps(2.0f * cap), _mm256_add_ps(_mm256_set1_ps(1.0f), e)));
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, _mm256_set1_ps(-INFINITY), _CMP_EQ_OQ));
}

/* The largest of 8. */
static inline float reduce_max(__m256 v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

static float softmax_step__avx2(float *x, int64_t n, float scale, float cap, float *max, float *sum) {
    const __m256 least = _mm256_set1_ps(-INFINITY), by = _mm256_set1_ps(scale);
    __m256 top = _mm256_set1_ps(*max), more = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n - i);
        __m256 z = _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), by);
        if (cap > 0.0f) z = softcap(z, cap);
        _mm256_maskstore_ps(x + i, mask, z);
        top = _mm256_max_ps(_mm256_blendv_ps(least, z, _mm256_castsi256_ps(mask)), top); /* of a NaN and a number the second */
    }
    float most = reduce_max(top), base = most == -INFINITY ? 0.0f : most;
    float factor = most == *max ? 1.0f : expf(*max - base);
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n - i);
        __m256 e = exp_ps(_mm256_sub_ps(_mm256_maskload_ps(x + i, mask), _mm256_set1_ps(base)));
        more = _mm256_add_ps(more, _mm256_and_ps(e, _mm256_castsi256_ps(mask)));
        _mm256_maskstore_ps(x + i, mask, e);
    }
    *max = most;
    *sum = *sum * factor + reduce_add(more);
    return factor;
}

static void axpy_f32__avx2(float a, const float *x, float *y, int64_t n) {
    __m256 va = _mm256_set1_ps(a);
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(n - i);
        __m256 r = _mm256_fmadd_ps(va, _mm256_maskload_ps(x + i, mask), _mm256_maskload_ps(y + i, mask));
        _mm256_maskstore_ps(y + i, mask, r);
    }
}

static void f32_to_f16__avx2(const float *x, uint16_t *y, int64_t n) {
    for (int64_t i = 0; i < n; i += 8) {
        int64_t count = n - i < 8 ? n - i : 8;
        uint16_t part[8];
        __m128i h = _mm256_cvtps_ph(_mm256_maskload_ps(x + i, lanes(n - i)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128((__m128i *)part, h);
        memcpy(y + i, part, (size_t)count * sizeof *y);
    }
}

void tsr_kernels_fill_avx2(tsr_kernels *k) {
    k->tile_f32 = tile_f32_3x4__avx2;
    k->tile_m = 3;
    k->tile_n = 4;
    k->tile_name = "tile_f32_3x4__avx2";
    k->rms_norm = rms_norm__avx2;
    k->silu_mul = silu_mul__avx2;
    k->gelu_mul = gelu_mul__avx2;
    k->softmax = softmax__avx2;
    k->softmax_step = softmax_step__avx2;
    k->axpy_f32 = axpy_f32__avx2;
    k->f32_to_f16 = f32_to_f16__avx2;
}
