/* unpack16_avx512.h: blocks of packed weights as bf16 operands (B of the wide float path, kernels.h): templates that the AVX-512 BF16 and
 * AMX files inline.
 *
 * A line of 4-bit codes is 32 16-bit lanes, lane 2 c + p with the codes of column c, k = 8 g + 2 j + p at bits 4 j (packed.h). Widened to
 * 32 bits, shifted, looked up in a table of floats (vpermps uses the low bits of an index: no mask), times the scale of the column, and
 * narrowed to bf16, lanes are rows of B. Other widths are brought to the same form. */
#ifndef TSR_KERNELS_X86_UNPACK16_AVX512_H
#define TSR_KERNELS_X86_UNPACK16_AVX512_H

#include "kernels/x86/unpack_avx512.h"

enum { TSR_B16_BLOCK = TSR_BLOCK_K * TSR_PANEL * 2 }; /* bytes of an unpacked block: [16 pairs of k][16 columns][2] */

/* 32 lanes of 32 bits: low: columns 0..7, high: 8..15; lane 2 c + p. */
typedef struct lanes32 {
    __m512i low, high;
} lanes32;

typedef struct floats32 {
    __m512 low, high;
} floats32;

TSR_INLINE int code_width(const format f) { return f.code_bits + f.high_bits; }

/* What codes 0..15 and 16..31 mean before the scale; narrower codes repeat, so that bits above them do not matter. Widths up to 5. */
TSR_INLINE floats32 load_values(const tsr_packed *w, const format f) {
    const __m512i index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), offset = _mm512_set1_epi32(f.offset);
    const __m512i width = _mm512_set1_epi32((1 << code_width(f)) - 1);
    __m512i low = _mm512_and_si512(index, width), high = _mm512_and_si512(_mm512_add_epi32(index, _mm512_set1_epi32(16)), width);
    if (f.table) low = high = byte16(w->layout->table);
    return (floats32){_mm512_cvtepi32_ps(_mm512_sub_epi32(low, offset)), _mm512_cvtepi32_ps(_mm512_sub_epi32(high, offset))};
}

/* 16 columns to 32 lanes. */
TSR_INLINE floats32 twice(__m512 columns) {
    const __m512i low = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return (floats32){_mm512_permutexvar_ps(low, columns), _mm512_permutexvar_ps(_mm512_add_epi32(low, _mm512_set1_epi32(8)), columns)};
}

TSR_INLINE lanes32 widen(__m512i lanes16) {
    return (lanes32){_mm512_cvtepu16_epi32(_mm512_castsi512_si256(lanes16)), _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(lanes16, 1))};
}

TSR_INLINE lanes32 load_widened(const uint8_t *line) {
    return (lanes32){_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)line)),
                     _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(line + 32)))};
}

/* The weights whose codes are at bits `shift` of the lanes. */
TSR_INLINE __m512 lane_weights(__m512i lanes, const int shift, const format f, __m512 low, __m512 high, __m512 scale, __m512 min) {
    __m512i code = shift ? _mm512_srli_epi32(lanes, (unsigned)shift) : lanes;
    __m512 value;
    if (code_width(f) <= 4) {
        value = _mm512_permutexvar_ps(code, low);
    } else if (code_width(f) == 5) {
        value = _mm512_permutex2var_ps(low, code, high);
    } else { /* bytes: the upper one is alone once shifted; min holds the offset */
        value = _mm512_cvtepi32_ps(shift ? code : _mm512_and_si512(code, _mm512_set1_epi32(255)));
        return _mm512_fmadd_ps(value, scale, min);
    }
    return f.has_min ? _mm512_fmadd_ps(value, scale, min) : _mm512_mul_ps(value, scale);
}

TSR_INLINE void store_bf16(uint8_t *row, __m512 low, __m512 high) {
    __m512bh both = _mm512_cvtne2ps_pbh(high, low);
    memcpy(row, &both, sizeof both);
}

/* Scale and min of the lanes, per group. */
typedef struct lane_scales {
    floats32 scale, min;
} lane_scales;

TSR_INLINE lane_scales load_lane_scales(const tsr_packed *w, const uint8_t *panel, int64_t b, const int g, const format f) {
    __m512 min = _mm512_setzero_ps(), scale = unpack_scale(w, panel, b, g, f, &min);
    if (code_width(f) > 5 && !f.has_min) min = _mm512_mul_ps(scale, _mm512_set1_ps((float)-f.offset)); /* exact: 17 and 8 bits */
    return (lane_scales){twice(scale), twice(min)};
}

/* Block b of a panel of codes as bf16: out [16][16][2], rounded to nearest even once. values: load_values. */
TSR_INLINE void unpack_block_bf16(const tsr_packed *w, const uint8_t *panel, int64_t b, const format f, const floats32 values,
                                  uint8_t *out) {
    /* codes alone in a line need not be taken apart */
    const bool raw = f.high_bits == 0 && f.code_bits < 8;
    const int per_line = raw ? 8 / f.code_bits : 1, step = raw ? f.code_bits : 0;
    lane_scales s = load_lane_scales(w, panel, b, 0, f);
    lanes32 x = {_mm512_setzero_si512(), _mm512_setzero_si512()};
#pragma GCC unroll 8
    for (int v = 0; v < TSR_QUADS; v++) {
        if (f.halves && v == TSR_QUADS / 2) s = load_lane_scales(w, panel, b, 1, f);
        if (!raw) x = widen(unpack_vector(w, panel, b, v, f, _mm512_setzero_si512()));
        else if (v % per_line == 0) x = load_widened(panel + b * (f.code_bits * 64) + v / per_line * 64);
        for (int odd = 0; odd < 2; odd++) {
            const int shift = v % per_line * step + 8 * odd, row = v / 2 * 4 + v % 2 + 2 * odd;
            store_bf16(out + row * 64, lane_weights(x.low, shift, f, values.low, values.high, s.scale.low, s.min.low),
                       lane_weights(x.high, shift, f, values.low, values.high, s.scale.high, s.min.high));
        }
    }
}

/* The same of a panel of 16-bit weights, whose order is B's already. */
TSR_INLINE void unpack_block_bf16_from_f16(const uint8_t *panel, int64_t b, uint8_t *out) {
    for (int row = 0; row < 16; row++, out += 64) {
        const uint8_t *line = panel + b * TSR_B16_BLOCK + row * 64;
        store_bf16(out, half16(line), half16(line + 32));
    }
}

/* n blocks of q8_0 values (kv.h) as bf16: of each pair of positions one row, columns of 2. */
TSR_INLINE void unpack_values8_bf16(const int8_t *codes, const uint16_t *scale, int64_t n, uint8_t *out) {
    const __m512i interleave = _mm512_setr_epi32(0x00100000, 0x00110001, 0x00120002, 0x00130003, 0x00140004, 0x00150005, 0x00160006, 0x00170007,
                                                 0x00180008, 0x00190009, 0x001a000a, 0x001b000b, 0x001c000c, 0x001d000d, 0x001e000e, 0x001f000f);
    for (int64_t l = 0; l < n * TSR_BLOCK_K; l += 2, codes += 2 * TSR_PANEL, out += 64) {
        __m512 x = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)codes)));
        __m512 y = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(codes + TSR_PANEL))));
        store_bf16(out, _mm512_mul_ps(x, _mm512_set1_ps(_cvtsh_ss(scale[l]))), _mm512_mul_ps(y, _mm512_set1_ps(_cvtsh_ss(scale[l + 1]))));
        _mm512_storeu_si512(out, _mm512_permutexvar_epi16(interleave, _mm512_loadu_si512(out)));
    }
}

TSR_INLINE void copy_block16(const uint8_t *panel, int64_t b, uint8_t *out) {
    for (int row = 0; row < 16; row++) _mm512_storeu_si512(out + row * 64, _mm512_loadu_si512(panel + b * TSR_B16_BLOCK + row * 64));
}

#endif
