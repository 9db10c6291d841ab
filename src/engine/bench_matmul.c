/* bench_matmul.c: speed of one product. Samples of the product and of the peaks take turns, so that a change of clock or a busy neighbour
 * meets both. */
#include "engine/bench.h"
#include "engine/model.h"

#include "core/clock.h"
#include "core/ints.h"
#include "core/memory.h"
#include "core/system.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    DEFAULT_SAMPLES = 5,
    MAX_SAMPLES = 1000,
    FEW_ROWS = 16,     /* up to so many rows a product is bound by reading weights: they should come from memory */
    LEVELS_TIMES = 4, /* a set so many times the last-level cache does come from memory */
    STRIP = 2 * TSR_PANEL,
    CHECKED = 16,     /* results compared with the sum in double precision */
};

static const double sample_seconds = 0.02; /* of calls, in a sample */
static const double row_seconds = 4.0;     /* after which no further sample begins */
static const double long_seconds = 0.3;    /* a call this long is not tried with more outputs */

struct tsr_bench {
    tsr_tier tier;
    const tsr_kernels *kern;
    tsr_pool *pool;
    int n_threads;
    char amx_note[TSR_TIER_NOTE];
    double max_memory;
    size_t last_level;
    tsr_bench_peaks peaks;
    tsr_bench_weights weights; /* of the last product */
};

/* --- the handle ------------------------------------------------------------------------------------------------------------ */

static tsr_code open_parts(tsr_bench *b, const tsr_bench_params *p, tsr_error *err) {
    tsr_cpuset set;
    tsr_cpuset_read("", &set);
    tsr_code code = tsr_tier_choose(tsr_tier_this_machine(), p->cpu_tier, p->amx, &b->tier, b->amx_note, err);
    if (code != TSR_OK) return code;
    b->kern = tsr_kernels_get(b->tier);
    b->n_threads = p->n_threads ? p->n_threads : set.n_default;
    b->pool = tsr_pool_open(b->n_threads, true, err);
    if (!b->pool) return err ? err->code : TSR_E_NOMEM;
    b->max_memory = p->max_memory ? (double)p->max_memory : 0.5 * (double)tsr_system_available("");
    b->last_level = tsr_bench_last_level();
    size_t read = LEVELS_TIMES * b->last_level;
    return tsr_bench_peaks_open(&b->peaks, b->tier, b->pool, (double)read > b->max_memory / 2 ? 0 : read, err);
}

tsr_bench *tsr_bench_open(const tsr_bench_params *params, tsr_error *err) {
    static const tsr_bench_params defaults;
    tsr_bench *b = calloc(1, sizeof *b);
    if (!b) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory");
        return NULL;
    }
    if (open_parts(b, params ? params : &defaults, err) == TSR_OK) return b;
    tsr_bench_close(b);
    return NULL;
}

void tsr_bench_close(tsr_bench *b) {
    if (!b) return;
    tsr_bench_weights_free(&b->weights);
    tsr_bench_peaks_close(&b->peaks);
    tsr_pool_close(b->pool);
    free(b);
}

const char *tsr_bench_amx_note(const tsr_bench *b) { return b->amx_note; }

const char *tsr_bench_type(size_t i) {
    for (int t = 0; t < TSR_TYPE_COUNT; t++)
        if (tsr_layout_of((tsr_type)t)->name && i-- == 0) return tsr_type_get((uint32_t)t)->name;
    return NULL;
}

/* --- one product ----------------------------------------------------------------------------------------------------------- */

/* A product ready to run. */
typedef struct product {
    tsr_bench *b;
    const tsr_bench_product *p;
    int64_t m, n_groups;   /* rows of x; matrices of a call */
    int64_t n;             /* outputs computed */
    int64_t ring, next;    /* matrices that calls take in turn; the first of the next call */
    tsr_group *groups;     /* [n_groups] */
    uint8_t *memory;       /* x, y, work, scratch */
    size_t memory_bytes;
    float *x, *y;          /* [m, k], [m, n] */
    void *work;
    uint8_t *scratch;
    size_t scratch_bytes;  /* of a thread */
} product;

static void run_host(const product *r) {
    const tsr_bench_weights *w = &r->b->weights;
    for (int64_t g = 0; g < r->n_groups; g++) {
        const tsr_group *group = &r->groups[g];
        const tsr_matrix matrix = {group->data[0], w->type, r->n, w->k, w->row_bytes};
        tsr_matmul_f32(r->b->kern, r->b->pool, &matrix, r->x + group->first * w->k, w->k, group->rows, r->y + group->first * r->n, r->n, false,
                       (float *)(void *)r->scratch, r->scratch_bytes);
    }
}

static void run_packed(const product *r) {
    const tsr_bench_weights *w = &r->b->weights;
    tsr_packed_product p = {.kern = r->b->kern, .pool = r->b->pool, .x = {.x = r->x, .ldx = w->k, .k = w->k},
                            .out = {{.w = w->packed, .y = r->y, .ldy = r->n}}, .n_out = 1, .groups = r->groups, .n_groups = r->n_groups, .work = r->work, .scratch = r->scratch, .scratch_bytes = r->scratch_bytes};
    p.out[0].w.n = r->n; /* the first panels of the matrix */
    tsr_packed_multiply(&p);
}

/* One call, with the matrices that come next. */
static void call(product *r) {
    const tsr_bench_weights *w = &r->b->weights;
    for (int64_t g = 0; g < r->n_groups; g++) r->groups[g].data[0] = w->data + (size_t)((r->next + g) % r->ring) * w->matrix_bytes;
    if (w->host) run_host(r);
    else run_packed(r);
    r->next = (r->next + r->n_groups) % r->ring;
}

static double time_call(product *r) {
    double start = tsr_clock_seconds();
    call(r);
    return tsr_clock_seconds() - start;
}

/* Seconds of a call: as many as make a sample. */
static double sample(product *r) {
    double start = tsr_clock_seconds(), elapsed;
    int calls = 0;
    do {
        call(r);
        calls++;
        elapsed = tsr_clock_seconds() - start;
    } while (elapsed < sample_seconds);
    return elapsed / calls;
}

/* Runs the product with more and more outputs, which warms everything up, and leaves r->n at as many as a call in reasonable time allows. */
static void choose_outputs(product *r) {
    int64_t all = r->n;
    r->n = tsr_min64(all, STRIP * r->b->n_threads);
    while (time_call(r) < long_seconds && r->n < all) r->n = tsr_min64(all, 4 * r->n);
}

/* --- memory ---------------------------------------------------------------------------------------------------------------- */

static tsr_code too_much(const tsr_bench *b, double bytes, tsr_error *err) {
    return tsr_fail(err, TSR_E_LIMIT, "this product takes %.1f GB of memory, more than the %.1f GB allowed; allow more (--max-memory), or leave it "
                    "out", bytes * 1e-9, b->max_memory * 1e-9);
}

static size_t align64(size_t n) { return (n + 63) & ~(size_t)63; }

/* Sizes fit: arguments have been checked. */
static tsr_code size_memory(product *r, size_t parts[4], tsr_error *err) {
    size_t work = 0;
    if (!r->p->host && !tsr_packed_work_bytes(r->m, r->n_groups, r->p->k, &work)) return too_much(r->b, INFINITY, err);
    r->scratch_bytes = align64(r->p->host ? TSR_MATMUL_SCRATCH_FLOATS * sizeof(float) : tsr_packed_scratch_bytes(r->p->k));
    parts[0] = align64((size_t)r->m * (size_t)r->p->k * sizeof(float));
    parts[1] = align64((size_t)r->m * (size_t)r->p->n * sizeof(float));
    parts[2] = align64(work);
    parts[3] = r->scratch_bytes * (size_t)r->b->n_threads;
    r->memory_bytes = parts[0] + parts[1] + parts[2] + parts[3];
    return TSR_OK;
}

/* The last product's weights if they serve, else new ones: `made` matrices, and for few rows as many copies as make them come from memory. */
static tsr_code ready_weights(product *r, tsr_type type, int64_t made, tsr_error *err) {
    tsr_bench *b = r->b;
    tsr_bench_weights *have = &b->weights, w;
    tsr_code code = tsr_bench_weights_init(&w, type, r->p->n, r->p->k, r->p->host, err);
    if (code != TSR_OK) return code;
    double other = (double)r->memory_bytes + (double)b->peaks.n, least = other + tsr_bench_weights_cost(&w, made, made);
    if (least > b->max_memory) return too_much(b, least, err);
    /* a part of what is left stays free: the next products may have more rows */
    int64_t wanted = made, affordable = made + (int64_t)(0.75 * (b->max_memory - least) / (double)w.matrix_bytes);
    if (r->p->m <= FEW_ROWS) {
        int64_t large = (int64_t)(LEVELS_TIMES * b->last_level / w.matrix_bytes) + 1; /* matrices that make the set large enough */
        wanted = tsr_max64(made, large == 1 ? 1 : large + r->n_groups);
    }
    wanted = tsr_min64(wanted, affordable);
    r->ring = wanted;
    bool same = have->data && have->type == type && have->n == w.n && have->k == w.k && have->host == w.host && have->made == made;
    if (same && have->count >= wanted && other + (double)have->matrix_bytes * (double)have->count <= b->max_memory) return TSR_OK;
    tsr_bench_weights_free(have);
    *have = w;
    return tsr_bench_weights_make(have, made, wanted, b->pool, err);
}

static tsr_code ready_memory(product *r, const size_t parts[4], tsr_error *err) {
    r->groups = calloc((size_t)r->n_groups, sizeof *r->groups);
    if (!r->groups) return tsr_fail(err, TSR_E_NOMEM, "out of memory");
    r->memory = tsr_memory_alloc(r->memory_bytes, err);
    if (!r->memory) return TSR_E_NOMEM;
    r->x = (float *)(void *)r->memory;
    r->y = (float *)(void *)(r->memory + parts[0]);
    r->work = r->memory + parts[0] + parts[1];
    r->scratch = r->memory + parts[0] + parts[1] + parts[2];
    tsr_bench_random_floats(r->x, r->m * r->p->k, r->b->pool);
    for (int64_t g = 0; g < r->n_groups; g++) {
        int64_t end;
        tsr_split(r->m, 1, (int)g, (int)r->n_groups, &r->groups[g].first, &end);
        r->groups[g].rows = end - r->groups[g].first;
    }
    return TSR_OK;
}

/* --- checks ---------------------------------------------------------------------------------------------------------------- */

static tsr_code check_arguments(const tsr_bench_product *p, tsr_type *type, tsr_error *err) {
    char shown[64];
    const char *name = p->type ? p->type : "";
    int found = tsr_type_find(name);
    if (found < 0 || !tsr_layout_of((tsr_type)found)->name)
        return tsr_fail(err, TSR_E_ARG, "cannot measure weights of format '%s'; formats are Q4_0, Q4_K, BF16, ... (tessera bench --list)",
                        tsr_printable(name, strlen(name), shown, sizeof shown));
    *type = (tsr_type)found;
    if (p->n < 1 || p->k < 1 || p->m < 1 || p->n > 1 << 24 || p->k > 1 << 24 || p->m > 1 << 20)
        return tsr_fail(err, TSR_E_ARG, "cannot measure a product of %lld x %lld weights with %lld rows: at least 1, at most %d, %d and %d",
                        (long long)p->n, (long long)p->k, (long long)p->m, 1 << 24, 1 << 24, 1 << 20);
    bool experts = p->n_experts != 0 || p->n_used != 0;
    if (experts && (p->n_experts < 1 || p->n_experts > 4096 || p->n_used < 1 || p->n_used > p->n_experts))
        return tsr_fail(err, TSR_E_ARG, "cannot measure %d experts of which %d are used: 1 to 4096, and 1 to all of them", p->n_experts, p->n_used);
    if (p->n_samples < 0 || p->n_samples > MAX_SAMPLES)
        return tsr_fail(err, TSR_E_ARG, "cannot take %d samples: 1 to %d, or 0 for %d", p->n_samples, MAX_SAMPLES, DEFAULT_SAMPLES);
    return TSR_OK;
}

/* Result (row, column) of the last call in double precision; *size is the root of the sum of squared terms. */
static double exact(const product *r, int64_t row, int64_t column, float *weights, double *size) {
    int64_t g = 0, k = r->p->k;
    while (row >= r->groups[g].first + r->groups[g].rows) g++;
    int64_t matrix = (r->next + r->ring - r->n_groups % r->ring + g) % r->ring;
    tsr_bench_weights_row(&r->b->weights, matrix, column, weights);
    double sum = 0.0, squares = 0.0;
    for (int64_t l = 0; l < k; l++) {
        double term = (double)r->x[row * k + l] * weights[l];
        sum += term;
        squares += term * term;
    }
    *size = sqrt(squares);
    return sum;
}

/* A fast kernel that computes something else is worth nothing: some results must be right, and all of them numbers. */
static tsr_code check_results(const product *r, tsr_error *err) {
    for (int64_t i = 0; i < r->m * r->n; i++)
        if (!isfinite(r->y[i]))
            return tsr_fail(err, TSR_E_UNSUPPORTED, "result %lld of the product is not a number: a bug in a %s kernel of tier %s", (long long)i,
                            r->p->type, tsr_tier_name(r->b->tier));
    float *weights = malloc((size_t)r->p->k * sizeof *weights);
    if (!weights) return tsr_fail(err, TSR_E_NOMEM, "out of memory");
    tsr_code code = TSR_OK;
    for (int64_t i = 0; i < CHECKED && code == TSR_OK; i++) {
        int64_t row = i * (r->m - 1) / (CHECKED - 1), column = (CHECKED - 1 - i) * (r->n - 1) / (CHECKED - 1);
        double size, want = exact(r, row, column, weights, &size), got = (double)r->y[row * r->n + column];
        if (!(fabs(got - want) <= 0.1 * size)) /* far above any rounding of activations */
            code = tsr_fail(err, TSR_E_UNSUPPORTED, "result (%lld, %lld) of the product is %g instead of %g: a bug in a %s kernel of tier %s",
                            (long long)row, (long long)column, got, want, r->p->type, tsr_tier_name(r->b->tier));
    }
    free(weights);
    return code;
}

/* --- measuring ------------------------------------------------------------------------------------------------------------- */

typedef struct samples {
    int n;
    double seconds[MAX_SAMPLES], read[MAX_SAMPLES], peak[TSR_PEAK_KINDS][MAX_SAMPLES];
} samples;

static int wanted_samples(const product *r) { return r->p->n_samples ? r->p->n_samples : DEFAULT_SAMPLES; }

/* Reports progress; TSR_E_CANCELLED when the caller has had enough. */
static tsr_code go_on(const product *r, int done, tsr_error *err) {
    if (!r->p->progress || r->p->progress(r->p->progress_user, (uint64_t)done, (uint64_t)wanted_samples(r))) return TSR_OK;
    return tsr_fail(err, TSR_E_CANCELLED, "cancelled");
}

static tsr_code measure(product *r, samples *s, tsr_error *err) {
    int wanted = wanted_samples(r);
    double start = tsr_clock_seconds();
    for (s->n = 0; s->n < wanted; s->n++) {
        if (s->n > 0 && tsr_clock_seconds() - start > row_seconds) break;
        tsr_code code = go_on(r, s->n, err);
        if (code != TSR_OK) return code;
        for (int kind = 0; kind < TSR_PEAK_KINDS; kind++) s->peak[kind][s->n] = tsr_bench_peak_sample(&r->b->peaks, (tsr_peak_kind)kind);
        s->read[s->n] = tsr_bench_read_sample(&r->b->peaks);
        s->seconds[s->n] = sample(r);
    }
    if (r->p->progress) r->p->progress(r->p->progress_user, (uint64_t)wanted, (uint64_t)wanted);
    return TSR_OK;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts x. */
static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

static const char *level(const tsr_bench *b, double bytes) {
    double l2 = (double)tsr_cpu_get()->l2 * b->n_threads;
    if (bytes > (double)LEVELS_TIMES * (double)b->last_level) return "dram";
    if (bytes > (double)b->last_level) return "mixed";
    return bytes > l2 ? "l3" : "l2";
}

/* Which of the kernels the rows of a group take: the rule of kernels.h. */
static void name_kernel(const product *r, tsr_bench_result *out) {
    const tsr_kernels *kern = r->b->kern;
    tsr_type type = r->b->weights.type;
    int64_t rows = r->groups[0].rows;
    bool narrow = rows <= kern->choice[type].narrow_rows, wide = !narrow && rows >= kern->choice[type].wide_rows;
    out->layout = r->p->host ? "gguf" : r->b->weights.packed.layout->name;
    out->path = r->p->host ? "host" : narrow ? "narrow" : wide ? "wide" : "integer";
    out->kernel = r->p->host ? kern->tile_name : tsr_packed_kernel_name(kern, type, rows);
}

static const char *peak_name(const tsr_bench *b, tsr_peak_kind kind) { return b->peaks.arithmetic[kind] ? b->peaks.arithmetic[kind]->name : ""; }

static void sum_up(const product *r, samples *s, tsr_bench_result *out) {
    tsr_bench *b = r->b;
    const tsr_bench_weights *w = &b->weights;
    double share = (double)r->n / (double)r->p->n; /* of each matrix that a call reads */
    *out = (tsr_bench_result){.n_samples = s->n, .n_computed = r->n, .n_rows = r->m, .n_groups = r->n_groups, .n_threads = b->n_threads};
    out->seconds = median(s->seconds, s->n);
    out->seconds_best = s->seconds[0];
    out->ops = 2.0 * (double)r->m * (double)r->n * (double)r->p->k;
    out->weight_bytes = (double)r->n_groups * (double)w->matrix_bytes * share;
    out->peak_int8 = median(s->peak[TSR_PEAK_INT8], s->n);
    out->peak_half = median(s->peak[TSR_PEAK_HALF], s->n);
    out->peak_f32 = median(s->peak[TSR_PEAK_F32], s->n);
    out->peak_read = median(s->read, s->n);
    out->peak_int8_name = peak_name(b, TSR_PEAK_INT8);
    out->peak_half_name = peak_name(b, TSR_PEAK_HALF);
    out->peak_f32_name = peak_name(b, TSR_PEAK_F32);
    out->gguf_bytes = (uint64_t)w->row_bytes * (uint64_t)w->n * (uint64_t)w->made;
    out->packed_bytes = w->host ? 0 : (uint64_t)w->matrix_bytes * (uint64_t)w->made;
    double source = (double)w->row_bytes * (double)w->n * (double)w->count;
    out->pack_rate = w->host ? 0.0 : source / w->pack_seconds / b->n_threads;
    out->set_bytes = (uint64_t)((double)w->matrix_bytes * (double)r->ring * share);
    out->from = level(b, (double)out->set_bytes);
    out->tier = tsr_tier_name(b->tier);
    name_kernel(r, out);
}

static tsr_code run_product(product *r, tsr_type type, tsr_bench_result *out, tsr_error *err) {
    const tsr_bench_product *p = r->p;
    size_t parts[4] = {0};
    tsr_code code = go_on(r, 0, err);
    if (code == TSR_OK) code = size_memory(r, parts, err);
    if (code == TSR_OK) code = ready_weights(r, type, p->n_experts ? p->n_experts : 1, err);
    if (code == TSR_OK) code = go_on(r, 0, err);
    if (code == TSR_OK) code = ready_memory(r, parts, err);
    samples *s = code == TSR_OK ? malloc(sizeof *s) : NULL;
    if (code == TSR_OK && !s) code = tsr_fail(err, TSR_E_NOMEM, "out of memory");
    if (code == TSR_OK) {
        choose_outputs(r);
        code = measure(r, s, err);
    }
    if (code == TSR_OK) code = check_results(r, err);
    if (code == TSR_OK) sum_up(r, s, out);
    free(s);
    free(r->groups);
    tsr_memory_free(r->memory, r->memory_bytes);
    return code;
}

tsr_code tsr_bench_matmul(tsr_bench *b, const tsr_bench_product *p, tsr_bench_result *out, tsr_error *err) {
    tsr_type type = TSR_F32;
    tsr_code code = check_arguments(p, &type, err);
    if (code != TSR_OK) return code;
    int64_t rows = p->n_experts ? p->m * p->n_used : p->m;
    product r = {.b = b, .p = p, .m = rows, .n = p->n, .n_groups = p->n_experts ? tsr_min64(rows, p->n_experts) : 1};
    return run_product(&r, type, out, err);
}

/* --- peaks alone ----------------------------------------------------------------------------------------------------------- */

tsr_code tsr_bench_get_peaks(tsr_bench *b, int n_samples, tsr_bench_peaks_info *out, tsr_error *err) {
    if (n_samples < 1 || n_samples > MAX_SAMPLES)
        return tsr_fail(err, TSR_E_ARG, "cannot take %d samples: 1 to %d", n_samples, MAX_SAMPLES);
    double read[MAX_SAMPLES];
    *out = (tsr_bench_peaks_info){.int8_name = peak_name(b, TSR_PEAK_INT8), .half_name = peak_name(b, TSR_PEAK_HALF), .f32_name = peak_name(b, TSR_PEAK_F32)};
    for (int i = 0; i < n_samples; i++) {
        out->int8 = fmax(out->int8, tsr_bench_peak_sample(&b->peaks, TSR_PEAK_INT8));
        out->half = fmax(out->half, tsr_bench_peak_sample(&b->peaks, TSR_PEAK_HALF));
        out->f32 = fmax(out->f32, tsr_bench_peak_sample(&b->peaks, TSR_PEAK_F32));
        read[i] = tsr_bench_read_sample(&b->peaks);
    }
    out->read = median(read, n_samples);
    return TSR_OK;
}
