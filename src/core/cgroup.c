/* cgroup.c: finds the directories of our cgroups: our paths from /proc/self/cgroup, where they are mounted from /proc/self/mountinfo. */
#include "core/cgroup.h"

#include <stdlib.h>
#include <string.h>

double tsr_cgroup_number(const char *dir, const char *file, tsr_buf *text) {
    tsr_buf path = {0};
    tsr_buf_printf(&path, "%s/%s", dir, file);
    double value = !path.oom && tsr_buf_read_file(text, path.data) ? strtod(text->data, NULL) : 0;
    tsr_buf_free(&path);
    return value;
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

/* Visits the cgroup at `below` and all above it, up to the mount point. */
static void walk_up(const char *root, const char *mount_point, const char *below, bool v2, tsr_buf *dir, tsr_cgroup_fn visit, void *ctx) {
    tsr_buf_clear(dir);
    tsr_buf_printf(dir, "%s%s", root, mount_point);
    size_t top = dir->len;
    tsr_buf_puts(dir, below);
    while (!dir->oom) {
        while (dir->len > top && dir->data[dir->len - 1] == '/') dir->data[--dir->len] = '\0';
        visit(ctx, dir->data, v2);
        if (dir->len <= top) break;
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
static void parse_own_cgroups(char *text, const char *controller, const char **v1, const char **v2) {
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *controllers++ = '\0';
        *path++ = '\0';
        if (!*controllers && strcmp(line, "0") == 0) *v2 = path;
        if (lists(controllers, controller)) *v1 = path;
    }
}

void tsr_cgroup_walk(const char *root, const char *controller, tsr_cgroup_fn visit, void *ctx) {
    tsr_buf path = {0}, own = {0}, mounts = {0};
    const char *v1 = NULL, *v2 = NULL;
    tsr_buf_printf(&path, "%s/proc/self/cgroup", root);
    if (!path.oom && tsr_buf_read_file(&own, path.data)) parse_own_cgroups(own.data, controller, &v1, &v2);
    tsr_buf_clear(&path);
    tsr_buf_printf(&path, "%s/proc/self/mountinfo", root);
    if (!path.oom && tsr_buf_read_file(&mounts, path.data)) {
        char *save = NULL;
        for (char *line = strtok_r(mounts.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
            struct mount m;
            if (!parse_mount(line, &m)) continue;
            bool is_v2 = strcmp(m.type, "cgroup2") == 0;
            const char *mine = is_v2 ? v2 : strcmp(m.type, "cgroup") == 0 && lists(m.options, controller) ? v1 : NULL;
            const char *below = mine ? below_mount(mine, m.root) : NULL;
            if (below) walk_up(root, m.point, below, is_v2, &path, visit, ctx);
        }
    }
    tsr_buf_free(&path);
    tsr_buf_free(&own);
    tsr_buf_free(&mounts);
}
