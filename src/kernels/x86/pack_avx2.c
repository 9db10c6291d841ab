/* pack_avx2.c: columns to lines with AVX2, 8 columns (half a line) at a time: a transposition of 32-bit elements, which are four
 * codes or two 16-bit weights. */
#include "kernels/pack_get_codes.h"

#include <immintrin.h>

/* r[d] lane L = element d of lane L of a, b, c and d, side by side. */
static inline void transpose4(const __m256i in[4], __m256i r[4]) {
    __m256i ab_lo = _mm256_unpacklo_epi32(in[0], in[1]), ab_hi = _mm256_unpackhi_epi32(in[0], in[1]);
    __m256i cd_lo = _mm256_unpacklo_epi32(in[2], in[3]), cd_hi = _mm256_unpackhi_epi32(in[2], in[3]);
    r[0] = _mm256_unpacklo_epi64(ab_lo, cd_lo);
    r[1] = _mm256_unpackhi_epi64(ab_lo, cd_lo);
    r[2] = _mm256_unpacklo_epi64(ab_hi, cd_hi);
    r[3] = _mm256_unpackhi_epi64(ab_hi, cd_hi);
}

/* out[v] = element v of the 8 columns */
static inline void transpose8(const __m256i in[8], __m256i out[8]) {
    __m256i a[4], b[4]; /* lanes: element r, r + 4 of columns 0..3 and 4..7 */
    transpose4(in, a);
    transpose4(in + 4, b);
    for (int r = 0; r < 4; r++) {
        out[r] = _mm256_permute2x128_si256(a[r], b[r], 0x20);
        out[r + 4] = _mm256_permute2x128_si256(a[r], b[r], 0x31);
    }
}

void tsr_pack_get_codes__avx2(tsr_type type, const uint8_t *blocks, int64_t k, uint8_t *codes) {
    get_codes(type, blocks, k, codes);
}

/* A step rotates the 8 bits of (row, element) left by one; four exchange row and element. */
void tsr_pack_transpose__avx2(const uint8_t in[TSR_PANEL][16], uint8_t out[16 * TSR_PANEL]) {
    __m128i a[16], b[16];
    for (int c = 0; c < 16; c++) a[c] = _mm_loadu_si128((const void *)in[c]);
    for (int step = 0; step < 4; step++) {
        for (int r = 0; r < 8; r++) {
            b[2 * r] = _mm_unpacklo_epi8(a[r], a[r + 8]);
            b[2 * r + 1] = _mm_unpackhi_epi8(a[r], a[r + 8]);
        }
        for (int c = 0; c < 16; c++) a[c] = b[c];
    }
    for (int j = 0; j < 16; j++) _mm_storeu_si128((void *)(out + 16 * j), a[j]);
}

static inline void store(uint8_t *p, __m256i v) { _mm256_storeu_si256((void *)p, v); }

/* Bits shift, shift + 1 of the codes. */
static inline void store_pairs(const __m256i q[TSR_QUADS], int shift, uint8_t *lines) {
    const __m128i right = _mm_cvtsi32_si128(shift);
    const __m256i mask = _mm256_set1_epi8(3);
    for (int l = 0; l < 2; l++) {
        __m256i line = _mm256_and_si256(_mm256_srl_epi16(q[4 * l], right), mask);
        for (int f = 1; f < 4; f++) {
            __m256i pair = _mm256_and_si256(_mm256_srl_epi16(q[4 * l + f], right), mask);
            line = _mm256_or_si256(line, _mm256_sll_epi16(pair, _mm_cvtsi32_si128(2 * f)));
        }
        store(lines + 64 * l, line);
    }
}

static inline void half_lines(const __m256i q[TSR_QUADS], int code_bits, int high_bits, uint8_t *low, uint8_t *high, int half) {
    low += 32 * half;
    if (code_bits == 8) {
        for (int v = 0; v < TSR_QUADS; v++) store(low + 64 * v, q[v]);
    } else if (code_bits == 4) {
        const __m256i mask = _mm256_set1_epi8(15);
        for (int g = 0; g < 4; g++) {
            __m256i odd = _mm256_slli_epi16(_mm256_and_si256(q[2 * g + 1], mask), 4);
            store(low + 64 * g, _mm256_or_si256(_mm256_and_si256(q[2 * g], mask), odd));
        }
    } else {
        store_pairs(q, 0, low);
    }
    if (high_bits == 2) store_pairs(q, code_bits, high + 32 * half);
    if (high_bits == 1) {
        const __m128i to_sign = _mm_cvtsi32_si128(7 - code_bits);
        for (int v = 0; v < TSR_QUADS; v++) {
            int bits = _mm256_movemask_epi8(_mm256_sll_epi16(q[v], to_sign));
            _mm_storeu_si32(high + 8 * v + 4 * half, _mm_cvtsi32_si128(bits));
        }
    }
}

void tsr_pack_lines__avx2(const uint8_t *codes, size_t stride, int code_bits, int high_bits, uint8_t *low, uint8_t *high) {
    /* each eight k in the order of vectors 2 g and 2 g + 1 */
    const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15));
    for (int half = 0; half < 2; half++) {
        __m256i in[8], q[TSR_QUADS];
        for (int c = 0; c < 8; c++, codes += stride)
            in[c] = _mm256_shuffle_epi8(_mm256_loadu_si256((const void *)codes), order);
        transpose8(in, q);
        half_lines(q, code_bits, high_bits, low, high, half);
    }
}

void tsr_pack_lines16__avx2(const uint8_t *weights, size_t stride, uint8_t *lines) {
    for (int half = 0; half < 2; half++, weights += 8 * stride)
        for (int part = 0; part < 2; part++) { /* 8 lines */
            __m256i in[8], out[8];
            for (int c = 0; c < 8; c++) in[c] = _mm256_loadu_si256((const void *)(weights + (size_t)c * stride + 32 * part));
            transpose8(in, out);
            for (int v = 0; v < 8; v++) store(lines + 64 * (8 * part + v) + 32 * half, out[v]);
        }
}
