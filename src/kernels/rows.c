#include "kernels/rows.h"

#include "kernels/kernels.h"

#include <string.h>

const float *tsr_rows_read(const tsr_rows *rows, const tsr_kernels *kern, int64_t i, float *buffer) {
    const float *row = rows->x + (rows->index ? rows->index[i] : i) * rows->ldx;
    if (!rows->norm) return row;
    kern->rms_norm(row, rows->norm, rows->eps, buffer, rows->k);
    return buffer;
}

void tsr_rows_copy(const tsr_rows *rows, const tsr_kernels *kern, int64_t i, float *out) {
    const float *row = tsr_rows_read(rows, kern, i, out);
    if (row != out) memcpy(out, row, (size_t)rows->k * sizeof *out);
}

void tsr_rows_copy_share(const tsr_rows *rows, const tsr_kernels *kern, int64_t m, int i, int n, float *out) {
    int64_t begin, end;
    tsr_split(m, 1, i, n, &begin, &end);
    for (int64_t row = begin; row < end; row++) tsr_rows_copy(rows, kern, row, out + row * rows->k);
}

tsr_rows tsr_rows_from(const tsr_rows *rows, int64_t first) {
    tsr_rows rest = *rows;
    if (rows->index) rest.index += first;
    else rest.x += first * rows->ldx;
    return rest;
}
