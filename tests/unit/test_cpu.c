/* CPU features against /proc/cpuinfo, caches against sysfs, and every answer to "may we use AMX?". */
#include "core/cpu.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Is the word in the space-separated list? */
static bool listed(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *s = list; (s = strstr(s, word)); s++)
        if ((s == list || strchr(" \t", s[-1])) && (s[n] == '\0' || strchr(" \t\n", s[n]))) return true;
    return false;
}

/* The flags line of the first CPU; the caller frees it. NULL when there is none. */
static char *cpuinfo_line(const char *key) {
    FILE *f = fopen("/proc/cpuinfo", "r");
    char *line = NULL;
    size_t cap = 0;
    while (f && getline(&line, &cap, f) > 0)
        if (strncmp(line, key, strlen(key)) == 0 && strchr("\t :", line[strlen(key)])) {
            fclose(f);
            return line;
        }
    if (f) fclose(f);
    free(line);
    return NULL;
}

static void test_features(void **state) {
    (void)state;
    /* newer: names that kernels in use (before 6.2) do not print yet. */
    static const struct {
        const char *name;
        bool newer;
    } known[] = {{"avx2", false},       {"fma", false},         {"f16c", false},       {"avx_vnni", true},
                 {"avx512f", false},    {"avx512bw", false},    {"avx512vl", false},   {"avx512dq", false},
                 {"avx512cd", false},   {"avx512_vnni", false}, {"avx512vbmi", false}, {"avx512_bf16", false},
                 {"avx512_fp16", true}, {"amx_tile", true},     {"amx_int8", true},    {"amx_bf16", true},
                 {"amx_fp16", true}};
    const tsr_cpu *c = tsr_cpu_get();
    char *flags = cpuinfo_line("flags");
    if (!flags) skip();
    size_t found = 0, length = 0;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        bool ours = listed(c->features, known[k].name), theirs = listed(flags, known[k].name);
        if (ours != theirs && !(ours && known[k].newer))
            fail_msg("%s: %d here, %d in /proc/cpuinfo", known[k].name, ours, theirs);
        if (ours) {
            found++;
            length += strlen(known[k].name);
        }
    }
    assert_int_equal(strlen(c->features), length + (found ? found - 1 : 0)); /* nothing else in the list */
    free(flags);
    print_message("%s: %s\n", c->brand, c->features);
}

static void test_fields(void **state) {
    (void)state;
    const tsr_cpu *c = tsr_cpu_get();
    assert_ptr_equal(c, tsr_cpu_get());
    const struct {
        bool field;
        const char *name;
    } all[] = {{c->avx2, "avx2"},
               {c->fma, "fma"},
               {c->f16c, "f16c"},
               {c->avx_vnni, "avx_vnni"},
               {c->avx512f, "avx512f"},
               {c->avx512bw, "avx512bw"},
               {c->avx512vl, "avx512vl"},
               {c->avx512dq, "avx512dq"},
               {c->avx512cd, "avx512cd"},
               {c->avx512_vnni, "avx512_vnni"},
               {c->avx512_vbmi, "avx512vbmi"},
               {c->avx512_bf16, "avx512_bf16"},
               {c->avx512_fp16, "avx512_fp16"},
               {c->amx_tile && c->os_amx, "amx_tile"},
               {c->amx_int8 && c->os_amx, "amx_int8"},
               {c->amx_bf16 && c->os_amx, "amx_bf16"},
               {c->amx_fp16 && c->os_amx, "amx_fp16"}};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        assert_int_equal(all[k].field, listed(c->features, all[k].name));
    assert_true(!c->avx2 || c->os_avx);
    assert_true(!c->avx512f || c->os_avx512);
    char *model = cpuinfo_line("model name");
    if (model) assert_non_null(strstr(model, c->brand));
    free(model);
}

static void test_tiers(void **state) {
    (void)state;
    const tsr_cpu *c = tsr_cpu_get();
    assert_string_equal(tsr_tier_name(TSR_TIER_SCALAR), "scalar");
    for (int t = 0; t < TSR_TIER_COUNT; t++) assert_int_equal(tsr_tier_find(tsr_tier_name((tsr_tier)t)), t);
    assert_int_equal(tsr_tier_find("avx"), -1);
    assert_int_equal(tsr_tier_find(""), -1);
    assert_int_equal(tsr_tier_find("AVX2"), -1);
    assert_string_equal(tsr_tier_name(TSR_TIER_COUNT), "unknown");
    bool avx2 = c->avx2 && c->fma && c->f16c;
    bool avx512 = avx2 && c->avx512f && c->avx512bw && c->avx512vl && c->avx512dq && c->avx512cd && c->avx512_vnni;
    tsr_tier best = avx2 ? c->avx_vnni ? TSR_TIER_AVXVNNI : TSR_TIER_AVX2 : TSR_TIER_SCALAR;
    if (avx512) best = c->avx512_bf16 ? TSR_TIER_AVX512BF16 : TSR_TIER_AVX512;
    assert_int_equal(c->tier, best);
    assert_true(tsr_tier_usable(TSR_TIER_SCALAR));
    assert_int_equal(tsr_tier_usable(TSR_TIER_AVX2), avx2);
    assert_int_equal(tsr_tier_usable(TSR_TIER_AVX512), avx512);
    assert_true(!tsr_tier_usable(TSR_TIER_AMX) || (c->amx_tile && c->os_amx));
}

/* One line of a file of cpu0's cache k in sysfs; "" when missing. */
static const char *cache_file(int k, const char *name, char out[64]) {
    char path[128];
    out[0] = '\0';
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", k, name);
    FILE *f = fopen(path, "r");
    if (f && !fgets(out, 64, f)) out[0] = '\0';
    if (f) fclose(f);
    out[strcspn(out, "\n")] = '\0';
    return out;
}

static void test_caches(void **state) {
    (void)state;
    const tsr_cpu *c = tsr_cpu_get();
    char text[64];
    for (int k = 0; k < 8; k++) {
        size_t kib = strtoul(cache_file(k, "size", text), NULL, 10);
        int level = atoi(cache_file(k, "level", text));
        if (kib == 0 || strcmp(cache_file(k, "type", text), "Instruction") == 0) continue;
        if (level == 1) assert_int_equal(c->l1d, kib * 1024);
        if (level == 2) assert_int_equal(c->l2, kib * 1024);
        if (level == 3) assert_int_equal(c->l3, kib * 1024);
    }
}

/* ------------------------------------------------------------------------------------------------------- AMX */

static const tsr_amx_facts all_well = {.brand = "Xeon Test",
                                       .family = 6,
                                       .model = 143,
                                       .cpuid = true,
                                       .silicon = true,
                                       .xstate = 0x602e7,
                                       .xcr0 = 0x602e7};

static void blocked(tsr_amx_facts facts, const char *layer, const char *detail) {
    tsr_error err = {0};
    assert_int_equal(tsr_amx_verdict(&facts, &err), TSR_E_UNSUPPORTED);
    assert_int_equal(err.code, TSR_E_UNSUPPORTED);
    if (!strstr(err.message, layer) || !strstr(err.message, detail))
        fail_msg("'%s' should name '%s' and '%s'", err.message, layer, detail);
    assert_null(strchr(err.message, '\n'));
    assert_int_equal(tsr_amx_verdict(&facts, NULL), TSR_E_UNSUPPORTED);
}

static void test_verdicts(void **state) {
    (void)state;
    tsr_amx_facts f = all_well;
    tsr_error err = {0};
    assert_int_equal(tsr_amx_verdict(&f, &err), TSR_OK);
    assert_string_equal(err.message, "");
    f.hypervisor = "KVM"; /* a guest that was given AMX */
    assert_int_equal(tsr_amx_verdict(&f, &err), TSR_OK);

    f = all_well, f.cpuid = f.silicon = false, f.model = 85;
    blocked(f, "the CPU lacks AMX", "Xeon Test, family 6 model 85");
    f.hypervisor = "KVM";
    blocked(f, "the CPU lacks AMX", "hypervisor KVM");
    f = all_well, f.cpuid = false;
    blocked(f, "firmware", "lacks it");
    f.hypervisor = "Hyper-V";
    blocked(f, "hidden by the hypervisor (Hyper-V)", "lacks it");
    f = all_well, f.xstate = 0x2e7, f.xcr0 = 0x2e7;
    blocked(f, "the firmware", "0x2e7");
    f.hypervisor = "Xen";
    blocked(f, "the hypervisor Xen", "XTILEDATA");
    f = all_well, f.xcr0 = 0x2e7;
    blocked(f, "not enabled by the kernel", "Linux 5.16");
    f.xcr0 = 0x202e7; /* tile configuration without tile data */
    blocked(f, "not enabled by the kernel", "0x202e7");
    f = all_well, f.prctl_errno = EPERM;
    blocked(f, "the kernel refused", "seccomp");
    f.prctl_errno = EINVAL;
    blocked(f, "the kernel refused", "Linux 5.16");
    f.prctl_errno = ENOSPC;
    blocked(f, "the kernel refused", "signal stack");
    f.prctl_errno = EIO;
    blocked(f, "the kernel refused", "Input/output error");
}

static void *ask(void *arg) {
    tsr_cpu_amx_request(arg);
    return NULL;
}

/* In a child: without the permission the first tile instruction that touches data would kill it. */
static void use_tiles(void) {
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes_per_row[16];
        uint8_t rows[16];
    } config = {.palette = 1, .bytes_per_row = {64}, .rows = {16}};
    __asm__ volatile("ldtilecfg %0\n\ttilezero %%tmm0\n\ttilerelease" : : "m"(config));
}

static void test_request(void **state) {
    (void)state;
    enum { N = 8 };
    static tsr_error answers[N + 1];
    pthread_t threads[N];
    for (int k = 0; k < N; k++) assert_int_equal(pthread_create(&threads[k], NULL, ask, &answers[k]), 0);
    for (int k = 0; k < N; k++) pthread_join(threads[k], NULL);
    tsr_code code = tsr_cpu_amx_request(&answers[N]);
    assert_int_equal(tsr_cpu_amx_request(NULL), code);
    for (int k = 0; k < N; k++) {
        assert_int_equal(answers[k].code, code);
        assert_string_equal(answers[k].message, answers[N].message);
    }
    char *flags = cpuinfo_line("flags");
    if (code == TSR_OK) {
        assert_true(tsr_cpu_get()->amx_tile && tsr_cpu_get()->os_amx);
        pid_t pid = fork();
        if (pid == 0) {
            use_tiles();
            _exit(0);
        }
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    } else if (flags && !listed(flags, "amx_tile") && !tsr_cpu_get()->amx_tile) {
        assert_int_equal(code, TSR_E_UNSUPPORTED);
        assert_non_null(strstr(answers[N].message, "lacks"));
        print_message("%s\n", answers[N].message);
    }
    if (flags && listed(flags, "amx_tile") && code != TSR_OK) /* then only a refused permission explains it */
        assert_non_null(strstr(answers[N].message, "refused"));
    free(flags);
}

static void test_machine(void **state) {
    (void)state;
    static tsr_cpuset set;
    tsr_machine m;
    memset(&m, 0xff, sizeof m);
    tsr_machine_get(&m);
    tsr_cpuset_read("", &set);
    assert_string_equal(m.cpu, tsr_cpu_get()->brand);
    assert_true(tsr_tier_find(m.tier) == (int)tsr_cpu_get()->tier || (m.amx_usable && tsr_tier_find(m.tier) >= TSR_TIER_AMX));
    assert_string_equal(m.features, tsr_cpu_get()->features);
    assert_int_equal(m.n_logical, set.n_logical);
    assert_int_equal(m.n_physical, set.n_physical);
    assert_int_equal(m.n_threads_default, set.n_default);
    assert_true(m.cgroup_cpus >= 0 && m.cgroup_cpus <= set.quota && m.cgroup_cpus >= set.quota);
    assert_true(!m.amx_usable || tsr_tier_usable(TSR_TIER_AMX)); /* usable tiles may still fail the self-test */
    assert_int_equal(m.amx_usable, m.amx_reason[0] == '\0');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_features), cmocka_unit_test(test_fields),   cmocka_unit_test(test_tiers),
        cmocka_unit_test(test_caches),   cmocka_unit_test(test_verdicts), cmocka_unit_test(test_request),
        cmocka_unit_test(test_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
