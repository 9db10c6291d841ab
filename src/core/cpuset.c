/* cpuset.c: how many CPUs this process may use, and which. Affinity from the kernel, cores from sysfs, quota from every
 * cgroup between ours and the root (a parent's limit binds its children, so the tightest counts). */
#include "core/buf.h"
#include "core/cgroup.h"
#include "core/cpu.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_CPUS = 8192 }; /* the largest CONFIG_NR_CPUS on x86 */
enum { MAX_CORES = sizeof((tsr_cpuset){0}.first_cpus) / sizeof(int) };

typedef struct cpu_mask {
    uint64_t bits[MAX_CPUS / 64];
} cpu_mask;

static bool has(const cpu_mask *m, int cpu) { return m->bits[cpu / 64] >> (cpu % 64) & 1; }

static void add(cpu_mask *m, int cpu) { m->bits[cpu / 64] |= UINT64_C(1) << (cpu % 64); }

/* The kernel's list format: "0-3,8,10-11". Numbers out of range are left out. */
static void parse_cpu_list(const char *s, cpu_mask *m) {
    while (*s >= '0' && *s <= '9') {
        char *end;
        long first = strtol(s, &end, 10), last = first;
        if (*end == '-') last = strtol(end + 1, &end, 10);
        for (long cpu = first; cpu <= last && cpu < MAX_CPUS; cpu++) add(m, (int)cpu);
        if (*end != ',') break;
        s = end + 1;
    }
}

/* ---------------------------------------------------------------------------------------------- affinity, cores */

static int count(const cpu_mask *m) {
    int n = 0;
    for (int cpu = 0; cpu < MAX_CPUS; cpu++) n += has(m, cpu);
    return n;
}

static void read_affinity(const char *root, cpu_mask *m, tsr_buf *path, tsr_buf *text) {
    if (!root[0]) {
        cpu_set_t *set = CPU_ALLOC(MAX_CPUS);
        size_t size = CPU_ALLOC_SIZE(MAX_CPUS);
        if (set && sched_getaffinity(0, size, set) == 0)
            for (int cpu = 0; cpu < MAX_CPUS; cpu++)
                if (CPU_ISSET_S(cpu, size, set)) add(m, cpu);
        CPU_FREE(set);
    } else {
        static const char key[] = "Cpus_allowed_list:";
        tsr_buf_clear(path);
        tsr_buf_printf(path, "%s/proc/self/status", root);
        const char *found = !path->oom && tsr_buf_read_file(text, path->data) ? strstr(text->data, key) : NULL;
        if (found) {
            found += sizeof key - 1;
            parse_cpu_list(found + strspn(found, " \t"), m);
        }
    }
    if (count(m) == 0) { /* not told: all that are online */
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        for (int cpu = 0; cpu < n && cpu < MAX_CPUS; cpu++) add(m, cpu);
    }
    if (count(m) == 0) add(m, 0);
}

/* A CPU stands for its core unless an allowed sibling with a lower number does already. */
static bool first_of_core(const char *root, const cpu_mask *allowed, int cpu, tsr_buf *path, tsr_buf *text) {
    cpu_mask siblings = {{0}};
    tsr_buf_clear(path);
    tsr_buf_printf(path, "%s/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", root, cpu);
    if (!path->oom && tsr_buf_read_file(text, path->data)) parse_cpu_list(text->data, &siblings);
    for (int k = 0; k < cpu; k++)
        if (has(&siblings, k) && has(allowed, k)) return false;
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
    cpu_mask allowed = {{0}};
    read_affinity(root, &allowed, &path, &text);
    out->n_logical = count(&allowed);
    for (int cpu = 0; cpu < MAX_CPUS && out->n_physical < MAX_CORES; cpu++)
        if (has(&allowed, cpu) && first_of_core(root, &allowed, cpu, &path, &text))
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
