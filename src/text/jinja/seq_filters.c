/* seq_filters.c: filters on sequences and mappings. */
#include "text/jinja/run.h"

#include <string.h>

static bool given(tpl_val v) { return v.type != TPL_ABSENT && v.type != TPL_NONE; }

tpl_val tpl_ignore_case(tpl_ctx *c, tpl_val v) { return v.type == TPL_STR ? tpl_of_str(tpl_lower(c, v.u.str)) : v; }

/* "a.b.0" or a number: getitem after getitem; a part that is missing becomes the fallback, if there is one. */
tpl_val tpl_attr_path(tpl_run *r, tpl_val item, tpl_val path, tpl_val fallback) {
    tpl_ctx *c = &r->c;
    if (!given(path)) return item;
    if (path.type != TPL_STR) {
        item = tpl_getitem(r, item, path);
        return item.type == TPL_UNDEFINED && given(fallback) ? fallback : item;
    }
    const tpl_str *s = path.u.str;
    for (size_t from = 0, to; from <= s->n; from = to + 1) {
        const char *dot = memchr(s->s + from, '.', s->n - from);
        to = dot ? (size_t)(dot - s->s) : s->n;
        tpl_str *part = tpl_bytes(c, s, from, to);
        int64_t number = 0;
        bool digits = part->n > 0 && part->n < 18;
        for (size_t i = 0; i < part->n && digits; i++) {
            digits = part->s[i] >= '0' && part->s[i] <= '9';
            number = number * 10 + (part->s[i] - '0');
        }
        item = tpl_getitem(r, item, digits ? tpl_int(number) : tpl_of_str(part));
        if (item.type == TPL_UNDEFINED && given(fallback)) item = fallback;
    }
    return item;
}

/* Sort key: attribute (or several, separated by commas: a list), strings in lower case unless case counts. */
static tpl_val sort_key(tpl_run *r, tpl_val item, tpl_val attribute, bool case_sensitive, bool many) {
    tpl_ctx *c = &r->c;
    tpl_val none = {0};
    if (!many || attribute.type != TPL_STR || !memchr(attribute.u.str->s, ',', attribute.u.str->n)) {
        tpl_val v = tpl_attr_path(r, item, attribute, none);
        return case_sensitive ? v : tpl_ignore_case(c, v);
    }
    const tpl_str *s = attribute.u.str;
    tpl_seq *keys = tpl_seq_new(c, 0);
    for (size_t from = 0, to; from <= s->n; from = to + 1) {
        const char *comma = memchr(s->s + from, ',', s->n - from);
        to = comma ? (size_t)(comma - s->s) : s->n;
        tpl_val v = tpl_attr_path(r, item, tpl_of_str(tpl_bytes(c, s, from, to)), none);
        tpl_seq_push(c, keys, case_sensitive ? v : tpl_ignore_case(c, v));
    }
    return tpl_of_seq(TPL_LIST, keys);
}

static tpl_seq *sort_keys(tpl_run *r, const tpl_seq *q, tpl_val attribute, bool case_sensitive, bool many) {
    tpl_seq *keys = tpl_seq_new(&r->c, q->n);
    for (size_t i = 0; i < q->n; i++)
        tpl_seq_push(&r->c, keys, sort_key(r, q->items[i], attribute, case_sensitive, many));
    return keys;
}

static tpl_val f_sort(tpl_run *r, tpl_val v, const tpl_call *a) { /* reverse, case_sensitive, attribute */
    tpl_seq *q = tpl_to_list(&r->c, v), *keys = sort_keys(r, q, a->pos[2], tpl_truth(a->pos[1]), true);
    tpl_sort(&r->c, keys->items, q->items, q->n, tpl_truth(a->pos[0]));
    return tpl_of_seq(TPL_LIST, q);
}

static tpl_val f_unique(tpl_run *r, tpl_val v, const tpl_call *a) { /* case_sensitive, attribute */
    tpl_ctx *c = &r->c;
    tpl_seq *q = tpl_to_list(c, v), *keys = sort_keys(r, q, a->pos[1], tpl_truth(a->pos[0]), false);
    tpl_seq *kept = tpl_seq_new(c, 0);
    tpl_dict *seen = tpl_dict_new(c);
    for (size_t i = 0; i < q->n; i++) {
        if (tpl_dict_find(c, seen, keys->items[i])) continue;
        tpl_dict_set(c, seen, keys->items[i], tpl_none());
        tpl_seq_push(c, kept, q->items[i]);
    }
    return tpl_generator(kept);
}

static tpl_val extreme(tpl_run *r, tpl_val v, const tpl_call *a, bool largest) { /* case_sensitive, attribute */
    tpl_ctx *c = &r->c;
    tpl_seq *q = tpl_to_list(c, v), *keys = sort_keys(r, q, a->pos[1], tpl_truth(a->pos[0]), false);
    if (q->n == 0) return tpl_undefined(c, "no aggregated item, sequence was empty");
    size_t best = 0;
    for (size_t i = 1; i < q->n; i++) {
        tpl_val low = largest ? keys->items[best] : keys->items[i], high = largest ? keys->items[i] : keys->items[best];
        if (tpl_less(c, low, high)) best = i;
    }
    return q->items[best];
}
static tpl_val f_min(tpl_run *r, tpl_val v, const tpl_call *a) { return extreme(r, v, a, false); }
static tpl_val f_max(tpl_run *r, tpl_val v, const tpl_call *a) { return extreme(r, v, a, true); }

static tpl_val f_groupby(tpl_run *r, tpl_val v, const tpl_call *a) { /* attribute, default, case_sensitive */
    tpl_ctx *c = &r->c;
    bool case_sensitive = tpl_truth(a->pos[2]);
    tpl_seq *q = tpl_to_list(c, v), *keys = tpl_seq_new(c, q->n), *groups = tpl_seq_new(c, 0);
    for (size_t i = 0; i < q->n; i++) {
        tpl_val key = tpl_attr_path(r, q->items[i], a->pos[0], a->pos[1]);
        tpl_seq_push(c, keys, case_sensitive ? key : tpl_ignore_case(c, key));
    }
    tpl_sort(c, keys->items, q->items, q->n, false);
    for (size_t i = 0, end; i < q->n; i = end) {
        tpl_seq *members = tpl_seq_new(c, 0), *pair = tpl_seq_new(c, 2);
        for (end = i; end < q->n && tpl_equal(c, keys->items[i], keys->items[end]); end++)
            tpl_seq_push(c, members, q->items[end]);
        if (end == i) end = i + 1, tpl_seq_push(c, members, q->items[i]); /* NaN is not even equal to itself */
        tpl_seq_push(c, pair, tpl_attr_path(r, members->items[0], a->pos[0], a->pos[1]));
        tpl_seq_push(c, pair, tpl_of_seq(TPL_LIST, members));
        pair->group = true;
        tpl_seq_push(c, groups, tpl_of_seq(TPL_TUPLE, pair));
    }
    return tpl_of_seq(TPL_LIST, groups);
}

static tpl_val f_dictsort(tpl_run *r, tpl_val v, const tpl_call *a) { /* case_sensitive, by, reverse */
    tpl_ctx *c = &r->c;
    if (v.type != TPL_DICT) tpl_fail(c, "dictsort needs a mapping, not '%s'", tpl_type_name(v));
    bool by_value = false;
    if (a->pos[1].type != TPL_ABSENT) {
        const tpl_str *by = tpl_need_str(c, a->pos[1], "by");
        by_value = tpl_str_is(by, "value");
        if (!by_value && !tpl_str_is(by, "key")) tpl_fail(c, "dictsort sorts by \"key\" or \"value\"");
    }
    tpl_val items = tpl_invoke(r, tpl_find_in(tpl_dict_methods, "items", 5), v, &(tpl_call){0});
    tpl_seq *q = tpl_to_list(c, items), *keys = sort_keys(r, q, tpl_int(by_value), tpl_truth(a->pos[0]), false);
    tpl_sort(c, keys->items, q->items, q->n, tpl_truth(a->pos[2]));
    return tpl_of_seq(TPL_LIST, q);
}

static tpl_val f_items(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    tpl_ctx *c = &r->c;
    if (v.type == TPL_UNDEFINED) return tpl_generator(tpl_seq_new(c, 0));
    if (v.type != TPL_DICT)
        tpl_fail(c, "items: can only get item pairs from a mapping, not from '%s'", tpl_type_name(v));
    tpl_val items = tpl_invoke(r, tpl_find_in(tpl_dict_methods, "items", 5), v, &(tpl_call){0});
    return tpl_generator(tpl_to_list(c, items));
}

static tpl_val f_list(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    return tpl_of_seq(TPL_LIST, tpl_to_list(&r->c, v));
}

static tpl_val f_length(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    size_t n;
    if (v.type == TPL_LOOP) return tpl_int((int64_t)v.u.loop->items->n);
    if (!tpl_length(v, &n)) tpl_fail(&r->c, "object of type '%s' has no length", tpl_type_name(v));
    return tpl_int((int64_t)n);
}

static tpl_val f_first(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    tpl_iter it = tpl_iterate(&r->c, v);
    tpl_val out;
    return tpl_next(&r->c, &it, &out) ? out : tpl_undefined(&r->c, "no first item, sequence was empty");
}

static tpl_val f_last(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    size_t n;
    if (!tpl_is_iterable(v) || !tpl_length(v, &n)) tpl_fail(&r->c, "'%s' object is not reversible", tpl_type_name(v));
    const tpl_seq *q = tpl_to_list(&r->c, v);
    return q->n ? q->items[q->n - 1] : tpl_undefined(&r->c, "no last item, sequence was empty");
}

static tpl_val f_reverse(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    if (v.type == TPL_STR) return tpl_slice(r, v, tpl_none(), tpl_none(), tpl_int(-1));
    const tpl_seq *q = tpl_to_list(&r->c, v);
    tpl_seq *back = tpl_seq_new(&r->c, q->n);
    for (size_t i = q->n; i-- > 0;) tpl_seq_push(&r->c, back, q->items[i]);
    if (v.type == TPL_ITER) return tpl_of_seq(TPL_LIST, back);
    return tpl_generator(back);
}

static tpl_val f_join(tpl_run *r, tpl_val v, const tpl_call *a) { /* d, attribute */
    tpl_ctx *c = &r->c;
    const tpl_str *sep = a->pos[0].type == TPL_ABSENT ? tpl_text(c, "").u.str : tpl_to_str(c, a->pos[0]);
    tpl_iter it = tpl_iterate(c, v);
    tpl_out o = {0};
    tpl_val item, none = {0};
    for (bool first = true; tpl_next(c, &it, &item); first = false) {
        if (!first) tpl_out_add(c, &o, sep->s, sep->n);
        const tpl_str *s = tpl_to_str(c, tpl_attr_path(r, item, a->pos[1], none));
        tpl_out_add(c, &o, s->s, s->n);
    }
    return tpl_out_str(c, &o);
}

static tpl_val f_sum(tpl_run *r, tpl_val v, const tpl_call *a) { /* attribute, start */
    tpl_ctx *c = &r->c;
    tpl_val total = a->pos[1].type == TPL_ABSENT ? tpl_int(0) : a->pos[1], item, none = {0};
    if (total.type == TPL_STR) tpl_fail(c, "sum: strings are joined with join, not sum");
    tpl_iter it = tpl_iterate(c, v);
    while (tpl_next(c, &it, &item)) total = tpl_binary(c, TPL_OP_ADD, total, tpl_attr_path(r, item, a->pos[0], none));
    return total;
}

static tpl_val f_batch(tpl_run *r, tpl_val v, const tpl_call *a) { /* linecount, fill_with */
    tpl_ctx *c = &r->c;
    int64_t n = tpl_need_int(c, a->pos[0], "linecount");
    tpl_seq *rows = tpl_seq_new(c, 0), *row = tpl_seq_new(c, 0);
    tpl_iter it = tpl_iterate(c, v);
    tpl_val item;
    while (tpl_next(c, &it, &item)) {
        if ((int64_t)row->n == n) {
            tpl_seq_push(c, rows, tpl_of_seq(TPL_LIST, row));
            row = tpl_seq_new(c, 0);
        }
        tpl_seq_push(c, row, item);
    }
    if (row->n) {
        while (given(a->pos[1]) && (int64_t)row->n < n) {
            tpl_work(c, 1);
            tpl_seq_push(c, row, a->pos[1]);
        }
        tpl_seq_push(c, rows, tpl_of_seq(TPL_LIST, row));
    }
    return tpl_generator(rows);
}

static tpl_val f_slice(tpl_run *r, tpl_val v, const tpl_call *a) { /* slices, fill_with */
    tpl_ctx *c = &r->c;
    const tpl_seq *q = tpl_to_list(c, v);
    int64_t slices = tpl_need_int(c, a->pos[0], "slices");
    tpl_seq *columns = tpl_seq_new(c, 0);
    if (slices == 0) tpl_fail(c, "slice: integer division or modulo by zero");
    size_t at = 0;
    for (int64_t k = 0; k < slices; k++) {
        bool extra = (uint64_t)k < q->n % (uint64_t)slices;
        size_t n = q->n / (size_t)slices + extra;
        tpl_seq *column = tpl_seq_new(c, n);
        tpl_work(c, 1);
        for (size_t i = 0; i < n; i++) tpl_seq_push(c, column, q->items[at++]);
        if (given(a->pos[1]) && !extra) tpl_seq_push(c, column, a->pos[1]);
        tpl_seq_push(c, columns, tpl_of_seq(TPL_LIST, column));
    }
    return tpl_generator(columns);
}

static tpl_val f_default(tpl_run *r, tpl_val v, const tpl_call *a) { /* default_value, boolean */
    bool use = v.type == TPL_UNDEFINED || (tpl_truth(a->pos[1]) && !tpl_truth(v));
    if (!use) return v;
    return a->pos[0].type == TPL_ABSENT ? tpl_text(&r->c, "") : a->pos[0];
}

static tpl_val f_attr(tpl_run *r, tpl_val v, const tpl_call *a) {
    const tpl_str *name = tpl_need_str(&r->c, a->pos[0], "the attribute name");
    if (v.type == TPL_UNDEFINED) tpl_fail(&r->c, "%s", v.u.undef->why);
    if (v.type == TPL_DICT && !tpl_find_in(tpl_dict_methods, name->s, name->n)) /* attributes only, never items */
        return tpl_undefined(&r->c, "'dict object' has no such attribute");
    return tpl_getattr(r, v, name);
}

static tpl_val f_xmlattr(tpl_run *r, tpl_val v, const tpl_call *a) {
    tpl_ctx *c = &r->c;
    if (v.type != TPL_DICT) tpl_fail(c, "xmlattr needs a mapping, not '%s'", tpl_type_name(v));
    bool autospace = a->pos[0].type == TPL_ABSENT || tpl_truth(a->pos[0]);
    tpl_out o = {0};
    for (size_t i = 0; i < v.u.dict->n; i++) {
        const tpl_entry *e = &v.u.dict->entries[i];
        if (e->value.type == TPL_NONE || e->value.type == TPL_UNDEFINED) continue;
        const tpl_str *key = tpl_need_str(c, e->key, "an attribute name"), *value = tpl_escape(c, e->value);
        for (size_t k = 0; k < key->n; k++)
            if (key->s[k] && strchr(" \t\n\r\f\v/>=", key->s[k])) tpl_fail(c, "invalid character in attribute name");
        if (o.n || autospace) tpl_out_puts(c, &o, " ");
        key = tpl_escape(c, e->key);
        tpl_out_add(c, &o, key->s, key->n);
        tpl_out_puts(c, &o, "=\"");
        tpl_out_add(c, &o, value->s, value->n);
        tpl_out_puts(c, &o, "\"");
    }
    return tpl_out_str(c, &o);
}

const tpl_builtin tpl_seq_filters[] = {{"length", f_length, ""},
                                       {"count", f_length, ""},
                                       {"list", f_list, ""},
                                       {"join", f_join, "d? attribute?"},
                                       {"default", f_default, "default_value? boolean?"},
                                       {"d", f_default, "default_value? boolean?"},
                                       {"first", f_first, ""},
                                       {"last", f_last, ""},
                                       {"items", f_items, ""},
                                       {"reverse", f_reverse, ""},
                                       {"sort", f_sort, "reverse? case_sensitive? attribute?"},
                                       {"unique", f_unique, "case_sensitive? attribute?"},
                                       {"min", f_min, "case_sensitive? attribute?"},
                                       {"max", f_max, "case_sensitive? attribute?"},
                                       {"sum", f_sum, "attribute? start?"},
                                       {"groupby", f_groupby, "attribute default? case_sensitive?"},
                                       {"dictsort", f_dictsort, "case_sensitive? by? reverse?"},
                                       {"batch", f_batch, "linecount fill_with?"},
                                       {"slice", f_slice, "slices fill_with?"},
                                       {"attr", f_attr, "name"},
                                       {"xmlattr", f_xmlattr, "autospace?"},
                                       {NULL, NULL, NULL}};
