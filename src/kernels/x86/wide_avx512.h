/* wide_avx512.h: how the AVX-512 files of the wide float path walk the rows of a strip: 8 at a time, the rest with a kernel of its size. */
#ifndef TSR_KERNELS_X86_WIDE_AVX512_H
#define TSR_KERNELS_X86_WIDE_AVX512_H

#include "kernels/kernels.h"
#include "kernels/x86/formats.h"

enum { WIDE_TILE_ROWS = 16, WIDE_MICRO_ROWS = 8, WIDE_PANEL_FLOATS = WIDE_TILE_ROWS * TSR_PANEL };

/* C (+)= A B for the R rows that the kernel is made for, two panels: a: its first row in block 0 of a row tile; b: of each panel
 * [blocks]; c: its first row in the first panel's tile; the second panel's is WIDE_PANEL_FLOATS further. */
typedef void (*wide_micro_fn)(const uint8_t *a, const uint8_t *const b[2], int64_t blocks, float *c, bool accumulate);

/* All rows of a strip; micro[R] is the kernel of R rows, row_bytes those of a row of a block of A. */
TSR_INLINE void wide_walk(const tsr_wide_job *job, const uint8_t *const b[2], const wide_micro_fn micro[WIDE_MICRO_ROWS + 1],
                          const int row_bytes) {
    for (int64_t row = 0; row < job->rows; row += WIDE_MICRO_ROWS) {
        int64_t tile = row / WIDE_TILE_ROWS, in_tile = row % WIDE_TILE_ROWS, left = job->rows - row;
        const uint8_t *a = (const uint8_t *)job->a + (size_t)tile * job->a_stride + in_tile * row_bytes;
        float *c = job->c + tile * 2 * WIDE_PANEL_FLOATS + in_tile * TSR_PANEL;
        micro[left < WIDE_MICRO_ROWS ? left : WIDE_MICRO_ROWS](a, b, job->blocks, c, job->accumulate);
    }
}

#endif
