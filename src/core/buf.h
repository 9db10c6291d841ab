/* buf.h: a growable byte string. Zero-initialise to start. Out of memory (or a failing printf) is sticky: appends
 * become no-ops and `oom` stays set, so a writer checks once at its end. data is NUL-terminated after any successful
 * append. */
#ifndef TSR_CORE_BUF_H
#define TSR_CORE_BUF_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tsr_buf {
    char *data;
    size_t len, cap;
    bool oom;
} tsr_buf;

/* bytes and arguments must not point into the buffer itself: it may move. */
void tsr_buf_append(tsr_buf *b, const void *bytes, size_t n);
void tsr_buf_puts(tsr_buf *b, const char *s);
void tsr_buf_putc(tsr_buf *b, char c);
void tsr_buf_printf(tsr_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Replaces what is in b by the file, of at most 16 MiB; those under /proc and /sys have no size beforehand. False when it cannot be read. */
bool tsr_buf_read_file(tsr_buf *b, const char *path);
void tsr_buf_clear(tsr_buf *b); /* length 0, memory kept */
void tsr_buf_free(tsr_buf *b);  /* releases memory and zeroes *b */
/* Hands the malloc'ed, NUL-terminated bytes to the caller and zeroes *b. NULL when out of memory. */
char *tsr_buf_take(tsr_buf *b, size_t *n);

#endif
