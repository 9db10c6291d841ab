/* narrow_avx512bf16.c: attention of few rows to 16-bit keys and values (AVX-512 BF16): rows rounded to bf16, two k of 16 columns at a time.
 * Compiled with this ISA's flags only.
 *
 * Time goes to reading keys and values: f32 rows take three times the instructions that reading a line at the memory's speed leaves. */
#include "kernels/kernels.h"
#include "kernels/x86/unpack16_avx512.h"

/* Ahead by so much into the L2 cache. */
enum { ROWS = 8, LINE = 64, PREFETCH_BYTES = 12288 };

static void f32_to_bf16__avx512bf16(const float *x, uint16_t *y, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 mask = (__mmask16)(n - i >= 16 ? 0xffff : (1u << (n - i)) - 1u);
        __m256bh h = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x + i));
        __m256i bits;
        memcpy(&bits, &h, sizeof bits);
        _mm256_mask_storeu_epi16(y + i, mask, bits);
    }
}

/* acc[16] += 2 products each (see wide_avx512bf16.c) */
TSR_INLINE void dot2(__m512 *acc, __m512i b, __m512i a) { __asm__("vdpbf16ps %2, %1, %0" : "+v"(*acc) : "v"(b), "v"(a)); }

/* Two k of 16 columns as bf16. */
TSR_INLINE __m512i load_line(const uint8_t *line, const bool f16) {
    if (!f16) return _mm512_loadu_si512(line);
    __m512bh both = _mm512_cvtne2ps_pbh(half16(line + LINE / 2), half16(line));
    __m512i bits;
    memcpy(&bits, &both, sizeof bits);
    return bits;
}

TSR_INLINE void add_line(const uint8_t *line, const uint16_t *x, int64_t ldx, __m512 acc[ROWS][2], const int sums, const int i, const bool f16,
                         const int R) {
    __m512i w = load_line(line, f16);
    for (int r = 0; r < R; r++) {
        int32_t two;
        memcpy(&two, x + r * ldx, sizeof two);
        dot2(&acc[r][i % sums], w, _mm512_set1_epi32(two));
    }
}

/* out[R][16] = x [R, k] times panel p of w; k is even. Up to 4 rows, lines take turns with two sums, so that additions wait less. */
TSR_INLINE void narrow(const tsr_packed *w, int64_t p, const uint16_t *x, int64_t ldx, float *out, const bool f16, const int R) {
    const int sums = R <= 4 ? 2 : 1;
    const uint8_t *line = w->data + (size_t)p * w->panel_bytes;
    __m512 acc[ROWS][2];
    for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    int64_t l = 0;
    for (; l + 8 <= w->k; l += 8)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++, line += LINE) {
            _mm_prefetch((const char *)line + PREFETCH_BYTES, _MM_HINT_T1);
            add_line(line, x + l + 2 * i, ldx, acc, sums, i, f16, R);
        }
    for (; l < w->k; l += 2, line += LINE) add_line(line, x + l, ldx, acc, sums, 0, f16, R);
    for (int r = 0; r < R; r++) _mm512_storeu_ps(out + r * TSR_PANEL, sums == 2 ? _mm512_add_ps(acc[r][0], acc[r][1]) : acc[r][0]);
}

TSR_INLINE void narrow_rows(const tsr_packed *w, int64_t p, const uint16_t *x, int64_t ldx, int rows, float *out, const bool f16) {
    for (; rows > 0; rows -= ROWS, x += ROWS * ldx, out += ROWS * TSR_PANEL) {
        switch (rows) {
        case 1: narrow(w, p, x, ldx, out, f16, 1); break;
        case 2: narrow(w, p, x, ldx, out, f16, 2); break;
        case 3: narrow(w, p, x, ldx, out, f16, 3); break;
        case 4: narrow(w, p, x, ldx, out, f16, 4); break;
        case 5: narrow(w, p, x, ldx, out, f16, 5); break;
        case 6: narrow(w, p, x, ldx, out, f16, 6); break;
        case 7: narrow(w, p, x, ldx, out, f16, 7); break;
        default: narrow(w, p, x, ldx, out, f16, 8); break;
        }
    }
}

static void narrow_bf16_F16__avx512bf16(const tsr_packed *w, int64_t p, const uint16_t *x, int64_t ldx, int rows, float *out) {
    narrow_rows(w, p, x, ldx, rows, out, true);
}

static void narrow_bf16_BF16__avx512bf16(const tsr_packed *w, int64_t p, const uint16_t *x, int64_t ldx, int rows, float *out) {
    narrow_rows(w, p, x, ldx, rows, out, false);
}

void tsr_kernels_fill_narrow_avx512bf16(tsr_kernels *k) {
    k->f32_to_bf16 = f32_to_bf16__avx512bf16;
    k->narrow_bf16[TSR_F16] = narrow_bf16_F16__avx512bf16;
    k->narrow_bf16[TSR_BF16] = narrow_bf16_BF16__avx512bf16;
}
