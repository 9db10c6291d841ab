/* cpuset.c: how many CPUs this process may use, and which. Affinity from the kernel, cores from sysfs, quota from every
 * cgroup between ours and the root (a parent's limit binds its children, so the tightest counts). */
#include "core/buf.h"
#include "core/cpu.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_CPUS = 8192 }; /* the largest CONFIG_NR_CPUS on x86 */
enum { MAX_CORES = sizeof((tsr_cpuset){0}.first_cpus) / sizeof(int) };
enum { MAX_FILE = 16 << 20 };

typedef struct cpu_mask {
    uint64_t bits[MAX_CPUS / 64];
} cpu_mask;

static bool has(const cpu_mask *m, int cpu) { return m->bits[cpu / 64] >> (cpu % 64) & 1; }

static void add(cpu_mask *m, int cpu) { m->bits[cpu / 64] |= UINT64_C(1) << (cpu % 64); }

/* Replaces *text by the contents of the file. Files under /proc and /sys have no size beforehand. */
static bool read_text(const char *path, tsr_buf *text) {
    tsr_buf_clear(text);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    char chunk[4096];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0) tsr_buf_append(text, chunk, (size_t)n);
        if (text->oom || text->len > MAX_FILE) break;
    }
    close(fd);
    return n == 0 && text->data && !text->oom;
}

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
        const char *found = !path->oom && read_text(path->data, text) ? strstr(text->data, key) : NULL;
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
    if (!path->oom && read_text(path->data, text)) parse_cpu_list(text->data, &siblings);
    for (int k = 0; k < cpu; k++)
        if (has(&siblings, k) && has(allowed, k)) return false;
    return true;
}

/* -------------------------------------------------------------------------------------------------------- cgroups */

static void tighten(tsr_cpuset *out, double quota_us, double period_us) {
    if (!(quota_us > 0 && period_us > 0)) return;
    double quota = quota_us / period_us;
    if (!isfinite(quota)) return;
    if (out->quota == 0 || quota < out->quota) out->quota = quota;
}

static double read_number(tsr_buf *dir, const char *file, tsr_buf *text) {
    size_t len = dir->len;
    tsr_buf_puts(dir, file);
    double value = !dir->oom && read_text(dir->data, text) ? strtod(text->data, NULL) : 0;
    if (dir->oom) return 0;
    dir->len = len;
    dir->data[len] = '\0';
    return value;
}

/* dir: a cgroup's directory. v2: cpu.max is "max 100000" or "150000 100000"; v1: two files, -1 is no limit. */
static void read_quota(tsr_buf *dir, bool v2, tsr_buf *text, tsr_cpuset *out) {
    if (!v2) {
        double quota = read_number(dir, "/cpu.cfs_quota_us", text);
        tighten(out, quota, read_number(dir, "/cpu.cfs_period_us", text));
        return;
    }
    double quota = read_number(dir, "/cpu.max", text);
    const char *space = quota > 0 ? strchr(text->data, ' ') : NULL;
    if (space) tighten(out, quota, strtod(space, NULL));
}

static bool leaves_namespace(const char *path) {
    return strncmp(path, "/..", 3) == 0 && (path[3] == '/' || path[3] == '\0');
}

/* Where our cgroup lies below a mount that shows mount_root, or NULL when that mount does not show it. Both are
 * relative to the root of our cgroup namespace and begin with "/.." when outside it. A mount made outside the namespace
 * ("/../..") shows an ancestor of ours, but we are not told the names in between: at least that ancestor's own limit
 * counts (""). */
static const char *below_mount(const char *path, const char *mount_root) {
    size_t n = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    if (strncmp(path, mount_root, n) == 0 && (path[n] == '/' || path[n] == '\0'))
        return leaves_namespace(path + n) ? NULL : path + n;
    bool ancestor = leaves_namespace(mount_root) && mount_root[strspn(mount_root, "/.")] == '\0';
    return ancestor ? "" : NULL;
}

static void walk_up(const char *root, const char *mount_point, const char *below, bool v2, tsr_buf *dir, tsr_buf *text,
                    tsr_cpuset *out) {
    tsr_buf_clear(dir);
    tsr_buf_printf(dir, "%s%s", root, mount_point);
    size_t top = dir->len;
    tsr_buf_puts(dir, below);
    while (!dir->oom) {
        while (dir->len > top && dir->data[dir->len - 1] == '/') dir->data[--dir->len] = '\0';
        read_quota(dir, v2, text, out);
        if (dir->oom || dir->len <= top) break;
        while (dir->len > top && dir->data[dir->len - 1] != '/') dir->data[--dir->len] = '\0';
    }
}

/* Does the comma-separated list have the word? */
static bool lists(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *s = list; s; s = strchr(s, ',')) {
        if (*s == ',') s++;
        if (strncmp(s, word, n) == 0 && (s[n] == ',' || s[n] == '\0')) return true;
    }
    return false;
}

/* mountinfo writes space, tab, newline and backslash as \ooo. In place. */
static void unescape(char *s) {
    char *to = s;
    for (; *s; s++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
            *to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 3;
        } else {
            *to++ = *s;
        }
    }
    *to = '\0';
}

struct mount {
    char *root, *point, *type, *options;
};

/* "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:1 - tmpfs tmpfs rw,mode=755" (proc_pid_mountinfo(5)). */
static bool parse_mount(char *line, struct mount *m) {
    char *save = NULL, *field = strtok_r(line, " ", &save);
    *m = (struct mount){0};
    int k = 1;
    for (; field && strcmp(field, "-") != 0; field = strtok_r(NULL, " ", &save), k++) {
        if (k == 4) m->root = field;
        if (k == 5) m->point = field;
    }
    if (!field || !m->point) return false;
    m->type = strtok_r(NULL, " ", &save);
    strtok_r(NULL, " ", &save); /* source */
    m->options = strtok_r(NULL, " ", &save);
    if (!m->type || !m->options) return false;
    unescape(m->root);
    unescape(m->point);
    return true;
}

/* Our paths from /proc/self/cgroup, lines of "id:controllers:path"; they point into text. */
static void parse_own_cgroups(char *text, const char **v1, const char **v2) {
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *controllers++ = '\0';
        *path++ = '\0';
        if (!*controllers && strcmp(line, "0") == 0) *v2 = path;
        if (lists(controllers, "cpu")) *v1 = path;
    }
}

static void read_quotas(const char *root, tsr_buf *path, tsr_buf *text, tsr_cpuset *out) {
    tsr_buf own = {0}, mounts = {0};
    const char *v1 = NULL, *v2 = NULL;
    tsr_buf_clear(path);
    tsr_buf_printf(path, "%s/proc/self/cgroup", root);
    if (!path->oom && read_text(path->data, &own)) parse_own_cgroups(own.data, &v1, &v2);
    tsr_buf_clear(path);
    tsr_buf_printf(path, "%s/proc/self/mountinfo", root);
    if (!path->oom && read_text(path->data, &mounts)) {
        char *save = NULL;
        for (char *line = strtok_r(mounts.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
            struct mount m;
            if (!parse_mount(line, &m)) continue;
            bool is_v2 = strcmp(m.type, "cgroup2") == 0;
            const char *mine = is_v2 ? v2 : strcmp(m.type, "cgroup") == 0 && lists(m.options, "cpu") ? v1 : NULL;
            const char *below = mine ? below_mount(mine, m.root) : NULL;
            if (below) walk_up(root, m.point, below, is_v2, path, text, out);
        }
    }
    tsr_buf_free(&own);
    tsr_buf_free(&mounts);
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
    read_quotas(root, &path, &text, out);
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
