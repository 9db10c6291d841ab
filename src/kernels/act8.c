#include "kernels/act8.h"

#include "kernels/kernels.h"

#include <float.h>
#include <string.h>

/* One block in RESIDUAL_SHARE gets its rounding errors entered too (measured: doc/accuracy.md). */
enum { RESIDUAL_SHARE = 8 };

static int64_t residual_blocks(int64_t blocks) { return (blocks + RESIDUAL_SHARE - 1) / RESIDUAL_SHARE; }

/* The workspace: what tsr_act8 points to, then per row the largest magnitudes [blocks], then the energies [blocks]. */
typedef struct plan {
    int64_t blocks, rows, entries, pairs;
    size_t codes, scale, block, max, energy, start[TSR_ACT8_LAYOUTS], total;
} plan;

static size_t reserve(plan *p, int64_t count, size_t size) {
    size_t at = p->total;
    p->total += ((size_t)count * size + 63) & ~(size_t)63;
    return at;
}

static int64_t group_count(int64_t rows) { return (rows + TSR_ACT8_GROUP - 1) / TSR_ACT8_GROUP; }

static plan lay_out(int n_layouts, int64_t m, int64_t k, bool paired) {
    plan p = {.blocks = (k + TSR_BLOCK_K - 1) / TSR_BLOCK_K};
    p.rows = paired ? 2 * m : m;
    p.pairs = paired ? 0 : residual_blocks(p.blocks);
    p.entries = p.blocks + p.pairs;
    int64_t groups = group_count(p.rows), lanes = groups * TSR_ACT8_GROUP;
    p.codes = reserve(&p, lanes * p.entries, TSR_BLOCK_K);
    p.scale = reserve(&p, lanes * p.entries, sizeof(float));
    p.block = reserve(&p, groups * p.entries, sizeof(int32_t));
    p.max = reserve(&p, m * p.blocks, sizeof(float));
    p.energy = reserve(&p, groups * p.blocks, sizeof(float));
    for (int l = 0; l < n_layouts; l++) p.start[l] = reserve(&p, lanes * p.entries, 2 * sizeof(int32_t));
    return p;
}

bool tsr_act8_bytes(int64_t m, int64_t k, size_t *out) {
    if (m > INT64_MAX / 128 / (k + 64)) return false;
    /* paired rows of small m may take more than the single rows of a larger one */
    int64_t few = m < TSR_ACT8_ALONE ? m : TSR_ACT8_ALONE;
    size_t most = lay_out(TSR_ACT8_LAYOUTS, m, k, false).total, paired = lay_out(TSR_ACT8_LAYOUTS, few, k, true).total;
    *out = most > paired ? most : paired;
    return true;
}

/* energy[blocks] = of the rows whose largest magnitudes are at max [rows][blocks]; each row's total counts the same. */
static void sum_energy(const float *max, int64_t rows, int64_t blocks, float *energy) {
    for (int64_t b = 0; b < blocks; b++) energy[b] = 0.0f;
    for (int64_t r = 0; r < rows; r++) {
        const float *row = max + r * blocks;
        float total = 0.0f;
        for (int64_t b = 0; b < blocks; b++) total += row[b] * row[b];
        float weight = total > 0.0f ? 1.0f / total : 0.0f;
        for (int64_t b = 0; b < blocks; b++) energy[b] += row[b] * row[b] * weight;
    }
}

/* The largest t for which `count` energies are >= t. Floats >= 0 are ordered as their bits are (NaN above all). */
static uint32_t threshold(const float *energy, int64_t blocks, int64_t count) {
    uint32_t t = 0;
    for (uint32_t bit = 1u << 30; bit > 0; bit >>= 1) {
        int64_t above = 0;
        for (int64_t b = 0; b < blocks; b++) {
            uint32_t bits;
            memcpy(&bits, energy + b, sizeof bits);
            above += (bits & 0x7fffffffu) >= (t | bit);
        }
        if (above >= count) t |= bit;
    }
    return t;
}

/* The list of a group: the blocks with the largest energy twice, then the others. */
static void choose_pairs(const plan *p, const float *max, int64_t rows, float *energy, int32_t *block) {
    sum_energy(max, rows, p->blocks, energy);
    uint32_t least = threshold(energy, p->blocks, p->pairs), bits;
    int64_t above = 0, pair = 0, single = 2 * p->pairs;
    for (int64_t b = 0; b < p->blocks; b++) {
        memcpy(&bits, energy + b, sizeof bits);
        above += (bits & 0x7fffffffu) > least;
    }
    int64_t equal = p->pairs - above; /* of those with the least energy */
    for (int64_t b = 0; b < p->blocks; b++) {
        memcpy(&bits, energy + b, sizeof bits);
        bits &= 0x7fffffffu;
        if (bits > least || (bits == least && equal-- > 0)) {
            block[2 * pair] = block[2 * pair + 1] = (int32_t)b;
            pair++;
        } else {
            block[single++] = (int32_t)b;
        }
    }
}

/* What one thread works on. */
typedef struct row_view {
    const tsr_act8 *a; /* [s->n_layouts] */
    const tsr_act8_source *s;
    const plan *p;
} row_view;

/* Where the entries of a row are. */
typedef struct lane {
    int8_t *codes;  /* entry e, quad q: 4 codes at ((e * 8 + q) * lanes) * 4 */
    float *scale;
    int64_t sums;   /* of start and sum */
    int64_t lanes;
} lane;

static lane lane_of(const tsr_act8 *a, int64_t r) {
    int64_t g = r / TSR_ACT8_GROUP, at = r % TSR_ACT8_GROUP, base = g * TSR_ACT8_GROUP * a->entries;
    return (lane){a->codes + base * TSR_BLOCK_K + 4 * at, a->scale + base + at, 2 * base + at, tsr_act8_lanes(a, g)};
}

/* Entry e of a row: 32 codes in quads and their scale. */
static void put_codes(const lane *l, int64_t e, const int8_t codes[TSR_BLOCK_K], float scale) {
    int8_t *quads = l->codes + e * TSR_BLOCK_K * l->lanes;
    if (l->lanes == TSR_ACT8_GROUP) { /* constant strides: what most rows take */
        for (int q = 0; q < TSR_QUADS; q++) memcpy(quads + q * TSR_ACT8_GROUP * 4, codes + 4 * q, 4);
    } else {
        for (int q = 0; q < TSR_QUADS; q++) memcpy(quads + q * l->lanes * 4, codes + 4 * q, 4);
    }
    l->scale[e * l->lanes] = scale;
}

/* The sums of each half's codes of entry e, for layout i. */
static void put_layout_sums(const row_view *v, int i, const lane *l, int64_t e, float scale, const int32_t sums[2]) {
    const tsr_layout *layout = v->s->layouts[i];
    bool whole = layout->group_k == TSR_BLOCK_K;
    int32_t both[2] = {whole ? sums[0] + sums[1] : sums[0], sums[1]};
    for (int h = 0; h < 2; h++) {
        int64_t at = l->sums + (2 * e + h) * l->lanes;
        if (layout->has_min) v->a[i].sum[at] = scale * (float)both[h];
        else v->a[i].start[at] = -layout->offset * both[h];
    }
}

static void put_sums(const row_view *v, const lane *l, int64_t e, float scale, const int32_t sums[2]) {
    for (int i = 0; i < v->s->n_layouts; i++) put_layout_sums(v, i, l, e, scale, sums);
}

/* Those of entries e and e + 1, a pair of scales scale * more and scale. */
static void put_pair_sums(const row_view *v, const lane *l, int64_t e, float scale, int32_t sums[2][2]) {
    static const int32_t none[2] = {0, 0};
    int32_t both[2]; /* with min, the first has both */
    for (int h = 0; h < 2; h++) both[h] = sums[0][h] * (1 << TSR_ACT8_PAIR_SHIFT) + sums[1][h];
    for (int i = 0; i < v->s->n_layouts; i++) {
        bool has_min = v->s->layouts[i]->has_min;
        put_layout_sums(v, i, l, e, scale, has_min ? both : sums[0]);
        put_layout_sums(v, i, l, e + 1, has_min ? 0.0f : scale, has_min ? none : sums[1]);
    }
}

/* The kernel's act8_quantize. Where the inverse of max would not be finite, also times the factor of rounding errors, codes are 0: for what is
 * too small to count, for infinity, and for NaN, which the scale carries on. */
static void quantize(const tsr_kernels *kern, const float *x, float max, float factor, int8_t *codes, int32_t sums[2], float *residual) {
    if (max > TSR_ACT8_SMALL && max <= FLT_MAX) {
        kern->act8_quantize(x, 127.0f / max * factor, max / 127.0f / factor, codes, sums, residual);
        return;
    }
    memset(codes, 0, TSR_BLOCK_K);
    sums[0] = sums[1] = 0;
    if (residual) memcpy(residual, x, TSR_BLOCK_K * sizeof *x);
}

/* Entry e from the 32 activations at x, the largest of them max; residual as in the kernel. */
static void put_entry(const row_view *v, const lane *l, int64_t e, const float *x, float max, float *residual) {
    float scale = max / 127.0f;
    int8_t codes[TSR_BLOCK_K];
    int32_t sums[2];
    quantize(v->s->kern, x, max, 1.0f, codes, sums, residual);
    put_codes(l, e, codes, scale);
    put_sums(v, l, e, scale, sums);
}

/* Entries e and e + 1: a pair. */
static void put_pair(const row_view *v, const lane *l, int64_t e, const float *x, float max) {
    const float more = (float)(1 << TSR_ACT8_PAIR_SHIFT);
    float scale = max / 127.0f, residual[TSR_BLOCK_K];
    int8_t codes[2][TSR_BLOCK_K];
    int32_t sums[2][2];
    quantize(v->s->kern, x, max, 1.0f, codes[0], sums[0], residual);
    quantize(v->s->kern, residual, max, more, codes[1], sums[1], NULL);
    put_codes(l, e, codes[0], scale);
    put_codes(l, e + 1, codes[1], scale / more);
    put_pair_sums(v, l, e, scale / more, sums);
}

/* The lane after the last row, where there is one. */
static void put_padding(const row_view *v) {
    const tsr_act8 *a = v->a;
    int64_t last = (a->rows - 1) / TSR_ACT8_GROUP;
    static const int8_t zeros[TSR_BLOCK_K];
    static const int32_t none[2] = {0, 0};
    if (tsr_act8_lanes(a, last) == tsr_act8_group_rows(a, last)) return;
    lane l = lane_of(a, a->rows);
    for (int64_t e = 0; e < a->entries; e++) {
        put_codes(&l, e, zeros, 0.0f);
        put_sums(v, &l, e, 0.0f, none);
    }
}

/* Blocks [begin, end) of row r, whose rounding errors are a row of their own. */
static void put_paired_row(const row_view *v, int64_t r, const float *x, const float *max, int64_t begin, int64_t end) {
    float residual[TSR_BLOCK_K], residual_max;
    lane first = lane_of(v->a, 2 * r), second = lane_of(v->a, 2 * r + 1);
    int32_t *block = v->a->block + 2 * r / TSR_ACT8_GROUP * v->p->entries;
    for (int64_t b = begin; b < end; b++) {
        block[b] = (int32_t)b;
        put_entry(v, &first, b, x + b * TSR_BLOCK_K, max[b], residual);
        v->s->kern->act8_max(residual, 1, &residual_max);
        put_entry(v, &second, b, residual, residual_max, NULL);
    }
}

static void put_row(const row_view *v, int64_t r, const float *x, const float *max) {
    const plan *p = v->p;
    const int32_t *block = v->a->block + r / TSR_ACT8_GROUP * p->entries;
    lane l = lane_of(v->a, r);
    for (int64_t e = 0; e < 2 * p->pairs; e += 2) put_pair(v, &l, e, x + block[e] * TSR_BLOCK_K, max[block[e]]);
    for (int64_t e = 2 * p->pairs; e < p->entries; e++) put_entry(v, &l, e, x + block[e] * TSR_BLOCK_K, max[block[e]], NULL);
}

bool tsr_act8_same_sums(const tsr_layout *a, const tsr_layout *b) {
    return a->has_min == b->has_min && a->group_k == b->group_k && (a->has_min || a->offset == b->offset);
}

size_t tsr_act8_place(tsr_act8 *a, int n_layouts, void *work, int64_t m, int64_t k, bool alone) {
    plan p = lay_out(n_layouts, m, k, alone || m <= TSR_ACT8_PAIRED);
    uint8_t *base = work;
    for (int l = 0; l < n_layouts; l++)
        a[l] = (tsr_act8){
            .rows = p.rows,
            .entries = p.entries,
            .pairs = p.pairs,
            .codes = (int8_t *)(base + p.codes),
            .scale = (float *)(void *)(base + p.scale),
            .start = (int32_t *)(void *)(base + p.start[l]),
            .sum = (float *)(void *)(base + p.start[l]),
            .block = (int32_t *)(void *)(base + p.block),
            .max = (float *)(void *)(base + p.max),
            .energy = (float *)(void *)(base + p.energy),
        };
    return p.total;
}

tsr_act8 tsr_act8_rows(const tsr_act8 *a, int64_t first, int64_t rows) {
    int64_t lanes = first * a->entries;
    tsr_act8 part = *a;
    part.rows = rows;
    part.codes += lanes * TSR_BLOCK_K;
    part.scale += lanes;
    part.start += 2 * lanes;
    part.sum += 2 * lanes;
    part.block += first / TSR_ACT8_GROUP * a->entries;
    return part;
}

/* Up to 8 rows on their way: each is read, and normed, once. */
typedef struct few_rows {
    int64_t begin, end;
    const float *x[TSR_ACT8_GROUP];
} few_rows;

static float *max_of(const row_view *v, int64_t r) { return v->a->max + r * v->p->blocks; }

static few_rows read_rows(const row_view *v, int64_t begin, int64_t end) {
    const tsr_act8_source *s = v->s;
    few_rows rows = {.begin = begin, .end = end};
    for (int64_t r = begin; r < end; r++) {
        const float *x = tsr_rows_read(&s->x, s->kern, r, s->buffer ? s->buffer + (r - begin) * s->x.k : NULL);
        s->kern->act8_max(x, v->p->blocks, max_of(v, r));
        rows.x[r - begin] = x;
    }
    return rows;
}

static void choose_group(const row_view *v, int64_t g) {
    const plan *p = v->p;
    if (p->pairs == 0) return;
    choose_pairs(p, max_of(v, g * TSR_ACT8_GROUP), tsr_act8_group_rows(v->a, g), v->a->energy + g * p->blocks, v->a->block + g * p->entries);
}

static void put_rows(const row_view *v, const few_rows *rows) {
    for (int64_t r = rows->begin; r < rows->end; r++) {
        if (v->p->pairs > 0) put_row(v, r, rows->x[r - rows->begin], max_of(v, r));
        else put_paired_row(v, r, rows->x[r - rows->begin], max_of(v, r), 0, v->p->blocks);
    }
}

/* Where there are fewer groups than threads, these share the rows of a group, at most 8 for each: then they meet twice on the way. */
static void quantize_together(const row_view *v, tsr_pool *pool, int i, int n) {
    int64_t begin, end, first, last;
    tsr_split(v->s->m, 1, i, n, &begin, &end);
    few_rows rows = read_rows(v, begin, end);
    tsr_pool_barrier(pool, i);
    tsr_split(group_count(v->s->m), 1, i, n, &first, &last);
    for (int64_t g = first; g < last; g++) choose_group(v, g);
    tsr_pool_barrier(pool, i);
    put_rows(v, &rows);
}

/* One or two rows: threads share the blocks, and each norms the rows for itself. */
static void quantize_blocks(const row_view *v, int i, int n) {
    const tsr_act8_source *s = v->s;
    int64_t begin, end;
    tsr_split(v->p->blocks, 1, i, n, &begin, &end);
    for (int64_t r = 0; r < s->m; r++) {
        const float *x = tsr_rows_read(&s->x, s->kern, r, s->buffer);
        s->kern->act8_max(x + begin * TSR_BLOCK_K, end - begin, max_of(v, r) + begin);
        put_paired_row(v, r, x, max_of(v, r), begin, end);
    }
}

void tsr_act8_quantize(const tsr_act8 *a, const tsr_act8_source *s, tsr_pool *pool, int i, int n) {
    const plan p = lay_out(s->n_layouts, s->m, s->x.k, a->rows > s->m);
    const row_view v = {a, s, &p};
    int64_t first, last;
    if (pool && p.pairs == 0) {
        quantize_blocks(&v, i, n);
    } else if (pool && group_count(s->m) < n) {
        quantize_together(&v, pool, i, n);
    } else {
        tsr_split(group_count(s->m), 1, i, n, &first, &last);
        for (int64_t g = first; g < last; g++) {
            int64_t begin = g * TSR_ACT8_GROUP, end = begin + TSR_ACT8_GROUP < s->m ? begin + TSR_ACT8_GROUP : s->m;
            few_rows rows = read_rows(&v, begin, end);
            choose_group(&v, g);
            put_rows(&v, &rows);
        }
    }
    if (i == 0) put_padding(&v);
    if (pool) tsr_pool_barrier(pool, i);
}
