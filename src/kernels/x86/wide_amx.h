/* wide_amx.h: the wide float path on AMX tiles: what its bf16 and f16 files share.
 *
 *   tmm0..3  C: two row tiles x two panels, over a whole run of blocks      C00 C01    A0
 *   tmm4, 5  A: two row tiles, streamed from the L2 cache                   C10 C11    A1   x   B0 B1
 *   tmm6, 7  B: two panels, from the L1 cache
 *
 * A step is a block of 32 k: 4 loads and 4 products, 64 cycles at the peak. For the first pair of row tiles the block after the next is
 * unpacked beside each step: vector units and tile unit work at the same time, and what is stored is loaded as tiles 8 tile loads later (a
 * tile load right after the stores waits for them). The other row tiles read what is there. */
#ifndef TSR_KERNELS_X86_WIDE_AMX_H
#define TSR_KERNELS_X86_WIDE_AMX_H

#ifndef TSR_AMX_TILE_HEADER
#define TSR_AMX_TILE_HEADER "kernels/x86/amx_tile.h"
#endif
#include TSR_AMX_TILE_HEADER

#include "kernels/kernels.h"

enum {
    C00, C01, C10, C11, A0, A1, B0, B1,
    AHEAD = 2,      /* blocks that are unpacked before their step; not measured: no AMX machine at hand */
    RUN_BLOCKS = 16 /* B: 32 KiB of 48 KiB of L1 cache. Longer runs load and store C less often; not measured: no AMX machine at hand */
};

typedef void (*unpack_block_fn)(const tsr_packed *w, const uint8_t *panel, int64_t block, uint8_t *out);

/* One block: `both` row tiles or one times two panels. Every use is inlined: tiles are numbers then. */
TILE_INLINE void step(const uint8_t *a0, const uint8_t *a1, const uint8_t *b0, const uint8_t *b1, const bool f16, const bool both) {
    tile_load(B0, b0);
    tile_load_stream(A0, a0); /* so that it does not drive B out of the L1 cache; not measured: no AMX machine at hand */
    if (f16) tile_dot_f16(C00, A0, B0);
    else tile_dot_bf16(C00, A0, B0);
    tile_load(B1, b1);
    if (f16) tile_dot_f16(C01, A0, B1);
    else tile_dot_bf16(C01, A0, B1);
    if (!both) return;
    tile_load_stream(A1, a1);
    if (f16) tile_dot_f16(C10, A1, B0);
    else tile_dot_bf16(C10, A1, B0);
    if (f16) tile_dot_f16(C11, A1, B1);
    else tile_dot_bf16(C11, A1, B1);
}

TILE_INLINE void begin(const float *c, bool accumulate, const bool both) {
    if (accumulate) {
        tile_load(C00, c);
        tile_load(C01, c + 256);
        if (both) tile_load(C10, c + 512);
        if (both) tile_load(C11, c + 768);
    } else {
        tile_zero(C00);
        tile_zero(C01);
        if (both) tile_zero(C10);
        if (both) tile_zero(C11);
    }
}

TILE_INLINE void end(float *c, const bool both) {
    tile_store(C00, c);
    tile_store(C01, c + 256);
    if (both) tile_store(C10, c + 512);
    if (both) tile_store(C11, c + 768);
}

/* Row tile `tile`, and the next if both, times all blocks of the run. unpack: NULL where B is unpacked already. */
TILE_INLINE void multiply_tiles(const tsr_wide_job *job, int64_t tile, const unpack_block_fn unpack, const bool f16, const bool both) {
    const uint8_t *a0 = (const uint8_t *)job->a + (size_t)tile * job->a_stride, *a1 = a0 + job->a_stride;
    uint8_t *b0 = job->b, *b1 = b0 + job->blocks * TILE_BYTES;
    const uint8_t *panel0 = job->w->data + (size_t)job->panel[0] * job->w->panel_bytes;
    const uint8_t *panel1 = job->w->data + (size_t)job->panel[1] * job->w->panel_bytes;
    float *c = job->c + tile * 512;
    for (int64_t i = 0; unpack && i < AHEAD && i < job->blocks; i++) {
        unpack(job->w, panel0, job->block + i, b0 + i * TILE_BYTES);
        unpack(job->w, panel1, job->block + i, b1 + i * TILE_BYTES);
    }
    begin(c, job->accumulate, both);
    for (int64_t i = 0; i < job->blocks; i++) {
        if (unpack && i + AHEAD < job->blocks) {
            unpack(job->w, panel0, job->block + i + AHEAD, b0 + (i + AHEAD) * TILE_BYTES);
            unpack(job->w, panel1, job->block + i + AHEAD, b1 + (i + AHEAD) * TILE_BYTES);
        }
        step(a0 + i * TILE_BYTES, a1 + i * TILE_BYTES, b0 + i * TILE_BYTES, b1 + i * TILE_BYTES, f16, both);
    }
    end(c, both);
}

/* C (+)= A B */
TILE_INLINE void multiply_strip(const tsr_wide_job *job, const unpack_block_fn unpack, const bool f16) {
    int64_t tiles = (job->rows + TILE_ROWS - 1) / TILE_ROWS, tile = 2;
    if (tiles == 1) {
        multiply_tiles(job, 0, unpack, f16, false);
        return;
    }
    multiply_tiles(job, 0, unpack, f16, true);
    for (; tile + 2 <= tiles; tile += 2) multiply_tiles(job, tile, NULL, f16, true);
    if (tile < tiles) multiply_tiles(job, tile, NULL, f16, false);
}

#endif
