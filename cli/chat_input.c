/* Reading messages: libedit on a terminal, getline elsewhere, and what makes several lines one message. */
#include "cli/chat_input.h"

#include "cli/interrupt.h"
#include "cli/term.h"

#include <errno.h>
#include <histedit.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PASTE_BEGIN "\033[200~"
#define PASTE_END   "\033[201~"
#define PASTE_ON    "\033[?2004h"
#define PASTE_OFF   "\033[?2004l"

struct chat_input {
    EditLine *edit; /* NULL when stdin is no terminal */
    History *history;
    char *history_file;
    FILE *screen; /* where prompts go */
    const char *prompt;
    char prompt_text[32];
    bool block_ends; /* inside """: the end of the input ends the block */
};

static char *edit_prompt(EditLine *edit) {
    chat_input *in;
    el_get(edit, EL_CLIENTDATA, &in);
    return in->prompt_text;
}

static void set_prompt(chat_input *in, const char *prompt) {
    /* \1 marks what has no width (see EL_PROMPT_ESC). */
    const char *on = term_style(in->screen, STYLE_PROMPT), *off = term_style(in->screen, STYLE_NONE);
    if (*on)
        snprintf(in->prompt_text, sizeof in->prompt_text, "\1%s\1%s\1%s\1 ", on, prompt, off);
    else
        snprintf(in->prompt_text, sizeof in->prompt_text, "%s ", prompt);
}

/* Bound to the sequence with which a terminal announces pasted text: inserts it into the line as it is, newlines too,
 * so that a paste of many lines is one message and nothing is sent before Enter. */
static unsigned char take_paste(EditLine *edit, int key) {
    (void)key;
    char *text = NULL;
    size_t n = 0, cap = 0, end = sizeof PASTE_END - 1;
    for (;;) {
        char c;
        if (el_getc(edit, &c) != 1) break;
        if (n + 2 > cap) {
            cap = 2 * cap + 256;
            char *more = realloc(text, cap);
            if (!more) break;
            text = more;
        }
        text[n++] = c == '\r' ? '\n' : c;
        text[n] = '\0';
        if (n >= end && memcmp(text + n - end, PASTE_END, end) == 0) {
            text[n -= end] = '\0';
            break;
        }
    }
    while (n > 0 && text[n - 1] == '\n') text[--n] = '\0'; /* Enter is the user's */
    if (n > 0) el_insertstr(edit, text);
    free(text);
    return CC_REFRESH;
}

/* Creates the directories of path, readable only by the user. */
static void make_directories(const char *path) {
    char *copy = strdup(path);
    for (char *slash = copy ? strchr(copy + 1, '/') : NULL; slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(copy, 0700);
        *slash = '/';
    }
    free(copy);
}

/* XDG base directory specification: state files belong under XDG_STATE_HOME, by default ~/.local/state. */
static char *history_path(void) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *path = NULL;
    int n = -1;
    if (state && state[0] == '/')
        n = asprintf(&path, "%s/tessera/history", state);
    else if (home && home[0] == '/')
        n = asprintf(&path, "%s/.local/state/tessera/history", home);
    return n < 0 ? NULL : path;
}

static bool open_editor(chat_input *in, bool keep_history) {
    in->edit = el_init("tessera", stdin, in->screen, stderr);
    in->history = history_init();
    if (!in->edit || !in->history) return false;
    HistEvent event;
    history(in->history, &event, H_SETSIZE, 1000);
    history(in->history, &event, H_SETUNIQUE, 1);
    el_set(in->edit, EL_CLIENTDATA, in);
    el_set(in->edit, EL_EDITOR, "emacs");
    el_set(in->edit, EL_HIST, history, in->history);
    el_set(in->edit, EL_PROMPT_ESC, edit_prompt, '\1');
    /* The wide form: el_set() would copy both texts and never free them. */
    el_wset(in->edit, EL_ADDFN, L"take-paste", L"insert pasted text as it is", take_paste);
    el_set(in->edit, EL_BIND, PASTE_BEGIN, "take-paste", NULL);
    el_set(in->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(in->edit, NULL); /* ~/.editrc */
    if (!keep_history) return true;
    in->history_file = history_path();
    if (in->history_file) {
        make_directories(in->history_file);
        history(in->history, &event, H_LOAD, in->history_file);
    }
    return true;
}

chat_input *chat_input_open(bool keep_history) {
    chat_input *in = calloc(1, sizeof *in);
    if (in) in->screen = term_is_tty(stdout) ? stdout : stderr;
    if (!in || (term_is_tty(stdin) && !open_editor(in, keep_history))) {
        say_error("out of memory");
        chat_input_close(in);
        return NULL;
    }
    return in;
}

void chat_input_close(chat_input *in) {
    if (!in) return;
    HistEvent event;
    if (in->history_file && history(in->history, &event, H_SAVE, in->history_file) < 0)
        say_warning("cannot save the history to %s", in->history_file);
    if (in->history_file) chmod(in->history_file, 0600);
    if (in->history) history_end(in->history);
    if (in->edit) el_end(in->edit);
    free(in->history_file);
    free(in);
}

/* One line without its newline, malloc'ed. */
static input_result read_line(chat_input *in, const char *prompt, char **line) {
    *line = NULL;
    if (in->edit) {
        int n = 0;
        set_prompt(in, prompt);
        fputs(PASTE_ON, in->screen);
        fflush(in->screen);
        const char *got = el_gets(in->edit, &n);
        fputs(PASTE_OFF, in->screen);
        fflush(in->screen);
        if (interrupted()) {
            fputs("^C\n", in->screen);
            el_reset(in->edit);
            return INPUT_INTERRUPTED;
        }
        if (!got || n <= 0) return INPUT_END;
        *line = strndup(got, (size_t)n - (got[n - 1] == '\n'));
    } else {
        size_t cap = 0;
        errno = 0;
        ssize_t n = getline(line, &cap, stdin);
        if (n < 0) {
            int error = errno;
            free(*line);
            *line = NULL;
            if (interrupted()) return INPUT_INTERRUPTED;
            if (!ferror(stdin)) return INPUT_END;
            say_error("cannot read standard input: %s", strerror(error));
            return INPUT_FAILED;
        }
        if ((*line)[n - 1] == '\n') (*line)[n - 1] = '\0';
    }
    if (*line) return INPUT_TEXT;
    say_error("out of memory");
    return INPUT_FAILED;
}

/* Appends line to *text, behind a newline if there is text already. Frees line. */
static bool join(char **text, char *line) {
    char *joined = line;
    if (*text) {
        if (asprintf(&joined, "%s\n%s", *text, line) < 0) joined = NULL;
        free(*text);
        free(line);
    }
    *text = joined;
    return joined != NULL;
}

static bool is_fence(const char *line) {
    line += strspn(line, " \t");
    return strncmp(line, "\"\"\"", 3) == 0 && line[3 + strspn(line + 3, " \t\r")] == '\0';
}

/* Lines up to a fence, or to the end of the input. */
static input_result read_block(chat_input *in, char **text) {
    for (;;) {
        char *line;
        input_result r = read_line(in, "...", &line);
        if (r == INPUT_END && *text) return INPUT_TEXT;
        if (r != INPUT_TEXT) return r;
        if (is_fence(line)) {
            free(line);
            if (!*text) *text = strdup("");
            return *text ? INPUT_TEXT : INPUT_FAILED;
        }
        if (!join(text, line)) return INPUT_FAILED;
    }
}

static input_result read_lines(chat_input *in, char **text) {
    const char *prompt = ">";
    for (;;) {
        char *line;
        input_result r = read_line(in, prompt, &line);
        if (r == INPUT_END && *text) return INPUT_TEXT;
        if (r != INPUT_TEXT) return r;
        if (!*text && is_fence(line)) {
            free(line);
            return read_block(in, text);
        }
        size_t n = strlen(line);
        bool more = n > 0 && line[n - 1] == '\\';
        if (more) line[n - 1] = '\0';
        if (!join(text, line)) return INPUT_FAILED;
        if (!more) return INPUT_TEXT;
        prompt = "...";
    }
}

input_result chat_input_read(chat_input *in, bool block, char **text) {
    *text = NULL;
    interrupt_clear();
    interrupt_breaks_input(true);
    input_result r = block ? read_block(in, text) : read_lines(in, text);
    interrupt_breaks_input(false);
    if (r != INPUT_TEXT) {
        free(*text);
        *text = NULL;
        return r;
    }
    if (in->edit && (*text)[strspn(*text, " \t\n")]) {
        HistEvent event;
        history(in->history, &event, H_ENTER, *text);
    }
    return INPUT_TEXT;
}
