/* check_wide.c: the wide float path (elements of A and B, strips, whole products) and narrow products with 16-bit weights, against sums in
 * double precision over the very elements that the kernels multiply. */
#include "check.h"

#include "kernels/matmul.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TILE_ROWS = 16, TILE = TILE_ROWS * TSR_BLOCK_K, B_BLOCK = TSR_BLOCK_K * TSR_PANEL };

static int64_t blocks_of(int64_t k) { return (k + TSR_BLOCK_K - 1) / TSR_BLOCK_K; }

static void *aligned(size_t bytes) { return aligned_alloc(64, (bytes + 63) & ~(size_t)63); }

/* --- elements -------------------------------------------------------------------------------------------------------------- */

/* Element i of an array of A or B. */
static double element(const tsr_wide *wide, const void *array, int64_t i) {
    float f;
    uint16_t h;
    if (wide->elem == TSR_F32) return memcpy(&f, (const float *)array + i, sizeof f), f;
    memcpy(&h, (const uint16_t *)array + i, sizeof h);
    return wide->elem == TSR_F16 ? tsr_f16_to_f32(h) : tsr_bf16_to_f32(h);
}

/* x as an element; denormal floats count as zero. */
static double rounded(const tsr_wide *wide, float x) {
    if (fabsf(x) < 0x1p-126f) return 0.0;
    if (wide->elem == TSR_F32) return x;
    return wide->elem == TSR_F16 ? tsr_f16_to_f32(tsr_f32_to_f16(x)) : tsr_bf16_to_f32(tsr_f32_to_bf16(x));
}

/* What pack_rows multiplied a row with: the inverse of what it left behind the row tile, if anything. */
static float row_scale(const tsr_wide *wide, const void *tiles, int64_t k, int r) {
    float inverse;
    if (!wide->row_tile_extra) return 1.0f;
    memcpy(&inverse, (const uint8_t *)tiles + blocks_of(k) * TILE * wide->elem_bytes + (size_t)r * sizeof inverse, sizeof inverse);
    return 1.0f / inverse;
}

static size_t row_tile_bytes(const tsr_wide *wide, int64_t k) { return (size_t)(blocks_of(k) * TILE * wide->elem_bytes) + wide->row_tile_extra; }

/* Where (k, column) of a block is in B. */
static int b_index(const tsr_wide *wide, int k, int column) {
    return wide->elem_bytes == 2 ? (k / 2 * TSR_PANEL + column) * 2 + k % 2 : k * TSR_PANEL + column;
}

/* Half an ulp of an element, relative, and the smallest that there is. */
static double half_ulp(const tsr_wide *wide) { return wide->elem == TSR_F32 ? 0x1p-24 : wide->elem == TSR_F16 ? 0x1p-11 : 0x1p-8; }
static double smallest(const tsr_wide *wide) { return wide->elem == TSR_F16 ? 0x1p-25 : 0x1p-125; }

/* The error of summing n terms of f32 whose magnitudes sum to `magnitude`. */
static double sum_bound(double magnitude, int64_t n) { return magnitude * (4.0 + (double)n / 2) * 0x1p-24 + (double)n * 0x1p-125; }

/* Magnitudes from 2^-140 to 2^100, zeros, an infinity. */
static void fill_extreme(check *c, float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)ldexp(check_uniform(c) * 2.0 - 1.0, (int)check_between(c, -140, 100));
        if (check_between(c, 0, 15) == 0) x[i] = 0.0f;
    }
    x[check_between(c, 0, n - 1)] = -INFINITY;
}

/* pack_rows: every number rounded to the nearest element, zeros where no row or no k is. */
static void check_pack_rows(check *c, const tsr_wide *wide, int rows, int64_t k) {
    int64_t blocks = blocks_of(k), ldx = k + check_between(c, 0, 5);
    float *x = check_floats(c, (rows - 1) * ldx + k, CHECK_NORMAL);
    if (check_between(c, 0, 1)) fill_extreme(c, x, (rows - 1) * ldx + k);
    if (check_between(c, 0, 1)) x[check_between(c, 0, rows - 1) * ldx + check_between(c, 0, k - 1)] = NAN;
    void *tiles = check_operand(c, (int64_t)row_tile_bytes(wide, k), 1);
    wide->pack_rows(x, ldx, rows, k, tiles);
    for (int64_t b = 0; b < blocks; b++)
        for (int r = 0; r < TILE_ROWS; r++)
            for (int64_t i = 0; i < TSR_BLOCK_K; i++) {
                int64_t l = b * TSR_BLOCK_K + i, at = b * TILE + r * TSR_BLOCK_K + i;
                check_near(c, element(wide, tiles, at), r < rows && l < k ? rounded(wide, x[r * ldx + l] * row_scale(wide, tiles, k, r)) : 0.0, 0.0,
                           "element of A", at);
            }
    check_release(c);
}

/* Largest error of (k, column) of a block before it is rounded to an element: products and sums in f32 or f16, which may cancel. */
static double f32_error(const tsr_wide *wide, const tsr_packed *w, int64_t panel, int64_t block, int k, int column, double want) {
    static const int place[8] = {0, 2, 4, 6, 1, 3, 5, 7}; /* of k in its eight: 4 h + i (packed.h) */
    uint8_t codes[TSR_QUADS * 64];
    float scale[2 * TSR_PANEL], min[2 * TSR_PANEL];
    if (w->layout->code_bits == 16) return 0.0;
    const double each = wide->elem == TSR_F16 ? 0x1p-11 : 0x1p-22; /* f16 rounds scale, product and min */
    if (!w->layout->has_min) return fabs(want) * each * 2;
    tsr_packed_block(w, panel, block, codes, scale, min);
    int at = k / w->layout->group_k * TSR_PANEL + column, code = codes[(k / 8 * 2 + place[k % 8] / 4) * 64 + 4 * column + place[k % 8] % 4];
    return (fabs((double)scale[at] * code) + fabs((double)min[at])) * each * 2;
}

/* unpack of every panel, from a block in the middle on: weights within half an ulp, zeros past n and k. */
static void check_unpack_elements(check *c, const tsr_wide *wide, tsr_type type, int64_t n, int64_t k) {
    tsr_packed w = check_matrix(c, type, n, k);
    int64_t all = blocks_of(k), first = check_between(c, 0, all - 1), blocks = check_between(c, 1, all - first);
    void *b = check_operand(c, blocks * B_BLOCK * wide->elem_bytes, 1);
    float *row = malloc((size_t)k * sizeof *row);
    bool exact = wide->elem == TSR_F32 && w.layout->code_bits == 16;
    for (int64_t p = 0; p < tsr_packed_panels(&w); p++) {
        wide->unpack[type](&w, p, first, blocks, b);
        for (int column = 0; column < TSR_PANEL; column++) {
            bool exists = p * TSR_PANEL + column < n;
            if (exists) tsr_packed_row(&w, p * TSR_PANEL + column, row);
            for (int64_t l = first * TSR_BLOCK_K; l < (first + blocks) * TSR_BLOCK_K; l++) {
                double want = exists && l < k ? row[l] : 0.0;
                int64_t block = l / TSR_BLOCK_K, at = (block - first) * B_BLOCK + b_index(wide, (int)(l % TSR_BLOCK_K), column);
                double error = exists && l < k ? f32_error(wide, &w, p, block, (int)(l % TSR_BLOCK_K), column, want) : 0.0;
                check_near(c, element(wide, b, at), want, exact ? 0.0 : fabs(want) * half_ulp(wide) + error + smallest(wide), "element of B", at);
            }
        }
    }
    free(row);
    check_release(c);
}

/* --- strips ---------------------------------------------------------------------------------------------------------------- */

typedef struct strip_operands {
    tsr_packed w;
    tsr_wide_job job;
    const float *before; /* what c held */
    void *b[2];          /* the elements of the panels, by unpack */
} strip_operands;

static strip_operands strip(check *c, const tsr_wide *wide, tsr_type type, int64_t n, int64_t k, int64_t rows, check_fill fill) {
    strip_operands s = {.w = check_matrix(c, type, n, k)};
    int64_t all = blocks_of(k), first = check_between(c, 0, all - 1), blocks = check_between(c, 1, all - first);
    int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS, panels = tsr_packed_panels(&s.w), p = check_between(c, 0, panels - 1) / 2 * 2;
    if (blocks > wide->run_blocks) blocks = wide->run_blocks;
    size_t tile_block = (size_t)(TILE * wide->elem_bytes), stride = row_tile_bytes(wide, k);
    const float *x = check_floats(c, rows * k, fill);
    uint8_t *a = check_operand(c, tiles * (int64_t)stride, 1);
    for (int64_t t = 0; t < tiles; t++)
        wide->pack_rows(x + t * TILE_ROWS * k, k, (int)(rows - t * TILE_ROWS < TILE_ROWS ? rows - t * TILE_ROWS : TILE_ROWS), k,
                        a + (size_t)t * stride);
    int64_t floats = tiles * 2 * TILE_ROWS * TSR_PANEL;
    float *to = check_floats(c, floats, CHECK_NORMAL), *before = check_operand(c, floats, sizeof *before);
    bool accumulate = check_between(c, 0, 1);
    for (int64_t i = 0; i < floats && !accumulate; i++) to[i] = NAN;
    memcpy(before, to, (size_t)floats * sizeof *to);
    s.job = (tsr_wide_job){.w = &s.w, .panel = {p, p + 1 < panels ? p + 1 : p}, .block = first, .blocks = blocks,
                           .b = check_operand(c, 2 * blocks * B_BLOCK * wide->elem_bytes, 1), .a = a + (size_t)first * tile_block,
                           .a_stride = stride, .rows = rows, .c = to, .accumulate = accumulate};
    s.before = before;
    for (int i = 0; i < 2; i++) {
        s.b[i] = check_operand(c, blocks * B_BLOCK * wide->elem_bytes, 1);
        wide->unpack[type](&s.w, s.job.panel[i], first, blocks, s.b[i]);
    }
    return s;
}

static void check_strip(check *c, const tsr_wide *wide, tsr_type type, int64_t n, int64_t k, int64_t rows, check_fill fill) {
    strip_operands s = strip(c, wide, type, n, k, rows, fill);
    s.job.w = &s.w;
    if (c->kern->enter) c->kern->enter();
    wide->strip[type](&s.job);
    if (c->kern->leave) c->kern->leave();
    for (int p = 0; p < 2; p++)
        for (int64_t r = 0; r < rows; r++) {
            const uint8_t *tiles = (const uint8_t *)s.job.a - (size_t)(s.job.block * TILE * wide->elem_bytes) + (size_t)(r / TILE_ROWS) * s.job.a_stride;
            bool last = s.job.block + s.job.blocks == blocks_of(k);
            double scale = last ? row_scale(wide, tiles, k, (int)(r % TILE_ROWS)) : 1.0;
            for (int column = 0; column < TSR_PANEL; column++) {
                int64_t at = ((r / TILE_ROWS * 2 + p) * TILE_ROWS + r % TILE_ROWS) * TSR_PANEL + column;
                const uint8_t *a = (const uint8_t *)s.job.a + (size_t)(r / TILE_ROWS) * s.job.a_stride;
                double want = s.job.accumulate ? s.before[at] : 0.0, magnitude = fabs(want);
                for (int64_t l = 0; l < s.job.blocks * TSR_BLOCK_K; l++) {
                    double x = element(wide, a, l / TSR_BLOCK_K * TILE + r % TILE_ROWS * TSR_BLOCK_K + l % TSR_BLOCK_K);
                    double term = x * element(wide, s.b[p], l / TSR_BLOCK_K * B_BLOCK + b_index(wide, (int)(l % TSR_BLOCK_K), column));
                    want += term;
                    magnitude += fabs(term);
                }
                check_near(c, s.job.c[at], want / scale, sum_bound(magnitude, s.job.blocks * TSR_BLOCK_K) / scale, "strip", at);
            }
        }
    check_release(c);
}

/* --- whole products -------------------------------------------------------------------------------------------------------- */

enum { MAX_GROUPS = 4 };

typedef struct product {
    tsr_kernels kern;          /* the record under test, with every product taking the wide path */
    tsr_packed w[MAX_GROUPS];
    tsr_group groups[MAX_GROUPS];
    tsr_packed_product p;
    int64_t m;
} product;

/* rows: of each group */
static void product_open(check *c, product *t, tsr_type type, int64_t n, int64_t k, const int64_t *rows, int64_t n_groups, check_fill fill,
                         tsr_pool *pool) {
    *t = (product){.kern = *c->kern};
    for (int i = 0; i < TSR_TYPE_COUNT; i++) t->kern.choice[i] = (tsr_choice){0, 1};
    for (int64_t g = 0; g < n_groups; g++) {
        t->w[g] = check_matrix(c, type, n, k);
        t->groups[g] = (tsr_group){{t->w[g].data}, t->m, rows[g]};
        t->m += rows[g];
    }
    size_t work, scratch = (tsr_packed_scratch_bytes(k) + 63) & ~(size_t)63;
    tsr_packed_work_bytes(t->m, n_groups, k, &work);
    int64_t ldx = k + check_between(c, 0, 3), ldy = n + check_between(c, 0, 3);
    t->p = (tsr_packed_product){.kern = &t->kern, .pool = pool, .groups = t->groups, .n_groups = n_groups,
                                .x = {.x = check_floats(c, (t->m - 1) * ldx + k, fill), .ldx = ldx, .k = k},
                                .out = {{.w = t->w[0], .y = check_floats(c, (t->m - 1) * ldy + n, CHECK_HUGE), .ldy = ldy}}, .n_out = 1,
                                .work = aligned(work),
                                .scratch = aligned(scratch * (size_t)tsr_pool_size(pool)), .scratch_bytes = scratch};
}

static void product_close(check *c, product *t) {
    free(t->p.work);
    free(t->p.scratch);
    check_release(c);
}

/* What the kernel multiplies a row with. */
static float packed_scale(const tsr_wide *wide, const float *x, int64_t k) {
    if (!wide->row_tile_extra) return 1.0f;
    void *tiles = aligned(row_tile_bytes(wide, k));
    wide->pack_rows(x, k, 1, k, tiles);
    float scale = row_scale(wide, tiles, k, 0);
    free(tiles);
    return scale;
}

/* Column `column` of panel p of group g: the products with all rows of the group; weights [blocks] elements. */
static void check_column(check *c, const product *t, const tsr_wide *wide, int64_t g, int64_t p, int column, const void *weights) {
    const tsr_packed *w = &t->w[g];
    int64_t blocks = blocks_of(w->k);
    double *b = malloc((size_t)(blocks * TSR_BLOCK_K) * sizeof *b);
    for (int64_t l = 0; l < w->k; l++)
        b[l] = element(wide, weights, l / TSR_BLOCK_K * B_BLOCK + b_index(wide, (int)(l % TSR_BLOCK_K), column));
    for (int64_t r = t->groups[g].first; r < t->groups[g].first + t->groups[g].rows; r++) {
        double want = 0.0, magnitude = 0.0;
        float scale = packed_scale(wide, t->p.x.x + r * t->p.x.ldx, w->k);
        for (int64_t l = 0; l < w->k; l++) {
            double term = rounded(wide, t->p.x.x[r * t->p.x.ldx + l] * scale) / scale * b[l];
            want += term;
            magnitude += fabs(term);
        }
        int64_t at = r * t->p.out[0].ldy + p * TSR_PANEL + column;
        check_near(c, t->p.out[0].y[at], want, sum_bound(magnitude, w->k), "product", at);
    }
    free(b);
}

static void check_product(check *c, tsr_type type, int64_t n, int64_t k, const int64_t *rows, int64_t n_groups, check_fill fill, bool nan,
                          tsr_pool *pool) {
    product t;
    product_open(c, &t, type, n, k, rows, n_groups, fill, pool);
    const tsr_wide *wide = t.kern.wide[type];
    int64_t floats = (t.m - 1) * t.p.out[0].ldy + n;
    float *before = malloc((size_t)floats * sizeof *before);
    memcpy(before, t.p.out[0].y, (size_t)floats * sizeof *before);
    if (nan) ((float *)(uintptr_t)t.p.x.x)[check_between(c, 0, t.m - 1) * t.p.x.ldx + check_between(c, 0, k - 1)] = NAN;
    tsr_packed_multiply(&t.p);
    void *b = aligned((size_t)(blocks_of(k) * B_BLOCK * wide->elem_bytes));
    for (int64_t g = 0; g < n_groups; g++)
        for (int64_t p = 0; p < tsr_packed_panels(&t.w[g]); p++) {
            wide->unpack[type](&t.w[g], p, 0, blocks_of(k), b);
            for (int column = 0; column < TSR_PANEL && p * TSR_PANEL + column < n; column++) check_column(c, &t, wide, g, p, column, b);
        }
    for (int64_t i = 0; i < floats; i++)
        if (i % t.p.out[0].ldy >= n) check_near(c, t.p.out[0].y[i], before[i], 0.0, "gap between rows", i);
    free(b);
    free(before);
    product_close(c, &t);
}

/* --- narrow, 16-bit weights ------------------------------------------------------------------------------------------------- */

static void check_narrow(check *c, tsr_type type, int64_t k, int rows, int kind) {
    tsr_packed w = check_matrix(c, type, check_between(c, 1, 40), k);
    int64_t ldx = k + check_between(c, 0, 5), p = check_between(c, 0, tsr_packed_panels(&w) - 1);
    float *x = check_floats(c, (rows - 1) * ldx + k, kind < CHECK_FILLS ? (check_fill)kind : CHECK_NORMAL);
    float *row = malloc((size_t)k * sizeof *row);
    if (kind == CHECK_FILLS) fill_extreme(c, x, (rows - 1) * ldx + k);
    if (kind == CHECK_FILLS + 1) x[check_between(c, 0, rows - 1) * ldx + check_between(c, 0, k - 1)] = NAN;
    float *out = check_operand(c, rows * TSR_PANEL, sizeof *out);
    c->kern->packed_narrow_f32[type](&w, p, x, ldx, rows, out);
    for (int column = 0; column < TSR_PANEL; column++) {
        bool exists = p * TSR_PANEL + column < w.n;
        if (exists) tsr_packed_row(&w, p * TSR_PANEL + column, row);
        for (int r = 0; r < rows && exists; r++) { /* columns past the last hold anything */
            double want = 0.0, magnitude = 0.0;
            for (int64_t l = 0; l < k; l++) {
                double term = (double)x[r * ldx + l] * row[l];
                want += term;
                magnitude += fabs(term);
            }
            double bound = isfinite(magnitude) ? sum_bound(magnitude, k) : 0.0;
            check_near(c, out[r * TSR_PANEL + column], want, bound, "narrow", r * TSR_PANEL + column);
        }
    }
    free(row);
    check_release(c);
}

/* --- times ----------------------------------------------------------------------------------------------------------------- */

enum { BENCH_N = 512, BENCH_K = 2048 };

typedef struct strip_bench {
    const tsr_wide *wide;
    strip_operands s;
} strip_bench;

static void run_strip(void *ctx) {
    const strip_bench *b = ctx;
    b->wide->strip[b->s.w.type](&b->s.job);
}

static void run_product(void *ctx) { tsr_packed_multiply(&((product *)ctx)->p); }

/* Times of a run of blocks and of whole products, at many rows and at few. */
static void bench_wide(check *c, const tsr_wide *wide, tsr_type type, tsr_pool *pool) {
    static const int64_t rows[] = {512, 32};
    char name[64];
    for (int i = 0; i < 2; i++) {
        strip_bench b = {wide, strip(c, wide, type, 32, BENCH_K, rows[i], CHECK_NORMAL)};
        b.s.job.w = &b.s.w;
        b.s.job.blocks = wide->run_blocks < b.s.job.blocks ? wide->run_blocks : b.s.job.blocks;
        if (c->kern->enter) c->kern->enter();
        double seconds = check_time(run_strip, &b), amount = 2.0 * (double)(rows[i] * 32 * b.s.job.blocks * TSR_BLOCK_K);
        if (c->kern->leave) c->kern->leave();
        check_near(c, 0.0, 0.0, 0.0, "", 0);
        check_release(c);
        snprintf(name, sizeof name, "wide_strip_%s m=%d", tsr_type_get(type)->name, (int)rows[i]);
        check_report(c, name, seconds, amount, "op");
        product t;
        product_open(c, &t, type, BENCH_N, BENCH_K, &rows[i], 1, CHECK_NORMAL, pool);
        seconds = check_time(run_product, &t);
        product_close(c, &t);
        check_near(c, 0.0, 0.0, 0.0, "", 0);
        snprintf(name, sizeof name, "wide_product_%s m=%d", tsr_type_get(type)->name, (int)rows[i]);
        check_report(c, name, seconds, 2.0 * (double)(rows[i] * BENCH_N * BENCH_K), "op");
    }
}

typedef struct narrow_bench {
    const tsr_kernels *kern;
    tsr_packed w;
    const float *x;
    int rows;
} narrow_bench;

static void run_narrow(void *ctx) {
    const narrow_bench *b = ctx;
    float out[TSR_NARROW_F32_MAX * TSR_PANEL];
    for (int64_t p = 0; p < tsr_packed_panels(&b->w); p++) b->kern->packed_narrow_f32[b->w.type](&b->w, p, b->x, b->w.k, b->rows, out);
}

/* A sum of all bytes: what reading the weights takes at least. */
static void run_stream(void *ctx) {
    const narrow_bench *b = ctx;
    const uint64_t *p = (const uint64_t *)(const void *)b->w.data, *end = p + tsr_packed_bytes(&b->w) / 8;
    uint64_t sum[8] = {0};
    for (; p < end; p += 8)
        for (int i = 0; i < 8; i++) sum[i] += p[i];
    volatile uint64_t keep = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
    (void)keep;
}

/* Bytes of weights a second, out of memory: a matrix larger than any cache. */
static void bench_narrow(check *c, tsr_type type) {
    static const int rows[] = {0, 1, 8};
    if (c->kern->packed_narrow_f32[type] == tsr_kernels_get(TSR_TIER_SCALAR)->packed_narrow_f32[type]) return; /* minutes */
    narrow_bench b = {.kern = c->kern};
    tsr_packed_init(&b.w, type, 32768, 4096);
    b.w.data = aligned(tsr_packed_bytes(&b.w));
    memset(b.w.data, 0x3c, tsr_packed_bytes(&b.w));
    b.x = check_floats(c, 16 * b.w.k, CHECK_NORMAL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[64];
        b.rows = rows[i];
        double seconds = check_time(rows[i] ? run_narrow : run_stream, &b);
        check_near(c, 0.0, 0.0, 0.0, "", 0);
        if (rows[i]) snprintf(name, sizeof name, "narrow_f32_%s m=%d", tsr_type_get(type)->name, rows[i]);
        else snprintf(name, sizeof name, "narrow_f32_%s, reading alone", tsr_type_get(type)->name);
        check_report(c, name, seconds, (double)tsr_packed_bytes(&b.w), "B");
    }
    free(b.w.data);
    check_release(c);
}

/* --- entries --------------------------------------------------------------------------------------------------------------- */

static int64_t any_k(check *c, tsr_type type, int64_t most) {
    int64_t unit = tsr_type_get(type)->block_elems;
    return unit * check_between(c, 1, most / unit > 0 ? most / unit : 1);
}

/* No CHECK_TINY: numbers near the smallest have fewer bits. */
static check_fill any_fill(check *c) {
    static const check_fill fills[] = {CHECK_NORMAL, CHECK_NORMAL, CHECK_HUGE, CHECK_ZERO, CHECK_SPARSE};
    return fills[check_between(c, 0, 4)];
}

static void wide_entry(check *c, tsr_type type, tsr_pool *pool) {
    const tsr_wide *wide = c->kern->wide[type];
    static const int64_t columns[] = {1, 15, 16, 17, 32, 33, 50};
    for (int rows = 1; rows <= TILE_ROWS; rows++) check_pack_rows(c, wide, rows, check_between(c, 1, 130));
    for (int i = 0; i < 7; i++) check_unpack_elements(c, wide, type, columns[i], any_k(c, type, 1024));
    for (int64_t rows = 1; rows <= 40; rows++) check_strip(c, wide, type, columns[rows % 7], any_k(c, type, 1024), rows, any_fill(c));
    for (int i = 0; i < 10; i++) {
        int64_t rows[MAX_GROUPS], groups = i < 5 ? 1 : check_between(c, 2, MAX_GROUPS);
        for (int64_t g = 0; g < groups; g++) rows[g] = check_between(c, 1, 70);
        check_product(c, type, check_between(c, 1, 70), any_k(c, type, 512), rows, groups, any_fill(c), i == 3, pool);
    }
    /* more rows than an item computes at once, and several runs of blocks */
    int64_t rows[] = {check_between(c, 513, 560), check_between(c, 1, 20)};
    int64_t unit = tsr_type_get(type)->block_elems, k = (wide->run_blocks * TSR_BLOCK_K / unit + 1) * unit;
    check_product(c, type, check_between(c, 20, 40), k, rows, 1, CHECK_NORMAL, false, pool);
    check_product(c, type, check_between(c, 1, 20), any_k(c, type, 256), rows, 2, CHECK_NORMAL, false, pool);
}

void check_wide_kernels(check *c) {
    tsr_pool *pool = tsr_pool_open(2, false, NULL), *one = tsr_pool_open(1, false, NULL);
    for (int t = 0; t < TSR_TYPE_COUNT; t++) {
        char name[64];
        if (!c->kern->wide[t]) continue;
        snprintf(name, sizeof name, "wide_%s", tsr_type_get((uint32_t)t)->name);
        if (check_selected(c, name)) {
            wide_entry(c, (tsr_type)t, pool);
            const tsr_wide *attention = c->kern->wide_attention[t];
            if (attention && attention != c->kern->wide[t]) {
                for (int i = 0; i < 7; i++) check_unpack_elements(c, attention, (tsr_type)t, 16 * i + 1, any_k(c, (tsr_type)t, 1024));
                for (int64_t rows = 1; rows <= 40; rows++) check_strip(c, attention, (tsr_type)t, 33, any_k(c, (tsr_type)t, 1024), rows, any_fill(c));
            }
            check_report(c, name, 0.0, 0.0, "");
            bool reference = c->kern->wide[t] == tsr_kernels_get(TSR_TIER_SCALAR)->wide[t]; /* takes minutes */
            if (c->bench && !reference) bench_wide(c, c->kern->wide[t], (tsr_type)t, one);
        }
        snprintf(name, sizeof name, "narrow_f32_%s", tsr_type_get((uint32_t)t)->name);
        if (!c->kern->packed_narrow_f32[t] || !check_selected(c, name)) continue;
        for (int rows = 1; rows <= TSR_NARROW_F32_MAX; rows++)
            for (int kind = 0; kind < CHECK_FILLS + 2; kind++) check_narrow(c, (tsr_type)t, check_between(c, 1, 200), rows, kind);
        check_report(c, name, 0.0, 0.0, "");
        if (c->bench) bench_narrow(c, (tsr_type)t);
    }
    tsr_pool_close(one);
    tsr_pool_close(pool);
}
