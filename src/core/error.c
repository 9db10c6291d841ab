#include "core/error.h"

#include "core/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends a message that was too long with "...", not in the middle of a character. */
static void mark_cut(tsr_error *err) {
    size_t n = sizeof err->message - sizeof "...";
    while (n > 0 && (err->message[n] & 0xc0) == 0x80) n--; /* a byte that continues a character */
    memcpy(err->message + n, "...", sizeof "...");
}

tsr_code tsr_fail(tsr_error *err, tsr_code code, const char *fmt, ...) {
    if (!err) return code;
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    int n = vsnprintf(err->message, sizeof err->message, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof err->message) mark_cut(err);
    return code;
}

void tsr_fail_prefix(tsr_error *err, const char *fmt, ...) {
    if (!err) return;
    char prefix[sizeof err->message / 2], old[sizeof err->message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    memcpy(old, err->message, sizeof old);
    int n = snprintf(err->message, sizeof err->message, "%s: ", prefix);
    size_t rest = sizeof err->message - (size_t)n;
    if (snprintf(err->message + n, rest, "%s", old) >= (int)rest) mark_cut(err);
}

/* Not for a terminal or a log: control characters, line and paragraph separators, and the marks that reorder text. */
static bool prints(uint32_t cp) {
    if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) return false;
    return !(cp >= 0x2028 && cp <= 0x202e) && !(cp >= 0x2066 && cp <= 0x2069);
}

const char *tsr_printable(const char *s, size_t n, char *out, size_t cap) {
    size_t o = 0, cut = 0; /* cut: the last end of a piece that has room for "..." behind it */
    if (cap == 0) return out;
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        size_t len = tsr_utf8_decode(s + i, n - i, &cp);
        bool plain = len > 0 && prints(cp);
        char piece[8];
        size_t piece_len;
        if (plain) {
            memcpy(piece, s + i, len);
            piece_len = len;
        } else {
            piece_len = (size_t)snprintf(piece, sizeof piece, "\\x%02x", (unsigned char)s[i]);
            len = 1;
        }
        if (o + piece_len >= cap) {
            o = cut;
            while (o < cut + 3 && o + 1 < cap) out[o++] = '.';
            break;
        }
        memcpy(out + o, piece, piece_len);
        o += piece_len;
        i += len;
        if (o + sizeof "..." <= cap) cut = o;
    }
    out[o] = '\0';
    return out;
}

const char *tsr_code_name(tsr_code code) {
    switch (code) {
    case TSR_OK: return "ok";
    case TSR_E_ARG: return "argument";
    case TSR_E_NOMEM: return "memory";
    case TSR_E_IO: return "io";
    case TSR_E_FORMAT: return "format";
    case TSR_E_UNSUPPORTED: return "unsupported";
    case TSR_E_LIMIT: return "limit";
    case TSR_E_TEMPLATE: return "template";
    case TSR_E_CANCELLED: return "cancelled";
    }
    return "unknown";
}

const char *tsr_version(void) { return TSR_VERSION; }

void tsr_free(void *p) { free(p); }
