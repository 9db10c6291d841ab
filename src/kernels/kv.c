/* kv.c: storing keys and values (kv.h). */
#include "core/ints.h"
#include "kernels/kv.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { F32_LINE = TSR_PANEL * 4, LINE16 = 64, BLOCK16 = TSR_BLOCK_K / 2 * LINE16 };

/* A matrix [n, k] of one of the types; F32 has no weights' layout. */
static bool matrix_init(tsr_packed *p, tsr_type type, int64_t n, int64_t k) {
    if (type != TSR_F32) return tsr_packed_init(p, type, n, k);
    if (k > INT64_MAX / 4 / F32_LINE / (n + TSR_PANEL)) return false;
    *p = (tsr_packed){.layout = tsr_layout_of(TSR_F32), .type = type, .n = n, .k = k};
    p->panel_bytes = (size_t)(tsr_round_up(k, TSR_BLOCK_K) * F32_LINE);
    return true;
}

static size_t matrix_bytes(const tsr_packed *p) { return (size_t)tsr_packed_panels(p) * p->panel_bytes; }

bool tsr_kv_head_init(tsr_kv_head *h, tsr_type type_k, tsr_type type_v, int64_t dim_k, int64_t dim_v, int64_t n) {
    if (n < 0 || n > INT64_MAX / 64 || dim_v > INT64_MAX / 64 / (n + 64)) return false;
    if (type_k == TSR_Q8_0 && dim_k % TSR_BLOCK_K != 0) return false;
    if (type_v == TSR_Q8_0 && dim_v % TSR_BLOCK_K != 0) return false;
    *h = (tsr_kv_head){.type_k = type_k, .type_v = type_v, .dim_k = dim_k, .dim_v = dim_v, .capacity = tsr_round_up(n, TSR_BLOCK_K)};
    if (!matrix_init(&h->k, type_k, h->capacity, dim_k)) return false;
    h->bytes_k = matrix_bytes(&h->k);
    if (type_v == TSR_Q8_0) {
        h->bytes_v = (size_t)(dim_v * h->capacity + dim_v / TSR_BLOCK_K * h->capacity * 2);
        return true;
    }
    if (!matrix_init(&h->v, type_v, dim_v, h->capacity)) return false;
    h->bytes_v = matrix_bytes(&h->v);
    return true;
}

void tsr_kv_head_place(tsr_kv_head *h, uint8_t *k, uint8_t *v) {
    h->k.data = k;
    if (h->type_v != TSR_Q8_0) {
        h->v.data = v;
        return;
    }
    h->v8.codes = (int8_t *)v;
    h->v8.scale = (uint16_t *)(void *)(v + h->dim_v * h->capacity);
}

/* --- storing --------------------------------------------------------------------------------------------------------------- */

enum { CHUNK = 256 }; /* elements at a time */

/* x[n] as 16-bit elements, n <= CHUNK. What is finite stays so: tokens that do not see a position still multiply its value, with 0. */
static void to_half(const tsr_kernels *kern, tsr_type type, const float *x, int64_t n, uint16_t *out) {
    const float most = 65504.0f; /* of f16 */
    float clamped[CHUNK];
    if (type == TSR_BF16) {
        kern->f32_to_bf16(x, out, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) clamped[i] = x[i] > most && x[i] <= FLT_MAX ? most : x[i] < -most && x[i] >= -FLT_MAX ? -most : x[i];
    kern->f32_to_f16(clamped, out, n);
}

/* Column c of a panel, all k, from 16-bit elements of which two k share a lane of 4 bytes. */
static void put_key16(const tsr_packed *w, const tsr_kernels *kern, int64_t pos, const float *x) {
    uint16_t half[CHUNK];
    uint8_t *lane = w->data + (size_t)(pos / TSR_PANEL) * w->panel_bytes + (size_t)(pos % TSR_PANEL) * 4;
    for (int64_t k = 0; k < w->k; k += CHUNK) {
        int64_t n = w->k - k < CHUNK ? w->k - k : CHUNK;
        to_half(kern, w->type, x + k, n, half);
        if (n % 2) half[n] = 0; /* n < CHUNK */
        for (int64_t i = 0; i < n; i += 2, lane += LINE16) memcpy(lane, half + i, 4);
    }
}

static void put_key32(const tsr_packed *w, int64_t pos, const float *x) {
    float *column = (float *)(void *)(w->data + (size_t)(pos / TSR_PANEL) * w->panel_bytes) + pos % TSR_PANEL;
    for (int64_t k = 0; k < w->k; k++) column[k * TSR_PANEL] = x[k];
}

/* 32 numbers as Q8_0 has them; codes are -127..127. Returns the scale as f16. NaN and infinity give a scale of NaN. */
static uint16_t quantize8(const float x[TSR_BLOCK_K], int codes[TSR_BLOCK_K]) {
    float most = 0.0f;
    bool finite = true;
    for (int i = 0; i < TSR_BLOCK_K; i++) {
        most = fmaxf(most, fabsf(x[i]));
        finite = finite && isfinite(x[i]);
    }
    float inverse = finite && most > TSR_ACT8_SMALL ? 127.0f / most : 0.0f;
    for (int i = 0; i < TSR_BLOCK_K; i++) codes[i] = finite ? (int)roundf(x[i] * inverse) : 1;
    return tsr_f32_to_f16(finite ? most / 127.0f : NAN);
}

/* Vectors of quads and offset: packed.h. */
static void put_key8(const tsr_packed *w, int64_t pos, const float *x) {
    static const uint8_t order[2][4] = {{0, 4, 1, 5}, {2, 6, 3, 7}};
    uint8_t *panel = w->data + (size_t)(pos / TSR_PANEL) * w->panel_bytes;
    int64_t c = pos % TSR_PANEL;
    for (int64_t b = 0; b < w->k / TSR_BLOCK_K; b++) {
        int codes[TSR_BLOCK_K];
        uint16_t d = quantize8(x + b * TSR_BLOCK_K, codes);
        for (int v = 0; v < TSR_QUADS; v++)
            for (int i = 0; i < 4; i++)
                panel[(b * TSR_QUADS + v) * 64 + 4 * c + i] = (uint8_t)(codes[8 * (v / 2) + order[v % 2][i]] + w->layout->offset);
        memcpy(panel + w->scales_offset + (size_t)b * tsr_layout_unit_bytes(w->layout) + (size_t)c * 2, &d, sizeof d);
    }
}

/* Row pos of k, all columns of all panels. */
static void put_value16(const tsr_packed *w, const tsr_kernels *kern, int64_t pos, const float *x) {
    uint16_t half[TSR_PANEL];
    size_t at = (size_t)(pos / TSR_BLOCK_K * BLOCK16 + pos % TSR_BLOCK_K / 2 * LINE16 + pos % 2 * 2);
    for (int64_t c = 0; c < w->n; c += TSR_PANEL) {
        int64_t n = w->n - c < TSR_PANEL ? w->n - c : TSR_PANEL;
        to_half(kern, w->type, x + c, n, half);
        uint8_t *line = w->data + (size_t)(c / TSR_PANEL) * w->panel_bytes + at;
        for (int64_t i = 0; i < n; i++) memcpy(line + 4 * i, half + i, 2);
    }
}

static void put_value32(const tsr_packed *w, int64_t pos, const float *x) {
    for (int64_t c = 0; c < w->n; c += TSR_PANEL) {
        int64_t n = w->n - c < TSR_PANEL ? w->n - c : TSR_PANEL;
        memcpy(w->data + (size_t)(c / TSR_PANEL) * w->panel_bytes + (size_t)pos * F32_LINE, x + c, (size_t)n * sizeof *x);
    }
}

static void put_value8(const tsr_kv_head *h, int64_t pos, const float *x) {
    for (int64_t d = 0; d < h->dim_v; d += TSR_BLOCK_K) {
        int codes[TSR_BLOCK_K];
        h->v8.scale[d / TSR_BLOCK_K * h->capacity + pos] = quantize8(x + d, codes);
        for (int i = 0; i < TSR_BLOCK_K; i++)
            h->v8.codes[((d + i) / TSR_PANEL * h->capacity + pos) * TSR_PANEL + i % TSR_PANEL] = (int8_t)codes[i];
    }
}

void tsr_kv_put(const tsr_kv_head *h, const tsr_kernels *kern, int64_t pos, const float *k, const float *v) {
    if (h->type_k == TSR_F32) put_key32(&h->k, pos, k);
    else if (h->type_k == TSR_Q8_0) put_key8(&h->k, pos, k);
    else put_key16(&h->k, kern, pos, k);
    if (h->type_v == TSR_F32) put_value32(&h->v, pos, v);
    else if (h->type_v == TSR_Q8_0) put_value8(h, pos, v);
    else put_value16(&h->v, kern, pos, v);
}

/* --- clearing -------------------------------------------------------------------------------------------------------------- */

static void clear_value(const tsr_packed *w, int64_t pos) {
    for (int64_t p = 0; p < tsr_packed_panels(w); p++) {
        uint8_t *panel = w->data + (size_t)p * w->panel_bytes;
        if (w->type == TSR_F32) {
            memset(panel + (size_t)pos * F32_LINE, 0, F32_LINE);
            continue;
        }
        uint8_t *line = panel + pos / TSR_BLOCK_K * BLOCK16 + pos % TSR_BLOCK_K / 2 * LINE16 + pos % 2 * 2;
        for (int c = 0; c < TSR_PANEL; c++) memset(line + 4 * c, 0, 2);
    }
}

void tsr_kv_clear(const tsr_kv_head *h, int64_t first, int64_t last) {
    for (int64_t pos = first; pos < last; pos++) {
        if (h->type_v != TSR_Q8_0) {
            clear_value(&h->v, pos);
            continue;
        }
        for (int64_t d = 0; d < h->dim_v / TSR_BLOCK_K; d++) h->v8.scale[d * h->capacity + pos] = 0;
    }
}
