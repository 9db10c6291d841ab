/* bench_report.h: results of tests of whole models as a table for people, CSV or JSON, a test at a time. */
#ifndef CLI_BENCH_REPORT_H
#define CLI_BENCH_REPORT_H

#include "cli/bench_table.h"
#include "tessera.h"

enum { MOST_STEPS = 24 }; /* lines of a profile */

/* What the tests of one opened model share. */
typedef struct model_facts {
    char type[64];         /* "llama 135M Q4_1" */
    const char *file;
    uint64_t size, n_params; /* of all tensors: bytes in the file, elements */
    double load_seconds;
    char tier[16], cpu[64];
} model_facts;

/* How a session is opened. */
typedef struct test_config {
    int n_threads, n_threads_prompt, n_batch, n_ubatch;
    tsr_kv_type kv_k, kv_v;
    const char *kv_k_name, *kv_v_name;
} test_config;

/* One test: n_prompt tokens, then n_gen one by one, behind n_depth that are in the context already; in each of n_parallel sequences, which are
 * generated together. */
typedef struct test_result {
    model_facts model;
    test_config config;
    int n_prompt, n_gen, n_depth, n_parallel;
    char time[24];              /* at which it began, UTC */
    double *samples_ns;         /* [n_samples] */
    double *samples_ts;         /* [n_samples] tokens per second */
    size_t n_samples;
    tsr_cost cost;              /* of a repetition */
    double roof_seconds;        /* that a repetition takes when the peaks are reached; 0: no peaks */
    tsr_bench_peaks_info peaks;
    uint64_t peak_rss;          /* bytes of the process, since the model began to load; 0: unknown */
    uint64_t kv_bytes, work_bytes;
    /* of all repetitions together; with --profile */
    tsr_profile_entry profile[MOST_STEPS];
    size_t n_profile;
    uint64_t n_jobs, n_barriers;
} test_result;

/* "pp512", "tg128 x8", "pp512+tg128 @ d4096" */
const char *test_name(const test_result *t, char *out, size_t cap);

/* That computed it: those for prompts when it only read one. */
int threads_of(const test_result *t);

typedef struct report {
    FILE *f;
    bench_format format;
    bool show_threads_prompt, show_batch, show_ubatch, show_kv_k, show_kv_v; /* columns of the table for people that differ from the defaults, or within the run */
    size_t n_rows;
} report;

/* What they write is in f's buffer. */
void report_row(report *r, const test_result *t);
/* tests [n]: all of the run */
void report_end(report *r, const test_result *tests, size_t n);

#endif
