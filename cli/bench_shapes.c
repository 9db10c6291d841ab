/* Lists of shapes. They may come from anywhere, so every field is checked and named by file and line. */
#include "cli/bench_shapes.h"

#include "cli/args.h"
#include "cli/io.h"
#include "cli/term.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 20, MOST_SHAPES = 1000, MOST_FIELDS = 5, MOST_SIDE = 1 << 24, MOST_EXPERTS = 4096 };

static const char name_characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-/";

/* Where a line is, for messages. */
typedef struct place {
    const char *file;
    int line;
} place;

static bool parse_number(const place *at, const char *what, const char *text, long most, int64_t *out) {
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && !*end && !errno && v >= 1 && v <= most) {
        *out = v;
        return true;
    }
    say_error("%s:%d: %s must be a whole number from 1 to %ld, not \"%.40s\"", at->file, at->line, what, most, text);
    return false;
}

static bool parse_fields(const place *at, char *const *fields, size_t n, bench_shape *shape) {
    int64_t experts = 0, used = 0;
    if (n != 3 && n != 5) {
        say_error("%s:%d: a line is `name N K` or `name N K experts used`, but this one has %zu field%s", at->file, at->line, n,
                  n == 1 ? "" : "s");
        return false;
    }
    if (strlen(fields[0]) >= sizeof shape->name || fields[0][strspn(fields[0], name_characters)]) {
        say_error("%s:%d: a name has at most %zu letters, digits and . _ + - /, unlike \"%.40s\"", at->file, at->line, sizeof shape->name - 1,
                  fields[0]);
        return false;
    }
    if (!parse_number(at, "N", fields[1], MOST_SIDE, &shape->n) || !parse_number(at, "K", fields[2], MOST_SIDE, &shape->k)) return false;
    if (n == 5 && (!parse_number(at, "the number of experts", fields[3], MOST_EXPERTS, &experts) ||
                   !parse_number(at, "the number of experts used", fields[4], (long)experts, &used)))
        return false;
    snprintf(shape->name, sizeof shape->name, "%s", fields[0]);
    shape->n_experts = (int)experts;
    shape->n_used = (int)used;
    return true;
}

static bool append(bench_shapes *s, const place *at, const bench_shape *shape) {
    if (s->n == MOST_SHAPES) {
        say_error("%s:%d: more than %d shapes", at->file, at->line, MOST_SHAPES);
        return false;
    }
    bench_shape *more = realloc(s->items, (s->n + 1) * sizeof *more);
    if (!more) {
        say_error("out of memory");
        return false;
    }
    s->items = more;
    s->items[s->n++] = *shape;
    return true;
}

static bool parse_line(bench_shapes *s, const place *at, const char *model, char *line) {
    char *fields[MOST_FIELDS + 1], *rest = NULL;
    size_t n = 0;
    bench_shape shape = {0};
    line[strcspn(line, "#")] = '\0';
    for (char *f = strtok_r(line, " \t\r", &rest); f && n <= MOST_FIELDS; f = strtok_r(NULL, " \t\r", &rest)) fields[n++] = f;
    if (n == 0) return true;
    snprintf(shape.model, sizeof shape.model, "%s", model);
    return parse_fields(at, fields, n, &shape) && append(s, at, &shape);
}

/* Takes the text apart. */
static int parse(bench_shapes *s, const char *file, const char *model, char *text) {
    size_t before = s->n;
    place at = {file, 1};
    for (char *line = text; line; at.line++) {
        char *end = strchr(line, '\n');
        if (end) *end = '\0';
        if (!parse_line(s, &at, model, line)) return EXIT_FAILED;
        line = end ? end + 1 : NULL;
    }
    if (s->n > before) return EXIT_FINE;
    say_error("%s: no shapes; a line is `name N K` or `name N K experts used`", file);
    return EXIT_FAILED;
}

/* The file's name without directories and .txt, of characters that any table can hold. */
static void model_name(const char *file, char *out, size_t cap) {
    const char *slash = strrchr(file, '/');
    snprintf(out, cap, "%s", slash ? slash + 1 : file);
    size_t n = strlen(out);
    if (n > 4 && strcmp(out + n - 4, ".txt") == 0) out[n - 4] = '\0';
    for (char *c = out; *c; c++)
        if (!strchr(name_characters, *c)) *c = '_';
}

static int unknown_list(const char *typed, int error) {
    const char *names[32];
    size_t n = 0;
    for (const builtin_shapes *b = builtin_shape_lists; b->name && n + 1 < sizeof names / sizeof *names; b++) names[n++] = b->name;
    names[n] = NULL;
    if (error == ENOENT && !strchr(typed, '/'))
        args_say_unknown("no file, and no list of shapes, is called", typed, "", names, "See `tessera bench --list`");
    else
        say_error("cannot read %s: %s", typed, strerror(error));
    return EXIT_FAILED;
}

static int add_file(bench_shapes *s, const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) return unknown_list(path, errno);
    char *text = malloc(MOST_BYTES + 2), model[sizeof s->items->model];
    size_t n = text ? fread(text, 1, MOST_BYTES + 1, f) : 0;
    int error = !text ? ENOMEM : ferror(f) ? errno : 0, status = EXIT_FAILED;
    fclose(f);
    if (error) {
        say_error("cannot read %s: %s", path, strerror(error));
    } else if (n > MOST_BYTES) {
        say_error("%s is too long for a list of shapes: more than %d bytes", path, MOST_BYTES);
    } else {
        text[n] = '\0';
        model_name(path, model, sizeof model);
        if (check_text(text, n, "list of shapes")) status = parse(s, path, model, text);
    }
    free(text);
    return status;
}

int shapes_add(bench_shapes *s, const char *name_or_file) {
    for (const builtin_shapes *b = builtin_shape_lists; b->name; b++) {
        if (strcmp(b->name, name_or_file) != 0) continue;
        char *text = strdup(b->text);
        if (!text) say_error("out of memory");
        int status = text ? parse(s, b->name, b->name, text) : EXIT_FAILED;
        free(text);
        return status;
    }
    return add_file(s, name_or_file);
}

void shapes_free(bench_shapes *s) {
    free(s->items);
    *s = (bench_shapes){0};
}
