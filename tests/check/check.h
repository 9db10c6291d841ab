/* check.h: the kernel check harness. One entry per kernel both tests and times it: every tier the host has, all tails, guarded
 * operands, several kinds of numbers, against the result in double precision. `check --help` says how to run it.
 *
 * An entry calls check_operand() for its arrays (each ends at an unreadable page, and is surrounded by a pattern that must
 * survive), runs the kernel, and compares with check_near(). */
#ifndef TSR_TESTS_CHECK_H
#define TSR_TESTS_CHECK_H

#include "kernels/kernels.h"

/* What the numbers look like. */
typedef enum check_fill { CHECK_NORMAL, CHECK_TINY, CHECK_HUGE, CHECK_ZERO, CHECK_SPARSE, CHECK_FILLS } check_fill;

typedef struct check {
    const tsr_kernels *kern;  /* the tier under test */
    const char *tier_name;    /* what result lines call it */
    const char *filter;       /* only entries whose name contains this */
    bool bench;
    uint64_t seed, state;     /* of the random numbers */
    double worst;             /* largest error / bound of this entry */
    uint64_t n_compared;
    bool failed;
    char why[256];            /* the first failure */
    void *operands[16];
    size_t n_operands;
} check;

uint64_t check_random(check *c);
double check_uniform(check *c); /* [0, 1) */
int64_t check_between(check *c, int64_t lo, int64_t hi); /* inclusive */

/* n elements of size bytes each, ending right before an unreadable page. Released by check_release. */
void *check_operand(check *c, int64_t n, size_t size);
/* Filled with numbers of a kind. */
float *check_floats(check *c, int64_t n, check_fill fill);
/* A packed matrix [n, k] of random weights whose data is an operand (as are the GGUF rows it was packed from). */
tsr_packed check_matrix(check *c, tsr_type type, int64_t n, int64_t k);
/* Fails the entry when bytes before an operand changed, then releases all operands. */
void check_release(check *c);

/* |got - want| <= bound, or the entry fails with a message that names `what`. NaN never passes unless want is NaN. */
void check_near(check *c, double got, double want, double bound, const char *what, int64_t index);

/* Best of several runs of fn, in seconds per call. */
double check_time(void (*fn)(void *), void *ctx);
/* One result line: name, tier, verdict, worst error, and with --bench a rate: amount per call in `unit` (e.g. 1e9 flop). */
void check_report(check *c, const char *name, double seconds, double amount, const char *unit);

/* The entries, by file. */
void check_f32_kernels(check *c);
void check_rows_kernels(check *c);
void check_dequantize_kernels(check *c);
void check_packed_kernels(check *c);
void check_pack_kernels(check *c);
void check_wide_kernels(check *c);
void check_grouped_kernels(check *c);
void check_attention_kernels(check *c);
void check_amx_emulated(check *c); /* once, not per tier */

/* Tier avxvnni for hosts that lack its instructions but have those of AVX-512 VNNI; NULL where neither is there. */
const tsr_kernels *check_avxvnni_evex(void);

bool check_selected(const check *c, const char *name);

#endif
