/* What `tessera bench` is made of: lists of numbers, statistics, records of results, plots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/fields.h"
#include "cli/numbers.h"
#include "cli/plot.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void expect_numbers(const char *list, size_t n, const int64_t *want) {
    number_list got = {.n = 0};
    assert_true(parse_numbers("x", list, 0, 100000, &got));
    assert_int_equal(got.n, n);
    for (size_t i = 0; i < n; i++) assert_int_equal(got.items[i], want[i]);
}

static void lists_and_ranges(void **state) {
    (void)state;
    expect_numbers("512", 1, (int64_t[]){512});
    expect_numbers("0,8,1", 3, (int64_t[]){0, 8, 1});
    expect_numbers("2-5", 4, (int64_t[]){2, 3, 4, 5});
    expect_numbers("0-4096+1024,7", 6, (int64_t[]){0, 1024, 2048, 3072, 4096, 7});
    expect_numbers("1-10*2", 4, (int64_t[]){1, 2, 4, 8});
    expect_numbers("512-4096*2", 4, (int64_t[]){512, 1024, 2048, 4096});
    expect_numbers("5-5", 1, (int64_t[]){5});
    expect_numbers("1-10+4", 3, (int64_t[]){1, 5, 9});
}

static void what_is_no_list(void **state) {
    (void)state;
    static const char *const wrong[] = {"", ",", "1,", ",1", "x", "1x", "-1", "+1", " 1", "1-", "5-4", "1-2+", "1-2+0", "1-9*1", "0-8*2", "1-2/3",
                                        "1-2+1+1", "0x10", "1e3", "100001", "0-100001+1000", "99999999999999999999", "1-99999999999999999999*2"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        number_list got = {.n = 0};
        if (parse_numbers("x", wrong[i], 0, 100000, &got)) fail_msg("\"%s\" was taken for a list", wrong[i]);
    }
    number_list got = {.n = 0};
    assert_true(parse_numbers("x", "1-64", 0, 100000, &got));
    assert_int_equal(got.n, MOST_NUMBERS);
    assert_false(parse_numbers("x", "1", 0, 100000, &got));
    got.n = 0;
    assert_true(parse_numbers("x", "1-9223372036854775807*2", 0, INT64_MAX, &got)); /* ends before it wraps */
    assert_int_equal(got.n, 63);
    assert_true(got.items[62] == (int64_t)1 << 62);
}

static void statistics(void **state) {
    (void)state;
    static const double v[] = {2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0};
    assert_true(mean_of(v, 8) == 5.0);
    assert_true(fabs(deviation_of(v, 8) - sqrt(32.0 / 7.0)) < 1e-12);
    assert_true(mean_of(v, 1) == 2.0 && deviation_of(v, 1) == 0.0 && mean_of(v, 0) == 0.0 && deviation_of(v, 0) == 0.0);
}

/* What write_it puts into a file, the caller's to free. */
static char *written(void (*write_it)(FILE *)) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    write_it(f);
    fclose(f);
    return text;
}

static const double some[] = {1.0, NAN, 2.5};

static void fill(fields *f) {
    add_text(f, "text", "a \"b\"\\\n\x01");
    add_count(f, "count", 1e10);
    add_number(f, "none", NAN);
    add_array(f, "array", FIELD_NUMBERS, some, 3);
    add_number(f, "number", 0.1);
}

static void write_json(FILE *f) {
    fields v = {.n = 0};
    fill(&v);
    put_json(f, &v);
}

static void write_csv(FILE *f) {
    fields v = {.n = 0};
    fill(&v);
    put_csv(f, &v, true);
    put_csv(f, &v, false);
}

static void records(void **state) {
    (void)state;
    char *json = written(write_json), *csv = written(write_csv);
    assert_string_equal(json, "\"text\":\"a \\\"b\\\"\\\\\\u000a\\u0001\",\"count\":10000000000,\"none\":null,\"array\":[1,null,2.5],\"number\":0.1");
    assert_string_equal(csv, "text,count,none,number\n\"a \"\"b\"\"\\\n\x01\",10000000000,,0.1\n\"a \"\"b\"\"\\\n\x01\",10000000000,,0.1\n");
    free(json);
    free(csv);
}

static void records_hold_so_many_fields(void **state) {
    (void)state;
    fields v = {.n = 0};
    for (int i = 0; i < MOST_FIELDS + 5; i++) add_count(&v, "x", i);
    assert_int_equal(v.n, MOST_FIELDS);
}

static void ticks(void **state) {
    (void)state;
    for (double top = 1e-6; top < 1e9; top *= 1.07) {
        double step = plot_step(top, 6), digit = step / pow(10.0, floor(log10(step) + 1e-9));
        assert_true(top / step <= 6.0 + 1e-6 && top / step > 2.0); /* neither crowded nor bare */
        assert_true(fabs(digit - 1.0) < 1e-6 || fabs(digit - 2.0) < 1e-6 || fabs(digit - 5.0) < 1e-6);
    }
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) n++;
    return n;
}

static const plot_point fast[] = {{0, 100, 5}, {1024, 80, 0}, {8192, 20, 2}}, slow[] = {{0, 3, 4}};

static void write_plot(FILE *f) {
    plot_series lines[] = {{"a<b> & \x01 c", fast, 3}, {"slow", slow, 1}};
    plot_panel panels[] = {{"speed", lines, 2}, {"nothing", NULL, 0}};
    plot_write(f, "title & more", "depth", panels, 2);
}

static void plots(void **state) {
    (void)state;
    char *svg = written(write_plot);
    assert_int_equal(count(svg, "<svg "), 1);
    assert_int_equal(count(svg, "</svg>"), 1);
    assert_int_equal(count(svg, "<polyline "), 2);
    assert_int_equal(count(svg, "<circle "), 4);
    assert_int_equal(count(svg, "<path "), 3); /* error bars */
    assert_non_null(strstr(svg, "a&lt;b&gt; &amp;  c"));
    assert_non_null(strstr(svg, "title &amp; more"));
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf"));
    assert_non_null(strstr(svg, "prefers-color-scheme: dark"));
    free(svg);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_and_ranges), cmocka_unit_test(what_is_no_list), cmocka_unit_test(statistics), cmocka_unit_test(records),
        cmocka_unit_test(records_hold_so_many_fields), cmocka_unit_test(ticks), cmocka_unit_test(plots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
