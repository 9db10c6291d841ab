/* half.c: 16-bit floats. Integer arithmetic only, so that threads that flush denormals get the same results. */
#include "quant/quant.h"

#include <string.h>

static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t to_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

float tsr_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = (h >> 10) & 31, frac = h & 0x3ff;
    if (exp == 31) return from_bits(sign | 0x7f800000u | frac << 13);
    if (exp > 0) return from_bits(sign | (exp + 112) << 23 | frac << 13);
    if (frac == 0) return from_bits(sign);
    /* Denormal, frac * 2^-24: normalise. */
    uint32_t shift = (uint32_t)__builtin_clz(frac) - 21; /* brings the leading one to bit 10 */
    return from_bits(sign | (113 - shift) << 23 | (frac << shift & 0x3ff) << 13);
}

uint16_t tsr_f32_to_f16(float f) {
    uint32_t u = to_bits(f), a = u & 0x7fffffff;
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff)); /* NaN, made quiet */
    if (a >= 0x477ff000) return sign | 0x7c00;                                /* >= 65520 rounds to infinity */
    if (a >= 0x38800000) {                                                    /* >= 2^-14: normal */
        a += 0xfff + (a >> 13 & 1);
        return (uint16_t)(sign | ((a - 0x38000000) >> 13));
    }
    if (a < 0x33000000) return sign; /* < 2^-25 rounds to zero */
    /* Denormal: (1.frac) * 2^(exp-127) in units of 2^-24. */
    uint32_t frac = (a & 0x7fffff) | 0x800000, shift = 126 - (a >> 23); /* 14..24 */
    uint32_t q = frac >> shift, rest = frac & ((1u << shift) - 1), half = 1u << (shift - 1);
    q += rest > half || (rest == half && (q & 1));
    return (uint16_t)(sign | q);
}

float tsr_bf16_to_f32(uint16_t h) { return from_bits((uint32_t)h << 16); }

uint16_t tsr_f32_to_bf16(float f) {
    uint32_t u = to_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 64); /* NaN, made quiet */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
