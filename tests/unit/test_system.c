/* What the operating system says, read from made-up /proc and /sys trees, from an empty one, and from the real one. */
#include "core/system.h"

#include "test_tree.h"

static tsr_system got; /* large: kept off the stack */

static void test_everything(void **state) {
    (void)state;
    put("proc/sys/kernel/osrelease", "6.1.0-test\n");
    put("proc/sys/kernel/numa_balancing", "1\n");
    put("proc/loadavg", "3.25 2.00 1.00 2/345 6789\n");
    put("proc/stat", "cpu  600 0 100 200 0 0 0 100 5 5\ncpu0 1 2 3\n");
    put("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    4194304 kB\nSwapTotal: 2048 kB\nSwapFree: 1024 kB\n"
                        "HugePages_Total:      10\nHugePages_Free:        7\nHugepagesize:       2048 kB\n");
    put("proc/self/limits", "Limit                     Soft Limit           Hard Limit           Units\n"
                            "Max data size             unlimited            unlimited            bytes\n"
                            "Max locked memory         65536                8388608              bytes\n"
                            "Max address space         4294967296           unlimited            bytes\n");
    put("proc/self/status", "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\nMems_allowed_list:\t0,2\n");
    put("sys/devices/system/cpu/online", "0-7\n");
    put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
    put("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "acpi-cpufreq\n");
    put("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
    put("sys/kernel/mm/transparent_hugepage/defrag", "always defer [defer+madvise] madvise never\n");
    put("sys/devices/system/node/node0/meminfo", "Node 0 MemTotal:       8388608 kB\nNode 0 MemFree:        1024 kB\n");
    put("sys/devices/system/node/node0/cpulist", "0-3\n");
    put("sys/devices/system/node/node2/meminfo", "Node 2 MemTotal:       8388608 kB\nNode 2 MemFree:        2048 kB\n");
    put("sys/devices/system/node/node2/cpulist", "4-7\n");
    tsr_system_read(root, &got);
    assert_string_equal(got.kernel, "6.1.0-test");
    assert_string_equal(got.online, "0-7");
    assert_string_equal(got.governor, "powersave");
    assert_string_equal(got.driver, "acpi-cpufreq");
    assert_true(got.load == 3.25 && got.steal == 0.1 && got.seccomp && got.numa_balancing);
    assert_int_equal(got.total, 1ull << 34);
    assert_int_equal(got.available, 1ull << 32);
    assert_int_equal(got.swap_total - got.swap_free, 1 << 20);
    assert_int_equal(got.huge_size, 2 << 20);
    assert_int_equal(got.huge_total, 10);
    assert_int_equal(got.huge_free, 7);
    assert_string_equal(got.thp, "never");
    assert_string_equal(got.thp_defrag, "defer+madvise");
    assert_true(got.memlock == 65536 && got.address_space == 1ull << 32 && got.data == TSR_UNLIMITED);
    assert_true(got.group_limit == TSR_UNLIMITED && got.group_left == TSR_UNLIMITED);
    assert_int_equal(got.n_nodes, 2);
    assert_int_equal(got.nodes[1].id, 2);
    assert_int_equal(got.nodes[1].total, 1ull << 33);
    assert_int_equal(got.nodes[1].free, 2 << 20);
    assert_string_equal(got.nodes[1].cpus, "4-7");
    assert_string_equal(got.mems_allowed, "0,2");
    assert_string_equal(got.container, "");
}

static void test_nothing(void **state) {
    (void)state;
    tsr_system_read(root, &got);
    assert_true(got.total == 0 && got.load == -1 && got.steal == -1 && got.n_nodes == 0 && !got.seccomp);
    assert_true(got.memlock == TSR_UNLIMITED && got.group_limit == TSR_UNLIMITED && got.thp[0] == '\0');
    put("proc/meminfo", "");
    put("proc/stat", "cpu  1 2\n");
    put("proc/loadavg", "");
    put("sys/kernel/mm/transparent_hugepage/enabled", "always [never");
    put("sys/devices/system/node/node0/meminfo", "garbage");
    tsr_system_read(root, &got);
    assert_true(got.total == 0 && got.load == -1 && got.steal == -1);
    assert_string_equal(got.thp, "never"); /* no bracket that closes: to the end */
    assert_int_equal(got.n_nodes, 1);
    assert_string_equal(got.nodes[0].cpus, "");
}

/* The tightest limit on the path counts, with what is left in that cgroup; file caches that could go count as free. */
static void test_memory_cgroups(void **state) {
    (void)state;
    put("proc/self/cgroup", "0::/a/b\n");
    put("proc/self/mountinfo", "30 22 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n");
    put("sys/fs/cgroup/a/b/memory.max", "max\n");
    put("sys/fs/cgroup/a/memory.max", "1000000\n");
    put("sys/fs/cgroup/a/memory.current", "900000\n");
    put("sys/fs/cgroup/a/memory.stat", "anon 5\nfile 400000\ninactive_file 300000\n");
    put("sys/fs/cgroup/memory.max", "2000000\n");
    put("sys/fs/cgroup/memory.current", "1999999\n");
    tsr_system_read(root, &got);
    assert_int_equal(got.group_limit, 1000000);
    assert_int_equal(got.group_left, 1); /* others fill the cgroup above */
    put("sys/fs/cgroup/memory.current", "1000000\n");
    tsr_system_read(root, &got);
    assert_int_equal(got.group_limit, 1000000);
    assert_int_equal(got.group_left, 400000);
    put("sys/fs/cgroup/a/memory.current", "1500000\n"); /* above the limit, for a moment */
    put("sys/fs/cgroup/a/memory.stat", "");
    tsr_system_read(root, &got);
    assert_int_equal(got.group_left, 0);
    put("proc/self/cgroup", "4:memory:/docker/1\n3:cpu:/\n");
    put("proc/self/mountinfo", "30 22 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "3000000\n");
    put("sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes", "2000000\n");
    put("sys/fs/cgroup/memory/docker/1/memory.stat", "inactive_file 7\ntotal_inactive_file 500000\n");
    tsr_system_read(root, &got);
    assert_int_equal(got.group_limit, 3000000);
    assert_int_equal(got.group_left, 1500000);
    assert_string_equal(got.container, "docker");
}

/* What the system has, what the cgroups leave, or what is assumed; the whole path of the cgroup counts. */
static void test_available(void **state) {
    (void)state;
    assert_int_equal(tsr_system_available(root), 1 << 30);
    put("proc/meminfo", "MemAvailable:    4096 kB\n");
    assert_int_equal(tsr_system_available(root), 4096 << 10);
    put("proc/self/cgroup", "0::/a/b\n");
    put("proc/self/mountinfo", "30 22 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n");
    put("sys/fs/cgroup/memory.max", "max\n");
    put("sys/fs/cgroup/a/memory.max", "3000000\n");
    put("sys/fs/cgroup/a/memory.current", "1000000\n");
    put("sys/fs/cgroup/a/b/memory.max", "max\n");
    assert_int_equal(tsr_system_available(root), 2000000);
    put("sys/fs/cgroup/a/b/memory.max", "500000\n");
    put("sys/fs/cgroup/a/b/memory.current", "500001\n");
    assert_int_equal(tsr_system_available(root), 0);
    put("proc/meminfo", "");
    put("sys/fs/cgroup/a/b/memory.current", "1\n");
    assert_int_equal(tsr_system_available(root), 499999);
}

static void test_containers(void **state) {
    (void)state;
    put("proc/self/cgroup", "0::/kubepods/burstable/pod1\n");
    tsr_system_read(root, &got);
    assert_string_equal(got.container, "kubernetes");
    put("run/.containerenv", "");
    tsr_system_read(root, &got);
    assert_string_equal(got.container, "podman");
    put("run/systemd/container", "systemd-nspawn\n");
    tsr_system_read(root, &got);
    assert_string_equal(got.container, "systemd-nspawn");
}

static void test_many_nodes(void **state) {
    (void)state;
    for (int id = 0; id < 70; id++) {
        char path[96], text[96];
        snprintf(path, sizeof path, "sys/devices/system/node/node%d/meminfo", id);
        snprintf(text, sizeof text, "Node %d MemTotal: %d kB\n", id, id + 1);
        put(path, text);
    }
    tsr_system_read(root, &got);
    assert_int_equal(got.n_nodes, TSR_MAX_NODES);
    assert_int_equal(got.nodes[63].total, 64 * 1024);
}

static void test_this_machine(void **state) {
    (void)state;
    tsr_system_read("", &got);
    assert_true(got.total > 0 && got.available <= got.total && got.load >= 0 && got.kernel[0] != '\0');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_everything, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_nothing, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_memory_cgroups, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_available, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_containers, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_many_nodes, make_root, remove_root),
        cmocka_unit_test(test_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
