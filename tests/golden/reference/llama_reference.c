/* llama_reference.c: evaluates a text with llama.cpp and writes the JSON of tests/golden: `tokens`, `top` (the 20 most likely next
 * tokens of every position as [id, ln p]), `nll_mean`, and `greedy` (48 tokens appended to the first 64).
 *
 *   llama_reference MODEL.gguf TEXT OUT.json
 *
 * f32 KV cache, flash attention off, weights not repacked. See make_reference.sh. */
#include "llama.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 512, TOP = 20, GREEDY_PROMPT = 64, GREEDY = 48, MAX_TOKENS = 2048 };

static void quiet(enum ggml_log_level level, const char *text, void *user) {
    (void)user;
    if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static void die(const char *what) {
    fprintf(stderr, "llama_reference: %s\n", what);
    exit(1);
}

static struct llama_context *open_context(struct llama_model *model) {
    struct llama_context_params p = llama_context_default_params();
    p.n_ctx = MAX_TOKENS;
    p.n_batch = p.n_ubatch = BATCH;
    p.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    p.type_k = p.type_v = GGML_TYPE_F32;
    struct llama_context *c = llama_init_from_model(model, p);
    if (!c) die("cannot open a context");
    return c;
}

/* Logits of all n tokens at positions pos.. */
static void decode(struct llama_context *c, const llama_token *tokens, int n, int pos) {
    struct llama_batch b = llama_batch_init(n, 0, 1);
    b.n_tokens = n;
    for (int i = 0; i < n; i++) {
        b.token[i] = tokens[i];
        b.pos[i] = pos + i;
        b.n_seq_id[i] = 1;
        b.seq_id[i][0] = 0;
        b.logits[i] = 1;
    }
    if (llama_decode(c, b) != 0) die("llama_decode failed");
    llama_batch_free(b);
}

static int best(const float *logits, int n) {
    int at = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[at]) at = i;
    return at;
}

static double log_sum_exp(const float *logits, int n) {
    double max = logits[best(logits, n)], sum = 0.0;
    for (int i = 0; i < n; i++) sum += exp(logits[i] - max);
    return max + log(sum);
}

static void print_top(FILE *out, const float *logits, int n_vocab, double lse) {
    float *copy = malloc((size_t)n_vocab * sizeof *copy);
    memcpy(copy, logits, (size_t)n_vocab * sizeof *copy);
    for (int k = 0; k < TOP; k++) {
        int i = best(copy, n_vocab);
        fprintf(out, "%s[%d,%.5f]", k ? "," : "[", i, copy[i] - lse);
        copy[i] = -INFINITY;
    }
    fputc(']', out);
    free(copy);
}

static void print_positions(FILE *out, struct llama_context *c, const llama_token *tokens, int n, int n_vocab) {
    double nll = 0.0;
    fprintf(out, ",\"top\":[");
    for (int done = 0; done < n; done += BATCH) {
        int m = n - done < BATCH ? n - done : BATCH;
        decode(c, tokens + done, m, done);
        for (int i = 0; i < m; i++) {
            const float *logits = llama_get_logits_ith(c, i);
            double lse = log_sum_exp(logits, n_vocab);
            if (done + i > 0) fputc(',', out);
            print_top(out, logits, n_vocab, lse);
            if (done + i + 1 < n) nll -= logits[tokens[done + i + 1]] - lse;
        }
    }
    fprintf(out, "],\"nll_mean\":%.6f", nll / (n - 1));
}

static void print_greedy(FILE *out, struct llama_context *c, const llama_token *tokens, int n, int n_vocab) {
    int m = n < GREEDY_PROMPT ? n : GREEDY_PROMPT;
    decode(c, tokens, m, 0);
    llama_token next = best(llama_get_logits_ith(c, m - 1), n_vocab);
    fprintf(out, ",\"greedy\":[%d", next);
    for (int i = 1; i < GREEDY; i++) {
        decode(c, &next, 1, m + i - 1);
        next = best(llama_get_logits_ith(c, 0), n_vocab);
        fprintf(out, ",%d", next);
    }
    fputc(']', out);
}

int main(int argc, char **argv) {
    if (argc != 4) die("usage: llama_reference MODEL.gguf TEXT OUT.json");
    llama_log_set(quiet, NULL);
    struct llama_model_params mp = llama_model_default_params();
    mp.use_extra_bufts = false;
    struct llama_model *model = llama_model_load_from_file(argv[1], mp);
    if (!model) die("cannot load the model");
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    static char text[1 << 16];
    FILE *in = fopen(argv[2], "rb");
    if (!in) die("cannot read the text");
    int length = (int)fread(text, 1, sizeof text, in);
    fclose(in);
    static llama_token tokens[MAX_TOKENS];
    int n = llama_tokenize(vocab, text, length, tokens, MAX_TOKENS, true, true), n_vocab = llama_vocab_n_tokens(vocab);
    if (n <= 0) die("cannot tokenize the text");

    FILE *out = fopen(argv[3], "w");
    if (!out) die("cannot write the output");
    fprintf(out, "{\"tokens\":[");
    for (int i = 0; i < n; i++) fprintf(out, "%s%d", i ? "," : "", tokens[i]);
    fputc(']', out);
    struct llama_context *c = open_context(model);
    print_positions(out, c, tokens, n, n_vocab);
    llama_free(c);
    c = open_context(model);
    print_greedy(out, c, tokens, n, n_vocab);
    llama_free(c);
    fprintf(out, "}\n");
    llama_model_free(model);
    return fclose(out) != 0;
}
