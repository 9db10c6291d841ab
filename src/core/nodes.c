#include "core/nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------ reading */

static bool has_core(const tsr_cpumask *cpus, const tsr_cpuset *set) {
    for (int i = 0; i < set->n_physical; i++)
        if (tsr_cpumask_has(cpus, set->first_cpus[i])) return true;
    return false;
}

/* The last of those taken whose number is not above id, or the first. */
static int nearest(const tsr_nodes *nodes, int id) {
    int k = 0;
    while (k + 1 < nodes->n && nodes->id[k + 1] <= id) k++;
    return k;
}

/* Takes a node that has memory and cores; cpus is its list. */
static bool take(tsr_nodes *out, const tsr_node *node, const tsr_cpumask *mems, const tsr_cpumask *cpus,
                 const tsr_cpuset *set) {
    if (node->total == 0 || !tsr_cpumask_has(mems, node->id) || !has_core(cpus, set)) return false;
    out->id[out->n] = node->id;
    out->available[out->n++] = node->available;
    return true;
}

/* Every core is on one node. Nodes that a kernel makes up (numa=fake) have all CPUs in common: the one with fewest
 * cores gets it. */
static void share_cores(tsr_nodes *out, const tsr_cpumask *cpus, const tsr_cpuset *set) {
    for (int i = 0; i < set->n_physical; i++) {
        int cpu = set->first_cpus[i], best = -1;
        for (int k = 0; k < out->n; k++)
            if (tsr_cpumask_has(&cpus[k], cpu) && (best < 0 || out->cores[k] < out->cores[best])) best = k;
        if (best >= 0) out->of_cpu[cpu] = (uint8_t)best;
        out->cores[out->of_cpu[cpu]]++;
    }
}

/* Leaves out a node that got no core. */
static void drop(tsr_nodes *out, int k) {
    for (int i = k; i + 1 < out->n; i++) {
        out->id[i] = out->id[i + 1];
        out->cores[i] = out->cores[i + 1];
        out->available[i] = out->available[i + 1];
    }
    out->n--;
    for (int cpu = 0; cpu < TSR_MAX_CPUS; cpu++)
        if (out->of_cpu[cpu] >= k && out->of_cpu[cpu] > 0) out->of_cpu[cpu]--;
}

void tsr_nodes_make(const tsr_node *nodes, int n_nodes, const char *mems_allowed, const tsr_cpuset *set,
                    tsr_nodes *out) {
    tsr_cpumask mems = {{0}}, *cpus = calloc((size_t)n_nodes + 1, sizeof *cpus); /* [out->n] of those taken, and one */
    *out = (tsr_nodes){.left = UINT64_MAX};
    tsr_cpumask_parse(&mems, *mems_allowed ? mems_allowed : "0-8191");
    for (int i = 0; cpus && i < n_nodes; i++) { /* in the order of their numbers */
        tsr_cpumask_parse(&cpus[out->n], nodes[i].cpus);
        if (!take(out, &nodes[i], &mems, &cpus[out->n], set)) cpus[out->n] = (tsr_cpumask){{0}};
    }
    for (int i = 0; i < n_nodes; i++) {
        tsr_cpumask all = {{0}};
        tsr_cpumask_parse(&all, nodes[i].cpus);
        for (int cpu = 0; cpu < TSR_MAX_CPUS; cpu++)
            if (tsr_cpumask_has(&all, cpu)) out->of_cpu[cpu] = (uint8_t)nearest(out, nodes[i].id);
    }
    if (out->n == 0) out->n = 1;
    if (cpus) share_cores(out, cpus, set);
    else out->cores[0] = set->n_physical;
    for (int k = out->n - 1; k >= 0; k--)
        if (out->cores[k] == 0 && out->n > 1) drop(out, k);
    free(cpus);
}

void tsr_nodes_read(const char *root, tsr_nodes *out) {
    tsr_system *s = malloc(sizeof *s); /* large */
    tsr_cpuset set;
    tsr_cpuset_read(root, &set);
    if (s) tsr_system_read(root, s);
    tsr_nodes_make(s ? s->nodes : NULL, s ? s->n_nodes : 0, s ? s->mems_allowed : "", &set, out);
    out->left = tsr_system_available(root);
    free(s);
}

int tsr_nodes_of_cpu(const tsr_nodes *nodes, int cpu) {
    return cpu >= 0 && cpu < TSR_MAX_CPUS ? nodes->of_cpu[cpu] : 0;
}

const char *tsr_nodes_text(const tsr_nodes *nodes, char *out, size_t cap) {
    size_t used = 0;
    out[0] = '\0';
    for (int k = 0; k < nodes->n && used < cap; k++)
        used += (size_t)snprintf(out + used, cap - used, "%s%d", k ? ", " : "", nodes->id[k]);
    return out;
}

/* ------------------------------------------------------------------------------------------------------ threads */

/* Core `rank` of node k, counted from the caller's on. On the second thread of a core the remainder serves, as in
 * tsr_pool_place. */
static int core_of(const tsr_nodes *nodes, const tsr_cpuset *set, int caller_cpu, int k, int rank) {
    int start = caller_cpu > 0 ? caller_cpu : 0, at = 0;
    for (int i = 0; i < set->n_physical; i++) {
        if (nodes->of_cpu[set->first_cpus[i]] != k) continue;
        if (set->first_cpus[i] == caller_cpu) start = at;
        at++;
    }
    int want = (start % at + rank) % at;
    for (int i = 0; i < set->n_physical; i++)
        if (nodes->of_cpu[set->first_cpus[i]] == k && want-- == 0) return set->first_cpus[i];
    return -1;
}

/* The node that has fewest threads for its cores once it has one more. No node gets more threads than cores before all
 * have as many. */
static int emptiest(int n_nodes, const int *cores, const int *threads) {
    int best = 0;
    for (int k = 1; k < n_nodes; k++)
        if ((int64_t)(threads[k] + 1) * cores[best] < (int64_t)(threads[best] + 1) * cores[k]) best = k;
    return best;
}

void tsr_nodes_seat(const tsr_nodes *nodes, const tsr_cpuset *set, int n_threads, int caller_cpu, tsr_seat *out) {
    int threads[TSR_MAX_NODES] = {0}, cores[TSR_MAX_NODES] = {0};
    bool pinned = n_threads <= set->n_physical && n_threads <= tsr_cpuset_usable(set);
    for (int i = 0; i < set->n_physical; i++) cores[tsr_nodes_of_cpu(nodes, set->first_cpus[i])]++;
    for (int i = 0; i < n_threads; i++) {
        int k = i == 0 ? tsr_nodes_of_cpu(nodes, caller_cpu) : emptiest(nodes->n, cores, threads);
        out[i] = (tsr_seat){k, pinned && cores[k] > 0 ? core_of(nodes, set, caller_cpu, k, threads[k]) : -1};
        threads[k]++;
    }
}

/* ------------------------------------------------------------------------------------------------------ weights */

void tsr_nodes_share(const tsr_nodes *nodes, int64_t total, int k, int64_t *begin, int64_t *end) {
    int64_t before = 0, all = 0;
    for (int i = 0; i < nodes->n; i++) {
        if (i < k) before += nodes->cores[i];
        all += nodes->cores[i];
    }
    *begin = (total * before + all / 2) / all;
    *end = (total * (before + nodes->cores[k]) + all / 2) / all;
}
