/* parse.h: parser state, shared by the statement and the expression half. */
#ifndef TSR_TEXT_JINJA_PARSE_H
#define TSR_TEXT_JINJA_PARSE_H

#include "text/jinja/value.h"

typedef struct tpl_parser {
    tpl_ctx *c;
    const tpl_token *t;     /* current token; the last one is EOF and is never passed */
    tpl_dict *symbols;      /* name -> number */
    tpl_macro *macros[TPL_MAX_NESTING]; /* being parsed, outermost first */
    int n_macros;
    int n_conditional;      /* inside how many ifs: unknown filters and tests there fail only when reached */
    tpl_nodes unknown;      /* filters and tests that do not exist and are reached for certain */
    int n_loops;            /* inside how many loops of the current macro body */
} tpl_parser;

tpl_node *tpl_node_new(tpl_parser *p, tpl_kind kind, size_t at);
void tpl_nodes_push(tpl_parser *p, tpl_nodes *list, tpl_node *n);
uint32_t tpl_parse_symbol(tpl_parser *p, const tpl_str *name);

bool tpl_is_name(const tpl_token *t, const char *name);
bool tpl_skip_if(tpl_parser *p, tpl_tok type);
bool tpl_skip_name(tpl_parser *p, const char *name);
const tpl_token *tpl_expect(tpl_parser *p, tpl_tok type, const char *what);
_Noreturn void tpl_unexpected(tpl_parser *p, const char *wanted);
static inline void tpl_advance(tpl_parser *p) { if (p->t->type != TPL_T_EOF) p->t++; }

tpl_node *tpl_parse_expr(tpl_parser *p);                        /* a if b else c, and everything below */
tpl_node *tpl_parse_or(tpl_parser *p);                          /* without the conditional */
tpl_node *tpl_parse_primary(tpl_parser *p, bool with_namespace);
/* Comma-separated items become a TUPLE node, a single one stays itself. end_name (may be NULL) ends the list. */
typedef enum tpl_tuple_mode { TPL_TUPLE_EXPR, TPL_TUPLE_NO_COND, TPL_TUPLE_TARGET, TPL_TUPLE_NS_TARGET } tpl_tuple_mode;
tpl_node *tpl_parse_tuple(tpl_parser *p, tpl_tuple_mode mode, const char *end_name, bool parenthesised);
tpl_node *tpl_parse_filter_chain(tpl_parser *p, tpl_node *input, bool start_inline);

#endif
