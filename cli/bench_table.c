/* Tables of measurements. */
#include "cli/bench_table.h"

#include "cli/fields.h"

#include <math.h>

static double share(double rate, double peak) { return peak > 0.0 ? rate / peak : NAN; }
static double known(double v) { return v > 0.0 ? v : NAN; }

static void add_what(fields *f, const tsr_machine *machine, const bench_row *row) {
    const tsr_bench_result *r = &row->result;
    add_text(f, "version", tsr_version());
    add_text(f, "cpu", machine->cpu);
    add_text(f, "tier", r->tier);
    add_count(f, "threads", r->n_threads);
    add_text(f, "model", row->shape->model);
    add_text(f, "shape", row->shape->name);
    add_count(f, "n", (double)row->shape->n);
    add_count(f, "k", (double)row->shape->k);
    add_count(f, "experts", row->shape->n_experts);
    add_count(f, "used", row->shape->n_used);
    add_text(f, "type", row->type);
    add_count(f, "m", (double)row->m);
    add_count(f, "rows", (double)r->n_rows);
    add_count(f, "groups", (double)r->n_groups);
    add_count(f, "n_computed", (double)r->n_computed);
    add_text(f, "path", r->path);
    add_text(f, "layout", r->layout);
    add_text(f, "kernel", r->kernel);
}

static void add_measured(fields *f, const tsr_bench_result *r) {
    double ops = r->ops / r->seconds, bytes = r->weight_bytes / r->seconds;
    add_count(f, "samples", r->n_samples);
    add_number(f, "seconds", r->seconds);
    add_number(f, "seconds_best", r->seconds_best);
    add_number(f, "ops_per_second", ops);
    add_number(f, "weight_bytes_per_second", bytes);
    add_number(f, "share_int8", share(ops, r->peak_int8));
    add_number(f, "share_half", share(ops, r->peak_half));
    add_number(f, "share_f32", share(ops, r->peak_f32));
    add_number(f, "share_read", share(bytes, r->peak_read));
    add_text(f, "from", r->from);
    add_count(f, "set_bytes", (double)r->set_bytes);
    add_number(f, "peak_int8", known(r->peak_int8));
    add_text(f, "peak_int8_name", r->peak_int8_name);
    add_number(f, "peak_half", known(r->peak_half));
    add_text(f, "peak_half_name", r->peak_half_name);
    add_number(f, "peak_f32", known(r->peak_f32));
    add_text(f, "peak_f32_name", r->peak_f32_name);
    add_number(f, "peak_read", known(r->peak_read));
    add_count(f, "gguf_bytes", (double)r->gguf_bytes);
    add_count(f, "packed_bytes", (double)r->packed_bytes);
    add_number(f, "pack_bytes_per_second", known(r->pack_rate));
}

static void json_row(bench_table *t, const fields *f) {
    fputs(t->n_rows ? ",\n{" : "[\n{", t->f);
    put_json(t->f, f);
    fputs("}", t->f);
}

/* --- for people -------------------------------------------------------------------------------------------------------------- */

static void md_heading(const bench_table *t, const tsr_machine *machine, const bench_row *row) {
    const tsr_bench_result *r = &row->result;
    const bench_shape *s = row->shape;
    if (t->n_rows == 0) fprintf(t->f, "tessera %s on %s, tier %s\n", tsr_version(), machine->cpu, r->tier);
    fprintf(t->f, "\n### %s %s: %lld x %lld", s->model, s->name, (long long)s->n, (long long)s->k);
    if (s->n_experts) fprintf(t->f, ", %d experts, %d used", s->n_experts, s->n_used);
    fprintf(t->f, "; %d thread%s\n", r->n_threads, r->n_threads == 1 ? "" : "s");
    fprintf(t->f, "Peaks: %s %.0f Gop/s", r->peak_int8_name, r->peak_int8 * 1e-9);
    if (r->peak_half > 0.0) fprintf(t->f, ", %s %.0f", r->peak_half_name, r->peak_half * 1e-9);
    fprintf(t->f, ", %s %.0f", r->peak_f32_name, r->peak_f32 * 1e-9);
    if (r->peak_read > 0.0) fprintf(t->f, "; reading %.1f GB/s", r->peak_read * 1e-9);
    fprintf(t->f, ".\n\n| type   |    M |          ms |  Gop/s | %%int8 | %%16bit | %%f32 | GB/s  | %%read | from  | path    | pack GB/s |\n"
                  "|--------|-----:|------------:|-------:|------:|-------:|-----:|------:|------:|-------|---------|----------:|\n");
}

/* A percentage, or "-", in `width` columns. */
static void put_share(FILE *f, double v, int width) {
    if (isfinite(v)) fprintf(f, " %*.*f |", width, v < 0.0995 ? 1 : 0, 100.0 * v);
    else fprintf(f, " %*s |", width, "-");
}

static void md_row(bench_table *t, const bench_row *row) {
    const tsr_bench_result *r = &row->result;
    double ops = r->ops / r->seconds, bytes = r->weight_bytes / r->seconds, ms = r->seconds * 1e3;
    bool cut = r->n_computed < row->shape->n;
    t->cut |= cut;
    fprintf(t->f, "| %-6s | %4lld | %10.*f%c | %6.1f |", row->type, (long long)row->m, ms < 10.0 ? 4 : 1, ms, cut ? '*' : ' ', ops * 1e-9);
    put_share(t->f, share(ops, r->peak_int8), 5);
    put_share(t->f, share(ops, r->peak_half), 6);
    put_share(t->f, share(ops, r->peak_f32), 4);
    fprintf(t->f, " %5.*f |", bytes < 9.95e9 ? 2 : 1, bytes * 1e-9);
    put_share(t->f, share(bytes, r->peak_read), 5);
    fprintf(t->f, " %-5s | %-7s |", r->from, r->path);
    if (r->pack_rate > 0.0) fprintf(t->f, " %9.2f |\n", r->pack_rate * 1e-9);
    else fprintf(t->f, " %9s |\n", "-");
}

/* --- the table --------------------------------------------------------------------------------------------------------------- */

void table_row(bench_table *t, const bench_row *row) {
    tsr_machine machine;
    fields f = {.n = 0};
    tsr_machine_get(&machine);
    add_what(&f, &machine, row);
    add_measured(&f, &row->result);
    if (t->format == BENCH_CSV) put_csv(t->f, &f, t->n_rows == 0);
    if (t->format == BENCH_JSON) json_row(t, &f);
    if (t->format == BENCH_MD) {
        if (t->shape != row->shape || t->n_threads != row->result.n_threads) md_heading(t, &machine, row);
        md_row(t, row);
    }
    t->shape = row->shape;
    t->n_threads = row->result.n_threads;
    t->n_rows++;
}

void table_end(bench_table *t) {
    if (t->format == BENCH_JSON) fputs(t->n_rows ? "\n]\n" : "[]\n", t->f);
    if (t->format == BENCH_MD && t->cut)
        fputs("\n\\* with the first outputs of the matrix only: with all of them a call would take seconds.\n", t->f);
}
