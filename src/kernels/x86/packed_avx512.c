/* packed_avx512.c: products of packed weights with few rows of 8-bit activations, which unpack in registers, and unpacking of strips for
 * many rows (AVX-512 VNNI). Compiled with this ISA's flags only.
 *
 * A vector holds 4 k of 16 columns; vpdpbusd multiplies it with 4 activations of a row, broadcast. Per group of 32 (or 16) k the int32
 * sums become floats: += sums * (weight scale * activation scale) (+ min * sum of activations). */
#include "kernels/act8.h"
#include "kernels/kernels.h"
#include "kernels/x86/dot_avx512.h"
#include "kernels/x86/unpack_avx512.h"

enum { LANES = TSR_ACT8_GROUP };

/* ----------------------------------------------------------------------------------------------- narrow */

/* Panels lie one after the other and are read once, front to back in all three planes at a time: more streams of more lines than hardware
 * follows well over page boundaries. So each entry asks for what the entry AHEAD of it will read, in the next panel at a panel's end. Into
 * the L2 cache: it has several times the outstanding misses of the L1 cache, whose number would limit the bandwidth to about half. */
enum { AHEAD = 32, UNIT_BLOCKS = 8 };

TSR_INLINE void prefetch_lines(const uint8_t *p, const int lines) {
    for (int i = 0; i < lines; i++) _mm_prefetch((const char *)p + 64 * i, _MM_HINT_T1);
}

/* Block b of a panel; its scales with the first blocks of units of 256. */
TSR_INLINE void prefetch_block(const tsr_packed *w, const uint8_t *panel, int64_t b, const format f) {
    prefetch_lines(panel + b * f.code_bits * 64, f.code_bits);
    if (f.high_bits) prefetch_lines(panel + w->high_offset + b * f.high_bits * 64, f.high_bits);
    const int unit = f.scales == TSR_SCALES_F16 ? 32 : f.scales == TSR_SCALES_F16_MIN ? 64 : f.scales == TSR_SCALES_E8M0 ? 16 : 0;
    if (unit > 0) { /* per block */
        if (b * unit % 64 == 0) prefetch_lines(panel + w->scales_offset + b * unit, 1);
    } else if (b % UNIT_BLOCKS < 6) { /* 160 to 320 bytes per 8 blocks: at most 6 lines */
        const int bytes = f.scales == TSR_SCALES_K32 ? 160 : f.scales == TSR_SCALES_K16 ? 288 : 320;
        if (b % UNIT_BLOCKS * 64 < bytes) prefetch_lines(panel + w->scales_offset + b / UNIT_BLOCKS * bytes + b % UNIT_BLOCKS * 64, 1);
    }
}

/* Where a stream prefetches: entry `e` of the panel at `panel`. */
typedef struct cursor {
    const uint8_t *panel;
    int64_t e;
} cursor;

/* Past the last panel nothing is read: a prefetch does not fault. */
TSR_INLINE void move_on(cursor *c, int64_t entries, size_t panel_bytes) {
    if (++c->e < entries) return;
    c->e = 0;
    c->panel += panel_bytes;
}

/* out[R][16] = the R lanes of a stream times the panel. */
TSR_INLINE void narrow(const tsr_packed *w, int64_t p, const act8_stream *a, float *out, const format f, const int R) {
    const uint8_t *panel = w->data + (size_t)p * w->panel_bytes;
    const __m512i table = load_table(w, f);
    __m512 total[LANES];
    for (int r = 0; r < R; r++) total[r] = _mm512_setzero_ps();
    cursor ahead = {panel + AHEAD / a->entries * (int64_t)w->panel_bytes, AHEAD % a->entries};
    for (int64_t e = 0; e < a->entries; e++) {
        int64_t b = a->block[e];
        prefetch_block(w, ahead.panel, a->block[ahead.e], f);
        move_on(&ahead, a->entries, w->panel_bytes);
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
    act8_stream s = group_stream(a, g);
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
    k->packed_narrow_name = "packed_narrow_u8s8_8x16__avx512vnni";
    TSR_FORMATS(FILL)
}
