/* Results of tests of whole models. */
#include "cli/bench_report.h"

#include "cli/fields.h"
#include "cli/numbers.h"

#include <math.h>
#include <string.h>

static double known(double v) { return v > 0.0 ? v : NAN; }

const char *test_name(const test_result *t, char *out, size_t cap) {
    char prompt[24] = "", gen[24] = "", parallel[24] = "", depth[24] = "";
    if (t->n_prompt) snprintf(prompt, sizeof prompt, "pp%d", t->n_prompt);
    if (t->n_gen) snprintf(gen, sizeof gen, "tg%d", t->n_gen);
    if (t->n_parallel > 1) snprintf(parallel, sizeof parallel, " x%d", t->n_parallel);
    if (t->n_depth) snprintf(depth, sizeof depth, " @ d%d", t->n_depth);
    snprintf(out, cap, "%s%s%s%s%s", prompt, *prompt && *gen ? "+" : "", gen, parallel, depth);
    return out;
}

int threads_of(const test_result *t) { return t->n_gen == 0 ? t->config.n_threads_prompt : t->config.n_threads; }

/* --- all there is to say: CSV and JSON ---------------------------------------------------------------------------------------- */

static void add_test(fields *f, const test_result *t) {
    add_text(f, "version", tsr_version());
    add_text(f, "cpu_info", t->model.cpu);
    add_text(f, "backends", t->model.tier);
    add_text(f, "model_filename", t->model.file);
    add_text(f, "model_type", t->model.type);
    add_count(f, "model_size", (double)t->model.size);
    add_count(f, "model_n_params", (double)t->model.n_params);
    add_count(f, "n_batch", t->config.n_batch);
    add_count(f, "n_ubatch", t->config.n_ubatch);
    add_count(f, "n_threads", t->config.n_threads);
    add_count(f, "n_threads_prompt", t->config.n_threads_prompt);
    add_text(f, "type_k", t->config.kv_k_name);
    add_text(f, "type_v", t->config.kv_v_name);
    add_count(f, "n_prompt", t->n_prompt);
    add_count(f, "n_gen", t->n_gen);
    add_count(f, "n_depth", t->n_depth);
    add_count(f, "n_parallel", t->n_parallel);
    add_text(f, "test_time", t->time);
}

static void add_measured(fields *f, const test_result *t) {
    double seconds = 1e-9 * mean_of(t->samples_ns, t->n_samples);
    add_count(f, "avg_ns", mean_of(t->samples_ns, t->n_samples));
    add_count(f, "stddev_ns", deviation_of(t->samples_ns, t->n_samples));
    add_number(f, "avg_ts", mean_of(t->samples_ts, t->n_samples));
    add_number(f, "stddev_ts", deviation_of(t->samples_ts, t->n_samples));
    add_array(f, "samples_ns", FIELD_COUNTS, t->samples_ns, t->n_samples);
    add_array(f, "samples_ts", FIELD_NUMBERS, t->samples_ts, t->n_samples);
    add_number(f, "load_seconds", t->model.load_seconds);
    add_count(f, "peak_rss_bytes", t->peak_rss ? (double)t->peak_rss : NAN);
    add_count(f, "kv_cache_bytes", (double)t->kv_bytes);
    add_count(f, "work_bytes", (double)t->work_bytes);
    add_number(f, "ops", t->cost.ops);
    add_number(f, "weight_bytes_read", t->cost.weight_bytes);
    add_number(f, "kv_bytes_read", t->cost.kv_bytes);
    add_number(f, "share_of_peak", known(t->roof_seconds / seconds));
    add_number(f, "share_int8", known(t->peaks.int8 > 0.0 ? t->cost.ops / seconds / t->peaks.int8 : 0.0));
    add_number(f, "share_half", known(t->peaks.half > 0.0 ? t->cost.ops / seconds / t->peaks.half : 0.0));
    add_number(f, "share_read", known(t->peaks.read > 0.0 ? (t->cost.weight_bytes + t->cost.kv_bytes) / seconds / t->peaks.read : 0.0));
    add_number(f, "peak_int8", known(t->peaks.int8));
    add_text(f, "peak_int8_name", t->peaks.int8_name);
    add_number(f, "peak_half", known(t->peaks.half));
    add_text(f, "peak_half_name", t->peaks.half_name);
    add_number(f, "peak_read", known(t->peaks.read));
}

static double tokens_of(const test_result *t) { return (double)(t->n_prompt + t->n_gen) * t->n_parallel * (double)t->n_samples; }

static double profiled_seconds(const test_result *t) {
    double sum = 0.0;
    for (size_t i = 0; i < t->n_profile; i++) sum += t->profile[i].seconds;
    return sum;
}

static double measured_seconds(const test_result *t) { return 1e-9 * mean_of(t->samples_ns, t->n_samples) * (double)t->n_samples; }

static void json_profile(FILE *f, const test_result *t) {
    fprintf(f, ",\"barriers_per_token\":%.6g,\"jobs_per_token\":%.6g,\"profile\":[", (double)(t->n_jobs + t->n_barriers) / tokens_of(t),
            (double)t->n_jobs / tokens_of(t));
    for (size_t i = 0; i < t->n_profile; i++)
        fprintf(f, "%s{\"op\":\"%s\",\"seconds\":%.6g,\"calls\":%llu}", i ? "," : "", t->profile[i].name, t->profile[i].seconds,
                (unsigned long long)t->profile[i].calls);
    fprintf(f, ",{\"op\":\"other\",\"seconds\":%.6g,\"calls\":0}]", measured_seconds(t) - profiled_seconds(t));
}

static void full_row(report *r, const test_result *t) {
    fields f = {.n = 0};
    add_test(&f, t);
    add_measured(&f, t);
    if (r->format == BENCH_CSV) {
        put_csv(r->f, &f, r->n_rows == 0);
        return;
    }
    fputs(r->n_rows ? ",\n{" : "[\n{", r->f);
    put_json(r->f, &f);
    if (t->n_profile) json_profile(r->f, t);
    fputs("}", r->f);
}

/* --- for people --------------------------------------------------------------------------------------------------------------- */

/* As llama-bench has them. */
static const char *show_size(uint64_t bytes, char *out, size_t cap) {
    bool large = bytes >= (uint64_t)1 << 30;
    snprintf(out, cap, "%.2f %s", (double)bytes / (large ? 1 << 30 : 1 << 20), large ? "GiB" : "MiB");
    return out;
}

static const char *show_params(uint64_t n, char *out, size_t cap) {
    bool large = n >= 1000000000;
    snprintf(out, cap, "%.2f %s", (double)n / (large ? 1e9 : 1e6), large ? "B" : "M");
    return out;
}

static void md_heading(const report *r) {
    fprintf(r->f, "| model                  |       size |   params | backend    | threads |%s%s%s%s%s test                 |                  t/s | %% peak | load s |     memory |\n",
            r->show_threads_prompt ? "  tb |" : "", r->show_batch ? " n_batch |" : "", r->show_ubatch ? " n_ubatch |" : "", r->show_kv_k ? " type_k |" : "", r->show_kv_v ? " type_v |" : "");
    fprintf(r->f, "| ---------------------- | ---------: | -------: | ---------- | ------: |%s%s%s%s%s -------------------: | -------------------: | -----: | -----: | ---------: |\n",
            r->show_threads_prompt ? " --: |" : "", r->show_batch ? " ------: |" : "", r->show_ubatch ? " -------: |" : "", r->show_kv_k ? " -----: |" : "", r->show_kv_v ? " -----: |" : "");
}

static void md_row(const report *r, const test_result *t) {
    char size[32], params[32], name[64], memory[32] = "-", speed[48], share[16] = "-";
    double mean = mean_of(t->samples_ts, t->n_samples), seconds = 1e-9 * mean_of(t->samples_ns, t->n_samples);
    if (r->n_rows == 0) md_heading(r);
    if (t->peak_rss) show_size(t->peak_rss, memory, sizeof memory);
    if (t->roof_seconds > 0.0) snprintf(share, sizeof share, "%.1f", 100.0 * t->roof_seconds / seconds);
    snprintf(speed, sizeof speed, "%.2f ± %.2f", mean, deviation_of(t->samples_ts, t->n_samples));
    fprintf(r->f, "| %-22s | %10s | %8s | %-10s | %7d |", t->model.type, show_size(t->model.size, size, sizeof size),
            show_params(t->model.n_params, params, sizeof params), t->model.tier, t->config.n_threads);
    if (r->show_threads_prompt) fprintf(r->f, " %3d |", t->config.n_threads_prompt);
    if (r->show_batch) fprintf(r->f, " %7d |", t->config.n_batch);
    if (r->show_ubatch) fprintf(r->f, " %8d |", t->config.n_ubatch);
    if (r->show_kv_k) fprintf(r->f, " %6s |", t->config.kv_k_name);
    if (r->show_kv_v) fprintf(r->f, " %6s |", t->config.kv_v_name);
    /* one character of `speed` is two bytes */
    fprintf(r->f, " %20s | %21s | %6s | %6.2f | %10s |\n", test_name(t, name, sizeof name), speed, share, t->model.load_seconds, memory);
}

static void md_peaks(const report *r, const test_result *t) {
    fprintf(r->f, "\nPeaks on %d thread%s:", threads_of(t), threads_of(t) == 1 ? "" : "s");
    fprintf(r->f, " %s %.0f Gop/s", t->peaks.int8_name, t->peaks.int8 * 1e-9);
    if (t->peaks.half > 0.0) fprintf(r->f, ", %s %.0f", t->peaks.half_name, t->peaks.half * 1e-9);
    if (t->peaks.read > 0.0) fprintf(r->f, "; reading %.1f GB/s", t->peaks.read * 1e-9);
    fprintf(r->f, "\n");
}

static void profile_line(FILE *f, const char *name, double seconds, uint64_t calls, const test_result *t) {
    char count[24] = "";
    if (calls) snprintf(count, sizeof count, "%.1f", (double)calls / (double)t->n_samples);
    fprintf(f, "| %-16s | %10.3f | %6.1f | %10s | %10.3f |\n", name, 1e3 * seconds / (double)t->n_samples, 100.0 * seconds / measured_seconds(t),
            count, 1e6 * seconds / tokens_of(t));
}

static void md_profile(const report *r, const test_result *t) {
    char name[64];
    fprintf(r->f, "\n### %s, %s, %d thread%s\n\n", t->model.type, test_name(t, name, sizeof name), threads_of(t), threads_of(t) == 1 ? "" : "s");
    fprintf(r->f, "| operation        |         ms |      %% |      calls |   us/token |\n| ---------------- | ---------: | -----: | ---------: | ---------: |\n");
    for (size_t i = 0; i < t->n_profile; i++)
        if (t->profile[i].calls) profile_line(r->f, t->profile[i].name, t->profile[i].seconds, t->profile[i].calls, t);
    profile_line(r->f, "other", measured_seconds(t) - profiled_seconds(t), 0, t);
    profile_line(r->f, "all", measured_seconds(t), 0, t);
    fprintf(r->f, "\nBarriers per token: %.2f (%.2f ends of jobs, %.2f inside jobs).\n", (double)(t->n_jobs + t->n_barriers) / tokens_of(t),
            (double)t->n_jobs / tokens_of(t), (double)t->n_barriers / tokens_of(t));
}

/* --- the report --------------------------------------------------------------------------------------------------------------- */

void report_row(report *r, const test_result *t) {
    if (r->format == BENCH_MD) md_row(r, t);
    else full_row(r, t);
    r->n_rows++;
}

void report_end(report *r, const test_result *tests, size_t n) {
    if (r->format == BENCH_JSON) fputs(r->n_rows ? "\n]\n" : "[]\n", r->f);
    if (r->format != BENCH_MD) return;
    for (size_t i = 0; i < n; i++) { /* the peaks of each number of threads, as measured last */
        bool last = tests[i].peaks.int8 > 0.0;
        for (size_t k = i + 1; k < n; k++) last &= threads_of(&tests[k]) != threads_of(&tests[i]) || tests[k].peaks.int8 <= 0.0;
        if (last) md_peaks(r, &tests[i]);
    }
    for (size_t i = 0; i < n; i++)
        if (tests[i].n_profile) md_profile(r, &tests[i]);
}
