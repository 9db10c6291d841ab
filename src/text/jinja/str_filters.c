/* str_filters.c: filters on text. */
#include "text/jinja/methods.h"

#include "core/utf8.h"

#include <stdio.h>
#include <string.h>

static tpl_val f_upper(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    return tpl_of_str(tpl_upper(&r->c, tpl_soft_str(&r->c, v)));
}

static tpl_val f_lower(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    return tpl_of_str(tpl_lower(&r->c, tpl_soft_str(&r->c, v)));
}

static tpl_val f_capitalize(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    return tpl_of_str(tpl_capitalize(&r->c, tpl_soft_str(&r->c, v)));
}

/* Words start after whitespace and ( { [ < -; unlike str.title(), not after apostrophes and digits. */
static tpl_val f_title(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    tpl_ctx *c = &r->c;
    const tpl_str *s = tpl_soft_str(c, v);
    tpl_out o = {0};
    tpl_work(c, s->n / 8);
    for (size_t i = 0, from = 0; i < s->n; from = i) {
        uint32_t cp = 0;
        size_t len = 0;
        bool separator = false;
        while (i < s->n) { /* a run of separators, or a word */
            len = tsr_utf8_decode(s->s + i, s->n - i, &cp);
            bool is_separator = tpl_is_space(cp) || (cp < 0x80 && cp && strchr("-({[<", (int)cp));
            if (i == from) separator = is_separator;
            if (is_separator != separator) break;
            i += len;
        }
        const tpl_str *part = tpl_capitalize(c, tpl_bytes(c, s, from, i));
        /* item[0].upper(), not title case */
        size_t first = tsr_utf8_decode(s->s + from, s->n - from, &cp);
        const tpl_str *head = tpl_upper(c, tpl_bytes(c, s, from, from + first));
        const tpl_str *tail = tpl_lower(c, tpl_bytes(c, s, from + first, i));
        if (separator) {
            tpl_out_add(c, &o, part->s, part->n);
        } else {
            tpl_out_add(c, &o, head->s, head->n);
            tpl_out_add(c, &o, tail->s, tail->n);
        }
    }
    return tpl_out_str(c, &o);
}

static tpl_val by_method(tpl_run *r, tpl_val v, const tpl_call *a, const char *name) {
    tpl_val self = tpl_of_str(tpl_soft_str(&r->c, v));
    const tpl_builtin *fn = tpl_find_in(tpl_str_methods, name, strlen(name));
    tpl_val bound[8] = {{0}};
    for (size_t i = 0; i < a->n_pos; i++) bound[i] = a->pos[i];
    return fn->fn(r, self, &(tpl_call){.pos = bound, .n_pos = a->n_pos});
}

static tpl_val f_trim(tpl_run *r, tpl_val v, const tpl_call *a) { return by_method(r, v, a, "strip"); }

static tpl_val f_center(tpl_run *r, tpl_val v, const tpl_call *a) {
    tpl_val width = a->pos[0].type == TPL_ABSENT ? tpl_int(80) : a->pos[0];
    return by_method(r, v, &(tpl_call){.pos = &width, .n_pos = 1}, "center");
}

static tpl_val f_replace(tpl_run *r, tpl_val v, const tpl_call *a) {
    tpl_ctx *c = &r->c;
    bool all = a->pos[2].type == TPL_ABSENT || a->pos[2].type == TPL_NONE;
    const tpl_str *s = tpl_to_str(c, v), *old = tpl_to_str(c, a->pos[0]), *with = tpl_to_str(c, a->pos[1]);
    return tpl_of_str(tpl_replace(c, s, old, with, all ? -1 : tpl_need_int(c, a->pos[2], "count")));
}

static tpl_val f_string(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    return tpl_of_str(tpl_soft_str(&r->c, v));
}
static tpl_val f_escape(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    return tpl_of_str(tpl_escape(&r->c, v));
}

static tpl_val f_forceescape(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    return tpl_of_str(tpl_escape(&r->c, tpl_of_str(tpl_to_str(&r->c, v))));
}

static tpl_val f_safe(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    return tpl_of_str(tpl_str_as_markup(&r->c, tpl_soft_str(&r->c, v), true));
}

static tpl_val f_format(tpl_run *r, tpl_val v, const tpl_call *a) {
    tpl_ctx *c = &r->c;
    if (a->n_pos && a->n_named) tpl_fail(c, "format takes positional or keyword arguments, not both");
    tpl_seq *q = tpl_seq_new(c, a->n_pos);
    for (size_t i = 0; i < a->n_pos; i++) tpl_seq_push(c, q, a->pos[i]);
    tpl_dict *d = tpl_dict_new(c);
    for (size_t i = 0; i < a->n_named; i++) tpl_dict_set(c, d, tpl_of_str(a->names[i]), a->named[i]);
    return tpl_percent(c, tpl_soft_str(c, v), a->n_named ? tpl_of_dict(d) : tpl_of_seq(TPL_TUPLE, q));
}

static tpl_val f_indent(tpl_run *r, tpl_val v, const tpl_call *a) {
    tpl_ctx *c = &r->c;
    const tpl_str *s = tpl_need_str(c, v, "the input of indent");
    bool first = tpl_truth(a->pos[1]), blank = tpl_truth(a->pos[2]);
    tpl_out pad = {0}, o = {0};
    if (a->pos[0].type == TPL_STR) {
        tpl_out_add(c, &pad, a->pos[0].u.str->s, a->pos[0].u.str->n);
    } else {
        int64_t width = a->pos[0].type == TPL_ABSENT ? 4 : tpl_need_int(c, a->pos[0], "width");
        if (width > 0) tpl_out_fill(c, &pad, ' ', (size_t)width);
    }
    const tpl_str *indent = tpl_out_str(c, &pad).u.str;
    const tpl_seq *lines = tpl_split_lines(r, tpl_str_concat(c, s, tpl_text(c, "\n").u.str), false);
    for (size_t i = 0; i < lines->n; i++) {
        const tpl_str *line = lines->items[i].u.str;
        if (i) tpl_out_puts(c, &o, "\n");
        if (i ? (blank || line->n) : first) tpl_out_add(c, &o, indent->s, indent->n);
        tpl_out_add(c, &o, line->s, line->n);
    }
    tpl_val out = tpl_out_str(c, &o);
    return s->markup ? tpl_of_str(tpl_str_as_markup(c, out.u.str, true)) : out;
}

static tpl_val f_truncate(tpl_run *r, tpl_val v, const tpl_call *a) {
    tpl_ctx *c = &r->c;
    size_t n_items;
    int64_t length = a->pos[0].type == TPL_ABSENT ? 255 : tpl_need_int(c, a->pos[0], "length");
    const tpl_str *end = a->pos[2].type == TPL_ABSENT ? tpl_text(c, "...").u.str : tpl_need_str(c, a->pos[2], "end");
    bool has_leeway = a->pos[3].type != TPL_ABSENT && a->pos[3].type != TPL_NONE;
    int64_t leeway = has_leeway ? tpl_need_int(c, a->pos[3], "leeway") : 5;
    if (length < (int64_t)end->n_chars) tpl_fail(c, "truncate: length must be at least %zu", end->n_chars);
    if (leeway < 0) tpl_fail(c, "truncate: leeway must not be negative");
    if (!tpl_length(v, &n_items)) tpl_fail(c, "object of type '%s' has no length", tpl_type_name(v));
    if ((int64_t)n_items <= length || (int64_t)n_items - length <= leeway) return v; /* of lists and dicts, too */
    const tpl_str *s = tpl_need_str(c, v, "the input of truncate");
    const tpl_str *kept = tpl_substr(c, s, 0, (size_t)(length - (int64_t)end->n_chars));
    if (!tpl_truth(a->pos[1])) {
        const char *space = memrchr(kept->s, ' ', kept->n);
        if (space) kept = tpl_bytes(c, kept, 0, (size_t)(space - kept->s));
    }
    return tpl_binary(c, TPL_OP_ADD, tpl_of_str(kept), tpl_of_str(end));
}

static tpl_val f_wordcount(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    const tpl_str *s = tpl_soft_str(&r->c, v);
    int64_t n = 0;
    bool inside = false;
    tpl_work(&r->c, s->n / 4);
    for (size_t i = 0; i < s->n;) {
        uint32_t cp = 0;
        i += tsr_utf8_decode(s->s + i, s->n - i, &cp);
        bool word = tpl_word_cp(cp);
        n += word && !inside;
        inside = word;
    }
    return tpl_int(n);
}

/* Without comments <!-- --> and tags, whitespace collapsed, the five entities of escape() undone. */
static tpl_val f_striptags(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    tpl_ctx *c = &r->c;
    const tpl_str *s = tpl_to_str(c, v);
    static const char *const marks[2][2] = {{"<!--", "-->"}, {"<", ">"}};
    for (int pass = 0; pass < 2; pass++) {
        tpl_out o = {0};
        size_t i = 0, n_open = strlen(marks[pass][0]), n_close = strlen(marks[pass][1]), open, close;
        while ((open = tpl_find_bytes(c, s->s + i, s->n - i, marks[pass][0], n_open)) != SIZE_MAX) {
            close = tpl_find_bytes(c, s->s + i + open, s->n - i - open, marks[pass][1], n_close);
            if (close == SIZE_MAX) break;
            tpl_out_add(c, &o, s->s + i, open);
            i += open + close + n_close;
        }
        tpl_out_add(c, &o, s->s + i, s->n - i);
        s = tpl_out_str(c, &o).u.str;
    }
    tpl_val words = by_method(r, tpl_of_str(s), &(tpl_call){0}, "split");
    s = by_method(r, tpl_text(c, " "), &(tpl_call){.pos = &words, .n_pos = 1}, "join").u.str;
    static const char *const entities[][2] = {{"&lt;", "<"},   {"&gt;", ">"},    {"&#39;", "'"},
                                              {"&#34;", "\""}, {"&quot;", "\""}, {"&amp;", "&"}};
    for (size_t k = 0; k < sizeof entities / sizeof *entities; k++)
        s = tpl_replace(c, s, tpl_text(c, entities[k][0]).u.str, tpl_text(c, entities[k][1]).u.str, -1);
    return tpl_of_str(s);
}

static void url_quote(tpl_ctx *c, tpl_out *o, tpl_val v, bool query) {
    const tpl_str *s = tpl_to_str(c, v);
    char hex[4];
    for (size_t i = 0; i < s->n; i++) {
        char ch = s->s[i];
        bool plain =
            (ch >= '0' && ch <= '9') || ((ch | 0x20) >= 'a' && (ch | 0x20) <= 'z') || (ch && strchr("_.-~", ch));
        if (plain || (ch == '/' && !query)) {
            tpl_out_add(c, o, &ch, 1);
        } else if (ch == ' ' && query) {
            tpl_out_puts(c, o, "+");
        } else {
            snprintf(hex, sizeof hex, "%%%02X", (unsigned char)ch);
            tpl_out_add(c, o, hex, 3);
        }
    }
}

static tpl_val f_urlencode(tpl_run *r, tpl_val v, const tpl_call *a) {
    (void)a;
    tpl_ctx *c = &r->c;
    tpl_out o = {0};
    if (v.type == TPL_STR || !tpl_is_iterable(v)) {
        url_quote(c, &o, v, false);
        return tpl_out_str(c, &o);
    }
    if (v.type == TPL_DICT) v = tpl_invoke(r, tpl_find_in(tpl_dict_methods, "items", 5), v, &(tpl_call){0});
    tpl_iter it = tpl_iterate(c, v);
    tpl_val item;
    for (bool first = true; tpl_next(c, &it, &item); first = false) {
        const tpl_seq *pair = tpl_to_list(c, item);
        if (pair->n != 2) tpl_fail(c, "urlencode needs pairs");
        if (!first) tpl_out_puts(c, &o, "&");
        url_quote(c, &o, pair->items[0], true);
        tpl_out_puts(c, &o, "=");
        url_quote(c, &o, pair->items[1], true);
    }
    return tpl_out_str(c, &o);
}

static tpl_val f_tojson(tpl_run *r, tpl_val v, const tpl_call *a) {
    tpl_out o = {0};
    tpl_tojson(&r->c, &o, v, a->pos);
    return tpl_out_str(&r->c, &o);
}

const tpl_builtin tpl_str_filters[] = {{"trim", f_trim, "chars?"},
                                       {"tojson", f_tojson, "ensure_ascii? indent? separators? sort_keys?"},
                                       {"upper", f_upper, ""},
                                       {"lower", f_lower, ""},
                                       {"capitalize", f_capitalize, ""},
                                       {"title", f_title, ""},
                                       {"replace", f_replace, "old new count?"},
                                       {"string", f_string, ""},
                                       {"safe", f_safe, ""},
                                       {"escape", f_escape, ""},
                                       {"e", f_escape, ""},
                                       {"forceescape", f_forceescape, ""},
                                       {"format", f_format, "*"},
                                       {"indent", f_indent, "width? first? blank?"},
                                       {"truncate", f_truncate, "length? killwords? end? leeway?"},
                                       {"center", f_center, "width?"},
                                       {"wordcount", f_wordcount, ""},
                                       {"striptags", f_striptags, ""},
                                       {"urlencode", f_urlencode, ""},
                                       {NULL, NULL, NULL}};
