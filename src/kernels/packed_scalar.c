/* packed_scalar.c: the reference of the packed slots. */
#include "kernels/kernels.h"

#include <math.h>

static void act8_max__scalar(const float *x, int64_t n_blocks, float *max) {
    for (int64_t b = 0; b < n_blocks; b++) {
        max[b] = 0.0f;
        for (int i = 0; i < TSR_BLOCK_K; i++) {
            float magnitude = fabsf(x[b * TSR_BLOCK_K + i]);
            if (!(magnitude <= max[b])) max[b] = magnitude; /* NaN too, and it stays */
            if (isnan(max[b])) break;
        }
    }
}

static void act8_quantize__scalar(const float *x, float inverse, float scale, int8_t *codes, int32_t sum16[2], float *residual) {
    static const int order[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    sum16[0] = sum16[1] = 0;
    for (int i = 0; i < TSR_BLOCK_K; i++) {
        int from = i / 8 * 8 + order[i % 8];
        int code = (int)lrintf(x[from] * inverse);
        codes[i] = (int8_t)code;
        sum16[i / 16] += code;
        if (residual) residual[from] = fmaf(-scale, (float)code, x[from]);
    }
}

/* Column sums of one block for one lane of activations, whose quads are `stride` bytes apart: dot[groups][16]. */
static void block_dot(const uint8_t codes[TSR_QUADS * 64], const int8_t *x, int64_t stride, int groups, int32_t *dot) {
    for (int i = 0; i < groups * TSR_PANEL; i++) dot[i] = 0;
    for (int v = 0; v < TSR_QUADS; v++)
        for (int c = 0; c < TSR_PANEL; c++)
            for (int i = 0; i < 4; i++) dot[v * groups / TSR_QUADS * TSR_PANEL + c] += codes[v * 64 + 4 * c + i] * x[v * stride + i];
}

/* total[16] += entry e of row r times its block */
static void add_entry(const tsr_act8 *a, int64_t r, int64_t e, const uint8_t *codes, const float *scale, const float *min, bool has_min,
                      bool halves, double *total) {
    int groups = halves ? 2 : 1;
    int32_t dot[2 * TSR_PANEL];
    int64_t g8 = r / TSR_ACT8_GROUP, lane = r % TSR_ACT8_GROUP, lanes = tsr_act8_lanes(a, g8), base = g8 * TSR_ACT8_GROUP * a->entries;
    block_dot(codes, a->codes + base * TSR_BLOCK_K + (e * TSR_QUADS * lanes + lane) * 4, 4 * lanes, groups, dot);
    for (int g = 0; g < groups; g++)
        for (int c = 0; c < TSR_PANEL; c++) {
            int64_t half = 2 * base + (2 * e + g) * lanes + lane;
            double sum = dot[g * TSR_PANEL + c] + (has_min ? 0 : a->start[half]);
            total[c] += sum * scale[g * TSR_PANEL + c] * a->scale[base + e * lanes + lane];
            if (has_min) total[c] += (double)min[g * TSR_PANEL + c] * a->sum[half];
        }
}

static void packed_narrow__scalar(const tsr_packed *w, int64_t p, const tsr_act8 *a, float *out) {
    bool halves = w->layout->group_k == 16;
    for (int64_t r = 0; r < a->rows; r++) {
        double total[TSR_PANEL] = {0};
        for (int64_t e = 0; e < a->entries; e++) {
            uint8_t codes[TSR_QUADS * 64];
            float scale[2 * TSR_PANEL], min[2 * TSR_PANEL];
            tsr_packed_block(w, p, a->block[r / TSR_ACT8_GROUP * a->entries + e], codes, scale, min);
            add_entry(a, r, e, codes, scale, min, w->layout->has_min, halves, total);
        }
        for (int c = 0; c < TSR_PANEL; c++) out[r * TSR_PANEL + c] = (float)total[c];
    }
}

static void packed_unpack__scalar(const tsr_packed *w, int64_t p, uint8_t *codes, float *scale, float *min) {
    int groups = TSR_BLOCK_K / w->layout->group_k;
    for (int64_t b = 0; b < w->k / TSR_BLOCK_K; b++)
        tsr_packed_block(w, p, b, codes + b * TSR_QUADS * 64, scale + b * groups * TSR_PANEL, min + b * groups * TSR_PANEL);
}

static void packed_gemm__scalar(const tsr_strip8 *s, const tsr_act8 *a, float *y, int64_t ldy) {
    int groups = s->halves ? 2 : 1;
    for (int64_t r = 0; r < a->rows; r++)
        for (int p = 0; p < 2; p++) {
            double total[TSR_PANEL] = {0};
            for (int64_t e = 0; e < a->entries; e++) {
                int64_t b = a->block[r / TSR_ACT8_GROUP * a->entries + e], g = b * groups * TSR_PANEL;
                add_entry(a, r, e, s->codes[p] + b * TSR_QUADS * 64, s->scale[p] + g, s->min[p] + g, s->has_min, s->halves, total);
            }
            for (int c = 0; c < TSR_PANEL && p * TSR_PANEL + c < s->columns; c++) y[r * ldy + p * TSR_PANEL + c] = (float)total[c];
        }
}

void tsr_kernels_fill_packed_scalar(tsr_kernels *k) {
    k->act8_max = act8_max__scalar;
    k->act8_quantize = act8_quantize__scalar;
    for (int t = 0; t < TSR_TYPE_COUNT; t++) {
        const tsr_layout *l = tsr_layout_of((tsr_type)t);
        if (!l->name || l->code_bits == 16) continue;
        k->packed_narrow[t] = packed_narrow__scalar;
        k->packed_unpack[t] = packed_unpack__scalar;
    }
    k->packed_gemm = packed_gemm__scalar;
    k->packed_narrow_name = "packed_narrow_u8s8__scalar";
    k->packed_gemm_name = "packed_gemm_u8s8__scalar";
}
