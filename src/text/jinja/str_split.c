/* str_split.c: cutting strings, and str.format(). */
#include "text/jinja/methods.h"

#include "core/utf8.h"

#include <string.h>

static void push_part(tpl_run *r, tpl_seq *q, const tpl_str *s, size_t from, size_t to) {
    tpl_seq_push(&r->c, q, tpl_of_str(tpl_bytes(&r->c, s, from, to)));
}

static size_t char_len(const tpl_str *s, size_t i, uint32_t *cp) {
    *cp = 0;
    return tsr_utf8_decode(s->s + i, s->n - i, cp);
}

static size_t char_before(const tpl_str *s, size_t end, uint32_t *cp) {
    size_t at = end - 1;
    while ((s->s[at] & 0xc0) == 0x80) at--;
    char_len(s, at, cp);
    return at;
}

/* Runs of whitespace separate; none at the ends. */
static tpl_seq *split_space(tpl_run *r, const tpl_str *s, uint64_t max) {
    tpl_seq *q = tpl_seq_new(&r->c, 0);
    uint32_t cp;
    size_t i = 0;
    for (;;) {
        size_t len = 0;
        while (i < s->n && (len = char_len(s, i, &cp), tpl_is_space(cp))) i += len;
        if (i >= s->n) return q;
        size_t from = i, end = s->n;
        if (max == 0) { /* the rest, without the whitespace before it; what is behind it stays */
            push_part(r, q, s, from, end);
            return q;
        }
        max--;
        while (i < s->n && (len = char_len(s, i, &cp), !tpl_is_space(cp))) i += len;
        push_part(r, q, s, from, i);
    }
}

static tpl_seq *rsplit_space(tpl_run *r, const tpl_str *s, uint64_t max) {
    tpl_seq *q = tpl_seq_new(&r->c, 0);
    uint32_t cp;
    size_t end = s->n, at;
    for (;;) {
        while (end > 0 && (at = char_before(s, end, &cp), tpl_is_space(cp))) end = at;
        if (end == 0) return q;
        size_t to = end;
        if (max == 0) {
            push_part(r, q, s, 0, to);
            return q;
        }
        max--;
        while (end > 0 && (at = char_before(s, end, &cp), !tpl_is_space(cp))) end = at;
        push_part(r, q, s, end, to);
    }
}

static tpl_seq *split_sep(tpl_run *r, const tpl_str *s, const tpl_str *sep, uint64_t max) {
    tpl_seq *q = tpl_seq_new(&r->c, 0);
    size_t i = 0, at;
    while (max && (at = tpl_find_bytes(&r->c, s->s + i, s->n - i, sep->s, sep->n)) != SIZE_MAX) {
        push_part(r, q, s, i, i + at);
        i += at + sep->n;
        max--;
    }
    push_part(r, q, s, i, s->n);
    return q;
}

/* Offset of the last sep that ends at or before `end`, or SIZE_MAX. */
static size_t find_last(tpl_run *r, const tpl_str *s, size_t end, const tpl_str *sep) {
    for (size_t i = end >= sep->n ? end - sep->n + 1 : 0; i-- > 0;) {
        if (s->s[i] != sep->s[0]) continue;
        tpl_work(&r->c, 1 + sep->n / 32);
        if (memcmp(s->s + i, sep->s, sep->n) == 0) return i;
    }
    return SIZE_MAX;
}

static tpl_seq *rsplit_sep(tpl_run *r, const tpl_str *s, const tpl_str *sep, uint64_t max) {
    tpl_seq *q = tpl_seq_new(&r->c, 0);
    size_t end = s->n, at;
    while (max && (at = find_last(r, s, end, sep)) != SIZE_MAX) {
        push_part(r, q, s, at + sep->n, end);
        end = at;
        max--;
    }
    push_part(r, q, s, 0, end);
    return q;
}

static void reverse(tpl_seq *q) {
    for (size_t i = 0; i < q->n / 2; i++) {
        tpl_val v = q->items[i];
        q->items[i] = q->items[q->n - 1 - i];
        q->items[q->n - 1 - i] = v;
    }
}

static tpl_val split(tpl_run *r, tpl_val self, const tpl_call *a, bool from_right) {
    tpl_ctx *c = &r->c;
    const tpl_str *s = self.u.str;
    int64_t max = a->pos[1].type == TPL_ABSENT ? -1 : tpl_need_int(c, a->pos[1], "maxsplit");
    uint64_t left = max < 0 ? UINT64_MAX : (uint64_t)max;
    bool space = a->pos[0].type == TPL_ABSENT || a->pos[0].type == TPL_NONE;
    const tpl_str *sep = space ? NULL : tpl_need_str(c, a->pos[0], "the separator");
    if (!space && sep->n == 0) tpl_fail(c, "empty separator");
    tpl_work(c, s->n / 16);
    tpl_seq *q;
    if (from_right) {
        q = space ? rsplit_space(r, s, left) : rsplit_sep(r, s, sep, left);
        reverse(q);
    } else {
        q = space ? split_space(r, s, left) : split_sep(r, s, sep, left);
    }
    return tpl_of_seq(TPL_LIST, q);
}

tpl_val tpl_m_split(tpl_run *r, tpl_val self, const tpl_call *a) { return split(r, self, a, false); }
tpl_val tpl_m_rsplit(tpl_run *r, tpl_val self, const tpl_call *a) { return split(r, self, a, true); }

static bool line_break(uint32_t cp) {
    return (cp >= 0x0a && cp <= 0x0d) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
}

tpl_seq *tpl_split_lines(tpl_run *r, const tpl_str *s, bool keep_ends) {
    tpl_seq *q = tpl_seq_new(&r->c, 0);
    size_t from = 0;
    tpl_work(&r->c, s->n / 16);
    for (size_t i = 0; i < s->n;) {
        uint32_t cp;
        size_t at = i;
        i += char_len(s, i, &cp);
        if (!line_break(cp)) continue;
        if (cp == '\r' && i < s->n && s->s[i] == '\n') i++;
        push_part(r, q, s, from, keep_ends ? i : at);
        from = i;
    }
    if (from < s->n) push_part(r, q, s, from, s->n);
    return q;
}

tpl_val tpl_m_splitlines(tpl_run *r, tpl_val self, const tpl_call *a) {
    return tpl_of_seq(TPL_LIST, tpl_split_lines(r, self.u.str, tpl_truth(a->pos[0])));
}

static tpl_val partition(tpl_run *r, tpl_val self, const tpl_call *a, bool last) {
    tpl_ctx *c = &r->c;
    const tpl_str *s = self.u.str, *sep = tpl_need_str(c, a->pos[0], "the separator");
    if (sep->n == 0) tpl_fail(c, "empty separator");
    tpl_work(c, s->n / 16);
    size_t at = last ? find_last(r, s, s->n, sep) : tpl_find_bytes(c, s->s, s->n, sep->s, sep->n);
    size_t end = at == SIZE_MAX ? 0 : at + sep->n;
    if (at == SIZE_MAX) at = end = last ? 0 : s->n;
    tpl_seq *q = tpl_seq_new(c, 3);
    push_part(r, q, s, 0, at);
    push_part(r, q, s, at, end);
    push_part(r, q, s, end, s->n);
    return tpl_of_seq(TPL_TUPLE, q);
}

tpl_val tpl_m_partition(tpl_run *r, tpl_val self, const tpl_call *a) { return partition(r, self, a, false); }
tpl_val tpl_m_rpartition(tpl_run *r, tpl_val self, const tpl_call *a) { return partition(r, self, a, true); }

/* --------------------------------------------------------------------------------------------- str.format() */

typedef struct field_args {
    const tpl_call *call;
    int64_t next; /* of {}: -1 once {0} was used */
    bool manual;
} field_args;

static tpl_val field_first(tpl_run *r, field_args *f, const tpl_str *name) {
    int64_t i = 0;
    bool number = name->n > 0 && name->n < 10;
    for (size_t k = 0; k < name->n && number; k++) {
        number = name->s[k] >= '0' && name->s[k] <= '9';
        i = i * 10 + (name->s[k] - '0');
    }
    if (number || name->n == 0) {
        if (number ? f->next > 0 : f->manual) tpl_fail(&r->c, "cannot mix {} and {0} in one format string");
        f->manual |= number;
        if (!number) i = f->next++;
        if (i >= (int64_t)f->call->n_pos) tpl_fail(&r->c, "replacement index %lld is out of range", (long long)i);
        return f->call->pos[i];
    }
    for (size_t k = 0; k < f->call->n_named; k++)
        if (tpl_str_eq(f->call->names[k], name)) return f->call->named[k];
    char shown[64];
    tpl_fail(&r->c, "format() has no argument '%s'", tsr_printable(name->s, name->n, shown, sizeof shown));
}

/* name.attr[key] */
static tpl_val field_value(tpl_run *r, field_args *f, const tpl_str *s, size_t from, size_t to) {
    size_t i = from;
    while (i < to && s->s[i] != '.' && s->s[i] != '[') i++;
    tpl_val v = field_first(r, f, tpl_bytes(&r->c, s, from, i));
    while (i < to) {
        bool attr = s->s[i] == '.';
        size_t start = ++i;
        while (i < to && (attr ? s->s[i] != '.' && s->s[i] != '[' : s->s[i] != ']')) i++;
        if (i == start || (!attr && i >= to)) tpl_fail(&r->c, "empty or unfinished attribute in a format string");
        tpl_str *key = tpl_bytes(&r->c, s, start, i);
        key->markup = false;
        bool digits = !attr && key->n < 10 && tpl_all_of(TPL_C_DECIMAL, key) && key->n == key->n_chars;
        int64_t number = 0;
        for (size_t k = 0; k < key->n && digits; k++) number = number * 10 + (key->s[k] - '0');
        v = attr ? tpl_getattr(r, v, key) : tpl_getitem(r, v, digits ? tpl_int(number) : tpl_of_str(key));
        i += !attr;
        if (!attr && i < to && s->s[i] != '.' && s->s[i] != '[')
            tpl_fail(&r->c, "only '.' or '[' may follow ']' in a format");
    }
    return v;
}

static void format_into(tpl_run *r, tpl_out *o, const tpl_str *s, size_t i, size_t end, field_args *f, int depth);

/* One {field!conversion:spec}, i behind the brace; returns the offset behind the closing one. */
static size_t format_field(tpl_run *r, tpl_out *o, const tpl_str *s, size_t i, size_t end, field_args *f, int depth) {
    tpl_ctx *c = &r->c;
    size_t from = i, name_end, spec_from, nested = 1;
    bool in_item = false;
    while (i < end && (in_item || (s->s[i] != '!' && s->s[i] != ':' && s->s[i] != '}'))) {
        if (s->s[i] == '{') tpl_fail(c, "unexpected '{' in a format field");
        in_item = s->s[i] == '[' || (in_item && s->s[i] != ']');
        i++;
    }
    name_end = i;
    char conversion = 0;
    if (i < end && s->s[i] == '!') {
        if (i + 2 >= end || (s->s[i + 2] != ':' && s->s[i + 2] != '}')) tpl_fail(c, "bad conversion in a format field");
        conversion = s->s[i + 1];
        i += 2;
    }
    spec_from = i < end && s->s[i] == ':' ? i + 1 : i;
    for (i = spec_from; i < end; i++) {
        nested += s->s[i] == '{';
        nested -= s->s[i] == '}';
        if (nested == 0) break;
    }
    if (i >= end) tpl_fail(c, "expected '}' before the end of the format string");
    tpl_val v = field_value(r, f, s, from, name_end);
    if (conversion == 'r') {
        tpl_out text = {0};
        tpl_repr(c, &text, v);
        v = tpl_out_str(c, &text);
    } else if (conversion == 's') {
        v = tpl_of_str(tpl_to_str(c, v));
    } else if (conversion) {
        tpl_fail(c, "unknown conversion '%c' in a format field", conversion);
    }
    tpl_out spec = {0};
    format_into(r, &spec, s, spec_from, i, f, depth + 1);
    tpl_out text = {0};
    tpl_format_value(c, &text, v, spec.s ? spec.s : "", spec.n);
    tpl_val shown = tpl_out_str(c, &text);
    const tpl_str *out = s->markup && !(v.type == TPL_STR && v.u.str->markup) ? tpl_escape(c, shown) : shown.u.str;
    tpl_out_add(c, o, out->s, out->n);
    return i + 1;
}

static void format_into(tpl_run *r, tpl_out *o, const tpl_str *s, size_t i, size_t end, field_args *f, int depth) {
    if (depth > 1 && memchr(s->s + i, '{', end - i)) tpl_fail(&r->c, "format fields are nested too deep");
    while (i < end) {
        char ch = s->s[i++];
        bool doubled = i < end && s->s[i] == ch && depth == 0;
        if ((ch == '{' || ch == '}') && doubled) {
            tpl_out_add(&r->c, o, &ch, 1);
            i++;
        } else if (ch == '}') {
            tpl_fail(&r->c, "single '}' in a format string");
        } else if (ch == '{') {
            tpl_work(&r->c, 1);
            i = format_field(r, o, s, i, end, f, depth);
        } else {
            tpl_out_add(&r->c, o, &ch, 1);
        }
    }
}

tpl_val tpl_m_format(tpl_run *r, tpl_val self, const tpl_call *a) {
    field_args f = {.call = a};
    tpl_out o = {0};
    format_into(r, &o, self.u.str, 0, self.u.str->n, &f, 0);
    tpl_val v = tpl_out_str(&r->c, &o);
    return self.u.str->markup ? tpl_of_str(tpl_str_as_markup(&r->c, v.u.str, true)) : v;
}
