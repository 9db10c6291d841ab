/* tessera bench: speed of matrix products, beside what the hardware can do at most. */
#include "cli/bench_shapes.h"
#include "cli/bench_table.h"
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/interrupt.h"
#include "cli/io.h"
#include "cli/term.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct bench_settings {
    general_settings general;
    const char *op, *types, *rows, *threads, *cpu_tier, *output;
    text_list shapes;
    int n_reps, format;
    float max_memory;
    int amx; /* a tsr_amx */
    bool host, list;
} bench_settings;

static const option product_options[] = {
    {"op", 0, OPTION_TEXT, "OP", offsetof(bench_settings, op), 0, 0, "what to measure: matmul, products of random weights"},
    {"shapes", 0, OPTION_TEXTS, "FILE", offsetof(bench_settings, shapes), 0, 0,
     "a list of matrices, lines `name N K [experts used]`, or one of those that --list names; may be given several times (default llama-1b)"},
    {"types", 0, OPTION_TEXT, "LIST", offsetof(bench_settings, types), 0, 0,
     "formats of the weights, such as Q4_0,Q4_K; all: every one (default all)"},
    {"rows", 'M', OPTION_TEXT, "LIST", offsetof(bench_settings, rows), 0, 0,
     "rows of activations (tokens), such as 1,8,512 (default 1,2,4,8,16,32,64,128,512,2048)"},
    {"host", 0, OPTION_FLAG, NULL, offsetof(bench_settings, host), 0, 0, "multiply GGUF blocks in f32 instead of packed weights"},
    {0},
};

static const option machine_options[] = {
    {"threads", 't', OPTION_TEXT, "LIST", offsetof(bench_settings, threads), 0, 0,
     "numbers of threads, such as 1,2; 0: the physical cores this process may use (default 0)"},
    {"cpu-tier", 0, OPTION_TEXT, "NAME", offsetof(bench_settings, cpu_tier), 0, 0, "use the kernels of that tier instead of the best"},
    {"amx", 0, OPTION_CHOICE, "auto|on|off", offsetof(bench_settings, amx), 0, 0, "use AMX where it works, insist on it, or do without"},
    {"reps", 'r', OPTION_INT, "N", offsetof(bench_settings, n_reps), 1, 1000,
     "samples of each product, of which the median counts; fewer are taken when they would take more than some seconds"},
    {"max-memory", 0, OPTION_FLOAT, "GB", offsetof(bench_settings, max_memory), 0, 1e6,
     "use at most so much memory; 0: half of what is available"},
    {0},
};

static const option result_options[] = {
    {"format", 'o', OPTION_CHOICE, "md|csv|json", offsetof(bench_settings, format), 0, 0, "a table to read, or all columns as CSV or JSON"},
    {"output", 0, OPTION_TEXT, "FILE", offsetof(bench_settings, output), 0, 0, "write the results to FILE instead of standard output"},
    {"list", 0, OPTION_FLAG, NULL, offsetof(bench_settings, list), 0, 0, "list the formats and the shapes there are"},
    {0},
};

static const option_group groups[] = {
    {"Products", product_options, 0},
    {"Machine", machine_options, 0},
    {"Results", result_options, 0},
    {"General", general_options, 0},
    {0},
};

static void set_defaults(void *settings) {
    bench_settings *s = settings;
    s->types = "all";
    s->rows = "1,2,4,8,16,32,64,128,512,2048";
    s->threads = "0";
    s->n_reps = 5;
}

enum { MOST_ITEMS = 64, MOST_ROWS = 1 << 20 };

/* What the options ask for. */
typedef struct bench_plan {
    bench_shapes shapes;
    const char *types[MOST_ITEMS];
    int64_t rows[MOST_ITEMS], threads[MOST_ITEMS];
    size_t n_types, n_rows, n_threads;
} bench_plan;

/* A run, and how far it is. */
typedef struct bench_run {
    const bench_settings *s;
    const bench_plan *plan;
    bench_table table;
    progress bar;
    size_t n_done, n_total; /* products */
    int status;
    bool lost; /* results could not be written */
} bench_run;

/* --- what is asked for ------------------------------------------------------------------------------------------------------- */

/* The next word of a comma-separated list into word[cap]; false at the end. */
static bool next_word(const char **list, char *word, size_t cap) {
    if (!*list) return false;
    size_t n = strcspn(*list, ",");
    snprintf(word, cap, "%.*s", (int)(n < cap ? n : cap - 1), *list);
    *list = (*list)[n] ? *list + n + 1 : NULL;
    return true;
}

static bool parse_numbers(const char *name, const char *list, long least, long most, int64_t *out, size_t *n) {
    char word[32], *end;
    for (const char *rest = list; next_word(&rest, word, sizeof word);) {
        errno = 0;
        long v = strtol(word, &end, 10);
        if (word[0] < '0' || word[0] > '9' || *end || errno || v < least || v > most) {
            say_error("--%s must be whole numbers from %ld to %ld with commas between them, not \"%s\"", name, least, most, list);
            return false;
        }
        if (*n == MOST_ITEMS) {
            say_error("--%s has more than %d numbers", name, MOST_ITEMS);
            return false;
        }
        out[(*n)++] = v;
    }
    return true;
}

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
    if (!s->op) {
        say_error("say what to measure: --op matmul (matrix products) is all there is so far");
        return EXIT_USAGE;
    }
    if (strcmp(s->op, "matmul") != 0) {
        args_say_unknown("unknown operation", s->op, "--op ", (const char *const[]){"matmul", NULL}, "matmul is all there is so far");
        return EXIT_USAGE;
    }
    if (!parse_types(s->types, p) || !parse_numbers("rows", s->rows, 1, MOST_ROWS, p->rows, &p->n_rows) ||
        !parse_numbers("threads", s->threads, 0, 1024, p->threads, &p->n_threads))
        return EXIT_USAGE;
    int status = s->shapes.n ? EXIT_FINE : shapes_add(&p->shapes, "llama-1b");
    for (size_t i = 0; i < s->shapes.n && status == EXIT_FINE; i++) status = shapes_add(&p->shapes, s->shapes.items[i]);
    return status;
}

static int show_lists(void) {
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

/* Writes what is in the buffer, so that rows appear as they are measured. False when that failed, or nobody reads any more. */
static bool flush(bench_run *r) {
    if (r->table.f == stdout) return out_write("", 0); /* out_finish() says why */
    errno = 0;
    if (fflush(r->table.f) == 0 && !ferror(r->table.f)) return true;
    say_error("cannot write %s: %s", r->s->output, strerror(errno ? errno : EIO));
    r->status = EXIT_FAILED;
    r->lost = true;
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
        for (size_t i = 0; i < plan->n_rows && code != TSR_E_CANCELLED; i++) {
            bench_row row = {.shape = shape, .type = plan->types[t], .m = plan->rows[i]};
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
    bench_run r = {.s = s, .plan = plan, .table = {.format = (bench_format)s->format},
                   .n_total = plan->shapes.n * plan->n_types * plan->n_rows * plan->n_threads};
    int status = result_open(&out, s->output ? s->output : "-");
    if (status != EXIT_FINE) return status;
    r.table.f = out.f;
    progress_start(&r.bar, "measuring", "samples");
    bool more = true;
    for (size_t i = 0; i < plan->n_threads && more; i++) more = measure_threads(&r, (int)plan->threads[i]);
    progress_end(&r.bar);
    if (r.table.n_rows > 0 || out.f == stdout) table_end(&r.table);
    if (r.table.n_rows == 0 && r.status == EXIT_FINE) say_error("nothing was measured: no format fits any of the shapes; give others with --types or --shapes");
    if (r.status == EXIT_INTERRUPTED) say_note("interrupted: %zu of %zu products measured", r.table.n_rows, r.n_total);
    int closed = result_close(&out, r.table.n_rows > 0 && !r.lost); /* what was measured is kept, whatever happened then */
    if (r.status == EXIT_FINE && r.table.n_rows == 0) r.status = EXIT_FAILED;
    return r.status == EXIT_FINE ? closed : r.status;
}

static int run(void *settings, const operands *rest) {
    (void)rest;
    const bench_settings *s = settings;
    if (s->list) return show_lists();
    bench_plan plan = {.n_types = 0};
    int status = make_plan(s, &plan);
    if (status == EXIT_FINE) status = measure_all(s, &plan);
    shapes_free(&plan.shapes);
    return status;
}

const command bench_command = {
    .name = "bench",
    .summary = "measure the speed of this machine",
    .operands = "",
    .about = "Multiplies random weights of the shapes that real models have with activations, in every format, and compares with what loops of "
             "nothing but arithmetic, or of nothing but reading memory, reach in between on the same threads. doc/benchmarking.md says what the "
             "columns mean. Ctrl-C ends with what has been measured.",
    .examples = "tessera bench --op matmul\n"
                "tessera bench --op matmul --shapes llama-8b --types Q4_K,Q6_K -M 1,512 -t 1,2\n"
                "tessera bench --op matmul --shapes qwen3-30b-a3b -o csv --output results.csv\n"
                "tessera bench --op matmul --shapes my-shapes.txt --types all --cpu-tier avx2",
    .groups = groups,
    .settings_size = sizeof(bench_settings),
    .set_defaults = set_defaults,
    .run = run,
};
