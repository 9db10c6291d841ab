/* Guesses of how a text goes on: found where they should be, never read from outside the text, and believed as far as they came true. */
#include "engine/draft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static tsr_draft open_draft(size_t capacity) {
    tsr_draft d;
    assert_int_equal(tsr_draft_open(&d, capacity, NULL), TSR_OK);
    return d;
}

static void give(tsr_draft *d, const char *text) {
    for (; *text; text++) tsr_draft_add_given(d, *text);
}

static void add(tsr_draft *d, const char *text) {
    for (; *text; text++) tsr_draft_add(d, *text);
}

static void expect(const tsr_draft *d, int most, const char *want) {
    tsr_token out[TSR_DRAFT_MAX];
    float chance[TSR_DRAFT_MAX];
    int n = tsr_draft_guess(d, most, out, chance);
    assert_int_equal(n, strlen(want));
    for (int i = 0; i < n; i++) {
        assert_int_equal(out[i], want[i]);
        assert_true(chance[i] > 0 && chance[i] < 1);
        assert_true(i == 0 || chance[i] >= chance[i - 1]); /* longer runs are surer */
    }
}

static void test_guesses(void **state) {
    (void)state;
    tsr_draft d = open_draft(100);
    expect(&d, 7, "");
    give(&d, "ab");
    expect(&d, 7, "");
    give(&d, "cdefghijk");
    expect(&d, 7, "");
    give(&d, "abc"); /* by three */
    expect(&d, 4, "defg");
    expect(&d, 0, "");
    expect(&d, 7, "defghij");
    add(&d, "d"); /* as expected: goes on from there */
    expect(&d, 3, "efg");
    add(&d, "X"); /* not */
    expect(&d, 7, "");
    add(&d, "jk"); /* by two */
    expect(&d, 2, "ab");
    tsr_draft_close(&d);
}

static void test_the_latest_counts_and_three_before_two(void **state) {
    (void)state;
    tsr_draft d = open_draft(100);
    give(&d, "xabc1 yabc2 zbc3 xabc");
    expect(&d, 1, "2"); /* "abc" the last time, though "bc" was seen later */
    give(&d, "4 qbc");
    expect(&d, 1, "4");
    tsr_draft_close(&d);
}

static void test_repetition_goes_on(void **state) {
    (void)state;
    tsr_draft d = open_draft(100);
    give(&d, "ababa");
    expect(&d, 7, "bababab");
    tsr_draft_reset(&d);
    expect(&d, 7, "");
    give(&d, "zzz"); /* of three */
    expect(&d, 5, "zzzzz");
    tsr_draft_close(&d);
}

static void test_reset_forgets(void **state) {
    (void)state;
    tsr_draft d = open_draft(100);
    give(&d, "the cat sat on the mat, the cat sat on");
    expect(&d, 4, " the");
    tsr_draft_reset(&d);
    give(&d, "sat on");
    expect(&d, 7, ""); /* the tables still point behind the first "sat on", which is not there any more */
    tsr_draft_close(&d);
}

static void test_chances_follow_what_happens(void **state) {
    (void)state;
    tsr_draft d = open_draft(1 << 14);
    tsr_token out[7];
    float before[7], after[7];
    give(&d, "abcdefghabc");
    assert_int_equal(tsr_draft_guess(&d, 7, out, before), 7);
    for (int k = 0; k < 100; k++) add(&d, "defghabc");
    assert_int_equal(tsr_draft_guess(&d, 7, out, after), 7);
    assert_true(after[6] > 0.95f && after[6] > before[6]);
    for (int k = 0; k < 300; k++) { /* "12" is followed by something else each time */
        tsr_draft_add(&d, 1);
        tsr_draft_add(&d, 2);
        tsr_draft_add(&d, 1000 + k);
    }
    tsr_draft_add(&d, 1);
    tsr_draft_add(&d, 2);
    assert_int_equal(tsr_draft_guess(&d, 1, out, after), 1);
    assert_int_equal(out[0], 1299);
    assert_true(after[0] < 0.02f);
    tsr_draft_close(&d);
}

static void test_given_text_does_not_count(void **state) {
    (void)state;
    tsr_draft d = open_draft(4096);
    for (int k = 0; k < 400; k++) {
        tsr_draft_add_given(&d, 1);
        tsr_draft_add_given(&d, 2);
        tsr_draft_add_given(&d, 1000 + k);
    }
    float fresh[TSR_DRAFT_CLASSES];
    tsr_draft other = open_draft(10);
    memcpy(fresh, other.chance, sizeof fresh);
    assert_memory_equal(d.chance, fresh, sizeof fresh);
    tsr_draft_close(&other);
    tsr_draft_close(&d);
}

/* Random texts of few letters, to the end of the capacity and beyond: every guess is how the text went on after the same two tokens. */
static void test_random_texts(void **state) {
    (void)state;
    uint32_t random = 7;
    for (int round = 0; round < 200; round++) {
        size_t capacity = (size_t)round % 60;
        tsr_draft d = open_draft(capacity);
        for (size_t k = 0; k < capacity + 5; k++) {
            random = random * 1664525 + 1013904223;
            tsr_draft_add(&d, (tsr_token)(random >> 24) % (2 + round % 7));
            assert_true(d.n <= capacity);
            tsr_token out[TSR_DRAFT_MAX];
            float chance[TSR_DRAFT_MAX];
            if (tsr_draft_guess(&d, TSR_DRAFT_MAX, out, chance) == 0) continue;
            bool found = false;
            for (size_t at = 2; at < d.n && !found; at++)
                found = d.text[at - 2] == d.text[d.n - 2] && d.text[at - 1] == d.text[d.n - 1] && d.text[at] == out[0];
            assert_true(found);
        }
        tsr_draft_close(&d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guesses),
        cmocka_unit_test(test_the_latest_counts_and_three_before_two),
        cmocka_unit_test(test_repetition_goes_on),
        cmocka_unit_test(test_reset_forgets),
        cmocka_unit_test(test_chances_follow_what_happens),
        cmocka_unit_test(test_given_text_does_not_count),
        cmocka_unit_test(test_random_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
