/* format.c: numbers in given formats, and 'text %d %s' % values. */
#include "text/jinja/value.h"

#include "core/utf8.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A format as either mini-language states it. */
typedef struct spec {
    uint32_t fill;
    char align;             /* '<' '>' '^' '=' or 0 */
    char sign;              /* '+' ' ' '-' or 0 */
    bool alternate, zero;
    size_t width;
    char group;             /* ',' or '_' or 0 */
    int precision;          /* -1: none */
    char type;              /* 0: the value's own */
} spec;

enum { MAX_WIDTH = 1 << 20, MAX_PRECISION = 300 };

/* Pads text (its sign and prefix are the first n_prefix bytes) to the width. */
static void add_padded(tpl_ctx *c, tpl_out *o, const char *text, size_t n, size_t n_prefix, const spec *s, char align) {
    size_t chars = tpl_count_chars(text, n), pad = s->width > chars ? s->width - chars : 0;
    uint32_t fill = s->fill ? s->fill : ' ';
    if (s->align) align = s->align;
    size_t left = align == '<' ? 0 : align == '^' ? pad / 2 : pad;
    if (align == '=') {
        tpl_out_add(c, o, text, n_prefix);
        text += n_prefix;
        n -= n_prefix;
    }
    tpl_out_fill(c, o, fill, left);
    tpl_out_add(c, o, text, n);
    tpl_out_fill(c, o, fill, pad - left);
}

/* Copies digits with a separator every `every` places, counted from the right. */
static size_t group_digits(const char *digits, size_t n, char separator, size_t every, char *out) {
    size_t o = 0;
    for (size_t i = 0; i < n; i++) {
        if (i && (n - i) % every == 0) out[o++] = separator;
        out[o++] = digits[i];
    }
    return o;
}

static void add_number(tpl_ctx *c, tpl_out *o, bool negative, const char *prefix, const char *body, const spec *s) {
    char text[1100];
    size_t n = 0, whole = strspn(body, "0123456789abcdefABCDEF"), len = strlen(body);
    if (negative) text[n++] = '-';
    else if (s->sign == '+' || s->sign == ' ') text[n++] = s->sign;
    for (; *prefix; prefix++) text[n++] = *prefix;
    size_t n_prefix = n;
    if (s->group) {
        char digits[600];
        size_t every = s->type == 'x' || s->type == 'X' || s->type == 'o' || s->type == 'b' ? 4 : 3;
        if (strchr("eEgGfF%\0", s->type) || s->type == 0) whole = strspn(body, "0123456789");
        /* zero padding takes part in the grouping: 0,001,234 */
        size_t n_digits = whole, rest = n + len - whole;
        if (s->fill == '0' && s->align == '=')
            while (n_digits < 400 && rest + n_digits + (n_digits - 1) / every < s->width) n_digits++;
        memset(digits, '0', n_digits - whole);
        memcpy(digits + n_digits - whole, body, whole);
        n += group_digits(digits, n_digits, s->group, every, text + n);
        memcpy(text + n, body + whole, len - whole);
        n += len - whole;
    } else {
        memcpy(text + n, body, len);
        n += len;
    }
    add_padded(c, o, text, n, n_prefix, s, '>');
}

static void add_int(tpl_ctx *c, tpl_out *o, int64_t i, const spec *s) {
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    char body[400];
    const char *prefix = "";
    switch (s->type) {
    case 'x': snprintf(body, sizeof body, "%llx", (unsigned long long)u); prefix = "0x"; break;
    case 'X': snprintf(body, sizeof body, "%llX", (unsigned long long)u); prefix = "0X"; break;
    case 'o': snprintf(body, sizeof body, "%llo", (unsigned long long)u); prefix = "0o"; break;
    case 'b': {
        size_t n = 0;
        for (int bit = 63; bit >= 0; bit--)
            if (n || (u >> bit & 1) || bit == 0) body[n++] = (char)('0' + (u >> bit & 1));
        body[n] = '\0';
        prefix = "0b";
        break;
    }
    default: snprintf(body, sizeof body, "%llu", (unsigned long long)u);
    }
    add_number(c, o, i < 0, s->alternate ? prefix : "", body, s);
}

/* Python's "g" family: %g, but general format without a type keeps one decimal ("1.0") and repr's digits. */
static void add_float(tpl_ctx *c, tpl_out *o, double f, const spec *s) {
    char body[700], fmt[16];
    char type = s->type;
    if (type == 0 && s->precision < 0) {
        tpl_out r = {0};
        tpl_repr_float(c, &r, fabs(f));
        add_number(c, o, signbit(f) && !isnan(f), "", tpl_out_str(c, &r).u.str->s, s);
        return;
    }
    double v = fabs(f) * (type == '%' ? 100 : 1);
    int precision = s->precision < 0 ? 6 : s->precision;
    char conversion = type == '%' || type == 'F' ? 'f' : type == 0 ? 'g' : type;
    if (isnan(v) || isinf(v)) {
        snprintf(body, sizeof body, "%s", isnan(v) ? "nan" : "inf");
        if (type == 'E' || type == 'F' || type == 'G')
            for (char *p = body; *p; p++) *p = (char)toupper((unsigned char)*p);
    } else {
        snprintf(fmt, sizeof fmt, "%%%s.*%c", s->alternate ? "#" : "", conversion);
        snprintf(body, sizeof body, fmt, conversion == 'g' && precision == 0 ? 1 : precision, v);
    }
    size_t n = strlen(body);
    if (type == 0 && !strpbrk(body, ".eni")) { /* 1.0 stays 1.0; with few digits Python goes over to 1e+01 */
        if (n >= (size_t)(precision ? precision : 1)) {
            snprintf(body, sizeof body, "%.*e", precision > 0 ? precision - 1 : 0, v);
            char *e = strchr(body, 'e'), tail[16];
            snprintf(tail, sizeof tail, "%s", e);
            char *p = e;
            if (memchr(body, '.', (size_t)(e - body))) {
                while (p[-1] == '0') p--;
                if (p[-1] == '.') p--;
            }
            snprintf(p, sizeof body - (size_t)(p - body), "%s", tail);
        } else {
            snprintf(body + n, sizeof body - n, ".0");
        }
        n = strlen(body);
    }
    if (type == '%') snprintf(body + n, sizeof body - n, "%%");
    add_number(c, o, signbit(f) && !isnan(f), "", body, s);
}

static void add_string(tpl_ctx *c, tpl_out *o, const tpl_str *str, const spec *s) {
    if (s->precision >= 0 && (size_t)s->precision < str->n_chars) str = tpl_substr(c, str, 0, (size_t)s->precision);
    add_padded(c, o, str->s, str->n, 0, s, '<');
}

/* --------------------------------------------------------------------------------- format() mini-language */

static size_t number_at(tpl_ctx *c, const char *s, size_t n, size_t *i, size_t max) {
    size_t value = 0;
    for (; *i < n && s[*i] >= '0' && s[*i] <= '9'; ++*i) {
        value = value * 10 + (size_t)(s[*i] - '0');
        if (value > max) tpl_fail_limit(c, "width or precision in a format is larger than %zu", max);
    }
    return value;
}

static spec parse_spec(tpl_ctx *c, const char *s, size_t n) {
    spec out = {.precision = -1};
    size_t i = 0;
    uint32_t cp = 0;
    size_t len = n ? tsr_utf8_decode(s, n, &cp) : 0;
    if (len && len < n && strchr("<>=^", s[len]) && s[len]) {
        out.fill = cp;
        out.align = s[len];
        i = len + 1;
    } else if (n && s[0] && strchr("<>=^", s[0])) {
        out.align = s[i++];
    }
    if (i < n && s[i] && strchr("+- ", s[i])) out.sign = s[i++];
    if (i < n && s[i] == '#') {
        out.alternate = true;
        i++;
    }
    if (i < n && s[i] == '0') {
        out.zero = true;
        i++;
    }
    out.width = number_at(c, s, n, &i, MAX_WIDTH);
    if (i < n && (s[i] == ',' || s[i] == '_')) out.group = s[i++];
    if (i < n && s[i] == '.') {
        i++;
        if (i >= n || s[i] < '0' || s[i] > '9') tpl_fail(c, "format specifier is missing its precision");
        out.precision = (int)number_at(c, s, n, &i, MAX_PRECISION);
    }
    if (i < n) out.type = s[i++];
    if (i < n) tpl_fail(c, "invalid format specifier");
    return out;
}

void tpl_format_value(tpl_ctx *c, tpl_out *o, tpl_val v, const char *text, size_t n) {
    if (n == 0) {
        const tpl_str *s = tpl_to_str(c, v);
        tpl_out_add(c, o, s->s, s->n);
        return;
    }
    spec s = parse_spec(c, text, n);
    double f;
    int64_t i;
    if (v.type == TPL_STR) {
        if ((s.type && s.type != 's') || s.sign || s.group || s.align == '=' || s.alternate)
            tpl_fail(c, "this format does not fit a string");
        if (s.zero && !s.fill) s.fill = '0';
        add_string(c, o, v.u.str, &s);
        return;
    }
    if (!tpl_is_number(v, &f, &i))
        tpl_fail(c, "a format specifier cannot be used with a value of type '%s'", tpl_type_name(v));
    if (s.zero && !s.fill) s.fill = '0';
    if (s.zero && !s.align) s.align = '=';
    if (v.type == TPL_BOOL && !s.type) {
        tpl_fail(c, "a boolean in a format needs a type such as d");
    } else if (v.type != TPL_FLOAT && (s.type == 0 || strchr("dxXobcn", s.type))) {
        if (s.precision >= 0) tpl_fail(c, "precision is not allowed with an integer");
        if (s.type == 'c') {
            char utf8[4];
            size_t len = i < 0 || i > 0x10ffff ? 0 : tsr_utf8_encode((uint32_t)i, utf8);
            if (len == 0) tpl_fail(c, "%lld is not a character", (long long)i);
            add_padded(c, o, utf8, len, 0, &s, '<');
            return;
        }
        add_int(c, o, i, &s);
    } else if (s.type == 0 || strchr("eEfFgG%n", s.type)) {
        if (s.type == 'n') s.type = 'g';
        add_float(c, o, f, &s);
    } else {
        tpl_fail(c, "unknown format code '%c' for a value of type '%s'", s.type, tpl_type_name(v));
    }
}

/* ------------------------------------------------------------------------------------------- % operator */

typedef struct percent {
    tpl_ctx *c;
    const tpl_str *fmt;
    size_t i;
    tpl_val args;
    size_t next;            /* argument to take; a single value counts as one */
    bool mapping;
} percent;

static tpl_val next_arg(percent *p) {
    bool tuple = p->args.type == TPL_TUPLE;
    size_t n = tuple ? p->args.u.seq->n : 1;
    if (p->next >= n) tpl_fail(p->c, "not enough arguments for format string");
    p->next++;
    return tuple ? p->args.u.seq->items[p->next - 1] : p->args;
}

static tpl_val mapping_arg(percent *p) {
    size_t from = ++p->i, depth = 1;
    while (p->i < p->fmt->n) {
        char ch = p->fmt->s[p->i];
        depth += ch == '(';
        depth -= ch == ')';
        if (depth == 0) break;
        p->i++;
    }
    if (p->i >= p->fmt->n) tpl_fail(p->c, "incomplete format key");
    if (p->args.type != TPL_DICT) tpl_fail(p->c, "format requires a mapping");
    p->mapping = true;
    const tpl_val *v = tpl_dict_find_str(p->c, p->args.u.dict, tpl_bytes(p->c, p->fmt, from, p->i));
    p->i++;
    if (!v) tpl_fail(p->c, "format key is not in the mapping");
    return *v;
}

static size_t percent_number(percent *p, size_t max) {
    if (p->i < p->fmt->n && p->fmt->s[p->i] == '*') {
        p->i++;
        int64_t v = tpl_need_int(p->c, next_arg(p), "* in a format");
        if (v < 0 || (uint64_t)v > max) tpl_fail_limit(p->c, "width or precision in a format is out of range");
        return (size_t)v;
    }
    return number_at(p->c, p->fmt->s, p->fmt->n, &p->i, max);
}

static void percent_value(percent *p, tpl_out *o, tpl_val v, spec *s, bool left, bool zero) {
    double f;
    int64_t i;
    s->align = left ? '<' : '>';
    if (strchr("rsa", s->type)) {
        tpl_out r = {0};
        if (s->type != 's') tpl_repr(p->c, &r, v);
        const tpl_str *text = s->type == 's' ? tpl_to_str(p->c, v) : tpl_out_str(p->c, &r).u.str;
        if (p->fmt->markup) text = s->type == 's' ? tpl_escape(p->c, v) : tpl_escape(p->c, tpl_of_str(text));
        add_string(p->c, o, text, s);
        return;
    }
    if (s->type == 'c' && v.type == TPL_STR && v.u.str->n_chars == 1) {
        s->precision = -1;
        add_string(p->c, o, v.u.str, s);
        return;
    }
    if (v.type == TPL_UNDEFINED) tpl_fail(p->c, "%s", v.u.undef->why);
    if (!tpl_is_number(v, &f, &i))
        tpl_fail(p->c, "%%%c format: a number is required, not %s", s->type, tpl_type_name(v));
    if (zero && !left) {
        s->fill = '0';
        s->align = '=';
    }
    if (strchr("diuxXo", s->type)) {
        if (v.type == TPL_FLOAT) {
            if (strchr("xXo", s->type)) tpl_fail(p->c, "%%%c format: an integer is required, not float", s->type);
            if (!(f > -9.2e18 && f < 9.2e18)) tpl_fail_limit(p->c, "number does not fit 64 bits");
            i = (int64_t)f;
        }
        if (strchr("iu", s->type)) s->type = 'd';
        add_int(p->c, o, i, s);
        return;
    }
    if (s->type == 'c') {
        s->fill = 0;
        s->align = left ? '<' : '>';
        char utf8[4];
        size_t len = i < 0 || i > 0x10ffff || v.type == TPL_FLOAT ? 0 : tsr_utf8_encode((uint32_t)i, utf8);
        if (len == 0) tpl_fail(p->c, "%%c needs a character");
        add_padded(p->c, o, utf8, len, 0, s, '>');
        return;
    }
    add_float(p->c, o, f, s);
}

tpl_val tpl_percent(tpl_ctx *c, const tpl_str *fmt, tpl_val args) {
    percent p = {.c = c, .fmt = fmt, .args = args};
    tpl_out o = {0};
    while (p.i < fmt->n) {
        const char *mark = memchr(fmt->s + p.i, '%', fmt->n - p.i);
        size_t run = mark ? (size_t)(mark - fmt->s) - p.i : fmt->n - p.i;
        tpl_out_add(c, &o, fmt->s + p.i, run);
        p.i += run + 1;
        if (!mark) break;
        tpl_work(c, 1);
        spec s = {.precision = -1};
        tpl_val v = {0};
        bool left = false, zero = false;
        if (p.i < fmt->n && fmt->s[p.i] == '(') v = mapping_arg(&p);
        for (; p.i < fmt->n && fmt->s[p.i] && strchr("-+ #0", fmt->s[p.i]); p.i++) {
            char flag = fmt->s[p.i];
            left |= flag == '-';
            zero |= flag == '0';
            s.alternate |= flag == '#';
            if (flag == '+' || (flag == ' ' && !s.sign)) s.sign = flag;
        }
        s.width = percent_number(&p, MAX_WIDTH);
        if (p.i < fmt->n && fmt->s[p.i] == '.') {
            p.i++;
            s.precision = (int)percent_number(&p, MAX_PRECISION);
        }
        if (p.i < fmt->n && fmt->s[p.i] && strchr("hlL", fmt->s[p.i])) p.i++;
        if (p.i >= fmt->n) tpl_fail(c, "incomplete format");
        s.type = fmt->s[p.i++];
        if (s.type == '%') {
            tpl_out_puts(c, &o, "%");
            continue;
        }
        if (!s.type || !strchr("diuoxXeEfFgGcrsa", s.type)) tpl_fail(c, "unsupported format character after %%");
        if (v.type == TPL_ABSENT) v = next_arg(&p);
        percent_value(&p, &o, v, &s, left, zero);
    }
    bool takes_many = args.type == TPL_DICT || args.type == TPL_LIST || p.mapping;
    size_t given = args.type == TPL_TUPLE ? args.u.seq->n : takes_many ? 0 : 1;
    if (p.next < given) tpl_fail(c, "not all arguments converted during string formatting");
    tpl_val v = tpl_out_str(c, &o);
    return fmt->markup ? tpl_of_str(tpl_str_as_markup(c, v.u.str, true)) : v;
}
