/* topology_hwloc.c: the topology from hwloc, which also takes descriptions of other machines (HWLOC_SYNTHETIC, HWLOC_XMLFILE). */
#include "core/topology.h"

#include <hwloc.h>
#include <hwloc/distances.h>
#include <stdio.h>

static int count(hwloc_topology_t t, hwloc_obj_type_t type) {
    int n = hwloc_get_nbobjs_by_type(t, type);
    return n > 0 ? n : 0; /* -1: there are some on several levels */
}

static void read_nodes(hwloc_topology_t t, tsr_topology *out) {
    hwloc_obj_t node = NULL;
    while (out->n_nodes < TSR_MAX_NODES && (node = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_NUMANODE, node)) != NULL) {
        tsr_node *n = &out->nodes[out->n_nodes++];
        n->id = (int)node->os_index;
        n->total = node->attr->numanode.local_memory;
        hwloc_bitmap_list_snprintf(n->cpus, sizeof n->cpus, node->cpuset);
    }
}

/* Where of nodes[] the node lies, or -1. */
static int index_of(const tsr_topology *t, hwloc_obj_t node) {
    for (int i = 0; i < t->n_nodes; i++)
        if (t->nodes[i].id == (int)node->os_index) return i;
    return -1;
}

static void read_distances(hwloc_topology_t t, tsr_topology *out) {
    struct hwloc_distances_s *d;
    unsigned n = 1;
    if (hwloc_distances_get_by_name(t, "NUMALatency", &n, &d, 0) != 0 || n == 0) return;
    for (unsigned i = 0; i < d->nbobjs; i++)
        for (unsigned j = 0; j < d->nbobjs; j++) {
            int from = index_of(out, d->objs[i]), to = index_of(out, d->objs[j]);
            if (from >= 0 && to >= 0) out->distance[from][to] = (int)d->values[i * d->nbobjs + j];
        }
    hwloc_distances_release(t, d);
}

void tsr_topology_read(tsr_topology *out) {
    hwloc_topology_t t;
    *out = (tsr_topology){0};
    if (hwloc_topology_init(&t) != 0) return;
    if (hwloc_topology_load(t) == 0) {
        snprintf(out->source, sizeof out->source, "hwloc");
        out->made_up = !hwloc_topology_is_thissystem(t);
        out->packages = count(t, HWLOC_OBJ_PACKAGE);
        out->l3s = count(t, HWLOC_OBJ_L3CACHE);
        out->cores = count(t, HWLOC_OBJ_CORE);
        out->cpus = count(t, HWLOC_OBJ_PU);
        hwloc_obj_t l3 = hwloc_get_obj_by_type(t, HWLOC_OBJ_L3CACHE, 0);
        out->l3_bytes = l3 ? l3->attr->cache.size : 0;
        read_nodes(t, out);
        read_distances(t, out);
    }
    hwloc_topology_destroy(t);
}
