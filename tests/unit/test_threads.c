/* The thread pool: every thread runs, nobody leaves a barrier early, nothing hangs, MXCSR and signals are as promised.
 */
#include "core/cpu.h"
#include "core/threads.h"

#include <dirent.h>
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static tsr_pool *open_pool(int n, bool pin) {
    tsr_error err = {0};
    tsr_pool *p = tsr_pool_open(n, pin, &err);
    if (!p) fail_msg("%s", err.message);
    assert_int_equal(tsr_pool_size(p), n);
    return p;
}

/* ------------------------------------------------------------------------------------------------------- jobs */

struct ledger {
    int64_t sum[64][8]; /* a cache line a thread */
    int64_t items;
};

static void add_range(void *ctx, int i, int n) {
    struct ledger *l = ctx;
    int64_t begin, end;
    tsr_split(l->items, 1, i, n, &begin, &end);
    for (int64_t k = begin; k < end; k++) l->sum[i][0] += k;
}

static void check_sums(int n, int jobs, bool pin) {
    tsr_pool *p = open_pool(n, pin);
    struct ledger *l = calloc(1, sizeof *l);
    int64_t want = 0, got = 0;
    for (int j = 0; j < jobs; j++) {
        l->items = j % 100;
        tsr_pool_run(p, add_range, l);
        want += l->items * (l->items - 1) / 2;
    }
    for (int i = 0; i < n; i++) got += l->sum[i][0];
    assert_int_equal(got, want);
    tsr_pool_close(p);
    free(l);
}

static void test_sums(void **state) {
    (void)state;
    check_sums(1, 1000, false);
    check_sums(2, 5000, true);
    check_sums(2, 5000, false);
    check_sums(3, 1000, true);
    check_sums(17, 300, true); /* two groups of arrivals, the last with one member */
    check_sums(64, 50, false);
}

static void test_oversubscribed(void **state) {
    (void)state;
    double start = seconds(CLOCK_MONOTONIC);
    check_sums(8, 2000, true);
    double took = seconds(CLOCK_MONOTONIC) - start;
    print_message("8 threads, 2000 jobs: %.0f ms\n", took * 1e3);
    assert_true(took < 10);
}

static void count_call(void *ctx, int i, int n) {
    (void)i;
    if (n == TSR_POOL_MAX) atomic_fetch_add((_Atomic int *)ctx, 1);
}

static void test_largest(void **state) {
    (void)state;
    tsr_pool *p = open_pool(TSR_POOL_MAX, true);
    _Atomic int calls = 0;
    for (int j = 0; j < 3; j++) tsr_pool_run(p, count_call, (void *)&calls);
    assert_int_equal(calls, 3 * TSR_POOL_MAX);
    tsr_pool_close(p);
}

/* ---------------------------------------------------------------------------------------------------- barrier */

/* In every phase each thread writes its cell, and after the barrier reads everyone's: plain memory, so the thread
 * sanitizer also checks that the barrier orders what it should. Cells alternate between two rows; one barrier a phase
 * is then enough. */
struct phases {
    tsr_pool *pool;
    int n_phases;
    int64_t cell[2][64];
    _Atomic int wrong;
};

static void run_phases(void *ctx, int i, int n) {
    struct phases *f = ctx;
    for (int phase = 0; phase < f->n_phases; phase++) {
        f->cell[phase & 1][i] = (int64_t)phase * 1000 + i;
        tsr_pool_barrier(f->pool, i);
        for (int k = 0; k < n; k++)
            if (f->cell[phase & 1][k] != (int64_t)phase * 1000 + k) atomic_fetch_add(&f->wrong, 1);
    }
}

static void check_phases(int n, int n_phases, int jobs) {
    struct phases f = {.pool = open_pool(n, false), .n_phases = n_phases};
    for (int j = 0; j < jobs; j++) tsr_pool_run(f.pool, run_phases, &f);
    assert_int_equal(f.wrong, 0);
    uint64_t counted_jobs, counted_barriers;
    tsr_pool_counts(f.pool, &counted_jobs, &counted_barriers);
    assert_int_equal(counted_jobs, jobs);
    assert_int_equal(counted_barriers, (uint64_t)jobs * (uint64_t)n_phases);
    tsr_pool_close(f.pool);
}

static void test_barrier(void **state) {
    (void)state;
    check_phases(1, 1000, 2);
    check_phases(2, 5000, 4);
    check_phases(3, 1000, 3);
    check_phases(8, 500, 2);
    check_phases(33, 60, 2); /* three groups of arrivals */
}

/* ------------------------------------------------------------------------------------------------------- next */

enum { PHASE_A = 1000, PHASE_B = 777 };

struct items {
    tsr_pool *pool;
    _Atomic unsigned char taken[PHASE_A + PHASE_B];
    _Atomic int early; /* items of the first phase handed out in the second */
};

static void take_items(void *ctx, int i, int n) {
    struct items *t = ctx;
    (void)n;
    int64_t k;
    while ((k = tsr_pool_next(t->pool, PHASE_A)) < PHASE_A) atomic_fetch_add(&t->taken[k], 1);
    tsr_pool_barrier(t->pool, i);
    while ((k = tsr_pool_next(t->pool, PHASE_A + PHASE_B)) < PHASE_A + PHASE_B) {
        if (k < PHASE_A) atomic_fetch_add(&t->early, 1);
        atomic_fetch_add(&t->taken[k], 1);
    }
}

static void test_next(void **state) {
    (void)state;
    for (int n = 1; n <= 5; n += 2) {
        struct items t = {.pool = open_pool(n, false)};
        for (int job = 1; job <= 20; job++) { /* the counter starts again with each job */
            tsr_pool_run(t.pool, take_items, &t);
            for (int k = 0; k < PHASE_A + PHASE_B; k++) assert_int_equal(t.taken[k], job);
        }
        assert_int_equal(t.early, 0);
        assert_int_equal(tsr_pool_next(t.pool, 0), 0);
        tsr_pool_close(t.pool);
    }
}

/* ------------------------------------------------------------------------------------------- state of a thread */

struct thread_state {
    unsigned mxcsr;
    bool flushed, blocks_async, blocks_faults;
};

static void look_at_state(void *ctx, int i, int n) {
    struct thread_state *s = (struct thread_state *)ctx + i;
    (void)n;
    s->mxcsr = _mm_getcsr();
    volatile float tiny = 1e-38f, half = 0.01f, denormal = 1e-40f;
    volatile float product = tiny * half, scaled = denormal * 1e30f; /* FTZ flushes the one, DAZ the other */
    s->flushed = product == 0 && scaled == 0;
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    s->blocks_async = sigismember(&set, SIGINT) && sigismember(&set, SIGTERM) && sigismember(&set, SIGUSR1);
    s->blocks_faults = sigismember(&set, SIGBUS) || sigismember(&set, SIGSEGV);
}

static void test_float_mode(void **state) {
    (void)state;
    struct thread_state s = {0};
    unsigned original = _mm_getcsr(), odd = 0x1f80 | 0x6000 | 1;
    _mm_setcsr(odd);
    unsigned mode = tsr_float_mode_enter();
    look_at_state(&s, 0, 1);
    tsr_float_mode_restore(mode);
    unsigned after = _mm_getcsr();
    _mm_setcsr(original);
    assert_true(s.flushed);
    assert_int_equal(after, odd);
}

static void test_thread_state(void **state) {
    (void)state;
    unsigned original = _mm_getcsr(), odd = 0x1f80 | 0x6000 | 1; /* round to zero, a sticky flag; no FTZ, no DAZ */
    for (int n = 1; n <= 4; n++) {
        struct thread_state s[4] = {{0}};
        _mm_setcsr(odd); /* before the workers start, so that they would inherit it */
        tsr_pool *p = tsr_pool_open(n, false, NULL);
        if (p) tsr_pool_run(p, look_at_state, s);
        unsigned after = _mm_getcsr();
        _mm_setcsr(original);
        assert_non_null(p);
        assert_int_equal(after, odd);
        for (int i = 0; i < n; i++) {
            assert_true(s[i].flushed);
            assert_int_equal(s[i].mxcsr & 0xffc0, 0x9fc0); /* all but the sticky exception flags */
            assert_false(s[i].blocks_faults);
            assert_int_equal(s[i].blocks_async, i > 0);
        }
        tsr_pool_close(p);
    }
    sigset_t set; /* the caller's own mask is untouched */
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    assert_false(sigismember(&set, SIGINT));
}

static void test_places(void **state) {
    (void)state;
    /* Four cores, the first thread of each: 2, 3, 5, 9; their second threads: 12, 13, 15, 19. */
    static tsr_cpuset set = {.n_logical = 8, .n_physical = 4, .first_cpus = {2, 3, 5, 9}};
    for (int caller = -1; caller < 20; caller++) {
        for (int n = 2; n <= 4; n++) {
            unsigned taken = 0;
            for (int i = 1; i < n; i++) {
                int cpu = tsr_pool_place(&set, n, caller, i);
                assert_true(cpu == 2 || cpu == 3 || cpu == 5 || cpu == 9);
                assert_int_not_equal(cpu, caller);
                assert_false(taken >> cpu & 1); /* distinct */
                taken |= 1u << cpu;
            }
        }
        assert_int_equal(tsr_pool_place(&set, 5, caller, 1), -1); /* more threads than cores */
    }
    assert_int_equal(tsr_pool_place(&set, 2, 2, 1), 3);
    assert_int_equal(tsr_pool_place(&set, 2, 5, 1), 9);
    assert_int_equal(tsr_pool_place(&set, 2, 9, 1), 2);
    assert_int_not_equal(tsr_pool_place(&set, 2, 12, 1), tsr_pool_place(&set, 2, 13, 1));
    set.quota = 2.5;
    assert_int_equal(tsr_pool_place(&set, 3, 2, 1), 3);
    assert_int_equal(tsr_pool_place(&set, 4, 2, 1), -1); /* more than the quota */
}

/* The one CPU this thread may run on, or -1 when there are several. */
static void look_at_cpus(void *ctx, int i, int n) {
    (void)n;
    int *cpu = (int *)ctx + i;
    cpu_set_t set;
    *cpu = -1;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) != 1) return;
    for (int k = 0; k < CPU_SETSIZE; k++)
        if (CPU_ISSET(k, &set)) *cpu = k;
}

static void test_pinning(void **state) {
    (void)state;
    static tsr_cpuset set;
    tsr_cpuset_read("", &set);
    int n = set.n_physical;
    if (n < 2 || n >= TSR_POOL_MAX || set.n_logical > CPU_SETSIZE || (set.quota > 0 && set.quota < n)) skip();
    int *cpus = calloc((size_t)n + 1, sizeof *cpus);
    tsr_pool *p = open_pool(n, true);
    tsr_pool_run(p, look_at_cpus, cpus);
    tsr_pool_close(p);
    assert_int_equal(cpus[0], -1); /* the caller is never pinned */
    for (int i = 1; i < n; i++) {
        assert_true(cpus[i] >= 0);
        for (int k = 1; k < i; k++) assert_int_not_equal(cpus[i], cpus[k]);
    }
    p = open_pool(n + 1, true); /* does not fit: nobody is pinned */
    tsr_pool_run(p, look_at_cpus, cpus);
    tsr_pool_close(p);
    for (int i = 0; i <= n; i++) assert_int_equal(cpus[i], -1);
    free(cpus);
}

/* ------------------------------------------------------------------------------------------- opening, closing */

static int threads_of_process(void) {
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    if (!d) return -1;
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* The kernel's list lags a little behind pthread_join. */
static bool threads_come_to(int want) {
    for (int k = 0; k < 100 && threads_of_process() != want; k++) usleep(10000);
    return threads_of_process() == want;
}

static void nothing(void *ctx, int i, int n) { (void)ctx, (void)i, (void)n; }

static void test_close(void **state) {
    (void)state;
    int before = threads_of_process();
    tsr_pool_close(NULL);
    tsr_pool_close(open_pool(4, true)); /* never used; workers may not even have begun */
    tsr_pool *p = open_pool(4, false);
    tsr_pool_run(p, nothing, NULL);
    tsr_pool_close(p); /* spinning */
    p = open_pool(2, false);
    tsr_pool_run(p, nothing, NULL);
    usleep(20000);
    double used = seconds(CLOCK_PROCESS_CPUTIME_ID);
    usleep(100000);
    used = seconds(CLOCK_PROCESS_CPUTIME_ID) - used;
    assert_true(used < 0.05);       /* asleep: an idle pool costs nothing */
    tsr_pool_run(p, nothing, NULL); /* and wakes up again */
    usleep(20000);
    tsr_pool_close(p); /* sleeping */
    assert_true(threads_come_to(before));
}

static void test_two_pools(void **state) {
    (void)state;
    struct ledger *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
    tsr_pool *p = open_pool(2, true), *q = open_pool(3, true);
    a->items = b->items = 10;
    for (int j = 0; j < 500; j++) {
        tsr_pool_run(p, add_range, a);
        tsr_pool_run(q, add_range, b);
    }
    assert_int_equal(a->sum[0][0] + a->sum[1][0], 500 * 45);
    assert_int_equal(b->sum[0][0] + b->sum[1][0] + b->sum[2][0], 500 * 45);
    tsr_pool_close(p);
    tsr_pool_close(q);
    free(a);
    free(b);
}

static void test_bad_counts(void **state) {
    (void)state;
    const int bad[] = {0, -1, INT32_MIN, TSR_POOL_MAX + 1, INT32_MAX};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        tsr_error err = {0};
        char number[16];
        snprintf(number, sizeof number, "%d", bad[k]);
        assert_null(tsr_pool_open(bad[k], true, &err));
        assert_int_equal(err.code, TSR_E_ARG);
        assert_non_null(strstr(err.message, number));
        assert_null(tsr_pool_open(bad[k], true, NULL));
    }
}

/* In a child, because the limit would stay: address space for a few stacks only, so creation fails midway. */
static void limited_child(void) {
    tsr_error err = {0};
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu", &pages) != 1) _exit(2);
    fclose(f);
    struct rlimit limit = {.rlim_cur = pages * 4096 + (64u << 20), .rlim_max = RLIM_INFINITY};
    if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(3);
    if (tsr_pool_open(1000, true, &err)) _exit(4);
    if (err.code != TSR_E_LIMIT || !strstr(err.message, "of 1000") || !strstr(err.message, "ulimit")) _exit(5);
    if (strstr(err.message, "thread 2 of")) _exit(6); /* some must have started */
    _exit(threads_come_to(1) ? 0 : 7);                /* and have ended */
}

static void test_no_threads_left(void **state) {
    (void)state;
    if (SANITIZED) skip(); /* a sanitizer's shadow memory does not fit under the limit */
    struct rlimit stack;
    getrlimit(RLIMIT_STACK, &stack);
    if (stack.rlim_cur < 1 << 20 || stack.rlim_cur > 30 << 20) skip(); /* thread stacks are of that size */
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) limited_child();
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ------------------------------------------------------------------------------------------------------ split */

static void check_split(int64_t total, int64_t unit, int n) {
    int64_t at = 0, least = INT64_MAX, most = 0;
    for (int i = 0; i < n; i++) {
        int64_t begin = -1, end = -1;
        tsr_split(total, unit, i, n, &begin, &end);
        assert_int_equal(begin, at); /* disjoint, no gaps */
        assert_true(end >= begin && end <= total);
        assert_true(begin % unit == 0 || begin == total);
        assert_true(end % unit == 0 || end == total);
        int64_t units = (end - begin) / unit + ((end - begin) % unit != 0);
        if (units < least) least = units;
        if (units > most) most = units;
        at = end;
    }
    assert_int_equal(at, total);
    assert_true(most - least <= 1); /* even */
}

static void test_split(void **state) {
    (void)state;
    for (int64_t total = 0; total <= 70; total++)
        for (int64_t unit = 1; unit <= 20; unit++)
            for (int n = 1; n <= 12; n++) check_split(total, unit, n);
    check_split(1, 1, TSR_POOL_MAX);
    check_split(INT64_MAX, 1, 7);
    check_split(INT64_MAX, 64, 1024);
    check_split(INT64_MAX, INT64_MAX, 3);
    check_split(INT64_MAX - 1, INT64_MAX / 2, 5);
}

static void test_latency(void **state) {
    (void)state;
    static tsr_cpuset set;
    tsr_cpuset_read("", &set);
    const int sizes[] = {1, set.n_default, 4 * set.n_default};
    for (size_t k = 0; k < 3 && sizes[k] <= TSR_POOL_MAX; k++) {
        int jobs = k == 2 ? 300 : 5000;
        tsr_pool *p = open_pool(sizes[k], true);
        tsr_pool_run(p, nothing, NULL);
        double start = seconds(CLOCK_MONOTONIC);
        for (int j = 0; j < jobs; j++) tsr_pool_run(p, nothing, NULL);
        print_message("%d threads: %.0f ns an empty job\n", sizes[k], (seconds(CLOCK_MONOTONIC) - start) / jobs * 1e9);
        tsr_pool_close(p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),      cmocka_unit_test(test_oversubscribed), cmocka_unit_test(test_largest),
        cmocka_unit_test(test_barrier),   cmocka_unit_test(test_next),           cmocka_unit_test(test_float_mode), cmocka_unit_test(test_thread_state),
        cmocka_unit_test(test_places),    cmocka_unit_test(test_pinning),        cmocka_unit_test(test_close),
        cmocka_unit_test(test_two_pools), cmocka_unit_test(test_bad_counts),     cmocka_unit_test(test_no_threads_left),
        cmocka_unit_test(test_split),     cmocka_unit_test(test_latency),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
