#include "gguf/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Beyond RLIMIT_FSIZE the kernel sends SIGXFSZ, which kills the process unless blocked; a library must not let its
 * caller be killed for a full disk. Blocked for this thread around the call, and taken back if it was sent. */
typedef struct xfsz_guard {
    sigset_t set, old;
} xfsz_guard;

static void guard_enter(xfsz_guard *g) {
    sigemptyset(&g->set);
    sigaddset(&g->set, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &g->set, &g->old);
}

static void guard_leave(xfsz_guard *g, int error) {
    static const struct timespec now = {0, 0};
    if (error == EFBIG && !sigismember(&g->old, SIGXFSZ)) sigtimedwait(&g->set, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &g->old, NULL);
}

static tsr_code fail_write(const tsr_outfile *f, int error, tsr_error *err) {
    return tsr_fail(err, TSR_E_IO, "%s: cannot write: %s%s", f->label, strerror(error),
                    error == ENOSPC || error == EDQUOT ? "; make room, or write to another disk"
                    : error == EFBIG                   ? "; raise the limit (ulimit -f) or write to another disk"
                                                       : "");
}

/* Not mkstemp(): its files are private (0600), while this one is to get the permissions of any new file. */
static int create_temp(tsr_outfile *f) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    size_t n = strlen(f->path), cap = n + sizeof ".tmp.XXXXXX";
    f->temp = malloc(cap);
    if (!f->temp) return -1;
    snprintf(f->temp, cap, "%s.tmp.XXXXXX", f->path);
    int fd = -1;
    for (int attempt = 0; attempt < 100 && fd < 0; attempt++) {
        uint8_t random[6];
        if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) break;
        for (size_t i = 0; i < sizeof random; i++) f->temp[cap - 7 + i] = letters[random[i] % (sizeof letters - 1)];
        fd = open(f->temp, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST) break;
    }
    if (fd < 0) {
        int error = errno;
        free(f->temp); /* not ours to remove */
        f->temp = NULL;
        errno = error;
    }
    return fd;
}

tsr_code tsr_outfile_open(tsr_outfile *f, const char *path, tsr_error *err) {
    *f = (tsr_outfile){.fd = -1};
    tsr_printable(path, strlen(path), f->label, sizeof f->label);
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return tsr_fail(err, TSR_E_ARG, "%s: exists and is %s; give the name of a file to write", f->label,
                        S_ISDIR(st.st_mode) ? "a directory" : "no regular file");
    f->path = strdup(path);
    if (f->path) f->fd = create_temp(f);
    if (f->fd >= 0) return TSR_OK;
    tsr_code code = tsr_fail(err, TSR_E_IO, "%s: cannot create a file beside it: %s", f->label, strerror(errno));
    tsr_outfile_abort(f);
    return code;
}

tsr_code tsr_outfile_reserve(tsr_outfile *f, uint64_t n, tsr_error *err) {
    xfsz_guard guard;
    int error = 0;
    guard_enter(&guard);
    if (n && fallocate(f->fd, 0, 0, (off_t)n) != 0) error = errno;
    guard_leave(&guard, error);
    /* Any other failure only means that this file system cannot promise. */
    if (error != ENOSPC && error != EDQUOT && error != EFBIG) return TSR_OK;
    tsr_error why = {0};
    tsr_code code = fail_write(f, error, &why);
    tsr_fail(err, code, "%s (%llu bytes are needed)", why.message, (unsigned long long)n);
    return code;
}

tsr_code tsr_outfile_write(tsr_outfile *f, const void *bytes, size_t n, tsr_error *err) {
    const char *p = bytes;
    while (n > 0) {
        xfsz_guard guard;
        guard_enter(&guard);
        ssize_t done = write(f->fd, p, n < (1u << 30) ? n : (1u << 30));
        int error = done < 0 ? errno : 0;
        guard_leave(&guard, error);
        if (error == EINTR) continue;
        if (error) return fail_write(f, error, err);
        p += done;
        n -= (size_t)done;
    }
    return TSR_OK;
}

static void release(tsr_outfile *f) {
    if (f->fd >= 0) close(f->fd);
    free(f->path);
    free(f->temp);
    *f = (tsr_outfile){.fd = -1};
}

/* Makes the rename itself durable. Not every file system can; the file is complete either way. */
static void sync_directory(char *path) {
    int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

tsr_code tsr_outfile_commit(tsr_outfile *f, tsr_error *err) {
    int fd = f->fd;
    tsr_code code = fsync(fd) == 0 ? TSR_OK : fail_write(f, errno, err);
    f->fd = -1;
    if (close(fd) != 0 && code == TSR_OK) code = fail_write(f, errno, err);
    if (code == TSR_OK && rename(f->temp, f->path) != 0)
        code =
            tsr_fail(err, TSR_E_IO, "%s: cannot rename the finished file to this name: %s", f->label, strerror(errno));
    if (code != TSR_OK) {
        tsr_outfile_abort(f);
        return code;
    }
    sync_directory(f->path);
    release(f);
    return TSR_OK;
}

void tsr_outfile_abort(tsr_outfile *f) {
    if (f->temp) unlink(f->temp);
    release(f);
}
