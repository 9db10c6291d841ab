/* packed_avx512.c: products of packed weights with 8-bit activations (AVX-512 VNNI): narrow ones, which unpack in registers, and wide
 * ones, which unpack a strip once for all rows. Compiled with this ISA's flags only.
 *
 * A vector holds 4 k of 16 columns; vpdpbusd multiplies it with 4 activations of a row, broadcast. Per group of 32 (or 16) k the int32
 * sums become floats: += sums * (weight scale * activation scale) (+ min * sum of activations). */
#include "kernels/act8.h"
#include "kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { LANES = TSR_ACT8_GROUP, STRIP_PANELS = 2 };

/* The constants of a layout; every use is inlined with literal values. */
typedef struct format {
    int code_bits, high_bits;
    bool table, has_min, halves; /* halves: groups of 16 k */
    tsr_scales scales;
} format;

/* --------------------------------------------------------------------------------------------- unpacking */

/* Vector v (0..7) of block b: 64 unsigned codes. */
INLINE __m512i unpack_vector(const tsr_packed *w, const uint8_t *panel, int64_t b, const int v, const format f, __m512i table) {
    const __m512i nibble = _mm512_set1_epi8(15), crumb = _mm512_set1_epi8(3);
    __m512i q;
    if (f.code_bits == 8) return _mm512_loadu_si512(panel + b * 512 + v * 64);
    if (f.code_bits == 4) {
        q = _mm512_loadu_si512(panel + b * 256 + v / 2 * 64);
        q = _mm512_and_si512(v % 2 ? _mm512_srli_epi16(q, 4) : q, nibble);
    } else {
        q = _mm512_loadu_si512(panel + b * 128 + v / 4 * 64);
        q = _mm512_and_si512(_mm512_srli_epi16(q, 2 * (v % 4)), crumb);
    }
    if (f.high_bits == 1) {
        uint64_t bits;
        memcpy(&bits, panel + w->high_offset + b * 64 + v * 8, sizeof bits);
        q = _mm512_mask_add_epi8(q, _cvtu64_mask64(bits), q, _mm512_set1_epi8((char)(1 << f.code_bits)));
    }
    if (f.high_bits == 2) {
        __m512i h = _mm512_loadu_si512(panel + w->high_offset + b * 128 + v / 4 * 64);
        h = _mm512_and_si512(_mm512_srli_epi16(h, 2 * (v % 4)), crumb);
        q = _mm512_or_si512(q, _mm512_slli_epi16(h, 4));
    }
    return f.table ? _mm512_shuffle_epi8(table, q) : q;
}

INLINE __m512 half16(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)); }

INLINE __m512i byte16(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)); }

/* Scale (and min) of group g (0, 1) of block b, 16 columns. */
INLINE __m512 unpack_scale(const tsr_packed *w, const uint8_t *panel, int64_t b, const int g, const format f, __m512 *min) {
    const uint8_t *s = panel + w->scales_offset;
    if (f.scales == TSR_SCALES_F16) return half16(s + b * 32);
    if (f.scales == TSR_SCALES_F16_MIN) {
        *min = half16(s + b * 64 + 32);
        return half16(s + b * 64);
    }
    if (f.scales == TSR_SCALES_E8M0) { /* 2^(e - 128); the two denormal ones are zero to every kernel */
        __m512i e = _mm512_subs_epu16(byte16(s + b * 16), _mm512_set1_epi32(1));
        return _mm512_castsi512_ps(_mm512_slli_epi32(e, 23));
    }
    int64_t unit = b / 8, j = b % 8;
    if (f.scales == TSR_SCALES_K32) {
        s += unit * 160;
        return _mm512_mul_ps(half16(s + 128), _mm512_cvtepi32_ps(_mm512_sub_epi32(byte16(s + j * 16), _mm512_set1_epi32(32))));
    }
    if (f.scales == TSR_SCALES_K32_MIN) {
        s += unit * 320;
        *min = _mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(half16(s + 288), _mm512_cvtepi32_ps(byte16(s + 128 + j * 16))));
        return _mm512_mul_ps(half16(s + 256), _mm512_cvtepi32_ps(byte16(s + j * 16)));
    }
    int64_t group = 2 * j + g;
    if (f.scales == TSR_SCALES_K16) {
        s += unit * 288;
        __m512i code = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(s + group * 16)));
        return _mm512_mul_ps(half16(s + 256), _mm512_cvtepi32_ps(code));
    }
    s += unit * 320; /* K16_MIN */
    __m512i code = byte16(s + group * 16);
    __m512 dmin = _mm512_mul_ps(half16(s + 288), _mm512_cvtepi32_ps(_mm512_srli_epi32(code, 4)));
    *min = _mm512_sub_ps(_mm512_setzero_ps(), dmin);
    return _mm512_mul_ps(half16(s + 256), _mm512_cvtepi32_ps(_mm512_and_si512(code, _mm512_set1_epi32(15))));
}

INLINE __m512i load_table(const tsr_packed *w, const format f) {
    return f.table ? _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)w->layout->table)) : _mm512_setzero_si512();
}

/* acc[16] += 4 products each. GCC 12 copies the accumulators around the intrinsic; this keeps them where they are. */
INLINE void dot4(__m512i *acc, __m512i u8, __m512i s8) { __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(u8), "v"(s8)); }

INLINE __m512i quad(const int8_t *codes) {
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
    return (stream){a->entries, a->block, a->codes + base * TSR_BLOCK_K, a->scale + base, a->start + 2 * base, a->sum + 2 * base};
}

/* out[R][16] = the R lanes of a stream times the panel. */
INLINE void narrow(const tsr_packed *w, int64_t p, const stream *a, float *out, const format f, const int R) {
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
INLINE void narrow_group(const tsr_packed *w, int64_t p, const tsr_act8 *a, int64_t g, float *out, const format f) {
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

INLINE void narrow_rows(const tsr_packed *w, int64_t p, const tsr_act8 *a, float *out, const format f) {
    for (int64_t g = 0; g * LANES < a->rows; g++) narrow_group(w, p, a, g, out + g * LANES * TSR_PANEL, f);
}

/* ------------------------------------------------------------------------------------------- unpack a strip */

INLINE void unpack_panel(const tsr_packed *w, int64_t p, uint8_t *codes, float *scale, float *min, const format f) {
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
INLINE void gemm_group(const tsr_strip8 *s, const stream *a, int64_t e, __m512 total[][STRIP_PANELS], const int g, const bool has_min,
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
INLINE void gemm(const tsr_strip8 *s, const stream *a, int rows, float *y, int64_t ldy, const bool has_min, const bool halves, const int R) {
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

INLINE void gemm_rows(const tsr_strip8 *s, const tsr_act8 *a, float *y, int64_t ldy, const bool has_min, const bool halves) {
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

/* ------------------------------------------------------------------------------------------- activations */

static void act8_max__avx512(const float *x, int64_t n_blocks, float *max) {
    for (int64_t b = 0; b < n_blocks; b++, x += TSR_BLOCK_K) {
        __m512 lo = _mm512_abs_ps(_mm512_loadu_ps(x)), hi = _mm512_abs_ps(_mm512_loadu_ps(x + 16));
        max[b] = _mm512_reduce_max_ps(_mm512_max_ps(lo, hi));
    }
}

static void act8_quantize__avx512(const float *x, float inverse, float scale, int8_t *codes, int32_t sum16[2], float *residual) {
    /* natural order -> quads: of each 8 k: 0 4 1 5 2 6 3 7 */
    const __m256i order = _mm256_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15, 0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10,
                                           14, 11, 15);
    __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16), inv = _mm512_set1_ps(inverse);
    __m512i q0 = _mm512_cvtps_epi32(_mm512_mul_ps(x0, inv)), q1 = _mm512_cvtps_epi32(_mm512_mul_ps(x1, inv));
    sum16[0] = _mm512_reduce_add_epi32(q0);
    sum16[1] = _mm512_reduce_add_epi32(q1);
    if (residual) {
        __m512 d = _mm512_set1_ps(scale);
        _mm512_storeu_ps(residual, _mm512_fnmadd_ps(d, _mm512_cvtepi32_ps(q0), x0));
        _mm512_storeu_ps(residual + 16, _mm512_fnmadd_ps(d, _mm512_cvtepi32_ps(q1), x1));
    }
    __m256i bytes = _mm256_set_m128i(_mm512_cvtsepi32_epi8(q1), _mm512_cvtsepi32_epi8(q0));
    _mm256_storeu_si256((__m256i *)(void *)codes, _mm256_shuffle_epi8(bytes, order));
}

/* ---------------------------------------------------------------------------------------- one pair per layout */

/* The two functions of a layout, from its constants. */
#define LAYOUT(layout, ...)                                                                                                   \
    static void narrow_##layout##__avx512vnni(const tsr_packed *w, int64_t p, const tsr_act8 *a, float *out) {                \
        narrow_rows(w, p, a, out, (format){__VA_ARGS__});                                                                     \
    }                                                                                                                         \
    static void unpack_##layout##__avx512(const tsr_packed *w, int64_t p, uint8_t *codes, float *scale, float *min) {         \
        unpack_panel(w, p, codes, scale, min, (format){__VA_ARGS__});                                                         \
    }

/*             code high  table  min    halves scales */
LAYOUT(q4_0,   4, 0, false, false, false, TSR_SCALES_F16)
LAYOUT(q4_1,   4, 0, false, true, false, TSR_SCALES_F16_MIN)
LAYOUT(q5_0,   4, 1, false, false, false, TSR_SCALES_F16)
LAYOUT(q5_1,   4, 1, false, true, false, TSR_SCALES_F16_MIN)
LAYOUT(q8_0,   8, 0, false, false, false, TSR_SCALES_F16)
LAYOUT(q2_k,   2, 0, false, true, true, TSR_SCALES_K16_MIN)
LAYOUT(q3_k,   2, 1, false, false, true, TSR_SCALES_K16)
LAYOUT(q4_k,   4, 0, false, true, false, TSR_SCALES_K32_MIN)
LAYOUT(q5_k,   4, 1, false, true, false, TSR_SCALES_K32_MIN)
LAYOUT(q6_k,   4, 2, false, false, true, TSR_SCALES_K16)
LAYOUT(iq4_nl, 4, 0, true, false, false, TSR_SCALES_F16)
LAYOUT(iq4_xs, 4, 0, true, false, false, TSR_SCALES_K32)
LAYOUT(mxfp4,  4, 0, true, false, false, TSR_SCALES_E8M0)

void tsr_kernels_fill_packed_avx512(tsr_kernels *k) {
    k->act8_max = act8_max__avx512;
    k->act8_quantize = act8_quantize__avx512;
    k->packed_gemm = packed_gemm__avx512vnni;
    k->packed_gemm_name = "packed_gemm_u8s8_8x32__avx512vnni";
    k->packed_narrow_name = "packed_narrow_u8s8_8x16__avx512vnni";
    k->packed_narrow[TSR_Q4_0] = narrow_q4_0__avx512vnni;
    k->packed_unpack[TSR_Q4_0] = unpack_q4_0__avx512;
    k->packed_narrow[TSR_Q4_1] = narrow_q4_1__avx512vnni;
    k->packed_unpack[TSR_Q4_1] = unpack_q4_1__avx512;
    k->packed_narrow[TSR_Q5_0] = narrow_q5_0__avx512vnni;
    k->packed_unpack[TSR_Q5_0] = unpack_q5_0__avx512;
    k->packed_narrow[TSR_Q5_1] = narrow_q5_1__avx512vnni;
    k->packed_unpack[TSR_Q5_1] = unpack_q5_1__avx512;
    k->packed_narrow[TSR_Q8_0] = narrow_q8_0__avx512vnni;
    k->packed_unpack[TSR_Q8_0] = unpack_q8_0__avx512;
    k->packed_narrow[TSR_Q2_K] = narrow_q2_k__avx512vnni;
    k->packed_unpack[TSR_Q2_K] = unpack_q2_k__avx512;
    k->packed_narrow[TSR_Q3_K] = narrow_q3_k__avx512vnni;
    k->packed_unpack[TSR_Q3_K] = unpack_q3_k__avx512;
    k->packed_narrow[TSR_Q4_K] = narrow_q4_k__avx512vnni;
    k->packed_unpack[TSR_Q4_K] = unpack_q4_k__avx512;
    k->packed_narrow[TSR_Q5_K] = narrow_q5_k__avx512vnni;
    k->packed_unpack[TSR_Q5_K] = unpack_q5_k__avx512;
    k->packed_narrow[TSR_Q6_K] = narrow_q6_k__avx512vnni;
    k->packed_unpack[TSR_Q6_K] = unpack_q6_k__avx512;
    k->packed_narrow[TSR_IQ4_NL] = narrow_iq4_nl__avx512vnni;
    k->packed_unpack[TSR_IQ4_NL] = unpack_iq4_nl__avx512;
    k->packed_narrow[TSR_IQ4_XS] = narrow_iq4_xs__avx512vnni;
    k->packed_unpack[TSR_IQ4_XS] = unpack_iq4_xs__avx512;
    k->packed_narrow[TSR_MXFP4] = narrow_mxfp4__avx512vnni;
    k->packed_unpack[TSR_MXFP4] = unpack_mxfp4__avx512;
}
