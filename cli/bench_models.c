/* tessera bench -m: speed of whole models. A test runs on a session whose context holds n_depth tokens already; after each repetition the
 * session is truncated to them, so that a deep context is computed once. */
#include "cli/bench.h"
#include "cli/bench_plot.h"
#include "cli/bench_report.h"
#include "cli/engine.h"
#include "cli/interrupt.h"
#include "cli/io.h"
#include "cli/numbers.h"
#include "cli/term.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_TOKENS = 1 << 24, MOST_CASES = 3 * MOST_NUMBERS, PEAK_SAMPLES = 9 };

/* What is run at each depth. */
typedef struct test_case {
    int n_prompt, n_gen;
} test_case;

typedef struct plan {
    test_case cases[MOST_CASES];
    size_t n_cases, n_tests; /* n_tests: of one model */
    number_list depths, threads, batches, ubatches, kv_k, kv_v;
    const char *kv_names[MOST_NUMBERS]; /* by tsr_kv_type */
    int n_ctx; /* that all tests fit into */
} plan;

typedef struct run {
    const bench_settings *s;
    const plan *plan;
    result_file out;
    report report;
    test_result *tests;
    size_t n_tests, n_done, n_total; /* tests kept; tests begun and ended; tests there are */
    engine e;
    model_facts model;
    uint64_t load_rss;   /* peak memory while the model was loaded */
    tsr_token *tokens;   /* [n_ctx]: the token at each position */
    progress bar;
    char label[64];
    int status;
    bool lost;           /* results could not be written */
} run;

/* --- what is asked for --------------------------------------------------------------------------------------------------------- */

/* Names of the formats of the KV cache are those of --kv in engine.c. */
static bool parse_kv(plan *p, const char *name, const char *list, number_list *out) {
    const option *kv = args_find(session_option_table, "kv");
    char word[32], problem[256];
    for (const char *rest = list; next_word(&rest, word, sizeof word);) {
        session_options found = {0};
        if (!args_set(kv, &found, word, problem, sizeof problem)) {
            say_error("--%s %s", name, problem);
            return false;
        }
        if (out->n == MOST_NUMBERS) {
            say_error("--%s has more than %d formats", name, MOST_NUMBERS);
            return false;
        }
        out->items[out->n++] = found.kv;
        static char names[MOST_NUMBERS][16];
        args_show(kv, &found, names[found.kv], sizeof names[found.kv]);
        p->kv_names[found.kv] = names[found.kv];
    }
    return true;
}

static bool parse_pairs(const text_list *pairs, number_list *prompt, number_list *gen) {
    for (size_t i = 0; i < pairs->n; i++) {
        number_list pair = {.n = 0};
        if (strchr(pairs->items[i], '-') || !parse_numbers("pg", pairs->items[i], 1, MOST_TOKENS, &pair)) {
            if (strchr(pairs->items[i], '-')) say_error("--pg must be two numbers of tokens, such as 512,128, not \"%s\"", pairs->items[i]);
            return false;
        }
        if (pair.n != 2 || prompt->n == MOST_NUMBERS) {
            say_error(pair.n != 2 ? "--pg must be two numbers of tokens, such as 512,128, not \"%s\"" : "--pg %s is one too many", pairs->items[i]);
            return false;
        }
        prompt->items[prompt->n++] = pair.items[0];
        gen->items[gen->n++] = pair.items[1];
    }
    return true;
}

static void add_case(plan *p, int64_t n_prompt, int64_t n_gen) {
    if (n_prompt + n_gen > 0) p->cases[p->n_cases++] = (test_case){(int)n_prompt, (int)n_gen};
}

static int make_plan(const bench_settings *s, plan *p) {
    number_list prompt = {.n = 0}, gen = {.n = 0}, pair_prompt = {.n = 0}, pair_gen = {.n = 0};
    if (!parse_numbers("n-prompt", s->n_prompt, 0, MOST_TOKENS, &prompt) || !parse_numbers("n-gen", s->n_gen, 0, MOST_TOKENS, &gen) ||
        !parse_pairs(&s->prompt_gen, &pair_prompt, &pair_gen) || !parse_numbers("n-depth", s->depths, 0, MOST_TOKENS, &p->depths) ||
        !parse_numbers("threads", s->threads, 0, 1024, &p->threads) || !parse_numbers("batch-size", s->batches, 1, 1 << 16, &p->batches) ||
        !parse_numbers("ub", s->ubatches, 1, 1 << 16, &p->ubatches) || !parse_kv(p, "ctk", s->kv_k, &p->kv_k) ||
        !parse_kv(p, "ctv", s->kv_v, &p->kv_v))
        return EXIT_USAGE;
    if (s->profile && s->format == BENCH_CSV) {
        say_error("--profile does not fit into CSV; use -o md or -o json");
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < prompt.n; i++) add_case(p, prompt.items[i], 0);
    for (size_t i = 0; i < gen.n; i++) add_case(p, 0, gen.items[i]);
    for (size_t i = 0; i < pair_prompt.n; i++) add_case(p, pair_prompt.items[i], pair_gen.items[i]);
    if (p->n_cases == 0) {
        say_error("no tests: give a number of tokens with -p, -n or -pg");
        return EXIT_USAGE;
    }
    int64_t most = 0, deepest = 0;
    for (size_t i = 0; i < p->n_cases; i++)
        if (p->cases[i].n_prompt + p->cases[i].n_gen > most) most = p->cases[i].n_prompt + p->cases[i].n_gen;
    for (size_t i = 0; i < p->depths.n; i++)
        if (p->depths.items[i] > deepest) deepest = p->depths.items[i];
    p->n_ctx = (int)(most + deepest);
    p->n_tests = p->n_cases * p->depths.n * p->threads.n * p->batches.n * p->ubatches.n * p->kv_k.n * p->kv_v.n;
    return EXIT_FINE;
}

/* --- memory -------------------------------------------------------------------------------------------------------------------- */

/* The most memory this process has had resident since forget_peak_rss(), as the kernel counts it (proc(5)); 0 when it does not say. */
static uint64_t peak_rss(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long long kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %llu kB", &kib) == 1) break;
    if (f) fclose(f);
    return kib * 1024;
}

/* Where that is not allowed the peak is that of the whole process. */
static void forget_peak_rss(void) {
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f) return;
    fputs("5", f);
    fclose(f);
}

/* --- one test ------------------------------------------------------------------------------------------------------------------ */

static uint64_t next_random(uint64_t *state) { /* splitmix64 (Steele, Lea, Flood 2014) */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void make_tokens(run *r) {
    uint64_t state = 1;
    tsr_token bos = tsr_token_bos(r->e.model);
    for (int i = 0; i < r->plan->n_ctx; i++) r->tokens[i] = (tsr_token)(next_random(&state) % (uint64_t)r->e.info.n_vocab);
    if (bos != TSR_TOKEN_NONE) r->tokens[0] = bos;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Appends the next n tokens, n_batch in a call; with logits of the last of each call. */
static tsr_code read_prompt(run *r, int n, int n_batch, tsr_error *err) {
    tsr_code code = TSR_OK;
    for (int64_t done = 0; done < n && code == TSR_OK; done += n_batch) {
        const tsr_token *tokens = r->tokens + tsr_session_length(r->e.session);
        code = tsr_session_eval(r->e.session, tokens, (size_t)smaller(n - done, n_batch), TSR_LOGITS_LAST, err);
        if (interrupted()) code = TSR_E_CANCELLED;
    }
    return code;
}

static tsr_code generate_tokens(run *r, int n, tsr_error *err) {
    tsr_code code = TSR_OK;
    for (int i = 0; i < n && code == TSR_OK; i++) {
        code = tsr_session_eval(r->e.session, r->tokens + tsr_session_length(r->e.session), 1, TSR_LOGITS_LAST, err);
        if (interrupted()) code = TSR_E_CANCELLED;
    }
    return code;
}

static tsr_code run_once(run *r, const test_result *t, int n_prompt, int n_gen, tsr_error *err) {
    tsr_code code = read_prompt(r, n_prompt, t->config.n_batch, err);
    return code == TSR_OK ? generate_tokens(r, n_gen, err) : code;
}

/* The context holds n_depth tokens, caches and threads are warm. */
static tsr_code prepare(run *r, const test_result *t, tsr_error *err) {
    size_t depth = (size_t)t->n_depth, held = tsr_session_length(r->e.session);
    tsr_code code = tsr_session_truncate(r->e.session, held < depth ? held : depth, err);
    while (code == TSR_OK && (held = tsr_session_length(r->e.session)) < depth) {
        progress_update(&r->bar, held, depth);
        code = read_prompt(r, (int)smaller((int64_t)(depth - held), t->config.n_ubatch), t->config.n_ubatch, err);
    }
    progress_end(&r->bar);
    if (code != TSR_OK || r->s->no_warmup) return code;
    code = run_once(r, t, (int)smaller(t->n_prompt, t->config.n_ubatch), t->n_gen > 0 ? 1 : 0, err);
    return code == TSR_OK ? tsr_session_truncate(r->e.session, depth, err) : code;
}

/* Samples until all repetitions are done; those taken before a failure stay. */
static tsr_code repeat(run *r, test_result *t, tsr_error *err) {
    size_t wanted = (size_t)r->s->n_reps;
    double tokens = t->n_prompt + t->n_gen;
    tsr_code code = TSR_OK;
    while (t->n_samples < wanted && code == TSR_OK) {
        progress_update(&r->bar, r->n_done * wanted + t->n_samples, r->n_total * wanted);
        double start = now_seconds();
        code = run_once(r, t, t->n_prompt, t->n_gen, err);
        double seconds = now_seconds() - start;
        if (code != TSR_OK) break;
        t->samples_ns[t->n_samples] = 1e9 * seconds;
        t->samples_ts[t->n_samples++] = tokens / seconds;
        code = tsr_session_truncate(r->e.session, (size_t)t->n_depth, err);
    }
    progress_end(&r->bar);
    return code;
}

/* What the last test took: operations, bytes, and the time of all its passes when each takes as long as the peaks allow. */
static void add_pass(const run *r, test_result *t, int64_t pos, int64_t n, int64_t n_logits) {
    tsr_cost c;
    tsr_session_cost(r->e.session, (size_t)pos, (size_t)n, (size_t)n_logits, &c);
    t->cost.ops += c.ops;
    t->cost.weight_bytes += c.weight_bytes;
    t->cost.kv_bytes += c.kv_bytes;
    if (t->peaks.int8 <= 0.0 || t->peaks.read <= 0.0) return;
    double computing = c.ops / t->peaks.int8, reading = (c.weight_bytes + c.kv_bytes) / t->peaks.read;
    t->roof_seconds += computing > reading ? computing : reading;
}

static void find_cost(const run *r, test_result *t) {
    int64_t pos = t->n_depth, end = pos + t->n_prompt;
    for (int64_t call_end; pos < end; pos = call_end) {
        call_end = smaller(end, pos + t->config.n_batch);
        for (int64_t at = pos; at < call_end; at += t->config.n_ubatch) {
            int64_t n = smaller(call_end - at, t->config.n_ubatch);
            add_pass(r, t, at, n, at + n == call_end);
        }
    }
    for (int i = 0; i < t->n_gen; i++) add_pass(r, t, end + i, 1, 1);
}

/* Threads and memory of the peaks exist only here, so that they disturb nothing and count nowhere. The best so far counts: a busy neighbour
 * may have slowed down one measurement, but the machine can do it. */
static tsr_code find_peaks(const run *r, test_result *t, tsr_error *err) {
    tsr_bench_params p = {.cpu_tier = r->s->cpu_tier, .amx = (tsr_amx)r->s->amx, .n_threads = t->config.n_threads};
    tsr_bench *b = tsr_bench_open(&p, err);
    if (!b) return err->code;
    tsr_code code = tsr_bench_get_peaks(b, PEAK_SAMPLES, &t->peaks, err);
    tsr_bench_close(b);
    for (size_t i = 0; i < r->n_tests; i++) {
        const test_result *other = &r->tests[i];
        if (other->config.n_threads != t->config.n_threads) continue;
        t->peaks.int8 = fmax(t->peaks.int8, other->peaks.int8);
        t->peaks.half = fmax(t->peaks.half, other->peaks.half);
        t->peaks.read = fmax(t->peaks.read, other->peaks.read);
    }
    return code;
}

static void take_profile(const run *r, test_result *t, const tsr_session_stats *before) {
    tsr_session_stats stats;
    tsr_session_get_stats(r->e.session, &stats);
    t->n_jobs = stats.n_jobs - before->n_jobs;
    t->n_barriers = stats.n_barriers - before->n_barriers;
    while (t->n_profile < MOST_STEPS && tsr_session_profile_entry(r->e.session, t->n_profile, &t->profile[t->n_profile])) t->n_profile++;
    tsr_session_profile(r->e.session, false);
}

static tsr_code measure(run *r, test_result *t, tsr_error *err) {
    tsr_session_stats before;
    tsr_code code = prepare(r, t, err);
    if (code != TSR_OK) return code;
    time_t now = time(NULL);
    struct tm utc;
    strftime(t->time, sizeof t->time, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    tsr_session_get_stats(r->e.session, &before);
    t->kv_bytes = before.kv_bytes;
    t->work_bytes = before.work_bytes;
    if (r->s->profile) tsr_session_profile(r->e.session, true);
    code = repeat(r, t, err);
    if (r->s->profile) take_profile(r, t, &before);
    uint64_t rss = peak_rss();
    t->peak_rss = rss && rss < r->load_rss ? r->load_rss : rss;
    if (t->n_samples > 0 && code == TSR_OK) code = find_peaks(r, t, err);
    forget_peak_rss();
    find_cost(r, t);
    return code;
}

/* --- all tests ----------------------------------------------------------------------------------------------------------------- */

/* Takes t over: it becomes a row, or is dropped. False ends the run. */
static bool keep(run *r, test_result *t) {
    test_result *tests = t->n_samples ? realloc(r->tests, (r->n_tests + 1) * sizeof *tests) : NULL;
    if (!tests) {
        free(t->samples_ns);
        if (t->n_samples) say_error("out of memory");
        return t->n_samples == 0;
    }
    r->tests = tests;
    tests[r->n_tests++] = *t;
    report_row(&r->report, t);
    if (result_flush(&r->out)) return true;
    r->lost = r->out.f != stdout;
    if (r->lost) r->status = EXIT_FAILED;
    return false;
}

/* False ends the run. */
static bool run_test(run *r, const test_config *c, int depth, const test_case *what) {
    test_result t = {.model = r->model, .config = *c, .n_prompt = what->n_prompt, .n_gen = what->n_gen, .n_depth = depth,
                     .peaks = {.int8_name = "", .half_name = "", .f32_name = ""}}; /* an interrupted test has none */
    char name[64];
    tsr_error err = {0};
    t.samples_ns = calloc(2 * (size_t)r->s->n_reps, sizeof *t.samples_ns);
    if (!t.samples_ns) {
        say_error("out of memory");
        r->status = EXIT_FAILED;
        return false;
    }
    t.samples_ts = t.samples_ns + r->s->n_reps;
    snprintf(r->label, sizeof r->label, "%.40s", test_name(&t, name, sizeof name));
    tsr_code code = measure(r, &t, &err);
    bool more = keep(r, &t);
    r->n_done++;
    if (code == TSR_OK) return more;
    r->status = code == TSR_E_CANCELLED ? EXIT_INTERRUPTED : fail_with(&err);
    return false;
}

static bool open_session(run *r, test_config *c) {
    tsr_error err = {0};
    tsr_session_params p = tsr_session_params_default();
    p.n_ctx = r->plan->n_ctx;
    p.n_batch = c->n_ubatch;
    p.n_threads = c->n_threads;
    p.kv_k = c->kv_k;
    p.kv_v = c->kv_v;
    r->e.session = tsr_session_open(r->e.model, &p, &err);
    if (!r->e.session) {
        r->status = fail_with(&err);
        return false;
    }
    tsr_session_stats stats;
    tsr_session_get_stats(r->e.session, &stats);
    c->n_threads = stats.n_threads; /* 0 has become a number */
    return true;
}

/* All depths and cases with one session. False ends the run. */
static bool run_config(run *r, test_config *c) {
    const plan *p = r->plan;
    if (!open_session(r, c)) return false;
    interrupt_watch(r->e.session);
    bool more = true;
    for (size_t d = 0; d < p->depths.n && more; d++)
        for (size_t i = 0; i < p->n_cases && more; i++) more = run_test(r, c, (int)p->depths.items[d], &p->cases[i]);
    interrupt_watch(NULL);
    tsr_session_close(r->e.session);
    r->e.session = NULL;
    return more;
}

/* All combinations of threads, formats of the KV cache and batches; the last changes fastest. */
static bool run_configs(run *r) {
    const plan *p = r->plan;
    size_t n = p->threads.n * p->kv_k.n * p->kv_v.n * p->batches.n * p->ubatches.n;
    bool more = true;
    for (size_t i = 0; i < n && more; i++) {
        size_t at = i;
        test_config c = {0};
        c.n_ubatch = (int)p->ubatches.items[at % p->ubatches.n], at /= p->ubatches.n;
        c.n_batch = (int)p->batches.items[at % p->batches.n], at /= p->batches.n;
        c.kv_v = (tsr_kv_type)p->kv_v.items[at % p->kv_v.n], at /= p->kv_v.n;
        c.kv_k = (tsr_kv_type)p->kv_k.items[at % p->kv_k.n], at /= p->kv_k.n;
        c.n_threads = (int)p->threads.items[at];
        if (c.n_ubatch > c.n_batch) c.n_ubatch = c.n_batch;
        c.kv_k_name = p->kv_names[c.kv_k];
        c.kv_v_name = p->kv_names[c.kv_v];
        more = run_config(r, &c);
    }
    return more;
}

/* "llama 135M Q4_1": the architecture, the parameters in round numbers, the most common format. */
static void describe_model(run *r, const char *path, double load_seconds) {
    const tsr_model_info *info = &r->e.info;
    double n = (double)info->n_params;
    r->model = (model_facts){.file = path, .n_params = info->n_params, .load_seconds = load_seconds};
    const char *unit = n >= 1e9 ? "B" : "M";
    double value = n / (n >= 1e9 ? 1e9 : 1e6);
    snprintf(r->model.type, sizeof r->model.type, "%s %.*f%s %s", info->architecture, value < 9.95 ? 1 : 0, value, unit, info->file_type);
    snprintf(r->model.tier, sizeof r->model.tier, "%s", info->cpu_tier);
    tsr_tensor_info tensor;
    for (size_t i = 0; tsr_model_tensor(r->e.model, i, &tensor); i++) r->model.size += tensor.n_bytes;
}

/* False ends the run. */
static bool run_model(run *r, const char *path) {
    model_options options = {.path = path, .cpu_tier = r->s->cpu_tier, .amx = r->s->amx, .no_packed = r->s->no_packed};
    forget_peak_rss();
    double start = now_seconds();
    int status = engine_open_model(&r->e, &options, false);
    bool more = status == EXIT_FINE;
    if (more) {
        describe_model(r, path, now_seconds() - start);
        r->load_rss = peak_rss();
        make_tokens(r);
        progress_start(&r->bar, r->label, "tests");
        more = run_configs(r);
    } else {
        r->status = status;
    }
    engine_close(&r->e);
    return more;
}

static int finish(run *r) {
    report_end(&r->report, r->tests, r->n_tests);
    if (r->status == EXIT_INTERRUPTED) say_note("interrupted: %zu of %zu tests measured", r->n_tests, r->n_total);
    int closed = result_close(&r->out, r->n_tests > 0 && !r->lost); /* what was measured is kept, whatever happened then */
    if (r->s->plot && r->n_tests > 0) {
        int plotted = bench_plot(r->s->plot, r->tests, r->n_tests);
        if (closed == EXIT_FINE) closed = plotted;
    }
    return r->status == EXIT_FINE ? closed : r->status;
}

int bench_models(const bench_settings *s) {
    plan p = {.n_cases = 0};
    int status = make_plan(s, &p);
    if (status != EXIT_FINE) return status;
    run r = {.s = s, .plan = &p, .n_total = s->models.n * p.n_tests};
    r.tokens = calloc((size_t)p.n_ctx, sizeof *r.tokens);
    if (!r.tokens) {
        say_error("out of memory for contexts of %d tokens", p.n_ctx);
        return EXIT_FAILED;
    }
    status = result_open(&r.out, s->output ? s->output : "-");
    if (status == EXIT_FINE) {
        r.report = (report){.f = r.out.f, .format = (bench_format)s->format,
                            .show_batch = p.batches.n > 1 || p.batches.items[0] != 2048, .show_ubatch = p.ubatches.n > 1 || p.ubatches.items[0] != 512,
                            .show_kv_k = p.kv_k.n > 1 || p.kv_k.items[0] != TSR_KV_F16, .show_kv_v = p.kv_v.n > 1 || p.kv_v.items[0] != TSR_KV_F16};
        for (size_t i = 0; i < s->models.n && run_model(&r, s->models.items[i]); i++) continue;
        status = finish(&r);
    }
    for (size_t i = 0; i < r.n_tests; i++) free(r.tests[i].samples_ns);
    free(r.tests);
    free(r.tokens);
    return status;
}
