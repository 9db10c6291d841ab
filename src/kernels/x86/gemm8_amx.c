/* gemm8_amx.c: an unpacked strip of weights (tsr_strip8) times rows of 8-bit activations on int8 tiles, for the row counts between those of the
 * narrow products and those that are worth unpacking to 16 bits. Compiled with these ISAs' flags only.
 *
 *   A  weights [16 columns][32 k] unsigned bytes: a block of a panel, transposed once per strip, in place
 *   B  activations [8 quads of k][8 lanes][4] signed bytes: an entry of a group of rows as act8.h has it
 *   C  [16 columns][8 lanes] int32, of one entry (where weight scales are per 16: of half an entry)
 *
 * A product of tiles takes 16 cycles for 16 x 8 x 32 products, in which vector units turn the C of two entries before into floats: += C * (weight
 * scale * activation scale) (+ min * sum of activations). Sums are integers and exact, as in gemm8_avx512.c. */
#ifndef TSR_AMX_TILE_HEADER
#define TSR_AMX_TILE_HEADER "kernels/x86/amx_tile.h"
#endif
#include TSR_AMX_TILE_HEADER

#include "kernels/x86/dot_avx512.h"
#include "kernels/kernels.h"

enum { LANES = TSR_ACT8_GROUP, PANELS = 2, PAIRS = TSR_PANEL / 2, BEHIND = 2, RING = 4, ROW = TSR_BLOCK_K };

/* Tiles 0, 1: C of the panels; 2, 3: A; 4: B. */
enum { C0, C1, A0, A1, B };

static const tile_config whole_blocks = {.palette = 1, .row_bytes = {32, 32, 32, 32, 32}, .rows = {16, 16, 16, 16, 8}};
static const tile_config half_blocks = {.palette = 1, .row_bytes = {32, 32, 16, 16, 32}, .rows = {16, 16, 16, 16, 4}};

typedef int32_t dots[PANELS][TSR_PANEL][LANES];

/* [8 quads][16 columns] dwords of a block to [16 columns][8 quads]: three rounds of 8 two-source permutations. */
TSR_INLINE void transpose_block(uint8_t *block) {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    __m512i in[TSR_QUADS], out[TSR_QUADS];
    for (int v = 0; v < TSR_QUADS; v++) in[v] = _mm512_load_si512(block + 64 * v);
    /* a round interleaves the first half of the list with the second: after three, dwords are in the order of columns, then quads */
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < TSR_QUADS / 2; i++) {
            out[2 * i] = _mm512_permutex2var_epi32(in[i], low, in[i + TSR_QUADS / 2]);
            out[2 * i + 1] = _mm512_permutex2var_epi32(in[i], high, in[i + TSR_QUADS / 2]);
        }
        for (int v = 0; v < TSR_QUADS; v++) in[v] = out[v];
    }
    for (int v = 0; v < TSR_QUADS; v++) _mm512_store_si512(block + 64 * v, in[v]);
}

/* R numbers for the lanes of both columns of a vector; lanes that do not exist get 0. */
TSR_INLINE __m512i lanes_twice(const void *numbers, const int R) {
    __m256i x = _mm256_maskz_loadu_epi32((__mmask8)((1u << R) - 1u), numbers);
    return _mm512_inserti64x4(_mm512_castsi256_si512(x), x, 1);
}

/* total [2][8] vectors of two columns += what group g of entry e gives. */
TSR_INLINE void add_dots(const tsr_strip8 *s, const act8_stream *a, int64_t e, const int g, const dots c, __m512 total[][PAIRS], const bool has_min,
                         const bool halves, const int R) {
    const int64_t group = (halves ? 2 : 1) * (int64_t)a->block[e] + g;
    const __m512 x = _mm512_castsi512_ps(lanes_twice(a->scale + e * R, R));
    const __m512i start = has_min ? _mm512_setzero_si512() : lanes_twice(a->start + (2 * e + g) * R, R);
    const __m512 sum = has_min ? _mm512_castsi512_ps(lanes_twice(a->sum + (2 * e + g) * R, R)) : _mm512_setzero_ps();
    for (int p = 0; p < PANELS; p++) {
        const __m512 scale = _mm512_load_ps(s->scale[p] + group * TSR_PANEL);
        const __m512 min = has_min ? _mm512_load_ps(s->min[p] + group * TSR_PANEL) : _mm512_setzero_ps();
        __m512i columns = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
#pragma GCC unroll 8
        for (int i = 0; i < PAIRS; i++) {
            __m512i dot = _mm512_add_epi32(_mm512_load_si512(c[p][2 * i]), start);
            __m512 both = _mm512_mul_ps(_mm512_permutexvar_ps(columns, scale), x);
            total[p][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), both, total[p][i]);
            if (has_min) total[p][i] = _mm512_fmadd_ps(_mm512_permutexvar_ps(columns, min), sum, total[p][i]);
            columns = _mm512_add_epi32(columns, _mm512_set1_epi32(2));
        }
    }
}

/* c = group g of entry e times both panels. */
TSR_INLINE void dot_entry(const tsr_strip8 *s, const act8_stream *a, int64_t e, const int g, dots c, const int R) {
    const int64_t at = (int64_t)a->block[e] * 512 + g * (ROW / 2);
    tile_load_rows(B, a->codes + (e * TSR_QUADS + 4 * g) * R * 4, R * 4);
    tile_load_rows(A0, s->codes[0] + at, ROW);
    tile_zero(C0);
    tile_dot_u8s8(C0, A0, B);
    tile_load_rows(A1, s->codes[1] + at, ROW);
    tile_zero(C1);
    tile_dot_u8s8(C1, A1, B);
    tile_store_rows(C0, c[0], LANES * 4);
    tile_store_rows(C1, c[1], LANES * 4);
}

/* `rows` of R lanes times a strip. Rows of B are R lanes apart, but 8 wide: what follows an entry is read too, and its lanes are not used;
 * every group has the memory of 8 lanes. */
TSR_INLINE void gemm(const tsr_strip8 *s, const act8_stream *a, int rows, float *y, int64_t ldy, const bool has_min, const bool halves, const int R) {
    dots ring[RING] __attribute__((aligned(64)));
    float sums[PANELS][TSR_PANEL][LANES] __attribute__((aligned(64)));
    __m512 total[PANELS][PAIRS];
    const int groups = halves ? 2 : 1;
    const int64_t steps = a->entries * groups;
    for (int p = 0; p < PANELS; p++)
        for (int i = 0; i < PAIRS; i++) total[p][i] = _mm512_setzero_ps();
    for (int64_t i = 0; i < steps + BEHIND; i++) {
        if (i < steps) dot_entry(s, a, i / groups, (int)(i % groups), ring[i % RING], R);
        if (i >= BEHIND) add_dots(s, a, (i - BEHIND) / groups, (int)((i - BEHIND) % groups), ring[(i - BEHIND) % RING], total, has_min, halves, R);
    }
    for (int p = 0; p < PANELS; p++)
        for (int i = 0; i < PAIRS; i++) _mm512_store_ps(sums[p][2 * i], total[p][i]);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < s->columns; c++) y[r * ldy + c] = sums[c / TSR_PANEL][c % TSR_PANEL][r];
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

static void packed_gemm__amx(const tsr_strip8 *s, const tsr_act8 *a, float *y, int64_t ldy) {
    for (int p = 0; p < PANELS; p++)
        for (int64_t b = 0; b < s->blocks; b++) transpose_block(s->codes[p] + b * 512);
    tile_configure(s->halves ? &half_blocks : &whole_blocks);
    if (s->halves) {
        if (s->has_min) gemm_rows(s, a, y, ldy, true, true);
        else gemm_rows(s, a, y, ldy, false, true);
    } else {
        if (s->has_min) gemm_rows(s, a, y, ldy, true, false);
        else gemm_rows(s, a, y, ldy, false, false);
    }
    tile_release();
}

void tsr_kernels_fill_gemm8_amx(tsr_kernels *k) {
    k->packed_gemm = packed_gemm__amx;
    k->gemm_changes_strip = true;
    k->packed_gemm_name = "packed_gemm_u8s8_8x32__amx";
}
