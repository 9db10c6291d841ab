#include "kernels/act8.h"

#include "kernels/kernels.h"

#include <string.h>

/* One block in RESIDUAL_SHARE gets its rounding errors entered too (measured: doc/accuracy.md). */
enum { RESIDUAL_SHARE = 6 };

static int64_t residual_blocks(int64_t blocks) { return (blocks + RESIDUAL_SHARE - 1) / RESIDUAL_SHARE; }

/* The workspace: what tsr_act8 points to, then per row the largest magnitudes [blocks], then the energies [blocks]. */
typedef struct plan {
    int64_t blocks, rows, entries;
    size_t codes, scale, start, block, max, energy, total;
} plan;

static size_t reserve(plan *p, int64_t count, size_t size) {
    size_t at = p->total;
    p->total += ((size_t)count * size + 63) & ~(size_t)63;
    return at;
}

static plan lay_out(int64_t m, int64_t k) {
    bool paired = m <= TSR_ACT8_PAIRED;
    plan p = {.blocks = (k + TSR_BLOCK_K - 1) / TSR_BLOCK_K};
    p.rows = paired ? 2 * m : m;
    p.entries = p.blocks + (paired ? 0 : residual_blocks(p.blocks));
    int64_t lanes = (p.rows + TSR_ACT8_GROUP - 1) / TSR_ACT8_GROUP * TSR_ACT8_GROUP;
    p.codes = reserve(&p, lanes * p.entries, TSR_BLOCK_K);
    p.scale = reserve(&p, lanes * p.entries, sizeof(float));
    p.start = reserve(&p, lanes * p.entries, 2 * sizeof(int32_t));
    p.block = reserve(&p, p.entries, sizeof(int32_t));
    p.max = reserve(&p, m * p.blocks, sizeof(float));
    p.energy = reserve(&p, p.blocks, sizeof(float));
    return p;
}

bool tsr_act8_bytes(int64_t m, int64_t k, size_t *out) {
    if (m > INT64_MAX / 128 / (k + 64)) return false;
    /* paired rows of small m may take more than the single rows of a larger one */
    size_t most = lay_out(m, k).total, paired = m > TSR_ACT8_PAIRED ? lay_out(TSR_ACT8_PAIRED, k).total : 0;
    *out = most > paired ? most : paired;
    return true;
}

/* The blocks with the largest energy over all rows (each row's total counts the same), as entries after the first `blocks`. */
static void choose_residuals(const plan *p, const float *max, int64_t m, float *energy, int32_t *block) {
    for (int64_t b = 0; b < p->blocks; b++) {
        block[b] = (int32_t)b;
        energy[b] = 0.0f;
    }
    for (int64_t r = 0; r < m; r++) {
        const float *row = max + r * p->blocks;
        float total = 0.0f;
        for (int64_t b = 0; b < p->blocks; b++) total += row[b] * row[b];
        float weight = total > 0.0f ? 1.0f / total : 0.0f;
        for (int64_t b = 0; b < p->blocks; b++) energy[b] += row[b] * row[b] * weight;
    }
    for (int64_t e = p->blocks; e < p->entries; e++) {
        int64_t best = 0;
        for (int64_t b = 1; b < p->blocks; b++)
            if (energy[b] > energy[best]) best = b;
        block[e] = (int32_t)best;
        energy[best] = -1.0f; /* taken */
    }
}

typedef struct row_view {
    const tsr_act8 *a;
    const tsr_kernels *kern;
    const tsr_layout *layout;
} row_view;

/* Entry e of row r: 32 codes in quads, scale, and the sums of each half's codes. */
static void put_codes(const row_view *v, int64_t r, int64_t e, const int8_t codes[TSR_BLOCK_K], float scale, int32_t sums[2]) {
    const tsr_act8 *a = v->a;
    int64_t g = r / TSR_ACT8_GROUP, lane = r % TSR_ACT8_GROUP, lanes = tsr_act8_lanes(a, g), base = g * TSR_ACT8_GROUP * a->entries;
    int8_t *quads = a->codes + base * TSR_BLOCK_K + (e * TSR_QUADS * lanes + lane) * 4;
    for (int q = 0; q < TSR_QUADS; q++) memcpy(quads + q * lanes * 4, codes + 4 * q, 4);
    a->scale[base + e * lanes + lane] = scale;
    if (v->layout->group_k == TSR_BLOCK_K) sums[0] += sums[1];
    for (int h = 0; h < 2; h++) {
        int64_t at = 2 * base + (2 * e + h) * lanes + lane;
        if (v->layout->has_min) a->sum[at] = scale * (float)sums[h];
        else a->start[at] = -v->layout->offset * sums[h];
    }
}

/* Entry e of row r from the 32 activations at x; residual as in the kernel. */
static void put_entry(const row_view *v, int64_t r, int64_t e, const float *x, float max, float *residual) {
    float scale = max / 127.0f;
    int8_t codes[TSR_BLOCK_K];
    int32_t sums[2];
    v->kern->act8_quantize(x, max > 0.0f ? 127.0f / max : 0.0f, scale, codes, sums, residual);
    put_codes(v, r, e, codes, scale, sums);
}

/* The lane after the last row, where there is one. */
static void put_padding(const row_view *v) {
    const tsr_act8 *a = v->a;
    int64_t last = (a->rows - 1) / TSR_ACT8_GROUP;
    static const int8_t zeros[TSR_BLOCK_K];
    for (int64_t e = 0; tsr_act8_lanes(a, last) > tsr_act8_group_rows(a, last) && e < a->entries; e++) {
        int32_t sums[2] = {0, 0};
        put_codes(v, a->rows, e, zeros, 0.0f, sums);
    }
}

static void put_residual(const row_view *v, int64_t r, int64_t e, const float residual[TSR_BLOCK_K]) {
    float max;
    v->kern->act8_max(residual, 1, &max);
    put_entry(v, r, e, residual, max, NULL);
}

/* Row r of x: its first codes, and the rounding errors of all blocks (paired) or of the chosen ones. */
static void put_row(const row_view *v, const plan *p, int64_t r, const float *x, const float *max) {
    bool paired = p->entries == p->blocks;
    float residual[TSR_BLOCK_K];
    for (int64_t b = 0; b < p->blocks; b++) {
        put_entry(v, paired ? 2 * r : r, b, x + b * TSR_BLOCK_K, max[b], paired ? residual : NULL);
        if (paired) put_residual(v, 2 * r + 1, b, residual);
    }
    for (int64_t e = p->blocks; e < p->entries; e++) {
        int64_t b = v->a->block[e];
        int8_t codes[TSR_BLOCK_K];
        int32_t sums[2];
        v->kern->act8_quantize(x + b * TSR_BLOCK_K, max[b] > 0.0f ? 127.0f / max[b] : 0.0f, max[b] / 127.0f, codes, sums, residual);
        put_residual(v, r, e, residual);
    }
}

size_t tsr_act8_place(tsr_act8 *a, void *work, int64_t m, int64_t k) {
    plan p = lay_out(m, k);
    uint8_t *base = work;
    *a = (tsr_act8){
        .rows = p.rows,
        .entries = p.entries,
        .codes = (int8_t *)(base + p.codes),
        .scale = (float *)(void *)(base + p.scale),
        .start = (int32_t *)(void *)(base + p.start),
        .sum = (float *)(void *)(base + p.start),
        .block = (int32_t *)(void *)(base + p.block),
        .max = (float *)(void *)(base + p.max),
        .energy = (float *)(void *)(base + p.energy),
    };
    return p.total;
}

void tsr_act8_quantize(const tsr_act8 *a, const tsr_kernels *kern, const tsr_layout *layout, const float *x, int64_t ldx, int64_t m,
                       int64_t k, tsr_pool *pool, int i, int n) {
    plan p = lay_out(m, k);
    int64_t begin, end;
    tsr_split(m, 1, i, n, &begin, &end);
    for (int64_t r = begin; r < end; r++) kern->act8_max(x + r * ldx, p.blocks, a->max + r * p.blocks);
    if (pool) tsr_pool_barrier(pool, i);
    if (i == 0) choose_residuals(&p, a->max, m, a->energy, a->block);
    if (pool) tsr_pool_barrier(pool, i);
    row_view v = {a, kern, layout};
    for (int64_t r = begin; r < end; r++) put_row(&v, &p, r, x + r * ldx, a->max + r * p.blocks);
    if (i == 0) put_padding(&v);
    if (pool) tsr_pool_barrier(pool, i);
}
