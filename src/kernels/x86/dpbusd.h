/* dpbusd.h: vpdpbusd on 256 bits, as AVX-VNNI has it, or (in a build of tests/check for CPUs that lack that) as AVX-512 VNNI has it. */
#ifndef TSR_KERNELS_X86_DPBUSD_H
#define TSR_KERNELS_X86_DPBUSD_H

#include <immintrin.h>

/* acc[8] += 4 products each. GCC 12 copies the accumulators around the intrinsic; this keeps them where they are. */
#ifdef __AVX512VNNI__
static inline __attribute__((always_inline)) void dot4(__m256i *acc, __m256i u8, __m256i s8) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(u8), "v"(s8));
}
#else
static inline __attribute__((always_inline)) void dot4(__m256i *acc, __m256i u8, __m256i s8) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(*acc) : "x"(u8), "x"(s8));
}
#endif

#endif
