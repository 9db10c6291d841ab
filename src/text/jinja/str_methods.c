/* str_methods.c: "text".method(), after Python's str. */
#include "text/jinja/methods.h"

#include "core/utf8.h"

#include <string.h>

static tpl_val keep_markup(tpl_ctx *c, const tpl_str *self, const tpl_str *result) {
    if (result->markup == self->markup) return tpl_of_str(result);
    return tpl_of_str(tpl_str_as_markup(c, result, self->markup));
}

static bool given(tpl_val v) { return v.type != TPL_ABSENT && v.type != TPL_NONE; }

/* --------------------------------------------------------------------------------------------- case, classes */

static tpl_val m_upper(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)a;
    return tpl_of_str(tpl_upper(&r->c, self.u.str));
}
static tpl_val m_lower(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)a;
    return tpl_of_str(tpl_lower(&r->c, self.u.str));
}
static tpl_val m_title(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)a;
    return tpl_of_str(tpl_title(&r->c, self.u.str));
}
static tpl_val m_capitalize(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)a;
    return tpl_of_str(tpl_capitalize(&r->c, self.u.str));
}
static tpl_val m_swapcase(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)a;
    return tpl_of_str(tpl_swapcase(&r->c, self.u.str));
}

static tpl_val class_of(tpl_run *r, tpl_val self, tpl_class what) {
    tpl_work(&r->c, self.u.str->n / 4);
    return tpl_bool(tpl_all_of(what, self.u.str));
}
static tpl_val m_isalnum(tpl_run *r, tpl_val s, const tpl_call *a) {
    (void)a;
    return class_of(r, s, TPL_C_ALNUM);
}
static tpl_val m_isalpha(tpl_run *r, tpl_val s, const tpl_call *a) {
    (void)a;
    return class_of(r, s, TPL_C_ALPHA);
}
static tpl_val m_isascii(tpl_run *r, tpl_val s, const tpl_call *a) {
    (void)a;
    return class_of(r, s, TPL_C_ASCII);
}
static tpl_val m_isdecimal(tpl_run *r, tpl_val s, const tpl_call *a) {
    (void)a;
    return class_of(r, s, TPL_C_DECIMAL);
}
static tpl_val m_isdigit(tpl_run *r, tpl_val s, const tpl_call *a) {
    (void)a;
    return class_of(r, s, TPL_C_DIGIT);
}
static tpl_val m_isidentifier(tpl_run *r, tpl_val s, const tpl_call *a) {
    (void)a;
    return class_of(r, s, TPL_C_IDENTIFIER);
}
static tpl_val m_islower(tpl_run *r, tpl_val s, const tpl_call *a) {
    (void)a;
    return class_of(r, s, TPL_C_LOWER);
}
static tpl_val m_isnumeric(tpl_run *r, tpl_val s, const tpl_call *a) {
    (void)a;
    return class_of(r, s, TPL_C_NUMERIC);
}
static tpl_val m_isprintable(tpl_run *r, tpl_val s, const tpl_call *a) {
    (void)a;
    return class_of(r, s, TPL_C_PRINTABLE);
}
static tpl_val m_isspace(tpl_run *r, tpl_val s, const tpl_call *a) {
    (void)a;
    return class_of(r, s, TPL_C_SPACE);
}
static tpl_val m_istitle(tpl_run *r, tpl_val s, const tpl_call *a) {
    (void)a;
    return class_of(r, s, TPL_C_TITLE);
}
static tpl_val m_isupper(tpl_run *r, tpl_val s, const tpl_call *a) {
    (void)a;
    return class_of(r, s, TPL_C_UPPER);
}

/* -------------------------------------------------------------------------------------------------- search */

/* Optional start and end (in characters) of find(), count(), startswith(): byte range of s. False when start > end. */
static bool window(tpl_run *r, const tpl_str *s, tpl_val from, tpl_val to, size_t *lo, size_t *hi, size_t *lo_chars) {
    int64_t n = (int64_t)s->n_chars, a = given(from) ? tpl_need_int(&r->c, from, "start") : 0;
    int64_t b = given(to) ? tpl_need_int(&r->c, to, "end") : n;
    a = a < -n ? 0 : a < 0 ? a + n : a;
    b = b < -n ? 0 : b < 0 ? b + n : b > n ? n : b;
    if (a > b) return false;
    *lo_chars = (size_t)a;
    *lo = tpl_char_offset(&r->c, s, (size_t)a);
    *hi = tpl_char_offset(&r->c, s, (size_t)b);
    return true;
}

/* Character index of the first (or last) occurrence, or -1. */
static int64_t find(tpl_run *r, tpl_val self, const tpl_call *a, bool last) {
    const tpl_str *s = self.u.str, *sub = tpl_need_str(&r->c, a->pos[0], "the text to find");
    size_t lo, hi, lo_chars, found = SIZE_MAX;
    if (!window(r, s, a->pos[1], a->pos[2], &lo, &hi, &lo_chars)) return -1;
    if (!last) {
        found = tpl_find_bytes(&r->c, s->s + lo, hi - lo, sub->s, sub->n);
    } else if (sub->n <= hi - lo) {
        tpl_work(&r->c, (hi - lo) / 8);
        for (size_t i = hi - lo - sub->n + 1; i-- > 0 && found == SIZE_MAX;) {
            if (sub->n && s->s[lo + i] != sub->s[0]) continue;
            tpl_work(&r->c, sub->n / 32);
            if (memcmp(s->s + lo + i, sub->s, sub->n) == 0) found = i;
        }
    }
    return found == SIZE_MAX ? -1 : (int64_t)(lo_chars + tpl_count_chars(s->s + lo, found));
}

static tpl_val m_find(tpl_run *r, tpl_val self, const tpl_call *a) { return tpl_int(find(r, self, a, false)); }
static tpl_val m_rfind(tpl_run *r, tpl_val self, const tpl_call *a) { return tpl_int(find(r, self, a, true)); }

static tpl_val index_of(tpl_run *r, tpl_val self, const tpl_call *a, bool last) {
    int64_t i = find(r, self, a, last);
    if (i < 0) tpl_fail(&r->c, "substring not found");
    return tpl_int(i);
}
static tpl_val m_index(tpl_run *r, tpl_val self, const tpl_call *a) { return index_of(r, self, a, false); }
static tpl_val m_rindex(tpl_run *r, tpl_val self, const tpl_call *a) { return index_of(r, self, a, true); }

static tpl_val m_count(tpl_run *r, tpl_val self, const tpl_call *a) {
    const tpl_str *s = self.u.str, *sub = tpl_need_str(&r->c, a->pos[0], "the text to count");
    size_t lo, hi, lo_chars, at;
    int64_t n = 0;
    if (!window(r, s, a->pos[1], a->pos[2], &lo, &hi, &lo_chars)) return tpl_int(0);
    if (sub->n == 0) return tpl_int((int64_t)tpl_count_chars(s->s + lo, hi - lo) + 1);
    for (; (at = tpl_find_bytes(&r->c, s->s + lo, hi - lo, sub->s, sub->n)) != SIZE_MAX; lo += at + sub->n) n++;
    return tpl_int(n);
}

static bool affix(tpl_run *r, const tpl_str *s, size_t lo, size_t hi, tpl_val what, bool at_end) {
    const tpl_str *x = tpl_need_str(&r->c, what, "a prefix or suffix");
    tpl_work(&r->c, x->n / 32);
    return x->n <= hi - lo && memcmp(s->s + (at_end ? hi - x->n : lo), x->s, x->n) == 0;
}

static tpl_val with_affix(tpl_run *r, tpl_val self, const tpl_call *a, bool at_end) {
    size_t lo, hi, lo_chars;
    bool inside = window(r, self.u.str, a->pos[1], a->pos[2], &lo, &hi, &lo_chars);
    if (a->pos[0].type != TPL_TUPLE) {
        tpl_need_str(&r->c, a->pos[0], "a prefix or suffix");
        return tpl_bool(inside && affix(r, self.u.str, lo, hi, a->pos[0], at_end));
    }
    const tpl_seq *any = a->pos[0].u.seq;
    for (size_t i = 0; i < any->n && inside; i++)
        if (affix(r, self.u.str, lo, hi, any->items[i], at_end)) return tpl_bool(true);
    return tpl_bool(false);
}
static tpl_val m_startswith(tpl_run *r, tpl_val self, const tpl_call *a) { return with_affix(r, self, a, false); }
static tpl_val m_endswith(tpl_run *r, tpl_val self, const tpl_call *a) { return with_affix(r, self, a, true); }

/* ------------------------------------------------------------------------------------------------ stripping */

static bool in_set(uint32_t cp, const char *p, size_t len, const tpl_str *set) {
    if (!set) return tpl_is_space(cp);
    return memmem(set->s, set->n, p, len) != NULL; /* whole characters: UTF-8 is self-synchronising */
}

static tpl_val strip(tpl_run *r, tpl_val self, const tpl_call *a, bool left, bool right) {
    const tpl_str *s = self.u.str, *set = given(a->pos[0]) ? tpl_need_str(&r->c, a->pos[0], "chars") : NULL;
    size_t lo = 0, hi = s->n;
    uint32_t cp = 0;
    while (left && lo < hi) {
        size_t len = tsr_utf8_decode(s->s + lo, hi - lo, &cp);
        if (!in_set(cp, s->s + lo, len, set)) break;
        lo += len;
        if (set) tpl_work(&r->c, 1 + set->n / 32);
    }
    while (right && hi > lo) {
        size_t at = hi - 1;
        while ((s->s[at] & 0xc0) == 0x80) at--;
        tsr_utf8_decode(s->s + at, hi - at, &cp);
        if (!in_set(cp, s->s + at, hi - at, set)) break;
        hi = at;
        if (set) tpl_work(&r->c, 1 + set->n / 32);
    }
    return lo == 0 && hi == s->n ? self : tpl_of_str(tpl_bytes(&r->c, s, lo, hi));
}
static tpl_val m_strip(tpl_run *r, tpl_val self, const tpl_call *a) { return strip(r, self, a, true, true); }
static tpl_val m_lstrip(tpl_run *r, tpl_val self, const tpl_call *a) { return strip(r, self, a, true, false); }
static tpl_val m_rstrip(tpl_run *r, tpl_val self, const tpl_call *a) { return strip(r, self, a, false, true); }

static tpl_val m_removeprefix(tpl_run *r, tpl_val self, const tpl_call *a) {
    const tpl_str *s = self.u.str;
    size_t n = tpl_need_str(&r->c, a->pos[0], "the prefix")->n;
    return affix(r, s, 0, s->n, a->pos[0], false) ? tpl_of_str(tpl_bytes(&r->c, s, n, s->n)) : self;
}

static tpl_val m_removesuffix(tpl_run *r, tpl_val self, const tpl_call *a) {
    const tpl_str *s = self.u.str;
    size_t n = tpl_need_str(&r->c, a->pos[0], "the suffix")->n;
    return affix(r, s, 0, s->n, a->pos[0], true) ? tpl_of_str(tpl_bytes(&r->c, s, 0, s->n - n)) : self;
}

/* ------------------------------------------------------------------------------------------------- building */

static tpl_val m_replace(tpl_run *r, tpl_val self, const tpl_call *a) {
    tpl_ctx *c = &r->c;
    const tpl_str *old = tpl_need_str(c, a->pos[0], "the text to replace"),
                  *with = tpl_need_str(c, a->pos[1], "the new text");
    int64_t max = a->pos[2].type == TPL_ABSENT ? -1 : tpl_need_int(c, a->pos[2], "count");
    if (self.u.str->markup) with = tpl_escape(c, a->pos[1]);
    return keep_markup(c, self.u.str, tpl_replace(c, self.u.str, old, with, max));
}

static tpl_val m_join(tpl_run *r, tpl_val self, const tpl_call *a) {
    tpl_ctx *c = &r->c;
    tpl_iter it = tpl_iterate(c, a->pos[0]);
    tpl_out o = {0};
    tpl_val item;
    const tpl_str *sep = self.u.str;
    for (bool first = true; tpl_next(c, &it, &item); first = false) {
        if (!first) tpl_out_add(c, &o, sep->s, sep->n);
        const tpl_str *s = sep->markup ? tpl_escape(c, item) : tpl_need_str(c, item, "an item to join");
        tpl_out_add(c, &o, s->s, s->n);
    }
    return keep_markup(c, sep, tpl_out_str(c, &o).u.str);
}

static tpl_val pad(tpl_run *r, tpl_val self, const tpl_call *a, char align) {
    tpl_ctx *c = &r->c;
    const tpl_str *s = self.u.str;
    int64_t width = tpl_need_int(c, a->pos[0], "width");
    uint32_t fill = ' ';
    if (a->pos[1].type != TPL_ABSENT) {
        const tpl_str *f = tpl_need_str(c, a->pos[1], "the fill character");
        if (f->n_chars != 1) tpl_fail(c, "the fill character must be exactly one character long");
        tsr_utf8_decode(f->s, f->n, &fill);
    }
    if (width <= (int64_t)s->n_chars) return self;
    size_t total = (size_t)width - s->n_chars, left = align == '<' ? 0 : total;
    if (align == '^') left = total / 2 + (total & (size_t)width & 1); /* as CPython rounds */
    tpl_out o = {0};
    tpl_out_fill(c, &o, fill, left);
    tpl_out_add(c, &o, s->s, s->n);
    tpl_out_fill(c, &o, fill, total - left);
    return keep_markup(c, s, tpl_out_str(c, &o).u.str);
}
static tpl_val m_ljust(tpl_run *r, tpl_val self, const tpl_call *a) { return pad(r, self, a, '<'); }
static tpl_val m_rjust(tpl_run *r, tpl_val self, const tpl_call *a) { return pad(r, self, a, '>'); }
static tpl_val m_center(tpl_run *r, tpl_val self, const tpl_call *a) { return pad(r, self, a, '^'); }

static tpl_val m_zfill(tpl_run *r, tpl_val self, const tpl_call *a) {
    tpl_ctx *c = &r->c;
    const tpl_str *s = self.u.str;
    int64_t width = tpl_need_int(c, a->pos[0], "width");
    if (width <= (int64_t)s->n_chars) return self;
    tpl_out o = {0};
    size_t sign = s->n && (s->s[0] == '-' || s->s[0] == '+');
    tpl_out_add(c, &o, s->s, sign);
    tpl_out_fill(c, &o, '0', (size_t)width - s->n_chars);
    tpl_out_add(c, &o, s->s + sign, s->n - sign);
    return keep_markup(c, s, tpl_out_str(c, &o).u.str);
}

static tpl_val m_expandtabs(tpl_run *r, tpl_val self, const tpl_call *a) {
    tpl_ctx *c = &r->c;
    const tpl_str *s = self.u.str;
    int64_t size = a->pos[0].type == TPL_ABSENT ? 8 : tpl_need_int(c, a->pos[0], "tabsize");
    tpl_out o = {0};
    size_t column = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->s[i] == '\t') {
            size_t fill = size > 0 ? (size_t)size - column % (size_t)size : 0;
            tpl_out_fill(c, &o, ' ', fill);
            column += fill;
            continue;
        }
        tpl_out_add(c, &o, s->s + i, 1);
        if (s->s[i] == '\n' || s->s[i] == '\r')
            column = 0;
        else
            column += (s->s[i] & 0xc0) != 0x80;
    }
    return keep_markup(c, s, tpl_out_str(c, &o).u.str);
}

const tpl_builtin tpl_str_methods[] = {{"strip", m_strip, "/chars?"},
                                       {"split", tpl_m_split, "sep? maxsplit?"},
                                       {"startswith", m_startswith, "/prefix start? end?"},
                                       {"endswith", m_endswith, "/suffix start? end?"},
                                       {"replace", m_replace, "/old new count?"},
                                       {"upper", m_upper, ""},
                                       {"lower", m_lower, ""},
                                       {"lstrip", m_lstrip, "/chars?"},
                                       {"rstrip", m_rstrip, "/chars?"},
                                       {"join", m_join, "/items"},
                                       {"find", m_find, "/sub start? end?"},
                                       {"rfind", m_rfind, "/sub start? end?"},
                                       {"index", m_index, "/sub start? end?"},
                                       {"rindex", m_rindex, "/sub start? end?"},
                                       {"count", m_count, "/sub start? end?"},
                                       {"title", m_title, ""},
                                       {"capitalize", m_capitalize, ""},
                                       {"swapcase", m_swapcase, ""},
                                       {"rsplit", tpl_m_rsplit, "sep? maxsplit?"},
                                       {"splitlines", tpl_m_splitlines, "keepends?"},
                                       {"partition", tpl_m_partition, "/sep"},
                                       {"rpartition", tpl_m_rpartition, "/sep"},
                                       {"format", tpl_m_format, "*"},
                                       {"removeprefix", m_removeprefix, "/prefix"},
                                       {"removesuffix", m_removesuffix, "/suffix"},
                                       {"ljust", m_ljust, "/width fill?"},
                                       {"rjust", m_rjust, "/width fill?"},
                                       {"center", m_center, "/width fill?"},
                                       {"zfill", m_zfill, "/width"},
                                       {"expandtabs", m_expandtabs, "tabsize?"},
                                       {"isalnum", m_isalnum, ""},
                                       {"isalpha", m_isalpha, ""},
                                       {"isascii", m_isascii, ""},
                                       {"isdecimal", m_isdecimal, ""},
                                       {"isdigit", m_isdigit, ""},
                                       {"isidentifier", m_isidentifier, ""},
                                       {"islower", m_islower, ""},
                                       {"isnumeric", m_isnumeric, ""},
                                       {"isprintable", m_isprintable, ""},
                                       {"isspace", m_isspace, ""},
                                       {"istitle", m_istitle, ""},
                                       {"isupper", m_isupper, ""},
                                       {NULL, NULL, NULL}};
