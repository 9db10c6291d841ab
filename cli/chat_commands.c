/* What can be typed behind a slash in a chat. */
#include "cli/chat.h"

#include "cli/io.h"
#include "cli/term.h"

#include <stdlib.h>
#include <string.h>

typedef struct chat_verb {
    const char *name, *argument, *help;
    int (*run)(chat *c, const char *argument); /* argument is trimmed, "" for none */
} chat_verb;

static int do_help(chat *c, const char *argument);

static int do_exit(chat *c, const char *argument) {
    (void)argument;
    c->leave = true;
    return EXIT_FINE;
}

static int do_clear(chat *c, const char *argument) {
    (void)argument;
    size_t first = chat_system(c) ? 1 : 0;
    while (json_array_size(c->messages) > first) json_array_remove(c->messages, first);
    say_note("(a new conversation%s)", first ? " with the same system message" : "");
    return EXIT_FINE;
}

static int do_system(chat *c, const char *argument) {
    if (!*argument) {
        const char *text = chat_system(c);
        say_note(text ? "system message: %s" : "(no system message; /system TEXT sets one, /system - removes it)",
                 text);
        return EXIT_FINE;
    }
    chat_set_system(c, strcmp(argument, "-") == 0 ? NULL : argument);
    say_note(chat_system(c) ? "(system message set)" : "(system message removed)");
    return EXIT_FINE;
}

static int do_undo(chat *c, const char *argument) {
    (void)argument;
    say_note(chat_undo(c) ? "(the last question and its answer are forgotten)" : "(nothing to undo)");
    return EXIT_FINE;
}

static int do_regen(chat *c, const char *argument) {
    (void)argument;
    size_t n = json_array_size(c->messages);
    const char *role = n ? json_string_value(json_object_get(json_array_get(c->messages, n - 1), "role")) : "";
    if (strcmp(role, "assistant") != 0) {
        say_note("(no answer to give again)");
        return EXIT_FINE;
    }
    json_array_remove(c->messages, n - 1);
    return chat_answer(c);
}

static int do_multi(chat *c, const char *argument) {
    (void)argument;
    c->multi = true;
    say_note("(type any number of lines; a line of \"\"\" sends them)");
    return EXIT_FINE;
}

static int do_save(chat *c, const char *argument) {
    if (!*argument) {
        say_error("/save needs a file name");
        return EXIT_FAILED;
    }
    result_file out;
    int status = result_open(&out, argument);
    if (status != EXIT_FINE) return status;
    json_t *root = json_pack("{sO}", "messages", c->messages);
    bool written = root && json_dumpf(root, out.f, JSON_INDENT(2)) == 0 && fputc('\n', out.f) != EOF;
    json_decref(root);
    if (!written && !ferror(out.f)) say_error("cannot write %s: out of memory", argument);
    status = result_close(&out, written || ferror(out.f));
    if (status == EXIT_FINE && written) say_note("(saved to %s)", argument);
    return written ? status : EXIT_FAILED;
}

/* Why a loaded value is no conversation, or NULL. */
static const char *find_fault(const json_t *messages) {
    if (!json_is_array(messages)) return "it holds no array of messages";
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(m, "role"));
        if (!role || !json_is_string(json_object_get(m, "content"))) return "a message lacks \"role\" or \"content\"";
        bool known =
            strcmp(role, "user") == 0 || strcmp(role, "assistant") == 0 || (i == 0 && strcmp(role, "system") == 0);
        if (!known) return "roles must be user and assistant, and system only for the first message";
    }
    return NULL;
}

static int do_load(chat *c, const char *argument) {
    char *text;
    size_t n;
    if (!*argument) {
        say_error("/load needs a file name");
        return EXIT_FAILED;
    }
    int status = read_file(argument, &text, &n);
    if (status != EXIT_FINE) return status;
    json_error_t problem;
    json_t *root = json_loadb(text, n, 0, &problem);
    free(text);
    if (!root) {
        say_error("%s is not valid JSON: %s (line %d)", argument, problem.text, problem.line);
        return EXIT_FAILED;
    }
    json_t *messages = json_is_object(root) ? json_object_get(root, "messages") : root;
    const char *fault = find_fault(messages);
    if (fault) {
        say_error("%s is no saved chat: %s", argument, fault);
        status = EXIT_FAILED;
    } else {
        json_decref(c->messages);
        c->messages = json_incref(messages);
        say_note("(%zu messages loaded)", json_array_size(messages));
    }
    json_decref(root);
    return status;
}

/* What /set may change: single values; lists are for the command line. */
static const option *settable(chat *c, const char *name, void **base) {
    *base = &c->settings->sampling;
    const option *o = args_find(sampling_option_table, name);
    if (!o) {
        *base = &c->settings->generate;
        o = args_find(generate_option_table, name);
    }
    return o && o->kind != OPTION_TEXTS && o->kind != OPTION_TEXT ? o : NULL;
}

static void list_settings(chat *c) {
    int width = term_width(stderr) - 1;
    const option *const tables[] = {generate_option_table, sampling_option_table};
    void *const bases[] = {&c->settings->generate, &c->settings->sampling};
    for (size_t i = 0; i < 2; i++) {
        for (const option *o = tables[i]; o->name; o++) {
            char value[64];
            if (o->kind == OPTION_TEXTS) continue;
            args_show(o, bases[i], value, sizeof value);
            int at = fprintf(stderr, "  %-20s %-8s ", o->name, value);
            put_wrapped(stderr, o->help, at, 32, width);
        }
    }
}

static int unknown_setting(const char *name) {
    const char *names[64];
    size_t n = 0;
    for (const option *o = generate_option_table; o->name; o++) names[n++] = o->name;
    for (const option *o = sampling_option_table; o->name && n < 63; o++) names[n++] = o->name;
    names[n] = NULL;
    args_say_unknown("there is no setting", name, "", names, "/set lists them");
    return EXIT_FAILED;
}

static int do_set(chat *c, const char *argument) {
    char name[64], problem[512];
    size_t n = strcspn(argument, " \t=");
    const char *value = argument + n + strspn(argument + n, " \t=");
    if (n == 0) {
        list_settings(c);
        return EXIT_FINE;
    }
    snprintf(name, sizeof name, "%.*s", n < sizeof name ? (int)n : (int)sizeof name - 1, argument);
    void *base;
    const option *o = settable(c, name, &base);
    if (!o) return unknown_setting(name);
    if (!*value) {
        args_show(o, base, problem, sizeof problem);
        say_note("%s is %s", name, problem);
        return EXIT_FINE;
    }
    if (!args_set(o, base, value, problem, sizeof problem)) {
        say_error("%s %s", name, problem);
        return EXIT_FAILED;
    }
    if (strcmp(name, "seed") == 0) {
        c->seed = c->settings->sampling.params.seed ? c->settings->sampling.params.seed : c->seed + 1;
        c->n_answers = 0;
    }
    args_show(o, base, problem, sizeof problem);
    say_note("(%s is now %s)", name, problem);
    return EXIT_FINE;
}

static int do_stats(chat *c, const char *argument) {
    (void)argument;
    size_t held = tsr_session_length(c->e.session), capacity = tsr_session_capacity(c->e.session);
    tsr_session_stats stats;
    char threads[64];
    tsr_session_get_stats(c->e.session, &stats);
    say_note("context: %zu of %zu tokens; %zu messages; seed %llu; %s", held, capacity,
             json_array_size(c->messages), (unsigned long long)c->seed, show_threads(&stats, threads, sizeof threads));
    if (c->n_answers == 0) return EXIT_FINE;
    say_note("last answer: %zu of %zu prompt tokens were in the cache already", c->last.n_prompt - c->last.n_evaluated,
             c->last.n_prompt);
    show_timings(&c->last, c->last_seconds);
    return EXIT_FINE;
}

static const chat_verb commands[] = {
    {"help", "", "this list", do_help},
    {"exit", "", "leave (also Ctrl-D)", do_exit},
    {"quit", "", "leave", do_exit},
    {"clear", "", "begin a new conversation, with the same system message", do_clear},
    {"system", "[TEXT]", "show or set the system message; - removes it", do_system},
    {"regen", "", "answer the last question again", do_regen},
    {"undo", "", "forget the last question and its answer", do_undo},
    {"multi", "", "write a message of several lines, ended by a line of \"\"\"", do_multi},
    {"save", "FILE", "save the conversation as JSON", do_save},
    {"load", "FILE", "go on with a saved conversation", do_load},
    {"set", "[NAME [VALUE]]", "show or change what answers depend on: temp, top-k, predict, seed ...", do_set},
    {"stats", "", "size of the conversation, speed of the last answer", do_stats},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static int do_help(chat *c, const char *argument) {
    (void)c;
    (void)argument;
    int width = term_width(stderr) - 1;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        char left[48];
        snprintf(left, sizeof left, "/%s %s", commands[i].name, commands[i].argument);
        int at = fprintf(stderr, "  %-22s ", left);
        put_wrapped(stderr, commands[i].help, at, 25, width);
    }
    put_wrapped(stderr,
                "Ctrl-C stops an answer. A message goes on to the next line after a backslash, or between two lines of "
                "\"\"\"; pasted lines stay together. // at its start sends a message that begins with /.",
                0, 0, width);
    return EXIT_FINE;
}

json_t *chat_commands_json(void) {
    json_t *list = json_array();
    for (size_t i = 0; i < N_COMMANDS; i++)
        json_array_append_new(list, json_pack("{ss ss ss}", "name", commands[i].name, "argument", commands[i].argument,
                                              "help", commands[i].help));
    return list;
}

int chat_command_line(chat *c, const char *line) {
    const char *names[N_COMMANDS + 1] = {NULL};
    char name[32], argument[4096];
    size_t n = strcspn(line + 1, " \t\n");
    const char *rest = line + 1 + n + strspn(line + 1 + n, " \t\n");
    size_t length = strlen(rest);
    while (length > 0 && strchr(" \t\r\n", rest[length - 1])) length--;
    if (length >= sizeof argument) {
        say_error("that is too long: a command takes at most %zu bytes", sizeof argument - 1);
        return EXIT_FAILED;
    }
    memcpy(argument, rest, length);
    argument[length] = '\0';
    snprintf(name, sizeof name, "%.*s", n < sizeof name ? (int)n : (int)sizeof name - 1, line + 1);
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) return commands[i].run(c, argument);
        names[i] = commands[i].name;
    }
    args_say_unknown("there is no command", name, "/", names, "/help lists them");
    return EXIT_FAILED;
}
