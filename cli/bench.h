/* bench.h: what the options of `tessera bench` ask for, and the two things that it measures. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "cli/args.h"

typedef struct bench_settings {
    general_settings general;
    /* both */
    const char *threads, *prompt_threads, *cpu_tier, *output;
    int n_reps, format; /* format: a bench_format */
    int amx;            /* a tsr_amx */
    /* whole models */
    text_list models, prompt_gen;
    const char *n_prompt, *n_gen, *depths, *batches, *ubatches, *kv_k, *kv_v, *parallel, *plot;
    bool profile, no_packed, no_warmup;
    /* products */
    const char *op, *types, *rows;
    text_list shapes;
    float max_memory;
    bool host, list;
} bench_settings;

/* Exit statuses; failures have been reported. */
int bench_models(const bench_settings *s);
int bench_matmul(const bench_settings *s);
int bench_show_lists(void);

#endif
