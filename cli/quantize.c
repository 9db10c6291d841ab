/* tessera quantize: writes a model in another format. */
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/interrupt.h"
#include "cli/io.h"
#include "cli/term.h"

#include <string.h>
#include <strings.h>
#include <sys/stat.h>

typedef struct quantize_settings {
    general_settings general;
    bool pure, allow_requantize, types, verbose;
    int n_threads;
} quantize_settings;

static const option own_options[] = {
    {"pure", 0, OPTION_FLAG, NULL, offsetof(quantize_settings, pure), 0, 0,
     "every matrix in exactly TYPE, instead of more bits where they matter most"},
    {"allow-requantize", 0, OPTION_FLAG, NULL, offsetof(quantize_settings, allow_requantize), 0, 0,
     "accept a model that is already quantised, although quality is lost twice"},
    {"threads", 't', OPTION_INT, "N", offsetof(quantize_settings, n_threads), 0, 1024,
     "threads; 0: the physical cores this process may use"},
    {"types", 0, OPTION_FLAG, NULL, offsetof(quantize_settings, types), 0, 0, "list the types there are"},
    {"verbose", 'v', OPTION_FLAG, NULL, offsetof(quantize_settings, verbose), 0, 0, "say what happens to each tensor"},
    {0},
};

static const option_group groups[] = {{"Quantising", own_options, 0}, {"General", general_options, 0}, {0}};

static void set_defaults(void *settings) { (void)settings; }

typedef struct report {
    progress bar;
    bool verbose;
    size_t n_tensors, n_changed;
    uint64_t bytes_in, bytes_out;
} report;

static bool on_progress(void *user, uint64_t done, uint64_t total) {
    progress_update(&((report *)user)->bar, done, total);
    return !interrupted();
}

static void on_tensor(void *user, const char *name, const char *from, const char *to, uint64_t bytes_in,
                      uint64_t bytes_out) {
    report *r = user;
    r->n_tensors++;
    r->n_changed += strcmp(from, to) != 0;
    r->bytes_in += bytes_in;
    r->bytes_out += bytes_out;
    if (!r->verbose) return;
    char a[32], b[32];
    progress_end(&r->bar);
    put_clean(stdout, name, strlen(name), true);
    for (size_t n = strlen(name); n < 36; n++) putchar(' ');
    printf(" %-8s -> %-8s %9s -> %9s\n", from, to, show_bytes(bytes_in, a, sizeof a),
           show_bytes(bytes_out, b, sizeof b));
}

static int list_types(void) {
    const char *name, *what;
    for (size_t i = 0; (name = tsr_quantize_type(i, &what)) != NULL; i++) printf("%-10s %s\n", name, what);
    return EXIT_FINE;
}

/* The library's spelling of a type ("q4_k_m" is Q4_K_M), or NULL with a message. */
static const char *find_type(const char *typed) {
    const char *names[128], *what;
    size_t n = 0;
    for (; n + 1 < sizeof names / sizeof *names && (names[n] = tsr_quantize_type(n, &what)) != NULL; n++)
        if (strcasecmp(names[n], typed) == 0) return names[n];
    names[n] = NULL;
    args_say_unknown("unknown type", typed, "", names, "`tessera quantize --types` lists them");
    return NULL;
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Parameters of the written model, counted from its own header: bits per weight need them. */
static uint64_t count_parameters(const char *path) {
    tsr_model_params p = tsr_model_params_default();
    p.vocab_only = true;
    tsr_model *model = tsr_model_open(path, &p, NULL);
    if (!model) return 0;
    tsr_model_info info;
    tsr_model_get_info(model, &info);
    tsr_model_close(model);
    return info.n_params;
}

static int run(void *settings, const operands *rest) {
    const quantize_settings *s = settings;
    if (s->types) return list_types();
    if (rest->n < 3) {
        say_error("too few arguments; usage: tessera quantize [options] IN OUT TYPE");
        return EXIT_USAGE;
    }
    const char *in = rest->items[0], *out = rest->items[1], *type = find_type(rest->items[2]);
    if (!type) return EXIT_USAGE;
    if (same_file(in, out)) {
        say_error("%s and %s are the same file; give the result another name", in, out);
        return EXIT_USAGE;
    }
    report r = {.verbose = s->verbose};
    tsr_error err = {0};
    tsr_quantize_params p = tsr_quantize_params_default();
    p.type = type;
    p.pure = s->pure;
    p.requantize = s->allow_requantize;
    p.n_threads = s->n_threads;
    p.progress = on_progress;
    p.progress_user = &r;
    p.on_tensor = on_tensor;
    p.on_tensor_user = &r;
    double started = now_seconds();
    progress_start(&r.bar, "quantising", "B");
    tsr_code code = tsr_quantize(in, out, &p, &err);
    progress_end(&r.bar);
    if (code != TSR_OK) return fail_with(&err);

    char a[32], b[32];
    uint64_t n_params = count_parameters(out);
    printf("%s: %zu tensors, %zu changed, %s -> %s", out, r.n_tensors, r.n_changed, show_bytes(r.bytes_in, a, sizeof a),
           show_bytes(r.bytes_out, b, sizeof b));
    if (n_params > 0)
        printf(", %.2f -> %.2f bits per weight", 8.0 * (double)r.bytes_in / (double)n_params,
               8.0 * (double)r.bytes_out / (double)n_params);
    printf(", %.1f s\n", now_seconds() - started);
    return EXIT_FINE;
}

const command quantize_command = {
    .name = "quantize",
    .summary = "write a model in another format",
    .operands = "IN OUT TYPE",
    .max_operands = 3,
    .about = "OUT appears only when it is complete. TYPE is a format such as Q8_0, or a mix such as Q4_K_M that gives "
             "more bits "
             "to the tensors that need them.",
    .examples = "tessera quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M\n"
                "tessera quantize --pure -v model-f16.gguf model-q8_0.gguf Q8_0\n"
                "tessera quantize --types",
    .groups = groups,
    .settings_size = sizeof(quantize_settings),
    .set_defaults = set_defaults,
    .run = run,
};
