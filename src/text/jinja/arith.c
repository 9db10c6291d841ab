/* arith.c: + - * / // % ** on values. Integers have 64 bits; what does not fit is an error, never wrapped. */
#include "text/jinja/value.h"

#include <math.h>
#include <string.h>

static _Noreturn void overflow(tpl_ctx *c) { tpl_fail_limit(c, "integer result does not fit 64 bits"); }

static const char *op_text(tpl_op op) {
    static const char *const text[] = {"+", "-", "*", "/", "//", "%", "**"};
    return text[op];
}

static _Noreturn void unsupported(tpl_ctx *c, tpl_op op, tpl_val a, tpl_val b) {
    tpl_fail(c, "unsupported operand types for %s: '%s' and '%s'", op_text(op), tpl_type_name(a), tpl_type_name(b));
}

static int64_t int_power(tpl_ctx *c, int64_t base, int64_t exponent) {
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) overflow(c);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base)) overflow(c);
    }
    return result;
}

static tpl_val int_op(tpl_ctx *c, tpl_op op, int64_t a, int64_t b) {
    int64_t r = 0;
    bool wraps = false;
    switch (op) {
    case TPL_OP_ADD: wraps = __builtin_add_overflow(a, b, &r); break;
    case TPL_OP_SUB: wraps = __builtin_sub_overflow(a, b, &r); break;
    case TPL_OP_MUL: wraps = __builtin_mul_overflow(a, b, &r); break;
    case TPL_OP_DIV:
        if (b == 0) tpl_fail(c, "division by zero");
        return tpl_float((double)a / (double)b);
    case TPL_OP_FLOORDIV:
    case TPL_OP_MOD:
        if (b == 0) tpl_fail(c, "integer division or modulo by zero");
        if (b == -1) { /* INT64_MIN / -1 traps */
            if (op == TPL_OP_MOD) return tpl_int(0);
            wraps = __builtin_sub_overflow((int64_t)0, a, &r);
            break;
        }
        r = op == TPL_OP_MOD ? a % b : a / b; /* towards minus infinity, with the sign of b */
        if (a % b != 0 && (a < 0) != (b < 0)) r += op == TPL_OP_MOD ? b : -1;
        break;
    default:
        if (b < 0) {
            if (a == 0) tpl_fail(c, "0 cannot be raised to a negative power");
            return tpl_float(pow((double)a, (double)b));
        }
        if (a == 1 || a == 0 || a == -1) return tpl_int(b == 0 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : a);
        r = int_power(c, a, b);
    }
    if (wraps) overflow(c);
    return tpl_int(r);
}

static double float_mod(double a, double b) {
    double r = fmod(a, b);
    if (r == 0) return copysign(0.0, b);
    return (r < 0) != (b < 0) ? r + b : r;
}

/* Python's algorithm: exact for the remainder, then rounded to the nearest whole quotient. */
static double float_floordiv(double a, double b) {
    double r = fmod(a, b), div = (a - r) / b;
    if (r != 0 && (r < 0) != (b < 0)) div -= 1.0;
    if (div == 0) return copysign(0.0, a / b);
    double whole = floor(div);
    return div - whole > 0.5 ? whole + 1.0 : whole;
}

static tpl_val float_op(tpl_ctx *c, tpl_op op, double a, double b) {
    bool divides = op == TPL_OP_DIV || op == TPL_OP_FLOORDIV || op == TPL_OP_MOD;
    if (divides && b == 0) tpl_fail(c, "float division by zero");
    switch (op) {
    case TPL_OP_ADD: return tpl_float(a + b);
    case TPL_OP_SUB: return tpl_float(a - b);
    case TPL_OP_MUL: return tpl_float(a * b);
    case TPL_OP_DIV: return tpl_float(a / b);
    case TPL_OP_FLOORDIV: return tpl_float(float_floordiv(a, b));
    case TPL_OP_MOD: return tpl_float(float_mod(a, b));
    default: {
        if (a == 0 && b < 0) tpl_fail(c, "0.0 cannot be raised to a negative power");
        if (a < 0 && b != floor(b) && isfinite(a) && isfinite(b)) tpl_fail(c, "the result would be a complex number");
        double r = pow(a, b);
        if (isinf(r) && isfinite(a) && isfinite(b)) tpl_fail(c, "numerical result out of range");
        return tpl_float(r);
    }
    }
}

static tpl_val add_strings(tpl_ctx *c, const tpl_str *a, const tpl_str *b) {
    if (!a->markup && !b->markup) return tpl_of_str(tpl_str_concat(c, a, b));
    a = tpl_escape(c, tpl_of_str(a));
    b = tpl_escape(c, tpl_of_str(b));
    return tpl_of_str(tpl_str_as_markup(c, tpl_str_concat(c, a, b), true));
}

static tpl_val repeat_string(tpl_ctx *c, const tpl_str *s, int64_t times) {
    tpl_out o = {0};
    if (times < 0 || s->n == 0) times = 0;
    if (times && (uint64_t)times > c->limit / s->n)
        tpl_fail_limit(c, "repeating a string %lld times makes it too long", (long long)times);
    while (times--) tpl_out_add(c, &o, s->s, s->n);
    tpl_val v = tpl_out_str(c, &o);
    return s->markup ? tpl_of_str(tpl_str_as_markup(c, v.u.str, true)) : v;
}

static tpl_val repeat_items(tpl_ctx *c, tpl_val v, int64_t times) {
    size_t n = v.u.seq->n;
    if (times < 0 || n == 0) times = 0;
    if (times && (uint64_t)times > c->limit / n)
        tpl_fail_limit(c, "repeating a %s %lld times makes it too long", tpl_type_name(v), (long long)times);
    tpl_work(c, n * (size_t)times);
    tpl_seq *q = tpl_seq_new(c, n * (size_t)times);
    while (times--)
        for (size_t i = 0; i < n; i++) tpl_seq_push(c, q, v.u.seq->items[i]);
    return tpl_of_seq(v.type, q);
}

static tpl_val join_items(tpl_ctx *c, tpl_val a, tpl_val b) {
    tpl_seq *q = tpl_seq_new(c, a.u.seq->n + b.u.seq->n);
    tpl_work(c, a.u.seq->n + b.u.seq->n);
    for (size_t i = 0; i < a.u.seq->n; i++) tpl_seq_push(c, q, a.u.seq->items[i]);
    for (size_t i = 0; i < b.u.seq->n; i++) tpl_seq_push(c, q, b.u.seq->items[i]);
    return tpl_of_seq(a.type, q);
}

static bool repeats(tpl_val v) { return v.type == TPL_STR || v.type == TPL_LIST || v.type == TPL_TUPLE; }

tpl_val tpl_binary(tpl_ctx *c, tpl_op op, tpl_val a, tpl_val b) {
    double fa, fb;
    int64_t ia, ib;
    bool na = tpl_is_number(a, &fa, &ia), nb = tpl_is_number(b, &fb, &ib);
    if (na && nb) {
        if (a.type == TPL_FLOAT || b.type == TPL_FLOAT) return float_op(c, op, fa, fb);
        return int_op(c, op, ia, ib);
    }
    if (op == TPL_OP_MOD && a.type == TPL_STR) return tpl_percent(c, a.u.str, b);
    if (a.type == TPL_UNDEFINED) tpl_fail(c, "%s", a.u.undef->why);
    if (b.type == TPL_UNDEFINED) tpl_fail(c, "%s", b.u.undef->why);
    if (op == TPL_OP_ADD && a.type == b.type) {
        if (a.type == TPL_STR) return add_strings(c, a.u.str, b.u.str);
        if (a.type == TPL_LIST || a.type == TPL_TUPLE) return join_items(c, a, b);
    }
    if (op == TPL_OP_MUL && (repeats(a) || repeats(b))) {
        tpl_val v = repeats(a) ? a : b, times = repeats(a) ? b : a;
        if (times.type != TPL_INT && times.type != TPL_BOOL) unsupported(c, op, a, b);
        int64_t n = tpl_need_int(c, times, "repetition");
        return v.type == TPL_STR ? repeat_string(c, v.u.str, n) : repeat_items(c, v, n);
    }
    if (op == TPL_OP_ADD && a.type == TPL_STR)
        tpl_fail(c, "can only concatenate str (not \"%s\") to str; use ~ to join any values", tpl_type_name(b));
    unsupported(c, op, a, b);
}

tpl_val tpl_negate(tpl_ctx *c, tpl_val v, bool negative) {
    double f;
    int64_t i;
    if (v.type == TPL_UNDEFINED) tpl_fail(c, "%s", v.u.undef->why);
    if (!tpl_is_number(v, &f, &i))
        tpl_fail(c, "bad operand type for unary %c: '%s'", negative ? '-' : '+', tpl_type_name(v));
    if (v.type == TPL_FLOAT) return tpl_float(negative ? -f : f);
    if (negative && i == INT64_MIN) overflow(c);
    return tpl_int(negative ? -i : i);
}
