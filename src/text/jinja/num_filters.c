/* num_filters.c: filters on numbers. */
#include "text/jinja/run.h"

#include "core/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tpl_val f_abs(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    double f;
    int64_t i;
    if (v.type == TPL_UNDEFINED) tpl_fail(&r->c, "%s", v.u.undef->why);
    if (!tpl_is_number(v, &f, &i)) tpl_fail(&r->c, "abs needs a number, not '%s'", tpl_type_name(v));
    if (v.type == TPL_FLOAT) return tpl_float(fabs(f));
    return i < 0 ? tpl_negate(&r->c, tpl_int(i), true) : tpl_int(i);
}

/* The text of a number as Python's int() and float() take it: stripped, without the underscores between digits.
 * NULL when it cannot be one. */
static char *number_text(tpl_ctx *c, const tpl_str *s) {
    tpl_work(c, s->n / 16);
    size_t lo = 0, hi = s->n;
    uint32_t cp;
    size_t len;
    while (lo < hi && (len = tsr_utf8_decode(s->s + lo, hi - lo, &cp)) && tpl_is_space(cp)) lo += len;
    while (hi > lo && isspace((unsigned char)s->s[hi - 1])) hi--;
    if (hi - lo > 400) return NULL;
    char *text = tpl_alloc(c, hi - lo + 1);
    size_t o = 0;
    for (size_t i = lo; i < hi; i++) {
        bool between =
            i > lo && i + 1 < hi && isalnum((unsigned char)s->s[i - 1]) && isalnum((unsigned char)s->s[i + 1]);
        if (s->s[i] == '_' && !between) return NULL;
        if (s->s[i] != '_') text[o++] = s->s[i];
    }
    return text;
}

static bool parse_float(tpl_ctx *c, const tpl_str *s, double *out) {
    char *text = number_text(c, s), *end;
    if (!text || !*text || strpbrk(text, "xXpP()")) return false; /* no hexadecimal, no nan(...) */
    *out = strtod(text, &end);
    return *end == '\0' && !isspace((unsigned char)text[0]);
}

static bool parse_int(tpl_ctx *c, const tpl_str *s, int64_t base, int64_t *out) {
    char *text = number_text(c, s), *end;
    if (!text || base < 0 || base == 1 || base > 36) return false;
    const char *digits = text + (*text == '-' || *text == '+');
    char mark = digits[0] == '0' ? (char)(digits[1] | 0x20) : 0;
    int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (!isalnum((unsigned char)*digits)) return false;
    if (base == 0) {
        if (!marked && digits[0] == '0' && strspn(digits, "0") != strlen(digits)) return false;
        base = marked ? marked : 10;
    }
    bool negative = *text == '-';
    if (marked == base && marked) digits += 2;
    if (!isalnum((unsigned char)*digits)) return false;
    char signed_text[512];
    snprintf(signed_text, sizeof signed_text, "%s%s", negative ? "-" : "", digits);
    if (base == 16 && (digits[0] == '0' && (digits[1] | 0x20) == 'x')) return false;
    errno = 0;
    long long value = strtoll(signed_text, &end, (int)base);
    if (*end) return false;
    if (errno == ERANGE) tpl_fail_limit(c, "integer does not fit 64 bits");
    *out = value;
    return true;
}

static bool float_to_int(tpl_ctx *c, double f, int64_t *out) {
    if (isnan(f) || isinf(f)) return false;
    if (!(f > -9.2233720368547758e18 && f < 9.2233720368547758e18)) tpl_fail_limit(c, "integer does not fit 64 bits");
    *out = (int64_t)f;
    return true;
}

static tpl_val f_int(tpl_run *r, tpl_val v, const tpl_call *a) { /* default, base */
    tpl_ctx *c = &r->c;
    double f;
    int64_t i, base = a->pos[1].type == TPL_ABSENT ? 10 : tpl_need_int(c, a->pos[1], "base");
    tpl_val fallback = a->pos[0].type == TPL_ABSENT ? tpl_int(0) : a->pos[0];
    if (v.type == TPL_UNDEFINED) tpl_fail(c, "%s", v.u.undef->why);
    if (v.type == TPL_STR) {
        if (parse_int(c, v.u.str, base, &i)) return tpl_int(i);
        if (!parse_float(c, v.u.str, &f)) return fallback;
        return float_to_int(c, f, &i) ? tpl_int(i) : fallback;
    }
    if (!tpl_is_number(v, &f, &i)) return fallback;
    if (v.type != TPL_FLOAT) return tpl_int(i);
    if (isinf(f)) tpl_fail(c, "cannot convert float infinity to integer");
    return float_to_int(c, f, &i) ? tpl_int(i) : fallback;
}

static tpl_val f_float(tpl_run *r, tpl_val v, const tpl_call *a) { /* default */
    double f;
    int64_t i;
    if (v.type == TPL_UNDEFINED) tpl_fail(&r->c, "%s", v.u.undef->why);
    if (v.type == TPL_STR ? parse_float(&r->c, v.u.str, &f) : tpl_is_number(v, &f, &i)) return tpl_float(f);
    return a->pos[0].type == TPL_ABSENT ? tpl_float(0) : a->pos[0];
}

/* Python's round(): correctly rounded decimal, halves to even. */
static double round_half_even(double f, int64_t digits) {
    char text[800];
    if (isnan(f) || isinf(f) || digits > 323) return f;
    if (digits < -308) return copysign(0.0, f);
    if (digits >= 0) { /* printf rounds the exact value, halves to even */
        snprintf(text, sizeof text, "%.*f", (int)digits, f);
        return strtod(text, NULL);
    }
    double unit = pow(10, (double)-digits);
    return nearbyint(f / unit) * unit;
}

static int64_t round_int(tpl_ctx *c, int64_t i, int64_t digits) {
    if (digits >= 0) return i;
    if (digits < -18) return 0;
    int64_t unit = 1, down, rest;
    while (digits++ < 0) unit *= 10;
    rest = i % unit;
    if (rest < 0) rest += unit;
    if (__builtin_sub_overflow(i, rest, &down)) tpl_fail_limit(c, "integer does not fit 64 bits");
    bool up = rest > unit / 2 || (rest == unit / 2 && (down / unit) % 2 != 0);
    if (up && __builtin_add_overflow(down, unit, &down)) tpl_fail_limit(c, "integer does not fit 64 bits");
    return down;
}

static tpl_val f_round(tpl_run *r, tpl_val v, const tpl_call *a) { /* precision, method */
    tpl_ctx *c = &r->c;
    double f;
    int64_t i, precision = a->pos[0].type == TPL_ABSENT ? 0 : tpl_need_int(c, a->pos[0], "precision");
    const tpl_str *method =
        a->pos[1].type == TPL_ABSENT ? tpl_text(c, "common").u.str : tpl_need_str(c, a->pos[1], "method");
    bool ceiling = tpl_str_is(method, "ceil"), floors = tpl_str_is(method, "floor");
    if (!ceiling && !floors && !tpl_str_is(method, "common")) tpl_fail(c, "method must be common, ceil or floor");
    if (v.type == TPL_UNDEFINED) tpl_fail(c, "%s", v.u.undef->why);
    if (!tpl_is_number(v, &f, &i)) tpl_fail(c, "round needs a number, not '%s'", tpl_type_name(v));
    if (!ceiling && !floors)
        return v.type == TPL_FLOAT ? tpl_float(round_half_even(f, precision)) : tpl_int(round_int(c, i, precision));
    tpl_val scale = tpl_binary(c, TPL_OP_POW, tpl_int(10), tpl_int(precision));
    tpl_val scaled = tpl_binary(c, TPL_OP_MUL, v, scale);
    if (scaled.type == TPL_FLOAT) {
        if (!float_to_int(c, ceiling ? ceil(scaled.u.f) : floor(scaled.u.f), &i))
            tpl_fail(c, "cannot round infinity or NaN");
        scaled = tpl_int(i);
    }
    return tpl_binary(c, TPL_OP_DIV, scaled, scale);
}

static tpl_val f_filesizeformat(tpl_run *r, tpl_val v, const tpl_call *a) { /* binary */
    static const char *const units[2][8] = {{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"},
                                            {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}};
    bool binary = tpl_truth(a->pos[0]);
    double f, base = binary ? 1024 : 1000;
    int64_t i;
    char text[400];
    bool ok = v.type == TPL_STR ? parse_float(&r->c, v.u.str, &f) : tpl_is_number(v, &f, &i);
    if (!ok) tpl_fail(&r->c, "filesizeformat needs a number, not '%s'", tpl_type_name(v));
    if (f == 1) return tpl_text(&r->c, "1 Byte");
    if (f < base) {
        if (!float_to_int(&r->c, f, &i)) tpl_fail(&r->c, "filesizeformat needs a finite number");
        snprintf(text, sizeof text, "%lld Bytes", (long long)i);
    } else {
        double unit = base;
        int k = 0;
        for (unit = base * base; k < 7 && f >= unit; k++) unit *= base;
        snprintf(text, sizeof text, "%.1f %s", base * f / unit, units[binary][k]);
    }
    return tpl_of_str(tpl_str_copy(&r->c, text, strlen(text)));
}

const tpl_builtin tpl_num_filters[] = {{"int", f_int, "default? base?"},
                                       {"float", f_float, "default?"},
                                       {"abs", f_abs, "/"},
                                       {"round", f_round, "precision? method?"},
                                       {"filesizeformat", f_filesizeformat, "binary?"},
                                       {NULL, NULL, NULL}};
