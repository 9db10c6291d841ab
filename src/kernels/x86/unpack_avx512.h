/* unpack_avx512.h: what a panel of codes holds, in 512-bit registers: templates that the AVX-512 and AMX files inline. */
#ifndef TSR_KERNELS_X86_UNPACK_AVX512_H
#define TSR_KERNELS_X86_UNPACK_AVX512_H

#include "kernels/x86/formats.h"

#include <immintrin.h>
#include <string.h>

/* Vector v (0..7) of block b: 64 unsigned codes. */
TSR_INLINE __m512i unpack_vector(const tsr_packed *w, const uint8_t *panel, int64_t b, const int v, const format f, __m512i table) {
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

TSR_INLINE __m512 half16(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)); }

TSR_INLINE __m512i byte16(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)); }

/* Scale (and min) of group g (0, 1) of block b, 16 columns. */
TSR_INLINE __m512 unpack_scale(const tsr_packed *w, const uint8_t *panel, int64_t b, const int g, const format f, __m512 *min) {
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

TSR_INLINE __m512i load_table(const tsr_packed *w, const format f) {
    return f.table ? _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)w->layout->table)) : _mm512_setzero_si512();
}

#endif
