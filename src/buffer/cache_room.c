#include "buffer/cache_room.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

bool tsr_cache_limit(const tsr_cache_dir *d, uint64_t *limit) {
    const char *text = getenv("TESSERA_CACHE_LIMIT");
    if (text && *text) {
        char *end;
        errno = 0;
        unsigned long long n = strtoull(text, &end, 10);
        static const char units[] = "KMGT";
        const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
        int shift = unit ? 10 * (int)(unit - units + 1) : 0;
        if (!isdigit((unsigned char)*text) || errno || (*end && (!unit || end[1])) || n > UINT64_MAX >> shift)
            return false;
        *limit = (uint64_t)n << shift;
        return true;
    }
    struct statvfs fs;
    uint64_t most = (uint64_t)32 << 30;
    uint64_t tenth = fstatvfs(d->fd, &fs) == 0 ? (uint64_t)fs.f_blocks * fs.f_frsize / 10 : most;
    *limit = tenth < most ? tenth : most;
    return true;
}

tsr_code tsr_cache_fail_write(const tsr_cache_dir *d, int error, uint64_t bytes, tsr_error *err) {
    const char *what = error == ESTALE ? "somebody removed or replaced it meanwhile" : strerror(error);
    const char *advice = "give another directory with --cache-dir, or use --no-cache";
    if (error == ENOSPC || error == EDQUOT)
        advice = "make room, give another directory with --cache-dir, or use --no-cache";
    if (error == EFBIG) advice = "raise the limit (ulimit -f), or use --no-cache";
    return tsr_fail(err, TSR_E_IO, "%s: cannot write a file of %" PRIu64 " MB: %s; %s", d->label, bytes / 1000000, what,
                    advice);
}

/* What is there besides the file that is to be written. */
typedef struct others {
    tsr_cache_file *files; /* [n] the least recently used first; bytes 0: not counted */
    size_t n;
    uint64_t bytes, removable;
} others;

static tsr_code look(const tsr_cache_dir *d, const char *name, others *o, tsr_error *err) {
    char temporary[TSR_CACHE_NAME];
    tsr_code code = tsr_cache_list_files(d, &o->files, &o->n, err);
    tsr_cache_temporary(name, temporary);
    for (size_t i = 0; code == TSR_OK && i < o->n; i++) {
        tsr_cache_file *f = &o->files[i];
        bool own = strcmp(f->name, name) == 0 || strcmp(f->name, temporary) == 0; /* is replaced, or counted already */
        if (own || (f->temporary && tsr_cache_remove_stale(d, f->name))) f->bytes = 0;
        o->bytes += f->bytes;
        o->removable += f->temporary ? 0 : f->bytes;
    }
    return code;
}

/* Removes files until n bytes are gone, or as many as can be; returns these. */
static uint64_t evict(const tsr_cache_dir *d, others *o, uint64_t n) {
    uint64_t gone = 0;
    for (size_t i = 0; i < o->n && gone < n; i++) {
        tsr_cache_file *f = &o->files[i];
        if (f->temporary || f->bytes == 0 || tsr_cache_remove_file(d, f->name, NULL) != TSR_OK) continue;
        gone += f->bytes;
        f->bytes = 0;
    }
    return gone;
}

/* Bytes that the disk has too few. */
static uint64_t disk_lacks(const tsr_cache_dir *d, uint64_t bytes) {
    struct statvfs fs;
    if (fstatvfs(d->fd, &fs) != 0 || fs.f_blocks == 0) return 0; /* not every file system says */
    uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    return bytes > left ? bytes - left : 0;
}

/* Beyond the limit of this process a write would not only fail, but raise a signal that kills. */
static bool may_write(uint64_t bytes) {
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= bytes;
}

/* An errno, or 0. */
static int reserve(int fd, uint64_t bytes) {
    int error = fallocate(fd, 0, 0, (off_t)bytes) == 0 ? 0 : errno;
    return error == EOPNOTSUPP || error == ENOSYS || error == EINTR ? 0 : error; /* a file system that cannot promise */
}

static tsr_code fail_limit(const tsr_cache_dir *d, uint64_t bytes, uint64_t limit, tsr_error *err) {
    return tsr_fail(err, TSR_E_LIMIT,
                    "%s: a file of %" PRIu64 " MB does not fit the limit of %" PRIu64
                    " MB; raise it with --cache-limit or TESSERA_CACHE_LIMIT, or use --no-cache",
                    d->label, bytes / 1000000, limit / 1000000);
}

tsr_code tsr_cache_make_room(const tsr_cache_dir *d, const char *name, int fd, uint64_t bytes, uint64_t limit,
                             tsr_error *err) {
    others o = {0};
    tsr_code code = look(d, name, &o, err);
    if (code != TSR_OK) return code;
    uint64_t over = o.bytes + bytes > limit ? o.bytes + bytes - limit : 0, lacks = disk_lacks(d, bytes), gone = 0;
    int error = !may_write(bytes) ? EFBIG : lacks > o.removable ? ENOSPC : 0;
    if (bytes > limit || over > o.removable) code = fail_limit(d, bytes, limit, err);
    if (code == TSR_OK && !error) {
        gone = evict(d, &o, lacks);
        error = reserve(fd, bytes);
    }
    if (code == TSR_OK && error) code = tsr_cache_fail_write(d, error, bytes, err);
    if (code == TSR_OK && over > gone && evict(d, &o, over - gone) < over - gone)
        code = fail_limit(d, bytes, limit, err);
    free(o.files);
    return code;
}
