/* doctor_read.c: the facts for the doctor. */
#include "engine/doctor.h"

#include "engine/tier.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* By the XDG Base Directory Specification, in which a relative path counts as none. */
static bool usual_cache_dir(char *out, size_t cap) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (xdg && xdg[0] == '/') n = snprintf(out, cap, "%s/tessera", xdg);
    else if (home && home[0] == '/') n = snprintf(out, cap, "%s/.cache/tessera", home);
    return n > 0 && (size_t)n < cap;
}

/* Cuts path to the directory that exists, itself or the nearest above it, as that is where it would be made. */
static void to_existing(char *path) {
    struct stat st;
    char *slash;
    while (stat(path, &st) != 0 && errno == ENOENT && (slash = strrchr(path, '/')) != NULL) {
        if (slash == path) slash++;
        if (!*slash) return;
        *slash = '\0';
    }
}

static void read_cache_dir(const char *asked, tsr_checkup *out) {
    char path[4096];
    struct statvfs disk;
    if (!asked && usual_cache_dir(path, sizeof path)) asked = path;
    if (!asked) {
        out->cache_errno = ENOENT;
        return;
    }
    tsr_printable(asked, strlen(asked), out->cache_dir, sizeof out->cache_dir);
    if (asked != path && (size_t)snprintf(path, sizeof path, "%s", asked) >= sizeof path) {
        out->cache_errno = ENAMETOOLONG;
        return;
    }
    to_existing(path);
    if (statvfs(path, &disk) != 0) out->cache_errno = errno;
    else if (disk.f_flag & ST_RDONLY) out->cache_errno = EROFS;
    else if (access(path, W_OK | X_OK) != 0) out->cache_errno = errno;
    else out->cache_free = (uint64_t)disk.f_bavail * disk.f_frsize;
}

void tsr_checkup_read(const char *root, const char *cache_dir, tsr_checkup *out) {
    char note[TSR_TIER_NOTE];
    tsr_tier tier;
    *out = (tsr_checkup){.cpu = *tsr_cpu_get(), .amx = *tsr_cpu_amx_facts()};
    tsr_tier_best_amx(tsr_tier_this_machine(), &tier, note, &out->amx_answer);
    tsr_cpuset_read(root, &out->set);
    tsr_system_read(root, &out->system);
    tsr_topology_read(&out->topology);
    read_cache_dir(cache_dir, out);
}
