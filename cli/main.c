/* tessera: finds the subcommand and runs it. */
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/interrupt.h"
#include "cli/io.h"
#include "cli/term.h"
#include "tessera.h"

#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const option general_options[] = {
    {"color", 0, OPTION_CHOICE, "auto|always|never", offsetof(general_settings, color), 0, 0,
     "colours; auto: on a terminal, unless NO_COLOR is set"},
    {"help", 'h', OPTION_FLAG, NULL, offsetof(general_settings, help), 0, 0, "show this help"},
    {0},
};

static const command *const commands[] = {&run_command,        &chat_command,  &info_command,     &tokenize_command,
                                          &detokenize_command, &eval_command,  &quantize_command, &bench_command,
                                          &cache_command,      &doctor_command, &version_command,  &help_topic_command, NULL};

static const command *find_command(const char *name) {
    for (const command *const *c = commands; *c; c++)
        if (strcmp((*c)->name, name) == 0) return *c;
    return NULL;
}

static int unknown_command(const char *name) {
    const char *names[sizeof commands / sizeof *commands] = {NULL};
    for (size_t i = 0; commands[i]; i++) names[i] = commands[i]->name;
    args_say_unknown("unknown command", name, "", names, "See `tessera help`");
    return EXIT_USAGE;
}

typedef struct help_settings {
    general_settings general;
    bool options_json;
} help_settings;

static const option help_options[] = {
    {"options-json", 0, OPTION_FLAG, NULL, offsetof(help_settings, options_json), 0, 0,
     "print the tables of all commands and options as JSON"},
    {0},
};

static const option_group help_groups[] = {{"Help", help_options, 0}, {"General", general_options, 0}, {0}};

static int run_help(void *settings, const operands *rest) {
    if (((help_settings *)settings)->options_json) return help_options_json(commands);
    if (rest->n == 0) {
        help_overview(commands);
        return EXIT_FINE;
    }
    const command *topic = find_command(rest->items[0]);
    if (!topic) return unknown_command(rest->items[0]);
    help_command(topic);
    return EXIT_FINE;
}

static void no_defaults(void *settings) { (void)settings; }

const command help_topic_command = {
    .name = "help",
    .summary = "explain a command",
    .operands = "[COMMAND]",
    .max_operands = 1,
    .about = "",
    .examples = "tessera help\ntessera help chat\ntessera chat --help",
    .groups = help_groups,
    .settings_size = sizeof(help_settings),
    .set_defaults = no_defaults,
    .run = run_help,
};

static int run_command_line(const command *cmd, int argc, char **argv) {
    void *settings = calloc(1, cmd->settings_size);
    if (!settings) {
        say_error("out of memory");
        return EXIT_FAILED;
    }
    operands rest;
    bool help = false;
    cmd->set_defaults(settings);
    int status = args_parse(cmd, argc, argv, settings, &rest, &help);
    term_set_color((color_mode)((general_settings *)settings)->color);
    if (status == EXIT_FINE && help) {
        help_command(cmd);
    } else if (status == EXIT_FINE && rest.n < cmd->min_operands) {
        say_error("too few arguments; usage: tessera %s [options] %s", cmd->name, cmd->operands);
        status = EXIT_USAGE;
    } else if (status == EXIT_FINE) {
        status = cmd->run(settings, &rest);
    }
    args_free(cmd, settings);
    free(rest.items);
    free(settings);
    return status;
}

/* Character classes and widths of UTF-8 even where the environment names no locale; numbers stay as C writes them. */
static void set_locale(void) {
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
}

/* With a standard stream closed, the next file opened, the model perhaps, would take its place. */
static void fill_closed_streams(void) {
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) continue;
        /* Only messages may vanish: writing results to a closed stdout must fail, so it is opened for reading. */
        if (open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) < 0) exit(EXIT_FAILED);
    }
}

int main(int argc, char **argv) {
    fill_closed_streams();
    set_locale();
    interrupt_install();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe shows as a failed write: see out_closed */
    int status;
    if (argc < 2) {
        help_overview(commands);
        status = EXIT_USAGE;
    } else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help_overview(commands);
        status = EXIT_FINE;
    } else if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        status = run_command_line(&version_command, 0, argv);
    } else {
        const command *cmd = find_command(argv[1]);
        status = cmd ? run_command_line(cmd, argc - 2, argv + 2) : unknown_command(argv[1]);
    }
    return out_finish(status);
}
