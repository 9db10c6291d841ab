/* check_dequantize.c: row dequantisers of every format against the reference ones, bit for bit on blocks of random bytes. (The
 * reference itself is compared with the Python package gguf in tests/py.) */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct dequantize_bench {
    tsr_dequantize_fn fn;
    const void *src;
    float *dst;
} dequantize_bench;

enum { BENCH_K = 8192 };

static void run(void *ctx) {
    const dequantize_bench *b = ctx;
    b->fn(b->src, b->dst, BENCH_K);
}

static void dequantize_case(check *c, tsr_type type, int64_t k) {
    size_t bytes = tsr_type_row_bytes(type, k);
    uint8_t *src = check_operand(c, (int64_t)bytes, 1);
    for (size_t i = 0; i < bytes; i++) src[i] = (uint8_t)check_random(c);
    float *got = check_operand(c, k, sizeof *got), *want = check_operand(c, k, sizeof *want);
    c->kern->dequantize[type](src, got, k);
    tsr_dequantizer(type)(src, want, k);
    for (int64_t i = 0; i < k; i++) check_near(c, got[i], want[i], 0.0, "weight", i);
    check_release(c);
}

void check_dequantize_kernels(check *c) {
    for (uint32_t t = 0; t < TSR_TYPE_COUNT; t++) {
        const tsr_type_info *type = tsr_type_get(t);
        char name[64];
        snprintf(name, sizeof name, "dequantize_%s", type ? type->name : "");
        if (!type || !type->computes || !check_selected(c, name)) continue;
        for (int64_t blocks = 1; blocks <= 9; blocks++)
            for (int rep = 0; rep < 20; rep++) dequantize_case(c, (tsr_type)t, blocks * type->block_elems);
        double seconds = 0.0;
        if (c->bench) {
            size_t bytes = tsr_type_row_bytes(t, BENCH_K);
            uint8_t *src = check_operand(c, (int64_t)bytes, 1);
            memset(src, 0x15, bytes); /* finite scales */
            dequantize_bench b = {c->kern->dequantize[t], src, check_operand(c, BENCH_K, sizeof(float))};
            seconds = check_time(run, &b);
            check_release(c);
        }
        check_report(c, name, seconds, BENCH_K, "elem");
    }
}
