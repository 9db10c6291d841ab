/* matmul_plan.h: how a product with packed weights is cut: matmul_packed.c plans it, matmul_convert.c and matmul_parts.c carry it out. */
#ifndef TSR_KERNELS_MATMUL_PLAN_H
#define TSR_KERNELS_MATMUL_PLAN_H

#include "kernels/matmul.h"

enum {
    TSR_STRIP_COLUMNS = 2 * TSR_PANEL,
    TSR_TILE_ROWS = 16,   /* of the wide path */
    TSR_WIDE_STRIPS = 8,  /* strips of a wide item, at most */
};

typedef enum tsr_path { TSR_PATH_NARROW, TSR_PATH_NARROW_F32, TSR_PATH_INTEGER, TSR_PATH_WIDE } tsr_path;

/* The rows of a group in the forms that its parts read. A row that is alone in several groups stands for all of them. */
typedef struct tsr_converted {
    tsr_rows x;             /* where they come from */
    int64_t rows;
    int n_act;              /* layouts with sums of their own among the narrow and integer parts */
    const tsr_layout *layouts[TSR_MAX_OUTPUTS];
    tsr_act8 act[TSR_MAX_OUTPUTS];
    const tsr_wide *wide;   /* of wide parts, or NULL */
    uint8_t *tiles;         /* their row tiles */
    float *copy;            /* [rows][k] of narrow f32 parts, where x has rows that are picked or normed; else NULL */
} tsr_converted;

/* Results that are computed together, of one group: of an output or, with a gate, of two. Of weights that are split
 * over NUMA nodes, those of one node. */
typedef struct tsr_part {
    const tsr_converted *in;
    const tsr_act8 *act;    /* one of in->act: narrow, integer */
    tsr_packed w[2];
    int n_w;
    const tsr_packed_output *out;
    int64_t first;          /* its row 0 among those of y */
    tsr_path path;
    int node;               /* of the pool's: where split weights lie, else 0 */
    int64_t begin, count;   /* strips (narrow: panels) [begin, begin + count) */
    int64_t unit;           /* how many make an item */
    int64_t first_item;     /* among those of all parts */
} tsr_part;

/* The bytes of so many row tiles. */
size_t tsr_tile_bytes(const tsr_wide *wide, int64_t rows, int64_t k);

/* Converts the rows into all forms: with a pool, share i of n of a job that all its threads call together, and it ends with a barrier;
 * without, the caller alone (i = 0, n = 1). scratch: as in tsr_packed_product. */
void tsr_convert(const tsr_packed_product *p, const tsr_converted *in, uint8_t *scratch, tsr_pool *pool, int i, int n);
/* False when the parts read the rows as they are. */
bool tsr_needs_converting(const tsr_converted *in);

/* Item `item` of a part, on the calling thread. */
void tsr_part_item(const tsr_packed_product *p, const tsr_part *part, int64_t item, uint8_t *scratch);

/* Bytes of scratch that each needs. */
size_t tsr_convert_scratch(int64_t k);
size_t tsr_part_scratch(int64_t k);

#endif
