/* packed_avx2.c: products of packed weights with 8-bit activations, for AVX2: the dot product; packed_ymm.h is the rest. Compiled with this
 * ISA's flags only.
 *
 * vpmaddubsw multiplies unsigned bytes u with signed ones x and adds two neighbours, saturating at 32767. Activations are -127..127, so
 * that with codes of at most c each result is within 254 c, and as many as fit are added in 16 bits before vpmaddwd makes 32 bits of them:
 *
 *   codes        c     254 c   added
 *   2, 3 bits    7      1778   8 (18 would fit)
 *   MXFP4       12      3048   8 (10)
 *   4 bits      15      3810   8
 *   5 bits      31      7874   4
 *   6 bits      63     16002   2
 *   8 bits     128     32512   1
 *
 * Codes with an offset of 128 become signed first, w = code - 128; then u = |w|, and x takes the sign of w (-127..127 has no value whose
 * negative does not fit). 16-entry codebooks are within -127..113, MXFP4's within -12..12. */
#include "kernels/x86/unpack_avx2.h"

TSR_INLINE bool centred(const format f) { return f.offset == 128; }

/* Results of vpmaddubsw that may be added in 16 bits. */
TSR_INLINE int dot_depth(const format f) {
    const int bits = f.code_bits + f.high_bits;
    const int most = !centred(f) ? (1 << bits) - 1 : f.scales == TSR_SCALES_E8M0 ? 12 : 128, fit = 32767 / (254 * most);
    return fit >= 8 ? 8 : fit >= 4 ? 4 : fit;
}

typedef struct operand {
    __m256i u, w; /* magnitudes; what gives x its sign */
} operand;

TSR_INLINE operand make_operand(__m256i codes, const format f) {
    if (!centred(f)) return (operand){codes, codes};
    __m256i w = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
    return (operand){_mm256_abs_epi8(w), w};
}

TSR_INLINE __m256i products16(operand q, __m256i x, const format f) {
    return _mm256_maddubs_epi16(q.u, centred(f) ? _mm256_sign_epi8(x, q.w) : x);
}

TSR_INLINE __m256i widen(__m256i sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }

/* GCC 12 makes trees of sums, for which it lacks registers; this keeps the order. */
TSR_INLINE void settle(__m256i *sum) { __asm__("" : "+x"(*sum)); }

/* One or two vectors at a time, sums in 32 bits. */
TSR_INLINE void dot_short(__m256i acc[][HALVES], const code_block *q, const int first, const int vectors, const int8_t *x, const format f,
                          const bool packed, const int R, const int T) {
    const int depth = dot_depth(f);
    for (int r = 0; r < T; r++) acc[r][0] = acc[r][1] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int v = first; v < first + vectors; v += depth, x += depth * R * 4) {
        operand w[2][HALVES];
        for (int i = 0; i < depth; i++)
            for (int h = 0; h < HALVES; h++) w[i][h] = make_operand(fetch_half(q, v + i, h, f, packed), f);
        for (int r = 0; r < T; r++) {
            __m256i x0 = quad(x + r * 4), x1 = depth == 2 ? quad(x + (R + r) * 4) : x0;
            for (int h = 0; h < HALVES; h++) {
                __m256i sums = products16(w[0][h], x0, f);
                if (depth == 2) sums = _mm256_add_epi16(sums, products16(w[1][h], x1, f));
                acc[r][h] = _mm256_add_epi32(acc[r][h], widen(sums));
                settle(&acc[r][h]);
            }
        }
    }
}

/* Four or eight vectors at a time, each for all rows. */
TSR_INLINE void dot_long(__m256i acc[][HALVES], const code_block *q, const int first, const int vectors, const int8_t *x, const format f,
                         const bool packed, const int R, const int T) {
    const int depth = dot_depth(f) < vectors ? dot_depth(f) : vectors;
    __m256i sums[4][HALVES];
#pragma GCC unroll 8
    for (int i = 0; i < vectors; i++) {
        operand w[HALVES];
        for (int h = 0; h < HALVES; h++) w[h] = make_operand(fetch_half(q, first + i, h, f, packed), f);
        for (int r = 0; r < T; r++) {
            __m256i four = quad(x + (i * R + r) * 4);
            for (int h = 0; h < HALVES; h++) {
                __m256i more = products16(w[h], four, f);
                sums[r][h] = i % depth == 0 ? more : _mm256_add_epi16(sums[r][h], more);
                settle(&sums[r][h]);
            }
        }
        for (int r = 0; r < T && i % depth == depth - 1; r++)
            for (int h = 0; h < HALVES; h++) acc[r][h] = i < depth ? widen(sums[r][h]) : _mm256_add_epi32(acc[r][h], widen(sums[r][h]));
    }
}

/* acc[T][2] = T of R lanes, from start (with a min: from 0), plus their products with group g of a block. */
TSR_INLINE void dot_group(__m256i acc[][HALVES], const code_block *q, const int g, const int8_t *x, const int32_t *start, const format f,
                          const bool packed, const int R, const int T) {
    const int vectors = f.halves ? 4 : 8;
    if (dot_depth(f) <= 2) dot_short(acc, q, 4 * g, vectors, x, f, packed, R, T);
    else dot_long(acc, q, 4 * g, vectors, x, f, packed, R, T);
    for (int r = 0; r < T && !f.has_min && !centred(f); r++) {
        __m256i from = quad((const int8_t *)(start + r));
        for (int h = 0; h < HALVES; h++) acc[r][h] = _mm256_add_epi32(acc[r][h], from);
    }
}

#include "kernels/x86/packed_ymm.h"

static void packed_gemm__avx2(const tsr_strip8 *s, const tsr_act8 *a, float *y, int64_t ldy) {
    switch (s->type) { /* of what is the same to this kernel, one */
    case TSR_Q2_K: gemm_rows(s, a, y, ldy, (format){.code_bits = 2, .has_min = true, .halves = true}); break;
    case TSR_Q3_K: gemm_rows(s, a, y, ldy, (format){.code_bits = 3, .halves = true}); break;
    case TSR_Q4_0: gemm_rows(s, a, y, ldy, (format){.code_bits = 4}); break;
    case TSR_Q4_1:
    case TSR_Q4_K: gemm_rows(s, a, y, ldy, (format){.code_bits = 4, .has_min = true}); break;
    case TSR_Q5_0: gemm_rows(s, a, y, ldy, (format){.code_bits = 5}); break;
    case TSR_Q5_1:
    case TSR_Q5_K: gemm_rows(s, a, y, ldy, (format){.code_bits = 5, .has_min = true}); break;
    case TSR_Q6_K: gemm_rows(s, a, y, ldy, (format){.code_bits = 6, .halves = true}); break;
    case TSR_MXFP4: gemm_rows(s, a, y, ldy, (format){.code_bits = 8, .offset = 128, .scales = TSR_SCALES_E8M0}); break;
    default: gemm_rows(s, a, y, ldy, (format){.code_bits = 8, .offset = 128}); break;
    }
}

/* ---------------------------------------------------------------------------------------- one pair per layout */

#define DEFINE(TYPE, ...)                                                                                          \
    static void narrow_##TYPE##__avx2(const tsr_packed *w, int64_t p, const tsr_act8 *a, float *out) {             \
        narrow_rows(w, p, a, out, (format){__VA_ARGS__});                                                          \
    }                                                                                                                  \
    static void unpack_##TYPE##__avx2(const tsr_packed *w, int64_t p, uint8_t *codes, float *scale, float *min) {  \
        unpack_panel(w, p, codes, scale, min, (format){__VA_ARGS__});                                              \
    }
TSR_FORMATS(DEFINE)

#define FILL(TYPE, ...)                                       \
    k->packed_narrow[TSR_##TYPE] = narrow_##TYPE##__avx2;     \
    k->packed_unpack[TSR_##TYPE] = unpack_##TYPE##__avx2;

void tsr_kernels_fill_packed_avx2(tsr_kernels *k) {
    k->packed_gemm = packed_gemm__avx2;
    k->packed_gemm_name = "packed_gemm_u8s8_4x16__avx2";
    k->packed_narrow_name = "packed_narrow_u8s8_4x16__avx2";
    TSR_FORMATS(FILL)
}
