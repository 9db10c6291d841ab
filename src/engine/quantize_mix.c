/* quantize_mix.c: which tensor gets which format. The rules are those that llama.cpp's quantiser made customary (facts
 * taken from llama-quant.cpp: names, file type numbers, which tensors get more bits), without its special cases for
 * Falcon and for importance matrices. */
#include "engine/quantize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Values of general.file_type (gguf.constants.LlamaFileType). */
enum {
    FT_F32 = 0,
    FT_F16 = 1,
    FT_Q4_0 = 2,
    FT_Q4_1 = 3,
    FT_Q8_0 = 7,
    FT_Q5_0 = 8,
    FT_Q5_1 = 9,
    FT_Q2_K = 10,
    FT_Q3_K_S = 11,
    FT_Q3_K_M = 12,
    FT_Q3_K_L = 13,
    FT_Q4_K_S = 14,
    FT_Q4_K_M = 15,
    FT_Q5_K_S = 16,
    FT_Q5_K_M = 17,
    FT_Q6_K = 18,
    FT_Q2_K_S = 21,
    FT_IQ4_NL = 25,
    FT_IQ4_XS = 30,
    FT_BF16 = 32,
    FT_MXFP4_MOE = 38,
};

static const tsr_mix mixes[] = {
    {"Q2_K", "2.6 bits; attn_v, attn_output, ffn_down in Q3_K, output in Q6_K; for want of memory only", TSR_Q2_K,
     FT_Q2_K},
    {"Q2_K_S", "2.6 bits; like Q2_K, less of it in more bits", TSR_Q2_K, FT_Q2_K_S},
    {"Q3_K_S", "3.4 bits everywhere, output in Q6_K", TSR_Q3_K, FT_Q3_K_S},
    {"Q3_K_M", "3.4 bits; attn_v, attn_output, ffn_down in Q4_K or Q5_K, output in Q6_K", TSR_Q3_K, FT_Q3_K_M},
    {"Q3_K_L", "3.4 bits; attn_v, attn_output, ffn_down in Q5_K, output in Q6_K", TSR_Q3_K, FT_Q3_K_L},
    {"Q3_K", "the same as Q3_K_M", TSR_Q3_K, FT_Q3_K_M},
    {"IQ4_XS", "4.25 bits, uneven steps; output in Q6_K", TSR_IQ4_XS, FT_IQ4_XS},
    {"IQ4_NL", "4.5 bits, uneven steps; output in Q6_K", TSR_IQ4_NL, FT_IQ4_NL},
    {"Q4_0", "4.5 bits, one scale per 32; output in Q6_K", TSR_Q4_0, FT_Q4_0},
    {"Q4_1", "5 bits, scale and minimum per 32; output in Q6_K", TSR_Q4_1, FT_Q4_1},
    {"Q4_K_S", "4.5 bits; first layers' attn_v and ffn_down in Q5_K, output in Q6_K", TSR_Q4_K, FT_Q4_K_S},
    {"Q4_K_M", "4.5 bits; half of attn_v and ffn_down in Q6_K, output in Q6_K; a good default", TSR_Q4_K, FT_Q4_K_M},
    {"Q4_K", "the same as Q4_K_M", TSR_Q4_K, FT_Q4_K_M},
    {"MXFP4_MOE", "4.25 bits (OCP MX) for experts, Q8_0 for the rest", TSR_MXFP4, FT_MXFP4_MOE},
    {"MXFP4", "the same as MXFP4_MOE", TSR_MXFP4, FT_MXFP4_MOE},
    {"Q5_0", "5.5 bits, one scale per 32; output in Q6_K", TSR_Q5_0, FT_Q5_0},
    {"Q5_1", "6 bits, scale and minimum per 32; output in Q6_K", TSR_Q5_1, FT_Q5_1},
    {"Q5_K_S", "5.5 bits everywhere, output in Q6_K", TSR_Q5_K, FT_Q5_K_S},
    {"Q5_K_M", "5.5 bits; half of attn_v and ffn_down in Q6_K, output in Q6_K", TSR_Q5_K, FT_Q5_K_M},
    {"Q5_K", "the same as Q5_K_M", TSR_Q5_K, FT_Q5_K_M},
    {"Q6_K", "6.6 bits", TSR_Q6_K, FT_Q6_K},
    {"Q8_0", "8.5 bits; practically lossless", TSR_Q8_0, FT_Q8_0},
    {"F16", "16 bits, IEEE half precision", TSR_F16, FT_F16},
    {"BF16", "16 bits, bfloat16", TSR_BF16, FT_BF16},
    {"F32", "32 bits", TSR_F32, FT_F32},
};

const tsr_mix *tsr_mix_get(size_t i) { return i < sizeof mixes / sizeof *mixes ? &mixes[i] : NULL; }

const tsr_mix *tsr_mix_find(const char *name) {
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++)
        if (strcasecmp(mixes[i].name, name) == 0) return &mixes[i];
    return NULL;
}

/* -------------------------------------------------------------------------------------------------- the model */

int tsr_tensor_layer(const char *name) {
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9') return -1;
    char *end;
    long n = strtol(name + 4, &end, 10);
    return *end == '.' && n < TSR_LAYER_MAX ? (int)n : -1;
}

static bool has(const char *name, const char *part) { return strstr(name, part) != NULL; }

/* ARCH.key as a number; of an array (one a layer) the first. def when it is missing or out of range. */
static int model_int(const tsr_gguf *g, const char *key, int def) {
    tsr_str arch = {0};
    char full[256];
    if (tsr_gguf_opt_str(g, "general.architecture", &arch, NULL) != TSR_OK || arch.n == 0 || arch.n > 100) return def;
    snprintf(full, sizeof full, "%.*s.%s", (int)arch.n, arch.s, key);
    const tsr_gguf_kv *kv = tsr_gguf_find(g, full);
    if (!kv || kv->n == 0) return def;
    tsr_gguf_vtype type = kv->type == TSR_GGUF_ARRAY ? kv->elem : kv->type;
    if (type == TSR_GGUF_STRING) return def;
    int64_t v = tsr_gguf_int(kv, 0);
    return v >= 0 && v <= 65536 ? (int)v : def;
}

static bool is_attn_v(const char *name) {
    return has(name, "attn_v.weight") || has(name, "attn_qkv.weight") || has(name, "attn_kv_b.weight");
}

void tsr_mix_model_read(const tsr_gguf *g, tsr_mix_model *m) {
    *m = (tsr_mix_model){0};
    int last = -1;
    for (size_t i = 0; i < g->n_tensors; i++) {
        const char *name = g->tensors[i].name;
        int layer = tsr_tensor_layer(name);
        last = layer > last ? layer : last;
        m->n_attn_v += is_attn_v(name);
        m->has_output |= strcmp(name, "output.weight") == 0;
    }
    m->n_layer = model_int(g, "block_count", last + 1);
    m->n_expert = model_int(g, "expert_count", 0);
    int n_head = model_int(g, "attention.head_count", 0), n_head_kv = model_int(g, "attention.head_count_kv", n_head);
    m->n_gqa = n_head_kv > 0 ? n_head / n_head_kv : 0;
}

bool tsr_mix_applies(const tsr_gguf_tensor *t) {
    static const char *const keep[] = {
        "_norm.weight",
        "ffn_gate_inp.weight", /* norms, routers */
        "altup",
        "laurel",
        "per_layer_model_proj",
        "shortconv.conv.weight",
        "ssm_conv1d.weight",
        "position_embd.weight",
        "token_types.weight",
        "attn_rel_b.weight",
        "time_mix_first.weight",
        "time_mix_w0.weight",
        "time_mix_w1.weight",
        "time_mix_w2.weight",
        "time_mix_v0.weight",
        "time_mix_v1.weight",
        "time_mix_v2.weight",
        "time_mix_a0.weight",
        "time_mix_a1.weight",
        "time_mix_a2.weight",
        "time_mix_g1.weight",
        "time_mix_g2.weight",
        "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight",
    };
    size_t n = strlen(t->name);
    if (n < 6 || strcmp(t->name + n - 6, "weight") != 0) return false;
    if (t->ne[1] == 1 && t->ne[2] == 1 && t->ne[3] == 1) return false;
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++)
        if (has(t->name, keep[i])) return false;
    return true;
}

/* -------------------------------------------------------------------------------------------------- the rules */

/* The layers of the mixes "M" that get more bits: the first and last eighth, and every third between. */
static bool more_bits(int i, int n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

static tsr_type attn_v_type(const tsr_mix *mix, const tsr_mix_model *m, int i) {
    tsr_type type = mix->base;
    switch (mix->file_type) {
    case FT_Q2_K: type = m->n_gqa >= 4 ? TSR_Q4_K : TSR_Q3_K; break;
    case FT_Q2_K_S: type = m->n_gqa >= 4 ? TSR_Q4_K : TSR_Q2_K; break;
    case FT_Q3_K_M: type = i < 2 ? TSR_Q5_K : TSR_Q4_K; break;
    case FT_Q3_K_L: type = TSR_Q5_K; break;
    case FT_Q4_K_S: type = i < 4 ? TSR_Q5_K : TSR_Q4_K; break;
    case FT_Q4_K_M:
    case FT_Q5_K_M: type = more_bits(i, m->n_attn_v) ? TSR_Q6_K : mix->base; break;
    case FT_IQ4_NL:
    case FT_IQ4_XS: type = m->n_gqa >= 4 ? TSR_Q5_K : mix->base; break;
    }
    /* The 70B models: 8 heads share this matrix, which is small beside the others. */
    if (m->n_layer == 80 && m->n_gqa >= 8 && (type == TSR_Q3_K || type == TSR_Q4_K)) type = TSR_Q5_K;
    return m->n_expert == 8 ? TSR_Q8_0 : type;
}

static tsr_type ffn_down_type(const tsr_mix *mix, const tsr_mix_model *m, int layer) {
    int n = m->n_layer;
    bool early = layer < n / 8;
    switch (mix->file_type) {
    case FT_Q2_K: return TSR_Q3_K;
    case FT_Q2_K_S: return early ? TSR_Q4_K : TSR_Q2_K;
    case FT_Q3_K_M: return layer < n / 16 ? TSR_Q5_K : TSR_Q4_K;
    case FT_Q3_K_L: return TSR_Q5_K;
    case FT_Q4_K_S: return early ? TSR_Q5_K : TSR_Q4_K;
    case FT_Q4_K_M:
    case FT_Q5_K_M: return more_bits(layer, n) ? TSR_Q6_K : mix->base;
    case FT_IQ4_NL:
    case FT_IQ4_XS: return early ? TSR_Q5_K : mix->base;
    }
    return mix->base;
}

static tsr_type attn_output_type(const tsr_mix *mix, const tsr_mix_model *m) {
    bool experts = m->n_expert == 8;
    switch (mix->file_type) {
    case FT_Q2_K: return experts ? TSR_Q5_K : TSR_Q3_K;
    case FT_Q3_K_M: return experts ? TSR_Q5_K : TSR_Q4_K;
    case FT_Q3_K_L: return experts ? TSR_Q3_K : TSR_Q5_K;
    case FT_Q3_K_S:
    case FT_Q4_K_S:
    case FT_Q4_K_M:
    case FT_IQ4_NL:
    case FT_IQ4_XS: return experts ? TSR_Q5_K : mix->base;
    }
    return mix->base;
}

static tsr_type attn_qkv_type(const tsr_mix *mix) {
    switch (mix->file_type) {
    case FT_Q3_K_M:
    case FT_Q3_K_L: return TSR_Q4_K;
    case FT_Q4_K_M: return TSR_Q5_K;
    case FT_Q5_K_M: return TSR_Q6_K;
    }
    return mix->base;
}

static tsr_type output_type(const tsr_mix *mix, const tsr_gguf_tensor *t) {
    bool fits = t->ne[0] % tsr_type_get(mix->base)->block_elems == 0;
    return mix->file_type == FT_MXFP4_MOE || mix->base == TSR_Q8_0 || !fits ? TSR_Q8_0 : TSR_Q6_K;
}

/* Smaller blocks, about the same quality. */
static tsr_type fall_back(tsr_type type, int64_t ne0) {
    if (ne0 % tsr_type_get(type)->block_elems == 0) return type;
    switch (type) {
    case TSR_Q2_K:
    case TSR_Q3_K:
    case TSR_IQ4_XS: type = TSR_IQ4_NL; break;
    case TSR_Q4_K: type = TSR_Q5_0; break;
    case TSR_Q5_K: type = TSR_Q5_1; break;
    case TSR_Q6_K: type = TSR_Q8_0; break;
    default: break;
    }
    return ne0 % tsr_type_get(type)->block_elems == 0 ? type : TSR_F16;
}

tsr_type tsr_mix_type(const tsr_mix *mix, const tsr_mix_model *m, const tsr_gguf_tensor *t, int i_attn_v) {
    const char *name = t->name;
    if (tsr_type_get(mix->base)->block_elems == 1) return mix->base;
    tsr_type type = mix->base;
    if (strcmp(name, "output.weight") == 0 || (!m->has_output && strcmp(name, "token_embd.weight") == 0))
        type = output_type(mix, t);
    else if (mix->file_type == FT_MXFP4_MOE)
        type = t->ne[2] > 1 ? TSR_MXFP4 : TSR_Q8_0;
    else if (has(name, "attn_v.weight"))
        type = attn_v_type(mix, m, i_attn_v);
    else if (has(name, "attn_k.weight"))
        type = m->n_expert == 8 ? TSR_Q8_0 : mix->base;
    else if (has(name, "ffn_down"))
        type = ffn_down_type(mix, m, tsr_tensor_layer(name));
    else if (has(name, "attn_output.weight"))
        type = attn_output_type(mix, m);
    else if (has(name, "attn_qkv.weight"))
        type = attn_qkv_type(mix);
    return fall_back(type, t->ne[0]);
}
