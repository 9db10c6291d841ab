/* expr.c: expressions to values. */
#include "text/jinja/run.h"

#include <string.h>

static tpl_val eval_name(tpl_run *r, const tpl_node *n) {
    for (const tpl_scope *s = r->scope; s; s = s->parent)
        for (size_t i = 0; i < s->n; i++)
            if (s->vars[i].sym == n->sym) return s->vars[i].value;
    const tpl_str *name = n->value.u.str;
    const tpl_val *global = tpl_dict_find_str(&r->c, r->globals, name);
    if (global) return *global;
    const tpl_builtin *fn = tpl_find_global(name->s, name->n);
    if (fn) {
        tpl_func *f = tpl_alloc(&r->c, sizeof *f);
        f->builtin = fn;
        return (tpl_val){.type = TPL_FUNC, .u.func = f};
    }
    char shown[128];
    return tpl_undefined(&r->c, "'%s' is undefined", tsr_printable(name->s, name->n, shown, sizeof shown));
}

static tpl_val eval_items(tpl_run *r, const tpl_node *n) {
    tpl_seq *q = tpl_seq_new(&r->c, n->list.n);
    for (size_t i = 0; i < n->list.n; i++) tpl_seq_push(&r->c, q, tpl_eval(r, n->list.v[i]));
    return tpl_of_seq(n->kind == TPL_N_LIST ? TPL_LIST : TPL_TUPLE, q);
}

static tpl_val eval_dict(tpl_run *r, const tpl_node *n) {
    tpl_dict *d = tpl_dict_new(&r->c);
    for (size_t i = 0; i + 1 < n->list.n; i += 2) {
        tpl_val key = tpl_eval(r, n->list.v[i]), value = tpl_eval(r, n->list.v[i + 1]);
        r->c.at = n->list.v[i]->at;
        tpl_dict_set(&r->c, d, key, value);
    }
    return tpl_of_dict(d);
}

static tpl_val eval_concat(tpl_run *r, const tpl_node *n) {
    const tpl_str *s = tpl_to_str(&r->c, tpl_eval(r, n->list.v[0]));
    for (size_t i = 1; i < n->list.n; i++) s = tpl_str_concat(&r->c, s, tpl_to_str(&r->c, tpl_eval(r, n->list.v[i])));
    return tpl_of_str(s);
}

/* a < b < c: each operand once, stopping at the first false. */
static tpl_val eval_compare(tpl_run *r, const tpl_node *n) {
    tpl_val left = tpl_eval(r, n->a);
    for (size_t i = 0; i < n->list.n; i++) {
        tpl_val right = tpl_eval(r, n->list.v[i]);
        r->c.at = n->at;
        if (!tpl_compare(&r->c, (tpl_op)n->ops[i], left, right)) return tpl_bool(false);
        left = right;
    }
    return tpl_bool(true);
}

static tpl_val eval_item(tpl_run *r, const tpl_node *n) {
    tpl_val object = tpl_eval(r, n->a);
    if (n->b->kind == TPL_N_SLICE) {
        const tpl_node *s = n->b;
        tpl_val start = s->a ? tpl_eval(r, s->a) : (tpl_val){0}, stop = s->b ? tpl_eval(r, s->b) : (tpl_val){0};
        tpl_val step = s->c ? tpl_eval(r, s->c) : (tpl_val){0};
        r->c.at = n->at;
        return tpl_slice(r, object, start, stop, step);
    }
    tpl_val key = tpl_eval(r, n->b);
    r->c.at = n->at;
    return tpl_getitem(r, object, key);
}

static tpl_val eval_call(tpl_run *r, const tpl_node *n) {
    tpl_call call;
    tpl_val callee = tpl_eval(r, n->a);
    tpl_eval_args(r, n->args, &call, 0);
    r->c.at = n->at;
    return tpl_call_value(r, callee, &call);
}

/* Filters and tests. A filter without input (n->a) stands at the start of a filter block and gets `input`. */
static tpl_val eval_applied(tpl_run *r, const tpl_node *n) {
    tpl_call call;
    tpl_val self = tpl_eval(r, n->a);
    if (!n->fn) {
        char shown[64];
        tpl_fail_at(&r->c, n->at, "no %s named '%s'", n->kind == TPL_N_FILTER ? "filter" : "test",
                    tsr_printable(n->value.u.str->s, n->value.u.str->n, shown, sizeof shown));
    }
    tpl_eval_args(r, n->args, &call, 0);
    r->c.at = n->at;
    return tpl_invoke(r, n->fn, self, &call);
}

static tpl_val eval_cond(tpl_run *r, const tpl_node *n) {
    if (tpl_truth(tpl_eval(r, n->a))) return tpl_eval(r, n->b);
    if (n->c) return tpl_eval(r, n->c);
    return tpl_undefined(&r->c, "the inline if-expression evaluated to false and no else section was defined");
}

static tpl_val eval(tpl_run *r, const tpl_node *n) {
    tpl_val a, b;
    switch (n->kind) {
    case TPL_N_CONST: return n->value;
    case TPL_N_NAME: return eval_name(r, n);
    case TPL_N_ATTR:
        a = tpl_eval(r, n->a);
        r->c.at = n->at;
        return tpl_getattr(r, a, n->value.u.str);
    case TPL_N_ITEM: return eval_item(r, n);
    case TPL_N_CALL: return eval_call(r, n);
    case TPL_N_FILTER: case TPL_N_TEST: return eval_applied(r, n);
    case TPL_N_NOT: return tpl_bool(!tpl_truth(tpl_eval(r, n->a)));
    case TPL_N_NEG: case TPL_N_POS:
        a = tpl_eval(r, n->a);
        r->c.at = n->at;
        return tpl_negate(&r->c, a, n->kind == TPL_N_NEG);
    case TPL_N_BINARY:
        a = tpl_eval(r, n->a);
        b = tpl_eval(r, n->b);
        r->c.at = n->at;
        return tpl_binary(&r->c, n->op, a, b);
    case TPL_N_CONCAT: return eval_concat(r, n);
    case TPL_N_COMPARE: return eval_compare(r, n);
    case TPL_N_AND:
        a = tpl_eval(r, n->a);
        return tpl_truth(a) ? tpl_eval(r, n->b) : a;
    case TPL_N_OR:
        a = tpl_eval(r, n->a);
        return tpl_truth(a) ? a : tpl_eval(r, n->b);
    case TPL_N_COND: return eval_cond(r, n);
    case TPL_N_LIST: case TPL_N_TUPLE: return eval_items(r, n);
    case TPL_N_DICT: return eval_dict(r, n);
    default: tpl_fail_at(&r->c, n->at, "this cannot be used as a value");
    }
}

tpl_val tpl_eval(tpl_run *r, const tpl_node *n) {
    r->c.at = n->at;
    tpl_work(&r->c, 1);
    tpl_enter(&r->c);
    tpl_val v = eval(r, n);
    tpl_leave(&r->c);
    return v;
}
