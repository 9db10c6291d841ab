/* test_two_nodes.h: two NUMA nodes for tests on machines that have one. */
#ifndef TSR_TEST_TWO_NODES_H
#define TSR_TEST_TWO_NODES_H

#include "core/nodes.h"

/* Both have the memory of the first one here, and as much as is asked for; CPU k is on node k % 2. */
static inline void make_two_nodes(tsr_nodes *nodes, int cores0, int cores1) {
    tsr_nodes_read("", nodes);
    nodes->n = 2;
    nodes->id[1] = nodes->id[0];
    nodes->available[0] = nodes->available[1] = nodes->left = UINT64_MAX;
    nodes->cores[0] = cores0;
    nodes->cores[1] = cores1;
    for (int cpu = 0; cpu < TSR_MAX_CPUS; cpu++) nodes->of_cpu[cpu] = (uint8_t)(cpu % 2);
}

#endif
