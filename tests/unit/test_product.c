/* Products of one input with several weights, with all that may go with them (rows picked and normed, biases, sums, a gate, experts), against
 * double precision and against the same made of plain products: every tier, every path, weights of mixed formats and buffers. */
#include "test_matmul_weights.h"

#include <math.h>

enum { K = 512, MOST_N = 70, EXPERTS = 5, MAX_ROWS = 620, LDX = K + 3 };

/* What a product has. */
typedef struct scene {
    tsr_type types[TSR_MAX_OUTPUTS];
    int64_t n[TSR_MAX_OUTPUTS];
    int n_out;
    int host;         /* bits: outputs in host buffers */
    bool gate, norm, bias, add, experts;
} scene;

typedef struct stage {
    const scene *s;
    tsr_pool *pool;
    tsr_weight w[TSR_MAX_OUTPUTS];
    tsr_buffer buffers[TSR_MAX_OUTPUTS];
    void *blocks[TSR_MAX_OUTPUTS];
    float *f32[TSR_MAX_OUTPUTS];         /* [experts][n][K] as kernels see them */
    float *y[TSR_MAX_OUTPUTS], *before[TSR_MAX_OUTPUTS], *bias[TSR_MAX_OUTPUTS];
    float *x, *norm;                     /* [MAX_ROWS, K], [K] */
    int32_t index[MAX_ROWS];
    tsr_expert_rows rows[EXPERTS];
    int64_t m, n_experts;
} stage;

static int64_t ldy(const stage *t, int o) { return t->s->n[o] + o; }

static float *random_floats(int64_t n) {
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = 2.0f * uniform();
    return x;
}

static void open_stage(stage *t, const scene *s, tsr_pool *pool) {
    *t = (stage){.s = s, .pool = pool, .x = random_floats(MAX_ROWS * LDX), .norm = random_floats(K)};
    int64_t experts = s->experts ? EXPERTS : 1;
    for (int o = 0; o < s->n_out; o++) {
        int64_t n = s->n[o];
        t->blocks[o] = random_blocks(s->types[o], K, n, experts);
        const tsr_buffer_type *type = s->host >> o & 1 ? &tsr_buffer_host_mapped : &tsr_buffer_packed;
        place(type, s->types[o], K, n, experts, t->blocks[o], &t->buffers[o], pool, &t->w[o]);
        t->f32[o] = malloc((size_t)(experts * n * K) * sizeof(float));
        for (int64_t r = 0; r < experts * n; r++)
            tsr_dequantizer(s->types[o])((const uint8_t *)t->blocks[o] + (size_t)r * tsr_type_row_bytes(s->types[o], K), t->f32[o] + r * K, K);
        t->before[o] = random_floats(MAX_ROWS * ldy(t, o));
        t->y[o] = random_floats(MAX_ROWS * ldy(t, o));
        t->bias[o] = random_floats(n);
    }
}

static void close_stage(stage *t) {
    for (int o = 0; o < t->s->n_out; o++) {
        if (t->w[o].buffer_type->free) t->w[o].buffer_type->free(&t->buffers[o]);
        free(t->blocks[o]), free(t->f32[o]), free(t->y[o]), free(t->before[o]), free(t->bias[o]);
    }
    free(t->x), free(t->norm);
}

/* Runs what is in *p but for memory; its workspace is exactly as large as asked for, so that a sanitizer sees a byte too far. */
static void run(const stage *t, tsr_product *p) {
    size_t work_bytes, scratch_bytes = tsr_product_scratch_bytes(K);
    assert_true(tsr_product_work_bytes(p->m, p->experts ? p->n_experts : 1, K, &work_bytes));
    p->work = aligned_alloc(64, (work_bytes + 63) & ~(size_t)63);
    p->scratch = aligned_alloc(64, scratch_bytes * (size_t)tsr_pool_size(t->pool));
    p->scratch_bytes = scratch_bytes;
    memset(p->work, 0xa5, work_bytes);
    tsr_product_run(p);
    free(p->work);
    free(p->scratch);
}

static tsr_product product_of(const stage *t, const tsr_kernels *kern) {
    const scene *s = t->s;
    tsr_product p = {.kern = kern, .pool = t->pool, .x = {.x = t->x, .ldx = LDX, .k = K}, .m = t->m};
    if (s->experts) {
        p.x.index = t->index;
        p.experts = t->rows;
        p.n_experts = t->n_experts;
    }
    if (s->norm) p.x.norm = t->norm, p.x.eps = 1e-5f;
    if (s->gate) p.gate = kern->silu_mul;
    for (int o = 0; o < s->n_out; o++) {
        tsr_product_output(&p, &t->w[o], s->bias ? t->bias[o] : NULL, t->y[o]);
        p.out[o].ldy = ldy(t, o);
        p.out[o].add = s->add && !(s->gate && o == 1);
    }
    return p;
}

/* --- double precision ------------------------------------------------------------------------------------------------------ */

static int64_t expert_of_row(const stage *t, int64_t row) {
    for (int64_t i = 0; i < t->n_experts; i++)
        if (row < t->rows[i].first + t->rows[i].rows) return t->rows[i].expert;
    return 0;
}

/* The input of a row. */
static void true_row(const stage *t, int64_t row, double *x) {
    const float *from = t->x + (t->s->experts ? t->index[row] : row) * LDX;
    double square = 0.0;
    for (int i = 0; i < K; i++) square += (double)from[i] * from[i];
    double scale = t->s->norm ? 1.0 / sqrt(square / K + 1e-5) : 1.0;
    for (int i = 0; i < K; i++) x[i] = from[i] * scale * (t->s->norm ? t->norm[i] : 1.0);
}

/* One output before it is added; *tolerance: what 8 or 16 bits of activations cost. */
static double true_result(const stage *t, int o, int64_t expert, const double *x, int64_t j, double *tolerance) {
    const float *w = t->f32[o] + (expert * t->s->n[o] + j) * K;
    double sum = t->s->bias ? t->bias[o][j] : 0.0, square = 0.0;
    for (int i = 0; i < K; i++) {
        sum += w[i] * x[i];
        square += w[i] * x[i] * w[i] * x[i];
    }
    *tolerance = 0.05 * sqrt(square) + 1e-4;
    return sum;
}

static void compare_with_truth(const stage *t, const char *tier) {
    const scene *s = t->s;
    double x[K], tolerance, up_tolerance;
    for (int64_t row = 0; row < t->m; row += t->m > 100 ? 7 : 1) {
        int64_t expert = expert_of_row(t, row);
        true_row(t, row, x);
        for (int o = 0; o < (s->gate ? 1 : s->n_out); o++)
            for (int64_t j = 0; j < s->n[o]; j++) {
                int64_t at = row * ldy(t, o) + j;
                double want = true_result(t, o, expert, x, j, &tolerance);
                if (s->gate) {
                    double up = true_result(t, 1, expert, x, j, &up_tolerance), act = want / (1.0 + exp(-want));
                    tolerance = 1.2 * tolerance * (fabs(up) + up_tolerance) + fabs(act) * up_tolerance;
                    want = act * up;
                }
                if (s->add) want += t->before[o][at];
                if (!(fabs(t->y[o][at] - want) <= tolerance))
                    fail_msg("%s, %s, %d rows, output %d, row %d [%d]: %g, not %g", tier, tsr_type_get(s->types[o])->name, (int)t->m, o, (int)row,
                             (int)j, (double)t->y[o][at], want);
            }
    }
}

/* --- the same of plain products -------------------------------------------------------------------------------------------- */

/* Output o of plain rows, into y [m, n]. */
static void plain_output(const stage *t, const tsr_kernels *kern, int o, const float *x, float *y) {
    tsr_product p = product_of(t, kern);
    p.x = (tsr_rows){.x = x, .ldx = K, .k = K};
    p.gate = NULL;
    p.n_out = 0;
    tsr_product_output(&p, &t->w[o], NULL, y);
    run(t, &p);
    for (int64_t i = 0; i < t->m * t->s->n[o] && t->s->bias; i++) y[i] += t->bias[o][i % t->s->n[o]];
}

static void compare_with_plain(const stage *t, const tsr_kernels *kern) {
    const scene *s = t->s;
    float *x = malloc(sizeof(float) * MAX_ROWS * K), *y[TSR_MAX_OUTPUTS];
    for (int64_t i = 0; i < t->m; i++) {
        const float *from = t->x + (s->experts ? t->index[i] : i) * LDX;
        memcpy(x + i * K, from, K * sizeof *x);
        if (s->norm) kern->rms_norm(from, t->norm, 1e-5f, x + i * K, K);
    }
    for (int o = 0; o < s->n_out; o++) {
        y[o] = malloc(sizeof(float) * (size_t)(MAX_ROWS * s->n[o]));
        plain_output(t, kern, o, x, y[o]);
    }
    if (s->gate) kern->silu_mul(y[0], y[1], t->m * s->n[0]);
    for (int o = 0; o < (s->gate ? 1 : s->n_out); o++)
        for (int64_t i = 0; i < MAX_ROWS * ldy(t, o); i++) {
            int64_t row = i / ldy(t, o), j = i % ldy(t, o);
            float got = t->y[o][i], old = t->before[o][i];
            bool computed = row < t->m && j < s->n[o];
            float want = computed ? y[o][row * s->n[o] + j] + (s->add ? old : 0.0f) : old;
            /* gates and, in f32, sums that start from what was there round a little differently */
            float most = computed && (s->gate || s->add) ? 1e-5f * (fabsf(want) + fabsf(old) + 1.0f) : 0.0f;
            if (!(fabsf(got - want) <= most))
                fail_msg("%s, %s, %d rows, output %d, row %d [%d]: %g, of plain products %g", tsr_tier_name(kern->tier),
                         tsr_type_get(s->types[o])->name, (int)t->m, o, (int)row, (int)j, (double)got, (double)want);
        }
    for (int o = 0; o < s->n_out; o++) free(y[o]);
    free(x);
}

/* --- all of them ----------------------------------------------------------------------------------------------------------- */

static void check_rows(stage *t, const tsr_kernels *kern, int64_t m) {
    t->m = m;
    for (int o = 0; o < t->s->n_out; o++) memcpy(t->y[o], t->before[o], sizeof(float) * (size_t)(MAX_ROWS * ldy(t, o)));
    tsr_product p = product_of(t, kern);
    run(t, &p);
    if (kern->tier > TSR_TIER_SCALAR) compare_with_truth(t, tsr_tier_name(kern->tier));
    compare_with_plain(t, kern);
}

/* Rows of the experts: `rows`, ends with 0. apart: rows of x in no order; else all are row 3, a single token's. */
static void check_experts(stage *t, const tsr_kernels *kern, const int64_t *rows, bool apart) {
    int64_t m = 0;
    for (t->n_experts = 0; t->n_experts < EXPERTS && rows[t->n_experts]; t->n_experts++) {
        t->rows[t->n_experts] = (tsr_expert_rows){(t->n_experts * 3 + 1) % EXPERTS, m, rows[t->n_experts]};
        m += rows[t->n_experts];
    }
    for (int64_t i = 0; i < m; i++) t->index[i] = apart ? (int32_t)(i * 7 % 50) : 3;
    check_rows(t, kern, m);
}

static void check_record(stage *t, const tsr_kernels *kern, bool many) {
    static const int64_t rows[] = {1, 2, 3, 7, 8, 12, 17, 33}, experts[][EXPERTS] = {{1, 1, 1, 1, 1}, {2}, {1, 9, 3, 2, 30}, {20, 1, 4}};
    for (size_t i = 0; !t->s->experts && i < sizeof rows / sizeof *rows; i++) check_rows(t, kern, rows[i]);
    for (size_t i = 0; t->s->experts && i < sizeof experts / sizeof *experts; i++) check_experts(t, kern, experts[i], true);
    if (t->s->experts) check_experts(t, kern, experts[0], false);
    else if (many) check_rows(t, kern, 600); /* more than an item computes at once */
}

/* On every tier with its own choice of paths, and with all integer and wide paths from few rows on. */
static void check_scene(const scene *s, bool many) {
    for (int threads = 1; threads <= 3; threads += 2) {
        stage t;
        tsr_pool *pool = tsr_pool_open(threads, false, NULL);
        open_stage(&t, s, pool);
        for (int tier = 0; tier < TSR_TIER_COUNT; tier++) {
            if (!tsr_tier_usable((tsr_tier)tier)) continue;
            tsr_kernels *forced = malloc(sizeof *forced);
            check_record(&t, tsr_kernels_get((tsr_tier)tier), many && tier > TSR_TIER_SCALAR);
            *forced = *tsr_kernels_get((tsr_tier)tier);
            for (int i = 0; i < TSR_TYPE_COUNT; i++) forced->choice[i] = forced->packed_narrow[i] ? (tsr_choice){2, 10} : (tsr_choice){2, 3};
            check_record(&t, forced, many && tier > TSR_TIER_SCALAR);
            free(forced);
        }
        close_stage(&t);
        tsr_pool_close(pool);
    }
}

static void test_one_output(void **unused) {
    (void)unused;
    static const scene scenes[] = {
        {{TSR_Q4_0}, {37}, 1, .add = true},
        {{TSR_Q6_K}, {48}, 1, .add = true, .bias = true},
        {{TSR_BF16}, {33}, 1, .norm = true, .add = true, .bias = true},
        {{TSR_Q4_K}, {64}, 1, .norm = true},
        {{TSR_F32}, {21}, 1, .host = 1, .norm = true, .bias = true, .add = true},
    };
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) check_scene(&scenes[i], i == 0 || i == 2);
}

static void test_several_outputs(void **unused) {
    (void)unused;
    static const scene scenes[] = {
        {{TSR_Q4_K, TSR_Q4_K, TSR_Q6_K}, {70, 16, 16}, 3, .norm = true},
        {{TSR_Q5_0, TSR_Q5_0, TSR_Q8_0}, {37, 17, 5}, 3, .norm = true, .bias = true},
        {{TSR_Q4_0, TSR_Q5_1, TSR_Q2_K}, {33, 16, 64}, 3, .add = true},  /* all want sums of their own */
        {{TSR_BF16, TSR_F16, TSR_BF16}, {16, 19, 40}, 3, .norm = true},
        {{TSR_Q4_0, TSR_BF16}, {16, 19}, 2, .norm = true},               /* no form in common */
        {{TSR_Q4_0, TSR_F32, TSR_Q4_0}, {16, 19, 40}, 3, .host = 2, .norm = true, .bias = true}, /* nor a buffer */
    };
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) check_scene(&scenes[i], i == 0);
}

static void test_gate(void **unused) {
    (void)unused;
    static const scene scenes[] = {
        {{TSR_Q4_K, TSR_Q4_K}, {70, 70}, 2, .gate = true, .norm = true},
        {{TSR_Q5_0, TSR_Q5_0}, {33, 33}, 2, .gate = true, .bias = true, .add = true},
        {{TSR_F16, TSR_F16}, {50, 50}, 2, .gate = true, .norm = true},
        {{TSR_Q4_0, TSR_Q6_K}, {37, 37}, 2, .gate = true, .norm = true}, /* of two types */
        {{TSR_Q4_0, TSR_Q4_0}, {37, 37}, 2, .host = 2, .gate = true, .norm = true, .bias = true},
        {{TSR_F32, TSR_F32}, {18, 18}, 2, .host = 3, .gate = true, .norm = true},
    };
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) check_scene(&scenes[i], i == 0 || i == 2);
}

static void test_experts(void **unused) {
    (void)unused;
    static const scene scenes[] = {
        {{TSR_Q4_0, TSR_Q4_0}, {40, 40}, 2, .gate = true, .experts = true},
        {{TSR_Q4_K, TSR_Q4_K}, {33, 33}, 2, .gate = true, .experts = true, .norm = true},
        {{TSR_BF16, TSR_BF16}, {16, 16}, 2, .gate = true, .experts = true},
        {{TSR_Q6_K}, {50}, 1, .experts = true, .add = true},
        {{TSR_Q8_0, TSR_Q4_0}, {40, 40}, 2, .host = 1, .gate = true, .experts = true},
    };
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) check_scene(&scenes[i], false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_output),
        cmocka_unit_test(test_several_outputs),
        cmocka_unit_test(test_gate),
        cmocka_unit_test(test_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
