/* Colours, widths, messages and progress lines. */
#include "cli/term.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static color_mode mode = COLOR_AUTO;
static bool line_showing; /* a progress line is on the terminal and must be erased before other output */

void term_set_color(color_mode m) { mode = m; }

bool term_is_tty(FILE *f) { return isatty(fileno(f)) == 1; }

const char *term_style(FILE *f, style s) {
    static const char *const sequences[] = {"\033[0m", "\033[1m", "\033[2m", "\033[1;31m", "\033[33m", "\033[1;32m"};
    if (mode == COLOR_NEVER) return "";
    if (mode == COLOR_AUTO) {
        const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
        if ((no_color && *no_color) || !term || strcmp(term, "dumb") == 0 || !term_is_tty(f)) return "";
    }
    return sequences[s];
}

int term_width(FILE *f) {
    struct winsize size;
    if (ioctl(fileno(f), TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
    return 80;
}

static void erase_line(void) {
    if (!line_showing) return;
    fputs("\r\033[K", stderr);
    line_showing = false;
}

/* Messages quote files and models. */
static void put_message(const char *fmt, va_list ap) {
    char *text = NULL;
    int n = vasprintf(&text, fmt, ap);
    if (n >= 0) put_clean(stderr, text, (size_t)n, false);
    if (n >= 0) free(text);
}

static void say(const char *kind, style s, const char *fmt, va_list ap) {
    erase_line();
    fflush(stdout); /* so that the message comes after what it is about */
    fprintf(stderr, "tessera: %s%s%s", term_style(stderr, s), kind, *kind ? term_style(stderr, STYLE_NONE) : "");
    put_message(fmt, ap);
    fputc('\n', stderr);
}

void say_error(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say("error: ", STYLE_ERROR, fmt, ap);
    va_end(ap);
}

void say_warning(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say("warning: ", STYLE_WARNING, fmt, ap);
    va_end(ap);
}

void say_note(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    erase_line();
    fflush(stdout);
    fputs(term_style(stderr, STYLE_DIM), stderr);
    put_message(fmt, ap);
    fprintf(stderr, "%s\n", term_style(stderr, STYLE_NONE));
    va_end(ap);
}

void put_clean(FILE *f, const char *s, size_t n, bool one_line) {
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        bool c1 = c == 0xc2 && i + 1 < n && (unsigned char)s[i + 1] >= 0x80 && (unsigned char)s[i + 1] < 0xa0;
        if (one_line && (c == '\n' || c == '\t')) {
            fputs(c == '\n' ? "\\n" : "\\t", f);
        } else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f || c1) {
            fputs("\xef\xbf\xbd", f);
            i += c1;
        } else {
            fputc(c, f);
        }
    }
}

void put_wrapped(FILE *f, const char *text, int at, int indent, int width) {
    while (at < indent) at += fprintf(f, " ");
    int line_start = at;
    for (; *text; text += *text == ' ') {
        int word = (int)strcspn(text, " ");
        if (at > line_start && at + 1 + word > width) {
            fprintf(f, "\n%*s", indent, "");
            at = line_start = indent;
        }
        at += fprintf(f, "%s%.*s", at > line_start ? " " : "", word, text);
        text += word;
    }
    fprintf(f, "\n");
}

double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

const char *show_bytes(uint64_t bytes, char *out, size_t cap) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double v = (double)bytes;
    size_t unit = 0;
    while (v >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
        v /= 1000.0;
        unit++;
    }
    snprintf(out, cap,
             unit == 0   ? "%.0f %s"
             : v < 9.995 ? "%.2f %s"
             : v < 99.95 ? "%.1f %s"
                         : "%.0f %s",
             v, units[unit]);
    return out;
}

void progress_start(progress *p, const char *label, const char *unit) {
    *p = (progress){.label = label, .unit = unit, .started = now_seconds()};
}

/* "12 s", "3:05" or "1:02:05". */
static const char *show_duration(double seconds, char *out, size_t cap) {
    if (seconds > 359999.0) seconds = 359999.0;
    int s = (int)(seconds + 0.5);
    if (s < 60)
        snprintf(out, cap, "%d s", s);
    else if (s < 3600)
        snprintf(out, cap, "%d:%02d", s / 60, s % 60);
    else
        snprintf(out, cap, "%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
    return out;
}

static void put_event(progress *p, uint64_t done, uint64_t total, double now) {
    double elapsed = now - p->started, rate = (double)done / elapsed;
    if (total == 0 || elapsed < 0.5 || now - p->drawn < 0.5) return;
    fprintf(stderr, "{\"event\": \"%s\", \"done\": %llu, \"total\": %llu, \"per_second\": %.0f, \"seconds_left\": %.1f}\n", p->label,
            (unsigned long long)done, (unsigned long long)total, rate, rate > 0.0 ? (double)(total - done) / rate : 0.0);
    p->drawn = now;
}

void progress_update(progress *p, uint64_t done, uint64_t total) {
    double now = now_seconds(), elapsed = now - p->started;
    bool tty = term_is_tty(stderr);
    if (p->events && !tty) put_event(p, done, total, now);
    if (!tty || total == 0 || elapsed < 0.5 || now - p->drawn < 0.1) return;
    double rate = (double)done / elapsed, left = rate > 0.0 ? (double)(total - done) / rate : 0.0;
    char rate_text[32], left_text[16], line[160];
    if (strcmp(p->unit, "B") == 0)
        show_bytes((uint64_t)rate, rate_text, sizeof rate_text);
    else
        snprintf(rate_text, sizeof rate_text, rate < 10.0 ? "%.1f %s" : "%.0f %s", rate, p->unit);
    int n = snprintf(line, sizeof line, "%s %3.0f %%  %s/s  %s left", p->label, 100.0 * (double)done / (double)total,
                     rate_text, show_duration(left, left_text, sizeof left_text));
    int width = term_width(stderr) - 1; /* a full line would wrap, and \r could not take it back */
    fprintf(stderr, "\r%.*s\033[K", n < width ? n : width, line);
    fflush(stderr);
    p->drawn = now;
    p->shown = line_showing = true;
}

void progress_end(progress *p) {
    if (p->shown) erase_line();
    fflush(stderr);
    p->shown = false;
}
