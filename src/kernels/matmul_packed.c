/* matmul_packed.c: products with packed weights: which kernel, who computes what.
 *
 * A product has groups of rows (one, or one for each expert in use), and a group has a part for each output, or with a gate one for both.
 * By its number of rows a part takes a path (kern->choice; matmul_parts.c). First all activations are converted, each row once for every
 * form that is wanted, then, after a barrier, items of all parts are handed out.
 *
 * Narrow and integer products read weights from memory, all of them or one expert's after another's: every thread goes through a range of panels
 * of its own, so that what is prefetched at the end of one is what the thread needs next, and takes from the ends of the others' ranges when it is
 * through. Items of wide float products come from one counter, the largest first.
 *
 * On several NUMA nodes: where each has a copy of the weights, a thread reads that of its own. Where weights are split,
 * a part becomes one for each node, all products have ranges, each of parts of the thread's node, and a thread takes
 * from its neighbours before it goes to another node: a node whose threads are late, or fewer than its share of the
 * rows, is helped. */
#include "core/ints.h"
#include "kernels/matmul_plan.h"

#include <stdatomic.h>

enum {
    NARROW_BYTES = 8192,  /* of weights: a narrow item has at least so many */
    ALONE = 1024,         /* activations to convert that are less work than a barrier: the caller's */
    ITEMS_PER_THREAD = 4, /* at least, if there is that much to hand out */
    READING_ROWS = 3,     /* what reading and unpacking a weight takes, in rows multiplied with it (doc/packed.md) */
};

typedef struct packed_job {
    const tsr_packed_product *p;
    tsr_part *parts;       /* [n_parts] */
    tsr_converted *inputs; /* [n_inputs] */
    int64_t n_parts, n_inputs, n_items;
    int n_nodes;           /* that weights are split over, or 1 */
    bool together;         /* all threads convert each input */
    bool converted;        /* before the job */
    bool ranges;           /* every thread has a range of items */
} packed_job;

/* Items that a thread has not yet begun, first + (end << 32): in a line of its own at the end of the thread's scratch. */
typedef struct range {
    _Alignas(64) _Atomic uint64_t span;
} range;

/* --- memory ---------------------------------------------------------------------------------------------------------------- */

static size_t whole_lines(size_t n) { return (n + 63) & ~(size_t)63; }

static size_t range_offset(int64_t k) {
    size_t parts = tsr_part_scratch(k), convert = tsr_convert_scratch(k);
    return whole_lines(parts > convert ? parts : convert);
}

size_t tsr_packed_scratch_bytes(int64_t k) { return range_offset(k) + sizeof(range); }

static range *range_of(const packed_job *job, int thread) {
    return (range *)(void *)(job->p->scratch + (size_t)thread * job->p->scratch_bytes + range_offset(job->p->x.k));
}

bool tsr_packed_work_bytes(int64_t m, int64_t n_groups, int64_t k, size_t *out) {
    size_t act, act_group;
    if (n_groups > INT64_MAX / 4096 || m > INT64_MAX / 512 - n_groups * 32) return false;
    if (k > INT64_MAX / 256 / (m + 32 * n_groups + 32)) return false;
    if (!tsr_act8_bytes(m, k, &act) || !tsr_act8_bytes(TSR_ACT8_GROUP, k, &act_group)) return false;
    /* each group rounds its rows up to whole lanes, or tiles of at most 4-byte elements, behind which there is less than another tile;
     * and it may have TSR_NARROW_F32_MAX rows copied */
    size_t groups = (size_t)n_groups, plans = groups * (TSR_MAX_OUTPUTS * sizeof(tsr_part) + sizeof(tsr_converted)) + 3 * 64;
    size_t row = (size_t)(k + TSR_BLOCK_K) * sizeof(float);
    *out = plans + act + groups * act_group + ((size_t)m + groups * (2 * TSR_TILE_ROWS + TSR_NARROW_F32_MAX)) * row + groups * 2 * 64;
    return true;
}

size_t tsr_packed_split_work_bytes(int64_t n_groups, int n_nodes) {
    return (size_t)n_groups * (size_t)(n_nodes - 1) * TSR_MAX_OUTPUTS * sizeof(tsr_part);
}

/* --- the plan -------------------------------------------------------------------------------------------------------------- */

static tsr_path path_of(const tsr_kernels *kern, tsr_type type, int64_t rows) {
    const tsr_choice *choice = &kern->choice[type];
    if (rows > choice->narrow_rows && rows >= choice->wide_rows) return TSR_PATH_WIDE;
    if (rows > choice->narrow_rows && rows > TSR_ACT8_PAIRED) return TSR_PATH_INTEGER; /* paired rows are for narrow products alone */
    return kern->packed_narrow[type] ? TSR_PATH_NARROW : TSR_PATH_NARROW_F32;
}

const char *tsr_packed_kernel_name(const tsr_kernels *kern, tsr_type type, int64_t rows) {
    switch (path_of(kern, type, rows)) {
    case TSR_PATH_NARROW: return kern->packed_narrow_name;
    case TSR_PATH_NARROW_F32: return kern->packed_narrow_f32_name;
    case TSR_PATH_INTEGER: return kern->packed_gemm_name;
    case TSR_PATH_WIDE: return kern->wide[type]->name;
    }
    return "-";
}

bool tsr_packed_fuses(const tsr_kernels *kern, tsr_type a, tsr_type b) {
    const tsr_layout *la = tsr_layout_of(a), *lb = tsr_layout_of(b);
    return la->name && lb->name && (la->code_bits == 16) == (lb->code_bits == 16) && kern->wide[a] == kern->wide[b];
}

/* Adds the form that the part reads to those of its input; narrow and integer: part->act is its index, for now. */
static void want_form(const tsr_packed_product *p, tsr_part *part, tsr_converted *in) {
    if (part->path == TSR_PATH_WIDE) {
        in->wide = p->kern->wide[part->w[0].type];
    } else if (part->path != TSR_PATH_NARROW_F32) {
        int i = 0;
        while (i < in->n_act && !tsr_act8_same_sums(in->layouts[i], part->w[0].layout)) i++;
        if (i == in->n_act) in->layouts[in->n_act++] = part->w[0].layout;
        part->act = &in->act[i];
    }
}

/* Memory for all forms of an input. Returns what comes after them. */
static uint8_t *place_forms(tsr_converted *in, bool alone, bool copy, uint8_t *work) {
    int64_t k = in->x.k;
    if (in->n_act > 0) work += tsr_act8_place(in->act, in->n_act, work, in->rows, k, alone);
    if (in->wide) {
        in->tiles = work;
        work += whole_lines(tsr_tile_bytes(in->wide, in->rows, k));
    }
    if (copy) {
        in->copy = (float *)(void *)work;
        work += whole_lines((size_t)(in->rows * k) * sizeof(float));
    }
    return work;
}

/* May a group read what was converted for the one before? Experts of a single token do. */
static bool same_row(const tsr_packed_product *p, int64_t g) {
    const int32_t *index = p->x.index;
    const tsr_group *group = &p->groups[g];
    return g > 0 && index && group->rows == 1 && group[-1].rows == 1 && index[group->first] == index[group[-1].first];
}

/* The parts of group g. Returns what of the work memory comes after its input. */
static uint8_t *plan_group(packed_job *job, int64_t g, uint8_t *work) {
    const tsr_packed_product *p = job->p;
    const tsr_group *group = &p->groups[g];
    bool shared = same_row(p, g), copy = false;
    tsr_converted *in = &job->inputs[shared ? job->n_inputs - 1 : job->n_inputs++];
    if (!shared) *in = (tsr_converted){.x = tsr_rows_from(&p->x, group->first), .rows = group->rows};
    for (int o = 0; o < (p->gate ? 1 : p->n_out); o++) {
        tsr_part *part = &job->parts[job->n_parts++];
        *part = (tsr_part){.in = in, .n_w = p->gate ? 2 : 1, .out = &p->out[o], .first = group->first};
        for (int i = 0; i < part->n_w; i++) {
            part->w[i] = p->out[o + i].w;
            part->w[i].data = (uint8_t *)(uintptr_t)group->data[o + i];
        }
        part->path = path_of(p->kern, part->w[0].type, p->rows_alone ? 1 : group->rows);
        copy |= part->path == TSR_PATH_NARROW_F32 && (p->x.index || p->x.norm);
        want_form(p, part, in);
    }
    return shared ? work : place_forms(in, p->rows_alone, copy, work);
}

/* A part becomes one for each node; node by node, as sort_parts wants them. */
static void split_parts(packed_job *job) {
    int64_t n = job->n_parts;
    for (; job->n_parts < n * job->n_nodes; job->n_parts++) {
        job->parts[job->n_parts] = job->parts[job->n_parts - n];
        job->parts[job->n_parts].node++;
    }
}

/* --- items ----------------------------------------------------------------------------------------------------------------- */

static bool is_narrow(const tsr_part *part) { return part->path == TSR_PATH_NARROW || part->path == TSR_PATH_NARROW_F32; }

/* What a panel (narrow) or strip of a part takes, roughly, in weights multiplied with a row. */
static int64_t unit_cost(const tsr_part *part) {
    return part->n_w * (is_narrow(part) ? TSR_PANEL : TSR_STRIP_COLUMNS) * part->w[0].k * (part->in->rows + READING_ROWS);
}

/* Does part x come before y? Node by node, the largest items first. */
static bool goes_before(const tsr_part *x, const tsr_part *y) {
    if (x->node != y->node) return x->node < y->node;
    int64_t cost_x = x->unit * unit_cost(x), cost_y = y->unit * unit_cost(y);
    if (cost_x != cost_y) return cost_x > cost_y;
    return x->first != y->first ? x->first < y->first : x->out < y->out;
}

/* By insertion: there are few parts, and qsort would allocate. */
static void sort_parts(tsr_part *parts, int64_t n) {
    for (int64_t i = 1; i < n; i++) {
        tsr_part part = parts[i];
        int64_t at = i;
        for (; at > 0 && goes_before(&part, &parts[at - 1]); at--) parts[at] = parts[at - 1];
        parts[at] = part;
    }
}

/* The strips or panels of a part: all of the matrix, or those on its node. */
static void find_extent(const packed_job *job, tsr_part *part) {
    int64_t panels = tsr_packed_panels(&part->w[0]), begin = 0, end = (panels + 1) / 2;
    if (job->n_nodes > 1) tsr_packed_share(&part->w[0], tsr_pool_nodes(job->p->pool), part->node, &begin, &end);
    part->begin = is_narrow(part) ? tsr_min64(2 * begin, panels) : begin;
    part->count = (is_narrow(part) ? tsr_min64(2 * end, panels) : end) - part->begin;
}

/* Cuts all parts into items of about the same cost: large ones read activations less often, small ones keep all threads busy to the end. */
static void cut(packed_job *job) {
    int64_t total = 0;
    for (int64_t i = 0; i < job->n_parts; i++) {
        tsr_part *part = &job->parts[i];
        find_extent(job, part);
        total += part->count * unit_cost(part);
    }
    int64_t share = total / (tsr_pool_size(job->p->pool) * ITEMS_PER_THREAD);
    job->ranges = true;
    for (int64_t i = 0; i < job->n_parts; i++) {
        tsr_part *part = &job->parts[i];
        int64_t most = part->path == TSR_PATH_WIDE ? TSR_WIDE_STRIPS / part->n_w : 1;
        if (is_narrow(part)) most = NARROW_BYTES / ((int64_t)part->w[0].panel_bytes * part->n_w) + 1;
        if (part->path == TSR_PATH_WIDE) job->ranges = job->n_nodes > 1;
        part->unit = tsr_min64(share / unit_cost(part), most);
        if (part->unit < 1) part->unit = 1;
    }
    sort_parts(job->parts, job->n_parts);
    for (int64_t i = 0; i < job->n_parts; i++) {
        job->parts[i].first_item = job->n_items;
        job->n_items += (job->parts[i].count + job->parts[i].unit - 1) / job->parts[i].unit;
    }
}

/* --- the product ----------------------------------------------------------------------------------------------------------- */

/* Returns how many of the numbers that tsr_pool_next hands out were for converting. */
static int64_t convert(const packed_job *job, uint8_t *scratch, int thread, int n_threads) {
    const tsr_packed_product *p = job->p;
    int64_t next;
    if (job->converted) return 0;
    if (job->together) {
        tsr_convert(p, job->inputs, scratch, p->pool, thread, n_threads);
        return 0;
    }
    while ((next = tsr_pool_next(p->pool, job->n_inputs)) < job->n_inputs) tsr_convert(p, &job->inputs[next], scratch, NULL, 0, 1);
    tsr_pool_barrier(p->pool, thread);
    return job->n_inputs;
}

static void open_range(const packed_job *job, int thread, int64_t first, int64_t end) {
    atomic_init(&range_of(job, thread)->span, (uint64_t)first | (uint64_t)end << 32);
}

/* Every thread a share of its node's items; those of a node without threads go to the next node that has some, or
 * the last. */
static void open_node_ranges(const packed_job *job) {
    const tsr_pool *pool = job->p->pool;
    int n = tsr_pool_size(pool), threads[TSR_MAX_NODES] = {0}, last = 0;
    for (int t = 0; t < n; t++) threads[tsr_pool_node(pool, t)]++;
    for (int k = 0; k < job->n_nodes; k++)
        if (threads[k]) last = k;
    int64_t begin = 0, i = 0;
    for (int k = 0; k <= last; k++) {
        while (i < job->n_parts && (job->parts[i].node <= k || k == last)) i++;
        int64_t end = i < job->n_parts ? job->parts[i].first_item : job->n_items;
        for (int t = 0, rank = 0; threads[k] && t < n; t++) {
            if (tsr_pool_node(pool, t) != k) continue;
            int64_t first, past;
            tsr_split(end - begin, 1, rank++, threads[k], &first, &past);
            open_range(job, t, begin + first, begin + past);
        }
        if (threads[k]) begin = end;
    }
}

static void open_ranges(const packed_job *job) {
    int n = tsr_pool_size(job->p->pool);
    if (job->n_nodes > 1) {
        open_node_ranges(job);
        return;
    }
    for (int t = 0; t < n; t++) {
        int64_t first, end;
        tsr_split(job->n_items, 1, t, n, &first, &end);
        open_range(job, t, first, end);
    }
}

/* The first item of a range, or the last, or -1 when there is none left. */
static int64_t take_from(range *r, bool last) {
    uint64_t span = atomic_load_explicit(&r->span, memory_order_relaxed), rest;
    uint32_t first, end;
    do {
        first = (uint32_t)span;
        end = (uint32_t)(span >> 32);
        if (first >= end) return -1;
        rest = last ? (uint64_t)first | (uint64_t)(end - 1) << 32 : (uint64_t)(first + 1) | (uint64_t)end << 32;
    } while (!atomic_compare_exchange_weak_explicit(&r->span, &span, rest, memory_order_relaxed, memory_order_relaxed));
    return last ? end - 1 : first;
}

/* The next item of the thread's own range, or else the last of another one, or -1 when there is none left. */
static int64_t take_item(const packed_job *job, int thread, int n_threads) {
    int64_t item = take_from(range_of(job, thread), false);
    for (int far = 0; item < 0 && far < (job->n_nodes > 1 ? 2 : 1); far++)
        for (int i = 1; item < 0 && i < n_threads; i++) {
            int other = (thread + i) % n_threads;
            bool is_far = job->n_nodes > 1 && tsr_pool_node(job->p->pool, other) != tsr_pool_node(job->p->pool, thread);
            if (is_far == far) item = take_from(range_of(job, other), true);
        }
    return item;
}

/* The next item from the counter, which has handed out `before` numbers for something else, or -1. */
static int64_t next_item(const packed_job *job, int64_t before) {
    int64_t end = before + job->n_items, next = tsr_pool_next(job->p->pool, end);
    return next < end ? next - before : -1;
}

/* The part as a thread reads it: with its node's copy of the weights. */
static tsr_part copy_of(const tsr_part *part, int node) {
    tsr_part mine = *part;
    for (int i = 0; i < mine.n_w; i++) mine.w[i].data += (size_t)node * mine.w[i].copy_stride;
    return mine;
}

static void run(void *ctx, int thread, int n_threads) {
    const packed_job *job = ctx;
    uint8_t *scratch = job->p->scratch + (size_t)thread * job->p->scratch_bytes;
    int node = job->p->out[0].w.copy_stride ? tsr_pool_node(job->p->pool, thread) : 0;
    int64_t before = convert(job, scratch, thread, n_threads), item, i = 0, copied = -1;
    tsr_part mine;
    while ((item = job->ranges ? take_item(job, thread, n_threads) : next_item(job, before)) >= 0) {
        if (item < job->parts[i].first_item) i = 0;
        while (i + 1 < job->n_parts && item >= job->parts[i + 1].first_item) i++;
        if (node && copied != i) mine = copy_of(&job->parts[copied = i], node);
        tsr_part_item(job->p, node ? &mine : &job->parts[i], item - job->parts[i].first_item, scratch);
    }
}

/* How many nodes the weights are split over: all of them, as they lie in one buffer. */
static int split_nodes(const tsr_packed_product *p) {
    const tsr_nodes *nodes = p->out[0].w.split ? tsr_pool_nodes(p->pool) : NULL;
    return nodes ? nodes->n : 1;
}

void tsr_packed_multiply(const tsr_packed_product *p) {
    uint8_t *work = p->work;
    packed_job job = {.p = p, .parts = p->work, .n_nodes = split_nodes(p)};
    work += whole_lines((size_t)(p->n_groups * p->n_out * job.n_nodes) * sizeof *job.parts);
    job.inputs = (tsr_converted *)(void *)work;
    work += whole_lines((size_t)p->n_groups * sizeof *job.inputs);
    for (int64_t g = 0; g < p->n_groups; g++) work = plan_group(&job, g, work);
    split_parts(&job);
    cut(&job);
    if (job.ranges) open_ranges(&job);
    job.together = job.n_inputs == 1;
    job.converted = job.together && !tsr_needs_converting(job.inputs);
    if (job.together && !job.converted && job.inputs->rows * p->x.k <= ALONE) {
        unsigned mode = tsr_float_mode_enter();
        tsr_convert(p, job.inputs, p->scratch, NULL, 0, 1);
        tsr_float_mode_restore(mode);
        job.converted = true;
    }
    tsr_pool_run(p->pool, run, &job);
}
