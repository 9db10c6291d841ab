/* cpuset.c: how many CPUs this process may use, and which. Affinity from the kernel, cores from sysfs, quota from every
 * cgroup between ours and the root (a parent's limit binds its children, so the tightest counts). */
#include "core/buf.h"
#include "core/cgroup.h"
#include "core/cpu.h"
#include "core/cpumask.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_CORES = sizeof((tsr_cpuset){0}.first_cpus) / sizeof(int) };

/* ---------------------------------------------------------------------------------------------- affinity, cores */

static void read_affinity(const char *root, tsr_cpumask *m, tsr_buf *path, tsr_buf *text) {
    if (!root[0]) {
        *m = tsr_cpumask_affinity();
    } else {
        static const char key[] = "Cpus_allowed_list:";
        tsr_buf_clear(path);
        tsr_buf_printf(path, "%s/proc/self/status", root);
        const char *found = !path->oom && tsr_buf_read_file(text, path->data) ? strstr(text->data, key) : NULL;
        if (found) {
            found += sizeof key - 1;
            tsr_cpumask_parse(m, found + strspn(found, " \t"));
        }
    }
    if (tsr_cpumask_count(m) == 0) { /* not told: all that are online */
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        for (int cpu = 0; cpu < n && cpu < TSR_MAX_CPUS; cpu++) tsr_cpumask_add(m, cpu);
    }
    if (tsr_cpumask_count(m) == 0) tsr_cpumask_add(m, 0);
}

/* A CPU stands for its core unless an allowed sibling with a lower number does already. */
static bool first_of_core(const char *root, const tsr_cpumask *allowed, int cpu, tsr_buf *path, tsr_buf *text) {
    tsr_cpumask siblings = {{0}};
    tsr_buf_clear(path);
    tsr_buf_printf(path, "%s/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", root, cpu);
    if (!path->oom && tsr_buf_read_file(text, path->data)) tsr_cpumask_parse(&siblings, text->data);
    for (int k = 0; k < cpu; k++)
        if (tsr_cpumask_has(&siblings, k) && tsr_cpumask_has(allowed, k)) return false;
    return true;
}

/* --------------------------------------------------------------------------------------------------------- quota */

static void tighten(tsr_cpuset *out, double quota_us, double period_us) {
    if (!(quota_us > 0 && period_us > 0)) return;
    double quota = quota_us / period_us;
    if (!isfinite(quota)) return;
    if (out->quota == 0 || quota < out->quota) out->quota = quota;
}

/* v2: cpu.max is "max 100000" or "150000 100000"; v1: two files, -1 is no limit. */
static void read_quota(void *ctx, const char *dir, bool v2) {
    tsr_buf text = {0};
    if (!v2) {
        double quota = tsr_cgroup_number(dir, "cpu.cfs_quota_us", &text);
        tighten(ctx, quota, tsr_cgroup_number(dir, "cpu.cfs_period_us", &text));
    } else {
        double quota = tsr_cgroup_number(dir, "cpu.max", &text);
        const char *space = quota > 0 ? strchr(text.data, ' ') : NULL;
        if (space) tighten(ctx, quota, strtod(space, NULL));
    }
    tsr_buf_free(&text);
}

void tsr_cpuset_read(const char *root, tsr_cpuset *out) {
    memset(out, 0, sizeof *out);
    tsr_buf path = {0}, text = {0};
    tsr_cpumask allowed = {{0}};
    read_affinity(root, &allowed, &path, &text);
    out->n_logical = tsr_cpumask_count(&allowed);
    for (int cpu = 0; cpu < TSR_MAX_CPUS && out->n_physical < MAX_CORES; cpu++)
        if (tsr_cpumask_has(&allowed, cpu) && first_of_core(root, &allowed, cpu, &path, &text))
            out->first_cpus[out->n_physical++] = cpu;
    tsr_cgroup_walk(root, "cpu", read_quota, out);
    tsr_buf_free(&path);
    tsr_buf_free(&text);
    out->n_default = out->n_physical;
    if (out->quota > 0 && out->quota < out->n_physical) out->n_default = (int)ceil(out->quota);
}

int tsr_cpuset_usable(const tsr_cpuset *set) {
    if (set->quota > 0 && set->quota < set->n_logical) return (int)ceil(set->quota);
    return set->n_logical;
}

int tsr_cpuset_threads(const tsr_cpuset *set, int asked) {
    if (asked == 0) return set->n_default;
    int most = tsr_cpuset_usable(set);
    return asked < most ? asked : most;
}
