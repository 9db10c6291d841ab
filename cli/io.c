/* Reading prompts and writing results. */
#include "cli/io.h"

#include "cli/interrupt.h"
#include "cli/term.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const option input_option_table[] = {
    {"prompt", 'p', OPTION_TEXT, "TEXT", offsetof(input_options, text), 0, 0, "the text itself"},
    {"file", 'f', OPTION_TEXT, "FILE", offsetof(input_options, file), 0, 0,
     "read the text from FILE (- for standard input, which is also the default when it is not a terminal)"},
    {0},
};

/* A tokenizer takes no longer text. Some input never ends: /dev/zero, `yes`. */
static const size_t longest_text = (size_t)1 << 30;

int read_stream(FILE *f, const char *name, char **text, size_t *n) {
    size_t cap = 1 << 16, len = 0;
    char *data = malloc(cap);
    while (data) {
        interrupt_breaks_input(true);
        len += fread(data + len, 1, cap - len - 1, f);
        interrupt_breaks_input(false);
        if (len + 1 < cap) break; /* end or error */
        if (cap >= longest_text) {
            say_error("%s is too long: at most %zu bytes are read; give a part of it", name, longest_text);
            free(data);
            return EXIT_FAILED;
        }
        cap *= 2;
        char *more = realloc(data, cap);
        if (!more) free(data);
        data = more;
    }
    if (!data || ferror(f)) {
        bool stopped = data && interrupted();
        if (!stopped) say_error("cannot read %s: %s", name, strerror(data ? errno : ENOMEM));
        free(data);
        return stopped ? EXIT_INTERRUPTED : EXIT_FAILED;
    }
    data[len] = '\0';
    *text = data;
    *n = len;
    return EXIT_FINE;
}

int read_file(const char *path, char **text, size_t *n) {
    if (strcmp(path, "-") == 0) return read_stream(stdin, "standard input", text, n);
    FILE *f = fopen(path, "rb");
    if (!f) {
        say_error("cannot open %s: %s", path, strerror(errno));
        return EXIT_FAILED;
    }
    int status = read_stream(f, path, text, n);
    fclose(f);
    return status;
}

bool check_text(const char *text, size_t n, const char *what) {
    const char *nul = memchr(text, '\0', n);
    if (nul) {
        say_error("the %s is binary, not text: it has a NUL byte at offset %zu", what, (size_t)(nul - text));
        return false;
    }
    json_t *valid = json_stringn(text, n); /* refuses invalid UTF-8 */
    if (!valid) say_error("the %s is not UTF-8 text; convert it first, for example with iconv -t UTF-8", what);
    json_decref(valid);
    return valid != NULL;
}

static int copy_text(const char *from, char **text, size_t *n) {
    *n = strlen(from);
    *text = strdup(from);
    if (*text) return EXIT_FINE;
    say_error("out of memory");
    return EXIT_FAILED;
}

int input_read(const input_options *in, const char *what, char **text, size_t *n) {
    if (in->text && in->file) {
        say_error("give either --prompt or --file, not both");
        return EXIT_USAGE;
    }
    if (!in->text && !in->file && term_is_tty(stdin)) {
        say_error("no %s: give it with -p TEXT or -f FILE, or pipe it in", what);
        return EXIT_USAGE;
    }
    int status = in->text ? copy_text(in->text, text, n) : read_file(in->file ? in->file : "-", text, n);
    if (status != EXIT_FINE || check_text(*text, *n, what)) return status;
    free(*text);
    *text = NULL;
    return EXIT_FAILED;
}

static bool closed;
static int write_error; /* errno of the first failure */

static void note_failure(void) {
    if (write_error == 0) write_error = errno ? errno : EIO;
    closed = write_error == EPIPE;
}

bool out_write(const char *s, size_t n) {
    if (write_error) return false;
    errno = 0;
    if (term_is_tty(stdout))
        put_clean(stdout, s, n, false);
    else
        fwrite(s, 1, n, stdout);
    if (fflush(stdout) != 0 || ferror(stdout)) note_failure();
    return write_error == 0;
}

bool out_closed(void) { return closed; }

int out_json(json_t *root) {
    char *dump = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(root);
    if (!dump) {
        say_error("cannot make the JSON output: out of memory, or a name is not UTF-8");
        return EXIT_FAILED;
    }
    fputs(dump, stdout); /* JSON escapes control characters */
    fputs("\n", stdout);
    free(dump);
    return EXIT_FINE;
}

int out_finish(int status) {
    errno = 0;
    if (!write_error && (fflush(stdout) != 0 || ferror(stdout))) note_failure();
    if (!write_error || closed) return status;
    say_error("cannot write to standard output: %s", strerror(write_error));
    return status == EXIT_FINE ? EXIT_FAILED : status;
}

int result_open(result_file *r, const char *path) {
    *r = (result_file){.path = path};
    if (strcmp(path, "-") == 0) {
        r->f = stdout;
        return EXIT_FINE;
    }
    struct stat st;
    bool direct = stat(path, &st) == 0 && !S_ISREG(st.st_mode);
    if (!direct && asprintf(&r->temporary, "%s.tmp%d", path, (int)getpid()) < 0) {
        r->temporary = NULL;
        say_error("out of memory");
        return EXIT_FAILED;
    }
    r->f = fopen(direct ? path : r->temporary, "wb");
    if (r->f) return EXIT_FINE;
    say_error("cannot write %s: %s", path, strerror(errno));
    free(r->temporary);
    return EXIT_FAILED;
}

bool result_flush(const result_file *r) {
    if (r->f == stdout) return out_write("", 0);
    errno = 0;
    if (fflush(r->f) == 0 && !ferror(r->f)) return true;
    say_error("cannot write %s: %s", r->path, strerror(errno ? errno : EIO));
    return false;
}

int result_close(result_file *r, bool keep) {
    if (r->f == stdout) return EXIT_FINE; /* out_finish() reports */
    errno = 0;
    bool failed = ferror(r->f) != 0;
    if (fclose(r->f) != 0) failed = true;
    if (keep && !failed && r->temporary && rename(r->temporary, r->path) != 0) failed = true;
    int error = errno ? errno : EIO;
    if (r->temporary && (failed || !keep)) unlink(r->temporary);
    free(r->temporary);
    if (!failed || !keep) return EXIT_FINE;
    say_error("cannot write %s: %s", r->path, strerror(error));
    return EXIT_FAILED;
}
