/* topology.h: packages, NUMA nodes, caches and cores of this machine, as hwloc sees them. */
#ifndef TSR_CORE_TOPOLOGY_H
#define TSR_CORE_TOPOLOGY_H

#include "core/system.h"

typedef struct tsr_topology {
    char source[16];               /* "hwloc"; "" when Tessera was built without it, or it fails: then all else is 0 */
    bool made_up;                  /* HWLOC_SYNTHETIC or HWLOC_XMLFILE describe another machine */
    int packages, l3s, cores, cpus; /* that the cgroup allows */
    uint64_t l3_bytes;             /* of one */
    int n_nodes;
    tsr_node nodes[TSR_MAX_NODES]; /* [n_nodes]; free and available are 0 */
    int distance[TSR_MAX_NODES][TSR_MAX_NODES]; /* [n_nodes][n_nodes] of memory access, 10 is near; 0 unknown */
} tsr_topology;

/* Takes some milliseconds. */
void tsr_topology_read(tsr_topology *out);
/* "2 packages, 4 NUMA nodes, 4 L3 caches, 16 cores, 32 CPUs", or "" when there is no source; returns out. */
const char *tsr_topology_text(const tsr_topology *t, char *out, size_t cap);

#endif
