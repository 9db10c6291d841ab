/* One test: context, warm-up, repetitions, then the peaks of the machine and what the test cost. After each repetition the sessions are truncated to
 * the depth of the test, so that a deep context is computed once, and tests at greater depths go on from there. */
#include "cli/bench_test.h"

#include "cli/interrupt.h"
#include "cli/numbers.h"

#include <stdlib.h>
#include <time.h>

enum { PEAK_SAMPLES = 15, MOST_SEQUENCES = 256 };

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* --- memory -------------------------------------------------------------------------------------------------------------------- */

uint64_t peak_rss(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long long kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %llu kB", &kib) == 1) break;
    if (f) fclose(f);
    return kib * 1024;
}

void forget_peak_rss(void) {
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f) return;
    fputs("5", f);
    fclose(f);
}

/* --- running ------------------------------------------------------------------------------------------------------------------- */

static const tsr_token *next_tokens(const test_bed *bed, int sequence) {
    return bed->tokens + SEQUENCE_STEP * sequence + tsr_session_length(bed->sessions[sequence]);
}

/* Appends the next n tokens of a sequence, n_batch in a call; with logits of the last of each call. */
static tsr_code read_prompt(const test_bed *bed, int sequence, int n, int n_batch, tsr_error *err) {
    tsr_code code = TSR_OK;
    interrupt_watch(bed->sessions[sequence]);
    for (int64_t done = 0; done < n && code == TSR_OK; done += n_batch) {
        code = tsr_session_eval(bed->sessions[sequence], next_tokens(bed, sequence), (size_t)smaller(n - done, n_batch), TSR_LOGITS_LAST, err);
        if (interrupted()) code = TSR_E_CANCELLED;
    }
    return code;
}

/* A token of each sequence. */
static tsr_code generate_step(const test_bed *bed, int n_sequences, tsr_error *err) {
    if (n_sequences == 1) return tsr_session_eval(bed->sessions[0], next_tokens(bed, 0), 1, TSR_LOGITS_LAST, err);
    tsr_batch_item items[MOST_SEQUENCES];
    for (int i = 0; i < n_sequences; i++) items[i] = (tsr_batch_item){bed->sessions[i], next_tokens(bed, i), 1, TSR_LOGITS_LAST};
    return tsr_session_eval_batch(items, (size_t)n_sequences, err);
}

static tsr_code generate_tokens(const test_bed *bed, int n_sequences, int n, tsr_error *err) {
    tsr_code code = TSR_OK;
    interrupt_watch(bed->sessions[0]);
    for (int i = 0; i < n && code == TSR_OK; i++) {
        code = generate_step(bed, n_sequences, err);
        if (interrupted()) code = TSR_E_CANCELLED;
    }
    return code;
}

static tsr_code run_once(const test_bed *bed, const test_result *t, int n_prompt, int n_gen, tsr_error *err) {
    tsr_code code = TSR_OK;
    for (int i = 0; i < t->n_parallel && code == TSR_OK; i++) code = read_prompt(bed, i, n_prompt, t->config.n_batch, err);
    return code == TSR_OK ? generate_tokens(bed, t->n_parallel, n_gen, err) : code;
}

/* Every sequence holds n_depth tokens at most. */
static tsr_code go_back(const test_bed *bed, const test_result *t, tsr_error *err) {
    tsr_code code = TSR_OK;
    for (int i = 0; i < t->n_parallel && code == TSR_OK; i++) {
        size_t held = tsr_session_length(bed->sessions[i]), depth = (size_t)t->n_depth;
        code = tsr_session_truncate(bed->sessions[i], held < depth ? held : depth, err);
    }
    return code;
}

/* The sequences hold n_depth tokens, caches and threads are warm. */
static tsr_code prepare(const test_bed *bed, const test_result *t, tsr_error *err) {
    tsr_code code = go_back(bed, t, err);
    for (int i = 0; i < t->n_parallel; i++)
        for (int left; code == TSR_OK && (left = t->n_depth - (int)tsr_session_length(bed->sessions[i])) > 0;) {
            progress_update(bed->bar, bed->n_done, bed->n_total);
            code = read_prompt(bed, i, (int)smaller(left, t->config.n_ubatch), t->config.n_ubatch, err);
        }
    if (code != TSR_OK || bed->s->no_warmup) return code;
    code = run_once(bed, t, (int)smaller(t->n_prompt, t->config.n_ubatch), t->n_gen > 0 ? 1 : 0, err);
    return code == TSR_OK ? go_back(bed, t, err) : code;
}

/* Samples until all repetitions are done; those taken before a failure stay. */
static tsr_code repeat(const test_bed *bed, test_result *t, tsr_error *err) {
    size_t wanted = (size_t)bed->s->n_reps;
    double tokens = (double)(t->n_prompt + t->n_gen) * t->n_parallel;
    tsr_code code = TSR_OK;
    while (t->n_samples < wanted && code == TSR_OK) {
        progress_update(bed->bar, bed->n_done * wanted + t->n_samples, bed->n_total * wanted);
        double start = now_seconds();
        code = run_once(bed, t, t->n_prompt, t->n_gen, err);
        double seconds = now_seconds() - start;
        if (code != TSR_OK) break;
        t->samples_ns[t->n_samples] = 1e9 * seconds;
        t->samples_ts[t->n_samples++] = tokens / seconds;
        code = go_back(bed, t, err);
    }
    return code;
}

/* --- what it cost, and what the machine can do --------------------------------------------------------------------------------- */

/* A pass costs: operations, bytes, and the time that it takes when the peaks are reached. */
static void add_pass(test_result *t, const tsr_cost *c) {
    t->cost.ops += c->ops;
    t->cost.weight_bytes += c->weight_bytes;
    t->cost.kv_bytes += c->kv_bytes;
    if (t->peaks.int8 <= 0.0 || t->peaks.read <= 0.0) return;
    double computing = c->ops / t->peaks.int8, reading = (c->weight_bytes + c->kv_bytes) / t->peaks.read;
    t->roof_seconds += computing > reading ? computing : reading;
}

/* The passes over the prompt of a sequence: calls of n_batch tokens, cut into passes of n_ubatch. */
static void add_prompt(const test_bed *bed, test_result *t) {
    int64_t end = t->n_depth + t->n_prompt;
    tsr_cost c;
    for (int64_t call = t->n_depth; call < end; call += t->config.n_batch) {
        int64_t call_end = smaller(end, call + t->config.n_batch);
        for (int64_t at = call; at < call_end; at += t->config.n_ubatch) {
            int64_t n = smaller(call_end - at, t->config.n_ubatch);
            tsr_session_cost(bed->sessions[0], (size_t)at, (size_t)n, at + n == call_end, &c);
            add_pass(t, &c);
        }
    }
}

/* One token of each sequence: weights are read once for all. */
static void add_step(const test_bed *bed, test_result *t, int64_t pos) {
    size_t n = (size_t)t->n_parallel;
    tsr_cost one, all;
    tsr_session_cost(bed->sessions[0], (size_t)pos, 1, 1, &one);
    tsr_session_cost(bed->sessions[0], (size_t)pos, n, n, &all); /* for its weights */
    const tsr_cost step = {.ops = one.ops * (double)n, .weight_bytes = all.weight_bytes, .kv_bytes = one.kv_bytes * (double)n};
    add_pass(t, &step);
}

static void find_cost(const test_bed *bed, test_result *t) {
    for (int i = 0; i < t->n_parallel; i++) add_prompt(bed, t);
    for (int i = 0; i < t->n_gen; i++) add_step(bed, t, t->n_depth + t->n_prompt + i);
}

/* Right after the test. Threads and memory of the peaks exist only here, so that they disturb nothing and count nowhere. */
static tsr_code find_peaks(const test_bed *bed, test_result *t, tsr_error *err) {
    tsr_bench_params p = {.cpu_tier = bed->s->cpu_tier, .amx = (tsr_amx)bed->s->amx, .n_threads = threads_of(t)};
    tsr_bench *b = tsr_bench_open(&p, err);
    if (!b) return err->code;
    tsr_code code = tsr_bench_get_peaks(b, PEAK_SAMPLES, &t->peaks, err);
    tsr_bench_close(b);
    return code;
}

/* --- the test ------------------------------------------------------------------------------------------------------------------ */

static void take_profile(const test_bed *bed, test_result *t, const tsr_session_stats *before) {
    tsr_session *s = bed->sessions[0];
    tsr_session_stats stats;
    tsr_session_get_stats(s, &stats);
    t->n_jobs = stats.n_jobs - before->n_jobs;
    t->n_barriers = stats.n_barriers - before->n_barriers;
    while (t->n_profile < MOST_STEPS && tsr_session_profile_entry(s, t->n_profile, &t->profile[t->n_profile])) t->n_profile++;
    tsr_session_profile(s, false);
}

static void note_time(test_result *t) {
    time_t now = time(NULL);
    struct tm utc;
    strftime(t->time, sizeof t->time, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
}

tsr_code test_measure(const test_bed *bed, test_result *t, tsr_error *err) {
    tsr_session_stats before;
    tsr_code code = prepare(bed, t, err);
    if (code == TSR_OK) {
        note_time(t);
        tsr_session_get_stats(bed->sessions[0], &before);
        t->kv_bytes = before.kv_bytes * (uint64_t)t->n_parallel;
        t->work_bytes = before.work_bytes;
        if (bed->s->profile) tsr_session_profile(bed->sessions[0], true);
        code = repeat(bed, t, err);
        if (bed->s->profile) take_profile(bed, t, &before);
        uint64_t rss = peak_rss();
        t->peak_rss = rss && rss < bed->load_rss ? bed->load_rss : rss;
        if (code == TSR_OK) code = find_peaks(bed, t, err);
        forget_peak_rss();
        find_cost(bed, t);
    }
    interrupt_watch(NULL);
    progress_end(bed->bar);
    return code;
}
