/* mkl_bf16 N K THREADS SAMPLES M...: Intel MKL's bf16 GEMM with the weights packed beforehand, y[m, n] = x[m, k] w[n, k]^T, f32 results.
 * Prints a line a number of rows: M, the median and the least seconds of a call. Built and run by bench/mkl/compare.py. */
#include <mkl.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MAX_SAMPLES = 100 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *allocate(size_t n) {
    void *p = mkl_malloc(n, 64);
    if (p) return p;
    fprintf(stderr, "mkl_bf16: cannot allocate %zu bytes\n", n);
    exit(1);
}

/* bf16 numbers of either sign and magnitude 1/4 to 2, not all alike. */
static MKL_BF16 *random_halves(size_t n) {
    MKL_BF16 *x = allocate(n * sizeof *x);
    unsigned state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (MKL_BF16)((state >> 16 & 0x807f) | (125 + (state >> 9 & 1) + (state >> 10 & 1)) << 7);
    }
    return x;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct product {
    MKL_INT m, n, k;
    const MKL_BF16 *x, *packed;
    float *y;
} product;

static void multiply(const product *p) {
    cblas_gemm_bf16bf16f32_compute(CblasRowMajor, CblasNoTrans, CblasPacked, p->m, p->n, p->k, 1.0f, p->x, p->k, p->packed, p->k, 0.0f, p->y, p->n);
}

/* Seconds of a call: as many as take 20 ms. */
static double sample(const product *p) {
    double start = now(), elapsed;
    int calls = 0;
    do {
        multiply(p);
        calls++;
        elapsed = now() - start;
    } while (elapsed < 0.02);
    return elapsed / calls;
}

static void measure(MKL_INT m, MKL_INT n, MKL_INT k, int samples, const MKL_BF16 *w) {
    double seconds[MAX_SAMPLES];
    MKL_BF16 *x = random_halves((size_t)m * (size_t)k), *packed = allocate(cblas_gemm_bf16bf16f32_pack_get_size(CblasBMatrix, m, n, k));
    product p = {m, n, k, x, packed, allocate((size_t)m * (size_t)n * sizeof(float))};
    cblas_gemm_bf16bf16f32_pack(CblasRowMajor, CblasBMatrix, CblasTrans, m, n, k, w, k, packed);
    multiply(&p);
    for (int i = 0; i < samples; i++) seconds[i] = sample(&p);
    qsort(seconds, (size_t)samples, sizeof *seconds, ascending);
    printf("%lld %.9g %.9g\n", (long long)m, seconds[samples / 2], seconds[0]);
    fflush(stdout);
    mkl_free(p.y);
    mkl_free(packed);
    mkl_free(x);
}

int main(int argc, char **argv) {
    if (argc < 6) {
        fprintf(stderr, "usage: mkl_bf16 N K THREADS SAMPLES M...\n");
        return 2;
    }
    long n = strtol(argv[1], NULL, 10), k = strtol(argv[2], NULL, 10), threads = strtol(argv[3], NULL, 10), samples = strtol(argv[4], NULL, 10);
    if (n < 1 || k < 1 || threads < 1 || samples < 1 || samples > MAX_SAMPLES) return 2;
    mkl_set_num_threads((int)threads);
    MKL_BF16 *w = random_halves((size_t)n * (size_t)k);
    for (int i = 5; i < argc; i++) {
        long m = strtol(argv[i], NULL, 10);
        if (m > 0) measure(m, n, k, (int)samples, w);
    }
    mkl_free(w);
    return 0;
}
