/* check_amx.c: the AMX kernels on emulated tiles (amx_emulation.h), and the emulation itself against values computed by hand. */
#include "check.h"

#include "amx_emulation.h"
#include "kernels/self_test.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the emulation ---------------------------------------------------------------------------------------------------------- */

static const tile_config whole = {
    .palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
/* C 2 x 3, A 2 x 2 dwords, B 2 dwords x 3 */
static const tile_config small = {.palette = 1, .row_bytes = {12, 8, 12}, .rows = {2, 2, 2}};

static uint16_t bf16(float x) { return tsr_f32_to_bf16(x); }

static float f32_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Shapes, and the zeros beyond them. */
static void check_shapes(check *c) {
    uint16_t a[16][32] = {{0}}, b[16][32] = {{0}};
    float got[16][16];
    const float rows_a[2][4] = {{1, 2, 3, 4}, {-1, 0.5f, 0, 8}};
    const float rows_b[2][6] = {{1, 2, 3, 4, 5, 6}, {7, 8, 9, 10, 11, 12}};
    const float want[2][3] = {{1 * 1 + 2 * 2 + 3 * 7 + 4 * 8, 1 * 3 + 2 * 4 + 3 * 9 + 4 * 10, 1 * 5 + 2 * 6 + 3 * 11 + 4 * 12},
                              {-1 + 1 + 64, -3 + 2 + 80, -5 + 3 + 96}};
    for (int r = 0; r < 2; r++) {
        for (int i = 0; i < 4; i++) a[r][i] = bf16(rows_a[r][i]);
        for (int i = 0; i < 6; i++) b[r][i] = bf16(rows_b[r][i]);
        a[r][4] = b[r][6] = bf16(99); /* beyond the configured bytes */
    }
    tile_configure(&small);
    tile_zero(0);
    tile_load(1, a);
    tile_load_stream(2, b);
    for (int twice = 1; twice <= 2; twice++) {
        tile_dot_bf16(0, 1, 2);
        for (int i = 0; i < 256; i++) got[i / 16][i % 16] = -7;
        tile_store(0, got);
        for (int r = 0; r < 16; r++)
            for (int n = 0; n < 16; n++) check_near(c, got[r][n], r < 2 && n < 3 ? twice * want[r][n] : -7, 0.0, "small tile", r * 16 + n);
    }
    tile_release();
}

/* c [0][0] after the product of one pair, from c0. */
static float one_pair(void (*dot)(int, int, int), uint16_t a0, uint16_t a1, uint16_t b0, uint16_t b1, float c0) {
    uint16_t a[16][32] = {{a0, a1}}, b[16][32] = {{b0, b1}};
    float sums[16][16] = {{c0}};
    tile_configure(&whole);
    tile_load(0, sums);
    tile_load(1, a);
    tile_load(2, b);
    dot(0, 1, 2);
    tile_store(0, sums);
    tile_release();
    return sums[0][0];
}

/* Rounding and denormals. bf16 2^-70 is 0x1c80, 1 is 0x3f80; f16 2^-24 is 0x0001, 1 is 0x3c00. */
static void check_rounding(check *c) {
    const uint16_t one = 0x3f80, tiny = 0x1c80;
    check_near(c, one_pair(tile_dot_bf16, one, one, one, one, 0.5f), 2.5, 0.0, "pair", 0);
    check_near(c, one_pair(tile_dot_bf16, 0x0001, 0, one, 0, 0.0f), 0.0, 0.0, "denormal bf16", 0);
    check_near(c, one_pair(tile_dot_bf16, tiny, 0, tiny, 0, 0.0f), 0.0, 0.0, "product that is denormal", 0);
    check_near(c, one_pair(tile_dot_bf16, 0, 0, 0, 0, f32_of(1)), 0.0, 0.0, "denormal sum", 0);
    check_near(c, one_pair(tile_dot_bf16, 0x7f80, 0, 0, 0, 0.0f), NAN, 0.0, "infinity times zero", 0);
    /* 1 + 2^-24 (a tie) rounds to even; even and odd are added to each other first: 2^-25 + 2^-25 reaches the tie, 2^-24 + 2^-24
     * passes it */
    check_near(c, one_pair(tile_dot_bf16, 0x3380, 0, one, 0, 1.0f), 1.0, 0.0, "tie", 0);
    check_near(c, one_pair(tile_dot_bf16, 0x3300, 0x3300, one, one, 1.0f), 1.0, 0.0, "tie of a sum", 0);
    check_near(c, one_pair(tile_dot_bf16, 0x3380, 0x3380, one, one, 1.0f), 1.0 + 0x1p-23, 0.0, "sum of even and odd first", 0);
    check_near(c, one_pair(tile_dot_f16, 0x0001, 0x3c00, 0x3c00, 0x4000, 1.0f), (double)(3.0f + 0x1p-24f), 0.0, "f16", 0);
    check_near(c, one_pair(tile_dot_f16, 0x0001, 0, 0x3c00, 0, 0.0f), 0x1p-24, 0.0, "denormal f16", 0);
    check_near(c, one_pair(tile_dot_f16, 0x7bff, 0, 0x7bff, 0, 0.0f), 65504.0 * 65504.0, 256.0, "largest f16", 0);
}

static void check_bytes(check *c) {
    uint8_t a[16][64];
    int8_t b[16][64];
    int32_t start[16][16], got[16][16];
    for (int i = 0; i < 1024; i++) {
        a[i / 64][i % 64] = i < 4 ? 255 : (uint8_t)check_random(c);
        b[i / 64][i % 64] = i < 4 ? -128 : (int8_t)check_random(c);
    }
    for (int i = 0; i < 256; i++) start[i / 16][i % 16] = (int32_t)check_random(c) >> 4;
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        tile_configure(&whole);
        tile_load(5, start);
        tile_load(6, a);
        tile_load(7, b);
        if (is_signed) tile_dot_s8s8(5, 6, 7);
        else tile_dot_u8s8(5, 6, 7);
        tile_store(5, got);
        tile_release();
        for (int m = 0; m < 16; m++)
            for (int n = 0; n < 16; n++) {
                int32_t want = start[m][n];
                for (int k = 0; k < 64; k++) want += (is_signed ? (int8_t)a[m][k] : a[m][k]) * b[k / 4][4 * n + k % 4];
                check_near(c, got[m][n], want, 0.0, is_signed ? "s8 s8" : "u8 s8", m * 16 + n);
            }
    }
}

static jmp_buf after_fault;
static void jump(const char *why) {
    (void)why;
    longjmp(after_fault, 1);
}

static void without_configuration(void) { tile_zero(0); }
static void no_such_tile(void) { tile_configure(&small), tile_zero(3); }
static void wrong_shape(void) { tile_configure(&small), tile_dot_bf16(1, 0, 2); }
static void same_tile(void) { tile_configure(&whole), tile_dot_bf16(0, 1, 1); }
static void after_release(void) { tile_configure(&whole), tile_release(), tile_load(0, &whole); }
static void bad_rows(void) {
    tile_config config = whole;
    config.rows[2] = 17;
    tile_configure(&config);
}
static void bad_palette(void) {
    tile_config config = whole;
    config.palette = 2;
    tile_configure(&config);
}

static int faults(void (*fn)(void)) {
    if (setjmp(after_fault) != 0) return 1;
    fn();
    return 0;
}

/* What the processor answers with an exception. */
static void check_faults(check *c) {
    static void (*const wrong[])(void) = {without_configuration, no_such_tile, wrong_shape, same_tile, after_release, bad_rows,
                                          bad_palette};
    void (*before)(const char *) = amx_emulation_fault;
    amx_emulation_fault = jump;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        check_near(c, faults(wrong[i]), 1.0, 0.0, "fault", (int64_t)i);
        tile_release();
    }
    amx_emulation_fault = before;
}

/* --- the kernels ------------------------------------------------------------------------------------------------------------ */

void tsr_kernels_fill_gemm8_amx_emulated(tsr_kernels *k);
void tsr_kernels_fill_wide_amx_emulated(tsr_kernels *k);
void tsr_kernels_fill_wide_amx_f16_emulated(tsr_kernels *k);

/* |scale code| + |min| of a weight, which may be a small difference of large numbers. */
static double magnitude(const tsr_packed *w, int column, int k) {
    static const int place[8] = {0, 2, 4, 6, 1, 3, 5, 7}; /* of k in its eight: 4 h + i (packed.h) */
    uint8_t codes[TSR_QUADS * 64];
    float scale[2 * TSR_PANEL], min[2 * TSR_PANEL] = {0};
    int c = column % TSR_PANEL, in = k % TSR_BLOCK_K, at = in / w->layout->group_k * TSR_PANEL + c, i = place[in % 8];
    tsr_packed_block(w, column / TSR_PANEL, k / TSR_BLOCK_K, codes, scale, min);
    return fabs((double)scale[at] * (codes[(in / 8 * 2 + i / 4) * 64 + 4 * c + i % 4] - w->layout->offset)) + fabs((double)min[at]);
}

/* Scales of all sizes that a file may hold, also such that weights exceed f16 (then the strip computes in f32), and activations beyond
 * it, one strip of two runs: within the error of rounding both operands to f16. Small activations of a row may lose 2^-39 of its largest:
 * half of the smallest f16, over the 2^14 that the largest is brought to. */
static void extreme_case(check *c, tsr_type type, int large) {
    enum { ROWS = 5, BLOCKS = 8, K = BLOCKS * 32, FIRST = 6 };
    const tsr_wide *wide = c->kern->wide[type];
    tsr_packed w = check_matrix(c, type, 32, K);
    const tsr_layout *l = w.layout;
    size_t unit = tsr_layout_unit_bytes(l), halves = l->has_min ? 64 : 32;
    for (int p = 0; p < 2; p++)
        for (size_t u = 0; u < (size_t)(K / l->unit_k); u++)
            for (size_t i = 0; i < halves; i += 2) { /* d and m */
                double d = ldexp(check_uniform(c) * 2.0 - 1.0, (int)check_between(c, -24, large ? 16 : l->unit_k == 32 ? 6 : 2));
                uint16_t h = tsr_f32_to_f16((float)(fabs(d) > 65504 ? 65504 : d));
                memcpy(w.data + (size_t)p * w.panel_bytes + w.scales_offset + (u + 1) * unit - halves + i, &h, sizeof h);
            }
    float *x = check_floats(c, ROWS * K, CHECK_NORMAL), row[K];
    for (int r = 0; r < ROWS; r++)
        for (int k = 0; k < K; k++) x[r * K + k] *= r == 0 ? 1e20f : r == 1 ? 1e-25f : r == 2 ? 7e4f : 1.0f;
    size_t tile = (size_t)BLOCKS * 1024 + wide->row_tile_extra;
    uint8_t *a = check_operand(c, (int64_t)tile, 1);
    float *sums = check_floats(c, 512, CHECK_NORMAL);
    wide->pack_rows(x, K, ROWS, K, a);
    tsr_wide_job job = {.w = &w, .panel = {0, 1}, .blocks = FIRST, .b = check_operand(c, 2 * FIRST * 1024, 1), .a = a, .a_stride = tile,
                        .rows = ROWS, .c = sums};
    c->kern->enter();
    wide->strip[type](&job);
    job.accumulate = true;
    job.block = FIRST;
    job.blocks = BLOCKS - FIRST;
    job.a = a + FIRST * 1024;
    wide->strip[type](&job);
    c->kern->leave();
    for (int n = 0; n < 32; n++) {
        tsr_packed_row(&w, n, row);
        for (int r = 0; r < ROWS; r++) {
            double want = 0.0, bound = 0.0, most = 0.0;
            for (int k = 0; k < K; k++) most = fmax(most, fabs((double)x[r * K + k]));
            for (int k = 0; k < K; k++) {
                want += (double)x[r * K + k] * row[k];
                bound += fabs((double)x[r * K + k]) * magnitude(&w, n, k) * 5 * 0x1p-11 + most * 0x1p-39 * fabs((double)row[k]);
            }
            check_near(c, sums[n / 16 * 256 + r * 16 + n % 16], want, bound, "f16 product", n * ROWS + r);
        }
    }
    check_release(c);
}

static void check_extremes(check *c) {
    for (int t = 0; t < TSR_TYPE_COUNT; t++) {
        char name[64];
        if (!c->kern->wide[t] || c->kern->wide[t]->elem != TSR_F16 || t == TSR_F16) continue;
        snprintf(name, sizeof name, "wide_extreme_%s", tsr_type_get((uint32_t)t)->name);
        if (!check_selected(c, name)) continue;
        for (int i = 0; i < 20; i++) extreme_case(c, (tsr_type)t, i % 2);
        check_report(c, name, 0.0, 0.0, "");
    }
}

static void *self_test(void *kern) {
    tsr_error err = {0};
    if (tsr_kernels_self_test(kern, &err) == TSR_OK && !amx_emulation_configured()) return NULL;
    fprintf(stderr, "check: %s\n", err.message);
    return kern;
}

/* The self-test of the record: in this thread, in one that others made, in a child after fork while this thread's tiles are configured. And
 * whoever ran a job has no tiles configured any more. */
static void check_contexts(check *c) {
    if (!check_selected(c, "wide_contexts")) return;
    void *kern = (void *)(uintptr_t)c->kern, *failed = kern;
    pthread_t thread;
    check_near(c, amx_emulation_configured(), 0.0, 0.0, "tiles are configured", 0);
    check_near(c, self_test(kern) == NULL, 1.0, 0.0, "self-test", 0);
    if (pthread_create(&thread, NULL, self_test, kern) == 0) pthread_join(thread, &failed);
    check_near(c, failed == NULL, 1.0, 0.0, "self-test in a thread", 0);
    c->kern->enter();
    pid_t child = fork();
    if (child == 0) _exit(self_test(kern) == NULL ? 0 : 1);
    c->kern->leave();
    int status = 1;
    waitpid(child, &status, 0);
    check_near(c, status, 0.0, 0.0, "self-test after fork", 0);
    check_report(c, "wide_contexts", 0.0, 0.0, "");
}

void check_amx_emulated(check *c) {
    static tsr_kernels kern;
    if (!tsr_tier_usable(TSR_TIER_AVX512BF16)) {
        puts("NOT CHECKED: AMX kernels on emulated tiles: they unpack with AVX-512 BF16, which this CPU lacks");
        return;
    }
    c->tier_name = "amx emulated";
    c->bench = false; /* times of an emulation say nothing */
    kern = *tsr_kernels_get(TSR_TIER_AVX512BF16);
    c->kern = &kern;
    if (check_selected(c, "amx_emulation")) {
        check_shapes(c);
        check_rounding(c);
        check_bytes(c);
        check_faults(c);
        check_report(c, "amx_emulation", 0.0, 0.0, "");
    }
    tsr_kernels_fill_gemm8_amx_emulated(&kern);
    for (int t = 0; t < TSR_TYPE_COUNT; t++)
        if (kern.packed_narrow[t]) kern.choice[t].narrow_rows = TSR_ACT8_PAIRED; /* so that the others take packed_gemm */
    check_packed_kernels(c);
    tsr_kernels_fill_wide_amx_emulated(&kern);
    check_wide_kernels(c);
    check_attention_kernels(c);
    check_contexts(c);
    tsr_kernels_fill_wide_amx_f16_emulated(&kern);
    c->tier_name = "amxfp16 emulated";
    check_wide_kernels(c);
    check_extremes(c);
    check_contexts(c);
}
