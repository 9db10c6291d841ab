/* call.c: calling builtins and macros, and binding arguments to parameters. */
#include "text/jinja/run.h"

#include <string.h>

const tpl_builtin *tpl_find_in(const tpl_builtin *table, const char *name, size_t n) {
    for (; table->name; table++)
        if (strlen(table->name) == n && memcmp(table->name, name, n) == 0) return table;
    return NULL;
}

static void add_named(tpl_call *call, const tpl_str *name, tpl_val v) {
    call->names[call->n_named] = name;
    call->named[call->n_named++] = v;
}

void tpl_eval_args(tpl_run *r, const tpl_args *a, tpl_call *out, size_t spare) {
    tpl_ctx *c = &r->c;
    tpl_val star = {0}, star_star = {0}, item;
    tpl_seq *more = NULL;
    *out = (tpl_call){0};
    out->pos = tpl_array(c, a->pos.n, sizeof *out->pos);
    for (size_t i = 0; i < a->pos.n; i++) out->pos[out->n_pos++] = tpl_eval(r, a->pos.v[i]);
    tpl_val *named = tpl_array(c, a->named.n, sizeof *named);
    for (size_t i = 0; i < a->named.n; i++) named[i] = tpl_eval(r, a->named.v[i]);
    if (a->star) star = tpl_eval(r, a->star);
    if (a->star_star) star_star = tpl_eval(r, a->star_star);
    if (a->star) {
        more = tpl_to_list(c, star);
        out->pos = tpl_grow(c, out->pos, out->n_pos, out->n_pos + more->n, sizeof *out->pos);
        for (size_t i = 0; i < more->n; i++) out->pos[out->n_pos++] = more->items[i];
    }
    if (a->star_star && star_star.type != TPL_DICT)
        tpl_fail(c, "the argument after ** must be a mapping, not '%s'", tpl_type_name(star_star));
    size_t n_named = a->named.n + (a->star_star ? star_star.u.dict->n : 0) + spare;
    out->names = tpl_array(c, n_named, sizeof *out->names);
    out->named = tpl_array(c, n_named, sizeof *out->named);
    for (size_t i = 0; i < a->named.n; i++) add_named(out, a->names[i], named[i]);
    if (!a->star_star) return;
    tpl_iter it = tpl_iterate(c, star_star);
    for (size_t i = 0; tpl_next(c, &it, &item); i++) {
        const tpl_str *name = tpl_need_str(c, item, "a keyword");
        for (size_t k = 0; k < a->named.n; k++)
            if (tpl_str_eq(a->names[k], name)) tpl_fail(c, "got multiple values for a keyword argument");
        add_named(out, name, star_star.u.dict->entries[i].value);
    }
}

/* One parameter's name in a params text: [p, p + n); optional ones end with '?'. */
typedef struct param { const char *p; size_t n; bool optional; } param;

static bool next_param(const char **text, param *out) {
    while (**text == ' ' || **text == '/') ++*text;
    if (!**text) return false;
    out->p = *text;
    out->n = strcspn(*text, " ");
    *text += out->n;
    out->optional = out->p[out->n - 1] == '?';
    out->n -= out->optional;
    return true;
}

tpl_val tpl_invoke(tpl_run *r, const tpl_builtin *fn, tpl_val self, const tpl_call *call) {
    tpl_ctx *c = &r->c;
    if (fn->params[0] == '*') return fn->fn(r, self, call);
    tpl_val bound[8] = {{0}};
    size_t n = 0, used = 0;
    const char *text = fn->params;
    bool positional_only = text[0] == '/';
    for (param p; next_param(&text, &p); n++) {
        if (n < call->n_pos) bound[n] = call->pos[n];
        for (size_t k = 0; k < call->n_named && !positional_only; k++) {
            if (call->names[k]->n != p.n || memcmp(call->names[k]->s, p.p, p.n) != 0) continue;
            if (n < call->n_pos) tpl_fail(c, "%s() got multiple values for argument '%.*s'", fn->name, (int)p.n, p.p);
            bound[n] = call->named[k];
            used++;
        }
        if (bound[n].type == TPL_ABSENT && !p.optional)
            tpl_fail(c, "%s() needs the argument '%.*s'", fn->name, (int)p.n, p.p);
    }
    if (call->n_pos > n) tpl_fail(c, "%s() takes at most %zu arguments, %zu given", fn->name, n, call->n_pos);
    if (used < call->n_named) tpl_fail(c, "%s() got a keyword argument it does not know", fn->name);
    tpl_call out = {.pos = bound, .n_pos = n};
    return fn->fn(r, self, &out);
}

tpl_val tpl_call_value(tpl_run *r, tpl_val callee, const tpl_call *call) {
    if (callee.type == TPL_UNDEFINED) tpl_fail(&r->c, "%s", callee.u.undef->why);
    if (callee.type == TPL_LOOP) {
        if (call->n_pos != 1 || call->n_named) tpl_fail(&r->c, "loop() takes the nested iterable, and nothing else");
        return tpl_loop_recurse(r, callee.u.loop, call->pos[0]);
    }
    if (callee.type == TPL_JOINER) {
        tpl_joiner *j = callee.u.joiner;
        bool used = j->used;
        if (call->n_pos || call->n_named) tpl_fail(&r->c, "a joiner takes no arguments");
        j->used = true;
        return used ? tpl_of_str(j->sep) : tpl_text(&r->c, "");
    }
    if (callee.type != TPL_FUNC) tpl_fail(&r->c, "'%s' object is not callable", tpl_type_name(callee));
    if (callee.u.func->builtin) return tpl_invoke(r, callee.u.func->builtin, callee.u.func->self, call);
    return tpl_call_macro(r, callee.u.func, call);
}

/* -------------------------------------------------------------------------------------------------- macros */

static void set_named(tpl_run *r, const char *name, tpl_val v) {
    uint32_t sym = tpl_symbol(r, name);
    if (sym != UINT32_MAX) tpl_scope_set(r, r->scope, sym, v);
}

/* Keyword argument `name` not yet taken, or -1. */
static long find_keyword(const tpl_call *call, const bool *taken, const tpl_str *name) {
    for (size_t k = 0; k < call->n_named; k++)
        if (!taken[k] && tpl_str_eq(call->names[k], name)) return (long)k;
    return -1;
}

static void bind_params(tpl_run *r, const tpl_macro *m, const tpl_call *call, bool *taken) {
    for (size_t i = 0; i < m->params.n; i++) {
        const tpl_node *p = m->params.v[i];
        tpl_val v = {0};
        if (i < call->n_pos) {
            v = call->pos[i];
        } else {
            long k = find_keyword(call, taken, p->value.u.str);
            if (k >= 0) {
                v = call->named[k];
                taken[k] = true;
            } else if (m->defaults[i]) {
                v = tpl_eval(r, m->defaults[i]);
            } else {
                char shown[64];
                tsr_printable(p->value.u.str->s, p->value.u.str->n, shown, sizeof shown);
                v = tpl_undefined(&r->c, "parameter '%s' was not provided", shown);
            }
        }
        tpl_scope_set(r, r->scope, p->sym, v);
    }
}

/* caller, kwargs and varargs: given to macros that mention them; an error for macros that do not. */
static void bind_rest(tpl_run *r, const tpl_macro *m, const tpl_call *call, bool *taken) {
    tpl_ctx *c = &r->c;
    char name[64], shown[64];
    tsr_printable(m->name->s, m->name->n, name, sizeof name);
    if (m->uses_caller && !m->explicit_caller) {
        long k = find_keyword(call, taken, tpl_text(c, "caller").u.str);
        if (k >= 0) taken[k] = true;
        set_named(r, "caller", k >= 0 ? call->named[k] : tpl_undefined(c, "no caller defined"));
    }
    tpl_dict *kwargs = tpl_dict_new(c);
    for (size_t k = 0; k < call->n_named; k++) {
        if (taken[k]) continue;
        if (!m->uses_kwargs)
            tpl_fail(c, "macro '%s' takes no keyword argument '%s'", name,
                     tsr_printable(call->names[k]->s, call->names[k]->n, shown, sizeof shown));
        tpl_dict_set(c, kwargs, tpl_of_str(call->names[k]), call->named[k]);
    }
    if (m->uses_kwargs) set_named(r, "kwargs", tpl_of_dict(kwargs));
    tpl_seq *varargs = tpl_seq_new(c, 0);
    for (size_t i = m->params.n; i < call->n_pos; i++) tpl_seq_push(c, varargs, call->pos[i]);
    if (varargs->n && !m->uses_varargs) tpl_fail(c, "macro '%s' takes not more than %zu arguments", name, m->params.n);
    if (m->uses_varargs) set_named(r, "varargs", tpl_of_seq(TPL_TUPLE, varargs));
}

tpl_val tpl_call_macro(tpl_run *r, const tpl_func *f, const tpl_call *call) {
    tpl_ctx *c = &r->c;
    const tpl_macro *m = f->macro->macro;
    tpl_scope *outer = r->scope;
    size_t mark = r->out.len, at = c->at;
    bool *taken = tpl_array(c, call->n_named, sizeof *taken);
    tpl_enter(c);
    r->scope = tpl_scope_new(r, f->closure);
    bind_params(r, m, call, taken);
    bind_rest(r, m, call, taken);
    tpl_exec(r, &f->macro->list);
    r->scope = outer;
    tpl_leave(c);
    c->at = at;
    return tpl_capture(r, mark);
}
