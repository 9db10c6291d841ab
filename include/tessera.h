/* tessera.h: run quantised language models (GGUF files) on x86 CPUs.
 *
 *   model (weights + tokenizer, read-only, shareable)  ->  session (KV cache of one sequence)  ->  sampler
 *
 * Conventions
 *   - Functions that can fail return a tsr_code (TSR_OK is 0) or a pointer (NULL on failure), and describe the
 *     failure in *err when err is not NULL. The library never prints, exits, or raises signals.
 *   - Strings are UTF-8. `const char *` results belong to the object they came from; `char **out` results are
 *     the caller's, to be released with tsr_free().
 *   - A model may be used by several threads at once; a session or a sampler by one at a time.
 */
#ifndef TESSERA_H
#define TESSERA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ errors */

typedef enum tsr_code {
    TSR_OK = 0,
    TSR_E_ARG,         /* the caller passed something that makes no sense */
    TSR_E_NOMEM,       /* out of memory */
    TSR_E_IO,          /* the operating system refused: open, read, map, write */
    TSR_E_FORMAT,      /* the file is not what it claims to be */
    TSR_E_UNSUPPORTED, /* well-formed, but of a kind Tessera does not know */
    TSR_E_LIMIT,       /* does not fit: context full, value out of range */
    TSR_E_TEMPLATE,    /* the chat template is broken, or raised an exception */
    TSR_E_CANCELLED,   /* tsr_session_cancel() or a callback asked to stop */
} tsr_code;
typedef struct tsr_error {
    tsr_code code;
    char message[1024]; /* one line: what is wrong (file, tensor, value) and what to do */
} tsr_error;
const char *tsr_version(void);
const char *tsr_code_name(tsr_code code); /* "ok", "argument", ... */
void tsr_free(void *p);                   /* releases what a `char **out` or `tsr_token **out` returned */

/* Called during long work, at most some 20 times a second, and once with done == total at the end.
 * Units are bytes unless the function says otherwise. Return false to cancel. */
typedef bool (*tsr_progress_fn)(void *user, uint64_t done, uint64_t total);

/* ----------------------------------------------------------------------------------------------- machine */

typedef struct tsr_machine {
    char cpu[64];            /* brand string */
    const char *tier;        /* best tier this process can run: "scalar" "avx2" ... "amx" "amxfp16" */
    const char *features;    /* space-separated ISA extensions found, e.g. "avx2 fma f16c avx512f ... amx_int8" */
    int n_logical;           /* CPUs in this process's affinity mask */
    int n_physical;          /* distinct cores among them */
    double cgroup_cpus;      /* CPU quota of the cgroup, 0 = none */
    int n_threads_default;   /* what a session uses when told 0 */
    /* Asking for this is the first use of AMX in a process, as is opening a model with TSR_AMX_AUTO or _ON: SIGILL is caught for a moment, by a
     * handler that passes on what is not its own. */
    bool amx_usable;         /* AMX kernels work: CPU has tiles, kernel granted them, a product computed with them is right */
    const char *amx_reason;  /* why not, or "" */
    const char *topology;    /* "2 packages, 4 NUMA nodes, 4 L3 caches, 32 cores, 64 CPUs"; "" when built without hwloc */
} tsr_machine;
/* Asks the kernel for AMX tiles, once per process, if the CPU has them. */
void tsr_machine_get(tsr_machine *out);

/* What this machine offers and what stands in the way, one finding after the other (doc/doctor.md). */
typedef struct tsr_finding {
    const char *section, *name;   /* "memory", "available" */
    const char *text;             /* "18.5 GiB" */
    double number;                /* the same in bytes or as a count; NaN: it is no number */
    const char *problem, *advice; /* what is wrong and what to do about it, or ""; advice without a problem is worth knowing */
} tsr_finding;
typedef struct tsr_doctor tsr_doctor;
tsr_doctor *tsr_doctor_open(const char *cache_dir, tsr_error *err); /* cache_dir: NULL for the usual one; asks for AMX as tsr_machine_get */
void tsr_doctor_close(tsr_doctor *d);
bool tsr_doctor_finding(const tsr_doctor *d, size_t i, tsr_finding *out); /* i = 0 .. until false */

/* ------------------------------------------------------------------------------------------------- model */

typedef struct tsr_model tsr_model;
typedef enum tsr_amx {
    TSR_AMX_AUTO = 0, /* where the CPU has it, the kernel grants it and a self-test passes; else tsr_model_info.amx_note tells why not */
    TSR_AMX_ON,       /* must be used, or opening fails with the reason */
    TSR_AMX_OFF       /* no AMX instruction is executed and the kernel is not asked for tiles */
} tsr_amx;
/* Where weights lie on several NUMA nodes: anywhere; on all in turn; rows beside threads; copies (doc/numa.md). */
typedef enum tsr_numa { TSR_NUMA_NONE = 0, TSR_NUMA_INTERLEAVE, TSR_NUMA_LOCAL, TSR_NUMA_MIRROR } tsr_numa;
typedef enum tsr_huge_pages { TSR_HUGE_PAGES_AUTO = 0, TSR_HUGE_PAGES_ON, TSR_HUGE_PAGES_OFF } tsr_huge_pages; /* on: or memory_note says why not */
typedef struct tsr_model_params {
    const char *cpu_tier;     /* force a kernel tier by name; NULL = the best */
    tsr_amx amx;
    bool no_mmap;             /* read the file into memory instead of mapping it */
    bool mlock;               /* lock the matrices in memory; fails with advice when the limit forbids it */
    bool no_packed;           /* matrices stay as the file has them and multiply in f32: slower, nothing rounded (doc/accuracy.md) */
    const char *const *tensor_buffers; /* "REGEX=host" or "REGEX=packed": matrices whose names match go there, the first that matches counts;
                               * ended by NULL. May be NULL */
    tsr_numa numa; /* fails when the kernel forbids it or, with local and mirror, a node has too little memory */
    tsr_huge_pages huge_pages; /* of weights in memory; on: nothing stays mapped */
    bool no_cache;            /* packed weights are neither taken from the disk nor kept there (doc/cache.md) */
    const char *cache_dir;    /* where they are kept; NULL: $XDG_CACHE_HOME/tessera/packed or ~/.cache/tessera/packed */
    uint64_t cache_limit;     /* bytes of all that is kept there; 0: the default */
    bool vocab_only;          /* only metadata and tokenizer; sessions cannot be opened */
    tsr_progress_fn progress; /* may be NULL */
    void *progress_user;
} tsr_model_params;
tsr_model_params tsr_model_params_default(void);
/* Opens a GGUF file (for a split model: its first file). params may be NULL. */
tsr_model *tsr_model_open(const char *path, const tsr_model_params *params, tsr_error *err);
void tsr_model_close(tsr_model *model); /* close its sessions and samplers first; NULL is fine */

typedef struct tsr_model_info {
    const char *name;          /* general.name, or "" */
    const char *architecture;  /* "llama", "qwen2", ... */
    const char *file_type;     /* most common weight format by bytes, e.g. "Q4_K" */
    const char *tokenizer;     /* "bpe (qwen2)", "spm", "unigram", "wordpiece" */
    const char *cpu_tier;      /* kernels in use */
    const char *amx_note;      /* why AMX is not used, or only in part, though this CPU has it; else "" */
    const char *buffer_note;   /* which tensor_buffers match nothing; else "" */
    const char *numa_note, *numa_place; /* why `numa` makes no difference here; where it put packed weights; else "" */
    const char *cpu;           /* brand string of this machine's CPU */
    const char *cache;         /* packed weights come "mapped" or "read" from the cache, were "packed" now, or "": there are none */
    const char *cache_note;    /* what was wrong with the cache, or "" */
    const char *memory_note;   /* why less is in huge pages than was asked for, or "" */
    uint64_t n_params, file_bytes, host_bytes, packed_bytes;
    int n_files;               /* > 1 for split models */
    int n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, n_ff, n_expert, n_expert_used;
    bool has_chat_template;
} tsr_model_info;
void tsr_model_get_info(const tsr_model *model, tsr_model_info *out);

/* Waits until the packed weights are in the cache, as tsr_model_close does; fails with the reason why they are not. progress may be NULL. */
tsr_code tsr_model_cache_wait(tsr_model *model, tsr_progress_fn progress, void *user, tsr_error *err);

/* Files of packed weights in a cache directory (NULL: the default). */
typedef struct tsr_cache_entry {
    const char *file, *model, *source, *problem; /* name in the directory; general.name and path of the model; "", or what is wrong with it */
    uint64_t bytes;
    int64_t created, used; /* seconds since 1970 */
    bool temporary, stale; /* being written, or left by a killed process; verify: its model is gone or changed */
} tsr_cache_entry;
typedef bool (*tsr_cache_fn)(void *user, const tsr_cache_entry *entry); /* false: enough */
/* All of them, the least recently used first; with verify, everything in them and their models is read and compared. */
tsr_code tsr_cache_visit(const char *dir, bool verify, tsr_cache_fn visit, void *user, tsr_error *err);
tsr_code tsr_cache_remove(const char *dir, const char *file, tsr_error *err);

/* Metadata key i of tsr_model_n_metadata(). *value is the caller's: scalars as text, strings as they are,
 * arrays as "[a, b, c, ...]" cut after max_items. NULL when i is out of range or memory is out. */
size_t tsr_model_n_metadata(const tsr_model *model);
const char *tsr_model_metadata(const tsr_model *model, size_t i, const char **type, char **value, size_t max_items);

typedef struct tsr_tensor_info {
    const char *name;
    const char *type;          /* "Q4_K", "F32", ... */
    int n_dims;
    int64_t ne[4];             /* ne[0] is the contiguous dimension (columns), as GGUF counts */
    uint64_t n_bytes;
    const char *buffer;        /* buffer type that holds it: "packed" or "host" */
    const char *layout;        /* "gguf", or the packed layout's name */
    const char *kernel;        /* the kernels that multiply it (for few rows, for many), or "-" */
    const char *reason;        /* why it is not in a faster buffer, or "" */
    uint64_t buffer_bytes;     /* that it takes there; n_bytes where it stays in the file's mapping */
} tsr_tensor_info;
size_t tsr_model_n_tensors(const tsr_model *model);
bool tsr_model_tensor(const tsr_model *model, size_t i, tsr_tensor_info *out);

/* ---------------------------------------------------------------------------------------------- tokenizer */

typedef int32_t tsr_token;
#define TSR_TOKEN_NONE (-1)

enum {
    TSR_ADD_SPECIAL = 1,   /* encode: add BOS / EOS as the model asks */
    TSR_PARSE_SPECIAL = 2, /* encode: "<|im_end|>" in the text becomes that token; else it stays text */
    TSR_RENDER_SPECIAL = 4 /* decode: write control tokens' text; else they yield nothing */
};

tsr_code tsr_tokenize(const tsr_model *model, const char *text, size_t n_bytes, unsigned flags,
                      tsr_token **out, size_t *n_out, tsr_error *err);
/* *out is NUL-terminated; *n_out (may be NULL) counts bytes without the NUL. */
tsr_code tsr_detokenize(const tsr_model *model, const tsr_token *tokens, size_t n, unsigned flags,
                        char **out, size_t *n_out, tsr_error *err);
/* Vocabulary entry as the file spells it; NULL when out of range. */
const char *tsr_token_text(const tsr_model *model, tsr_token token);
bool tsr_token_is_end(const tsr_model *model, tsr_token token); /* ends a generation: EOS, EOT, ... */
tsr_token tsr_token_bos(const tsr_model *model);                /* or TSR_TOKEN_NONE */
tsr_token tsr_token_eos(const tsr_model *model);

/* Streaming detokeniser: bytes come out only as whole UTF-8 characters. */
typedef struct tsr_stream tsr_stream;
tsr_stream *tsr_stream_open(const tsr_model *model, unsigned flags, tsr_error *err);
/* The returned bytes (maybe empty, NUL-terminated) live until the next call on the stream. */
const char *tsr_stream_push(tsr_stream *s, tsr_token token, size_t *n_bytes);
/* Ends the text: an incomplete trailing character comes out as U+FFFD. */
const char *tsr_stream_finish(tsr_stream *s, size_t *n_bytes);
void tsr_stream_close(tsr_stream *s);

/* Renders a conversation with the model's chat template. request_json:
 *   { "messages": [{"role": "user", "content": "..."}, ...], "tools": [...], "add_generation_prompt": true, ... }
 * further keys are passed to the template as variables. template_override may be NULL. */
tsr_code tsr_chat_render(const tsr_model *model, const char *request_json, const char *template_override,
                         char **out, tsr_error *err);

/* ------------------------------------------------------------------------------------------------ session */

typedef struct tsr_session tsr_session;

typedef enum tsr_kv_type { TSR_KV_F16 = 0, TSR_KV_F32, TSR_KV_BF16, TSR_KV_Q8_0 } tsr_kv_type;

typedef struct tsr_session_params {
    int n_ctx;            /* tokens the KV cache holds; 0 = the model's training context, at most 4096 */
    int n_batch;          /* tokens computed in one pass of a prompt; 0 = 512 */
    int n_threads;        /* 0 = physical cores this process may use; never more than its CPUs (doc/threads.md) */
    int n_threads_prompt; /* for more than 8 tokens in a pass; 0 = n_threads */
    tsr_kv_type kv_k, kv_v;
} tsr_session_params;
tsr_session_params tsr_session_params_default(void);
tsr_session *tsr_session_open(const tsr_model *model, const tsr_session_params *params, tsr_error *err);
void tsr_session_close(tsr_session *s);

typedef enum tsr_logits { TSR_LOGITS_NONE = 0, TSR_LOGITS_LAST, TSR_LOGITS_ALL } tsr_logits;

/* Appends n tokens to the sequence. With TSR_LOGITS_ALL, n must be <= n_batch.
 * On failure the sequence is as it was before the call. */
tsr_code tsr_session_eval(tsr_session *s, const tsr_token *tokens, size_t n, tsr_logits want, tsr_error *err);
/* One pass over tokens of several sessions of one model, each of which gets what tsr_session_eval would give it, at a fraction of the time: the
 * weights are read once for all. A session may occur once. Threads and working memory are the first session's, whose n_batch holds all tokens
 * together, and it is the one to cancel. On failure all sequences are as before. */
typedef struct tsr_batch_item {
    tsr_session *session;
    const tsr_token *tokens;
    size_t n;
    tsr_logits want;
} tsr_batch_item;
tsr_code tsr_session_eval_batch(const tsr_batch_item *items, size_t n_items, tsr_error *err);
/* Logits [n_vocab] of row i of the last eval: 0 for TSR_LOGITS_LAST, 0..n-1 for TSR_LOGITS_ALL; else NULL. */
const float *tsr_session_logits(const tsr_session *s, size_t i);
size_t tsr_session_length(const tsr_session *s);           /* tokens in the KV cache */
size_t tsr_session_capacity(const tsr_session *s);         /* n_ctx */
tsr_code tsr_session_truncate(tsr_session *s, size_t n_keep, tsr_error *err); /* forget all but the first n_keep */
/* Async-signal-safe: makes a running eval return TSR_E_CANCELLED soon. */
void tsr_session_cancel(tsr_session *s);

typedef struct tsr_session_stats {
    uint64_t n_prompt, n_generated;       /* tokens in evals of > 1 and of exactly 1 token, or of tsr_lookup_next */
    double prompt_seconds, generate_seconds;
    uint64_t kv_bytes, work_bytes;
    uint64_t n_jobs, n_barriers;          /* of the threads: jobs run together, and barriers inside them */
    int n_threads, n_threads_prompt;      /* in use */
} tsr_session_stats;
void tsr_session_get_stats(const tsr_session *s, tsr_session_stats *out);

/* Where the time of evals goes, by kind of operation. Counting starts at zero when it is switched on; it is off at first. */
typedef struct tsr_profile_entry {
    const char *name; /* "qkv", "attention", ... */
    double seconds;
    uint64_t calls;
} tsr_profile_entry;
void tsr_session_profile(tsr_session *s, bool on);
bool tsr_session_profile_entry(const tsr_session *s, size_t i, tsr_profile_entry *out); /* i = 0 .. until false */

/* What one pass over tokens must do at least: its speed is bound by the larger of ops / peak and bytes / bandwidth. */
typedef struct tsr_cost {
    double ops;                     /* of products and attention; a multiplication and an addition are 2 */
    double weight_bytes, kv_bytes;  /* weights as they lie in memory, each read once: of experts those that tokens choose (a mean) */
} tsr_cost;
/* Of n tokens at positions pos .. pos + n - 1, at most n_batch of them, with n_logits rows of logits. */
void tsr_session_cost(const tsr_session *s, size_t pos, size_t n, size_t n_logits, tsr_cost *out);

/* ------------------------------------------------------------------------------------------------ sampler */

typedef struct tsr_logit_bias { tsr_token token; float bias; } tsr_logit_bias; /* -INFINITY bans the token */

typedef struct tsr_sampler_params {
    uint64_t seed;                /* 0 = from the clock; tsr_sampler_seed() tells */
    float temperature;            /* <= 0: greedy */
    int top_k;                    /* <= 0: off */
    float top_p, min_p, typical_p; /* 1, 0, 1: off */
    int penalty_last_n;           /* tokens looked back at; 0: off; -1: all */
    float repeat_penalty;         /* 1: off */
    float presence_penalty, frequency_penalty; /* 0: off */
    float dry_multiplier, dry_base; /* multiplier 0: off */
    int dry_allowed_length, dry_last_n; /* dry_last_n 0: off, -1: all */
    const char *const *dry_breakers; /* n_dry_breakers strings; NULL = "\n" ":" "\"" "*" */
    size_t n_dry_breakers;
    int mirostat;                 /* 0: off; 2: Mirostat 2.0 (replaces top-k, top-p, min-p, typical) */
    float mirostat_tau, mirostat_eta;
    const tsr_logit_bias *logit_bias;
    size_t n_logit_bias;
} tsr_sampler_params;
/* Defaults: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, everything else off. */
tsr_sampler_params tsr_sampler_params_default(void);
typedef struct tsr_sampler tsr_sampler;
tsr_sampler *tsr_sampler_open(const tsr_model *model, const tsr_sampler_params *params, tsr_error *err);
void tsr_sampler_close(tsr_sampler *s);
/* Chooses from logits [n_vocab], which are only read. Fails when no token has a finite logit. */
tsr_code tsr_sampler_sample(tsr_sampler *s, const float *logits, tsr_token *out, tsr_error *err);
/* Tells the sampler of a token that is now part of the text (its own choice or the prompt's). */
tsr_code tsr_sampler_accept(tsr_sampler *s, tsr_token token, tsr_error *err);
void tsr_sampler_reset(tsr_sampler *s); /* forgets accepted tokens, restarts the random sequence */
uint64_t tsr_sampler_seed(const tsr_sampler *s);

/* ------------------------------------------------------------------------------------------- speculation */

/* Prompt lookup (Saxena 2023; doc/speculation.md): guesses the next tokens from where the text was like this before, and computes them in the
 * pass of the last one. What comes out is exactly what it would be without, sooner where a text repeats itself or its prompt. */
typedef struct tsr_lookup tsr_lookup;
/* max_draft: tokens of a guess, 1 to 7; 0: 7. How many pay is found out on the way. Close it before the session. */
tsr_lookup *tsr_lookup_open(tsr_session *session, int max_draft, tsr_error *err);
void tsr_lookup_close(tsr_lookup *l);
/* prompt[n]: the tokens that the session holds, with logits of the last. */
tsr_code tsr_lookup_begin(tsr_lookup *l, const tsr_token *prompt, size_t n, tsr_error *err);
/* The next token, which the sampler has chosen and accepted; the one before it has been evaluated. The session may be some tokens ahead of the
 * text until the next call: truncate it to what you keep before anything else is done with it, and begin again after that. */
tsr_code tsr_lookup_next(tsr_lookup *l, tsr_sampler *sampler, tsr_token *out, tsr_error *err);
typedef struct tsr_lookup_stats { uint64_t n_passes, n_drafted, n_accepted; } tsr_lookup_stats;
void tsr_lookup_get_stats(const tsr_lookup *l, tsr_lookup_stats *out);

/* ----------------------------------------------------------------------------------------------- quantise */

typedef struct tsr_quantize_params {
    const char *type;         /* a format ("Q4_0") or a mix ("Q4_K_M") */
    bool pure;                /* every matrix in exactly that format */
    bool requantize;          /* allow sources that are already quantised below 16 bits */
    int n_threads;
    tsr_progress_fn progress;
    void *progress_user;
    /* Told once per tensor, in file order. May be NULL. */
    void (*on_tensor)(void *user, const char *name, const char *from, const char *to, uint64_t bytes_in, uint64_t bytes_out);
    void *on_tensor_user;
} tsr_quantize_params;
tsr_quantize_params tsr_quantize_params_default(void);
/* Reads in_path (split files too), writes out_path through a temporary file that is renamed when complete. */
tsr_code tsr_quantize(const char *in_path, const char *out_path, const tsr_quantize_params *params, tsr_error *err);
/* Names that tsr_quantize_params.type takes, i = 0 .. until NULL; *description says what each is. */
const char *tsr_quantize_type(size_t i, const char **description);

/* ---------------------------------------------------------------------------------------------- benchmark */

/* Measures products of random weights, and in the same run what the hardware can do at most. Holds threads and the last
 * weights, which the next measurement uses again when they are the same. One thread at a time may use it. */
typedef struct tsr_bench tsr_bench;
typedef struct tsr_bench_params {
    const char *cpu_tier;     /* force a kernel tier by name; NULL = the best */
    tsr_amx amx;
    int n_threads;            /* 0 = physical cores this process may use */
    uint64_t max_memory;      /* bytes that may be in use; 0 = half of what is available */
} tsr_bench_params;
tsr_bench *tsr_bench_open(const tsr_bench_params *params, tsr_error *err); /* params may be NULL: all 0 */
void tsr_bench_close(tsr_bench *b);
const char *tsr_bench_amx_note(const tsr_bench *b); /* as tsr_model_info.amx_note */
/* Names of the weight formats that can be measured, i = 0 .. until NULL. */
const char *tsr_bench_type(size_t i);

/* y[m, n] = x[m, k] w[n, k]^T. With experts there are n_experts such w, each of m tokens takes n_used of them, and all products
 * are one call: min(m n_used, n_experts) matrices share the m n_used rows evenly. */
typedef struct tsr_bench_product {
    const char *type;         /* "Q4_K" */
    int64_t n, k, m;          /* 1 to 2^24, 2^24, 2^20 */
    int n_experts, n_used;    /* up to 4096; 0, 0: one matrix */
    bool host;                /* GGUF blocks times f32, instead of packed weights */
    int n_samples;            /* 0 = 5; fewer are taken when they would take more than some seconds */
    tsr_progress_fn progress; /* between samples, in samples; may be NULL */
    void *progress_user;
} tsr_bench_product;
/* A peak is what a loop of nothing but that arithmetic on registers, or of reading memory, reaches on the same threads
 * between the samples; 0: there is no such loop on this tier (16 bits), or no memory for it. Rates are per second. */
typedef struct tsr_bench_result {
    double seconds, seconds_best; /* of a call: median and least of the samples */
    int n_samples;
    int64_t n_computed;       /* outputs computed: less than n when a call would take seconds */
    int64_t n_rows, n_groups; /* of a call: rows of x (with experts: m n_used), and matrices they are for */
    double ops;               /* arithmetic of a call, a multiplication and an addition are 2 */
    double weight_bytes;      /* read by a call, in the layout used */
    double peak_int8, peak_half, peak_f32; /* operations */
    double peak_read;         /* bytes */
    const char *peak_int8_name, *peak_half_name, *peak_f32_name; /* instruction, or "" */
    uint64_t gguf_bytes, packed_bytes; /* of all matrices; packed_bytes 0 for host */
    double pack_rate;         /* GGUF bytes packed, by each thread; 0 for host */
    uint64_t set_bytes;       /* weights that the calls read in turn */
    const char *from;         /* where they lie: "l2", "l3", "mixed" (1 to 4 times the last-level cache) or "dram" */
    const char *tier, *layout, *path, *kernel; /* path: "narrow", "integer", "wide" or "host" */
    int n_threads;
} tsr_bench_result;
/* TSR_E_ARG: product makes no sense, or the format's blocks do not fit k; TSR_E_LIMIT: needs more than max_memory; TSR_E_UNSUPPORTED: the kernel
 * computed something else than the product (a bug). *out is only written on success; its strings live as long as the process. */
tsr_code tsr_bench_matmul(tsr_bench *b, const tsr_bench_product *p, tsr_bench_result *out, tsr_error *err);

/* The peaks alone, as in tsr_bench_result, from n_samples, 1 to 1000: of arithmetic the best (what disturbs it only takes away), of reading the
 * median (which virtual machines change for seconds, up and down). */
typedef struct tsr_bench_peaks_info {
    double int8, half, f32, read;
    const char *int8_name, *half_name, *f32_name;
} tsr_bench_peaks_info;
tsr_code tsr_bench_get_peaks(tsr_bench *b, int n_samples, tsr_bench_peaks_info *out, tsr_error *err);

#ifdef __cplusplus
}
#endif
#endif
