/* The thread pool where CPUs are short: more threads than CPUs, other programs beside it, a cgroup's quota; and runs on
 * part of the threads. Times are the best of several rounds, so that a busy machine does not fail a test; the bounds are
 * generous, and what they guard against is far beyond them (doc/threads.md). */
#include "core/cpu.h"
#include "core/threads.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static _Thread_local volatile uint64_t sink;

/* About 2 ns a step. */
static void work(long steps) {
    uint64_t x = 88172645463325252u;
    for (long k = 0; k < steps; k++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    sink = x;
}

enum { PIECES = 16, PIECE_STEPS = 1000, JOBS = 50, ROUNDS = 12 };

static void take_pieces(void *pool, int i, int n) {
    (void)i, (void)n;
    while (tsr_pool_next(pool, PIECES) < PIECES) work(PIECE_STEPS);
}

/* Seconds of a job of about 30 us of work. */
static double job_seconds(int n_threads) {
    tsr_pool *p = tsr_pool_open(n_threads, true, NULL);
    assert_non_null(p);
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        for (int j = 0; j < JOBS; j++) tsr_pool_run(p, take_pieces, p);
        double took = (seconds() - start) / JOBS;
        if (took < best) best = took;
    }
    tsr_pool_close(p);
    return best;
}

/* ----------------------------------------------------------------------------------------- part of the threads */

struct calls {
    _Atomic int n_calls[8];
    int n_expected;
    _Atomic int wrong;
    tsr_pool *pool;
};

static void call(void *ctx, int i, int n) {
    struct calls *c = ctx;
    atomic_fetch_add(&c->n_calls[i], 1);
    if (n != c->n_expected || i >= n) atomic_fetch_add(&c->wrong, 1);
    tsr_pool_barrier(c->pool, i);
}

static void test_use(void **state) {
    (void)state;
    struct calls c = {.pool = tsr_pool_open(8, false, NULL)};
    int expected[8] = {0};
    uint32_t random = 1;
    for (int k = 0; k < 2000; k++) {
        random = random * 1103515245 + 12345;
        c.n_expected = 1 + (int)(random >> 16) % 8;
        tsr_pool_use(c.pool, c.n_expected);
        assert_int_equal(tsr_pool_size(c.pool), c.n_expected);
        for (int j = (int)(random >> 28) % 3; j > 0; j--) { /* now and then none: changes that nobody notices */
            tsr_pool_run(c.pool, call, &c);
            for (int i = 0; i < c.n_expected; i++) expected[i]++;
        }
    }
    for (int i = 0; i < 8; i++) assert_int_equal(c.n_calls[i], expected[i]);
    assert_int_equal(c.wrong, 0);
    tsr_pool_use(c.pool, 100);
    assert_int_equal(tsr_pool_size(c.pool), 8);
    tsr_pool_use(c.pool, -1);
    assert_int_equal(tsr_pool_size(c.pool), 1);
    tsr_pool_close(c.pool); /* with threads that sleep */
}

/* ---------------------------------------------------------------------------------------------- short of CPUs */

enum { MAX_CPUS_TESTED = 32 };

static pid_t hogs[MAX_CPUS_TESTED];
static int n_hogs;

static int end_hogs(void **state) {
    (void)state;
    for (; n_hogs > 0; n_hogs--) {
        kill(hogs[n_hogs - 1], SIGKILL);
        waitpid(hogs[n_hogs - 1], NULL, 0);
    }
    return 0;
}

static void start_hogs(int n) {
    for (; n_hogs < n; n_hogs++) {
        pid_t parent = getpid(), pid = fork();
        assert_true(pid >= 0);
        while (pid == 0 && getppid() == parent) work(100000); /* ends with the test at the latest */
        if (pid == 0) _exit(0);
        hogs[n_hogs] = pid;
    }
}

static void test_more_threads_than_cpus(void **state) {
    (void)state;
    static tsr_cpuset set;
    tsr_cpuset_read("", &set);
    int usable = tsr_cpuset_usable(&set);
    if (usable > MAX_CPUS_TESTED) skip();
    double right = job_seconds(set.n_default), many = job_seconds(8 * usable);
    print_message("a job: %.0f us on %d threads, %.0f us on %d\n", right * 1e6, set.n_default, many * 1e6, 8 * usable);
    assert_true(many < 10 * right + 100e-6 * usable); /* what changing threads costs, not what sleeping with a hog does */
}

/* Giving the CPU away with sched_yield() made this 1500 us or more: half a slice, at each job. */
static void test_beside_other_programs(void **state) {
    (void)state;
    static tsr_cpuset set;
    tsr_cpuset_read("", &set);
    int usable = tsr_cpuset_usable(&set);
    if (usable > MAX_CPUS_TESTED) skip();
    start_hogs(1);
    double few = job_seconds(set.n_default), many = job_seconds(2 * usable);
    print_message("beside another program: %.0f us on %d threads, %.0f us on %d\n", few * 1e6, set.n_default, many * 1e6,
                  2 * usable);
    assert_true(few < 700e-6);
    assert_true(many < 700e-6);
}

/* ------------------------------------------------------------------------------------------------ under a quota */

static bool write_file(const char *dir, const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r+"); /* a file of the kernel, which is not made here */
    if (!f) return false;
    bool ok = fputs(text, f) >= 0;
    return fclose(f) == 0 && ok;
}

/* Makes a cgroup whose limit is so many microseconds of every 100000, version 1 or 2. */
static bool make_cgroup(const char *dir, int quota_us) {
    char text[64];
    if (mkdir(dir, 0755) != 0) return false;
    snprintf(text, sizeof text, "%d 100000", quota_us);
    if (write_file(dir, "cpu.max", text)) return true;
    snprintf(text, sizeof text, "%d", quota_us);
    if (write_file(dir, "cpu.cfs_period_us", "100000") && write_file(dir, "cpu.cfs_quota_us", text)) return true;
    rmdir(dir);
    return false;
}

/* In the cgroup: counts its CPUs, then works there on more threads than that. The exit status tells. */
static void limited_child(const char *dir) {
    static tsr_cpuset set;
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (!write_file(dir, "cgroup.procs", pid)) _exit(77);
    tsr_cpuset_read("", &set);
    if (set.quota < 0.499 || set.quota > 0.501) _exit(1); /* the parent's: the tighter one */
    if (set.n_default != 1 || tsr_cpuset_usable(&set) != 1 || tsr_cpuset_threads(&set, 16) != 1) _exit(2);
    tsr_pool *p = tsr_pool_open(16, true, NULL);
    if (!p) _exit(3);
    double start = seconds();
    for (int j = 0; j < 1000; j++) tsr_pool_run(p, take_pieces, p); /* some 30 ms of work, 60 ms at half a CPU */
    double took = seconds() - start;
    tsr_pool_close(p);
    printf("16 threads under a quota of half a CPU: %.0f us a job\n", took * 1e3);
    fflush(stdout);
    _exit(took < 5 ? 0 : 4);
}

static void test_quota(void **state) {
    (void)state;
    static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"};
    char outer[128], inner[160];
    bool made = false;
    for (size_t k = 0; k < sizeof roots / sizeof *roots && !made; k++) {
        snprintf(outer, sizeof outer, "%s/tessera-test-%d", roots[k], (int)getpid());
        made = make_cgroup(outer, 50000);
    }
    if (!made) {
        print_message("no cgroup can be made here (%s): the quota test is skipped\n", strerror(errno));
        skip();
    }
    write_file(outer, "cgroup.subtree_control", "+cpu"); /* version 2 */
    snprintf(inner, sizeof inner, "%s/inner", outer);
    bool nested = make_cgroup(inner, 50000); /* version 1 allows no child more than its parent has */
    pid_t pid = fork();
    if (pid == 0) limited_child(nested ? inner : outer);
    int status = 0;
    if (pid > 0) waitpid(pid, &status, 0);
    rmdir(inner);
    rmdir(outer);
    assert_true(pid > 0 && WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("this process cannot be moved to a cgroup: the quota test is skipped\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_use),
        cmocka_unit_test(test_more_threads_than_cpus),
        cmocka_unit_test_teardown(test_beside_other_programs, end_hogs),
        cmocka_unit_test(test_quota),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
