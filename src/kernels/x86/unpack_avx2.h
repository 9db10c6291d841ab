/* unpack_avx2.h: what a panel of codes holds, in 256-bit registers: templates that the AVX2 and AVX-VNNI files inline. A vector of 64 codes
 * is two registers: half 0 has columns 0..7, half 1 columns 8..15. */
#ifndef TSR_KERNELS_X86_UNPACK_AVX2_H
#define TSR_KERNELS_X86_UNPACK_AVX2_H

#include "kernels/x86/formats.h"

#include <immintrin.h>
#include <string.h>

enum { HALVES = 2 }; /* registers of 16 columns */

TSR_INLINE __m256i load32(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }

typedef struct four_codes {
    int8_t code[4];
} four_codes;

/* Four activations, broadcast: in one instruction, where GCC 12 would load them all ahead, and keep them in memory. */
TSR_INLINE __m256i quad(const int8_t *codes) {
    __m256i four;
    __asm__("vpbroadcastd %1, %0" : "=x"(four) : "m"(*(const four_codes *)(const void *)codes));
    return four;
}

/* Byte i of the result is `set` where bit i is. */
TSR_INLINE __m256i spread_bits(const uint8_t *p, const int set) {
    const __m256i byte = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    int32_t bits;
    memcpy(&bits, p, sizeof bits);
    __m256i each = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), byte), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(each, bit), _mm256_set1_epi8((char)set));
}

/* Half h of vector v (0..7) of block b: 32 unsigned codes. */
TSR_INLINE __m256i unpack_half(const tsr_packed *w, const uint8_t *panel, int64_t b, const int v, const int h, const format f, __m256i table) {
    const __m256i nibble = _mm256_set1_epi8(15), crumb = _mm256_set1_epi8(3);
    const uint8_t *codes = panel + 32 * h, *high = panel + w->high_offset;
    __m256i q;
    if (f.code_bits == 8) return load32(codes + b * 512 + v * 64);
    if (f.code_bits == 4) {
        q = load32(codes + b * 256 + v / 2 * 64);
        q = _mm256_and_si256(v % 2 ? _mm256_srli_epi16(q, 4) : q, nibble);
    } else {
        q = load32(codes + b * 128 + v / 4 * 64);
        q = _mm256_and_si256(_mm256_srli_epi16(q, 2 * (v % 4)), crumb);
    }
    if (f.high_bits == 1) q = _mm256_or_si256(q, spread_bits(high + b * 64 + v * 8 + 4 * h, 1 << f.code_bits));
    if (f.high_bits == 2) {
        __m256i bits = load32(high + b * 128 + v / 4 * 64 + 32 * h);
        const int left = 4 - 2 * (v % 4); /* from where the two bits are to bits 4 and 5 */
        bits = left > 0 ? _mm256_slli_epi16(bits, left > 0 ? left : 0) : _mm256_srli_epi16(bits, left < 0 ? -left : 0);
        q = _mm256_or_si256(q, _mm256_and_si256(bits, _mm256_set1_epi8(0x30)));
    }
    return f.table ? _mm256_shuffle_epi8(table, q) : q;
}

TSR_INLINE __m256i load_table(const tsr_packed *w, const format f) {
    return f.table ? _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)w->layout->table)) : _mm256_setzero_si256();
}

/* Where products take the codes of a block from: an unpacked block, or the panel itself. */
typedef struct code_block {
    const uint8_t *codes; /* [8][64] unpacked, or NULL: block b of the panel */
    const tsr_packed *w;
    const uint8_t *panel;
    int64_t b;
    __m256i table;
} code_block;

/* Half h of vector v, 32 unsigned codes; packed: from the panel. */
TSR_INLINE __m256i fetch_half(const code_block *q, const int v, const int h, const format f, const bool packed) {
    return packed ? unpack_half(q->w, q->panel, q->b, v, h, f, q->table) : load32(q->codes + 64 * v + 32 * h);
}

TSR_INLINE __m256 half8(const uint8_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)); }

TSR_INLINE __m256i byte8(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)); }

/* Scale (and min) of group g (0, 1) of block b, columns 8 h .. 8 h + 7. */
TSR_INLINE __m256 unpack_scale(const tsr_packed *w, const uint8_t *panel, int64_t b, const int g, const int h, const format f, __m256 *min) {
    const uint8_t *s = panel + w->scales_offset, *bytes, *halves;
    if (f.scales == TSR_SCALES_F16) return half8(s + b * 32 + 16 * h);
    if (f.scales == TSR_SCALES_F16_MIN) {
        *min = half8(s + b * 64 + 32 + 16 * h);
        return half8(s + b * 64 + 16 * h);
    }
    if (f.scales == TSR_SCALES_E8M0) { /* 2^(e - 128); the two denormal ones are zero to every kernel */
        __m256i e = _mm256_subs_epu16(byte8(s + b * 16 + 8 * h), _mm256_set1_epi32(1));
        return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
    }
    int64_t unit = b / 8, j = b % 8;
    if (f.scales == TSR_SCALES_K32) {
        bytes = s + unit * 160 + j * 16 + 8 * h;
        halves = s + unit * 160 + 128 + 16 * h;
        return _mm256_mul_ps(half8(halves), _mm256_cvtepi32_ps(_mm256_sub_epi32(byte8(bytes), _mm256_set1_epi32(32))));
    }
    if (f.scales == TSR_SCALES_K32_MIN) {
        bytes = s + unit * 320 + j * 16 + 8 * h;
        halves = s + unit * 320 + 256 + 16 * h;
        *min = _mm256_sub_ps(_mm256_setzero_ps(), _mm256_mul_ps(half8(halves + 32), _mm256_cvtepi32_ps(byte8(bytes + 128))));
        return _mm256_mul_ps(half8(halves), _mm256_cvtepi32_ps(byte8(bytes)));
    }
    int64_t group = 2 * j + g;
    if (f.scales == TSR_SCALES_K16) {
        bytes = s + unit * 288 + group * 16 + 8 * h;
        halves = s + unit * 288 + 256 + 16 * h;
        __m256i code = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes));
        return _mm256_mul_ps(half8(halves), _mm256_cvtepi32_ps(code));
    }
    bytes = s + unit * 320 + group * 16 + 8 * h; /* K16_MIN */
    halves = s + unit * 320 + 256 + 16 * h;
    __m256i code = byte8(bytes);
    __m256 dmin = _mm256_mul_ps(half8(halves + 32), _mm256_cvtepi32_ps(_mm256_srli_epi32(code, 4)));
    *min = _mm256_sub_ps(_mm256_setzero_ps(), dmin);
    return _mm256_mul_ps(half8(halves), _mm256_cvtepi32_ps(_mm256_and_si256(code, _mm256_set1_epi32(15))));
}

#endif
