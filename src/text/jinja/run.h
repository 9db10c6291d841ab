/* run.h: a rendering in progress, and the tables of what templates may call. */
#ifndef TSR_TEXT_JINJA_RUN_H
#define TSR_TEXT_JINJA_RUN_H

#include "text/jinja/value.h"

#include <time.h>

/* Arguments of a call, evaluated. After binding (see tpl_builtin.params) pos[i] is parameter i, or TPL_ABSENT. */
typedef struct tpl_call {
    tpl_val *pos;
    size_t n_pos;
    const tpl_str **names;
    tpl_val *named;
    size_t n_named;
} tpl_call;

typedef struct tpl_var { uint32_t sym; tpl_val value; } tpl_var;
typedef struct tpl_scope tpl_scope;
struct tpl_scope {
    tpl_scope *parent;
    tpl_var *vars;
    size_t n, cap;
    bool captured;          /* a macro holds on to it: not to be reused */
};

typedef struct tpl_run {
    tpl_ctx c;              /* first member */
    const tpl_tree *tree;
    tpl_scope *scope;
    tpl_dict *globals;
    tsr_buf out;
    size_t max_out;
    time_t now;
} tpl_run;

typedef tpl_val (*tpl_fn)(tpl_run *r, tpl_val self, const tpl_call *call);

/* params: "a b? c?": names in order, ? = optional; a leading "/" makes them positional only; "*" = the function takes
 * the call as it is. */
struct tpl_builtin { const char *name; tpl_fn fn; const char *params; };

struct tpl_func {
    const tpl_builtin *builtin; /* function or method of `self`; or: */
    tpl_val self;
    const tpl_node *macro;      /* MACRO or CALLBLOCK node, with the scope it was defined in */
    tpl_scope *closure;
};

struct tpl_loop {
    const tpl_node *node;       /* FOR */
    tpl_scope *scope;           /* around the loop, for recursion */
    tpl_seq *items;
    size_t index0;
    int depth0;
    bool has_changed;
    tpl_val changed;            /* last value given to loop.changed() */
};

/* Lookup in the tables; NULL when there is none. */
const tpl_builtin *tpl_find_filter(const char *name, size_t n);
const tpl_builtin *tpl_find_test(const char *name, size_t n);
const tpl_builtin *tpl_find_global(const char *name, size_t n);
const tpl_builtin *tpl_find_in(const tpl_builtin *table, const char *name, size_t n); /* ends with a NULL name */
extern const tpl_builtin tpl_str_filters[], tpl_seq_filters[], tpl_num_filters[], tpl_pick_filters[];
extern const tpl_builtin tpl_str_methods[], tpl_list_methods[], tpl_tuple_methods[],
    tpl_dict_methods[], tpl_loop_methods[], tpl_cycler_methods[];

/* Binds the call to the parameters and calls. */
tpl_val tpl_invoke(tpl_run *r, const tpl_builtin *fn, tpl_val self, const tpl_call *call);
tpl_val tpl_call_value(tpl_run *r, tpl_val callee, const tpl_call *call);
tpl_val tpl_call_macro(tpl_run *r, const tpl_func *f, const tpl_call *call);
void tpl_eval_args(tpl_run *r, const tpl_args *args, tpl_call *out, size_t spare); /* room for `spare` more named */

tpl_val tpl_eval(tpl_run *r, const tpl_node *n);
void tpl_exec(tpl_run *r, const tpl_nodes *body);
tpl_val tpl_capture(tpl_run *r, size_t mark);       /* takes what was written since out.len was `mark` */
void tpl_write(tpl_run *r, const char *s, size_t n);
tpl_val tpl_loop_recurse(tpl_run *r, const tpl_loop *l, tpl_val iterable);

tpl_val tpl_getattr(tpl_run *r, tpl_val obj, const tpl_str *name);  /* obj.name */
tpl_val tpl_getitem(tpl_run *r, tpl_val obj, tpl_val key);          /* obj[key] */
tpl_val tpl_slice(tpl_run *r, tpl_val obj, tpl_val start, tpl_val stop, tpl_val step);

tpl_scope *tpl_scope_new(tpl_run *r, tpl_scope *parent);
void tpl_scope_set(tpl_run *r, tpl_scope *s, uint32_t sym, tpl_val v);
uint32_t tpl_symbol(const tpl_run *r, const char *name);            /* number of a name; UINT32_MAX when unused */

/* Attributes of filters such as |map(attribute="a.b,c"). */
tpl_val tpl_attr_path(tpl_run *r, tpl_val item, tpl_val path, tpl_val fallback);
tpl_val tpl_ignore_case(tpl_ctx *c, tpl_val v);                     /* strings to lower case */

#endif
