#include "core/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FILE = 16 << 20 };

static bool reserve(tsr_buf *b, size_t more) {
    if (b->oom) return false;
    if (more >= SIZE_MAX / 2 - b->len) {
        b->oom = true;
        return false;
    }
    size_t need = b->len + more + 1;
    if (need <= b->cap) return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need) cap *= 2;
    char *data = realloc(b->data, cap);
    if (!data) {
        b->oom = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void tsr_buf_append(tsr_buf *b, const void *bytes, size_t n) {
    if (!reserve(b, n)) return;
    if (n) memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void tsr_buf_puts(tsr_buf *b, const char *s) { tsr_buf_append(b, s, strlen(s)); }

void tsr_buf_putc(tsr_buf *b, char c) { tsr_buf_append(b, &c, 1); }

void tsr_buf_printf(tsr_buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) b->oom = true; /* printf failed: sticky too, so that nothing is lost in silence */
    if (!reserve(b, n < 0 ? 0 : (size_t)n)) return;
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

void tsr_buf_clear(tsr_buf *b) {
    b->len = 0;
    if (b->data) b->data[0] = '\0';
}

void tsr_buf_free(tsr_buf *b) {
    free(b->data);
    *b = (tsr_buf){0};
}

char *tsr_buf_take(tsr_buf *b, size_t *n) {
    tsr_buf_append(b, "", 0); /* an empty buffer still yields a string */
    char *data = b->data;
    if (n) *n = b->len;
    if (b->oom) {
        free(data);
        data = NULL;
        if (n) *n = 0;
    }
    *b = (tsr_buf){0};
    return data;
}

bool tsr_buf_read_file(tsr_buf *b, const char *path) {
    tsr_buf_clear(b);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    char chunk[4096];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0) tsr_buf_append(b, chunk, (size_t)n);
        if (b->oom || b->len > MAX_FILE) break;
    }
    close(fd);
    return n == 0 && b->data && !b->oom;
}
