/* packed_ymm.h: templates for products of packed weights with 8-bit activations in 256-bit registers: narrow ones, which unpack as they go, and wide ones,
 * which unpack a strip once for all rows. packed_avx2.c and packed_avxvnni.c bring their dot product (dot_group) and include this.
 *
 * Sixteen registers hold the sums of a tile of 4 rows x 16 columns, one vector of codes, and four activations of a row, broadcast. Per group
 * of 32 (or 16) k the int32 sums become floats: += sums * (weight scale * activation scale) (+ min * sum of activations); those totals
 * live in memory (L1). */
#include "kernels/act8.h"
#include "kernels/kernels.h"

enum { LANES = TSR_ACT8_GROUP, STRIP_PANELS = 2, TILE_ROWS = 4, BLOCK_CODES = TSR_QUADS * 64 };

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
    return (stream){a->entries,
                    a->block + g * a->entries,
                    a->codes + base * TSR_BLOCK_K,
                    a->scale + base,
                    a->start + 2 * base,
                    a->sum + 2 * base};
}

/* total[T][2] += lanes [row, row + T) of the R of entry e times group g of a block, whose scale and min [2] are given. */
TSR_INLINE void add_group(__m256 total[][HALVES], const code_block *q, const stream *a, int64_t e, int row, const int g,
                          const __m256 scale[HALVES], const __m256 min[HALVES], const format f, const bool packed, const int R, const int T) {
    __m256i acc[TILE_ROWS][HALVES];
    const int64_t lane = (2 * e + g) * R + row;
    code_block here = *q;
    __asm__("" : "+r"(here.codes)); /* one pointer, where GCC 12 would keep one for each vector */
    dot_group(acc, &here, g, a->codes + ((e * TSR_QUADS + 4 * g) * R + row) * 4, a->start + lane, f, packed, R, T);
    for (int r = 0; r < T; r++) {
        __m256 d = _mm256_broadcast_ss(a->scale + e * R + row + r), sum = f.has_min ? _mm256_broadcast_ss(a->sum + lane + r) : d;
        for (int h = 0; h < HALVES; h++) {
            __m256 more = _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[r][h]), _mm256_mul_ps(scale[h], d), total[r][h]);
            total[r][h] = f.has_min ? _mm256_fmadd_ps(min[h], sum, more) : more;
        }
    }
}

/* total[R][2] += entry e of R lanes times group g of a block. */
TSR_INLINE void add_lanes(__m256 total[][HALVES], const code_block *q, const stream *a, int64_t e, const int g, const __m256 scale[HALVES],
                          const __m256 min[HALVES], const format f, const bool packed, const int R) {
    const int T = R == 6 ? 3 : R < TILE_ROWS ? R : TILE_ROWS;
    for (int row = 0; row < R; row += T) add_group(total + row, q, a, e, row, g, scale, min, f, packed, R, T);
}

/* ----------------------------------------------------------------------------------------------- narrow */

TSR_INLINE void unpack_codes(const code_block *q, uint8_t *codes, const format f) {
#pragma GCC unroll 8
    for (int v = 0; v < TSR_QUADS; v++)
        for (int h = 0; h < HALVES; h++) _mm256_storeu_si256((__m256i *)(void *)(codes + 64 * v + 32 * h), fetch_half(q, v, h, f, true));
}

/* out[R][16] = the R lanes of a stream times the panel. */
TSR_INLINE void narrow(const tsr_packed *w, int64_t p, const stream *a, float *out, const format f, const int R) {
    uint8_t codes[BLOCK_CODES] __attribute__((aligned(64)));
    const bool packed = R <= TILE_ROWS; /* codes go straight to the only tile */
    code_block q = {codes, w, w->data + (size_t)p * w->panel_bytes, 0, load_table(w, f)};
    __m256 total[LANES][HALVES];
    for (int r = 0; r < R; r++) total[r][0] = total[r][1] = _mm256_setzero_ps();
    for (int64_t e = 0; e < a->entries; e++) {
        q.b = a->block[e];
        if (!packed) unpack_codes(&q, codes, f);
        for (int g = 0; g < (f.halves ? 2 : 1); g++) {
            __m256 scale[HALVES], min[HALVES] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
            for (int h = 0; h < HALVES; h++) scale[h] = unpack_scale(w, q.panel, q.b, g, h, f, &min[h]);
            add_lanes(total, &q, a, e, g, scale, min, f, packed, R);
        }
    }
    for (int r = 0; r < R; r++)
        for (int h = 0; h < HALVES; h++) _mm256_storeu_ps(out + r * TSR_PANEL + 8 * h, total[r][h]);
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
    code_block q = {NULL, w, w->data + (size_t)p * w->panel_bytes, 0, load_table(w, f)};
    const int groups = f.halves ? 2 : 1;
    for (q.b = 0; q.b < w->k / TSR_BLOCK_K; q.b++) {
        unpack_codes(&q, codes + q.b * BLOCK_CODES, f);
        for (int g = 0; g < groups; g++)
            for (int h = 0; h < HALVES; h++) {
                __m256 m = _mm256_setzero_ps();
                int64_t at = (q.b * groups + g) * TSR_PANEL + 8 * h;
                _mm256_storeu_ps(scale + at, unpack_scale(w, q.panel, q.b, g, h, f, &m));
                if (f.has_min) _mm256_storeu_ps(min + at, m);
            }
    }
}

/* ------------------------------------------------------------------------------------------------- wide */

/* total[R][2] += entry e of R lanes times panel p of a strip. */
TSR_INLINE void gemm_panel(const tsr_strip8 *s, const int p, const stream *a, int64_t e, __m256 total[][HALVES], const format f, const int R) {
    const int groups = f.halves ? 2 : 1;
    const int64_t b = a->block[e];
    const code_block q = {.codes = s->codes[p] + b * BLOCK_CODES};
    for (int g = 0; g < groups; g++) {
        const int64_t at = (b * groups + g) * TSR_PANEL;
        __m256 scale[HALVES], min[HALVES];
        for (int h = 0; h < HALVES; h++) {
            scale[h] = _mm256_load_ps(s->scale[p] + at + 8 * h);
            min[h] = f.has_min ? _mm256_load_ps(s->min[p] + at + 8 * h) : _mm256_setzero_ps();
        }
        add_lanes(total, &q, a, e, g, scale, min, f, false, R);
    }
}

/* `rows` of R lanes times two unpacked panels. */
TSR_INLINE void gemm(const tsr_strip8 *s, const stream *a, int rows, float *y, int64_t ldy, const format f, const int R) {
    __m256 total[STRIP_PANELS][LANES][HALVES];
    const int panels = s->columns > TSR_PANEL ? 2 : 1;
    for (int p = 0; p < STRIP_PANELS; p++)
        for (int r = 0; r < R; r++) total[p][r][0] = total[p][r][1] = _mm256_setzero_ps();
    for (int64_t e = 0; e < a->entries; e++)
        for (int p = 0; p < panels; p++) gemm_panel(s, p, a, e, total[p], f, R);
    for (int r = 0; r < rows; r++) { /* not a lane of padding */
        memcpy(y + r * ldy, total[0][r], sizeof *y * (size_t)(panels == 1 ? s->columns : TSR_PANEL));
        if (panels == 2) memcpy(y + r * ldy + TSR_PANEL, total[1][r], sizeof *y * (size_t)(s->columns - TSR_PANEL));
    }
}

TSR_INLINE void gemm_rows(const tsr_strip8 *s, const tsr_act8 *a, float *y, int64_t ldy, const format f) {
    for (int64_t g = 0; g * LANES < a->rows; g++, y += LANES * ldy) {
        stream x = group_stream(a, g);
        int rows = tsr_act8_group_rows(a, g);
        switch (tsr_act8_lanes(a, g)) {
        case 1: gemm(s, &x, rows, y, ldy, f, 1); break;
        case 2: gemm(s, &x, rows, y, ldy, f, 2); break;
        case 4: gemm(s, &x, rows, y, ldy, f, 4); break;
        case 6: gemm(s, &x, rows, y, ldy, f, 6); break;
        default: gemm(s, &x, rows, y, ldy, f, 8); break;
        }
    }
}
