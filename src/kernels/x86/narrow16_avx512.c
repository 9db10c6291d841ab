/* narrow16_avx512.c: few rows of f32 activations times F16 and BF16 weights, and f32 panels of attention (AVX-512 F). Compiled with this ISA's flags only.
 *
 * Time goes to reading weights. A line holds two k of 16 columns (packed.h); no weight and no activation is rounded. */
#include "kernels/kernels.h"
#include "kernels/x86/unpack_avx512.h"

/* Ahead by so much, one row into the L1 cache, more rows into L2 (Zen 4, GB/s of BF16: one row 28 and 24, four rows 15 and 28). */
enum { ROWS = 8, PREFETCH_BYTES = 12288 };

/* BF16: the even k of a line are its 32-bit lanes shifted up, the odd ones what is in their upper halves. F16 lines widen to two vectors of
 * 8 columns, both k side by side, whose sums are added in the end. acc[R][2] */
TSR_INLINE void add_line(const uint8_t *line, const float *x, int64_t ldx, __m512 acc[][2], const bool f16, const int R) {
    __m512 w0, w1;
    if (f16) {
        w0 = half16(line);
        w1 = half16(line + 32);
    } else {
        __m512i pairs = _mm512_loadu_si512(line);
        w0 = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
        w1 = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000)));
    }
    for (int r = 0; r < R; r++) {
        double both;
        memcpy(&both, x + r * ldx, sizeof both);
        __m512 two = _mm512_castpd_ps(_mm512_set1_pd(both));
        acc[r][0] = _mm512_fmadd_ps(w0, f16 ? two : _mm512_set1_ps(x[r * ldx]), acc[r][0]);
        acc[r][1] = _mm512_fmadd_ps(w1, f16 ? two : _mm512_set1_ps(x[r * ldx + 1]), acc[r][1]);
    }
}

/* acc[2] as 16 columns */
TSR_INLINE __m512 columns(const __m512 acc[2], const bool f16) {
    if (!f16) return _mm512_add_ps(acc[0], acc[1]);
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    return _mm512_add_ps(_mm512_permutex2var_ps(acc[0], even, acc[1]), _mm512_permutex2var_ps(acc[0], odd, acc[1]));
}

TSR_INLINE void narrow(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, float *out, const bool f16, const int R) {
    const uint8_t *line = w->data + (size_t)p * w->panel_bytes;
    __m512 acc[ROWS][2];
    for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    int64_t l = 0;
    for (; l + 8 <= w->k; l += 8)
#pragma GCC unroll 4
        for (int i = 0; i < 8; i += 2, line += 64) {
            if (R == 1) _mm_prefetch((const char *)line + PREFETCH_BYTES, _MM_HINT_T0);
            else _mm_prefetch((const char *)line + PREFETCH_BYTES, _MM_HINT_T1);
            add_line(line, x + l + i, ldx, acc, f16, R);
        }
    for (; l < w->k; l += 2, line += 64) {
        float last[ROWS * 2]; /* where k is odd, the other weight of the line is zero */
        for (int r = 0; r < R; r++) {
            last[2 * r] = x[r * ldx + l];
            last[2 * r + 1] = l + 1 < w->k ? x[r * ldx + l + 1] : 0.0f;
        }
        add_line(line, last, 2, acc, f16, R);
    }
    for (int r = 0; r < R; r++) _mm512_storeu_ps(out + r * TSR_PANEL, columns(acc[r], f16));
}

/* out[R][16] = R rows of x times a panel [k][16]; even and odd k have sums of their own, so that additions wait less. */
TSR_INLINE void narrow_f32(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, float *out, const int R) {
    const float *b = (const float *)(const void *)(w->data + (size_t)p * w->panel_bytes);
    __m512 acc[ROWS][2];
    for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    int64_t l = 0;
    for (; l + 2 <= w->k; l += 2, b += 2 * TSR_PANEL) {
        __m512 w0 = _mm512_loadu_ps(b), w1 = _mm512_loadu_ps(b + TSR_PANEL);
        _mm_prefetch((const char *)b + PREFETCH_BYTES, _MM_HINT_T1);
        _mm_prefetch((const char *)b + PREFETCH_BYTES + 64, _MM_HINT_T1);
        for (int r = 0; r < R; r++) {
            acc[r][0] = _mm512_fmadd_ps(w0, _mm512_set1_ps(x[r * ldx + l]), acc[r][0]);
            acc[r][1] = _mm512_fmadd_ps(w1, _mm512_set1_ps(x[r * ldx + l + 1]), acc[r][1]);
        }
    }
    for (int r = 0; r < R; r++) {
        if (l < w->k) acc[r][0] = _mm512_fmadd_ps(_mm512_loadu_ps(b), _mm512_set1_ps(x[r * ldx + l]), acc[r][0]);
        _mm512_storeu_ps(out + r * TSR_PANEL, _mm512_add_ps(acc[r][0], acc[r][1]));
    }
}

TSR_INLINE void narrow_of(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, float *out, const tsr_type type, const int R) {
    if (type == TSR_F32) narrow_f32(w, p, x, ldx, out, R);
    else narrow(w, p, x, ldx, out, type == TSR_F16, R);
}

TSR_INLINE void narrow_part(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, int rows, float *out, const tsr_type type) {
    switch (rows) {
    case 1: narrow_of(w, p, x, ldx, out, type, 1); break;
    case 2: narrow_of(w, p, x, ldx, out, type, 2); break;
    case 3: narrow_of(w, p, x, ldx, out, type, 3); break;
    case 4: narrow_of(w, p, x, ldx, out, type, 4); break;
    case 5: narrow_of(w, p, x, ldx, out, type, 5); break;
    case 6: narrow_of(w, p, x, ldx, out, type, 6); break;
    case 7: narrow_of(w, p, x, ldx, out, type, 7); break;
    default: narrow_of(w, p, x, ldx, out, type, 8); break;
    }
}

/* More than 8 rows: in two halves, the second of which finds the panel in a cache. */
TSR_INLINE void narrow_rows(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, int rows, float *out, const tsr_type type) {
    int first = rows <= ROWS ? rows : (rows + 1) / 2;
    narrow_part(w, p, x, ldx, first, out, type);
    if (rows > first) narrow_part(w, p, x + first * ldx, ldx, rows - first, out + first * TSR_PANEL, type);
}

static void narrow_F16__avx512(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, int rows, float *out) {
    narrow_rows(w, p, x, ldx, rows, out, TSR_F16);
}

static void narrow_BF16__avx512(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, int rows, float *out) {
    narrow_rows(w, p, x, ldx, rows, out, TSR_BF16);
}

static void narrow_F32__avx512(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, int rows, float *out) {
    narrow_rows(w, p, x, ldx, rows, out, TSR_F32);
}

void tsr_kernels_fill_narrow16_avx512(tsr_kernels *k) {
    k->packed_narrow_f32[TSR_F16] = narrow_F16__avx512;
    k->packed_narrow_f32[TSR_BF16] = narrow_BF16__avx512;
    k->packed_narrow_f32[TSR_F32] = narrow_F32__avx512;
    k->packed_narrow_f32_name = "packed_narrow_f32_8x16__avx512";
}
