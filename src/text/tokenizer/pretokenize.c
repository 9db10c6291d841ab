#include "text/tokenizer/pretokenize.h"

#include "core/buf.h"
#include "core/utf8.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define MAX_STAGES 6

/* The tokenizer.json patterns are written for Oniguruma, whose \s is exactly Unicode's White_Space. PCRE2's \s would
 * add U+180E, so the class is spelled out: WS goes inside brackets, SPACES is \s+(?!\S)|\s+, which leaves the last
 * space of a run to the word behind it. */
#define WS          "\\t-\\r\\x{85}\\p{Z}"
#define SPACES      "[" WS "]+(?![^" WS "])|[" WS "]+"
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

/* GPT-2's pattern, which the ByteLevel pre-tokenizer applies by itself. */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|" SPACES
/* The cl100k family: Llama 3 takes up to three digits a word, Qwen2 one. */
#define CL100K_TAIL "| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|" SPACES
#define LLAMA3      CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" CL100K_TAIL
#define QWEN2       CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" CL100K_TAIL
/* Letters, marks included; of those, what may stand in the upper and lower half of a capitalised word. */
#define QWEN35                                                                                                         \
    CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" WS "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*"                \
                "|[" WS "]*[\\r\\n]+|" SPACES
#define UPPER      "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER      "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define O200K_TAIL "| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n/]*|[" WS "]*[\\r\\n]+|" SPACES
#define CASED(suffix)                                                                                                  \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" suffix "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" suffix

#define DEEPSEEK_LETTERS                                                                                               \
    "A-Za-z"                                                                                                           \
    "\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}\\x{295}-\\x{2af}"         \
    "\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}"                      \
    "\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}"         \
    "\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}"                  \
    "\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}"                  \
    "\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}"          \
    "\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}"         \
    "\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}"          \
    "\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}"                    \
    "\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}"          \
    "\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"                   \
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}"                  \
    "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}"            \
    "\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"
#define DEEPSEEK_CJK "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"

/* What a word may look like, in stages: each cuts what the one before left whole or found; NULL ends the list. */
static const char *const gpt2[] = {GPT2, NULL};
static const char *const digit_gpt2[] = {"\\p{N}", GPT2, NULL};
static const char *const llama3[] = {LLAMA3, NULL};
static const char *const qwen2[] = {QWEN2, NULL};
static const char *const qwen35[] = {QWEN35, NULL};
static const char *const tekken[] = {CASED("") "|\\p{N}" O200K_TAIL, NULL};
static const char *const gpt4o[] = {CASED(CONTRACTION "?") "|\\p{N}{1,3}" O200K_TAIL, NULL};
static const char *const falcon[] = {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9]+", "[0-9][0-9][0-9]", NULL};
/* For files without tokenizer.ggml.pre: llama.cpp's pattern, which such files were made with. */
static const char *const unnamed[] = {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]", NULL};
static const char *const deepseek_llm[] = {
    "[\\r\\n]",
    "[" WS "]?[" DEEPSEEK_LETTERS "]+",
    "[" WS "]?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
    "(?<![" WS "])[" WS "]++\\z", /* \s+$, told where a run begins so that it is not tried at each space of it */
    DEEPSEEK_CJK,
    "\\p{N}+",
    NULL};
static const char *const deepseek_coder[] = {"[\\r\\n]",   "[" WS "]?\\p{L}+", "[" WS "]?\\p{P}+",
                                             DEEPSEEK_CJK, "\\p{N}",           NULL};
static const char *const deepseek_v3[] = {
    "\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+[\\r\\n]*"
    "|[" WS "]*[\\r\\n]+|" SPACES,
    NULL};
static const char *const bloom[] = {" ?[^(" WS "|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+",
                                    NULL};
static const char *const viking[] = {" ?[^(" WS "|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+",
                                     "\\p{N}", NULL};
static const char *const bailing[] = {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^" WS
                                      "\\p{L}\\p{N}]++[\\r\\n]*|[" WS "]*[\\r\\n]|" SPACES,
                                      NULL};
static const char *const seed_coder[] = {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^" WS
                                                     "\\p{L}\\p{N}\\r\\n]+|[" WS "]*[\\r\\n]+|" SPACES,
                                         NULL};

typedef struct known {
    const char *name;
    const char *const *stages;
    bool ignore_merges, add_bos;
} known;

static const known known_names[] = {
    {"default", unnamed, false, false},
    {"gpt-2", gpt2, false, false},
    {"gpt2", gpt2, false, false},
    {"phi-2", gpt2, false, false},
    {"mpt", gpt2, false, false},
    {"olmo", gpt2, false, false},
    {"jais", gpt2, false, false},
    {"trillion", gpt2, false, false},
    {"gigachat", gpt2, false, false},
    {"modern-bert", gpt2, false, false},
    {"roberta-bpe", gpt2, false, false},
    {"jina-es", gpt2, false, false},
    {"jina-de", gpt2, false, false},
    {"jina-v1-en", gpt2, false, false},
    {"jina-v2-es", gpt2, false, false},
    {"jina-v2-de", gpt2, false, false},
    {"jina-v2-code", gpt2, false, false},
    {"exaone4", gpt2, false, false},
    {"granite-docling", gpt2, false, false},
    {"mellum", gpt2, false, false},
    {"a.x-4.0", gpt2, false, false},
    {"smollm", digit_gpt2, false, false},
    {"starcoder", digit_gpt2, false, false},
    {"refact", digit_gpt2, false, false},
    {"command-r", digit_gpt2, false, false},
    {"codeshell", digit_gpt2, false, false},
    {"exaone", digit_gpt2, false, false},
    {"minerva-7b", digit_gpt2, false, false},
    {"mellum2", digit_gpt2, false, false},
    {"llama-bpe", llama3, true, true},
    {"llama3", llama3, true, true},
    {"llama-v3", llama3, true, true},
    {"falcon3", llama3, true, true},
    {"falcon-h1", llama3, true, true},
    {"pixtral", llama3, true, true},
    {"midm-2.0", llama3, true, true},
    {"lfm2", llama3, true, true},
    {"jina-v5-nano", llama3, true, true},
    {"dbrx", llama3, false, false},
    {"smaug-bpe", llama3, false, false},
    {"chatglm-bpe", llama3, false, false},
    {"glm4", llama3, true, false},
    {"glm5", llama3, true, false},
    {"qwen2", qwen2, false, false},
    {"deepseek-r1-qwen", qwen2, false, false},
    {"stablelm2", qwen2, false, false},
    {"hunyuan", qwen2, false, false},
    {"megrez", qwen2, false, false},
    {"grok-2", qwen2, false, false},
    {"solar-open", qwen2, false, false},
    {"kormo", qwen2, false, false},
    {"f2llmv2", qwen2, false, false},
    {"qwen35", qwen35, false, false},
    {"tekken", tekken, true, true},
    {"gpt-4o", gpt4o, false, false},
    {"llama4", gpt4o, false, false},
    {"kanana2", gpt4o, false, false},
    {"minimax-m2", gpt4o, false, false},
    {"falcon", falcon, false, false},
    {"deepseek-llm", deepseek_llm, false, false},
    {"deepseek-coder", deepseek_coder, false, false},
    {"deepseek-v3", deepseek_v3, false, false},
    {"hunyuan-dense", deepseek_v3, false, false},
    {"joyai-llm", deepseek_v3, false, false},
    {"bloom", bloom, false, false},
    {"gpt3-finnish", bloom, false, false},
    {"poro-chat", bloom, false, false},
    {"viking", viking, false, false},
    {"bailingmoe", bailing, false, false},
    {"bailingmoe2", bailing, false, false},
    {"llada-moe", bailing, false, false},
    {"seed-coder", seed_coder, false, false},
};

struct tsr_pretokenizer {
    const known *kind;
    int n_stages;
    pcre2_code *stages[MAX_STAGES];
};

const char *tsr_pretokenizer_name(size_t i) {
    return i < sizeof known_names / sizeof *known_names ? known_names[i].name : NULL;
}

static const known *find(const char *name, size_t n) {
    for (size_t i = 0; i < sizeof known_names / sizeof *known_names; i++)
        if (strlen(known_names[i].name) == n && memcmp(known_names[i].name, name, n) == 0) return &known_names[i];
    return NULL;
}

static tsr_code fail_unknown(const char *name, size_t n, tsr_error *err) {
    tsr_buf list = {0};
    for (size_t i = 0; tsr_pretokenizer_name(i); i++)
        tsr_buf_printf(&list, "%s%s", i ? " " : "", tsr_pretokenizer_name(i));
    char shown[64];
    tsr_fail(err, TSR_E_UNSUPPORTED, "tokenizer.ggml.pre: unknown pre-tokenizer \"%s\"; known are: %s",
             tsr_printable(name, n, shown, sizeof shown), list.oom ? "" : list.data);
    tsr_buf_free(&list);
    return TSR_E_UNSUPPORTED;
}

tsr_pretokenizer *tsr_pretokenizer_open(const char *name, size_t n, tsr_error *err) {
    const known *kind = find(name, n);
    if (!kind) {
        fail_unknown(name, n, err);
        return NULL;
    }
    tsr_pretokenizer *p = calloc(1, sizeof *p);
    if (!p) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory for pre-tokenizer \"%s\"", kind->name);
        return NULL;
    }
    p->kind = kind;
    for (; p->n_stages < MAX_STAGES && kind->stages[p->n_stages]; p->n_stages++) {
        const char *pattern = kind->stages[p->n_stages];
        int code;
        PCRE2_SIZE at;
        pcre2_code *re =
            pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
        if (!re) {
            PCRE2_UCHAR text[256];
            pcre2_get_error_message(code, text, sizeof text);
            tsr_fail(err, TSR_E_UNSUPPORTED, "pre-tokenizer \"%s\": this PCRE2 cannot compile stage %d at %zu: %s",
                     kind->name, p->n_stages, (size_t)at, (const char *)text);
            tsr_pretokenizer_close(p);
            return NULL;
        }
        p->stages[p->n_stages] = re;
        /* Where executable memory is refused this fails and pcre2_match interprets: slower, same words. */
        (void)pcre2_jit_compile(re, PCRE2_JIT_COMPLETE);
    }
    return p;
}

void tsr_pretokenizer_close(tsr_pretokenizer *p) {
    if (!p) return;
    for (int i = 0; i < p->n_stages; i++) pcre2_code_free(p->stages[i]);
    free(p);
}

bool tsr_pretokenizer_ignores_merges(const tsr_pretokenizer *p) { return p->kind->ignore_merges; }
bool tsr_pretokenizer_adds_bos(const tsr_pretokenizer *p) { return p->kind->add_bos; }

/* One call of tsr_pretokenize. */
typedef struct run {
    const tsr_pretokenizer *p;
    pcre2_match_context *context;
    pcre2_match_data *data[MAX_STAGES];
    tsr_word_fn word;
    void *ctx;
    tsr_error *err;
} run;

/* Cuts s[0..n) with this and all later stages: what matches and what lies between matches each go on to the next. */
static tsr_code cut(run *r, int stage, const char *s, size_t n) {
    if (stage == r->p->n_stages) return r->word(r->ctx, s, n, r->err);
    size_t done = 0;
    while (done < n) {
        int rc =
            pcre2_match(r->p->stages[stage], (PCRE2_SPTR)s, n, done, PCRE2_NO_UTF_CHECK, r->data[stage], r->context);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0) {
            PCRE2_UCHAR text[128];
            pcre2_get_error_message(rc, text, sizeof text);
            return tsr_fail(r->err, rc == PCRE2_ERROR_NOMEMORY ? TSR_E_NOMEM : TSR_E_LIMIT,
                            "pre-tokenizer \"%s\" gave up on a text of %zu bytes: %s", r->p->kind->name, n,
                            (const char *)text);
        }
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(r->data[stage]);
        size_t begin = at[0], end = at[1]; /* no pattern matches the empty string: end > begin */
        tsr_code code = begin > done ? cut(r, stage + 1, s + done, begin - done) : TSR_OK;
        if (code == TSR_OK) code = cut(r, stage + 1, s + begin, end - begin);
        if (code != TSR_OK) return code;
        done = end;
    }
    return done < n ? cut(r, stage + 1, s + done, n - done) : TSR_OK;
}

tsr_code tsr_pretokenize(const tsr_pretokenizer *p, const char *s, size_t n, tsr_word_fn word, void *ctx,
                         tsr_error *err) {
    run r = {.p = p, .word = word, .ctx = ctx, .err = err};
    tsr_code code = TSR_OK;
    r.context = pcre2_match_context_create(NULL);
    bool ok = r.context != NULL;
    for (int i = 0; ok && i < p->n_stages; i++) ok = (r.data[i] = pcre2_match_data_create(1, NULL)) != NULL;
    if (!ok) code = tsr_fail(err, TSR_E_NOMEM, "out of memory while cutting a text into words");
    /* Backtracking is at most linear in the text for each of the patterns above; the limit is there to prove it. */
    if (ok) pcre2_set_match_limit(r.context, n < UINT32_MAX / 16 ? (uint32_t)(16 * n + 1000000) : UINT32_MAX);
    for (size_t i = 0; i < n && code == TSR_OK;) {
        size_t valid = tsr_utf8_valid_prefix(s + i, n - i), end = i + valid;
        if (valid) code = cut(&r, 0, s + i, valid);
        while (end < n && tsr_utf8_valid_prefix(s + end, n - end < 4 ? n - end : 4) == 0) end++;
        if (code == TSR_OK && end > i + valid) code = word(ctx, s + i + valid, end - i - valid, err);
        i = end;
    }
    for (int i = 0; i < p->n_stages; i++) pcre2_match_data_free(r.data[i]);
    pcre2_match_context_free(r.context);
    return code;
}
