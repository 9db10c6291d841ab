/* threads.h: a fixed pool of pinned threads that run one function together, with a barrier inside.
 *
 * The caller is thread 0. Workers spin for a short while after a job, then sleep on a futex, so an idle pool costs
 * nothing and a busy one hands over in about a microsecond. When the machine is oversubscribed (a thread waits longer
 * than the spin budget) they sleep at once: no collapse.
 * Every thread that runs jobs has FTZ and DAZ set (denormal scales cost ten times otherwise); the caller's MXCSR is
 * restored when the job ends.
 * Workers block every asynchronous signal, so handlers (Ctrl-C) run in the program's own threads; faults (SIGBUS of a
 * mapping that shrank, SIGSEGV) stay deliverable.
 * fork(): a child has no workers. It must not touch a pool it inherited, not even close it; it opens its own.
 */
#ifndef TSR_CORE_THREADS_H
#define TSR_CORE_THREADS_H

#include "core/cpu.h"
#include "core/error.h"
#include "core/nodes.h"

typedef struct tsr_pool tsr_pool;

/* A job: called once on every thread i of n, 0 <= i < n. */
typedef void (*tsr_job_fn)(void *ctx, int i, int n);

#define TSR_POOL_MAX 1024

/* n_threads: 1..TSR_POOL_MAX including the caller. pin: pin workers (not the caller) to distinct physical cores; done
 * only where they fit (n_threads <= physical cores allowed, no cgroup quota below that), and never an error. */
tsr_pool *tsr_pool_open(int n_threads, bool pin, tsr_error *err);
/* Pinned and spread over NUMA nodes as tsr_nodes_seat says; nodes must outlive the pool. NULL: as above. */
tsr_pool *tsr_pool_open_on(const tsr_nodes *nodes, int n_threads, tsr_error *err);
void tsr_pool_close(tsr_pool *p);
/* From now on jobs run on n threads, from 1 to those opened (what is outside is cut off); the others sleep until they are wanted again.
 * Not inside a job. A change costs about what waking up a thread costs; no change, nothing. */
void tsr_pool_use(tsr_pool *p, int n);
/* Threads that jobs run on: all that were opened, or what tsr_pool_use said. */
int tsr_pool_size(const tsr_pool *p);
/* What the pool was opened on, or NULL, and which of these nodes thread i is on in the job that runs (0 without nodes):
 * workers are pinned, the caller is where it was when the job began. */
const tsr_nodes *tsr_pool_nodes(const tsr_pool *p);
int tsr_pool_node(const tsr_pool *p, int i);
/* Runs fn on tsr_pool_size() threads and returns when all are done. Not reentrant; one caller at a time. */
void tsr_pool_run(tsr_pool *p, tsr_job_fn fn, void *ctx);
/* Inside a job: waits until all n threads are here. What was written before is seen after. */
void tsr_pool_barrier(tsr_pool *p, int i);
/* Since the pool was opened: jobs run, and barriers inside them. For thread 0, outside of jobs. */
void tsr_pool_counts(const tsr_pool *p, uint64_t *n_jobs, uint64_t *n_barriers);
/* The float mode of jobs (FTZ, DAZ, round to nearest, no traps) for work that the caller does itself; enter returns what restore takes. */
unsigned tsr_float_mode_enter(void);
void tsr_float_mode_restore(unsigned mode);
/* Dynamic work split: hands out 0, 1, 2, ... count - 1 across threads, each once, and then count to whoever still asks.
 * Reset to 0 by tsr_pool_run before the job starts. It never runs past count, so a job of two phases asks for
 * tsr_pool_next(p, a) before and tsr_pool_next(p, a + b) after a barrier. */
int64_t tsr_pool_next(tsr_pool *p, int64_t count);

/* Where a pool of n_threads, opened from caller_cpu, pins worker i (0 <= i < n_threads): a CPU, or -1 for nowhere. Pure.
 * For 0, who is the caller and is not pinned, it is the core that nobody is pinned to.
 * Worker i goes i cores after the caller's, so that the caller keeps its own, and programs side by side do not all pile
 * up on the first cores. */
int tsr_pool_place(const tsr_cpuset *set, int n_threads, int caller_cpu, int i);

/* [*begin, *end) = part i of n of `total` items, cut at multiples of `unit`. Pure. */
void tsr_split(int64_t total, int64_t unit, int i, int n, int64_t *begin, int64_t *end);

#endif
