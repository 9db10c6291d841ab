/* writer.c: writes GGUF version 3 files. */
#include "gguf/internal.h"

#include "core/buf.h"
#include "gguf/outfile.h"

#include <stdlib.h>
#include <string.h>

typedef struct out_kv {
    char *key;
    tsr_buf value; /* as in the file: value type, then value */
} out_kv;

typedef struct out_tensor {
    char *name;
    tsr_type type;
    int n_dims;
    int64_t ne[4];
    uint64_t n_bytes, offset; /* in the data section */
} out_tensor;

struct tsr_gguf_writer {
    tsr_outfile file;
    uint32_t alignment;
    out_kv *kv; /* in the order they came; doubles are settled in begin() */
    size_t n_kv, cap_kv;
    out_tensor *tensors;
    size_t n_tensors, cap_tensors;
    size_t next;         /* tensor whose data comes next */
    uint64_t data_bytes; /* of the data section, padding included */
    enum { COLLECTING, WRITING, BROKEN } state;
};

/* ----------------------------------------------------------------------------------------------- open, free */

tsr_gguf_writer *tsr_gguf_writer_open(const char *path, uint32_t alignment, tsr_error *err) {
    if (!tsr_gguf_alignment_ok(alignment)) {
        tsr_fail(err, TSR_E_ARG, "GGUF alignment %u: must be a power of two from 8 to %u", alignment,
                 TSR_GGUF_ALIGNMENT_MAX);
        return NULL;
    }
    tsr_gguf_writer *w = calloc(1, sizeof *w);
    if (!w) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory for writing a GGUF file");
        return NULL;
    }
    w->alignment = alignment;
    if (tsr_outfile_open(&w->file, path, err) == TSR_OK) return w;
    free(w);
    return NULL;
}

/* All but the file. */
static void writer_free(tsr_gguf_writer *w) {
    for (size_t i = 0; i < w->n_kv; i++) {
        free(w->kv[i].key);
        tsr_buf_free(&w->kv[i].value);
    }
    for (size_t i = 0; i < w->n_tensors; i++) free(w->tensors[i].name);
    free(w->kv);
    free(w->tensors);
    free(w);
}

void tsr_gguf_writer_abort(tsr_gguf_writer *w) {
    if (!w) return;
    tsr_outfile_abort(&w->file);
    writer_free(w);
}

static tsr_code no_memory(const tsr_gguf_writer *w, tsr_error *err) {
    return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory while writing", w->file.label);
}

/* Room for one more item, zeroed, at *items; false when out of memory. */
static bool one_more(void **items, size_t n, size_t *cap, size_t size) {
    if (n == *cap) {
        size_t bigger = n ? n * 2 : 64;
        void *p = realloc(*items, bigger * size);
        if (!p) return false;
        *items = p;
        *cap = bigger;
    }
    memset((char *)*items + n * size, 0, size);
    return true;
}

/* -------------------------------------------------------------------------------------- values and tensors */

static void put_u32(tsr_buf *b, uint32_t v) { tsr_buf_append(b, &v, sizeof v); }

static void put_u64(tsr_buf *b, uint64_t v) { tsr_buf_append(b, &v, sizeof v); }

static void put_str(tsr_buf *b, const char *s, size_t n) {
    put_u64(b, n);
    tsr_buf_append(b, s, n);
}

static tsr_code check_collecting(const tsr_gguf_writer *w, tsr_error *err) {
    if (w->state == COLLECTING) return TSR_OK;
    return tsr_fail(err, TSR_E_ARG, "%s: the header is already written", w->file.label);
}

/* A new key of the given type; *value is where its value goes. */
static tsr_code add_key(tsr_gguf_writer *w, const char *key, tsr_gguf_vtype type, tsr_buf **value, tsr_error *err) {
    tsr_code code = check_collecting(w, err);
    if (code != TSR_OK) return code;
    size_t n = strlen(key);
    if (n == 0 || n > TSR_GGUF_KEY_MAX)
        return tsr_fail(err, TSR_E_ARG, "%s: a metadata key of %zu bytes, must be 1 to %d", w->file.label, n,
                        TSR_GGUF_KEY_MAX);
    char *copy = strdup(key);
    if (!copy || !one_more((void **)&w->kv, w->n_kv, &w->cap_kv, sizeof *w->kv)) {
        free(copy);
        return no_memory(w, err);
    }
    out_kv *kv = &w->kv[w->n_kv++];
    kv->key = copy;
    put_u32(&kv->value, type);
    *value = &kv->value;
    return TSR_OK;
}

tsr_code tsr_gguf_writer_u32(tsr_gguf_writer *w, const char *key, uint32_t value, tsr_error *err) {
    tsr_buf *b = NULL;
    tsr_code code = add_key(w, key, TSR_GGUF_U32, &b, err);
    if (code != TSR_OK) return code;
    put_u32(b, value);
    return b->oom ? no_memory(w, err) : TSR_OK;
}

tsr_code tsr_gguf_writer_str(tsr_gguf_writer *w, const char *key, const char *value, tsr_error *err) {
    tsr_buf *b = NULL;
    tsr_code code = add_key(w, key, TSR_GGUF_STRING, &b, err);
    if (code != TSR_OK) return code;
    put_str(b, value, strlen(value));
    return b->oom ? no_memory(w, err) : TSR_OK;
}

tsr_code tsr_gguf_writer_copy(tsr_gguf_writer *w, const tsr_gguf_kv *kv, tsr_error *err) {
    tsr_buf *b = NULL;
    tsr_code code = add_key(w, kv->key, kv->type, &b, err);
    if (code != TSR_OK) return code;
    tsr_gguf_vtype type = kv->type;
    if (type == TSR_GGUF_ARRAY) {
        type = kv->elem;
        put_u32(b, type);
        put_u64(b, kv->n);
    }
    if (type == TSR_GGUF_STRING)
        for (uint64_t i = 0; i < kv->n; i++) put_str(b, kv->strings[i].s, kv->strings[i].n);
    else
        tsr_buf_append(b, kv->data, (size_t)kv->n * tsr_gguf_vtype_size(type));
    return b->oom ? no_memory(w, err) : TSR_OK;
}

tsr_code tsr_gguf_writer_tensor(tsr_gguf_writer *w, const char *name, tsr_type type, int n_dims, const int64_t *ne,
                                tsr_error *err) {
    tsr_code code = check_collecting(w, err);
    if (code != TSR_OK) return code;
    char shown[160];
    tsr_printable(name, strlen(name), shown, sizeof shown);
    size_t n = strlen(name);
    if (n == 0 || n > TSR_GGUF_NAME_MAX)
        return tsr_fail(err, TSR_E_ARG, "%s: tensor name '%s' has %zu bytes, must have 1 to %d", w->file.label, shown,
                        n, TSR_GGUF_NAME_MAX);
    uint64_t n_elems, n_bytes, end;
    code = tsr_gguf_tensor_size(type, n_dims, ne, &n_elems, &n_bytes, err);
    if (code != TSR_OK) {
        tsr_fail_prefix(err, "%s: tensor '%s'", w->file.label, shown);
        return code;
    }
    if (__builtin_add_overflow(w->data_bytes, n_bytes, &end) || end > INT64_MAX - TSR_GGUF_ALIGNMENT_MAX)
        return tsr_fail(err, TSR_E_LIMIT, "%s: tensor '%s': the file would exceed 2^63 bytes", w->file.label, shown);
    char *copy = strdup(name);
    if (!copy || !one_more((void **)&w->tensors, w->n_tensors, &w->cap_tensors, sizeof *w->tensors)) {
        free(copy);
        return no_memory(w, err);
    }
    out_tensor *t = &w->tensors[w->n_tensors++];
    *t = (out_tensor){.name = copy, .type = type, .n_dims = n_dims, .n_bytes = n_bytes, .offset = w->data_bytes};
    memcpy(t->ne, ne, (size_t)n_dims * sizeof *ne);
    w->data_bytes = (end + w->alignment - 1) & ~(uint64_t)(w->alignment - 1);
    return TSR_OK;
}

/* --------------------------------------------------------------------------------------- header, directory */

/* Gives the first of several values of a key the last one's, and marks the others as gone (key NULL). */
static tsr_code settle_keys(tsr_gguf_writer *w, size_t *n_left, tsr_error *err) {
    tsr_gguf_entry *e = malloc((w->n_kv + 1) * sizeof *e);
    if (!e) return no_memory(w, err);
    for (size_t i = 0; i < w->n_kv; i++) e[i] = (tsr_gguf_entry){w->kv[i].key, i};
    tsr_gguf_entries_sort(e, w->n_kv);
    *n_left = 0;
    for (size_t i = 0, first; i < w->n_kv; (*n_left)++) {
        for (first = i++; i < w->n_kv && strcmp(e[i].name, e[first].name) == 0; i++) {
            out_kv *keep = &w->kv[e[first].i], *drop = &w->kv[e[i].i];
            tsr_buf_free(&keep->value);
            keep->value = drop->value;
            drop->value = (tsr_buf){0};
        }
        for (size_t k = first + 1; k < i; k++) {
            free(w->kv[e[k].i].key);
            w->kv[e[k].i].key = NULL;
        }
    }
    free(e);
    return TSR_OK;
}

static tsr_code check_names(const tsr_gguf_writer *w, tsr_error *err) {
    tsr_gguf_entry *e = malloc((w->n_tensors + 1) * sizeof *e);
    if (!e) return no_memory(w, err);
    for (size_t i = 0; i < w->n_tensors; i++) e[i] = (tsr_gguf_entry){w->tensors[i].name, i};
    tsr_gguf_entries_sort(e, w->n_tensors);
    tsr_code code = TSR_OK;
    for (size_t i = 1; i < w->n_tensors && code == TSR_OK; i++) {
        char shown[160];
        if (strcmp(e[i - 1].name, e[i].name) == 0)
            code = tsr_fail(err, TSR_E_ARG, "%s: tensor '%s' was added twice", w->file.label,
                            tsr_printable(e[i].name, strlen(e[i].name), shown, sizeof shown));
    }
    free(e);
    return code;
}

static void put_header(const tsr_gguf_writer *w, size_t n_kv, tsr_buf *b) {
    tsr_buf_puts(b, "GGUF");
    put_u32(b, 3);
    put_u64(b, w->n_tensors);
    put_u64(b, n_kv);
    for (size_t i = 0; i < w->n_kv; i++) {
        const out_kv *kv = &w->kv[i];
        if (!kv->key) continue;
        put_str(b, kv->key, strlen(kv->key));
        tsr_buf_append(b, kv->value.data, kv->value.len);
    }
    for (size_t i = 0; i < w->n_tensors; i++) {
        const out_tensor *t = &w->tensors[i];
        put_str(b, t->name, strlen(t->name));
        put_u32(b, (uint32_t)t->n_dims);
        for (int d = 0; d < t->n_dims; d++) put_u64(b, (uint64_t)t->ne[d]);
        put_u32(b, t->type);
        put_u64(b, t->offset);
    }
    while (b->len % w->alignment && !b->oom) tsr_buf_putc(b, '\0');
}

static tsr_code write_header(tsr_gguf_writer *w, tsr_error *err) {
    /* The alignment that holds is the one given to open(), whatever was copied from another file. */
    bool named = w->alignment != TSR_GGUF_ALIGNMENT;
    for (size_t i = 0; i < w->n_kv; i++) named |= strcmp(w->kv[i].key, "general.alignment") == 0;
    tsr_code code = named ? tsr_gguf_writer_u32(w, "general.alignment", w->alignment, err) : TSR_OK;
    size_t n_kv = 0;
    if (code == TSR_OK) code = check_names(w, err);
    if (code == TSR_OK) code = settle_keys(w, &n_kv, err);
    if (code != TSR_OK) return code;
    tsr_buf b = {0};
    put_header(w, n_kv, &b);
    code = b.oom ? no_memory(w, err) : tsr_outfile_reserve(&w->file, b.len + w->data_bytes, err);
    if (code == TSR_OK) code = tsr_outfile_write(&w->file, b.data, b.len, err);
    tsr_buf_free(&b);
    return code;
}

tsr_code tsr_gguf_writer_begin(tsr_gguf_writer *w, tsr_error *err) {
    tsr_code code = check_collecting(w, err);
    if (code != TSR_OK) return code;
    code = write_header(w, err);
    w->state = code == TSR_OK ? WRITING : BROKEN;
    return code;
}

/* ---------------------------------------------------------------------------------------------------- data */

static tsr_code write_padded(tsr_gguf_writer *w, const void *bytes, size_t n, tsr_error *err) {
    static const char zeros[4096];
    tsr_code code = tsr_outfile_write(&w->file, bytes, n, err);
    for (size_t pad = -n & (w->alignment - 1); pad > 0 && code == TSR_OK;) {
        size_t part = pad < sizeof zeros ? pad : sizeof zeros;
        code = tsr_outfile_write(&w->file, zeros, part, err);
        pad -= part;
    }
    return code;
}

tsr_code tsr_gguf_writer_data(tsr_gguf_writer *w, const void *bytes, size_t n, tsr_error *err) {
    if (w->state != WRITING || w->next == w->n_tensors)
        return tsr_fail(err, TSR_E_ARG, "%s: data without a tensor that waits for it", w->file.label);
    const out_tensor *t = &w->tensors[w->next];
    char shown[160];
    if (n != t->n_bytes)
        return tsr_fail(err, TSR_E_ARG, "%s: tensor '%s' has %llu bytes, %zu were given", w->file.label,
                        tsr_printable(t->name, strlen(t->name), shown, sizeof shown), (unsigned long long)t->n_bytes,
                        n);
    w->next++;
    tsr_code code = write_padded(w, bytes, n, err);
    if (code != TSR_OK) w->state = BROKEN;
    return code;
}

tsr_code tsr_gguf_writer_finish(tsr_gguf_writer *w, tsr_error *err) {
    tsr_code code;
    if (w->state == BROKEN)
        code = tsr_fail(err, TSR_E_ARG, "%s: writing has failed before", w->file.label);
    else if (w->state == COLLECTING)
        code = tsr_fail(err, TSR_E_ARG, "%s: the header was not written", w->file.label);
    else if (w->next < w->n_tensors)
        code = tsr_fail(err, TSR_E_ARG, "%s: %zu tensors of %zu were written", w->file.label, w->next, w->n_tensors);
    else
        code = tsr_outfile_commit(&w->file, err);
    if (code != TSR_OK) tsr_outfile_abort(&w->file); /* does nothing after a failed commit */
    writer_free(w);
    return code;
}
