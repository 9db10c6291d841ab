/* Tokenizers on small vocabularies written here: hostile metadata, invalid UTF-8, long words, streaming. What real
 * models and the Python packages make of text is compared in tests/py/test_tokenizer_*.py. */
#include "test_gguf_image.h"
#include "test_tokenizer_image.h"

#include "core/utf8.h"
#include "text/tokenizer.h"

#include <pthread.h>
#include <time.h>

static tsr_token *encode(const fixture *f, const char *s, size_t n, unsigned flags, size_t *n_out) {
    tsr_error err = {0};
    tsr_token *ids;
    if (tsr_tokenizer_encode(f->t, s, n, flags, &ids, n_out, &err) != TSR_OK) fail_msg("%s", err.message);
    assert_non_null(ids);
    return ids;
}

static void expect_ids(const fixture *f, const char *text, unsigned flags, const char *want) {
    size_t n;
    tsr_token *ids = encode(f, text, strlen(text), flags, &n);
    tsr_buf got = {0};
    for (size_t i = 0; i < n; i++) tsr_buf_printf(&got, "%s%s", i ? " " : "", tsr_tokenizer_text(f->t, ids[i]));
    assert_string_equal(got.data ? got.data : "", want);
    tsr_buf_free(&got);
    tsr_free(ids);
}

static void expect_round_trip(const fixture *f, const char *s, size_t n) {
    size_t n_ids, n_text;
    tsr_token *ids = encode(f, s, n, 0, &n_ids);
    char *text;
    assert_int_equal(tsr_tokenizer_decode(f->t, ids, n_ids, 0, &text, &n_text, NULL), TSR_OK);
    assert_int_equal(n_text, n);
    assert_memory_equal(text, s, n);
    tsr_free(text);
    tsr_free(ids);
}

static void test_bpe_merges(void **state) {
    (void)state;
    fixture f = open_fixture(bpe_image("gpt-2", NULL));
    assert_string_equal(tsr_tokenizer_describe(f.t), "bpe (gpt-2)");
    expect_ids(&f, "abc ab", 0, "abc Ġ ab");
    expect_ids(&f, "aaaaa", 0, "aa aa a");
    expect_ids(&f, "bcab", 0, "b c ab");
    expect_ids(&f, "", TSR_ADD_SPECIAL, "");
    close_fixture(&f);
}

static void test_whole_words_ignore_merges(void **state) {
    (void)state;
    fixture f = open_fixture(bpe_image("llama-bpe", NULL)); /* "cab" is an entry that no merge makes */
    expect_ids(&f, "cab", 0, "cab");
    close_fixture(&f);
    f = open_fixture(bpe_image("gpt-2", NULL));
    expect_ids(&f, "cab", 0, "c ab");
    close_fixture(&f);
}

static void test_added_tokens(void **state) {
    (void)state;
    fixture f = open_fixture(bpe_image("gpt-2", NULL));
    expect_ids(&f, "a<|im_end|>b", TSR_PARSE_SPECIAL, "a <|im_end|> b");
    size_t n;
    tsr_token *ids = encode(&f, "<|im_end|>", 10, 0, &n); /* text, unless asked otherwise */
    assert_int_equal(n, 10);
    tsr_free(ids);
    expect_ids(&f, "a<tool>b<tool>", 0, "a <tool> b <tool>"); /* user-defined: always */
    expect_ids(&f, "a<tool><tool>x", 0, "a <tool> <tool>x");  /* the longest */
    tsr_token end = tsr_tokenizer_find(f.t, "<|im_end|>");
    assert_true(tsr_tokenizer_is_end(f.t, end));
    assert_int_equal(tsr_tokenizer_special(f.t)->eot, end);
    char *text;
    assert_int_equal(tsr_tokenizer_decode(f.t, &end, 1, 0, &text, NULL, NULL), TSR_OK);
    assert_string_equal(text, "");
    tsr_free(text);
    assert_int_equal(tsr_tokenizer_decode(f.t, &end, 1, TSR_RENDER_SPECIAL, &text, NULL, NULL), TSR_OK);
    assert_string_equal(text, "<|im_end|>");
    tsr_free(text);
    close_fixture(&f);
}

static void test_any_bytes_round_trip(void **state) {
    (void)state;
    image (*const make[])(void) = {bpe_default_image, spm_image};
    for (size_t k = 0; k < 2; k++) {
        fixture f = open_fixture(make[k]());
        char all[512];
        for (int i = 0; i < 512; i++) all[i] = (char)(i < 256 ? i : (i * 167 + 13) & 255);
        expect_round_trip(&f, all, sizeof all);
        expect_round_trip(&f, "", 0);
        expect_round_trip(&f,
                          "ab\xff\xfe"
                          "ab\xe4\xbd",
                          8);
        expect_round_trip(&f, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82", 9);
        uint32_t seed = 1;
        for (int round = 0; round < 2000; round++) {
            char s[64];
            size_t n = round % sizeof s;
            for (size_t i = 0; i < n; i++) s[i] = (char)((seed = seed * 1664525 + 1013904223) >> 24);
            expect_round_trip(&f, s, n);
        }
        close_fixture(&f);
    }
}

static void test_spm(void **state) {
    (void)state;
    fixture f = open_fixture(spm_image());
    assert_string_equal(tsr_tokenizer_describe(f.t), "spm");
    expect_ids(&f, "ab", 0, "▁ab");
    expect_ids(&f, "ab", TSR_ADD_SPECIAL, "<s> ▁ab");
    expect_ids(&f, "", TSR_ADD_SPECIAL, "<s>");
    expect_ids(&f, "ab</s>ab", TSR_PARSE_SPECIAL, "▁ab </s> ▁ab");
    expect_ids(&f, "<s>", 0, "▁ <0x3C> <0x73> <0x3E>"); /* never a control token from plain text */
    expect_ids(&f, "é", 0, "▁ <0xC3> <0xA9>");
    close_fixture(&f);
}

static void push_expect(tsr_decoder *d, tsr_token id, const char *want) {
    size_t n;
    const char *got = tsr_decoder_push(d, id, &n);
    assert_string_equal(got, want);
    assert_int_equal(n, strlen(want));
}

static void test_streaming(void **state) {
    (void)state;
    fixture f = open_fixture(spm_image());
    const tsr_token byte0 = tsr_tokenizer_find(f.t, "<0x00>");
    tsr_decoder *d = tsr_decoder_open(f.t, 0, NULL);
    push_expect(d, byte0 + 0xf0, "");
    push_expect(d, byte0 + 0x9f, "");
    push_expect(d, byte0 + 0x99, "");
    push_expect(d, byte0 + 0x82, "🙂");
    push_expect(d, byte0 + 0xe2, "");
    push_expect(d, byte0 + 0x82, "");
    push_expect(d, byte0 + 'x', "\ufffdx"); /* one replacement for the two bytes that began a character */
    push_expect(d, byte0 + 0x80, "\ufffd");
    push_expect(d, byte0 + 0xff, "\ufffd");
    push_expect(d, byte0 + 0xed, "");
    push_expect(d, byte0 + 0xa0, "\ufffd\ufffd"); /* a surrogate: neither byte can begin anything */
    push_expect(d, -5, "");
    push_expect(d, 1 << 30, "");
    push_expect(d, byte0 + 0xc3, "");
    size_t n;
    assert_string_equal(tsr_decoder_finish(d, &n), "\ufffd");
    assert_string_equal(tsr_decoder_finish(d, &n), "");
    tsr_decoder_close(d);
    close_fixture(&f);
}

/* A megabyte without a word boundary; quadratic work would take hours. */
static void test_long_words(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    char *s = malloc(N);
    image (*const make[])(void) = {bpe_default_image, spm_image, unigram_image, wordpiece_image};
    const char *const fill[] = {"a", " ", "ab", "\xff", "A", "\n", "1", "a ", "<tool", "!", "\xe2\x96\x81"};
    for (size_t k = 0; k < 4; k++) {
        fixture f = open_fixture(make[k]());
        for (size_t j = 0; j < sizeof fill / sizeof *fill; j++) {
            for (size_t i = 0; i < N; i++) s[i] = fill[j][i % strlen(fill[j])];
            struct timespec a, b;
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
            size_t n;
            tsr_free(encode(&f, s, N, 0, &n));
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
            double seconds = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
            if (seconds > 20)
                fail_msg("%s took %.1f s for 1 MiB of \"%s\"", tsr_tokenizer_describe(f.t), seconds, fill[j]);
        }
        close_fixture(&f);
    }
    free(s);
}

enum { N_THREADS = 4, N_ROUNDS = 300 };
static const char shared_text[] = "It's 12345 ab abc aaaa <tool> b\xff<|im_end|> ab";

static void *encode_often(void *arg) {
    const tsr_tokenizer *t = arg;
    uint64_t sum = 0;
    for (int i = 0; i < N_ROUNDS; i++) {
        tsr_token *ids;
        size_t n;
        if (tsr_tokenizer_encode(t, shared_text, sizeof shared_text - 1, TSR_PARSE_SPECIAL, &ids, &n, NULL) != TSR_OK)
            return NULL;
        for (size_t k = 0; k < n; k++) sum = sum * 31 + (uint64_t)ids[k] + 1;
        tsr_free(ids);
    }
    return (void *)(uintptr_t)(sum | 1);
}

static void test_shared_by_threads(void **state) {
    (void)state;
    image (*const make[])(void) = {bpe_default_image, spm_image, unigram_image, wordpiece_image};
    for (size_t k = 0; k < 4; k++) {
        fixture f = open_fixture(make[k]());
        void *want = encode_often(f.t), *got[N_THREADS];
        pthread_t threads[N_THREADS];
        assert_non_null(want);
        for (int i = 0; i < N_THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, encode_often, f.t), 0);
        for (int i = 0; i < N_THREADS; i++) assert_int_equal(pthread_join(threads[i], &got[i]), 0);
        for (int i = 0; i < N_THREADS; i++) assert_ptr_equal(got[i], want);
        close_fixture(&f);
    }
}

static void test_every_pretokenizer_opens(void **state) {
    (void)state;
    for (size_t i = 0; tsr_pretokenizer_name(i); i++) {
        fixture f = open_fixture(bpe_image(tsr_pretokenizer_name(i), NULL));
        const char *text = "It's 12345 Words,\r\n\r\n\tÜber日本語 ... x²\xff  \n";
        expect_round_trip(&f, text, strlen(text));
        close_fixture(&f);
    }
}

static void expect_failure(image b, tsr_code code, const char *part1, const char *part2) {
    tsr_error err = {0};
    tsr_gguf *g = tsr_gguf_parse(b.data, b.len, "test", &err);
    if (!g) fail_msg("%s", err.message);
    tsr_tokenizer *t = tsr_tokenizer_open(g, &err);
    assert_null(t);
    if (err.code != code) fail_msg("code %d, want %d: %s", err.code, code, err.message);
    if (!strstr(err.message, part1) || !strstr(err.message, part2))
        fail_msg("\"%s\" does not say \"%s\" and \"%s\"", err.message, part1, part2);
    assert_null(tsr_tokenizer_open(g, NULL));
    tsr_gguf_close(g);
    tsr_buf_free(&b);
}

static void test_hostile_metadata(void **state) {
    (void)state;
    expect_failure(hostile_image(H_NO_MODEL), TSR_E_FORMAT, "tokenizer.ggml.model", "missing");
    expect_failure(hostile_image(H_BAD_MODEL), TSR_E_UNSUPPORTED, "tokenizer.ggml.model", "rwkv");
    expect_failure(hostile_image(H_NO_TOKENS), TSR_E_FORMAT, "tokenizer.ggml.tokens", "missing");
    expect_failure(hostile_image(H_EMPTY_TOKENS), TSR_E_FORMAT, "tokenizer.ggml.tokens", "empty");
    expect_failure(hostile_image(H_NUMBER_TOKENS), TSR_E_FORMAT, "tokenizer.ggml.tokens", "str");
    expect_failure(hostile_image(H_LONG_TOKEN), TSR_E_LIMIT, "tokenizer.ggml.tokens", "5000");
    expect_failure(hostile_image(H_SHORT_TYPES), TSR_E_FORMAT, "tokenizer.ggml.token_type", "2");
    expect_failure(hostile_image(H_BAD_TYPE), TSR_E_FORMAT, "tokenizer.ggml.token_type", "77");
    expect_failure(hostile_image(H_NO_SCORES), TSR_E_FORMAT, "tokenizer.ggml.scores", "missing");
    expect_failure(hostile_image(H_SHORT_SCORES), TSR_E_FORMAT, "tokenizer.ggml.scores", "2");
    expect_failure(hostile_image(H_NAN_SCORE), TSR_E_FORMAT, "tokenizer.ggml.scores", "entry 1");
    expect_failure(hostile_image(H_NO_MERGES), TSR_E_FORMAT, "tokenizer.ggml.merges", "missing");
    expect_failure(hostile_image(H_BAD_MERGE), TSR_E_FORMAT, "tokenizer.ggml.merges", "\"ab\"");
    expect_failure(hostile_image(H_UNKNOWN_MERGE), TSR_E_FORMAT, "tokenizer.ggml.merges", "\"a zzz\"");
    expect_failure(hostile_image(H_UNKNOWN_RESULT), TSR_E_FORMAT, "tokenizer.ggml.merges", "\"b a\"");
    expect_failure(hostile_image(H_BAD_PRE), TSR_E_UNSUPPORTED, "no-such-pre", "deepseek-v3");
    expect_failure(hostile_image(H_ID_TOO_HIGH), TSR_E_FORMAT, "tokenizer.ggml.eos_token_id", "3");
    expect_failure(hostile_image(H_ID_NEGATIVE), TSR_E_FORMAT, "tokenizer.ggml.eos_token_id", "-7");
    expect_failure(hostile_image(H_BOS_ABSENT), TSR_E_FORMAT, "tokenizer.ggml.add_bos_token", "bos_token_id");
    expect_failure(hostile_image(H_CHARSMAP_TYPE), TSR_E_FORMAT, "tokenizer.ggml.precompiled_charsmap", "array of");
    expect_failure(hostile_image(H_CHARSMAP_SHORT), TSR_E_FORMAT, "tokenizer.ggml.precompiled_charsmap", "3 bytes");
    expect_failure(hostile_image(H_CHARSMAP_SIZE), TSR_E_FORMAT, "tokenizer.ggml.precompiled_charsmap", "4294967295");
}

/* A map that opens but points outside itself is found when it is used. */
static void test_hostile_charsmap(void **state) {
    (void)state;
    const hostile kinds[] = {H_CHARSMAP_OUTSIDE, H_CHARSMAP_VALUE, H_CHARSMAP_GROWTH};
    for (int i = 0; i < 3; i++) {
        fixture f = open_fixture(hostile_image(kinds[i]));
        tsr_error err = {0};
        tsr_token *ids;
        size_t n;
        assert_int_equal(tsr_tokenizer_encode(f.t, "aaaaaaaa", 8, 0, &ids, &n, &err), TSR_E_FORMAT);
        assert_null(ids);
        assert_non_null(strstr(err.message, "tokenizer.ggml.precompiled_charsmap"));
        close_fixture(&f);
    }
}

static void test_odd_but_legal(void **state) {
    (void)state;
    fixture f = open_fixture(hostile_image(H_NONE_IDS)); /* 2^32 - 1 is how converters write "none" */
    assert_int_equal(tsr_tokenizer_special(f.t)->pad, TSR_TOKEN_NONE);
    assert_null(tsr_tokenizer_text(f.t, -1));
    assert_null(tsr_tokenizer_text(f.t, 3));
    assert_false(tsr_tokenizer_is_end(f.t, 3));
    assert_int_equal(tsr_tokenizer_find(f.t, ""), TSR_TOKEN_NONE);
    tsr_error err = {0};
    char *text;
    assert_int_equal(tsr_tokenizer_decode(f.t, (tsr_token[]){0, 3}, 2, 0, &text, NULL, &err), TSR_E_ARG);
    assert_non_null(strstr(err.message, "token 1 is 3"));
    close_fixture(&f);
    f = open_fixture(hostile_image(H_DUPLICATES)); /* empty and equal entries, a NUL inside one */
    assert_int_equal(tsr_tokenizer_find(f.t, "a"), 1);
    expect_ids(&f, "aa", 0, "a a");
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bpe_merges),
        cmocka_unit_test(test_whole_words_ignore_merges),
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_any_bytes_round_trip),
        cmocka_unit_test(test_spm),
        cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_shared_by_threads),
        cmocka_unit_test(test_every_pretokenizer_opens),
        cmocka_unit_test(test_hostile_metadata),
        cmocka_unit_test(test_hostile_charsmap),
        cmocka_unit_test(test_odd_but_legal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
