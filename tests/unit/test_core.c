/* Errors, byte strings, UTF-8. UTF-8 is checked against the set of all valid sequences, built from the definition. */
#include "core/buf.h"
#include "core/error.h"
#include "core/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ----------------------------------------------------------------------------------------------------- errors */

static void test_fail(void **state) {
    (void)state;
    tsr_error err = {0};
    assert_int_equal(tsr_fail(&err, TSR_E_FORMAT, "%s: version %d", "a.gguf", 9), TSR_E_FORMAT);
    assert_int_equal(err.code, TSR_E_FORMAT);
    assert_string_equal(err.message, "a.gguf: version 9");
    assert_int_equal(tsr_fail(NULL, TSR_E_IO, "x"), TSR_E_IO);
    tsr_fail_prefix(&err, "part %d", 2);
    assert_int_equal(err.code, TSR_E_FORMAT);
    assert_string_equal(err.message, "part 2: a.gguf: version 9");
    tsr_fail_prefix(NULL, "part %d", 2);
}

/* Messages of every length around the limit, of characters of every length: valid, terminated, cuts are marked. */
static void test_long_messages(void **state) {
    (void)state;
    static const char *const characters[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x99\x82"};
    enum { CAP = sizeof((tsr_error *)0)->message };
    for (size_t c = 0; c < 4; c++) {
        for (size_t lead = 0; lead < 4; lead++) {
            char text[3 * CAP] = "xxx";
            size_t n = lead, width = strlen(characters[c]);
            for (; n < CAP + 8; n += width) {
                memcpy(text + n, characters[c], width);
                text[n + width] = '\0';
                if (n + width < CAP - 8) continue;
                tsr_error err;
                memset(&err, 'z', sizeof err);
                tsr_fail(&err, TSR_E_LIMIT, "%s", text);
                size_t len = strnlen(err.message, CAP);
                assert_in_range(len, CAP - 8, CAP - 1);
                assert_int_equal(tsr_utf8_valid_prefix(err.message, len), len);
                if (n + width < CAP) {
                    assert_string_equal(err.message, text);
                } else {
                    assert_string_equal(err.message + len - 3, "...");
                    assert_memory_equal(err.message, text, len - 3);
                }
                tsr_fail_prefix(&err, "%s", text); /* both halves too long */
                len = strnlen(err.message, CAP);
                assert_in_range(len, CAP - 8, CAP - 1);
                assert_string_equal(err.message + len - 3, "...");
            }
        }
    }
}

static void test_code_names(void **state) {
    (void)state;
    for (int k = TSR_OK; k <= TSR_E_CANCELLED; k++) {
        assert_string_not_equal(tsr_code_name((tsr_code)k), "unknown");
        for (int j = TSR_OK; j < k; j++)
            assert_string_not_equal(tsr_code_name((tsr_code)k), tsr_code_name((tsr_code)j));
    }
    assert_string_equal(tsr_code_name((tsr_code)(TSR_E_CANCELLED + 1)), "unknown");
    assert_string_equal(tsr_code_name((tsr_code)-1), "unknown");
    assert_true(tsr_version()[0] >= '0' && tsr_version()[0] <= '9');
    tsr_free(NULL);
}

/* ------------------------------------------------------------------------------------------------- printable */

static void printable(const char *in, size_t n, size_t cap, const char *want) {
    char *out = malloc(cap); /* exactly cap bytes, so that the sanitizer sees a write past them */
    assert_ptr_equal(tsr_printable(in, n, out, cap), out);
    assert_string_equal(out, want);
    free(out);
}

static void test_printable(void **state) {
    (void)state;
    printable("", 0, 1, "");
    printable(NULL, 0, 8, "");
    printable("plain ~ text", 12, 13, "plain ~ text");
    printable("a\nb\t\x7f\x1b[31m\0z", 12, 64, "a\\x0ab\\x09\\x7f\\x1b[31m\\x00z");
    printable("\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82", 9, 10, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82");
    printable("\xff\xc3(\xe2\x82", 5, 64, "\\xff\\xc3(\\xe2\\x82");
    printable("\xc2\x9b\x31m", 4, 64, "\\xc2\\x9b1m"); /* C1 control: CSI */
    printable("\xe2\x80\xae\xe2\x81\xa6", 6, 64,
              "\\xe2\\x80\\xae\\xe2\\x81\\xa6");                              /* right-to-left override, isolate */
    printable("\xe2\x80\xa8", 3, 64, "\\xe2\\x80\\xa8");                      /* line separator */
    printable("\xe2\x80\xa7\xe2\x80\xaf", 6, 64, "\xe2\x80\xa7\xe2\x80\xaf"); /* their neighbours are plain */
    printable("abcdef", 6, 7, "abcdef");
    printable("abcdef", 6, 6, "ab...");
    printable("abcdef", 6, 4, "...");
    printable("abcdef", 6, 3, "..");
    printable("abcdef", 6, 1, "");
    printable("ab\xc3\xa9", 4, 5, "ab\xc3\xa9");
    printable("ab\xc3\xa9zz", 6, 6, "ab...");
    char untouched = 'u';
    tsr_printable("abc", 3, &untouched, 0);
    assert_int_equal(untouched, 'u');
}

/* Random bytes at every capacity: terminated, printable, valid, and a proper prefix plus "..." when cut. */
static void test_printable_random(void **state) {
    (void)state;
    uint32_t seed = 12345;
    for (int round = 0; round < 2000; round++) {
        char in[24], whole[128], out[128];
        size_t n = (size_t)round % sizeof in;
        for (size_t k = 0; k < n; k++) {
            seed = seed * 1664525 + 1013904223;
            in[k] = (char)(seed >> 24);
        }
        tsr_printable(in, n, whole, sizeof whole);
        size_t len = strlen(whole);
        assert_int_equal(tsr_utf8_valid_prefix(whole, len), len);
        for (size_t k = 0; k < len; k++) assert_true((unsigned char)whole[k] >= 0x20 && whole[k] != 0x7f);
        for (size_t cap = 1; cap <= len + 2; cap++) {
            memset(out, 'z', sizeof out);
            tsr_printable(in, n, out, cap);
            size_t m = strlen(out);
            assert_true(m < cap);
            if (cap > len) {
                assert_string_equal(out, whole);
            } else if (cap >= 4) {
                assert_string_equal(out + m - 3, "...");
                assert_memory_equal(out, whole, m - 3);
            }
            assert_int_equal(out[cap], 'z');
        }
    }
}

/* ------------------------------------------------------------------------------------------------------- utf8 */

/* valid[n]: the n-byte strings that are one character; begins[n]: those that are the start of a longer one. */
static unsigned char *valid[4], *begins[4];

static void mark(unsigned char *set, uint32_t k) { set[k / 8] |= (unsigned char)(1 << k % 8); }

static bool in_set(const unsigned char *set, uint32_t k) { return set[k / 8] >> k % 8 & 1; }

/* The definition: the bits of cp in the shortest form that holds them. Returns the length. */
static size_t define(uint32_t cp, unsigned char s[4]) {
    if (cp < 0x80) {
        s[0] = (unsigned char)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t k = n; k-- > 1; cp /= 64) s[k] = (unsigned char)(128 + cp % 64);
    s[0] = (unsigned char)((n == 2 ? 192 : n == 3 ? 224 : 240) + cp);
    return n;
}

static bool is_surrogate(uint32_t cp) { return cp >= 0xd800 && cp <= 0xdfff; }

static void test_utf8_characters(void **state) {
    (void)state;
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        unsigned char want[4];
        char out[4];
        if (is_surrogate(cp)) {
            assert_int_equal(tsr_utf8_encode(cp, out), 0);
            continue;
        }
        size_t n = define(cp, want);
        uint32_t back = ~0u;
        if (tsr_utf8_encode(cp, out) != n || memcmp(out, want, n) != 0 || tsr_utf8_decode(out, n, &back) != n ||
            back != cp)
            fail_msg("U+%04X: wrong there or back", cp);
        for (size_t k = 0; k < n; k++) /* a part is no character, but could become one */
            if (tsr_utf8_decode(out, k, &back) != 0 || tsr_utf8_incomplete(out, k) != (k > 0) ||
                tsr_utf8_valid_prefix(out, k) != 0)
                fail_msg("U+%04X: wrong for its first %zu bytes", cp, k);
        if (tsr_utf8_incomplete(out, n)) fail_msg("U+%04X: whole, yet incomplete", cp);
    }
    char out[4];
    assert_int_equal(tsr_utf8_encode(0x110000, out), 0);
    assert_int_equal(tsr_utf8_encode(UINT32_MAX, out), 0);
}

static void build_sets(void) {
    for (int n = 1; n <= 3; n++) {
        valid[n] = calloc(1, ((size_t)1 << 8 * n) / 8);
        begins[n] = calloc(1, ((size_t)1 << 8 * n) / 8);
        assert_non_null(valid[n]);
        assert_non_null(begins[n]);
    }
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        unsigned char s[4];
        if (is_surrogate(cp)) continue;
        size_t n = define(cp, s);
        uint32_t key = 0;
        for (size_t k = 1; k <= n && k <= 3; k++) {
            key = key << 8 | s[k - 1];
            mark(k == n ? valid[k] : begins[k], key);
        }
    }
}

/* key: the bytes of an n-byte string, big-endian. */
static void check_string(uint32_t key, size_t n) {
    const unsigned char bytes[3] = {(unsigned char)(key >> 16), (unsigned char)(key >> 8), (unsigned char)key};
    const char *s = (const char *)bytes + 3 - n;
    size_t want = 0;
    uint32_t cp;
    for (size_t k = n; k >= 1; k--)
        if (in_set(valid[k], key >> 8 * (n - k))) want = k;
    if (tsr_utf8_decode(s, n, &cp) != want) fail_msg("decode of %0*x: not %zu", (int)(2 * n), key, want);
    if (tsr_utf8_incomplete(s, n) != in_set(begins[n], key)) fail_msg("incomplete of %0*x", (int)(2 * n), key);
}

/* Every string of up to 3 bytes; 4-byte characters are covered by their 3-byte starts and the test above. */
static void test_utf8_all_strings(void **state) {
    (void)state;
    build_sets();
    for (size_t n = 1; n <= 3; n++)
        for (uint32_t key = 0; key < (uint32_t)1 << 8 * n; key++) check_string(key, n);
    for (int n = 1; n <= 3; n++) {
        free(valid[n]);
        free(begins[n]);
    }
}

static void test_utf8_fourth_byte(void **state) {
    (void)state;
    for (int last = 0; last < 256; last++) {
        char s[4] = {'\xf0', '\x9f', '\x99', (char)last};
        uint32_t cp = 0;
        bool good = last >= 0x80 && last <= 0xbf;
        assert_int_equal(tsr_utf8_decode(s, 4, &cp), good ? 4 : 0);
        if (good) assert_int_equal(cp, 0x1f640 + last - 0x80);
        assert_false(tsr_utf8_incomplete(s, 4));
    }
}

static void test_valid_prefix(void **state) {
    (void)state;
    assert_int_equal(tsr_utf8_valid_prefix("", 0), 0);
    assert_int_equal(tsr_utf8_valid_prefix("ab\0c", 4), 4);
    assert_int_equal(tsr_utf8_valid_prefix("a\xc3\xa9\xe2\x82", 5), 3);
    assert_int_equal(tsr_utf8_valid_prefix("a\x80z", 3), 1);
    assert_false(tsr_utf8_incomplete("", 0));
    assert_false(tsr_utf8_incomplete("\x80", 1));
    assert_false(tsr_utf8_incomplete("\xed\xa0", 2)); /* would be a surrogate */
    assert_false(tsr_utf8_incomplete("a\xc3", 2));    /* asks about the character at s[0] */
}

/* -------------------------------------------------------------------------------------------------------- buf */

static void test_buf(void **state) {
    (void)state;
    tsr_buf b = {0};
    tsr_buf_append(&b, NULL, 0);
    assert_string_equal(b.data, "");
    tsr_buf_puts(&b, "ab");
    tsr_buf_putc(&b, '\0');
    tsr_buf_append(&b, "cd", 2);
    tsr_buf_printf(&b, "-%d%s", 42, "!");
    assert_int_equal(b.len, 9);
    assert_memory_equal(b.data, "ab\0cd-42!", 10);
    tsr_buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    assert_true(b.cap > 0);
    for (int k = 0; k < 5000; k++) { /* grows through many sizes; every length is terminated */
        tsr_buf_putc(&b, (char)('a' + k % 26));
        assert_int_equal(b.data[b.len], '\0');
    }
    for (int k = 0; k < 5000; k++) assert_int_equal(b.data[k], 'a' + k % 26);
    size_t n = 0;
    char *s = tsr_buf_take(&b, &n);
    assert_int_equal(n, 5000);
    assert_int_equal(strlen(s), 5000);
    assert_true(!b.data && b.len == 0 && b.cap == 0 && !b.oom);
    tsr_free(s);
    s = tsr_buf_take(&b, NULL); /* empty: still a string */
    assert_string_equal(s, "");
    tsr_free(s);
    tsr_buf_clear(&b);
    tsr_buf_free(&b);
    tsr_buf_free(&b);
}

static void test_buf_printf_sizes(void **state) {
    (void)state;
    for (int n = 0; n < 300; n++) { /* formatted text that just fits, and just does not */
        tsr_buf b = {0};
        tsr_buf_puts(&b, "x");
        tsr_buf_printf(&b, "%*d", n, 7);
        assert_int_equal(b.len, 1 + (n > 1 ? n : 1));
        assert_int_equal(b.data[b.len - 1], '7');
        assert_int_equal(b.data[b.len], '\0');
        tsr_buf_free(&b);
    }
}

static void test_buf_oom(void **state) {
    (void)state;
    volatile size_t too_much[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 - 4}; /* refused before malloc is asked */
    for (size_t k = 0; k < 3; k++) {
        tsr_buf b = {0};
        tsr_buf_puts(&b, "kept");
        tsr_buf_append(&b, "", too_much[k]); /* fails before it reads */
        assert_true(b.oom);
        tsr_buf_puts(&b, "no-op");
        tsr_buf_printf(&b, "%d", 1);
        tsr_buf_putc(&b, 'x');
        assert_int_equal(b.len, 4);
        assert_string_equal(b.data, "kept");
        tsr_buf_clear(&b);
        assert_true(b.oom); /* sticky */
        size_t n = 9;
        assert_null(tsr_buf_take(&b, &n));
        assert_int_equal(n, 0);
        assert_false(b.oom); /* a new start */
    }
    tsr_buf b = {0};
    tsr_buf_printf(&b, "%lc", 0x20ac); /* printf itself fails: no such character in the C locale */
    assert_true(b.oom);
    tsr_buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_long_messages),
        cmocka_unit_test(test_code_names),
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_printable_random),
        cmocka_unit_test(test_utf8_characters),
        cmocka_unit_test(test_utf8_all_strings),
        cmocka_unit_test(test_utf8_fourth_byte),
        cmocka_unit_test(test_valid_prefix),
        cmocka_unit_test(test_buf),
        cmocka_unit_test(test_buf_printf_sizes),
        cmocka_unit_test(test_buf_oom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
