/* peaks.h: what the hardware can do at most: loops that do nothing but one kind of arithmetic, on registers, and a loop that reads memory.
 * Speeds of products are given as shares of what these reach in the same run. They are written in assembly, so that no compiler can shorten
 * or spill them: at least as many independent sums as latency times rate of the instruction, operands in registers or tiles. */
#ifndef TSR_KERNELS_PEAKS_H
#define TSR_KERNELS_PEAKS_H

#include "core/cpu.h"

typedef enum tsr_peak_kind {
    TSR_PEAK_INT8, /* 8-bit integers, 32-bit sums */
    TSR_PEAK_HALF, /* bf16 or f16, f32 sums */
    TSR_PEAK_F32,
    TSR_PEAK_KINDS
} tsr_peak_kind;

typedef struct tsr_peak {
    const char *name;           /* the instruction: "vpdpbusd zmm" */
    double step_ops;            /* operations of a step: a multiplication and an addition count as two */
    void (*run)(int64_t steps); /* steps >= 1, on the calling thread */
} tsr_peak;

/* The fastest loop of a kind that the tier has, NULL when it has none (bf16 below avx512bf16). The tier must be usable. */
const tsr_peak *tsr_peak_get(tsr_tier tier, tsr_peak_kind kind);

/* Reads n bytes, a multiple of 1024, from p, 64-byte aligned, in order, with the tier's widest loads. */
typedef void (*tsr_peak_read_fn)(const void *p, size_t n);
tsr_peak_read_fn tsr_peak_read(tsr_tier tier);

/* The loops, one ISA a file. */
extern const tsr_peak tsr_peak_int8__avx2, tsr_peak_f32__avx2;
extern const tsr_peak tsr_peak_int8__avxvnni;
extern const tsr_peak tsr_peak_int8__avx512, tsr_peak_f32__avx512;
extern const tsr_peak tsr_peak_half__avx512bf16;
extern const tsr_peak tsr_peak_int8__amx, tsr_peak_half__amx, tsr_peak_half__amxfp16;
void tsr_peak_read__avx2(const void *p, size_t n);
void tsr_peak_read__avx512(const void *p, size_t n);

#endif
