/* pick_filters.c: map, select, reject and their attribute forms, which call filters and tests by name. */
#include "text/jinja/run.h"

#include <string.h>

const tpl_builtin *tpl_find_filter(const char *name, size_t n) {
    static const tpl_builtin *const tables[] = {tpl_str_filters, tpl_seq_filters, tpl_num_filters, tpl_pick_filters};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const tpl_builtin *fn = tpl_find_in(tables[i], name, n);
        if (fn) return fn;
    }
    return NULL;
}

static const tpl_builtin *named(tpl_run *r, tpl_val name, bool filter) {
    const tpl_str *s = tpl_need_str(&r->c, name, filter ? "the name of a filter" : "the name of a test");
    const tpl_builtin *fn = filter ? tpl_find_filter(s->s, s->n) : tpl_find_test(s->s, s->n);
    char shown[64];
    if (!fn)
        tpl_fail(&r->c, "no %s named '%s'", filter ? "filter" : "test", tsr_printable(s->s, s->n, shown, sizeof shown));
    return fn;
}

/* The call without its first n positional arguments. */
static tpl_call rest(const tpl_call *a, size_t n) {
    tpl_call out = *a;
    out.pos += n;
    out.n_pos -= n;
    return out;
}

static tpl_val f_map(tpl_run *r, tpl_val v, const tpl_call *a) {
    tpl_ctx *c = &r->c;
    tpl_seq *q = tpl_seq_new(c, 0);
    tpl_val attribute = {0}, fallback = {0}, item;
    const tpl_builtin *fn = NULL;
    tpl_call more = *a;
    if (!tpl_truth(v)) return tpl_generator(q);
    for (size_t i = 0; i < a->n_named && a->n_pos == 0; i++) {
        if (tpl_str_is(a->names[i], "attribute")) attribute = a->named[i];
        else if (tpl_str_is(a->names[i], "default")) fallback = a->named[i];
        else tpl_fail(c, "map: unexpected keyword argument");
    }
    if (attribute.type == TPL_ABSENT) {
        if (a->n_pos == 0) tpl_fail(c, "map needs the name of a filter, or attribute=");
        fn = named(r, a->pos[0], true);
        more = rest(a, 1);
    }
    tpl_iter it = tpl_iterate(c, v);
    tpl_enter(c); /* map('map', 'map', ...) */
    while (tpl_next(c, &it, &item))
        tpl_seq_push(c, q, fn ? tpl_invoke(r, fn, item, &more) : tpl_attr_path(r, item, attribute, fallback));
    tpl_leave(c);
    return tpl_generator(q);
}

static tpl_val pick(tpl_run *r, tpl_val v, const tpl_call *a, bool want, bool by_attribute) {
    tpl_ctx *c = &r->c;
    tpl_seq *q = tpl_seq_new(c, 0);
    tpl_val attribute = {0}, none = {0}, item;
    const tpl_builtin *fn = NULL;
    if (!tpl_truth(v)) return tpl_generator(q);
    if (by_attribute) {
        if (a->n_pos == 0) tpl_fail(c, "missing parameter for attribute name");
        attribute = a->pos[0];
    }
    tpl_call more = rest(a, by_attribute);
    if (more.n_pos) {
        fn = named(r, more.pos[0], false);
        more = rest(&more, 1);
    }
    tpl_iter it = tpl_iterate(c, v);
    while (tpl_next(c, &it, &item)) {
        tpl_val subject = by_attribute ? tpl_attr_path(r, item, attribute, none) : item;
        bool passes = tpl_truth(fn ? tpl_invoke(r, fn, subject, &more) : subject);
        if (passes == want) tpl_seq_push(c, q, item);
    }
    return tpl_generator(q);
}
static tpl_val f_select(tpl_run *r, tpl_val v, const tpl_call *a) { return pick(r, v, a, true, false); }
static tpl_val f_reject(tpl_run *r, tpl_val v, const tpl_call *a) { return pick(r, v, a, false, false); }
static tpl_val f_selectattr(tpl_run *r, tpl_val v, const tpl_call *a) { return pick(r, v, a, true, true); }
static tpl_val f_rejectattr(tpl_run *r, tpl_val v, const tpl_call *a) { return pick(r, v, a, false, true); }

const tpl_builtin tpl_pick_filters[] = {
    {"map", f_map, "*"}, {"select", f_select, "*"}, {"reject", f_reject, "*"}, {"selectattr", f_selectattr, "*"},
    {"rejectattr", f_rejectattr, "*"}, {NULL, NULL, NULL}};
