/* wide_amx_bf16.c: the wide float path in bf16 on AMX tiles (wide_amx.h); unpacking with AVX-512 BF16. Compiled with
 * these ISAs' flags only. */
#include "kernels/x86/unpack16_avx512.h"
#include "kernels/x86/wide_amx.h"

#define UNPACK(TYPE, ...)                                                                                             \
    static void block_##TYPE##__avx512bf16(const tsr_packed *w, const uint8_t *panel, int64_t block, uint8_t *out) { \
        const format f = {__VA_ARGS__};                                                                               \
        unpack_block_bf16(w, panel, block, f, load_values(w, f), out);                                                \
    }
TSR_FORMATS(UNPACK)

static void block_F16__avx512bf16(const tsr_packed *w, const uint8_t *panel, int64_t block, uint8_t *out) {
    (void)w;
    unpack_block_bf16_from_f16(panel, block, out);
}

static void block_BF16__avx512(const tsr_packed *w, const uint8_t *panel, int64_t block, uint8_t *out) {
    (void)w;
    copy_block16(panel, block, out);
}

#define BLOCK(TYPE, ...) [TSR_##TYPE] = block_##TYPE##__avx512bf16,
static const unpack_block_fn unpack_block[TSR_TYPE_COUNT] = {TSR_FORMATS(BLOCK)[TSR_F16] = block_F16__avx512bf16,
                                                             [TSR_BF16] = block_BF16__avx512};

static void wide_unpack_bf16__avx512bf16(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *out) {
    const uint8_t *from = w->data + (size_t)panel * w->panel_bytes;
    for (int64_t i = 0; i < n; i++) unpack_block[w->type](w, from, first + i, (uint8_t *)out + i * TILE_BYTES);
}

static void unpack_values8__avx512bf16(const int8_t *codes, const uint16_t *scale, int64_t n, void *out) {
    unpack_values8_bf16(codes, scale, n, out);
}

/* 32 of k, of which `there` exist, as bf16. */
TSR_INLINE void pack_line(const float *x, int64_t there, uint8_t *line) {
    const __mmask16 low = (__mmask16)(there >= 16 ? 0xffff : (1u << there) - 1u);
    const __mmask16 high = (__mmask16)(there >= 32 ? 0xffff : there > 16 ? (1u << (there - 16)) - 1u : 0u);
    store_bf16(line, _mm512_maskz_loadu_ps(low, x), _mm512_maskz_loadu_ps(high, x + 16));
}

static void wide_pack_rows_bf16__avx512bf16(const float *x, int64_t ldx, int rows, int64_t k, void *tiles) {
    uint8_t *line = tiles;
    for (int64_t at = 0; at < k; at += TSR_BLOCK_K)
        for (int r = 0; r < TILE_ROWS; r++, line += TILE_ROW_BYTES) {
            if (r >= rows) _mm512_storeu_si512(line, _mm512_setzero_si512());
            else if (k - at >= TSR_BLOCK_K) store_bf16(line, _mm512_loadu_ps(x + r * ldx + at), _mm512_loadu_ps(x + r * ldx + at + 16));
            else pack_line(x + r * ldx + at, k - at, line);
        }
}

static void wide_strip_bf16__amx(const tsr_wide_job *job) { multiply_strip(job, unpack_block[job->w->type], false); }

#define PANEL(TYPE, ...) [TSR_##TYPE] = wide_unpack_bf16__avx512bf16,
#define STRIP(TYPE, ...) [TSR_##TYPE] = wide_strip_bf16__amx,
static const tsr_wide wide_bf16 = {
    .name = "wide_bf16_32x32__amx",
    .elem = TSR_BF16,
    .elem_bytes = 2,
    .run_blocks = RUN_BLOCKS,
    .pack_rows = wide_pack_rows_bf16__avx512bf16,
    .unpack_values8 = unpack_values8__avx512bf16,
    .unpack = {TSR_FORMATS(PANEL)[TSR_F16] = wide_unpack_bf16__avx512bf16, [TSR_BF16] = wide_unpack_bf16__avx512bf16},
    .strip = {TSR_FORMATS(STRIP)[TSR_F16] = wide_strip_bf16__amx, [TSR_BF16] = wide_strip_bf16__amx},
};

static const tile_config config = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};

static void enter__amx(void) { tile_configure(&config); }

static void leave__amx(void) { tile_release(); }

void tsr_kernels_fill_wide_amx(tsr_kernels *k) {
    for (int t = 0; t < TSR_TYPE_COUNT; t++)
        if (wide_bf16.strip[t]) k->wide[t] = &wide_bf16;
    k->wide_attention[TSR_F16] = k->wide_attention[TSR_BF16] = k->wide_attention[TSR_Q8_0] = &wide_bf16;
    k->enter = enter__amx;
    k->leave = leave__amx;
}
