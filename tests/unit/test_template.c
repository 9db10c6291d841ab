/* Chat templates: the C interface, limits, and errors with their place. What templates mean is checked against
 * Python's jinja2 in tests/py/test_template.py. */
#include "text/chat_template.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static tsr_code render(const char *source, const char *json, const tsr_template_limits *limits, char **out,
                       tsr_error *err) {
    *out = NULL;
    tsr_template *t = tsr_template_parse(source, strlen(source), err);
    if (!t) return err->code;
    json_t *vars = json_loads(json, 0, NULL);
    assert_non_null(vars);
    size_t n;
    tsr_code code = tsr_template_render(t, vars, limits, out, &n, err);
    if (code == TSR_OK)
        assert_int_equal(strlen(*out), n);
    else
        assert_null(*out);
    json_decref(vars);
    tsr_template_free(t);
    return code;
}

static void is(const char *source, const char *json, const char *want) {
    char *out;
    tsr_error err = {0};
    if (render(source, json, NULL, &out, &err) != TSR_OK) fail_msg("%s: %s", source, err.message);
    assert_string_equal(out, want);
    free(out);
}

static void fails_within(const tsr_template_limits *limits, const char *source, tsr_code code, const char *message) {
    char *out;
    tsr_error err = {0};
    tsr_code got = render(source, "{\"s\": \"x\", \"l\": [1, 2]}", limits, &out, &err);
    if (got != code) fail_msg("\"%.200s\": got code %d \"%s\", want %d", source, got, err.message, code);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, message)) fail_msg("\"%s\": got \"%s\", want \"%s\"", source, err.message, message);
}

static void fails(const char *source, tsr_code code, const char *message) { fails_within(NULL, source, code, message); }

static void test_renders(void **state) {
    (void)state;
    is("", "{}", "");
    is("{% for m in messages %}\n<{{ m.role }}>{{ m['content'] | trim }}\n{% endfor %}\n",
       "{\"messages\": [{\"role\": \"user\", \"content\": \" h\\u00e9 \"}, {\"role\": \"a\", \"content\": \"b\"}]}",
       "<user>h\u00e9\n<a>b\n");
    is("{% set ns = namespace(n=0) %}{% for i in range(5) if i is odd %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n "
       "}}",
       "{}", "4");
    is("{% macro m(a, b='x') %}[{{ a }}{{ b }}{{ kwargs }}]{% endmacro %}{{ m(1) }}{{ m(1, b=2, c=3) }}", "{}",
       "[1x{}][12{'c': 3}]");
    is("{{ x | tojson(indent=2) }}", "{\"x\": {\"b\": [1, 2.50, null, true], \"a\": \"\\u00e9\\\"\"}}",
       "{\n  \"b\": [\n    1,\n    2.5,\n    null,\n    true\n  ],\n  \"a\": \"\u00e9\\\"\"\n}");
}

static void test_clock(void **state) {
    (void)state;
    char *out;
    tsr_error err;
    setenv("TZ", "UTC", 1);
    tsr_template_limits limits = {.now = 86400 * 365};
    assert_int_equal(render("{{ strftime_now('%d %b %Y') }}", "{}", &limits, &out, &err), TSR_OK);
    assert_string_equal(out, "01 Jan 1971");
    free(out);
}

static void test_errors_say_where(void **state) {
    (void)state;
    fails("a\nb {{ raise_exception('no ' ~ s) }}", TSR_E_TEMPLATE, "template line 2, column 6: no x");
    fails("\u00e9\u00e9{{ x.y }}", TSR_E_TEMPLATE, "template line 1, column 7: 'x' is undefined");
    fails("{% if s %}\n", TSR_E_TEMPLATE, "line 1, column 4: this tag is never closed: \"{% endif %}\" is missing");
    fails("{{ s | nothing }}", TSR_E_TEMPLATE, "column 8: no filter named 'nothing'");
    fails("{{ s is nothing }}", TSR_E_TEMPLATE, "no test named 'nothing'");
    fails("{% include 'x' %}", TSR_E_TEMPLATE, "{% include %} is not supported");
    fails("{% endfor %}", TSR_E_TEMPLATE, "unknown tag 'endfor'");
    fails("{{ 'abc }}", TSR_E_TEMPLATE, "string without a closing '");
    fails("{# abc", TSR_E_TEMPLATE, "missing end of comment");
    fails("{{ (1 }}", TSR_E_TEMPLATE, "unexpected '}', expected ')'");
    fails("{{ 1 + }}", TSR_E_TEMPLATE, "expected an expression, got \"}}\"");
    fails("{{ s + 1 }}", TSR_E_TEMPLATE, "can only concatenate str");
    fails("{{ l[0].x.y }}", TSR_E_TEMPLATE, "has no attribute 'x'");
    fails("{{ 1 // 0 }}", TSR_E_TEMPLATE, "by zero");
    fails("{{ s.upper(1) }}", TSR_E_TEMPLATE, "upper() takes at most 0 arguments");
    fails("\xff", TSR_E_TEMPLATE, "not valid UTF-8");
}

/* Repeats text n times; the caller frees. */
static char *repeat(const char *text, size_t n) {
    size_t len = strlen(text);
    char *s = malloc(len * n + 1);
    assert_non_null(s);
    for (size_t i = 0; i < n; i++) memcpy(s + i * len, text, len);
    s[len * n] = '\0';
    return s;
}

static void test_limits(void **state) {
    (void)state;
    fails("{{ 'x' * 10**12 }}", TSR_E_LIMIT, "too long");
    fails("{{ [1] * 10**12 }}", TSR_E_LIMIT, "too long");
    fails("{{ range(10**12) }}", TSR_E_LIMIT, "range of more than");
    fails("{{ 9223372036854775807 + 1 }}", TSR_E_LIMIT, "64 bits");
    fails("{{ '%999999999999d' % 1 }}", TSR_E_LIMIT, "width");
    fails("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", TSR_E_LIMIT, "steps");
    fails("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", TSR_E_LIMIT, "levels deep");
    fails("{% for x in l recursive %}{{ loop(l) }}{% endfor %}", TSR_E_LIMIT, "levels deep");
    fails("{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}", TSR_E_LIMIT,
          "memory");
    fails("{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
          TSR_E_LIMIT, "");
    fails("{{ l.append(l) }}{{ l }}", TSR_E_LIMIT, "levels deep");
    fails("{{ l.append(l) }}{{ l | tojson }}", TSR_E_LIMIT, "levels deep");
    fails("{% for i in l %}{{ l.append(i) }}{% endfor %}{% for i in range(9999) %}{{ l.extend(l) }}{% endfor %}",
          TSR_E_LIMIT, "");
    fails("{% set x = 'ab' * 1000000 %}{% for i in range(99999) %}{{ x is lower }}{% endfor %}", TSR_E_LIMIT, "steps");
    tsr_template_limits few = {.max_steps = 500000}; /* the whole budget takes minutes under sanitizers */
    fails_within(&few, "{% set x = 'ab' * 100000 %}{% for i in range(99999) %}{{ x.count('ba') }}{% endfor %}", TSR_E_LIMIT, "steps");
    char *deep = repeat("(", 100000), *closing = repeat(")", 100000), *source = malloc(300000);
    assert_non_null(source);
    sprintf(source, "{{ %s1%s }}", deep, closing);
    fails(source, TSR_E_LIMIT, "levels deep");
    free(deep);
    free(closing);
    deep = repeat("{% if s %}", 20000);
    fails(deep, TSR_E_LIMIT, "levels deep");
    free(deep);
    deep = repeat("not ", 20000);
    sprintf(source, "{{ %s s }}", deep);
    fails(source, TSR_E_LIMIT, "levels deep");
    free(deep);
    deep = repeat("+ s", 20000);
    sprintf(source, "{{ s %s }}", deep);
    fails(source, TSR_E_LIMIT, "levels deep");
    free(deep);
    deep = repeat("| trim", 20000);
    sprintf(source, "{{ s %s }}", deep);
    fails(source, TSR_E_LIMIT, "levels deep");
    sprintf(source, "{%% set x %s %%}{%% endset %%}", deep);
    fails(source, TSR_E_LIMIT, "levels deep");
    free(deep);
    free(source);

    char *out;
    tsr_error err;
    tsr_template_limits limits = {.max_output = 10, .max_steps = 1000};
    assert_int_equal(render("12345{{ 67890 }}", "{}", &limits, &out, &err), TSR_OK);
    free(out);
    assert_int_equal(render("12345{{ 678901 }}", "{}", &limits, &out, &err), TSR_E_LIMIT);
    assert_non_null(strstr(err.message, "output is longer than 10 bytes"));
    assert_int_equal(render("{% for i in range(5000) %}{% endfor %}", "{}", &limits, &out, &err), TSR_E_LIMIT);
    assert_non_null(strstr(err.message, "more than 1000 steps"));
}

static void test_arguments(void **state) {
    (void)state;
    tsr_error err;
    char *out = (char *)1;
    tsr_template *t = tsr_template_parse("x", 1, &err);
    assert_non_null(t);
    json_t *list = json_array(), *bad = json_object();
    assert_int_equal(tsr_template_render(t, list, NULL, &out, NULL, &err), TSR_E_ARG);
    assert_null(out);
    json_object_set_new(bad, "s", json_string_nocheck("\xff"));
    assert_int_equal(tsr_template_render(t, bad, NULL, &out, NULL, &err), TSR_E_TEMPLATE);
    assert_non_null(strstr(err.message, "not valid UTF-8"));
    assert_int_equal(tsr_template_render(t, NULL, NULL, &out, NULL, NULL), TSR_E_ARG);
    json_decref(list);
    json_decref(bad);
    tsr_template_free(t);
    tsr_template_free(NULL);
    assert_null(tsr_template_parse("{{", 2, NULL));
}

/* One template, several threads with small stacks, deepest possible recursion in each. */
static void *worker(void *arg) {
    const tsr_template *t = arg;
    json_t *vars = json_pack("{s:i}", "n", 60);
    for (int i = 0; i < 20; i++) {
        char *out = NULL;
        tsr_error err;
        if (tsr_template_render(t, vars, NULL, &out, NULL, &err) != TSR_OK || strcmp(out, "60 59") != 0) {
            free(out);
            json_decref(vars);
            return (void *)1;
        }
        free(out);
    }
    json_decref(vars);
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    tsr_error err;
    const char *source =
        "{% macro f(i) %}{% if i > 1 %}{{ f(i - 1) }}{% else %}59{% endif %}{% endmacro %}{{ n }} {{ f(n) }}";
    tsr_template *t = tsr_template_parse(source, strlen(source), &err);
    assert_non_null(t);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, worker, t), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    tsr_template_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_renders),          cmocka_unit_test(test_clock),
                                       cmocka_unit_test(test_errors_say_where), cmocka_unit_test(test_limits),
                                       cmocka_unit_test(test_arguments),        cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
