/* rows.h: the rows that a product reads: picked from a list and normed on the way, so that neither needs a pass of its own. */
#ifndef TSR_KERNELS_ROWS_H
#define TSR_KERNELS_ROWS_H

#include <stdint.h>

struct tsr_kernels;

typedef struct tsr_rows {
    const float *x;       /* rows of k, ldx apart */
    int64_t ldx, k;
    const int32_t *index; /* row i is row index[i] of x; NULL: it is row i */
    const float *norm;    /* [k] weights of an RMS norm (kernels.h) that every row goes through, or NULL */
    float eps;
} tsr_rows;

/* Row i: where it lies in x or, normed, in buffer[k]. */
const float *tsr_rows_read(const tsr_rows *rows, const struct tsr_kernels *kern, int64_t i, float *buffer);

/* Copies row i to out[k]. */
void tsr_rows_copy(const tsr_rows *rows, const struct tsr_kernels *kern, int64_t i, float *out);
/* Share i of n of copying rows 0 .. m - 1 to out[m][k]. */
void tsr_rows_copy_share(const tsr_rows *rows, const struct tsr_kernels *kern, int64_t m, int i, int n, float *out);

/* The rows from `first` on. */
tsr_rows tsr_rows_from(const tsr_rows *rows, int64_t first);

#endif
