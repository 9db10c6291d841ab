/* quantize.c: tsr_quantize: a GGUF file (or its splits) in, one GGUF file in other formats out. Every decision and
 * every refusal that needs only the directory comes before the first byte is written. */
#include "engine/quantize.h"

#include "core/buf.h"
#include "core/clock.h"
#include "core/cpu.h"
#include "core/mapping.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    QUANTIZATION_VERSION = 2, /* of the block formats; general.quantization_version */
};

typedef struct quantize_run {
    const tsr_gguf *g;
    const tsr_quantize_params *params;
    const tsr_mix *mix;
    int n_threads;
    tsr_type *types;      /* [n_tensors] of the new file */
    uint64_t total, done; /* source bytes: all, and of the tensors that are finished */
    int64_t last_tick;    /* when progress was passed on, in nanoseconds */
} quantize_run;

tsr_quantize_params tsr_quantize_params_default(void) { return (tsr_quantize_params){.type = "Q4_K_M"}; }

const char *tsr_quantize_type(size_t i, const char **description) {
    const tsr_mix *m = tsr_mix_get(i);
    if (description) *description = m ? m->description : NULL;
    return m ? m->name : NULL;
}

static const char *printable(const char *s, char out[320]) { return tsr_printable(s, strlen(s), out, 320); }

/* ----------------------------------------------------------------------------------------------------- plan */

static tsr_code find_mix(const char *name, const tsr_mix **mix, tsr_error *err) {
    *mix = name ? tsr_mix_find(name) : NULL;
    if (*mix) return TSR_OK;
    tsr_buf known = {0};
    for (size_t i = 0; tsr_mix_get(i); i++) tsr_buf_printf(&known, "%s%s", i ? ", " : "", tsr_mix_get(i)->name);
    char shown[320];
    tsr_code code = tsr_fail(err, TSR_E_ARG, "unknown quantisation type '%s'; choose one of %s",
                             printable(name ? name : "", shown), known.data ? known.data : "");
    tsr_buf_free(&known);
    return code;
}

/* Writing over the source would destroy it if anything failed, and a split source cannot be replaced at all. */
static tsr_code refuse_in_place(const tsr_gguf *g, const char *out_path, tsr_error *err) {
    struct stat in, out;
    if (stat(out_path, &out) != 0) return TSR_OK; /* does not exist, or the writer will say what is wrong with it */
    for (int i = 0; i < g->n_files; i++) {
        if (stat(g->files[i].path, &in) != 0 || in.st_dev != out.st_dev || in.st_ino != out.st_ino) continue;
        char a[320], b[320];
        return tsr_fail(err, TSR_E_ARG, "%s: is the source file %s; write to another file", printable(out_path, a),
                        printable(g->files[i].path, b));
    }
    return TSR_OK;
}

/* Whether tensor t may become `to`. */
static tsr_code check_conversion(const quantize_run *r, const tsr_gguf_tensor *t, tsr_type to, tsr_error *err) {
    const tsr_type_info *from = tsr_type_get(t->type), *into = tsr_type_get(to);
    char path[320], shown[320];
    if (t->type == to) return TSR_OK;
    printable(r->g->files[t->file].path, path);
    printable(t->name, shown);
    if (!from->computes)
        return tsr_fail(err, TSR_E_UNSUPPORTED,
                        "%s: tensor '%s' is in format %s, which Tessera cannot read; start from the F16, BF16 or F32 "
                        "version of the model",
                        path, shown, from->name);
    if (t->ne[0] % into->block_elems)
        return tsr_fail(err, TSR_E_ARG,
                        "%s: tensor '%s' has rows of %lld weights, no multiple of the %d of a %s block; do without "
                        "'pure', or choose another type",
                        path, shown, (long long)t->ne[0], into->block_elems, into->name);
    if (from->block_elems > 1 && !r->params->requantize)
        return tsr_fail(
            err, TSR_E_ARG,
            "%s: tensor '%s' is already quantised to %s, and quantising it again to %s loses quality; start "
            "from the F16, BF16 or F32 version of the model, or allow requantising (--allow-requantize)",
            path, shown, from->name, into->name);
    return TSR_OK;
}

/* before[l] = how many attn_v matrices lie in layers before l. */
static void count_attn_v(const tsr_gguf *g, int before[TSR_LAYER_MAX + 1]) {
    memset(before, 0, (TSR_LAYER_MAX + 1) * sizeof *before);
    for (size_t i = 0; i < g->n_tensors; i++) {
        int layer = tsr_tensor_layer(g->tensors[i].name);
        if (layer >= 0 && strstr(g->tensors[i].name, "attn_v.weight")) before[layer + 1]++;
    }
    for (int l = 0; l < TSR_LAYER_MAX; l++) before[l + 1] += before[l];
}

static tsr_code plan(quantize_run *r, tsr_error *err) {
    tsr_mix_model model;
    tsr_mix_model_read(r->g, &model);
    int *before = malloc((TSR_LAYER_MAX + 1) * sizeof *before);
    if (!before) return tsr_fail(err, TSR_E_NOMEM, "out of memory for quantising");
    count_attn_v(r->g, before);
    tsr_code code = TSR_OK;
    for (size_t i = 0; i < r->g->n_tensors && code == TSR_OK; i++) {
        const tsr_gguf_tensor *t = &r->g->tensors[i];
        int layer = tsr_tensor_layer(t->name);
        r->types[i] = t->type;
        r->total += t->n_bytes;
        if (!tsr_mix_applies(t)) continue;
        r->types[i] = r->params->pure ? r->mix->base : tsr_mix_type(r->mix, &model, t, layer < 0 ? 0 : before[layer]);
        code = check_conversion(r, t, r->types[i], err);
    }
    free(before);
    return code;
}

/* ---------------------------------------------------------------------------------------------------- write */

/* The source's metadata but for the splitting, with the new file type. */
static tsr_code write_metadata(const quantize_run *r, tsr_gguf_writer *w, tsr_error *err) {
    tsr_code code = TSR_OK;
    for (size_t i = 0; i < r->g->n_kv && code == TSR_OK; i++)
        if (strncmp(r->g->kv[i].key, "split.", 6) != 0) code = tsr_gguf_writer_copy(w, &r->g->kv[i], err);
    if (code == TSR_OK) code = tsr_gguf_writer_u32(w, "general.file_type", r->mix->file_type, err);
    if (code == TSR_OK) code = tsr_gguf_writer_u32(w, "general.quantization_version", QUANTIZATION_VERSION, err);
    for (size_t i = 0; i < r->g->n_tensors && code == TSR_OK; i++) {
        const tsr_gguf_tensor *t = &r->g->tensors[i];
        code = tsr_gguf_writer_tensor(w, t->name, r->types[i], t->n_dims, t->ne, err);
    }
    return code == TSR_OK ? tsr_gguf_writer_begin(w, err) : code;
}

/* Passes progress on, 20 times a second at most. */
static bool tick(void *user, uint64_t bytes) {
    quantize_run *r = user;
    if (!r->params->progress || r->done + bytes == r->total) return true; /* the end is told once, when written */
    int64_t now = tsr_clock_ns();
    if (now - r->last_tick < 50 * 1000000) return true;
    r->last_tick = now;
    return r->params->progress(r->params->progress_user, r->done + bytes, r->total);
}

static tsr_code write_tensor(quantize_run *r, size_t i, tsr_gguf_writer *w, tsr_error *err) {
    const tsr_gguf_tensor *t = &r->g->tensors[i];
    tsr_code code = TSR_OK;
    size_t n = (size_t)t->n_bytes;
    void *buffer = NULL;
    if (r->types[i] != t->type) {
        char path[320], shown[320];
        n = tsr_type_row_bytes(r->types[i], (int64_t)t->n_elems);
        buffer = malloc(n);
        if (!buffer)
            return tsr_fail(err, TSR_E_NOMEM, "tensor '%s': out of memory for its %zu bytes", printable(t->name, shown),
                            n);
        code = tsr_convert_tensor(t, r->types[i], buffer, r->n_threads, tick, r, err);
        if (code != TSR_OK && code != TSR_E_CANCELLED)
            tsr_fail_prefix(err, "%s", printable(r->g->files[t->file].path, path));
    }
    /* Pages that were lost read as zeros: that is then the error, whatever came of them. */
    tsr_code lost = code == TSR_E_CANCELLED ? TSR_OK : tsr_mapping_check(r->g->files[t->file].mapping, err);
    if (lost != TSR_OK) code = lost;
    if (code == TSR_OK) code = tsr_gguf_writer_data(w, buffer ? buffer : t->data, n, err);
    free(buffer);
    r->done += t->n_bytes;
    if (code == TSR_OK && r->params->on_tensor)
        r->params->on_tensor(r->params->on_tensor_user, t->name, tsr_type_get(t->type)->name,
                             tsr_type_get(r->types[i])->name, t->n_bytes, n);
    if (code == TSR_OK && !tick(r, 0)) code = tsr_fail(err, TSR_E_CANCELLED, "quantising was cancelled");
    return code;
}

static tsr_code write_file(quantize_run *r, const char *out_path, tsr_error *err) {
    tsr_gguf_writer *w = tsr_gguf_writer_open(out_path, r->g->alignment, err);
    if (!w) return err->code;
    tsr_code code = write_metadata(r, w, err);
    for (size_t i = 0; i < r->g->n_tensors && code == TSR_OK; i++) code = write_tensor(r, i, w, err);
    if (code == TSR_OK && r->params->progress && !r->params->progress(r->params->progress_user, r->total, r->total))
        code = tsr_fail(err, TSR_E_CANCELLED, "quantising was cancelled");
    if (code == TSR_OK) return tsr_gguf_writer_finish(w, err);
    tsr_gguf_writer_abort(w);
    return code;
}

static int thread_count(int asked) {
    if (asked == 0) {
        tsr_cpuset set;
        tsr_cpuset_read("", &set);
        asked = set.n_default;
    }
    return asked;
}

tsr_code tsr_quantize(const char *in_path, const char *out_path, const tsr_quantize_params *params, tsr_error *err) {
    tsr_quantize_params def = tsr_quantize_params_default();
    tsr_error mine;
    err = err ? err : &mine;
    quantize_run r = {.params = params ? params : &def};
    if (!in_path || !out_path) return tsr_fail(err, TSR_E_ARG, "quantising needs a source and a target path");
    if (r.params->n_threads < 0)
        return tsr_fail(err, TSR_E_ARG, "%d threads: must be 1 or more, or 0 for the default", r.params->n_threads);
    tsr_code code = find_mix(r.params->type, &r.mix, err);
    if (code != TSR_OK) return code;
    tsr_gguf *g = tsr_gguf_open(in_path, err);
    if (!g) return err->code;
    r.g = g;
    r.n_threads = thread_count(r.params->n_threads);
    r.types = malloc((g->n_tensors + 1) * sizeof *r.types);
    code = r.types ? refuse_in_place(g, out_path, err) : tsr_fail(err, TSR_E_NOMEM, "out of memory for quantising");
    if (code == TSR_OK) code = plan(&r, err);
    if (code == TSR_OK) code = write_file(&r, out_path, err);
    free(r.types);
    tsr_gguf_close(g);
    return code;
}
