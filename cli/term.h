/* term.h: what depends on the terminal: colours, width, progress; and messages for people, always on stderr. */
#ifndef CLI_TERM_H
#define CLI_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum color_mode { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER } color_mode; /* order of --color's choices */
typedef enum style { STYLE_NONE, STYLE_BOLD, STYLE_DIM, STYLE_ERROR, STYLE_WARNING, STYLE_PROMPT } style;

void term_set_color(color_mode mode);
/* The escape sequence for a style on that stream, or "" where there are no colours: not a terminal, NO_COLOR set and
 * not empty (no-color.org), TERM=dumb, --color never. STYLE_NONE ends a style. */
const char *term_style(FILE *f, style s);
bool term_is_tty(FILE *f);
int term_width(FILE *f); /* columns; 80 when unknown */

/* "tessera: error: ..." and friends. Overwrite a progress line that is showing. */
void say_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void say_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void say_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Writes hostile text so that it cannot steer the terminal: control characters other than newline and tab become
 * U+FFFD; with one_line, newline and tab too become \n and \t. */
void put_clean(FILE *f, const char *s, size_t n, bool one_line);

/* Writes a paragraph and a newline, wrapped to width columns; further lines begin at column indent. `at` is the column
 * of the cursor, spaces are written up to indent. */
void put_wrapped(FILE *f, const char *text, int at, int indent, int width);

/* A line on stderr with percentage, rate and time left. Nothing is shown when stderr is no terminal, and nothing in the
 * first half second, so that quick work stays silent. */
typedef struct progress {
    const char *label;
    const char *unit; /* "B" is shown in powers of 1000: kB, MB, GB; anything else as a count */
    double started, drawn;
    bool shown;
    bool events; /* where the line cannot be shown, say the same as lines of JSON: {"event": "loading", "done": ..., "total": ...} */
} progress;

void progress_start(progress *p, const char *label, const char *unit);
void progress_update(progress *p, uint64_t done, uint64_t total);
void progress_end(progress *p); /* erases the line */

double now_seconds(void); /* monotonic */
/* "1.5 GB" into out[cap], which is returned. */
const char *show_bytes(uint64_t bytes, char *out, size_t cap);

#endif
