/* Choice of the tier of kernels, on machines that this one is not, and the self-test that guards AMX. */
#include "engine/tier.h"
#include "kernels/self_test.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ------------------------------------------------------------------------------------------------------ choosing */

static int n_asked, n_tested;
static tsr_code granted(tsr_error *err) { return (void)err, n_asked++, TSR_OK; }
static tsr_code refused(tsr_error *err) { return n_asked++, tsr_fail(err, TSR_E_UNSUPPORTED, "the kernel refused"); }
static tsr_code fine(tsr_tier tier, tsr_error *err) { return (void)tier, (void)err, n_tested++, TSR_OK; }
static tsr_code broken(tsr_tier tier, tsr_error *err) {
    return n_tested++, tsr_fail(err, TSR_E_UNSUPPORTED, "self-test of %s gave 3", tsr_tier_name(tier));
}
static tsr_code broken_f16(tsr_tier tier, tsr_error *err) { return tier == TSR_TIER_AMXFP16 ? broken(tier, err) : fine(tier, err); }

static const tsr_tier_machine plain = {TSR_TIER_AVX512, false, false, refused, fine};
static const tsr_tier_machine without_f16 = {TSR_TIER_AVX512BF16, true, false, granted, fine};
static const tsr_tier_machine with_f16 = {TSR_TIER_AVX512BF16, true, true, granted, fine};
static const tsr_tier_machine no_permission = {TSR_TIER_AVX512BF16, true, true, refused, fine};
static const tsr_tier_machine lying = {TSR_TIER_AVX512BF16, true, false, granted, broken};
static const tsr_tier_machine half_lying = {TSR_TIER_AVX512BF16, true, true, granted, broken_f16};

/* want: the tier, or -1 and words of the message; note: words of it, or "" for none. */
static void choose(const tsr_tier_machine *m, const char *name, tsr_amx amx, int want, const char *words, const char *note_words) {
    char note[TSR_TIER_NOTE] = "left over";
    tsr_tier tier;
    tsr_error err = {0};
    n_asked = n_tested = 0;
    tsr_code code = tsr_tier_choose(m, name, amx, &tier, note, &err);
    if (amx == TSR_AMX_OFF) assert_int_equal(n_asked + n_tested, 0);
    if (want >= TSR_TIER_AMX) assert_true(n_asked > 0 && n_tested > 0);
    if (want < 0) {
        assert_int_not_equal(code, TSR_OK);
        if (!strstr(err.message, words)) fail_msg("'%s' is not in: %s", words, err.message);
        return;
    }
    assert_int_equal(code, TSR_OK);
    assert_int_equal(tier, want);
    if (!*note_words) assert_string_equal(note, "");
    if (!strstr(note, note_words)) fail_msg("'%s' is not in: %s", note_words, note);
}

static void test_auto(void **state) {
    (void)state;
    choose(&plain, NULL, TSR_AMX_AUTO, TSR_TIER_AVX512, "", "");
    assert_int_equal(n_asked + n_tested, 0);
    choose(&without_f16, NULL, TSR_AMX_AUTO, TSR_TIER_AMX, "", "");
    choose(&with_f16, NULL, TSR_AMX_AUTO, TSR_TIER_AMXFP16, "", "");
    choose(&no_permission, NULL, TSR_AMX_AUTO, TSR_TIER_AVX512BF16, "", "the kernel refused");
    assert_int_equal(n_tested, 0); /* nothing is executed without permission */
    choose(&lying, NULL, TSR_AMX_AUTO, TSR_TIER_AVX512BF16, "", "self-test of amx gave 3");
    choose(&half_lying, NULL, TSR_AMX_AUTO, TSR_TIER_AMX, "", "self-test of amxfp16 gave 3");
}

static void test_on(void **state) {
    (void)state;
    choose(&plain, NULL, TSR_AMX_ON, -1, "the kernel refused", "");
    choose(&with_f16, NULL, TSR_AMX_ON, TSR_TIER_AMXFP16, "", "");
    choose(&no_permission, NULL, TSR_AMX_ON, -1, "the kernel refused", "");
    choose(&lying, NULL, TSR_AMX_ON, -1, "self-test of amx gave 3", "");
    choose(&half_lying, NULL, TSR_AMX_ON, TSR_TIER_AMX, "", "without f16");
}

static void test_off(void **state) {
    (void)state;
    choose(&plain, NULL, TSR_AMX_OFF, TSR_TIER_AVX512, "", "");
    choose(&with_f16, NULL, TSR_AMX_OFF, TSR_TIER_AVX512BF16, "", "");
    choose(&lying, "scalar", TSR_AMX_OFF, TSR_TIER_SCALAR, "", "");
}

static void test_named(void **state) {
    (void)state;
    choose(&with_f16, "amx", TSR_AMX_AUTO, TSR_TIER_AMX, "", "");
    choose(&with_f16, "amxfp16", TSR_AMX_ON, TSR_TIER_AMXFP16, "", "");
    choose(&without_f16, "amxfp16", TSR_AMX_AUTO, -1, "amx_fp16", "");
    choose(&plain, "amx", TSR_AMX_AUTO, -1, "CPU tier amx is not available: the kernel refused", "");
    choose(&lying, "amx", TSR_AMX_AUTO, -1, "self-test of amx gave 3", "");
    choose(&with_f16, "scalar", TSR_AMX_AUTO, TSR_TIER_SCALAR, "", "");
    assert_int_equal(n_asked + n_tested, 0);
    choose(&with_f16, "amx", TSR_AMX_OFF, -1, "leave out one", "");
    choose(&with_f16, "scalar", TSR_AMX_ON, -1, "leave out one", "");
    choose(&with_f16, "sse9", TSR_AMX_AUTO, -1, "sse9", "");
    choose(&with_f16, NULL, (tsr_amx)7, -1, "7", "");
}

/* What this machine says is what cpu.h says, and is not asked twice. */
static void test_this_machine(void **state) {
    (void)state;
    const tsr_tier_machine *m = tsr_tier_this_machine();
    assert_ptr_equal(m, tsr_tier_this_machine());
    assert_int_equal(m->below_amx, tsr_cpu_get()->tier);
    assert_true(m->below_amx < TSR_TIER_AMX);
    char note[TSR_TIER_NOTE];
    tsr_tier tier;
    tsr_error err = {0}, permission = {0};
    tsr_code code = tsr_tier_best_amx(m, &tier, note, &err);
    if (tsr_cpu_amx_request(&permission) != TSR_OK) {
        assert_int_equal(code, TSR_E_UNSUPPORTED);
        assert_string_equal(err.message, permission.message);
    }
}

/* ----------------------------------------------------------------------------------------------------- self-test */

static const tsr_kernels *base;
static void ill(const tsr_wide_job *job) { (void)job, __builtin_trap(); }
static void wrong(const tsr_wide_job *job) {
    base->wide[TSR_Q8_0]->strip[TSR_Q8_0](job);
    job->c[TSR_PANEL + 3] += 0.25f;
}

static int n_entered;
static void enter(void) { n_entered++; }
static void leave(void) { n_entered--; }

/* The best record with another strip for Q8_0. */
static tsr_code self_test(void (*strip)(const tsr_wide_job *), tsr_error *err) {
    base = tsr_kernels_get(tsr_cpu_get()->tier);
    tsr_kernels kern = *base;
    tsr_wide wide = *base->wide[TSR_Q8_0];
    if (strip) wide.strip[TSR_Q8_0] = strip;
    for (int t = 0; t < TSR_TYPE_COUNT; t++)
        if (kern.wide[t]) kern.wide[t] = &wide;
    kern.enter = enter;
    kern.leave = leave;
    n_entered = 0;
    tsr_code code = tsr_kernels_self_test(&kern, err);
    assert_int_equal(n_entered, 0);
    return code;
}

static void test_self_test(void **state) {
    (void)state;
    tsr_error err = {0};
    struct sigaction before, after;
    unsigned mode = __builtin_ia32_stmxcsr();
    sigset_t mask, mask_after, all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask); /* blocked signals do not keep a refused instruction from being caught */
    sigaction(SIGILL, NULL, &before);
    assert_int_equal(self_test(NULL, &err), TSR_OK);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(self_test(ill, &err), TSR_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, "SIGILL"));
    }
    assert_int_equal(self_test(wrong, &err), TSR_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "row 1, column 3"));
    assert_int_equal(self_test(NULL, &err), TSR_OK);
    sigaction(SIGILL, NULL, &after);
    assert_ptr_equal(before.sa_handler, after.sa_handler);
    assert_int_equal(__builtin_ia32_stmxcsr(), mode);
    pthread_sigmask(SIG_SETMASK, &mask, &mask_after);
    assert_int_equal(sigismember(&mask_after, SIGILL), 1);
    for (int t = 0; t <= (int)tsr_cpu_get()->tier; t++)
        if (tsr_tier_usable((tsr_tier)t)) assert_int_equal(tsr_kernels_self_test(tsr_kernels_get((tsr_tier)t), &err), TSR_OK);
}

/* The real AMX kernels where the CPU (or its permission) does not have them: as if CPUID lied. */
static void test_refused_tiles(void **state) {
    (void)state;
    tsr_error err = {0};
    if (!tsr_tier_usable(TSR_TIER_AVX512BF16)) {
        print_message("NOT TESTED: AMX kernels unpack with AVX-512 BF16, which this CPU lacks\n");
        return;
    }
    const tsr_kernels *kern = tsr_kernels_get(TSR_TIER_AMX); /* filling it executes no AMX instruction */
    for (int t = 0; t < TSR_TYPE_COUNT; t++) /* no lower tier has taken these slots */
        if (kern->wide[t]) assert_string_equal(kern->wide[t]->name, "wide_bf16_32x32__amx");
    tsr_code code = tsr_kernels_self_test(kern, &err);
    assert_int_equal(code, tsr_tier_usable(TSR_TIER_AMX) ? TSR_OK : TSR_E_UNSUPPORTED);
    if (code != TSR_OK) assert_non_null(strstr(err.message, "refused an instruction of kernel wide_bf16_32x32__amx (SIGILL)"));
}

static void *test_many(void *arg) {
    for (int i = 0; i < 50; i++)
        if (tsr_kernels_self_test(arg, NULL) != TSR_OK) return arg;
    return NULL;
}

/* Threads that the library did not create, at the same time, and a child after fork. */
static void test_threads_and_fork(void **state) {
    (void)state;
    tsr_kernels *kern = (void *)(uintptr_t)tsr_kernels_get(tsr_cpu_get()->tier);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, test_many, kern), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    pid_t child = fork();
    if (child == 0) {
        char note[TSR_TIER_NOTE];
        tsr_tier tier;
        bool same = tsr_tier_choose(tsr_tier_this_machine(), NULL, TSR_AMX_AUTO, &tier, note, NULL) == TSR_OK;
        _exit(same && tsr_kernels_self_test(tsr_kernels_get(tier), NULL) == TSR_OK ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* Another thread's SIGILL goes to the handler that was there. */
static sigjmp_buf elsewhere;
static _Atomic int n_elsewhere;
static void on_other(int sig) {
    (void)sig;
    n_elsewhere++;
    siglongjmp(elsewhere, 1);
}

static void *trap_often(void *stop) {
    while (!__atomic_load_n((int *)stop, __ATOMIC_RELAXED))
        if (sigsetjmp(elsewhere, 1) == 0) __builtin_trap();
    return NULL;
}

static void test_handler_of_others(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = on_other}, before;
    sigaction(SIGILL, &action, &before);
    int stop = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, trap_often, &stop), 0);
    for (int i = 0; i < 300 || n_elsewhere < 300; i++)
        assert_int_equal(self_test(i % 2 ? ill : NULL, NULL), i % 2 ? TSR_E_UNSUPPORTED : TSR_OK);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    sigaction(SIGILL, &before, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_on),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_named),
        cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_self_test),
        cmocka_unit_test(test_refused_tiles),
        cmocka_unit_test(test_threads_and_fork),
        cmocka_unit_test(test_handler_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
