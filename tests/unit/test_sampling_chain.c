/* The chain: order of the methods, history, seeds, bad logits and bad parameters. */
#include "engine/sampling.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define V 6

static const float logits[V] = {0.0f, 2.0f, 1.0f, 1.9f, -1.0f, 0.5f};

static tsr_chain *open_chain(const tsr_sampler_params *p) {
    tsr_error err = {0};
    tsr_chain *c = tsr_chain_open(p, V, NULL, &err);
    if (!c) fail_msg("%s", err.message);
    return c;
}

static tsr_token sample(tsr_chain *c, const float *from) {
    tsr_error err = {0};
    tsr_token t = TSR_TOKEN_NONE;
    if (tsr_chain_sample(c, from, &t, &err) != TSR_OK) fail_msg("%s", err.message);
    return t;
}

static tsr_sampler_params greedy(void) {
    tsr_sampler_params p = tsr_sampler_params_default();
    p.temperature = 0.0f;
    return p;
}

static void greedy_takes_the_best(void **state) {
    (void)state;
    tsr_sampler_params p = greedy();
    tsr_chain *c = open_chain(&p);
    assert_int_equal(sample(c, logits), 1);
    tsr_chain_close(c);
    const tsr_logit_bias ban[] = {{1, -INFINITY}, {4, 2.5f}};
    p.logit_bias = ban;
    p.n_logit_bias = 2;
    c = open_chain(&p);
    assert_int_equal(sample(c, logits), 3); /* 1 banned, 4 raised to 1.5 */
    tsr_chain_close(c);
}

static void penalty_window_slides(void **state) {
    (void)state;
    tsr_sampler_params p = greedy();
    p.presence_penalty = 1.0f;
    p.penalty_last_n = 2;
    tsr_chain *c = open_chain(&p);
    assert_int_equal(tsr_chain_accept(c, 1, NULL), TSR_OK);
    assert_int_equal(sample(c, logits), 3);
    for (int i = 0; i < 1000; i++) assert_int_equal(tsr_chain_accept(c, 4, NULL), TSR_OK); /* past several moves */
    assert_int_equal(sample(c, logits), 1);
    tsr_chain_accept(c, 1, NULL);
    tsr_chain_accept(c, 4, NULL);
    assert_int_equal(sample(c, logits), 3); /* still within two */
    tsr_chain_accept(c, 4, NULL);
    assert_int_equal(sample(c, logits), 1);
    tsr_chain_accept(c, 1, NULL);
    tsr_chain_reset(c);
    assert_int_equal(sample(c, logits), 1);
    tsr_chain_close(c);

    p.penalty_last_n = -1;
    c = open_chain(&p);
    tsr_chain_accept(c, 1, NULL);
    for (int i = 0; i < 1000; i++) tsr_chain_accept(c, 4, NULL);
    assert_int_equal(sample(c, logits), 3);
    tsr_chain_close(c);

    p.penalty_last_n = 0;
    c = open_chain(&p);
    tsr_chain_accept(c, 1, NULL);
    assert_int_equal(sample(c, logits), 1);
    tsr_chain_close(c);
}

static void dry_window_is_its_own(void **state) {
    (void)state;
    tsr_sampler_params p = greedy();
    p.dry_multiplier = 5.0f;
    p.penalty_last_n = 0;
    static const tsr_token text[] = {2, 5, 1, 4, 2, 5};
    for (int last_n = 2; last_n <= 6; last_n++) {
        p.dry_last_n = last_n == 6 ? -1 : last_n;
        tsr_chain *c = open_chain(&p);
        for (int i = 0; i < 6; i++) tsr_chain_accept(c, text[i], NULL);
        assert_int_equal(sample(c, logits), last_n == 6 ? 3 : 1); /* "2 5 -> 1" is seen only with all six */
        tsr_chain_close(c);
    }
}

static void same_seed_same_tokens(void **state) {
    (void)state;
    tsr_sampler_params p = tsr_sampler_params_default();
    p.seed = 42;
    tsr_chain *a = open_chain(&p), *b = open_chain(&p);
    tsr_token first[50];
    for (int i = 0; i < 50; i++) {
        first[i] = sample(a, logits);
        assert_int_equal(first[i], sample(b, logits));
    }
    tsr_chain_reset(a);
    for (int i = 0; i < 50; i++) assert_int_equal(first[i], sample(a, logits));
    assert_true(tsr_chain_seed(a) == 42);
    tsr_chain_close(a);
    tsr_chain_close(b);

    p.seed = 0;
    a = open_chain(&p);
    assert_true(tsr_chain_seed(a) != 0);
    p.seed = tsr_chain_seed(a);
    b = open_chain(&p);
    for (int i = 0; i < 50; i++) assert_int_equal(sample(a, logits), sample(b, logits));
    tsr_chain_close(a);
    tsr_chain_close(b);
}

/* top-k 3 leaves 1, 3, 2; top-p on what is left: e^2, e^1.9, e^1 = 7.39, 6.69, 2.72 -> 0.44, 0.40, 0.16; 0.8 keeps two.
 */
static void methods_work_on_what_is_left(void **state) {
    (void)state;
    tsr_sampler_params p = tsr_sampler_params_default();
    p.seed = 1;
    p.top_k = 3;
    p.top_p = 0.8f;
    p.min_p = 0.0f;
    p.temperature = 100.0f; /* flat, so that everything left is drawn soon */
    tsr_chain *c = open_chain(&p);
    int count[V] = {0};
    for (int i = 0; i < 1000; i++) count[sample(c, logits)]++;
    assert_int_equal(count[1] + count[3], 1000);
    assert_in_range(count[1], 400, 600);
    tsr_chain_close(c);
}

/* Mirostat holds the mean surprise near tau where the distribution allows it. */
static void mirostat_steers_surprise(void **state) {
    (void)state;
    enum { n = 512 };
    static float wide[n];
    for (int i = 0; i < n; i++) wide[i] = -1.5f * logf((float)(i + 1)); /* Zipf, exponent 1.5: entropy is 4.1 bits */
    double z = 0.0;
    for (int i = 0; i < n; i++) z += exp(wide[i]);
    tsr_sampler_params p = tsr_sampler_params_default();
    p.seed = 9;
    p.mirostat = 2;
    p.mirostat_tau = 2.0f;
    p.temperature = 1.0f;
    tsr_chain *c = tsr_chain_open(&p, n, NULL, NULL);
    double surprise = 0.0;
    int highest = 0;
    for (int i = 0; i < 4000; i++) {
        tsr_token t = sample(c, wide);
        if (i < 1000) continue;
        surprise -= log2(exp(wide[t]) / z) / 3000.0;
        if (t > highest) highest = t;
    }
    assert_true(surprise > 1.7 && surprise < 2.8); /* untruncated: 4.1 */
    assert_true(highest < 200);
    tsr_chain_close(c);
}

static void broken_logits(void **state) {
    (void)state;
    const float some[V] = {NAN, INFINITY, -3.0f, -INFINITY, -4.0f, NAN};
    const float none[V] = {NAN, INFINITY, NAN, -INFINITY, -INFINITY, NAN};
    tsr_sampler_params p = tsr_sampler_params_default();
    for (int mode = 0; mode < 3; mode++) {
        p.temperature = mode == 0 ? 0.0f : 0.8f;
        p.mirostat = mode == 2 ? 2 : 0;
        tsr_chain *c = open_chain(&p);
        for (int i = 0; i < 20; i++) {
            tsr_token t = sample(c, some);
            assert_true(t == 2 || t == 4);
        }
        tsr_error err = {0};
        tsr_token t;
        assert_int_equal(tsr_chain_sample(c, none, &t, &err), TSR_E_ARG);
        assert_non_null(strstr(err.message, "finite"));
        assert_int_equal(tsr_chain_sample(c, NULL, &t, &err), TSR_E_ARG);
        tsr_chain_close(c);
    }
}

static void accept_checks_the_token(void **state) {
    (void)state;
    tsr_chain *c = open_chain(NULL);
    tsr_error err = {0};
    assert_int_equal(tsr_chain_accept(c, V, &err), TSR_E_ARG);
    assert_non_null(strstr(err.message, "token 6"));
    assert_int_equal(tsr_chain_accept(c, -1, &err), TSR_E_ARG);
    tsr_chain_close(c);
}

static void refused(const tsr_sampler_params *p, const char *name, const char *value) {
    tsr_error err = {0};
    assert_null(tsr_chain_open(p, V, NULL, &err));
    assert_int_equal(err.code, TSR_E_ARG);
    if (!strstr(err.message, name) || !strstr(err.message, value))
        fail_msg("\"%s\" names not both %s and %s", err.message, name, value);
}

static void bad_parameters_are_named(void **state) {
    (void)state;
    const tsr_sampler_params good = tsr_sampler_params_default();
    const struct {
        size_t offset;
        const char *name;
        float value;
        const char *shown;
    } cases[] = {
        {offsetof(tsr_sampler_params, temperature), "temperature", NAN, "nan"},
        {offsetof(tsr_sampler_params, temperature), "temperature", INFINITY, "inf"},
        {offsetof(tsr_sampler_params, top_p), "top_p", 1.5f, "1.5"},
        {offsetof(tsr_sampler_params, min_p), "min_p", -0.5f, "-0.5"},
        {offsetof(tsr_sampler_params, typical_p), "typical_p", 2.0f, "2"},
        {offsetof(tsr_sampler_params, repeat_penalty), "repeat_penalty", 0.0f, "0"},
        {offsetof(tsr_sampler_params, presence_penalty), "presence_penalty", 1e9f, "1e+09"},
        {offsetof(tsr_sampler_params, frequency_penalty), "frequency_penalty", NAN, "nan"},
        {offsetof(tsr_sampler_params, dry_multiplier), "dry_multiplier", -1.0f, "-1"},
        {offsetof(tsr_sampler_params, dry_base), "dry_base", 0.5f, "0.5"},
        {offsetof(tsr_sampler_params, mirostat_tau), "mirostat_tau", -2.0f, "-2"},
        {offsetof(tsr_sampler_params, mirostat_eta), "mirostat_eta", 3.0f, "3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tsr_sampler_params p = good;
        memcpy((char *)&p + cases[i].offset, &cases[i].value, sizeof(float));
        refused(&p, cases[i].name, cases[i].shown);
    }
    tsr_sampler_params p = good;
    p.mirostat = 1;
    refused(&p, "mirostat", "1");
    p = good;
    p.penalty_last_n = -2;
    refused(&p, "penalty_last_n", "-2");
    p = good;
    p.dry_last_n = -7;
    refused(&p, "dry_last_n", "-7");
    p = good;
    p.dry_allowed_length = 0;
    refused(&p, "dry_allowed_length", "0");
    const tsr_logit_bias outside[] = {{V, 1.0f}}, infinite[] = {{0, INFINITY}};
    p = good;
    p.n_logit_bias = 1;
    refused(&p, "logit_bias", "NULL");
    p.logit_bias = outside;
    refused(&p, "logit_bias", "token 6");
    p.logit_bias = infinite;
    refused(&p, "logit_bias", "inf");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_best),
        cmocka_unit_test(penalty_window_slides),
        cmocka_unit_test(dry_window_is_its_own),
        cmocka_unit_test(same_seed_same_tokens),
        cmocka_unit_test(methods_work_on_what_is_left),
        cmocka_unit_test(mirostat_steers_surprise),
        cmocka_unit_test(broken_logits),
        cmocka_unit_test(accept_checks_the_token),
        cmocka_unit_test(bad_parameters_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
