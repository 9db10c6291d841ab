/* coll_methods.c: methods of lists, tuples, dicts, loops and cyclers.
 *
 * transformers' sandbox refuses the methods that change a list or dict; here they work, so that templates written for
 * other engines do too. Templates that transformers accepts are not affected. */
#include "text/jinja/methods.h"

#include <string.h>

/* -------------------------------------------------------------------------------------------------- lists */

static tpl_val l_append(tpl_run *r, tpl_val self, const tpl_call *a) {
    tpl_seq_push(&r->c, self.u.seq, a->pos[0]);
    return tpl_none();
}

static tpl_val l_extend(tpl_run *r, tpl_val self, const tpl_call *a) {
    const tpl_seq *more = tpl_to_list(&r->c, a->pos[0]); /* a copy: x.extend(x) ends */
    for (size_t i = 0; i < more->n; i++) tpl_seq_push(&r->c, self.u.seq, more->items[i]);
    return tpl_none();
}

static tpl_val l_insert(tpl_run *r, tpl_val self, const tpl_call *a) {
    tpl_seq *q = self.u.seq;
    int64_t i = tpl_need_int(&r->c, a->pos[0], "index"), n = (int64_t)q->n;
    i = i < -n ? 0 : i < 0 ? i + n : i > n ? n : i;
    tpl_work(&r->c, q->n / 4);
    tpl_seq_push(&r->c, q, a->pos[1]);
    memmove(q->items + i + 1, q->items + i, (size_t)(n - i) * sizeof *q->items);
    q->items[i] = a->pos[1];
    return tpl_none();
}

static tpl_val l_pop(tpl_run *r, tpl_val self, const tpl_call *a) {
    tpl_seq *q = self.u.seq;
    int64_t n = (int64_t)q->n, i = a->pos[0].type == TPL_ABSENT ? -1 : tpl_need_int(&r->c, a->pos[0], "index");
    if (i < 0) i = i < -n ? -1 : i + n;
    if (i < 0 || i >= n) tpl_fail(&r->c, n ? "pop index out of range" : "pop from empty list");
    tpl_val v = q->items[i];
    tpl_work(&r->c, q->n / 4);
    memmove(q->items + i, q->items + i + 1, (size_t)(n - i - 1) * sizeof *q->items);
    q->n--;
    return v;
}

static size_t position(tpl_run *r, tpl_val self, tpl_val what) {
    tpl_iter it = tpl_iterate(&r->c, self);
    tpl_val v;
    for (size_t i = 0; tpl_next(&r->c, &it, &v); i++)
        if (tpl_equal(&r->c, v, what)) return i;
    tpl_fail(&r->c, "value is not in the %s", tpl_type_name(self));
}

static tpl_val l_index(tpl_run *r, tpl_val self, const tpl_call *a) {
    return tpl_int((int64_t)position(r, self, a->pos[0]));
}

static tpl_val l_remove(tpl_run *r, tpl_val self, const tpl_call *a) {
    tpl_val at = tpl_int((int64_t)position(r, self, a->pos[0]));
    l_pop(r, self, &(tpl_call){.pos = &at, .n_pos = 1});
    return tpl_none();
}

static tpl_val l_count(tpl_run *r, tpl_val self, const tpl_call *a) {
    tpl_iter it = tpl_iterate(&r->c, self);
    tpl_val v;
    int64_t n = 0;
    while (tpl_next(&r->c, &it, &v)) n += tpl_equal(&r->c, v, a->pos[0]);
    return tpl_int(n);
}

static tpl_val l_reverse(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)a;
    tpl_seq *q = self.u.seq;
    tpl_work(&r->c, q->n / 4);
    for (size_t i = 0; i < q->n / 2; i++) {
        tpl_val v = q->items[i];
        q->items[i] = q->items[q->n - 1 - i];
        q->items[q->n - 1 - i] = v;
    }
    return tpl_none();
}

static tpl_val l_sort(tpl_run *r, tpl_val self, const tpl_call *a) {
    tpl_seq *q = self.u.seq, *keys = tpl_to_list(&r->c, self);
    tpl_sort(&r->c, keys->items, q->items, q->n, tpl_truth(a->pos[0]));
    return tpl_none();
}

static tpl_val l_clear(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)r, (void)a;
    self.u.seq->n = 0;
    return tpl_none();
}

static tpl_val l_copy(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)a;
    return tpl_of_seq(TPL_LIST, tpl_to_list(&r->c, self));
}

const tpl_builtin tpl_list_methods[] = {
    {"append", l_append, "/item"}, {"extend", l_extend, "/items"}, {"insert", l_insert, "/index item"},
    {"pop", l_pop, "/index?"},     {"remove", l_remove, "/item"},  {"index", l_index, "/item"},
    {"count", l_count, "/item"},   {"reverse", l_reverse, ""},     {"sort", l_sort, "reverse?"},
    {"clear", l_clear, ""},        {"copy", l_copy, ""},           {NULL, NULL, NULL}};

const tpl_builtin tpl_tuple_methods[] = {{"index", l_index, "/item"}, {"count", l_count, "/item"}, {NULL, NULL, NULL}};

/* -------------------------------------------------------------------------------------------------- dicts */

static tpl_val view(tpl_run *r, const tpl_dict *d, const char *what) {
    tpl_seq *q = tpl_seq_new(&r->c, d->n);
    bool items = strcmp(what, "dict_items") == 0, keys = strcmp(what, "dict_keys") == 0;
    tpl_work(&r->c, d->n);
    for (size_t i = 0; i < d->n; i++) {
        tpl_val v = keys ? d->entries[i].key : d->entries[i].value;
        if (items) {
            tpl_seq *pair = tpl_seq_new(&r->c, 2);
            tpl_seq_push(&r->c, pair, d->entries[i].key);
            tpl_seq_push(&r->c, pair, v);
            v = tpl_of_seq(TPL_TUPLE, pair);
        }
        tpl_seq_push(&r->c, q, v);
    }
    q->what = what;
    return tpl_of_seq(TPL_VIEW, q);
}
static tpl_val d_items(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)a;
    return view(r, self.u.dict, "dict_items");
}
static tpl_val d_keys(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)a;
    return view(r, self.u.dict, "dict_keys");
}
static tpl_val d_values(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)a;
    return view(r, self.u.dict, "dict_values");
}

static tpl_val or_none(tpl_val v) { return v.type == TPL_ABSENT ? tpl_none() : v; }

static tpl_val d_get(tpl_run *r, tpl_val self, const tpl_call *a) {
    const tpl_val *v = tpl_dict_find(&r->c, self.u.dict, a->pos[0]);
    return v ? *v : or_none(a->pos[1]);
}

static tpl_val d_pop(tpl_run *r, tpl_val self, const tpl_call *a) {
    const tpl_val *found = tpl_dict_find(&r->c, self.u.dict, a->pos[0]);
    if (!found && a->pos[1].type == TPL_ABSENT) tpl_fail(&r->c, "pop(): the key is not in the dict");
    tpl_val v = found ? *found : a->pos[1];
    if (found) tpl_dict_remove(&r->c, self.u.dict, a->pos[0]);
    return v;
}

static tpl_val d_setdefault(tpl_run *r, tpl_val self, const tpl_call *a) {
    const tpl_val *v = tpl_dict_find(&r->c, self.u.dict, a->pos[0]);
    if (v) return *v;
    tpl_dict_set(&r->c, self.u.dict, a->pos[0], or_none(a->pos[1]));
    return or_none(a->pos[1]);
}

/* The entries of a dict, or of pairs. */
static void merge(tpl_run *r, tpl_dict *d, tpl_val from) {
    tpl_ctx *c = &r->c;
    if (from.type == TPL_DICT) {
        size_t n = from.u.dict->n;
        for (size_t i = 0; i < n; i++) tpl_dict_set(c, d, from.u.dict->entries[i].key, from.u.dict->entries[i].value);
        return;
    }
    tpl_iter it = tpl_iterate(c, from);
    tpl_val item;
    while (tpl_next(c, &it, &item)) {
        const tpl_seq *pair = tpl_to_list(c, item);
        if (pair->n != 2) tpl_fail(c, "a dict is made of pairs, but an item has length %zu", pair->n);
        tpl_dict_set(c, d, pair->items[0], pair->items[1]);
    }
}

void tpl_dict_update(tpl_run *r, tpl_dict *d, const tpl_call *a, const char *name) {
    if (a->n_pos > 1) tpl_fail(&r->c, "%s() takes at most one positional argument", name);
    if (a->n_pos) merge(r, d, a->pos[0]);
    for (size_t i = 0; i < a->n_named; i++) tpl_dict_set(&r->c, d, tpl_of_str(a->names[i]), a->named[i]);
}

static tpl_val d_update(tpl_run *r, tpl_val self, const tpl_call *a) {
    tpl_dict_update(r, self.u.dict, a, "update");
    return tpl_none();
}

static tpl_val d_clear(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)r, (void)a;
    *self.u.dict = (tpl_dict){0};
    return tpl_none();
}

static tpl_val d_copy(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)a;
    tpl_dict *d = tpl_dict_new(&r->c);
    merge(r, d, self);
    return tpl_of_dict(d);
}

const tpl_builtin tpl_dict_methods[] = {
    {"items", d_items, ""},    {"get", d_get, "/key default?"}, {"keys", d_keys, ""},
    {"values", d_values, ""},  {"pop", d_pop, "/key default?"}, {"setdefault", d_setdefault, "/key default?"},
    {"update", d_update, "*"}, {"clear", d_clear, ""},          {"copy", d_copy, ""},
    {NULL, NULL, NULL}};

/* -------------------------------------------------------------------------------------- loops and cyclers */

static tpl_val loop_cycle(tpl_run *r, tpl_val self, const tpl_call *a) {
    if (a->n_named) tpl_fail(&r->c, "cycle() takes no keyword arguments");
    if (a->n_pos == 0) tpl_fail(&r->c, "no items for cycling given");
    return a->pos[self.u.loop->index0 % a->n_pos];
}

static tpl_val loop_changed(tpl_run *r, tpl_val self, const tpl_call *a) {
    tpl_loop *l = self.u.loop;
    if (a->n_named) tpl_fail(&r->c, "changed() takes no keyword arguments");
    tpl_seq *q = tpl_seq_new(&r->c, a->n_pos);
    for (size_t i = 0; i < a->n_pos; i++) tpl_seq_push(&r->c, q, a->pos[i]);
    tpl_val now = tpl_of_seq(TPL_TUPLE, q);
    bool changed = !l->has_changed || !tpl_equal(&r->c, l->changed, now);
    l->has_changed = true;
    l->changed = now;
    return tpl_bool(changed);
}

static tpl_val cycler_next(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)r, (void)a;
    tpl_cycler *y = self.u.cycler;
    tpl_val v = y->items->items[y->pos];
    y->pos = (y->pos + 1) % y->items->n;
    return v;
}

static tpl_val cycler_reset(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)r, (void)a;
    self.u.cycler->pos = 0;
    return tpl_none();
}

const tpl_builtin tpl_loop_methods[] = {{"cycle", loop_cycle, "*"}, {"changed", loop_changed, "*"}, {NULL, NULL, NULL}};
const tpl_builtin tpl_cycler_methods[] = {{"next", cycler_next, ""}, {"reset", cycler_reset, ""}, {NULL, NULL, NULL}};
