/* NUMA nodes: which there are, which thread and which rows go to which, for made-up machines, and where pages are
 * bound, on two nodes of which this machine may have but one. */
#include "test_tree.h"
#include "test_two_nodes.h"

#include "buffer/placing.h"
#include "core/numa.h"
#include "core/threads.h"
#include "core/topology.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static tsr_nodes nodes; /* large: kept off the stack, as these */
static tsr_cpuset set;
static tsr_topology topology;

/* ------------------------------------------------------------------------------------------------------- nodes */

/* CPUs [0, n), core k having k and k + n / 2 when smt. */
static void make_cpus(int n, bool smt) {
    char text[128];
    snprintf(text, sizeof text, "Cpus_allowed_list:\t0-%d\nMems_allowed_list:\t0-63\n", n - 1);
    put("proc/self/status", text);
    for (int k = 0; k < n; k++) {
        char path[128], list[64];
        snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", k);
        if (smt) snprintf(list, sizeof list, "%d,%d\n", k % (n / 2), k % (n / 2) + n / 2);
        else snprintf(list, sizeof list, "%d\n", k);
        put(path, list);
    }
}

static void make_node(int id, int megabytes, int free_megabytes, const char *cpus) {
    char path[128], text[512];
    snprintf(path, sizeof path, "sys/devices/system/node/node%d/meminfo", id);
    snprintf(text, sizeof text, "Node %d MemTotal: %d kB\nNode %d MemFree: %d kB\n"
             "Node %d Active(file): 1024 kB\nNode %d Inactive(file): 2048 kB\n", id, megabytes * 1024, id,
             free_megabytes * 1024, id, id);
    put(path, text);
    snprintf(path, sizeof path, "sys/devices/system/node/node%d/cpulist", id);
    snprintf(text, sizeof text, "%s\n", cpus);
    put(path, text);
}

static void test_read(void **state) {
    (void)state;
    char text[64];
    tsr_nodes_read(root, &nodes); /* an empty tree */
    assert_int_equal(nodes.n, 1);
    assert_true(nodes.cores[0] >= 1);
    make_cpus(16, true); /* 8 cores */
    make_node(0, 100, 50, "0-2,8-10");
    make_node(1, 0, 0, "3,11");      /* no memory */
    make_node(4, 200, 60, "4-7,12-15");
    make_node(5, 400, 300, "");      /* no CPUs */
    tsr_nodes_read(root, &nodes);
    assert_int_equal(nodes.n, 2);
    assert_string_equal(tsr_nodes_text(&nodes, text, sizeof text), "0, 4");
    assert_int_equal(nodes.cores[0], 4); /* with the core of node 1 */
    assert_int_equal(nodes.cores[1], 4);
    assert_int_equal(nodes.available[0], (50 + 3) << 20);
    assert_int_equal(nodes.available[1], (60 + 3) << 20);
    assert_int_equal(tsr_nodes_of_cpu(&nodes, 11), 0);
    assert_int_equal(tsr_nodes_of_cpu(&nodes, 12), 1);
    assert_int_equal(tsr_nodes_of_cpu(&nodes, -1), 0);
    put("proc/self/status", "Cpus_allowed_list:\t0-15\nMems_allowed_list:\t4\n"); /* as cpuset.mems says */
    tsr_nodes_read(root, &nodes);
    assert_int_equal(nodes.n, 1);
    assert_int_equal(nodes.id[0], 4);
    assert_int_equal(nodes.cores[0], 8);
    put("proc/self/status", "Cpus_allowed_list:\t0-2\nMems_allowed_list:\t0-5\n"); /* taskset to node 0 */
    tsr_nodes_read(root, &nodes);
    assert_int_equal(nodes.n, 1);
    assert_int_equal(nodes.id[0], 0);
    assert_int_equal(nodes.cores[0], 3);
}

/* A list that takes more than a line. */
static void test_alternating_cpus(void **state) {
    (void)state;
    char even[1024] = "0", odd[1024] = "1";
    for (int k = 2; k < 256; k += 2) {
        snprintf(even + strlen(even), sizeof even - strlen(even), ",%d", k);
        snprintf(odd + strlen(odd), sizeof odd - strlen(odd), ",%d", k + 1);
    }
    make_cpus(256, false);
    make_node(0, 100, 50, even);
    make_node(1, 100, 50, odd);
    tsr_nodes_read(root, &nodes);
    for (int cpu = 0; cpu < 256; cpu++) assert_int_equal(tsr_nodes_of_cpu(&nodes, cpu), cpu % 2);
    assert_int_equal(nodes.cores[1], 128);
}

/* The kernel's own made-up nodes: each has all CPUs. They share cores as evenly as they can; one too many goes. */
static void test_shared_cpus(void **state) {
    (void)state;
    tsr_node all[5];
    for (int i = 0; i < 5; i++) all[i] = (tsr_node){.id = i, .total = 1, .available = (uint64_t)i, .cpus = "0-7"};
    set = (tsr_cpuset){.n_logical = 8, .n_physical = 4, .first_cpus = {0, 1, 2, 3}};
    tsr_nodes_make(all, 2, "", &set, &nodes);
    assert_int_equal(nodes.n, 2);
    for (int cpu = 0; cpu < 4; cpu++) assert_int_equal(tsr_nodes_of_cpu(&nodes, cpu), cpu % 2);
    assert_true(nodes.cores[0] == 2 && nodes.cores[1] == 2);
    tsr_nodes_make(all, 5, "", &set, &nodes);
    assert_int_equal(nodes.n, 4);
    strcpy(all[4].cpus, "3"); /* a node with a core of its own stays: another one is left out */
    all[4].id = 9;
    set.n_physical = 3;
    set.first_cpus[2] = 3;
    tsr_nodes_make(all, 5, "", &set, &nodes);
    assert_int_equal(nodes.n, 3);
    for (int k = 0; k < nodes.n; k++) assert_int_equal(nodes.cores[k], 1);
    for (int cpu = 0; cpu < TSR_MAX_CPUS; cpu++) assert_in_range(tsr_nodes_of_cpu(&nodes, cpu), 0, nodes.n - 1);
}

/* ------------------------------------------------------------------------------------------------------- seats */

/* Cores 0 .. n - 1 of a machine that hwloc makes up, one thread each. */
static void make_machine(const char *description) {
    setenv("HWLOC_SYNTHETIC", description, 1);
    tsr_topology_read(&topology);
    unsetenv("HWLOC_SYNTHETIC");
    if (!*topology.source) skip(); /* built without hwloc */
    set = (tsr_cpuset){.n_logical = topology.cpus, .n_physical = topology.cores};
    for (int k = 0; k < set.n_physical; k++) set.first_cpus[k] = k * (topology.cpus / topology.cores);
    tsr_nodes_make(topology.nodes, topology.n_nodes, "", &set, &nodes);
}

/* Any first few threads are spread as evenly as they can be, each has a core of its node, and no two the same. */
static void check_seats(int n_threads, int caller_cpu) {
    tsr_seat seats[TSR_POOL_MAX];
    int threads[TSR_MAX_NODES] = {0};
    bool taken[TSR_MAX_CPUS] = {false}, cores = n_threads <= set.n_physical;
    tsr_nodes_seat(&nodes, &set, n_threads, caller_cpu, seats);
    assert_int_equal(seats[0].node, tsr_nodes_of_cpu(&nodes, caller_cpu));
    if (cores && caller_cpu == set.first_cpus[caller_cpu * set.n_physical / set.n_logical])
        assert_int_equal(seats[0].cpu, caller_cpu);
    for (int i = 0; i < n_threads; i++) {
        threads[seats[i].node]++;
        for (int k = 0; k < nodes.n; k++) { /* within one thread of a share that no other order would give */
            double share = (double)(i + 1) * nodes.cores[k] / set.n_physical;
            assert_true(threads[k] < share + 1.0001 && threads[k] > share - 1.0001);
        }
        if (!cores) {
            assert_int_equal(seats[i].cpu, -1);
            continue;
        }
        assert_int_equal(tsr_nodes_of_cpu(&nodes, seats[i].cpu), seats[i].node);
        assert_false(taken[seats[i].cpu]);
        taken[seats[i].cpu] = true;
    }
}

static void test_seats(void **state) {
    (void)state;
    static const char *const machines[] = {
        "pack:2 [numa(memory=1073741824)] core:4 pu:2", "pack:2 group:4 [numa(memory=1073741824)] core:8 pu:1",
        "pack:1 [numa(memory=1073741824)] core:6 pu:1", "pack:3 [numa(memory=1073741824)] core:5 pu:2"};
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        make_machine(machines[i]);
        for (int n = 1; n <= set.n_physical + 3; n++)
            for (int cpu = 0; cpu < set.n_logical; cpu += 3) check_seats(n, cpu);
    }
}

/* Nodes of unlike size, and a quota. */
static void test_unlike_seats(void **state) {
    (void)state;
    const tsr_node unlike[] = {{.id = 0, .total = 1, .cpus = "0-5"}, {.id = 1, .total = 1, .cpus = "6,7"}};
    tsr_seat seats[8];
    set = (tsr_cpuset){.n_logical = 8, .n_physical = 8, .first_cpus = {0, 1, 2, 3, 4, 5, 6, 7}};
    tsr_nodes_make(unlike, 2, "", &set, &nodes);
    tsr_nodes_seat(&nodes, &set, 8, 6, seats);
    const tsr_seat want[8] = {{1, 6}, {0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}, {1, 7}};
    assert_memory_equal(seats, want, sizeof want);
    set.quota = 3;
    tsr_nodes_seat(&nodes, &set, 4, 0, seats);
    for (int i = 0; i < 4; i++) assert_int_equal(seats[i].cpu, -1);
}

/* A session whose thread may use fewer CPUs than the one that opened the model: a node has no core for it. */
static void test_seats_of_fewer_cpus(void **state) {
    (void)state;
    const tsr_node two[] = {{.id = 0, .total = 1, .cpus = "0-3"}, {.id = 1, .total = 1, .cpus = "4-7"}};
    tsr_seat seats[8];
    set = (tsr_cpuset){.n_logical = 8, .n_physical = 8, .first_cpus = {0, 1, 2, 3, 4, 5, 6, 7}};
    tsr_nodes_make(two, 2, "", &set, &nodes);
    set = (tsr_cpuset){.n_logical = 4, .n_physical = 4, .first_cpus = {0, 1, 2, 3}};
    tsr_nodes_seat(&nodes, &set, 4, 2, seats);
    const tsr_seat want[4] = {{0, 2}, {0, 3}, {0, 0}, {0, 1}};
    assert_memory_equal(seats, want, sizeof want);
    set = (tsr_cpuset){.n_logical = 4, .n_physical = 4, .first_cpus = {0, 1, 2, 7}};
    tsr_nodes_seat(&nodes, &set, 4, 0, seats);
    const tsr_seat most[4] = {{0, 0}, {0, 1}, {0, 2}, {1, 7}}; /* each has a core of its own */
    assert_memory_equal(seats, most, sizeof most);
    set = (tsr_cpuset){.n_logical = 2, .n_physical = 2, .first_cpus = {6, 7}};
    tsr_nodes_seat(&nodes, &set, 2, 1, seats); /* the caller was moved after it was asked where it is */
    assert_true(seats[0].node == 0 && seats[0].cpu == -1 && seats[1].node == 1 && seats[1].cpu >= 6);
}

/* ------------------------------------------------------------------------------------------------------- shares */

static void test_shares(void **state) {
    (void)state;
    static const int cores[][4] = {{1, 1}, {4, 4}, {6, 2}, {1, 31}, {5, 5, 5}, {1, 2, 3, 4}, {7}};
    for (size_t c = 0; c < sizeof cores / sizeof *cores; c++) {
        int all = 0;
        nodes = (tsr_nodes){.n = 0};
        for (int k = 0; k < 4 && cores[c][k]; k++) all += nodes.cores[nodes.n++] = cores[c][k];
        for (int64_t total = 0; total < 300; total++) {
            int64_t at = 0, begin, end;
            for (int k = 0; k < nodes.n; k++) {
                tsr_nodes_share(&nodes, total, k, &begin, &end);
                assert_int_equal(begin, at); /* every item once */
                assert_true(end >= begin && llabs((end - begin) * all - total * nodes.cores[k]) <= all);
                at = end;
            }
            assert_int_equal(at, total);
        }
    }
}

/* -------------------------------------------------------------------------------------------------------- pages */

enum { F_ADDR = 2, BIND = 2, PAGE = 4096 };

static bool may_bind(void) {
    tsr_error err = {0};
    tsr_buffer b = {0};
    assert_int_equal(tsr_mirror_alloc(&b, PAGE, &nodes, &err), TSR_OK);
    bool may = tsr_mirror_bind(&b, &nodes, &err) == TSR_OK;
    if (!may) assert_non_null(strstr(err.message, "mbind"));
    tsr_buffer_free(&b);
    return may;
}

static int policy_at(const void *p) {
    int mode = -1;
    assert_int_equal(syscall(SYS_get_mempolicy, &mode, NULL, 0ul, p, (unsigned long)F_ADDR), 0);
    return mode;
}

static void test_mirror(void **state) {
    (void)state;
    enum { N = 3000001 };
    tsr_error err = {0};
    tsr_buffer b = {0};
    make_two_nodes(&nodes, 1, 1);
    if (!may_bind()) skip();
    tsr_pool *pool = tsr_pool_open(2, true, &err);
    assert_int_equal(tsr_mirror_alloc(&b, N, &nodes, &err), TSR_OK);
    assert_int_equal(tsr_mirror_bind(&b, &nodes, &err), TSR_OK);
    assert_true(b.copy_stride >= N && b.n == 2 * b.copy_stride);
    assert_int_equal(policy_at(b.base), BIND);
    assert_int_equal(policy_at(b.base + b.n - 1), BIND);
    assert_null(tsr_buffer_take(&b, b.copy_stride + 1, "w", &err)); /* a copy is all there is to fill */
    uint8_t *p = tsr_buffer_take(&b, N, "w", &err);
    for (int i = 0; i < N; i++) p[i] = (uint8_t)(i * 7 + i / 1000);
    tsr_mirror_fill(&b, pool);
    assert_memory_equal(b.base, b.base + b.copy_stride, N);
    assert_int_equal(tsr_buffer_reach(&b), b.copy_stride + N);
    tsr_buffer_free(&b);
    tsr_pool_close(pool);
}

/* Every page is bound once, from the first to the last row; the kernel says which way. */
static void test_split_pages(void **state) {
    (void)state;
    static const int64_t outputs[] = {1, 16, 40, 1000, 33, 576}; /* odd panels, less than a strip, less than a page */
    enum { N = sizeof outputs / sizeof *outputs, EXPERTS = 3, WIDTH = 288 };
    tsr_error err = {0};
    tsr_buffer b = {0};
    tsr_packed like[N];
    size_t all = 0;
    make_two_nodes(&nodes, 2, 1);
    if (!may_bind()) skip();
    for (int i = 0; i < N; i++) {
        assert_true(tsr_packed_init(&like[i], TSR_Q8_0, outputs[i], WIDTH));
        all += EXPERTS * tsr_packed_bytes(&like[i]);
    }
    assert_int_equal(tsr_buffer_alloc(&b, all + PAGE, &err), TSR_OK);
    tsr_split_walk walk = {.b = &b, .nodes = &nodes};
    for (int i = 0; i < N; i++) {
        assert_int_equal(tsr_split_bind(&walk, &like[i], EXPERTS, &err), TSR_OK);
        assert_true(walk.bound + PAGE / 2 >= walk.at && walk.bound <= walk.at + PAGE / 2);
    }
    assert_int_equal(walk.at, all);
    for (size_t at = 0; at < walk.bound; at += PAGE) assert_int_equal(policy_at(b.base + at), BIND);
    assert_int_not_equal(policy_at(b.base + walk.bound), BIND);
    tsr_buffer_free(&b);
}

static void test_room(void **state) {
    (void)state;
    tsr_error err = {0};
    nodes = (tsr_nodes){.n = 2, .id = {0, 3}, .cores = {3, 1}, .available = {900000000, 400000000}, .left = 2000000000};
    assert_int_equal(tsr_placing_check(&nodes, TSR_NUMA_MIRROR, 400000000, &err), TSR_OK);
    assert_int_equal(tsr_placing_check(&nodes, TSR_NUMA_LOCAL, 1200000000, &err), TSR_OK); /* 900 and 300 */
    assert_int_equal(tsr_placing_check(&nodes, TSR_NUMA_MIRROR, 400000001, &err), TSR_E_NOMEM);
    assert_string_equal(
        err.message,
        "packed weights need 401 MB of NUMA node 3, which has 400 MB left: --numa local and interleave keep one copy");
    assert_int_equal(tsr_placing_check(&nodes, TSR_NUMA_LOCAL, 1300000000, &err), TSR_E_NOMEM);
    assert_non_null(strstr(err.message, "975 MB of NUMA node 0"));
    assert_int_equal(tsr_placing_check(&nodes, TSR_NUMA_MIRROR, 1000000001, &err), TSR_E_NOMEM);
    assert_non_null(strstr(err.message, "need 2001 MB, but this process may use 2000 MB"));
}

/* A number that no node has, and memory that is not there. */
static void test_bind_fails(void **state) {
    (void)state;
    tsr_error err = {0};
    tsr_buffer b = {0};
    assert_int_equal(tsr_buffer_alloc(&b, PAGE, &err), TSR_OK);
    assert_int_equal(tsr_numa_bind(b.base, PAGE, 1000, &err), TSR_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "NUMA node 1000"));
    assert_non_null(strstr(err.message, "--numa none"));
    tsr_buffer_free(&b);
}

/* In a child: mbind fails with EPERM from now on, as in containers; 0 when the message says what to do. */
static int forbidden(void) {
    struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mbind, 0, 1),
                                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const struct sock_fprog filter = {sizeof code / sizeof *code, code};
    tsr_error err = {0};
    tsr_buffer b = {0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
        return 2;
    if (tsr_mirror_alloc(&b, PAGE, &nodes, &err) != TSR_OK || tsr_mirror_bind(&b, &nodes, &err) != TSR_E_UNSUPPORTED)
        return 1;
    return strstr(err.message, "seccomp") && strstr(err.message, "numactl --interleave=all") ? 0 : 1;
}

static void test_sandbox(void **state) {
    (void)state;
    int status;
    make_two_nodes(&nodes, 1, 1);
    pid_t child = fork();
    if (child == 0) _exit(forbidden());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2) skip(); /* no filters here */
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ------------------------------------------------------------------------------------------------------- threads */

static int seen[8];

static void note_cpu(void *ctx, int i, int n) {
    (void)ctx, (void)n;
    seen[i] = sched_getcpu();
}

/* Workers are on CPUs of the node that the pool names, with cores for all and with more threads than cores. */
static void test_pool(void **state) {
    (void)state;
    tsr_error err = {0};
    tsr_cpuset_read("", &set);
    if (set.n_physical < 2) skip();
    make_two_nodes(&nodes, set.n_physical / 2, set.n_physical - set.n_physical / 2);
    for (int n = 1; n <= 8; n++) {
        tsr_pool *pool = tsr_pool_open_on(&nodes, n, &err);
        assert_ptr_equal(tsr_pool_nodes(pool), &nodes);
        for (int round = 0; round < 50; round++) {
            tsr_pool_run(pool, note_cpu, NULL);
            for (int i = 1; i < n; i++) assert_int_equal(tsr_nodes_of_cpu(&nodes, seen[i]), tsr_pool_node(pool, i));
        }
        tsr_pool_close(pool);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_read, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_alternating_cpus, make_root, remove_root),
        cmocka_unit_test(test_shared_cpus),
        cmocka_unit_test(test_seats),
        cmocka_unit_test(test_unlike_seats),
        cmocka_unit_test(test_seats_of_fewer_cpus),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_mirror),
        cmocka_unit_test(test_split_pages),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_bind_fails),
        cmocka_unit_test(test_sandbox),
        cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
