/* io.h: text in (options, files, pipes) and results out (stdout, files that appear only when complete). */
#ifndef CLI_IO_H
#define CLI_IO_H

#include "cli/args.h"

#include <jansson.h>
#include <stdio.h>

/* Where a text may come from; the first that is set counts. */
typedef struct input_options {
    const char *text; /* -p */
    const char *file; /* -f, "-" for standard input */
} input_options;

extern const option input_option_table[];

/* Reads UTF-8 text (`what`: "prompt") from -p, -f or, when neither was given, from standard input if that is no
 * terminal. *text is NUL-terminated and the caller's. Returns an exit status; failures have been reported. */
int input_read(const input_options *in, const char *what, char **text, size_t *n);
/* The whole stream; `name` is for messages. */
int read_stream(FILE *f, const char *name, char **text, size_t *n);
int read_file(const char *path, char **text, size_t *n);
/* False, with a message, when the text is not UTF-8 or holds NUL bytes. */
bool check_text(const char *text, size_t n, const char *what);

/* Writes to stdout at once. False when nobody reads any more (a closed pipe: stop quietly) or writing fails. */
bool out_write(const char *s, size_t n);
bool out_closed(void); /* the reader has gone away: no error, but no reason to go on either */
/* Prints a JSON value and releases it; NULL (it could not be made) is reported. Returns an exit status. */
int out_json(json_t *root);
/* Flushes stdout; the exit status is `status`, or EXIT_FAILED with a message when output was lost. */
int out_finish(int status);

/* A file that takes its name only when complete, so that a failure leaves neither half a file nor the old one spoilt.
 * "-" is stdout; devices and pipes are written directly. */
typedef struct result_file {
    FILE *f;
    const char *path;
    char *temporary; /* NULL when written directly */
} result_file;

int result_open(result_file *r, const char *path);
/* Writes what is in the buffer. False, with a message, when that fails; and, without one, when it is stdout and nobody reads any more
 * (out_finish() says why). */
bool result_flush(const result_file *r);
/* Closes, and with keep moves the file to its name; without, removes it. */
int result_close(result_file *r, bool keep);

#endif
