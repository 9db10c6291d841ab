/* system.h: what the operating system says about this machine and this process: memory, huge pages, NUMA nodes, limits, load. */
#ifndef TSR_CORE_SYSTEM_H
#define TSR_CORE_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TSR_MAX_NODES = 64 };
#define TSR_UNLIMITED UINT64_MAX

typedef struct tsr_node {
    int id;
    uint64_t total, free; /* bytes */
    uint64_t available;   /* free, or with files that could go */
    char cpus[1024];      /* the kernel's list: "0-15,32-47"; on some machines "0,2,4,..." */
} tsr_node;

/* Numbers that cannot be read are 0 and texts "", unless it says otherwise. Sizes are bytes. */
typedef struct tsr_system {
    char kernel[96];       /* "6.1.0" */
    char container[32];    /* "docker", "podman", ...; "" when there are no signs of one */
    bool seccomp;          /* a filter of system calls is in force */
    char online[96];       /* CPUs of the machine: "0-63" */
    char governor[32], driver[32]; /* of the clock of CPU 0 */
    double load;           /* threads that wanted to run, a mean over a minute; -1 unknown */
    double steal;          /* fraction of CPU time since boot that the hypervisor gave to others; -1 unknown */

    uint64_t total, available, swap_total, swap_free;
    uint64_t group_limit;  /* the tightest memory limit of our cgroups; TSR_UNLIMITED when there is none */
    uint64_t group_left;   /* what may still be used in all of them: caches of files that could go count as free */
    char thp[16], thp_defrag[24]; /* transparent huge pages: "always", "madvise", "never" */
    uint64_t huge_size, huge_total, huge_free; /* of the reserved huge pages: bytes of one, how many */

    tsr_node nodes[TSR_MAX_NODES]; /* [n_nodes] */
    int n_nodes;
    char mems_allowed[96]; /* nodes whose memory we may use */
    bool numa_balancing;   /* the kernel moves pages after threads */

    uint64_t memlock, address_space, data; /* soft limits, or TSR_UNLIMITED */
} tsr_system;

/* root: "" for the real system, or a directory that holds proc/ and sys/ trees. */
void tsr_system_read(const char *root, tsr_system *out);

/* Bytes that this process could still use: what the system has available, within the limits of our cgroups. A GiB when
 * neither says. */
uint64_t tsr_system_available(const char *root);

#endif
