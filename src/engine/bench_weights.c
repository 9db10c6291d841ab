/* bench_weights.c: random weights for benchmarks: any codes, scales of the size that real ones have. */
#include "engine/bench.h"

#include "core/clock.h"
#include "core/memory.h"

#include <math.h>
#include <string.h>

enum { PACK_PASSES = 20 };

static const double pack_seconds = 0.05; /* in which small sets are packed several times */

static uint64_t mix(uint64_t *state) { /* splitmix64 (Steele, Lea, Flood 2014) */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void fill_bytes(uint8_t *p, size_t n, uint64_t *state) {
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t v = mix(state);
        memcpy(p, &v, 8);
    }
    for (; n > 0; n--) *p++ = (uint8_t)mix(state);
}

/* --- blocks ---------------------------------------------------------------------------------------------------------------- */

/* Where the f16 scales of a block lie: d, and a second one (m or dmin) that may be of either sign; -1: none. */
typedef struct scale_fields {
    int d, second;
} scale_fields;

static scale_fields fields_of(tsr_type type) {
    int end = tsr_type_get(type)->block_bytes;
    switch (type) {
    case TSR_Q2_K: return (scale_fields){end - 4, end - 2};
    case TSR_Q3_K:
    case TSR_Q6_K: return (scale_fields){end - 2, -1};
    case TSR_Q4_1:
    case TSR_Q5_1:
    case TSR_Q4_K:
    case TSR_Q5_K: return (scale_fields){0, 2};
    case TSR_MXFP4: return (scale_fields){-1, -1};
    default: return (scale_fields){0, -1};
    }
}

/* Finite 16-bit weights of magnitude 2^-8 to 2^-1. */
static uint16_t half_of(tsr_type type, uint16_t random) {
    int exponent = random >> 7 & 7;
    if (type == TSR_BF16) return (uint16_t)((random & 0x807f) | (119 + exponent) << 7);
    return (uint16_t)((random & 0x83ff) | (7 + exponent) << 10);
}

static void fill_halves(tsr_type type, uint8_t *p, size_t n, uint64_t *state) {
    fill_bytes(p, n, state);
    for (size_t i = 0; i + 1 < n; i += 2) {
        uint16_t h;
        memcpy(&h, p + i, 2);
        h = half_of(type, h);
        memcpy(p + i, &h, 2);
    }
}

static void fill_blocks(tsr_type type, uint8_t *p, size_t n, uint64_t *state) {
    uint16_t scales[256];
    for (int i = 0; i < 256; i++) scales[i] = tsr_f32_to_f16((float)(i + 1) / 256.0f * 0.02f);
    scale_fields at = fields_of(type);
    fill_bytes(p, n, state);
    size_t block = (size_t)tsr_type_get(type)->block_bytes;
    for (uint8_t *b = p; b < p + n; b += block) {
        uint64_t v = mix(state);
        uint16_t second = (uint16_t)(scales[v >> 8 & 255] ^ (v >> 1 & 0x8000));
        if (type == TSR_MXFP4) b[0] = (uint8_t)(112 + v % 12); /* 2^(e - 127) */
        if (at.d >= 0) memcpy(b + at.d, &scales[v & 255], 2);
        if (at.second >= 0) memcpy(b + at.second, &second, 2);
    }
}

typedef struct fill_job {
    const tsr_bench_weights *w;
    uint8_t *rows; /* [rows of all matrices][row_bytes] */
    int64_t n_rows;
} fill_job;

static void fill_rows(void *ctx, int thread, int n_threads) {
    const fill_job *job = ctx;
    const tsr_bench_weights *w = job->w;
    int64_t begin, end;
    tsr_split(job->n_rows, 1, thread, n_threads, &begin, &end);
    uint64_t state = (uint64_t)begin;
    for (int64_t row = begin; row < end; row++) {
        uint8_t *p = job->rows + (size_t)row * w->row_bytes;
        if (tsr_type_get(w->type)->block_elems == 1) fill_halves(w->type, p, w->row_bytes, &state);
        else fill_blocks(w->type, p, w->row_bytes, &state);
    }
}

/* --- packing, copies ------------------------------------------------------------------------------------------------------- */

typedef struct pack_job {
    const tsr_bench_weights *w;
    const uint8_t *rows;
} pack_job;

static tsr_packed matrix(const tsr_bench_weights *w, int64_t i) {
    tsr_packed p = w->packed;
    p.data = w->data + (size_t)i * w->matrix_bytes;
    return p;
}

static void touch(void *ctx, int thread, int n_threads) {
    const tsr_bench_weights *w = ctx;
    int64_t begin, end;
    tsr_split((int64_t)w->matrix_bytes * w->count, 2 << 20, thread, n_threads, &begin, &end);
    memset(w->data + begin, 0, (size_t)(end - begin));
}

static void pack_all(void *ctx, int thread, int n_threads) {
    const pack_job *job = ctx;
    const tsr_bench_weights *w = job->w;
    int64_t panels = tsr_packed_panels(&w->packed), begin, end;
    tsr_split(w->count * panels, 1, thread, n_threads, &begin, &end);
    while (begin < end) {
        int64_t i = begin / panels, first = begin % panels, last = end - i * panels < panels ? end - i * panels : panels;
        tsr_packed p = matrix(w, i);
        tsr_pack(&p, job->rows + (size_t)(i % w->made * w->n) * w->row_bytes, w->row_bytes, first, last);
        begin += last - first;
    }
}

/* GGUF rows: copies of the first matrices behind them. */
static void copy_rest(void *ctx, int thread, int n_threads) {
    const tsr_bench_weights *w = ctx;
    int64_t begin, end;
    tsr_split(w->count - w->made, 1, thread, n_threads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        memcpy(w->data + (size_t)(w->made + i) * w->matrix_bytes, w->data + (size_t)(i % w->made) * w->matrix_bytes, w->matrix_bytes);
}

/* --- the set --------------------------------------------------------------------------------------------------------------- */

tsr_code tsr_bench_weights_init(tsr_bench_weights *w, tsr_type type, int64_t n, int64_t k, bool host, tsr_error *err) {
    *w = (tsr_bench_weights){.type = type, .n = n, .k = k, .host = host, .row_bytes = tsr_type_row_bytes(type, k)};
    if (!w->row_bytes)
        return tsr_fail(err, TSR_E_ARG, "rows of %lld weights are no multiple of the %d of a %s block", (long long)k,
                        tsr_type_get(type)->block_elems, tsr_type_get(type)->name);
    if (!tsr_packed_init(&w->packed, type, n, k))
        return tsr_fail(err, TSR_E_LIMIT, "a %s matrix of %lld x %lld is too large", tsr_type_get(type)->name, (long long)n, (long long)k);
    w->matrix_bytes = host ? (w->row_bytes * (size_t)n + 63) & ~(size_t)63 : tsr_packed_bytes(&w->packed);
    return TSR_OK;
}

static size_t rows_bytes(const tsr_bench_weights *w, int64_t matrices) { return w->row_bytes * (size_t)w->n * (size_t)matrices; }

double tsr_bench_weights_cost(const tsr_bench_weights *w, int64_t made, int64_t count) {
    return (double)w->matrix_bytes * (double)count + (w->host ? 0.0 : (double)w->row_bytes * (double)w->n * (double)made);
}

static void make_packed(tsr_bench_weights *w, uint8_t *rows, tsr_pool *pool) {
    fill_job fill = {w, rows, w->n * w->made};
    pack_job pack = {w, rows};
    tsr_pool_run(pool, fill_rows, &fill);
    tsr_pool_run(pool, touch, w); /* so that packing is timed, not the kernel's clearing of pages */
    double total = 0.0;
    w->pack_seconds = INFINITY;
    for (int pass = 0; pass == 0 || (pass < PACK_PASSES && total < pack_seconds); pass++) {
        double start = tsr_clock_seconds(), seconds;
        tsr_pool_run(pool, pack_all, &pack);
        seconds = tsr_clock_seconds() - start;
        total += seconds;
        if (seconds < w->pack_seconds) w->pack_seconds = seconds;
    }
}

/* GGUF rows in place; matrices are whole lines apart, so each is filled by itself. */
static void make_host(tsr_bench_weights *w, tsr_pool *pool) {
    for (int64_t i = 0; i < w->made; i++) {
        fill_job fill = {w, w->data + (size_t)i * w->matrix_bytes, w->n};
        tsr_pool_run(pool, fill_rows, &fill);
    }
    tsr_pool_run(pool, copy_rest, w);
}

tsr_code tsr_bench_weights_make(tsr_bench_weights *w, int64_t made, int64_t count, tsr_pool *pool, tsr_error *err) {
    w->made = made;
    w->count = count;
    w->data = tsr_memory_alloc(w->matrix_bytes * (size_t)count, err);
    if (!w->data) return TSR_E_NOMEM;
    if (w->host) {
        make_host(w, pool);
    } else {
        uint8_t *rows = tsr_memory_alloc(rows_bytes(w, made), err);
        if (!rows) {
            tsr_bench_weights_free(w);
            return TSR_E_NOMEM;
        }
        make_packed(w, rows, pool);
        tsr_memory_free(rows, rows_bytes(w, made));
    }
    return TSR_OK;
}

void tsr_bench_weights_free(tsr_bench_weights *w) {
    tsr_memory_free(w->data, w->matrix_bytes * (size_t)w->count);
    w->data = NULL;
}

void tsr_bench_weights_row(const tsr_bench_weights *w, int64_t i, int64_t row, float *out) {
    tsr_packed p = matrix(w, i);
    if (w->host) tsr_dequantizer(w->type)(p.data + (size_t)row * w->row_bytes, out, w->k);
    else tsr_packed_row(&p, row, out);
}

/* --- activations ----------------------------------------------------------------------------------------------------------- */

typedef struct float_job {
    float *x;
    int64_t n;
} float_job;

static void fill_floats(void *ctx, int thread, int n_threads) {
    const float_job *job = ctx;
    int64_t begin, end;
    tsr_split(job->n, 16, thread, n_threads, &begin, &end);
    uint64_t state = (uint64_t)begin + 1;
    for (int64_t i = begin; i < end; i++) {
        uint64_t v = mix(&state); /* the sum of four uniform numbers: nearly normal */
        job->x[i] = (float)((int)(v & 0xffff) + (int)(v >> 16 & 0xffff) + (int)(v >> 32 & 0xffff) + (int)(v >> 48) - 2 * 0xffff) / 37837.0f;
    }
}

void tsr_bench_random_floats(float *x, int64_t n, tsr_pool *pool) {
    float_job job = {x, n};
    tsr_pool_run(pool, fill_floats, &job);
}
