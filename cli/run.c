/* tessera run: one prompt, one answer. */
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/generate.h"
#include "cli/interrupt.h"
#include "cli/io.h"
#include "cli/sampling_options.h"
#include "cli/term.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct run_settings {
    general_settings general;
    model_options model;
    session_options session;
    sampling_options sampling;
    generate_options generate;
    input_options input;
    struct own {
        const char *system, *template_file;
        bool raw, json, verbose;
    } own;
} run_settings;

static const option own_options[] = {
    {"system", 0, OPTION_TEXT, "TEXT", offsetof(struct own, system), 0, 0, "system message"},
    {"chat-template", 0, OPTION_TEXT, "FILE", offsetof(struct own, template_file), 0, 0,
     "use the Jinja chat template in FILE instead of the model's"},
    {"raw", 0, OPTION_FLAG, NULL, offsetof(struct own, raw), 0, 0,
     "continue the text as it is, without the model's chat template"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(struct own, json), 0, 0,
     "print one JSON object at the end: text, tokens, counts, timings, finish_reason, seed"},
    {"verbose", 'v', OPTION_FLAG, NULL, offsetof(struct own, verbose), 0, 0, "say what computes what"},
    {0},
};

static const option_group groups[] = {
    {"Model", model_option_table, offsetof(run_settings, model)},
    {"Prompt", input_option_table, offsetof(run_settings, input)},
    {"Answer", generate_option_table, offsetof(run_settings, generate)},
    {"Mode", own_options, offsetof(run_settings, own)},
    {"Context and machine", session_option_table, offsetof(run_settings, session)},
    {"Loading", loading_option_table, offsetof(run_settings, model)},
    {"Sampling", sampling_option_table, offsetof(run_settings, sampling)},
    {"General", general_options, 0},
    {0},
};

static void set_defaults(void *settings) {
    run_settings *s = settings;
    sampling_defaults(&s->sampling);
    s->generate.max_tokens = -1;
}

/* The prompt as the model shall see it. */
static int make_tokens(const run_settings *s, const engine *e, const char *text, size_t n_text, tsr_token **tokens,
                       size_t *n) {
    bool chat = !s->own.raw && (e->info.has_chat_template || s->own.template_file);
    if (!chat) {
        if (s->own.system) {
            say_error(s->own.raw
                          ? "--system has no meaning with --raw: there is no chat template"
                          : "--system needs a chat template, and this model has none; give one with --chat-template");
            return EXIT_USAGE;
        }
        tsr_error err = {0};
        tsr_code code = tsr_tokenize(e->model, text, n_text, TSR_ADD_SPECIAL | TSR_PARSE_SPECIAL, tokens, n, &err);
        if (code != TSR_OK) return fail_with(&err);
        if (*n > 0) return EXIT_FINE;
        say_error("the prompt is empty; give some text with -p or -f");
        return EXIT_USAGE;
    }
    if (n_text == 0) {
        say_error("the prompt is empty; give some text with -p or -f");
        return EXIT_USAGE;
    }
    char *template_text = NULL;
    size_t n_template;
    int status = EXIT_FINE;
    if (s->own.template_file) status = read_file(s->own.template_file, &template_text, &n_template);
    if (status != EXIT_FINE) return status;

    json_t *messages = json_array();
    if (s->own.system)
        json_array_append_new(messages, json_pack("{ss ss}", "role", "system", "content", s->own.system));
    json_array_append_new(messages, json_pack("{ss ss}", "role", "user", "content", text));
    char *dump = json_dumps(messages, JSON_COMPACT);
    json_decref(messages);
    if (dump) {
        status = render_chat(e->model, dump, template_text, tokens, n);
    } else {
        say_error("out of memory");
        status = EXIT_FAILED;
    }
    free(dump);
    free(template_text);
    return status;
}

static int print_json(const run_settings *s, const engine *e, const answer *a, uint64_t seed, double load,
                      double total) {
    json_t *tokens = json_array();
    for (size_t i = 0; i < a->n_tokens; i++) json_array_append_new(tokens, json_integer(a->tokens[i]));
    json_t *timings = json_pack("{sf sf sf sf sf sf}", "load_seconds", load, "prompt_seconds", a->prompt_seconds,
                                "prompt_per_second", prompt_rate(a), "generate_seconds", a->generate_seconds,
                                "generate_per_second", generate_rate(a), "total_seconds", total);
    if (a->lookup)
        json_object_set_new(timings, "lookup", json_pack("{sI sI sI}", "passes", (json_int_t)a->speculation.n_passes, "guessed",
                            (json_int_t)a->speculation.n_drafted, "right", (json_int_t)a->speculation.n_accepted));
    json_t *root = json_pack("{ss% so si si ss ss? sI so ss ss}", "text", a->text, a->n_text, "tokens", tokens,
                             "prompt_tokens", (int)a->n_prompt, "generated_tokens", (int)a->n_tokens, "finish_reason",
                             finish_name(a->finish), "stop_string", a->stop, "seed", (json_int_t)seed, "timings",
                             timings, "model", s->model.path, "architecture", e->info.architecture);
    return out_json(root);
}

static void say_finish(const run_settings *s, const engine *e, const answer *a) {
    if (a->finish == FINISH_CONTEXT)
        say_warning("stopped: the context of %zu tokens is full; raise it with -c", tsr_session_capacity(e->session));
    if (a->finish == FINISH_LENGTH && s->own.verbose) say_note("stopped after %zu tokens (-n)", a->n_tokens);
    if (a->finish == FINISH_INTERRUPTED) say_note("interrupted");
}

static int answer_prompt(const run_settings *s, engine *e, const tsr_token *tokens, size_t n, double started) {
    tsr_sampler *sampler;
    int status = sampling_open(&s->sampling, e->model, 0, &sampler);
    if (status != EXIT_FINE) return status;
    double load = now_seconds() - started;
    answer a;
    tsr_error err = {0};
    tsr_code code = generate(e, sampler, tokens, n, &s->generate, s->own.json ? NULL : out_write, &a, &err);
    double total = now_seconds() - started;
    if (!s->own.json && a.n_text > 0 && a.text[a.n_text - 1] != '\n') out_write("\n", 1);
    if (code != TSR_OK) {
        status = fail_with(&err);
    } else {
        if (s->own.json) status = print_json(s, e, &a, tsr_sampler_seed(sampler), load, total);
        say_finish(s, e, &a);
        show_timings(&a, total);
        if (s->own.verbose) say_note("seed %llu", (unsigned long long)tsr_sampler_seed(sampler));
        if (a.finish == FINISH_INTERRUPTED && status == EXIT_FINE) status = EXIT_INTERRUPTED;
    }
    answer_free(&a);
    tsr_sampler_close(sampler);
    return status;
}

static int run(void *settings, const operands *rest) {
    (void)rest;
    run_settings *s = settings;
    double started = now_seconds();
    engine e = {0};
    char *text = NULL;
    size_t n_text = 0, n = 0;
    tsr_token *tokens = NULL;
    int status = EXIT_FINE;
    if (s->model.path) status = input_read(&s->input, "prompt", &text, &n_text); /* before the slow part */
    /* Editors and echo end a file with a newline that is no part of the question. */
    if (status == EXIT_FINE && !s->input.text && n_text > 0 && text[n_text - 1] == '\n') text[--n_text] = '\0';
    if (status == EXIT_FINE && s->own.system && !check_text(s->own.system, strlen(s->own.system), "system message"))
        status = EXIT_FAILED;
    s->model.events = s->own.json;
    if (status == EXIT_FINE) status = engine_open_model(&e, &s->model, false);
    if (status == EXIT_FINE) status = make_tokens(s, &e, text, n_text, &tokens, &n);
    if (status == EXIT_FINE) status = engine_open_session(&e, &s->session, 0);
    if (status == EXIT_FINE && s->own.verbose) show_engine(&e);
    if (status == EXIT_FINE && !prompt_fits(&e, n)) status = EXIT_FAILED;
    if (status == EXIT_FINE) status = answer_prompt(s, &e, tokens, n, started);
    engine_close(&e);
    tsr_free(tokens);
    free(text);
    return status;
}

const command run_command = {
    .name = "run",
    .summary = "answer one prompt",
    .operands = "",
    .about =
        "Streams the answer to standard output and ends with a line of timings on standard error. A model with a chat "
        "template gets the prompt as a user's message; --raw continues the text as it is. Ctrl-C ends the answer, a "
        "second "
        "one leaves at once.",
    .examples = "tessera run -m model.gguf -p \"Why is the sky blue?\"\n"
                "tessera run -m model.gguf --system \"Answer in French.\" -f question.txt -n 200\n"
                "git diff | tessera run -m model.gguf --system \"Summarise this change.\" --temp 0\n"
                "tessera run -m model.gguf --raw -p \"Once upon a time\" --seed 7 --json",
    .groups = groups,
    .settings_size = sizeof(run_settings),
    .set_defaults = set_defaults,
    .run = run,
};
