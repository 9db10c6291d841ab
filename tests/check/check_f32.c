/* check_f32.c: the f32 product tile and the products of attention. */
#include "check.h"

#include <math.h>
#include <string.h>

/* f32 sums in any order of k products: |error| <= (k / 8 + 8) u sum |a b|, u = 2^-24, since every kernel keeps 8 or more partial
 * sums (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2). */
static double sum_bound(int64_t k, double magnitude) { return ((double)k / 8 + 8) * 0x1p-24 * magnitude + 1e-37; }

static void tile_case(check *c, int m, int n, int64_t k, check_fill fill, bool accumulate) {
    int64_t lda = k + check_between(c, 0, 5), ldb = k + check_between(c, 0, 5), ldc = n + check_between(c, 0, 5);
    float *a = check_floats(c, (m - 1) * lda + k, fill), *b = check_floats(c, (n - 1) * ldb + k, CHECK_NORMAL);
    float *y = check_floats(c, (m - 1) * ldc + n, CHECK_NORMAL);
    float before[64];
    memcpy(before, y, (size_t)((m - 1) * ldc + n) * sizeof *y);
    c->kern->tile_f32(a, lda, b, ldb, k, y, ldc, m, n, accumulate);
    for (int64_t at = 0; at < (m - 1) * ldc + n; at++) {
        int64_t i = at / ldc, j = at % ldc;
        if (j >= n) { /* between the rows */
            check_near(c, y[at], before[at], 0.0, "gap between rows", at);
            continue;
        }
        double want = accumulate ? before[at] : 0.0, magnitude = fabs(want);
        for (int64_t l = 0; l < k; l++) {
            want += (double)a[i * lda + l] * b[j * ldb + l];
            magnitude += fabs((double)a[i * lda + l] * b[j * ldb + l]);
        }
        check_near(c, y[at], want, sum_bound(k, magnitude), "tile", at);
    }
    check_release(c);
}

typedef struct tile_bench {
    const tsr_kernels *kern;
    float *a, *b, *y;
} tile_bench;

enum { BENCH_K = 1024 };

static void run_tile(void *ctx) {
    const tile_bench *t = ctx;
    t->kern->tile_f32(t->a, BENCH_K, t->b, BENCH_K, BENCH_K, t->y, t->kern->tile_n, t->kern->tile_m, t->kern->tile_n, false);
}

static void check_tile(check *c) {
    const int64_t lengths[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 255, 1024};
    for (int m = 1; m <= c->kern->tile_m; m++)
        for (int n = 1; n <= c->kern->tile_n; n++)
            for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
                for (int fill = 0; fill < CHECK_FILLS; fill++) tile_case(c, m, n, lengths[l], (check_fill)fill, (l + (size_t)fill) % 2);
    double seconds = 0.0;
    int m = c->kern->tile_m, n = c->kern->tile_n;
    if (c->bench) {
        tile_bench t = {c->kern, check_floats(c, m * BENCH_K, CHECK_NORMAL), check_floats(c, n * BENCH_K, CHECK_NORMAL),
                        check_floats(c, m * n, CHECK_ZERO)};
        seconds = check_time(run_tile, &t);
        check_release(c);
    }
    check_report(c, c->kern->tile_name, seconds, 2.0 * m * n * BENCH_K, "flop");
}

static void axpy_case(check *c, int64_t n, check_fill fill) {
    float *x = check_floats(c, n, fill == CHECK_TINY || fill == CHECK_HUGE ? CHECK_NORMAL : fill), *y = check_floats(c, n, fill);
    double want[300];
    float a = (float)(check_uniform(c) * 4.0 - 2.0);
    for (int64_t i = 0; i < n; i++) want[i] = y[i] + (double)a * x[i];
    double bounds[300];
    for (int64_t i = 0; i < n; i++) bounds[i] = 0x1p-23 * (fabs((double)y[i]) + fabs(want[i] - y[i])) + 1e-37;
    c->kern->axpy_f32(a, x, y, n);
    for (int64_t i = 0; i < n; i++) check_near(c, y[i], want[i], bounds[i], "axpy", i);
    check_release(c);
}

static void check_axpy(check *c) {
    for (int64_t n = 0; n <= 70; n++)
        for (int fill = 0; fill < CHECK_FILLS; fill++) axpy_case(c, n, (check_fill)fill);
    for (int64_t n = 250; n < 260; n++) axpy_case(c, n, CHECK_NORMAL);
    check_report(c, "axpy_f32", 0.0, 0.0, "");
}

void check_f32_kernels(check *c) {
    if (check_selected(c, c->kern->tile_name)) check_tile(c);
    if (check_selected(c, "axpy_f32")) check_axpy(c);
}
