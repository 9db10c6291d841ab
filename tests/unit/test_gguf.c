/* test_gguf.c: what the reader makes of good images, and the typed getters. */
#include "test_gguf_image.h"

#include <math.h>

/* Every value type once, arrays, two tensors. */
static image good_image(void) {
    image b = {0};
    put_header(&b, 2, 15);
    put_str_kv(&b, "general.architecture", "llama");
    put_key(&b, "k.u8", TSR_GGUF_U8);
    tsr_buf_append(&b, "\xff", 1);
    put_key(&b, "k.i8", TSR_GGUF_I8);
    tsr_buf_append(&b, "\x80", 1);
    put_key(&b, "k.u16", TSR_GGUF_U16);
    tsr_buf_append(&b, "\xff\xfe", 2);
    put_key(&b, "k.i16", TSR_GGUF_I16);
    tsr_buf_append(&b, "\xff\xff", 2);
    put_u32_kv(&b, "k.u32", 4000000000u);
    put_key(&b, "k.i32", TSR_GGUF_I32);
    put32(&b, (uint32_t)-5);
    put_key(&b, "k.f32", TSR_GGUF_F32);
    float f = 0.1f;
    tsr_buf_append(&b, &f, sizeof f);
    put_key(&b, "k.bool", TSR_GGUF_BOOL);
    tsr_buf_append(&b, "\1", 1);
    put_key(&b, "k.u64", TSR_GGUF_U64);
    put64(&b, UINT64_MAX);
    put_key(&b, "k.i64", TSR_GGUF_I64);
    put64(&b, (uint64_t)INT64_MIN);
    put_key(&b, "k.f64", TSR_GGUF_F64);
    double d = -1.5e300;
    tsr_buf_append(&b, &d, sizeof d);
    put_array(&b, "a.i32", TSR_GGUF_I32, 3);
    put32(&b, 1);
    put32(&b, (uint32_t)-2);
    put32(&b, 3);
    put_array(&b, "a.str", TSR_GGUF_STRING, 3);
    put_str(&b, "a");
    put_str(&b, "");
    put_bytes(&b, "x\0y", 3);
    put_array(&b, "a.empty", TSR_GGUF_F32, 0);
    put_tensor(&b, "t.one", TSR_F32, 3, 2, 0);
    put_tensor(&b, "t.two", TSR_Q8_0, 64, 0, 32);
    put_pad(&b, 32);
    put_zeros(&b, 32 + 68);
    return b;
}

static void test_reads_everything(void **state) {
    (void)state;
    image b = good_image();
    tsr_gguf *g = expect_accepted(&b);
    assert_int_equal(g->version, 3);
    assert_int_equal(g->alignment, 32);
    assert_int_equal(g->n_files, 1);
    assert_int_equal(g->n_kv, 15);
    assert_int_equal(g->n_tensors, 2);
    assert_string_equal(g->kv[1].key, "k.u8");
    const tsr_gguf_tensor *one = tsr_gguf_find_tensor(g, "t.one"), *two = tsr_gguf_find_tensor(g, "t.two");
    assert_ptr_equal(one, &g->tensors[0]);
    assert_ptr_equal(two, &g->tensors[1]);
    assert_int_equal(one->n_dims, 2);
    assert_int_equal(one->ne[0], 3);
    assert_int_equal(one->ne[1], 2);
    assert_int_equal(one->ne[2], 1);
    assert_int_equal(one->ne[3], 1);
    assert_int_equal(one->n_elems, 6);
    assert_int_equal(one->n_bytes, 24);
    assert_int_equal(one->offset % 32, 0);
    assert_int_equal(two->type, TSR_Q8_0);
    assert_int_equal(two->n_bytes, 68);
    assert_int_equal(two->offset, one->offset + 32);
    assert_int_equal(two->offset + two->n_bytes, b.len);
    assert_ptr_equal(two->data, b.data + two->offset);
    assert_null(tsr_gguf_find(g, "k.u"));
    assert_null(tsr_gguf_find(g, ""));
    assert_null(tsr_gguf_find_tensor(g, "k.u8"));
    tsr_gguf_close(g);
    tsr_buf_free(&b);
}

static void expect_text(const tsr_gguf *g, const char *key, size_t max, const char *want) {
    tsr_buf out = {0};
    const tsr_gguf_kv *kv = tsr_gguf_find(g, key);
    assert_non_null(kv);
    tsr_gguf_format(kv, max, &out);
    assert_string_equal(out.data, want);
    tsr_buf_free(&out);
}

static void test_formats(void **state) {
    (void)state;
    image b = good_image();
    tsr_gguf *g = expect_accepted(&b);
    expect_text(g, "general.architecture", 9, "llama");
    expect_text(g, "k.u8", 9, "255");
    expect_text(g, "k.i8", 9, "-128");
    expect_text(g, "k.u16", 9, "65279");
    expect_text(g, "k.i16", 9, "-1");
    expect_text(g, "k.u32", 9, "4000000000");
    expect_text(g, "k.i32", 9, "-5");
    expect_text(g, "k.f32", 9, "0.1");
    expect_text(g, "k.bool", 9, "true");
    expect_text(g, "k.u64", 9, "18446744073709551615");
    expect_text(g, "k.i64", 9, "-9223372036854775808");
    expect_text(g, "k.f64", 9, "-1.5e+300");
    expect_text(g, "a.i32", 9, "[1, -2, 3]");
    expect_text(g, "a.i32", 3, "[1, -2, 3]");
    expect_text(g, "a.i32", 2, "[1, -2, ...]");
    expect_text(g, "a.i32", 0, "[...]");
    expect_text(g, "a.empty", 0, "[]");
    expect_text(g, "a.str", 2, "[a, , ...]");
    const tsr_gguf_kv *strings = tsr_gguf_find(g, "a.str");
    assert_int_equal(strings->n, 3);
    assert_int_equal(strings->strings[2].n, 3);
    assert_memory_equal(strings->strings[2].s, "x\0y", 3);
    assert_string_equal(tsr_gguf_vtype_name(TSR_GGUF_STRING), "str");
    assert_string_equal(tsr_gguf_vtype_name((tsr_gguf_vtype)77), "unknown");
    tsr_gguf_close(g);
    tsr_buf_free(&b);
}

static void expect_int(const tsr_gguf *g, const char *key, int64_t min, int64_t max, int64_t want) {
    tsr_error err = {0};
    int64_t v = 42;
    if (tsr_gguf_get_int(g, key, min, max, &v, &err) != TSR_OK) fail_msg("%s", err.message);
    assert_int_equal(v, want);
}

static void expect_no_int(const tsr_gguf *g, const char *key, int64_t min, int64_t max, const char *needle) {
    tsr_error err = {0};
    int64_t v = 42;
    assert_int_equal(tsr_gguf_get_int(g, key, min, max, &v, &err), TSR_E_FORMAT);
    assert_int_equal(err.code, TSR_E_FORMAT);
    assert_int_equal(v, 42);
    if (!strstr(err.message, needle) || !strstr(err.message, key)) fail_msg("'%s'", err.message);
}

static void test_integers(void **state) {
    (void)state;
    image b = good_image();
    tsr_gguf *g = expect_accepted(&b);
    expect_int(g, "k.u8", 0, 255, 255);
    expect_int(g, "k.i8", -128, 0, -128);
    expect_int(g, "k.u16", 0, INT64_MAX, 65279);
    expect_int(g, "k.i16", INT64_MIN, INT64_MAX, -1);
    expect_int(g, "k.u32", 0, INT64_MAX, 4000000000);
    expect_int(g, "k.i32", -5, -5, -5);
    expect_int(g, "k.i64", INT64_MIN, INT64_MAX, INT64_MIN);
    expect_no_int(g, "k.u8", 0, 254, "is 255, must be from 0 to 254");
    expect_no_int(g, "k.i32", 0, 9, "is -5");
    expect_no_int(g, "k.u64", INT64_MIN, INT64_MAX, "18446744073709551615");
    expect_no_int(g, "k.f32", 0, 9, "f32");
    expect_no_int(g, "k.bool", 0, 9, "bool");
    expect_no_int(g, "general.architecture", 0, 9, "str");
    expect_no_int(g, "a.i32", 0, 9, "array of i32");
    expect_no_int(g, "absent", 0, 9, "is missing");
    int64_t v = 42;
    tsr_error err = {0};
    assert_int_equal(tsr_gguf_opt_int(g, "absent", 0, 9, &v, &err), TSR_OK);
    assert_int_equal(v, 42);
    assert_int_equal(tsr_gguf_opt_int(g, "k.u8", 0, 9, &v, NULL), TSR_E_FORMAT);

    assert_int_equal(tsr_gguf_int(tsr_gguf_find(g, "a.i32"), 1), -2);
    assert_int_equal(tsr_gguf_int(tsr_gguf_find(g, "a.i32"), 3), 0);
    assert_int_equal(tsr_gguf_int(tsr_gguf_find(g, "k.u64"), 0), INT64_MAX);
    assert_int_equal(tsr_gguf_int(tsr_gguf_find(g, "k.f64"), 0), INT64_MIN);
    assert_int_equal(tsr_gguf_int(tsr_gguf_find(g, "general.architecture"), 0), 0);
    assert_true(tsr_gguf_num(tsr_gguf_find(g, "k.u64"), 0) == 0x1p64);
    assert_true(tsr_gguf_num(tsr_gguf_find(g, "a.i32"), 1) == -2.0);
    tsr_gguf_close(g);
    tsr_buf_free(&b);
}

static void test_other_getters(void **state) {
    (void)state;
    image b = good_image();
    tsr_gguf *g = expect_accepted(&b);
    tsr_error err = {0};
    float f = 7;
    assert_int_equal(tsr_gguf_opt_f32(g, "k.f32", &f, &err), TSR_OK);
    assert_true(f == 0.1f);
    assert_int_equal(tsr_gguf_opt_f32(g, "k.i32", &f, &err), TSR_OK);
    assert_true(f == -5.0f);
    assert_int_equal(tsr_gguf_opt_f32(g, "absent", &f, &err), TSR_OK);
    assert_true(f == -5.0f);
    assert_int_equal(tsr_gguf_opt_f32(g, "k.f64", &f, &err), TSR_E_FORMAT); /* -inf as a float */
    assert_non_null(strstr(err.message, "finite"));
    assert_int_equal(tsr_gguf_opt_f32(g, "k.bool", &f, &err), TSR_E_FORMAT);
    assert_int_equal(tsr_gguf_opt_f32(g, "a.i32", &f, &err), TSR_E_FORMAT);
    assert_true(f == -5.0f);

    bool flag = false;
    assert_int_equal(tsr_gguf_opt_bool(g, "k.bool", &flag, &err), TSR_OK);
    assert_true(flag);
    assert_int_equal(tsr_gguf_opt_bool(g, "absent", &flag, &err), TSR_OK);
    assert_true(flag);
    assert_int_equal(tsr_gguf_opt_bool(g, "k.u8", &flag, &err), TSR_E_FORMAT);

    tsr_str s = {0};
    assert_int_equal(tsr_gguf_opt_str(g, "absent", &s, &err), TSR_OK);
    assert_null(s.s);
    assert_int_equal(tsr_gguf_opt_str(g, "general.architecture", &s, &err), TSR_OK);
    assert_int_equal(s.n, 5);
    assert_memory_equal(s.s, "llama", 5);
    assert_int_equal(tsr_gguf_opt_str(g, "a.str", &s, &err), TSR_E_FORMAT);
    assert_non_null(strstr(err.message, "array of str"));
    tsr_gguf_close(g);
    tsr_buf_free(&b);
}

static void test_arrays(void **state) {
    (void)state;
    image b = good_image();
    tsr_gguf *g = expect_accepted(&b);
    tsr_error err = {0};
    const tsr_gguf_kv *kv = NULL;
    assert_int_equal(tsr_gguf_opt_array(g, "a.str", TSR_GGUF_STRING, 3, &kv, &err), TSR_OK);
    assert_ptr_equal(kv, tsr_gguf_find(g, "a.str"));
    assert_int_equal(tsr_gguf_opt_array(g, "a.str", TSR_GGUF_STRING, 4, &kv, &err), TSR_E_FORMAT);
    assert_null(kv);
    assert_non_null(strstr(err.message, "key 'a.str' has 3 elements, must have 4"));
    assert_int_equal(tsr_gguf_opt_array(g, "a.str", TSR_GGUF_I32, 0, &kv, &err), TSR_E_FORMAT);
    assert_non_null(strstr(err.message, "array of str, must be array of i32"));
    assert_int_equal(tsr_gguf_opt_array(g, "k.i32", TSR_GGUF_I32, 0, &kv, &err), TSR_E_FORMAT);
    assert_int_equal(tsr_gguf_opt_array(g, "a.empty", TSR_GGUF_F32, 0, &kv, &err), TSR_OK);
    assert_int_equal(kv->n, 0);
    assert_int_equal(tsr_gguf_opt_array(g, "absent", TSR_GGUF_F32, 5, &kv, &err), TSR_OK);
    assert_null(kv);
    tsr_gguf_close(g);
    tsr_buf_free(&b);
}

static void test_non_finite(void **state) {
    (void)state;
    image b = {0};
    put_header(&b, 0, 2);
    put_key(&b, "nan", TSR_GGUF_F32);
    float f = NAN;
    tsr_buf_append(&b, &f, sizeof f);
    put_key(&b, "inf", TSR_GGUF_F64);
    double d = INFINITY;
    tsr_buf_append(&b, &d, sizeof d);
    tsr_gguf *g = expect_accepted(&b);
    assert_int_equal(tsr_gguf_opt_f32(g, "nan", &f, NULL), TSR_E_FORMAT);
    assert_int_equal(tsr_gguf_opt_f32(g, "inf", &f, NULL), TSR_E_FORMAT);
    assert_int_equal(tsr_gguf_int(tsr_gguf_find(g, "nan"), 0), 0);
    assert_int_equal(tsr_gguf_int(tsr_gguf_find(g, "inf"), 0), INT64_MAX);
    expect_text(g, "inf", 1, "inf");
    tsr_gguf_close(g);
    tsr_buf_free(&b);
}

static void test_alignment_is_obeyed(void **state) {
    (void)state;
    for (uint32_t alignment = 8; alignment <= 4096; alignment *= 2) {
        image b = {0};
        put_header(&b, 2, 1);
        put_u32_kv(&b, "general.alignment", alignment);
        put_tensor(&b, "a", TSR_F32, 1, 0, 0);
        put_tensor(&b, "b", TSR_F32, 1, 0, alignment);
        put_pad(&b, alignment);
        put_zeros(&b, alignment + 4); /* the last tensor's padding may be missing */
        tsr_gguf *g = expect_accepted(&b);
        assert_int_equal(g->alignment, alignment);
        assert_int_equal(g->tensors[1].offset, b.len - 4);
        tsr_gguf_close(g);
        tsr_buf_free(&b);
    }
}

static void test_version_2_and_gaps(void **state) {
    (void)state;
    image b = {0};
    put_header(&b, 2, 0);
    b.data[4] = 2;
    put_tensor(&b, "late", TSR_F16, 16, 0, 64); /* out of order, with a hole between */
    put_tensor(&b, "early", TSR_F16, 2, 0, 0);
    put_pad(&b, 32);
    put_zeros(&b, 96);
    tsr_gguf *g = expect_accepted(&b);
    assert_int_equal(g->version, 2);
    assert_string_equal(g->tensors[0].name, "late");
    tsr_gguf_close(g);
    tsr_buf_free(&b);
}

static void test_no_tensors(void **state) {
    (void)state;
    image b = {0};
    put_header(&b, 0, 0);
    tsr_gguf *g = expect_accepted(&b); /* nothing in it, but sound: a vocabulary file has no data section */
    assert_int_equal(g->n_kv, 0);
    assert_null(tsr_gguf_find(g, "x"));
    assert_null(tsr_gguf_find_tensor(g, "x"));
    tsr_gguf_close(g);
    tsr_gguf_close(NULL);
    tsr_buf_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_everything),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_other_getters),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_non_finite),
        cmocka_unit_test(test_alignment_is_obeyed),
        cmocka_unit_test(test_version_2_and_gaps),
        cmocka_unit_test(test_no_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
