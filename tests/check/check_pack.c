/* check_pack.c: packing of every type: each tier gives the bytes of the scalar tier and reads nothing outside the rows. Timed in
 * bytes of GGUF blocks, once with a matrix that the caches hold and once with one that they do not. (What the scalar tier gives
 * is the subject of tests/unit/test_packed.c.) */
#include "check.h"
#include "kernels/pack.h"

#include <stdio.h>
#include <string.h>

static void compare(check *c, tsr_type type, int64_t n, int64_t k) {
    size_t row_bytes = tsr_type_row_bytes(type, k), bytes = (size_t)n * row_bytes;
    uint8_t *rows = check_operand(c, (int64_t)bytes, 1);
    for (size_t i = 0; i < bytes; i++) rows[i] = (uint8_t)check_random(c);
    tsr_packed got, want;
    if (!tsr_packed_init(&got, type, n, k)) return;
    want = got;
    got.data = check_operand(c, (int64_t)tsr_packed_bytes(&got), 1);
    want.data = check_operand(c, (int64_t)tsr_packed_bytes(&want), 1);
    memset(want.data, 0, tsr_packed_bytes(&want)); /* so that a byte that is not written differs */
    tsr_pack_with(tsr_pack_kernels_get(c->kern->tier), &got, rows, row_bytes, 0, tsr_packed_panels(&got));
    tsr_pack_with(tsr_pack_kernels_get(TSR_TIER_SCALAR), &want, rows, row_bytes, 0, tsr_packed_panels(&want));
    for (size_t i = 0; i < tsr_packed_bytes(&got); i++) check_near(c, got.data[i], want.data[i], 0.0, "byte", (int64_t)i);
    check_release(c);
}

typedef struct pack_bench {
    const tsr_pack_kernels *kern;
    tsr_packed packed;
    const uint8_t *rows;
    size_t row_bytes;
} pack_bench;

static void run(void *ctx) {
    const pack_bench *b = ctx;
    tsr_pack_with(b->kern, &b->packed, b->rows, b->row_bytes, 0, tsr_packed_panels(&b->packed));
}

static double time_matrix(check *c, tsr_type type, int64_t n, int64_t k) {
    pack_bench b = {.kern = tsr_pack_kernels_get(c->kern->tier), .row_bytes = tsr_type_row_bytes(type, k)};
    if (!tsr_packed_init(&b.packed, type, n, k)) return 0.0;
    b.packed.data = check_operand(c, (int64_t)tsr_packed_bytes(&b.packed), 1);
    b.rows = check_operand(c, n * (int64_t)b.row_bytes, 1);
    double seconds = check_time(run, &b);
    check_release(c);
    return seconds;
}

void check_pack_kernels(check *c) {
    static const struct {
        const char *suffix;
        int64_t n, k;
    } sizes[] = {{"", 2048, 2048}, {"_large", 16384, 8192}};
    static const int64_t ns[] = {1, 15, 16, 17, 40};
    for (uint32_t t = 0; t < TSR_TYPE_COUNT; t++) {
        const tsr_type_info *type = tsr_type_get(t);
        if (!type || !tsr_layout_of((tsr_type)t)->name) continue;
        for (size_t s = 0; s < (c->bench ? 2 : 1); s++) {
            char name[64];
            snprintf(name, sizeof name, "pack_%s%s", type->name, sizes[s].suffix);
            if (!check_selected(c, name)) continue;
            for (size_t i = 0; i < sizeof ns / sizeof *ns; i++) {
                int64_t k = check_between(c, 1, 10) * type->block_elems;
                compare(c, (tsr_type)t, ns[i], type->block_elems == 1 ? check_between(c, 1, 600) : k);
            }
            double seconds = c->bench ? time_matrix(c, (tsr_type)t, sizes[s].n, sizes[s].k) : 0.0;
            check_report(c, name, seconds, (double)sizes[s].n * (double)tsr_type_row_bytes(t, sizes[s].k), "B");
        }
    }
}
