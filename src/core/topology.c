#include "core/topology.h"

#include <stdio.h>

const char *tsr_topology_text(const tsr_topology *t, char *out, size_t cap) {
    const struct {
        int n;
        const char *one, *many;
    } parts[] = {{t->packages, "package", "packages"}, {t->n_nodes, "NUMA node", "NUMA nodes"}, {t->l3s, "L3 cache", "L3 caches"},
                 {t->cores, "core", "cores"},          {t->cpus, "CPU", "CPUs"}};
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof parts / sizeof *parts && used < cap; i++)
        if (parts[i].n > 0)
            used += (size_t)snprintf(out + used, cap - used, "%s%d %s", used ? ", " : "", parts[i].n, parts[i].n == 1 ? parts[i].one : parts[i].many);
    return out;
}
