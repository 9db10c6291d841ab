/* check_packed.c: packed products with 8-bit activations: unpacking bit for bit, quantised activations against their definition, narrow and
 * wide kernels against the sum in double precision over the very same codes. */
#include "check.h"

#include "kernels/matmul.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Activations with outliers, and what a quantiser makes of them. */
static tsr_act8 activations(check *c, const tsr_packed *w, const float *x, int64_t m, tsr_pool *pool, void **work) {
    size_t bytes;
    tsr_act8 a;
    tsr_act8_bytes(m, w->k, &bytes);
    *work = aligned_alloc(64, bytes);
    memset(*work, 0xa5, bytes);
    const tsr_act8_source source = {c->kern, &w->layout, 1, {.x = x, .ldx = w->k, .k = w->k}, m, NULL};
    tsr_act8_place(&a, 1, *work, m, w->k, false);
    tsr_act8_quantize(&a, &source, pool, 0, 1);
    return a;
}

/* What act8.h says of the list of entries and of pairs. */
static void check_pairs(check *c, const tsr_packed *w, const tsr_act8 *a) {
    for (int64_t g = 0; g * TSR_ACT8_GROUP < a->rows; g++) {
        const int32_t *block = a->block + g * a->entries;
        int64_t lanes = tsr_act8_lanes(a, g), base = g * TSR_ACT8_GROUP * a->entries, pair = 0, single = 2 * a->pairs;
        for (int64_t b = 0; b < w->k / TSR_BLOCK_K; b++) {
            bool paired = pair < a->pairs && block[2 * pair] == b;
            check_near(c, paired ? block[2 * pair + 1] : single < a->entries ? block[single] : -1, (double)b, 0.0, "block of entry", b);
            if (!paired) single++;
            for (int64_t l = 0; paired && l < lanes; l++) {
                int64_t first = 2 * pair * lanes + l, second = first + lanes;
                check_near(c, a->scale[base + second], ldexpf(a->scale[base + first], -TSR_ACT8_PAIR_SHIFT), 0.0, "scale of a pair", second);
                for (int h = 0; h < 2 && w->layout->has_min; h++)
                    check_near(c, a->sum[2 * base + (2 * (2 * pair + 1) + h) * lanes + l], 0.0, 0.0, "sum of a pair's second", second);
            }
            pair += paired;
        }
        check_near(c, (double)single, (double)a->entries, 0.0, "entries", g);
    }
}

/* start of every entry and lane is -offset times the sum of the codes that share a scale: layouts without min. */
static void check_starts(check *c, const tsr_packed *w, const tsr_act8 *a) {
    const int groups = TSR_BLOCK_K / w->layout->group_k;
    for (int64_t r = 0; r < a->rows && !w->layout->has_min; r++) {
        int64_t g8 = r / TSR_ACT8_GROUP, lanes = tsr_act8_lanes(a, g8), base = g8 * TSR_ACT8_GROUP * a->entries, lane = r % TSR_ACT8_GROUP;
        for (int64_t e = 0; e < a->entries; e++) {
            const int8_t *quads = a->codes + base * TSR_BLOCK_K + (e * TSR_QUADS * lanes + lane) * 4;
            for (int g = 0; g < groups; g++) {
                int sum = 0;
                for (int v = g * 8 / groups; v < (g + 1) * 8 / groups; v++)
                    for (int i = 0; i < 4; i++) sum += quads[v * lanes * 4 + i];
                if (isnan(a->scale[base + e * lanes + lane])) continue; /* all that it enters is NaN */
                check_near(c, a->start[2 * base + (2 * e + g) * lanes + lane], -w->layout->offset * sum, 0.0, "start of an entry", e);
            }
        }
    }
}

/* want[16] = row r of a times panel p, and the bound of summing its terms in f32, in any order (Higham, Accuracy and Stability of Numerical
 * Algorithms, 4.2): a term is converted and multiplied with two factors, of which one may be a rounded product, then takes part in at most
 * as many additions as there are terms, and one more when rows are paired. */
static void product(const tsr_packed *w, int64_t p, const tsr_act8 *a, int64_t r, double *want, double *bound) {
    int groups = TSR_BLOCK_K / w->layout->group_k;
    double roundings = 5.0 + (double)(a->entries * groups * (w->layout->has_min ? 2 : 1)), unit = roundings * 0x1p-24 / (1.0 - roundings * 0x1p-24);
    for (int c = 0; c < TSR_PANEL; c++) want[c] = bound[c] = 0.0;
    for (int64_t e = 0; e < a->entries; e++) {
        uint8_t codes[TSR_QUADS * 64];
        float scale[2 * TSR_PANEL], min[2 * TSR_PANEL];
        int64_t g8 = r / TSR_ACT8_GROUP, lanes = tsr_act8_lanes(a, g8), base = g8 * TSR_ACT8_GROUP * a->entries, lane = r % TSR_ACT8_GROUP;
        const int8_t *quads = a->codes + base * TSR_BLOCK_K + (e * TSR_QUADS * lanes + lane) * 4;
        tsr_packed_block(w, p, a->block[g8 * a->entries + e], codes, scale, min);
        for (int g = 0; g < groups; g++)
            for (int c = 0; c < TSR_PANEL; c++) {
                int64_t half = 2 * base + (2 * e + g) * lanes + lane;
                double sum = w->layout->has_min ? 0.0 : a->start[half];
                for (int v = g * 8 / groups; v < (g + 1) * 8 / groups; v++)
                    for (int i = 0; i < 4; i++) sum += codes[64 * v + 4 * c + i] * quads[v * lanes * 4 + i];
                double term = sum * scale[g * TSR_PANEL + c] * a->scale[base + e * lanes + lane];
                double low = w->layout->has_min ? (double)min[g * TSR_PANEL + c] * a->sum[half] : 0.0;
                want[c] += term + low;
                bound[c] += (fabs(term) + fabs(low)) * unit;
            }
    }
    for (int c = 0; c < TSR_PANEL; c++) bound[c] += 1e-30;
}

static void check_unpack(check *c, const tsr_packed *w) {
    int groups = TSR_BLOCK_K / w->layout->group_k;
    int64_t blocks = w->k / TSR_BLOCK_K;
    uint8_t *codes = check_operand(c, blocks * 512, 1);
    float *scale = check_operand(c, blocks * groups * TSR_PANEL, sizeof *scale), *min = check_operand(c, blocks * groups * TSR_PANEL, sizeof *min);
    for (int64_t p = 0; p < tsr_packed_panels(w); p++) {
        c->kern->packed_unpack[w->type](w, p, codes, scale, min);
        for (int64_t b = 0; b < blocks; b++) {
            uint8_t want_codes[512];
            float want_scale[32], want_min[32];
            tsr_packed_block(w, p, b, want_codes, want_scale, want_min);
            for (int i = 0; i < 512; i++) check_near(c, codes[b * 512 + i], want_codes[i], 0.0, "unpacked code", b * 512 + i);
            for (int i = 0; i < groups * TSR_PANEL; i++) {
                check_near(c, scale[b * groups * TSR_PANEL + i], want_scale[i], 0.0, "unpacked scale", i);
                if (w->layout->has_min) check_near(c, min[b * groups * TSR_PANEL + i], want_min[i], 0.0, "unpacked min", i);
            }
        }
    }
}

static void multiply(check *c, const tsr_packed *w, const float *x, int64_t m, float *y, int64_t ldy, tsr_pool *pool, void *work,
                     uint8_t *scratch) {
    const tsr_group group = {{w->data}, 0, m};
    tsr_kernels kern = *c->kern;
    kern.choice[w->type].wide_rows = TSR_WIDE_NEVER; /* check_wide.c checks that path */
    const tsr_packed_product p = {.kern = &kern, .pool = pool, .x = {.x = x, .ldx = w->k, .k = w->k}, .out = {{.w = *w, .y = y, .ldy = ldy}},
                                  .n_out = 1, .groups = &group, .n_groups = 1, .work = work, .scratch = scratch, .scratch_bytes = tsr_packed_scratch_bytes(w->k)};
    tsr_packed_multiply(&p);
}

/* The whole product against that of the very weights and activations, within what rounding these to 8 bits can do: also where a block's
 * sums or list of entries are wrong, which `product` would take over. NaN stays in its row. bound: what f32 arithmetic adds, [m][n]. */
static void check_true_product(check *c, const tsr_packed *w, const float *x, int64_t m, const float *y, int64_t ldy, const double *bound) {
    float *row = check_operand(c, w->k, sizeof *row);
    for (int64_t n = 0; n < w->n; n++) {
        tsr_packed_row(w, n, row);
        for (int64_t i = 0; i < m; i++) {
            double want = 0.0, rounding = 0.0;
            for (int64_t b = 0; b < w->k; b += TSR_BLOCK_K) {
                double max = 0.0, weights = 0.0;
                for (int64_t l = b; l < b + TSR_BLOCK_K; l++) {
                    max = fmax(max, fabs((double)x[i * w->k + l]));
                    weights += fabs((double)row[l]);
                    want += (double)row[l] * x[i * w->k + l];
                }
                rounding += weights * (max / 254 * 1.001 + TSR_ACT8_SMALL);
            }
            check_near(c, y[i * ldy + n], want, rounding + 2.0 * bound[i * w->n + n], "product before rounding", i * ldy + n);
        }
    }
}

/* The whole product through tsr_packed_multiply, against the sum over the activations' own codes. */
static void product_case(check *c, tsr_type type, int64_t n, int64_t k, int64_t m, check_fill fill, tsr_pool *pool) {
    tsr_packed w = check_matrix(c, type, n, k);
    check_unpack(c, &w);
    int64_t ldy = n + check_between(c, 0, 3);
    float *x = check_floats(c, m * k, fill), *y = check_floats(c, (m - 1) * ldy + n, CHECK_NORMAL), before[128];
    if (check_between(c, 0, 3) == 0) x[check_between(c, 0, m * k - 1)] = NAN;
    for (int64_t i = 0; i < (m - 1) * ldy + n && i < 128; i++) before[i] = y[i];
    void *work;
    tsr_act8 a = activations(c, &w, x, m, pool, &work);
    check_pairs(c, &w, &a);
    check_starts(c, &w, &a);
    size_t scratch_bytes = tsr_packed_scratch_bytes(k);
    uint8_t *scratch = aligned_alloc(64, (scratch_bytes + 63) & ~(size_t)63);
    size_t work_bytes;
    tsr_packed_work_bytes(m, 1, k, &work_bytes);
    void *again = aligned_alloc(64, (work_bytes + 63) & ~(size_t)63);
    multiply(c, &w, x, m, y, ldy, pool, again, scratch);
    int64_t per_row = a.rows / m;
    double *bounds = check_operand(c, m * n, sizeof *bounds);
    for (int64_t p = 0; p < tsr_packed_panels(&w); p++)
        for (int64_t i = 0; i < m; i++) {
            double want[TSR_PANEL], bound[TSR_PANEL], more[TSR_PANEL], more_bound[TSR_PANEL];
            product(&w, p, &a, i * per_row, want, bound);
            if (per_row == 2) product(&w, p, &a, 2 * i + 1, more, more_bound);
            for (int64_t col = 0; col < TSR_PANEL && p * TSR_PANEL + col < n; col++) {
                bounds[i * n + p * TSR_PANEL + col] = bound[col] + (per_row == 2 ? more_bound[col] : 0.0);
                check_near(c, y[i * ldy + p * TSR_PANEL + col], want[col] + (per_row == 2 ? more[col] : 0.0),
                           bounds[i * n + p * TSR_PANEL + col], "product", i * ldy + p * TSR_PANEL + col);
            }
        }
    check_true_product(c, &w, x, m, y, ldy, bounds);
    for (int64_t i = 0; i + 1 < m; i++)
        for (int64_t col = n; col < ldy && i * ldy + col < 128; col++)
            check_near(c, y[i * ldy + col], before[i * ldy + col], 0.0, "gap between rows", i * ldy + col);
    free(work);
    free(again);
    free(scratch);
    check_release(c);
}

typedef struct product_bench {
    check *c;
    const tsr_packed *w;
    const float *x;
    float *y;
    void *work;
    uint8_t *scratch;
    tsr_pool *pool;
    int64_t m;
} product_bench;

static void run_product(void *ctx) {
    const product_bench *b = ctx;
    multiply(b->c, b->w, b->x, b->m, b->y, b->w->n, b->pool, b->work, b->scratch);
}

static double bench(check *c, tsr_type type, int64_t m, int64_t n, int64_t k, tsr_pool *pool) {
    tsr_packed w = check_matrix(c, type, n, k);
    size_t work_bytes;
    tsr_packed_work_bytes(m, 1, k, &work_bytes);
    product_bench b = {c, &w, check_floats(c, m * k, CHECK_NORMAL), check_floats(c, m * n, CHECK_ZERO), aligned_alloc(64, (work_bytes + 63) & ~(size_t)63),
                       aligned_alloc(64, tsr_packed_scratch_bytes(k)), pool, m};
    double seconds = check_time(run_product, &b);
    free(b.work);
    free(b.scratch);
    check_release(c);
    return seconds;
}

/* What kernels.h asks of the choice between kernels. */
static void check_choice(check *c) {
    if (!check_selected(c, "packed_choice")) return;
    for (int t = 0; t < TSR_TYPE_COUNT; t++) {
        const tsr_choice *choice = &c->kern->choice[t];
        const int most = tsr_layout_of((tsr_type)t)->code_bits == 16 ? TSR_NARROW_F32_MAX : TSR_NARROW_MAX;
        if (!tsr_layout_of((tsr_type)t)->name) continue;
        check_near(c, choice->narrow_rows >= TSR_ACT8_PAIRED && choice->narrow_rows <= most, 1.0, 0.0, "narrow_rows of type", t);
        if (tsr_layout_of((tsr_type)t)->code_bits == 16)
            check_near(c, choice->wide_rows, choice->narrow_rows + 1, 0.0, "wide_rows of type", t);
    }
    check_report(c, "packed_choice", 0.0, 0.0, "");
}

void check_packed_kernels(check *c) {
    static const int64_t rows[] = {1, 2, 3, 4, 5, 7, 8, 9, 11, 13, 16, 17, 18, 19, 22, 24, 29, 33, 39, 70}, columns[] = {1, 15, 16, 17, 32, 33, 50};
    tsr_pool *pool = tsr_pool_open(1, false, NULL);
    check_choice(c);
    for (int t = 0; t < TSR_TYPE_COUNT; t++) {
        if (!c->kern->packed_narrow[t]) continue;
        char name[64];
        snprintf(name, sizeof name, "packed_%s", tsr_type_get((uint32_t)t)->name);
        if (!check_selected(c, name)) continue;
        int64_t unit = tsr_layout_of((tsr_type)t)->unit_k;
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (int i = 0; i < 2; i++) {
                int64_t n = columns[check_random(c) % (sizeof columns / sizeof *columns)], k = unit * check_between(c, 1, unit == 32 ? 9 : 2);
                check_fill fill = i == 0 ? CHECK_NORMAL : (check_fill)check_between(c, 0, CHECK_FILLS - 1);
                product_case(c, (tsr_type)t, n, k, rows[r], fill, pool);
            }
        double seconds = c->bench ? bench(c, (tsr_type)t, 96, 512, 1024, pool) : 0.0;
        check_report(c, name, seconds, 2.0 * 96 * 512 * 1024, "op");
    }
    tsr_pool_close(pool);
}
