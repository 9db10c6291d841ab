/* topology_none.c: built without hwloc. */
#include "core/topology.h"

void tsr_topology_read(tsr_topology *out) { *out = (tsr_topology){0}; }
