/* Products of weights that are split over NUMA nodes or copied to each, on two nodes of which this machine may have but
 * one. */
#include "test_matmul_weights.h"
#include "test_two_nodes.h"

#include "buffer/placing.h"
#include "core/cpu.h"
#include "core/threads.h"

static tsr_nodes nodes; /* large: kept off the stack */

enum { K = 512, EXPERTS = 3, MOST_ROWS = 80, THREADS = 3 };

/* y [outputs][MOST_ROWS][n] of m rows with a matrix, a second of another n, or with experts; the workspace is just
 * large enough. */
static void multiply(const tsr_weight *w, int n_out, int64_t m, bool experts, tsr_pool *pool, const float *x,
                     float *y) {
    size_t work, scratch = tsr_product_scratch_bytes(K);
    tsr_expert_rows rows[EXPERTS];
    int64_t used = 0, first = 0;
    for (int64_t e = 0; experts && e < EXPERTS && first < m; e++) {
        int64_t more = e + 1 < EXPERTS ? m / 2 - first / 2 : m - first;
        rows[used++] = (tsr_expert_rows){e, first, more > 0 ? more : 1};
        first += rows[used - 1].rows;
    }
    assert_true(tsr_product_work_bytes(m, experts ? used : 1, K, &work));
    const tsr_nodes *on = tsr_pool_nodes(pool);
    work += on ? tsr_packed_split_work_bytes(experts ? used : 1, on->n) : 0;
    tsr_product p = {.kern = tsr_kernels_get(tsr_cpu_get()->tier),
                     .pool = pool,
                     .x = {.x = x, .ldx = K, .k = K},
                     .m = m,
                     .scratch_bytes = scratch,
                     .experts = experts ? rows : NULL,
                     .n_experts = used};
    for (int o = 0; o < n_out; o++) tsr_product_output(&p, &w[o], NULL, y + o * MOST_ROWS * 700);
    p.work = aligned_alloc(64, (work + 63) & ~(size_t)63);
    p.scratch = aligned_alloc(64, scratch * (size_t)tsr_pool_size(pool));
    tsr_product_run(&p);
    free(p.work);
    free(p.scratch);
}

/* Products of split weights are bit for bit those of plain ones, with 1 to THREADS threads for two nodes. */
static void compare(tsr_type type, int64_t n, int64_t experts, int n_out) {
    static float x[MOST_ROWS * K], want[2 * MOST_ROWS * 700], got[2 * MOST_ROWS * 700];
    static const int64_t rows[] = {1, 2, 5, 17, 80};
    tsr_error err = {0};
    tsr_pool *plain = tsr_pool_open(THREADS, false, &err), *pool = tsr_pool_open_on(&nodes, THREADS, &err);
    tsr_weight w[2];
    tsr_buffer b[2];
    void *blocks[2];
    for (int i = 0; i < MOST_ROWS * K; i++) x[i] = uniform();
    for (int o = 0; o < n_out; o++) {
        blocks[o] = random_blocks(type, K, n + 48 * o, experts);
        place(&tsr_buffer_packed, type, K, n + 48 * o, experts, blocks[o], &b[o], plain, &w[o]);
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int threads = 1; threads <= THREADS; threads++) {
            tsr_pool_use(pool, threads);
            memset(want, 0, sizeof want), memset(got, 0, sizeof got);
            multiply(w, n_out, rows[i], experts > 1, plain, x, want);
            for (int o = 0; o < n_out; o++) w[o].packed.split = true;
            multiply(w, n_out, rows[i], experts > 1, pool, x, got);
            for (int o = 0; o < n_out; o++) w[o].packed.split = false;
            assert_memory_equal(got, want, sizeof got);
        }
    for (int o = 0; o < n_out; o++) {
        tsr_buffer_free(&b[o]);
        free(blocks[o]);
    }
    tsr_pool_close(pool);
    tsr_pool_close(plain);
}

static void test_split_products(void **state) {
    (void)state;
    if (tsr_cpu_get()->tier < TSR_TIER_AVX2) skip();
    static const int64_t outputs[] = {1, 16, 17, 33, 100, 576};
    static const int cores[][2] = {{1, 1}, {3, 1}, {1, 40}};
    for (size_t c = 0; c < sizeof cores / sizeof *cores; c++) {
        make_two_nodes(&nodes, cores[c][0], cores[c][1]);
        for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
            compare(TSR_Q8_0, outputs[i], 1, 2);
            compare(TSR_Q4_K, outputs[i], EXPERTS, 1);
            compare(TSR_F16, outputs[i], 1, 1);
        }
    }
}

/* Each copy gives other results: which thread read which shows. Rows of one panel come from one copy, here of all ones
 * or all twos. */
static void test_copies(void **state) {
    (void)state;
    if (tsr_cpu_get()->tier < TSR_TIER_AVX2) skip();
    enum { N = 640, ROWS = 3 };
    static float x[MOST_ROWS * K], y[2 * MOST_ROWS * 700];
    tsr_error err = {0};
    tsr_buffer b = {0};
    tsr_weight w;
    make_two_nodes(&nodes, 1, 1);
    tsr_pool *pool = tsr_pool_open_on(&nodes, 2, &err);
    uint16_t *ones = malloc(sizeof *ones * N * K), *twos = malloc(sizeof *twos * N * K);
    for (int i = 0; i < N * K; i++) ones[i] = 0x3c00, twos[i] = 0x4000;
    for (int i = 0; i < ROWS * K; i++) x[i] = 1.0f;
    tsr_gguf_tensor t = {.name = (char *)(uintptr_t) "w",
                         .type = TSR_F16,
                         .n_dims = 2,
                         .ne = {K, N, 1, 1},
                         .data = ones,
                         .n_elems = N * K,
                         .n_bytes = 2 * N * K};
    w = (tsr_weight){.name = "w", .type = TSR_F16, .k = K, .n = N, .n_experts = 1, .buffer_type = &tsr_buffer_packed};
    assert_int_equal(tsr_mirror_alloc(&b, tsr_buffer_packed.size(&t), &nodes, &err), TSR_OK);
    t.data = twos;
    assert_int_equal(tsr_buffer_packed.set_tensor(&b, &t, &w, pool, &err), TSR_OK);
    tsr_mirror_fill(&b, pool);
    b.used = 0;
    t.data = ones;
    assert_int_equal(tsr_buffer_packed.set_tensor(&b, &t, &w, pool, &err), TSR_OK);
    assert_int_equal(w.packed.copy_stride, b.copy_stride);
    bool of_second = false;
    for (int round = 0; round < 20; round++) {
        multiply(&w, 1, ROWS, false, pool, x, y);
        int caller = tsr_pool_node(pool, 0), worker = tsr_pool_node(pool, 1);
        for (int i = 0; i < ROWS * N; i++) {
            int node = y[i] == (float)K ? 0 : 1;
            assert_true(y[i] == (float)(K * (1 + node)) && (node == caller || node == worker));
            of_second |= node == 1;
        }
        if (caller == 1 || worker == 1) assert_true(round < 19 || of_second);
    }
    tsr_buffer_free(&b);
    tsr_pool_close(pool);
    free(ones), free(twos);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_split_products), cmocka_unit_test(test_copies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
