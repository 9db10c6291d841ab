#include "core/system.h"

#include "core/cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where to read, and what was read last. */
typedef struct reader {
    const char *root;
    tsr_buf path, text;
} reader;

static const char *locate(reader *r, const char *path) {
    tsr_buf_clear(&r->path);
    tsr_buf_printf(&r->path, "%s/%s", r->root, path);
    return r->path.oom ? "" : r->path.data;
}

/* The file's text, or "". */
static const char *read_file(reader *r, const char *path) { return tsr_buf_read_file(&r->text, locate(r, path)) ? r->text.data : ""; }

static bool exists(reader *r, const char *path) { return access(locate(r, path), F_OK) == 0; }

/* The first line, cut to fit. */
static void read_line(reader *r, const char *path, char *out, size_t cap) {
    const char *text = read_file(r, path);
    snprintf(out, cap, "%.*s", (int)strcspn(text, "\n"), text);
}

/* What follows `key` at the beginning of a line, behind blanks; NULL when no line begins so. */
static const char *value_of(const char *text, const char *key) {
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, n) == 0) return line + n + strspn(line + n, " \t");
    }
    return NULL;
}

/* "MemTotal:       24684096 kB" in bytes. */
static uint64_t kilobytes(const char *text, const char *key) {
    const char *value = value_of(text, key);
    return value ? strtoull(value, NULL, 10) * 1024 : 0;
}

/* "always [madvise] never": the choice in brackets. */
static void read_choice(reader *r, const char *path, char *out, size_t cap) {
    const char *text = read_file(r, path), *open = strchr(text, '[');
    snprintf(out, cap, "%.*s", open ? (int)strcspn(open + 1, "]") : 0, open ? open + 1 : "");
}

/* ------------------------------------------------------------------------------------------------------ memory */

static void visit_memory(void *ctx, const char *dir, bool v2) {
    tsr_system *s = ctx;
    tsr_buf text = {0};
    double limit = tsr_cgroup_number(dir, v2 ? "memory.max" : "memory.limit_in_bytes", &text);
    if (limit > 0 && limit < 9e18) { /* v1 writes 2^63 - 4096 for none */
        double used = tsr_cgroup_number(dir, v2 ? "memory.current" : "memory.usage_in_bytes", &text);
        tsr_cgroup_number(dir, "memory.stat", &text);
        const char *cache = text.data ? value_of(text.data, v2 ? "inactive_file" : "total_inactive_file") : NULL;
        used -= cache ? strtod(cache, NULL) : 0;
        uint64_t left = used < limit ? (uint64_t)(limit - (used > 0 ? used : 0)) : 0;
        if ((uint64_t)limit < s->group_limit) s->group_limit = (uint64_t)limit;
        if (left < s->group_left) s->group_left = left; /* of the same cgroup or not: others may fill one above ours */
    }
    tsr_buf_free(&text);
}

static void read_memory(reader *r, tsr_system *s) {
    const char *text = read_file(r, "proc/meminfo");
    s->total = kilobytes(text, "MemTotal:");
    s->available = kilobytes(text, "MemAvailable:");
    s->swap_total = kilobytes(text, "SwapTotal:");
    s->swap_free = kilobytes(text, "SwapFree:");
    s->huge_size = kilobytes(text, "Hugepagesize:");
    s->huge_total = kilobytes(text, "HugePages_Total:") / 1024;
    s->huge_free = kilobytes(text, "HugePages_Free:") / 1024;
    read_choice(r, "sys/kernel/mm/transparent_hugepage/enabled", s->thp, sizeof s->thp);
    read_choice(r, "sys/kernel/mm/transparent_hugepage/defrag", s->thp_defrag, sizeof s->thp_defrag);
    s->group_limit = s->group_left = TSR_UNLIMITED;
    tsr_cgroup_walk(r->root, "memory", visit_memory, s);
}

/* Nodes are numbered with gaps; those without memory (CPUs alone) count too. */
static void read_nodes(reader *r, tsr_system *s) {
    enum { MAX_ID = 1024 };
    char path[64], key[48];
    for (int id = 0; id < MAX_ID && s->n_nodes < TSR_MAX_NODES; id++) {
        snprintf(path, sizeof path, "sys/devices/system/node/node%d/meminfo", id);
        const char *text = read_file(r, path);
        if (!*text) continue;
        tsr_node *node = &s->nodes[s->n_nodes++];
        node->id = id;
        snprintf(key, sizeof key, "Node %d MemTotal:", id);
        node->total = kilobytes(text, key);
        snprintf(key, sizeof key, "Node %d MemFree:", id);
        node->free = node->available = kilobytes(text, key);
        snprintf(key, sizeof key, "Node %d Active(file):", id);
        node->available += kilobytes(text, key);
        snprintf(key, sizeof key, "Node %d Inactive(file):", id);
        node->available += kilobytes(text, key);
        snprintf(path, sizeof path, "sys/devices/system/node/node%d/cpulist", id);
        read_line(r, path, node->cpus, sizeof node->cpus);
    }
    s->numa_balancing = strtol(read_file(r, "proc/sys/kernel/numa_balancing"), NULL, 10) > 0;
}

/* ------------------------------------------------------------------------------------------------- CPUs, process */

static void read_load(reader *r, tsr_system *s) {
    const char *text = read_file(r, "proc/loadavg");
    s->load = *text ? strtod(text, NULL) : -1;
    /* user nice system idle iowait irq softirq steal, in ticks since boot (proc_stat(5)) */
    double ticks[8] = {0}, sum = 0;
    const char *line = value_of(read_file(r, "proc/stat"), "cpu ");
    int n = line ? sscanf(line, "%lf %lf %lf %lf %lf %lf %lf %lf", &ticks[0], &ticks[1], &ticks[2], &ticks[3], &ticks[4], &ticks[5], &ticks[6], &ticks[7]) : 0;
    for (int i = 0; i < n; i++) sum += ticks[i];
    s->steal = n == 8 && sum > 0 ? ticks[7] / sum : -1;
}

/* "Max locked memory         8388608              8388608              bytes" */
static uint64_t limit_of(const char *text, const char *key) {
    const char *value = value_of(text, key);
    return !value || strncmp(value, "unlimited", 9) == 0 ? TSR_UNLIMITED : strtoull(value, NULL, 10);
}

static void read_process(reader *r, tsr_system *s) {
    const char *text = read_file(r, "proc/self/limits");
    s->memlock = limit_of(text, "Max locked memory");
    s->address_space = limit_of(text, "Max address space");
    s->data = limit_of(text, "Max data size");
    text = read_file(r, "proc/self/status");
    const char *value = value_of(text, "Seccomp:");
    s->seccomp = value && *value == '2';
    value = value_of(text, "Mems_allowed_list:");
    if (value) snprintf(s->mems_allowed, sizeof s->mems_allowed, "%.*s", (int)strcspn(value, "\n"), value);
}

/* Files that container engines leave, and names of cgroups that they make; none is a promise. */
static void find_container(reader *r, tsr_system *s) {
    static const char *const marks[][2] = {{"kubepods", "kubernetes"}, {"docker", "docker"}, {"libpod", "podman"}, {"lxc", "lxc"}};
    read_line(r, "run/systemd/container", s->container, sizeof s->container);
    if (!*s->container && exists(r, ".dockerenv")) strcpy(s->container, "docker");
    if (!*s->container && exists(r, "run/.containerenv")) strcpy(s->container, "podman");
    const char *cgroups = *s->container ? "" : read_file(r, "proc/self/cgroup");
    for (size_t i = 0; i < sizeof marks / sizeof *marks && !*s->container; i++)
        if (strstr(cgroups, marks[i][0])) strcpy(s->container, marks[i][1]);
}

void tsr_system_read(const char *root, tsr_system *out) {
    reader r = {.root = root};
    *out = (tsr_system){0};
    read_line(&r, "proc/sys/kernel/osrelease", out->kernel, sizeof out->kernel);
    read_line(&r, "sys/devices/system/cpu/online", out->online, sizeof out->online);
    read_line(&r, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", out->governor, sizeof out->governor);
    read_line(&r, "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", out->driver, sizeof out->driver);
    find_container(&r, out);
    read_load(&r, out);
    read_memory(&r, out);
    read_nodes(&r, out);
    read_process(&r, out);
    tsr_buf_free(&r.path);
    tsr_buf_free(&r.text);
}

uint64_t tsr_system_available(const char *root) {
    reader r = {.root = root};
    tsr_system *s = calloc(1, sizeof *s); /* large */
    uint64_t least = TSR_UNLIMITED;
    if (s) {
        read_memory(&r, s);
        least = s->available > 0 && s->available < s->group_left ? s->available : s->group_left;
    }
    free(s);
    tsr_buf_free(&r.path);
    tsr_buf_free(&r.text);
    return least == TSR_UNLIMITED ? (uint64_t)1 << 30 : least;
}
