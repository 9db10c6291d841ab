/* lookup.c: speculation by prompt lookup. The last token is computed together with a guess of those after it, in one pass that costs little
 * more than one token while weights are what takes time (Leviathan, Kalman, Matias 2023). The sampler then chooses from the
 * rows of logits in order, as it would have anyway; the guess is followed as long as it says the same. Rows are bit for bit those of single
 * tokens (tsr_session_verify), so that the text never depends on guesses. */
#include "core/clock.h"
#include "core/error.h"
#include "engine/draft.h"
#include "engine/session.h"

#include <stdlib.h>

struct tsr_lookup {
    tsr_session *session;
    tsr_draft draft;
    int max_draft;
    tsr_token pass[TSR_VERIFY_MAX]; /* the tokens of the last pass: the text's last one, and the guess */
    int n_pass;
    size_t row;       /* of logits that the next token is chosen from, `ready` when there is one */
    bool ready;
    size_t before;    /* tokens in the session before the last pass */
    double seconds[TSR_VERIFY_MAX + 1]; /* that a pass over so many tokens takes; 0: not known */
    tsr_lookup_stats stats;
};

/* A guess must promise at least this much, as what passes take is only known roughly. */
#define LEAST_GAIN 1.08

tsr_lookup *tsr_lookup_open(tsr_session *session, int max_draft, tsr_error *err) {
    if (max_draft < 0 || max_draft > TSR_DRAFT_MAX) {
        tsr_fail(err, TSR_E_ARG, "guesses of %d tokens: must be 1 to %d, or 0 for the default", max_draft, TSR_DRAFT_MAX);
        return NULL;
    }
    tsr_lookup *l = calloc(1, sizeof *l);
    if (!l) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory");
        return NULL;
    }
    l->session = session;
    int most = (int)tsr_session_verify_most(session) - 1;
    l->max_draft = max_draft > 0 && max_draft < most ? max_draft : most;
    if (tsr_draft_open(&l->draft, tsr_session_capacity(session) + 1, err) == TSR_OK) return l;
    free(l);
    return NULL;
}

void tsr_lookup_close(tsr_lookup *l) {
    if (!l) return;
    tsr_draft_close(&l->draft);
    free(l);
}

tsr_code tsr_lookup_begin(tsr_lookup *l, const tsr_token *prompt, size_t n, tsr_error *err) {
    size_t held = tsr_session_length(l->session), n_logits = tsr_session_n_logits(l->session);
    l->ready = false;
    if (n == 0 || n != held) return tsr_fail(err, TSR_E_ARG, "a prompt of %zu tokens, but the session holds %zu", n, held);
    if (n_logits == 0) return tsr_fail(err, TSR_E_ARG, "the session has no logits of the prompt's last token; evaluate it with TSR_LOGITS_LAST");
    tsr_draft_reset(&l->draft);
    for (size_t i = 0; i < n; i++) tsr_draft_add_given(&l->draft, prompt[i]);
    l->row = n_logits - 1;
    l->n_pass = 0;
    l->ready = true;
    return TSR_OK;
}

/* --- how long a guess -------------------------------------------------------------------------------------------------------- */

/* Until a pass of so many tokens was measured: each token more takes a quarter of one, which is what narrow products take where they are
 * not bound by memory. */
static double pass_seconds(const tsr_lookup *l, int n) {
    return l->seconds[n] > 0 ? l->seconds[n] : l->seconds[1] * (1 + 0.25 * (n - 1));
}

/* What a pass took goes into the mean of its kind. One that was interrupted by other programs does not go far. */
static void learn(tsr_lookup *l, int n, double took) {
    double *mean = &l->seconds[n];
    if (*mean == 0) *mean = took;
    double limited = took > 1.5 * *mean ? 1.5 * *mean : took;
    *mean += (limited - *mean) / 8;
    /* kinds that are not used forget slowly: what they took once may have been an accident */
    for (int i = 2; i <= TSR_VERIFY_MAX; i++)
        if (i != n && l->seconds[i] > 0) l->seconds[i] += (l->seconds[1] * (1 + 0.25 * (i - 1)) - l->seconds[i]) / 512;
}

/* How many of the guessed tokens make the most tokens a second. */
static int useful(const tsr_lookup *l, const float *chance, int n) {
    if (l->seconds[1] == 0) return 0; /* a token alone was never measured: this one is */
    double all = 1, tokens = 1, best = LEAST_GAIN / l->seconds[1];
    int count = 0;
    for (int i = 0; i < n; i++) {
        all *= (double)chance[i];
        tokens += all;
        double rate = tokens / pass_seconds(l, i + 2);
        if (rate <= best) continue;
        best = rate;
        count = i + 1;
    }
    return count;
}

/* --- a pass ------------------------------------------------------------------------------------------------------------------ */

/* Computes the last token of the text and a guess. */
static tsr_code advance(tsr_lookup *l, tsr_error *err) {
    float chance[TSR_DRAFT_MAX];
    size_t held = tsr_session_length(l->session), room = tsr_session_capacity(l->session) - held;
    int most = l->max_draft, n;
    if (room == 0) return tsr_fail(err, TSR_E_LIMIT, "the context of %zu tokens is full", held);
    if ((size_t)most > room - 1) most = (int)(room - 1);
    n = tsr_draft_guess(&l->draft, most, l->pass + 1, chance);
    n = useful(l, chance, n);
    l->pass[0] = l->draft.text[l->draft.n - 1];
    double start = tsr_clock_seconds();
    tsr_code code = tsr_session_verify(l->session, l->pass, (size_t)n + 1, err);
    if (code != TSR_OK) return code;
    learn(l, n + 1, tsr_clock_seconds() - start);
    l->before = held;
    l->n_pass = n + 1;
    l->row = 0;
    l->ready = true;
    l->stats.n_passes++;
    l->stats.n_drafted += (uint64_t)n;
    return TSR_OK;
}

/* The text goes on with t, and the session keeps only what is in the text. */
static tsr_code follow(tsr_lookup *l, tsr_token t, tsr_error *err) {
    tsr_draft_add(&l->draft, t);
    if ((size_t)l->n_pass > l->row + 1 && l->pass[l->row + 1] == t) {
        l->row++;
        l->stats.n_accepted++;
        tsr_session_count_accepted(l->session);
        return TSR_OK;
    }
    l->ready = false;
    return (size_t)l->n_pass > l->row + 1 ? tsr_session_truncate(l->session, l->before + l->row + 1, err) : TSR_OK;
}

tsr_code tsr_lookup_next(tsr_lookup *l, tsr_sampler *sampler, tsr_token *out, tsr_error *err) {
    if (l->draft.n == 0) return tsr_fail(err, TSR_E_ARG, "nothing to go on from; call tsr_lookup_begin first");
    tsr_code code = l->ready ? TSR_OK : advance(l, err);
    if (code == TSR_OK) code = tsr_sampler_sample(sampler, tsr_session_logits(l->session, l->row), out, err);
    if (code == TSR_OK) code = tsr_sampler_accept(sampler, *out, err);
    return code == TSR_OK ? follow(l, *out, err) : code;
}

void tsr_lookup_get_stats(const tsr_lookup *l, tsr_lookup_stats *out) { *out = l->stats; }
