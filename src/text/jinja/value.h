/* value.h: building, comparing, printing and combining the values of chat templates as Python does. */
#ifndef TSR_TEXT_JINJA_VALUE_H
#define TSR_TEXT_JINJA_VALUE_H

#include "text/jinja/template.h"

/* ---------------------------------------------------------------------------------------- construction */

static inline tpl_val tpl_none(void) { return (tpl_val){.type = TPL_NONE}; }
static inline tpl_val tpl_bool(bool b) { return (tpl_val){.type = TPL_BOOL, .u.b = b}; }
static inline tpl_val tpl_int(int64_t i) { return (tpl_val){.type = TPL_INT, .u.i = i}; }
static inline tpl_val tpl_float(double f) { return (tpl_val){.type = TPL_FLOAT, .u.f = f}; }
static inline tpl_val tpl_of_str(const tpl_str *s) { return (tpl_val){.type = TPL_STR, .u.str = s}; }
static inline tpl_val tpl_of_dict(tpl_dict *d) { return (tpl_val){.type = TPL_DICT, .u.dict = d}; }
static inline tpl_val tpl_of_seq(tpl_type type, tpl_seq *q) { return (tpl_val){.type = type, .u.seq = q}; }
tpl_val tpl_undefined(tpl_ctx *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

tpl_str *tpl_str_wrap(tpl_ctx *c, const char *s, size_t n);        /* bytes are kept, not copied */
tpl_str *tpl_str_copy(tpl_ctx *c, const char *s, size_t n);
tpl_str *tpl_str_concat(tpl_ctx *c, const tpl_str *a, const tpl_str *b);
tpl_str *tpl_str_as_markup(tpl_ctx *c, const tpl_str *s, bool markup);
tpl_val tpl_text(tpl_ctx *c, const char *literal);                 /* of a C literal, kept */
tpl_val tpl_take(tpl_ctx *c, const char *s, size_t n);             /* = tpl_of_str(tpl_str_wrap()) */

tpl_seq *tpl_seq_new(tpl_ctx *c, size_t cap);
void tpl_seq_push(tpl_ctx *c, tpl_seq *q, tpl_val v);
tpl_val tpl_generator(tpl_seq *q);                                 /* what |map and |select give */

tpl_dict *tpl_dict_new(tpl_ctx *c);
tpl_val *tpl_dict_find(tpl_ctx *c, const tpl_dict *d, tpl_val key); /* NULL when absent; error if unhashable */
tpl_val *tpl_dict_find_str(tpl_ctx *c, const tpl_dict *d, const tpl_str *key);
void tpl_dict_set(tpl_ctx *c, tpl_dict *d, tpl_val key, tpl_val value);
bool tpl_dict_remove(tpl_ctx *c, tpl_dict *d, tpl_val key);

/* ------------------------------------------------------------------------------------------- strings */

/* A growing string in the arena: zero-initialise, add, finish with tpl_out_str(). */
typedef struct tpl_out { char *s; size_t n, cap; } tpl_out;
void tpl_out_add(tpl_ctx *c, tpl_out *o, const char *s, size_t n);
void tpl_out_puts(tpl_ctx *c, tpl_out *o, const char *s);
void tpl_out_fill(tpl_ctx *c, tpl_out *o, uint32_t cp, size_t count);
tpl_val tpl_out_str(tpl_ctx *c, tpl_out *o);

static inline bool tpl_str_is(const tpl_str *s, const char *literal) {
    return __builtin_strlen(literal) == s->n && __builtin_memcmp(s->s, literal, s->n) == 0;
}
bool tpl_str_eq(const tpl_str *a, const tpl_str *b);
size_t tpl_char_offset(tpl_ctx *c, const tpl_str *s, size_t index); /* bytes before character `index` <= n_chars */
size_t tpl_count_chars(const char *s, size_t n);
tpl_str *tpl_substr(tpl_ctx *c, const tpl_str *s, size_t from, size_t to); /* characters [from, to) */
tpl_str *tpl_bytes(tpl_ctx *c, const tpl_str *s, size_t from, size_t to);  /* bytes [from, to); keeps markup */
size_t tpl_find_bytes(tpl_ctx *c, const char *hay, size_t n, const char *needle, size_t m); /* offset or SIZE_MAX */
const tpl_str *tpl_replace(tpl_ctx *c, const tpl_str *s, const tpl_str *old, const tpl_str *with, int64_t max);
const tpl_str *tpl_escape(tpl_ctx *c, tpl_val v);                  /* HTML-escaped, marked up */

/* ------------------------------------------------------------------------------------- whole values */

const char *tpl_type_name(tpl_val v);                              /* as Python calls it: "str", "NoneType", ... */
bool tpl_truth(tpl_val v);
bool tpl_equal(tpl_ctx *c, tpl_val a, tpl_val b);
int tpl_order(tpl_ctx *c, tpl_val a, tpl_val b, const char *op);   /* <0, 0, >0; 2 = unordered (NaN); else error */
bool tpl_less(tpl_ctx *c, tpl_val a, tpl_val b);
uint64_t tpl_hash(tpl_ctx *c, tpl_val v);                          /* error "unhashable type" */
const tpl_str *tpl_to_str(tpl_ctx *c, tpl_val v);                  /* str(v) */
const tpl_str *tpl_soft_str(tpl_ctx *c, tpl_val v);                /* str(v), but markup stays marked */
void tpl_repr(tpl_ctx *c, tpl_out *o, tpl_val v);
void tpl_repr_float(tpl_ctx *c, tpl_out *o, double f);
/* opts: ensure_ascii, indent, separators, sort_keys */
void tpl_tojson(tpl_ctx *c, tpl_out *o, tpl_val v, const tpl_val opts[4]);

bool tpl_is_number(tpl_val v, double *f, int64_t *i);              /* bool, int, float; *i valid unless float */
int64_t tpl_need_int(tpl_ctx *c, tpl_val v, const char *what);     /* bool or int, else an error that names what */
const tpl_str *tpl_need_str(tpl_ctx *c, tpl_val v, const char *what);
bool tpl_length(tpl_val v, size_t *n);                             /* false: has no len() */

/* for x in v: error when v is not iterable. An iterator value is consumed. */
typedef struct tpl_iter { tpl_val src; size_t i; } tpl_iter;
tpl_iter tpl_iterate(tpl_ctx *c, tpl_val v);
bool tpl_next(tpl_ctx *c, tpl_iter *it, tpl_val *out);
bool tpl_is_iterable(tpl_val v);
tpl_seq *tpl_to_list(tpl_ctx *c, tpl_val v);                       /* a new list of its items */

tpl_val tpl_binary(tpl_ctx *c, tpl_op op, tpl_val a, tpl_val b);
tpl_val tpl_negate(tpl_ctx *c, tpl_val v, bool negative);
bool tpl_contains(tpl_ctx *c, tpl_val hay, tpl_val needle);
bool tpl_compare(tpl_ctx *c, tpl_op op, tpl_val a, tpl_val b);

void tpl_sort(tpl_ctx *c, tpl_val *keys, tpl_val *items, size_t n, bool reverse); /* stable, by keys; both move */

/* 'text %s %d' % args, and 'text {} {name!r:>5}'.format(...) */
tpl_val tpl_percent(tpl_ctx *c, const tpl_str *fmt, tpl_val args);
/* Appends v in the mini-language of format(): [[fill]align][sign][#][0][width][,][.precision][type]. */
void tpl_format_value(tpl_ctx *c, tpl_out *o, tpl_val v, const char *spec, size_t n_spec);

/* Unicode (utf8proc) */
bool tpl_is_space(uint32_t cp);
const tpl_str *tpl_upper(tpl_ctx *c, const tpl_str *s);
const tpl_str *tpl_lower(tpl_ctx *c, const tpl_str *s);
const tpl_str *tpl_capitalize(tpl_ctx *c, const tpl_str *s);
const tpl_str *tpl_title(tpl_ctx *c, const tpl_str *s);
const tpl_str *tpl_swapcase(tpl_ctx *c, const tpl_str *s);
typedef enum tpl_class {
    TPL_C_ALPHA, TPL_C_DIGIT, TPL_C_DECIMAL, TPL_C_NUMERIC, TPL_C_ALNUM, TPL_C_SPACE, TPL_C_LOWER, TPL_C_UPPER,
    TPL_C_TITLE, TPL_C_ASCII, TPL_C_IDENTIFIER, TPL_C_PRINTABLE
} tpl_class;
bool tpl_all_of(tpl_class what, const tpl_str *s);                 /* str.isalpha() and friends */
bool tpl_printable_cp(uint32_t cp);
bool tpl_word_cp(uint32_t cp);                                     /* \w of a regular expression */

#endif
