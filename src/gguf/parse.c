/* parse.c: one GGUF file image -> keys and tensors. Every read is checked against the end of the image, and nothing
 * is allocated before the bytes that justify it were seen. The image is a mapped file that others may write to while
 * it is read, so no value is fetched twice with the check made only once. */
#include "gguf/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Least bytes of an entry: length, 1 byte of name and type, then 1 byte of value, or dims, 1 dimension and offset. */
enum { KV_MIN_BYTES = 8 + 1 + 4 + 1, TENSOR_MIN_BYTES = 8 + 1 + 4 + 4 + 8 + 8 };

typedef struct parser {
    tsr_gguf *g;
    const uint8_t *base;
    size_t size, pos;
    char label[TSR_GGUF_LABEL]; /* the file, in messages */
    char where[256];            /* what is being read, in messages */
    tsr_error *err;
} parser;

size_t tsr_gguf_vtype_size(uint32_t type) {
    static const uint8_t sizes[TSR_GGUF_VTYPE_COUNT] = {
        [TSR_GGUF_U8] = 1,  [TSR_GGUF_I8] = 1,  [TSR_GGUF_BOOL] = 1, [TSR_GGUF_U16] = 2,
        [TSR_GGUF_I16] = 2, [TSR_GGUF_U32] = 4, [TSR_GGUF_I32] = 4,  [TSR_GGUF_F32] = 4,
        [TSR_GGUF_U64] = 8, [TSR_GGUF_I64] = 8, [TSR_GGUF_F64] = 8,
    };
    return type < TSR_GGUF_VTYPE_COUNT ? sizes[type] : 0;
}

bool tsr_gguf_alignment_ok(uint64_t alignment) {
    return alignment >= 8 && alignment <= TSR_GGUF_ALIGNMENT_MAX && (alignment & (alignment - 1)) == 0;
}

/* ------------------------------------------------------------------------------------------- checked reads */

static tsr_code truncated(const parser *p) {
    return tsr_fail(p->err, TSR_E_FORMAT,
                    "%s: the file ends inside %s (it has %zu bytes); it is truncated or damaged: "
                    "download or copy it again",
                    p->label, p->where, p->size);
}

static tsr_code no_memory(const parser *p) {
    return tsr_fail(p->err, TSR_E_NOMEM, "%s: out of memory while reading %s", p->label, p->where);
}

/* The next n bytes, or NULL with the message set. */
static const uint8_t *take(parser *p, uint64_t n) {
    if (n > p->size - p->pos) {
        truncated(p);
        return NULL;
    }
    const uint8_t *bytes = p->base + p->pos;
    p->pos += (size_t)n;
    return bytes;
}

static bool take_u32(parser *p, uint32_t *v) {
    const uint8_t *bytes = take(p, sizeof *v);
    if (bytes) memcpy(v, bytes, sizeof *v);
    return bytes != NULL;
}

static bool take_u64(parser *p, uint64_t *v) {
    const uint8_t *bytes = take(p, sizeof *v);
    if (bytes) memcpy(v, bytes, sizeof *v);
    return bytes != NULL;
}

static bool take_str(parser *p, tsr_str *s) {
    uint64_t n;
    if (!take_u64(p, &n)) return false;
    const uint8_t *bytes = take(p, n);
    *s = (tsr_str){(const char *)bytes, (size_t)n};
    return bytes != NULL;
}

/* A key or tensor name as a NUL-terminated copy. p->where says whose. */
static tsr_code read_name(parser *p, size_t max, char **out) {
    uint64_t n;
    if (!take_u64(p, &n)) return TSR_E_FORMAT;
    if (n == 0) return tsr_fail(p->err, TSR_E_FORMAT, "%s: %s is empty; the file is damaged", p->label, p->where);
    if (n > max)
        return tsr_fail(p->err, TSR_E_FORMAT, "%s: %s has %llu bytes, GGUF allows %zu; the file is damaged", p->label,
                        p->where, (unsigned long long)n, max);
    const uint8_t *bytes = take(p, n);
    if (!bytes) return TSR_E_FORMAT;
    char *name = malloc((size_t)n + 1);
    if (!name) return no_memory(p);
    memcpy(name, bytes, (size_t)n);
    name[n] = '\0';
    if (strlen(name) != n) {
        char shown[128];
        tsr_fail(p->err, TSR_E_FORMAT, "%s: %s contains a NUL byte: '%s'", p->label, p->where,
                 tsr_printable(name, (size_t)n, shown, sizeof shown));
        free(name);
        return TSR_E_FORMAT;
    }
    *out = name;
    return TSR_OK;
}

/* Room for one more item behind `used`, zeroed. Counts in the file are not believed: arrays grow with what is read. */
static void *one_more(void *items, size_t used, size_t size) {
    bool full = used == 0 || (used >= 64 && (used & (used - 1)) == 0); /* capacities: 64, 128, 256, ... */
    if (full) {
        void *bigger = realloc(items, (used ? used * 2 : 64) * size);
        if (!bigger) return NULL;
        items = bigger;
    }
    memset((char *)items + used * size, 0, size);
    return items;
}

/* ------------------------------------------------------------------------------------------------ metadata */

static tsr_code check_bools(const parser *p, const uint8_t *v, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        if (v[i] > 1)
            return tsr_fail(p->err, TSR_E_FORMAT, "%s: %s holds %d as a bool, must be 0 or 1; the file is damaged",
                            p->label, p->where, v[i]);
    return TSR_OK;
}

static tsr_code read_strings(parser *p, tsr_gguf_kv *kv) {
    size_t start = p->pos;
    tsr_str s;
    for (uint64_t i = 0; i < kv->n; i++)
        if (!take_str(p, &s)) return TSR_E_FORMAT;
    /* Only now is it known that the array is really there. The second walk checks again: see above. */
    p->pos = start;
    kv->strings = calloc(kv->n ? (size_t)kv->n : 1, sizeof *kv->strings);
    if (!kv->strings) return no_memory(p);
    for (uint64_t i = 0; i < kv->n; i++)
        if (!take_str(p, &kv->strings[i])) return TSR_E_FORMAT;
    return TSR_OK;
}

static tsr_code read_values(parser *p, tsr_gguf_kv *kv, uint32_t type) {
    if (type == TSR_GGUF_STRING) return read_strings(p, kv);
    size_t size = tsr_gguf_vtype_size(type);
    if (kv->n > (p->size - p->pos) / size) return truncated(p);
    const uint8_t *bytes = take(p, kv->n * size);
    if (!bytes) return TSR_E_FORMAT;
    kv->data = bytes;
    return type == TSR_GGUF_BOOL ? check_bools(p, bytes, kv->n) : TSR_OK;
}

static tsr_code read_kv(parser *p, uint64_t i, uint64_t n, tsr_gguf_kv *kv) {
    snprintf(p->where, sizeof p->where, "the name of metadata key %llu of %llu", (unsigned long long)i + 1,
             (unsigned long long)n);
    tsr_code code = read_name(p, TSR_GGUF_KEY_MAX, &kv->key);
    if (code != TSR_OK) return code;
    char shown[160];
    tsr_printable(kv->key, strlen(kv->key), shown, sizeof shown);
    snprintf(p->where, sizeof p->where, "key '%s'", shown);

    uint32_t type, elem;
    if (!take_u32(p, &type)) return TSR_E_FORMAT;
    if (type >= TSR_GGUF_VTYPE_COUNT)
        return tsr_fail(p->err, TSR_E_FORMAT, "%s: %s has the unknown value type %u; the file is damaged", p->label,
                        p->where, type);
    kv->type = (tsr_gguf_vtype)type;
    kv->n = 1;
    if (type != TSR_GGUF_ARRAY) return read_values(p, kv, type);

    if (!take_u32(p, &elem)) return TSR_E_FORMAT;
    if (elem == TSR_GGUF_ARRAY)
        return tsr_fail(p->err, TSR_E_UNSUPPORTED, "%s: %s is an array of arrays, which Tessera does not read",
                        p->label, p->where);
    if (elem >= TSR_GGUF_VTYPE_COUNT)
        return tsr_fail(p->err, TSR_E_FORMAT, "%s: %s is an array of the unknown value type %u; the file is damaged",
                        p->label, p->where, elem);
    kv->elem = (tsr_gguf_vtype)elem;
    if (!take_u64(p, &kv->n)) return TSR_E_FORMAT;
    return read_values(p, kv, elem);
}

static tsr_code read_alignment(parser *p, const tsr_gguf_kv *kv) {
    if (kv->type != TSR_GGUF_U32)
        return tsr_fail(p->err, TSR_E_FORMAT, "%s: key 'general.alignment' is of type %s, must be u32", p->label,
                        tsr_gguf_vtype_name(kv->type));
    uint32_t alignment;
    memcpy(&alignment, kv->data, sizeof alignment);
    if (!tsr_gguf_alignment_ok(alignment))
        return tsr_fail(p->err, TSR_E_FORMAT, "%s: key 'general.alignment' is %u, must be a power of two from 8 to %u",
                        p->label, alignment, TSR_GGUF_ALIGNMENT_MAX);
    p->g->alignment = alignment;
    return TSR_OK;
}

static tsr_code read_metadata(parser *p, uint64_t n) {
    tsr_gguf *g = p->g;
    g->alignment = TSR_GGUF_ALIGNMENT;
    for (uint64_t i = 0; i < n; i++) {
        tsr_gguf_kv *items = one_more(g->kv, g->n_kv, sizeof *g->kv);
        if (!items) return no_memory(p);
        g->kv = items;
        tsr_gguf_kv *kv = &items[g->n_kv++];
        tsr_code code = read_kv(p, i, n, kv);
        if (code == TSR_OK && strcmp(kv->key, "general.alignment") == 0) code = read_alignment(p, kv);
        if (code != TSR_OK) return code;
    }
    return TSR_OK;
}

/* ------------------------------------------------------------------------------------------------- tensors */

tsr_code tsr_gguf_tensor_size(uint32_t type, int n_dims, const int64_t *ne, uint64_t *n_elems, uint64_t *n_bytes,
                              tsr_error *err) {
    const tsr_type_info *info = tsr_type_get(type);
    if (!info)
        return tsr_fail(err, TSR_E_UNSUPPORTED,
                        "type %u is unknown to Tessera (newer than it, or removed from GGUF): "
                        "use another quantisation of this model",
                        type);
    if (n_dims < 1 || n_dims > 4) return tsr_fail(err, TSR_E_FORMAT, "%u dimensions, must be 1 to 4", (unsigned)n_dims);
    int64_t elems = 1, bytes;
    for (int d = 0; d < n_dims; d++) {
        if (ne[d] < 1)
            return tsr_fail(err, TSR_E_FORMAT, "dimension %d is %llu, must be 1 to 2^63 - 1", d,
                            (unsigned long long)ne[d]);
        if (__builtin_mul_overflow(elems, ne[d], &elems))
            return tsr_fail(err, TSR_E_FORMAT, "more elements than 2^63 - 1");
    }
    if (ne[0] % info->block_elems)
        return tsr_fail(err, TSR_E_FORMAT, "rows of %lld weights, but %s comes in blocks of %d", (long long)ne[0],
                        info->name, info->block_elems);
    if (__builtin_mul_overflow(elems / info->block_elems, (int64_t)info->block_bytes, &bytes))
        return tsr_fail(err, TSR_E_FORMAT, "more bytes than 2^63 - 1");
    *n_elems = (uint64_t)elems;
    *n_bytes = (uint64_t)bytes;
    return TSR_OK;
}

static tsr_code read_tensor(parser *p, uint64_t i, uint64_t n, tsr_gguf_tensor *t) {
    snprintf(p->where, sizeof p->where, "the name of tensor %llu of %llu", (unsigned long long)i + 1,
             (unsigned long long)n);
    tsr_code code = read_name(p, TSR_GGUF_NAME_MAX, &t->name);
    if (code != TSR_OK) return code;
    char shown[160];
    tsr_printable(t->name, strlen(t->name), shown, sizeof shown);
    snprintf(p->where, sizeof p->where, "tensor '%s'", shown);

    uint32_t n_dims, type;
    if (!take_u32(p, &n_dims)) return TSR_E_FORMAT;
    if (n_dims < 1 || n_dims > 4)
        return tsr_fail(p->err, TSR_E_FORMAT, "%s: %s: %u dimensions, must be 1 to 4", p->label, p->where, n_dims);
    t->n_dims = (int)n_dims;
    for (int d = 0; d < 4; d++) t->ne[d] = 1;
    for (int d = 0; d < t->n_dims; d++) {
        uint64_t ne;
        if (!take_u64(p, &ne)) return TSR_E_FORMAT;
        t->ne[d] = (int64_t)ne; /* beyond 2^63 it turns negative and is refused as such */
    }
    if (!take_u32(p, &type) || !take_u64(p, &t->offset)) return TSR_E_FORMAT;
    code = tsr_gguf_tensor_size(type, t->n_dims, t->ne, &t->n_elems, &t->n_bytes, p->err);
    if (code != TSR_OK) {
        tsr_fail_prefix(p->err, "%s: %s", p->label, p->where);
        return code;
    }
    t->type = (tsr_type)type;
    return TSR_OK;
}

/* Offsets in the directory count from the start of the data section; from here on from the start of the file. */
static tsr_code place_tensor(const parser *p, uint64_t data_start, tsr_gguf_tensor *t) {
    char name[160];
    tsr_printable(t->name, strlen(t->name), name, sizeof name);
    if (t->offset % p->g->alignment)
        return tsr_fail(p->err, TSR_E_FORMAT, "%s: tensor '%s': offset %llu is not a multiple of the alignment %u",
                        p->label, name, (unsigned long long)t->offset, p->g->alignment);
    uint64_t room = data_start < p->size ? p->size - data_start : 0;
    if (t->offset > room || t->n_bytes > room - t->offset)
        return tsr_fail(p->err, TSR_E_FORMAT,
                        "%s: tensor '%s' (%llu bytes at offset %llu of the data) ends beyond the file (%zu bytes): "
                        "it is incomplete or damaged, download or copy it again",
                        p->label, name, (unsigned long long)t->n_bytes, (unsigned long long)t->offset, p->size);
    t->offset += data_start;
    t->data = p->base + t->offset;
    return TSR_OK;
}

static int by_offset(const void *a, const void *b) {
    const tsr_gguf_tensor *x = *(const tsr_gguf_tensor *const *)a, *y = *(const tsr_gguf_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static tsr_code check_overlap(const parser *p) {
    const tsr_gguf *g = p->g;
    const tsr_gguf_tensor **sorted = malloc((g->n_tensors ? g->n_tensors : 1) * sizeof *sorted);
    if (!sorted) return no_memory(p);
    for (size_t i = 0; i < g->n_tensors; i++) sorted[i] = &g->tensors[i];
    qsort(sorted, g->n_tensors, sizeof *sorted, by_offset);
    tsr_code code = TSR_OK;
    for (size_t i = 1; i < g->n_tensors && code == TSR_OK; i++) {
        const tsr_gguf_tensor *a = sorted[i - 1], *b = sorted[i];
        if (b->offset - a->offset >= a->n_bytes) continue;
        char x[160], y[160];
        code = tsr_fail(p->err, TSR_E_FORMAT, "%s: the data of tensors '%s' and '%s' overlap; the file is damaged",
                        p->label, tsr_printable(a->name, strlen(a->name), x, sizeof x),
                        tsr_printable(b->name, strlen(b->name), y, sizeof y));
    }
    free(sorted);
    return code;
}

static tsr_code read_directory(parser *p, uint64_t n) {
    tsr_gguf *g = p->g;
    for (uint64_t i = 0; i < n; i++) {
        tsr_gguf_tensor *items = one_more(g->tensors, g->n_tensors, sizeof *g->tensors);
        if (!items) return no_memory(p);
        g->tensors = items;
        tsr_code code = read_tensor(p, i, n, &items[g->n_tensors++]);
        if (code != TSR_OK) return code;
    }
    uint64_t data_start = ((uint64_t)p->pos + g->alignment - 1) & ~(uint64_t)(g->alignment - 1);
    for (size_t i = 0; i < g->n_tensors; i++) {
        tsr_code code = place_tensor(p, data_start, &g->tensors[i]);
        if (code != TSR_OK) return code;
    }
    return check_overlap(p);
}

/* -------------------------------------------------------------------------------------------------- header */

static tsr_code check_version(const parser *p, uint32_t version) {
    if (version == 2 || version == 3) return TSR_OK;
    if (version == 1)
        return tsr_fail(p->err, TSR_E_UNSUPPORTED,
                        "%s: GGUF version 1 (August 2023) is no longer read; convert the model again, or get a newer "
                        "file",
                        p->label);
    if (version != 0 && (version & 0xffff) == 0)
        return tsr_fail(p->err, TSR_E_UNSUPPORTED,
                        "%s: a big-endian GGUF file (version %u); Tessera reads little-endian ones: get or convert "
                        "the little-endian model",
                        p->label, __builtin_bswap32(version));
    return tsr_fail(p->err, TSR_E_UNSUPPORTED, "%s: GGUF version %u, Tessera reads 2 and 3%s", p->label, version,
                    version > 3 ? "; a newer Tessera may read it, or the file is damaged" : "; the file is damaged");
}

static tsr_code check_count(const parser *p, const char *what, uint64_t n, size_t min_bytes) {
    if (n > TSR_GGUF_COUNT_MAX)
        return tsr_fail(p->err, TSR_E_LIMIT, "%s: the header announces %llu %s, Tessera takes %u; the file is damaged",
                        p->label, (unsigned long long)n, what, TSR_GGUF_COUNT_MAX);
    if (n > (p->size - p->pos) / min_bytes)
        return tsr_fail(p->err, TSR_E_FORMAT,
                        "%s: the header announces %llu %s, more than a file of %zu bytes can hold; it is truncated or "
                        "damaged: download or copy it again",
                        p->label, (unsigned long long)n, what, p->size);
    return TSR_OK;
}

tsr_code tsr_gguf_read_image(tsr_gguf *g, tsr_error *err) {
    parser p = {.g = g, .base = g->files[0].base, .size = g->files[0].size, .err = err};
    tsr_gguf_label(g, 0, p.label);
    if (p.size < 4 || memcmp(p.base, "GGUF", 4) != 0) return tsr_gguf_refuse_foreign(p.label, p.base, p.size, err);
    p.pos = 4;
    snprintf(p.where, sizeof p.where, "the header");
    uint32_t version;
    uint64_t n_tensors, n_kv;
    if (!take_u32(&p, &version)) return TSR_E_FORMAT;
    tsr_code code = check_version(&p, version);
    if (code != TSR_OK) return code;
    g->version = version;
    if (!take_u64(&p, &n_tensors) || !take_u64(&p, &n_kv)) return TSR_E_FORMAT;
    code = check_count(&p, "tensors", n_tensors, TENSOR_MIN_BYTES);
    if (code == TSR_OK) code = check_count(&p, "metadata keys", n_kv, KV_MIN_BYTES);
    if (code == TSR_OK) code = read_metadata(&p, n_kv);
    if (code == TSR_OK) code = read_directory(&p, n_tensors);
    if (code == TSR_OK) code = tsr_gguf_index_build(g, err);
    return code;
}
