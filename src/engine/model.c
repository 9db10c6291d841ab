/* model.c: the public model object: opening, and what it tells about itself. */
#include "engine/model.h"

#include "core/buf.h"
#include "core/mapping.h"
#include "core/memory.h"
#include "core/numa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tsr_model_params tsr_model_params_default(void) { return (tsr_model_params){0}; }

tsr_code tsr_model_check_files(const tsr_model *m, tsr_error *err) {
    for (int i = 0; i < m->gguf->n_files; i++) {
        int mapping = m->gguf->files[i].mapping;
        tsr_code code = mapping >= 0 ? tsr_mapping_check(mapping, err) : TSR_OK;
        if (code != TSR_OK) return code;
    }
    const tsr_buffer *packed = m->net ? &m->net->weights.packed : NULL;
    return packed && packed->mapped ? tsr_mapping_check(packed->mapping, err) : TSR_OK;
}

/* NUL-terminated copy of a string key's value, "" when the key is missing. */
static tsr_code copy_string(const tsr_gguf *g, const char *key, char **out, tsr_error *err) {
    tsr_str s = {"", 0};
    tsr_code code = tsr_gguf_opt_str(g, key, &s, err);
    if (code != TSR_OK) return code;
    *out = strndup(s.s, s.n);
    return *out ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory");
}

/* Totals over all tensors, and the format that most bytes of matrices are in. */
static void summarize(tsr_model *m) {
    uint64_t bytes[TSR_TYPE_COUNT] = {0};
    for (size_t i = 0; i < m->gguf->n_tensors; i++) {
        const tsr_gguf_tensor *t = &m->gguf->tensors[i];
        m->n_params += t->n_elems;
        if (t->n_dims >= 2) bytes[t->type] += t->n_bytes;
    }
    for (int i = 0; i < m->gguf->n_files; i++) m->file_bytes += m->gguf->files[i].size;
    uint32_t most = TSR_F32;
    for (uint32_t t = 0; t < TSR_TYPE_COUNT; t++)
        if (bytes[t] > bytes[most]) most = t;
    strncpy(m->file_type, tsr_type_get(most)->name, sizeof m->file_type - 1);
}

/* Buffers that hold tensors themselves, and tensors that stay in the mapping. */
static tsr_code lock_weights(const tsr_model *m, tsr_error *err) {
    const tsr_weights *w = &m->net->weights;
    const tsr_buffer *held[] = {&w->packed, &w->host}; /* used: they are reserved larger than what they hold */
    for (int i = 0; i < 2; i++) {
        tsr_code code = held[i]->used ? tsr_memory_lock(held[i]->base, tsr_buffer_reach(held[i]), err) : TSR_OK;
        if (code != TSR_OK) return code;
    }
    for (size_t i = 0; i < m->gguf->n_tensors; i++) {
        const tsr_weight *weight = w->placements[i].weight;
        if (!weight || weight->buffer_type != &tsr_buffer_host_mapped) continue;
        tsr_code code = tsr_memory_lock(m->gguf->tensors[i].data, (size_t)m->gguf->tensors[i].n_bytes, err);
        if (code != TSR_OK) return code;
    }
    return TSR_OK;
}

/* With huge pages asked for: are they what the weights are in? */
static void note_memory(tsr_model *m) {
    const tsr_weights *w = &m->net->weights;
    const tsr_buffer *held[] = {&w->packed, &w->host};
    uint64_t huge = 0, all = 0, most = 0;
    for (int i = 0; i < 2; i++) {
        if (!held[i]->base) continue;
        all += tsr_buffer_reach(held[i]);
        most += tsr_memory_huge_most(held[i]->base, tsr_buffer_reach(held[i]));
        huge += tsr_memory_huge_bytes(held[i]->base, tsr_buffer_reach(held[i]));
    }
    /* with some, the kernel gives them: what is missing is where matrices are cut */
    bool cuts = m->numa == TSR_NUMA_LOCAL && huge > 0;
    const char *why = cuts ? "a huge page has one node, so where --numa local cuts matrices pages are small"
                           : tsr_memory_huge_reason();
    if (huge + huge / 16 < most)
        snprintf(m->memory_note, sizeof m->memory_note, "%llu of %llu MB of weights are in huge pages: %s", (unsigned long long)(huge / 1000000),
                 (unsigned long long)(all / 1000000), why);
}

/* What `numa` comes to on this machine. */
static tsr_code choose_numa(tsr_model *m, tsr_numa wanted, tsr_error *err) {
    bool by_node = wanted == TSR_NUMA_LOCAL || wanted == TSR_NUMA_MIRROR;
    if (!by_node && wanted != TSR_NUMA_NONE && wanted != TSR_NUMA_INTERLEAVE)
        return tsr_fail(err, TSR_E_ARG, "unknown value %d for NUMA: TSR_NUMA_NONE, _INTERLEAVE, _LOCAL or _MIRROR",
                        (int)wanted);
    if (by_node) tsr_nodes_read("", &m->nodes);
    bool several = by_node ? m->nodes.n > 1 : tsr_numa_nodes() > 1;
    m->numa = several ? wanted : TSR_NUMA_NONE;
    if (wanted != TSR_NUMA_NONE && !several)
        snprintf(m->numa_note, sizeof m->numa_note,
                 "this process has the %s of one NUMA node: placing makes no difference",
                 by_node ? "memory and cores" : "memory");
    return TSR_OK;
}

const tsr_nodes *tsr_model_nodes(const tsr_model *m) {
    return m->numa == TSR_NUMA_LOCAL || m->numa == TSR_NUMA_MIRROR ? &m->nodes : NULL;
}

/* Where packed weights lie now. */
static void note_numa(tsr_model *m) {
    char nodes[256], *out = m->numa_place;
    const size_t cap = sizeof m->numa_place;
    unsigned long long megabytes = m->net->weights.packed.used / 1000000;
    bool by_node = m->numa != TSR_NUMA_INTERLEAVE, copied = m->net->weights.host.used > 0;
    if (m->net->weights.packed.used == 0)
        snprintf(m->numa_note, sizeof m->numa_note, "%s",
                 by_node  ? "nothing is packed, and only packed weights are placed by node"
                 : copied ? "" /* page by page, too */
                          : "nothing is packed or copied, so nothing is placed");
    else if (m->numa == TSR_NUMA_INTERLEAVE)
        snprintf(out, cap, "page by page in turn on %d NUMA nodes", tsr_numa_nodes());
    else if (m->numa == TSR_NUMA_LOCAL)
        snprintf(out, cap, "by rows on NUMA nodes %s", tsr_nodes_text(&m->nodes, nodes, sizeof nodes));
    else
        snprintf(out, cap, "copies of %llu MB on NUMA nodes %s", megabytes,
                 tsr_nodes_text(&m->nodes, nodes, sizeof nodes));
}

static tsr_code open_parts(tsr_model *m, const char *path, const tsr_model_params *p, tsr_error *err) {
    tsr_code code = tsr_tier_choose(tsr_tier_this_machine(), p->cpu_tier, p->amx, &m->tier, m->amx_note, err);
    if (code != TSR_OK) return code;
    m->gguf = tsr_gguf_open(path, err);
    if (!m->gguf) return TSR_E_FORMAT;
    code = copy_string(m->gguf, "general.name", &m->name, err);
    if (code == TSR_OK) code = copy_string(m->gguf, "general.architecture", &m->architecture, err);
    if (code == TSR_OK) code = tsr_gguf_opt_str(m->gguf, "tokenizer.chat_template", &m->chat_template, err);
    if (code != TSR_OK) return code;
    summarize(m);
    m->tokenizer = tsr_tokenizer_open(m->gguf, err);
    if (!m->tokenizer) return TSR_E_FORMAT;
    if (p->vocab_only) return TSR_OK;
    code = choose_numa(m, p->numa, err);
    if (code != TSR_OK) return code;
    bool in_memory = p->no_mmap || p->huge_pages == TSR_HUGE_PAGES_ON; /* files' mappings have the pages that the page cache has */
    const tsr_cache_params cache = {
        .dir = p->cache_dir, .limit = p->cache_limit, .read = in_memory || m->numa != TSR_NUMA_NONE};
    const tsr_load load = {.tier = m->tier, .copy = in_memory, .packed = !p->no_packed,
                           .tensor_buffers = p->tensor_buffers, .numa = m->numa, .nodes = tsr_model_nodes(m),
                           .huge_pages = p->huge_pages, .cache = p->no_cache ? NULL : &cache,
                           .progress = p->progress, .progress_user = p->progress_user};
    m->net = tsr_net_open(m->gguf, tsr_tokenizer_n_vocab(m->tokenizer), &load, err);
    if (!m->net) return TSR_E_FORMAT;
    if (m->numa != TSR_NUMA_NONE) note_numa(m);
    tsr_buffer_rules_unmatched(m->net->weights.rules, m->buffer_note, sizeof m->buffer_note);
    if (p->huge_pages == TSR_HUGE_PAGES_ON) note_memory(m);
    if (p->mlock) code = lock_weights(m, err);
    return code == TSR_OK ? tsr_model_check_files(m, err) : code;
}

/* Messages of the reader name the file already (of a split model: the one at fault); all others get it here, but for
 * those about an argument. */
static void name_file(const tsr_gguf *g, tsr_error *err) {
    char label[TSR_GGUF_LABEL];
    if (err && err->code == TSR_E_ARG) return;
    for (int i = 0; err && i < g->n_files; i++) {
        size_t n = strlen(tsr_gguf_label(g, i, label));
        if (strncmp(err->message, label, n) == 0 && err->message[n] == ':') return;
    }
    tsr_fail_prefix(err, "%s", tsr_gguf_label(g, 0, label));
}

tsr_model *tsr_model_open(const char *path, const tsr_model_params *params, tsr_error *err) {
    tsr_model_params p = params ? *params : tsr_model_params_default();
    if (!path || !*path) {
        tsr_fail(err, TSR_E_ARG, "no path to open: give the .gguf file of a model");
        return NULL;
    }
    tsr_model *m = calloc(1, sizeof *m);
    if (!m) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory");
        return NULL;
    }
    if (open_parts(m, path, &p, err) == TSR_OK) return m;
    if (m->gguf) name_file(m->gguf, err); /* else the file could not be opened, or has no part in the error */
    if (m->net) m->net->weights.complete = false; /* no waiting for its cache file */
    tsr_model_close(m);
    return NULL;
}

void tsr_model_close(tsr_model *m) {
    if (!m) return;
    tsr_net_close(m->net);
    tsr_tokenizer_close(m->tokenizer);
    if (m->gguf) tsr_gguf_close(m->gguf);
    free(m->name);
    free(m->architecture);
    free(m);
}

void tsr_model_get_info(const tsr_model *m, tsr_model_info *out) {
    *out = (tsr_model_info){
        .name = m->name,
        .architecture = m->architecture,
        .file_type = m->file_type,
        .tokenizer = tsr_tokenizer_describe(m->tokenizer),
        .cpu_tier = tsr_tier_name(m->tier),
        .amx_note = m->amx_note,
        .buffer_note = m->buffer_note,
        .numa_note = m->numa_note,
        .numa_place = m->numa_place,
        .cpu = tsr_cpu_get()->brand,
        .cache = "",
        .cache_note = "",
        .memory_note = m->memory_note,
        .n_params = m->n_params,
        .file_bytes = m->file_bytes,
        .n_files = m->gguf->n_files,
        .n_vocab = tsr_tokenizer_n_vocab(m->tokenizer),
        .has_chat_template = m->chat_template.s != NULL,
    };
    if (!m->net) return;
    const tsr_hparams *h = &m->net->hparams;
    out->host_bytes = m->net->weights.host_bytes;
    out->packed_bytes = m->net->weights.packed.used;
    if (m->net->weights.packing.outcome) out->cache = m->net->weights.packing.outcome;
    out->cache_note = m->net->weights.packing.note;
    out->n_ctx_train = (int)(h->n_ctx_train < INT32_MAX ? h->n_ctx_train : INT32_MAX);
    out->n_embd = (int)h->n_embd;
    out->n_layer = (int)h->n_layer;
    out->n_head = (int)h->n_head;
    out->n_head_kv = (int)h->n_head_kv;
    out->n_ff = (int)(h->n_expert > 0 ? h->n_ff_expert : h->n_ff);
    out->n_expert = (int)h->n_expert;
    out->n_expert_used = (int)h->n_expert_used;
}

tsr_code tsr_model_cache_wait(tsr_model *m, tsr_progress_fn progress, void *user, tsr_error *err) {
    tsr_cache *cache = m && m->net ? m->net->weights.packing.cache : NULL;
    return cache ? tsr_cache_wait(cache, progress, user, err) : TSR_OK;
}

size_t tsr_model_n_metadata(const tsr_model *m) { return m->gguf->n_kv; }

const char *tsr_model_metadata(const tsr_model *m, size_t i, const char **type, char **value, size_t max_items) {
    if (i >= m->gguf->n_kv) return NULL;
    const tsr_gguf_kv *kv = &m->gguf->kv[i];
    tsr_buf text = {0};
    tsr_gguf_format(kv, max_items, &text);
    char *taken = tsr_buf_take(&text, NULL);
    if (!taken) return NULL;
    if (type) *type = tsr_gguf_vtype_name(kv->type);
    if (value) *value = taken;
    else free(taken);
    return kv->key;
}

size_t tsr_model_n_tensors(const tsr_model *m) { return m->gguf->n_tensors; }

bool tsr_model_tensor(const tsr_model *m, size_t i, tsr_tensor_info *out) {
    if (i >= m->gguf->n_tensors) return false;
    const tsr_gguf_tensor *t = &m->gguf->tensors[i];
    *out = (tsr_tensor_info){.name = t->name, .type = tsr_type_get(t->type)->name, .n_dims = t->n_dims, .n_bytes = t->n_bytes,
                             .buffer = "-", .layout = "-", .kernel = "-", .reason = ""};
    memcpy(out->ne, t->ne, sizeof out->ne);
    if (!m->net) return true;
    const tsr_placement *p = &m->net->weights.placements[i];
    const tsr_weight *w = p->weight;
    out->buffer = w ? w->buffer_type->name : "host";
    out->layout = w ? w->buffer_type->layout(w) : "f32";
    out->kernel = p->kernels;
    out->reason = p->reason;
    out->buffer_bytes = p->bytes;
    return true;
}
