/* The option parser: long and short options, --name=value, ranges, and a guess at what a mistyped name meant. */
#include "cli/args.h"

#include "cli/term.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const option *args_find(const option *table, const char *name) {
    for (const option *o = table; o->name; o++)
        if (strcmp(o->name, name) == 0) return o;
    return NULL;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Damerau-Levenshtein distance (adjacent transpositions count once); words longer than the table are far apart. */
static size_t edit_distance(const char *a, const char *b) {
    enum { MOST = 32 };
    size_t n = strlen(a), m = strlen(b), d[MOST + 1][MOST + 1];
    if (n > MOST || m > MOST) return MOST;
    for (size_t i = 0; i <= n; i++) d[i][0] = i;
    for (size_t j = 0; j <= m; j++) d[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            size_t best = smaller(d[i - 1][j] + 1, d[i][j - 1] + 1);
            best = smaller(best, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = smaller(best, d[i - 2][j - 2] + 1);
            d[i][j] = best;
        }
    }
    return d[n][m];
}

static const char *suggest(const char *typed, const char *const *names) {
    const char *best = NULL;
    size_t length = strlen(typed), best_distance = length > 4 ? 3 : length > 2 ? 2 : 1; /* must be below this */
    for (; *names; names++) {
        size_t distance = edit_distance(typed, *names);
        bool starts =
            length >= 2 && (strncmp(typed, *names, length) == 0 || strncmp(typed, *names, strlen(*names)) == 0);
        if (starts && distance >= best_distance && !best) best = *names;
        if (distance >= best_distance) continue;
        best = *names;
        best_distance = distance;
    }
    return best;
}

void args_say_unknown(const char *what, const char *typed, const char *prefix, const char *const *names,
                      const char *hint) {
    const char *meant = suggest(typed + strspn(typed, "-"), names);
    if (meant)
        say_error("%s \"%s\"; did you mean %s%s? %s", what, typed, prefix, meant, hint);
    else
        say_error("%s \"%s\". %s", what, typed, hint);
}

static bool set_choice(const option *o, int *target, const char *text, char *problem, size_t cap) {
    size_t length = strlen(text);
    int index = 0;
    for (const char *name = o->value;; index++) {
        size_t n = strcspn(name, "|");
        if (n == length && strncmp(name, text, n) == 0) {
            *target = index;
            return true;
        }
        if (!name[n]) break;
        name += n + 1;
    }
    snprintf(problem, cap, "must be one of %s, not \"%s\"", o->value, text);
    return false;
}

static bool set_seed(uint64_t *target, const char *text, char *problem, size_t cap) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < 0) {
        snprintf(problem, cap, "must be a whole number from 0 to %lld, not \"%s\"", INT64_MAX + 0LL, text);
        return false;
    }
    *target = (uint64_t)v;
    return true;
}

static bool add_text(text_list *list, const char *text, char *problem, size_t cap) {
    const char **items = realloc(list->items, (list->n + 2) * sizeof *items);
    if (!items) {
        snprintf(problem, cap, "does not fit into memory");
        return false;
    }
    list->items = items;
    list->items[list->n++] = text;
    list->items[list->n] = NULL;
    return true;
}

bool args_set(const option *o, void *base, const char *text, char *problem, size_t cap) {
    void *target = (char *)base + o->offset;
    char *end;
    switch (o->kind) {
    case OPTION_FLAG: {
        if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0) {
            snprintf(problem, cap, "must be on or off, not \"%s\"", text);
            return false;
        }
        *(bool *)target = strcmp(text, "on") == 0;
        return true;
    }
    case OPTION_TEXT: *(const char **)target = text; return true;
    case OPTION_TEXTS: return add_text(target, text, problem, cap);
    case OPTION_CHOICE: return set_choice(o, target, text, problem, cap);
    case OPTION_SEED: return set_seed(target, text, problem, cap);
    case OPTION_INT: {
        errno = 0;
        long v = strtol(text, &end, 10);
        if (errno || end == text || *end || (double)v < o->least || (double)v > o->most) {
            snprintf(problem, cap, "must be a whole number from %.0f to %.0f, not \"%s\"", o->least, o->most, text);
            return false;
        }
        *(int *)target = (int)v;
        return true;
    }
    case OPTION_FLOAT: {
        float v = strtof(text, &end);
        /* Compared as floats: 0.01 given where 0.01 is the least must pass. */
        if (end == text || *end || !(v >= (float)o->least && v <= (float)o->most)) {
            snprintf(problem, cap, "must be a number from %g to %g, not \"%s\"", o->least, o->most, text);
            return false;
        }
        *(float *)target = v;
        return true;
    }
    }
    return false;
}

void args_show(const option *o, const void *base, char *out, size_t cap) {
    const void *target = (const char *)base + o->offset;
    out[0] = '\0';
    switch (o->kind) {
    case OPTION_FLAG: snprintf(out, cap, "%s", *(const bool *)target ? "on" : "off"); break;
    case OPTION_TEXT: snprintf(out, cap, "%s", *(const char *const *)target ? *(const char *const *)target : ""); break;
    case OPTION_TEXTS: {
        const text_list *list = target;
        for (size_t i = 0, n = 0; i < list->n && n < cap; i++)
            n += (size_t)snprintf(out + n, cap - n, "%s%s", i ? " " : "", list->items[i]);
        break;
    }
    case OPTION_INT: snprintf(out, cap, "%d", *(const int *)target); break;
    case OPTION_SEED: snprintf(out, cap, "%llu", (unsigned long long)*(const uint64_t *)target); break;
    case OPTION_FLOAT: snprintf(out, cap, "%g", (double)*(const float *)target); break;
    case OPTION_CHOICE: {
        const char *name = o->value;
        for (int i = *(const int *)target; i > 0; i--) name += strcspn(name, "|") + 1;
        snprintf(out, cap, "%.*s", (int)strcspn(name, "|"), name);
        break;
    }
    }
}

/* Where option o of the command lives: its group's part of the settings. */
typedef struct found_option {
    const option *o;
    void *base;
} found_option;

/* By name[0..n), or by letter when name is NULL. */
static found_option find_option(const command *cmd, void *settings, const char *name, size_t n, char letter) {
    for (const option_group *g = cmd->groups; g->title; g++)
        for (const option *o = g->options; o->name; o++)
            if (name ? strlen(o->name) == n && strncmp(o->name, name, n) == 0 : o->letter == letter)
                return (found_option){o, (char *)settings + g->offset};
    return (found_option){NULL, NULL};
}

/* One dash does for long names of two or three letters too: -pg, -ctk, as llama-bench has them. */
static bool is_short_name(const command *cmd, void *settings, const char *arg) {
    size_t n = arg[0] == '-' ? strcspn(arg + 1, "=") : 0;
    return n >= 2 && n <= 3 && find_option(cmd, settings, arg + 1, n, 0).o;
}

static found_option find_written(const command *cmd, void *settings, const char *arg) {
    if (arg[0] != '-' || !arg[1]) return (found_option){NULL, NULL};
    if (arg[1] == '-') return find_option(cmd, settings, arg + 2, strcspn(arg + 2, "="), 0);
    if (is_short_name(cmd, settings, arg)) return find_option(cmd, settings, arg + 1, strcspn(arg + 1, "="), 0);
    return find_option(cmd, settings, NULL, 0, arg[1]);
}

static int unknown_option(const command *cmd, const char *arg) {
    const char *names[128];
    size_t n = 0;
    for (const option_group *g = cmd->groups; g->title; g++)
        for (const option *o = g->options; o->name && n + 1 < sizeof names / sizeof *names; o++) names[n++] = o->name;
    names[n] = NULL;
    char typed[64], hint[64];
    snprintf(typed, sizeof typed, "%.*s", (int)strcspn(arg, "="), arg);
    snprintf(hint, sizeof hint, "See `tessera help %s`", cmd->name);
    args_say_unknown("unknown option", typed, "--", names, hint);
    return EXIT_USAGE;
}

/* Takes the option at argv[*i], and its value if that is the next argument. */
static int take_option(const command *cmd, int argc, char **argv, int *i, void *settings) {
    const char *arg = argv[*i];
    found_option f = find_written(cmd, settings, arg);
    bool is_long = arg[1] == '-' || is_short_name(cmd, settings, arg);
    if (!f.o || (!is_long && f.o->kind == OPTION_FLAG && arg[2])) return unknown_option(cmd, arg);

    const char *value = is_long ? strchr(arg, '=') : arg[2] ? arg + 1 : NULL;
    if (value) value++; /* behind the '=' or the letter */
    if (f.o->kind == OPTION_FLAG) {
        if (value) {
            say_error("option --%s takes no value, but was given \"%s\"", f.o->name, value);
            return EXIT_USAGE;
        }
        *(bool *)((char *)f.base + f.o->offset) = true;
        return EXIT_FINE;
    }
    if (!value) {
        /* "-m -p hello" lacks the model; "-n -1" does not lack the number. */
        if (*i + 1 >= argc || find_written(cmd, settings, argv[*i + 1]).o) {
            say_error("option %s needs a value: --%s %s", arg, f.o->name, f.o->value);
            return EXIT_USAGE;
        }
        value = argv[++*i];
    }
    char problem[512];
    if (args_set(f.o, f.base, value, problem, sizeof problem)) return EXIT_FINE;
    say_error("--%s %s", f.o->name, problem);
    return EXIT_USAGE;
}

int args_parse(const command *cmd, int argc, char **argv, void *settings, operands *rest, bool *help) {
    bool only_operands = false;
    rest->n = 0;
    rest->items = calloc((size_t)argc + 1, sizeof *rest->items);
    if (!rest->items) {
        say_error("out of memory");
        return EXIT_FAILED;
    }
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (!only_operands && strcmp(arg, "--") == 0) {
            only_operands = true;
        } else if (!only_operands && (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0)) {
            *help = true;
            return EXIT_FINE;
        } else if (!only_operands && arg[0] == '-' && arg[1]) {
            int status = take_option(cmd, argc, argv, &i, settings);
            if (status != EXIT_FINE) return status;
        } else {
            rest->items[rest->n++] = argv[i];
        }
    }
    if (rest->n > cmd->max_operands) {
        const char *extra = rest->items[cmd->max_operands], *dot = strrchr(extra, '.');
        if (dot && strcmp(dot, ".gguf") == 0 && find_option(cmd, settings, "model", strlen("model"), 0).o) {
            say_error("unexpected argument \"%s\"; did you mean -m %s?", extra, extra);
            return EXIT_USAGE;
        }
        if (cmd->max_operands == 0 && find_option(cmd, settings, "prompt", strlen("prompt"), 0).o) {
            say_error("unexpected argument \"%s\"; a text is given with -p \"...\", all of it in quotes", extra);
            return EXIT_USAGE;
        }
        say_error("unexpected argument \"%s\"; usage: tessera %s [options]%s%s", extra, cmd->name,
                  *cmd->operands ? " " : "", cmd->operands);
        return EXIT_USAGE;
    }
    return EXIT_FINE;
}

void args_free(const command *cmd, void *settings) {
    for (const option_group *g = cmd->groups; g->title; g++)
        for (const option *o = g->options; o->name; o++)
            if (o->kind == OPTION_TEXTS) free(((text_list *)((char *)settings + g->offset + o->offset))->items);
}
