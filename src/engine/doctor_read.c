/* doctor_read.c: the facts for the doctor. */
#include "engine/doctor.h"

#include "buffer/cache_dir.h"
#include "engine/tier.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Cuts path to the directory that exists, itself or the nearest above it, as that is where it would be made. */
static void to_existing(char *path) {
    struct stat st;
    while (lstat(path, &st) != 0 && errno == ENOENT && strcmp(path, "/") != 0 && strcmp(path, ".") != 0) {
        size_t n = strlen(path);
        while (n > 0 && path[n - 1] == '/') n--;
        while (n > 0 && path[n - 1] != '/') n--;
        while (n > 1 && path[n - 1] == '/') n--;
        if (n > 0) path[n] = '\0';
        else strcpy(path, "."); /* relative, with nothing of it there */
    }
}

/* What is there must be fit for use, as it is when a model is opened; else it must be possible to make it. */
static void read_cache_dir(const char *asked, tsr_checkup *out) {
    tsr_cache_dir dir;
    struct statvfs disk;
    tsr_code code = tsr_cache_dir_find(&dir, asked, &out->cache_answer);
    tsr_printable(dir.path, strlen(dir.path), out->cache_dir, sizeof out->cache_dir);
    if (code != TSR_OK) return;
    char path[sizeof dir.path];
    strcpy(path, dir.path);
    to_existing(path);
    if (strcmp(path, dir.path) == 0 && tsr_cache_dir_open(&dir, asked, false, &out->cache_answer) != TSR_OK) return;
    tsr_cache_dir_close(&dir);
    int error = 0;
    if (statvfs(path, &disk) != 0) error = errno;
    else if (disk.f_flag & ST_RDONLY) error = EROFS;
    else if (access(path, W_OK | X_OK) != 0) error = errno;
    if (error) tsr_fail(&out->cache_answer, TSR_E_IO, "%s", strerror(error));
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
