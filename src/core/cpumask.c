#include "core/cpumask.h"

#include <sched.h>
#include <stdlib.h>

int tsr_cpumask_count(const tsr_cpumask *m) {
    int n = 0;
    for (int i = 0; i < TSR_MAX_CPUS / 64; i++) n += __builtin_popcountll(m->bits[i]);
    return n;
}

void tsr_cpumask_parse(tsr_cpumask *m, const char *list) {
    while (*list >= '0' && *list <= '9') {
        char *end;
        long first = strtol(list, &end, 10), last = first;
        if (*end == '-') last = strtol(end + 1, &end, 10);
        for (long cpu = first; cpu <= last && cpu < TSR_MAX_CPUS; cpu++) tsr_cpumask_add(m, (int)cpu);
        if (*end != ',') break;
        list = end + 1;
    }
}

tsr_cpumask tsr_cpumask_affinity(void) {
    tsr_cpumask m = {{0}};
    if (sched_getaffinity(0, sizeof m, (cpu_set_t *)m.bits) != 0) m = (tsr_cpumask){{0}};
    return m;
}
