/* test_gguf_hostile.c: one test per way in which a file can lie. Each must be refused with a message that names the
 * file and the key or tensor, and for the right reason. */
#include "test_gguf_image.h"

#include <time.h>

/* --------------------------------------------------------------------------------------------------- header */

static void expect_foreign(const char *bytes, size_t n, const char *needle) {
    image b = {0};
    tsr_buf_append(&b, bytes, n);
    expect_refusal(&b, TSR_E_FORMAT, "not a GGUF file", needle, NULL);
}

static void test_foreign_files(void **state) {
    (void)state;
    image b = {0};
    tsr_buf_append(&b, "", 0);
    expect_refusal(&b, TSR_E_FORMAT, "empty", NULL);
    expect_foreign("G", 1, "ends inside the magic");
    expect_foreign("GGU", 3, "ends inside the magic");
    expect_foreign("GGUX", 4, "starts with 'GGUX'");
    expect_foreign("\x10\0\0\0\0\0\0\0{\"a\":1}", 15, "safetensors");
    expect_foreign("PK\3\4abcdef", 10, "PyTorch");
    expect_foreign("\x80\2}q\0", 5, "pickle");
    expect_foreign("<!DOCTYPE html><html>", 21, "web page");
    expect_foreign("\n <HTML lang=en>", 16, "web page");
    expect_foreign("version https://git-lfs.github.com/spec/v1\n", 43, "git lfs pull");
    expect_foreign("tjgg\1\0\0\0", 8, "before GGUF");
    expect_foreign("\x1f\x8b\x08\0", 4, "gzip");
    expect_foreign("\x28\xb5\x2f\xfdzzz", 7, "Zstandard");
    expect_foreign("{\"model_type\": \"llama\"}", 23, "text file");
    expect_foreign("\0\0\0\0\0\0\0\0\0\0", 10, "unfinished download");
    expect_foreign("\x7f"
                   "ELF\2\1\1",
                   7, "program");
    expect_foreign("FUGG\0\0\0\3", 8, "big-endian");
    expect_foreign("\x1b[31m\xff\xfe", 7, "'\\x1b[31m\\xff\\xfe'"); /* nothing reaches the terminal as it is */
}

static void expect_version(uint32_t version, const char *needle) {
    image b = {0};
    put_header(&b, 0, 0);
    memcpy(b.data + 4, &version, 4);
    expect_refusal(&b, TSR_E_UNSUPPORTED, needle, NULL);
}

static void test_versions(void **state) {
    (void)state;
    expect_version(1, "version 1");
    expect_version(0, "version 0");
    expect_version(4, "newer Tessera");
    expect_version(0xffffffff, "version 4294967295");
    expect_version(0x03000000, "big-endian GGUF file (version 3)");
    expect_version(0x02000000, "big-endian GGUF file (version 2)");
}

static void test_counts(void **state) {
    (void)state;
    static const uint64_t counts[] = {
        1, 1000, 1u << 20, (1u << 20) + 1, UINT64_C(1) << 32, UINT64_C(1) << 60, UINT64_C(1) << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        tsr_code code = counts[i] > 1u << 20 ? TSR_E_LIMIT : TSR_E_FORMAT;
        image b = {0};
        put_header(&b, counts[i], 0);
        expect_refusal(&b, code, "tensors", NULL);
        put_header(&b, 0, counts[i]);
        expect_refusal(&b, code, "metadata keys", NULL);
    }
}

/* A file that ends anywhere in header, directory or data is refused, wherever that is. */
static void test_truncated_at_every_byte(void **state) {
    (void)state;
    image b = {0};
    put_header(&b, 2, 5);
    put_str_kv(&b, "general.architecture", "llama");
    put_u32_kv(&b, "llama.block_count", 2);
    put_array(&b, "strings", TSR_GGUF_STRING, 2);
    put_str(&b, "one");
    put_str(&b, "two");
    put_array(&b, "numbers", TSR_GGUF_U16, 3);
    tsr_buf_append(&b, "\1\2\3\4\5\6", 6);
    put_key(&b, "flag", TSR_GGUF_BOOL);
    tsr_buf_append(&b, "\1", 1);
    put_tensor(&b, "first", TSR_F32, 4, 2, 0);
    put_tensor(&b, "second", TSR_Q8_0, 32, 2, 32);
    put_pad(&b, 32);
    put_zeros(&b, 32 + 68);
    tsr_gguf_close(expect_accepted(&b));
    for (size_t n = 0; n < b.len; n++) {
        image cut = {0};
        tsr_buf_append(&cut, b.data, n);
        expect_refusal(&cut, TSR_E_FORMAT, NULL);
    }
    tsr_buf_free(&b);
}

/* ------------------------------------------------------------------------------------------------- metadata */

static void test_value_types(void **state) {
    (void)state;
    for (uint32_t type = TSR_GGUF_VTYPE_COUNT; type; type = type == TSR_GGUF_VTYPE_COUNT ? UINT32_MAX : 0) {
        image b = {0};
        put_header(&b, 0, 1);
        put_key(&b, "the.key", type);
        put_zeros(&b, 64);
        expect_refusal(&b, TSR_E_FORMAT, "key 'the.key'", "unknown value type", NULL);
        put_header(&b, 0, 1);
        put_array(&b, "the.key", type, 1);
        put_zeros(&b, 64);
        expect_refusal(&b, TSR_E_FORMAT, "key 'the.key'", "array of the unknown value type", NULL);
    }
}

static void test_nested_array(void **state) {
    (void)state;
    image b = {0};
    put_header(&b, 0, 1);
    put_array(&b, "the.key", TSR_GGUF_ARRAY, 1);
    for (int depth = 0; depth < 1000; depth++) {
        put32(&b, TSR_GGUF_ARRAY);
        put64(&b, 1);
    }
    expect_refusal(&b, TSR_E_UNSUPPORTED, "key 'the.key'", "array of arrays", NULL);
}

static void test_key_names(void **state) {
    (void)state;
    image b = {0};
    put_header(&b, 0, 1);
    put_u32_kv(&b, "", 1);
    put_zeros(&b, 8);
    expect_refusal(&b, TSR_E_FORMAT, "metadata key 1 of 1 is empty", NULL);

    put_header(&b, 0, 2);
    put_u32_kv(&b, "a", 1);
    put_bytes(&b, "x\0y", 3);
    put_zeros(&b, 8);
    expect_refusal(&b, TSR_E_FORMAT, "metadata key 2 of 2", "NUL", "'x\\x00y'", NULL);

    static const uint64_t lengths[] = {65536, UINT64_C(1) << 40, UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        put_header(&b, 0, 1);
        put64(&b, lengths[i]);
        put_zeros(&b, 70000);
        expect_refusal(&b, TSR_E_FORMAT, "metadata key 1 of 1", "allows 65535", NULL);
    }
    put_header(&b, 0, 1);
    put64(&b, 65535); /* allowed, but not there */
    put_zeros(&b, 60000);
    expect_refusal(&b, TSR_E_FORMAT, "metadata key 1 of 1", "truncated", NULL);
}

static void test_string_lengths(void **state) {
    (void)state;
    static const uint64_t lengths[] = {65, UINT64_C(1) << 40, UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        image b = {0};
        put_header(&b, 0, 1);
        put_key(&b, "the.key", TSR_GGUF_STRING);
        put64(&b, lengths[i]);
        put_zeros(&b, 64);
        expect_refusal(&b, TSR_E_FORMAT, "key 'the.key'", "truncated", NULL);
        put_header(&b, 0, 1);
        put_array(&b, "the.key", TSR_GGUF_STRING, 2);
        put_str(&b, "fine");
        put64(&b, lengths[i]);
        put_zeros(&b, 64);
        expect_refusal(&b, TSR_E_FORMAT, "key 'the.key'", "truncated", NULL);
    }
}

/* Array lengths whose byte count wraps to something small, or that ask for more memory than there is. */
static void test_array_lengths(void **state) {
    (void)state;
    static const uint64_t lengths[] = {
        65,        UINT64_C(1) << 31, UINT64_C(1) << 61, (UINT64_C(1) << 61) + 1, UINT64_C(1) << 62, UINT64_C(1) << 63,
        UINT64_MAX};
    for (uint32_t elem = 0; elem < TSR_GGUF_VTYPE_COUNT; elem++) {
        if (elem == TSR_GGUF_ARRAY) continue;
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            image b = {0};
            put_header(&b, 0, 1);
            put_array(&b, "the.key", elem, lengths[i]);
            put_zeros(&b, 64);
            expect_refusal(&b, TSR_E_FORMAT, "key 'the.key'", "truncated", NULL);
        }
    }
}

static void test_bool_values(void **state) {
    (void)state;
    image b = {0};
    put_header(&b, 0, 1);
    put_key(&b, "the.key", TSR_GGUF_BOOL);
    tsr_buf_append(&b, "\2", 1);
    expect_refusal(&b, TSR_E_FORMAT, "key 'the.key' holds 2 as a bool", NULL);
    put_header(&b, 0, 1);
    put_array(&b, "the.key", TSR_GGUF_BOOL, 3);
    tsr_buf_append(&b, "\0\1\xff", 3);
    expect_refusal(&b, TSR_E_FORMAT, "key 'the.key' holds 255 as a bool", NULL);
}

static void test_duplicate_keys(void **state) {
    (void)state;
    image b = {0};
    put_header(&b, 0, 3);
    put_u32_kv(&b, "twice", 1);
    put_u32_kv(&b, "once", 1);
    put_str_kv(&b, "twice", "x");
    expect_refusal(&b, TSR_E_FORMAT, "key 'twice' occurs twice", NULL);
}

static void test_alignment(void **state) {
    (void)state;
    static const uint32_t bad[] = {0, 1, 2, 3, 4, 7, 12, 24, 33, 48, 1u << 25, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        image b = {0};
        put_header(&b, 1, 1);
        put_u32_kv(&b, "general.alignment", bad[i]);
        put_tensor(&b, "t", TSR_F32, 1, 0, 0);
        put_zeros(&b, 4096);
        expect_refusal(&b, TSR_E_FORMAT, "'general.alignment'", "power of two", NULL);
    }
    image b = {0};
    put_header(&b, 0, 1);
    put_key(&b, "general.alignment", TSR_GGUF_U64);
    put64(&b, 32);
    expect_refusal(&b, TSR_E_FORMAT, "'general.alignment' is of type u64, must be u32", NULL);
    put_header(&b, 0, 1);
    put_str_kv(&b, "general.alignment", "32");
    expect_refusal(&b, TSR_E_FORMAT, "'general.alignment' is of type str", NULL);
    put_header(&b, 0, 1);
    put_array(&b, "general.alignment", TSR_GGUF_U32, 0); /* no value to read */
    put_zeros(&b, 8);
    expect_refusal(&b, TSR_E_FORMAT, "'general.alignment' is of type arr", NULL);
    put_header(&b, 1, 1); /* the largest alignment puts the data beyond the end */
    put_u32_kv(&b, "general.alignment", 1u << 24);
    put_tensor(&b, "t", TSR_F32, 1, 0, 0);
    put_zeros(&b, 4096);
    expect_refusal(&b, TSR_E_FORMAT, "tensor 't'", "ends beyond the file", NULL);
}

/* -------------------------------------------------------------------------------------------------- tensors */

static void test_tensor_types(void **state) {
    (void)state;
    static const uint32_t unknown[] = {4, 5, 31, 36, 41, 77, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        char number[32];
        snprintf(number, sizeof number, "type %u is unknown", unknown[i]);
        image b = {0};
        put_header(&b, 1, 0);
        put_tensor(&b, "the.tensor", unknown[i], 32, 0, 0);
        put_zeros(&b, 256);
        expect_refusal(&b, TSR_E_UNSUPPORTED, "tensor 'the.tensor'", number, NULL);
    }
    image b = {0}; /* known, though nothing computes with it: the reader's business ends at its size */
    put_header(&b, 1, 0);
    put_tensor(&b, "t", TSR_IQ1_S, 256, 0, 0);
    put_pad(&b, 32);
    put_zeros(&b, 50);
    tsr_gguf_close(expect_accepted(&b));
    tsr_buf_free(&b);
}

static void test_tensor_names(void **state) {
    (void)state;
    image b = {0};
    put_header(&b, 1, 0);
    put_tensor(&b, "", TSR_F32, 1, 0, 0);
    put_zeros(&b, 64);
    expect_refusal(&b, TSR_E_FORMAT, "tensor 1 of 1 is empty", NULL);
    put_header(&b, 1, 0);
    put_bytes(&b, "a\0b", 3);
    put_zeros(&b, 64);
    expect_refusal(&b, TSR_E_FORMAT, "tensor 1 of 1", "NUL", NULL);
    char name[66];
    memset(name, 'n', 65);
    name[65] = '\0';
    put_header(&b, 1, 0);
    put_tensor(&b, name, TSR_F32, 1, 0, 0);
    put_zeros(&b, 64);
    expect_refusal(&b, TSR_E_FORMAT, "tensor 1 of 1 has 65 bytes, GGUF allows 64", NULL);
    put_header(&b, 1, 0);
    put64(&b, UINT64_MAX);
    put_zeros(&b, 64);
    expect_refusal(&b, TSR_E_FORMAT, "tensor 1 of 1 has 18446744073709551615 bytes", NULL);
    put_header(&b, 1, 0);
    put_tensor(&b, name + 1, TSR_F32, 1, 0, 0);
    put_pad(&b, 32);
    put_zeros(&b, 4);
    tsr_gguf_close(expect_accepted(&b));
    tsr_buf_free(&b);
    put_header(&b, 1, 0);
    put_tensor(&b, "evil\x1b[2J\n", TSR_F32, 0, 0, 0); /* names are shown, not obeyed */
    put_zeros(&b, 64);
    expect_refusal(&b, TSR_E_FORMAT, "'evil\\x1b[2J\\x0a'", NULL);
}

static void test_duplicate_tensors(void **state) {
    (void)state;
    image b = {0};
    put_header(&b, 3, 0);
    put_tensor(&b, "twice", TSR_F32, 1, 0, 0);
    put_tensor(&b, "once", TSR_F32, 1, 0, 32);
    put_tensor(&b, "twice", TSR_F32, 1, 0, 64);
    put_pad(&b, 32);
    put_zeros(&b, 96);
    expect_refusal(&b, TSR_E_FORMAT, "tensor 'twice' occurs twice", NULL);
}

static void test_dimension_counts(void **state) {
    (void)state;
    static const uint32_t counts[] = {0, 5, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        image b = {0};
        put_header(&b, 1, 0);
        put_str(&b, "the.tensor");
        put32(&b, counts[i]);
        put_zeros(&b, 256);
        expect_refusal(&b, TSR_E_FORMAT, "tensor 'the.tensor'", "dimensions, must be 1 to 4", NULL);
    }
}

/* A tensor of up to four dimensions and some data; expects a refusal that says `needle`. */
static void expect_shape_refusal(uint32_t type, const uint64_t ne[4], const char *needle) {
    image b = {0};
    put_header(&b, 1, 0);
    put_str(&b, "the.tensor");
    put32(&b, 4);
    for (int d = 0; d < 4; d++) put64(&b, ne[d]);
    put32(&b, type);
    put64(&b, 0);
    put_zeros(&b, 4096);
    expect_refusal(&b, TSR_E_FORMAT, "tensor 'the.tensor'", needle, NULL);
}

static void test_dimensions(void **state) {
    (void)state;
    const uint64_t big = UINT64_C(1) << 32;
    expect_shape_refusal(TSR_F32, (uint64_t[]){0, 1, 1, 1}, "dimension 0 is 0");
    expect_shape_refusal(TSR_F32, (uint64_t[]){1, 1, 1, 0}, "dimension 3 is 0");
    expect_shape_refusal(TSR_F32, (uint64_t[]){1, UINT64_C(1) << 63, 1, 1}, "dimension 1 is 922");
    expect_shape_refusal(TSR_F32, (uint64_t[]){UINT64_MAX, UINT64_MAX, 1, 1}, "dimension 0 is 18446744073709551615");
    expect_shape_refusal(TSR_F32, (uint64_t[]){big, big, 1, 1}, "more elements");     /* product 2^64 = 0 */
    expect_shape_refusal(TSR_F32, (uint64_t[]){big, big, big, big}, "more elements"); /* 2^128 */
    expect_shape_refusal(TSR_F32, (uint64_t[]){big, big / 2, 1, 1}, "more elements"); /* 2^63 */
    expect_shape_refusal(TSR_F32, (uint64_t[]){big, big / 4, 1, 1}, "more bytes");    /* 2^62 * 4 = 0 */
    expect_shape_refusal(TSR_F64, (uint64_t[]){big, big / 8, 1, 1}, "more bytes");    /* 2^61 * 8 = 0 */
    expect_shape_refusal(TSR_Q8_0, (uint64_t[]){big, big / 4, 1, 1}, "ends beyond");  /* 2^62 / 32 * 34 fits */
    expect_shape_refusal(TSR_Q8_0, (uint64_t[]){INT64_MAX - 31, 1, 1, 1}, "more bytes");
    expect_shape_refusal(TSR_Q8_0, (uint64_t[]){33, 1, 1, 1}, "rows of 33 weights, but Q8_0 comes in blocks of 32");
    expect_shape_refusal(TSR_Q4_K, (uint64_t[]){32, 8, 1, 1}, "rows of 32 weights, but Q4_K comes in blocks of 256");
    expect_shape_refusal(TSR_I8, (uint64_t[]){INT64_MAX, 1, 1, 1}, "ends beyond the file");
}

static void expect_offset_refusal(uint64_t offset, size_t data, const char *needle) {
    image b = {0};
    put_header(&b, 1, 0);
    put_tensor(&b, "the.tensor", TSR_F32, 16, 0, offset); /* 64 bytes */
    put_pad(&b, 32);
    put_zeros(&b, data);
    expect_refusal(&b, TSR_E_FORMAT, "tensor 'the.tensor'", needle, NULL);
}

static void test_offsets(void **state) {
    (void)state;
    expect_offset_refusal(0, 63, "ends beyond the file");
    expect_offset_refusal(0, 0, "ends beyond the file");
    expect_offset_refusal(32, 64, "ends beyond the file");
    expect_offset_refusal(64, 64, "ends beyond the file");
    expect_offset_refusal(96, 64, "ends beyond the file");
    expect_offset_refusal(UINT64_C(1) << 63, 64, "ends beyond the file");
    expect_offset_refusal(UINT64_MAX - 31, 64, "ends beyond the file");  /* offset + size wraps to 32 */
    expect_offset_refusal(UINT64_MAX - 63, 64, "ends beyond the file");  /* ... to 0 */
    expect_offset_refusal(UINT64_MAX - 127, 64, "ends beyond the file"); /* data start + offset points at the header */
    expect_offset_refusal(1, 128, "not a multiple of the alignment 32");
    expect_offset_refusal(16, 128, "not a multiple of the alignment 32");
    expect_offset_refusal(UINT64_MAX, 128, "not a multiple of the alignment 32");
}

static void test_overlap(void **state) {
    (void)state;
    static const uint64_t offsets[][2] = {{0, 0}, {0, 32}, {32, 0}, {64, 32}};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        image b = {0};
        put_header(&b, 2, 0);
        put_tensor(&b, "one", TSR_F32, 16, 0, offsets[i][0]);
        put_tensor(&b, "two", TSR_F32, 16, 0, offsets[i][1]);
        put_pad(&b, 32);
        put_zeros(&b, 256);
        expect_refusal(&b, TSR_E_FORMAT, "'one'", "'two'", "overlap", NULL);
    }
}

static void test_long_path_and_null_error(void **state) {
    (void)state;
    char path[5000];
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    tsr_error err = {0};
    assert_null(tsr_gguf_parse("GGUF\1\0\0\0", 8, path, &err));
    assert_non_null(strstr(err.message, "version 1")); /* the path gave way */
    assert_null(tsr_gguf_parse("GGUF\1\0\0\0", 8, "", NULL));
    assert_null(tsr_gguf_parse("nope", 4, "\xff\n", &err));
    assert_non_null(strstr(err.message, "\\xff\\x0a: "));
}

/* -------------------------------------------------------------------------------------------------- expense */

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Many keys and tensors with long common beginnings: quadratic work would take minutes here. */
static void test_many_names(void **state) {
    (void)state;
    enum { N = 200000 };
    image b = {0};
    char name[40];
    put_header(&b, N, N);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "some.common.beginning.%d", i);
        put_u32_kv(&b, name, (uint32_t)i);
    }
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "some.common.beginning.%d", i);
        put_tensor(&b, name, TSR_I8, 1, 0, (uint64_t)(N - 1 - i) * 32); /* offsets in the worst order, too */
    }
    put_pad(&b, 32);
    put_zeros(&b, (size_t)N * 32);
    double start = cpu_seconds();
    tsr_gguf *g = expect_accepted(&b);
    for (int i = 0; i < N; i += 7) {
        snprintf(name, sizeof name, "some.common.beginning.%d", i);
        assert_int_equal(tsr_gguf_int(tsr_gguf_find(g, name), 0), i);
        assert_ptr_equal(tsr_gguf_find_tensor(g, name), &g->tensors[i]);
    }
    assert_true(cpu_seconds() - start < 20); /* a second or so under sanitizers; quadratic would be minutes */
    tsr_gguf_close(g);
    tsr_buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foreign_files),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_truncated_at_every_byte),
        cmocka_unit_test(test_value_types),
        cmocka_unit_test(test_nested_array),
        cmocka_unit_test(test_key_names),
        cmocka_unit_test(test_string_lengths),
        cmocka_unit_test(test_array_lengths),
        cmocka_unit_test(test_bool_values),
        cmocka_unit_test(test_duplicate_keys),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_tensor_types),
        cmocka_unit_test(test_tensor_names),
        cmocka_unit_test(test_duplicate_tensors),
        cmocka_unit_test(test_dimension_counts),
        cmocka_unit_test(test_dimensions),
        cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_long_path_and_null_error),
        cmocka_unit_test(test_many_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
