/* wide_avx512bf16.c: the wide float path with bf16 elements (AVX-512 BF16). Compiled with this ISA's flags only.
 *
 * vdpbf16ps multiplies two k of 16 columns with two k of a row, broadcast: twice the rate of f32. BF16 weights are packed as it reads them.
 * On this tier F16 weights stay with f32 elements: bf16 would round away three
 * of their eleven bits. (On AMX, where that is 16 times slower, they do not: doc/amx.md.) */
#include "kernels/x86/unpack16_avx512.h"
#include "kernels/x86/wide_avx512.h"

enum { ROW_BYTES = TSR_BLOCK_K * 2 };

static void wide_pack_rows__avx512bf16(const float *x, int64_t ldx, int rows, int64_t k, void *tiles) {
    uint8_t *out = tiles; /* [blocks][16][32] */
    for (int64_t l = 0; l < k; l += TSR_BLOCK_K) {
        const int64_t left = k - l;
        const __mmask16 low = (__mmask16)(left >= 16 ? 0xffff : (1u << left) - 1u);
        const __mmask16 high = (__mmask16)(left >= 32 ? 0xffff : left > 16 ? (1u << (left - 16)) - 1u : 0u);
        for (int r = 0; r < WIDE_TILE_ROWS; r++, out += ROW_BYTES) {
            const float *from = x + r * ldx + l;
            if (r < rows) store_bf16(out, _mm512_maskz_loadu_ps(low, from), _mm512_maskz_loadu_ps(high, from + 16));
            else _mm512_storeu_si512(out, _mm512_setzero_si512());
        }
    }
}

/* --- unpacking ------------------------------------------------------------------------------------------------------------- */

TSR_INLINE void unpack_codes(const tsr_packed *w, int64_t p, int64_t first, int64_t n, void *to, const format f) {
    const uint8_t *panel = w->data + (size_t)p * w->panel_bytes;
    const floats32 values = load_values(w, f);
    uint8_t *out = to;
    for (int64_t b = first; b < first + n; b++, out += TSR_B16_BLOCK) unpack_block_bf16(w, panel, b, f, values, out);
}

static void unpack_BF16__avx512bf16(const tsr_packed *w, int64_t p, int64_t first, int64_t n, void *to) {
    memcpy(to, w->data + (size_t)p * w->panel_bytes + first * TSR_B16_BLOCK, (size_t)(n * TSR_B16_BLOCK));
}

/* Attention's: rounded (kernels.h: wide_attention). */
static void unpack_F16__avx512bf16(const tsr_packed *w, int64_t p, int64_t first, int64_t n, void *to) {
    const uint8_t *panel = w->data + (size_t)p * w->panel_bytes;
    uint8_t *out = to;
    for (int64_t b = first; b < first + n; b++, out += TSR_B16_BLOCK) unpack_block_bf16_from_f16(panel, b, out);
}

static void unpack_values8__avx512bf16(const int8_t *codes, const uint16_t *scale, int64_t n, void *out) {
    unpack_values8_bf16(codes, scale, n, out);
}

/* --- multiplying ----------------------------------------------------------------------------------------------------------- */

/* acc[16] += 2 products each. GCC 12 copies the accumulators around the intrinsic; this keeps them where they are. */
TSR_INLINE void dot2(__m512 *acc, __m512i b, __m512i a) { __asm__("vdpbf16ps %2, %1, %0" : "+v"(*acc) : "v"(b), "v"(a)); }

TSR_INLINE __m512i pair(const uint8_t *elements) {
    int32_t two;
    memcpy(&two, elements, sizeof two);
    return _mm512_set1_epi32(two);
}

TSR_INLINE void micro(const uint8_t *a, const uint8_t *const b[2], int64_t blocks, float *c, bool accumulate, const int R) {
    __m512 acc[WIDE_MICRO_ROWS][2];
    const uint8_t *b0 = b[0], *b1 = b[1];
    for (int r = 0; r < R; r++)
        for (int p = 0; p < 2; p++)
            acc[r][p] = accumulate ? _mm512_load_ps(c + p * WIDE_PANEL_FLOATS + r * TSR_PANEL) : _mm512_setzero_ps();
    for (int64_t n = 0; n < blocks; n++, a += WIDE_TILE_ROWS * ROW_BYTES, b0 += TSR_B16_BLOCK, b1 += TSR_B16_BLOCK) {
#pragma GCC unroll 16
        for (int l = 0; l < TSR_BLOCK_K / 2; l++) {
            __m512i w0 = _mm512_load_si512(b0 + l * 64), w1 = _mm512_load_si512(b1 + l * 64);
            for (int r = 0; r < R; r++) {
                __m512i x = pair(a + r * ROW_BYTES + l * 4);
                dot2(&acc[r][0], w0, x);
                dot2(&acc[r][1], w1, x);
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
    uint8_t *b1 = (uint8_t *)job->b + job->blocks * TSR_B16_BLOCK;
    const uint8_t *const b[2] = {job->b, b1};
    unpack(job->w, job->panel[0], job->block, job->blocks, job->b);
    unpack(job->w, job->panel[1], job->block, job->blocks, b1);
    wide_walk(job, b, micros, ROW_BYTES);
}

/* From where they are. */
static void strip_BF16__avx512bf16(const tsr_wide_job *job) {
    const uint8_t *run = job->w->data + job->block * TSR_B16_BLOCK;
    const uint8_t *const b[2] = {run + (size_t)job->panel[0] * job->w->panel_bytes, run + (size_t)job->panel[1] * job->w->panel_bytes};
    wide_walk(job, b, micros, ROW_BYTES);
}

/* --- one pair per type ----------------------------------------------------------------------------------------------------- */

#define UNPACK(TYPE, ...)                                                                                                  \
    static void unpack_##TYPE##__avx512bf16(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *out) {     \
        unpack_codes(w, panel, first, n, out, (format){__VA_ARGS__});                                                      \
    }
TSR_FORMATS(UNPACK)

#define STRIP(TYPE, ...) \
    static void strip_##TYPE##__avx512bf16(const tsr_wide_job *job) { strip(job, unpack_##TYPE##__avx512bf16); }
TSR_FORMATS(STRIP)
STRIP(F16)

#define UNPACK_SLOT(TYPE, ...) [TSR_##TYPE] = unpack_##TYPE##__avx512bf16,
#define STRIP_SLOT(TYPE, ...) [TSR_##TYPE] = strip_##TYPE##__avx512bf16,

static const tsr_wide wide_bf16 = {
    .name = "wide_bf16_8x32__avx512bf16",
    .elem = TSR_BF16,
    .elem_bytes = 2,
    .run_blocks = 8,
    .pack_rows = wide_pack_rows__avx512bf16,
    .unpack_values8 = unpack_values8__avx512bf16,
    .unpack = {TSR_FORMATS(UNPACK_SLOT) UNPACK_SLOT(BF16) UNPACK_SLOT(F16)},
    .strip = {TSR_FORMATS(STRIP_SLOT) STRIP_SLOT(BF16) STRIP_SLOT(F16)},
};

void tsr_kernels_fill_wide_avx512bf16(tsr_kernels *k) {
    for (int t = 0; t < TSR_TYPE_COUNT; t++)
        if (wide_bf16.strip[t] && t != TSR_F16) k->wide[t] = &wide_bf16;
    k->wide_attention[TSR_F16] = k->wide_attention[TSR_BF16] = k->wide_attention[TSR_Q8_0] = &wide_bf16;
}
