#include "core/error.h"

#include "core/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tsr_code tsr_fail(tsr_error *err, tsr_code code, const char *fmt, ...) {
    if (!err) return code;
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    va_end(ap);
    return code;
}

void tsr_fail_prefix(tsr_error *err, const char *fmt, ...) {
    if (!err) return;
    char prefix[512], old[sizeof err->message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    memcpy(old, err->message, sizeof old);
    int n = snprintf(err->message, sizeof err->message, "%s: ", prefix);
    snprintf(err->message + n, sizeof err->message - (size_t)n, "%s", old);
}

const char *tsr_printable(const char *s, size_t n, char *out, size_t cap) {
    size_t o = 0;
    if (cap == 0) return out;
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        size_t len = tsr_utf8_decode(s + i, n - i, &cp);
        bool plain = len > 0 && cp >= 0x20 && cp != 0x7f && !(cp >= 0x80 && cp < 0xa0);
        char piece[8];
        size_t piece_len;
        if (plain) {
            memcpy(piece, s + i, len);
            piece_len = len;
        } else {
            piece_len = (size_t)snprintf(piece, sizeof piece, "\\x%02x", (unsigned char)s[i]);
            len = 1;
        }
        size_t rest = i + len < n ? 3 : 0; /* room for "..." unless this is the last piece */
        if (o + piece_len + rest + 1 > cap) {
            for (int k = 0; k < 3 && o + 1 < cap; k++) out[o++] = '.';
            break;
        }
        memcpy(out + o, piece, piece_len);
        o += piece_len;
        i += len;
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
