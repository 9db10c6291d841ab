/* matmul_convert.c: the first phase of a product with packed weights: rows of activations become what its parts read, each form once. */
#include "core/ints.h"
#include "kernels/matmul_plan.h"

/* Rows picked or normed on their way: into 8-bit codes 8 at a time, into row tiles 16. */
size_t tsr_convert_scratch(int64_t k) { return (size_t)TSR_TILE_ROWS * (size_t)k * sizeof(float); }

size_t tsr_tile_bytes(const tsr_wide *wide, int64_t rows, int64_t k) {
    size_t tiles = (size_t)((rows + TSR_TILE_ROWS - 1) / TSR_TILE_ROWS), blocks = (size_t)((k + TSR_BLOCK_K - 1) / TSR_BLOCK_K);
    return tiles * (TSR_TILE_ROWS * TSR_BLOCK_K * blocks * (size_t)wide->elem_bytes + wide->row_tile_extra);
}

/* Row tiles: share i of n. */
static void pack_tiles(const tsr_packed_product *p, const tsr_converted *in, float *buffer, int i, int n) {
    int64_t begin, end, k = in->x.k;
    tsr_split(in->rows, TSR_TILE_ROWS, i, n, &begin, &end);
    for (int64_t row = begin; row < end; row += TSR_TILE_ROWS) {
        int64_t rows = tsr_min64(TSR_TILE_ROWS, end - row), ldx = in->x.ldx;
        const float *x = in->x.x + row * ldx;
        if (in->x.index || in->x.norm) {
            for (int64_t r = 0; r < rows; r++) tsr_rows_copy(&in->x, p->kern, row + r, buffer + r * k);
            x = buffer;
            ldx = k;
        }
        in->wide->pack_rows(x, ldx, (int)rows, k, in->tiles + tsr_tile_bytes(in->wide, row, k));
    }
}

bool tsr_needs_converting(const tsr_converted *in) { return in->n_act > 0 || in->wide || in->copy; }

void tsr_convert(const tsr_packed_product *p, const tsr_converted *in, uint8_t *scratch, tsr_pool *pool, int i, int n) {
    float *buffer = (float *)(void *)scratch;
    if (in->wide) pack_tiles(p, in, buffer, i, n);
    if (in->copy) tsr_rows_copy_share(&in->x, p->kern, in->rows, i, n, in->copy);
    const tsr_act8_source source = {p->kern, in->layouts, in->n_act, in->x, in->rows, buffer};
    if (in->n_act > 0) tsr_act8_quantize(in->act, &source, pool, i, n);
    else if (pool) tsr_pool_barrier(pool, i);
}
