/* ints.h: arithmetic on sizes that C has no name for. */
#ifndef TSR_CORE_INTS_H
#define TSR_CORE_INTS_H

#include <stdint.h>

static inline int64_t tsr_min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t tsr_max64(int64_t a, int64_t b) { return a > b ? a : b; }
/* n >= 0, up to the next multiple of unit. */
static inline int64_t tsr_round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

#endif
