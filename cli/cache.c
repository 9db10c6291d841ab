/* tessera cache: the files of packed weights on disk. */
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/io.h"
#include "cli/term.h"
#include "cli/engine.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct cache_settings {
    general_settings general;
    const char *dir;
    bool all, json;
} cache_settings;

static const option own_options[] = {
    {"cache-dir", 0, OPTION_TEXT, "DIR", offsetof(cache_settings, dir), 0, 0, "look there instead of in ~/.cache/tessera/packed"},
    {"all", 0, OPTION_FLAG, NULL, offsetof(cache_settings, all), 0, 0, "rm: remove every file"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(cache_settings, json), 0, 0, "print JSON"},
    {0},
};

static const option_group groups[] = {{"Cache", own_options, 0}, {"General", general_options, 0}, {0}};

static void set_defaults(void *settings) { (void)settings; }

typedef struct chosen {
    char name[80];
    uint64_t bytes;
} chosen;

typedef struct listing {
    const cache_settings *settings;
    const char *verb;
    const operands *names; /* from the second on; none: all files */
    json_t *json;          /* the files, or NULL */
    size_t n, n_bad, n_stale;
    uint64_t bytes;
    chosen *chosen;        /* [n] */
} listing;

/* A name may be given by its beginning. */
static bool is_meant(const listing *l, const char *file) {
    for (size_t i = 1; i < l->names->n; i++)
        if (*l->names->items[i] && strncmp(file, l->names->items[i], strlen(l->names->items[i])) == 0) return true;
    return l->names->n < 2;
}

static const char *show_time(int64_t at, char *out, size_t cap) {
    time_t t = (time_t)at;
    struct tm local;
    if (at <= 0 || !localtime_r(&t, &local) || strftime(out, cap, "%Y-%m-%d %H:%M", &local) == 0) snprintf(out, cap, "-");
    return out;
}

static const char *show_age(int64_t at, char *out, size_t cap) {
    double s = difftime(time(NULL), (time_t)at);
    if (s < 120) snprintf(out, cap, "%.0f s", s > 0 ? s : 0.0);
    else if (s < 7200) snprintf(out, cap, "%.0f min", s / 60);
    else if (s < 172800) snprintf(out, cap, "%.0f h", s / 3600);
    else snprintf(out, cap, "%.0f days", s / 86400);
    return out;
}

static void print_entry(const listing *l, const tsr_cache_entry *e) {
    char size[32], created[32], age[32];
    if (l->n == 1)
        printf("%s%-39s %9s  %-16s  %-9s  model%s\n", term_style(stdout, STYLE_BOLD), "file", "size", "written", "last used",
               term_style(stdout, STYLE_NONE));
    printf("%-39s %9s  %-16s  %-9s  ", e->file, show_bytes(e->bytes, size, sizeof size), show_time(e->created, created, sizeof created),
           show_age(e->used, age, sizeof age));
    const char *slash = strrchr(e->source, '/'), *name = slash ? slash + 1 : e->source;
    put_clean(stdout, e->model, strlen(e->model), true);
    if (*name) {
        fputs(*e->model ? " (" : "", stdout);
        put_clean(stdout, name, strlen(name), true);
        fputs(*e->model ? ")" : "", stdout);
    }
    if (*e->problem) {
        printf("%s%s%s", *name ? ": " : "", term_style(stdout, e->stale ? STYLE_WARNING : STYLE_ERROR),
               e->stale ? "stale: " : "");
        put_clean(stdout, e->problem, strlen(e->problem), true);
        fputs(term_style(stdout, STYLE_NONE), stdout);
    } else if (strcmp(l->verb, "verify") == 0) {
        fputs(": good", stdout);
    }
    putchar('\n');
}

static bool on_file(void *user, const tsr_cache_entry *e) {
    listing *l = user;
    if (!is_meant(l, e->file)) return !interrupted();
    chosen *more = realloc(l->chosen, (l->n + 1) * sizeof *more);
    if (!more) return false;
    l->chosen = more;
    chosen *file = &l->chosen[l->n++];
    snprintf(file->name, sizeof file->name, "%s", e->file);
    file->bytes = e->bytes;
    if (strcmp(l->verb, "rm") == 0) return true;
    l->bytes += e->bytes;
    l->n_stale += e->stale;
    l->n_bad += *e->problem && !e->temporary && !e->stale;
    if (l->json)
        json_array_append_new(l->json, json_pack("{ss ss ss sI sI sI sb sb ss}", "file", e->file, "model", e->model,
                                                 "source", e->source, "bytes", (json_int_t)e->bytes, "created",
                                                 (json_int_t)e->created, "used", (json_int_t)e->used, "temporary",
                                                 e->temporary, "stale", e->stale, "problem", e->problem));
    else print_entry(l, e);
    return !interrupted();
}

/* All that can be; what cannot is named. */
static int remove_chosen(listing *l) {
    char size[32];
    size_t n = 0;
    json_t *failed = json_array();
    for (size_t i = 0; i < l->n; i++) {
        tsr_error err = {0};
        const chosen *file = &l->chosen[i];
        if (tsr_cache_remove(l->settings->dir, file->name, &err) == TSR_OK) {
            n++;
            l->bytes += file->bytes;
            if (l->json) json_array_append_new(l->json, json_string(file->name));
        } else {
            fail_with(&err);
            json_array_append_new(failed, json_pack("{ss ss}", "file", file->name, "problem", err.message));
        }
    }
    int status = EXIT_FINE;
    if (l->json)
        status = out_json(json_pack("{sO sO sI}", "removed", l->json, "failed", failed, "bytes", (json_int_t)l->bytes));
    else
        printf("%zu file%s removed, %s\n", n, n == 1 ? "" : "s", show_bytes(l->bytes, size, sizeof size));
    json_decref(failed);
    return n < l->n ? EXIT_FAILED : status;
}

static int finish(listing *l) {
    int status = EXIT_FINE;
    char size[32];
    bool verifying = strcmp(l->verb, "verify") == 0;
    if (l->n == 0 && l->names->n > 1) {
        say_error("no cache file has a name that begins so; `tessera cache ls` lists them");
        return EXIT_FAILED;
    }
    if (strcmp(l->verb, "rm") == 0) return remove_chosen(l);
    if (l->json) {
        status = out_json(json_pack("{sO sI sI sI}", "files", l->json, "bytes", (json_int_t)l->bytes, "stale",
                                    (json_int_t)l->n_stale, "damaged", (json_int_t)l->n_bad));
    } else {
        printf("%zu file%s, %s", l->n, l->n == 1 ? "" : "s", show_bytes(l->bytes, size, sizeof size));
        if (verifying && l->n_stale + l->n_bad > 0) printf("; %zu stale, %zu damaged", l->n_stale, l->n_bad);
        putchar('\n');
    }
    if (l->n_stale > 0)
        say_note("of %zu file%s the model is not what or where it was; if no copy of it is used, `tessera cache rm` "
                 "makes room", l->n_stale, l->n_stale == 1 ? "" : "s");
    if (l->n_bad == 0 || status != EXIT_FINE) return status;
    say_warning("%zu file%s cannot be used: a damaged one is replaced at the next start of its model, one of another version only "
                "takes room (`tessera cache rm` frees it)", l->n_bad, l->n_bad == 1 ? "" : "s");
    return verifying ? EXIT_FAILED : EXIT_FINE;
}

static int run(void *settings, const operands *rest) {
    const cache_settings *s = settings;
    const char *verb = rest->items[0];
    bool removing = strcmp(verb, "rm") == 0, verifying = strcmp(verb, "verify") == 0;
    if (!removing && !verifying && strcmp(verb, "ls") != 0) {
        const char *names[] = {"ls", "rm", "verify", NULL};
        args_say_unknown("unknown action", verb, "", names, "Use ls, rm or verify");
        return EXIT_USAGE;
    }
    if (removing && (rest->n < 2) == !s->all) {
        say_error(s->all ? "give names or --all, not both" : "rm needs the names of files (or how they begin), or --all");
        return EXIT_USAGE;
    }
    if (!check_cache_dir(s->dir)) return EXIT_USAGE;
    tsr_error err = {0};
    listing l = {.settings = s, .verb = verb, .names = rest, .json = s->json ? json_array() : NULL};
    tsr_code code = tsr_cache_visit(s->dir, verifying, on_file, &l, &err);
    int status = code != TSR_OK ? fail_with(&err) : finish(&l);
    if (interrupted()) status = EXIT_INTERRUPTED;
    json_decref(l.json);
    free(l.chosen);
    return status;
}

const command cache_command = {
    .name = "cache",
    .summary = "list, remove or verify packed weights kept on disk",
    .operands = "ls|rm|verify [FILE...]",
    .min_operands = 1,
    .max_operands = 1000,
    .about = "The first start of a model moves its weights into the order of the kernels and keeps them on disk, where later starts map them. "
             "verify reads the files and, as far as they are there, their models, and compares all checksums. FILE may be the beginning of a "
             "name.",
    .examples = "tessera cache ls\n"
                "tessera cache verify\n"
                "tessera cache rm --all",
    .groups = groups,
    .settings_size = sizeof(cache_settings),
    .set_defaults = set_defaults,
    .run = run,
};
