/* string.c: strings, counted and cut in characters. */
#include "text/jinja/value.h"

#include "core/utf8.h"

#include <string.h>

size_t tpl_count_chars(const char *s, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += (s[i] & 0xc0) != 0x80;
    return count;
}

static tpl_str *wrap(tpl_ctx *c, const char *s, size_t n, size_t n_chars) {
    tpl_str *str = tpl_alloc(c, sizeof *str);
    str->s = s;
    str->n = n;
    str->n_chars = n_chars;
    return str;
}

tpl_str *tpl_str_wrap(tpl_ctx *c, const char *s, size_t n) {
    tpl_work(c, n / 64);
    return wrap(c, s, n, tpl_count_chars(s, n));
}

tpl_str *tpl_str_copy(tpl_ctx *c, const char *s, size_t n) {
    char *copy = tpl_alloc(c, n + 1);
    if (n) memcpy(copy, s, n);
    return tpl_str_wrap(c, copy, n);
}

tpl_str *tpl_str_as_markup(tpl_ctx *c, const tpl_str *s, bool markup) {
    tpl_str *copy = wrap(c, s->s, s->n, s->n_chars);
    copy->markup = markup;
    return copy;
}

/* A copy of a in a buffer with as much room again, so that repeated appending is linear. */
static const tpl_str *with_room(tpl_ctx *c, const tpl_str *a, size_t more) {
    tpl_work(c, a->n / 64);
    tpl_room *room = tpl_alloc(c, sizeof *room);
    room->spare = a->n + 2 * more;
    char *bytes = tpl_array(c, a->n + room->spare + 1, 1);
    if (a->n) memcpy(bytes, a->s, a->n);
    room->end = bytes + a->n;
    tpl_str *copy = wrap(c, bytes, a->n, a->n_chars);
    copy->room = room;
    return copy;
}

tpl_str *tpl_str_concat(tpl_ctx *c, const tpl_str *a, const tpl_str *b) {
    tpl_work(c, b->n / 64);
    if (!a->room || a->room->end != a->s + a->n || a->room->spare < b->n) a = with_room(c, a, b->n);
    if (b->n) memcpy((char *)a->s + a->n, b->s, b->n);
    a->room->end += b->n;
    a->room->spare -= b->n;
    tpl_str *joined = wrap(c, a->s, a->n + b->n, a->n_chars + b->n_chars);
    joined->room = a->room;
    return joined;
}

tpl_val tpl_take(tpl_ctx *c, const char *s, size_t n) { return tpl_of_str(tpl_str_wrap(c, s, n)); }

tpl_val tpl_text(tpl_ctx *c, const char *literal) { return tpl_take(c, literal, strlen(literal)); }

bool tpl_str_eq(const tpl_str *a, const tpl_str *b) {
    return a->n == b->n && (a->s == b->s || memcmp(a->s, b->s, a->n) == 0);
}

size_t tpl_char_offset(tpl_ctx *c, const tpl_str *s, size_t index) {
    if (s->n == s->n_chars || index == 0) return index;
    if (index >= s->n_chars) return s->n;
    tpl_work(c, index / 32);
    size_t i = 0;
    while (index) {
        i++;
        if ((s->s[i] & 0xc0) != 0x80) index--;
    }
    return i;
}

tpl_str *tpl_bytes(tpl_ctx *c, const tpl_str *s, size_t from, size_t to) {
    bool ascii = s->n == s->n_chars;
    if (!ascii) tpl_work(c, (to - from) / 64);
    tpl_str *part = wrap(c, s->s + from, to - from, ascii ? to - from : tpl_count_chars(s->s + from, to - from));
    part->markup = s->markup;
    return part;
}

tpl_str *tpl_substr(tpl_ctx *c, const tpl_str *s, size_t from, size_t to) {
    if (to < from) to = from;
    return tpl_bytes(c, s, tpl_char_offset(c, s, from), tpl_char_offset(c, s, to));
}

size_t tpl_find_bytes(tpl_ctx *c, const char *hay, size_t n, const char *needle, size_t m) {
    if (m == 0) return 0;
    if (m > n) return SIZE_MAX;
    const char *p = memmem(hay, n, needle, m);
    tpl_work(c, 1 + (p ? (size_t)(p - hay) : n) / 8);
    return p ? (size_t)(p - hay) : SIZE_MAX;
}

/* Python's "abc".replace("", "-") puts the new text between all characters. */
static const tpl_str *interleave(tpl_ctx *c, const tpl_str *s, const tpl_str *with, uint64_t max) {
    tpl_out o = {0};
    size_t i = 0;
    while (max > 0) {
        tpl_out_add(c, &o, with->s, with->n);
        max--;
        if (i >= s->n) break;
        size_t len = 1;
        while (i + len < s->n && (s->s[i + len] & 0xc0) == 0x80) len++;
        tpl_out_add(c, &o, s->s + i, len);
        i += len;
    }
    tpl_out_add(c, &o, s->s + i, s->n - i);
    return tpl_out_str(c, &o).u.str;
}

const tpl_str *tpl_replace(tpl_ctx *c, const tpl_str *s, const tpl_str *old, const tpl_str *with, int64_t max) {
    uint64_t left = max < 0 ? UINT64_MAX : (uint64_t)max;
    if (old->n == 0) return interleave(c, s, with, left);
    tpl_out o = {0};
    size_t i = 0, at;
    bool changed = false;
    while (left && (at = tpl_find_bytes(c, s->s + i, s->n - i, old->s, old->n)) != SIZE_MAX) {
        tpl_out_add(c, &o, s->s + i, at);
        tpl_out_add(c, &o, with->s, with->n);
        i += at + old->n;
        left--;
        changed = true;
    }
    if (!changed) return s;
    tpl_out_add(c, &o, s->s + i, s->n - i);
    return tpl_out_str(c, &o).u.str;
}

const tpl_str *tpl_escape(tpl_ctx *c, tpl_val v) {
    const tpl_str *s = tpl_soft_str(c, v);
    if (s->markup) return s;
    tpl_out o = {0};
    for (size_t i = 0; i < s->n; i++) {
        switch (s->s[i]) {
        case '&': tpl_out_puts(c, &o, "&amp;"); break;
        case '<': tpl_out_puts(c, &o, "&lt;"); break;
        case '>': tpl_out_puts(c, &o, "&gt;"); break;
        case '\'': tpl_out_puts(c, &o, "&#39;"); break;
        case '"': tpl_out_puts(c, &o, "&#34;"); break;
        default: tpl_out_add(c, &o, s->s + i, 1);
        }
    }
    return tpl_str_as_markup(c, tpl_out_str(c, &o).u.str, true);
}

/* ---------------------------------------------------------------------------------------------- growing */

void tpl_out_add(tpl_ctx *c, tpl_out *o, const char *s, size_t n) {
    if (n >= o->cap - o->n || !o->s) {
        size_t cap = o->cap ? o->cap : 32;
        while (cap <= o->n + n) cap = cap > SIZE_MAX / 4 ? SIZE_MAX / 2 : cap * 2;
        o->s = tpl_grow(c, o->s, o->n, cap, 1);
        o->cap = cap;
    }
    if (n) memcpy(o->s + o->n, s, n);
    o->n += n;
}

void tpl_out_puts(tpl_ctx *c, tpl_out *o, const char *s) { tpl_out_add(c, o, s, strlen(s)); }

void tpl_out_fill(tpl_ctx *c, tpl_out *o, uint32_t cp, size_t count) {
    char utf8[4];
    size_t len = tsr_utf8_encode(cp, utf8);
    if (count > c->limit) tpl_fail_limit(c, "string of %zu characters is too long", count);
    tpl_work(c, count / 8);
    while (count--) tpl_out_add(c, o, utf8, len);
}

tpl_val tpl_out_str(tpl_ctx *c, tpl_out *o) {
    tpl_val v = tpl_take(c, o->s ? o->s : "", o->n);
    *o = (tpl_out){0};
    return v;
}
