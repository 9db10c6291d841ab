/* tessera bench -m: what is to be measured, and on which models and sessions. */
#include "cli/bench.h"
#include "cli/bench_plot.h"
#include "cli/bench_test.h"
#include "cli/engine.h"
#include "cli/interrupt.h"
#include "cli/io.h"
#include "cli/numbers.h"
#include "cli/term.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENS = 1 << 24, MOST_CASES = MOST_NUMBERS * (1 + 2 * MOST_NUMBERS), MOST_PARALLEL = 256 };

/* What is run at each depth. */
typedef struct test_case {
    int n_prompt, n_gen, n_parallel;
} test_case;

typedef struct plan {
    test_case cases[MOST_CASES];
    size_t n_cases, n_tests; /* n_tests: of one model */
    number_list depths, threads, prompt_threads, batches, ubatches, kv_k, kv_v;
    char kv_names[MOST_NUMBERS][16]; /* by tsr_kv_type */
    int n_ctx;      /* that all tests fit into */
    int n_sessions; /* that the test with most sequences needs */
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
    tsr_session **sessions; /* [n_sessions] */
    tsr_token *tokens;   /* [n_ctx + SEQUENCE_STEP n_sessions] */
    progress bar;
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
        args_show(kv, &found, p->kv_names[found.kv], sizeof p->kv_names[found.kv]);
    }
    return true;
}

static bool parse_pairs(const text_list *pairs, number_list *prompt, number_list *gen) {
    for (size_t i = 0; i < pairs->n; i++) {
        const char *text = pairs->items[i];
        bool range = strchr(text, '-') != NULL;
        number_list pair = {.n = 0};
        if (!range && !parse_numbers("pg", text, 1, MOST_TOKENS, &pair)) return false;
        if (pair.n != 2) {
            say_error("--pg must be two numbers of tokens, such as 512,128, not \"%s\"", text);
            return false;
        }
        if (prompt->n == MOST_NUMBERS) {
            say_error("--pg may be given %d times", MOST_NUMBERS);
            return false;
        }
        prompt->items[prompt->n++] = pair.items[0];
        gen->items[gen->n++] = pair.items[1];
    }
    return true;
}

static void add_case(plan *p, int64_t n_prompt, int64_t n_gen, int64_t n_parallel) {
    if (n_prompt + n_gen == 0) return;
    p->cases[p->n_cases++] = (test_case){(int)n_prompt, (int)n_gen, (int)n_parallel};
    if (n_parallel > p->n_sessions) p->n_sessions = (int)n_parallel;
    if (n_prompt + n_gen > p->n_ctx) p->n_ctx = (int)(n_prompt + n_gen);
}

static int make_plan(const bench_settings *s, plan *p) {
    number_list prompt = {.n = 0}, gen = {.n = 0}, pair_prompt = {.n = 0}, pair_gen = {.n = 0}, parallel = {.n = 0};
    if (!parse_numbers("n-prompt", s->n_prompt, 0, MOST_TOKENS, &prompt) || !parse_numbers("n-gen", s->n_gen, 0, MOST_TOKENS, &gen) ||
        !parse_pairs(&s->prompt_gen, &pair_prompt, &pair_gen) || !parse_numbers("n-depth", s->depths, 0, MOST_TOKENS, &p->depths) ||
        !parse_numbers("threads", s->threads, 0, 1024, &p->threads) || !parse_numbers("tb", s->prompt_threads, 0, 1024, &p->prompt_threads) || !parse_numbers("batch-size", s->batches, 1, 1 << 16, &p->batches) ||
        !parse_numbers("ub", s->ubatches, 1, 1 << 16, &p->ubatches) || !parse_kv(p, "ctk", s->kv_k, &p->kv_k) ||
        !parse_kv(p, "ctv", s->kv_v, &p->kv_v) || !parse_numbers("npl", s->parallel, 1, MOST_PARALLEL, &parallel))
        return EXIT_USAGE;
    if (s->profile && s->format == BENCH_CSV) {
        say_error("--profile does not fit into CSV; use -o md or -o json");
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < prompt.n; i++) add_case(p, prompt.items[i], 0, 1);
    for (size_t i = 0; i < gen.n; i++)
        for (size_t k = 0; k < parallel.n; k++) add_case(p, 0, gen.items[i], parallel.items[k]);
    for (size_t i = 0; i < pair_prompt.n; i++)
        for (size_t k = 0; k < parallel.n; k++) add_case(p, pair_prompt.items[i], pair_gen.items[i], parallel.items[k]);
    if (p->n_cases == 0) {
        say_error("no tests: give a number of tokens with -p, -n or -pg");
        return EXIT_USAGE;
    }
    int64_t deepest = 0;
    for (size_t i = 0; i < p->depths.n; i++)
        if (p->depths.items[i] > deepest) deepest = p->depths.items[i];
    p->n_ctx += (int)deepest;
    if (p->n_ctx < p->n_sessions) p->n_ctx = p->n_sessions; /* a batch is never larger than the context */
    for (size_t i = 0; i < p->ubatches.n + p->batches.n; i++) {
        int64_t tokens = i < p->ubatches.n ? p->ubatches.items[i] : p->batches.items[i - p->ubatches.n];
        if (tokens >= p->n_sessions) continue;
        say_error("%d sequences generated together (--npl) take batches of as many tokens, not of %lld: raise --batch-size and --ub", p->n_sessions,
                  (long long)tokens);
        return EXIT_USAGE;
    }
    p->n_tests = p->n_cases * p->depths.n * p->threads.n * p->prompt_threads.n * p->batches.n * p->ubatches.n * p->kv_k.n * p->kv_v.n;
    return EXIT_FINE;
}

/* --- all tests ----------------------------------------------------------------------------------------------------------------- */

static size_t n_tokens(const plan *p) { return (size_t)p->n_ctx + (size_t)SEQUENCE_STEP * (size_t)p->n_sessions; }

static uint64_t next_random(uint64_t *state) { /* splitmix64 (Steele, Lea, Flood 2014) */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void make_tokens(run *r) {
    uint64_t state = 1;
    tsr_token bos = tsr_token_bos(r->e.model);
    for (size_t i = 0; i < n_tokens(r->plan); i++) r->tokens[i] = (tsr_token)(next_random(&state) % (uint64_t)r->e.info.n_vocab);
    if (bos != TSR_TOKEN_NONE) r->tokens[0] = bos;
}


/* Takes t over: it becomes a row, or is dropped. False ends the run. */
static bool keep(run *r, test_result *t) {
    test_result *tests = t->n_samples ? realloc(r->tests, (r->n_tests + 1) * sizeof *tests) : NULL;
    if (!tests) {
        free(t->samples_ns);
        if (t->n_samples) {
            say_error("out of memory");
            r->status = EXIT_FAILED;
        }
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
    test_result t = {.model = r->model, .config = *c, .n_prompt = what->n_prompt, .n_gen = what->n_gen, .n_depth = depth, .n_parallel = what->n_parallel,
                     .peaks = {.int8_name = "", .half_name = "", .f32_name = ""}}; /* an interrupted test has none */
    tsr_error err = {0};
    t.samples_ns = calloc(2 * (size_t)r->s->n_reps, sizeof *t.samples_ns);
    if (!t.samples_ns) {
        say_error("out of memory");
        r->status = EXIT_FAILED;
        return false;
    }
    t.samples_ts = t.samples_ns + r->s->n_reps;
    const test_bed bed = {.s = r->s, .sessions = r->sessions, .tokens = r->tokens, .load_rss = r->load_rss,
                          .bar = &r->bar, .n_done = r->n_done, .n_total = r->n_total};
    tsr_code code = test_measure(&bed, &t, &err);
    bool more = keep(r, &t);
    r->n_done++;
    if (code == TSR_OK) return more;
    r->status = code == TSR_E_CANCELLED ? EXIT_INTERRUPTED : fail_with(&err);
    return false;
}

static bool open_sessions(run *r, test_config *c) {
    tsr_error err = {0};
    tsr_session_params p = tsr_session_params_default();
    p.n_ctx = r->plan->n_ctx;
    p.n_batch = c->n_ubatch;
    p.n_threads = c->n_threads;
    p.n_threads_prompt = c->n_threads_prompt;
    p.kv_k = c->kv_k;
    p.kv_v = c->kv_v;
    for (int i = 0; i < r->plan->n_sessions; i++) {
        r->sessions[i] = tsr_session_open(r->e.model, &p, &err);
        if (!r->sessions[i]) {
            r->status = fail_with(&err);
            return false;
        }
    }
    tsr_session_stats stats;
    tsr_session_get_stats(r->sessions[0], &stats);
    if (stats.n_threads < c->n_threads || stats.n_threads_prompt < c->n_threads_prompt)
        say_note("more threads than CPUs that this process may use: %d for generation, %d for prompts are used", stats.n_threads, stats.n_threads_prompt);
    c->n_threads = stats.n_threads; /* 0 has become a number */
    c->n_threads_prompt = stats.n_threads_prompt;
    return true;
}

static void close_sessions(run *r) {
    for (int i = 0; i < r->plan->n_sessions; i++) {
        tsr_session_close(r->sessions[i]);
        r->sessions[i] = NULL;
    }
}

/* All depths and cases on the same sessions. False ends the run. */
static bool run_config(run *r, test_config *c) {
    const plan *p = r->plan;
    bool more = open_sessions(r, c);
    for (size_t d = 0; d < p->depths.n && more; d++)
        for (size_t i = 0; i < p->n_cases && more; i++) more = run_test(r, c, (int)p->depths.items[d], &p->cases[i]);
    close_sessions(r);
    return more;
}

/* All combinations of threads, formats of the KV cache and batches; the last changes fastest. */
static bool run_configs(run *r) {
    const plan *p = r->plan;
    size_t n = p->threads.n * p->prompt_threads.n * p->kv_k.n * p->kv_v.n * p->batches.n * p->ubatches.n;
    bool more = true;
    for (size_t i = 0; i < n && more; i++) {
        size_t at = i;
        test_config c = {0};
        c.n_ubatch = (int)p->ubatches.items[at % p->ubatches.n], at /= p->ubatches.n;
        c.n_batch = (int)p->batches.items[at % p->batches.n], at /= p->batches.n;
        c.kv_v = (tsr_kv_type)p->kv_v.items[at % p->kv_v.n], at /= p->kv_v.n;
        c.kv_k = (tsr_kv_type)p->kv_k.items[at % p->kv_k.n], at /= p->kv_k.n;
        c.n_threads_prompt = (int)p->prompt_threads.items[at % p->prompt_threads.n], at /= p->prompt_threads.n;
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
    snprintf(r->model.cpu, sizeof r->model.cpu, "%s", info->cpu);
    tsr_tensor_info tensor;
    for (size_t i = 0; tsr_model_tensor(r->e.model, i, &tensor); i++) r->model.size += tensor.n_bytes;
}

/* False ends the run. */
static bool run_model(run *r, const char *path) {
    model_options options = {.path = path, .cpu_tier = r->s->cpu_tier, .amx = r->s->amx, .no_packed = r->s->no_packed, .no_cache = true};
    forget_peak_rss();
    double start = now_seconds();
    int status = engine_open_model(&r->e, &options, false);
    bool more = status == EXIT_FINE;
    if (more) {
        describe_model(r, path, now_seconds() - start);
        r->load_rss = peak_rss();
        make_tokens(r);
        progress_start(&r->bar, "measuring", "samples");
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
    r.sessions = calloc((size_t)p.n_sessions, sizeof *r.sessions);
    r.tokens = calloc(n_tokens(&p), sizeof *r.tokens);
    status = r.sessions && r.tokens ? result_open(&r.out, s->output ? s->output : "-") : EXIT_FAILED;
    if (!r.sessions || !r.tokens) say_error("out of memory for contexts of %d tokens", p.n_ctx);
    if (status == EXIT_FINE) {
        r.report = (report){.f = r.out.f, .format = (bench_format)s->format,
                            .show_threads_prompt = p.prompt_threads.n > 1 || p.prompt_threads.items[0] != 0,
                            .show_batch = p.batches.n > 1 || p.batches.items[0] != 2048, .show_ubatch = p.ubatches.n > 1 || p.ubatches.items[0] != 512,
                            .show_kv_k = p.kv_k.n > 1 || p.kv_k.items[0] != TSR_KV_F16, .show_kv_v = p.kv_v.n > 1 || p.kv_v.items[0] != TSR_KV_F16};
        for (size_t i = 0; i < s->models.n && run_model(&r, s->models.items[i]); i++) continue;
        status = finish(&r);
    }
    for (size_t i = 0; i < r.n_tests; i++) free(r.tests[i].samples_ns);
    free(r.tests);
    free(r.tokens);
    free(r.sessions);
    return status;
}
