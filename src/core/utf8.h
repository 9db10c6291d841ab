/* utf8.h: strict UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). */
#ifndef TSR_CORE_UTF8_H
#define TSR_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes the character at s[0..n). Returns its length 1..4, or 0 when s does not start with a whole valid one. */
size_t tsr_utf8_decode(const char *s, size_t n, uint32_t *cp);
/* Encodes cp (a valid scalar value) into out[4]; returns the length, or 0 for an invalid cp. */
size_t tsr_utf8_encode(uint32_t cp, char out[4]);
/* Length of the longest prefix of s that is whole valid characters. */
size_t tsr_utf8_valid_prefix(const char *s, size_t n);
/* True when s[0..n) could become a valid character by appending bytes (and is not one yet). */
bool tsr_utf8_incomplete(const char *s, size_t n);

#endif
