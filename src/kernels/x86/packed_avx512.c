/* packed_avx512.c: products of packed weights with 8-bit activations (AVX-512 VNNI): narrow ones, which unpack in registers, and wide
 * ones, which unpack a strip once for all rows. Compiled with this ISA's flags only.
 *
 * A vector holds 4 k of 16 columns; vpdpbusd multiplies it with 4 activations of a row, broadcast. Per group of 32 (or 16) k the int32
 * sums become floats: += sums * (weight scale * activation scale) (+ min * sum of activations). */
#include "kernels/act8.h"
#include "kernels/kernels.h"
#include "kernels/x86/unpack_avx512.h"

enum { LANES = TSR_ACT8_GROUP, STRIP_PANELS = 2 };

/* acc[16] += 4 products each. GCC 12 copies the accumulators around the intrinsic; this keeps them where they are. */
TSR_INLINE void dot4(__m512i *acc, __m512i u8, __m512i s8) { __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(u8), "v"(s8)); }

TSR_INLINE __m512i quad(const int8_t *codes) {
    int32_t four;
    memcpy(&four, codes, sizeof four);
    return _mm512_set1_epi32(four);
}

/* ----------------------------------------------------------------------------------------------- narrow */

/* One group of rows, as a kernel walks it. */
typedef struct stream {
    int64_t entries;
    const int32_t *block;
    const int8_t *codes;  /* [entries][8][R][4] */
    const float *scale;   /* [entries][R] */
    const int32_t *start; /* [entries][2][R] */
    const float *sum;     /* [entries][2][R] */
} stream;

static stream group_stream(const tsr_act8 *a, int64_t g) {
    int64_t base = g * TSR_ACT8_GROUP * a->entries;
    return (stream){a->entries, a->block + g * a->entries, a->codes + base * TSR_BLOCK_K, a->scale + base, a->start + 2 * base, a->sum + 2 * base};
}

/* out[R][16] = the R lanes of a stream times the panel. */
TSR_INLINE void narrow(const tsr_packed *w, int64_t p, const stream *a, float *out, const format f, const int R) {
    const uint8_t *panel = w->data + (size_t)p * w->panel_bytes;
    const __m512i table = load_table(w, f);
    __m512 total[LANES];
    for (int r = 0; r < R; r++) total[r] = _mm512_setzero_ps();
    for (int64_t e = 0; e < a->entries; e++) {
        int64_t b = a->block[e];
        for (int g = 0; g < (f.halves ? 2 : 1); g++) {
            __m512i acc[LANES];
            for (int r = 0; r < R; r++) acc[r] = f.has_min ? _mm512_setzero_si512() : _mm512_set1_epi32(a->start[(2 * e + g) * R + r]);
            for (int v = f.halves ? 4 * g : 0; v < (f.halves ? 4 * g + 4 : 8); v++) {
                __m512i q = unpack_vector(w, panel, b, v, f, table);
                for (int r = 0; r < R; r++) dot4(&acc[r], q, quad(a->codes + ((e * TSR_QUADS + v) * R + r) * 4));
            }
            __m512 min = _mm512_setzero_ps(), scale = unpack_scale(w, panel, b, g, f, &min);
            for (int r = 0; r < R; r++) {
                __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(a->scale[e * R + r]));
                total[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[r]), both, total[r]);
                if (f.has_min) total[r] = _mm512_fmadd_ps(min, _mm512_set1_ps(a->sum[(2 * e + g) * R + r]), total[r]);
            }
        }
    }
    for (int r = 0; r < R; r++) _mm512_storeu_ps(out + r * TSR_PANEL, total[r]);
}

/* One layout, one group of up to 8 rows. */
TSR_INLINE void narrow_group(const tsr_packed *w, int64_t p, const tsr_act8 *a, int64_t g, float *out, const format f) {
    float lanes[LANES * TSR_PANEL]; /* one lane more than there are rows, perhaps */
    stream s = group_stream(a, g);
    switch (tsr_act8_lanes(a, g)) {
    case 1: narrow(w, p, &s, lanes, f, 1); break;
    case 2: narrow(w, p, &s, lanes, f, 2); break;
    case 4: narrow(w, p, &s, lanes, f, 4); break;
    case 6: narrow(w, p, &s, lanes, f, 6); break;
    default: narrow(w, p, &s, lanes, f, 8); break;
    }
    memcpy(out, lanes, (size_t)tsr_act8_group_rows(a, g) * TSR_PANEL * sizeof *out);
}

TSR_INLINE void narrow_rows(const tsr_packed *w, int64_t p, const tsr_act8 *a, float *out, const format f) {
    for (int64_t g = 0; g * LANES < a->rows; g++) narrow_group(w, p, a, g, out + g * LANES * TSR_PANEL, f);
}

/* ------------------------------------------------------------------------------------------- unpack a strip */

TSR_INLINE void unpack_panel(const tsr_packed *w, int64_t p, uint8_t *codes, float *scale, float *min, const format f) {
    const uint8_t *panel = w->data + (size_t)p * w->panel_bytes;
    const __m512i table = load_table(w, f);
    const int groups = f.halves ? 2 : 1;
    for (int64_t b = 0; b < w->k / TSR_BLOCK_K; b++) {
        for (int v = 0; v < TSR_QUADS; v++) _mm512_storeu_si512(codes + b * 512 + v * 64, unpack_vector(w, panel, b, v, f, table));
        for (int g = 0; g < groups; g++) {
            __m512 m = _mm512_setzero_ps();
            _mm512_storeu_ps(scale + (b * groups + g) * TSR_PANEL, unpack_scale(w, panel, b, g, f, &m));
            if (f.has_min) _mm512_storeu_ps(min + (b * groups + g) * TSR_PANEL, m);
        }
    }
}

/* ------------------------------------------------------------------------------------------------- wide */

/* total[R][2] += entry e of R lanes times group g of two unpacked panels. */
TSR_INLINE void gemm_group(const tsr_strip8 *s, const stream *a, int64_t e, __m512 total[][STRIP_PANELS], const int g, const bool has_min,
                       const bool halves, const int R) {
    const int64_t b = a->block[e], group = (halves ? 2 * b : b) + g;
    const uint8_t *codes0 = s->codes[0] + b * 512 + g * 256, *codes1 = s->codes[1] + b * 512 + g * 256;
    const int8_t *x = a->codes + (e * TSR_QUADS + 4 * g) * R * 4;
    __m512i acc[LANES][STRIP_PANELS];
    for (int r = 0; r < R; r++)
        acc[r][0] = acc[r][1] = has_min ? _mm512_setzero_si512() : _mm512_set1_epi32(a->start[(2 * e + g) * R + r]);
    const int vectors = halves ? 4 : 8;
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) {
        __m512i q0 = _mm512_load_si512(codes0 + v * 64), q1 = _mm512_load_si512(codes1 + v * 64);
        for (int r = 0; r < R; r++) {
            __m512i four = quad(x + (v * R + r) * 4);
            dot4(&acc[r][0], q0, four);
            dot4(&acc[r][1], q1, four);
        }
    }
    for (int p = 0; p < STRIP_PANELS; p++) {
        __m512 scale = _mm512_load_ps(s->scale[p] + group * TSR_PANEL);
        __m512 min = has_min ? _mm512_load_ps(s->min[p] + group * TSR_PANEL) : _mm512_setzero_ps();
        for (int r = 0; r < R; r++) {
            __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(a->scale[e * R + r]));
            total[r][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[r][p]), both, total[r][p]);
            if (has_min) total[r][p] = _mm512_fmadd_ps(min, _mm512_set1_ps(a->sum[(2 * e + g) * R + r]), total[r][p]);
        }
    }
}

/* `rows` of R lanes times two unpacked panels. */
TSR_INLINE void gemm(const tsr_strip8 *s, const stream *a, int rows, float *y, int64_t ldy, const bool has_min, const bool halves, const int R) {
    __m512 total[LANES][STRIP_PANELS];
    for (int r = 0; r < R; r++)
        for (int p = 0; p < STRIP_PANELS; p++) total[r][p] = _mm512_setzero_ps();
    for (int64_t e = 0; e < a->entries; e++) {
        gemm_group(s, a, e, total, 0, has_min, halves, R);
        if (halves) gemm_group(s, a, e, total, 1, has_min, halves, R);
    }
    const __mmask16 mask0 = (__mmask16)(s->columns >= 16 ? 0xffff : (1u << s->columns) - 1u);
    const __mmask16 mask1 = (__mmask16)(s->columns >= 32 ? 0xffff : s->columns > 16 ? (1u << (s->columns - 16)) - 1u : 0u);
    for (int r = 0; r < R; r++) {
        if (r >= rows) break; /* a lane of padding */
        _mm512_mask_storeu_ps(y + r * ldy, mask0, total[r][0]);
        _mm512_mask_storeu_ps(y + r * ldy + 16, mask1, total[r][1]);
    }
}

TSR_INLINE void gemm_rows(const tsr_strip8 *s, const tsr_act8 *a, float *y, int64_t ldy, const bool has_min, const bool halves) {
    for (int64_t g = 0; g * LANES < a->rows; g++, y += LANES * ldy) {
        stream x = group_stream(a, g);
        int rows = tsr_act8_group_rows(a, g);
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

/* ---------------------------------------------------------------------------------------- one pair per layout */

#define DEFINE(TYPE, ...)                                                                                                \
    static void narrow_##TYPE##__avx512vnni(const tsr_packed *w, int64_t p, const tsr_act8 *a, float *out) {             \
        narrow_rows(w, p, a, out, (format){__VA_ARGS__});                                                                \
    }                                                                                                                    \
    static void unpack_##TYPE##__avx512(const tsr_packed *w, int64_t p, uint8_t *codes, float *scale, float *min) {      \
        unpack_panel(w, p, codes, scale, min, (format){__VA_ARGS__});                                                    \
    }
TSR_FORMATS(DEFINE)

#define FILL(TYPE, ...)                                         \
    k->packed_narrow[TSR_##TYPE] = narrow_##TYPE##__avx512vnni; \
    k->packed_unpack[TSR_##TYPE] = unpack_##TYPE##__avx512;

void tsr_kernels_fill_packed_avx512(tsr_kernels *k) {
    k->packed_gemm = packed_gemm__avx512vnni;
    k->packed_gemm_name = "packed_gemm_u8s8_8x32__avx512vnni";
    k->packed_narrow_name = "packed_narrow_u8s8_8x16__avx512vnni";
    TSR_FORMATS(FILL)
}
