/* wide_avx2.c: packed weights times float activations: the wide float path with f32 elements, and 16-bit weights times few rows. Compiled
 * with this ISA's flags only.
 *
 * Sixteen registers hold the sums of 6 rows x 16 columns, two registers of weights and an activation, broadcast. */
#include "kernels/kernels.h"
#include "kernels/x86/unpack_avx2.h"

enum { TILE_ROWS = 16, STEP_ROWS = 6, NARROW_ROWS = 4, BLOCK_FLOATS = TSR_BLOCK_K * TSR_PANEL, ROW_BLOCK = TILE_ROWS * TSR_BLOCK_K, RUN_BLOCKS = 4 };

/* ------------------------------------------------------------------------------------------------ activations */

static void wide_pack_rows__avx2(const float *x, int64_t ldx, int rows, int64_t k, void *tiles) {
    float *out = tiles; /* [blocks][16][32] */
    int64_t blocks = (k + TSR_BLOCK_K - 1) / TSR_BLOCK_K;
    for (int64_t b = 0; b < blocks; b++, out += ROW_BLOCK) {
        int64_t left = k - b * TSR_BLOCK_K;
        size_t bytes = (size_t)(left < TSR_BLOCK_K ? left : TSR_BLOCK_K) * sizeof *x;
        if (rows < TILE_ROWS || left < TSR_BLOCK_K) memset(out, 0, ROW_BLOCK * sizeof *out);
        for (int r = 0; r < rows; r++) memcpy(out + r * TSR_BLOCK_K, x + r * ldx + b * TSR_BLOCK_K, bytes);
    }
}

/* ---------------------------------------------------------------------------------------------------- weights */

/* Half h of line v of a block of 16-bit weights: k = 2 v and 2 v + 1, 8 columns each. */
TSR_INLINE void load_halves(const uint8_t *block, const int v, const int h, const bool f16, __m256 *even, __m256 *odd) {
    __m256i q = load32(block + 64 * v + 32 * h);
    if (!f16) {
        *even = _mm256_castsi256_ps(_mm256_slli_epi32(q, 16));
        *odd = _mm256_castsi256_ps(_mm256_and_si256(q, _mm256_set1_epi32((int)0xffff0000)));
        return;
    }
    const __m256i apart = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    q = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(q, apart), 0xd8);
    *even = _mm256_cvtph_ps(_mm256_castsi256_si128(q));
    *odd = _mm256_cvtph_ps(_mm256_extracti128_si256(q, 1));
}

/* Blocks of 16-bit weights to [blocks][32 k][16]. */
TSR_INLINE void unpack_halves(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, float *out, const bool f16) {
    const uint8_t *block = w->data + (size_t)panel * w->panel_bytes + first * 1024;
    for (int64_t line = 0; line < n * TSR_BLOCK_K / 2; line++, out += 2 * TSR_PANEL)
        for (int h = 0; h < HALVES; h++) {
            __m256 even, odd;
            load_halves(block + line * 64, 0, h, f16, &even, &odd);
            _mm256_storeu_ps(out + 8 * h, even);
            _mm256_storeu_ps(out + TSR_PANEL + 8 * h, odd);
        }
}

/* 8 codes of q8_0 values */
TSR_INLINE __m256 codes8(const int8_t *codes) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)codes)));
}

static void unpack_values8__avx2(const int8_t *codes, const uint16_t *scale, int64_t n, void *to) {
    float *out = to; /* [32 n][16] */
    for (int64_t l = 0; l < n * TSR_BLOCK_K; l++, codes += TSR_PANEL, out += TSR_PANEL) {
        __m256 d = _mm256_set1_ps(_cvtsh_ss(scale[l]));
        _mm256_storeu_ps(out, _mm256_mul_ps(d, codes8(codes)));
        _mm256_storeu_ps(out + 8, _mm256_mul_ps(d, codes8(codes + 8)));
    }
}

/* Blocks of codes to [blocks][32 k][16]. */
TSR_INLINE void unpack_codes(const tsr_packed *w, int64_t p, int64_t first, int64_t n, float *out, const format f) {
    static const int order[2][4] = {{0, 4, 1, 5}, {2, 6, 3, 7}}; /* k of byte i of vector 2 g + h, from 8 g on */
    const uint8_t *panel = w->data + (size_t)p * w->panel_bytes;
    const __m256i table = load_table(w, f), byte = _mm256_set1_epi32(255);
    for (int64_t b = first; b < first + n; b++, out += BLOCK_FLOATS)
        for (int h = 0; h < HALVES; h++) {
            __m256 scale[2], min[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
            for (int g = 0; g < (f.halves ? 2 : 1); g++) scale[g] = unpack_scale(w, panel, b, g, h, f, &min[g]);
#pragma GCC unroll 8
            for (int v = 0; v < TSR_QUADS; v++) {
                const int g = f.halves ? v / 4 : 0;
                __m256i q = unpack_half(w, panel, b, v, h, f, table);
                for (int i = 0; i < 4; i++) {
                    __m256i code = i == 3 ? _mm256_srli_epi32(q, 24) : _mm256_and_si256(_mm256_srli_epi32(q, 8 * i), byte);
                    if (!f.has_min) code = _mm256_sub_epi32(code, _mm256_set1_epi32(f.offset));
                    __m256 x = _mm256_mul_ps(scale[g], _mm256_cvtepi32_ps(code));
                    _mm256_storeu_ps(out + (v / 2 * 8 + order[v % 2][i]) * TSR_PANEL + 8 * h, f.has_min ? _mm256_add_ps(x, min[g]) : x);
                }
            }
        }
}

/* --------------------------------------------------------------------------------------------------- products */

/* c[R][16] (+)= R rows of a row tile times a panel of b. */
TSR_INLINE void multiply_rows(const float *a, const float *b, int64_t blocks, float *c, bool accumulate, const int R) {
    __m256 sum[STEP_ROWS][HALVES];
    for (int r = 0; r < R; r++)
        for (int h = 0; h < HALVES; h++) sum[r][h] = accumulate ? _mm256_loadu_ps(c + r * TSR_PANEL + 8 * h) : _mm256_setzero_ps();
    for (; blocks > 0; blocks--, a += ROW_BLOCK - TSR_BLOCK_K)
#pragma GCC unroll 4
        for (int k = 0; k < TSR_BLOCK_K; k++, a++, b += TSR_PANEL) {
            __m256 b0 = _mm256_load_ps(b), b1 = _mm256_load_ps(b + 8);
            for (int r = 0; r < R; r++) {
                __m256 x = _mm256_broadcast_ss(a + r * TSR_BLOCK_K);
                sum[r][0] = _mm256_fmadd_ps(x, b0, sum[r][0]);
                sum[r][1] = _mm256_fmadd_ps(x, b1, sum[r][1]);
            }
        }
    for (int r = 0; r < R; r++)
        for (int h = 0; h < HALVES; h++) _mm256_storeu_ps(c + r * TSR_PANEL + 8 * h, sum[r][h]);
}

/* c[rows][16] (+)= rows (1..16) of a row tile times a panel of b. */
static void multiply_tile(const float *a, int rows, const float *b, int64_t blocks, float *c, bool accumulate) {
    for (int left = rows; left > 0; left -= STEP_ROWS, a += STEP_ROWS * TSR_BLOCK_K, c += STEP_ROWS * TSR_PANEL) {
        switch (left) {
        case 1: multiply_rows(a, b, blocks, c, accumulate, 1); break;
        case 2: multiply_rows(a, b, blocks, c, accumulate, 2); break;
        case 3: multiply_rows(a, b, blocks, c, accumulate, 3); break;
        case 4: multiply_rows(a, b, blocks, c, accumulate, 4); break;
        case 5: multiply_rows(a, b, blocks, c, accumulate, 5); break;
        default: multiply_rows(a, b, blocks, c, accumulate, 6); break;
        }
    }
}

/* All rows of a job times two panels of B. */
static void multiply(const tsr_wide_job *job, const float *const b[2]) { /* of each panel [blocks][32][16] */
    for (int64_t row = 0; row < job->rows; row += TILE_ROWS) {
        const float *a = (const float *)(const void *)((const uint8_t *)job->a + (size_t)(row / TILE_ROWS) * job->a_stride);
        int rows = job->rows - row < TILE_ROWS ? (int)(job->rows - row) : TILE_ROWS;
        for (int p = 0; p < 2; p++)
            multiply_tile(a, rows, b[p], job->blocks, job->c + (2 * row + p * TILE_ROWS) * TSR_PANEL,
                          job->accumulate);
    }
}

/* ----------------------------------------------------------------------------------- 16-bit weights, few rows */

/* So many rows a step: their sums are 12 registers. */
enum { HALVES_ROWS = 3 };

/* out[R][16] = R rows of x times a panel. Even and odd k have sums of their own, so that additions wait less; with any R, so that no row depends on
 * how many there are. */
TSR_INLINE void narrow_rows(const uint8_t *lines, int64_t k, const float *x, int64_t ldx, float *out, const bool f16, const int R) {
    __m256 sum[HALVES_ROWS][HALVES][2];
    for (int r = 0; r < R; r++)
        for (int i = 0; i < 4; i++) sum[r][i / 2][i % 2] = _mm256_setzero_ps();
    for (int64_t l = 0; l < k; l += 2, lines += 64)
        for (int h = 0; h < HALVES; h++) {
            __m256 even, odd;
            load_halves(lines, 0, h, f16, &even, &odd);
            for (int r = 0; r < R; r++) sum[r][h][0] = _mm256_fmadd_ps(_mm256_broadcast_ss(x + r * ldx + l), even, sum[r][h][0]);
            if (l + 1 == k) continue;
            for (int r = 0; r < R; r++) sum[r][h][1] = _mm256_fmadd_ps(_mm256_broadcast_ss(x + r * ldx + l + 1), odd, sum[r][h][1]);
        }
    for (int r = 0; r < R; r++)
        for (int h = 0; h < HALVES; h++)
            _mm256_storeu_ps(out + r * TSR_PANEL + 8 * h, _mm256_add_ps(sum[r][h][0], sum[r][h][1]));
}

TSR_INLINE void narrow_halves(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, int rows, float *out, const bool f16) {
    const uint8_t *lines = w->data + (size_t)p * w->panel_bytes;
    for (; rows > 0; rows -= HALVES_ROWS, x += HALVES_ROWS * ldx, out += HALVES_ROWS * TSR_PANEL) {
        switch (rows) {
        case 1: narrow_rows(lines, w->k, x, ldx, out, f16, 1); break;
        case 2: narrow_rows(lines, w->k, x, ldx, out, f16, 2); break;
        default: narrow_rows(lines, w->k, x, ldx, out, f16, 3); break;
        }
    }
}

/* out[R][16] = R rows of x times a panel [k][16]. */
TSR_INLINE void narrow_rows_f32(const float *b, int64_t k, const float *x, int64_t ldx, float *out, const int R) {
    __m256 sum[NARROW_ROWS][HALVES];
    for (int r = 0; r < R; r++) sum[r][0] = sum[r][1] = _mm256_setzero_ps();
    for (int64_t l = 0; l < k; l++, b += TSR_PANEL)
        for (int r = 0; r < R; r++) {
            __m256 a = _mm256_broadcast_ss(x + r * ldx + l);
            sum[r][0] = _mm256_fmadd_ps(a, _mm256_loadu_ps(b), sum[r][0]);
            sum[r][1] = _mm256_fmadd_ps(a, _mm256_loadu_ps(b + 8), sum[r][1]);
        }
    for (int r = 0; r < R; r++)
        for (int h = 0; h < HALVES; h++) _mm256_storeu_ps(out + r * TSR_PANEL + 8 * h, sum[r][h]);
}

static void packed_narrow_F32__avx2(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, int rows, float *out) {
    const float *b = (const float *)(const void *)(w->data + (size_t)p * w->panel_bytes);
    for (; rows > 0; rows -= NARROW_ROWS, x += NARROW_ROWS * ldx, out += NARROW_ROWS * TSR_PANEL) {
        switch (rows) {
        case 1: narrow_rows_f32(b, w->k, x, ldx, out, 1); break;
        case 2: narrow_rows_f32(b, w->k, x, ldx, out, 2); break;
        case 3: narrow_rows_f32(b, w->k, x, ldx, out, 3); break;
        default: narrow_rows_f32(b, w->k, x, ldx, out, 4); break;
        }
    }
}

static void packed_narrow_f16__avx2(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, int rows, float *out) {
    narrow_halves(w, p, x, ldx, rows, out, true);
}

static void packed_narrow_bf16__avx2(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, int rows, float *out) {
    narrow_halves(w, p, x, ldx, rows, out, false);
}

/* ---------------------------------------------------------------------------------------- one pair per layout */

static void wide_unpack_F16__avx2(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *out) {
    unpack_halves(w, panel, first, n, out, true);
}

static void wide_unpack_BF16__avx2(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *out) {
    unpack_halves(w, panel, first, n, out, false);
}

static void wide_unpack_F32__avx2(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *out) {
    const float *from = (const float *)(const void *)(w->data + (size_t)panel * w->panel_bytes) + first * BLOCK_FLOATS;
    memcpy(out, from, (size_t)(n * BLOCK_FLOATS) * sizeof *from);
}

/* From where they are. */
static void wide_strip_F32__avx2(const tsr_wide_job *job) {
    const float *const b[2] = {(const float *)(const void *)(job->w->data + (size_t)job->panel[0] * job->w->panel_bytes) + job->block * BLOCK_FLOATS,
                               (const float *)(const void *)(job->w->data + (size_t)job->panel[1] * job->w->panel_bytes) + job->block * BLOCK_FLOATS};
    multiply(job, b);
}

#define DEFINE_UNPACK(TYPE, ...)                                                                                         \
    static void wide_unpack_##TYPE##__avx2(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *out) {    \
        unpack_codes(w, panel, first, n, out, (format){__VA_ARGS__});                                                    \
    }
TSR_FORMATS(DEFINE_UNPACK)

#define DEFINE_STRIP(TYPE, ...)                                                                              \
    static void wide_strip_##TYPE##__avx2(const tsr_wide_job *job) {                                         \
        float *b0 = job->b, *b1 = b0 + job->blocks * BLOCK_FLOATS;                                           \
        const float *const b[2] = {b0, b1};                                                                  \
        wide_unpack_##TYPE##__avx2(job->w, job->panel[0], job->block, job->blocks, b0);                      \
        wide_unpack_##TYPE##__avx2(job->w, job->panel[1], job->block, job->blocks, b1);                      \
        multiply(job, b);                                                                                    \
    }
TSR_FORMATS(DEFINE_STRIP)
DEFINE_STRIP(F16)
DEFINE_STRIP(BF16)

#define UNPACK(TYPE, ...) [TSR_##TYPE] = wide_unpack_##TYPE##__avx2,
#define STRIP(TYPE, ...) [TSR_##TYPE] = wide_strip_##TYPE##__avx2,

static const tsr_wide wide_f32 = {
    .name = "wide_f32_6x16__avx2",
    .elem = TSR_F32,
    .elem_bytes = sizeof(float),
    .run_blocks = RUN_BLOCKS,
    .pack_rows = wide_pack_rows__avx2,
    .unpack_values8 = unpack_values8__avx2,
    .unpack = {TSR_FORMATS(UNPACK) UNPACK(F16) UNPACK(BF16) UNPACK(F32)},
    .strip = {TSR_FORMATS(STRIP) STRIP(F16) STRIP(BF16) STRIP(F32)},
};

void tsr_kernels_fill_wide_avx2(tsr_kernels *k) {
    for (int t = 0; t < TSR_TYPE_COUNT; t++)
        if (wide_f32.strip[t] && t != TSR_F32) k->wide[t] = &wide_f32;
    k->wide_f32 = &wide_f32;
    k->wide_attention[TSR_F32] = k->wide_attention[TSR_F16] = k->wide_attention[TSR_BF16] = k->wide_attention[TSR_Q8_0] = &wide_f32;
    k->packed_narrow_f32[TSR_F32] = packed_narrow_F32__avx2;
    k->packed_narrow_f32[TSR_F16] = packed_narrow_f16__avx2;
    k->packed_narrow_f32[TSR_BF16] = packed_narrow_bf16__avx2;
    k->packed_narrow_f32_name = "packed_narrow_f32_4x16__avx2";
}
