/* bench.h: the parts of the benchmark of products. bench_matmul.c measures, bench_peaks.c says what the hardware can do, bench_weights.c makes
 * the weights. */
#ifndef TSR_ENGINE_BENCH_H
#define TSR_ENGINE_BENCH_H

#include "kernels/matmul.h"
#include "kernels/peaks.h"


/* --- peaks ----------------------------------------------------------------------------------------------------------------- */

typedef struct tsr_bench_peaks {
    tsr_pool *pool;
    const tsr_peak *arithmetic[TSR_PEAK_KINDS]; /* NULL: not on this tier */
    int64_t steps[TSR_PEAK_KINDS];              /* that take a sample's time */
    tsr_peak_read_fn read;
    uint8_t *memory;  /* NULL when there is not enough */
    size_t n;         /* bytes of it, in equal parts for all threads */
    size_t part, at;  /* bytes of a part; where the next sample begins in each */
} tsr_bench_peaks;

/* Reading takes `memory` bytes, which should be several times the last-level cache; 0: reading is not measured. */
tsr_code tsr_bench_peaks_open(tsr_bench_peaks *p, tsr_tier tier, tsr_pool *pool, size_t memory, tsr_error *err);
void tsr_bench_peaks_close(tsr_bench_peaks *p);
/* A sample of a few milliseconds: operations or bytes a second of all threads together, 0 when there is nothing to measure. */
double tsr_bench_peak_sample(const tsr_bench_peaks *p, tsr_peak_kind kind);
double tsr_bench_read_sample(tsr_bench_peaks *p);

/* Bytes of the last-level caches that the CPUs of this process share; a guess when the system does not say. */
size_t tsr_bench_last_level(void);

/* --- weights --------------------------------------------------------------------------------------------------------------- */

/* `count` matrices [n, k] one after the other; the first `made` of random weights, the rest copies of them. */
typedef struct tsr_bench_weights {
    tsr_type type;
    int64_t n, k;
    bool host;            /* GGUF rows, else packed */
    tsr_packed packed;    /* data is not used */
    size_t row_bytes, matrix_bytes; /* GGUF bytes of a row; bytes of a matrix in memory */
    int64_t made, count;
    uint8_t *data;        /* [count][matrix_bytes]; NULL: none yet */
    double pack_seconds;  /* that all threads together took for `count` matrices, the best pass; 0 for host */
} tsr_bench_weights;

/* Fills the sizes. The type must compute, and be packed unless host; k a multiple of its block. */
tsr_code tsr_bench_weights_init(tsr_bench_weights *w, tsr_type type, int64_t n, int64_t k, bool host, tsr_error *err);
/* Bytes in use while they are made, at most. */
double tsr_bench_weights_cost(const tsr_bench_weights *w, int64_t made, int64_t count);
tsr_code tsr_bench_weights_make(tsr_bench_weights *w, int64_t made, int64_t count, tsr_pool *pool, tsr_error *err);
void tsr_bench_weights_free(tsr_bench_weights *w);
/* Row `row` of matrix i as f32, out[k]. */
void tsr_bench_weights_row(const tsr_bench_weights *w, int64_t i, int64_t row, float *out);

/* n floats, centred, of size 1. */
void tsr_bench_random_floats(float *x, int64_t n, tsr_pool *pool);

#endif
