/* tessera info: what is in a model file, and what would compute it. */
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/io.h"
#include "cli/placement.h"
#include "cli/term.h"

#include <stdlib.h>
#include <string.h>

typedef struct info_settings {
    general_settings general;
    model_options model;
    bool buffers, tensors, metadata, json;
} info_settings;

static const option own_options[] = {
    {"buffers", 0, OPTION_FLAG, NULL, offsetof(info_settings, buffers), 0, 0,
     "the last table for each group of tensors (blk.*.attn_q.weight) instead of each format"},
    {"tensors", 0, OPTION_FLAG, NULL, offsetof(info_settings, tensors), 0, 0, "list every tensor"},
    {"metadata", 0, OPTION_FLAG, NULL, offsetof(info_settings, metadata), 0, 0, "list every metadata key"},
    {"json", 0, OPTION_FLAG, NULL, offsetof(info_settings, json), 0, 0, "print JSON: all of the above"},
    {0},
};

static const option_group groups[] = {
    {"Model", model_option_table, offsetof(info_settings, model)},
    {"What to show", own_options, 0},
    {"Loading", loading_option_table, offsetof(info_settings, model)},
    {"General", general_options, 0},
    {0},
};

static void set_defaults(void *settings) { (void)settings; }

enum { SHOWN_ITEMS = 8 }; /* of an array in the metadata */

static json_t *metadata_json(const tsr_model *model) {
    json_t *list = json_object();
    for (size_t i = 0; i < tsr_model_n_metadata(model); i++) {
        const char *type;
        char *value;
        const char *key = tsr_model_metadata(model, i, &type, &value, SHOWN_ITEMS);
        if (!key) continue;
        /* A file may hold text that is not UTF-8; JSON cannot. */
        json_t *text = json_string(value);
        json_object_set_new(list, key, json_pack("{ss so}", "type", type, "value", text ? text : json_null()));
        tsr_free(value);
    }
    return list;
}

static json_t *tensors_json(const tsr_model *model) {
    json_t *list = json_array();
    for (size_t i = 0; i < tsr_model_n_tensors(model); i++) {
        tsr_tensor_info t;
        if (!tsr_model_tensor(model, i, &t)) continue;
        json_t *shape = json_array();
        for (int d = 0; d < t.n_dims; d++) json_array_append_new(shape, json_integer(t.ne[d]));
        json_array_append_new(list, json_pack("{ss ss so sI ss ss ss ss sI}", "name", t.name, "type", t.type, "shape",
                                              shape, "bytes", (json_int_t)t.n_bytes, "buffer", t.buffer, "layout",
                                              t.layout, "kernel", t.kernel, "reason", t.reason, "buffer_bytes", (json_int_t)t.buffer_bytes));
    }
    return list;
}

static int print_json(const engine *e, const char *path) {
    const tsr_model_info *m = &e->info;
    json_t *root = json_pack(
        "{ss ss ss ss ss ss ss sI sI sI sI si si si si si si si si si si sb}", "path", path, "name", m->name, "architecture",
        m->architecture, "file_type", m->file_type, "tokenizer", m->tokenizer, "cpu_tier", m->cpu_tier, "amx_note", m->amx_note, "parameters",
        (json_int_t)m->n_params, "file_bytes", (json_int_t)m->file_bytes, "host_bytes", (json_int_t)m->host_bytes,
        "packed_bytes", (json_int_t)m->packed_bytes,
        "files", m->n_files, "vocabulary", m->n_vocab, "context", m->n_ctx_train, "embedding", m->n_embd, "layers",
        m->n_layer, "heads", m->n_head, "kv_heads", m->n_head_kv, "feed_forward", m->n_ff, "experts", m->n_expert,
        "experts_used", m->n_expert_used, "chat_template", m->has_chat_template);
    if (root) {
        json_object_set_new(root, "placed", json_string(m->numa_place));
        json_object_set_new(root, "metadata", metadata_json(e->model));
        json_object_set_new(root, "buffers", buffers_json(e->model));
        json_object_set_new(root, "tensors", tensors_json(e->model));
    }
    return out_json(root);
}

static void print_field(const char *name, const char *value) {
    printf("%-14s", name);
    put_clean(stdout, value, strlen(value), true);
    putchar('\n');
}

static const char *show_count(uint64_t n, char *out, size_t cap) {
    if (n >= 1000000000)
        snprintf(out, cap, "%.2f billion", (double)n * 1e-9);
    else if (n >= 1000000)
        snprintf(out, cap, "%.1f million", (double)n * 1e-6);
    else
        snprintf(out, cap, "%llu", (unsigned long long)n);
    return out;
}

static void print_summary(const engine *e, const char *path) {
    const tsr_model_info *m = &e->info;
    char a[64], b[64];
    print_field("file", path);
    printf("%-14s%s in %d file%s\n", "size", show_bytes(m->file_bytes, a, sizeof a), m->n_files,
           m->n_files == 1 ? "" : "s");
    if (*m->name) print_field("name", m->name);
    print_field("architecture", m->architecture);
    double bits = m->n_params ? 8.0 * (double)(m->host_bytes + m->packed_bytes) / (double)m->n_params : 0.0;
    printf("%-14s%s, mostly %s (%.2f bits each)\n", "parameters", show_count(m->n_params, b, sizeof b), m->file_type,
           bits);
    printf("%-14s%d layers of width %d, feed-forward %d, %d heads (%d for keys and values)\n", "shape", m->n_layer,
           m->n_embd, m->n_ff, m->n_head, m->n_head_kv);
    if (m->n_expert > 0) printf("%-14s%d, %d used for each token\n", "experts", m->n_expert, m->n_expert_used);
    printf("%-14strained with %d tokens\n", "context", m->n_ctx_train);
    printf("%-14s%s, %d tokens\n", "tokenizer", m->tokenizer, m->n_vocab);
    printf("%-14s%s\n", "chat template", m->has_chat_template ? "yes" : "none: `tessera run` continues the text");
    printf("%-14s%s on %s\n", "kernels", m->cpu_tier, m->cpu);
    tsr_machine machine;
    tsr_machine_get(&machine);
    if (*machine.topology) printf("%-14s%s\n", "machine", machine.topology);
    if (*m->numa_place) print_field("placed", m->numa_place);
}

static void print_metadata(const tsr_model *model) {
    printf("\n%smetadata%s\n", term_style(stdout, STYLE_BOLD), term_style(stdout, STYLE_NONE));
    size_t width = (size_t)term_width(stdout), most = width > 60 && term_is_tty(stdout) ? width - 54 : 1000;
    for (size_t i = 0; i < tsr_model_n_metadata(model); i++) {
        const char *type;
        char *value;
        const char *key = tsr_model_metadata(model, i, &type, &value, SHOWN_ITEMS);
        if (!key) continue;
        put_clean(stdout, key, strlen(key), true);
        for (size_t n = strlen(key); n < 40; n++) putchar(' ');
        printf(" %-8s ", type);
        size_t n = strlen(value);
        if (n > most) { /* not in the middle of a character */
            n = most;
            while (n > 0 && ((unsigned char)value[n] & 0xc0) == 0x80) n--;
        }
        put_clean(stdout, value, n, true);
        printf("%s\n", value[n] ? "..." : "");
        tsr_free(value);
    }
}

static void print_tensors(const tsr_model *model) {
    printf("\n%s%-36s %-8s %-22s %9s  kernel%s\n", term_style(stdout, STYLE_BOLD), "tensor", "format", "shape", "size",
           term_style(stdout, STYLE_NONE));
    for (size_t i = 0; i < tsr_model_n_tensors(model); i++) {
        tsr_tensor_info t;
        if (!tsr_model_tensor(model, i, &t)) continue;
        char shape[96] = "", size[32];
        for (int d = 0, at = 0; d < t.n_dims; d++)
            at += snprintf(shape + at, sizeof shape - (size_t)at, "%s%lld", d ? " x " : "", (long long)t.ne[d]);
        put_clean(stdout, t.name, strlen(t.name), true);
        for (size_t n = strlen(t.name); n < 36; n++) putchar(' ');
        printf(" %-8s %-22s %9s  %s\n", t.type, shape, show_bytes(t.n_bytes, size, sizeof size), t.kernel);
    }
}

static int run(void *settings, const operands *rest) {
    info_settings *s = settings;
    engine e = {0};
    if (!s->model.path && rest->n == 1) s->model.path = rest->items[0];
    s->model.events = s->json;
    int status = engine_open_model(&e, &s->model, false);
    if (status == EXIT_FINE && s->json) {
        status = print_json(&e, s->model.path);
    } else if (status == EXIT_FINE) {
        print_summary(&e, s->model.path);
        if (s->metadata) print_metadata(e.model);
        if (s->tensors) print_tensors(e.model);
        putchar('\n');
        if (s->buffers) show_buffers(stdout, e.model);
        else show_placement(stdout, e.model);
    }
    engine_close(&e);
    return status;
}

const command info_command = {
    .name = "info",
    .summary = "show what is in a model file and what would compute it",
    .operands = "[MODEL]",
    .max_operands = 1,
    .about = "The last table tells, for every group of tensors, the buffer that holds it, its layout in memory, the "
             "kernel that "
             "multiplies it and, where that is not the fastest there is, why.",
    .examples = "tessera info model.gguf\n"
                "tessera info -m model.gguf --tensors --metadata\n"
                "tessera info -m model.gguf --buffers --tensor-buffer 'blk\\.0\\..*=host'\n"
                "tessera info -m model.gguf --json | jq .architecture",
    .groups = groups,
    .settings_size = sizeof(info_settings),
    .set_defaults = set_defaults,
    .run = run,
};
