/* globals.c: functions that every template may call. */
#include "text/jinja/methods.h"

#include <string.h>

enum { MAX_RANGE = 100000 }; /* as Jinja's sandbox */

static tpl_val g_range(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)self;
    tpl_ctx *c = &r->c;
    bool one = a->pos[1].type == TPL_ABSENT;
    int64_t start = one ? 0 : tpl_need_int(c, a->pos[0], "range() start"), n = 0;
    int64_t stop = tpl_need_int(c, a->pos[!one], "range() stop");
    int64_t step = a->pos[2].type == TPL_ABSENT ? 1 : tpl_need_int(c, a->pos[2], "range() step");
    if (step == 0) tpl_fail(c, "range() step must not be zero");
    uint64_t by = step < 0 ? 0 - (uint64_t)step : (uint64_t)step, span = 0;
    if (step > 0 && stop > start) span = (uint64_t)stop - (uint64_t)start;
    if (step < 0 && stop < start) span = (uint64_t)start - (uint64_t)stop;
    if (span) {
        if ((span - 1) / by >= MAX_RANGE) tpl_fail_limit(c, "range of more than %d items", (int)MAX_RANGE);
        n = (int64_t)((span - 1) / by) + 1;
    }
    tpl_range *g = tpl_alloc(c, sizeof *g);
    *g = (tpl_range){start, stop, n <= 1 ? 1 : step, (size_t)n};
    return (tpl_val){.type = TPL_RANGE, .u.range = g};
}

static tpl_val g_dict(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)self;
    tpl_dict *d = tpl_dict_new(&r->c);
    tpl_dict_update(r, d, a, "dict");
    return tpl_of_dict(d);
}

static tpl_val g_namespace(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)self;
    tpl_dict *d = tpl_dict_new(&r->c);
    tpl_dict_update(r, d, a, "namespace");
    return (tpl_val){.type = TPL_NAMESPACE, .u.dict = d};
}

static tpl_val g_raise_exception(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)self;
    char message[800];
    const tpl_str *s = tpl_to_str(&r->c, a->pos[0]);
    tpl_fail(&r->c, "%s", tsr_printable(s->s, s->n, message, sizeof message));
}

static tpl_val g_strftime_now(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)self;
    tpl_ctx *c = &r->c;
    const tpl_str *format = tpl_need_str(c, a->pos[0], "the format of strftime_now()");
    if (format->n > 1000 || memchr(format->s, '\0', format->n)) tpl_fail(c, "strftime_now(): format too long");
    struct tm now;
    if (!localtime_r(&r->now, &now)) tpl_fail(c, "strftime_now(): the time is out of range");
    char text[8192], fmt[1002];
    memcpy(fmt, format->s, format->n);
    memcpy(fmt + format->n, ".", 2); /* so that an empty result is told from an overlong one */
    size_t n = strftime(text, sizeof text, fmt, &now);
    if (n == 0) tpl_fail(c, "strftime_now(): result too long");
    return tpl_of_str(tpl_str_copy(c, text, n - 1));
}

static tpl_val g_cycler(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)self;
    tpl_ctx *c = &r->c;
    if (a->n_pos == 0 || a->n_named) tpl_fail(c, "cycler() takes one or more items");
    tpl_cycler *y = tpl_alloc(c, sizeof *y);
    y->items = tpl_seq_new(c, a->n_pos);
    for (size_t i = 0; i < a->n_pos; i++) tpl_seq_push(c, y->items, a->pos[i]);
    return (tpl_val){.type = TPL_CYCLER, .u.cycler = y};
}

static tpl_val g_joiner(tpl_run *r, tpl_val self, const tpl_call *a) {
    (void)self;
    tpl_joiner *j = tpl_alloc(&r->c, sizeof *j);
    j->sep = a->pos[0].type == TPL_ABSENT ? tpl_text(&r->c, ", ").u.str : tpl_to_str(&r->c, a->pos[0]);
    return (tpl_val){.type = TPL_JOINER, .u.joiner = j};
}

static const tpl_builtin globals[] = {
    {"range", g_range, "/start stop? step?"}, {"dict", g_dict, "*"}, {"namespace", g_namespace, "*"},
    {"raise_exception", g_raise_exception, "message"}, {"strftime_now", g_strftime_now, "format"},
    {"cycler", g_cycler, "*"}, {"joiner", g_joiner, "sep?"}, {NULL, NULL, NULL}};

const tpl_builtin *tpl_find_global(const char *name, size_t n) { return tpl_find_in(globals, name, n); }
