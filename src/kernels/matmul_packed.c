/* matmul_packed.c: products with packed weights: which kernel, who computes what.
 *
 * A product is a list of groups (one, or one for each expert in use). By its number of rows each group takes a path (kern->choice):
 *
 *   narrow       a panel at a time, unpacked in registers for all rows
 *   integer      a strip (two panels) at a time, unpacked to bytes for all of k; int8 activations
 *   wide float   several strips at a time, so that activations come from outside the L2 cache once for all of them; a run of k at a time,
 *                so that a strip's weights stay in the L1 cache; sums of all strips wait in scratch for the next run
 *
 * First all activations are converted, then, after a barrier, items of all groups are handed out. */
#include "kernels/matmul.h"

#include <string.h>

enum {
    STRIP_COLUMNS = 2 * TSR_PANEL,
    TILE_ROWS = 16,                 /* of the wide path */
    WIDE_ROWS = 512,                /* rows that a wide item computes before it starts again with the weights */
    WIDE_STRIPS = 8,                /* strips of an item, at most */
    TILE_FLOATS = TILE_ROWS * TSR_PANEL,
    NARROW_PANELS = 8,              /* panels of a narrow item, at most */
    ITEMS_PER_THREAD = 4,           /* at least, if there is that much to hand out */
};

typedef enum path { NARROW, NARROW_F32, INTEGER, WIDE } path;

/* A group and its place in the product. */
typedef struct group_plan {
    path path;
    int64_t unit;       /* strips (narrow: panels) of an item */
    int64_t first_item; /* among the items of all groups */
    tsr_act8 act;       /* NARROW, INTEGER: where its activations go */
    uint8_t *tiles;     /* WIDE: where its row tiles go */
} group_plan;

typedef struct packed_job {
    const tsr_packed_product *p;
    group_plan *groups; /* [n_groups] */
    int64_t n_items;
} packed_job;

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* --- memory ---------------------------------------------------------------------------------------------------------------- */

/* Of the integer path, for each panel: codes (16 bytes a k), then scales and mins of at most one group per 16 k (4 + 4 bytes a k). */
static size_t panel_scratch(int64_t k) { return (size_t)round_up(k, TSR_BLOCK_K) * (16 + 4 + 4); }

/* Of the wide path: two panels' weights of a run, at most f32, and the sums of all strips. */
enum { WIDE_B_BYTES = 2 * TSR_WIDE_MAX_BLOCKS * TSR_BLOCK_K * TSR_PANEL * 4, WIDE_C_BYTES = WIDE_STRIPS * WIDE_ROWS * STRIP_COLUMNS * 4 };

size_t tsr_packed_scratch_bytes(int64_t k) {
    size_t integer = 2 * panel_scratch(k), wide = WIDE_B_BYTES + WIDE_C_BYTES;
    return integer > wide ? integer : wide;
}

/* Row tiles of elements of elem_bytes with `extra` bytes behind each. */
static size_t tile_bytes(int64_t rows, int64_t k, int elem_bytes, size_t extra) {
    size_t tiles = (size_t)((rows + TILE_ROWS - 1) / TILE_ROWS);
    return tiles * (TILE_ROWS * (size_t)round_up(k, TSR_BLOCK_K) * (size_t)elem_bytes + extra);
}

static size_t wide_tile_bytes(const tsr_wide *wide, int64_t rows, int64_t k) {
    return tile_bytes(rows, k, wide->elem_bytes, wide->row_tile_extra);
}

bool tsr_packed_work_bytes(int64_t m, int64_t n_groups, int64_t k, size_t *out) {
    size_t act, act_group;
    if (n_groups > INT64_MAX / 512 || m > INT64_MAX / 512 - n_groups * 16) return false;
    if (k > INT64_MAX / 64 / (m + 16 * n_groups + 16)) return false;
    if (!tsr_act8_bytes(m, k, &act) || !tsr_act8_bytes(TSR_ACT8_GROUP, k, &act_group)) return false;
    /* each group rounds its rows up to whole lanes, or tiles; what is behind row tiles of 2-byte elements fits where 4-byte ones would */
    size_t plans = (size_t)n_groups * (sizeof(group_plan) + 64), groups = (size_t)n_groups;
    *out = 64 + plans + act + groups * act_group + tile_bytes(m, k, 4, 0) + groups * tile_bytes(TILE_ROWS, k, 4, 0);
    return true;
}

/* --- narrow ---------------------------------------------------------------------------------------------------------------- */

static void narrow_panel(const packed_job *job, const tsr_packed *w, const group_plan *plan, const tsr_group *group, int64_t panel) {
    const tsr_packed_product *p = job->p;
    float out[TSR_NARROW_MAX * TSR_PANEL] __attribute__((aligned(64))); /* [rows, or twice rows when paired][16] */
    bool paired = plan->path == NARROW && plan->act.rows != group->rows;
    if (plan->path == NARROW) p->kern->packed_narrow[w->type](w, panel, &plan->act, out);
    else p->kern->packed_narrow_f32[w->type](w, panel, p->x + group->first * p->ldx, p->ldx, (int)group->rows, out);
    int64_t column = panel * TSR_PANEL, columns = min64(TSR_PANEL, w->n - column);
    for (int64_t i = 0; i < group->rows; i++) {
        const float *row = out + (paired ? 2 * i : i) * TSR_PANEL;
        float *y = p->y + (group->first + i) * p->ldy + column;
        for (int64_t c = 0; c < columns; c++) y[c] = paired ? row[c] + row[TSR_PANEL + c] : row[c];
    }
}

static void narrow_item(const packed_job *job, const tsr_packed *w, const group_plan *plan, const tsr_group *group, int64_t item) {
    int64_t first = item * plan->unit, last = min64(first + plan->unit, tsr_packed_panels(w));
    for (int64_t panel = first; panel < last; panel++) narrow_panel(job, w, plan, group, panel);
}

/* --- integer --------------------------------------------------------------------------------------------------------------- */

static void integer_item(const packed_job *job, const tsr_packed *w, const group_plan *plan, const tsr_group *group, int64_t strip,
                         uint8_t *scratch) {
    const tsr_packed_product *p = job->p;
    int64_t column = strip * STRIP_COLUMNS;
    tsr_strip8 s = {.blocks = w->k / TSR_BLOCK_K, .type = w->type, .columns = (int)min64(STRIP_COLUMNS, w->n - column),
                    .has_min = w->layout->has_min, .halves = w->layout->group_k == 16};
    for (int i = 0; i < 2; i++) {
        s.codes[i] = scratch + (size_t)i * panel_scratch(w->k);
        s.scale[i] = (float *)(void *)(s.codes[i] + (size_t)w->k * 16);
        s.min[i] = s.scale[i] + w->k;
        int64_t panel = 2 * strip + i; /* a strip's second panel may not exist: then the first serves, and its columns are not stored */
        p->kern->packed_unpack[w->type](w, min64(panel, tsr_packed_panels(w) - 1), s.codes[i], s.scale[i], s.min[i]);
    }
    p->kern->packed_gemm(&s, &plan->act, p->y + group->first * p->ldy + column, p->ldy);
}

/* --- wide float ------------------------------------------------------------------------------------------------------------ */

/* y[rows, 32 columns] = a strip's sums c [row tiles][2][16][16] */
static void store_strip(const float *c, int64_t rows, int64_t columns, float *y, int64_t ldy) {
    for (int64_t i = 0; i < rows; i++) {
        const float *row = c + i / TILE_ROWS * 2 * TILE_FLOATS + i % TILE_ROWS * TSR_PANEL;
        memcpy(y + i * ldy, row, (size_t)min64(columns, TSR_PANEL) * sizeof *y);
        if (columns > TSR_PANEL) memcpy(y + i * ldy + TSR_PANEL, row + TILE_FLOATS, (size_t)(columns - TSR_PANEL) * sizeof *y);
    }
}

/* Strips [first, last) for rows [row, row + rows) of the group, rows <= WIDE_ROWS. */
static void wide_rows(const packed_job *job, const tsr_packed *w, const group_plan *plan, const tsr_group *group, int64_t first, int64_t last,
                      int64_t row, int64_t rows, uint8_t *scratch) {
    const tsr_packed_product *p = job->p;
    const tsr_wide *wide = p->kern->wide[w->type];
    int64_t blocks = round_up(w->k, TSR_BLOCK_K) / TSR_BLOCK_K, panels = tsr_packed_panels(w);
    size_t tile_block = (size_t)TILE_ROWS * TSR_BLOCK_K * (size_t)wide->elem_bytes;
    float *c = (float *)(void *)(scratch + WIDE_B_BYTES); /* [strips][row tiles][2][16][16] */
    int64_t strip_floats = round_up(rows, TILE_ROWS) * STRIP_COLUMNS;
    tsr_wide_job run = {.w = w, .b = scratch, .a_stride = wide_tile_bytes(wide, TILE_ROWS, w->k), .rows = rows};
    for (run.block = 0; run.block < blocks; run.block += run.blocks) {
        run.blocks = min64(wide->run_blocks, blocks - run.block);
        run.a = plan->tiles + (size_t)(row / TILE_ROWS) * run.a_stride + (size_t)run.block * tile_block;
        run.accumulate = run.block > 0;
        for (int64_t strip = first; strip < last; strip++) {
            run.panel[0] = 2 * strip;
            run.panel[1] = min64(2 * strip + 1, panels - 1);
            run.c = c + (strip - first) * strip_floats;
            wide->strip[w->type](&run);
        }
    }
    for (int64_t strip = first; strip < last; strip++)
        store_strip(c + (strip - first) * strip_floats, rows, w->n - strip * STRIP_COLUMNS < STRIP_COLUMNS ? w->n - strip * STRIP_COLUMNS : STRIP_COLUMNS,
                    p->y + (group->first + row) * p->ldy + strip * STRIP_COLUMNS, p->ldy);
}

static void wide_item(const packed_job *job, const tsr_packed *w, const group_plan *plan, const tsr_group *group, int64_t item,
                      uint8_t *scratch) {
    int64_t strips = (tsr_packed_panels(w) + 1) / 2, first = item * plan->unit, last = min64(first + plan->unit, strips);
    const tsr_kernels *kern = job->p->kern;
    if (kern->enter) kern->enter();
    for (int64_t row = 0; row < group->rows; row += WIDE_ROWS)
        wide_rows(job, w, plan, group, first, last, row, min64(WIDE_ROWS, group->rows - row), scratch);
    if (kern->leave) kern->leave();
}

/* --- activations ----------------------------------------------------------------------------------------------------------- */

/* Row tiles of a group: part i of n. */
static void pack_tiles(const packed_job *job, const group_plan *plan, const tsr_group *group, int i, int n) {
    const tsr_packed_product *p = job->p;
    const tsr_wide *wide = p->kern->wide[p->w.type];
    int64_t begin, end;
    tsr_split(group->rows, TILE_ROWS, i, n, &begin, &end);
    for (int64_t row = begin; row < end; row += TILE_ROWS)
        wide->pack_rows(p->x + (group->first + row) * p->ldx, p->ldx, (int)min64(TILE_ROWS, end - row), p->w.k,
                        plan->tiles + wide_tile_bytes(wide, row, p->w.k));
}

/* The only group of a product: all threads together. */
static void convert_together(const packed_job *job, int thread, int n_threads) {
    const tsr_packed_product *p = job->p;
    const group_plan *plan = &job->groups[0];
    const tsr_group *group = &p->groups[0];
    if (plan->path == NARROW_F32 || (plan->path == NARROW && group->rows <= TSR_ACT8_PAIRED)) return; /* nothing to do; done by the caller */
    if (plan->path != WIDE) {
        tsr_act8_quantize(&plan->act, p->kern, p->w.layout, p->x, p->ldx, group->rows, p->w.k, p->pool, thread, n_threads);
        return;
    }
    pack_tiles(job, plan, group, thread, n_threads);
    tsr_pool_barrier(p->pool, thread);
}

/* One of several groups: the calling thread alone. */
static void convert_alone(const packed_job *job, int64_t g) {
    const tsr_packed_product *p = job->p;
    const group_plan *plan = &job->groups[g];
    const tsr_group *group = &p->groups[g];
    if (plan->path == WIDE) pack_tiles(job, plan, group, 0, 1);
    else if (plan->path != NARROW_F32)
        tsr_act8_quantize(&plan->act, p->kern, p->w.layout, p->x + group->first * p->ldx, p->ldx, group->rows, p->w.k, NULL, 0, 1);
}

/* --- the product ----------------------------------------------------------------------------------------------------------- */

static void run_item(const packed_job *job, int64_t g, int64_t item, uint8_t *scratch) {
    const tsr_group *group = &job->p->groups[g];
    const group_plan *plan = &job->groups[g];
    tsr_packed w = job->p->w;
    w.data = (uint8_t *)(uintptr_t)group->data;
    if (plan->path == WIDE) wide_item(job, &w, plan, group, item, scratch);
    else if (plan->path == INTEGER) integer_item(job, &w, plan, group, item, scratch);
    else narrow_item(job, &w, plan, group, item);
}

static void run(void *ctx, int thread, int n_threads) {
    const packed_job *job = ctx;
    const tsr_packed_product *p = job->p;
    uint8_t *scratch = p->scratch + (size_t)thread * p->scratch_bytes;
    int64_t next, shared = 0; /* items of the first phase */
    if (p->n_groups == 1) {
        convert_together(job, thread, n_threads);
    } else {
        shared = p->n_groups;
        while ((next = tsr_pool_next(p->pool, shared)) < shared) convert_alone(job, next);
        tsr_pool_barrier(p->pool, thread);
    }
    int64_t g = 0, end = shared + job->n_items;
    while ((next = tsr_pool_next(p->pool, end)) < end) {
        int64_t item = next - shared;
        while (g + 1 < p->n_groups && item >= job->groups[g + 1].first_item) g++;
        run_item(job, g, item - job->groups[g].first_item, scratch);
    }
}

static path path_of(const tsr_kernels *kern, tsr_type type, int64_t rows) {
    const tsr_choice *choice = &kern->choice[type];
    if (rows > choice->narrow_rows && rows >= choice->wide_rows) return WIDE;
    if (rows > choice->narrow_rows && rows > TSR_ACT8_PAIRED) return INTEGER; /* paired rows are for narrow products alone */
    return kern->packed_narrow[type] ? NARROW : NARROW_F32;
}

const char *tsr_packed_kernel_name(const tsr_kernels *kern, tsr_type type, int64_t rows) {
    switch (path_of(kern, type, rows)) {
    case NARROW: return kern->packed_narrow_name;
    case NARROW_F32: return kern->packed_narrow_f32_name;
    case INTEGER: return kern->packed_gemm_name;
    case WIDE: return kern->wide[type]->name;
    }
    return "-";
}

/* Items of a group, and how much each of them is: large ones read activations less often, small ones keep all threads busy to the end. */
static int64_t cut(const tsr_packed_product *p, group_plan *plan) {
    int64_t panels = tsr_packed_panels(&p->w), strips = (panels + 1) / 2, threads = tsr_pool_size(p->pool);
    bool narrow = plan->path == NARROW || plan->path == NARROW_F32;
    int64_t count = narrow ? panels : strips, most = narrow ? NARROW_PANELS : plan->path == WIDE ? WIDE_STRIPS : 1;
    plan->unit = count * p->n_groups / (threads * ITEMS_PER_THREAD);
    plan->unit = plan->unit < 1 ? 1 : min64(plan->unit, most);
    return (count + plan->unit - 1) / plan->unit;
}

void tsr_packed_multiply(const tsr_packed_product *p) {
    uint8_t *work = p->work;
    packed_job job = {.p = p, .groups = p->work};
    work += ((size_t)p->n_groups * sizeof *job.groups + 63) & ~(size_t)63;
    for (int64_t g = 0; g < p->n_groups; g++) {
        group_plan *plan = &job.groups[g];
        int64_t rows = p->groups[g].rows;
        *plan = (group_plan){.path = path_of(p->kern, p->w.type, rows), .first_item = job.n_items};
        job.n_items += cut(p, plan);
        if (plan->path == WIDE) {
            plan->tiles = work;
            work += wide_tile_bytes(p->kern->wide[p->w.type], rows, p->w.k);
        } else if (plan->path != NARROW_F32) {
            work += tsr_act8_place(&plan->act, work, rows, p->w.k);
        }
    }
    /* few rows: less work than a barrier */
    if (p->n_groups == 1 && job.groups[0].path == NARROW && p->groups[0].rows <= TSR_ACT8_PAIRED) {
        unsigned mode = tsr_float_mode_enter();
        convert_alone(&job, 0);
        tsr_float_mode_restore(mode);
    }
    tsr_pool_run(p->pool, run, &job);
}
