/* numa.h: on which nodes' memory pages lie. mbind(2) and get_mempolicy(2), called directly. */
#ifndef TSR_CORE_NUMA_H
#define TSR_CORE_NUMA_H

#include "core/error.h"

/* Nodes whose memory this process may use; 1 when the kernel knows no NUMA. */
int tsr_numa_nodes(void);
/* Spreads [p, p + n) over them, page by page in turn. Only for pages that nobody has touched yet; p as tsr_memory_alloc gave it. */
tsr_code tsr_numa_interleave(void *p, size_t n, tsr_error *err);

/* Puts them into the memory of the node with that number, and nowhere else. p and n: whole pages. */
tsr_code tsr_numa_bind(void *p, size_t n, int id, tsr_error *err);

#endif
