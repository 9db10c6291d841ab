/* The token loop of run and chat. */
#include "cli/generate.h"

#include "cli/interrupt.h"
#include "cli/term.h"

#include <stdlib.h>
#include <string.h>

const option generate_option_table[] = {
    {"predict", 'n', OPTION_INT, "N", offsetof(generate_options, max_tokens), -1, 1 << 30,
     "tokens to generate at most; -1: until the model ends its answer or the context is full"},
    {"lookup", 0, OPTION_FLAG, NULL, offsetof(generate_options, lookup), 0, 0,
     "guess tokens from where the text was like this before and compute several at once: the same answer, sooner where it repeats its prompt or itself"},
    {"lookup-max", 0, OPTION_INT, "N", offsetof(generate_options, lookup_max), 0, 7, "with --lookup: tokens of a guess at most; 0: 7"},
    {"stop", 0, OPTION_TEXTS, "TEXT", offsetof(generate_options, stops), 0, 0,
     "end the answer before TEXT; repeatable"},
    {0},
};

const char *finish_name(finish_reason f) {
    static const char *const names[] = {"stop", "length", "context", "interrupted", "closed"};
    return names[f];
}

void answer_free(answer *a) {
    free(a->text);
    free(a->tokens);
    memset(a, 0, sizeof *a);
}

/* The text so far, of which [0, n_sent) went out: the rest could still turn out to begin a stop string. */
typedef struct outlet {
    answer *a;
    size_t cap, n_sent;
    const text_list *stops;
    bool (*on_text)(const char *s, size_t n);
} outlet;

static bool send(outlet *o, size_t upto) {
    size_t from = o->n_sent;
    o->n_sent = upto;
    return upto <= from || !o->on_text || o->on_text(o->a->text + from, upto - from);
}

/* Cuts the text before the earliest stop string that ends in the part after n_old bytes. */
static bool find_stop(outlet *o, size_t n_old) {
    answer *a = o->a;
    size_t earliest = SIZE_MAX;
    for (size_t i = 0; i < o->stops->n; i++) {
        const char *stop = o->stops->items[i];
        size_t n = strlen(stop), from = n_old + 1 > n ? n_old + 1 - n : 0;
        if (n == 0) continue;
        const char *at = memmem(a->text + from, a->n_text - from, stop, n);
        if (!at || (size_t)(at - a->text) >= earliest) continue;
        earliest = (size_t)(at - a->text);
        a->stop = stop;
    }
    if (earliest == SIZE_MAX) return false;
    a->n_text = earliest;
    a->text[earliest] = '\0';
    return true;
}

/* How many bytes at the end of the text could begin a stop string. */
static size_t undecided(const outlet *o) {
    size_t most = 0;
    for (size_t i = 0; i < o->stops->n; i++) {
        size_t n = strlen(o->stops->items[i]);
        for (size_t k = n ? n - 1 : 0; k > most; k--) {
            if (k > o->a->n_text - o->n_sent) continue;
            if (memcmp(o->a->text + o->a->n_text - k, o->stops->items[i], k) == 0) most = k;
        }
    }
    return most;
}

typedef enum outcome { GO_ON, STOPPED, CLOSED, NO_MEMORY } outcome;

static outcome add_text(outlet *o, const char *s, size_t n, bool last) {
    answer *a = o->a;
    if (a->n_text + n + 1 > o->cap) {
        size_t cap = 2 * (a->n_text + n + 128);
        char *text = realloc(a->text, cap);
        if (!text) return NO_MEMORY;
        a->text = text;
        o->cap = cap;
    }
    size_t n_old = a->n_text;
    memcpy(a->text + n_old, s, n);
    a->n_text += n;
    a->text[a->n_text] = '\0';
    bool stopped = find_stop(o, n_old);
    bool taken = send(o, a->n_text - (stopped || last ? 0 : undecided(o)));
    return stopped ? STOPPED : taken ? GO_ON : CLOSED;
}

static tsr_code add_token(answer *a, tsr_token t, size_t *cap, tsr_error *err) {
    if (a->n_tokens == *cap) {
        size_t more = *cap ? 2 * *cap : 256;
        tsr_token *tokens = realloc(a->tokens, more * sizeof *tokens);
        if (!tokens) {
            snprintf(err->message, sizeof err->message, "out of memory after %zu tokens", a->n_tokens);
            return err->code = TSR_E_NOMEM;
        }
        a->tokens = tokens;
        *cap = more;
    }
    a->tokens[a->n_tokens++] = t;
    return TSR_OK;
}

/* Chooses the next token. Without lookup, the one before it has been evaluated by then. */
static tsr_code next_token(engine *e, tsr_sampler *sampler, const answer *a, tsr_token *t, tsr_error *err) {
    if (a->lookup) return tsr_lookup_next(e->lookup, sampler, t, err);
    tsr_code code = tsr_sampler_sample(sampler, tsr_session_logits(e->session, 0), t, err);
    return code == TSR_OK ? tsr_sampler_accept(sampler, *t, err) : code;
}

static tsr_code begin_lookup(engine *e, const generate_options *options, const tsr_token *prompt, size_t n, tsr_error *err) {
    if (!e->lookup) e->lookup = tsr_lookup_open(e->session, options->lookup_max, err);
    return e->lookup ? tsr_lookup_begin(e->lookup, prompt, n, err) : err->code;
}

/* The session forgets what was guessed beyond the answer; what it has of the answer is remembered. */
static tsr_code end_lookup(engine *e, const tsr_lookup_stats *before, answer *a, tsr_error *err) {
    size_t held = tsr_session_length(e->session), text = a->n_prompt + a->n_tokens;
    tsr_code code = held > text ? tsr_session_truncate(e->session, text, err) : TSR_OK;
    a->n_appended = (held > text ? text : held) - a->n_prompt;
    if (a->n_appended > 0) memcpy(e->kept + a->n_prompt, a->tokens, a->n_appended * sizeof *a->tokens);
    tsr_lookup_get_stats(e->lookup, &a->speculation);
    a->speculation.n_passes -= before->n_passes;
    a->speculation.n_drafted -= before->n_drafted;
    a->speculation.n_accepted -= before->n_accepted;
    return code;
}

static tsr_code token_loop(engine *e, tsr_sampler *sampler, const generate_options *options, tsr_stream *stream,
                           outlet *o, tsr_error *err) {
    answer *a = o->a;
    size_t cap = 0, n;
    for (;;) {
        a->finish = FINISH_LENGTH;
        if (options->max_tokens >= 0 && a->n_tokens >= (size_t)options->max_tokens) return TSR_OK;
        tsr_token t;
        tsr_code code = next_token(e, sampler, a, &t, err);
        if (code == TSR_E_CANCELLED && interrupted()) {
            a->finish = FINISH_INTERRUPTED;
            return TSR_OK;
        }
        if (code == TSR_OK) code = add_token(a, t, &cap, err);
        if (code != TSR_OK) return code;

        a->finish = FINISH_STOP;
        if (tsr_token_is_end(e->model, t)) return TSR_OK;
        const char *s = tsr_stream_push(stream, t, &n);
        outcome out = s ? add_text(o, s, n, false) : NO_MEMORY;
        if (out == STOPPED) return TSR_OK;
        a->finish = FINISH_CLOSED;
        if (out == CLOSED) return TSR_OK;
        if (out == NO_MEMORY) {
            snprintf(err->message, sizeof err->message, "out of memory after %zu tokens", a->n_tokens);
            return err->code = TSR_E_NOMEM;
        }
        a->finish = FINISH_CONTEXT;
        if (a->n_prompt + a->n_tokens > tsr_session_capacity(e->session)) return TSR_OK;
        a->finish = FINISH_INTERRUPTED;
        if (interrupted()) return TSR_OK;
        if (a->lookup) continue;
        /* The last token of a full answer need not be computed. */
        if (options->max_tokens >= 0 && a->n_tokens >= (size_t)options->max_tokens) continue;
        code = engine_append(e, t, err);
        if (code == TSR_E_CANCELLED && interrupted()) return TSR_OK;
        if (code != TSR_OK) return code;
        a->n_appended++;
    }
}

static tsr_code answer_loop(engine *e, tsr_sampler *sampler, const tsr_token *prompt, const generate_options *options, tsr_stream *stream,
                            outlet *o, tsr_error *err) {
    answer *a = o->a;
    a->lookup = options->lookup;
    if (!a->lookup) return token_loop(e, sampler, options, stream, o, err);
    tsr_lookup_stats before;
    tsr_error mine; /* of tidying up after a failure, which counts more */
    tsr_code code = begin_lookup(e, options, prompt, a->n_prompt, err);
    if (code != TSR_OK) return code;
    tsr_lookup_get_stats(e->lookup, &before);
    code = token_loop(e, sampler, options, stream, o, err);
    tsr_code end = end_lookup(e, &before, a, code == TSR_OK ? err : &mine);
    return code == TSR_OK ? end : code;
}

tsr_code generate(engine *e, tsr_sampler *sampler, const tsr_token *prompt, size_t n_prompt,
                  const generate_options *options, bool (*on_text)(const char *s, size_t n), answer *a,
                  tsr_error *err) {
    outlet o = {.a = a, .stops = &options->stops, .on_text = on_text};
    memset(a, 0, sizeof *a);
    a->n_prompt = n_prompt;
    tsr_stream *stream = tsr_stream_open(e->model, 0, err);
    if (!stream) return err->code;

    interrupt_watch(e->session);
    double start = now_seconds();
    tsr_code code = add_text(&o, "", 0, false) == NO_MEMORY ? TSR_E_NOMEM : TSR_OK;
    for (size_t i = 0; code == TSR_OK && i < n_prompt; i++) code = tsr_sampler_accept(sampler, prompt[i], err);
    if (code == TSR_OK) code = engine_feed(e, prompt, n_prompt, &a->n_evaluated, err);
    a->prompt_seconds = now_seconds() - start;
    if (code == TSR_E_CANCELLED && interrupted()) {
        a->finish = FINISH_INTERRUPTED;
        code = TSR_OK;
    } else if (code == TSR_OK) {
        start = now_seconds();
        code = answer_loop(e, sampler, prompt, options, stream, &o, err);
        a->generate_seconds = now_seconds() - start;
    }
    if (code == TSR_OK && !a->stop && a->finish != FINISH_CLOSED) { /* what was held back */
        size_t n;
        const char *s = tsr_stream_finish(stream, &n);
        if (s) add_text(&o, s, n, true);
    }
    interrupt_watch(NULL);
    tsr_stream_close(stream);
    return code;
}

int render_chat(const tsr_model *model, const char *messages_json, const char *template_text, tsr_token **tokens,
                size_t *n) {
    char *request = NULL, *text = NULL;
    tsr_error err = {0};
    if (asprintf(&request, "{\"messages\":%s,\"add_generation_prompt\":true}", messages_json) < 0) {
        say_error("out of memory");
        return EXIT_FAILED;
    }
    tsr_code code = tsr_chat_render(model, request, template_text, &text, &err);
    if (code == TSR_OK)
        code = tsr_tokenize(model, text, strlen(text), TSR_ADD_SPECIAL | TSR_PARSE_SPECIAL, tokens, n, &err);
    /* Most templates write BOS themselves; the tokenizer's own would be a second one. */
    tsr_token bos = tsr_token_bos(model);
    if (code == TSR_OK && *n >= 2 && bos != TSR_TOKEN_NONE && (*tokens)[0] == bos && (*tokens)[1] == bos)
        memmove(*tokens, *tokens + 1, --*n * sizeof **tokens);
    free(request);
    tsr_free(text);
    return code == TSR_OK ? EXIT_FINE : fail_with(&err);
}

bool prompt_fits(const engine *e, size_t n) {
    size_t capacity = tsr_session_capacity(e->session);
    if (n <= capacity) return true;
    size_t trained = (size_t)e->info.n_ctx_train;
    if (n > trained)
        say_error("the prompt has %zu tokens, but the context holds %zu and the model was trained for %zu; shorten the "
                  "prompt, "
                  "or try -c %zu all the same",
                  n, capacity, trained, n + 512);
    else
        say_error("the prompt has %zu tokens, but the context holds %zu; raise it with -c %zu (the model was trained "
                  "for %zu)",
                  n, capacity, n + 512 < trained ? n + 512 : trained, trained);
    return false;
}

double prompt_rate(const answer *a) { return a->prompt_seconds > 0 ? (double)a->n_evaluated / a->prompt_seconds : 0.0; }

double generate_rate(const answer *a) {
    return a->generate_seconds > 0 ? (double)a->n_appended / a->generate_seconds : 0.0;
}

void show_timings(const answer *a, double total_seconds) {
    say_note("prompt %zu tokens, %.1f tok/s; generated %zu tokens, %.1f tok/s; total %.2f s", a->n_prompt,
             prompt_rate(a), a->n_tokens, generate_rate(a), total_seconds);
    if (a->lookup)
        say_note("lookup: %llu tokens guessed, %llu of them right; %llu passes", (unsigned long long)a->speculation.n_drafted,
                 (unsigned long long)a->speculation.n_accepted, (unsigned long long)a->speculation.n_passes);
}
