/* generate.h: one answer, token by token. */
#ifndef CLI_GENERATE_H
#define CLI_GENERATE_H

#include "cli/engine.h"

typedef enum finish_reason {
    FINISH_STOP,        /* the model ended its answer, or a stop string came */
    FINISH_LENGTH,      /* as many tokens as asked for */
    FINISH_CONTEXT,     /* the context is full */
    FINISH_INTERRUPTED, /* Ctrl-C */
    FINISH_CLOSED,      /* nobody takes the text any more */
} finish_reason;

typedef struct answer {
    char *text; /* NUL-terminated, without the stop string */
    size_t n_text;
    tsr_token *tokens;           /* as chosen, an end token included */
    size_t n_tokens, n_appended; /* n_appended: those that were evaluated in turn; the last one need not be */
    finish_reason finish;
    const char *stop;             /* the stop string that ended it, or NULL */
    size_t n_prompt, n_evaluated; /* prompt tokens, and those of them not in the KV cache before */
    double prompt_seconds, generate_seconds;
    bool lookup; /* then: */
    tsr_lookup_stats speculation;
} answer;

typedef struct generate_options {
    int max_tokens; /* -1: no limit but the context */
    bool lookup;
    int lookup_max; /* tokens of a guess */
    text_list stops;
} generate_options;

extern const option generate_option_table[];

/* Evaluates the prompt and generates. on_text gets the text as it comes, in whole characters, and returns false to end
 * it; it may be NULL. On failure a->finish means nothing, but what was generated until then is there. */
tsr_code generate(engine *e, tsr_sampler *sampler, const tsr_token *prompt, size_t n_prompt,
                  const generate_options *options, bool (*on_text)(const char *s, size_t n), answer *a, tsr_error *err);
void answer_free(answer *a);
const char *finish_name(finish_reason f); /* "stop", "length", "context", "interrupted", "closed" */

/* Renders messages_json (an array of {"role", "content"}) for the model and tokenises the result. template_text may be
 * NULL. Returns an exit status; failures have been reported. */
int render_chat(const tsr_model *model, const char *messages_json, const char *template_text, tsr_token **tokens,
                size_t *n);
/* False, with a message about both sizes and -c, when a prompt of n tokens does not fit the context. */
bool prompt_fits(const engine *e, size_t n);
double prompt_rate(const answer *a); /* tokens a second, of those that were evaluated */
double generate_rate(const answer *a);
void show_timings(const answer *a, double total_seconds);

#endif
