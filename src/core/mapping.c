/* mapping.c: see mapping.h. The table has a fixed size and its entries are atomics because the signal handler reads
 * it while any thread may be opening or closing other mappings. */
#include "core/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_MAPPINGS = 1024 };

typedef struct mapping {
    atomic_uintptr_t base; /* 0: not mapped; published last, withdrawn first */
    atomic_size_t size;    /* bytes of the file when it was mapped */
    atomic_bool damaged;
    bool used; /* under table_lock */
    int fd;    /* our own, to ask for the size of the file */
    char *path;
} mapping;

static mapping table[MAX_MAPPINGS];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

/* Who handled SIGBUS before us. A record is never freed, as a handler may be reading it: a new one is only made when
 * someone else's handler is found in our place. */
typedef struct predecessor {
    struct sigaction action;
    struct predecessor *older;
} predecessor;

static _Atomic(predecessor *) previous;
static uintptr_t page_size; /* set before the first mapping */

/* -------------------------------------------------------------------------------------------------- SIGBUS */

/* Puts zeros from the page of `address` to the end of its mapping: one system call however long the lost tail is.
 * False when the address is in no mapping of ours. */
static bool patch(uintptr_t address) {
    for (int i = 0; i < MAX_MAPPINGS; i++) {
        uintptr_t base = atomic_load(&table[i].base);
        if (base == 0) continue;
        uintptr_t end = (base + atomic_load(&table[i].size) + page_size - 1) & ~(page_size - 1);
        if (address < base || address >= end) continue;
        uintptr_t page = address & ~(page_size - 1);
        atomic_store(&table[i].damaged, true);
        void *zeros = mmap((void *)page, end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        return zeros != MAP_FAILED;
    }
    return false;
}

/* Default action, once this handler has returned: as if we were not here. */
static void die(int sig) {
    struct sigaction fatal = {.sa_handler = SIG_DFL};
    sigaction(sig, &fatal, NULL);
    raise(sig);
}

static void on_sigbus(int sig, siginfo_t *info, void *context) {
    int saved = errno;
    bool sent = info->si_code <= 0; /* by a process, not by a fault */
    bool ours = !sent && patch((uintptr_t)info->si_addr);
    errno = saved;
    if (ours) return;
    /* No state is kept across these calls: handlers of this kind often leave by siglongjmp(). */
    const struct sigaction *then = &atomic_load(&previous)->action;
    if (then->sa_flags & SA_SIGINFO)
        then->sa_sigaction(sig, info, context);
    else if (then->sa_handler == SIG_DFL || (then->sa_handler == SIG_IGN && !sent)) /* faults cannot be ignored */
        die(sig);
    else if (then->sa_handler != SIG_IGN)
        then->sa_handler(sig);
}

/* Installs the handler unless it is there; called with every mapping, since programs set up theirs at any time. */
static tsr_code install_handler(const char *shown, tsr_error *err) {
    struct sigaction now, action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, NULL, &now) != 0)
        return tsr_fail(err, TSR_E_IO, "%s: cannot examine the SIGBUS handler: %s", shown, strerror(errno));
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_sigbus) return TSR_OK;
    predecessor *last = atomic_load(&previous);
    if (!last || last->action.sa_sigaction != now.sa_sigaction || last->action.sa_flags != now.sa_flags) {
        predecessor *p = malloc(sizeof *p);
        if (!p) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", shown);
        *p = (predecessor){now, last};
        atomic_store(&previous, p);
    }
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (sigaction(SIGBUS, &action, NULL) == 0) return TSR_OK;
    return tsr_fail(err, TSR_E_IO, "%s: cannot install the SIGBUS handler: %s", shown, strerror(errno));
}

/* --------------------------------------------------------------------------------------------------- table */

static int claim_slot(void) {
    pthread_mutex_lock(&table_lock);
    int id = 0;
    while (id < MAX_MAPPINGS && table[id].used) id++;
    if (id < MAX_MAPPINGS) table[id].used = true;
    pthread_mutex_unlock(&table_lock);
    return id < MAX_MAPPINGS ? id : -1;
}

static void release_slot(int id) {
    if (table[id].fd >= 0) close(table[id].fd);
    free(table[id].path);
    table[id].path = NULL;
    pthread_mutex_lock(&table_lock);
    table[id].used = false;
    pthread_mutex_unlock(&table_lock);
}

static const char *shown_path(const char *path, char *out, size_t cap) {
    return tsr_printable(path, strlen(path), out, cap);
}

tsr_code tsr_mapping_open(int fd, const char *path, const uint8_t **base, size_t *size, int *id, tsr_error *err) {
    char shown[320];
    shown_path(path, shown, sizeof shown);
    struct stat st;
    if (fstat(fd, &st) != 0) return tsr_fail(err, TSR_E_IO, "%s: cannot examine: %s", shown, strerror(errno));
    if (st.st_size <= 0) return tsr_fail(err, TSR_E_FORMAT, "%s: the file is empty", shown);
    pthread_mutex_lock(&table_lock);
    tsr_code code = install_handler(shown, err);
    pthread_mutex_unlock(&table_lock);
    if (code != TSR_OK) return code;

    int slot = claim_slot();
    if (slot < 0)
        return tsr_fail(err, TSR_E_LIMIT, "%s: %d files are mapped already, the most there can be; close a model",
                        shown, MAX_MAPPINGS);
    mapping *m = &table[slot];
    m->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    m->path = strdup(path);
    void *p = MAP_FAILED;
    if (m->fd < 0)
        code = tsr_fail(err, TSR_E_IO, "%s: cannot keep the file open: %s", shown, strerror(errno));
    else if (!m->path)
        code = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", shown);
    else if ((p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0)) == MAP_FAILED)
        code = tsr_fail(err, errno == ENOMEM ? TSR_E_NOMEM : TSR_E_IO, "%s: cannot map %lld bytes: %s", shown,
                        (long long)st.st_size, strerror(errno));
    if (code != TSR_OK) {
        release_slot(slot);
        return code;
    }
    atomic_store(&m->damaged, false);
    atomic_store(&m->size, (size_t)st.st_size);
    atomic_store(&m->base, (uintptr_t)p);
    *base = p;
    *size = (size_t)st.st_size;
    *id = slot;
    return TSR_OK;
}

void tsr_mapping_close(int id) {
    mapping *m = &table[id];
    void *base = (void *)atomic_exchange(&m->base, 0);
    munmap(base, atomic_load(&m->size));
    release_slot(id);
}

tsr_code tsr_mapping_check(int id, tsr_error *err) {
    mapping *m = &table[id];
    struct stat st;
    /* A file that lost less than a page raises no signal, its bytes just turn to zeros: ask for its size, too. */
    if (fstat(m->fd, &st) == 0 && (uint64_t)st.st_size < atomic_load(&m->size)) atomic_store(&m->damaged, true);
    if (!atomic_load(&m->damaged)) return TSR_OK;
    char shown[320];
    return tsr_fail(err, TSR_E_IO,
                    "%s: the file was truncated or became unreadable while it was in use; restore it and open it again",
                    shown_path(m->path, shown, sizeof shown));
}

int tsr_mapping_find(const void *p, size_t n) {
    for (int i = 0; i < MAX_MAPPINGS; i++) {
        uintptr_t base = atomic_load(&table[i].base), at = (uintptr_t)p - base;
        size_t size = atomic_load(&table[i].size);
        if (base != 0 && at < size && n <= size - at) return i;
    }
    return -1;
}

bool tsr_mapping_read(int id, const void *p, size_t n, void *to) {
    const mapping *m = &table[id];
    off_t at = (off_t)((uintptr_t)p - atomic_load(&m->base));
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(m->fd, (uint8_t *)to + done, n - done, at + (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        done += (size_t)got;
    }
    return true;
}

void tsr_mapping_expect(int id, const void *p, size_t n) {
    const mapping *m = &table[id];
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), base = atomic_load(&m->base), end = base + atomic_load(&m->size);
    uintptr_t from = (uintptr_t)p & ~(page - 1), to = (uintptr_t)p + n;
    if (from >= base && to <= end) madvise((void *)from, to - from, MADV_WILLNEED);
}

void tsr_mapping_release(int id, const void *p, size_t n) {
    const mapping *m = &table[id];
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), base = atomic_load(&m->base), end = base + atomic_load(&m->size);
    uintptr_t from = ((uintptr_t)p + page - 1) & ~(page - 1), to = ((uintptr_t)p + n) & ~(page - 1);
    if ((uintptr_t)p < base || (uintptr_t)p + n > end || from >= to) return; /* part pages stay: they hold other bytes, too */
    madvise((void *)from, to - from, MADV_DONTNEED); /* of a file's mapping, this drops no data */
}
