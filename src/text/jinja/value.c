/* value.c: containers and iteration. */
#include "text/jinja/value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

tpl_val tpl_undefined(tpl_ctx *c, const char *fmt, ...) {
    char why[400];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof why ? (size_t)n : sizeof why - 1;
    char *copy = tpl_alloc(c, len + 1);
    memcpy(copy, why, len);
    tpl_undef *u = tpl_alloc(c, sizeof *u);
    u->why = copy;
    return (tpl_val){.type = TPL_UNDEFINED, .u.undef = u};
}

/* -------------------------------------------------------------------------------------------- sequences */

tpl_seq *tpl_seq_new(tpl_ctx *c, size_t cap) {
    tpl_seq *q = tpl_alloc(c, sizeof *q);
    if (cap) q->items = tpl_array(c, cap, sizeof *q->items);
    q->cap = cap;
    return q;
}

void tpl_seq_push(tpl_ctx *c, tpl_seq *q, tpl_val v) {
    if (q->n == q->cap) {
        size_t cap = q->cap ? q->cap * 2 : 8;
        q->items = tpl_grow(c, q->items, q->n, cap, sizeof *q->items);
        q->cap = cap;
    }
    q->items[q->n++] = v;
}

tpl_val tpl_generator(tpl_seq *q) {
    q->what = "generator";
    return tpl_of_seq(TPL_ITER, q);
}

/* ------------------------------------------------------------------------------------------- dictionaries */

enum { SMALL_DICT = 8 };

tpl_dict *tpl_dict_new(tpl_ctx *c) { return tpl_alloc(c, sizeof(tpl_dict)); }

/* Where key is, or belongs, in the index. */
static size_t probe(tpl_ctx *c, const tpl_dict *d, tpl_val key) {
    size_t mask = d->index_size - 1, i = (size_t)tpl_hash(c, key) & mask;
    while (d->index[i] && !tpl_equal(c, d->entries[d->index[i] - 1].key, key)) i = (i + 1) & mask;
    return i;
}

static void reindex(tpl_ctx *c, tpl_dict *d) {
    if (d->n <= SMALL_DICT) {
        d->index = NULL;
        return;
    }
    if (!d->index || d->index_size < d->n * 2) {
        d->index_size = 32;
        while (d->index_size < d->n * 3) d->index_size *= 2;
        d->index = tpl_array(c, d->index_size, sizeof *d->index);
    } else {
        memset(d->index, 0, d->index_size * sizeof *d->index);
    }
    for (size_t i = 0; i < d->n; i++) d->index[probe(c, d, d->entries[i].key)] = (uint32_t)i + 1;
}

tpl_val *tpl_dict_find(tpl_ctx *c, const tpl_dict *d, tpl_val key) {
    if (key.type == TPL_STR) return tpl_dict_find_str(c, d, key.u.str);
    (void)tpl_hash(c, key); /* an unhashable key is an error even in an empty dict */
    if (d->index) {
        uint32_t e = d->index[probe(c, d, key)];
        return e ? &d->entries[e - 1].value : NULL;
    }
    for (size_t i = 0; i < d->n; i++)
        if (tpl_equal(c, d->entries[i].key, key)) return &d->entries[i].value;
    return NULL;
}

tpl_val *tpl_dict_find_str(tpl_ctx *c, const tpl_dict *d, const tpl_str *key) {
    if (d->index) {
        uint32_t e = d->index[probe(c, d, tpl_of_str(key))];
        return e ? &d->entries[e - 1].value : NULL;
    }
    for (size_t i = 0; i < d->n; i++) {
        const tpl_val *k = &d->entries[i].key;
        if (k->type == TPL_STR && tpl_str_eq(k->u.str, key)) return &d->entries[i].value;
    }
    return NULL;
}

void tpl_dict_set(tpl_ctx *c, tpl_dict *d, tpl_val key, tpl_val value) {
    tpl_val *known = tpl_dict_find(c, d, key);
    if (known) {
        *known = value;
        return;
    }
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 4;
        d->entries = tpl_grow(c, d->entries, d->n, cap, sizeof *d->entries);
        d->cap = cap;
    }
    d->entries[d->n++] = (tpl_entry){key, value};
    if (!d->index || d->index_size < d->n * 2) reindex(c, d);
    else d->index[probe(c, d, key)] = (uint32_t)d->n;
}

bool tpl_dict_remove(tpl_ctx *c, tpl_dict *d, tpl_val key) {
    tpl_val *value = tpl_dict_find(c, d, key);
    if (!value) return false;
    size_t i = (size_t)((tpl_entry *)((char *)value - offsetof(tpl_entry, value)) - d->entries);
    tpl_work(c, d->n);
    memmove(d->entries + i, d->entries + i + 1, (d->n - i - 1) * sizeof *d->entries);
    d->n--;
    reindex(c, d);
    return true;
}

/* --------------------------------------------------------------------------------------------- iteration */

bool tpl_is_iterable(tpl_val v) {
    return v.type == TPL_UNDEFINED || (v.type >= TPL_STR && v.type <= TPL_DICT) || v.type == TPL_LOOP;
}

tpl_iter tpl_iterate(tpl_ctx *c, tpl_val v) {
    if (!tpl_is_iterable(v) || v.type == TPL_LOOP) tpl_fail(c, "'%s' object is not iterable", tpl_type_name(v));
    return (tpl_iter){.src = v};
}

bool tpl_next(tpl_ctx *c, tpl_iter *it, tpl_val *out) {
    tpl_work(c, 1);
    switch (it->src.type) {
    case TPL_STR: {
        const tpl_str *s = it->src.u.str;
        if (it->i >= s->n) return false;
        size_t len = 1;
        while (it->i + len < s->n && (s->s[it->i + len] & 0xc0) == 0x80) len++;
        *out = tpl_of_str(tpl_bytes(c, s, it->i, it->i + len));
        it->i += len;
        return true;
    }
    case TPL_LIST: case TPL_TUPLE: case TPL_VIEW:
        if (it->i >= it->src.u.seq->n) return false;
        *out = it->src.u.seq->items[it->i++];
        return true;
    case TPL_ITER: {
        tpl_seq *q = it->src.u.seq;
        if (q->pos >= q->n) return false;
        *out = q->items[q->pos++];
        return true;
    }
    case TPL_RANGE: {
        const tpl_range *g = it->src.u.range;
        if (it->i >= g->n) return false;
        *out = tpl_int(g->start + (int64_t)it->i++ * g->step);
        return true;
    }
    case TPL_DICT: {
        const tpl_dict *d = it->src.u.dict;
        if (it->i >= d->n) return false;
        *out = d->entries[it->i++].key;
        return true;
    }
    default: return false;
    }
}

tpl_seq *tpl_to_list(tpl_ctx *c, tpl_val v) {
    tpl_iter it = tpl_iterate(c, v);
    size_t n = 0;
    tpl_length(v, &n);
    tpl_seq *q = tpl_seq_new(c, n);
    tpl_val item;
    while (tpl_next(c, &it, &item)) tpl_seq_push(c, q, item);
    return q;
}

bool tpl_length(tpl_val v, size_t *n) {
    switch (v.type) {
    case TPL_UNDEFINED: *n = 0; return true;
    case TPL_STR: *n = v.u.str->n_chars; return true;
    case TPL_LIST: case TPL_TUPLE: case TPL_VIEW: *n = v.u.seq->n; return true;
    case TPL_RANGE: *n = v.u.range->n; return true;
    case TPL_DICT: *n = v.u.dict->n; return true;
    default: return false;
    }
}

/* --------------------------------------------------------------------------------------------------- types */

const char *tpl_type_name(tpl_val v) {
    switch (v.type) {
    case TPL_ABSENT: return "missing";
    case TPL_UNDEFINED: return "Undefined";
    case TPL_NONE: return "NoneType";
    case TPL_BOOL: return "bool";
    case TPL_INT: return "int";
    case TPL_FLOAT: return "float";
    case TPL_STR: return v.u.str->markup ? "Markup" : "str";
    case TPL_LIST: return "list";
    case TPL_TUPLE: return "tuple";
    case TPL_RANGE: return "range";
    case TPL_ITER: case TPL_VIEW: return v.u.seq->what;
    case TPL_DICT: return "dict";
    case TPL_NAMESPACE: return "Namespace";
    case TPL_FUNC: return "function";
    case TPL_LOOP: return "LoopContext";
    case TPL_CYCLER: return "Cycler";
    case TPL_JOINER: return "Joiner";
    }
    return "value";
}

bool tpl_truth(tpl_val v) {
    size_t n;
    switch (v.type) {
    case TPL_ABSENT: case TPL_UNDEFINED: case TPL_NONE: return false;
    case TPL_BOOL: return v.u.b;
    case TPL_INT: return v.u.i != 0;
    case TPL_FLOAT: return v.u.f != 0;
    default: return tpl_length(v, &n) ? n > 0 : true;
    }
}

bool tpl_is_number(tpl_val v, double *f, int64_t *i) {
    *i = v.type == TPL_BOOL ? v.u.b : v.type == TPL_INT ? v.u.i : 0;
    *f = v.type == TPL_FLOAT ? v.u.f : (double)*i;
    return v.type == TPL_BOOL || v.type == TPL_INT || v.type == TPL_FLOAT;
}

int64_t tpl_need_int(tpl_ctx *c, tpl_val v, const char *what) {
    if (v.type == TPL_BOOL) return v.u.b;
    if (v.type != TPL_INT) tpl_fail(c, "%s must be an integer, not '%s'", what, tpl_type_name(v));
    return v.u.i;
}

const tpl_str *tpl_need_str(tpl_ctx *c, tpl_val v, const char *what) {
    if (v.type != TPL_STR) tpl_fail(c, "%s must be a string, not '%s'", what, tpl_type_name(v));
    return v.u.str;
}
