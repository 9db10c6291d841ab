/* Products whose rows do not depend on each other: every row of 1 to 8, bit for bit what it is alone: every format, every tier, weights of
 * several outputs, experts, norms, both buffer types. */
#include "test_matmul_weights.h"

#include <stdio.h>

enum { K = 1280 /* more than f32 products sum at a time */, N = 53, EXPERTS = 3, ROWS = TSR_ACT8_ALONE, OUT_FLOATS = 2 * EXPERTS * ROWS * N };

typedef struct setting {
    const tsr_kernels *kern;
    tsr_pool *pool;
    tsr_weight w[2];
    bool experts, gate, norm;
    const float *x, *norm_w; /* [EXPERTS * ROWS, K], [K] */
} setting;

static const float *random_floats(int64_t n) {
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = i % 97 == 0 ? 30.0f * uniform() : 2.0f * uniform(); /* with outliers */
    return x;
}

/* rows [first, first + m) of each expert (or of the one matrix) to out [2][groups * m][N] */
static void multiply(const setting *s, int64_t first, int64_t m, bool alone, float *out) {
    int64_t groups = s->experts ? EXPERTS : 1, rows = groups * m;
    tsr_expert_rows expert_rows[EXPERTS];
    int32_t index[EXPERTS * ROWS];
    for (int64_t g = 0; g < groups; g++) {
        expert_rows[g] = (tsr_expert_rows){g, g * m, m};
        for (int64_t i = 0; i < m; i++) index[g * m + i] = (int32_t)(g * ROWS + first + i);
    }
    tsr_product p = {.kern = s->kern, .pool = s->pool, .m = rows, .rows_alone = alone, .x = {.x = s->x, .ldx = K, .k = K, .index = index}};
    if (!s->experts) {
        p.x.index = NULL;
        p.x.x = s->x + first * K;
    } else {
        p.experts = expert_rows;
        p.n_experts = EXPERTS;
    }
    if (s->norm) p.x.norm = s->norm_w, p.x.eps = 1e-5f;
    if (s->gate) p.gate = s->kern->silu_mul;
    for (int o = 0; o < 2; o++) tsr_product_output(&p, &s->w[o], NULL, out + o * rows * N);
    size_t work_bytes, scratch_bytes = tsr_product_scratch_bytes(K);
    assert_true(tsr_product_work_bytes(rows, groups, K, &work_bytes));
    p.work = aligned_alloc(64, (work_bytes + 63) & ~(size_t)63);
    p.scratch = aligned_alloc(64, scratch_bytes * (size_t)tsr_pool_size(s->pool));
    p.scratch_bytes = scratch_bytes;
    tsr_product_run(&p);
    free(p.work);
    free(p.scratch);
}

/* Differing bits in the rows of a product of m rows at once. */
static int differences(const setting *s, int64_t m, bool alone, const float *single) {
    static float out[OUT_FLOATS];
    int64_t groups = s->experts ? EXPERTS : 1;
    int wrong = 0;
    multiply(s, 0, m, alone, out);
    for (int o = 0; o < (s->gate ? 1 : 2); o++)
        for (int64_t g = 0; g < groups; g++)
            for (int64_t i = 0; i < m; i++) {
                const float *want = single + i * 2 * groups * N + (o * groups + g) * N; /* [row][2][groups][N] */
                wrong += memcmp(out + ((o * groups + g) * m + i) * N, want, N * sizeof(float)) != 0;
            }
    return wrong;
}

static int check(const setting *s) {
    static float single[OUT_FLOATS];
    int64_t groups = s->experts ? EXPERTS : 1;
    for (int64_t i = 0; i < ROWS; i++) multiply(s, i, 1, false, single + i * 2 * groups * N);
    for (int64_t m = 1; m <= ROWS; m++) {
        int wrong = differences(s, m, true, single);
        if (wrong == 0) continue;
        print_message("%s, tier %s, %d rows, experts %d, gate %d, norm %d: %d rows are not what they are alone\n",
                      tsr_type_get(s->w[0].type)->name, tsr_tier_name(s->kern->tier), (int)m, s->experts, s->gate, s->norm, wrong);
        return 1;
    }
    return 0;
}

static int check_format(const tsr_kernels *kern, tsr_pool *pool, tsr_type type, const tsr_buffer_type *buffer_type) {
    void *blocks[2];
    tsr_buffer buffers[2];
    setting s = {.kern = kern, .pool = pool, .x = random_floats(EXPERTS * ROWS * K), .norm_w = random_floats(K)};
    int failures = 0;
    for (int o = 0; o < 2; o++) {
        blocks[o] = random_blocks(type, K, N, EXPERTS);
        place(buffer_type, type, K, N, EXPERTS, blocks[o], &buffers[o], pool, &s.w[o]);
    }
    for (int variant = 0; variant < 8; variant++) {
        s.experts = variant & 1;
        s.gate = variant & 2;
        s.norm = variant & 4;
        failures += check(&s);
    }
    for (int o = 0; o < 2; o++) {
        if (buffer_type->free) buffer_type->free(&buffers[o]);
        free(blocks[o]);
    }
    free((void *)(uintptr_t)s.x);
    free((void *)(uintptr_t)s.norm_w);
    return failures;
}

static void test_rows(void **state) {
    (void)state;
    tsr_pool *pool = tsr_pool_open(2, false, NULL);
    int failures = 0, formats = 0;
    tsr_cpu_amx_request(NULL);
    for (int tier = 0; tier < TSR_TIER_COUNT; tier++) {
        if (!tsr_tier_usable((tsr_tier)tier)) continue;
        const tsr_kernels *kern = tsr_kernels_get((tsr_tier)tier);
        formats = 0;
        for (int type = 0; type < TSR_TYPE_COUNT; type++) {
            if (!tsr_quantizer((tsr_type)type)) continue;
            bool packs = tsr_layout_of((tsr_type)type)->name;
            formats += packs;
            if (packs) failures += check_format(kern, pool, (tsr_type)type, &tsr_buffer_packed);
            if (type == TSR_F32 || type == TSR_Q4_K) failures += check_format(kern, pool, (tsr_type)type, &tsr_buffer_host_mapped);
        }
    }
    tsr_pool_close(pool);
    assert_int_equal(failures, 0);
    assert_true(formats >= 15);
}

/* Without the flag rows do differ, or the test above would show nothing. */
static void test_the_difference_is_there(void **state) {
    (void)state;
    tsr_pool *pool = tsr_pool_open(2, false, NULL);
    void *blocks = random_blocks(TSR_Q4_0, K, N, 1);
    tsr_buffer buffer;
    setting s = {.kern = tsr_kernels_get(TSR_TIER_SCALAR), .pool = pool, .x = random_floats(ROWS * K)};
    place(&tsr_buffer_packed, TSR_Q4_0, K, N, 1, blocks, &buffer, pool, &s.w[0]);
    s.w[1] = s.w[0];
    static float single[OUT_FLOATS];
    for (int64_t i = 0; i < ROWS; i++) multiply(&s, i, 1, false, single + i * 2 * N);
    assert_int_equal(differences(&s, ROWS, true, single), 0);
    assert_true(differences(&s, ROWS, false, single) > 0);
    tsr_buffer_packed.free(&buffer);
    free(blocks);
    free((void *)(uintptr_t)s.x);
    tsr_pool_close(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_the_difference_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
