/* exec.c: statements, scopes and output. */
#include "text/jinja/run.h"

#include <string.h>

/* How a body ended: loops act on it, everything else passes it on. */
typedef enum flow { GO_ON, BREAK, CONTINUE } flow;

static flow exec_list(tpl_run *r, const tpl_nodes *body);

void tpl_write(tpl_run *r, const char *s, size_t n) {
    if (n > r->max_out - r->out.len) tpl_fail_limit(&r->c, "output is longer than %zu bytes", r->max_out);
    tpl_work(&r->c, n / 64);
    tsr_buf_append(&r->out, s, n);
    if (r->out.oom) tpl_fail_limit(&r->c, "out of memory after %zu bytes of output", r->out.len);
}

tpl_val tpl_capture(tpl_run *r, size_t mark) {
    tpl_val v = r->out.len > mark ? tpl_of_str(tpl_str_copy(&r->c, r->out.data + mark, r->out.len - mark))
                                  : tpl_text(&r->c, "");
    r->out.len = mark;
    return v;
}

/* -------------------------------------------------------------------------------------------------- scopes */

tpl_scope *tpl_scope_new(tpl_run *r, tpl_scope *parent) {
    tpl_scope *s = tpl_alloc(&r->c, sizeof *s);
    s->parent = parent;
    return s;
}

void tpl_scope_set(tpl_run *r, tpl_scope *s, uint32_t sym, tpl_val v) {
    for (size_t i = 0; i < s->n; i++) {
        if (s->vars[i].sym != sym) continue;
        s->vars[i].value = v;
        return;
    }
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 4;
        s->vars = tpl_grow(&r->c, s->vars, s->n, cap, sizeof *s->vars);
        s->cap = cap;
    }
    s->vars[s->n++] = (tpl_var){sym, v};
}

uint32_t tpl_symbol(const tpl_run *r, const char *name) {
    for (size_t i = 0; i < r->tree->n_symbols; i++)
        if (tpl_str_is(r->tree->symbols[i], name)) return (uint32_t)i;
    return UINT32_MAX;
}

static void assign(tpl_run *r, const tpl_node *target, tpl_val v) {
    tpl_ctx *c = &r->c;
    c->at = target->at;
    if (target->kind == TPL_N_NAME) {
        tpl_scope_set(r, r->scope, target->sym, v);
    } else if (target->kind == TPL_N_NSREF) {
        tpl_val ns = {0};
        for (const tpl_scope *s = r->scope; s && ns.type == TPL_ABSENT; s = s->parent)
            for (size_t i = 0; i < s->n; i++)
                if (s->vars[i].sym == target->sym) ns = s->vars[i].value;
        if (ns.type != TPL_NAMESPACE) tpl_fail(c, "attributes can be assigned on namespace objects only");
        tpl_dict_set(c, ns.u.dict, target->value, v);
    } else { /* TUPLE */
        if (!tpl_is_iterable(v)) tpl_fail(c, "cannot unpack a non-iterable '%s' object", tpl_type_name(v));
        tpl_seq *items = tpl_to_list(c, v);
        if (items->n != target->list.n)
            tpl_fail(c, "cannot unpack %zu values into %zu names", items->n, target->list.n);
        for (size_t i = 0; i < items->n; i++) assign(r, target->list.v[i], items->items[i]);
    }
}

/* --------------------------------------------------------------------------------------------------- loops */

static tpl_scope *iteration_scope(tpl_run *r, tpl_scope *parent, tpl_scope *previous) {
    if (!previous || previous->captured) return tpl_scope_new(r, parent);
    previous->n = 0;
    return previous;
}

/* Items that pass the loop's own condition, all of them counted before the body runs. */
static tpl_seq *loop_items(tpl_run *r, const tpl_node *n, tpl_val iterable) {
    r->c.at = n->b->at;
    tpl_seq *all = tpl_to_list(&r->c, iterable);
    if (!n->c) return all;
    tpl_seq *kept = tpl_seq_new(&r->c, 0);
    tpl_scope *outer = r->scope;
    for (size_t i = 0; i < all->n; i++) {
        r->scope = tpl_scope_new(r, outer);
        assign(r, n->a, all->items[i]);
        if (tpl_truth(tpl_eval(r, n->c))) tpl_seq_push(&r->c, kept, all->items[i]);
    }
    r->scope = outer;
    return kept;
}

static flow run_loop(tpl_run *r, const tpl_node *n, tpl_val iterable, int depth0) {
    tpl_scope *outer = r->scope, *inner = NULL;
    tpl_loop *l = tpl_alloc(&r->c, sizeof *l);
    *l = (tpl_loop){.node = n, .scope = outer, .items = loop_items(r, n, iterable), .depth0 = depth0};
    uint32_t loop_sym = tpl_symbol(r, "loop");
    for (; l->index0 < l->items->n; l->index0++) {
        tpl_work(&r->c, 1);
        r->scope = inner = iteration_scope(r, outer, inner);
        if (loop_sym != UINT32_MAX) tpl_scope_set(r, inner, loop_sym, (tpl_val){.type = TPL_LOOP, .u.loop = l});
        assign(r, n->a, l->items->items[l->index0]);
        if (exec_list(r, &n->list) == BREAK) break;
    }
    r->scope = outer;
    if (l->items->n) return GO_ON;
    r->scope = tpl_scope_new(r, outer);
    flow f = exec_list(r, &n->list2);
    r->scope = outer;
    return f;
}

tpl_val tpl_loop_recurse(tpl_run *r, const tpl_loop *l, tpl_val iterable) {
    if (!l->node->flag) tpl_fail(&r->c, "the loop must have the 'recursive' marker to be called recursively");
    tpl_scope *outer = r->scope;
    size_t mark = r->out.len, at = r->c.at;
    tpl_enter(&r->c);
    r->scope = l->scope;
    run_loop(r, l->node, iterable, l->depth0 + 1);
    r->scope = outer;
    tpl_leave(&r->c);
    r->c.at = at;
    return tpl_capture(r, mark);
}

/* -------------------------------------------------------------------------------------- other statements */

static tpl_val closure(tpl_run *r, const tpl_node *macro) {
    tpl_func *f = tpl_alloc(&r->c, sizeof *f);
    f->macro = macro;
    f->closure = r->scope;
    for (tpl_scope *s = r->scope; s && !s->captured; s = s->parent) s->captured = true;
    return (tpl_val){.type = TPL_FUNC, .u.func = f};
}

static flow exec_if(tpl_run *r, const tpl_node *n) {
    for (;; n = n->b) {
        if (tpl_truth(tpl_eval(r, n->a))) return exec_list(r, &n->list);
        if (!n->b) return exec_list(r, &n->list2);
    }
}

/* What a body writes, with a scope of its own. */
static tpl_val capture_body(tpl_run *r, const tpl_nodes *body) {
    tpl_scope *outer = r->scope;
    size_t mark = r->out.len;
    r->scope = tpl_scope_new(r, outer);
    exec_list(r, body);
    r->scope = outer;
    return tpl_capture(r, mark);
}

/* Filters of {% filter a|b %} and {% set x | a | b %}: the innermost has no input. */
static tpl_val apply_filters(tpl_run *r, const tpl_node *n, tpl_val input) {
    tpl_call call;
    if (!n) return input;
    tpl_enter(&r->c);
    tpl_val self = apply_filters(r, n->a, input);
    r->c.at = n->at;
    if (!n->fn) tpl_fail(&r->c, "no such filter");
    tpl_eval_args(r, n->args, &call, 0);
    r->c.at = n->at;
    tpl_val v = tpl_invoke(r, n->fn, self, &call);
    tpl_leave(&r->c);
    return v;
}

static void exec_callblock(tpl_run *r, const tpl_node *n) {
    tpl_call call;
    tpl_val callee = tpl_eval(r, n->a->a), body = closure(r, n);
    tpl_eval_args(r, n->a->args, &call, 1);
    r->c.at = n->a->at;
    for (size_t i = 0; i < call.n_named; i++)
        if (tpl_str_is(call.names[i], "caller")) tpl_fail(&r->c, "caller is given twice");
    call.names[call.n_named] = tpl_text(&r->c, "caller").u.str;
    call.named[call.n_named++] = body;
    const tpl_str *text = tpl_to_str(&r->c, tpl_call_value(r, callee, &call));
    tpl_write(r, text->s, text->n);
}

static void exec_with(tpl_run *r, const tpl_node *n) {
    tpl_scope *outer = r->scope, *inner = tpl_scope_new(r, outer);
    size_t n_targets = n->list2.n / 2;
    tpl_val *values = tpl_array(&r->c, n_targets, sizeof *values);
    for (size_t i = 0; i < n_targets; i++) values[i] = tpl_eval(r, n->list2.v[2 * i + 1]);
    r->scope = inner;
    for (size_t i = 0; i < n_targets; i++) assign(r, n->list2.v[2 * i], values[i]);
}

static flow exec_scope(tpl_run *r, const tpl_node *n) {
    tpl_scope *outer = r->scope;
    if (n->kind == TPL_N_WITH) exec_with(r, n);
    else r->scope = tpl_scope_new(r, outer);
    flow f = exec_list(r, &n->list);
    r->scope = outer;
    return f;
}

static void exec_print(tpl_run *r, const tpl_node *n) {
    for (size_t i = 0; i < n->list.n; i++) {
        const tpl_str *s = tpl_to_str(&r->c, tpl_eval(r, n->list.v[i]));
        r->c.at = n->at;
        tpl_write(r, s->s, s->n);
    }
}

static flow exec(tpl_run *r, const tpl_node *n) {
    r->c.at = n->at;
    tpl_work(&r->c, 1);
    switch (n->kind) {
    case TPL_N_TEXT: tpl_write(r, n->value.u.str->s, n->value.u.str->n); return GO_ON;
    case TPL_N_PRINT: exec_print(r, n); return GO_ON;
    case TPL_N_FOR: return run_loop(r, n, tpl_eval(r, n->b), 0);
    case TPL_N_IF: return exec_if(r, n);
    case TPL_N_SET: assign(r, n->a, tpl_eval(r, n->b)); return GO_ON;
    case TPL_N_SETBLOCK: assign(r, n->a, apply_filters(r, n->b, capture_body(r, &n->list))); return GO_ON;
    case TPL_N_MACRO: tpl_scope_set(r, r->scope, n->sym, closure(r, n)); return GO_ON;
    case TPL_N_CALLBLOCK: exec_callblock(r, n); return GO_ON;
    case TPL_N_FILTERBLOCK: {
        const tpl_str *s = tpl_to_str(&r->c, apply_filters(r, n->b, capture_body(r, &n->list)));
        tpl_write(r, s->s, s->n);
        return GO_ON;
    }
    case TPL_N_SCOPE: case TPL_N_WITH: return exec_scope(r, n);
    case TPL_N_BREAK: return BREAK;
    case TPL_N_CONTINUE: return CONTINUE;
    default: tpl_fail(&r->c, "this cannot be used as a statement");
    }
}

static flow exec_list(tpl_run *r, const tpl_nodes *body) {
    flow f = GO_ON;
    tpl_enter(&r->c);
    for (size_t i = 0; i < body->n && f == GO_ON; i++) f = exec(r, body->v[i]);
    tpl_leave(&r->c);
    return f;
}

void tpl_exec(tpl_run *r, const tpl_nodes *body) { exec_list(r, body); }
