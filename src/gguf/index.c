/* index.c: finding keys and tensors by name. */
#include "gguf/internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct name_index {
    tsr_gguf_entry *keys;    /* [n_kv] sorted by name */
    tsr_gguf_entry *tensors; /* [n_tensors] sorted by name */
} name_index;

static int by_name(const void *a, const void *b) {
    const tsr_gguf_entry *x = a, *y = b;
    int c = strcmp(x->name, y->name);
    return c ? c : (x->i > y->i) - (x->i < y->i);
}

void tsr_gguf_entries_sort(tsr_gguf_entry *e, size_t n) { qsort(e, n, sizeof *e, by_name); }

static const tsr_gguf_entry *find_duplicate(const tsr_gguf_entry *e, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (strcmp(e[i - 1].name, e[i].name) == 0) return &e[i];
    return NULL;
}

static const tsr_gguf_entry *find(const tsr_gguf_entry *e, size_t n, const char *name) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(name, e[mid].name);
        if (c == 0) return &e[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

void tsr_gguf_index_free(tsr_gguf *g) {
    name_index *x = g->index;
    if (!x) return;
    free(x->keys);
    free(x->tensors);
    free(x);
    g->index = NULL;
}

static tsr_code fail_duplicate(const tsr_gguf *g, const char *what, int file, const char *name, tsr_error *err) {
    char label[TSR_GGUF_LABEL], shown[160];
    return tsr_fail(err, TSR_E_FORMAT, "%s: %s '%s' occurs twice; the file is damaged", tsr_gguf_label(g, file, label),
                    what, tsr_printable(name, strlen(name), shown, sizeof shown));
}

tsr_code tsr_gguf_index_build(tsr_gguf *g, tsr_error *err) {
    tsr_gguf_index_free(g);
    name_index *x = calloc(1, sizeof *x);
    g->index = x;
    if (x) {
        x->keys = malloc((g->n_kv + 1) * sizeof *x->keys);
        x->tensors = malloc((g->n_tensors + 1) * sizeof *x->tensors);
    }
    if (!x || !x->keys || !x->tensors) {
        char label[TSR_GGUF_LABEL];
        return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory for the index of names", tsr_gguf_label(g, 0, label));
    }
    for (size_t i = 0; i < g->n_kv; i++) x->keys[i] = (tsr_gguf_entry){g->kv[i].key, i};
    for (size_t i = 0; i < g->n_tensors; i++) x->tensors[i] = (tsr_gguf_entry){g->tensors[i].name, i};
    tsr_gguf_entries_sort(x->keys, g->n_kv);
    tsr_gguf_entries_sort(x->tensors, g->n_tensors);

    const tsr_gguf_entry *twice = find_duplicate(x->keys, g->n_kv);
    if (twice) return fail_duplicate(g, "key", 0, twice->name, err);
    twice = find_duplicate(x->tensors, g->n_tensors);
    if (twice) return fail_duplicate(g, "tensor", g->tensors[twice->i].file, twice->name, err);
    return TSR_OK;
}

const tsr_gguf_kv *tsr_gguf_find(const tsr_gguf *g, const char *key) {
    const name_index *x = g->index;
    const tsr_gguf_entry *e = find(x->keys, g->n_kv, key);
    return e ? &g->kv[e->i] : NULL;
}

const tsr_gguf_tensor *tsr_gguf_find_tensor(const tsr_gguf *g, const char *name) {
    const name_index *x = g->index;
    const tsr_gguf_entry *e = find(x->tensors, g->n_tensors, name);
    return e ? &g->tensors[e->i] : NULL;
}
