/* tsr_bench through the public API: arguments, cancelling, weights that are used again, memory; and the peaks of every tier. */
#include "kernels/peaks.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

enum { MEMORY = 64 << 20 };

static tsr_bench *open_bench(int n_threads, uint64_t max_memory) {
    tsr_error err = {0};
    tsr_bench *b = tsr_bench_open(&(tsr_bench_params){.n_threads = n_threads, .max_memory = max_memory}, &err);
    if (!b) fail_msg("%s", err.message);
    return b;
}

static const tsr_bench_product little = {.type = "Q4_K", .n = 50, .k = 256, .m = 3, .n_samples = 1};

static void refuses_what_makes_no_sense(void **state) {
    (void)state;
    static const struct {
        tsr_bench_product p;
        const char *says;
    } cases[] = {
        {{.n = 1, .k = 1, .m = 1}, "format ''"},
        {{.type = "F32", .n = 1, .k = 1, .m = 1}, "format 'F32'"},
        {{.type = "Q9\n", .n = 1, .k = 1, .m = 1}, "format 'Q9\\x0a'"},
        {{.type = "Q4_0", .n = 0, .k = 32, .m = 1}, "0 x 32"},
        {{.type = "Q4_0", .n = 1, .k = -32, .m = 1}, "1 x -32"},
        {{.type = "Q4_0", .n = 1, .k = 32, .m = INT64_MAX}, "9223372036854775807 rows"},
        {{.type = "Q4_0", .n = 1, .k = 33, .m = 1}, "no multiple of the 32 of a Q4_0 block"},
        {{.type = "Q4_0", .n = 1, .k = 32, .m = 1, .n_experts = 2, .n_used = 3}, "2 experts of which 3"},
        {{.type = "Q4_0", .n = 1, .k = 32, .m = 1, .n_used = 1}, "0 experts of which 1"},
        {{.type = "Q4_0", .n = 1, .k = 32, .m = 1, .n_experts = 5000, .n_used = 1}, "5000 experts"},
        {{.type = "Q4_0", .n = 1, .k = 32, .m = 1, .n_samples = -1}, "-1 samples"},
    };
    tsr_bench *b = open_bench(1, MEMORY);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tsr_error err = {0};
        tsr_bench_result r;
        assert_int_equal(tsr_bench_matmul(b, &cases[i].p, &r, &err), TSR_E_ARG);
        if (!strstr(err.message, cases[i].says)) fail_msg("%s", err.message);
        assert_int_equal(tsr_bench_matmul(b, &cases[i].p, &r, NULL), TSR_E_ARG);
    }
    tsr_error err = {0};
    tsr_bench_result r;
    const tsr_bench_product largest = {.type = "F16", .n = 1 << 24, .k = 1 << 24, .m = 1 << 20, .n_experts = 4096, .n_used = 4096};
    assert_int_equal(tsr_bench_matmul(b, &largest, &r, &err), TSR_E_LIMIT);
    assert_int_equal(tsr_bench_matmul(b, &(tsr_bench_product){.type = "F16", .n = 1 << 14, .k = 1 << 14, .m = 1}, &r, &err), TSR_E_LIMIT);
    assert_non_null(strstr(err.message, "more than the 0.1 GB allowed"));
    assert_int_equal(tsr_bench_matmul(b, &little, &r, &err), TSR_OK); /* it still works */
    tsr_bench_close(b);
    assert_null(tsr_bench_open(&(tsr_bench_params){.n_threads = -1}, &err));
    assert_null(tsr_bench_open(&(tsr_bench_params){.cpu_tier = "z80"}, &err));
    tsr_bench_close(NULL);
}

static void measures_on_two_threads(void **state) {
    (void)state;
    tsr_bench *b = open_bench(2, MEMORY);
    for (int64_t m = 1; m < 40; m += 6)
        for (int host = 0; host < 2; host++)
            for (int experts = 0; experts < 2; experts++) {
                tsr_error err = {0};
                tsr_bench_result r;
                tsr_bench_product p = little;
                p.m = m;
                p.host = host;
                p.n_experts = experts * 3;
                p.n_used = experts * 2;
                if (tsr_bench_matmul(b, &p, &r, &err) != TSR_OK) fail_msg("%s", err.message);
                assert_true(r.seconds > 0.0 && r.seconds_best <= r.seconds && r.n_threads == 2 && r.n_samples == 1);
                assert_int_equal(r.n_rows, experts ? 2 * m : m);
                assert_int_equal(r.n_groups, !experts ? 1 : m == 1 ? 2 : 3);
                assert_true(r.ops == 2.0 * (double)r.n_rows * 50 * 256 && r.peak_int8 > 0.0 && r.peak_f32 > 0.0 && r.peak_read >= 0.0);
                assert_true(host ? r.packed_bytes == 0 && r.pack_rate == 0.0 : r.packed_bytes >= r.gguf_bytes && r.pack_rate > 0.0);
            }
    tsr_bench_close(b);
}

/* Packing is timed once: the same rate again means the same weights. */
static void uses_weights_again(void **state) {
    (void)state;
    tsr_bench *b = open_bench(1, MEMORY);
    tsr_bench_result first, again, other;
    tsr_bench_product p = little;
    assert_int_equal(tsr_bench_matmul(b, &p, &first, NULL), TSR_OK);
    p.m = 20;
    assert_int_equal(tsr_bench_matmul(b, &p, &again, NULL), TSR_OK);
    assert_true(again.pack_rate == first.pack_rate && again.set_bytes == again.packed_bytes && first.set_bytes > again.set_bytes);
    p.type = "Q5_K";
    assert_int_equal(tsr_bench_matmul(b, &p, &other, NULL), TSR_OK);
    assert_true(other.gguf_bytes == 50 * 176 && other.pack_rate != first.pack_rate);
    tsr_bench_close(b);
}

static bool stop_at(void *user, uint64_t done, uint64_t total) {
    int *calls = user;
    assert_true(done <= total);
    return ++*calls < 3;
}

static void stops_when_told(void **state) {
    (void)state;
    tsr_bench *b = open_bench(1, MEMORY);
    int calls = 0;
    tsr_error err = {0};
    tsr_bench_result r;
    tsr_bench_product p = little;
    p.n_samples = 10;
    p.progress = stop_at;
    p.progress_user = &calls;
    assert_int_equal(tsr_bench_matmul(b, &p, &r, &err), TSR_E_CANCELLED);
    assert_int_equal(calls, 3);
    tsr_bench_close(b);
}

static void peaks_alone(void **state) {
    (void)state;
    tsr_bench_peaks_info peaks = {0};
    tsr_error err = {0};
    tsr_bench *b = open_bench(1, MEMORY);
    assert_int_equal(tsr_bench_get_peaks(b, 0, &peaks, &err), TSR_E_ARG);
    assert_int_equal(tsr_bench_get_peaks(b, 1001, &peaks, NULL), TSR_E_ARG);
    assert_int_equal(tsr_bench_get_peaks(b, 2, &peaks, &err), TSR_OK);
    assert_true(peaks.int8 > 1e8 && peaks.f32 > 1e8 && peaks.read >= 0.0);
    assert_true(*peaks.int8_name && *peaks.f32_name && (peaks.half > 0.0) == (*peaks.half_name != 0));
    tsr_bench_close(b);
}

static void formats(void **state) {
    (void)state;
    size_t n = 0;
    while (tsr_bench_type(n)) n++;
    assert_int_equal(n, 15);
    assert_null(tsr_bench_type(n + 1));
}

static void peaks_run_on_every_tier(void **state) {
    (void)state;
    static uint8_t memory[4096] __attribute__((aligned(64)));
    for (int tier = 0; tier < TSR_TIER_COUNT; tier++) {
        if (!tsr_tier_usable((tsr_tier)tier)) {
            print_message("NOT TESTED: tier %s, this CPU lacks it\n", tsr_tier_name((tsr_tier)tier));
            continue;
        }
        for (int kind = 0; kind < TSR_PEAK_KINDS; kind++) {
            const tsr_peak *peak = tsr_peak_get((tsr_tier)tier, (tsr_peak_kind)kind);
            if (kind != TSR_PEAK_HALF) assert_non_null(peak);
            if (!peak) continue;
            assert_true(peak->step_ops > 0.0 && peak->name[0]);
            peak->run(1);
            peak->run(3);
        }
        tsr_peak_read((tsr_tier)tier)(memory, sizeof memory);
        tsr_peak_read((tsr_tier)tier)(memory, 1024);
        tsr_peak_read((tsr_tier)tier)(memory, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_makes_no_sense), cmocka_unit_test(measures_on_two_threads), cmocka_unit_test(uses_weights_again),
        cmocka_unit_test(stops_when_told),             cmocka_unit_test(formats),                 cmocka_unit_test(peaks_alone),
        cmocka_unit_test(peaks_run_on_every_tier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
