/* quantize_tensor.c: conversion of one tensor, on plain threads. Not the pool of core/threads.h: its threads flush
 * denormals, and the quantisers are exact for those too. */
#include "engine/quantize.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    UNIT = 1 << 16, /* weights of a unit of work: a multiple of every block, so that rows need not be looked at */
    MAX_THREADS = 256,
};

typedef struct job {
    const tsr_gguf_tensor *t;
    tsr_type to;
    tsr_dequantize_fn dequantize;
    tsr_quantize_fn quantize;
    float limit; /* largest magnitude that `to` takes */
    uint8_t *out;
    uint64_t n_units;
    atomic_uint_fast64_t next, done; /* units */
    atomic_bool stop;
    pthread_mutex_t lock; /* of what follows */
    tsr_code code;
    uint64_t bad; /* index of the first weight that is refused; UINT64_MAX: none */
    float bad_value;
} job;

/* 16-bit scales cannot be relied on beyond the largest binary16; the same limit for all formats that have them. */
static float largest_weight(tsr_type type) {
    switch (type) {
    case TSR_F32:
    case TSR_MXFP4: return FLT_MAX;
    case TSR_BF16: return 0x1.fep127f;
    default: return 65504;
    }
}

static size_t blocks_bytes(tsr_type type, uint64_t n) {
    const tsr_type_info *info = tsr_type_get(type);
    return (size_t)(n / (uint64_t)info->block_elems) * (size_t)info->block_bytes;
}

static void refuse_weight(job *j, uint64_t index, float value) {
    pthread_mutex_lock(&j->lock);
    if (index < j->bad) {
        j->bad = index;
        j->bad_value = value;
    }
    pthread_mutex_unlock(&j->lock);
    atomic_store(&j->stop, true);
}

/* Units are handed out in order, so whoever finds a bad weight has all earlier units begun: the first one is found. */
static void convert_unit(job *j, uint64_t unit, float *x) {
    uint64_t first = unit * UNIT, n = j->t->n_elems - first < UNIT ? j->t->n_elems - first : UNIT;
    j->dequantize((const uint8_t *)j->t->data + blocks_bytes(j->t->type, first), x, (int64_t)n);
    for (uint64_t i = 0; i < n; i++) {
        if (fabsf(x[i]) <= j->limit) continue; /* false for NaN */
        refuse_weight(j, first + i, x[i]);
        return;
    }
    j->quantize(x, j->out + blocks_bytes(j->to, first), (int64_t)n, NULL);
    atomic_fetch_add(&j->done, 1);
}

static uint64_t bytes_done(job *j) {
    uint64_t units = atomic_load(&j->done);
    return units < j->n_units ? blocks_bytes(j->t->type, units * UNIT) : j->t->n_bytes;
}

static void work(job *j, tsr_tick_fn tick, void *user) {
    float *x = malloc(UNIT * sizeof *x);
    tsr_code code = x ? TSR_OK : TSR_E_NOMEM;
    while (code == TSR_OK && !atomic_load(&j->stop)) {
        uint64_t unit = atomic_fetch_add(&j->next, 1);
        if (unit >= j->n_units) break;
        convert_unit(j, unit, x);
        if (tick && !tick(user, bytes_done(j))) code = TSR_E_CANCELLED;
    }
    free(x);
    if (code == TSR_OK) return;
    atomic_store(&j->stop, true);
    pthread_mutex_lock(&j->lock);
    if (j->code == TSR_OK) j->code = code;
    pthread_mutex_unlock(&j->lock);
}

static void *worker(void *arg) {
    work(arg, NULL, NULL);
    return NULL;
}

/* The caller works too; threads that cannot be had are done without. */
static void run(job *j, int n_threads, tsr_tick_fn tick, void *user) {
    pthread_t threads[MAX_THREADS];
    int n = 0;
    uint64_t useful = j->n_units < (uint64_t)n_threads ? j->n_units : (uint64_t)n_threads;
    while (n < MAX_THREADS && (uint64_t)n + 1 < useful && pthread_create(&threads[n], NULL, worker, j) == 0) n++;
    work(j, tick, user);
    for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
}

static tsr_code fail_weight(const job *j, const char *shown, tsr_error *err) {
    const char *to = tsr_type_get(j->to)->name;
    unsigned long long row = j->bad / (uint64_t)j->t->ne[0], column = j->bad % (uint64_t)j->t->ne[0];
    if (!isfinite(j->bad_value))
        return tsr_fail(err, TSR_E_FORMAT,
                        "tensor '%s' (%s): weight %llu (row %llu, column %llu) is %s, not a number that can be "
                        "quantised; the source model is damaged: convert or download it again",
                        shown, tsr_type_get(j->t->type)->name, (unsigned long long)j->bad, row, column,
                        isnan(j->bad_value) ? "NaN"
                        : j->bad_value < 0  ? "-infinity"
                                            : "infinity");
    return tsr_fail(err, TSR_E_LIMIT,
                    "tensor '%s': weight %llu (row %llu, column %llu) is %g, beyond the %g that %s is good for; choose "
                    "BF16 or F32",
                    shown, (unsigned long long)j->bad, row, column, (double)j->bad_value, (double)j->limit, to);
}

tsr_code tsr_convert_tensor(const tsr_gguf_tensor *t, tsr_type to, void *out, int n_threads, tsr_tick_fn tick,
                            void *user, tsr_error *err) {
    char shown[160];
    tsr_printable(t->name, strlen(t->name), shown, sizeof shown);
    job j = {.t = t,
             .to = to,
             .dequantize = tsr_dequantizer(t->type),
             .quantize = tsr_quantizer(to),
             .limit = largest_weight(to),
             .out = out,
             .n_units = (t->n_elems + UNIT - 1) / UNIT,
             .bad = UINT64_MAX};
    pthread_mutex_init(&j.lock, NULL);
    run(&j, n_threads, tick, user);
    pthread_mutex_destroy(&j.lock);
    if (j.bad != UINT64_MAX) return fail_weight(&j, shown, err);
    if (j.code == TSR_E_NOMEM) return tsr_fail(err, TSR_E_NOMEM, "tensor '%s': out of memory while converting", shown);
    if (j.code == TSR_E_CANCELLED) return tsr_fail(err, TSR_E_CANCELLED, "quantising was cancelled");
    return TSR_OK;
}
