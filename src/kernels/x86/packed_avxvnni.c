/* packed_avxvnni.c: products of packed weights with 8-bit activations, for AVX-VNNI: the dot product; packed_ymm.h is the rest. Compiled with
 * this ISA's flags only; tests/check compiles it for AVX-512 VNNI too, whose instruction on 256 bits is the same (dpbusd.h). */
#include "kernels/x86/dpbusd.h"
#include "kernels/x86/unpack_avx2.h"

/* acc[T][2] = T of R lanes, from start (with a min: from 0), plus their products with group g of a block. */
TSR_INLINE void dot_group(__m256i acc[][HALVES], const code_block *q, const int g, const int8_t *x, const int32_t *start, const format f,
                          const bool packed, const int R, const int T) {
    for (int r = 0; r < T; r++) acc[r][0] = acc[r][1] = f.has_min ? _mm256_setzero_si256() : quad((const int8_t *)(start + r));
    const int vectors = f.halves ? 4 : 8;
#pragma GCC unroll 8
    for (int i = 0; i < vectors; i++) {
        __m256i w0 = fetch_half(q, 4 * g + i, 0, f, packed), w1 = fetch_half(q, 4 * g + i, 1, f, packed);
        for (int r = 0; r < T; r++) {
            __m256i four = quad(x + (i * R + r) * 4);
            dot4(&acc[r][0], w0, four);
            dot4(&acc[r][1], w1, four);
        }
    }
}

#include "kernels/x86/packed_ymm.h"

static void packed_gemm__avxvnni(const tsr_strip8 *s, const tsr_act8 *a, float *y, int64_t ldy) {
    if (s->halves) {
        if (s->has_min) gemm_rows(s, a, y, ldy, (format){.code_bits = 8, .halves = true, .has_min = true});
        else gemm_rows(s, a, y, ldy, (format){.code_bits = 8, .halves = true});
    } else {
        if (s->has_min) gemm_rows(s, a, y, ldy, (format){.code_bits = 8, .has_min = true});
        else gemm_rows(s, a, y, ldy, (format){.code_bits = 8});
    }
}

/* ---------------------------------------------------------------------------------------- one pair per layout */

#define DEFINE(TYPE, ...)                                                                                          \
    static void narrow_##TYPE##__avxvnni(const tsr_packed *w, int64_t p, const tsr_act8 *a, float *out) {             \
        narrow_rows(w, p, a, out, (format){__VA_ARGS__});                                                          \
    }
TSR_FORMATS(DEFINE)

#define FILL(TYPE, ...) k->packed_narrow[TSR_##TYPE] = narrow_##TYPE##__avxvnni;

/* Unpacking is AVX2's. */
void tsr_kernels_fill_packed_avxvnni(tsr_kernels *k) {
    k->packed_gemm = packed_gemm__avxvnni;
    k->packed_gemm_name = "packed_gemm_u8s8_4x16__avxvnni";
    k->packed_narrow_name = "packed_narrow_u8s8_4x16__avxvnni";
    TSR_FORMATS(FILL)
}
