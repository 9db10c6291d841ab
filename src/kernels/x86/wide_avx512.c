/* wide_avx512.c: the wide float path with f32 elements (AVX-512 F): for CPUs without 16-bit float products, and for F16 weights, which bf16
 * would round. Compiled with this ISA's flags only. */
#include "kernels/x86/unpack_avx512.h"
#include "kernels/x86/wide_avx512.h"

enum { BLOCK_BYTES = TSR_BLOCK_K * TSR_PANEL * 4, ROW_BYTES = TSR_BLOCK_K * 4 };

static void wide_pack_rows__avx512(const float *x, int64_t ldx, int rows, int64_t k, void *tiles) {
    float *out = tiles; /* [blocks][16][32] */
    for (int64_t l = 0; l < k; l += TSR_BLOCK_K) {
        const int64_t left = k - l;
        const __mmask16 low = (__mmask16)(left >= 16 ? 0xffff : (1u << left) - 1u);
        const __mmask16 high = (__mmask16)(left >= 32 ? 0xffff : left > 16 ? (1u << (left - 16)) - 1u : 0u);
        for (int r = 0; r < WIDE_TILE_ROWS; r++, out += TSR_BLOCK_K) {
            bool exists = r < rows;
            _mm512_storeu_ps(out, exists ? _mm512_maskz_loadu_ps(low, x + r * ldx + l) : _mm512_setzero_ps());
            _mm512_storeu_ps(out + 16, exists ? _mm512_maskz_loadu_ps(high, x + r * ldx + l + 16) : _mm512_setzero_ps());
        }
    }
}

/* --- unpacking ------------------------------------------------------------------------------------------------------------- */

/* Block b of a panel of codes: out [32][16]. A vector has 4 codes of a column in each 32 bits. */
TSR_INLINE void unpack_block(const tsr_packed *w, const uint8_t *panel, int64_t b, const format f, __m512i table, float *out) {
    const bool far = f.scales == TSR_SCALES_E8M0; /* scales so large that times the offset they would be infinite */
    __m512 scale = _mm512_setzero_ps(), min = _mm512_setzero_ps();
#pragma GCC unroll 8
    for (int v = 0; v < TSR_QUADS; v++) {
        if (v == 0 || (f.halves && v == TSR_QUADS / 2)) {
            scale = unpack_scale(w, panel, b, v / 4, f, &min);
            if (!f.has_min && !far) min = _mm512_mul_ps(scale, _mm512_set1_ps((float)-f.offset)); /* exact: a power of two */
        }
        __m512i codes = unpack_vector(w, panel, b, v, f, table);
        const int order[2][4] = {{0, 4, 1, 5}, {2, 6, 3, 7}};
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            __m512i code = _mm512_srli_epi32(codes, (unsigned)(8 * i));
            if (i < 3) code = _mm512_and_si512(code, _mm512_set1_epi32(255));
            if (far) code = _mm512_sub_epi32(code, _mm512_set1_epi32(f.offset));
            _mm512_storeu_ps(out + (v / 2 * 8 + order[v % 2][i]) * TSR_PANEL, _mm512_fmadd_ps(_mm512_cvtepi32_ps(code), scale, min));
        }
    }
}

TSR_INLINE void unpack_codes(const tsr_packed *w, int64_t p, int64_t first, int64_t n, void *to, const format f) {
    const uint8_t *panel = w->data + (size_t)p * w->panel_bytes;
    const __m512i table = load_table(w, f);
    float *out = to;
    for (int64_t b = first; b < first + n; b++, out += TSR_BLOCK_K * TSR_PANEL) unpack_block(w, panel, b, f, table, out);
}

static void unpack_BF16__avx512(const tsr_packed *w, int64_t p, int64_t first, int64_t n, void *to) {
    const uint8_t *line = w->data + (size_t)p * w->panel_bytes + first * 1024;
    float *out = to;
    for (int64_t v = 0; v < n * 16; v++, line += 64, out += 2 * TSR_PANEL) {
        __m512i pairs = _mm512_loadu_si512(line);
        _mm512_storeu_si512(out, _mm512_slli_epi32(pairs, 16));
        _mm512_storeu_si512(out + TSR_PANEL, _mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000)));
    }
}

static void unpack_F16__avx512(const tsr_packed *w, int64_t p, int64_t first, int64_t n, void *to) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const uint8_t *line = w->data + (size_t)p * w->panel_bytes + first * 1024;
    float *out = to;
    for (int64_t v = 0; v < n * 16; v++, line += 64, out += 2 * TSR_PANEL) {
        __m512 low = half16(line), high = half16(line + 32);
        _mm512_storeu_ps(out, _mm512_permutex2var_ps(low, even, high));
        _mm512_storeu_ps(out + TSR_PANEL, _mm512_permutex2var_ps(low, odd, high));
    }
}

static void unpack_values8__avx512(const int8_t *codes, const uint16_t *scale, int64_t n, void *to) {
    float *out = to; /* [32 n][16] */
    for (int64_t l = 0; l < n * TSR_BLOCK_K; l++, out += TSR_PANEL) {
        __m512 x = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(codes + l * TSR_PANEL))));
        _mm512_storeu_ps(out, _mm512_mul_ps(x, _mm512_set1_ps(_cvtsh_ss(scale[l]))));
    }
}

/* --- multiplying ----------------------------------------------------------------------------------------------------------- */

TSR_INLINE void fma16(__m512 *acc, __m512 b, __m512 a) { __asm__("vfmadd231ps %2, %1, %0" : "+v"(*acc) : "v"(b), "v"(a)); }

TSR_INLINE void micro(const uint8_t *a, const uint8_t *const b[2], int64_t blocks, float *c, bool accumulate, const int R) {
    __m512 acc[WIDE_MICRO_ROWS][2];
    const uint8_t *b0 = b[0], *b1 = b[1];
    for (int r = 0; r < R; r++)
        for (int p = 0; p < 2; p++)
            acc[r][p] = accumulate ? _mm512_load_ps(c + p * WIDE_PANEL_FLOATS + r * TSR_PANEL) : _mm512_setzero_ps();
    for (int64_t n = 0; n < blocks; n++, a += WIDE_TILE_ROWS * ROW_BYTES, b0 += BLOCK_BYTES, b1 += BLOCK_BYTES) {
#pragma GCC unroll 32
        for (int l = 0; l < TSR_BLOCK_K; l++) {
            __m512 w0 = _mm512_load_ps(b0 + l * 64), w1 = _mm512_load_ps(b1 + l * 64);
            for (int r = 0; r < R; r++) {
                __m512 x = _mm512_set1_ps(((const float *)(const void *)(a + r * ROW_BYTES))[l]);
                fma16(&acc[r][0], w0, x);
                fma16(&acc[r][1], w1, x);
            }
        }
    }
    for (int r = 0; r < R; r++)
        for (int p = 0; p < 2; p++) _mm512_store_ps(c + p * WIDE_PANEL_FLOATS + r * TSR_PANEL, acc[r][p]);
}

#define MICRO(R)                                                                                                         \
    static void micro_##R##x32(const uint8_t *a, const uint8_t *const b[2], int64_t blocks, float *c, bool accumulate) { \
        micro(a, b, blocks, c, accumulate, R);                                                                           \
    }
MICRO(1)
MICRO(2)
MICRO(3)
MICRO(4)
MICRO(5)
MICRO(6)
MICRO(7)
MICRO(8)

static const wide_micro_fn micros[WIDE_MICRO_ROWS + 1] = {NULL,       micro_1x32, micro_2x32, micro_3x32, micro_4x32,
                                                          micro_5x32, micro_6x32, micro_7x32, micro_8x32};

typedef void (*unpack_fn)(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *out);

TSR_INLINE void strip(const tsr_wide_job *job, unpack_fn unpack) {
    uint8_t *b1 = (uint8_t *)job->b + job->blocks * BLOCK_BYTES;
    const uint8_t *const b[2] = {job->b, b1};
    unpack(job->w, job->panel[0], job->block, job->blocks, job->b);
    unpack(job->w, job->panel[1], job->block, job->blocks, b1);
    wide_walk(job, b, micros, ROW_BYTES);
}

static void unpack_F32__avx512(const tsr_packed *w, int64_t p, int64_t first, int64_t n, void *to) {
    memcpy(to, w->data + (size_t)p * w->panel_bytes + first * BLOCK_BYTES, (size_t)(n * BLOCK_BYTES));
}

/* From where they are. */
static void strip_F32__avx512(const tsr_wide_job *job) {
    const uint8_t *run = job->w->data + job->block * BLOCK_BYTES;
    const uint8_t *const b[2] = {run + (size_t)job->panel[0] * job->w->panel_bytes, run + (size_t)job->panel[1] * job->w->panel_bytes};
    wide_walk(job, b, micros, ROW_BYTES);
}

/* --- one pair per type ----------------------------------------------------------------------------------------------------- */

#define UNPACK(TYPE, ...)                                                                                                  \
    static void unpack_##TYPE##__avx512(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *out) {         \
        unpack_codes(w, panel, first, n, out, (format){__VA_ARGS__});                                                      \
    }
TSR_FORMATS(UNPACK)

#define STRIP(TYPE, ...) \
    static void strip_##TYPE##__avx512(const tsr_wide_job *job) { strip(job, unpack_##TYPE##__avx512); }
TSR_FORMATS(STRIP)
STRIP(F16)
STRIP(BF16)

#define UNPACK_SLOT(TYPE, ...) [TSR_##TYPE] = unpack_##TYPE##__avx512,
#define STRIP_SLOT(TYPE, ...) [TSR_##TYPE] = strip_##TYPE##__avx512,

static const tsr_wide wide_f32 = {
    .name = "wide_f32_8x32__avx512",
    .elem = TSR_F32,
    .elem_bytes = 4,
    .run_blocks = 4,
    .pack_rows = wide_pack_rows__avx512,
    .unpack_values8 = unpack_values8__avx512,
    .unpack = {TSR_FORMATS(UNPACK_SLOT) UNPACK_SLOT(F16) UNPACK_SLOT(BF16) UNPACK_SLOT(F32)},
    .strip = {TSR_FORMATS(STRIP_SLOT) STRIP_SLOT(F16) STRIP_SLOT(BF16) STRIP_SLOT(F32)},
};

void tsr_kernels_fill_wide_avx512(tsr_kernels *k) {
    for (int t = 0; t < TSR_TYPE_COUNT; t++)
        if (wide_f32.strip[t] && t != TSR_F32) k->wide[t] = &wide_f32;
    k->wide_f32 = &wide_f32;
    k->wide_attention[TSR_F32] = k->wide_attention[TSR_F16] = k->wide_attention[TSR_BF16] = k->wide_attention[TSR_Q8_0] = &wide_f32;
}
