/* test_matmul_weights.h: random weights in buffers, for tests of products. */
#ifndef TSR_TEST_MATMUL_WEIGHTS_H
#define TSR_TEST_MATMUL_WEIGHTS_H

#include "buffer/buffer.h"
#include "core/threads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* In [-0.5, 0.5). */
static inline float uniform(void) {
    static uint64_t state = 20251124;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(state >> 40) * 0x1p-24f - 0.5f;
}

/* [experts, n, k] random weights in the format; the caller frees them. */
static inline void *random_blocks(tsr_type type, int64_t k, int64_t n, int64_t experts) {
    size_t row_bytes = tsr_type_row_bytes(type, k);
    uint8_t *rows = malloc(row_bytes * (size_t)(n * experts));
    float *values = malloc((size_t)k * sizeof *values);
    for (int64_t row = 0; row < n * experts; row++) {
        for (int64_t i = 0; i < k; i++) values[i] = uniform();
        tsr_quantizer(type)(values, rows + (size_t)row * row_bytes, k, NULL);
    }
    free(values);
    return rows;
}

/* A weight of the buffer type; *buffer keeps what it holds. */
static inline void place(const tsr_buffer_type *type, tsr_type format, int64_t k, int64_t n, int64_t experts, void *blocks, tsr_buffer *buffer,
                         tsr_pool *pool, tsr_weight *w) {
    tsr_gguf_tensor t = {.name = (char *)(uintptr_t)"w", .type = format, .n_dims = 3, .ne = {k, n, experts, 1}, .data = blocks,
                         .n_elems = (uint64_t)(k * n * experts), .n_bytes = tsr_type_row_bytes(format, k) * (size_t)(n * experts)};
    *w = (tsr_weight){.name = "w", .type = format, .k = k, .n = n, .n_experts = experts, .buffer_type = type};
    *buffer = (tsr_buffer){0};
    if (type->alloc) assert_int_equal(type->alloc(buffer, type->size(&t), NULL), TSR_OK);
    assert_int_equal(type->set_tensor(buffer, &t, w, pool, NULL), TSR_OK);
}

#endif
