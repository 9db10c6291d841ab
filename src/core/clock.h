/* clock.h: the monotonic clock. */
#ifndef TSR_CORE_CLOCK_H
#define TSR_CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t tsr_clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline double tsr_clock_seconds(void) { return (double)tsr_clock_ns() * 1e-9; }

#endif
