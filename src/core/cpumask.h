/* cpumask.h: sets of CPUs, or of other things that the kernel numbers and lists as it does CPUs. */
#ifndef TSR_CORE_CPUMASK_H
#define TSR_CORE_CPUMASK_H

#include <stdbool.h>
#include <stdint.h>

enum { TSR_MAX_CPUS = 8192 }; /* the largest CONFIG_NR_CPUS on x86 */

/* Laid out as the kernel's (cpu_set_t). */
typedef struct tsr_cpumask {
    uint64_t bits[TSR_MAX_CPUS / 64];
} tsr_cpumask;

static inline bool tsr_cpumask_has(const tsr_cpumask *m, int cpu) { return m->bits[cpu / 64] >> (cpu % 64) & 1; }
static inline void tsr_cpumask_add(tsr_cpumask *m, int cpu) { m->bits[cpu / 64] |= UINT64_C(1) << (cpu % 64); }
int tsr_cpumask_count(const tsr_cpumask *m);
/* Adds what the kernel's list format says: "0-3,8,10-11". Numbers out of range are left out. */
void tsr_cpumask_parse(tsr_cpumask *m, const char *list);
/* The CPUs that the calling thread may run on; none when the kernel does not say. */
tsr_cpumask tsr_cpumask_affinity(void);

#endif
