/* pack.h: the parts that packing is made of; packed.h is the interface. A column of a panel is one GGUF row, and goes
 *   GGUF blocks <-> codes in k order, one byte each (pack_get_codes.h and pack_codes.c)
 *   codes <-> lines of the code planes (pack.c, x86/pack_*.c)
 *   GGUF blocks <-> scale fields <-> scale plane (pack_scales.c)
 */
#ifndef TSR_KERNELS_PACK_H
#define TSR_KERNELS_PACK_H

#include "core/cpu.h"
#include "kernels/packed.h"

/* Packing goes chunk by chunk: as much as the largest unit, so that a row is read in runs of more than a cache line. */
enum { TSR_PACK_CHUNK = 256 };

/* Writes the bytes of the blocks that hold codes and leaves those of the scales: the inverse of get_codes below. */
void tsr_pack_put_codes(tsr_type type, const uint8_t *codes, int64_t k, uint8_t *blocks);

/* What a block has besides codes, as it lies in the scale plane. */
typedef struct tsr_unit_scales {
    uint16_t d, m; /* f16 bits of d and of m or dmin */
    uint8_t s[16]; /* this column's bytes before d in a unit (packed.h): K32_MIN scales, then mins; E8M0 s[0] alone */
} tsr_unit_scales;

/* Into one GGUF block; leaves the bytes of the codes. */
void tsr_pack_put_scales(tsr_type type, const tsr_unit_scales *scales, uint8_t *block);
/* Of one column of a unit of the scale plane. */
void tsr_pack_load_scales(tsr_scales kind, const uint8_t *unit, int column, tsr_unit_scales *scales);

/* One record per tier. */
typedef struct tsr_pack_kernels {
    tsr_tier tier;
    /* codes[k] = the unsigned codes of k weights of a type with codes of up to 8 bits; k a multiple of its block. */
    void (*get_codes)(tsr_type type, const uint8_t *blocks, int64_t k, uint8_t *codes);
    /* low (code_bits lines of 64 bytes) and high (high_bits lines) of a block of 32 k; column c's codes at codes + c * stride.
     * All of low and high is written; they are 64-byte aligned. */
    void (*lines)(const uint8_t *codes, size_t stride, int code_bits, int high_bits, uint8_t *low, uint8_t *high);
    /* The 16 lines of a block of 16-bit weights; column c's 32 weights at weights + c * stride. */
    void (*lines16)(const uint8_t *weights, size_t stride, uint8_t *lines);
    /* out[16 j + c] = in[c][j]: 16 scales of 16 columns */
    void (*transpose)(const uint8_t in[TSR_PANEL][16], uint8_t out[16 * TSR_PANEL]);
    /* After the last line, on the thread that wrote it: makes the lines visible before what the thread stores next.
     * NULL: they are already. */
    void (*finish)(void);
} tsr_pack_kernels;

/* The record of a tier, which must be one that the CPU has. */
const tsr_pack_kernels *tsr_pack_kernels_get(tsr_tier tier);

/* What the records hold. */
void tsr_pack_get_codes__scalar(tsr_type type, const uint8_t *blocks, int64_t k, uint8_t *codes);
void tsr_pack_get_codes__avx2(tsr_type type, const uint8_t *blocks, int64_t k, uint8_t *codes);
void tsr_pack_lines__scalar(const uint8_t *codes, size_t stride, int code_bits, int high_bits, uint8_t *low, uint8_t *high);
void tsr_pack_lines__avx2(const uint8_t *codes, size_t stride, int code_bits, int high_bits, uint8_t *low, uint8_t *high);
void tsr_pack_lines__avx512(const uint8_t *codes, size_t stride, int code_bits, int high_bits, uint8_t *low, uint8_t *high);
void tsr_pack_lines16__scalar(const uint8_t *weights, size_t stride, uint8_t *lines);
void tsr_pack_lines16__avx2(const uint8_t *weights, size_t stride, uint8_t *lines);
void tsr_pack_lines16__avx512(const uint8_t *weights, size_t stride, uint8_t *lines);
void tsr_pack_transpose__scalar(const uint8_t in[TSR_PANEL][16], uint8_t out[16 * TSR_PANEL]);
void tsr_pack_transpose__avx2(const uint8_t in[TSR_PANEL][16], uint8_t out[16 * TSR_PANEL]);
void tsr_pack_finish__avx512(void);

/* `count` units of all columns, from blocks to the scale plane; column c's blocks begin at blocks[c]. */
void tsr_pack_scale_units(const tsr_pack_kernels *kern, tsr_type type, const uint8_t *const blocks[TSR_PANEL], int64_t count,
                          uint8_t *units);

/* tsr_pack with a given record; every one gives the same bytes. */
void tsr_pack_with(const tsr_pack_kernels *kern, const tsr_packed *p, const void *rows, size_t row_bytes, int64_t first,
                   int64_t last);

#endif
