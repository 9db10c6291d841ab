/* check_grouped.c: products of several matrices in one call, as experts need them: equal bit for bit to each group's own product, and those
 * close to the sum in double precision; all paths side by side, on one thread and on two. */
#include "check.h"

#include "kernels/matmul.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_GROUPS = 12, MATRICES = 4 };

typedef struct grouped_case {
    tsr_packed w;
    uint8_t *matrices[MATRICES];
    float *weights[MATRICES]; /* [n, k] dequantised */
    tsr_group groups[MAX_GROUPS];
    int64_t n_groups, m, ldx, ldy;
} grouped_case;

/* Random weights through the type's quantiser, packed. */
static void make_matrix(check *c, grouped_case *g, int i) {
    int64_t n = g->w.n, k = g->w.k;
    size_t row_bytes = tsr_type_row_bytes(g->w.type, k);
    float *values = malloc((size_t)(n * k) * sizeof *values);
    uint8_t *rows = malloc((size_t)n * row_bytes);
    for (int64_t j = 0; j < n * k; j++) values[j] = (float)(check_uniform(c) - 0.5);
    for (int64_t j = 0; j < n; j++) {
        tsr_quantizer(g->w.type)(values + j * k, rows + (size_t)j * row_bytes, k, NULL);
        tsr_dequantizer(g->w.type)(rows + (size_t)j * row_bytes, values + j * k, k);
    }
    tsr_packed p = g->w;
    p.data = check_operand(c, (int64_t)tsr_packed_bytes(&p), 1);
    tsr_pack(&p, rows, row_bytes, 0, tsr_packed_panels(&p));
    g->matrices[i] = p.data;
    g->weights[i] = values;
    free(rows);
}

static void multiply(const tsr_kernels *kern, tsr_pool *pool, const grouped_case *g, const tsr_group *groups, int64_t n_groups, int64_t m,
                     const float *x, float *y) {
    size_t work_bytes, scratch_bytes = (tsr_packed_scratch_bytes(g->w.k) + 63) & ~(size_t)63;
    tsr_packed_work_bytes(m, n_groups, g->w.k, &work_bytes);
    /* no byte more than the driver asks for, so that a sanitizer sees one too far */
    void *work = aligned_alloc(64, (work_bytes + 63) & ~(size_t)63);
    uint8_t *scratch = aligned_alloc(64, scratch_bytes * (size_t)tsr_pool_size(pool));
    memset(work, 0xa5, work_bytes);
    const tsr_packed_product p = {.kern = kern, .pool = pool, .x = {.x = x, .ldx = g->ldx, .k = g->w.k},
                                  .out = {{.w = g->w, .y = y, .ldy = g->ldy}}, .n_out = 1, .groups = groups, .n_groups = n_groups, .work = work, .scratch = scratch, .scratch_bytes = scratch_bytes};
    tsr_packed_multiply(&p);
    free(work);
    free(scratch);
}

/* The group's own product must be equal, and near what dequantised weights give: 8-bit activations, no outliers. */
static void compare_group(check *c, const tsr_kernels *kern, tsr_pool *pool, const grouped_case *g, int64_t i, const float *x, const float *y) {
    tsr_group alone = {{g->groups[i].data[0]}, 0, g->groups[i].rows};
    int64_t first = g->groups[i].first, rows = alone.rows, k = g->w.k;
    float *own = malloc((size_t)(rows * g->ldy) * sizeof *own);
    multiply(kern, pool, g, &alone, 1, rows, x + first * g->ldx, own);
    int matrix = 0;
    while (g->matrices[matrix] != alone.data[0]) matrix++;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < g->w.n; j++) {
            double want = 0.0, size = 0.0;
            const float *w = g->weights[matrix] + j * k, *a = x + (first + r) * g->ldx;
            for (int64_t l = 0; l < k; l++) {
                want += (double)w[l] * a[l];
                size += (double)w[l] * a[l] * w[l] * a[l];
            }
            check_near(c, y[(first + r) * g->ldy + j], own[r * g->ldy + j], 0.0, "group against its own product", r * g->ldy + j);
            check_near(c, y[(first + r) * g->ldy + j], want, 0.05 * sqrt(size) + 1e-3, "group against double precision", r * g->ldy + j);
        }
    free(own);
}

static void run_case(check *c, const tsr_kernels *kern, tsr_pool *pool, grouped_case *g) {
    float *x = check_floats(c, (g->m - 1) * g->ldx + g->w.k, CHECK_NORMAL);
    float *y = check_floats(c, (g->m - 1) * g->ldy + g->w.n, CHECK_NORMAL), gap = 0.0f;
    if (g->ldy > g->w.n && g->m > 1) gap = y[g->w.n];
    for (int i = 0; i < MATRICES; i++) make_matrix(c, g, i);
    for (int64_t i = 0; i < g->n_groups; i++) g->groups[i].data[0] = g->matrices[check_between(c, 0, MATRICES - 1)];
    multiply(kern, pool, g, g->groups, g->n_groups, g->m, x, y);
    if (g->ldy > g->w.n && g->m > 1) check_near(c, y[g->w.n], gap, 0.0, "gap between rows", g->w.n);
    for (int64_t i = 0; i < g->n_groups; i++) compare_group(c, kern, pool, g, i, x, y);
    for (int i = 0; i < MATRICES; i++) free(g->weights[i]);
    check_release(c);
}

/* Sizes of groups: of every kernel path, one row each, one group with all rows, random. */
static const int64_t sizes[][MAX_GROUPS] = {{1, 40, 9, 2, 17, 8, 3}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {33}, {1}, {0}};

static void draw_groups(check *c, grouped_case *g, const int64_t *rows) {
    g->n_groups = rows[0] ? 0 : check_between(c, 2, MAX_GROUPS);
    while (rows[0] && g->n_groups < MAX_GROUPS && rows[g->n_groups]) g->n_groups++;
    g->m = 0;
    for (int64_t i = 0; i < g->n_groups; i++) {
        int64_t n = rows[0] ? rows[i] : check_between(c, 1, 40);
        g->groups[i] = (tsr_group){.first = g->m, .rows = n};
        g->m += n;
    }
}

static void check_type(check *c, const tsr_kernels *kern, tsr_pool *pool, tsr_type type) {
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        grouped_case g;
        int64_t unit = tsr_layout_of(type)->unit_k, n = check_between(c, 1, 70);
        int64_t k = tsr_layout_of(type)->code_bits == 16 ? check_between(c, 1, 200) : unit * check_between(c, 1, unit == 32 ? 6 : 2);
        tsr_packed_init(&g.w, type, n, k);
        draw_groups(c, &g, sizes[i]);
        g.ldx = k + check_between(c, 0, 3);
        g.ldy = n + check_between(c, 0, 3);
        run_case(c, kern, pool, &g);
    }
}

/* The record with the rows at which paths change moved so that small groups take all of them. */
static void low_limits(const tsr_kernels *kern, tsr_kernels *out) {
    *out = *kern;
    for (int t = 0; t < TSR_TYPE_COUNT; t++) out->choice[t] = kern->packed_gemm && kern->packed_narrow[t] ? (tsr_choice){3, 12} : (tsr_choice){3, 4};
}

void check_grouped_kernels(check *c) {
    tsr_kernels *low = malloc(sizeof *low);
    low_limits(c->kern, low);
    for (int t = 0; t < TSR_TYPE_COUNT; t++) {
        char name[64];
        if (!tsr_layout_of((tsr_type)t)->name) continue;
        snprintf(name, sizeof name, "grouped_%s", tsr_type_get((uint32_t)t)->name);
        if (!check_selected(c, name)) continue;
        for (int threads = 1; threads <= 2; threads++) {
            tsr_pool *pool = tsr_pool_open(threads, false, NULL);
            check_type(c, c->kern, pool, (tsr_type)t);
            check_type(c, low, pool, (tsr_type)t);
            tsr_pool_close(pool);
        }
        check_report(c, name, 0.0, 0.0, "");
    }
    free(low);
}
