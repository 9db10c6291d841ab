/* template.c: the two entrances, parse and render, with the one setjmp of each. */
#include "text/chat_template.h"
#include "text/jinja/run.h"

#include "core/utf8.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SOURCE = 1 << 20 };
static const uint64_t default_steps = 20 * 1000 * 1000;
static const size_t default_output = (size_t)64 << 20, memory_limit = (size_t)512 << 20;

struct tsr_template {
    tpl_ctx c;
    tpl_tree tree;
};

tsr_template *tsr_template_parse(const char *source, size_t n, tsr_error *err) {
    if (n > MAX_SOURCE) {
        tsr_fail(err, TSR_E_LIMIT, "template has %zu bytes; more than %d is no chat template", n, (int)MAX_SOURCE);
        return NULL;
    }
    size_t valid = tsr_utf8_valid_prefix(source, n);
    if (valid < n) {
        tsr_fail(err, TSR_E_TEMPLATE, "template is not valid UTF-8 at byte %zu", valid);
        return NULL;
    }
    tsr_template *t = calloc(1, sizeof *t);
    if (!t) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory for a chat template");
        return NULL;
    }
    t->c.limit = memory_limit;
    t->c.max_steps = UINT64_MAX;
    t->c.max_depth = TPL_MAX_NESTING;
    t->c.err = err;
    t->c.seed = (uint64_t)(uintptr_t)t * 0x9e3779b97f4a7c15u;
    if (setjmp(t->c.on_error)) {
        tsr_template_free(t);
        return NULL;
    }
    t->c.source = tpl_normalise(&t->c, source, n, &t->c.n_source);
    tpl_parse(&t->c, &t->tree);
    t->c.err = NULL;
    return t;
}

void tsr_template_free(tsr_template *t) {
    if (!t) return;
    tpl_free_all(&t->c);
    free(t);
}

/* ------------------------------------------------------------------------------------------------- render */

/* jansson's "nocheck" functions let any bytes in; everything here relies on valid UTF-8. */
static tpl_val checked(tpl_ctx *c, const char *s, size_t n) {
    if (tsr_utf8_valid_prefix(s, n) != n) tpl_fail(c, "a string among the variables is not valid UTF-8");
    return tpl_take(c, s, n);
}

static tpl_val from_json(tpl_ctx *c, const json_t *j) {
    switch (json_typeof(j)) {
    case JSON_NULL: return tpl_none();
    case JSON_TRUE: return tpl_bool(true);
    case JSON_FALSE: return tpl_bool(false);
    case JSON_INTEGER: return tpl_int((int64_t)json_integer_value(j));
    case JSON_REAL: return tpl_float(json_real_value(j));
    case JSON_STRING: return checked(c, json_string_value(j), json_string_length(j));
    case JSON_ARRAY: {
        tpl_enter(c);
        size_t n = json_array_size(j);
        tpl_seq *q = tpl_seq_new(c, n);
        for (size_t i = 0; i < n; i++) tpl_seq_push(c, q, from_json(c, json_array_get(j, i)));
        tpl_leave(c);
        return tpl_of_seq(TPL_LIST, q);
    }
    default: {
        tpl_enter(c);
        tpl_dict *d = tpl_dict_new(c);
        const char *key;
        size_t n_key;
        json_t *value;
        json_object_keylen_foreach((json_t *)j, key, n_key, value)
            tpl_dict_set(c, d, checked(c, key, n_key), from_json(c, value));
        tpl_leave(c);
        return tpl_of_dict(d);
    }
    }
}

static tsr_code render(tpl_run *r, const json_t *vars) {
    if (setjmp(r->c.on_error)) return TSR_E_TEMPLATE; /* the error says which code it is */
    r->globals = from_json(&r->c, vars).u.dict;
    r->scope = tpl_scope_new(r, NULL);
    tpl_exec(r, &r->tree->body);
    return TSR_OK;
}

tsr_code tsr_template_render(const tsr_template *t, const json_t *vars, const tsr_template_limits *limits, char **out,
                             size_t *n_out, tsr_error *err) {
    static const tsr_template_limits defaults = {0};
    tsr_error local = {0};
    *out = NULL;
    if (n_out) *n_out = 0;
    if (!json_is_object(vars))
        return tsr_fail(err, TSR_E_ARG, "the variables of a chat template must be a JSON object");
    if (!limits) limits = &defaults;
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", NULL); /* numbers with a point, English month names */
    if (!c_locale) return tsr_fail(err, TSR_E_NOMEM, "out of memory for a chat template");
    locale_t caller_locale = uselocale(c_locale);
    tpl_run r = {.tree = &t->tree, .max_out = limits->max_output ? limits->max_output : default_output};
    r.now = limits->now ? limits->now : time(NULL);
    r.c.err = &local;
    r.c.source = t->c.source;
    r.c.n_source = t->c.n_source;
    r.c.limit = memory_limit;
    r.c.max_steps = limits->max_steps ? limits->max_steps : default_steps;
    r.c.max_depth = TPL_MAX_DEPTH;
    r.c.seed = (uint64_t)(uintptr_t)&r * 0x9e3779b97f4a7c15u ^ (uint64_t)(uintptr_t)c_locale;
    tsr_code code = render(&r, vars);
    if (code == TSR_OK) {
        *out = tsr_buf_take(&r.out, n_out);
        if (!*out) code = tsr_fail(&local, TSR_E_NOMEM, "out of memory for a chat template's output");
    }
    if (code != TSR_OK && err) *err = local;
    if (code != TSR_OK) code = local.code;
    tsr_buf_free(&r.out);
    tpl_free_all(&r.c);
    uselocale(caller_locale);
    freelocale(c_locale);
    return code;
}
