#include "core/utf8.h"

/* Length that the lead byte announces, or 0 for a byte that cannot lead. */
static size_t announced(unsigned char lead) {
    if (lead < 0x80) return 1;
    if (lead >= 0xc2 && lead <= 0xdf) return 2;
    if (lead >= 0xe0 && lead <= 0xef) return 3;
    if (lead >= 0xf0 && lead <= 0xf4) return 4;
    return 0;
}

/* Is s[i] allowed as byte i of the character that s[0] starts? (RFC 3629, section 4, table of byte ranges) */
static bool continues(const unsigned char *s, size_t i) {
    unsigned char lo = 0x80, hi = 0xbf;
    if (i == 1) {
        if (s[0] == 0xe0) lo = 0xa0;
        if (s[0] == 0xed) hi = 0x9f;
        if (s[0] == 0xf0) lo = 0x90;
        if (s[0] == 0xf4) hi = 0x8f;
    }
    return s[i] >= lo && s[i] <= hi;
}

size_t tsr_utf8_decode(const char *str, size_t n, uint32_t *cp) {
    const unsigned char *s = (const unsigned char *)str;
    if (n == 0) return 0;
    size_t len = announced(s[0]);
    if (len == 0 || len > n) return 0;
    uint32_t value = len == 1 ? s[0] : s[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if (!continues(s, i)) return 0;
        value = value << 6 | (s[i] & 0x3f);
    }
    *cp = value;
    return len;
}

size_t tsr_utf8_encode(uint32_t cp, char out[4]) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        if (cp >= 0xd800 && cp <= 0xdfff) return 0;
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    if (cp > 0x10ffff) return 0;
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

size_t tsr_utf8_valid_prefix(const char *s, size_t n) {
    size_t i = 0;
    while (i < n) {
        uint32_t cp;
        size_t len = tsr_utf8_decode(s + i, n - i, &cp);
        if (len == 0) break;
        i += len;
    }
    return i;
}

bool tsr_utf8_incomplete(const char *str, size_t n) {
    const unsigned char *s = (const unsigned char *)str;
    if (n == 0) return false;
    size_t len = announced(s[0]);
    if (len <= n) return false;
    for (size_t i = 1; i < n; i++)
        if (!continues(s, i)) return false;
    return true;
}
