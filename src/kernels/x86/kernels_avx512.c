/* kernels_avx512.c: AVX-512 (F, BW, VL, DQ) versions of the f32 slots. Compiled with this ISA's flags only. */
#include "kernels/kernels.h"

#include <immintrin.h>
#include <math.h>

/* Mask of the lanes that exist when `left` elements remain. */
static inline __mmask16 lanes(int64_t left) { return left >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1u); }

/* One tile: m x n accumulators of 16 partial sums along k. m and n are constants after inlining. */
static inline __attribute__((always_inline)) void tile(const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k,
                                                       float *c, int64_t ldc, const int m, const int n, bool accumulate) {
    __m512 sum[6][4];
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) sum[i][j] = _mm512_setzero_ps();
    int64_t l = 0;
    for (; l + 16 <= k; l += 16) {
        __m512 w[4];
        for (int j = 0; j < n; j++) w[j] = _mm512_loadu_ps(b + j * ldb + l);
        for (int i = 0; i < m; i++) {
            __m512 x = _mm512_loadu_ps(a + i * lda + l);
            for (int j = 0; j < n; j++) sum[i][j] = _mm512_fmadd_ps(x, w[j], sum[i][j]);
        }
    }
    if (l < k) {
        __mmask16 mask = lanes(k - l);
        for (int i = 0; i < m; i++) {
            __m512 x = _mm512_maskz_loadu_ps(mask, a + i * lda + l);
            for (int j = 0; j < n; j++)
                sum[i][j] = _mm512_fmadd_ps(x, _mm512_maskz_loadu_ps(mask, b + j * ldb + l), sum[i][j]);
        }
    }
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            float s = _mm512_reduce_add_ps(sum[i][j]);
            c[i * ldc + j] = accumulate ? c[i * ldc + j] + s : s;
        }
}

/* Full tiles, half tiles and single rows get their own code; other edges go element by element. */
static void tile_f32_6x4__avx512(const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k, float *c, int64_t ldc,
                                 int m, int n, bool accumulate) {
    if (n == 4 && m == 6) {
        tile(a, lda, b, ldb, k, c, ldc, 6, 4, accumulate);
        return;
    }
    if (n == 4 && m >= 3) {
        tile(a, lda, b, ldb, k, c, ldc, 3, 4, accumulate);
        a += 3 * lda;
        c += 3 * ldc;
        m -= 3;
    }
    for (int i = 0; i < m; i++) {
        if (n == 4) {
            tile(a + i * lda, lda, b, ldb, k, c + i * ldc, ldc, 1, 4, accumulate);
        } else {
            for (int j = 0; j < n; j++) tile(a + i * lda, lda, b + j * ldb, ldb, k, c + i * ldc + j, ldc, 1, 1, accumulate);
        }
    }
}

/* e^x = 2^n p(r) with n = round(x / ln 2), |r| <= ln 2 / 2, p the Taylor polynomial of degree 7 (below 1e-7 relative).
 * Results below the float range are 0, above it infinity, and NaN stays NaN: min and max return their second operand then. */
static inline __m512 exp_ps(__m512 x) {
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT | 8);
    n = _mm512_min_ps(_mm512_max_ps(n, _mm512_set1_ps(-200.0f)), _mm512_set1_ps(200.0f));
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145751953125f), x); /* ln 2 in two parts: the high product is exact */
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860682030941723212e-6f), r);
    r = _mm512_min_ps(_mm512_set1_ps(1.0f), _mm512_max_ps(_mm512_set1_ps(-1.0f), r)); /* x = +-infinity */
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static void rms_norm__avx512(const float *x, const float *w, float eps, float *y, int64_t n) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        __m512 v = _mm512_maskz_loadu_ps(lanes(n - i), x + i);
        sum = _mm512_fmadd_ps(v, v, sum);
    }
    __m512 scale = _mm512_set1_ps(1.0f / sqrtf(_mm512_reduce_add_ps(sum) / (float)n + eps));
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), scale);
        _mm512_mask_storeu_ps(y + i, mask, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, w + i)));
    }
}

static inline __m512 silu(__m512 x) {
    __m512 e = exp_ps(_mm512_sub_ps(_mm512_setzero_ps(), x));
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

/* 0.5 x (1 + tanh(t)) = x / (1 + e^-2t) */
static inline __m512 gelu(__m512 x) {
    __m512 inner = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_mul_ps(x, x), x), _mm512_set1_ps(0.044715f), x);
    __m512 e = exp_ps(_mm512_mul_ps(inner, _mm512_set1_ps(-2.0f * 0.79788456080286535588f)));
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

static void silu_mul__avx512(float *gate, const float *up, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n - i);
        __m512 g = silu(_mm512_maskz_loadu_ps(mask, gate + i));
        _mm512_mask_storeu_ps(gate + i, mask, _mm512_mul_ps(g, _mm512_maskz_loadu_ps(mask, up + i)));
    }
}

static void gelu_mul__avx512(float *gate, const float *up, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n - i);
        __m512 g = gelu(_mm512_maskz_loadu_ps(mask, gate + i));
        _mm512_mask_storeu_ps(gate + i, mask, _mm512_mul_ps(g, _mm512_maskz_loadu_ps(mask, up + i)));
    }
}

static void softmax__avx512(float *x, int64_t n) {
    __m512 top = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n - i);
        top = _mm512_mask_max_ps(top, mask, top, _mm512_maskz_loadu_ps(mask, x + i));
    }
    top = _mm512_set1_ps(_mm512_reduce_max_ps(top));
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n - i);
        __m512 e = exp_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), top));
        sum = _mm512_mask_add_ps(sum, mask, sum, e);
        _mm512_mask_storeu_ps(x + i, mask, e);
    }
    __m512 scale = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(sum));
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n - i);
        _mm512_mask_storeu_ps(x + i, mask, _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), scale));
    }
}

/* cap * tanh(x / cap) = cap - 2 cap / (1 + e^(2 x / cap)); -infinity stays. */
static inline __m512 softcap(__m512 x, float cap) {
    __m512 e = exp_ps(_mm512_mul_ps(x, _mm512_set1_ps(2.0f / cap)));
    __m512 y = _mm512_sub_ps(_mm512_set1_ps(cap), _mm512_div_ps(_mm512_set1_ps(2.0f * cap), _mm512_add_ps(_mm512_set1_ps(1.0f), e)));
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, _mm512_set1_ps(-INFINITY), _CMP_EQ_OQ), x);
}

/* 2^x = 2^floor(x) p(f), 0 <= f < 1, p the minimax polynomial of degree 5 (1e-7 relative). Below the float range 0, of NaN NaN. */
static inline __m512 exp2_ps(__m512 x) {
    __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); /* of infinity 0 */
    __m512 p = _mm512_set1_ps(0.00187757667f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.00898934009f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.0558263181f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.240153617f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693153073f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.999999925f));
    return _mm512_scalef_ps(p, x);
}

static float softmax_step__avx512(float *x, int64_t n, float scale, float cap, float *max, float *sum) {
    const float log2e = 1.44269504088896341f;
    const __m512 least = _mm512_set1_ps(-INFINITY), by = _mm512_set1_ps(scale);
    __m512 top = least, more = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n - i);
        __m512 z = _mm512_mask_loadu_ps(least, mask, x + i);
        if (cap > 0.0f) {
            z = softcap(_mm512_mul_ps(z, by), cap);
            _mm512_mask_storeu_ps(x + i, mask, z);
        }
        top = _mm512_max_ps(z, top); /* of a NaN and a number the second */
    }
    float unit = cap > 0.0f ? 1.0f : scale, most = _mm512_reduce_max_ps(top) * unit; /* scores times unit */
    most = most > *max ? most : *max;
    float base = most == -INFINITY ? 0.0f : most, factor = 1.0f;
    if (most != *max) factor = _mm512_cvtss_f32(exp2_ps(_mm512_set1_ps((*max - base) * log2e)));
    const __m512 times = _mm512_set1_ps(unit * log2e), minus = _mm512_set1_ps(base * log2e);
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n - i);
        __m512 e = exp2_ps(_mm512_fmsub_ps(_mm512_mask_loadu_ps(least, mask, x + i), times, minus));
        more = _mm512_add_ps(more, e); /* 0 in lanes that do not exist */
        _mm512_mask_storeu_ps(x + i, mask, e);
    }
    *max = most;
    *sum = *sum * factor + _mm512_reduce_add_ps(more);
    return factor;
}

static void axpy_f32__avx512(float a, const float *x, float *y, int64_t n) {
    __m512 va = _mm512_set1_ps(a);
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n - i);
        __m512 r = _mm512_fmadd_ps(va, _mm512_maskz_loadu_ps(mask, x + i), _mm512_maskz_loadu_ps(mask, y + i));
        _mm512_mask_storeu_ps(y + i, mask, r);
    }
}

static void f32_to_f16__avx512(const float *x, uint16_t *y, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = lanes(n - i);
        __m256i h = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(mask, x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm256_mask_storeu_epi16(y + i, mask, h);
    }
}

void tsr_kernels_fill_avx512(tsr_kernels *k) {
    k->tile_f32 = tile_f32_6x4__avx512;
    k->tile_m = 6;
    k->tile_n = 4;
    k->tile_name = "tile_f32_6x4__avx512";
    k->rms_norm = rms_norm__avx512;
    k->silu_mul = silu_mul__avx512;
    k->gelu_mul = gelu_mul__avx512;
    k->softmax = softmax__avx512;
    k->softmax_step = softmax_step__avx512;
    k->axpy_f32 = axpy_f32__avx512;
    k->f32_to_f16 = f32_to_f16__avx512;
}
