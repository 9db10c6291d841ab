/* bench_test.h: one test of a whole model. */
#ifndef CLI_BENCH_TEST_H
#define CLI_BENCH_TEST_H

#include "cli/bench.h"
#include "cli/bench_report.h"
#include "cli/term.h"

/* Tokens of sequence i at positions 0, 1, ... are bed.tokens + SEQUENCE_STEP * i: all differ at every step. */
enum { SEQUENCE_STEP = 64 };

/* What a test runs on. */
typedef struct test_bed {
    const bench_settings *s;
    tsr_session *const *sessions; /* as many as the test has sequences, each with room for all of its tokens */
    const tsr_token *tokens;
    uint64_t load_rss;            /* peak_rss() when the model had been loaded */
    progress *bar;
    size_t n_done, n_total;       /* tests, for the progress line */
} test_bed;

/* Fills in what was measured; what is asked for is in *t already, and memory for the samples. TSR_E_CANCELLED after Ctrl-C: samples taken until then
 * are there. */
tsr_code test_measure(const test_bed *bed, test_result *t, tsr_error *err);

/* The most memory this process has had resident since forget_peak_rss(), as the kernel counts it (proc(5)); 0 when it does not say. Where forgetting
 * is not allowed, since it began. */
uint64_t peak_rss(void);
void forget_peak_rss(void);

#endif
