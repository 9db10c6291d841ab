#include "model/hparams.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Reads keys of one architecture; the first error sticks and later reads do nothing. */
typedef struct reader {
    const tsr_gguf *g;
    const char *arch;
    tsr_error *err;
    tsr_code code;
    char key[128];
} reader;

static const char *full_key(reader *r, const char *name) {
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch, name);
    return r->key;
}

static int64_t need_int(reader *r, const char *name, int64_t min, int64_t max) {
    int64_t v = min;
    if (r->code == TSR_OK) r->code = tsr_gguf_get_int(r->g, full_key(r, name), min, max, &v, r->err);
    return v;
}

static int64_t opt_int(reader *r, const char *name, int64_t min, int64_t max, int64_t def) {
    int64_t v = def;
    if (r->code == TSR_OK) r->code = tsr_gguf_opt_int(r->g, full_key(r, name), min, max, &v, r->err);
    return v;
}

/* A finite number in [min, max]. */
static float opt_f32(reader *r, const char *name, float min, float max, float def) {
    float v = def;
    if (r->code == TSR_OK) r->code = tsr_gguf_opt_f32(r->g, full_key(r, name), &v, r->err);
    if (r->code == TSR_OK && v != def && !(v >= min && v <= max))
        r->code = tsr_fail(r->err, TSR_E_FORMAT, "%s is %g, outside %g .. %g", r->key, (double)v, (double)min, (double)max);
    return v;
}

static bool opt_bool(reader *r, const char *name, bool def) {
    bool v = def;
    if (r->code == TSR_OK) r->code = tsr_gguf_opt_bool(r->g, full_key(r, name), &v, r->err);
    return v;
}

/* A count that may be given once or per layer; per layer all values must be equal. */
static int64_t uniform_int(reader *r, const char *name, int64_t min, int64_t max, int64_t n_layer, int64_t def) {
    const tsr_gguf_kv *kv = r->code == TSR_OK ? tsr_gguf_find(r->g, full_key(r, name)) : NULL;
    if (!kv || kv->type != TSR_GGUF_ARRAY)
        return def < 0 ? need_int(r, name, min, max) : opt_int(r, name, min, max, def);
    if (kv->elem == TSR_GGUF_STRING || kv->n != (uint64_t)n_layer) {
        r->code = tsr_fail(r->err, TSR_E_FORMAT, "%s must be a number or an array of %lld numbers, one a layer", r->key,
                           (long long)n_layer);
        return min;
    }
    int64_t first = tsr_gguf_int(kv, 0);
    for (uint64_t i = 0; i < kv->n; i++) {
        int64_t v = tsr_gguf_int(kv, i);
        if (v < min || v > max)
            r->code = tsr_fail(r->err, TSR_E_FORMAT, "%s[%llu] is %lld, outside %lld .. %lld", r->key, (unsigned long long)i,
                               (long long)v, (long long)min, (long long)max);
        else if (v != first)
            r->code = tsr_fail(r->err, TSR_E_UNSUPPORTED, "%s differs between layers (%lld and %lld); Tessera needs it uniform",
                               r->key, (long long)first, (long long)v);
        if (r->code != TSR_OK) return min;
    }
    return first;
}

static void read_rope_scaling(reader *r, tsr_rope_params *rope) {
    static const struct { const char *name; tsr_rope_scaling scaling; } known[] = {
        {"none", TSR_ROPE_NONE}, {"linear", TSR_ROPE_LINEAR}, {"yarn", TSR_ROPE_YARN},
        {"longrope", TSR_ROPE_LONGROPE}, {"su", TSR_ROPE_LONGROPE}, {"llama3", TSR_ROPE_LLAMA3},
    };
    tsr_str type = {"linear", 6};
    if (r->code == TSR_OK) r->code = tsr_gguf_opt_str(r->g, full_key(r, "rope.scaling.type"), &type, r->err);
    if (r->code != TSR_OK) return;
    size_t i = 0, n = sizeof known / sizeof *known;
    while (i < n && !(strlen(known[i].name) == type.n && memcmp(known[i].name, type.s, type.n) == 0)) i++;
    if (i == n) {
        char shown[64];
        r->code = tsr_fail(r->err, TSR_E_UNSUPPORTED, "%s is '%s'; known are none, linear, yarn, longrope, llama3", r->key,
                           tsr_printable(type.s, type.n, shown, sizeof shown));
        return;
    }
    rope->scaling = known[i].scaling;
}

static void read_rope(reader *r, tsr_hparams *h) {
    tsr_rope_params *rope = &h->rope;
    read_rope_scaling(r, rope);
    rope->base = opt_f32(r, "rope.freq_base", 1.0f, 1e12f, 10000.0f);
    float base_swa = h->arch->rope_base_swa > 0.0f ? h->arch->rope_base_swa : rope->base;
    rope->base_swa = opt_f32(r, "rope.freq_base_swa", 1.0f, 1e12f, base_swa);
    float factor = opt_f32(r, "rope.scaling.factor", 1e-3f, 1e6f, 0.0f);
    if (factor == 0.0f) factor = opt_f32(r, "rope.scale_linear", 1e-3f, 1e6f, 0.0f); /* the key of old files */
    rope->factor = factor == 0.0f || rope->scaling == TSR_ROPE_NONE ? 1.0f : factor;
    if (rope->factor == 1.0f && rope->scaling == TSR_ROPE_LINEAR) rope->scaling = TSR_ROPE_NONE;
    rope->n_ctx_orig = opt_int(r, "rope.scaling.original_context_length", 1, 1ll << 40, h->n_ctx_train);
    rope->ext_factor = opt_f32(r, "rope.scaling.yarn_ext_factor", 0.0f, 1e3f, rope->scaling == TSR_ROPE_YARN ? 1.0f : 0.0f);
    rope->attn_factor = opt_f32(r, "rope.scaling.attn_factor", 1e-3f, 1e3f, 1.0f);
    rope->attn_factor = opt_f32(r, "rope.scaling.yarn_attn_factor", 1e-3f, 1e3f, rope->attn_factor);
    rope->beta_fast = opt_f32(r, "rope.scaling.yarn_beta_fast", 1e-3f, 1e6f, 32.0f);
    rope->beta_slow = opt_f32(r, "rope.scaling.yarn_beta_slow", 1e-3f, 1e6f, 1.0f);
    rope->low_freq_factor = opt_f32(r, "rope.scaling.low_freq_factor", 1e-3f, 1e6f, 1.0f);
    rope->high_freq_factor = opt_f32(r, "rope.scaling.high_freq_factor", 1e-3f, 1e6f, 4.0f);
    if (r->code == TSR_OK && rope->scaling == TSR_ROPE_LLAMA3 && rope->high_freq_factor <= rope->low_freq_factor)
        r->code = tsr_fail(r->err, TSR_E_FORMAT, "%s.rope.scaling: high_freq_factor %g must be above low_freq_factor %g", r->arch,
                           (double)rope->high_freq_factor, (double)rope->low_freq_factor);
}

static void read_experts(reader *r, tsr_hparams *h) {
    h->n_expert = opt_int(r, "expert_count", 0, TSR_MAX_EXPERTS, 0);
    if (r->code != TSR_OK) return;
    if (h->n_expert == 0) {
        if (h->arch->experts_required)
            r->code = tsr_fail(r->err, TSR_E_FORMAT, "%s.expert_count is missing or 0, but %s is a mixture of experts", r->arch, r->arch);
        return;
    }
    if (!h->arch->experts_allowed) {
        r->code = tsr_fail(r->err, TSR_E_UNSUPPORTED, "%s.expert_count is %lld, but %s models have no experts", r->arch,
                           (long long)h->n_expert, r->arch);
        return;
    }
    h->n_expert_used = need_int(r, "expert_used_count", 1, h->n_expert);
    /* Without the key: Mixtral's experts are as wide as a dense layer; families that are made of experts split one among those
     * in use (as llama.cpp reads them). */
    int64_t usual = h->arch->experts_required && r->code == TSR_OK ? h->n_ff / h->n_expert_used : h->n_ff;
    h->n_ff_expert = opt_int(r, "expert_feed_forward_length", 1, 1 << 24, usual);
    h->expert_norm = opt_bool(r, "expert_weights_norm", true);
    h->expert_scale = opt_f32(r, "expert_weights_scale", 1e-6f, 1e6f, 1.0f);
    h->expert_sigmoid = opt_int(r, "expert_gating_func", 1, 2, 1) == 2;
    if (r->code == TSR_OK && h->n_ff_expert == 0)
        r->code = tsr_fail(r->err, TSR_E_FORMAT, "%s.expert_feed_forward_length is missing", r->arch);
}

/* Which layers see only a window: every layer, all but each swa_period-th, or as the file lists them. */
static void read_window(reader *r, tsr_hparams *h) {
    h->n_swa = opt_int(r, "attention.sliding_window", 0, 1ll << 40, 0);
    if (r->code != TSR_OK || h->n_swa == 0) return;
    int64_t period = h->arch->swa_period;
    const tsr_gguf_kv *kv = tsr_gguf_find(r->g, full_key(r, "attention.sliding_window_pattern"));
    if (kv && kv->type == TSR_GGUF_ARRAY) {
        if (kv->elem == TSR_GGUF_STRING || kv->n != (uint64_t)h->n_layer) {
            r->code = tsr_fail(r->err, TSR_E_FORMAT, "%s must hold one number or bool per layer (%lld)", r->key, (long long)h->n_layer);
            return;
        }
        for (int64_t i = 0; i < h->n_layer; i++) h->is_swa[i] = tsr_gguf_int(kv, (uint64_t)i) != 0;
        return;
    }
    period = opt_int(r, "attention.sliding_window_pattern", 0, TSR_MAX_LAYERS, period);
    for (int64_t i = 0; i < h->n_layer; i++) h->is_swa[i] = period == 0 || (i + 1) % period != 0;
}

static void read_attention(reader *r, tsr_hparams *h) {
    h->n_head = uniform_int(r, "attention.head_count", 1, 1 << 14, h->n_layer, -1);
    h->n_head_kv = uniform_int(r, "attention.head_count_kv", 1, 1 << 14, h->n_layer, h->n_head);
    if (r->code == TSR_OK && h->n_head % h->n_head_kv != 0)
        r->code = tsr_fail(r->err, TSR_E_FORMAT, "%s.attention.head_count %lld is no multiple of head_count_kv %lld", r->arch,
                           (long long)h->n_head, (long long)h->n_head_kv);
    int64_t head = r->code == TSR_OK && h->n_embd % h->n_head == 0 ? h->n_embd / h->n_head : 0;
    h->head_k = opt_int(r, "attention.key_length", 1, 1 << 14, head);
    h->head_v = opt_int(r, "attention.value_length", 1, 1 << 14, head);
    if (r->code == TSR_OK && (h->head_k == 0 || h->head_v == 0))
        r->code = tsr_fail(r->err, TSR_E_FORMAT,
                           "%s.embedding_length %lld is no multiple of head_count %lld, and key_length or value_length is missing",
                           r->arch, (long long)h->n_embd, (long long)h->n_head);
    h->n_rot = opt_int(r, "rope.dimension_count", 0, h->head_k, h->head_k);
    if (r->code == TSR_OK && h->n_rot % 2)
        r->code = tsr_fail(r->err, TSR_E_FORMAT, "%s.rope.dimension_count %lld is odd", r->arch, (long long)h->n_rot);
    /* Gemma 3 27B (the one with 62 layers) scales by its nominal head size, not by key_length (model report, 2025). */
    bool nominal = h->arch->scale_embedding && h->n_layer == 62 && head > 0;
    float scale = 1.0f / sqrtf((float)(nominal ? head : h->head_k > 0 ? h->head_k : 1));
    h->attn_scale = opt_f32(r, "attention.scale", 1e-6f, 1e6f, 0.0f);
    if (h->attn_scale == 0.0f) h->attn_scale = scale;
    h->attn_softcap = opt_f32(r, "attn_logit_softcapping", 0.0f, 1e9f, 0.0f);
    h->final_softcap = opt_f32(r, "final_logit_softcapping", 0.0f, 1e9f, 0.0f);
}

tsr_code tsr_hparams_read(const tsr_gguf *g, int64_t n_vocab, tsr_hparams *h, tsr_error *err) {
    *h = (tsr_hparams){0};
    tsr_str name = {NULL, 0};
    tsr_code code = tsr_gguf_opt_str(g, "general.architecture", &name, err);
    if (code != TSR_OK) return code;
    if (!name.s) return tsr_fail(err, TSR_E_FORMAT, "general.architecture is missing: this file holds no language model");
    h->arch = tsr_arch_find(name.s, name.n, err);
    if (!h->arch) return TSR_E_UNSUPPORTED;

    reader r = {.g = g, .arch = h->arch->name, .err = err};
    h->n_vocab = n_vocab;
    int64_t declared = opt_int(&r, "vocab_size", 1, 1 << 28, n_vocab);
    if (r.code == TSR_OK && declared != n_vocab)
        r.code = tsr_fail(err, TSR_E_FORMAT, "%s.vocab_size is %lld, but the tokenizer has %lld tokens", r.arch, (long long)declared,
                          (long long)n_vocab);
    h->n_layer = need_int(&r, "block_count", 1, TSR_MAX_LAYERS);
    h->n_embd = need_int(&r, "embedding_length", 1, 1 << 20);
    h->n_ctx_train = need_int(&r, "context_length", 1, 1ll << 32);
    h->n_ff = r.code == TSR_OK ? uniform_int(&r, "feed_forward_length", 1, 1 << 24, h->n_layer, 0) : 0;
    if (r.code == TSR_OK && !tsr_gguf_find(g, full_key(&r, "attention.layer_norm_rms_epsilon")))
        r.code = tsr_fail(err, TSR_E_FORMAT, "%s is missing; the file is no complete language model", r.key);
    h->norm_eps = opt_f32(&r, "attention.layer_norm_rms_epsilon", 0.0f, 1.0f, 0.0f);
    read_attention(&r, h);
    if (r.code == TSR_OK) read_window(&r, h);
    if (r.code == TSR_OK) read_experts(&r, h);
    if (r.code == TSR_OK && h->n_expert == 0 && h->n_ff == 0)
        r.code = tsr_fail(err, TSR_E_FORMAT, "%s.feed_forward_length is missing", r.arch);
    if (r.code == TSR_OK) read_rope(&r, h);
    h->embd_scale = h->arch->scale_embedding ? sqrtf((float)h->n_embd) : 1.0f;
    return r.code;
}
