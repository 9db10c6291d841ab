/* bench_peaks.c: samples of what the hardware can do at most, on all threads of the pool. */
#include "engine/bench.h"

#include "core/clock.h"
#include "core/memory.h"

#include <stdio.h>
#include <string.h>

enum { READ_UNIT = 1024, READ_SAMPLE = 16 << 20 }; /* bytes: of reading's lengths, and of a thread's sample */

static const double sample_seconds = 0.003;

/* --- arithmetic ------------------------------------------------------------------------------------------------------------ */

typedef struct peak_job {
    const tsr_peak *peak;
    int64_t steps;
} peak_job;

static void run_peak(void *ctx, int thread, int n_threads) {
    (void)thread, (void)n_threads;
    const peak_job *job = ctx;
    job->peak->run(job->steps);
}

static double time_peak(tsr_pool *pool, const tsr_peak *peak, int64_t steps) {
    peak_job job = {peak, steps};
    double start = tsr_clock_seconds();
    tsr_pool_run(pool, run_peak, &job);
    return tsr_clock_seconds() - start;
}

/* Steps that take a sample's time: doubled until they do, so that clocks and threads are awake by then. */
static int64_t calibrate(tsr_pool *pool, const tsr_peak *peak) {
    int64_t steps = 1024;
    while (time_peak(pool, peak, steps) < sample_seconds && steps < INT64_C(1) << 40) steps *= 2;
    return steps;
}

double tsr_bench_peak_sample(const tsr_bench_peaks *p, tsr_peak_kind kind) {
    const tsr_peak *peak = p->arithmetic[kind];
    if (!peak) return 0.0;
    double seconds = time_peak(p->pool, peak, p->steps[kind]);
    return peak->step_ops * (double)p->steps[kind] * tsr_pool_size(p->pool) / seconds;
}

/* --- reading --------------------------------------------------------------------------------------------------------------- */

static void touch_part(void *ctx, int thread, int n_threads) {
    (void)n_threads;
    const tsr_bench_peaks *p = ctx;
    memset(p->memory + (size_t)thread * p->part, 1, p->part);
}

static void read_part(void *ctx, int thread, int n_threads) {
    (void)n_threads;
    const tsr_bench_peaks *p = ctx;
    size_t left = p->part - p->at;
    p->read(p->memory + (size_t)thread * p->part + p->at, left < READ_SAMPLE ? left : READ_SAMPLE);
}

double tsr_bench_read_sample(tsr_bench_peaks *p) {
    if (!p->memory) return 0.0;
    size_t left = p->part - p->at, bytes = left < READ_SAMPLE ? left : READ_SAMPLE;
    double start = tsr_clock_seconds();
    tsr_pool_run(p->pool, read_part, p);
    double seconds = tsr_clock_seconds() - start;
    p->at = left > 2 * READ_SAMPLE ? p->at + bytes : 0; /* no sample is a short rest */
    return (double)bytes * tsr_pool_size(p->pool) / seconds;
}

/* --- open, close ----------------------------------------------------------------------------------------------------------- */

tsr_code tsr_bench_peaks_open(tsr_bench_peaks *p, tsr_tier tier, tsr_pool *pool, size_t memory, tsr_error *err) {
    *p = (tsr_bench_peaks){.pool = pool, .read = tsr_peak_read(tier)};
    size_t threads = (size_t)tsr_pool_size(pool);
    p->part = memory / threads / READ_UNIT * READ_UNIT;
    p->n = p->part * threads;
    if (p->n) {
        p->memory = tsr_memory_alloc(p->n, err);
        if (!p->memory) return TSR_E_NOMEM;
        tsr_pool_run(pool, touch_part, p);
    }
    for (int kind = 0; kind < TSR_PEAK_KINDS; kind++) {
        p->arithmetic[kind] = tsr_peak_get(tier, (tsr_peak_kind)kind);
        if (p->arithmetic[kind]) p->steps[kind] = calibrate(pool, p->arithmetic[kind]);
    }
    return TSR_OK;
}

void tsr_bench_peaks_close(tsr_bench_peaks *p) {
    tsr_memory_free(p->memory, p->n);
    p->memory = NULL;
}

/* --- the last-level cache -------------------------------------------------------------------------------------------------- */

/* The CPUs that share cpu's third-level cache, as the kernel lists them; false when it does not say. */
static bool sharing_cpus(int cpu, char list[256]) {
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index3/shared_cpu_list", cpu);
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool got = fgets(list, 256, f) != NULL;
    fclose(f);
    return got;
}

size_t tsr_bench_last_level(void) {
    const tsr_cpu *cpu = tsr_cpu_get();
    size_t one = cpu->l3 ? cpu->l3 : cpu->l2 ? cpu->l2 : (size_t)32 << 20;
    tsr_cpuset set;
    tsr_cpuset_read("", &set);
    /* CPUs of one cache lie next to each other in nearly all numberings, so each change of list is taken for another cache */
    char list[256], before[256] = "";
    size_t caches = 0;
    for (int i = 0; i < set.n_physical; i++) {
        if (!sharing_cpus(set.first_cpus[i], list)) continue;
        if (strcmp(list, before) != 0) caches++;
        memcpy(before, list, sizeof before);
    }
    return one * (caches ? caches : 1);
}
