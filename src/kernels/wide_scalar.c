/* wide_scalar.c: the reference of the wide float path and of the narrow products with 16-bit weights: f32 elements, sums in double. */
#include "kernels/kernels.h"

#include <string.h>

enum { TILE_ROWS = 16, BLOCK_FLOATS = TSR_BLOCK_K * TSR_PANEL };

static void wide_pack_rows__scalar(const float *x, int64_t ldx, int rows, int64_t k, void *tiles) {
    float *out = tiles; /* [blocks][16][32] */
    int64_t blocks = (k + TSR_BLOCK_K - 1) / TSR_BLOCK_K;
    memset(out, 0, (size_t)(blocks * TILE_ROWS * TSR_BLOCK_K) * sizeof *out);
    for (int r = 0; r < rows; r++)
        for (int64_t l = 0; l < k; l++) out[(l / TSR_BLOCK_K * TILE_ROWS + r) * TSR_BLOCK_K + l % TSR_BLOCK_K] = x[r * ldx + l];
}

/* Codes and scales: k of byte i of quad v (packed.h). */
static int quad_k(int v, int i) {
    static const int order[2][4] = {{0, 4, 1, 5}, {2, 6, 3, 7}};
    return v / 2 * 8 + order[v % 2][i];
}

static void wide_unpack_codes__scalar(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *to) {
    const tsr_layout *l = w->layout;
    uint8_t codes[TSR_QUADS * 64];
    float scale[2 * TSR_PANEL], min[2 * TSR_PANEL], *out = to; /* [n][32][16] */
    for (int64_t b = 0; b < n; b++, out += BLOCK_FLOATS) {
        tsr_packed_block(w, panel, first + b, codes, scale, min);
        for (int v = 0; v < TSR_QUADS; v++)
            for (int i = 0; i < 64; i++) {
                int k = quad_k(v, i % 4), c = i / 4, s = k / l->group_k * TSR_PANEL + c;
                out[k * TSR_PANEL + c] = l->has_min ? scale[s] * (float)codes[64 * v + i] + min[s]
                                                    : scale[s] * (float)(codes[64 * v + i] - l->offset);
            }
    }
}

/* Weight (k, column c) of block b of a panel of 16-bit weights. */
static float half_weight(const tsr_packed *w, int64_t panel, int64_t b, int k, int c) {
    uint16_t bits;
    memcpy(&bits, w->data + (size_t)panel * w->panel_bytes + b * 1024 + k / 2 * 64 + (2 * c + k % 2) * 2, sizeof bits);
    return w->type == TSR_F16 ? tsr_f16_to_f32(bits) : tsr_bf16_to_f32(bits);
}

static void wide_unpack_halves__scalar(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *to) {
    float *out = to; /* [n][32][16] */
    for (int64_t b = 0; b < n; b++)
        for (int k = 0; k < TSR_BLOCK_K; k++)
            for (int c = 0; c < TSR_PANEL; c++) *out++ = half_weight(w, panel, first + b, k, c);
}

/* Panels that are B already. */
static void wide_unpack_F32__scalar(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *to) {
    memcpy(to, w->data + (size_t)panel * w->panel_bytes + (size_t)(first * BLOCK_FLOATS) * sizeof(float), (size_t)(n * BLOCK_FLOATS) * sizeof(float));
}

typedef void (*unpack_fn)(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *to);

static unpack_fn unpack_of(tsr_type type) {
    if (type == TSR_F32) return wide_unpack_F32__scalar;
    return type == TSR_F16 || type == TSR_BF16 ? wide_unpack_halves__scalar : wide_unpack_codes__scalar;
}

static void wide_strip__scalar(const tsr_wide_job *job) {
    const unpack_fn unpack = unpack_of(job->w->type);
    for (int p = 0; p < 2; p++) {
        const float *b = (float *)job->b + p * job->blocks * BLOCK_FLOATS;
        unpack(job->w, job->panel[p], job->block, job->blocks, (float *)job->b + p * job->blocks * BLOCK_FLOATS);
        for (int64_t i = 0; i < job->rows; i++) {
            const float *a = (const float *)((const uint8_t *)job->a + (size_t)(i / TILE_ROWS) * job->a_stride) + i % TILE_ROWS * TSR_BLOCK_K;
            float *c = job->c + ((i / TILE_ROWS * 2 + p) * TILE_ROWS + i % TILE_ROWS) * TSR_PANEL;
            for (int n = 0; n < TSR_PANEL; n++) {
                double sum = job->accumulate ? c[n] : 0.0;
                for (int64_t l = 0; l < job->blocks * TSR_BLOCK_K; l++)
                    sum += (double)a[l / TSR_BLOCK_K * TILE_ROWS * TSR_BLOCK_K + l % TSR_BLOCK_K] * b[l * TSR_PANEL + n];
                c[n] = (float)sum;
            }
        }
    }
}

static float weight(const tsr_packed *w, int64_t panel, int64_t k, int c) {
    if (w->type != TSR_F32) return half_weight(w, panel, k / TSR_BLOCK_K, (int)(k % TSR_BLOCK_K), c);
    float x;
    memcpy(&x, w->data + (size_t)panel * w->panel_bytes + (size_t)(k * TSR_PANEL + c) * sizeof x, sizeof x);
    return x;
}

static void packed_narrow_f32__scalar(const tsr_packed *w, int64_t p, const float *x, int64_t ldx, int rows, float *out) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < TSR_PANEL; c++) {
            double sum = 0.0;
            for (int64_t l = 0; l < w->k; l++)
                sum += (double)x[r * ldx + l] * weight(w, p, l, c);
            out[r * TSR_PANEL + c] = (float)sum;
        }
}

static void wide_unpack_values8__scalar(const int8_t *codes, const uint16_t *scale, int64_t n, void *to) {
    float *out = to; /* [32 n][16] */
    for (int64_t i = 0; i < n * TSR_BLOCK_K * TSR_PANEL; i++) out[i] = tsr_f16_to_f32(scale[i / TSR_PANEL]) * (float)codes[i];
}

#define UNPACK_CODES(TYPE) [TSR_##TYPE] = wide_unpack_codes__scalar
#define STRIP(TYPE) [TSR_##TYPE] = wide_strip__scalar

static const tsr_wide wide_f32 = {
    .name = "wide_f32__scalar",
    .elem = TSR_F32,
    .elem_bytes = 4,
    .run_blocks = 8,
    .pack_rows = wide_pack_rows__scalar,
    .unpack_values8 = wide_unpack_values8__scalar,
    .unpack = {UNPACK_CODES(Q4_0), UNPACK_CODES(Q4_1), UNPACK_CODES(Q5_0), UNPACK_CODES(Q5_1), UNPACK_CODES(Q8_0), UNPACK_CODES(Q2_K),
               UNPACK_CODES(Q3_K), UNPACK_CODES(Q4_K), UNPACK_CODES(Q5_K), UNPACK_CODES(Q6_K), UNPACK_CODES(IQ4_NL), UNPACK_CODES(IQ4_XS),
               UNPACK_CODES(MXFP4), [TSR_F16] = wide_unpack_halves__scalar, [TSR_BF16] = wide_unpack_halves__scalar,
               [TSR_F32] = wide_unpack_F32__scalar},
    .strip = {STRIP(Q4_0), STRIP(Q4_1), STRIP(Q5_0), STRIP(Q5_1), STRIP(Q8_0), STRIP(Q2_K), STRIP(Q3_K), STRIP(Q4_K), STRIP(Q5_K),
              STRIP(Q6_K), STRIP(IQ4_NL), STRIP(IQ4_XS), STRIP(MXFP4), STRIP(F16), STRIP(BF16), STRIP(F32)},
};

void tsr_kernels_fill_wide_scalar(tsr_kernels *k) {
    k->packed_narrow_f32_name = "packed_narrow_f32__scalar";
    k->packed_narrow_f32[TSR_F32] = packed_narrow_f32__scalar;
    k->wide_f32 = &wide_f32;
    k->wide_attention[TSR_F32] = k->wide_attention[TSR_F16] = k->wide_attention[TSR_BF16] = k->wide_attention[TSR_Q8_0] = &wide_f32;
    for (int t = 0; t < TSR_TYPE_COUNT; t++) {
        const tsr_layout *l = tsr_layout_of((tsr_type)t);
        if (!l->name) continue;
        k->wide[t] = &wide_f32;
        if (l->code_bits == 16) k->packed_narrow_f32[t] = packed_narrow_f32__scalar;
    }
}
