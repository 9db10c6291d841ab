/* attr.c: obj.name, obj[key], obj[a:b:c]. As in Jinja, .name tries attributes and then items, [key] the other
 * way round; what is not there is undefined. */
#include "text/jinja/run.h"

#include <string.h>

static tpl_val method(tpl_run *r, const tpl_builtin *fn, tpl_val self) {
    tpl_func *f = tpl_alloc(&r->c, sizeof *f);
    f->builtin = fn;
    f->self = self;
    return (tpl_val){.type = TPL_FUNC, .u.func = f};
}

static tpl_val loop_attr(tpl_run *r, tpl_loop *l, const tpl_str *name) {
    size_t n = l->items->n, i = l->index0;
    if (tpl_str_is(name, "index")) return tpl_int((int64_t)i + 1);
    if (tpl_str_is(name, "index0")) return tpl_int((int64_t)i);
    if (tpl_str_is(name, "first")) return tpl_bool(i == 0);
    if (tpl_str_is(name, "last")) return tpl_bool(i + 1 >= n);
    if (tpl_str_is(name, "length")) return tpl_int((int64_t)n);
    if (tpl_str_is(name, "revindex")) return tpl_int((int64_t)(n - i));
    if (tpl_str_is(name, "revindex0")) return tpl_int((int64_t)(n - i) - 1);
    if (tpl_str_is(name, "depth")) return tpl_int(l->depth0 + 1);
    if (tpl_str_is(name, "depth0")) return tpl_int(l->depth0);
    if (tpl_str_is(name, "previtem"))
        return i ? l->items->items[i - 1] : tpl_undefined(&r->c, "there is no previous item");
    if (tpl_str_is(name, "nextitem"))
        return i + 1 < n ? l->items->items[i + 1] : tpl_undefined(&r->c, "there is no next item");
    return (tpl_val){0};
}

static tpl_val macro_attr(const tpl_func *f, const tpl_str *name) {
    if (!f->macro) return (tpl_val){0};
    const tpl_macro *m = f->macro->macro;
    if (tpl_str_is(name, "name")) return tpl_of_str(m->name);
    if (tpl_str_is(name, "catch_kwargs")) return tpl_bool(m->uses_kwargs);
    if (tpl_str_is(name, "catch_varargs")) return tpl_bool(m->uses_varargs);
    if (tpl_str_is(name, "caller")) return tpl_bool(m->uses_caller);
    return (tpl_val){0};
}

/* Attributes proper (methods, loop.index, ns.x); ABSENT when there is none. */
static tpl_val attribute(tpl_run *r, tpl_val obj, const tpl_str *name) {
    const tpl_builtin *table = NULL;
    switch (obj.type) {
    case TPL_STR: table = tpl_str_methods; break;
    case TPL_LIST: table = tpl_list_methods; break;
    case TPL_TUPLE: case TPL_RANGE:
        if (obj.type == TPL_TUPLE && obj.u.seq->group) {
            if (tpl_str_is(name, "grouper")) return obj.u.seq->items[0];
            if (tpl_str_is(name, "list")) return obj.u.seq->items[1];
        }
        table = tpl_tuple_methods;
        break;
    case TPL_DICT: table = tpl_dict_methods; break;
    case TPL_NAMESPACE: {
        const tpl_val *v = tpl_dict_find_str(&r->c, obj.u.dict, name);
        return v ? *v : (tpl_val){0};
    }
    case TPL_LOOP: {
        tpl_val v = loop_attr(r, obj.u.loop, name);
        if (v.type != TPL_ABSENT) return v;
        table = tpl_loop_methods;
        break;
    }
    case TPL_CYCLER:
        if (tpl_str_is(name, "current")) return obj.u.cycler->items->items[obj.u.cycler->pos];
        table = tpl_cycler_methods;
        break;
    case TPL_FUNC: return macro_attr(obj.u.func, name);
    default: return (tpl_val){0};
    }
    const tpl_builtin *fn = tpl_find_in(table, name->s, name->n);
    return fn ? method(r, fn, obj) : (tpl_val){0};
}

/* obj[key] as Python has it; ABSENT where Python raises (KeyError, IndexError, TypeError). */
static tpl_val item(tpl_run *r, tpl_val obj, tpl_val key) {
    tpl_ctx *c = &r->c;
    if (obj.type == TPL_DICT) {
        bool hashable = key.type != TPL_LIST && key.type != TPL_DICT;
        const tpl_val *v = hashable ? tpl_dict_find(c, obj.u.dict, key) : NULL;
        return v ? *v : (tpl_val){0};
    }
    bool sequence = obj.type == TPL_LIST || obj.type == TPL_TUPLE || obj.type == TPL_STR || obj.type == TPL_RANGE;
    size_t n;
    if (!sequence || (key.type != TPL_INT && key.type != TPL_BOOL) || !tpl_length(obj, &n)) return (tpl_val){0};
    int64_t i = key.type == TPL_BOOL ? key.u.b : key.u.i;
    if (i < 0) i += (int64_t)n;
    if (i < 0 || i >= (int64_t)n) return (tpl_val){0};
    if (obj.type == TPL_STR) return tpl_of_str(tpl_substr(c, obj.u.str, (size_t)i, (size_t)i + 1));
    if (obj.type == TPL_RANGE) return tpl_int(obj.u.range->start + i * obj.u.range->step);
    return obj.u.seq->items[i];
}

static tpl_val missing(tpl_run *r, tpl_val obj, tpl_val key) {
    char name[128];
    const tpl_str *text = tpl_to_str(&r->c, key);
    tsr_printable(text->s, text->n, name, sizeof name);
    if (key.type != TPL_STR) return tpl_undefined(&r->c, "%s object has no element %s", tpl_type_name(obj), name);
    return tpl_undefined(&r->c, "'%s object' has no attribute '%s'", tpl_type_name(obj), name);
}

tpl_val tpl_getattr(tpl_run *r, tpl_val obj, const tpl_str *name) {
    if (obj.type == TPL_UNDEFINED) tpl_fail(&r->c, "%s", obj.u.undef->why);
    tpl_val v = attribute(r, obj, name);
    if (v.type == TPL_ABSENT) v = item(r, obj, tpl_of_str(name));
    return v.type == TPL_ABSENT ? missing(r, obj, tpl_of_str(name)) : v;
}

tpl_val tpl_getitem(tpl_run *r, tpl_val obj, tpl_val key) {
    if (obj.type == TPL_UNDEFINED) tpl_fail(&r->c, "%s", obj.u.undef->why);
    tpl_val v = item(r, obj, key);
    if (v.type == TPL_ABSENT && key.type == TPL_STR) v = attribute(r, obj, key.u.str);
    return v.type == TPL_ABSENT ? missing(r, obj, key) : v;
}

/* --------------------------------------------------------------------------------------------------- slices */

static int64_t bound(tpl_ctx *c, tpl_val v, int64_t fallback, int64_t n, int64_t low, int64_t high) {
    if (v.type == TPL_ABSENT || v.type == TPL_NONE) return fallback;
    if (v.type == TPL_UNDEFINED) tpl_fail(c, "slice: %s", v.u.undef->why);
    int64_t i = tpl_need_int(c, v, "a slice index");
    if (i < 0) i = i < -n ? low : i + n; /* no wrap: n is a length */
    return i < low ? low : i > high ? high : i;
}

static tpl_val slice_str(tpl_ctx *c, const tpl_str *s, int64_t start, int64_t step, size_t n) {
    if (step == 1) return tpl_of_str(tpl_substr(c, s, (size_t)start, (size_t)start + n));
    tpl_out o = {0};
    size_t *offsets = NULL; /* of characters, when they are not bytes */
    if (s->n != s->n_chars) {
        offsets = tpl_array(c, s->n_chars + 1, sizeof *offsets);
        size_t k = 0;
        for (size_t i = 0; i < s->n; i++)
            if ((s->s[i] & 0xc0) != 0x80) offsets[k++] = i;
        offsets[k] = s->n;
    }
    tpl_work(c, n);
    for (size_t k = 0; k < n; k++, start += step) {
        size_t from = offsets ? offsets[start] : (size_t)start, to = offsets ? offsets[start + 1] : (size_t)start + 1;
        tpl_out_add(c, &o, s->s + from, to - from);
    }
    tpl_val v = tpl_out_str(c, &o);
    return s->markup ? tpl_of_str(tpl_str_as_markup(c, v.u.str, true)) : v;
}

tpl_val tpl_slice(tpl_run *r, tpl_val obj, tpl_val first, tpl_val last, tpl_val by) {
    tpl_ctx *c = &r->c;
    size_t length;
    bool sequence = obj.type == TPL_STR || obj.type == TPL_LIST || obj.type == TPL_TUPLE || obj.type == TPL_RANGE;
    if (obj.type == TPL_UNDEFINED) tpl_fail(c, "%s", obj.u.undef->why);
    if (!sequence || !tpl_length(obj, &length))
        tpl_fail(c, "'%s' object cannot be sliced", tpl_type_name(obj));
    int64_t n = (int64_t)length;
    int64_t step = by.type == TPL_ABSENT || by.type == TPL_NONE ? 1 : tpl_need_int(c, by, "a slice step");
    if (step == 0) tpl_fail(c, "slice step cannot be zero");
    bool down = step < 0;
    int64_t start = bound(c, first, down ? n - 1 : 0, n, down ? -1 : 0, down ? n - 1 : n);
    int64_t stop = bound(c, last, down ? -1 : n, n, down ? -1 : 0, down ? n - 1 : n);
    size_t count = 0;
    if (!down && stop > start) count = (size_t)((stop - start - 1) / step) + 1;
    if (down && start > stop) count = (size_t)((uint64_t)(start - stop - 1) / (0 - (uint64_t)step)) + 1;
    if (count <= 1) step = 1; /* a huge step is never taken, and must not overflow */
    if (obj.type == TPL_STR) return slice_str(c, obj.u.str, start, step, count);
    tpl_seq *q = tpl_seq_new(c, count);
    tpl_work(c, count);
    for (size_t k = 0; k < count; k++) {
        int64_t i = start + (int64_t)k * step;
        tpl_seq_push(c, q, obj.type == TPL_RANGE ? tpl_int(obj.u.range->start + i * obj.u.range->step)
                                                 : obj.u.seq->items[i]);
    }
    if (obj.type != TPL_RANGE) return tpl_of_seq(obj.type, q);
    tpl_range *g = tpl_alloc(c, sizeof *g);
    const tpl_range *old = obj.u.range;
    *g = (tpl_range){old->start + start * old->step, old->start + stop * old->step, old->step * step, count};
    return (tpl_val){.type = TPL_RANGE, .u.range = g};
}
