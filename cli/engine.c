/* Opening models and sessions, and keeping the KV cache in step with the text. */
#include "cli/engine.h"

#include "cli/interrupt.h"
#include "cli/io.h"
#include "cli/numbers.h"
#include "cli/placement.h"
#include "cli/term.h"

#include <stdlib.h>
#include <string.h>

const option model_option_table[] = {
    {"model", 'm', OPTION_TEXT, "MODEL", offsetof(model_options, path), 0, 0,
     "the GGUF file (of a split model: the first)"},
    {0},
};

const option loading_option_table[] = {
    {"cpu-tier", 0, OPTION_TEXT, "NAME", offsetof(model_options, cpu_tier), 0, 0,
     "use the kernels of that tier instead of the best: scalar, avx2, avxvnni, avx512, avx512bf16, amx, amxfp16"},
    {"amx", 0, OPTION_CHOICE, "auto|on|off", offsetof(model_options, amx), 0, 0,
     "AMX tiles: where they work; they must, or say why not; not at all"},
    {"no-mmap", 0, OPTION_FLAG, NULL, offsetof(model_options, no_mmap), 0, 0, "read the file instead of mapping it"},
    {"no-packed", 0, OPTION_FLAG, NULL, offsetof(model_options, no_packed), 0, 0,
     "leave the matrices as the file has them and multiply in f32: starts sooner and rounds nothing, but is slower"},
    {"tensor-buffer", 0, OPTION_TEXTS, "REGEX=PLACE", offsetof(model_options, tensor_buffers), 0, 0,
     "put the matrices whose names the regular expression matches into that buffer, host or packed; may be given several times, the first that "
     "matches counts"},
    {"numa", 0, OPTION_CHOICE, "none|interleave|local|mirror", offsetof(model_options, numa), 0, 0,
     "where packed weights lie on machines of several NUMA nodes: where the kernel puts them; page by page in turn on "
     "all; each matrix by rows, with threads beside them; a copy on each node"},
    {"mlock", 0, OPTION_FLAG, NULL, offsetof(model_options, mlock), 0, 0, "lock the weights in memory"},
    {"huge-pages", 0, OPTION_CHOICE, "auto|on|off", offsetof(model_options, huge_pages), 0, 0,
     "huge pages for weights in memory: where there are any; also instead of mapping files, or say why not; none"},
    {"cache-dir", 0, OPTION_TEXT, "DIR", offsetof(model_options, cache_dir), 0, 0,
     "keep packed weights for the next start in DIR instead of ~/.cache/tessera/packed"},
    {"cache-limit", 0, OPTION_TEXT, "SIZE", offsetof(model_options, cache_limit), 0, 0,
     "most bytes kept there (\"20G\"); what was used least recently goes; default: TESSERA_CACHE_LIMIT, or 32G, or a tenth of the disk"},
    {"no-cache", 0, OPTION_FLAG, NULL, offsetof(model_options, no_cache), 0, 0, "pack anew and keep nothing"},
    {0},
};

const option session_option_table[] = {
    {"ctx", 'c', OPTION_INT, "N", offsetof(session_options, n_ctx), 0, 1 << 24,
     "tokens of context (prompt and answer together); 0: what the model was trained with, at most 4096"},
    {"threads", 't', OPTION_INT, "N", offsetof(session_options, n_threads), 0, 1024,
     "threads; 0: the physical cores this process may use; never more than its CPUs"},
    {"threads-batch", 0, OPTION_INT, "N", offsetof(session_options, n_threads_prompt), 0, 1024,
     "threads for prompts; 0: as many as for generation"},
    {"tb", 0, OPTION_INT, "N", offsetof(session_options, n_threads_prompt), 0, 1024, "(-tb) the same as --threads-batch"},
    {"kv", 0, OPTION_CHOICE, "f16|f32|bf16|q8_0", offsetof(session_options, kv), 0, 0, "format of the KV cache"},
    {"kv-k", 0, OPTION_CHOICE, "same|f16|f32|bf16|q8_0", offsetof(session_options, kv_k), 0, 0, "format of its keys, where it is not that of --kv"},
    {"kv-v", 0, OPTION_CHOICE, "same|f16|f32|bf16|q8_0", offsetof(session_options, kv_v), 0, 0, "format of its values"},
    {0},
};

int fail_with(const tsr_error *err) {
    if (err->code == TSR_E_CANCELLED && interrupted()) {
        say_note("interrupted");
        return EXIT_INTERRUPTED;
    }
    say_error("%s", err->message);
    return EXIT_FAILED;
}

static bool on_load(void *user, uint64_t done, uint64_t total) {
    progress_update(user, done, total);
    return !interrupted();
}

/* Ctrl-C gives the file up, but not one that has ended the answer: the second one leaves at once. */
typedef struct keeping {
    progress bar;
    bool was_interrupted;
} keeping;

static bool on_keep(void *user, uint64_t done, uint64_t total) {
    keeping *k = user;
    progress_update(&k->bar, done, total);
    return k->was_interrupted || !interrupted();
}

bool check_cache_dir(const char *dir) {
    if (!dir || *dir) return true;
    say_error("--cache-dir is empty: name a directory, or leave it out for the usual one");
    return false;
}

int engine_open_model(engine *e, const model_options *m, bool vocab_only) {
    memset(e, 0, sizeof *e);
    if (!m->path || !*m->path) {
        say_error("no model: give one with -m MODEL (a GGUF file)");
        return EXIT_USAGE;
    }
    progress bar;
    tsr_error err = {0};
    tsr_model_params p = tsr_model_params_default();
    if (!check_cache_dir(m->cache_dir)) return EXIT_USAGE;
    if (m->cache_limit && !parse_size("cache-limit", m->cache_limit, &p.cache_limit)) return EXIT_USAGE;
    p.cpu_tier = m->cpu_tier;
    p.amx = (tsr_amx)m->amx;
    p.no_mmap = m->no_mmap;
    p.no_packed = m->no_packed;
    p.tensor_buffers = m->tensor_buffers.items;
    p.numa = (tsr_numa)m->numa;
    p.mlock = m->mlock;
    p.huge_pages = (tsr_huge_pages)m->huge_pages;
    p.no_cache = m->no_cache;
    p.cache_dir = m->cache_dir;
    p.vocab_only = vocab_only;
    p.progress = on_load;
    p.progress_user = &bar;
    progress_start(&bar, "loading", "B");
    bar.events = m->events;
    e->model = tsr_model_open(m->path, &p, &err);
    progress_end(&bar);
    if (!e->model) return fail_with(&err);
    tsr_model_get_info(e->model, &e->info);
    if (*e->info.amx_note) say_note("%s", e->info.amx_note);
    if (*e->info.numa_note) say_note("--numa: %s", e->info.numa_note);
    if (*e->info.buffer_note) say_warning("--tensor-buffer %s; `tessera info --tensors` lists the names", e->info.buffer_note);
    if (*e->info.memory_note) say_note("--huge-pages on: %s", e->info.memory_note);
    if (*e->info.cache_note) say_warning("%s", e->info.cache_note);
    if (m->events && !term_is_tty(stderr))
        fprintf(stderr, "{\"event\": \"loaded\", \"seconds\": %.3f, \"packed_weights\": \"%s\"}\n", now_seconds() - bar.started, e->info.cache);
    return EXIT_FINE;
}

/* More threads than CPUs would only take turns. */
static void say_fewer_threads(const engine *e, const session_options *s) {
    int asked = s->n_threads > s->n_threads_prompt ? s->n_threads : s->n_threads_prompt;
    tsr_session_stats stats;
    tsr_session_get_stats(e->session, &stats);
    int used = stats.n_threads > stats.n_threads_prompt ? stats.n_threads : stats.n_threads_prompt;
    if (asked > used) say_note("%d threads were asked for, but this process may use %d CPU%s: it runs %d", asked, used, used == 1 ? "" : "s", used);
}

int engine_open_session(engine *e, const session_options *s, int n_batch) {
    tsr_error err = {0};
    tsr_session_params p = tsr_session_params_default();
    p.n_ctx = s->n_ctx;
    p.n_batch = n_batch;
    p.n_threads = s->n_threads;
    p.n_threads_prompt = s->n_threads_prompt;
    p.kv_k = (tsr_kv_type)(s->kv_k > 0 ? s->kv_k - 1 : s->kv); /* choice 0: same */
    p.kv_v = (tsr_kv_type)(s->kv_v > 0 ? s->kv_v - 1 : s->kv);
    e->session = tsr_session_open(e->model, &p, &err);
    if (!e->session) return fail_with(&err);
    say_fewer_threads(e, s);
    if (tsr_session_capacity(e->session) > (size_t)e->info.n_ctx_train && e->info.n_ctx_train > 0)
        say_warning("a context of %zu tokens is more than the %d that the model was trained with; it makes little "
                    "sense of what "
                    "lies beyond",
                    tsr_session_capacity(e->session), e->info.n_ctx_train);
    e->kept = malloc(tsr_session_capacity(e->session) * sizeof *e->kept);
    if (!e->kept) {
        say_error("out of memory for a context of %zu tokens; lower it with -c", tsr_session_capacity(e->session));
        return EXIT_FAILED;
    }
    return EXIT_FINE;
}

/* Packed weights may still be on their way to disk. */
static void finish_cache(engine *e) {
    keeping k = {.was_interrupted = interrupted()};
    tsr_error err = {0};
    if (!e->model) return;
    out_write("", 0); /* the answer need not wait */
    progress_start(&k.bar, "keeping packed weights for the next start", "B");
    tsr_code code = tsr_model_cache_wait(e->model, on_keep, &k, &err);
    progress_end(&k.bar);
    if (code != TSR_OK) say_warning("packed weights are not kept for the next start: %s", err.message);
}

void engine_close(engine *e) {
    free(e->kept);
    tsr_lookup_close(e->lookup);
    tsr_session_close(e->session);
    finish_cache(e);
    tsr_model_close(e->model);
    memset(e, 0, sizeof *e);
}

tsr_code engine_feed(engine *e, const tsr_token *tokens, size_t n, size_t *n_new, tsr_error *err) {
    size_t held = tsr_session_length(e->session), same = 0;
    while (same < held && same < n && e->kept[same] == tokens[same]) same++;
    if (same == n) same--; /* the last one again: its logits are wanted */
    *n_new = 0;
    tsr_code code = tsr_session_truncate(e->session, same, err);
    progress bar;
    progress_start(&bar, "reading the prompt", "tokens");
    const size_t piece = 512; /* small enough for a moving progress line */
    for (size_t at = same; code == TSR_OK && at < n;) {
        size_t count = n - at < piece ? n - at : piece;
        code =
            tsr_session_eval(e->session, tokens + at, count, at + count == n ? TSR_LOGITS_LAST : TSR_LOGITS_NONE, err);
        if (code != TSR_OK) break;
        memcpy(e->kept + at, tokens + at, count * sizeof *tokens);
        at += count;
        *n_new += count;
        progress_update(&bar, at - same, n - same);
        if (interrupted()) code = TSR_E_CANCELLED;
    }
    progress_end(&bar);
    return code;
}

tsr_code engine_append(engine *e, tsr_token token, tsr_error *err) {
    size_t at = tsr_session_length(e->session);
    tsr_code code = tsr_session_eval(e->session, &token, 1, TSR_LOGITS_LAST, err);
    if (code == TSR_OK) e->kept[at] = token;
    return code;
}

const char *show_threads(const tsr_session_stats *stats, char *out, size_t cap) {
    int n = snprintf(out, cap, "%d thread%s", stats->n_threads, stats->n_threads == 1 ? "" : "s");
    if (stats->n_threads_prompt != stats->n_threads && n > 0 && (size_t)n < cap)
        snprintf(out + n, cap - (size_t)n, " (%d for prompts)", stats->n_threads_prompt);
    return out;
}

void show_engine(const engine *e) {
    tsr_session_stats stats;
    tsr_session_get_stats(e->session, &stats);
    char kv[32], work[32], file[32], threads[64];
    const char *origin = strcmp(e->info.cache, "mapped") == 0 ? "; packed weights from the cache"
                         : strcmp(e->info.cache, "read") == 0 ? "; packed weights read from the cache" : "";
    fprintf(stderr, "model %s (%s, %s, %s); kernels %s; %s; context %zu; KV cache %s, work memory %s%s\n",
            *e->info.name ? e->info.name : "without a name", e->info.architecture, e->info.file_type,
            show_bytes(e->info.file_bytes, file, sizeof file), e->info.cpu_tier, show_threads(&stats, threads, sizeof threads),
            tsr_session_capacity(e->session), show_bytes(stats.kv_bytes, kv, sizeof kv),
            show_bytes(stats.work_bytes, work, sizeof work), origin);
    if (*e->info.numa_place) fprintf(stderr, "packed weights: %s\n", e->info.numa_place);
    show_buffers(stderr, e->model);
}
