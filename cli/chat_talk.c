/* The conversation: its messages, room for them in the context, and answers. */
#include "cli/chat.h"

#include "cli/interrupt.h"
#include "cli/io.h"
#include "cli/term.h"

#include <stdlib.h>
#include <string.h>

static const char *role_of(const chat *c, size_t i) {
    const char *role = json_string_value(json_object_get(json_array_get(c->messages, i), "role"));
    return role ? role : "";
}

const char *chat_system(const chat *c) {
    if (strcmp(role_of(c, 0), "system") != 0) return NULL;
    return json_string_value(json_object_get(json_array_get(c->messages, 0), "content"));
}

void chat_set_system(chat *c, const char *text) {
    if (chat_system(c)) json_array_remove(c->messages, 0);
    if (text && *text) json_array_insert_new(c->messages, 0, json_pack("{ss ss}", "role", "system", "content", text));
}

/* Without its NUL bytes, which requests cannot have; models of noise say them. */
void chat_add(chat *c, const char *role, const char *text, size_t n) {
    size_t kept = 0;
    char *clean = malloc(n + 1);
    for (size_t i = 0; clean && i < n; i++)
        if (text[i]) clean[kept++] = text[i];
    if (clean) json_array_append_new(c->messages, json_pack("{ss ss%}", "role", role, "content", clean, kept));
    free(clean);
}

bool chat_undo(chat *c) {
    size_t n = json_array_size(c->messages);
    while (n > 0 && strcmp(role_of(c, n - 1), "user") != 0) n--;
    if (n == 0) return false;
    while (json_array_size(c->messages) >= n) json_array_remove(c->messages, n - 1);
    return true;
}

/* Removes the oldest question with its answer. False when only the last question is left. */
static bool drop_oldest(chat *c) {
    size_t first = chat_system(c) ? 1 : 0, n = 1;
    while (first + n < json_array_size(c->messages) && strcmp(role_of(c, first + n), "user") != 0) n++;
    if (first + n >= json_array_size(c->messages)) return false;
    while (n-- > 0) json_array_remove(c->messages, first);
    return true;
}

/* Tokens of the whole conversation, ready for an answer. */
static int render(const chat *c, tsr_token **tokens, size_t *n) {
    *tokens = NULL;
    char *dump = json_dumps(c->messages, JSON_COMPACT);
    if (!dump) {
        say_error("out of memory");
        return EXIT_FAILED;
    }
    int status = render_chat(c->e.model, dump, c->template_text, tokens, n);
    free(dump);
    return status;
}

/* Renders, and drops the oldest turns until there is room for an answer of a quarter of the context (or of -n tokens).
 */
static int render_to_fit(chat *c, tsr_token **tokens, size_t *n) {
    size_t capacity = tsr_session_capacity(c->e.session), room = capacity / 4, dropped = 0;
    int most = c->settings->generate.max_tokens;
    if (most >= 0 && (size_t)most < room) room = (size_t)most;
    int status;
    while ((status = render(c, tokens, n)) == EXIT_FINE && *n + room > capacity && drop_oldest(c)) {
        tsr_free(*tokens);
        dropped++;
    }
    if (dropped > 0)
        say_note("(the context of %zu tokens is full: the oldest %s forgotten; -c N makes it larger)", capacity,
                 dropped == 1 ? "turn is" : "turns are");
    if (status == EXIT_FINE && !prompt_fits(&c->e, *n)) status = EXIT_FAILED;
    return status;
}

static void say_finish(const chat *c) {
    size_t capacity = tsr_session_capacity(c->e.session);
    switch (c->last.finish) {
    case FINISH_CONTEXT: say_note("(stopped: the context of %zu tokens is full)", capacity); break;
    case FINISH_INTERRUPTED: say_note("(stopped)"); break;
    case FINISH_LENGTH: say_note("(stopped after %zu tokens)", c->last.n_tokens); break;
    case FINISH_STOP:
    case FINISH_CLOSED: break;
    }
}

int chat_answer(chat *c) {
    tsr_token *tokens = NULL;
    tsr_sampler *sampler = NULL;
    size_t n = 0;
    tsr_error err = {0};
    double started = now_seconds();
    int status = render_to_fit(c, &tokens, &n);
    if (status == EXIT_FINE)
        status = sampling_open(&c->settings->sampling, c->e.model, c->seed + c->n_answers, &sampler);
    if (status == EXIT_FINE) {
        answer_free(&c->last);
        tsr_code code = generate(&c->e, sampler, tokens, n, &c->settings->generate, out_write, &c->last, &err);
        c->last_seconds = now_seconds() - started;
        c->n_answers++;
        if (c->last.n_text > 0 && c->last.text[c->last.n_text - 1] != '\n') out_write("\n", 1);
        if (code != TSR_OK)
            status = fail_with(&err);
        else
            say_finish(c);
    }
    bool kept = status == EXIT_FINE && (c->last.n_tokens > 0 || c->last.finish != FINISH_INTERRUPTED);
    if (kept)
        chat_add(c, "assistant", c->last.text, c->last.n_text);
    else
        chat_undo(c);
    tsr_sampler_close(sampler);
    tsr_free(tokens);
    return status;
}
