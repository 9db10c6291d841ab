/* matmul_parts.c: the second phase of a product with packed weights: items of its parts.
 *
 *   narrow       a panel at a time, unpacked in registers for all rows
 *   integer      a strip (two panels) at a time, unpacked to bytes for all of k; int8 activations
 *   wide float   several strips at a time, so that activations come from outside the L2 cache once for all of them; a run of k at a time,
 *                so that a strip's weights stay in the L1 cache; sums of all strips wait in scratch for the next run
 *
 * Sums lie in scratch, with a gate those of both its weights, until they are what the output wants: only that is stored. */
#include "core/ints.h"
#include "kernels/matmul_plan.h"

#include <string.h>

enum {
    INTEGER_ROWS = 32,  /* that an integer item computes before it stores them */
    ROWS_AT_ONCE = 512, /* that a wide item computes before it starts again with the weights */
    TILE_FLOATS = TSR_TILE_ROWS * TSR_PANEL,
};

/* --- results --------------------------------------------------------------------------------------------------------------- */

static void add_bias(float *c, int width, int64_t rows, const float *bias, int64_t columns) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < columns; j++) c[r * width + j] += bias[j];
}

/* Stores rows [row, row + rows) and columns [column, column + width) of a part, as far as they exist, whose sums are in c and, with a gate,
 * up [rows][width]. */
static void finish(const tsr_packed_product *p, const tsr_part *part, float *c, float *up, int width, int64_t row, int64_t rows,
                   int64_t column) {
    const tsr_packed_output *out = part->out;
    int64_t columns = tsr_min64(width, out->w.n - column);
    if (columns <= 0) return;
    if (out[0].bias) add_bias(c, width, rows, out[0].bias + column, columns);
    if (part->n_w == 2) {
        if (out[1].bias) add_bias(up, width, rows, out[1].bias + column, columns);
        p->gate(c, up, rows * width);
    }
    for (int64_t r = 0; r < rows; r++) {
        float *y = out->y + (part->first + row + r) * out->ldy + column;
        const float *sums = c + r * width;
        if (!out->add) memcpy(y, sums, (size_t)columns * sizeof *y);
        for (int64_t j = 0; out->add && j < columns; j++) y[j] += sums[j];
    }
}

/* The lines of y that finish will store into: asked for while sums are computed, they are there by then. */
static void fetch(const tsr_part *part, int width, int64_t row, int64_t rows, int64_t column) {
    const tsr_packed_output *out = part->out;
    for (int64_t r = row; r < row + rows; r++) {
        const float *y = out->y + (part->first + r) * out->ldy + column;
        __builtin_prefetch(y, 1);
        if (width > TSR_PANEL && column + TSR_PANEL < out->w.n) __builtin_prefetch(y + TSR_PANEL, 1);
    }
}

/* --- narrow ---------------------------------------------------------------------------------------------------------------- */

static void narrow_panel(const tsr_packed_product *p, const tsr_part *part, int64_t panel) {
    float c[2][TSR_NARROW_MAX * TSR_PANEL] __attribute__((aligned(64))); /* [rows, or twice rows when paired][16] */
    const tsr_converted *in = part->in;
    fetch(part, TSR_PANEL, 0, in->rows, panel * TSR_PANEL);
    for (int i = 0; i < part->n_w; i++) {
        const tsr_packed *w = &part->w[i];
        if (part->path == TSR_PATH_NARROW_F32) {
            const float *x = in->copy ? in->copy : in->x.x;
            p->kern->packed_narrow_f32[w->type](w, panel, x, in->copy ? in->x.k : in->x.ldx, (int)in->rows, c[i]);
            continue;
        }
        p->kern->packed_narrow[w->type](w, panel, part->act, c[i]);
        if (part->act->rows == in->rows) continue;
        for (int64_t r = 0; r < in->rows; r++) /* paired */
            for (int j = 0; j < TSR_PANEL; j++) c[i][r * TSR_PANEL + j] = c[i][2 * r * TSR_PANEL + j] + c[i][(2 * r + 1) * TSR_PANEL + j];
    }
    finish(p, part, c[0], c[1], TSR_PANEL, 0, in->rows, panel * TSR_PANEL);
}

/* --- integer --------------------------------------------------------------------------------------------------------------- */

enum { INTEGER_C_BYTES = INTEGER_ROWS * TSR_STRIP_COLUMNS * 4 };

/* For each panel: codes (16 bytes a k), then scales and mins of at most one group per 16 k (4 + 4 bytes a k). */
static size_t panel_scratch(int64_t k) { return (size_t)tsr_round_up(k, TSR_BLOCK_K) * (16 + 4 + 4); }

/* Unpacks a strip into scratch. */
static tsr_strip8 open_strip(const tsr_packed_product *p, const tsr_packed *w, int64_t strip, uint8_t *scratch) {
    tsr_strip8 s = {.blocks = w->k / TSR_BLOCK_K, .type = w->type,
                    .columns = (int)tsr_min64(TSR_STRIP_COLUMNS, w->n - strip * TSR_STRIP_COLUMNS), .has_min = w->layout->has_min, .halves = w->layout->group_k == 16};
    for (int i = 0; i < 2; i++) {
        s.codes[i] = scratch + (size_t)i * panel_scratch(w->k);
        s.scale[i] = (float *)(void *)(s.codes[i] + (size_t)w->k * 16);
        s.min[i] = s.scale[i] + w->k;
        int64_t panel = 2 * strip + i; /* a strip's second panel may not exist: then the first serves, and its columns are not stored */
        p->kern->packed_unpack[w->type](w, tsr_min64(panel, tsr_packed_panels(w) - 1), s.codes[i], s.scale[i], s.min[i]);
    }
    return s;
}

static void open_strips(const tsr_packed_product *p, const tsr_part *part, int64_t strip, uint8_t *codes, tsr_strip8 s[2]) {
    for (int i = 0; i < part->n_w; i++) s[i] = open_strip(p, &part->w[i], strip, codes + (size_t)i * 2 * panel_scratch(part->w[0].k));
}

/* Asks for share i of n of the panels of the strip after `strip`, which this thread most likely takes next. */
static void fetch_strip(const tsr_part *part, int64_t strip, int64_t i, int64_t n) {
    if (strip + 1 >= part->begin + part->count) return;
    for (int j = 0; j < part->n_w; j++) {
        const tsr_packed *w = &part->w[j];
        const uint8_t *next = w->data + (size_t)(2 * strip + 2) * w->panel_bytes;
        int64_t panels = tsr_min64(2, tsr_packed_panels(w) - 2 * strip - 2), begin, end;
        tsr_split(panels * (int64_t)w->panel_bytes, 64, (int)i, (int)n, &begin, &end);
        for (; begin < end; begin += 64) __builtin_prefetch(next + begin, 0, 2);
    }
}

static void integer_strip(const tsr_packed_product *p, const tsr_part *part, int64_t strip, uint8_t *scratch) {
    float *c[2] = {(float *)(void *)scratch, (float *)(void *)(scratch + INTEGER_C_BYTES)}; /* [rows][32] each */
    tsr_strip8 s[2];
    const int64_t at_once = p->kern->gemm_changes_strip ? INTEGER_ROWS : TSR_ACT8_GROUP, calls = (part->in->rows + at_once - 1) / at_once;
    for (int64_t row = 0; row < part->in->rows; row += INTEGER_ROWS) {
        int64_t rows = tsr_min64(INTEGER_ROWS, part->in->rows - row);
        if (row == 0 || p->kern->gemm_changes_strip) open_strips(p, part, strip, scratch + 2 * INTEGER_C_BYTES, s);
        fetch(part, TSR_STRIP_COLUMNS, row, rows, strip * TSR_STRIP_COLUMNS);
        for (int64_t first = 0; first < rows; first += at_once) {
            const tsr_act8 a = tsr_act8_rows(part->act, row + first, tsr_min64(at_once, rows - first));
            fetch_strip(part, strip, (row + first) / at_once, calls);
            for (int i = 0; i < part->n_w; i++) p->kern->packed_gemm(&s[i], &a, c[i] + first * TSR_STRIP_COLUMNS, TSR_STRIP_COLUMNS);
        }
        finish(p, part, c[0], c[1], TSR_STRIP_COLUMNS, row, rows, strip * TSR_STRIP_COLUMNS);
    }
}

/* --- wide float ------------------------------------------------------------------------------------------------------------ */

/* Two panels' weights of a run, at most f32, and the sums of all strips. */
enum {
    WIDE_B_BYTES = 2 * TSR_WIDE_MAX_BLOCKS * TSR_BLOCK_K * TSR_PANEL * 4,
    WIDE_C_BYTES = TSR_WIDE_STRIPS * ROWS_AT_ONCE * TSR_STRIP_COLUMNS * 4,
};

/* Sums of strips [first, last) of w for rows [row, row + rows) to c: [strips][row tiles][2][16][16] */
static void wide_sums(const tsr_part *part, const tsr_packed *w, int64_t first, int64_t last, int64_t row, int64_t rows, uint8_t *b,
                      float *c) {
    const tsr_wide *wide = part->in->wide;
    int64_t blocks = tsr_round_up(w->k, TSR_BLOCK_K) / TSR_BLOCK_K, panels = tsr_packed_panels(w);
    size_t tile_block = (size_t)TSR_TILE_ROWS * TSR_BLOCK_K * (size_t)wide->elem_bytes;
    int64_t strip_floats = tsr_round_up(rows, TSR_TILE_ROWS) * TSR_STRIP_COLUMNS;
    tsr_wide_job run = {.w = w, .b = b, .a_stride = tsr_tile_bytes(wide, TSR_TILE_ROWS, w->k), .rows = rows};
    for (run.block = 0; run.block < blocks; run.block += run.blocks) {
        run.blocks = tsr_min64(wide->run_blocks, blocks - run.block);
        run.a = part->in->tiles + (size_t)(row / TSR_TILE_ROWS) * run.a_stride + (size_t)run.block * tile_block;
        run.accumulate = run.block > 0;
        for (int64_t strip = first; strip < last; strip++) {
            run.panel[0] = 2 * strip;
            run.panel[1] = tsr_min64(2 * strip + 1, panels - 1);
            run.c = c + (strip - first) * strip_floats;
            wide->strip[w->type](&run);
        }
    }
}

/* Strips [first, last) for rows [row, row + rows), rows <= ROWS_AT_ONCE. */
static void wide_strips(const tsr_packed_product *p, const tsr_part *part, int64_t first, int64_t last, int64_t row, int64_t rows,
                        uint8_t *scratch) {
    int64_t tiles = tsr_round_up(rows, TSR_TILE_ROWS) / TSR_TILE_ROWS * 2, floats = tiles * TILE_FLOATS; /* of a strip */
    float *c[2]; /* of each weight, [strips][row tiles][2][16][16] */
    c[0] = (float *)(void *)(scratch + WIDE_B_BYTES);
    c[1] = c[0] + (last - first) * floats;
    for (int i = 0; i < part->n_w; i++) wide_sums(part, &part->w[i], first, last, row, rows, scratch, c[i]);
    for (int64_t t = 0; t < (last - first) * tiles; t++) {
        int64_t tile_row = t % tiles / 2 * TSR_TILE_ROWS, tile_rows = tsr_min64(TSR_TILE_ROWS, rows - tile_row);
        int64_t column = (first + t / tiles) * TSR_STRIP_COLUMNS + t % 2 * TSR_PANEL;
        finish(p, part, c[0] + t * TILE_FLOATS, c[1] + t * TILE_FLOATS, TSR_PANEL, row + tile_row, tile_rows, column);
    }
}

static void wide_item(const tsr_packed_product *p, const tsr_part *part, int64_t first, int64_t last, uint8_t *scratch) {
    if (p->kern->enter) p->kern->enter();
    for (int64_t row = 0; row < part->in->rows; row += ROWS_AT_ONCE)
        wide_strips(p, part, first, last, row, tsr_min64(ROWS_AT_ONCE, part->in->rows - row), scratch);
    if (p->kern->leave) p->kern->leave();
}

/* --- items ----------------------------------------------------------------------------------------------------------------- */

void tsr_part_item(const tsr_packed_product *p, const tsr_part *part, int64_t item, uint8_t *scratch) {
    int64_t first = part->begin + item * part->unit, last = tsr_min64(first + part->unit, part->begin + part->count);
    if (part->path == TSR_PATH_WIDE) {
        wide_item(p, part, first, last, scratch);
        return;
    }
    for (int64_t i = first; i < last; i++) {
        if (part->path == TSR_PATH_INTEGER) integer_strip(p, part, i, scratch);
        else narrow_panel(p, part, i);
    }
}

size_t tsr_part_scratch(int64_t k) {
    size_t integer = 2 * INTEGER_C_BYTES + 4 * panel_scratch(k), wide = WIDE_B_BYTES + WIDE_C_BYTES;
    return integer > wide ? integer : wide;
}
