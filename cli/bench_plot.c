#include "cli/bench_plot.h"

#include "cli/io.h"
#include "cli/numbers.h"
#include "cli/plot.h"
#include "cli/term.h"

#include <stdlib.h>
#include <string.h>

/* What differs between the lines of a run, and so belongs into their names. */
typedef struct naming {
    bool model, threads, batch, kv;
} naming;

static bool same_config(const test_config *a, const test_config *b) {
    return a->n_threads == b->n_threads && a->n_threads_prompt == b->n_threads_prompt && a->n_batch == b->n_batch && a->n_ubatch == b->n_ubatch && a->kv_k == b->kv_k && a->kv_v == b->kv_v;
}

static bool same_line(const test_result *a, const test_result *b) {
    return a->model.file == b->model.file && same_config(&a->config, &b->config) && a->n_prompt == b->n_prompt && a->n_gen == b->n_gen && a->n_parallel == b->n_parallel;
}

static naming find_naming(const test_result *tests, size_t n) {
    naming v = {0};
    for (size_t i = 1; i < n; i++) {
        const test_config *a = &tests[0].config, *b = &tests[i].config;
        v.model |= tests[i].model.file != tests[0].model.file;
        v.threads |= a->n_threads != b->n_threads || a->n_threads_prompt != b->n_threads_prompt;
        v.batch |= a->n_batch != b->n_batch || a->n_ubatch != b->n_ubatch;
        v.kv |= a->kv_k != b->kv_k || a->kv_v != b->kv_v;
    }
    return v;
}

/* The file's name without folder and ending, cut. */
static void short_name(const char *path, char *out, size_t cap) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *end = strstr(name, ".gguf");
    snprintf(out, cap, "%.*s", end ? (int)(end - name) : (int)strlen(name), name);
}

static void name_line(const naming *v, const test_result *t, char out[128]) {
    char model[64] = "", threads[24] = "", batch[40] = "", kv[48] = "";
    if (v->model) short_name(t->model.file, model, sizeof model - 2), strcat(model, " ");
    if (v->threads) snprintf(threads, sizeof threads, ", %d thread%s", threads_of(t), threads_of(t) == 1 ? "" : "s");
    if (v->batch) snprintf(batch, sizeof batch, ", batch %d/%d", t->config.n_batch, t->config.n_ubatch);
    if (v->kv) snprintf(kv, sizeof kv, ", KV %s/%s", t->config.kv_k_name, t->config.kv_v_name);
    test_result flat = *t;
    char test[48];
    flat.n_depth = 0;
    snprintf(out, 128, "%.40s%s%s%s%.40s", model, test_name(&flat, test, sizeof test), threads, batch, kv);
}

static int by_x(const void *a, const void *b) {
    double x = ((const plot_point *)a)->x, y = ((const plot_point *)b)->x;
    return (x > y) - (x < y);
}

/* Memory for the lines of a panel: at most one for each test, with all points together as many as tests. */
typedef struct lines {
    plot_series *series;
    plot_point *points;
    char (*names)[128];
} lines;

/* The tests that only read prompts, or only generate. */
static size_t make_lines(const test_result *tests, size_t n, bool prompts, const naming *v, lines *out) {
    size_t n_series = 0, n_points = 0;
    for (size_t i = 0; i < n; i++) {
        bool first = prompts ? tests[i].n_gen == 0 : tests[i].n_prompt == 0;
        for (size_t k = 0; k < i; k++) first &= !same_line(&tests[k], &tests[i]);
        if (!first) continue;
        plot_point *points = out->points + n_points;
        size_t count = 0;
        for (size_t k = i; k < n; k++)
            if (same_line(&tests[k], &tests[i]))
                points[count++] = (plot_point){tests[k].n_depth, mean_of(tests[k].samples_ts, tests[k].n_samples),
                                               deviation_of(tests[k].samples_ts, tests[k].n_samples)};
        qsort(points, count, sizeof *points, by_x);
        name_line(v, &tests[i], out->names[n_series]);
        out->series[n_series] = (plot_series){out->names[n_series], points, count};
        n_series++;
        n_points += count;
    }
    return n_series;
}

static void draw(FILE *f, const test_result *tests, size_t n, lines both[2]) {
    naming v = find_naming(tests, n);
    plot_panel panels[2];
    size_t n_panels = 0;
    for (int kind = 0; kind < 2; kind++) {
        size_t n_lines = make_lines(tests, n, kind == 0, &v, &both[kind]);
        if (n_lines) panels[n_panels++] = (plot_panel){kind == 0 ? "prompt, tokens per second" : "generation, tokens per second", both[kind].series, n_lines};
    }
    char title[256];
    snprintf(title, sizeof title, "%s%s%s, tier %s", v.model ? "" : tests[0].model.type, v.model ? "" : " on ", tests[0].model.cpu, tests[0].model.tier);
    plot_write(f, title, "tokens in the context before (depth)", panels, n_panels);
}

int bench_plot(const char *path, const test_result *tests, size_t n) {
    lines both[2];
    bool there = true;
    for (int kind = 0; kind < 2; kind++) {
        both[kind] = (lines){calloc(n, sizeof(plot_series)), calloc(n, sizeof(plot_point)), calloc(n, sizeof(char[128]))};
        there &= both[kind].series && both[kind].points && both[kind].names;
    }
    result_file out;
    int status = EXIT_FAILED;
    if (!there) say_error("out of memory");
    else status = result_open(&out, path);
    if (status == EXIT_FINE) {
        draw(out.f, tests, n, both);
        status = result_close(&out, true);
    }
    for (int kind = 0; kind < 2; kind++) {
        free(both[kind].series);
        free(both[kind].points);
        free(both[kind].names);
    }
    return status;
}
