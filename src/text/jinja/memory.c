/* memory.c: the arena, the budgets, and how errors leave. */
#include "text/jinja/template.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tpl_chunk {
    tpl_chunk *next;
    _Alignas(16) char bytes[];
};

enum { CHUNK = 64 * 1024 };

void *tpl_alloc(tpl_ctx *c, size_t n) {
    if (n > c->limit - c->used)
        tpl_fail_limit(c,
                       "the template needs more than %zu MiB of memory; it is probably building something without end",
                       c->limit >> 20);
    n = (n + 15) & ~(size_t)15;
    if (n > (size_t)(c->bump_end - c->bump)) {
        size_t size = n > CHUNK / 4 ? n : CHUNK; /* big ones get a chunk of their own */
        tpl_chunk *chunk = calloc(1, sizeof *chunk + size);
        if (!chunk) {
            tsr_fail(c->err, TSR_E_NOMEM, "out of memory for a chat template (%zu bytes)", size);
            longjmp(c->on_error, 1);
        }
        chunk->next = c->chunks;
        c->chunks = chunk;
        if (size == n) {
            c->used += n;
            return chunk->bytes;
        }
        c->bump = chunk->bytes;
        c->bump_end = chunk->bytes + size;
    }
    void *p = c->bump;
    c->bump += n;
    c->used = n > c->limit - c->used ? c->limit : c->used + n;
    return p;
}

void *tpl_array(tpl_ctx *c, size_t n, size_t size) {
    return tpl_alloc(c, n > SIZE_MAX / 2 / size ? SIZE_MAX / 2 : n * size);
}

void *tpl_grow(tpl_ctx *c, void *old, size_t n_old, size_t n_new, size_t size) {
    void *p = tpl_array(c, n_new, size);
    if (n_old) memcpy(p, old, n_old * size);
    return p;
}

void tpl_free_all(tpl_ctx *c) {
    for (tpl_chunk *chunk = c->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    c->chunks = NULL;
    c->bump = c->bump_end = NULL;
}

void tpl_work(tpl_ctx *c, size_t n) {
    c->steps += n;
    if (c->steps > c->max_steps)
        tpl_fail_limit(c, "the template takes more than %llu steps; it is probably looping without end",
                       (unsigned long long)c->max_steps);
}

void tpl_enter(tpl_ctx *c) {
    if (++c->depth > c->max_depth) tpl_fail_limit(c, "nested more than %d levels deep", c->max_depth);
}

/* Line and column (in characters) count from 1. */
static _Noreturn void fail(tpl_ctx *c, tsr_code code, size_t at, const char *fmt, va_list ap) {
    size_t line = 1, column = 1;
    if (at > c->n_source) at = c->n_source;
    for (size_t i = 0; i < at; i++) {
        if (c->source[i] == '\n') {
            line++;
            column = 1;
        } else if ((c->source[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    char message[900];
    vsnprintf(message, sizeof message, fmt, ap);
    tsr_fail(c->err, code, "template line %zu, column %zu: %s", line, column, message);
    longjmp(c->on_error, 1);
}

void tpl_fail(tpl_ctx *c, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fail(c, TSR_E_TEMPLATE, c->at, fmt, ap);
    va_end(ap);
}

void tpl_fail_at(tpl_ctx *c, size_t at, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fail(c, TSR_E_TEMPLATE, at, fmt, ap);
    va_end(ap);
}

void tpl_fail_limit(tpl_ctx *c, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fail(c, TSR_E_LIMIT, c->at, fmt, ap);
    va_end(ap);
}
