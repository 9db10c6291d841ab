/* parse_expr.c: expressions, in Jinja's precedence (loosest first):
 *   a if b else c | or | and | not | == != < <= > >= in, not in | + - | ~ | * / // % | ** | unary + - | . [] () | is
 */
#include "text/jinja/parse.h"
#include "text/jinja/run.h"

#include <string.h>

/* A macro whose body (or an inner macro's) mentions these takes what it was not declared with. */
static void note_special(tpl_parser *p, const tpl_str *name) {
    for (int i = 0; i < p->n_macros; i++) {
        if (tpl_str_is(name, "varargs")) p->macros[i]->uses_varargs = true;
        if (tpl_str_is(name, "kwargs")) p->macros[i]->uses_kwargs = true;
        if (tpl_str_is(name, "caller")) p->macros[i]->uses_caller = true;
    }
}

static tpl_node *constant(tpl_parser *p, size_t at, tpl_val v) {
    tpl_node *n = tpl_node_new(p, TPL_N_CONST, at);
    n->value = v;
    return n;
}

static tpl_node *parse_name(tpl_parser *p, bool with_namespace) {
    const tpl_token *t = p->t;
    tpl_advance(p);
    if (tpl_is_name(t, "true") || tpl_is_name(t, "True")) return constant(p, t->at, tpl_bool(true));
    if (tpl_is_name(t, "false") || tpl_is_name(t, "False")) return constant(p, t->at, tpl_bool(false));
    if (tpl_is_name(t, "none") || tpl_is_name(t, "None")) return constant(p, t->at, tpl_none());
    tpl_node *n = tpl_node_new(p, TPL_N_NAME, t->at);
    n->sym = tpl_parse_symbol(p, t->str);
    n->value = tpl_of_str(t->str);
    if (with_namespace && tpl_skip_if(p, TPL_T_DOT)) {
        n->kind = TPL_N_NSREF;
        n->value = tpl_of_str(tpl_expect(p, TPL_T_NAME, "an attribute name")->str);
    } else {
        note_special(p, t->str);
    }
    return n;
}

static tpl_node *parse_strings(tpl_parser *p) {
    size_t at = p->t->at;
    const tpl_str *s = p->t->str;
    tpl_advance(p);
    if (p->t->type == TPL_T_STR) { /* 'a' 'b' is 'ab' */
        tpl_out o = {0};
        tpl_out_add(p->c, &o, s->s, s->n);
        for (; p->t->type == TPL_T_STR; tpl_advance(p)) tpl_out_add(p->c, &o, p->t->str->s, p->t->str->n);
        return constant(p, at, tpl_out_str(p->c, &o));
    }
    return constant(p, at, tpl_of_str(s));
}

static tpl_node *parse_list(tpl_parser *p) {
    tpl_node *n = tpl_node_new(p, TPL_N_LIST, p->t->at);
    tpl_advance(p);
    while (p->t->type != TPL_T_RBRACKET) {
        if (n->list.n) tpl_expect(p, TPL_T_COMMA, "\",\" or \"]\"");
        if (p->t->type == TPL_T_RBRACKET) break;
        tpl_nodes_push(p, &n->list, tpl_parse_expr(p));
    }
    tpl_advance(p);
    return n;
}

static tpl_node *parse_dict(tpl_parser *p) {
    tpl_node *n = tpl_node_new(p, TPL_N_DICT, p->t->at);
    tpl_advance(p);
    while (p->t->type != TPL_T_RBRACE) {
        if (n->list.n) tpl_expect(p, TPL_T_COMMA, "\",\" or \"}\"");
        if (p->t->type == TPL_T_RBRACE) break;
        tpl_nodes_push(p, &n->list, tpl_parse_expr(p));
        tpl_expect(p, TPL_T_COLON, "\":\"");
        tpl_nodes_push(p, &n->list, tpl_parse_expr(p));
    }
    tpl_advance(p);
    return n;
}

tpl_node *tpl_parse_primary(tpl_parser *p, bool with_namespace) {
    const tpl_token *t = p->t;
    tpl_node *n;
    tpl_enter(p->c);
    switch (t->type) {
    case TPL_T_NAME: n = parse_name(p, with_namespace); break;
    case TPL_T_STR: n = parse_strings(p); break;
    case TPL_T_INT:
        tpl_advance(p);
        n = constant(p, t->at, tpl_int(t->i));
        break;
    case TPL_T_FLOAT:
        tpl_advance(p);
        n = constant(p, t->at, tpl_float(t->f));
        break;
    case TPL_T_LPAREN:
        tpl_advance(p);
        n = tpl_parse_tuple(p, TPL_TUPLE_EXPR, NULL, true);
        tpl_expect(p, TPL_T_RPAREN, "\")\"");
        break;
    case TPL_T_LBRACKET: n = parse_list(p); break;
    case TPL_T_LBRACE: n = parse_dict(p); break;
    default: tpl_unexpected(p, "an expression");
    }
    tpl_leave(p->c);
    return n;
}

static bool tuple_ends(const tpl_parser *p, const char *end_name) {
    tpl_tok t = p->t->type;
    return t == TPL_T_VAR_END || t == TPL_T_BLOCK_END || t == TPL_T_RPAREN || (end_name && tpl_is_name(p->t, end_name));
}

tpl_node *tpl_parse_tuple(tpl_parser *p, tpl_tuple_mode mode, const char *end_name, bool parenthesised) {
    size_t at = p->t->at;
    tpl_nodes items = {0};
    bool is_tuple = false;
    for (;;) {
        if (items.n) tpl_expect(p, TPL_T_COMMA, "\",\"");
        if (tuple_ends(p, end_name)) break;
        tpl_nodes_push(p, &items,
                       mode == TPL_TUPLE_EXPR      ? tpl_parse_expr(p)
                       : mode == TPL_TUPLE_NO_COND ? tpl_parse_or(p)
                                                   : tpl_parse_primary(p, mode == TPL_TUPLE_NS_TARGET));
        if (p->t->type != TPL_T_COMMA) break;
        is_tuple = true;
    }
    if (!is_tuple) {
        if (items.n) return items.v[0];
        if (!parenthesised) tpl_unexpected(p, "an expression");
    }
    tpl_node *n = tpl_node_new(p, TPL_N_TUPLE, at);
    n->list = items;
    return n;
}

/* One item between [ ]: an expression or start:stop:step. */
static tpl_node *parse_subscribed(tpl_parser *p) {
    size_t at = p->t->at;
    tpl_node *start = NULL;
    if (p->t->type != TPL_T_COLON) {
        start = tpl_parse_expr(p);
        if (p->t->type != TPL_T_COLON) return start;
    }
    tpl_advance(p);
    tpl_node *n = tpl_node_new(p, TPL_N_SLICE, at);
    n->a = start;
    bool more = p->t->type != TPL_T_COLON && p->t->type != TPL_T_RBRACKET && p->t->type != TPL_T_COMMA;
    if (more) n->b = tpl_parse_expr(p);
    if (tpl_skip_if(p, TPL_T_COLON) && p->t->type != TPL_T_RBRACKET && p->t->type != TPL_T_COMMA)
        n->c = tpl_parse_expr(p);
    return n;
}

static tpl_node *parse_subscript(tpl_parser *p, tpl_node *object) {
    size_t at = p->t->at;
    if (tpl_skip_if(p, TPL_T_DOT)) {
        const tpl_token *t = p->t;
        if (t->type != TPL_T_NAME && t->type != TPL_T_INT) tpl_unexpected(p, "a name or number after \".\"");
        tpl_advance(p);
        tpl_node *n = tpl_node_new(p, t->type == TPL_T_NAME ? TPL_N_ATTR : TPL_N_ITEM, at);
        n->a = object;
        if (t->type == TPL_T_NAME) n->value = tpl_of_str(t->str);
        else n->b = constant(p, t->at, tpl_int(t->i));
        return n;
    }
    tpl_advance(p); /* [ */
    tpl_nodes items = {0};
    while (p->t->type != TPL_T_RBRACKET) {
        if (items.n) tpl_expect(p, TPL_T_COMMA, "\",\" or \"]\"");
        tpl_nodes_push(p, &items, parse_subscribed(p));
    }
    tpl_advance(p);
    tpl_node *n = tpl_node_new(p, TPL_N_ITEM, at);
    n->a = object;
    if (items.n == 1) {
        n->b = items.v[0];
    } else {
        for (size_t i = 0; i < items.n; i++)
            if (items.v[i]->kind == TPL_N_SLICE) tpl_fail_at(p->c, items.v[i]->at, "a slice cannot be part of a tuple");
        n->b = tpl_node_new(p, TPL_N_TUPLE, at);
        n->b->list = items;
    }
    return n;
}

static tpl_args *parse_call_args(tpl_parser *p) {
    size_t at = p->t->at;
    tpl_args *a = tpl_alloc(p->c, sizeof *a);
    size_t cap_names = 0;
    bool bad = false;
    tpl_expect(p, TPL_T_LPAREN, "\"(\"");
    for (bool first = true; p->t->type != TPL_T_RPAREN; first = false) {
        if (!first) {
            tpl_expect(p, TPL_T_COMMA, "\",\" or \")\"");
            if (p->t->type == TPL_T_RPAREN) break;
        }
        if (p->t->type == TPL_T_MUL) {
            bad |= a->star || a->star_star;
            tpl_advance(p);
            a->star = tpl_parse_expr(p);
        } else if (p->t->type == TPL_T_POW) {
            bad |= a->star_star != NULL;
            tpl_advance(p);
            a->star_star = tpl_parse_expr(p);
        } else if (p->t->type == TPL_T_NAME && p->t[1].type == TPL_T_ASSIGN) {
            bad |= a->star_star != NULL;
            if (a->named.n == cap_names) {
                size_t cap = cap_names ? cap_names * 2 : 4;
                a->names = tpl_grow(p->c, a->names, cap_names, cap, sizeof *a->names);
                cap_names = cap;
            }
            a->names[a->named.n] = p->t->str;
            for (size_t i = 0; i < a->named.n; i++)
                if (tpl_str_eq(a->names[i], p->t->str)) tpl_fail_at(p->c, p->t->at, "keyword argument repeated");
            tpl_advance(p);
            tpl_advance(p);
            tpl_nodes_push(p, &a->named, tpl_parse_expr(p));
        } else {
            bad |= a->star || a->star_star || a->named.n;
            tpl_nodes_push(p, &a->pos, tpl_parse_expr(p));
        }
        if (bad) tpl_fail_at(p->c, at, "invalid order of arguments in this call");
        if (a->named.n > 255) tpl_fail_at(p->c, at, "more than 255 keyword arguments");
    }
    tpl_advance(p);
    return a;
}

static tpl_node *parse_call(tpl_parser *p, tpl_node *callee) {
    tpl_node *n = tpl_node_new(p, TPL_N_CALL, callee->at);
    n->a = callee;
    n->args = parse_call_args(p);
    return n;
}

/* name(.name)* of a filter or test */
static const tpl_str *dotted_name(tpl_parser *p, const char *what) {
    const tpl_str *name = tpl_expect(p, TPL_T_NAME, what)->str;
    while (tpl_skip_if(p, TPL_T_DOT)) {
        tpl_out o = {0};
        const tpl_str *part = tpl_expect(p, TPL_T_NAME, what)->str;
        tpl_out_add(p->c, &o, name->s, name->n);
        tpl_out_puts(p->c, &o, ".");
        tpl_out_add(p->c, &o, part->s, part->n);
        name = tpl_out_str(p->c, &o).u.str;
    }
    return name;
}

tpl_node *tpl_parse_filter_chain(tpl_parser *p, tpl_node *input, bool start_inline) {
    while (p->t->type == TPL_T_PIPE || start_inline) {
        if (!start_inline) tpl_advance(p);
        start_inline = false;
        tpl_node *n = tpl_node_new(p, TPL_N_FILTER, p->t->at);
        const tpl_str *name = dotted_name(p, "a filter name");
        n->value = tpl_of_str(name);
        n->a = input;
        n->fn = tpl_find_filter(name->s, name->n);
        if (!n->fn && !p->n_conditional) tpl_nodes_push(p, &p->unknown, n);
        n->args = p->t->type == TPL_T_LPAREN ? parse_call_args(p) : tpl_alloc(p->c, sizeof *n->args);
        input = n;
    }
    return input;
}

static tpl_node *parse_test(tpl_parser *p, tpl_node *subject) {
    size_t at = p->t->at;
    tpl_advance(p); /* is */
    bool negated = tpl_skip_name(p, "not");
    tpl_node *n = tpl_node_new(p, TPL_N_TEST, p->t->at);
    const tpl_str *name = dotted_name(p, "a test name");
    n->value = tpl_of_str(name);
    n->a = subject;
    n->fn = tpl_find_test(name->s, name->n);
    if (!n->fn && !p->n_conditional) tpl_nodes_push(p, &p->unknown, n);
    tpl_tok t = p->t->type;
    if (t == TPL_T_LPAREN) {
        n->args = parse_call_args(p);
    } else {
        n->args = tpl_alloc(p->c, sizeof *n->args);
        bool operand = t == TPL_T_NAME || t == TPL_T_STR || t == TPL_T_INT || t == TPL_T_FLOAT || t == TPL_T_LBRACKET ||
                       t == TPL_T_LBRACE;
        if (operand && !tpl_is_name(p->t, "else") && !tpl_is_name(p->t, "or") && !tpl_is_name(p->t, "and")) {
            if (tpl_is_name(p->t, "is")) tpl_fail_at(p->c, p->t->at, "tests cannot be chained with \"is\"");
            tpl_node *arg = tpl_parse_primary(p, false);
            while (p->t->type == TPL_T_DOT || p->t->type == TPL_T_LBRACKET || p->t->type == TPL_T_LPAREN)
                arg = p->t->type == TPL_T_LPAREN ? parse_call(p, arg) : parse_subscript(p, arg);
            tpl_nodes_push(p, &n->args->pos, arg);
        }
    }
    if (!negated) return n;
    tpl_node *not_node = tpl_node_new(p, TPL_N_NOT, at);
    not_node->a = n;
    return not_node;
}

static tpl_node *parse_unary(tpl_parser *p, bool with_filter) {
    tpl_node *n;
    tpl_tok t = p->t->type;
    if (t == TPL_T_SUB || t == TPL_T_ADD) {
        tpl_enter(p->c);
        n = tpl_node_new(p, t == TPL_T_SUB ? TPL_N_NEG : TPL_N_POS, p->t->at);
        tpl_advance(p);
        n->a = parse_unary(p, false);
        tpl_leave(p->c);
    } else {
        n = tpl_parse_primary(p, false);
    }
    for (;;) {
        t = p->t->type;
        if (t == TPL_T_DOT || t == TPL_T_LBRACKET) n = parse_subscript(p, n);
        else if (t == TPL_T_LPAREN) n = parse_call(p, n);
        else break;
    }
    while (with_filter) {
        t = p->t->type;
        if (t == TPL_T_PIPE) n = tpl_parse_filter_chain(p, n, false);
        else if (tpl_is_name(p->t, "is")) n = parse_test(p, n);
        else if (t == TPL_T_LPAREN) n = parse_call(p, n);
        else break;
    }
    return n;
}

static tpl_node *binary(tpl_parser *p, tpl_op op, size_t at, tpl_node *a, tpl_node *b) {
    tpl_node *n = tpl_node_new(p, TPL_N_BINARY, at);
    n->op = op;
    n->a = a;
    n->b = b;
    return n;
}

static tpl_node *parse_pow(tpl_parser *p) {
    tpl_node *n = parse_unary(p, true);
    while (p->t->type == TPL_T_POW) {
        size_t at = p->t->at;
        tpl_advance(p);
        n = binary(p, TPL_OP_POW, at, n, parse_unary(p, true));
    }
    return n;
}

static tpl_node *parse_product(tpl_parser *p) {
    tpl_node *n = parse_pow(p);
    for (;;) {
        tpl_tok t = p->t->type;
        if (t != TPL_T_MUL && t != TPL_T_DIV && t != TPL_T_FLOORDIV && t != TPL_T_MOD) return n;
        size_t at = p->t->at;
        tpl_advance(p);
        tpl_op op = t == TPL_T_MUL ? TPL_OP_MUL : t == TPL_T_DIV ? TPL_OP_DIV : t == TPL_T_MOD ? TPL_OP_MOD
                                                                                            : TPL_OP_FLOORDIV;
        n = binary(p, op, at, n, parse_pow(p));
    }
}

static tpl_node *parse_concat(tpl_parser *p) {
    tpl_node *first = parse_product(p);
    if (p->t->type != TPL_T_TILDE) return first;
    tpl_node *n = tpl_node_new(p, TPL_N_CONCAT, p->t->at);
    tpl_nodes_push(p, &n->list, first);
    while (tpl_skip_if(p, TPL_T_TILDE)) tpl_nodes_push(p, &n->list, parse_product(p));
    return n;
}

static tpl_node *parse_sum(tpl_parser *p) {
    tpl_node *n = parse_concat(p);
    while (p->t->type == TPL_T_ADD || p->t->type == TPL_T_SUB) {
        tpl_op op = p->t->type == TPL_T_ADD ? TPL_OP_ADD : TPL_OP_SUB;
        size_t at = p->t->at;
        tpl_advance(p);
        n = binary(p, op, at, n, parse_concat(p));
    }
    return n;
}

static bool compare_op(tpl_parser *p, tpl_op *op) {
    tpl_tok t = p->t->type;
    if (t >= TPL_T_EQ && t <= TPL_T_GE) {
        *op = (tpl_op)(TPL_OP_EQ + (t - TPL_T_EQ));
        tpl_advance(p);
        return true;
    }
    if (tpl_skip_name(p, "in")) {
        *op = TPL_OP_IN;
        return true;
    }
    if (tpl_is_name(p->t, "not") && tpl_is_name(p->t + 1, "in")) {
        tpl_advance(p);
        tpl_advance(p);
        *op = TPL_OP_NOTIN;
        return true;
    }
    return false;
}

static tpl_node *parse_compare(tpl_parser *p) {
    tpl_node *first = parse_sum(p), *n = NULL;
    size_t at = p->t->at, cap = 0;
    tpl_op op;
    while (compare_op(p, &op)) {
        if (!n) {
            n = tpl_node_new(p, TPL_N_COMPARE, at);
            n->a = first;
        }
        if (n->list.n == cap) {
            n->ops = tpl_grow(p->c, n->ops, cap, cap * 2 + 2, 1);
            cap = cap * 2 + 2;
        }
        n->ops[n->list.n] = (uint8_t)op;
        tpl_nodes_push(p, &n->list, parse_sum(p));
    }
    return n ? n : first;
}

static tpl_node *parse_not(tpl_parser *p) {
    if (!tpl_is_name(p->t, "not")) return parse_compare(p);
    tpl_enter(p->c);
    tpl_node *n = tpl_node_new(p, TPL_N_NOT, p->t->at);
    tpl_advance(p);
    n->a = parse_not(p);
    tpl_leave(p->c);
    return n;
}

static tpl_node *parse_and(tpl_parser *p) {
    tpl_node *n = parse_not(p);
    while (tpl_is_name(p->t, "and")) {
        tpl_node *both = tpl_node_new(p, TPL_N_AND, p->t->at);
        tpl_advance(p);
        both->a = n;
        both->b = parse_not(p);
        n = both;
    }
    return n;
}

tpl_node *tpl_parse_or(tpl_parser *p) {
    tpl_node *n = parse_and(p);
    while (tpl_is_name(p->t, "or")) {
        tpl_node *either = tpl_node_new(p, TPL_N_OR, p->t->at);
        tpl_advance(p);
        either->a = n;
        either->b = parse_and(p);
        n = either;
    }
    return n;
}

tpl_node *tpl_parse_expr(tpl_parser *p) {
    tpl_enter(p->c);
    size_t n_unknown = p->unknown.n;
    tpl_node *n = tpl_parse_or(p);
    while (tpl_is_name(p->t, "if")) {
        tpl_node *cond = tpl_node_new(p, TPL_N_COND, p->t->at);
        tpl_advance(p);
        p->n_conditional++;
        p->unknown.n = n_unknown;
        cond->b = n;
        cond->a = tpl_parse_or(p);
        if (tpl_skip_name(p, "else")) cond->c = tpl_parse_expr(p);
        p->n_conditional--;
        n = cond;
    }
    tpl_leave(p->c);
    return n;
}
