/* formats.h: the constants of the packed layouts (kernels/layouts.c) as literals, so that a kernel written once for all of them becomes one
 * function for each, free of branches. tests/check compares every such function with the reference, which reads the table. */
#ifndef TSR_KERNELS_X86_FORMATS_H
#define TSR_KERNELS_X86_FORMATS_H

#include "kernels/packed.h"

#define TSR_INLINE static inline __attribute__((always_inline))

/* The constants of a layout; every use is inlined with literal values. */
typedef struct format {
    int code_bits, high_bits, offset;
    bool table, has_min, halves; /* halves: groups of 16 k */
    tsr_scales scales;
} format;

/* DO(type, fields of its format) for every type with codes of up to 8 bits. */
#define TSR_FORMATS(DO)                                       \
    DO(Q4_0, 4, 0, 8, false, false, false, TSR_SCALES_F16)    \
    DO(Q4_1, 4, 0, 0, false, true, false, TSR_SCALES_F16_MIN) \
    DO(Q5_0, 4, 1, 16, false, false, false, TSR_SCALES_F16)   \
    DO(Q5_1, 4, 1, 0, false, true, false, TSR_SCALES_F16_MIN) \
    DO(Q8_0, 8, 0, 128, false, false, false, TSR_SCALES_F16)  \
    DO(Q2_K, 2, 0, 0, false, true, true, TSR_SCALES_K16_MIN)  \
    DO(Q3_K, 2, 1, 4, false, false, true, TSR_SCALES_K16)     \
    DO(Q4_K, 4, 0, 0, false, true, false, TSR_SCALES_K32_MIN) \
    DO(Q5_K, 4, 1, 0, false, true, false, TSR_SCALES_K32_MIN) \
    DO(Q6_K, 4, 2, 32, false, false, true, TSR_SCALES_K16)    \
    DO(IQ4_NL, 4, 0, 128, true, false, false, TSR_SCALES_F16) \
    DO(IQ4_XS, 4, 0, 128, true, false, false, TSR_SCALES_K32) \
    DO(MXFP4, 4, 0, 128, true, false, false, TSR_SCALES_E8M0)

#endif
