/* Affinity, cores and cgroup quotas, read from made-up /proc and /sys trees, and from the real one. */
#include "core/cpu.h"

#include "test_tree.h"

#include <sched.h>

static tsr_cpuset got; /* large: kept off the stack */

static void allow(const char *cpus) {
    char text[512];
    snprintf(text, sizeof text, "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t%s\nMems_allowed:\t1\n", cpus);
    put("proc/self/status", text);
}

/* n CPUs; CPU k and k + n / 2 share a core when smt. */
static void cores(int n, bool smt) {
    for (int k = 0; k < n; k++) {
        char path[128], list[64];
        snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", k);
        if (smt)
            snprintf(list, sizeof list, "%d,%d\n", k % (n / 2), k % (n / 2) + n / 2);
        else
            snprintf(list, sizeof list, "%d\n", k);
        put(path, list);
    }
}

/* One mount, our cgroup file, and eight single-threaded cores. */
static void mounted(const char *own, const char *mount_root, const char *point, const char *type, const char *options) {
    char text[512];
    snprintf(text, sizeof text,
             "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
             "broken line\n\n31 - \n"
             "30 22 0:27 %s %s rw,nosuid shared:9 master:2 - %s cgroup %s\n",
             mount_root, point, type, options);
    put("proc/self/mountinfo", text);
    put("proc/self/cgroup", own);
    allow("0-7");
    cores(8, false);
}

static void expect(double quota, int n_default) {
    tsr_cpuset_read(root, &got);
    assert_true(got.quota > quota - 1e-9 && got.quota < quota + 1e-9);
    assert_int_equal(got.n_default, n_default);
}

/* ------------------------------------------------------------------------------------------- affinity and cores */

static void test_smt(void **state) {
    (void)state;
    cores(8, true);
    allow("0-7");
    expect(0, 4);
    assert_int_equal(got.n_logical, 8);
    assert_int_equal(got.n_physical, 4);
    for (int k = 0; k < 4; k++) assert_int_equal(got.first_cpus[k], k);

    allow("1,4-7"); /* cores {0,4} {1,5} {2,6} {3,7}: half of them by their second thread only */
    expect(0, 4);
    assert_int_equal(got.n_logical, 5);
    const int want[] = {1, 4, 6, 7};
    assert_memory_equal(got.first_cpus, want, sizeof want);

    allow("2,6");
    expect(0, 1);
    assert_int_equal(got.n_logical, 2);
}

static void test_many_cpus(void **state) {
    (void)state;
    allow("0-99,3000-4999"); /* no topology: each is a core */
    expect(0, 1024);
    assert_int_equal(got.n_logical, 2100);
    assert_int_equal(got.n_physical, 1024);
    assert_int_equal(got.first_cpus[99], 99);
    assert_int_equal(got.first_cpus[100], 3000);
    assert_int_equal(got.first_cpus[1023], 3923);
}

static void test_odd_lists(void **state) {
    (void)state;
    const char *lists[] = {"3-1,2", "2,", "2,x", "2-", "2,99999999999999999999-99999999999999999999", "2,8192-9000"};
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        allow(lists[k]);
        tsr_cpuset_read(root, &got);
        assert_int_equal(got.first_cpus[0], strcmp(lists[k], "2-") == 0 ? 0 : 2);
    }
}

static void test_nothing_there(void **state) {
    (void)state;
    expect(0, (int)sysconf(_SC_NPROCESSORS_ONLN)); /* affinity unknown: all that are online */
    allow("");
    tsr_cpuset_read(root, &got);
    assert_true(got.n_logical >= 1 && got.n_default >= 1);
    tsr_cpuset_read("/nonexistent/tessera", &got);
    assert_true(got.n_logical >= 1 && got.n_default >= 1 && got.quota == 0);
}

/* ------------------------------------------------------------------------------------------------------- quotas */

static void test_v2_path_to_root(void **state) {
    (void)state;
    mounted("0::/a/b/c\n", "/", "/sys/fs/cgroup", "cgroup2", "rw,nsdelegate");
    put("sys/fs/cgroup/a/cpu.max", "300000 100000\n");
    put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/a/x/cpu.max", "1000 100000\n"); /* a cousin does not bind us */
    expect(3, 3);                                      /* the grandparent's limit does */
    put("sys/fs/cgroup/a/b/c/cpu.max", "150000 100000\n");
    expect(1.5, 2);
    put("sys/fs/cgroup/a/b/c/cpu.max", "700000 100000\n"); /* wider than the grandparent's */
    expect(3, 3);
    put("sys/fs/cgroup/a/b/cpu.max", "25000 50000\n");
    expect(0.5, 1);
    put("sys/fs/cgroup/a/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/a/b/cpu.max", "1600000 100000\n");
    put("sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
    expect(16, 8); /* more than the CPUs there are */
}

static void test_v2_namespaces(void **state) {
    (void)state;
    /* A container with its own namespace: its cgroup is "/", and the mount's root has a limit. */
    mounted("0::/\n", "/", "/sys/fs/cgroup", "cgroup2", "rw");
    put("sys/fs/cgroup/cpu.max", "200000 100000\n");
    expect(2, 2);
    /* No namespace, but only the container's part is mounted. */
    mounted("0::/docker/abc/worker\n", "/docker/abc", "/sys/fs/cgroup", "cgroup2", "rw");
    put("sys/fs/cgroup/worker/cpu.max", "400000 100000\n");
    expect(2, 2);
    put("sys/fs/cgroup/worker/cpu.max", "100000 100000\n");
    expect(1, 1);
    /* A name that only begins like the mount's root is somewhere else. */
    mounted("0::/docker/abcd\n", "/docker/abc", "/sys/fs/cgroup", "cgroup2", "rw");
    expect(0, 8);
    /* Mounted from outside the namespace: the names in between are unknown, the mount's root is an ancestor still. */
    mounted("0::/\n", "/../..", "/sys/fs/cgroup", "cgroup2", "rw");
    expect(2, 2);
    mounted("0::/../job\n", "/..", "/sys/fs/cgroup", "cgroup2", "rw");
    put("sys/fs/cgroup/job/cpu.max", "50000 100000\n");
    expect(0.5, 1);
    /* We are outside the namespace that the mount shows, or the mount is a sibling's: nobody's limit is ours. */
    mounted("0::/../job\n", "/", "/sys/fs/cgroup", "cgroup2", "rw");
    expect(0, 8);
    mounted("0::/\n", "/../job", "/sys/fs/cgroup", "cgroup2", "rw");
    expect(0, 8);
}

static void test_v1(void **state) {
    (void)state;
    const char *own = "12:cpuset:/other\n4:cpu,cpuacct:/kube/pod/ctr\n1:name=systemd:/\n0::/init.scope\n";
    mounted(own, "/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct");
    put("sys/fs/cgroup/cpu,cpuacct/kube/pod/ctr/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/kube/pod/ctr/cpu.cfs_period_us", "100000\n");
    expect(0, 8);
    put("sys/fs/cgroup/cpu,cpuacct/kube/pod/cpu.cfs_quota_us", "250000\n");
    put("sys/fs/cgroup/cpu,cpuacct/kube/pod/cpu.cfs_period_us", "100000\n");
    expect(2.5, 3);
    put("sys/fs/cgroup/cpu,cpuacct/kube/pod/ctr/cpu.cfs_quota_us", "10000\n");
    expect(0.1, 1);
    mounted("4:cpu,cpuacct:/kube/pod/ctr\n", "/kube/pod/ctr", "/cg\\040x", "cgroup",
            "rw,cpuacct,cpu"); /* "\040": space */
    put("cg x/cpu.cfs_quota_us", "600000\n");
    put("cg x/cpu.cfs_period_us", "100000\n");
    expect(6, 6);
    mounted(own, "/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpuset"); /* another controller's hierarchy */
    expect(0, 8);
}

static void test_hybrid(void **state) {
    (void)state;
    put("proc/self/mountinfo", "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
                               "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    put("proc/self/cgroup", "1:cpu:/a\n0::/b\n");
    put("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "500000\n");
    put("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
    allow("0-7");
    expect(5, 5);
    put("sys/fs/cgroup/unified/b/cpu.max", "400000 100000\n");
    expect(4, 4);
}

static void test_odd_quotas(void **state) {
    (void)state;
    mounted("0::/a (deleted)\n", "/", "/sys/fs/cgroup", "cgroup2", "rw"); /* our directory is gone, the parent is not */
    put("sys/fs/cgroup/cpu.max", "200000 100000\n");
    expect(2, 2);
    const char *texts[] = {"",        "garbage",    "0 100000",   "-5 100000", "100000 0", "100000 -1", "100000",
                           "nan nan", "inf 100000", "100000 inf", "max",       "max max",  "1e308 1e-9"};
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        put("sys/fs/cgroup/cpu.max", texts[k]);
        expect(0, 8);
    }
    char *deep = calloc(1, 3000 + 16); /* a long path, most of which does not exist */
    strcpy(deep, "0::");
    for (int k = 0; k < 1500; k++) strcat(deep, "/a");
    put("proc/self/cgroup", deep);
    put("sys/fs/cgroup/a/a/a/cpu.max", "300000 100000\n");
    expect(3, 3);
    free(deep);
}

/* -------------------------------------------------------------------------------------------------- the real one */

static void test_real(void **state) {
    (void)state;
    cpu_set_t before, one;
    if (sched_getaffinity(0, sizeof before, &before) != 0) skip(); /* more CPUs than cpu_set_t has */
    tsr_cpuset_read("", &got);
    assert_int_equal(got.n_logical, CPU_COUNT(&before));
    assert_in_range(got.n_physical, 1, got.n_logical);
    assert_in_range(got.n_default, 1, got.n_physical);
    for (int k = 0; k < got.n_physical; k++) assert_true(CPU_ISSET(got.first_cpus[k], &before));
    int last = got.first_cpus[got.n_physical - 1];
    CPU_ZERO(&one);
    CPU_SET(last, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    tsr_cpuset_read("", &got);
    sched_setaffinity(0, sizeof before, &before);
    assert_int_equal(got.n_logical, 1);
    assert_int_equal(got.n_physical, 1);
    assert_int_equal(got.n_default, 1);
    assert_int_equal(got.first_cpus[0], last);
}

#define IN_TREE(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)

static void test_counts(void **state) {
    (void)state;
    tsr_cpuset *set = &got;
    *set = (tsr_cpuset){.n_logical = 8, .n_physical = 4, .n_default = 4};
    assert_int_equal(tsr_cpuset_usable(set), 8);
    assert_int_equal(tsr_cpuset_threads(set, 0), 4);
    assert_int_equal(tsr_cpuset_threads(set, 1), 1);
    assert_int_equal(tsr_cpuset_threads(set, 8), 8); /* a thread on each half of a core, for those who insist */
    assert_int_equal(tsr_cpuset_threads(set, 64), 8);
    set->quota = 1.5;
    set->n_default = 2;
    assert_int_equal(tsr_cpuset_usable(set), 2);
    assert_int_equal(tsr_cpuset_threads(set, 0), 2);
    assert_int_equal(tsr_cpuset_threads(set, 64), 2);
    set->quota = 100;
    assert_int_equal(tsr_cpuset_usable(set), 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_TREE(test_smt),        IN_TREE(test_many_cpus),       IN_TREE(test_odd_lists), IN_TREE(test_nothing_there),
        IN_TREE(test_v1),         IN_TREE(test_v2_path_to_root), IN_TREE(test_hybrid),    IN_TREE(test_v2_namespaces),
        IN_TREE(test_odd_quotas), cmocka_unit_test(test_counts), cmocka_unit_test(test_real),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
