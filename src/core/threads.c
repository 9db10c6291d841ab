#include "core/threads.h"

#include "core/clock.h"

#include "core/cpu.h"

#include <errno.h>
#include <immintrin.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How long a waiting thread spins before it sleeps. A wake-up through the kernel costs 5 to 50 us, so spinning a few
 * times that covers the gaps between the jobs of one token. With more threads than CPUs every spin steals time from
 * the thread that is waited for: look once or twice, then let go. Letting go is sleeping, never sched_yield(): that gives
 * a whole slice (3 ms) away to whatever else wants the CPU, where a sleeper is let back in as soon as it is woken. */
enum { SPIN_NS = 200 * 1000, SPIN_NS_CROWDED = 1000, FAN_IN = 16, LINE = 64 };

/* MXCSR while a job runs: round to nearest, exceptions masked, FTZ (bit 15), DAZ (bit 6). */
enum { JOB_MXCSR = 0x1f80 | 0x8000 | 0x0040 };

/* A number that threads wait to see change. */
struct word {
    alignas(LINE) _Atomic uint32_t value;
    _Atomic uint32_t sleepers; /* threads in futex_wait, or about to be: spares the waker a system call */
};

struct counter {
    alignas(LINE) _Atomic int n;
};

/* Counts arrivals in two levels, so that no cache line is written by more than FAN_IN threads (the root: by the last
 * of each group). Resets itself when the last thread arrives. */
struct arrivals {
    struct counter root;
    struct counter group[(TSR_POOL_MAX + FAN_IN - 1) / FAN_IN];
};

/* One per thread of the pool, the caller's at index 0. */
struct worker {
    alignas(LINE) tsr_pool *pool;
    int64_t spin_ns; /* how long this thread spins now; only it reads and writes this */
    int index;
    int cpu; /* that it is pinned to, or -1 */
    int node; /* of the pool's nodes, or 0 */
    pthread_t thread;
};

struct tsr_pool {
    int n_threads;   /* that there are; of them, jobs run on */
    int n, n_groups; /* so many, which arrive in so many groups */
    int n_wanted;    /* while they become fewer: how many */
    int usable_cpus;
    const tsr_nodes *nodes; /* or NULL */
    int caller_cpu, free_cpu; /* where the caller was last seen; the core that no worker is pinned to. Or -1 */
    _Atomic int64_t spin_ns;  /* the most that a thread spins */
    tsr_job_fn fn;            /* NULL: workers end */
    void *ctx;
    /* Workers from n on are parked: they wait for `unpark` to be bumped, and when `awake` counts them too, for the jobs
     * after start had the value start_then. */
    _Atomic int awake;
    _Atomic uint32_t start_then;
    struct word unpark;
    struct word start;   /* bumped when a job is there */
    struct word done;    /* bumped when all threads have finished it */
    struct word barrier; /* bumped when all threads have reached it */
    struct arrivals finished, reached;
    alignas(LINE) _Atomic int64_t next;
    alignas(LINE) uint64_t n_jobs, n_barriers; /* only thread 0 touches these */
    struct worker workers[]; /* [n] */
};

/* Spins until the word is no longer old, or the thread's budget is used up; false then. Other programs may want our
 * CPUs: whoever spins while the thread it waits for is not running only delays it. So a budget that was spent for
 * nothing is halved, and each wait that spinning did end gives some of it back. */
static bool spin(struct worker *self, struct word *w, uint32_t old) {
    int64_t most = atomic_load_explicit(&self->pool->spin_ns, memory_order_relaxed), deadline = 0;
    if (self->spin_ns > most) self->spin_ns = most;
    do {
        for (int k = 0; k < 32; k++) {
            if (atomic_load_explicit(&w->value, memory_order_acquire) != old) {
                self->spin_ns += most / 16;
                if (self->spin_ns > most) self->spin_ns = most;
                return true;
            }
            _mm_pause();
        }
        int64_t now = tsr_clock_ns();
        if (deadline == 0) deadline = now + self->spin_ns;
        if (now >= deadline) break;
    } while (true);
    self->spin_ns /= 2;
    if (self->spin_ns < SPIN_NS_CROWDED) self->spin_ns = SPIN_NS_CROWDED;
    return false;
}

static void sleep_until_change(struct word *w, uint32_t old) {
    /* Sequentially consistent on both sides: either this thread sees the new value, or announce() sees the sleeper. */
    atomic_fetch_add(&w->sleepers, 1);
    while (atomic_load(&w->value) == old) syscall(SYS_futex, &w->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&w->sleepers, 1);
}

static void wait_change(tsr_pool *p, int i, struct word *w, uint32_t old) {
    if (!spin(&p->workers[i], w, old)) sleep_until_change(w, old);
}

static void announce(struct word *w) {
    atomic_fetch_add(&w->value, 1);
    if (atomic_load(&w->sleepers)) syscall(SYS_futex, &w->value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* True for the last of n arrivals; everything the others wrote before they arrived is visible to it then. */
static bool arrive_at(struct counter *c, int n) {
    if (atomic_fetch_add_explicit(&c->n, 1, memory_order_acq_rel) + 1 < n) return false;
    atomic_store_explicit(&c->n, 0, memory_order_relaxed); /* published by the word that is bumped next */
    return true;
}

static bool arrive(const tsr_pool *p, struct arrivals *a, int i) {
    int g = i / FAN_IN;
    int members = g + 1 < p->n_groups ? FAN_IN : p->n - g * FAN_IN;
    return arrive_at(&a->group[g], members) && arrive_at(&a->root, p->n_groups);
}

/* Sleeps until the worker is one of those that run jobs; what `start` was before the first of them. */
static uint32_t park(tsr_pool *p, const struct worker *w) {
    for (;;) {
        uint32_t old = atomic_load_explicit(&p->unpark.value, memory_order_acquire);
        if (w->index < atomic_load_explicit(&p->awake, memory_order_acquire)) break;
        sleep_until_change(&p->unpark, old);
    }
    return atomic_load_explicit(&p->start_then, memory_order_relaxed);
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    tsr_pool *p = w->pool;
    _mm_setcsr(JOB_MXCSR);
    for (uint32_t seen = 0;;) {
        wait_change(p, w->index, &p->start, seen++);
        if (!p->fn) return NULL;
        p->fn(p->ctx, w->index, p->n);
        /* Looked at before arriving: while this worker has not, the number stays what it is. */
        bool leaves = w->index >= atomic_load_explicit(&p->awake, memory_order_relaxed);
        if (arrive(p, &p->finished, w->index)) announce(&p->done);
        if (leaves) seen = park(p, w);
    }
}

unsigned tsr_float_mode_enter(void) {
    unsigned mode = _mm_getcsr();
    _mm_setcsr(JOB_MXCSR);
    return mode;
}

void tsr_float_mode_restore(unsigned mode) { _mm_setcsr(mode); }

/* Refused by the kernel: the worker stays where it is. */
static void pin_worker(const struct worker *w, const tsr_cpumask *cpus) {
    pthread_setaffinity_np(w->thread, sizeof *cpus, (const cpu_set_t *)cpus->bits);
}

static void pin_to_core(struct worker *w, int cpu) {
    tsr_cpumask one = {{0}};
    tsr_cpumask_add(&one, cpu);
    w->cpu = cpu;
    if (w->pool->nodes) w->node = tsr_nodes_of_cpu(w->pool->nodes, cpu);
    pin_worker(w, &one);
}

/* To those CPUs of the node that this process may use. */
static void pin_to_node(const struct worker *w) {
    tsr_cpumask allowed = tsr_cpumask_affinity(), cpus = {{0}};
    for (int cpu = 0; cpu < TSR_MAX_CPUS; cpu++)
        if (tsr_cpumask_has(&allowed, cpu) && tsr_nodes_of_cpu(w->pool->nodes, cpu) == w->node)
            tsr_cpumask_add(&cpus, cpu);
    pin_worker(w, &cpus);
}

/* The caller is not pinned: the kernel may have moved it to the CPU of a worker, which cannot make way by itself. That
 * one goes to the core that has nobody. */
static void make_way(tsr_pool *p) {
    int cpu = sched_getcpu();
    if (cpu == p->caller_cpu) return;
    p->caller_cpu = cpu;
    if (p->nodes) p->workers[0].node = tsr_nodes_of_cpu(p->nodes, cpu);
    for (int i = 1; i < p->n_threads && p->free_cpu >= 0; i++) { /* parked ones too */
        struct worker *w = &p->workers[i];
        if (w->cpu != cpu) continue;
        pin_to_core(w, p->free_cpu);
        p->free_cpu = cpu;
        return;
    }
}

void tsr_pool_run(tsr_pool *p, tsr_job_fn fn, void *ctx) {
    unsigned mode = tsr_float_mode_enter();
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    p->n_jobs++;
    if (p->n > 1 || p->nodes) make_way(p);
    if (p->n == 1) {
        fn(ctx, 0, 1);
    } else {
        uint32_t done = atomic_load_explicit(&p->done.value, memory_order_relaxed);
        p->fn = fn;
        p->ctx = ctx;
        announce(&p->start);
        fn(ctx, 0, p->n);
        if (arrive(p, &p->finished, 0)) announce(&p->done);
        wait_change(p, 0, &p->done, done);
    }
    tsr_float_mode_restore(mode);
}

void tsr_pool_barrier(tsr_pool *p, int i) {
    if (i == 0) p->n_barriers++;
    if (p->n == 1) return;
    uint32_t old = atomic_load_explicit(&p->barrier.value, memory_order_relaxed);
    if (arrive(p, &p->reached, i))
        announce(&p->barrier);
    else
        wait_change(p, i, &p->barrier, old);
}

int64_t tsr_pool_next(tsr_pool *p, int64_t count) {
    int64_t k = atomic_load_explicit(&p->next, memory_order_relaxed);
    do {
        if (k >= count) return count;
    } while (!atomic_compare_exchange_weak_explicit(&p->next, &k, k + 1, memory_order_relaxed, memory_order_relaxed));
    return k;
}

int tsr_pool_size(const tsr_pool *p) { return p->n; }

const tsr_nodes *tsr_pool_nodes(const tsr_pool *p) { return p->nodes; }

int tsr_pool_node(const tsr_pool *p, int i) { return p->workers[i].node; }

void tsr_pool_counts(const tsr_pool *p, uint64_t *n_jobs, uint64_t *n_barriers) {
    *n_jobs = p->n_jobs;
    *n_barriers = p->n_barriers;
}

static void set_count(tsr_pool *p, int n) {
    p->n = n;
    p->n_groups = (n + FAN_IN - 1) / FAN_IN;
    atomic_store_explicit(&p->spin_ns, n > p->usable_cpus ? SPIN_NS_CROWDED : SPIN_NS, memory_order_relaxed);
}

/* The last job of those that park after it. The number gets smaller when all have come here, so that nobody is on the way
 * out of park() any more, and before anybody is on the way in. */
static void shrink(void *ctx, int i, int n) {
    (void)n;
    tsr_pool *p = ctx;
    tsr_pool_barrier(p, i);
    if (i == 0) atomic_store_explicit(&p->awake, p->n_wanted, memory_order_relaxed);
    tsr_pool_barrier(p, i);
}

void tsr_pool_use(tsr_pool *p, int n) {
    n = n < 1 ? 1 : n > p->n_threads ? p->n_threads : n;
    if (n < p->n) {
        p->n_wanted = n;
        tsr_pool_run(p, shrink, p);
        set_count(p, n);
    } else if (n > p->n) {
        uint32_t start = atomic_load_explicit(&p->start.value, memory_order_relaxed);
        atomic_store_explicit(&p->start_then, start, memory_order_relaxed);
        set_count(p, n);
        atomic_store_explicit(&p->awake, n, memory_order_release);
        announce(&p->unpark);
    }
}

/* Ends and joins workers 1..n_started; the job counters are not in use then. */
static void stop(tsr_pool *p, int n_started) {
    tsr_pool_use(p, p->n_threads);
    p->fn = NULL;
    announce(&p->start);
    for (int i = 1; i <= n_started; i++) pthread_join(p->workers[i].thread, NULL);
    free(p);
}

int tsr_pool_place(const tsr_cpuset *set, int n_threads, int caller_cpu, int i) {
    if (n_threads > set->n_physical || n_threads > tsr_cpuset_usable(set)) return -1;
    /* On the second thread of a core the remainder is right where those are numbered after all first ones (usual); else
     * it still spreads programs out, and the caller, not pinned, makes way. */
    int core = caller_cpu > 0 ? caller_cpu % set->n_physical : 0;
    for (int k = 0; k < set->n_physical; k++)
        if (set->first_cpus[k] == caller_cpu) core = k;
    return set->first_cpus[(core + i) % set->n_physical];
}

/* New threads inherit the signal mask, so it is set around their creation. Faults must stay deliverable: a blocked
 * SIGBUS would kill the process without asking the handler of core/mapping.h. */
static void block_asynchronous_signals(sigset_t *old) {
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t set;
    sigfillset(&set);
    for (size_t k = 0; k < sizeof faults / sizeof *faults; k++) sigdelset(&set, faults[k]);
    pthread_sigmask(SIG_BLOCK, &set, old);
}

/* Where everybody runs; node 0 and no core without nodes and pins. */
static void find_seats(const tsr_pool *p, const tsr_cpuset *set, bool pin, tsr_seat *out) {
    if (p->nodes) {
        tsr_nodes_seat(p->nodes, set, p->n_threads, p->caller_cpu, out);
        return;
    }
    for (int i = 0; i < p->n_threads; i++)
        out[i] = (tsr_seat){0, pin ? tsr_pool_place(set, p->n_threads, p->caller_cpu, i) : -1};
}

static tsr_pool *open_pool(const tsr_nodes *nodes, int n_threads, bool pin, tsr_error *err) {
    if (n_threads < 1 || n_threads > TSR_POOL_MAX) {
        tsr_fail(err, TSR_E_ARG, "cannot run on %d threads; give a number from 1 to %d", n_threads, TSR_POOL_MAX);
        return NULL;
    }
    size_t size = sizeof(tsr_pool) + (size_t)n_threads * sizeof(struct worker);
    size = (size + LINE - 1) / LINE * LINE;
    tsr_pool *p = aligned_alloc(LINE, size);
    if (!p) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory for a pool of %d threads (%zu bytes)", n_threads, size);
        return NULL;
    }
    memset(p, 0, size);
    tsr_cpuset set;
    tsr_cpuset_read("", &set);
    p->n_threads = n_threads;
    p->usable_cpus = tsr_cpuset_usable(&set);
    set_count(p, n_threads);
    atomic_store(&p->awake, n_threads);
    p->caller_cpu = sched_getcpu();
    p->nodes = nodes;
    tsr_seat seats[TSR_POOL_MAX];
    find_seats(p, &set, pin, seats);
    p->free_cpu = seats[0].cpu;

    sigset_t old_mask;
    block_asynchronous_signals(&old_mask);
    for (int k = 0; k < n_threads; k++)
        p->workers[k] = (struct worker){.pool = p, .index = k, .spin_ns = p->spin_ns, .cpu = -1, .node = seats[k].node};
    int rc = 0, i = 1;
    for (; i < n_threads; i++) {
        struct worker *w = &p->workers[i];
        rc = pthread_create(&w->thread, NULL, worker_main, w);
        if (rc) break;
        if (seats[i].cpu >= 0) pin_to_core(w, seats[i].cpu);
        else if (nodes) pin_to_node(w);
    }
    pthread_sigmask(SIG_SETMASK, &old_mask, NULL);
    if (rc == 0) return p;
    stop(p, i - 1);
    tsr_fail(
        err, rc == ENOMEM ? TSR_E_NOMEM : TSR_E_LIMIT,
        "cannot start thread %d of %d: %s; use fewer threads, or raise the limit on processes (ulimit -u, pids.max "
        "of the cgroup) or on memory (ulimit -v, ulimit -s)",
        i + 1, n_threads, strerror(rc));
    return NULL;
}

tsr_pool *tsr_pool_open(int n_threads, bool pin, tsr_error *err) { return open_pool(NULL, n_threads, pin, err); }

tsr_pool *tsr_pool_open_on(const tsr_nodes *nodes, int n_threads, tsr_error *err) {
    return open_pool(nodes, n_threads, true, err);
}

void tsr_pool_close(tsr_pool *p) {
    if (p) stop(p, p->n_threads - 1);
}

void tsr_split(int64_t total, int64_t unit, int i, int n, int64_t *begin, int64_t *end) {
    int64_t units = total / unit + (total % unit != 0);
    int64_t each = units / n, more = units % n; /* the first `more` parts take one unit more */
    int64_t first = i * each + (i < more ? i : more);
    int64_t last = first + each + (i < more);
    *begin = first < units ? first * unit : total;
    *end = last < units ? last * unit : total;
}
