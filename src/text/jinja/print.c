/* print.c: str(), repr() and JSON of values. */
#include "text/jinja/run.h"

#include "core/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tpl_repr_float(tpl_ctx *c, tpl_out *o, double f) {
    if (isnan(f) || isinf(f)) {
        tpl_out_puts(c, o, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    char e[40];
    int precision = 0;
    do snprintf(e, sizeof e, "%.*e", precision, f); /* the fewest digits that read back as f */
    while (strtod(e, NULL) != f && ++precision < 17);
    int exponent = atoi(strchr(e, 'e') + 1);
    char text[400];
    if (exponent < -4 || exponent >= 16) {
        *strchr(e, 'e') = '\0';
        snprintf(text, sizeof text, "%se%c%02d", e, exponent < 0 ? '-' : '+', abs(exponent));
    } else {
        int decimals = precision - exponent;
        snprintf(text, sizeof text, "%.*f", decimals > 1 ? decimals : 1, f);
    }
    tpl_out_puts(c, o, text);
}

static void repr_str(tpl_ctx *c, tpl_out *o, const tpl_str *s) {
    bool single = memchr(s->s, '\'', s->n) != NULL, twice = memchr(s->s, '"', s->n) != NULL;
    char quote = single && !twice ? '"' : '\'', text[16];
    tpl_work(c, s->n / 4);
    if (s->markup) tpl_out_puts(c, o, "Markup(");
    tpl_out_add(c, o, &quote, 1);
    for (size_t i = 0; i < s->n;) {
        uint32_t cp = 0;
        size_t len = tsr_utf8_decode(s->s + i, s->n - i, &cp);
        if (cp == (unsigned char)quote || cp == '\\')
            snprintf(text, sizeof text, "\\%c", (char)cp);
        else if (cp == '\n')
            snprintf(text, sizeof text, "\\n");
        else if (cp == '\r')
            snprintf(text, sizeof text, "\\r");
        else if (cp == '\t')
            snprintf(text, sizeof text, "\\t");
        else if (tpl_printable_cp(cp))
            snprintf(text, sizeof text, "%.*s", (int)len, s->s + i);
        else
            snprintf(text, sizeof text, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
        tpl_out_puts(c, o, text);
        i += len;
    }
    tpl_out_add(c, o, &quote, 1);
    if (s->markup) tpl_out_puts(c, o, ")");
}

static void repr_items(tpl_ctx *c, tpl_out *o, const tpl_seq *q, const char *open, const char *close) {
    tpl_out_puts(c, o, open);
    for (size_t i = 0; i < q->n; i++) {
        if (i) tpl_out_puts(c, o, ", ");
        tpl_repr(c, o, q->items[i]);
    }
    tpl_out_puts(c, o, close);
}

static void repr_dict(tpl_ctx *c, tpl_out *o, const tpl_dict *d) {
    tpl_out_puts(c, o, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i) tpl_out_puts(c, o, ", ");
        tpl_repr(c, o, d->entries[i].key);
        tpl_out_puts(c, o, ": ");
        tpl_repr(c, o, d->entries[i].value);
    }
    tpl_out_puts(c, o, "}");
}

static void repr_view(tpl_ctx *c, tpl_out *o, const tpl_seq *q) {
    tpl_out_puts(c, o, q->what);
    repr_items(c, o, q, "([", "])");
}

/* Things that templates do not print on purpose: <Macro 'name'> and the like. */
static void repr_other(tpl_ctx *c, tpl_out *o, tpl_val v) {
    char text[96];
    if (v.type == TPL_FUNC && v.u.func->macro) {
        const tpl_str *name = v.u.func->macro->macro->name;
        tpl_out_puts(c, o, "<Macro '");
        tpl_out_add(c, o, name->s, name->n);
        tpl_out_puts(c, o, "'>");
        return;
    }
    if (v.type == TPL_LOOP)
        snprintf(text, sizeof text, "<LoopContext %zu/%zu>", v.u.loop->index0 + 1, v.u.loop->items->n);
    else if (v.type == TPL_FUNC)
        snprintf(text, sizeof text, "<function %s>", v.u.func->builtin->name);
    else
        snprintf(text, sizeof text, "<%s object>", tpl_type_name(v));
    tpl_out_puts(c, o, text);
}

static void repr_range(tpl_ctx *c, tpl_out *o, const tpl_range *g) {
    char text[96];
    long long start = g->start, stop = g->stop;
    if (g->step == 1)
        snprintf(text, sizeof text, "range(%lld, %lld)", start, stop);
    else
        snprintf(text, sizeof text, "range(%lld, %lld, %lld)", start, stop, (long long)g->step);
    tpl_out_puts(c, o, text);
}

void tpl_repr(tpl_ctx *c, tpl_out *o, tpl_val v) {
    char text[32];
    tpl_work(c, 1);
    tpl_enter(c);
    switch (v.type) {
    case TPL_ABSENT:
    case TPL_UNDEFINED: tpl_out_puts(c, o, "Undefined"); break;
    case TPL_NONE: tpl_out_puts(c, o, "None"); break;
    case TPL_BOOL: tpl_out_puts(c, o, v.u.b ? "True" : "False"); break;
    case TPL_INT:
        snprintf(text, sizeof text, "%lld", (long long)v.u.i);
        tpl_out_puts(c, o, text);
        break;
    case TPL_FLOAT: tpl_repr_float(c, o, v.u.f); break;
    case TPL_STR: repr_str(c, o, v.u.str); break;
    case TPL_LIST: repr_items(c, o, v.u.seq, "[", "]"); break;
    case TPL_TUPLE: repr_items(c, o, v.u.seq, "(", v.u.seq->n == 1 ? ",)" : ")"); break;
    case TPL_RANGE: repr_range(c, o, v.u.range); break;
    case TPL_VIEW: repr_view(c, o, v.u.seq); break;
    case TPL_DICT: repr_dict(c, o, v.u.dict); break;
    case TPL_NAMESPACE:
        tpl_out_puts(c, o, "<Namespace ");
        repr_dict(c, o, v.u.dict);
        tpl_out_puts(c, o, ">");
        break;
    default: repr_other(c, o, v);
    }
    tpl_leave(c);
}

const tpl_str *tpl_soft_str(tpl_ctx *c, tpl_val v) {
    if (v.type == TPL_STR) return v.u.str;
    tpl_out o = {0};
    if (v.type != TPL_UNDEFINED) tpl_repr(c, &o, v);
    return tpl_out_str(c, &o).u.str;
}

const tpl_str *tpl_to_str(tpl_ctx *c, tpl_val v) {
    const tpl_str *s = tpl_soft_str(c, v);
    return s->markup ? tpl_str_as_markup(c, s, false) : s;
}

/* ---------------------------------------------------------------------------------------------------- JSON */

typedef struct json_style {
    bool ascii, sort, pretty;
    const tpl_str *item, *colon, *indent; /* separators; text of one level */
} json_style;

static void json_str(tpl_ctx *c, tpl_out *o, const tpl_str *s, bool ascii) {
    char text[16];
    tpl_work(c, s->n / 4);
    tpl_out_puts(c, o, "\"");
    for (size_t i = 0; i < s->n;) {
        uint32_t cp = 0;
        size_t len = tsr_utf8_decode(s->s + i, s->n - i, &cp);
        static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
        const char *p = cp && cp < 0x80 ? strchr(from, (int)cp) : NULL;
        if (p) {
            snprintf(text, sizeof text, "\\%c", to[p - from]);
            tpl_out_puts(c, o, text);
        } else if (cp < 0x20 || (ascii && cp >= 0x7f && cp < 0x10000)) {
            snprintf(text, sizeof text, "\\u%04x", (unsigned)cp);
            tpl_out_puts(c, o, text);
        } else if (ascii && cp >= 0x10000) {
            cp -= 0x10000;
            snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800 + (unsigned)(cp >> 10),
                     0xdc00 + (unsigned)(cp & 0x3ff));
            tpl_out_puts(c, o, text);
        } else {
            tpl_out_add(c, o, s->s + i, len);
        }
        i += len;
    }
    tpl_out_puts(c, o, "\"");
}

static void json_newline(tpl_ctx *c, tpl_out *o, const json_style *style, size_t level) {
    if (!style->pretty) return;
    tpl_out_puts(c, o, "\n");
    while (level--) tpl_out_add(c, o, style->indent->s, style->indent->n);
}

static void json_float(tpl_ctx *c, tpl_out *o, double f) {
    if (isnan(f))
        tpl_out_puts(c, o, "NaN");
    else if (isinf(f))
        tpl_out_puts(c, o, f < 0 ? "-Infinity" : "Infinity");
    else
        tpl_repr_float(c, o, f);
}

static void json_value(tpl_ctx *c, tpl_out *o, tpl_val v, const json_style *style, size_t level);

static void json_key(tpl_ctx *c, tpl_out *o, tpl_val key, const json_style *style) {
    if (key.type == TPL_STR) {
        json_str(c, o, key.u.str, style->ascii);
        return;
    }
    if (key.type < TPL_NONE || key.type > TPL_FLOAT)
        tpl_fail(c, "JSON keys must be str, int, float, bool or None, not %s", tpl_type_name(key));
    tpl_out_puts(c, o, "\"");
    json_value(c, o, key, style, 0);
    tpl_out_puts(c, o, "\"");
}

static void json_dict(tpl_ctx *c, tpl_out *o, const tpl_dict *d, const json_style *style, size_t level) {
    size_t n = d->n;
    tpl_val *keys = tpl_array(c, n, sizeof *keys), *values = tpl_array(c, n, sizeof *values);
    for (size_t i = 0; i < n; i++) {
        keys[i] = d->entries[i].key;
        values[i] = d->entries[i].value;
    }
    if (style->sort) tpl_sort(c, keys, values, n, false);
    tpl_out_puts(c, o, "{");
    for (size_t i = 0; i < n; i++) {
        if (i) tpl_out_add(c, o, style->item->s, style->item->n);
        json_newline(c, o, style, level + 1);
        json_key(c, o, keys[i], style);
        tpl_out_add(c, o, style->colon->s, style->colon->n);
        json_value(c, o, values[i], style, level + 1);
    }
    if (n) json_newline(c, o, style, level);
    tpl_out_puts(c, o, "}");
}

static void json_list(tpl_ctx *c, tpl_out *o, const tpl_seq *q, const json_style *style, size_t level) {
    tpl_out_puts(c, o, "[");
    for (size_t i = 0; i < q->n; i++) {
        if (i) tpl_out_add(c, o, style->item->s, style->item->n);
        json_newline(c, o, style, level + 1);
        json_value(c, o, q->items[i], style, level + 1);
    }
    if (q->n) json_newline(c, o, style, level);
    tpl_out_puts(c, o, "]");
}

static void json_value(tpl_ctx *c, tpl_out *o, tpl_val v, const json_style *style, size_t level) {
    tpl_work(c, 1);
    tpl_enter(c);
    switch (v.type) {
    case TPL_NONE: tpl_out_puts(c, o, "null"); break;
    case TPL_BOOL: tpl_out_puts(c, o, v.u.b ? "true" : "false"); break;
    case TPL_INT: tpl_repr(c, o, v); break;
    case TPL_FLOAT: json_float(c, o, v.u.f); break;
    case TPL_STR: json_str(c, o, v.u.str, style->ascii); break;
    case TPL_LIST:
    case TPL_TUPLE: json_list(c, o, v.u.seq, style, level); break;
    case TPL_DICT: json_dict(c, o, v.u.dict, style, level); break;
    case TPL_UNDEFINED: tpl_fail(c, "an undefined value is not JSON serializable: %s", v.u.undef->why);
    default: tpl_fail(c, "object of type %s is not JSON serializable", tpl_type_name(v));
    }
    tpl_leave(c);
}

void tpl_tojson(tpl_ctx *c, tpl_out *o, tpl_val v, const tpl_val opts[4]) {
    json_style style = {.ascii = tpl_truth(opts[0]), .sort = tpl_truth(opts[3])};
    tpl_val indent = opts[1], separators = opts[2];
    style.pretty = indent.type != TPL_ABSENT && indent.type != TPL_NONE;
    style.indent = tpl_text(c, "").u.str;
    if (indent.type == TPL_STR) {
        style.indent = indent.u.str;
    } else if (style.pretty) {
        int64_t width = tpl_need_int(c, indent, "tojson: indent");
        tpl_out spaces = {0};
        if (width > 0) tpl_out_fill(c, &spaces, ' ', (size_t)width);
        style.indent = tpl_out_str(c, &spaces).u.str;
    }
    style.item = tpl_text(c, style.pretty ? "," : ", ").u.str;
    style.colon = tpl_text(c, ": ").u.str;
    if (separators.type != TPL_ABSENT && separators.type != TPL_NONE) {
        bool pair = (separators.type == TPL_LIST || separators.type == TPL_TUPLE) && separators.u.seq->n == 2;
        if (!pair) tpl_fail(c, "tojson: separators must be a pair such as (',', ':')");
        style.item = tpl_need_str(c, separators.u.seq->items[0], "tojson: the item separator");
        style.colon = tpl_need_str(c, separators.u.seq->items[1], "tojson: the key separator");
    }
    json_value(c, o, v, &style, 0);
}
