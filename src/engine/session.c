/* session.c: one sequence: its KV cache, its working memory, its threads; and passes over several sequences. */
#include "core/clock.h"
#include "core/memory.h"
#include "engine/model.h"
#include "engine/session.h"
#include "model/cost.h"
#include "model/forward.h"

#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CONTEXT = 4096, DEFAULT_BATCH = 512, MAX_BATCH = 1 << 16, MAX_CONTEXT = 1 << 30 };
enum { FEW_TOKENS = 8 }; /* a pass over so many is bound by reading weights, as generation is, and gets its threads */

struct tsr_session {
    const tsr_model *model;
    tsr_pool *pool;
    tsr_kv_cache kv;
    tsr_forward forward;
    size_t length;        /* tokens in the KV cache */
    float *logits;        /* [n_batch, n_vocab]; pages are touched only when rows are asked for */
    size_t logits_bytes;
    size_t n_logits;      /* rows of the last eval */
    tsr_span *spans;      /* [n_batch] of batches that it is the first session of, and their */
    tsr_token *tokens;    /* [n_batch] */
    atomic_bool cancel;
    tsr_session_stats stats;
};

tsr_session_params tsr_session_params_default(void) { return (tsr_session_params){0}; }

static tsr_code check_kv_type(const char *name, tsr_kv_type type, tsr_error *err) {
    if (type >= TSR_KV_F16 && type <= TSR_KV_Q8_0) return TSR_OK;
    return tsr_fail(err, TSR_E_ARG, "%s: unknown KV cache type %d, must be %d (f16), %d (f32), %d (bf16) or %d (q8_0)", name, (int)type,
                    TSR_KV_F16, TSR_KV_F32, TSR_KV_BF16, TSR_KV_Q8_0);
}

static tsr_code check_params(const tsr_model *m, tsr_session_params *p, tsr_error *err) {
    if (!m->net) return tsr_fail(err, TSR_E_ARG, "the model was opened with vocab_only: it has no weights to run");
    int64_t trained = m->net->hparams.n_ctx_train;
    if (p->n_ctx < 0 || p->n_ctx > MAX_CONTEXT) return tsr_fail(err, TSR_E_ARG, "context size %d is outside 1 .. %d", p->n_ctx, MAX_CONTEXT);
    if (p->n_ctx == 0) p->n_ctx = (int)(trained < DEFAULT_CONTEXT ? trained : DEFAULT_CONTEXT);
    if (p->n_batch < 0 || p->n_batch > MAX_BATCH) return tsr_fail(err, TSR_E_ARG, "batch size %d is outside 1 .. %d", p->n_batch, MAX_BATCH);
    if (p->n_batch == 0) p->n_batch = DEFAULT_BATCH;
    if (p->n_batch > p->n_ctx) p->n_batch = p->n_ctx;
    if (p->n_threads < 0 || p->n_threads_prompt < 0)
        return tsr_fail(err, TSR_E_ARG, "thread count %d is negative", p->n_threads < 0 ? p->n_threads : p->n_threads_prompt);
    tsr_code code = check_kv_type("kv_k", p->kv_k, err);
    if (code == TSR_OK) code = check_kv_type("kv_v", p->kv_v, err);
    if (code != TSR_OK) return code;
    tsr_cpuset cpus;
    tsr_cpuset_read("", &cpus);
    p->n_threads = tsr_cpuset_threads(&cpus, p->n_threads);
    p->n_threads_prompt = p->n_threads_prompt ? tsr_cpuset_threads(&cpus, p->n_threads_prompt) : p->n_threads;
    return TSR_OK;
}

static tsr_code open_parts(tsr_session *s, const tsr_session_params *p, tsr_error *err) {
    const tsr_net *net = s->model->net;
    s->pool = tsr_pool_open_on(tsr_model_nodes(s->model),
                               p->n_threads > p->n_threads_prompt ? p->n_threads : p->n_threads_prompt, err);
    if (!s->pool) return TSR_E_NOMEM;
    tsr_code code = tsr_kv_open(&s->kv, &net->hparams, p->n_ctx, p->kv_k, p->kv_v, err);
    if (code == TSR_OK) code = tsr_forward_open(&s->forward, net, s->pool, p->n_ctx, p->n_batch, &s->cancel, err);
    if (code != TSR_OK) return code;
    if (!tsr_mul_size((size_t)p->n_batch * sizeof(float), (size_t)net->hparams.n_vocab, &s->logits_bytes))
        return tsr_fail(err, TSR_E_LIMIT, "the logits of %d tokens are too large; use a smaller batch", p->n_batch);
    s->logits = tsr_memory_reserve(s->logits_bytes, err);
    if (!s->logits) return TSR_E_NOMEM;
    s->spans = calloc((size_t)p->n_batch, sizeof *s->spans);
    s->tokens = calloc((size_t)p->n_batch, sizeof *s->tokens);
    return s->spans && s->tokens ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory");
}

tsr_session *tsr_session_open(const tsr_model *model, const tsr_session_params *params, tsr_error *err) {
    tsr_session_params p = params ? *params : tsr_session_params_default();
    if (check_params(model, &p, err) != TSR_OK) return NULL;
    tsr_session *s = calloc(1, sizeof *s);
    if (!s) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory");
        return NULL;
    }
    s->model = model;
    if (open_parts(s, &p, err) != TSR_OK) {
        tsr_session_close(s);
        return NULL;
    }
    s->stats.n_threads = p.n_threads;
    s->stats.n_threads_prompt = p.n_threads_prompt;
    s->stats.kv_bytes = s->kv.bytes_k + s->kv.bytes_v;
    s->stats.work_bytes = s->forward.work_bytes;
    return s;
}

void tsr_session_close(tsr_session *s) {
    if (!s) return;
    tsr_forward_close(&s->forward);
    tsr_kv_close(&s->kv);
    tsr_memory_free(s->logits, s->logits_bytes);
    free(s->spans);
    free(s->tokens);
    if (s->pool) tsr_pool_close(s->pool);
    free(s);
}

static tsr_code check_tokens(const tsr_session *s, const tsr_token *tokens, size_t n, tsr_logits want, tsr_error *err) {
    int64_t n_vocab = s->model->net->hparams.n_vocab;
    size_t room = tsr_session_capacity(s) - s->length;
    if (n == 0 || !tokens)
        return tsr_fail(err, TSR_E_ARG, n == 0 ? "no tokens to evaluate" : "the tokens to evaluate are NULL");
    if (want != TSR_LOGITS_NONE && want != TSR_LOGITS_LAST && want != TSR_LOGITS_ALL)
        return tsr_fail(err, TSR_E_ARG, "unknown kind of logits %d: must be %d (none), %d (last) or %d (all)", (int)want,
                        TSR_LOGITS_NONE, TSR_LOGITS_LAST, TSR_LOGITS_ALL);
    if (n > room)
        return tsr_fail(err, TSR_E_LIMIT, "%zu tokens do not fit: the context holds %zu and %zu are in use (open a larger one)", n,
                        tsr_session_capacity(s), s->length);
    if (want == TSR_LOGITS_ALL && n > (size_t)s->forward.n_batch)
        return tsr_fail(err, TSR_E_ARG, "logits of all %zu tokens were asked for, but a batch holds %lld", n, (long long)s->forward.n_batch);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= n_vocab)
            return tsr_fail(err, TSR_E_ARG, "token %zu is %d, outside the vocabulary of %lld", i, tokens[i], (long long)n_vocab);
    return TSR_OK;
}

/* n tokens more took so long. */
static void count(tsr_session *s, size_t n, double elapsed) {
    *(n > 1 ? &s->stats.n_prompt : &s->stats.n_generated) += n;
    *(n > 1 ? &s->stats.prompt_seconds : &s->stats.generate_seconds) += elapsed;
}

/* Rows of logits of a pass over n tokens. */
static size_t wanted_rows(tsr_logits want, size_t n) { return want == TSR_LOGITS_NONE ? 0 : want == TSR_LOGITS_LAST ? 1 : n; }

static void use_threads(const tsr_session *s, size_t n) {
    tsr_pool_use(s->pool, n > FEW_TOKENS ? s->stats.n_threads_prompt : s->stats.n_threads);
}

static tsr_code eval(tsr_session *s, const tsr_token *tokens, size_t n, tsr_logits want, double *elapsed, tsr_error *err) {
    tsr_code code = check_tokens(s, tokens, n, want, err);
    if (code != TSR_OK) return code;
    double start = tsr_clock_seconds();
    atomic_store(&s->cancel, false);
    s->n_logits = 0;
    use_threads(s, n);
    size_t batch = (size_t)s->forward.n_batch;
    for (size_t done = 0; code == TSR_OK && done < n; done += batch) {
        size_t m = n - done < batch ? n - done : batch;
        size_t rows = done + m == n ? wanted_rows(want, m) : 0;
        const tsr_span span = {.kv = &s->kv, .pos = (int64_t)(s->length + done), .rows = (int64_t)m, .n_logits = (int64_t)rows};
        code = tsr_forward_run(&s->forward, tokens + done, &span, 1, s->logits, err);
        s->n_logits = rows;
    }
    if (code == TSR_OK) code = tsr_model_check_files(s->model, err);
    if (code != TSR_OK) {
        s->n_logits = 0;
        return code; /* what was written past `length` in the cache is as good as forgotten */
    }
    s->length += n;
    *elapsed = tsr_clock_seconds() - start;
    return TSR_OK;
}

tsr_code tsr_session_eval(tsr_session *s, const tsr_token *tokens, size_t n, tsr_logits want, tsr_error *err) {
    double elapsed;
    tsr_code code = eval(s, tokens, n, want, &elapsed, err);
    if (code == TSR_OK) count(s, n, elapsed);
    return code;
}

/* --- speculation ----------------------------------------------------------------------------------------------------------- */

size_t tsr_session_verify_most(const tsr_session *s) { return s->forward.n_batch < TSR_VERIFY_MAX ? (size_t)s->forward.n_batch : TSR_VERIFY_MAX; }

tsr_code tsr_session_verify(tsr_session *s, const tsr_token *tokens, size_t n, tsr_error *err) {
    double elapsed;
    if (n > TSR_VERIFY_MAX) return tsr_fail(err, TSR_E_ARG, "%zu tokens to verify: at most %d", n, TSR_VERIFY_MAX);
    s->forward.rows_alone = true;
    tsr_code code = eval(s, tokens, n, TSR_LOGITS_ALL, &elapsed, err);
    s->forward.rows_alone = false;
    if (code == TSR_OK) count(s, 1, elapsed);
    return code;
}

void tsr_session_count_accepted(tsr_session *s) { s->stats.n_generated++; }

size_t tsr_session_n_logits(const tsr_session *s) { return s->n_logits; }

/* --- several sessions ------------------------------------------------------------------------------------------------------ */

static tsr_code check_batch(const tsr_batch_item *items, size_t n_items, size_t *total, tsr_error *err) {
    if (n_items == 0 || !items) return tsr_fail(err, TSR_E_ARG, "a batch needs at least one session");
    for (size_t i = 0; i < n_items; i++) {
        const tsr_session *s = items[i].session;
        if (!s || s->model != items[0].session->model)
            return tsr_fail(err, TSR_E_ARG, "item %zu of the batch has %s", i, s ? "a session of another model" : "no session");
        for (size_t j = 0; j < i; j++)
            if (items[j].session == s) return tsr_fail(err, TSR_E_ARG, "items %zu and %zu of the batch are the same session", j, i);
        if (s->kv.n_ctx > items[0].session->kv.n_ctx)
            return tsr_fail(err, TSR_E_ARG, "item %zu of the batch has a context of %lld tokens, more than the %lld of the first session, whose working "
                            "memory is used; put it first", i, (long long)s->kv.n_ctx, (long long)items[0].session->kv.n_ctx);
        tsr_code code = check_tokens(s, items[i].tokens, items[i].n, items[i].want, err);
        if (code != TSR_OK) {
            tsr_fail_prefix(err, "item %zu of the batch", i);
            return code;
        }
        *total += items[i].n;
    }
    int64_t n_batch = items[0].session->forward.n_batch;
    if (*total > (size_t)n_batch)
        return tsr_fail(err, TSR_E_ARG, "the batch has %zu tokens, and the first session's holds %lld", *total, (long long)n_batch);
    return TSR_OK;
}

/* The spans of a batch and its tokens side by side, in the first session's memory. */
static void join(const tsr_batch_item *items, size_t n_items, tsr_span *spans, tsr_token *tokens) {
    size_t row = 0;
    for (size_t i = 0; i < n_items; i++) {
        tsr_session *s = items[i].session;
        memcpy(tokens + row, items[i].tokens, items[i].n * sizeof *tokens);
        spans[i] = (tsr_span){.kv = &s->kv, .pos = (int64_t)s->length, .row = (int64_t)row, .rows = (int64_t)items[i].n,
                              .n_logits = (int64_t)wanted_rows(items[i].want, items[i].n)};
        row += items[i].n;
    }
}

/* Every session's rows of logits go where it looks for them: the first's are there. */
static void hand_out(const tsr_batch_item *items, size_t n_items, double elapsed) {
    const tsr_session *first = items[0].session;
    size_t n_vocab = (size_t)first->model->net->hparams.n_vocab, row = 0;
    for (size_t i = 0; i < n_items; i++) {
        tsr_session *s = items[i].session;
        s->n_logits = wanted_rows(items[i].want, items[i].n);
        if (i > 0) memcpy(s->logits, first->logits + row * n_vocab, s->n_logits * n_vocab * sizeof *s->logits);
        row += s->n_logits;
        s->length += items[i].n;
        count(s, items[i].n, elapsed / (double)n_items);
    }
}

tsr_code tsr_session_eval_batch(const tsr_batch_item *items, size_t n_items, tsr_error *err) {
    size_t total = 0;
    tsr_code code = check_batch(items, n_items, &total, err);
    if (code != TSR_OK) return code;
    tsr_session *first = items[0].session;
    join(items, n_items, first->spans, first->tokens); /* no more than tokens, of which there are n_batch */
    double start = tsr_clock_seconds();
    for (size_t i = 0; i < n_items; i++) items[i].session->n_logits = 0;
    atomic_store(&first->cancel, false);
    use_threads(first, total);
    code = tsr_forward_run(&first->forward, first->tokens, first->spans, (int64_t)n_items, first->logits, err);
    if (code == TSR_OK) code = tsr_model_check_files(first->model, err);
    if (code == TSR_OK) hand_out(items, n_items, tsr_clock_seconds() - start);
    return code;
}

const float *tsr_session_logits(const tsr_session *s, size_t i) {
    return i < s->n_logits ? s->logits + i * (size_t)s->model->net->hparams.n_vocab : NULL;
}

size_t tsr_session_length(const tsr_session *s) { return s->length; }

size_t tsr_session_capacity(const tsr_session *s) { return (size_t)s->kv.n_ctx; }

tsr_code tsr_session_truncate(tsr_session *s, size_t n_keep, tsr_error *err) {
    if (n_keep > s->length) return tsr_fail(err, TSR_E_ARG, "cannot keep %zu tokens: there are %zu", n_keep, s->length);
    s->length = n_keep;
    s->n_logits = 0;
    return TSR_OK;
}

void tsr_session_cancel(tsr_session *s) { atomic_store(&s->cancel, true); }

void tsr_session_get_stats(const tsr_session *s, tsr_session_stats *out) {
    *out = s->stats;
    tsr_pool_counts(s->pool, &out->n_jobs, &out->n_barriers);
}

void tsr_session_profile(tsr_session *s, bool on) { tsr_profile_set(&s->forward.profile, on); }

bool tsr_session_profile_entry(const tsr_session *s, size_t i, tsr_profile_entry *out) {
    const tsr_profile *p = &s->forward.profile;
    if (i >= TSR_STEP_COUNT) return false;
    *out = (tsr_profile_entry){tsr_step_name((tsr_step)i), 1e-9 * (double)p->ns[i], p->calls[i]};
    return true;
}

void tsr_session_cost(const tsr_session *s, size_t pos, size_t n, size_t n_logits, tsr_cost *out) {
    tsr_pass_cost(s->model->net, &s->kv, (int64_t)pos, (int64_t)n, (int64_t)n_logits, out);
}
