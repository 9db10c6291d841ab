/* nodes.h: the NUMA nodes that --numa local and mirror place weights and threads on, and which of both goes where. All
 * but reading is pure. */
#ifndef TSR_CORE_NODES_H
#define TSR_CORE_NODES_H

#include "core/cpu.h"
#include "core/cpumask.h"
#include "core/system.h"

/* Nodes that have memory and a core, both of which this process may use. */
typedef struct tsr_nodes {
    int n;                             /* >= 1 */
    int id[TSR_MAX_NODES];             /* [n] the kernel's number */
    int cores[TSR_MAX_NODES];          /* [n] how many of tsr_cpuset.first_cpus are on it */
    uint64_t available[TSR_MAX_NODES]; /* [n] bytes of its memory */
    uint64_t left;                     /* that this process may use of all memory, as its cgroups allow */
    /* Which of them each CPU is on; CPUs of other nodes: the one numbered next below, or the first. */
    uint8_t of_cpu[TSR_MAX_CPUS];
} tsr_nodes;

/* root: as in tsr_cpuset_read. One node when the kernel knows no more. */
void tsr_nodes_read(const char *root, tsr_nodes *out);
/* The same from a machine's nodes, and the list of those whose memory may be used ("": all). */
void tsr_nodes_make(const tsr_node *nodes, int n_nodes, const char *mems_allowed, const tsr_cpuset *set,
                    tsr_nodes *out);

/* 0 for a CPU that is not known (-1). */
int tsr_nodes_of_cpu(const tsr_nodes *nodes, int cpu);

/* Where a thread runs: on one core, or where cpu is -1 on any CPU of its node. */
typedef struct tsr_seat {
    int node, cpu;
} tsr_seat;

/* Seats of n_threads threads. Thread 0, the caller, stays on its node, and its core is nobody else's; any first few
 * threads are spread in proportion to the nodes' cores, so that a pool which uses only those is spread too. Cores are
 * given out as tsr_pool_place does, from the caller's on, and when threads are more than cores or than CPUs may be
 * used, not at all. Cores are those of set: the affinity may have changed since nodes were read, and leave a node none. */
void tsr_nodes_seat(const tsr_nodes *nodes, const tsr_cpuset *set, int n_threads, int caller_cpu, tsr_seat *out);

/* [*begin, *end) = those of `total` items in a row that lie on node k: each lies on one, and they are in proportion to
 * cores. */
void tsr_nodes_share(const tsr_nodes *nodes, int64_t total, int k, int64_t *begin, int64_t *end);

/* "0, 1, 3"; returns out. */
const char *tsr_nodes_text(const tsr_nodes *nodes, char *out, size_t cap);

#endif
