/* gemm8_avx512.c: an unpacked strip of weights (tsr_strip8) times many rows of 8-bit activations (AVX-512 VNNI). Compiled with this ISA's
 * flags only.
 *
 * A tile is 8 rows x 32 columns. A vector holds 4 k of 16 columns; vpdpbusd multiplies it with 4 activations of a row, broadcast. The 16
 * accumulators of int32 are what registers are for; the f32 totals, which each entry adds to once, stay in the L1 cache. Multiplications and
 * conversions share the ports of vpdpbusd, so they are what there is to save:
 *   a pair of entries (act8.h) is converted once: the first sum is shifted to the scale of the second
 *   where weight scales are per 16, both halves are multiplied with theirs, and their sum once with the scale of the activations */
#include "kernels/act8.h"
#include "kernels/kernels.h"
#include "kernels/x86/dot_avx512.h"

enum { LANES = TSR_ACT8_GROUP, PANELS = 2 };

typedef struct tile {
    const tsr_strip8 *s;
    const act8_stream *a;
    float (*total)[PANELS][TSR_PANEL]; /* [R] */
} tile;

/* acc[R][2] += vectors [first, first + n) of block b times those of entry e. */
TSR_INLINE void dot_vectors(const tile *t, int64_t e, int64_t b, const int first, const int n, __m512i acc[][PANELS], const int R) {
    const uint8_t *codes0 = t->s->codes[0] + b * 512 + first * 64, *codes1 = t->s->codes[1] + b * 512 + first * 64;
    const int8_t *x = t->a->codes + (e * TSR_QUADS + first) * R * 4;
#pragma GCC unroll 8
    for (int v = 0; v < n; v++) {
        __m512i q0 = _mm512_load_si512(codes0 + v * 64), q1 = _mm512_load_si512(codes1 + v * 64);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            __m512i four = quad(x + (v * R + r) * 4);
            dot4(&acc[r][0], q0, four);
            dot4(&acc[r][1], q1, four);
        }
    }
}

/* acc[R][2] = entry e (pair: and e + 1, to the scale of which the sum of e is shifted) times group g of block b. */
TSR_INLINE void dot_group(const tile *t, int64_t e, int64_t b, const int g, __m512i acc[][PANELS], const bool pair, const bool has_min,
                          const bool halves, const int R) {
    const int first = 4 * g, n = halves ? 4 : 8;
    const int32_t *start = t->a->start + (2 * e + g) * R;
    for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = has_min ? _mm512_setzero_si512() : _mm512_set1_epi32(start[r]);
    dot_vectors(t, e, b, first, n, acc, R);
    if (!pair) return;
    for (int r = 0; r < R; r++)
        for (int p = 0; p < PANELS; p++) {
            acc[r][p] = _mm512_slli_epi32(acc[r][p], TSR_ACT8_PAIR_SHIFT);
            if (!has_min) acc[r][p] = _mm512_add_epi32(acc[r][p], _mm512_set1_epi32(start[2 * R + r]));
        }
    dot_vectors(t, e + 1, b, first, n, acc, R);
}

/* total[R][2] += entry e, or the pair e and e + 1. */
TSR_INLINE void add_entry(const tile *t, int64_t e, const bool pair, const bool has_min, const bool halves, const int R) {
    const int groups = halves ? 2 : 1;
    const int64_t b = t->a->block[e], group = groups * b;
    const float *scale = t->a->scale + (pair ? e + 1 : e) * R, *sum = t->a->sum + 2 * e * R;
    float(*totals)[PANELS][TSR_PANEL] = t->total;
    __asm__("" : "+r"(totals)::"memory"); /* or the compiler keeps totals in registers, and spills accumulators */
    __m512i acc[LANES][PANELS];
    __m512 half[LANES][PANELS];
    dot_group(t, e, b, 0, acc, pair, has_min, halves, R);
    if (halves) {
        for (int p = 0; p < PANELS; p++) {
            __m512 w = _mm512_load_ps(t->s->scale[p] + group * TSR_PANEL);
            for (int r = 0; r < R; r++) half[r][p] = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[r][p]), w);
        }
        dot_group(t, e, b, 1, acc, pair, has_min, halves, R);
    }
    for (int p = 0; p < PANELS; p++) {
        const __m512 w = _mm512_load_ps(t->s->scale[p] + (group + groups - 1) * TSR_PANEL);
        __m512 min[2];
        for (int g = 0; g < groups && has_min; g++) min[g] = _mm512_load_ps(t->s->min[p] + (group + g) * TSR_PANEL);
        for (int r = 0; r < R; r++) {
            __m512 total = _mm512_load_ps(totals[r][p]), x = _mm512_set1_ps(scale[r]), dot = _mm512_cvtepi32_ps(acc[r][p]);
            total = halves ? _mm512_fmadd_ps(_mm512_fmadd_ps(dot, w, half[r][p]), x, total) : _mm512_fmadd_ps(dot, _mm512_mul_ps(w, x), total);
            for (int g = 0; g < groups && has_min; g++) total = _mm512_fmadd_ps(min[g], _mm512_set1_ps(sum[g * R + r]), total);
            _mm512_store_ps(totals[r][p], total);
        }
    }
}

/* `rows` of R lanes times a strip. */
TSR_INLINE void gemm(const tsr_strip8 *s, const act8_stream *a, int rows, float *y, int64_t ldy, const bool has_min, const bool halves, const int R) {
    float total[LANES][PANELS][TSR_PANEL] __attribute__((aligned(64)));
    tile t = {s, a, total};
    for (int r = 0; r < R; r++)
        for (int p = 0; p < PANELS; p++) _mm512_store_ps(total[r][p], _mm512_setzero_ps());
    for (int64_t e = 0; e < 2 * a->pairs; e += 2) add_entry(&t, e, true, has_min, halves, R);
    for (int64_t e = 2 * a->pairs; e < a->entries; e++) add_entry(&t, e, false, has_min, halves, R);
    const __mmask16 mask0 = (__mmask16)(s->columns >= 16 ? 0xffff : (1u << s->columns) - 1u);
    const __mmask16 mask1 = (__mmask16)(s->columns >= 32 ? 0xffff : s->columns > 16 ? (1u << (s->columns - 16)) - 1u : 0u);
    for (int r = 0; r < rows; r++) {
        _mm512_mask_storeu_ps(y + r * ldy, mask0, _mm512_load_ps(t.total[r][0]));
        _mm512_mask_storeu_ps(y + r * ldy + 16, mask1, _mm512_load_ps(t.total[r][1]));
    }
}

TSR_INLINE void gemm_rows(const tsr_strip8 *s, const tsr_act8 *a, float *y, int64_t ldy, const bool has_min, const bool halves) {
    for (int64_t g = 0; g * LANES < a->rows; g++, y += LANES * ldy) {
        const act8_stream x = group_stream(a, g);
        const int rows = tsr_act8_group_rows(a, g);
        switch (tsr_act8_lanes(a, g)) {
        case 1: gemm(s, &x, rows, y, ldy, has_min, halves, 1); break;
        case 2: gemm(s, &x, rows, y, ldy, has_min, halves, 2); break;
        case 4: gemm(s, &x, rows, y, ldy, has_min, halves, 4); break;
        case 6: gemm(s, &x, rows, y, ldy, has_min, halves, 6); break;
        default: gemm(s, &x, rows, y, ldy, has_min, halves, 8); break;
        }
    }
}

static void packed_gemm__avx512vnni(const tsr_strip8 *s, const tsr_act8 *a, float *y, int64_t ldy) {
    if (s->halves) {
        if (s->has_min) gemm_rows(s, a, y, ldy, true, true);
        else gemm_rows(s, a, y, ldy, false, true);
    } else {
        if (s->has_min) gemm_rows(s, a, y, ldy, true, false);
        else gemm_rows(s, a, y, ldy, false, false);
    }
}

void tsr_kernels_fill_gemm8_avx512(tsr_kernels *k) {
    k->packed_gemm = packed_gemm__avx512vnni;
    k->packed_gemm_name = "packed_gemm_u8s8_8x32__avx512vnni";
}
