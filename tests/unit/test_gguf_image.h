/* test_gguf_image.h: builds GGUF file images, right and wrong, byte by byte. Independent of src/gguf. */
#ifndef TEST_GGUF_IMAGE_H
#define TEST_GGUF_IMAGE_H

#include "core/buf.h"
#include "gguf/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

typedef tsr_buf image;

static inline void put32(image *b, uint32_t v) { tsr_buf_append(b, &v, sizeof v); }
static inline void put64(image *b, uint64_t v) { tsr_buf_append(b, &v, sizeof v); }
static inline void put_bytes(image *b, const char *s, size_t n) {
    put64(b, n);
    tsr_buf_append(b, s, n);
}
static inline void put_str(image *b, const char *s) { put_bytes(b, s, strlen(s)); }
static inline void put_header(image *b, uint64_t n_tensors, uint64_t n_kv) {
    tsr_buf_puts(b, "GGUF");
    put32(b, 3);
    put64(b, n_tensors);
    put64(b, n_kv);
}
static inline void put_key(image *b, const char *key, uint32_t type) {
    put_str(b, key);
    put32(b, type);
}
static inline void put_u32_kv(image *b, const char *key, uint32_t v) {
    put_key(b, key, TSR_GGUF_U32);
    put32(b, v);
}
static inline void put_str_kv(image *b, const char *key, const char *v) {
    put_key(b, key, TSR_GGUF_STRING);
    put_str(b, v);
}
static inline void put_array(image *b, const char *key, uint32_t elem, uint64_t n) {
    put_key(b, key, TSR_GGUF_ARRAY);
    put32(b, elem);
    put64(b, n);
}
/* A tensor's directory entry; ne0 x ne1 when ne1 > 0. */
static inline void put_tensor(image *b, const char *name, uint32_t type, uint64_t ne0, uint64_t ne1, uint64_t offset) {
    put_str(b, name);
    put32(b, ne1 ? 2 : 1);
    put64(b, ne0);
    if (ne1) put64(b, ne1);
    put32(b, type);
    put64(b, offset);
}
static inline void put_pad(image *b, size_t alignment) {
    while (b->len % alignment) tsr_buf_putc(b, '\0');
}
static inline void put_zeros(image *b, size_t n) {
    for (size_t i = 0; i < n; i++) tsr_buf_putc(b, '\0');
}

/* The image as a whole model file in exactly-sized heap memory, so that AddressSanitizer sees a byte read too far. */
static inline tsr_gguf *parse_exact(const char *bytes, size_t n, tsr_error *err, void **copy) {
    *copy = malloc(n ? n : 1);
    assert_non_null(*copy);
    if (n) memcpy(*copy, bytes, n);
    *err = (tsr_error){0};
    return tsr_gguf_parse(*copy, n, "dir/model.gguf", err);
}

/* The image must be refused with this code and a message of one line with the file's name and all of the needles (the
 * last one is NULL). Frees the image. */
static inline void expect_refusal(image *b, tsr_code code, ...) {
    tsr_error err;
    void *copy;
    assert_false(b->oom);
    tsr_gguf *g = parse_exact(b->data, b->len, &err, &copy);
    if (g) fail_msg("accepted");
    if (!strstr(err.message, "dir/model.gguf: ")) fail_msg("no file name in '%s'", err.message);
    if (strchr(err.message, '\n')) fail_msg("more than a line: '%s'", err.message);
    va_list ap;
    va_start(ap, code);
    for (const char *needle; (needle = va_arg(ap, const char *)) != NULL;)
        if (!strstr(err.message, needle)) fail_msg("no '%s' in '%s'", needle, err.message);
    va_end(ap);
    if (err.code != code) fail_msg("code %d for '%s'", (int)err.code, err.message);
    free(copy);
    tsr_buf_free(b);
}

/* The image must be accepted. It must outlive the result. */
static inline tsr_gguf *expect_accepted(const image *b) {
    tsr_error err = {0};
    assert_false(b->oom);
    tsr_gguf *g = tsr_gguf_parse(b->data, b->len, "dir/model.gguf", &err);
    if (!g) fail_msg("refused: %s", err.message);
    return g;
}

/* Writes bytes to dir/name; returns the path, the caller's. */
static inline char *write_file(const char *dir, const char *name, const void *bytes, size_t n) {
    size_t cap = strlen(dir) + strlen(name) + 2;
    char *path = malloc(cap);
    assert_non_null(path);
    snprintf(path, cap, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

static inline char *new_dir(void) {
    char *dir = strdup("/tmp/tessera-test-XXXXXX");
    assert_non_null(dir);
    assert_non_null(mkdtemp(dir));
    return dir;
}

#endif
