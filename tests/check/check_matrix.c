/* check_matrix.c: packed matrices of random weights, for the entries that multiply with them. */
#include "check.h"

#include "quant/blocks.h"

#include <string.h>

/* 16-bit weights of both signs, a few of them zero, denormal or large. */
static void fill_halves(check *c, tsr_type type, uint8_t *rows, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        float v = (float)(check_uniform(c) * 0.04 - 0.02);
        int64_t kind = check_between(c, 0, 63);
        if (kind == 0) v = 0.0f;
        if (kind == 1) v *= 1e-4f; /* denormal in f16 */
        if (kind == 2) v *= 1e3f;
        uint16_t half = type == TSR_F16 ? tsr_f32_to_f16(v) : tsr_f32_to_bf16(v);
        memcpy(rows + 2 * i, &half, sizeof half);
    }
}

/* Blocks of random codes with scales that are finite and of the size that real ones have. */
static void fill_rows(check *c, tsr_type type, uint8_t *rows, int64_t n, int64_t k) {
    size_t row_bytes = tsr_type_row_bytes(type, k), block = (size_t)tsr_type_get(type)->block_bytes;
    for (size_t i = 0; i < row_bytes * (size_t)n; i++) rows[i] = (uint8_t)check_random(c);
    for (size_t at = 0; at < row_bytes * (size_t)n; at += block) {
        uint16_t d = tsr_f32_to_f16((float)(check_uniform(c) * 0.02)), m = tsr_f32_to_f16((float)(check_uniform(c) * 0.02 - 0.01));
        uint8_t *b = rows + at;
        size_t end = block - 2; /* the last half of Q3_K and Q6_K is d; Q2_K ends in d, dmin */
        if (type == TSR_MXFP4) b[0] = (uint8_t)check_between(c, 110, 126);
        else if (type == TSR_Q3_K || type == TSR_Q6_K) memcpy(b + end, &d, 2);
        else if (type == TSR_Q2_K) memcpy(b + end - 2, &d, 2), memcpy(b + end, &m, 2);
        else memcpy(b, &d, 2);
        if (type == TSR_Q4_1 || type == TSR_Q5_1 || type == TSR_Q4_K || type == TSR_Q5_K) memcpy(b + 2, &m, 2);
    }
}

tsr_packed check_matrix(check *c, tsr_type type, int64_t n, int64_t k) {
    tsr_packed w;
    tsr_packed_init(&w, type, n, k);
    size_t row_bytes = tsr_type_row_bytes(type, k);
    uint8_t *rows = check_operand(c, (int64_t)row_bytes * n, 1);
    if (w.layout->code_bits == 16) fill_halves(c, type, rows, n * k);
    else fill_rows(c, type, rows, n, k);
    /* operands end at an unreadable page, and panels are a multiple of 64 bytes: the start is aligned */
    w.data = check_operand(c, (int64_t)tsr_packed_bytes(&w), 1);
    tsr_pack(&w, rows, row_bytes, 0, tsr_packed_panels(&w));
    return w;
}
