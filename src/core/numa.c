#include "core/numa.h"

#include "core/cpumask.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <numaif.h>, which comes with libnuma, has these; the kernel's own numbers (include/uapi/linux/mempolicy.h). */
enum { MPOL_BIND = 2, MPOL_INTERLEAVE = 3, MPOL_F_MEMS_ALLOWED = 4, MAX_NODES = TSR_MAX_CPUS };

/* The nodes allowed; empty when the kernel does not say. */
static tsr_cpumask allowed_nodes(void) {
    tsr_cpumask set = {{0}};
    if (syscall(SYS_get_mempolicy, NULL, set.bits, (unsigned long)MAX_NODES, NULL, (unsigned long)MPOL_F_MEMS_ALLOWED) != 0) set = (tsr_cpumask){{0}};
    return set;
}

int tsr_numa_nodes(void) {
    tsr_cpumask set = allowed_nodes();
    int n = tsr_cpumask_count(&set);
    return n > 0 ? n : 1;
}

/* what: "spread weights over NUMA nodes" */
static tsr_code place(void *p, size_t n, int mode, const tsr_cpumask *set, const char *what, tsr_error *err) {
    /* the kernel takes one bit less than it is told */
    if (syscall(SYS_mbind, p, n, (unsigned long)mode, set->bits, (unsigned long)MAX_NODES + 1, 0ul) == 0) return TSR_OK;
    int error = errno;
    const char *advice = "leave memory where the kernel puts it with --numa none";
    if (error == EPERM)
        advice = "a seccomp filter (container, sandbox) forbids mbind; allow it, or start Tessera with numactl "
                 "--interleave=all";
    if (error == ENOSYS) advice = "this kernel is built without NUMA";
    if (error == ENOMEM)
        advice = "a process may not have so many areas of memory: raise vm.max_map_count (sysctl), or leave it "
                 "where the kernel puts it with --numa none";
    return tsr_fail(err, TSR_E_UNSUPPORTED, "cannot %s: mbind: %s; %s", what, strerror(error), advice);
}

tsr_code tsr_numa_interleave(void *p, size_t n, tsr_error *err) {
    tsr_cpumask set = allowed_nodes();
    return place(p, n, MPOL_INTERLEAVE, &set, "spread weights over NUMA nodes", err);
}

tsr_code tsr_numa_bind(void *p, size_t n, int id, tsr_error *err) {
    tsr_cpumask set = {{0}};
    char what[64];
    snprintf(what, sizeof what, "bind weights to NUMA node %d", id);
    if (id >= 0 && id < MAX_NODES) tsr_cpumask_add(&set, id);
    return place(p, n, MPOL_BIND, &set, what, err);
}
