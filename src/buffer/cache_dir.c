#include "buffer/cache_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --------------------------------------------------------------------------------------------- the directory */

/* Where it is when nobody says: XDG Base Directory Specification, by which a relative path counts as none. */
static tsr_code default_path(char *out, size_t cap, tsr_error *err) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (xdg && xdg[0] == '/') n = snprintf(out, cap, "%s/tessera/packed", xdg);
    else if (home && home[0] == '/') n = snprintf(out, cap, "%s/.cache/tessera/packed", home);
    if (n > 0 && (size_t)n < cap) return TSR_OK;
    return tsr_fail(err, TSR_E_IO, "neither XDG_CACHE_HOME nor HOME names a directory for it; give one with --cache-dir, or use --no-cache");
}

/* mkdir -p; what is made is for this user only. Returns an errno. */
static int make_directories(char *path) {
    for (char *slash = path + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        int failed = mkdir(path, 0700) != 0 && errno != EEXIST ? errno : 0;
        *slash = '/';
        if (failed && failed != EROFS && failed != EACCES) return failed; /* these two: it may be there all the same */
    }
    return mkdir(path, 0700) != 0 && errno != EEXIST ? errno : 0;
}

static tsr_code check_directory(const tsr_cache_dir *d, tsr_error *err) {
    struct stat st;
    if (fstat(d->fd, &st) != 0) return tsr_fail(err, TSR_E_IO, "%s: cannot examine: %s", d->label, strerror(errno));
    if (st.st_uid != geteuid())
        return tsr_fail(err, TSR_E_IO, "%s: the directory belongs to another user, whose files are not trusted; give one of yours with --cache-dir",
                        d->label);
    if (st.st_mode & 022)
        return tsr_fail(err, TSR_E_IO, "%s: other users may write to this directory (mode %04o), so its files are not trusted; chmod 700 it",
                        d->label, (unsigned)st.st_mode & 07777);
    return TSR_OK;
}

tsr_code tsr_cache_dir_find(tsr_cache_dir *d, const char *path, tsr_error *err) {
    d->fd = -1;
    d->path[0] = '\0';
    if (path && *path) {
        if (strlen(path) >= sizeof d->path)
            return tsr_fail(err, TSR_E_IO, "the name of the cache directory is too long");
        strcpy(d->path, path);
    } else {
        tsr_code code = default_path(d->path, sizeof d->path, err);
        if (code != TSR_OK) return code;
    }
    tsr_printable(d->path, strlen(d->path), d->label, sizeof d->label);
    return TSR_OK;
}

tsr_code tsr_cache_dir_open(tsr_cache_dir *d, const char *path, bool create, tsr_error *err) {
    tsr_code code = tsr_cache_dir_find(d, path, err);
    if (code != TSR_OK) return code;
    int failure = create ? make_directories(d->path) : 0;
    if (failure) return tsr_fail(err, TSR_E_IO, "%s: cannot create the directory: %s; give another with --cache-dir, or use --no-cache",
                                 d->label, strerror(failure));
    d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->fd < 0)
        return tsr_fail(err, TSR_E_IO, "%s: cannot open the directory: %s; give another with --cache-dir, or use --no-cache", d->label,
                        strerror(errno));
    code = check_directory(d, err);
    if (code != TSR_OK) tsr_cache_dir_close(d);
    return code;
}

void tsr_cache_dir_close(tsr_cache_dir *d) {
    if (d->fd >= 0) close(d->fd);
    d->fd = -1;
}

/* --------------------------------------------------------------------------------------------------- files */

enum { HEX = 32 };

void tsr_cache_name(tsr_digest key, char out[TSR_CACHE_NAME]) {
    snprintf(out, TSR_CACHE_NAME, "%016" PRIx64 "%016" PRIx64 ".packed", key.high, key.low);
}

bool tsr_cache_is_name(const char *name, bool *temporary) {
    if (strspn(name, "0123456789abcdef") != HEX) return false;
    *temporary = strcmp(name + HEX, ".packed.tmp") == 0;
    return *temporary || strcmp(name + HEX, ".packed") == 0;
}

void tsr_cache_temporary(const char *name, char out[TSR_CACHE_NAME]) { snprintf(out, TSR_CACHE_NAME, "%.50s.tmp", name); }

tsr_code tsr_cache_open_file(const tsr_cache_dir *d, const char *name, int *fd, uint64_t *bytes, tsr_error *err) {
    struct stat st;
    *fd = openat(d->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC); /* not blocking: should it be a pipe */
    if (*fd < 0 && errno == ENOENT) return TSR_OK;
    if (*fd < 0) return tsr_fail(err, TSR_E_FORMAT, "it cannot be opened: %s", errno == ELOOP ? "it is a symbolic link" : strerror(errno));
    const char *problem = NULL;
    if (fstat(*fd, &st) != 0) problem = strerror(errno);
    else if (!S_ISREG(st.st_mode)) problem = "it is no regular file";
    else if (st.st_uid != geteuid()) problem = "it belongs to another user";
    else if (st.st_mode & 077) problem = "others may read or write it";
    else if (st.st_nlink > 1) problem = "it has another name elsewhere";
    if (problem) {
        close(*fd);
        *fd = -1;
        return tsr_fail(err, TSR_E_FORMAT, "%s", problem);
    }
    *bytes = (uint64_t)st.st_size;
    return TSR_OK;
}

static tsr_code read_all(int fd, void *to, size_t n, tsr_error *err) {
    for (size_t at = 0; at < n;) {
        ssize_t got = pread(fd, (uint8_t *)to + at, n - at, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return tsr_fail(err, TSR_E_FORMAT, "it cannot be read: %s", got < 0 ? strerror(errno) : "it ends too early");
        at += (size_t)got;
    }
    return TSR_OK;
}

tsr_code tsr_cache_read_head(int fd, uint64_t bytes, uint8_t **image, tsr_cache_header *header, const tsr_cache_tensor **tensors, tsr_error *err) {
    uint8_t start[TSR_CACHE_DIRECTORY] = {0};
    size_t n = 0;
    *image = NULL;
    tsr_code code = read_all(fd, start, bytes < sizeof start ? (size_t)bytes : sizeof start, err);
    if (code == TSR_OK) code = tsr_cache_head_bytes(start, bytes, &n, err);
    if (code != TSR_OK) return code;
    *image = malloc(n);
    if (!*image) return tsr_fail(err, TSR_E_NOMEM, "out of memory");
    code = read_all(fd, *image, n, err);
    if (code == TSR_OK) code = tsr_cache_parse(*image, n, bytes, header, tensors, err);
    if (code == TSR_OK) return TSR_OK;
    free(*image);
    *image = NULL;
    return code;
}

bool tsr_cache_is_same(const tsr_cache_dir *d, const char *name, int fd) {
    struct stat a, b;
    return fstat(fd, &a) == 0 && fstatat(d->fd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Whose is an open temporary file? */
typedef enum claim { CLAIM_OURS, CLAIM_OTHERS, CLAIM_NOBODYS } claim;

/* Some network file systems have no locks. There a file is its creator's, until that has given no sign of life for
 * long: writers touch theirs. */
static claim claim_file(int fd, bool created) {
    struct stat st;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return CLAIM_OURS;
    if (errno == EWOULDBLOCK) return CLAIM_OTHERS;
    if (created) return CLAIM_OURS;
    return fstat(fd, &st) == 0 && st.st_mtim.tv_sec + TSR_CACHE_SILENCE < time(NULL) ? CLAIM_NOBODYS : CLAIM_OTHERS;
}

/* -1: there is none. */
static int open_temporary(const tsr_cache_dir *d, const char *temporary, bool *created, tsr_error *err) {
    const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int fd = openat(d->fd, temporary, flags | O_CREAT | O_EXCL, 0600);
    *created = fd >= 0;
    if (fd < 0 && errno == EEXIST) fd = openat(d->fd, temporary, flags);
    if (fd < 0 && errno == ELOOP && unlinkat(d->fd, temporary, 0) == 0) return -1; /* a symbolic link in the way */
    if (fd < 0 && errno != ENOENT)
        tsr_fail(err, TSR_E_IO,
                 "%s: cannot create a file: %s; give another directory with --cache-dir, or use --no-cache", d->label,
                 strerror(errno));
    return fd;
}

static bool is_plain(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_uid == geteuid();
}

tsr_code tsr_cache_lock(const tsr_cache_dir *d, const char *name, int *fd, tsr_error *err) {
    char temporary[TSR_CACHE_NAME];
    tsr_cache_temporary(name, temporary);
    for (int attempt = 0; attempt < 100; attempt++) {
        bool created;
        tsr_error why = {0};
        *fd = open_temporary(d, temporary, &created, &why);
        if (why.code != TSR_OK) return tsr_fail(err, why.code, "%s", why.message);
        if (*fd < 0) continue; /* it went between two looks */
        claim whose = claim_file(*fd, created);
        bool there = tsr_cache_is_same(d, temporary, *fd);
        if (there && whose == CLAIM_OURS && is_plain(*fd)) {
            if (fchmod(*fd, 0600) == 0 && ftruncate(*fd, 0) == 0)
                return TSR_OK; /* what a killed writer left is written anew */
            tsr_fail(&why, TSR_E_IO, "%s: cannot write: %s; give another directory with --cache-dir, or use --no-cache",
                     d->label, strerror(errno));
        }
        if (there && whose != CLAIM_OTHERS)
            unlinkat(d->fd, temporary, 0); /* left by a dead writer, or something that is not ours */
        close(*fd);
        *fd = -1;
        if (there && whose == CLAIM_OTHERS) return TSR_OK;
        if (why.code != TSR_OK) return tsr_fail(err, why.code, "%s", why.message);
    }
    return tsr_fail(err, TSR_E_IO, "%s: %s cannot be removed, or is always replaced while it is opened; use --no-cache",
                    d->label, temporary);
}

void tsr_cache_drop(const tsr_cache_dir *d, const char *name, int fd) {
    char temporary[TSR_CACHE_NAME];
    tsr_cache_temporary(name, temporary);
    if (tsr_cache_is_same(d, temporary, fd)) unlinkat(d->fd, temporary, 0);
    close(fd);
}

int64_t tsr_cache_writer_at(const tsr_cache_dir *d, const char *name) {
    char temporary[TSR_CACHE_NAME];
    struct stat st;
    tsr_cache_temporary(name, temporary);
    return fstatat(d->fd, temporary, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (int64_t)st.st_blocks + st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000 : -1;
}

/* ------------------------------------------------------------------------------------------ what is in it */

static int by_use(const void *a, const void *b) {
    const tsr_cache_file *x = a, *y = b;
    return x->used < y->used ? -1 : x->used > y->used ? 1 : strcmp(x->name, y->name);
}

tsr_code tsr_cache_list_files(const tsr_cache_dir *d, tsr_cache_file **files, size_t *n, tsr_error *err) {
    *files = NULL;
    *n = 0;
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        tsr_code code = tsr_fail(err, TSR_E_IO, "%s: cannot list: %s", d->label, strerror(errno));
        if (fd >= 0) close(fd);
        return code;
    }
    size_t cap = 0;
    struct dirent *entry;
    tsr_code code = TSR_OK;
    while (code == TSR_OK && (entry = readdir(dir)) != NULL) {
        struct stat st;
        bool temporary;
        if (!tsr_cache_is_name(entry->d_name, &temporary) || fstatat(d->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (*n == cap) {
            cap = cap ? cap * 2 : 16;
            tsr_cache_file *more = realloc(*files, cap * sizeof *more);
            if (more) *files = more;
            else code = tsr_fail(err, TSR_E_NOMEM, "out of memory");
        }
        if (code != TSR_OK) continue;
        tsr_cache_file *f = &(*files)[(*n)++];
        *f = (tsr_cache_file){.temporary = temporary, .bytes = (uint64_t)st.st_blocks * 512, .used = st.st_mtim.tv_sec};
        snprintf(f->name, sizeof f->name, "%.63s", entry->d_name);
    }
    closedir(dir);
    if (code != TSR_OK) {
        free(*files);
        *files = NULL;
        *n = 0;
    } else if (*n) {
        qsort(*files, *n, sizeof **files, by_use);
    }
    return code;
}

/* An errno; EWOULDBLOCK: somebody is writing it, or may be. A symbolic link is nobody's. */
static int remove_temporary(const tsr_cache_dir *d, const char *temporary) {
    int fd = openat(d->fd, temporary, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int error = fd < 0 && errno != ELOOP ? errno : 0;
    if (fd >= 0 && (claim_file(fd, false) == CLAIM_OTHERS || !tsr_cache_is_same(d, temporary, fd))) error = EWOULDBLOCK;
    if (!error && unlinkat(d->fd, temporary, 0) != 0) error = errno;
    if (fd >= 0) close(fd);
    return error;
}

bool tsr_cache_remove_stale(const tsr_cache_dir *d, const char *temporary) {
    return remove_temporary(d, temporary) == 0;
}

tsr_code tsr_cache_remove_file(const tsr_cache_dir *d, const char *name, tsr_error *err) {
    bool temporary = false;
    int error = tsr_cache_is_name(name, &temporary) && temporary ? remove_temporary(d, name)
                : unlinkat(d->fd, name, 0) == 0                  ? 0
                                                                 : errno;
    if (!error || error == ENOENT) return TSR_OK;
    const char *why = error == EWOULDBLOCK ? "another process is writing it, or may be; let it finish, or end it"
                                           : strerror(error);
    return tsr_fail(err, TSR_E_IO, "%s/%s: cannot remove: %s", d->label, name, why);
}
