#include "core/memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older headers */
#endif

enum { HUGE_PAGE = 2 << 20 };

static void *map(size_t n, int flags, tsr_error *err) {
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (p != MAP_FAILED) return p;
    tsr_fail(err, TSR_E_NOMEM, "cannot allocate %zu bytes (%.1f GiB): %s", n, (double)n / (1 << 30), strerror(errno));
    return NULL;
}

void *tsr_memory_alloc(size_t n, tsr_error *err) {
    void *p = map(n, 0, err);
    if (p && n >= HUGE_PAGE) madvise(p, n, MADV_HUGEPAGE); /* a hint: kernels without it go on with small pages */
    return p;
}

void *tsr_memory_reserve(size_t n, tsr_error *err) { return map(n, MAP_NORESERVE, err); }

void tsr_memory_free(void *p, size_t n) {
    if (p) munmap(p, n);
}

void tsr_memory_huge(void *p, size_t n, tsr_huge_pages wanted) {
    if (p && n >= HUGE_PAGE) madvise(p, n, wanted == TSR_HUGE_PAGES_OFF ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
}

void tsr_memory_populate(void *p, size_t n, size_t i) {
    uintptr_t start = (uintptr_t)p, end = start + n, piece = start / TSR_MEMORY_PIECE + i;
    uintptr_t from = piece * TSR_MEMORY_PIECE, to = from + TSR_MEMORY_PIECE, page = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (from < start) from = start & ~(page - 1);
    if (to > end) to = end;
    if (from < to) madvise((void *)from, to - from, MADV_POPULATE_WRITE);
}

uint64_t tsr_memory_huge_bytes(const void *p, size_t n) {
    FILE *f = fopen("/proc/self/smaps", "r");
    if (!f) return 0;
    char line[512];
    uint64_t bytes = 0;
    bool inside = false;
    while (fgets(line, sizeof line, f)) {
        unsigned long long from, to, kib;
        if (sscanf(line, "%llx-%llx ", &from, &to) == 2) inside = from < (uintptr_t)p + n && to > (uintptr_t)p;
        else if (inside && sscanf(line, "AnonHugePages: %llu kB", &kib) == 1) bytes += kib * 1024;
    }
    fclose(f);
    return bytes;
}

size_t tsr_memory_huge_most(const void *p, size_t n) {
    uintptr_t from = ((uintptr_t)p + HUGE_PAGE - 1) / HUGE_PAGE, to = ((uintptr_t)p + n) / HUGE_PAGE;
    return to > from ? (to - from) * HUGE_PAGE : 0;
}

const char *tsr_memory_huge_reason(void) {
    char line[64] = "";
    if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) > 0)
        return "they are switched off for this process (PR_SET_THP_DISABLE, by what started it)";
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    if (!f) return "this kernel has no transparent huge pages";
    if (!fgets(line, sizeof line, f)) line[0] = '\0';
    fclose(f);
    if (strstr(line, "[never]"))
        return "transparent huge pages are switched off (\"never\"; as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled)";
    return "the kernel had no more of them: memory is short or in pieces";
}

/* Bytes that this process has locked already: they count, too. */
static uint64_t locked_bytes(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long long kib = 0;
    while (f && fgets(line, sizeof line, f) && sscanf(line, "VmLck: %llu kB", &kib) != 1) {}
    if (f) fclose(f);
    return kib * 1024;
}

tsr_code tsr_memory_lock(const void *p, size_t n, tsr_error *err) {
    if (mlock(p, n) == 0) return TSR_OK;
    int error = errno;
    struct rlimit limit;
    unsigned long long all = locked_bytes() + n;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < all)
        return tsr_fail(err, TSR_E_LIMIT, "cannot lock %llu bytes in memory: the limit is %llu (raise it with ulimit -l, "
                        "or leave out --mlock)", all, (unsigned long long)limit.rlim_cur);
    return tsr_fail(err, TSR_E_LIMIT, "cannot lock %zu bytes in memory: %s (leave out --mlock)", n, strerror(error));
}

bool tsr_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }

bool tsr_add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
