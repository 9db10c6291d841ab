/* tessera doctor: what this machine offers, and what stands in the way. */
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/io.h"
#include "cli/term.h"
#include "tessera.h"

#include <math.h>
#include <string.h>

typedef struct doctor_settings {
    general_settings general;
    bool json, quick;
    const char *cache_dir;
} doctor_settings;

static const option own_options[] = {
    {"json", 0, OPTION_FLAG, NULL, offsetof(doctor_settings, json), 0, 0, "print JSON"},
    {"quick", 0, OPTION_FLAG, NULL, offsetof(doctor_settings, quick), 0, 0,
     "measure nothing: skips the speed of memory and arithmetic"},
    {"cache-dir", 0, OPTION_TEXT, "DIR", offsetof(doctor_settings, cache_dir), 0, 0,
     "look at the disk of DIR instead of ~/.cache/tessera/packed"},
    {0},
};

static const option_group groups[] = {{"Doctor", own_options, 0}, {"General", general_options, 0}, {0}};

static void set_defaults(void *settings) { (void)settings; }

/* --- speed ----------------------------------------------------------------------------------------------------------------- */

enum { SAMPLES = 60 }; /* of some milliseconds each, after memory of several caches' size has been filled */

static int measure(tsr_bench_peaks_info *peaks) {
    tsr_error err = {0};
    *peaks = (tsr_bench_peaks_info){.int8_name = "", .half_name = "", .f32_name = ""};
    tsr_bench *b = tsr_bench_open(NULL, &err);
    tsr_code code = b ? tsr_bench_get_peaks(b, SAMPLES, peaks, &err) : err.code;
    tsr_bench_close(b);
    return code == TSR_OK ? EXIT_FINE : fail_with(&err);
}

static void print_rate(const char *name, double rate, const char *unit, const char *how) {
    if (rate > 0) printf("  %-14s %.0f %s%s%s\n", name, rate * 1e-9, unit, *how ? ", " : "", how);
}

static void print_speed(const tsr_bench_peaks_info *p) {
    printf("\n%sspeed%s (all threads together)\n", term_style(stdout, STYLE_BOLD), term_style(stdout, STYLE_NONE));
    print_rate("memory", p->read, "GB/s read", "");
    print_rate("int8", p->int8, "Gop/s", p->int8_name);
    print_rate("16 bits", p->half, "Gop/s", p->half_name);
    print_rate("f32", p->f32, "Gop/s", p->f32_name);
}

static json_t *speed_json(const tsr_bench_peaks_info *p) {
    return json_pack("{sf sf ss sf ss sf ss}", "read", p->read, "int8", p->int8, "int8_name", p->int8_name, "half", p->half, "half_name", p->half_name,
                     "f32", p->f32, "f32_name", p->f32_name);
}

/* --- findings -------------------------------------------------------------------------------------------------------------- */

static void print_facts(const tsr_doctor *d) {
    tsr_finding f;
    const char *section = "";
    for (size_t i = 0; tsr_doctor_finding(d, i, &f); i++) {
        if (strcmp(f.section, section) != 0)
            printf("%s%s%s%s\n", i ? "\n" : "", term_style(stdout, STYLE_BOLD), f.section, term_style(stdout, STYLE_NONE));
        section = f.section;
        printf("%s %-14s ", *f.problem ? "!" : " ", f.name);
        put_wrapped(stdout, f.text, 17, 17, term_width(stdout));
    }
}

/* Findings with a problem, or those with mere advice. Returns how many there are. */
static size_t print_advice(const tsr_doctor *d, bool problems) {
    tsr_finding f;
    size_t n = 0;
    for (size_t i = 0; tsr_doctor_finding(d, i, &f); i++) {
        if ((*f.problem != '\0') != problems || !*f.advice) continue;
        if (n++ == 0) printf("\n%s%s%s\n", term_style(stdout, problems ? STYLE_WARNING : STYLE_BOLD), problems ? "problems" : "worth knowing", term_style(stdout, STYLE_NONE));
        int at = printf("  %s, %s: ", f.section, f.name), width = term_width(stdout);
        put_wrapped(stdout, problems ? f.problem : f.advice, at, 4, width);
        if (!problems) continue;
        printf("    -> ");
        put_wrapped(stdout, f.advice, 7, 7, width);
    }
    return n;
}

static size_t count_problems(const tsr_doctor *d) {
    tsr_finding f;
    size_t n = 0;
    for (size_t i = 0; tsr_doctor_finding(d, i, &f); i++) n += *f.problem != '\0';
    return n;
}

static int print_json(const tsr_doctor *d, const tsr_bench_peaks_info *speed) {
    tsr_finding f;
    json_t *root = json_object(), *facts = json_object(), *problems = json_array(), *notes = json_array();
    for (size_t i = 0; tsr_doctor_finding(d, i, &f); i++) {
        json_t *section = json_object_get(facts, f.section);
        if (!section) json_object_set_new(facts, f.section, section = json_object());
        json_object_set_new(section, f.name, isnan(f.number) ? json_string(f.text) : f.number == floor(f.number) ? json_integer((json_int_t)f.number) : json_real(f.number));
        if (*f.advice)
            json_array_append_new(*f.problem ? problems : notes, json_pack("{ss ss ss* ss}", "section", f.section, "name", f.name, "problem",
                                                                           *f.problem ? f.problem : NULL, "advice", f.advice));
    }
    json_object_set_new(root, "ok", json_boolean(json_array_size(problems) == 0));
    json_object_set_new(root, "problems", problems);
    json_object_set_new(root, "notes", notes);
    json_object_set_new(root, "facts", facts);
    if (speed) json_object_set_new(root, "speed", speed_json(speed));
    return out_json(root);
}

static int run(void *settings, const operands *rest) {
    (void)rest;
    const doctor_settings *s = settings;
    tsr_error err = {0};
    tsr_bench_peaks_info speed;
    if (!check_cache_dir(s->cache_dir)) return EXIT_USAGE;
    tsr_doctor *d = tsr_doctor_open(s->cache_dir, &err); /* before measuring, which is a load of its own */
    if (!d) return fail_with(&err);
    int status = EXIT_FINE;
    size_t problems = count_problems(d);
    if (!s->json) print_facts(d);
    if (!s->quick) status = measure(&speed);
    if (status == EXIT_FINE && s->json) {
        status = print_json(d, s->quick ? NULL : &speed);
    } else if (status == EXIT_FINE) {
        if (!s->quick) print_speed(&speed);
        print_advice(d, false);
        if (print_advice(d, true) == 0) printf("\nnothing stands in the way\n");
    }
    tsr_doctor_close(d);
    return status == EXIT_FINE && problems > 0 ? EXIT_FAILED : status;
}

const command doctor_command = {
    .name = "doctor",
    .summary = "show what this machine offers and what stands in the way",
    .operands = "",
    .about = "Each problem comes with a line of advice. The exit status is 1 when there are problems and 0 when there are none.",
    .examples = "tessera doctor\n"
                "tessera doctor --quick\n"
                "tessera doctor --json | jq '.problems[].advice'",
    .groups = groups,
    .settings_size = sizeof(doctor_settings),
    .set_defaults = set_defaults,
    .run = run,
};
