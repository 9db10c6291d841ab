/* Help on stdout, wrapped to the terminal. */
#include "cli/help.h"

#include "cli/chat.h"
#include "cli/term.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int help_width(void) {
    int width = term_width(stdout) - 1;
    return width > 110 ? 110 : width;
}

/* The default as it is shown, "" where showing it would say nothing. */
static void show_default(const option *o, const void *base, char *out, size_t cap) {
    bool number = o->kind == OPTION_INT || o->kind == OPTION_FLOAT || o->kind == OPTION_CHOICE;
    out[0] = '\0';
    if (number) args_show(o, base, out, cap);
}

static void show_option(const option *o, const void *base, int width) {
    char left[64], help[512], value[64] = "";
    int n = o->letter ? snprintf(left, sizeof left, "  -%c, --%s", o->letter, o->name)
                      : snprintf(left, sizeof left, "      --%s", o->name);
    if (o->kind != OPTION_FLAG)
        snprintf(left + n, sizeof left - (size_t)n, n + (int)strlen(o->value) < width ? " %s" : "\n        %s", o->value);
    show_default(o, base, value, sizeof value);
    snprintf(help, sizeof help, *value ? "%s (default %s)" : "%s", o->help, value);
    int column = width < 64 ? 8 : 32; /* on a narrow terminal, below the option */
    int at = printf("%s", left);
    if (at > column - 2) {
        printf("\n");
        at = 0;
    }
    put_wrapped(stdout, help, at, column, width);
}

static void heading(const char *title) {
    printf("\n%s%s:%s\n", term_style(stdout, STYLE_BOLD), title, term_style(stdout, STYLE_NONE));
}

static void show_lines(const char *lines) {
    while (*lines) {
        size_t n = strcspn(lines, "\n");
        printf("  %.*s\n", (int)n, lines);
        lines += n + (lines[n] == '\n');
    }
}

void help_command(const command *cmd) {
    int width = help_width();
    void *settings = calloc(1, cmd->settings_size);
    if (!settings) return;
    cmd->set_defaults(settings);
    printf("%stessera %s%s: %s\n\n", term_style(stdout, STYLE_BOLD), cmd->name, term_style(stdout, STYLE_NONE),
           cmd->summary);
    printf("Usage: tessera %s [options]%s%s\n", cmd->name, *cmd->operands ? " " : "", cmd->operands);
    if (*cmd->about) {
        printf("\n");
        put_wrapped(stdout, cmd->about, 0, 0, width);
    }
    for (const option_group *g = cmd->groups; g->title; g++) {
        heading(g->title);
        for (const option *o = g->options; o->name; o++) show_option(o, (char *)settings + g->offset, width);
    }
    heading("Examples");
    show_lines(cmd->examples);
    free(settings);
}

void help_overview(const command *const *commands) {
    const char *bold = term_style(stdout, STYLE_BOLD), *plain = term_style(stdout, STYLE_NONE);
    printf("%stessera%s: run quantised language models (GGUF files) on x86 CPUs\n\n", bold, plain);
    printf("Usage: tessera COMMAND [options]\n");
    heading("Commands");
    for (; *commands; commands++) {
        int at = printf("  %s%s%s", bold, (*commands)->name, plain) - (int)(strlen(bold) + strlen(plain));
        put_wrapped(stdout, (*commands)->summary, at, 14, help_width());
    }
    heading("Start here");
    show_lines("tessera chat -m model.gguf\n"
               "tessera run -m model.gguf -p \"Why is the sky blue?\"\n"
               "tessera help run");
    heading("Exit status");
    show_lines("0 fine, 1 failed, 2 wrong usage, 130 interrupted with Ctrl-C");
}

static json_t *option_json(const option *o, const void *base) {
    static const char *const kinds[] = {"flag", "text", "texts", "int", "seed", "float", "choice"};
    json_t *j = json_pack("{ss ss ss}", "name", o->name, "kind", kinds[o->kind], "help", o->help);
    if (o->letter) json_object_set_new(j, "letter", json_stringn(&o->letter, 1));
    if (o->kind != OPTION_FLAG) json_object_set_new(j, "value", json_string(o->value));
    char value[64];
    show_default(o, base, value, sizeof value);
    if (*value) json_object_set_new(j, "default", json_string(value));
    return j;
}

static json_t *command_json(const command *cmd) {
    void *settings = calloc(1, cmd->settings_size);
    if (!settings) return NULL;
    cmd->set_defaults(settings);
    json_t *groups = json_array();
    for (const option_group *g = cmd->groups; g->title; g++) {
        json_t *options = json_array();
        for (const option *o = g->options; o->name; o++)
            json_array_append_new(options, option_json(o, (char *)settings + g->offset));
        json_array_append_new(groups, json_pack("{ss so}", "title", g->title, "options", options));
    }
    free(settings);
    return json_pack("{ss ss ss ss ss so}", "name", cmd->name, "summary", cmd->summary, "operands", cmd->operands,
                     "about", cmd->about, "examples", cmd->examples, "groups", groups);
}

int help_options_json(const command *const *commands) {
    json_t *list = json_array();
    for (; *commands; commands++) json_array_append_new(list, command_json(*commands));
    json_t *root = json_pack("{so so}", "commands", list, "chat_commands", chat_commands_json());
    int failed = json_dumpf(root, stdout, JSON_INDENT(1));
    json_decref(root);
    printf("\n");
    return failed ? EXIT_FAILED : EXIT_FINE;
}
