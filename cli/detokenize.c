/* tessera detokenize: tokens to text. */
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/io.h"
#include "cli/term.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct detokenize_settings {
    general_settings general;
    model_options model;
    input_options input;
    bool no_special, json;
} detokenize_settings;

static const option own_options[] = {
    {"no-special", 0, OPTION_FLAG, NULL, offsetof(detokenize_settings, no_special), 0, 0,
     "leave control tokens out of the text"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(detokenize_settings, json), 0, 0, "print JSON"},
    {0},
};

static const option_group groups[] = {
    {"Model", model_option_table, offsetof(detokenize_settings, model)},
    {"Token ids", input_option_table, offsetof(detokenize_settings, input)},
    {"Text", own_options, 0},
    {"General", general_options, 0},
    {0},
};

static void set_defaults(void *settings) { (void)settings; }

typedef struct token_list {
    tsr_token *items;
    size_t n, cap;
} token_list;

static int add(token_list *list, long long id) {
    if (id < 0 || id > INT32_MAX) {
        say_error("%lld is no token id", id);
        return EXIT_FAILED;
    }
    if (list->n == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 256;
        tsr_token *items = realloc(list->items, cap * sizeof *items);
        if (!items) {
            say_error("out of memory");
            return EXIT_FAILED;
        }
        list->items = items;
        list->cap = cap;
    }
    list->items[list->n++] = (tsr_token)id;
    return EXIT_FINE;
}

/* [1, 2] or {"tokens": [1, 2]}. */
static int parse_json(const char *text, size_t n, token_list *list) {
    json_error_t problem;
    json_t *root = json_loadb(text, n, 0, &problem);
    if (!root) {
        say_error("the token ids are not valid JSON: %s (line %d)", problem.text, problem.line);
        return EXIT_FAILED;
    }
    const json_t *array = json_is_object(root) ? json_object_get(root, "tokens") : root;
    int status = EXIT_FINE;
    if (!json_is_array(array)) {
        say_error("the JSON holds no token ids: expected [1, 2, ...] or {\"tokens\": [1, 2, ...]}");
        status = EXIT_FAILED;
    }
    for (size_t i = 0; status == EXIT_FINE && i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        if (json_is_integer(item)) {
            status = add(list, json_integer_value(item));
        } else {
            say_error("item %zu of the JSON is no token id", i);
            status = EXIT_FAILED;
        }
    }
    json_decref(root);
    return status;
}

/* Numbers separated by white space or commas; what follows a tab on a line (tokenize --pieces) is passed over. */
static int parse_lines(const char *text, size_t n, token_list *list) {
    const char *end = text + n;
    for (const char *at = text; at < end;) {
        if (*at == '\t') at += strcspn(at, "\n");
        size_t gap = strspn(at, " \r\n,");
        at += gap;
        if (at >= end || *at == '\t') continue;
        char *after;
        errno = 0;
        long long id = strtoll(at, &after, 10);
        if (after == at || errno || (after < end && !strchr(" \t\r\n,", *after))) {
            fflush(stdout);
            say_error("\"%.*s\" is no token id", (int)strcspn(at, " \t\r\n,") > 40 ? 40 : (int)strcspn(at, " \t\r\n,"),
                      at);
            return EXIT_FAILED;
        }
        int status = add(list, id);
        if (status != EXIT_FINE) return status;
        at = after;
    }
    return EXIT_FINE;
}

static int print_text(const detokenize_settings *s, const tsr_model *model, const token_list *list) {
    char *text;
    size_t n;
    tsr_error err = {0};
    unsigned flags = s->no_special ? 0 : TSR_RENDER_SPECIAL;
    if (tsr_detokenize(model, list->items, list->n, flags, &text, &n, &err) != TSR_OK) return fail_with(&err);
    int status = EXIT_FINE;
    if (s->json) {
        status = out_json(json_pack("{ss%}", "text", text, n));
    } else {
        out_write(text, n);
        if (term_is_tty(stdout) && n > 0 && text[n - 1] != '\n') out_write("\n", 1);
    }
    tsr_free(text);
    return status;
}

static int run(void *settings, const operands *rest) {
    (void)rest;
    detokenize_settings *s = settings;
    engine e = {0};
    char *text = NULL;
    size_t n_text = 0;
    token_list list = {0};
    int status = s->model.path ? input_read(&s->input, "list of token ids", &text, &n_text) : EXIT_FINE;
    if (status == EXIT_FINE && text) {
        char first = text[strspn(text, " \t\r\n")];
        status = first == '[' || first == '{' ? parse_json(text, n_text, &list) : parse_lines(text, n_text, &list);
    }
    if (status == EXIT_FINE) status = engine_open_model(&e, &s->model, true);
    if (status == EXIT_FINE) status = print_text(s, e.model, &list);
    engine_close(&e);
    free(list.items);
    free(text);
    return status;
}

const command detokenize_command = {
    .name = "detokenize",
    .summary = "turn tokens into text",
    .operands = "",
    .about = "Reads token ids separated by white space or commas, a JSON array, or what `tessera tokenize` prints.",
    .examples = "tessera detokenize -m model.gguf -p \"9906 1917\"\n"
                "echo '[9906, 1917]' | tessera detokenize -m model.gguf --json",
    .groups = groups,
    .settings_size = sizeof(detokenize_settings),
    .set_defaults = set_defaults,
    .run = run,
};
