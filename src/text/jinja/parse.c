/* parse.c: statements, and the tools that both halves of the parser use. */
#include "text/jinja/parse.h"

#include <string.h>

tpl_node *tpl_node_new(tpl_parser *p, tpl_kind kind, size_t at) {
    tpl_node *n = tpl_alloc(p->c, sizeof *n);
    n->kind = kind;
    n->at = at;
    return n;
}

void tpl_nodes_push(tpl_parser *p, tpl_nodes *list, tpl_node *n) {
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 4;
        list->v = tpl_grow(p->c, list->v, list->n, cap, sizeof *list->v);
        list->cap = cap;
    }
    list->v[list->n++] = n;
}

bool tpl_is_name(const tpl_token *t, const char *name) {
    return t->type == TPL_T_NAME && t->str->n == strlen(name) && memcmp(t->str->s, name, t->str->n) == 0;
}

bool tpl_skip_if(tpl_parser *p, tpl_tok type) {
    if (p->t->type != type) return false;
    tpl_advance(p);
    return true;
}

bool tpl_skip_name(tpl_parser *p, const char *name) {
    if (!tpl_is_name(p->t, name)) return false;
    tpl_advance(p);
    return true;
}

void tpl_unexpected(tpl_parser *p, const char *wanted) {
    const tpl_token *t = p->t;
    char shown[64];
    const char *got;
    switch (t->type) {
    case TPL_T_EOF: got = "the end of the template"; break;
    case TPL_T_VAR_END: got = "\"}}\""; break;
    case TPL_T_BLOCK_END: got = "\"%}\""; break;
    case TPL_T_TEXT: case TPL_T_VAR_BEGIN: case TPL_T_BLOCK_BEGIN: got = "template text"; break;
    case TPL_T_STR: got = "a string"; break;
    case TPL_T_INT: case TPL_T_FLOAT: got = "a number"; break;
    default: {
        char raw[48];
        size_t n = t->type == TPL_T_NAME ? t->str->n : 1;
        tsr_printable(p->c->source + t->at, n, raw, sizeof raw);
        shown[0] = '"';
        size_t len = strlen(raw);
        memcpy(shown + 1, raw, len);
        memcpy(shown + 1 + len, "\"", 2);
        got = shown;
    }
    }
    tpl_fail_at(p->c, t->at, "expected %s, got %s", wanted, got);
}

const tpl_token *tpl_expect(tpl_parser *p, tpl_tok type, const char *what) {
    if (p->t->type != type) tpl_unexpected(p, what);
    const tpl_token *t = p->t;
    tpl_advance(p);
    return t;
}

uint32_t tpl_parse_symbol(tpl_parser *p, const tpl_str *name) {
    tpl_val *known = tpl_dict_find_str(p->c, p->symbols, name);
    if (known) return (uint32_t)known->u.i;
    tpl_dict_set(p->c, p->symbols, tpl_of_str(name), tpl_int((int64_t)p->symbols->n));
    return (uint32_t)p->symbols->n - 1;
}


static void parse_body(tpl_parser *p, tpl_nodes *body, const char *const *ends);

/* The "%}" of an opening tag, its body up to one of `ends` (NULL-terminated); the end's name is left current. */
static void parse_block(tpl_parser *p, tpl_nodes *body, size_t at, const char *const *ends) {
    tpl_skip_if(p, TPL_T_COLON);
    tpl_expect(p, TPL_T_BLOCK_END, "\"%}\"");
    parse_body(p, body, ends);
    if (p->t->type == TPL_T_EOF) tpl_fail_at(p->c, at, "this tag is never closed: \"{%% %s %%}\" is missing", ends[0]);
}

static void parse_block_to(tpl_parser *p, tpl_nodes *body, size_t at, const char *end) {
    const char *ends[] = {end, NULL};
    parse_block(p, body, at, ends);
    tpl_advance(p);
}

static void check_target(tpl_parser *p, const tpl_node *n) {
    if (n->kind == TPL_N_TUPLE) {
        for (size_t i = 0; i < n->list.n; i++) check_target(p, n->list.v[i]);
        return;
    }
    if (n->kind != TPL_N_NAME && n->kind != TPL_N_NSREF) tpl_fail_at(p->c, n->at, "cannot assign to this");
    bool is_loop = n->kind == TPL_N_NAME && tpl_str_is(n->value.u.str, "loop");
    if (is_loop && p->n_loops) tpl_fail_at(p->c, n->at, "cannot assign to the special variable \"loop\"");
}

static tpl_node *parse_target(tpl_parser *p, const char *end_name, bool with_namespace) {
    tpl_node *n = tpl_parse_tuple(p, with_namespace ? TPL_TUPLE_NS_TARGET : TPL_TUPLE_TARGET, end_name, false);
    check_target(p, n);
    return n;
}

static tpl_node *parse_for(tpl_parser *p, size_t at) {
    tpl_node *n = tpl_node_new(p, TPL_N_FOR, at);
    static const char *const ends[] = {"endfor", "else", NULL};
    n->a = parse_target(p, "in", false);
    if (n->a->kind == TPL_N_NAME && tpl_str_is(n->a->value.u.str, "loop"))
        tpl_fail_at(p->c, n->a->at, "cannot assign to the special variable \"loop\"");
    if (!tpl_skip_name(p, "in")) tpl_unexpected(p, "\"in\"");
    n->b = tpl_parse_tuple(p, TPL_TUPLE_NO_COND, "recursive", false);
    if (tpl_skip_name(p, "if")) n->c = tpl_parse_expr(p);
    n->flag = tpl_skip_name(p, "recursive");
    p->n_loops++;
    parse_block(p, &n->list, at, ends);
    p->n_loops--;
    bool has_else = tpl_is_name(p->t, "else");
    tpl_advance(p);
    if (has_else) parse_block_to(p, &n->list2, at, "endfor");
    return n;
}

static tpl_node *parse_if(tpl_parser *p, size_t at) {
    static const char *const ends[] = {"endif", "elif", "else", NULL};
    tpl_node *first = tpl_node_new(p, TPL_N_IF, at), *n = first;
    p->n_conditional++;
    for (;;) {
        n->a = tpl_parse_tuple(p, TPL_TUPLE_NO_COND, NULL, false);
        parse_block(p, &n->list, at, ends);
        const tpl_token *end = p->t;
        tpl_advance(p);
        if (tpl_is_name(end, "elif")) { /* chained through b: an elif is not one level deeper */
            n->b = tpl_node_new(p, TPL_N_IF, end->at);
            n = n->b;
            continue;
        }
        if (tpl_is_name(end, "else")) parse_block_to(p, &n->list2, at, "endif");
        break;
    }
    p->n_conditional--;
    return first;
}

static tpl_node *parse_set(tpl_parser *p, size_t at) {
    tpl_node *n = tpl_node_new(p, TPL_N_SET, at);
    n->a = parse_target(p, NULL, true);
    if (tpl_skip_if(p, TPL_T_ASSIGN)) {
        n->b = tpl_parse_tuple(p, TPL_TUPLE_EXPR, NULL, false);
        return n;
    }
    n->kind = TPL_N_SETBLOCK;
    n->b = tpl_parse_filter_chain(p, NULL, false);
    parse_block_to(p, &n->list, at, "endset");
    return n;
}

static void parse_signature(tpl_parser *p, tpl_macro *m) {
    tpl_nodes defaults = {0};
    bool has_default = false;
    tpl_expect(p, TPL_T_LPAREN, "\"(\"");
    while (p->t->type != TPL_T_RPAREN) {
        if (m->params.n) tpl_expect(p, TPL_T_COMMA, "\",\" or \")\"");
        const tpl_token *t = tpl_expect(p, TPL_T_NAME, "a parameter name");
        tpl_node *name = tpl_node_new(p, TPL_N_NAME, t->at);
        name->sym = tpl_parse_symbol(p, t->str);
        name->value = tpl_of_str(t->str);
        for (size_t i = 0; i < m->params.n; i++)
            if (m->params.v[i]->sym == name->sym) tpl_fail_at(p->c, t->at, "parameter named twice");
        if (m->params.n == 255) tpl_fail_at(p->c, t->at, "more than 255 parameters");
        m->explicit_caller |= tpl_str_is(t->str, "caller");
        tpl_node *value = NULL;
        if (tpl_skip_if(p, TPL_T_ASSIGN)) {
            value = tpl_parse_expr(p);
            has_default = true;
        } else if (has_default) {
            tpl_fail_at(p->c, t->at, "parameter without a default follows one with a default");
        }
        tpl_nodes_push(p, &m->params, name);
        tpl_nodes_push(p, &defaults, value);
    }
    tpl_advance(p);
    m->defaults = defaults.v;
}

static void parse_macro_body(tpl_parser *p, tpl_node *n, size_t at, const char *end) {
    int n_loops = p->n_loops;
    if (p->n_macros == TPL_MAX_NESTING) tpl_fail_at(p->c, at, "macros nested too deep");
    p->macros[p->n_macros++] = n->macro;
    p->n_loops = 0;
    parse_block_to(p, &n->list, at, end);
    p->n_loops = n_loops;
    p->n_macros--;
}

static tpl_node *parse_macro(tpl_parser *p, size_t at) {
    tpl_node *n = tpl_node_new(p, TPL_N_MACRO, at);
    n->macro = tpl_alloc(p->c, sizeof *n->macro);
    n->macro->name = tpl_expect(p, TPL_T_NAME, "a macro name")->str;
    n->sym = tpl_parse_symbol(p, n->macro->name);
    parse_signature(p, n->macro);
    parse_macro_body(p, n, at, "endmacro");
    return n;
}

static tpl_node *parse_call_block(tpl_parser *p, size_t at) {
    tpl_node *n = tpl_node_new(p, TPL_N_CALLBLOCK, at);
    n->macro = tpl_alloc(p->c, sizeof *n->macro);
    n->macro->name = tpl_str_wrap(p->c, "caller", 6);
    if (p->t->type == TPL_T_LPAREN) parse_signature(p, n->macro);
    n->a = tpl_parse_expr(p);
    if (n->a->kind != TPL_N_CALL) tpl_fail_at(p->c, at, "{%% call %%} needs a call, as in {%% call name() %%}");
    parse_macro_body(p, n, at, "endcall");
    return n;
}

static tpl_node *parse_with(tpl_parser *p, size_t at) {
    tpl_node *n = tpl_node_new(p, TPL_N_WITH, at);
    while (p->t->type != TPL_T_BLOCK_END) {
        if (n->list2.n) tpl_expect(p, TPL_T_COMMA, "\",\"");
        tpl_nodes_push(p, &n->list2, parse_target(p, NULL, false));
        tpl_expect(p, TPL_T_ASSIGN, "\"=\"");
        tpl_nodes_push(p, &n->list2, tpl_parse_expr(p));
    }
    parse_block_to(p, &n->list, at, "endwith");
    return n;
}

static tpl_node *parse_print(tpl_parser *p, size_t at) {
    tpl_node *n = tpl_node_new(p, TPL_N_PRINT, at);
    while (p->t->type != TPL_T_BLOCK_END) {
        if (n->list.n) tpl_expect(p, TPL_T_COMMA, "\",\"");
        tpl_nodes_push(p, &n->list, tpl_parse_expr(p));
    }
    return n;
}

static tpl_node *parse_jump(tpl_parser *p, size_t at, tpl_kind kind) {
    if (!p->n_loops) tpl_fail_at(p->c, at, "break and continue need a loop around them");
    return tpl_node_new(p, kind, at);
}

static tpl_node *parse_statement(tpl_parser *p) {
    const tpl_token *t = tpl_expect(p, TPL_T_NAME, "a tag name");
    tpl_node *n;
    if (tpl_is_name(t, "for")) return parse_for(p, t->at);
    if (tpl_is_name(t, "if")) return parse_if(p, t->at);
    if (tpl_is_name(t, "set")) return parse_set(p, t->at);
    if (tpl_is_name(t, "macro")) return parse_macro(p, t->at);
    if (tpl_is_name(t, "call")) return parse_call_block(p, t->at);
    if (tpl_is_name(t, "with")) return parse_with(p, t->at);
    if (tpl_is_name(t, "print")) return parse_print(p, t->at);
    if (tpl_is_name(t, "break")) return parse_jump(p, t->at, TPL_N_BREAK);
    if (tpl_is_name(t, "continue")) return parse_jump(p, t->at, TPL_N_CONTINUE);
    if (tpl_is_name(t, "filter")) {
        n = tpl_node_new(p, TPL_N_FILTERBLOCK, t->at);
        n->b = tpl_parse_filter_chain(p, NULL, true);
        parse_block_to(p, &n->list, t->at, "endfilter");
        return n;
    }
    if (tpl_is_name(t, "generation")) { /* transformers' mark of what the assistant said: a scope of its own */
        n = tpl_node_new(p, TPL_N_SCOPE, t->at);
        int n_loops = p->n_loops;
        p->n_loops = 0;
        parse_block_to(p, &n->list, t->at, "endgeneration");
        p->n_loops = n_loops;
        return n;
    }
    static const char *const refused[] = {"include", "import", "from", "extends", "block", "autoescape"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (tpl_is_name(t, refused[i]))
            tpl_fail_at(p->c, t->at, "{%% %s %%} is not supported: a chat template stands alone", refused[i]);
    char shown[64];
    tpl_fail_at(p->c, t->at, "unknown tag '%s'", tsr_printable(t->str->s, t->str->n, shown, sizeof shown));
}

static bool at_end(const tpl_parser *p, const char *const *ends) {
    for (; *ends; ends++)
        if (tpl_is_name(p->t, *ends)) return true;
    return false;
}

static void parse_body(tpl_parser *p, tpl_nodes *body, const char *const *ends) {
    tpl_enter(p->c);
    while (p->t->type != TPL_T_EOF) {
        const tpl_token *t = p->t;
        p->c->at = t->at;
        tpl_advance(p);
        if (t->type == TPL_T_TEXT) {
            tpl_node *n = tpl_node_new(p, TPL_N_TEXT, t->at);
            n->value = tpl_of_str(t->str);
            tpl_nodes_push(p, body, n);
        } else if (t->type == TPL_T_VAR_BEGIN) {
            tpl_node *n = tpl_node_new(p, TPL_N_PRINT, t->at);
            tpl_nodes_push(p, &n->list, tpl_parse_tuple(p, TPL_TUPLE_EXPR, NULL, false));
            tpl_nodes_push(p, body, n);
            tpl_expect(p, TPL_T_VAR_END, "\"}}\"");
        } else { /* BLOCK_BEGIN: the lexer gives nothing else here */
            if (at_end(p, ends)) break;
            tpl_nodes_push(p, body, parse_statement(p));
            tpl_expect(p, TPL_T_BLOCK_END, "\"%}\"");
        }
    }
    tpl_leave(p->c);
}

void tpl_parse(tpl_ctx *c, tpl_tree *tree) {
    static const char *const no_end[] = {NULL};
    size_t n_tokens;
    tpl_parser p = {.c = c, .t = tpl_lex(c, &n_tokens), .symbols = tpl_dict_new(c)};
    parse_body(&p, &tree->body, no_end);
    if (p.unknown.n) {
        const tpl_node *n = p.unknown.v[0];
        char shown[64];
        tpl_fail_at(c, n->at, "no %s named '%s'", n->kind == TPL_N_FILTER ? "filter" : "test",
                    tsr_printable(n->value.u.str->s, n->value.u.str->n, shown, sizeof shown));
    }
    tree->n_symbols = p.symbols->n;
    tree->symbols = tpl_array(c, tree->n_symbols, sizeof *tree->symbols);
    for (size_t i = 0; i < tree->n_symbols; i++) tree->symbols[i] = p.symbols->entries[i].key.u.str;
}
