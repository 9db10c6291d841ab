/* tsr_quantize through its C interface, so that the sanitizers see it: threads, cancelling, refusals, and source files
 * that shrink while they are read. What the files contain is compared with an oracle in tests/py/test_quantize.py. */
#include "gguf/gguf.h"
#include "quant/quant.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { ROWS = 700, COLUMNS = 512, N = ROWS * COLUMNS };

static char dir[] = "/tmp/tessera-quantize-XXXXXX";
static char in_path[64], out_path[64];
static float weights[N];

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(dir)) return -1;
    snprintf(in_path, sizeof in_path, "%s/in.gguf", dir);
    snprintf(out_path, sizeof out_path, "%s/out.gguf", dir);
    uint32_t seed = 5;
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        weights[i] = (float)(int32_t)seed * 0x1p-31f;
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(in_path);
    unlink(out_path);
    return rmdir(dir); /* fails when a temporary file was left behind */
}

/* A model with one F32 matrix and one vector. */
static void make_source(const float *matrix) {
    tsr_error err = {0};
    const int64_t shape[2] = {COLUMNS, ROWS}, length[1] = {COLUMNS};
    tsr_gguf_writer *w = tsr_gguf_writer_open(in_path, 32, &err);
    assert_non_null(w);
    assert_int_equal(tsr_gguf_writer_str(w, "general.architecture", "llama", &err), TSR_OK);
    assert_int_equal(tsr_gguf_writer_u32(w, "llama.block_count", 1, &err), TSR_OK);
    assert_int_equal(tsr_gguf_writer_tensor(w, "blk.0.ffn_up.weight", TSR_F32, 2, shape, &err), TSR_OK);
    assert_int_equal(tsr_gguf_writer_tensor(w, "blk.0.attn_norm.weight", TSR_F32, 1, length, &err), TSR_OK);
    assert_int_equal(tsr_gguf_writer_begin(w, &err), TSR_OK);
    assert_int_equal(tsr_gguf_writer_data(w, matrix, N * sizeof *matrix, &err), TSR_OK);
    assert_int_equal(tsr_gguf_writer_data(w, weights, sizeof(float) * COLUMNS, &err), TSR_OK);
    assert_int_equal(tsr_gguf_writer_finish(w, &err), TSR_OK);
}

static void test_every_type_on_several_threads(void **state) {
    (void)state;
    tsr_error err = {0};
    const char *type;
    uint8_t *want = malloc(N * sizeof(float));
    assert_non_null(want);
    make_source(weights);
    for (size_t i = 0; (type = tsr_quantize_type(i, NULL)); i++) {
        tsr_quantize_params p = tsr_quantize_params_default();
        p.type = type;
        p.pure = true;
        p.n_threads = 1 + (int)(i % 5);
        if (tsr_quantize(in_path, out_path, &p, &err) != TSR_OK) fail_msg("%s: %s", type, err.message);
        tsr_gguf *g = tsr_gguf_open(out_path, &err);
        assert_non_null(g);
        const tsr_gguf_tensor *t = tsr_gguf_find_tensor(g, "blk.0.ffn_up.weight");
        assert_non_null(t);
        tsr_quantizer(t->type)(weights, want, N, NULL);
        assert_memory_equal(t->data, want, t->n_bytes);
        assert_int_equal(tsr_gguf_find_tensor(g, "blk.0.attn_norm.weight")->type, TSR_F32);
        tsr_gguf_close(g);
    }
    free(want);
}

static bool count_and_stop(void *user, uint64_t done, uint64_t total) {
    int *left = user;
    (void)done, (void)total;
    return --*left > 0;
}

static void test_cancelling_with_threads_at_work(void **state) {
    (void)state;
    make_source(weights);
    unlink(out_path);
    for (int calls = 1; calls <= 2; calls++) {
        tsr_error err = {0};
        int left = calls;
        tsr_quantize_params p = tsr_quantize_params_default();
        p.n_threads = 4;
        p.pure = true;
        p.progress = count_and_stop;
        p.progress_user = &left;
        tsr_code code = tsr_quantize(in_path, out_path, &p, &err);
        if (code == TSR_OK) { /* the whole file was done before the second call */
            assert_int_equal(left, 1);
            continue;
        }
        assert_int_equal(code, TSR_E_CANCELLED);
        assert_int_equal(access(out_path, F_OK), -1);
    }
}

static void test_first_bad_weight_is_named(void **state) {
    (void)state;
    float *bad = malloc(sizeof weights);
    assert_non_null(bad);
    memcpy(bad, weights, sizeof weights);
    for (int i = 70000; i < N; i += 3) bad[i] = i % 2 ? NAN : -INFINITY;
    make_source(bad);
    free(bad);
    for (int n = 1; n <= 6; n++) {
        tsr_error err = {0};
        tsr_quantize_params p = tsr_quantize_params_default();
        p.n_threads = n;
        assert_int_equal(tsr_quantize(in_path, out_path, &p, &err), TSR_E_FORMAT);
        assert_non_null(strstr(err.message, "'blk.0.ffn_up.weight'"));
        assert_non_null(strstr(err.message, "weight 70000 (row 136, column 368) is -infinity"));
        assert_non_null(strstr(err.message, in_path));
    }
}

/* The source loses its tail after the first tensor was told of: an error that names it, no file of zeros. */
static void shrink(void *user, const char *name, const char *from, const char *to, uint64_t in, uint64_t out) {
    (void)user, (void)name, (void)from, (void)to, (void)in, (void)out;
    assert_int_equal(truncate(in_path, 4096), 0);
}

static void test_source_that_shrinks(void **state) {
    (void)state;
    tsr_error err = {0};
    make_source(weights);
    unlink(out_path);
    tsr_quantize_params p = tsr_quantize_params_default();
    p.on_tensor = shrink;
    tsr_code code = tsr_quantize(in_path, out_path, &p, &err);
    assert_int_equal(code, TSR_E_IO);
    assert_non_null(strstr(err.message, "in.gguf"));
    assert_int_equal(access(out_path, F_OK), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_on_several_threads),
        cmocka_unit_test(test_cancelling_with_threads_at_work),
        cmocka_unit_test(test_first_bad_weight_is_named),
        cmocka_unit_test(test_source_that_shrinks),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
