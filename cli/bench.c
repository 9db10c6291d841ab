/* tessera bench: speed of whole models, or of matrix products, beside what the hardware can do at most. */
#include "cli/bench.h"

#include "cli/commands.h"
#include "cli/term.h"

#include <string.h>

static const option model_options[] = {
    {"model", 'm', OPTION_TEXTS, "MODEL", offsetof(bench_settings, models), 0, 0, "a GGUF file (of a split model: the first); may be given several times"},
    {"n-prompt", 'p', OPTION_TEXT, "LIST", offsetof(bench_settings, n_prompt), 0, 0,
     "tests that read a prompt of so many tokens, such as 512,4096; 0: none (default 512)"},
    {"n-gen", 'n', OPTION_TEXT, "LIST", offsetof(bench_settings, n_gen), 0, 0, "tests that generate so many tokens; 0: none (default 128)"},
    {"pg", 0, OPTION_TEXTS, "PP,TG", offsetof(bench_settings, prompt_gen), 0, 0,
     "a test that reads a prompt of PP tokens and then generates TG; may be given several times (-pg too)"},
    {"n-depth", 'd', OPTION_TEXT, "LIST", offsetof(bench_settings, depths), 0, 0,
     "tokens that are in the context before a test begins, such as 0-8192+2048 (default 0)"},
    {"batch-size", 'b', OPTION_TEXT, "LIST", offsetof(bench_settings, batches), 0, 0, "tokens of a prompt that are handed over in one call (default 2048)"},
    {"ub", 0, OPTION_TEXT, "LIST", offsetof(bench_settings, ubatches), 0, 0, "tokens that are computed in one pass, at most the batch size (default 512; -ub too)"},
    {"ctk", 0, OPTION_TEXT, "LIST", offsetof(bench_settings, kv_k), 0, 0, "formats of the keys in the KV cache, as --kv of `tessera run` (default f16; -ctk too)"},
    {"ctv", 0, OPTION_TEXT, "LIST", offsetof(bench_settings, kv_v), 0, 0, "formats of the values in the KV cache (default f16; -ctv too)"},
    {"npl", 0, OPTION_TEXT, "LIST", offsetof(bench_settings, parallel), 0, 0,
     "sequences that are generated together, such as 1,8 (test tg128 x8; default 1; -npl too)"},
    {"no-packed", 0, OPTION_FLAG, NULL, offsetof(bench_settings, no_packed), 0, 0, "leave the matrices as the file has them and multiply in f32"},
    {"no-warmup", 0, OPTION_FLAG, NULL, offsetof(bench_settings, no_warmup), 0, 0, "do not run each test shortly before it is measured"},
    {"profile", 0, OPTION_FLAG, NULL, offsetof(bench_settings, profile), 0, 0, "show where the time of each test goes: a table by operation"},
    {"plot", 0, OPTION_TEXT, "FILE", offsetof(bench_settings, plot), 0, 0, "draw speed over depth (-d) into FILE, as SVG"},
    {0},
};

static const option product_options[] = {
    {"op", 0, OPTION_TEXT, "OP", offsetof(bench_settings, op), 0, 0, "measure operations instead of models: matmul, products of random weights"},
    {"shapes", 0, OPTION_TEXTS, "FILE", offsetof(bench_settings, shapes), 0, 0,
     "a list of matrices, lines `name N K [experts used]`, or one of those that --list names; may be given several times (default llama-1b)"},
    {"types", 0, OPTION_TEXT, "LIST", offsetof(bench_settings, types), 0, 0,
     "formats of the weights, such as Q4_0,Q4_K; all: every one (default all)"},
    {"rows", 'M', OPTION_TEXT, "LIST", offsetof(bench_settings, rows), 0, 0,
     "rows of activations (tokens), such as 1,8,512 (default 1,2,4,8,16,32,64,128,512,2048)"},
    {"host", 0, OPTION_FLAG, NULL, offsetof(bench_settings, host), 0, 0, "multiply GGUF blocks in f32 instead of packed weights"},
    {"max-memory", 0, OPTION_FLOAT, "GB", offsetof(bench_settings, max_memory), 0, 1e6,
     "use at most so much memory; 0: half of what is available"},
    {"list", 0, OPTION_FLAG, NULL, offsetof(bench_settings, list), 0, 0, "list the formats and the shapes there are"},
    {0},
};

static const option machine_options[] = {
    {"threads", 't', OPTION_TEXT, "LIST", offsetof(bench_settings, threads), 0, 0,
     "numbers of threads, such as 1,2; 0: the physical cores this process may use (default 0)"},
    {"tb", 0, OPTION_TEXT, "LIST", offsetof(bench_settings, prompt_threads), 0, 0,
     "numbers of threads for prompts; 0: as many as for generation (default 0; -tb too)"},
    {"cpu-tier", 0, OPTION_TEXT, "NAME", offsetof(bench_settings, cpu_tier), 0, 0, "use the kernels of that tier instead of the best"},
    {"amx", 0, OPTION_CHOICE, "auto|on|off", offsetof(bench_settings, amx), 0, 0, "use AMX where it works, insist on it, or do without"},
    {0},
};

static const option result_options[] = {
    {"reps", 'r', OPTION_INT, "N", offsetof(bench_settings, n_reps), 1, 1000,
     "repetitions of each test; samples of each product, of which fewer are taken when they would take more than some seconds"},
    {"format", 'o', OPTION_CHOICE, "md|csv|json", offsetof(bench_settings, format), 0, 0, "a table to read, or all columns as CSV or JSON"},
    {"output", 0, OPTION_TEXT, "FILE", offsetof(bench_settings, output), 0, 0, "write the results to FILE instead of standard output"},
    {0},
};

static const option_group groups[] = {
    {"Models", model_options, 0},
    {"Products", product_options, 0},
    {"Machine", machine_options, 0},
    {"Results", result_options, 0},
    {"General", general_options, 0},
    {0},
};

static void set_defaults(void *settings) {
    bench_settings *s = settings;
    s->n_prompt = "512";
    s->n_gen = "128";
    s->depths = "0";
    s->batches = "2048";
    s->ubatches = "512";
    s->kv_k = s->kv_v = "f16";
    s->parallel = "1";
    s->types = "all";
    s->rows = "1,2,4,8,16,32,64,128,512,2048";
    s->threads = s->prompt_threads = "0";
    s->n_reps = 5;
}

static int run(void *settings, const operands *rest) {
    (void)rest;
    const bench_settings *s = settings;
    if (s->list) return bench_show_lists();
    if (!s->op && s->models.n > 0) return bench_models(s);
    if (!s->op) {
        say_error("say what to measure: a model (-m MODEL), or matrix products (--op matmul)");
        return EXIT_USAGE;
    }
    if (strcmp(s->op, "matmul") != 0) {
        args_say_unknown("unknown operation", s->op, "--op ", (const char *const[]){"matmul", NULL}, "matmul is all there is");
        return EXIT_USAGE;
    }
    if (s->models.n > 0) {
        say_error("--op matmul multiplies random weights: it takes no model (-m)");
        return EXIT_USAGE;
    }
    return bench_matmul(s);
}

const command bench_command = {
    .name = "bench",
    .summary = "measure the speed of models on this machine",
    .operands = "",
    .about = "With -m: reads prompts of random tokens (test pp512: 512 of them) and generates (tg128: 128 tokens one by one), after a short warm-up, -r "
             "times each. Columns are named as those of llama-bench; beside the speed stand its share of what the hardware can do at most, measured on "
             "the same threads in the same run, load time and peak memory. With --op matmul: multiplies random weights of the shapes that real models "
             "have with activations, in every format. doc/benchmarking.md says what the columns mean. Ctrl-C ends with what has been measured.",
    .examples = "tessera bench -m model.gguf\n"
                "tessera bench -m model.gguf -p 512,4096 -n 64 -d 0,8192 -t 1,2 -r 3 -o json --output results.json\n"
                "tessera bench -m model.gguf -n 0 -pg 512,128 -ctk f32 -ctv f16,f32\n"
                "tessera bench -m model.gguf -p 0 -n 64 -npl 1,8\n"
                "tessera bench -m model.gguf -d 0-16384+2048 -n 32 --plot depth.svg\n"
                "tessera bench -m model.gguf -p 512 -n 32 --profile\n"
                "tessera bench --op matmul\n"
                "tessera bench --op matmul --shapes llama-8b --types Q4_K,Q6_K -M 1,512 -t 1,2\n"
                "tessera bench --op matmul --shapes qwen3-30b-a3b -o csv --output results.csv\n"
                "tessera bench --op matmul --shapes my-shapes.txt --types all --cpu-tier avx2",
    .groups = groups,
    .settings_size = sizeof(bench_settings),
    .set_defaults = set_defaults,
    .run = run,
};
