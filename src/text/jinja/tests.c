/* tests.c: what stands behind "is". */
#include "text/jinja/run.h"

#include <math.h>

#define UNUSED(r, a) (void)(r), (void)(a)

static tpl_val t_defined(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type != TPL_UNDEFINED);
}
static tpl_val t_undefined(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_UNDEFINED);
}
static tpl_val t_none(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_NONE);
}
static tpl_val t_boolean(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_BOOL);
}
static tpl_val t_true(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_BOOL && v.u.b);
}
static tpl_val t_false(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_BOOL && !v.u.b);
}
static tpl_val t_integer(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_INT);
}
static tpl_val t_float(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_FLOAT);
}
static tpl_val t_string(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_STR);
}
static tpl_val t_mapping(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_DICT);
}

static tpl_val t_number(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_BOOL || v.type == TPL_INT || v.type == TPL_FLOAT);
}

/* Jinja asks for len() and [], which strings, dicts and the undefined have too. */
static tpl_val t_sequence(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    size_t n;
    return tpl_bool(v.type != TPL_VIEW && tpl_length(v, &n));
}

static tpl_val t_iterable(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(tpl_is_iterable(v));
}

static tpl_val t_callable(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_FUNC || v.type == TPL_LOOP || v.type == TPL_JOINER || v.type == TPL_UNDEFINED);
}

static tpl_val t_escaped(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_STR && v.u.str->markup);
}

static tpl_val case_is(tpl_run *r, tpl_val v, tpl_class what) {
    const tpl_str *s = tpl_to_str(&r->c, v);
    tpl_work(&r->c, s->n / 4);
    return tpl_bool(tpl_all_of(what, s));
}

static tpl_val t_lower(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return case_is(r, v, TPL_C_LOWER);
}

static tpl_val t_upper(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return case_is(r, v, TPL_C_UPPER);
}

static tpl_val remainder_of(tpl_run *r, tpl_val v, tpl_val by) { return tpl_binary(&r->c, TPL_OP_MOD, v, by); }

static tpl_val t_odd(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    return tpl_bool(tpl_equal(&r->c, remainder_of(r, v, tpl_int(2)), tpl_int(1)));
}

static tpl_val t_even(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    return tpl_bool(tpl_equal(&r->c, remainder_of(r, v, tpl_int(2)), tpl_int(0)));
}

static tpl_val t_divisibleby(tpl_run *r, tpl_val v, const tpl_call *a) {
    return tpl_bool(tpl_equal(&r->c, remainder_of(r, v, a->pos[0]), tpl_int(0)));
}

/* Identity: containers by address, the rest by type and value (Python shares small ones). */
static tpl_val t_sameas(tpl_run *r, tpl_val v, const tpl_call *a) {
    tpl_val w = a->pos[0];
    if (v.type != w.type) return tpl_bool(false);
    if (v.type >= TPL_LIST) return tpl_bool(v.u.seq == w.u.seq);
    return tpl_bool(tpl_equal(&r->c, v, w));
}

static tpl_val t_filter(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_STR && tpl_find_filter(v.u.str->s, v.u.str->n));
}

static tpl_val t_test(tpl_run *r, tpl_val v, const tpl_call *a) {
    UNUSED(r, a);
    return tpl_bool(v.type == TPL_STR && tpl_find_test(v.u.str->s, v.u.str->n));
}

static tpl_val compared(tpl_run *r, tpl_op op, tpl_val v, const tpl_call *a) {
    return tpl_bool(tpl_compare(&r->c, op, v, a->pos[0]));
}
static tpl_val t_eq(tpl_run *r, tpl_val v, const tpl_call *a) { return compared(r, TPL_OP_EQ, v, a); }
static tpl_val t_ne(tpl_run *r, tpl_val v, const tpl_call *a) { return compared(r, TPL_OP_NE, v, a); }
static tpl_val t_lt(tpl_run *r, tpl_val v, const tpl_call *a) { return compared(r, TPL_OP_LT, v, a); }
static tpl_val t_le(tpl_run *r, tpl_val v, const tpl_call *a) { return compared(r, TPL_OP_LE, v, a); }
static tpl_val t_gt(tpl_run *r, tpl_val v, const tpl_call *a) { return compared(r, TPL_OP_GT, v, a); }
static tpl_val t_ge(tpl_run *r, tpl_val v, const tpl_call *a) { return compared(r, TPL_OP_GE, v, a); }
static tpl_val t_in(tpl_run *r, tpl_val v, const tpl_call *a) { return compared(r, TPL_OP_IN, v, a); }

static const tpl_builtin tests[] = {{"defined", t_defined, ""},
                                    {"undefined", t_undefined, ""},
                                    {"none", t_none, ""},
                                    {"string", t_string, ""},
                                    {"mapping", t_mapping, ""},
                                    {"iterable", t_iterable, ""},
                                    {"sequence", t_sequence, ""},
                                    {"true", t_true, ""},
                                    {"false", t_false, ""},
                                    {"boolean", t_boolean, ""},
                                    {"integer", t_integer, ""},
                                    {"float", t_float, ""},
                                    {"number", t_number, ""},
                                    {"callable", t_callable, ""},
                                    {"escaped", t_escaped, ""},
                                    {"lower", t_lower, ""},
                                    {"upper", t_upper, ""},
                                    {"odd", t_odd, ""},
                                    {"even", t_even, ""},
                                    {"divisibleby", t_divisibleby, "num"},
                                    {"sameas", t_sameas, "other"},
                                    {"filter", t_filter, ""},
                                    {"test", t_test, ""},
                                    {"in", t_in, "seq"},
                                    {"==", t_eq, "/other"},
                                    {"eq", t_eq, "/other"},
                                    {"equalto", t_eq, "/other"},
                                    {"!=", t_ne, "/other"},
                                    {"ne", t_ne, "/other"},
                                    {"<", t_lt, "/other"},
                                    {"lt", t_lt, "/other"},
                                    {"lessthan", t_lt, "/other"},
                                    {"<=", t_le, "/other"},
                                    {"le", t_le, "/other"},
                                    {">", t_gt, "/other"},
                                    {"gt", t_gt, "/other"},
                                    {"greaterthan", t_gt, "/other"},
                                    {">=", t_ge, "/other"},
                                    {"ge", t_ge, "/other"},
                                    {NULL, NULL, NULL}};

const tpl_builtin *tpl_find_test(const char *name, size_t n) { return tpl_find_in(tests, name, n); }
