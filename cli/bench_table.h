/* bench_table.h: results of measurements as a table for people, CSV or JSON, a row at a time. */
#ifndef CLI_BENCH_TABLE_H
#define CLI_BENCH_TABLE_H

#include "cli/bench_shapes.h"
#include "tessera.h"

#include <stdio.h>

typedef enum bench_format { BENCH_MD, BENCH_CSV, BENCH_JSON } bench_format; /* order of --format's choices */

typedef struct bench_row {
    const bench_shape *shape;
    const char *type;
    int64_t m;
    tsr_bench_result result;
} bench_row;

typedef struct bench_table {
    FILE *f;
    bench_format format;
    size_t n_rows;
    const bench_shape *shape; /* of the last row */
    int n_threads;            /* of the last row */
    bool cut;                 /* a row did not compute all outputs */
} bench_table;

/* What they write is in f's buffer: the caller flushes it, and sees whether that failed. */
void table_row(bench_table *t, const bench_row *row);
void table_end(bench_table *t);

#endif
