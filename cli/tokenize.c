/* tessera tokenize: text to tokens. */
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/io.h"
#include "cli/term.h"

#include <stdlib.h>
#include <string.h>

typedef struct tokenize_settings {
    general_settings general;
    model_options model;
    input_options input;
    bool no_special, no_parse_special, pieces, count, json;
} tokenize_settings;

static const option own_options[] = {
    {"no-special", 0, OPTION_FLAG, NULL, offsetof(tokenize_settings, no_special), 0, 0,
     "do not add the BOS and EOS tokens that the model asks for"},
    {"no-parse-special", 0, OPTION_FLAG, NULL, offsetof(tokenize_settings, no_parse_special), 0, 0,
     "take the names of control tokens in the text as plain text"},
    {"pieces", 0, OPTION_FLAG, NULL, offsetof(tokenize_settings, pieces), 0, 0,
     "add how the vocabulary spells each token"},
    {"count", 0, OPTION_FLAG, NULL, offsetof(tokenize_settings, count), 0, 0, "print only how many tokens there are"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(tokenize_settings, json), 0, 0, "print JSON"},
    {0},
};

static const option_group groups[] = {
    {"Model", model_option_table, offsetof(tokenize_settings, model)},
    {"Text", input_option_table, offsetof(tokenize_settings, input)},
    {"Tokens", own_options, 0},
    {"General", general_options, 0},
    {0},
};

static void set_defaults(void *settings) { (void)settings; }

static int print_tokens_json(const tokenize_settings *s, const tsr_model *model, const tsr_token *tokens, size_t n) {
    json_t *ids = json_array(), *pieces = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(ids, json_integer(tokens[i]));
        const char *text = tsr_token_text(model, tokens[i]);
        if (s->pieces) json_array_append_new(pieces, text ? json_string(text) : json_null());
    }
    json_t *root = json_pack("{sI}", "count", (json_int_t)n);
    if (!s->count) json_object_set(root, "tokens", ids);
    if (s->pieces) json_object_set(root, "pieces", pieces);
    json_decref(ids);
    json_decref(pieces);
    return out_json(root);
}

static void print_tokens(const tokenize_settings *s, const tsr_model *model, const tsr_token *tokens, size_t n) {
    if (s->count) {
        printf("%zu\n", n);
        return;
    }
    for (size_t i = 0; i < n && !ferror(stdout); i++) {
        printf("%d", tokens[i]);
        const char *text = s->pieces ? tsr_token_text(model, tokens[i]) : NULL;
        if (text) {
            putchar('\t');
            put_clean(stdout, text, strlen(text), true);
        }
        putchar('\n');
    }
}

static int run(void *settings, const operands *rest) {
    (void)rest;
    tokenize_settings *s = settings;
    engine e = {0};
    char *text = NULL;
    size_t n_text = 0, n = 0;
    tsr_token *tokens = NULL;
    int status = s->model.path ? input_read(&s->input, "text", &text, &n_text) : EXIT_FINE;
    if (status == EXIT_FINE) status = engine_open_model(&e, &s->model, true);
    if (status == EXIT_FINE) {
        tsr_error err = {0};
        unsigned flags = (s->no_special ? 0 : TSR_ADD_SPECIAL) | (s->no_parse_special ? 0 : TSR_PARSE_SPECIAL);
        if (tsr_tokenize(e.model, text, n_text, flags, &tokens, &n, &err) != TSR_OK)
            status = fail_with(&err);
        else if (s->json)
            status = print_tokens_json(s, e.model, tokens, n);
        else
            print_tokens(s, e.model, tokens, n);
    }
    tsr_free(tokens);
    engine_close(&e);
    free(text);
    return status;
}

const command tokenize_command = {
    .name = "tokenize",
    .summary = "turn text into tokens",
    .operands = "",
    .about = "Prints one token id a line. What is read is taken to the letter, a final newline included.",
    .examples = "tessera tokenize -m model.gguf -p \"Hello world\" --pieces\n"
                "tessera tokenize -m model.gguf -f prompt.txt --count\n"
                "tessera tokenize -m model.gguf -f a.txt | tessera detokenize -m model.gguf",
    .groups = groups,
    .settings_size = sizeof(tokenize_settings),
    .set_defaults = set_defaults,
    .run = run,
};
