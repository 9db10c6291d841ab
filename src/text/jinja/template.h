/* template.h: what the files of the chat template interpreter share: memory and errors, values, syntax tree.
 *
 *   source -> lexer.c -> tokens -> parse*.c -> tree (immutable, shared by threads)
 *   tree + JSON variables -> exec.c (statements), expr.c (expressions) -> text
 *
 * All memory of a parse or of a rendering comes from one arena (tpl_ctx) and goes at once. Errors leave by longjmp to
 * the one setjmp of the parse or rendering (template.c): functions here return only on success, and own nothing that
 * an error could leak.
 */
#ifndef TSR_TEXT_JINJA_TEMPLATE_H
#define TSR_TEXT_JINJA_TEMPLATE_H

#include "core/buf.h"
#include "core/error.h"

#include <setjmp.h>

/* ------------------------------------------------------------------------------------- memory and errors */

typedef struct tpl_chunk tpl_chunk;

typedef struct tpl_ctx {
    jmp_buf on_error;
    tsr_error *err;
    tpl_chunk *chunks;
    char *bump, *bump_end;
    size_t used, limit;   /* bytes handed out, and how many may be */
    const char *source;   /* normalised template source, n_source bytes */
    size_t n_source;
    size_t at;            /* byte offset in source of what is being looked at, for messages */
    uint64_t steps, max_steps;
    int depth, max_depth; /* of native recursion, bounded by tpl_enter() */
    uint64_t seed;        /* of hash tables: hostile keys cannot be made to collide */
} tpl_ctx;

enum { TPL_MAX_DEPTH = 1000, TPL_MAX_NESTING = 200 }; /* of a rendering; of a source text */

void *tpl_alloc(tpl_ctx *c, size_t n);                         /* zeroed, 16-byte aligned */
void *tpl_array(tpl_ctx *c, size_t n, size_t size);            /* zeroed n * size, checked */
void *tpl_grow(tpl_ctx *c, void *old, size_t n_old, size_t n_new, size_t size);
void tpl_free_all(tpl_ctx *c);
void tpl_work(tpl_ctx *c, size_t bytes_or_items);              /* charges the step budget */
void tpl_enter(tpl_ctx *c);                                    /* one level deeper, or an error */
static inline void tpl_leave(tpl_ctx *c) { c->depth--; }

/* Ends the parse or rendering: "template line L, column C: message". */
_Noreturn void tpl_fail(tpl_ctx *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void tpl_fail_at(tpl_ctx *c, size_t at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
_Noreturn void tpl_fail_limit(tpl_ctx *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ------------------------------------------------------------------------------------------------ values */

typedef enum tpl_type {
    TPL_ABSENT = 0, /* argument not given; never a value of an expression */
    TPL_UNDEFINED, TPL_NONE, TPL_BOOL, TPL_INT, TPL_FLOAT, TPL_STR,
    TPL_LIST, TPL_TUPLE, TPL_RANGE, TPL_ITER, TPL_VIEW,
    TPL_DICT, TPL_NAMESPACE, TPL_FUNC, TPL_LOOP, TPL_CYCLER, TPL_JOINER
} tpl_type;

/* Immutable UTF-8. When `room` is set, the bytes end at room->end inside a buffer with spare bytes behind them:
 * appending to the string that ends exactly there needs no copy (loops that build a text stay linear). */
typedef struct tpl_room { const char *end; size_t spare; } tpl_room;
typedef struct tpl_str {
    const char *s;
    size_t n, n_chars;
    bool markup;          /* came through |safe or |escape: operations escape what they add to it */
    tpl_room *room;
} tpl_str;

typedef struct tpl_val tpl_val;
typedef struct tpl_dict tpl_dict;
typedef struct tpl_func tpl_func;
typedef struct tpl_loop tpl_loop;

/* Items of a list or tuple; of an iterator (|map, |select: consumed from `pos` on) or a dict's view. */
typedef struct tpl_seq {
    tpl_val *items;
    size_t n, cap, pos;
    const char *what;     /* "generator", "dict_items", ...; NULL for lists and tuples */
    bool group;           /* a |groupby pair: also has .grouper and .list */
} tpl_seq;

typedef struct tpl_range { int64_t start, stop, step; size_t n; } tpl_range;
typedef struct tpl_undef { const char *why; } tpl_undef; /* "'x' is undefined" */
typedef struct tpl_cycler { tpl_seq *items; size_t pos; } tpl_cycler;
typedef struct tpl_joiner { const tpl_str *sep; bool used; } tpl_joiner;

struct tpl_val {
    tpl_type type;
    union {
        bool b;
        int64_t i;
        double f;
        const tpl_str *str;
        tpl_seq *seq;
        const tpl_range *range;
        tpl_dict *dict;    /* DICT and NAMESPACE */
        const tpl_undef *undef;
        const tpl_func *func;
        tpl_loop *loop;
        tpl_cycler *cycler;
        tpl_joiner *joiner;
    } u;
};

typedef struct tpl_entry { tpl_val key, value; } tpl_entry;
struct tpl_dict { /* in insertion order */
    tpl_entry *entries;
    size_t n, cap;
    uint32_t *index;      /* open addressing: entry number + 1, or 0; NULL while n is small */
    size_t index_size;    /* a power of two */
};

/* ------------------------------------------------------------------------------------------- syntax tree */

typedef enum tpl_kind {
    /* expressions */
    TPL_N_CONST, TPL_N_NAME, TPL_N_ATTR, TPL_N_ITEM, TPL_N_SLICE, TPL_N_CALL, TPL_N_FILTER, TPL_N_TEST, TPL_N_NOT,
    TPL_N_NEG, TPL_N_POS, TPL_N_BINARY, TPL_N_CONCAT, TPL_N_COMPARE, TPL_N_AND, TPL_N_OR, TPL_N_COND, TPL_N_LIST,
    TPL_N_TUPLE, TPL_N_DICT, TPL_N_NSREF,
    /* statements */
    TPL_N_TEXT, TPL_N_PRINT, TPL_N_FOR, TPL_N_IF, TPL_N_SET, TPL_N_SETBLOCK, TPL_N_MACRO, TPL_N_CALLBLOCK,
    TPL_N_FILTERBLOCK, TPL_N_SCOPE, TPL_N_WITH, TPL_N_BREAK, TPL_N_CONTINUE
} tpl_kind;

typedef enum tpl_op {
    TPL_OP_ADD, TPL_OP_SUB, TPL_OP_MUL, TPL_OP_DIV, TPL_OP_FLOORDIV, TPL_OP_MOD, TPL_OP_POW,
    TPL_OP_EQ, TPL_OP_NE, TPL_OP_LT, TPL_OP_LE, TPL_OP_GT, TPL_OP_GE, TPL_OP_IN, TPL_OP_NOTIN
} tpl_op;

typedef struct tpl_node tpl_node;
typedef struct tpl_nodes { tpl_node **v; size_t n, cap; } tpl_nodes;

typedef struct tpl_args { /* of a call, filter or test as written */
    tpl_nodes pos;
    tpl_nodes named;        /* values; name of named.v[i] is names[i] */
    const tpl_str **names;
    tpl_node *star, *star_star;
} tpl_args;

typedef struct tpl_macro { /* signature of a macro or call block */
    const tpl_str *name;
    tpl_nodes params;       /* NAME nodes */
    tpl_node **defaults;    /* [params.n], NULL where there is none */
    bool uses_varargs, uses_kwargs, uses_caller, explicit_caller;
} tpl_macro;

typedef struct tpl_builtin tpl_builtin;

struct tpl_node {
    tpl_kind kind;
    tpl_op op;              /* BINARY; COMPARE uses ops */
    size_t at;              /* byte offset in the source */
    bool flag;              /* FOR: recursive; ITEM: written as .0 */
    uint32_t sym;           /* NAME, NSREF: number of the variable */
    tpl_val value;          /* CONST; TEXT and ATTR, NSREF, FILTER, TEST: a string (text or name) */
    tpl_node *a, *b, *c;    /* operands; SLICE: start, stop, step (may be NULL); COND: test, then, else (or NULL);
                             * FOR: target, iterable, condition; IF: test; SET: target, value */
    tpl_nodes list;         /* items, bodies; DICT: keys and values in turn; COMPARE: operands after the first */
    tpl_nodes list2;        /* else body; WITH: targets and values in turn */
    uint8_t *ops;           /* COMPARE: tpl_op for each of list */
    tpl_args *args;
    tpl_macro *macro;
    const tpl_builtin *fn;  /* FILTER, TEST; NULL when unknown (an error only if it is ever reached) */
};

/* ----------------------------------------------------------------------------------------------- lexing */

typedef enum tpl_tok {
    TPL_T_EOF, TPL_T_TEXT, TPL_T_VAR_BEGIN, TPL_T_VAR_END, TPL_T_BLOCK_BEGIN, TPL_T_BLOCK_END,
    TPL_T_NAME, TPL_T_STR, TPL_T_INT, TPL_T_FLOAT,
    TPL_T_ADD, TPL_T_SUB, TPL_T_MUL, TPL_T_DIV, TPL_T_FLOORDIV, TPL_T_MOD, TPL_T_POW, TPL_T_TILDE,
    TPL_T_LPAREN, TPL_T_RPAREN, TPL_T_LBRACKET, TPL_T_RBRACKET, TPL_T_LBRACE, TPL_T_RBRACE,
    TPL_T_EQ, TPL_T_NE, TPL_T_LT, TPL_T_LE, TPL_T_GT, TPL_T_GE, TPL_T_ASSIGN,
    TPL_T_DOT, TPL_T_COLON, TPL_T_PIPE, TPL_T_COMMA, TPL_T_SEMICOLON
} tpl_tok;

typedef struct tpl_token {
    tpl_tok type;
    size_t at;
    const tpl_str *str;     /* NAME, STR, TEXT */
    int64_t i;
    double f;
} tpl_token;

/* Whole source (normalised, c->source) to tokens, EOF last; in c's memory. */
tpl_token *tpl_lex(tpl_ctx *c, size_t *n_tokens);
/* \r\n and \r become \n, one trailing newline goes; the copy is in c's memory. */
char *tpl_normalise(tpl_ctx *c, const char *source, size_t n, size_t *n_out);

typedef struct tpl_tree {
    tpl_nodes body;
    const tpl_str **symbols; /* [n_symbols] names of variables */
    size_t n_symbols;
} tpl_tree;

void tpl_parse(tpl_ctx *c, tpl_tree *tree);

#endif
