/* engine.h: a model and a session opened as the options say, and the tokens its KV cache holds. */
#ifndef CLI_ENGINE_H
#define CLI_ENGINE_H

#include "cli/args.h"
#include "tessera.h"

#include <stdio.h>

typedef struct model_options {
    const char *path, *cpu_tier;
    int amx; /* a tsr_amx */
    bool no_mmap, no_packed, mlock, no_cache;
    int huge_pages; /* a tsr_huge_pages */
    const char *cache_dir, *cache_limit;
    bool events; /* not an option: while loading, lines of JSON on stderr when it is no terminal */
    text_list tensor_buffers;
    int numa; /* a tsr_numa */
} model_options;

typedef struct session_options {
    int n_ctx, n_threads, n_threads_prompt, kv; /* kv: a tsr_kv_type */
    int kv_k, kv_v;           /* 0: as kv, else a tsr_kv_type + 1 */
} session_options;

extern const option model_option_table[];   /* the file */
extern const option loading_option_table[]; /* how to load it */
extern const option session_option_table[];

typedef struct engine {
    tsr_model *model;
    tsr_model_info info;
    tsr_session *session;
    tsr_lookup *lookup; /* opened when first used, or NULL */
    tsr_token *kept; /* [tsr_session_capacity()]: the tokens in the KV cache, tsr_session_length() of them */
} engine;

/* False, with a message, when --cache-dir was given, but is empty, as a variable of the shell that is not set is. */
bool check_cache_dir(const char *dir);
/* Opens the model, showing progress. Returns an exit status; failures have been reported. */
int engine_open_model(engine *e, const model_options *m, bool vocab_only);
/* n_batch: 0 for the library's default. */
int engine_open_session(engine *e, const session_options *s, int n_batch);
void engine_close(engine *e);

/* Makes the KV cache hold exactly tokens[0..n), with logits of the last one: what it holds already is kept as far as it
 * agrees, the rest is evaluated. n is from 1 to the capacity. *n_new counts the tokens evaluated. */
tsr_code engine_feed(engine *e, const tsr_token *tokens, size_t n, size_t *n_new, tsr_error *err);
/* Appends one token. */
tsr_code engine_append(engine *e, tsr_token token, tsr_error *err);

/* Reports a failure of the library; the exit status is EXIT_INTERRUPTED after Ctrl-C, else EXIT_FAILED. */
int fail_with(const tsr_error *err);

/* "2 threads", or "2 threads (4 for prompts)"; returns out. */
const char *show_threads(const tsr_session_stats *stats, char *out, size_t cap);
/* Model, threads, memory and buffers on stderr, for --verbose. */
void show_engine(const engine *e);
#endif
