/* compare.c: ==, <, in, hashing and sorting, as Python orders values. */
#include "text/jinja/run.h"

#include <math.h>
#include <string.h>

/* The items of a list, tuple or view, or of a range (made into a list). */
static const tpl_seq *items_of(tpl_ctx *c, tpl_val v) { return v.type == TPL_RANGE ? tpl_to_list(c, v) : v.u.seq; }

static bool equal_items(tpl_ctx *c, const tpl_seq *a, const tpl_seq *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!tpl_equal(c, a->items[i], b->items[i])) return false;
    return true;
}

static bool equal_dicts(tpl_ctx *c, const tpl_dict *a, const tpl_dict *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        const tpl_val *other = tpl_dict_find(c, b, a->entries[i].key);
        if (!other || !tpl_equal(c, a->entries[i].value, *other)) return false;
    }
    return true;
}

static bool same_object(tpl_val a, tpl_val b) {
    return a.type == b.type && (const void *)a.u.seq == (const void *)b.u.seq;
}

/* int against float without losing the low bits of large integers */
static bool equal_numbers(double fa, int64_t ia, bool a_float, double fb, int64_t ib, bool b_float) {
    if (a_float == b_float) return a_float ? fa == fb : ia == ib;
    double f = a_float ? fa : fb;
    int64_t i = a_float ? ib : ia;
    return f == (double)i && f >= -9223372036854775808.0 && f < 9223372036854775808.0 && (int64_t)f == i;
}

bool tpl_equal(tpl_ctx *c, tpl_val a, tpl_val b) {
    tpl_work(c, 1);
    double fa, fb;
    int64_t ia, ib;
    if (tpl_is_number(a, &fa, &ia))
        return tpl_is_number(b, &fb, &ib) && equal_numbers(fa, ia, a.type == TPL_FLOAT, fb, ib, b.type == TPL_FLOAT);
    if (a.type != b.type) return false;
    bool result;
    switch (a.type) {
    case TPL_ABSENT:
    case TPL_UNDEFINED:
    case TPL_NONE: return true;
    case TPL_STR:
        if (a.u.str->n == b.u.str->n) tpl_work(c, a.u.str->n / 64);
        return tpl_str_eq(a.u.str, b.u.str);
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_RANGE:
        if (same_object(a, b)) return true;
        tpl_enter(c);
        result = equal_items(c, items_of(c, a), items_of(c, b));
        tpl_leave(c);
        return result;
    case TPL_DICT:
        if (same_object(a, b)) return true;
        tpl_enter(c);
        result = equal_dicts(c, a.u.dict, b.u.dict);
        tpl_leave(c);
        return result;
    case TPL_FUNC:
        return a.u.func == b.u.func || (a.u.func->builtin && a.u.func->builtin == b.u.func->builtin &&
                                        tpl_equal(c, a.u.func->self, b.u.func->self));
    default: return same_object(a, b);
    }
}

static uint64_t mix(uint64_t h, uint64_t w) {
    h = (h ^ w) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t hash_str(tpl_ctx *c, const tpl_str *s) {
    uint64_t h = mix(c->seed, s->n), w;
    tpl_work(c, s->n / 64);
    size_t i = 0;
    for (; i + 8 <= s->n; i += 8) {
        memcpy(&w, s->s + i, 8);
        h = mix(h, w + c->seed);
    }
    w = 0;
    if (i < s->n) memcpy(&w, s->s + i, s->n - i);
    return mix(h, w);
}

uint64_t tpl_hash(tpl_ctx *c, tpl_val v) {
    double f;
    int64_t i;
    tpl_work(c, 1);
    if (tpl_is_number(v, &f, &i)) { /* equal numbers hash alike: 1, 1.0 and true */
        if (v.type == TPL_FLOAT && f >= -9.2e18 && f <= 9.2e18 && f == floor(f))
            i = (int64_t)f;
        else if (v.type == TPL_FLOAT)
            memcpy(&i, &f, sizeof i);
        return mix(c->seed, (uint64_t)i);
    }
    switch (v.type) {
    case TPL_STR: return hash_str(c, v.u.str);
    case TPL_NONE:
    case TPL_UNDEFINED: return mix(c->seed, (uint64_t)v.type << 32);
    case TPL_TUPLE: {
        uint64_t h = mix(c->seed, v.u.seq->n);
        tpl_enter(c);
        for (size_t k = 0; k < v.u.seq->n; k++) h = mix(h, tpl_hash(c, v.u.seq->items[k]));
        tpl_leave(c);
        return h;
    }
    case TPL_RANGE: return mix(c->seed, v.u.range->n);
    case TPL_LIST:
    case TPL_DICT: tpl_fail(c, "unhashable type: '%s' cannot be a key", tpl_type_name(v));
    case TPL_FUNC: return mix(c->seed, (uintptr_t)v.u.func->builtin);
    default: return mix(c->seed, (uintptr_t)v.u.seq);
    }
}

/* ---------------------------------------------------------------------------------------------------- order */

static int order_items(tpl_ctx *c, const tpl_seq *a, const tpl_seq *b, const char *op) {
    size_t n = a->n < b->n ? a->n : b->n;
    for (size_t i = 0; i < n; i++)
        if (!tpl_equal(c, a->items[i], b->items[i])) return tpl_order(c, a->items[i], b->items[i], op);
    return (a->n > b->n) - (a->n < b->n);
}

static int order_numbers(double fa, int64_t ia, bool a_float, double fb, int64_t ib, bool b_float) {
    if (!a_float && !b_float) return (ia > ib) - (ia < ib);
    if (fa != fa || fb != fb) return 2;
    if (fa != fb || a_float == b_float) return (fa > fb) - (fa < fb);
    /* the integer was rounded to the float's value: compare exactly */
    double f = a_float ? fa : fb;
    int64_t i = a_float ? ib : ia;
    int sign = f >= 9223372036854775808.0 ? 1 : ((int64_t)f > i) - ((int64_t)f < i);
    return a_float ? sign : -sign;
}

int tpl_order(tpl_ctx *c, tpl_val a, tpl_val b, const char *op) {
    double fa, fb;
    int64_t ia, ib;
    tpl_work(c, 1);
    if (tpl_is_number(a, &fa, &ia) && tpl_is_number(b, &fb, &ib))
        return order_numbers(fa, ia, a.type == TPL_FLOAT, fb, ib, b.type == TPL_FLOAT);
    if (a.type == TPL_UNDEFINED) tpl_fail(c, "%s", a.u.undef->why);
    if (b.type == TPL_UNDEFINED) tpl_fail(c, "%s", b.u.undef->why);
    if (a.type == b.type && a.type == TPL_STR) { /* UTF-8 sorts bytewise as its characters do */
        size_t n = a.u.str->n < b.u.str->n ? a.u.str->n : b.u.str->n;
        tpl_work(c, n / 64);
        int order = memcmp(a.u.str->s, b.u.str->s, n);
        if (order == 0) order = (a.u.str->n > b.u.str->n) - (a.u.str->n < b.u.str->n);
        return order < 0 ? -1 : order > 0;
    }
    if (a.type == b.type && (a.type == TPL_LIST || a.type == TPL_TUPLE)) {
        tpl_enter(c);
        int order = order_items(c, a.u.seq, b.u.seq, op);
        tpl_leave(c);
        return order;
    }
    tpl_fail(c, "'%s' is not supported between '%s' and '%s'", op, tpl_type_name(a), tpl_type_name(b));
}

bool tpl_less(tpl_ctx *c, tpl_val a, tpl_val b) { return tpl_order(c, a, b, "<") == -1; }

bool tpl_contains(tpl_ctx *c, tpl_val hay, tpl_val needle) {
    switch (hay.type) {
    case TPL_STR: {
        if (needle.type == TPL_UNDEFINED) tpl_fail(c, "'in <string>' needs a string, but %s", needle.u.undef->why);
        const tpl_str *part = tpl_need_str(c, needle, "the left side of 'in <string>'");
        return tpl_find_bytes(c, hay.u.str->s, hay.u.str->n, part->s, part->n) != SIZE_MAX;
    }
    case TPL_DICT: return tpl_dict_find(c, hay.u.dict, needle) != NULL;
    case TPL_UNDEFINED: return false;
    default: {
        tpl_iter it = tpl_iterate(c, hay);
        tpl_val item;
        while (tpl_next(c, &it, &item))
            if (tpl_equal(c, item, needle)) return true;
        return false;
    }
    }
}

bool tpl_compare(tpl_ctx *c, tpl_op op, tpl_val a, tpl_val b) {
    int order;
    switch (op) {
    case TPL_OP_EQ: return tpl_equal(c, a, b);
    case TPL_OP_NE: return !tpl_equal(c, a, b);
    case TPL_OP_LT: return tpl_order(c, a, b, "<") == -1;
    case TPL_OP_LE: order = tpl_order(c, a, b, "<="); return order == -1 || order == 0;
    case TPL_OP_GT: return tpl_order(c, a, b, ">") == 1;
    case TPL_OP_GE: order = tpl_order(c, a, b, ">="); return order == 1 || order == 0;
    case TPL_OP_IN: return tpl_contains(c, b, a);
    default: return !tpl_contains(c, b, a);
    }
}

/* ---------------------------------------------------------------------------------------------------- sort */

typedef struct pair {
    tpl_val key, item;
} pair;

/* Bottom-up merge sort; with reverse, equal keys keep their order too. */
void tpl_sort(tpl_ctx *c, tpl_val *keys, tpl_val *items, size_t n, bool reverse) {
    pair *from = tpl_array(c, n, sizeof *from), *to = tpl_array(c, n, sizeof *to);
    for (size_t i = 0; i < n; i++) from[i] = (pair){keys[i], items[i]};
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = lo + width < n ? lo + width : n, hi = lo + 2 * width < n ? lo + 2 * width : n;
            size_t a = lo, b = mid;
            for (size_t k = lo; k < hi; k++) {
                bool second = a >= mid || (b < hi && (reverse ? tpl_less(c, from[a].key, from[b].key)
                                                              : tpl_less(c, from[b].key, from[a].key)));
                to[k] = second ? from[b++] : from[a++];
            }
        }
        pair *swap = from;
        from = to;
        to = swap;
    }
    for (size_t i = 0; i < n; i++) {
        keys[i] = from[i].key;
        items[i] = from[i].item;
    }
}
