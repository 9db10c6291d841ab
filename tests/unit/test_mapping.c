/* test_mapping.c: files that shrink while mapped; signals that are not ours. */
#include "core/mapping.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* An unlinked file of n bytes 'x'. */
static int make_file(size_t n) {
    char path[] = "/tmp/tessera-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    char *bytes = malloc(n + 1);
    assert_non_null(bytes);
    memset(bytes, 'x', n);
    assert_int_equal(write(fd, bytes, n), n);
    free(bytes);
    return fd;
}

typedef struct mapped {
    int fd, id;
    const uint8_t *base;
    size_t size;
} mapped;

static mapped map_new(size_t n, const char *name) {
    mapped m = {.fd = make_file(n)};
    tsr_error err = {0};
    if (tsr_mapping_open(m.fd, name, &m.base, &m.size, &m.id, &err) != TSR_OK) fail_msg("%s", err.message);
    assert_int_equal(m.size, n);
    return m;
}

static void unmap(mapped m) {
    tsr_mapping_close(m.id);
    close(m.fd);
}

static size_t count_x(const mapped *m, size_t from, size_t to) {
    const volatile uint8_t *p = m->base;
    size_t n = 0;
    for (size_t i = from; i < to; i++) n += p[i] == 'x';
    return n;
}

static void test_reads(void **state) {
    (void)state;
    mapped m = map_new(100001, "model");
    close(m.fd); /* not needed any more */
    assert_int_equal(count_x(&m, 0, m.size), m.size);
    assert_int_equal(tsr_mapping_check(m.id, NULL), TSR_OK);
    tsr_mapping_close(m.id);
    unsigned char resident;
    assert_int_equal(mincore((void *)(uintptr_t)m.base, 1, &resident), -1); /* nothing is mapped there any more */
    assert_int_equal(errno, ENOMEM);
}

/* KiB of the mapping that count as this process's memory. */
static long resident_kib(const mapped *m) {
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512], start[32];
    long kib = -1;
    bool here = false;
    assert_non_null(f);
    snprintf(start, sizeof start, "%lx-", (unsigned long)(uintptr_t)m->base);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, start, strlen(start)) == 0) here = true;
        if (here && sscanf(line, "Rss: %ld kB", &kib) == 1) break;
    }
    fclose(f);
    return kib;
}

static void test_release(void **state) {
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    long page_kib = (long)(page / 1024);
    mapped m = map_new(40 * page, "model");
    assert_int_equal(count_x(&m, 0, m.size), m.size);
    assert_int_equal(resident_kib(&m), 40 * page_kib);
    tsr_mapping_release(m.id, m.base + 1, page); /* no whole page */
    tsr_mapping_release(m.id, m.base, m.size + 1); /* not all inside */
    assert_int_equal(resident_kib(&m), 40 * page_kib);
    tsr_mapping_release(m.id, m.base + page - 1, 10 * page + 2); /* pages 1 to 10 */
    assert_int_equal(resident_kib(&m), 30 * page_kib);
    tsr_mapping_release(m.id, m.base, m.size);
    assert_int_equal(resident_kib(&m), 0);
    assert_int_equal(count_x(&m, 0, m.size), m.size);
    uint8_t *other = malloc(10 * page); /* no part of the mapping is left alone */
    memset(other, 'y', 10 * page);
    tsr_mapping_release(m.id, other, 10 * page);
    for (size_t i = 0; i < 10 * page; i++) assert_int_equal(other[i], 'y');
    free(other);
    unmap(m);
}

/* Pages of [from, to) of the mapping that are in memory, whosever page tables they are in. */
static size_t count_resident(const mapped *m, size_t from, size_t to) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0;
    unsigned char in[1024];
    assert_true((to - from) / page <= sizeof in);
    assert_int_equal(mincore((void *)(uintptr_t)(m->base + from), to - from, in), 0);
    for (size_t i = 0; i < (to - from) / page; i++) n += in[i] & 1;
    return n;
}

/* What is expected comes from disk by itself. Not on file systems that live in memory. */
static void test_expect(void **state) {
    (void)state;
    enum { PAGES = 512 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE), from = 64 * page, to = 448 * page;
    mapped m = map_new(PAGES * page, "expected.bin");
    assert_int_equal(fsync(m.fd), 0);
    posix_fadvise(m.fd, 0, 0, POSIX_FADV_DONTNEED);
    if (count_resident(&m, from, to) > 0) skip(); /* leaves the file mapped: the process ends soon */
    tsr_mapping_expect(m.id, m.base + from + 1, to - from - 1);
    for (int wait = 0; wait < 500 && count_resident(&m, from, to) < (to - from) / page; wait++) usleep(10000);
    assert_int_equal(count_resident(&m, from, to), (to - from) / page);
    assert_int_equal(count_x(&m, from, to), to - from);
    unmap(m);
}

static void test_reading(void **state) {
    (void)state;
    enum { BYTES = 100000 };
    uint8_t *to = calloc(1, BYTES);
    mapped m = map_new(BYTES, "model");
    assert_int_equal(tsr_mapping_find(m.base, BYTES), m.id);
    assert_int_equal(tsr_mapping_find(m.base + BYTES - 1, 1), m.id);
    assert_int_equal(tsr_mapping_find(m.base + 1, BYTES), -1); /* not all inside */
    assert_int_equal(tsr_mapping_find(m.base - 1, 2), -1);
    assert_int_equal(tsr_mapping_find(to, 1), -1);
    assert_int_equal(pwrite(m.fd, "y", 1, 12345), 1);
    assert_true(tsr_mapping_read(m.id, m.base + 12340, 10, to));
    assert_memory_equal(to, "xxxxxyxxxx", 10);
    assert_true(tsr_mapping_read(m.id, m.base, BYTES, to));
    assert_memory_equal(to, m.base, BYTES);
    assert_int_equal(ftruncate(m.fd, BYTES / 2), 0);
    assert_true(tsr_mapping_read(m.id, m.base, BYTES / 2, to));
    assert_false(tsr_mapping_read(m.id, m.base, BYTES, to)); /* it ends too early */
    unmap(m);
    assert_int_equal(tsr_mapping_find(m.base, 1), -1);
    free(to);
}

static void test_empty(void **state) {
    (void)state;
    tsr_error err = {0};
    const uint8_t *base;
    size_t size;
    int id, fd = make_file(0);
    assert_int_equal(tsr_mapping_open(fd, "dir/model", &base, &size, &id, &err), TSR_E_FORMAT);
    assert_string_equal(err.message, "dir/model: the file is empty");
    close(fd);
    assert_int_equal(tsr_mapping_open(fd, "dir/model", &base, &size, &id, &err), TSR_E_IO); /* EBADF */
}

/* `keep` bytes are left of a file of 40 pages; whatever order it is read in, what is left is intact, the rest is zeros.
 */
static void truncated_to(size_t keep, bool backwards) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    mapped bystander = map_new(3 * page, "bystander"), m = map_new(40 * page, "dir/shrunk\n.gguf");
    tsr_error err = {0};
    assert_int_equal(ftruncate(m.fd, (off_t)keep), 0);
    errno = 12345;
    if (backwards)
        for (size_t i = 40; i-- > 0;) assert_int_equal(m.base[i * page], i * page < keep ? 'x' : 0);
    assert_int_equal(count_x(&m, 0, m.size), keep);
    assert_int_equal(errno, 12345); /* the handler is invisible */
    assert_int_equal(tsr_mapping_check(m.id, &err), TSR_E_IO);
    assert_non_null(strstr(err.message, "dir/shrunk\\x0a.gguf: the file was truncated"));
    assert_int_equal(ftruncate(m.fd, (off_t)(40 * page)), 0);
    assert_int_equal(tsr_mapping_check(m.id, NULL), TSR_E_IO); /* once lost, for good */
    assert_int_equal(tsr_mapping_check(bystander.id, NULL), TSR_OK);
    assert_int_equal(count_x(&bystander, 0, bystander.size), bystander.size);
    unmap(m);
    unmap(bystander);
}

static void test_truncation(void **state) {
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t keep[] = {0, 1, page - 1, page, page + 1, 17 * page + 100, 39 * page, 40 * page - 1};
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
        truncated_to(keep[i], false);
        truncated_to(keep[i], true);
    }
}

/* The file is whole again before anyone asks: what was read meanwhile was zeros all the same. */
static void test_loss_is_remembered(void **state) {
    (void)state;
    mapped m = map_new(20000, "model");
    assert_int_equal(ftruncate(m.fd, 0), 0);
    assert_int_equal(count_x(&m, 10000, 10001), 0);
    assert_int_equal(ftruncate(m.fd, 20000), 0);
    assert_int_equal(tsr_mapping_check(m.id, NULL), TSR_E_IO);
    unmap(m);
}

/* A slot that held a damaged mapping serves the next one as new. */
static void test_slot_reuse(void **state) {
    (void)state;
    mapped m = map_new(5000, "first");
    assert_int_equal(ftruncate(m.fd, 0), 0);
    assert_int_equal(count_x(&m, 0, m.size), 0);
    int id = m.id;
    unmap(m);
    m = map_new(5000, "second");
    assert_int_equal(m.id, id);
    assert_int_equal(tsr_mapping_check(m.id, NULL), TSR_OK);
    unmap(m);
}

static void test_table_is_bounded(void **state) {
    (void)state;
    static int ids[2000];
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t soft = limit.rlim_cur;
    if (limit.rlim_max < 1500) skip();
    limit.rlim_cur = 1500; /* every mapping keeps a descriptor */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    tsr_error err = {0};
    const uint8_t *base;
    size_t size;
    int n = 0, fd = make_file(10);
    while (n < 2000 && tsr_mapping_open(fd, "model", &base, &size, &ids[n], &err) == TSR_OK) n++;
    assert_int_equal(n, 1024);
    assert_int_equal(err.code, TSR_E_LIMIT);
    for (int i = 0; i < n; i++) tsr_mapping_close(ids[i]);
    limit.rlim_cur = soft;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    close(fd);
}

/* Several threads run into the lost pages at once. */
static void *read_all(void *arg) {
    const mapped *m = arg;
    return (void *)count_x(m, 0, m->size);
}

static void test_threads(void **state) {
    (void)state;
    mapped m = map_new(1 << 20, "model");
    assert_int_equal(ftruncate(m.fd, 8192), 0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, read_all, &m), 0);
    for (int i = 0; i < 4; i++) {
        void *n;
        pthread_join(threads[i], &n);
        assert_int_equal((size_t)n, 8192);
    }
    assert_int_equal(tsr_mapping_check(m.id, NULL), TSR_E_IO);
    unmap(m);
}

/* Threads open, lose and close mappings of their own side by side. Returns the number of surprises. */
static void *open_and_close(void *arg) {
    (void)arg;
    size_t wrong = 0;
    for (int i = 0; i < 100; i++) {
        char path[] = "/tmp/tessera-test-XXXXXX";
        mapped m = {.fd = mkstemp(path)};
        unlink(path);
        if (ftruncate(m.fd, 9000) != 0) wrong++;
        if (tsr_mapping_open(m.fd, path, &m.base, &m.size, &m.id, NULL) != TSR_OK) return (void *)1000;
        if (i % 2 && ftruncate(m.fd, 0) != 0) wrong++;
        wrong += count_x(&m, 0, m.size);
        wrong += tsr_mapping_check(m.id, NULL) != (i % 2 ? TSR_E_IO : TSR_OK);
        unmap(m);
    }
    return (void *)wrong;
}

static void test_threads_of_their_own(void **state) {
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

/* ---------------------------------------------------------------------------- SIGBUS that is not about our files */

static volatile sig_atomic_t seen;
static sigjmp_buf escape;

static void old_style(int sig) { seen = sig; }

static void new_style(int sig, siginfo_t *info, void *context) {
    (void)context;
    seen = sig;
    if (info->si_code > 0) siglongjmp(escape, 1);
}

/* Touches a page that is not there, of a mapping that is not in the table. */
static void fault_elsewhere(void) {
    int fd = make_file(0);
    const volatile char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (p != MAP_FAILED) (void)*p;
    _exit(99); /* not reached: the read faults */
}

static void set_handler(void (*handler)(int), void (*action)(int, siginfo_t *, void *)) {
    struct sigaction a = {0};
    if (action) {
        a.sa_sigaction = action;
        a.sa_flags = SA_SIGINFO;
    } else {
        a.sa_handler = handler;
    }
    sigaction(SIGBUS, &a, NULL);
}

/* In a process of its own, as it may die. The exit status, or 1000 + the deadly signal. */
static int in_child(void (*body)(void)) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        body();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void child_default_fault(void) {
    set_handler(SIG_DFL, NULL);
    map_new(10, "model");
    fault_elsewhere();
}

static void child_default_sent(void) {
    set_handler(SIG_DFL, NULL);
    map_new(10, "model");
    raise(SIGBUS);
}

static void child_ignored(void) {
    set_handler(SIG_IGN, NULL);
    map_new(10, "model");
    raise(SIGBUS);
    _exit(7); /* ignored as before */
}

static void child_ignored_fault(void) {
    set_handler(SIG_IGN, NULL);
    map_new(10, "model");
    fault_elsewhere(); /* cannot be ignored */
}

static void child_old_style(void) {
    set_handler(old_style, NULL);
    map_new(10, "model");
    raise(SIGBUS);
    _exit(seen == SIGBUS ? 8 : 1);
}

static void child_new_style(void) {
    set_handler(NULL, new_style);
    mapped m = map_new(8192, "model");
    if (ftruncate(m.fd, 0) != 0 || count_x(&m, 0, m.size) != 0 || seen) _exit(1); /* ours: not passed on */
    volatile int times = 0;
    sigsetjmp(escape, 1);
    if (times++ < 3) fault_elsewhere(); /* every one arrives */
    _exit(seen == SIGBUS ? 9 : 2);
}

/* A handler set up after ours is found in our place by the next mapping, and becomes our predecessor. */
static void child_replaced(void) {
    set_handler(SIG_DFL, NULL);
    mapped first = map_new(8192, "first");
    set_handler(old_style, NULL);
    mapped m = map_new(8192, "second");
    if (ftruncate(m.fd, 0) != 0 || count_x(&m, 0, m.size) != 0 || seen) _exit(1);
    if (ftruncate(first.fd, 0) != 0 || count_x(&first, 0, first.size) != 0 || seen) _exit(2);
    raise(SIGBUS);
    _exit(seen == SIGBUS ? 10 : 3);
}

static void test_foreign_signals(void **state) {
    (void)state;
    assert_int_equal(in_child(child_default_fault), 1000 + SIGBUS);
    assert_int_equal(in_child(child_default_sent), 1000 + SIGBUS);
    assert_int_equal(in_child(child_ignored), 7);
    assert_int_equal(in_child(child_ignored_fault), 1000 + SIGBUS);
    assert_int_equal(in_child(child_old_style), 8);
    assert_int_equal(in_child(child_new_style), 9);
    assert_int_equal(in_child(child_replaced), 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foreign_signals),
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_release),
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_expect),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_loss_is_remembered),
        cmocka_unit_test(test_slot_reuse),
        cmocka_unit_test(test_table_is_bounded),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_threads_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
