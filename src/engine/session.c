/* session.c: one sequence: its KV cache, its working memory, its threads. */
#include "core/memory.h"
#include "engine/model.h"
#include "model/forward.h"

#include <stdlib.h>
#include <time.h>

enum { DEFAULT_CONTEXT = 4096, DEFAULT_BATCH = 512, MAX_BATCH = 1 << 16, MAX_CONTEXT = 1 << 30 };

struct tsr_session {
    const tsr_model *model;
    tsr_pool *pool;
    tsr_forward forward;
    size_t length;        /* tokens in the KV cache */
    float *logits;        /* [n_batch, n_vocab]; pages are touched only when rows are asked for */
    size_t logits_bytes;
    size_t n_logits;      /* rows of the last eval */
    atomic_bool cancel;
    tsr_session_stats stats;
};

tsr_session_params tsr_session_params_default(void) { return (tsr_session_params){0}; }

static tsr_code check_kv_type(const char *name, tsr_kv_type type, tsr_error *err) {
    if (type == TSR_KV_F16 || type == TSR_KV_F32) return TSR_OK;
    return tsr_fail(err, TSR_E_ARG, "%s: unknown KV cache type %d, must be %d (f16) or %d (f32)", name, (int)type, TSR_KV_F16, TSR_KV_F32);
}

static tsr_code check_params(const tsr_model *m, tsr_session_params *p, tsr_error *err) {
    if (!m->net) return tsr_fail(err, TSR_E_ARG, "the model was opened with vocab_only: it has no weights to run");
    int64_t trained = m->net->hparams.n_ctx_train;
    if (p->n_ctx < 0 || p->n_ctx > MAX_CONTEXT) return tsr_fail(err, TSR_E_ARG, "context size %d is outside 1 .. %d", p->n_ctx, MAX_CONTEXT);
    if (p->n_ctx == 0) p->n_ctx = (int)(trained < DEFAULT_CONTEXT ? trained : DEFAULT_CONTEXT);
    if (p->n_batch < 0 || p->n_batch > MAX_BATCH) return tsr_fail(err, TSR_E_ARG, "batch size %d is outside 1 .. %d", p->n_batch, MAX_BATCH);
    if (p->n_batch == 0) p->n_batch = DEFAULT_BATCH;
    if (p->n_batch > p->n_ctx) p->n_batch = p->n_ctx;
    if (p->n_threads < 0) return tsr_fail(err, TSR_E_ARG, "thread count %d is negative", p->n_threads);
    tsr_code code = check_kv_type("kv_k", p->kv_k, err);
    if (code == TSR_OK) code = check_kv_type("kv_v", p->kv_v, err);
    if (code != TSR_OK) return code;
    if (p->n_threads == 0) {
        tsr_cpuset cpus;
        tsr_cpuset_read("", &cpus);
        p->n_threads = cpus.n_default;
    }
    return TSR_OK;
}

static tsr_code open_parts(tsr_session *s, const tsr_session_params *p, tsr_error *err) {
    const tsr_net *net = s->model->net;
    s->pool = tsr_pool_open(p->n_threads, true, err);
    if (!s->pool) return TSR_E_NOMEM;
    tsr_code code = tsr_forward_open(&s->forward, net, s->pool, p->n_ctx, p->n_batch, p->kv_k, p->kv_v, &s->cancel, err);
    if (code != TSR_OK) return code;
    if (!tsr_mul_size((size_t)p->n_batch * sizeof(float), (size_t)net->hparams.n_vocab, &s->logits_bytes))
        return tsr_fail(err, TSR_E_LIMIT, "the logits of %d tokens are too large; use a smaller batch", p->n_batch);
    s->logits = tsr_memory_reserve(s->logits_bytes, err);
    return s->logits ? TSR_OK : TSR_E_NOMEM;
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
    s->stats.kv_bytes = s->forward.kv.bytes_k + s->forward.kv.bytes_v;
    s->stats.work_bytes = s->forward.work_bytes;
    return s;
}

void tsr_session_close(tsr_session *s) {
    if (!s) return;
    tsr_forward_close(&s->forward);
    tsr_memory_free(s->logits, s->logits_bytes);
    if (s->pool) tsr_pool_close(s->pool);
    free(s);
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
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

tsr_code tsr_session_eval(tsr_session *s, const tsr_token *tokens, size_t n, tsr_logits want, tsr_error *err) {
    tsr_code code = check_tokens(s, tokens, n, want, err);
    if (code != TSR_OK) return code;
    double start = seconds();
    atomic_store(&s->cancel, false);
    s->n_logits = 0;
    size_t batch = (size_t)s->forward.n_batch;
    for (size_t done = 0; code == TSR_OK && done < n; done += batch) {
        size_t m = n - done < batch ? n - done : batch;
        bool last = done + m == n;
        size_t rows = !last || want == TSR_LOGITS_NONE ? 0 : want == TSR_LOGITS_LAST ? 1 : m;
        code = tsr_forward_run(&s->forward, tokens + done, (int64_t)m, (int64_t)(s->length + done), s->logits, (int64_t)rows, err);
        s->n_logits = rows;
    }
    if (code == TSR_OK) code = tsr_model_check_files(s->model, err);
    if (code != TSR_OK) {
        s->n_logits = 0;
        return code; /* what was written past `length` in the cache is as good as forgotten */
    }
    s->length += n;
    double elapsed = seconds() - start;
    *(n > 1 ? &s->stats.n_prompt : &s->stats.n_generated) += n;
    *(n > 1 ? &s->stats.prompt_seconds : &s->stats.generate_seconds) += elapsed;
    return TSR_OK;
}

const float *tsr_session_logits(const tsr_session *s, size_t i) {
    return i < s->n_logits ? s->logits + i * (size_t)s->model->net->hparams.n_vocab : NULL;
}

size_t tsr_session_length(const tsr_session *s) { return s->length; }

size_t tsr_session_capacity(const tsr_session *s) { return (size_t)s->forward.kv.n_ctx; }

tsr_code tsr_session_truncate(tsr_session *s, size_t n_keep, tsr_error *err) {
    if (n_keep > s->length) return tsr_fail(err, TSR_E_ARG, "cannot keep %zu tokens: there are %zu", n_keep, s->length);
    s->length = n_keep;
    s->n_logits = 0;
    return TSR_OK;
}

void tsr_session_cancel(tsr_session *s) { atomic_store(&s->cancel, true); }

void tsr_session_get_stats(const tsr_session *s, tsr_session_stats *out) { *out = s->stats; }
