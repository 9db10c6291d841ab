/* Topologies of made-up machines (hwloc's synthetic ones), this one, and where pages go. */
#include "core/memory.h"
#include "core/numa.h"
#include "core/topology.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

static tsr_topology got; /* large: kept off the stack */

static void read_synthetic(const char *description) {
    setenv("HWLOC_SYNTHETIC", description, 1);
    tsr_topology_read(&got);
    unsetenv("HWLOC_SYNTHETIC");
    if (!*got.source) skip(); /* built without hwloc */
    assert_true(got.made_up);
}

static void test_two_sockets(void **state) {
    (void)state;
    char text[160];
    read_synthetic("pack:2 [numa(memory=17179869184)] l3:2(size=33554432) core:4 pu:2");
    assert_string_equal(tsr_topology_text(&got, text, sizeof text), "2 packages, 2 NUMA nodes, 4 L3 caches, 16 cores, 32 CPUs");
    assert_int_equal(got.l3_bytes, 32 << 20);
    assert_int_equal(got.nodes[1].total, 1ull << 34);
    assert_string_equal(got.nodes[0].cpus, "0-15");
    assert_string_equal(got.nodes[1].cpus, "16-31");
}

static void test_sub_clusters(void **state) {
    (void)state;
    read_synthetic("pack:2 group:4 [numa(memory=1073741824)] core:8 pu:1");
    assert_int_equal(got.packages, 2);
    assert_int_equal(got.n_nodes, 8);
    assert_int_equal(got.l3s, 0);
    assert_string_equal(got.nodes[7].cpus, "56-63");
    read_synthetic("pack:70 [numa] core:1 pu:1");
    assert_int_equal(got.n_nodes, TSR_MAX_NODES);
}

static void test_text(void **state) {
    (void)state;
    char text[16];
    const tsr_topology one = {.packages = 1, .n_nodes = 1, .l3s = 1, .cores = 1, .cpus = 1}, none = {0};
    assert_string_equal(tsr_topology_text(&none, text, sizeof text), "");
    assert_string_equal(tsr_topology_text(&one, text, sizeof text), "1 package, 1 NU"); /* cut, not overrun */
}

static void test_this_machine(void **state) {
    (void)state;
    tsr_topology_read(&got);
    if (!*got.source) skip();
    assert_true(!got.made_up && got.cpus > 0 && got.cores > 0 && got.cores <= got.cpus && got.n_nodes >= 1);
}

/* The kernel says of every page of the block that it goes where the others do not, and the block is good memory. */
static void test_interleave(void **state) {
    (void)state;
    enum { N = 4 << 20, F_ADDR = 2, INTERLEAVE = 3 };
    tsr_error err = {0};
    uint8_t *p = tsr_memory_alloc(N, &err);
    assert_non_null(p);
    assert_true(tsr_numa_nodes() >= 1);
    if (tsr_numa_interleave(p, N, &err) != TSR_OK) {
        assert_non_null(strstr(err.message, "mbind"));
        tsr_memory_free(p, N);
        skip(); /* forbidden here */
    }
    memset(p, 7, N);
    for (size_t at = 0; at < N; at += N / 4) {
        int mode = -1;
        assert_int_equal(syscall(SYS_get_mempolicy, &mode, NULL, 0ul, p + at, (unsigned long)F_ADDR), 0);
        assert_int_equal(mode, INTERLEAVE);
    }
    tsr_memory_free(p, N);
    assert_int_equal(tsr_numa_interleave((void *)1, 4096, &err), TSR_E_UNSUPPORTED); /* no such memory */
    assert_non_null(strstr(err.message, "--numa none"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_sockets), cmocka_unit_test(test_sub_clusters), cmocka_unit_test(test_text),
        cmocka_unit_test(test_this_machine), cmocka_unit_test(test_interleave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
