/* act8.h: activations rounded to 8 bits for VNNI, in the order of the packed layouts.
 *
 * Each block of 32 activations gets a scale (largest magnitude / 127) and int8 codes. That alone costs about 0.5 % of the product
 * (1.2 % with heavy tails), too much for a default: it moves the output of real models by a mean KL of 0.002 to 0.006. Nearly all of
 * the error comes from few blocks, the same for every row: those that hold a model's outlier channels. So the blocks with the most
 * energy, chosen for each group of 8 rows, are entered a second time with the rounding errors of the first, again as 8-bit codes: their
 * activations then have 15 bits. Kernels may run over all entries alike, each naming a block of weights, or use that the first 2 * pairs
 * of them are pairs. doc/accuracy.md shows what this buys. */
#ifndef TSR_KERNELS_ACT8_H
#define TSR_KERNELS_ACT8_H

#include "core/threads.h"
#include "kernels/packed.h"
#include "kernels/rows.h"

/* Rows are stored in groups of 8, side by side, so that a kernel walks one stream: element (entry, ..., lane) with `lanes` the rows of the
 * group rounded up to 1 or an even number; a lane without a row holds zeros. Every group has the memory of 8 lanes. */
enum { TSR_ACT8_GROUP = 8 };

/* The first 2 * pairs entries of a group are pairs: 2 i holds a block's codes, 2 i + 1 their rounding errors. Both meet the same block, the
 * scale of the second is that of the first / 2^TSR_ACT8_PAIR_SHIFT, exactly, and its sum is 0, as the first's includes it. The product of a
 * pair is therefore scale[2 i + 1] * ((int32 product of 2 i << TSR_ACT8_PAIR_SHIFT) + int32 product of 2 i + 1). The other blocks follow,
 * in order. */
enum { TSR_ACT8_PAIR_SHIFT = 7 };

typedef struct tsr_act8 {
    int64_t rows, entries, pairs;
    int8_t *codes;   /* per group [entries][8][lanes][4]: quad v of a lane meets byte 4 c + i of vector v (packed.h) */
    float *scale;    /* per group [entries][lanes] */
    int32_t *start;  /* per group [entries][2][lanes] -offset * (sum of the codes that share a weight scale): layouts without min */
    float *sum;      /* the same memory: scale * that sum: layouts with min. [1] is used where groups are of 16 */
    int32_t *block;  /* per group [entries] the block of weights that an entry meets */
    float *max;      /* [rows of x][blocks] largest magnitudes */
    float *energy;   /* per group [blocks] */
} tsr_act8;

/* Rows and lanes of group g. */
static inline int tsr_act8_group_rows(const tsr_act8 *a, int64_t g) {
    int64_t left = a->rows - g * TSR_ACT8_GROUP;
    return left < TSR_ACT8_GROUP ? (int)left : TSR_ACT8_GROUP;
}

static inline int tsr_act8_lanes(const tsr_act8 *a, int64_t g) {
    int rows = tsr_act8_group_rows(a, g);
    return rows == 1 ? 1 : (rows + 1) / 2 * 2;
}

/* With at most this many rows every block has its rounding errors, as a row of their own right after its row: time goes to reading
 * weights then. The product of row i is row 2 i + row 2 i + 1 of the kernels' results. */
enum { TSR_ACT8_PAIRED = 2 };

/* Paired rows never depend on other rows, so where a row's product must not (tsr_packed_product.rows_alone) up to this many rows are paired: the
 * lanes of two groups. */
enum { TSR_ACT8_ALONE = 8 };

/* Blocks whose largest magnitude is at most this count as zeros. */
#define TSR_ACT8_SMALL 0x1p-100f

/* Activations serve weights of several layouts at once: as many tsr_act8 as there are layouts with sums of their own, at most this many,
 * which differ in start and sum alone. */
enum { TSR_ACT8_LAYOUTS = 3 };

/* Do both layouts take the same sums? */
bool tsr_act8_same_sums(const tsr_layout *a, const tsr_layout *b);

/* Bytes of workspace for up to m rows of k activations, any TSR_ACT8_LAYOUTS layouts. False when it does not fit a size_t. */
bool tsr_act8_bytes(int64_t m, int64_t k, size_t *out);

struct tsr_kernels;

/* Lays out a[n_layouts] for m rows of k activations in work (64-byte aligned) and returns how many bytes of it they take. alone: paired, for
 * m <= TSR_ACT8_ALONE. */
size_t tsr_act8_place(tsr_act8 *a, int n_layouts, void *work, int64_t m, int64_t k, bool alone);

/* Activations to quantise: m rows of x for products with weights of layouts[n_layouts], into what a[n_layouts] point to. */
typedef struct tsr_act8_source {
    const struct tsr_kernels *kern;
    const tsr_layout *const *layouts;
    int n_layouts;
    tsr_rows x;
    int64_t m;
    float *buffer; /* [8][k] of the calling thread, for rows that are normed; else it may be NULL */
} tsr_act8_source;

/* All n threads of a pool's job call it together; it is complete when it returns. pool NULL (then i = 0, n = 1): the caller alone. */
void tsr_act8_quantize(const tsr_act8 *a, const tsr_act8_source *s, tsr_pool *pool, int i, int n);

/* Rows [first, first + rows) of a, first a multiple of TSR_ACT8_GROUP and no row paired. */
tsr_act8 tsr_act8_rows(const tsr_act8 *a, int64_t first, int64_t rows);

#endif
