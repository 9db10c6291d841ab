/* fault_shim.c: preloaded by tests: system calls on files named *.packed* fail, or the process is killed, at a chosen one.
 *
 * SHIM_LOG=FILE     one line for every such call
 * SHIM_KILL=N       SIGKILL before call N (from 0)
 * SHIM_FAIL=NAME:E  calls of that name fail with errno E
 * SHIM_AFTER=BYTES  ... once so many bytes were written
 * SHIM_SLEEP=MS     before every pwrite
 * SHIM_CUT=FILE     FILE is truncated to half before the first fallocate */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int calls;
static long long written;

static int ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = '\0';
    return strstr(path, ".packed") != NULL;
}

/* True: the call is to fail, errno is set. */
static int step(const char *name, int fd) {
    if (fd >= 0 && !ours(fd)) return 0;
    const char *log = getenv("SHIM_LOG"), *at = getenv("SHIM_KILL"), *fault = getenv("SHIM_FAIL"), *after = getenv("SHIM_AFTER");
    int number = __atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST);
    if (log) {
        FILE *f = fopen(log, "a");
        if (f) fprintf(f, "%s\n", name), fclose(f);
    }
    if (at && number == atoi(at)) kill(getpid(), SIGKILL);
    size_t n = strlen(name);
    if (!fault || strncmp(fault, name, n) != 0 || fault[n] != ':' || (after && written < atoll(after))) return 0;
    errno = atoi(fault + n + 1);
    return 1;
}

#define REAL(type, name, ...) type (*real)(__VA_ARGS__) = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t pwrite(int fd, const void *p, size_t n, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    if (step("pwrite", fd)) return -1;
    if (getenv("SHIM_SLEEP") && ours(fd)) usleep((useconds_t)atoi(getenv("SHIM_SLEEP")) * 1000);
    ssize_t done = real(fd, p, n, at);
    if (done > 0 && ours(fd)) written += done;
    return done;
}

int fallocate(int fd, int mode, off_t at, off_t n) {
    REAL(int, "fallocate", int, int, off_t, off_t);
    struct stat st;
    const char *cut = getenv("SHIM_CUT");
    if (cut && stat(cut, &st) == 0 && truncate(cut, st.st_size / 2) == 0) unsetenv("SHIM_CUT");
    return step("fallocate", fd) ? -1 : real(fd, mode, at, n);
}

int ftruncate(int fd, off_t n) {
    REAL(int, "ftruncate", int, off_t);
    return step("ftruncate", fd) ? -1 : real(fd, n);
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return step("fsync", fd) ? -1 : real(fd);
}

int sync_file_range(int fd, off_t at, off_t n, unsigned flags) {
    REAL(int, "sync_file_range", int, off_t, off_t, unsigned);
    return step("sync_file_range", fd) ? -1 : real(fd, at, n, flags);
}

ssize_t pread(int fd, void *p, size_t n, off_t at) {
    REAL(ssize_t, "pread", int, void *, size_t, off_t);
    return step("pread", fd) ? -1 : real(fd, p, n, at);
}

int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    return step("renameat", -1) ? -1 : real(a, from, b, to);
}

int openat(int dir, const char *path, int flags, ...) {
    REAL(int, "openat", int, const char *, int, ...);
    va_list ap;
    va_start(ap, flags);
    int mode = va_arg(ap, int); /* garbage when there is none, and then ignored */
    va_end(ap);
    return strstr(path, ".packed") && step("openat", -1) ? -1 : real(dir, path, flags, mode);
}

int close(int fd) {
    REAL(int, "close", int);
    int failed = step("close", fd), error = errno;
    if (real(fd) != 0) return -1; /* Linux closes it all the same */
    errno = error;
    return failed ? -1 : 0;
}

int flock(int fd, int what) {
    REAL(int, "flock", int, int);
    return step("flock", fd) ? -1 : real(fd, what);
}

int futimens(int fd, const struct timespec times[2]) {
    REAL(int, "futimens", int, const struct timespec *);
    return step("futimens", fd) ? -1 : real(fd, times);
}

void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    REAL(void *, "mmap", void *, size_t, int, int, int, off_t);
    return fd >= 0 && step("mmap", fd) ? MAP_FAILED : real(at, n, protection, flags, fd, offset);
}
