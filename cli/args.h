/* args.h: subcommands and their options as tables. One table drives parsing, help, the man page and the completions.
 *
 * A subcommand has a settings struct; its option groups write into parts of it, at group offset + option offset. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum exit_status { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

typedef struct text_list {
    const char **items; /* each points into argv; NULL behind the last, and when there are none */
    size_t n;
} text_list;

typedef enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_TEXT,   /* const char * */
    OPTION_TEXTS,  /* text_list; may be given several times */
    OPTION_INT,    /* int in [least, most] */
    OPTION_SEED,   /* uint64_t, 0 to 2^63 - 1 (what JSON integers hold) */
    OPTION_FLOAT,  /* float in [least, most] */
    OPTION_CHOICE, /* int: index into value, "a|b|c" */
} option_kind;

typedef struct option {
    const char *name; /* without dashes; NULL ends a table */
    char letter;      /* short form, or 0 */
    option_kind kind;
    const char *value; /* what help calls the value: MODEL and FILE are completed as files */
    size_t offset;
    double least, most;
    const char *help; /* defaults are added by help itself */
} option;

typedef struct option_group {
    const char *title; /* NULL ends the list of groups */
    const option *options;
    size_t offset;
} option_group;

/* First member of every settings struct. */
typedef struct general_settings {
    int color; /* a color_mode */
    bool help;
} general_settings;

typedef struct operands {
    char **items;
    size_t n;
} operands;

typedef struct command {
    const char *name, *summary;
    const char *operands; /* as in a usage line, or "" */
    size_t min_operands, max_operands;
    const char *about;    /* a paragraph, or "" */
    const char *examples; /* lines */
    const option_group *groups;
    size_t settings_size;
    void (*set_defaults)(void *settings);
    int (*run)(void *settings, const operands *rest); /* exit status */
} command;

/* Options every subcommand has, at the beginning of its settings. */
extern const option general_options[];

/* Parses argv[0..argc) (without program and subcommand name) into *settings. Returns EXIT_FINE, or EXIT_USAGE after a
 * message. *help is set when help was asked for. rest->items is the caller's to free. */
int args_parse(const command *cmd, int argc, char **argv, void *settings, operands *rest, bool *help);
/* Releases what parsing allocated inside *settings. */
void args_free(const command *cmd, void *settings);

/* The option with that long name in a table, or NULL. */
const option *args_find(const option *table, const char *name);
/* Sets one option from text. On failure fills problem[cap] ("must be a whole number from 1 to 5, not \"x\"") and
 * changes nothing. */
bool args_set(const option *o, void *base, const char *text, char *problem, size_t cap);
/* Writes an option's current value into out[cap], "" for an absent text. */
void args_show(const option *o, const void *base, char *out, size_t cap);
/* Reports that `what` ("unknown command") cannot be `typed`, with the one of the NULL-terminated names, if any, that
 * was most likely meant, written behind `prefix`; and `hint`, a sentence. */
void args_say_unknown(const char *what, const char *typed, const char *prefix, const char *const *names,
                      const char *hint);

#endif
