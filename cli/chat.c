/* tessera chat: a conversation on the terminal, or over a pipe with a message a line. */
#include "cli/chat.h"

#include "cli/chat_input.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/io.h"
#include "cli/term.h"

#include <stdlib.h>
#include <string.h>

static const option own_options[] = {
    {"system", 0, OPTION_TEXT, "TEXT", offsetof(chat_options, system), 0, 0, "system message"},
    {"chat-template", 0, OPTION_TEXT, "FILE", offsetof(chat_options, template_file), 0, 0,
     "use the Jinja chat template in FILE instead of the model's"},
    {"no-history", 0, OPTION_FLAG, NULL, offsetof(chat_options, no_history), 0, 0,
     "do not keep what is typed in the history file"},
    {"verbose", 'v', OPTION_FLAG, NULL, offsetof(chat_options, verbose), 0, 0, "say what computes what"},
    {0},
};

static const option_group groups[] = {
    {"Model", model_option_table, offsetof(chat_settings, model)},
    {"Chat", own_options, offsetof(chat_settings, own)},
    {"Answers", generate_option_table, offsetof(chat_settings, generate)},
    {"Context and machine", session_option_table, offsetof(chat_settings, session)},
    {"Loading", loading_option_table, offsetof(chat_settings, model)},
    {"Sampling", sampling_option_table, offsetof(chat_settings, sampling)},
    {"General", general_options, 0},
    {0},
};

static void set_defaults(void *settings) {
    chat_settings *s = settings;
    sampling_defaults(&s->sampling);
    s->generate.max_tokens = -1;
}

/* Opens a sampler once to learn of bad sampling options before the first question, and to get a seed. */
static int choose_seed(chat *c) {
    tsr_sampler *sampler;
    int status = sampling_open(&c->settings->sampling, c->e.model, 0, &sampler);
    if (status != EXIT_FINE) return status;
    c->seed = tsr_sampler_seed(sampler);
    tsr_sampler_close(sampler);
    return EXIT_FINE;
}

static int open_chat(chat *c) {
    const chat_options *own = &c->settings->own;
    size_t n;
    if (own->system && !check_text(own->system, strlen(own->system), "system message")) return EXIT_FAILED;
    if (own->template_file) {
        int status = read_file(own->template_file, &c->template_text, &n);
        if (status != EXIT_FINE) return status;
    }
    int status = engine_open_model(&c->e, &c->settings->model, false);
    if (status == EXIT_FINE && !c->e.info.has_chat_template && !c->template_text) {
        say_error(
            "%s has no chat template, so it is no chat model; use `tessera run`, or give one with --chat-template",
            c->settings->model.path);
        status = EXIT_FAILED;
    }
    if (status == EXIT_FINE) status = engine_open_session(&c->e, &c->settings->session, 0);
    if (status == EXIT_FINE) status = choose_seed(c);
    c->messages = json_array();
    if (status == EXIT_FINE && own->system) chat_set_system(c, own->system);
    if (status == EXIT_FINE && own->verbose) show_engine(&c->e);
    return status;
}

static void close_chat(chat *c) {
    json_decref(c->messages);
    free(c->template_text);
    answer_free(&c->last);
    engine_close(&c->e);
}

/* Carries out one message or command. Only what ends the chat is an exit status other than EXIT_FINE. */
static int take_message(chat *c, const char *text) {
    if (!text[strspn(text, " \t\r\n")]) return EXIT_FINE;
    int status;
    if (text[0] == '/' && text[1] != '/' && !strchr(text, '\n')) {
        status = chat_command_line(c, text);
    } else {
        text += text[0] == '/' && text[1] == '/';
        if (!check_text(text, strlen(text), "message")) return EXIT_FAILED;
        chat_add(c, "user", text, strlen(text));
        status = chat_answer(c);
    }
    return status;
}

static int talk(chat *c, chat_input *in) {
    bool at_terminal = term_is_tty(stdin), hinted = false;
    int failures = 0;
    while (!c->leave && !out_closed()) {
        char *text;
        bool block = c->multi;
        c->multi = false;
        input_result r = chat_input_read(in, block, &text);
        if (r == INPUT_FAILED) return EXIT_FAILED;
        if (r == INPUT_END) {
            if (at_terminal) fputc('\n', stderr);
            break;
        }
        if (r == INPUT_INTERRUPTED) {
            if (!at_terminal) return EXIT_INTERRUPTED;
            if (!hinted) say_note("(Ctrl-D or /exit leaves)");
            hinted = true;
            continue;
        }
        failures += take_message(c, text) != EXIT_FINE;
        free(text);
        if (interrupted() && !at_terminal) return EXIT_INTERRUPTED;
        if (at_terminal && !c->leave) fputc('\n', stderr);
    }
    /* A person has seen what went wrong; a script learns of it from the status. */
    return failures > 0 && !at_terminal ? EXIT_FAILED : EXIT_FINE;
}

static int run(void *settings, const operands *rest) {
    (void)rest;
    chat c = {.settings = settings};
    int status = open_chat(&c);
    if (status == EXIT_FINE) {
        chat_input *in = chat_input_open(!c.settings->own.no_history);
        if (in && term_is_tty(stdin))
            say_note("%s; /help lists commands, Ctrl-D leaves",
                     *c.e.info.name ? c.e.info.name : c.settings->model.path);
        status = in ? talk(&c, in) : EXIT_FAILED;
        chat_input_close(in);
    }
    close_chat(&c);
    return status;
}

const command chat_command = {
    .name = "chat",
    .summary = "talk with a model",
    .operands = "",
    .about = "Lines can be edited and recalled. /help lists the commands there are inside a chat. Ctrl-C stops an "
             "answer but not "
             "the chat; Ctrl-D leaves. When standard input is no terminal, every line of it is a message. The history "
             "of typed "
             "lines is kept in $XDG_STATE_HOME/tessera/history (~/.local/state when unset).",
    .examples = "tessera chat -m model.gguf\n"
                "tessera chat -m model.gguf --system \"You are terse.\" -c 8192 --temp 0.3\n"
                "printf 'My name is Ada.\\nWhat is my name?\\n' | tessera chat -m model.gguf",
    .groups = groups,
    .settings_size = sizeof(chat_settings),
    .set_defaults = set_defaults,
    .run = run,
};
