/* accuracy.c: what each path of a product costs in accuracy, as a table for doc/accuracy.md: the relative RMS error
 *   sqrt(sum (y - w x)^2 / sum (w x)^2)
 * in percent, of y [m, n] against the same weights (as the format holds them) and the same activations in double precision.
 * Three kinds of activations: Gaussian; heavy-tailed (Student's t, 3 degrees of freedom); Gaussian with one channel in 512 thirty times as
 * large, which is what layers of real models look like. `accuracy --help` says how to force tiers and paths. */
#include "kernels/matmul.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 96, K = 2048, MANY = 64, KINDS = 3 };

static uint64_t state;

static double uniform(void) { /* splitmix64 */
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static double normal(void) { return sqrt(-2.0 * log(1.0 - uniform())) * cos(6.283185307179586 * uniform()); }

static double activation(int kind, int64_t k) {
    double x = normal();
    if (kind == 1) { /* t = normal / sqrt(chi^2 / 3) */
        double a = normal(), b = normal(), c = normal();
        return x / sqrt((a * a + b * b + c * c) / 3.0);
    }
    return kind == 2 && k % 512 == 5 ? 30.0 * x : x;
}

/* One format's weights, in every form. */
typedef struct weights {
    tsr_type type;
    uint8_t *rows;  /* GGUF */
    float *values;  /* [N, K] */
    tsr_packed packed;
} weights;

static void weights_make(weights *w, tsr_type type) {
    size_t row_bytes = tsr_type_row_bytes(type, K);
    w->type = type;
    w->rows = malloc(row_bytes * N);
    w->values = malloc(sizeof(float) * N * K);
    for (int64_t i = 0; i < (int64_t)N * K; i++) w->values[i] = (float)(normal() / sqrt(K));
    for (int64_t j = 0; j < N; j++) {
        tsr_quantizer(type)(w->values + j * K, w->rows + (size_t)j * row_bytes, K, NULL);
        tsr_dequantizer(type)(w->rows + (size_t)j * row_bytes, w->values + j * K, K);
    }
    w->packed = (tsr_packed){.data = NULL};
    if (!tsr_layout_of(type)->name || !tsr_packed_init(&w->packed, type, N, K)) return;
    w->packed.data = aligned_alloc(64, tsr_packed_bytes(&w->packed));
    tsr_pack(&w->packed, w->rows, row_bytes, 0, tsr_packed_panels(&w->packed));
}

static void weights_free(weights *w) {
    free(w->rows);
    free(w->values);
    free(w->packed.data);
}

typedef enum path { F32, NARROW, INTEGER, WIDE, DEFAULT, PATHS } path;

static const char *const path_names[PATHS] = {"f32", "narrow", "integer", "wide", "default"};

/* The record with the limits moved so that `rows` rows take the path. */
static tsr_kernels forced(const tsr_kernels *kern, path p) {
    tsr_kernels out = *kern;
    for (int t = 0; t < TSR_TYPE_COUNT; t++) {
        if (p == NARROW) out.choice[t] = (tsr_choice){tsr_layout_of((tsr_type)t)->code_bits == 16 ? TSR_NARROW_F32_MAX : TSR_NARROW_MAX, TSR_WIDE_NEVER};
        if (p == INTEGER) out.choice[t] = (tsr_choice){0, TSR_WIDE_NEVER};
        if (p == WIDE) out.choice[t] = (tsr_choice){0, 1};
    }
    return out;
}

static bool path_exists(const tsr_kernels *kern, tsr_type type, path p) {
    if (p == F32) return kern->dequantize[type] != NULL;
    if (!tsr_layout_of(type)->name) return false;
    if (p == INTEGER) return kern->packed_unpack[type] && kern->packed_gemm;
    if (p == WIDE) return kern->wide[type] != NULL;
    return true;
}

static const char *kernel_name(const tsr_kernels *kern, tsr_type type, path p, int64_t m) {
    if (p == F32) return kern->tile_name;
    tsr_kernels k = forced(kern, p);
    return tsr_packed_kernel_name(&k, type, m);
}

static void multiply(const tsr_kernels *kern, tsr_pool *pool, const weights *w, path p, const float *x, int64_t m, float *y) {
    size_t scratch_bytes = tsr_packed_scratch_bytes(K), f32_bytes = TSR_MATMUL_SCRATCH_FLOATS * sizeof(float), work_bytes;
    tsr_packed_work_bytes(m, 1, K, &work_bytes);
    scratch_bytes = ((scratch_bytes > f32_bytes ? scratch_bytes : f32_bytes) + 63) & ~(size_t)63;
    uint8_t *scratch = aligned_alloc(64, scratch_bytes), *work = aligned_alloc(64, (work_bytes + 63) & ~(size_t)63);
    if (p == F32) {
        const tsr_matrix matrix = {w->rows, w->type, N, K, tsr_type_row_bytes(w->type, K)};
        tsr_matmul_f32(kern, pool, &matrix, x, K, m, y, N, false, (float *)(void *)scratch, scratch_bytes);
    } else {
        tsr_kernels k = forced(kern, p);
        const tsr_group group = {{w->packed.data}, 0, m};
        const tsr_packed_product product = {.kern = &k, .pool = pool, .x = {.x = x, .ldx = K, .k = K},
                                            .out = {{.w = w->packed, .y = y, .ldy = N}}, .n_out = 1, .groups = &group, .n_groups = 1, .work = work, .scratch = scratch, .scratch_bytes = scratch_bytes};
        tsr_packed_multiply(&product);
    }
    free(scratch);
    free(work);
}

/* In percent, over `MANY` rows, m at a time. */
static double error_of(const tsr_kernels *kern, tsr_pool *pool, const weights *w, path p, int64_t m, int kind) {
    float *x = malloc(sizeof(float) * MANY * K), *y = malloc(sizeof(float) * MANY * N);
    double wrong = 0.0, size = 0.0;
    for (int64_t i = 0; i < (int64_t)MANY * K; i++) x[i] = (float)activation(kind, i % K);
    for (int64_t i = 0; i < MANY; i += m) multiply(kern, pool, w, p, x + i * K, m, y + i * N);
    for (int64_t i = 0; i < MANY; i++)
        for (int64_t j = 0; j < N; j++) {
            double want = 0.0;
            for (int64_t l = 0; l < K; l++) want += (double)x[i * K + l] * w->values[j * K + l];
            wrong += (y[i * N + j] - want) * (y[i * N + j] - want);
            size += want * want;
        }
    free(x);
    free(y);
    return 100.0 * sqrt(wrong / size);
}

/* A column of the table. */
typedef struct column {
    path path;
    int64_t m;
} column;

static void print_row(const tsr_kernels *kern, tsr_pool *pool, tsr_type type, const column *columns, int n) {
    weights w;
    weights_make(&w, type);
    printf("| %s |", tsr_type_get(type)->name);
    for (int c = 0; c < n; c++) {
        if (!path_exists(kern, type, columns[c].path)) {
            printf(" |");
            continue;
        }
        for (int kind = 0; kind < KINDS; kind++) {
            double error = error_of(kern, pool, &w, columns[c].path, columns[c].m, kind);
            printf(error < 0.0005 ? "%s%.0e" : "%s%.3f", kind ? " / " : " ", error);
        }
        printf(" |");
    }
    printf("\n");
    fflush(stdout);
    weights_free(&w);
}

/* Which kernels are behind a column: they differ between 16-bit weights and others. */
static void print_kernels(const tsr_kernels *kern, const column *c) {
    const char *codes = path_exists(kern, TSR_Q8_0, c->path) ? kernel_name(kern, TSR_Q8_0, c->path, c->m) : "none";
    const char *halves = path_exists(kern, TSR_BF16, c->path) ? kernel_name(kern, TSR_BF16, c->path, c->m) : "none";
    printf("%s, m = %lld: %s", path_names[c->path], (long long)c->m, codes);
    if (strcmp(codes, halves) != 0) printf("; BF16 and F16: %s", halves);
    printf("\n");
}

static void usage(void) {
    puts("accuracy: relative RMS error in percent of a product against double precision, by format, path and kind of activations\n"
         "(Gaussian / heavy-tailed / with outlier channels), as a Markdown table.\n"
         "  --tier NAME    the kernels of that tier (default: the best)\n"
         "  --path NAME    only this path: f32 narrow integer wide default (may be repeated; default: all)\n"
         "  --rows N       rows of activations in a product of all paths but narrow (1 and 8), a divisor of 64 (default: 64)\n"
         "  --seed N       the random numbers (default: 1)");
}

static int find_path(const char *name) {
    for (int p = 0; p < PATHS; p++)
        if (strcmp(path_names[p], name) == 0) return p;
    return -1;
}

int main(int argc, char **argv) {
    bool wanted[PATHS] = {false}, any = false;
    int tier = tsr_cpu_get()->tier;
    int64_t rows = MANY;
    state = 1;
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        int p = strcmp(argv[i], "--path") == 0 ? find_path(value) : -1;
        if (p >= 0) wanted[p] = any = true;
        else if (strcmp(argv[i], "--tier") == 0) tier = tsr_tier_find(value);
        else if (strcmp(argv[i], "--rows") == 0) rows = atoll(value);
        else if (strcmp(argv[i], "--seed") == 0) state = strtoull(value, NULL, 0);
        else rows = 0;
    }
    if (rows < 1 || rows > MANY || MANY % rows != 0) {
        usage();
        return 2;
    }
    if (tier < 0 || !tsr_tier_usable((tsr_tier)tier)) {
        fprintf(stderr, "accuracy: no such tier, or not on this CPU\n");
        return 1;
    }
    const tsr_kernels *kern = tsr_kernels_get((tsr_tier)tier);
    static const path order[] = {F32, NARROW, NARROW, INTEGER, WIDE, DEFAULT};
    const int64_t row_counts[] = {rows, 1, 8, rows, rows, rows};
    column columns[sizeof order / sizeof *order];
    int n = 0;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (wanted[order[i]] || !any) columns[n++] = (column){order[i], row_counts[i]};
    printf("%s, tier %s, seed %llu, n = %d, k = %d\n", tsr_cpu_get()->brand, tsr_tier_name((tsr_tier)tier), (unsigned long long)state, N, K);
    for (int c = 0; c < n; c++) print_kernels(kern, &columns[c]);
    printf("\n| format |");
    for (int c = 0; c < n; c++) printf(" %s, m = %lld |", path_names[columns[c].path], (long long)columns[c].m);
    printf("\n| --- |");
    for (int c = 0; c < n; c++) printf(" --- |");
    printf("\n");
    tsr_pool *pool = tsr_pool_open(1, false, NULL);
    for (uint32_t t = 0; t < TSR_TYPE_COUNT; t++)
        if (tsr_type_get(t) && tsr_quantizer(t) && tsr_dequantizer(t) && tsr_layout_of((tsr_type)t)->name)
            print_row(kern, pool, (tsr_type)t, columns, n);
    tsr_pool_close(pool);
    return 0;
}
