/* Products with experts through the buffer types: host, packed, and experts in parts, alike or not: every row is what a product of its
 * expert's matrix alone gives, bit for bit, and the workspace is as large as it says. */
#include "buffer/buffer.h"
#include "core/threads.h"

#include "test_matmul_weights.h"

#include <stdio.h>

enum { K = 256, N = 37, EXPERTS = 6, LDX = K + 5, LDY = N + 3, MAX_ROWS = 90 };

/* One product; its workspace is exactly as large as asked for, so that a sanitizer sees a byte too far. */
static void multiply(const tsr_kernels *kern, tsr_pool *pool, const tsr_weight *w, const tsr_expert_rows *experts, int64_t n, const float *x,
                     int64_t m, float *y) {
    size_t work_bytes, scratch_bytes = tsr_product_scratch_bytes(K);
    assert_true(tsr_product_work_bytes(m, experts ? n : 1, K, &work_bytes));
    void *work = aligned_alloc(64, (work_bytes + 63) & ~(size_t)63), *scratch = aligned_alloc(64, scratch_bytes * (size_t)tsr_pool_size(pool));
    const tsr_product p = {.kern = kern, .pool = pool, .scratch = scratch, .scratch_bytes = scratch_bytes, .work = work,
                           .experts = experts, .n_experts = n, .x = {.x = x, .ldx = LDX, .k = K}, .m = m,
                           .out = {{.w = w, .y = y, .ldy = LDY}}, .n_out = 1};
    tsr_product_run(&p);
    free(work);
    free(scratch);
}

static float x[MAX_ROWS * LDX], y[MAX_ROWS * LDY], own[MAX_ROWS * LDY];

/* Runs of rows of several shapes: w against single[e], the experts' matrices as weights of their own. */
static void compare(const tsr_kernels *kern, tsr_pool *pool, const tsr_weight *w, const tsr_weight *single) {
    static const tsr_expert_rows cases[][EXPERTS] = {
        {{0, 0, 1}, {1, 1, 40}, {2, 41, 9}, {3, 50, 2}, {4, 52, 20}, {5, 72, 5}},
        {{1, 0, 3}, {4, 3, 1}},            /* experts that no row chose */
        {{5, 0, 1}},                       /* one token */
        {{2, 0, MAX_ROWS}},                /* one expert has all */
        {{3, 0, 17}, {0, 17, 8}, {1, 25, 1}}, /* in any order of experts */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t n = 0, m = 0;
        for (; n < EXPERTS && cases[i][n].rows; n++) m += cases[i][n].rows;
        for (size_t j = 0; j < sizeof y / sizeof *y; j++) y[j] = own[j] = -7.0f;
        multiply(kern, pool, w, cases[i], n, x, m, y);
        for (int64_t g = 0; g < n; g++) {
            const tsr_expert_rows *r = &cases[i][g];
            multiply(kern, pool, &single[r->expert], NULL, 0, x + r->first * LDX, r->rows, own + r->first * LDY);
        }
        for (int64_t row = 0; row < MAX_ROWS; row++)
            for (int64_t j = 0; j < LDY; j++)
                if (memcmp(&y[row * LDY + j], &own[row * LDY + j], sizeof *y) != 0)
                    fail_msg("%s, case %zu, row %d [%d]: %g, alone %g", tsr_tier_name(kern->tier), i, (int)row, (int)j, (double)y[row * LDY + j],
                             (double)own[row * LDY + j]);
        assert_true(y[0] != -7.0f && y[m * LDY - LDY + N - 1] != -7.0f);
    }
}

static void on_every_tier(const tsr_weight *w, const tsr_weight *single) {
    for (int threads = 1; threads <= 3; threads += 2) {
        tsr_pool *pool = tsr_pool_open(threads, false, NULL);
        for (int tier = 0; tier < TSR_TIER_COUNT; tier++)
            if (tsr_tier_usable((tsr_tier)tier)) compare(tsr_kernels_get((tsr_tier)tier), pool, w, single);
        tsr_pool_close(pool);
    }
}

/* The experts as one tensor against each of them as a tensor. */
static void merged(const tsr_buffer_type *type, tsr_type format) {
    tsr_pool *pool = tsr_pool_open(1, false, NULL);
    uint8_t *blocks = random_blocks(format, K, N, EXPERTS);
    size_t bytes = tsr_type_row_bytes(format, K) * N;
    tsr_buffer buffer, buffers[EXPERTS];
    tsr_weight w, single[EXPERTS];
    place(type, format, K, N, EXPERTS, blocks, &buffer, pool, &w);
    for (int e = 0; e < EXPERTS; e++) place(type, format, K, N, 1, blocks + (size_t)e * bytes, &buffers[e], pool, &single[e]);
    on_every_tier(&w, single);

    tsr_weight parts = single[0]; /* the same experts, each a tensor */
    parts.n_experts = EXPERTS;
    parts.parts = single;
    on_every_tier(&parts, single);

    if (type->free) type->free(&buffer);
    for (int e = 0; e < EXPERTS; e++)
        if (type->free) type->free(&buffers[e]);
    free(blocks);
    tsr_pool_close(pool);
}

static void test_host(void **unused) {
    (void)unused;
    merged(&tsr_buffer_host_mapped, TSR_Q4_K);
    merged(&tsr_buffer_host_copied, TSR_F32);
}

static void test_packed(void **unused) {
    (void)unused;
    static const tsr_type formats[] = {TSR_Q4_0, TSR_Q6_K, TSR_MXFP4, TSR_BF16};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) merged(&tsr_buffer_packed, formats[i]);
}

/* Parts of several formats and buffer types. */
static void test_parts_that_differ(void **unused) {
    (void)unused;
    static const tsr_type formats[EXPERTS] = {TSR_Q4_0, TSR_F32, TSR_Q8_0, TSR_Q8_0, TSR_Q5_K, TSR_F16};
    tsr_pool *pool = tsr_pool_open(1, false, NULL);
    tsr_buffer buffers[EXPERTS];
    tsr_weight single[EXPERTS], w;
    void *blocks[EXPERTS];
    for (int e = 0; e < EXPERTS; e++) {
        blocks[e] = random_blocks(formats[e], K, N, 1);
        place(e % 2 == 0 ? &tsr_buffer_packed : &tsr_buffer_host_copied, formats[e], K, N, 1, blocks[e], &buffers[e], pool, &single[e]);
    }
    w = single[0];
    w.n_experts = EXPERTS;
    w.parts = single;
    w.parts_differ = true;
    on_every_tier(&w, single);
    for (int e = 0; e < EXPERTS; e++) {
        tsr_buffer_free(&buffers[e]);
        free(blocks[e]);
    }
    tsr_pool_close(pool);
}

/* Sizes that no memory holds are an error, not a wrap. */
static void test_workspace_too_large(void **unused) {
    (void)unused;
    size_t bytes;
    assert_true(tsr_product_work_bytes(512 * 8, 128, 2048, &bytes));
    assert_true(bytes > 512 * 8 * 2048 && bytes < (size_t)1 << 30);
    static const int64_t huge[][3] = {{INT64_MAX, 1, 2048}, {512, INT64_MAX, 2048}, {512, 1, INT64_MAX}, {INT64_MAX / 512, 1, 64}, {1 << 30, 1 << 30, 1LL << 40},
                                      {1, INT64_MAX / 512, 1}, {1LL << 40, 8, 1LL << 30}};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++)
        if (tsr_product_work_bytes(huge[i][0], huge[i][1], huge[i][2], &bytes)) fail_msg("case %zu: %zu bytes", i, bytes);
}

int main(void) {
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = uniform();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_parts_that_differ),
        cmocka_unit_test(test_workspace_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
