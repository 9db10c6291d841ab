#include "cli/placement.h"

#include "cli/term.h"

#include <stdlib.h>
#include <string.h>

/* Tensors that are alike. */
typedef struct group {
    char role[128];       /* "blk.*.attn_q.weight"; "": tensors of any name */
    tsr_tensor_info like; /* one of them */
    size_t count;
    uint64_t bytes, buffer_bytes;
} group;

/* The name, with * for each part between dots that is a number. */
static void role_of(const char *name, char *out, size_t cap) {
    size_t at = 0;
    while (*name && at + 2 < cap) {
        size_t digits = strspn(name, "0123456789");
        if (digits && (name[digits] == '.' || name[digits] == '\0')) {
            out[at++] = '*';
            name += digits;
        }
        size_t n = strcspn(name, ".");
        n += name[n] == '.';
        if (n > cap - 2 - at) n = cap - 2 - at;
        memcpy(out + at, name, n);
        at += n;
        name += n;
    }
    out[at] = '\0';
}

static bool alike(const group *a, const group *b) {
    const tsr_tensor_info *s = &a->like, *t = &b->like;
    return strcmp(a->role, b->role) == 0 && strcmp(s->type, t->type) == 0 && strcmp(s->buffer, t->buffer) == 0 && strcmp(s->layout, t->layout) == 0 &&
           strcmp(s->kernel, t->kernel) == 0 && strcmp(s->reason, t->reason) == 0;
}

/* The groups, in the order of their first tensors; the caller's to free. Neighbours in a file are rarely alike, but layers are: the search
 * begins at the front, where the first layer's are. */
static group *group_tensors(const tsr_model *model, bool by_role, size_t *n_groups) {
    size_t n = tsr_model_n_tensors(model);
    group *list = calloc(n + 1, sizeof *list);
    *n_groups = 0;
    for (size_t i = 0; list && i < n; i++) {
        group one = {.count = 0};
        if (!tsr_model_tensor(model, i, &one.like)) continue;
        if (by_role) role_of(one.like.name, one.role, sizeof one.role);
        size_t k = 0;
        while (k < *n_groups && !alike(&list[k], &one)) k++;
        if (k == *n_groups) list[(*n_groups)++] = one;
        list[k].count++;
        list[k].bytes += one.like.n_bytes;
        list[k].buffer_bytes += one.like.buffer_bytes;
    }
    return list;
}

static int by_bytes(const void *a, const void *b) {
    const group *x = a, *y = b;
    return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : strcmp(x->like.type, y->like.type);
}

/* Where it is, what computes with it, and why. */
static void put_place(FILE *f, const tsr_tensor_info *t) {
    fprintf(f, "%-8s %-13s %s", t->buffer, t->layout, t->kernel);
    if (*t->reason) {
        fprintf(f, " (");
        put_clean(f, t->reason, strlen(t->reason), true);
        putc(')', f);
    }
    putc('\n', f);
}

void show_placement(FILE *f, const tsr_model *model) {
    size_t n;
    group *list = group_tensors(model, false, &n);
    if (!list) return;
    qsort(list, n, sizeof *list, by_bytes);
    fprintf(f, "%s%-8s %7s %9s  %-8s %-13s %s%s\n", term_style(f, STYLE_BOLD), "format", "tensors", "size", "buffer",
            "layout", "kernel", term_style(f, STYLE_NONE));
    for (size_t k = 0; k < n; k++) {
        char size[32];
        fprintf(f, "%-8s %7zu %9s  ", list[k].like.type, list[k].count, show_bytes(list[k].bytes, size, sizeof size));
        put_place(f, &list[k].like);
    }
    free(list);
}

void show_buffers(FILE *f, const tsr_model *model) {
    size_t n, widest = strlen("tensors");
    group *list = group_tensors(model, true, &n);
    if (!list) return;
    for (size_t k = 0; k < n; k++)
        if (strlen(list[k].role) > widest) widest = strlen(list[k].role);
    fprintf(f, "%s%-*s %5s  %-8s %9s %9s  %-8s %-13s %s%s\n", term_style(f, STYLE_BOLD), (int)widest, "tensors", "count", "format", "size",
            "in memory", "buffer", "layout", "kernel", term_style(f, STYLE_NONE));
    for (size_t k = 0; k < n; k++) {
        char size[32], memory[32];
        put_clean(f, list[k].role, strlen(list[k].role), true);
        fprintf(f, "%*s %5zu  %-8s %9s %9s  ", (int)(widest - strlen(list[k].role)), "", list[k].count, list[k].like.type,
                show_bytes(list[k].bytes, size, sizeof size), show_bytes(list[k].buffer_bytes, memory, sizeof memory));
        put_place(f, &list[k].like);
    }
    free(list);
}

json_t *buffers_json(const tsr_model *model) {
    size_t n;
    group *list = group_tensors(model, true, &n);
    json_t *out = json_array();
    for (size_t k = 0; list && k < n; k++) {
        const tsr_tensor_info *t = &list[k].like;
        json_array_append_new(out, json_pack("{ss sI ss sI sI ss ss ss ss}", "tensors", list[k].role, "count", (json_int_t)list[k].count, "format",
                                             t->type, "bytes", (json_int_t)list[k].bytes, "buffer_bytes", (json_int_t)list[k].buffer_bytes,
                                             "buffer", t->buffer, "layout", t->layout, "kernel", t->kernel, "reason", t->reason));
    }
    free(list);
    return out;
}
