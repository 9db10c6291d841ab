/* bench_threads: what the thread pool costs, side by side with OpenMP: `bench_threads [hogs]`.
 *
 *   fork/join   a job that does nothing
 *   barrier     one of 64 in a job
 *   tokens/s    300 jobs of about 20 us of work each, handed out in 16 pieces: the pattern of generating one token
 *
 * for several numbers of threads, more than there are CPUs too. hogs: so many processes that use CPU time beside it. Medians
 * of interleaved rounds. */
#include "core/cpu.h"
#include "core/threads.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 7, BARRIERS = 64, TOKEN_JOBS = 300, PIECES = 16, PIECE_NS = 1250, MAX_HOGS = 64 };

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static long piece_steps; /* of work() that take PIECE_NS */

/* Arithmetic that takes time, not a clock that is looked at: a thread that does not run gets nothing done. */
static uint64_t work(long steps) {
    uint64_t x = 88172645463325252u;
    for (long k = 0; k < steps; k++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return x;
}

static _Thread_local volatile uint64_t sink;

static void calibrate(void) {
    const long steps = 1 << 20;
    double best = 1e9;
    for (int k = 0; k < 20; k++) {
        double start = seconds();
        sink = work(steps);
        double took = seconds() - start;
        if (took < best) best = took;
    }
    piece_steps = (long)(PIECE_NS * 1e-9 / best * (double)steps);
}

/* ------------------------------------------------------------------------------------------------------ the pool */

static void nothing(void *ctx, int i, int n) { (void)ctx, (void)i, (void)n; }

static void meet(void *ctx, int i, int n) {
    (void)n;
    for (int k = 0; k < BARRIERS; k++) tsr_pool_barrier(ctx, i);
}

static void take_pieces(void *ctx, int i, int n) {
    (void)i, (void)n;
    while (tsr_pool_next(ctx, PIECES) < PIECES) sink = work(piece_steps);
}

static void pool_empty(void *pool, int n) {
    (void)n;
    tsr_pool_run(pool, nothing, NULL);
}

static void pool_barriers(void *pool, int n) {
    (void)n;
    tsr_pool_run(pool, meet, pool);
}

static void pool_token(void *pool, int n) {
    (void)n;
    for (int k = 0; k < TOKEN_JOBS; k++) tsr_pool_run(pool, take_pieces, pool);
}

/* -------------------------------------------------------------------------------------------------------- OpenMP */

#ifdef _OPENMP
enum { HAVE_OPENMP = 1 };

static void omp_empty(void *pool, int n) {
    (void)pool;
#pragma omp parallel num_threads(n)
    sink = 0;
}

static void omp_barriers(void *pool, int n) {
    (void)pool;
#pragma omp parallel num_threads(n)
    for (int k = 0; k < BARRIERS; k++) {
#pragma omp barrier
    }
}

static void omp_token(void *pool, int n) {
    (void)pool;
    for (int k = 0; k < TOKEN_JOBS; k++) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(n)
        for (int piece = 0; piece < PIECES; piece++) sink = work(piece_steps);
    }
}
#else
enum { HAVE_OPENMP = 0 };
#define omp_empty NULL
#define omp_barriers NULL
#define omp_token NULL
#endif

/* ------------------------------------------------------------------------------------------------------- measure */

typedef void (*act_fn)(void *pool, int n);

/* Seconds of a call, of as many as fit in about 50 ms. */
static double time_calls(act_fn act, void *pool, int n) {
    act(pool, n);
    double start = seconds(), took;
    long calls = 0;
    do {
        act(pool, n);
        calls++;
        took = seconds() - start;
    } while (took < 0.05);
    return took / (double)calls;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x) {
    qsort(x, ROUNDS, sizeof *x, by_size);
    return x[ROUNDS / 2];
}

static const struct subject {
    const char *name;
    act_fn empty, barriers, token;
    int needs_openmp;
} subjects[] = {
    {"pool", pool_empty, pool_barriers, pool_token, 0},
    {"OpenMP", omp_empty, omp_barriers, omp_token, 1},
};

static int measure(int n) {
    tsr_error err = {0};
    tsr_pool *pool = tsr_pool_open(n, true, &err);
    if (!pool) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    double empty[2][ROUNDS], barriers[2][ROUNDS], token[2][ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        for (int s = 0; s < 1 + HAVE_OPENMP; s++) {
            empty[s][round] = time_calls(subjects[s].empty, pool, n);
            barriers[s][round] = time_calls(subjects[s].barriers, pool, n) / BARRIERS;
            token[s][round] = time_calls(subjects[s].token, pool, n);
        }
    }
    for (int s = 0; s < 1 + HAVE_OPENMP; s++)
        printf("%7d  %-6s %9.2f us %9.2f us %10.1f\n", n, subjects[s].name, median(empty[s]) * 1e6, median(barriers[s]) * 1e6,
               1 / median(token[s]));
    fflush(stdout);
    tsr_pool_close(pool);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    int hogs = argc > 1 ? atoi(argv[1]) : 0, status = EXIT_SUCCESS;
    pid_t pids[MAX_HOGS];
    if (hogs < 0 || hogs > MAX_HOGS) return EXIT_FAILURE;
    calibrate();
    for (int k = 0; k < hogs; k++) {
        pid_t parent = getpid();
        if ((pids[k] = fork()) == 0) {
            while (getppid() == parent) sink = work(1 << 16);
            _exit(0);
        }
    }
    tsr_cpuset set;
    tsr_cpuset_read("", &set);
    printf("%d CPUs, %d cores, %d by default; %d other processes\nthreads           fork/join      barrier   tokens/s\n", set.n_logical,
           set.n_physical, set.n_default, hogs);
    for (int n = 1; n <= 8 * set.n_logical && n <= TSR_POOL_MAX && status == EXIT_SUCCESS; n *= 2) status = measure(n);
    for (int k = 0; k < hogs; k++)
        if (pids[k] > 0) kill(pids[k], SIGKILL), waitpid(pids[k], NULL, 0);
    return status;
}
