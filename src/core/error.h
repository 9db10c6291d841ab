/* error.h: how every room reports failure. */
#ifndef TSR_CORE_ERROR_H
#define TSR_CORE_ERROR_H

#include "tessera.h"

/* Writes code and a printf-formatted one-line message into *err (if err is not NULL) and returns code, so that
 * `return tsr_fail(err, TSR_E_FORMAT, "%s: bad magic", path);` reads naturally. An overlong message ends in "...".
 * Arguments must not point into *err. Bytes from files must be made printable first: see tsr_printable(). */
tsr_code tsr_fail(tsr_error *err, tsr_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the message already in *err. */
void tsr_fail_prefix(tsr_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Copies up to n bytes of hostile text into out[cap] as printable ASCII plus valid UTF-8; control characters, line
 * separators, marks that reorder text and invalid bytes become \xNN, and a cut is shown as "...". Returns out, always
 * NUL-terminated. */
const char *tsr_printable(const char *s, size_t n, char *out, size_t cap);

#endif
