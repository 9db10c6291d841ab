/* Packed layouts: every bit of random GGUF blocks survives, the views of the packed matrix are the weights, nothing outside the
 * rows is read and nothing outside the panels is written. */
#include "kernels/pack.h"
#include "quant/blocks.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

static uint64_t state = 20240607; /* splitmix64 */

static uint64_t next(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void fill_random(uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(next() >> 32);
}

/* Bytes that end at an unreadable page. */
typedef struct guarded {
    uint8_t *base, *start;
    size_t mapped;
} guarded;

static guarded guarded_new(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (bytes + page - 1) / page * page;
    guarded g = {.mapped = body + page};
    g.base = mmap(NULL, g.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.base != MAP_FAILED);
    assert_int_equal(mprotect(g.base + body, page, PROT_NONE), 0);
    g.start = g.base + body - bytes;
    return g;
}

static void guarded_free(guarded *g) { munmap(g->base, g->mapped); }

static const int64_t ns[] = {1, 5, 15, 16, 17, 33, 48};
enum { N_NS = sizeof ns / sizeof *ns };

/* The k'th k to try: whole units, 16-bit types also tails; 0: no more. */
static int64_t nth_k(const tsr_layout *l, int i) {
    static const int64_t any[] = {1, 2, 31, 32, 33, 63, 255, 256, 257, 319, 512, 701, 0};
    static const int64_t blocks[] = {1, 2, 7, 8, 9, 11, 16, 27, 0};
    static const int64_t k_blocks[] = {1, 2, 3, 5, 0};
    return l->code_bits == 16 ? any[i] : l->unit_k == 32 ? 32 * blocks[i] : 256 * k_blocks[i];
}

static bool is_packed(uint32_t type) { return tsr_type_get(type) && tsr_layout_of((tsr_type)type)->name; }

static bool same_float(float a, float b) { return memcmp(&a, &b, sizeof a) == 0; }

/* A float that the view computes: the sign of a NaN is nobody's business. */
static bool same_value(float a, float b) { return same_float(a, b) || (isnan(a) && isnan(b)); }

/* The view of every block of 32 against the dequantised rows; columns beyond n are zero weights. */
static void check_blocks(const tsr_packed *p, const float *rows) {
    static const int order[2][4] = {{0, 4, 1, 5}, {2, 6, 3, 7}};
    const tsr_layout *l = p->layout;
    for (int64_t panel = 0; panel < tsr_packed_panels(p); panel++)
        for (int64_t block = 0; block < p->k / TSR_BLOCK_K; block++) {
            uint8_t codes[TSR_QUADS * 64];
            float scale[32], min[32];
            tsr_packed_block(p, panel, block, codes, scale, min);
            for (int at = 0; at < TSR_QUADS * 64; at++) {
                int v = at / 64, c = at % 64 / 4, kk = 8 * (v / 2) + order[v % 2][at % 4], g = TSR_PANEL * (kk / l->group_k) + c;
                float w = l->has_min ? scale[g] * (float)codes[at] + min[g] : scale[g] * (float)(codes[at] - l->offset);
                int64_t row = panel * TSR_PANEL + c;
                if (row >= p->n)
                    assert_true(w == 0.0f);
                else
                    assert_true(same_value(w, rows[row * p->k + block * TSR_BLOCK_K + kk]));
            }
        }
}

static void check_matrix(tsr_type type, int64_t n, int64_t k) {
    const tsr_type_info *info = tsr_type_get(type);
    size_t width = tsr_type_row_bytes(type, k), gap = n % 2 ? 24 : 0, row_bytes = width + gap;
    size_t total = (size_t)(n - 1) * row_bytes + width;
    guarded rows = guarded_new(total), back = guarded_new(total);
    fill_random(rows.start, total);
    memset(back.start, 0x5a, total);

    tsr_packed p;
    assert_true(tsr_packed_init(&p, type, n, k));
    int64_t panels = tsr_packed_panels(&p);
    size_t bytes = tsr_packed_bytes(&p);
    assert_int_equal(bytes % 64, 0);
    guarded whole = guarded_new(bytes), parts = guarded_new(bytes);
    memset(whole.start, 0xa5, bytes);
    memset(parts.start, 0x3c, bytes);
    p.data = whole.start;
    tsr_pack(&p, rows.start, row_bytes, 0, panels);

    /* panel by panel from the end, each leaving all others alone: the same bytes, so none is left unwritten either */
    tsr_packed q = p;
    q.data = parts.start;
    uint8_t *before = malloc(bytes);
    for (int64_t panel = panels - 1; panel >= 0; panel--) {
        memcpy(before, parts.start, bytes);
        tsr_pack(&q, rows.start, row_bytes, panel, panel + 1);
        size_t at = (size_t)panel * p.panel_bytes;
        assert_memory_equal(parts.start, before, at);
        assert_memory_equal(parts.start + at + p.panel_bytes, before + at + p.panel_bytes, bytes - at - p.panel_bytes);
    }
    assert_memory_equal(whole.start, parts.start, bytes);
    free(before);

    for (int64_t panel = panels - 1; panel >= 0; panel--) tsr_unpack(&p, back.start, row_bytes, panel, panel + 1);
    for (int64_t row = 0; row < n; row++) {
        const uint8_t *r = back.start + (size_t)row * row_bytes;
        assert_memory_equal(r, rows.start + (size_t)row * row_bytes, width);
        for (size_t i = 0; row + 1 < n && i < gap; i++) assert_int_equal(r[width + i], 0x5a);
    }

    float *weights = malloc((size_t)(n * k) * sizeof *weights);
    guarded got = guarded_new((size_t)k * sizeof(float));
    for (int64_t row = 0; row < n; row++) {
        float *want = weights + row * k, *out = (float *)(void *)got.start;
        tsr_dequantizer(type)(rows.start + (size_t)row * row_bytes, want, k);
        tsr_packed_row(&p, row, out);
        for (int64_t i = 0; i < k; i++)
            if (!same_float(out[i], want[i])) fail_msg("%s n %d k %d: row %d [%d]", info->name, (int)n, (int)k, (int)row, (int)i);
    }
    if (p.layout->code_bits < 16) check_blocks(&p, weights);
    free(weights);
    guarded_free(&got);
    guarded_free(&whole);
    guarded_free(&parts);
    guarded_free(&rows);
    guarded_free(&back);
}

static void test_every_type(void **unused) {
    (void)unused;
    int types = 0;
    for (uint32_t type = 0; type < TSR_TYPE_COUNT; type++) {
        if (!is_packed(type)) continue;
        types++;
        for (int i = 0; i < N_NS; i++)
            for (int j = 0; nth_k(tsr_layout_of((tsr_type)type), j); j++)
                check_matrix((tsr_type)type, ns[i], nth_k(tsr_layout_of((tsr_type)type), j));
    }
    assert_int_equal(types, 15);
}

/* --- where things lie, which every product kernel relies on: the picture of packed.h, read bit by bit --------------------- */

static int code_at(const tsr_packed *p, const uint8_t *panel, int64_t k, int column) {
    static const int place[8] = {0, 2, 4, 6, 1, 3, 5, 7}; /* of k % 8: 4 h + i */
    const tsr_layout *l = p->layout;
    int64_t block = k / 32;
    int v = (int)(k % 32 / 8 * 2) + place[k % 8] / 4, b = 4 * column + place[k % 8] % 4;
    const uint8_t *low = panel + block * l->code_bits * 64, *high = panel + p->high_offset + block * l->high_bits * 64;
    int per = 8 / l->code_bits, code = low[64 * (v / per) + b] >> (l->code_bits * (v % per)) & ((1 << l->code_bits) - 1);
    if (l->high_bits == 1) code |= (high[8 * v + b / 8] >> (b % 8) & 1) << l->code_bits;
    if (l->high_bits == 2) code |= (high[64 * (v / 4) + b] >> (2 * (v % 4)) & 3) << l->code_bits;
    return code;
}

static float half_at(const uint8_t *p) { return tsr_f16_to_f32((uint16_t)(p[0] | p[1] << 8)); }

static float weight_at(const tsr_packed *p, int64_t row, int64_t k) {
    const tsr_layout *l = p->layout;
    const uint8_t *panel = p->data + (size_t)(row / 16) * p->panel_bytes, *s = panel + p->scales_offset;
    int c = (int)(row % 16), g = (int)(k % l->unit_k / l->group_k);
    int64_t u = k / l->unit_k;
    if (l->code_bits == 16) {
        const uint8_t *h = panel + k / 32 * 1024 + k % 32 / 2 * 64 + 4 * c + k % 2 * 2;
        return p->type == TSR_F16 ? half_at(h) : tsr_bf16_to_f32((uint16_t)(h[0] | h[1] << 8));
    }
    int code = code_at(p, panel, k, c), value = (l->table ? l->table[code] : code) - l->offset;
    switch (l->scales) {
    case TSR_SCALES_NONE: break;
    case TSR_SCALES_F16: return half_at(s + 32 * u + 2 * c) * (float)value;
    case TSR_SCALES_F16_MIN: return half_at(s + 64 * u + 2 * c) * (float)value + half_at(s + 64 * u + 32 + 2 * c);
    case TSR_SCALES_E8M0: return tsr_e8m0_half(s[16 * u + c]) * (float)value;
    case TSR_SCALES_K32:
        s += 160 * u;
        return half_at(s + 128 + 2 * c) * (float)(s[16 * g + c] - 32) * (float)value;
    case TSR_SCALES_K32_MIN:
        s += 320 * u;
        return half_at(s + 256 + 2 * c) * (float)s[16 * g + c] * (float)value -
               half_at(s + 288 + 2 * c) * (float)s[128 + 16 * g + c];
    case TSR_SCALES_K16:
        s += 288 * u;
        return half_at(s + 256 + 2 * c) * (float)(int8_t)s[16 * g + c] * (float)value;
    case TSR_SCALES_K16_MIN:
        s += 320 * u;
        return half_at(s + 256 + 2 * c) * (float)(s[16 * g + c] & 15) * (float)value -
               half_at(s + 288 + 2 * c) * (float)(s[16 * g + c] >> 4);
    }
    return NAN;
}

static void test_places(void **unused) {
    (void)unused;
    enum { N = 37, K = 768 };
    for (uint32_t type = 0; type < TSR_TYPE_COUNT; type++) {
        if (!is_packed(type)) continue;
        size_t row_bytes = tsr_type_row_bytes(type, K);
        uint8_t *rows = malloc(N * row_bytes);
        fill_random(rows, N * row_bytes);
        tsr_packed p;
        assert_true(tsr_packed_init(&p, (tsr_type)type, N, K));
        assert_non_null(p.data = aligned_alloc(64, tsr_packed_bytes(&p)));
        tsr_pack(&p, rows, row_bytes, 0, tsr_packed_panels(&p));
        float want[K];
        for (int row = 0; row < N; row++) {
            tsr_dequantizer(type)(rows + (size_t)row * row_bytes, want, K);
            for (int k = 0; k < K; k++)
                if (!same_value(weight_at(&p, row, k), want[k])) fail_msg("%s: row %d [%d]", p.layout->name, row, k);
        }
        free(p.data);
        free(rows);
    }
}

/* --- sizes and padding ----------------------------------------------------------------------------------------------------- */

/* Of matrices as models have them: heads of keys and values, embeddings, odd widths, vocabularies (of any size). */
static void test_size(void **unused) {
    (void)unused;
    static const int64_t ks[] = {256, 576, 768, 896, 1536, 2048, 2560, 4096, 4864, 14336}, sizes[] = {64, 128, 192, 576, 896, 2048, 4864, 49152, 151936, 32003};
    for (uint32_t type = 0; type < TSR_TYPE_COUNT; type++) {
        if (!is_packed(type)) continue;
        double worst = 0.0;
        for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
            for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
                size_t row_bytes = tsr_type_row_bytes(type, ks[i]);
                tsr_packed p;
                if (row_bytes == 0) continue; /* formats of 256 weights have no such k */
                assert_true(tsr_packed_init(&p, (tsr_type)type, sizes[j], ks[i]));
                worst = fmax(worst, (double)tsr_packed_bytes(&p) / ((double)sizes[j] * (double)row_bytes));
            }
        print_message("%-8s %-14s packed / GGUF <= %.3f\n", tsr_type_get(type)->name, tsr_layout_of((tsr_type)type)->name, worst);
        assert_true(worst >= 1.0 && worst <= 1.08);
    }
}

/* Padding: scale fields of zero, and codes that are nothing by themselves wherever the format has such a code (IQ4 has none). */
static void test_padding(void **unused) {
    (void)unused;
    for (uint32_t type = 0; type < TSR_TYPE_COUNT; type++) {
        if (!is_packed(type) || tsr_layout_of((tsr_type)type)->code_bits == 16) continue;
        enum { K = 512, N = 3 };
        size_t row_bytes = tsr_type_row_bytes(type, K);
        uint8_t *rows = malloc(N * row_bytes);
        fill_random(rows, N * row_bytes);
        tsr_packed p;
        assert_true(tsr_packed_init(&p, (tsr_type)type, N, K));
        assert_non_null(p.data = aligned_alloc(64, tsr_packed_bytes(&p)));
        tsr_pack(&p, rows, row_bytes, 0, 1);
        for (int c = N; c < TSR_PANEL; c++) {
            for (int k = 0; k < K; k++) {
                int code = code_at(&p, p.data, k, c), value = (p.layout->table ? p.layout->table[code] : code) - p.layout->offset;
                if (type != TSR_IQ4_NL && type != TSR_IQ4_XS) assert_int_equal(value, 0);
            }
            for (int u = 0; u < K / p.layout->unit_k; u++) {
                tsr_unit_scales s = {.d = 0}, zero = {.d = 0};
                const uint8_t *unit = p.data + p.scales_offset + (size_t)u * tsr_layout_unit_bytes(p.layout);
                tsr_pack_load_scales(p.layout->scales, unit, c, &s);
                assert_memory_equal(&s, &zero, sizeof s);
            }
        }
        free(p.data);
        free(rows);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_padding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
