/* tessera bench --op matmul: speed of products of random weights. */
#include "cli/bench.h"
#include "cli/bench_shapes.h"
#include "cli/bench_table.h"
#include "cli/engine.h"
#include "cli/interrupt.h"
#include "cli/io.h"
#include "cli/numbers.h"
#include "cli/term.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST_ITEMS = 64, MOST_ROWS = 1 << 20 };

/* What the options ask for. */
typedef struct bench_plan {
    bench_shapes shapes;
    const char *types[MOST_ITEMS];
    number_list rows, threads;
    size_t n_types;
} bench_plan;

/* A run, and how far it is. */
typedef struct bench_run {
    const bench_settings *s;
    const bench_plan *plan;
    const result_file *out;
    bench_table table;
    progress bar;
    size_t n_done, n_total; /* products */
    int status;
    bool lost; /* results could not be written */
} bench_run;

/* --- what is asked for ------------------------------------------------------------------------------------------------------- */

static bool add_type(bench_plan *p, const char *word) {
    const char *names[MOST_ITEMS] = {NULL};
    for (size_t i = 0; i + 1 < MOST_ITEMS && (names[i] = tsr_bench_type(i)); i++)
        if (strcasecmp(names[i], word) == 0 && p->n_types < MOST_ITEMS) {
            p->types[p->n_types++] = names[i];
            return true;
        }
    if (p->n_types == MOST_ITEMS) say_error("--types has more than %d formats", MOST_ITEMS);
    else args_say_unknown("unknown format", word, "", names, "See `tessera bench --list`");
    return false;
}

static bool parse_types(const char *list, bench_plan *p) {
    if (strcasecmp(list, "all") == 0) {
        while (p->n_types < MOST_ITEMS && (p->types[p->n_types] = tsr_bench_type(p->n_types))) p->n_types++;
        return true;
    }
    char word[32];
    for (const char *rest = list; next_word(&rest, word, sizeof word);)
        if (!add_type(p, word)) return false;
    return true;
}

static int make_plan(const bench_settings *s, bench_plan *p) {
    if (!parse_types(s->types, p) || !parse_numbers("rows", s->rows, 1, MOST_ROWS, &p->rows) ||
        !parse_numbers("threads", s->threads, 0, 1024, &p->threads))
        return EXIT_USAGE;
    int status = s->shapes.n ? EXIT_FINE : shapes_add(&p->shapes, "llama-1b");
    for (size_t i = 0; i < s->shapes.n && status == EXIT_FINE; i++) status = shapes_add(&p->shapes, s->shapes.items[i]);
    return status;
}

int bench_show_lists(void) {
    printf("formats:");
    for (size_t i = 0; tsr_bench_type(i); i++) printf(" %s", tsr_bench_type(i));
    printf("\n");
    for (const builtin_shapes *b = builtin_shape_lists; b->name; b++) {
        bench_shapes shapes = {0};
        int status = shapes_add(&shapes, b->name);
        if (status != EXIT_FINE) return status;
        printf("\n%s%s%s\n", term_style(stdout, STYLE_BOLD), b->name, term_style(stdout, STYLE_NONE));
        for (size_t i = 0; i < shapes.n; i++) {
            const bench_shape *x = &shapes.items[i];
            printf("  %-14s %6lld x %-6lld", x->name, (long long)x->n, (long long)x->k);
            if (x->n_experts) printf(" %d experts, %d used", x->n_experts, x->n_used);
            printf("\n");
        }
        shapes_free(&shapes);
    }
    return EXIT_FINE;
}

/* --- measuring --------------------------------------------------------------------------------------------------------------- */

static bool on_sample(void *user, uint64_t done, uint64_t total) {
    bench_run *r = user;
    progress_update(&r->bar, r->n_done * total + done, r->n_total * total);
    return !interrupted();
}

/* Rows appear as they are measured. False when that failed, or nobody reads any more. */
static bool flush(bench_run *r) {
    if (result_flush(r->out)) return true;
    if (r->out->f != stdout) {
        r->status = EXIT_FAILED;
        r->lost = true;
    }
    return false;
}

/* One row of the table. TSR_E_ARG: the format's blocks do not fit the shape. TSR_E_CANCELLED ends the run; r->status says why. */
static tsr_code measure(bench_run *r, tsr_bench *b, bench_row *row) {
    tsr_error err = {0};
    const bench_shape *s = row->shape;
    tsr_bench_product p = {.type = row->type, .n = s->n, .k = s->k, .m = row->m, .n_experts = s->n_experts, .n_used = s->n_used,
                           .host = r->s->host, .n_samples = r->s->n_reps, .progress = on_sample, .progress_user = r};
    tsr_code code = tsr_bench_matmul(b, &p, &row->result, &err);
    progress_end(&r->bar);
    if (code == TSR_E_CANCELLED) {
        r->status = EXIT_INTERRUPTED;
    } else if (code == TSR_OK) {
        table_row(&r->table, row);
        if (!flush(r)) code = TSR_E_CANCELLED;
    } else if (code != TSR_E_ARG) {
        say_error("%s %s, %s, %lld rows: %s", s->model, s->name, row->type, (long long)row->m, err.message);
        r->status = EXIT_FAILED;
    }
    return code;
}

/* All formats and numbers of rows of a shape. Formats that do not fit it are left out, and named. False ends the run. */
static bool measure_shape(bench_run *r, tsr_bench *b, const bench_shape *shape) {
    const bench_plan *plan = r->plan;
    char left_out[512] = "";
    tsr_code code = TSR_OK;
    for (size_t t = 0; t < plan->n_types && code != TSR_E_CANCELLED; t++) {
        for (size_t i = 0; i < plan->rows.n && code != TSR_E_CANCELLED; i++) {
            bench_row row = {.shape = shape, .type = plan->types[t], .m = plan->rows.items[i]};
            code = measure(r, b, &row);
            r->n_done += code != TSR_E_CANCELLED;
            if (code == TSR_E_ARG && i == 0) {
                size_t n = strlen(left_out);
                snprintf(left_out + n, sizeof left_out - n, "%s%s", n ? ", " : "", row.type);
            }
        }
    }
    if (*left_out)
        say_note("%s %s: left out %s, whose blocks do not fit rows of %lld weights", shape->model, shape->name, left_out, (long long)shape->k);
    return code != TSR_E_CANCELLED;
}

static bool measure_threads(bench_run *r, int n_threads) {
    tsr_error err = {0};
    tsr_bench_params p = {.cpu_tier = r->s->cpu_tier, .amx = (tsr_amx)r->s->amx, .n_threads = n_threads, .max_memory = (uint64_t)((double)r->s->max_memory * 1e9)};
    tsr_bench *b = tsr_bench_open(&p, &err);
    if (!b) {
        r->status = fail_with(&err);
        return false;
    }
    if (*tsr_bench_amx_note(b)) say_note("%s", tsr_bench_amx_note(b));
    bool more = true;
    for (size_t i = 0; i < r->plan->shapes.n && more; i++) more = measure_shape(r, b, &r->plan->shapes.items[i]);
    tsr_bench_close(b);
    return more;
}

static int measure_all(const bench_settings *s, const bench_plan *plan) {
    result_file out;
    bench_run r = {.s = s, .plan = plan, .out = &out, .table = {.format = (bench_format)s->format},
                   .n_total = plan->shapes.n * plan->n_types * plan->rows.n * plan->threads.n};
    int status = result_open(&out, s->output ? s->output : "-");
    if (status != EXIT_FINE) return status;
    r.table.f = out.f;
    progress_start(&r.bar, "measuring", "samples");
    bool more = true;
    for (size_t i = 0; i < plan->threads.n && more; i++) more = measure_threads(&r, (int)plan->threads.items[i]);
    progress_end(&r.bar);
    if (r.table.n_rows > 0 || out.f == stdout) table_end(&r.table);
    if (r.table.n_rows == 0 && r.status == EXIT_FINE) say_error("nothing was measured: no format fits any of the shapes; give others with --types or --shapes");
    if (r.status == EXIT_INTERRUPTED) say_note("interrupted: %zu of %zu products measured", r.table.n_rows, r.n_total);
    int closed = result_close(&out, r.table.n_rows > 0 && !r.lost); /* what was measured is kept, whatever happened then */
    if (r.status == EXIT_FINE && r.table.n_rows == 0) r.status = EXIT_FAILED;
    return r.status == EXIT_FINE ? closed : r.status;
}

int bench_matmul(const bench_settings *s) {
    bench_plan plan = {.n_types = 0};
    int status = make_plan(s, &plan);
    if (status == EXIT_FINE) status = measure_all(s, &plan);
    shapes_free(&plan.shapes);
    return status;
}
