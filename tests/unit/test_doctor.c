/* The doctor's findings for machines of all kinds: a healthy one has no problems, and each thing that is wrong is found, alone. */
#include "engine/doctor.h"

#include "test_tree.h"

#include <errno.h>
#include <math.h>

static tsr_checkup healthy; /* a Xeon with AMX on bare metal */

static int set_up(void **state) {
    (void)state;
    healthy = (tsr_checkup){
        .cpu = {.brand = "Xeon Test", .tier = TSR_TIER_AVX512BF16, .avx2 = true, .fma = true, .f16c = true, .avx_vnni = true, .avx512f = true,
                .avx512bw = true, .avx512vl = true, .avx512dq = true, .avx512cd = true, .avx512_vnni = true, .avx512_bf16 = true, .amx_tile = true,
                .amx_int8 = true, .amx_bf16 = true, .cpuid_avx2 = true, .cpuid_avx512f = true, .os_avx = true, .os_avx512 = true, .os_amx = true,
                .features = "avx2 amx_tile", .l2 = 2 << 20},
        .amx = {.brand = "Xeon Test", .family = 6, .model = 0x8f, .cpuid = true, .silicon = true, .xstate = 0x602e7, .xcr0 = 0x602e7},
        .set = {.n_logical = 16, .n_physical = 8, .n_default = 8},
        .system = {.kernel = "6.1.0", .online = "0-15", .load = 0.5, .steal = 0, .total = UINT64_C(64) << 30, .available = UINT64_C(60) << 30,
                   .group_limit = TSR_UNLIMITED, .group_left = TSR_UNLIMITED, .thp = "madvise", .thp_defrag = "madvise", .huge_size = 2 << 20,
                   .n_nodes = 1, .nodes = {{.total = UINT64_C(64) << 30, .cpus = "0-15"}}, .memlock = 65536, .address_space = TSR_UNLIMITED,
                   .data = TSR_UNLIMITED, .governor = "powersave", .driver = "intel_pstate"},
        .cache_dir = "/home/x/.cache/tessera",
        .cache_free = UINT64_C(100) << 30,
    };
    return 0;
}

/* The finding of that name, or one whose name is NULL. */
static tsr_finding find(const tsr_doctor *d, const char *section, const char *name) {
    tsr_finding f;
    for (size_t i = 0; tsr_doctor_finding(d, i, &f); i++)
        if (strcmp(f.section, section) == 0 && strcmp(f.name, name) == 0) return f;
    return (tsr_finding){0};
}

static int n_problems(const tsr_doctor *d) {
    tsr_finding f;
    int n = 0;
    for (size_t i = 0; tsr_doctor_finding(d, i, &f); i++) {
        assert_true(*f.name && *f.section && (*f.text || !isnan(f.number)));
        assert_true(!*f.problem || *f.advice); /* none without advice */
        n += *f.problem != '\0';
    }
    return n;
}

/* Exactly this is wrong, with these words in problem and advice. */
static void expect(const tsr_checkup *c, const char *section, const char *name, const char *what, const char *advice) {
    tsr_doctor *d = tsr_doctor_examine(c, NULL);
    assert_non_null(d);
    tsr_finding f = find(d, section, name);
    assert_non_null(f.name);
    if (!strstr(f.problem, what) || !strstr(f.advice, advice)) fail_msg("%s: %s -> %s", f.name, f.problem, f.advice);
    assert_int_equal(n_problems(d), 1);
    tsr_doctor_close(d);
}

static tsr_doctor *examine_fine(const tsr_checkup *c) {
    tsr_doctor *d = tsr_doctor_examine(c, NULL);
    assert_non_null(d);
    assert_int_equal(n_problems(d), 0);
    return d;
}

static void test_healthy(void **state) {
    (void)state;
    tsr_doctor *d = examine_fine(&healthy);
    assert_string_equal(find(d, "amx", "usable").text, "yes, tested");
    assert_string_equal(find(d, "tiers", "amx").text, "usable");
    assert_string_equal(find(d, "tiers", "amxfp16").text, "no: lacks amx_fp16, avx512_fp16");
    assert_string_equal(find(d, "memory", "available").text, "60.0 GiB");
    assert_true(find(d, "memory", "available").number == 60.0 * (1 << 30));
    assert_true(isnan(find(d, "memory", "cgroup_limit").number));
    assert_true(*find(d, "limits", "locked_memory").advice && !*find(d, "limits", "locked_memory").problem);
    assert_null(find(d, "cpu", "l1d").name); /* not told */
    tsr_doctor_close(d);
}

/* Each layer that blocks AMX, as core/cpu.h tells it, and what that makes of the tiers. */
static void test_amx(void **state) {
    (void)state;
    tsr_checkup c = healthy;
    c.amx.hypervisor = "KVM";
    c.amx.cpuid = c.cpu.amx_tile = c.cpu.amx_int8 = c.cpu.amx_bf16 = false;
    tsr_amx_verdict(&c.amx, &c.amx_answer);
    expect(&c, "amx", "usable", "hidden by the hypervisor (KVM)", "give the guest amx-tile");
    c = healthy;
    c.amx.xcr0 = 0xe7;
    c.cpu.os_amx = false;
    tsr_amx_verdict(&c.amx, &c.amx_answer);
    expect(&c, "amx", "usable", "not enabled by the kernel", "Linux 5.16 or later");
    c = healthy;
    c.amx.prctl_errno = EPERM;
    tsr_amx_verdict(&c.amx, &c.amx_answer);
    expect(&c, "amx", "usable", "Operation not permitted", "seccomp");
    tsr_doctor *d = tsr_doctor_examine(&c, NULL);
    assert_string_equal(find(d, "tiers", "amx").text, "no: see amx");
    assert_string_equal(find(d, "amx", "permission").text, "Operation not permitted");
    tsr_doctor_close(d);
    c = healthy;
    tsr_fail(&c.amx_answer, TSR_E_UNSUPPORTED, "a self-test failed");
    expect(&c, "amx", "usable", "a self-test failed", "doc/amx.md");
    /* a CPU that never had it is no problem */
    c.amx.silicon = c.amx.cpuid = c.cpu.amx_tile = false;
    tsr_amx_verdict(&c.amx, &c.amx_answer);
    d = examine_fine(&c);
    assert_non_null(strstr(find(d, "amx", "usable").text, "no: the CPU lacks AMX"));
    tsr_doctor_close(d);
}

static void test_masked_registers(void **state) {
    (void)state;
    tsr_checkup c = healthy;
    c.amx.silicon = c.cpu.amx_tile = false;
    tsr_fail(&c.amx_answer, TSR_E_UNSUPPORTED, "none");
    c.cpu.os_avx512 = c.cpu.avx512f = c.cpu.os_amx = false;
    expect(&c, "cpu", "xcr0", "AVX-512, but XCR0", "noxsave");
    c.amx.hypervisor = "Xen";
    c.cpu.os_avx = c.cpu.avx2 = false;
    expect(&c, "cpu", "xcr0", "AVX2, but XCR0", "the hypervisor must offer");
    c.cpu.cpuid_avx2 = c.cpu.cpuid_avx512f = false;
    expect(&c, "cpu", "features", "no AVX2", "CPU model of its host");
}

static void test_memory(void **state) {
    (void)state;
    tsr_checkup c = healthy;
    c.system.available = 512 << 20;
    expect(&c, "memory", "available", "512 MiB", "end what else");
    c = healthy;
    c.system.group_limit = 2u << 30;
    c.system.group_left = 100 << 20;
    expect(&c, "memory", "available", "100 MiB", "cgroup");
    c = healthy;
    strcpy(c.system.thp, "never");
    expect(&c, "huge pages", "transparent", "switched off", "echo madvise");
    c = healthy;
    c.system.address_space = 1u << 30;
    expect(&c, "limits", "address_space", "limited", "ulimit -v");
    c = healthy;
    c.system.data = 1u << 30;
    expect(&c, "limits", "data", "limited", "ulimit -d");
    c = healthy; /* a cgroup with room, and a machine whose /proc says nothing */
    c.system.group_limit = UINT64_C(32) << 30;
    c.system.group_left = UINT64_C(31) << 30;
    tsr_doctor_close(examine_fine(&c));
    c.system = (tsr_system){.load = -1, .steal = -1, .group_limit = TSR_UNLIMITED, .group_left = TSR_UNLIMITED, .memlock = TSR_UNLIMITED,
                            .address_space = TSR_UNLIMITED, .data = TSR_UNLIMITED};
    tsr_doctor_close(examine_fine(&c));
}

static void test_threads(void **state) {
    (void)state;
    tsr_checkup c = healthy;
    c.set.quota = 1.5;
    expect(&c, "threads", "quota", "no whole number", "whole number of CPUs");
    c.set.quota = 4;
    tsr_doctor_close(examine_fine(&c));
    c.set.quota = 64.5; /* more than there are CPUs: it binds nothing */
    tsr_doctor_close(examine_fine(&c));
    c = healthy;
    c.system.load = 12;
    expect(&c, "threads", "load", "a load of 12.0 on 16 CPUs", "--threads");
    c = healthy;
    c.system.steal = 0.25;
    expect(&c, "threads", "steal", "25 %", "dedicated");
    c = healthy;
    strcpy(c.system.driver, "acpi-cpufreq");
    expect(&c, "cpu", "governor", "lowest", "cpupower");
}

static void test_nodes(void **state) {
    (void)state;
    tsr_checkup c = healthy;
    c.system.n_nodes = TSR_MAX_NODES;
    for (int i = 0; i < TSR_MAX_NODES; i++) c.system.nodes[i] = (tsr_node){.id = i, .total = 1u << 30};
    tsr_doctor *d = examine_fine(&c);
    assert_true(*find(d, "numa", "nodes").advice);
    assert_non_null(find(d, "numa", "node63").name);
    assert_non_null(find(d, "disk", "free").name); /* what comes last has its place */
    tsr_doctor_close(d);
}

static void test_disk(void **state) {
    (void)state;
    tsr_checkup c = healthy;
    c.cache_answer = (tsr_error){TSR_E_IO, "Read-only file system"};
    expect(&c, "disk", "cache", "Read-only", "XDG_CACHE_HOME");
    c = healthy;
    c.cache_free = 5 << 20;
    expect(&c, "disk", "free", "1 GiB", "make room");
}

static void check_directory(const char *path, tsr_code code, const char *why) {
    static tsr_checkup c;
    tsr_checkup_read(root, path, &c);
    if (c.cache_answer.code != code || !strstr(c.cache_answer.message, why))
        fail_msg("%s: %s: \"%s\"", path, tsr_code_name(c.cache_answer.code), c.cache_answer.message);
    assert_true((c.cache_free > 0) == (code == TSR_OK));
    if (strlen(path) < 100) assert_string_equal(c.cache_dir, path);
}

/* The directory that is there, or would be made, decides. */
static void test_cache_directories(void **state) {
    (void)state;
    char path[256], was[4096];
    put("dir/file", "");
    chmod(root, 0700);
    snprintf(path, sizeof path, "%s/dir/not/made/yet", root);
    check_directory(path, TSR_OK, "");
    snprintf(path, sizeof path, "%s/dir/file/below", root);
    check_directory(path, TSR_E_IO, "Not a directory");
    snprintf(path, sizeof path, "%s/dir/nowhere", root);
    assert_int_equal(symlink("nothing", path), 0);
    check_directory(path, TSR_E_IO, "No such file");
    snprintf(path, sizeof path, "%s/dir", root);
    chmod(path, 0777);
    check_directory(path, TSR_E_IO, "chmod 700");
    char *longest = calloc(1, 5000);
    memset(longest, '/', 4999);
    check_directory(longest, TSR_E_IO, "too long");
    free(longest);
    assert_non_null(getcwd(was, sizeof was));
    assert_int_equal(chdir(root), 0);
    check_directory("a", TSR_OK, ""); /* relative ones, too */
    check_directory("a/b", TSR_OK, "");
    check_directory("./a//b/", TSR_OK, "");
    check_directory("dir/file/b", TSR_E_IO, "Not a directory");
    check_directory("dir", TSR_E_IO, "chmod 700");
    assert_int_equal(chdir(was), 0);
    assert_int_equal(setenv("XDG_CACHE_HOME", "relative", 1) | unsetenv("HOME"), 0);
    static tsr_checkup c;
    tsr_checkup_read(root, NULL, &c);
    assert_true(strstr(c.cache_answer.message, "neither XDG_CACHE_HOME nor HOME") != NULL && c.cache_dir[0] == '\0');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_healthy), cmocka_unit_test(test_amx),   cmocka_unit_test(test_masked_registers), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_nodes), cmocka_unit_test(test_disk),
        cmocka_unit_test_setup_teardown(test_cache_directories, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
