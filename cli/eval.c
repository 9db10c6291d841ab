/* tessera eval: how well a model predicts a text, token by token, and what it would have said instead. */
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/interrupt.h"
#include "cli/io.h"
#include "cli/sampling_options.h"
#include "cli/term.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct eval_settings {
    general_settings general;
    model_options model;
    session_options session;
    input_options input;
    const char *json;
    int top, greedy;
    bool verbose;
} eval_settings;

enum { GREEDY_PROMPT = 64, MOST_TOP = 1000 };

static const option own_options[] = {
    {"json", 0, OPTION_TEXT, "FILE", offsetof(eval_settings, json), 0, 0,
     "write tokens, likeliest next tokens, mean negative log-likelihood and greedy continuation to FILE (- for "
     "standard output)"},
    {"top", 0, OPTION_INT, "N", offsetof(eval_settings, top), 0, MOST_TOP,
     "how many of the likeliest next tokens FILE gets"},
    {"greedy", 0, OPTION_INT, "N", offsetof(eval_settings, greedy), 0, 1 << 24,
     "also decode N tokens greedily after the first 64 tokens of the text, for FILE"},
    {"verbose", 'v', OPTION_FLAG, NULL, offsetof(eval_settings, verbose), 0, 0, "say what computes what"},
    {0},
};

static const option_group groups[] = {
    {"Model", model_option_table, offsetof(eval_settings, model)},
    {"Text", input_option_table, offsetof(eval_settings, input)},
    {"Results", own_options, 0},
    {"Context and machine", session_option_table, offsetof(eval_settings, session)},
    {"Loading", loading_option_table, offsetof(eval_settings, model)},
    {"General", general_options, 0},
    {0},
};

static void set_defaults(void *settings) {
    eval_settings *s = settings;
    s->top = 20;
    s->greedy = 48;
}

typedef struct ranked {
    tsr_token id;
    float logit;
} ranked;

typedef struct evaluation {
    engine *e;
    const tsr_token *tokens;
    size_t n;
    int top;
    FILE *json;      /* or NULL */
    ranked *best;    /* [top] */
    double nll;      /* sum over scored positions, nat */
    double nll_sq;   /* sum of squares, for the standard error */
    size_t n_scored; /* positions whose next token is known */
    double seconds;  /* the evaluation took, without the greedy continuation */
} evaluation;

/* ln of the sum of exp over logits [n_vocab]. */
static double log_sum_exp(const float *logits, int n_vocab) {
    float most = logits[0];
    for (int i = 1; i < n_vocab; i++)
        if (logits[i] > most) most = logits[i];
    double sum = 0.0;
    for (int i = 0; i < n_vocab; i++) sum += exp((double)logits[i] - most);
    return most + log(sum);
}

/* The k highest logits, best first; the lower id first between equals. */
static void find_best(const float *logits, int n_vocab, ranked *best, int k) {
    int held = 0;
    for (tsr_token t = 0; t < n_vocab; t++) {
        if (held == k && (k == 0 || !(logits[t] > best[k - 1].logit))) continue;
        int at = held < k ? held++ : k - 1;
        for (; at > 0 && logits[t] > best[at - 1].logit; at--) best[at] = best[at - 1];
        best[at] = (ranked){t, logits[t]};
    }
}

/* Scores position i: logits are the prediction of token i + 1. */
static int score(evaluation *ev, size_t i, const float *logits) {
    int n_vocab = ev->e->info.n_vocab;
    double lse = log_sum_exp(logits, n_vocab), nll = i + 1 < ev->n ? lse - logits[ev->tokens[i + 1]] : 0.0;
    find_best(logits, n_vocab, ev->best, ev->json ? ev->top : 0);
    if (!isfinite(lse) || !isfinite(nll) || (ev->json && ev->top > 0 && !isfinite(ev->best[ev->top - 1].logit))) {
        say_error(
            "the model's output at token %zu is not finite; the file is damaged, or this is a bug in a kernel (compare "
            "--cpu-tier scalar)",
            i);
        return EXIT_FAILED;
    }
    if (i + 1 < ev->n) {
        ev->nll += nll;
        ev->nll_sq += nll * nll;
        ev->n_scored++;
    }
    if (!ev->json) return EXIT_FINE;
    fputs(i ? ",\n[" : "[", ev->json);
    for (int k = 0; k < ev->top; k++)
        fprintf(ev->json, "%s[%d,%.5f]", k ? "," : "", ev->best[k].id, ev->best[k].logit - lse);
    fputs("]", ev->json);
    return EXIT_FINE;
}

/* Evaluates tokens[from, to) as one sequence and scores positions [scored, to). */
static int evaluate_window(evaluation *ev, size_t from, size_t to, size_t scored, size_t batch, progress *bar) {
    tsr_error err = {0};
    tsr_session *session = ev->e->session;
    if (tsr_session_truncate(session, 0, &err) != TSR_OK) return fail_with(&err);
    tsr_token bos = tsr_token_bos(ev->e->model);
    bool begins_with_bos = bos != TSR_TOKEN_NONE && ev->tokens[0] == bos;
    for (size_t at = from; at < to;) {
        size_t stop = at < scored ? scored : to; /* context only, or with logits */
        size_t count = stop - at < batch ? stop - at : batch;
        tsr_code code;
        if (at == from && from > 0 && begins_with_bos) {
            /* Such models expect BOS at the start of everything; it takes the place of a token that is only context. */
            code = tsr_session_eval(session, &bos, 1, TSR_LOGITS_NONE, &err);
            count = 1;
        } else {
            code =
                tsr_session_eval(session, ev->tokens + at, count, at < scored ? TSR_LOGITS_NONE : TSR_LOGITS_ALL, &err);
        }
        if (code != TSR_OK) return fail_with(&err);
        for (size_t k = 0; at >= scored && k < count; k++) {
            int status = score(ev, at + k, tsr_session_logits(session, k));
            if (status != EXIT_FINE) return status;
        }
        at += count;
        if (at > scored) progress_update(bar, at, ev->n);
        if (interrupted()) {
            say_note("interrupted");
            return EXIT_INTERRUPTED;
        }
    }
    return EXIT_FINE;
}

/* One window where the text fits the context; else windows of the context's size, each half of it further on, of which
 * all but the first score only their second half: every token is predicted once, from at least half a context. */
static int evaluate(evaluation *ev, size_t batch) {
    size_t window = tsr_session_capacity(ev->e->session), to = ev->n < window ? ev->n : window;
    progress bar;
    progress_start(&bar, "evaluating", "tokens");
    int status = evaluate_window(ev, 0, to, 0, batch, &bar);
    while (status == EXIT_FINE && to < ev->n) {
        size_t scored = to;
        to = ev->n - to < window / 2 ? ev->n : to + window / 2;
        status = evaluate_window(ev, to - window, to, scored, batch, &bar);
    }
    progress_end(&bar);
    return status;
}

static int decode_greedily(evaluation *ev, int n) {
    size_t prompt = ev->n < GREEDY_PROMPT ? ev->n : GREEDY_PROMPT, n_new;
    sampling_options sampling = {0};
    sampling_defaults(&sampling);
    sampling.params.temperature = 0.0f;
    tsr_sampler *sampler;
    tsr_error err = {0};
    int status = sampling_open(&sampling, ev->e->model, 0, &sampler);
    if (status != EXIT_FINE) return status;
    tsr_code code = tsr_session_truncate(ev->e->session, 0, &err);
    if (code == TSR_OK) code = engine_feed(ev->e, ev->tokens, prompt, &n_new, &err);
    for (int i = 0; code == TSR_OK && i < n; i++) {
        tsr_token t;
        code = tsr_sampler_sample(sampler, tsr_session_logits(ev->e->session, 0), &t, &err);
        if (code == TSR_OK) fprintf(ev->json, "%s%d", i ? "," : "", t);
        if (code == TSR_OK && i + 1 < n) code = engine_append(ev->e, t, &err);
        if (code == TSR_OK && interrupted()) code = err.code = TSR_E_CANCELLED;
    }
    tsr_sampler_close(sampler);
    return code == TSR_OK ? EXIT_FINE : fail_with(&err);
}

static int write_results(const eval_settings *s, evaluation *ev, size_t batch) {
    if (ev->json) {
        fputs("{\"tokens\":[", ev->json);
        for (size_t i = 0; i < ev->n; i++) fprintf(ev->json, "%s%d", i ? "," : "", ev->tokens[i]);
        fputs("],\n\"top\":[\n", ev->json);
    }
    double started = now_seconds();
    int status = evaluate(ev, batch);
    ev->seconds = now_seconds() - started;
    if (status != EXIT_FINE || !ev->json) return status;
    fprintf(ev->json, "],\n\"nll_mean\":%.6f,\n\"greedy\":[", ev->nll / (double)ev->n_scored);
    status = decode_greedily(ev, s->greedy);
    fputs("]}\n", ev->json);
    return status;
}

static void show_perplexity(const evaluation *ev, FILE *f) {
    double n = (double)ev->n_scored, mean = ev->nll / n;
    double variance = ev->nll_sq / n - mean * mean;
    double error = n > 1 && variance > 0 ? sqrt(variance / (n - 1)) : 0.0;
    fprintf(f, "perplexity %.4f", exp(mean));
    if (ev->n_scored > 1) fprintf(f, " +/- %.4f", exp(mean) * error); /* of one value nobody knows the error */
    fprintf(f, " (mean negative log-likelihood %.6f over %zu token%s), %.1f tok/s\n", mean, ev->n_scored,
            ev->n_scored == 1 ? "" : "s", (double)ev->n / ev->seconds);
}

/* Rows of logits cost n_vocab floats each: as many at a time as fit into some 64 MB. */
static int logits_batch(int n_vocab) {
    int rows = (64 << 20) / (4 * n_vocab);
    return rows < 8 ? 8 : rows > 512 ? 512 : rows;
}

static int run_evaluation(const eval_settings *s, engine *e, const tsr_token *tokens, size_t n, size_t batch) {
    size_t window = tsr_session_capacity(e->session), prompt = n < GREEDY_PROMPT ? n : GREEDY_PROMPT;
    if (n < 2) {
        say_error("the text has %zu token%s; at least 2 are needed to predict one from another", n, n == 1 ? "" : "s");
        return EXIT_FAILED;
    }
    if (window < 2) {
        say_error("a context of %zu token cannot predict anything; raise it with -c", window);
        return EXIT_FAILED;
    }
    if (s->json && s->greedy > 0 && prompt + (size_t)s->greedy > window) {
        say_error("the greedy continuation needs a context of %zu tokens, but it holds %zu; raise it with -c, or lower "
                  "--greedy",
                  prompt + (size_t)s->greedy, window);
        return EXIT_FAILED;
    }
    if (n > window)
        say_note("the text has %zu tokens: evaluating it in windows of %zu that overlap by half", n, window);

    evaluation ev = {.e = e, .tokens = tokens, .n = n, .top = s->top < e->info.n_vocab ? s->top : e->info.n_vocab};
    result_file out = {0};
    ev.best = calloc((size_t)ev.top + 1, sizeof *ev.best);
    if (!ev.best) {
        say_error("out of memory");
        return EXIT_FAILED;
    }
    int status = s->json ? result_open(&out, s->json) : EXIT_FINE;
    if (status == EXIT_FINE) {
        ev.json = out.f;
        interrupt_watch(e->session);
        status = write_results(s, &ev, batch);
        interrupt_watch(NULL);
        if (out.f) {
            int closed = result_close(&out, status == EXIT_FINE);
            if (status == EXIT_FINE) status = closed;
        }
        if (status == EXIT_FINE) show_perplexity(&ev, s->json && strcmp(s->json, "-") == 0 ? stderr : stdout);
    }
    free(ev.best);
    return status;
}

static int run(void *settings, const operands *rest) {
    (void)rest;
    eval_settings *s = settings;
    engine e = {0};
    char *text = NULL;
    size_t n_text = 0, n = 0;
    tsr_token *tokens = NULL;
    int status = s->model.path ? input_read(&s->input, "text", &text, &n_text) : EXIT_FINE;
    if (status == EXIT_FINE) status = engine_open_model(&e, &s->model, false);
    int batch = status == EXIT_FINE ? logits_batch(e.info.n_vocab) : 0;
    if (status == EXIT_FINE) status = engine_open_session(&e, &s->session, batch);
    if (status == EXIT_FINE && s->verbose) show_engine(&e);
    if (status == EXIT_FINE) {
        tsr_error err = {0};
        if (tsr_tokenize(e.model, text, n_text, TSR_ADD_SPECIAL | TSR_PARSE_SPECIAL, &tokens, &n, &err) == TSR_OK)
            status = run_evaluation(s, &e, tokens, n, (size_t)batch);
        else
            status = fail_with(&err);
    }
    engine_close(&e);
    tsr_free(tokens);
    free(text);
    return status;
}

const command eval_command = {
    .name = "eval",
    .summary = "measure how well a model predicts a text (perplexity)",
    .operands = "",
    .about = "Every token is predicted from those before it. A text longer than the context is taken in windows of the "
             "context's "
             "size that overlap by half, so that each token is predicted once, from at least half a context.",
    .examples = "tessera eval -m model.gguf -f text.txt\n"
                "tessera eval -m model.gguf -f text.txt --json result.json --top 20 --greedy 48\n"
                "tessera eval -m model.gguf -f book.txt -c 2048 --kv f32",
    .groups = groups,
    .settings_size = sizeof(eval_settings),
    .set_defaults = set_defaults,
    .run = run,
};
