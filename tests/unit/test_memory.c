/* test_memory.c: which pages memory gets, and when. */
#include "core/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

static size_t resident_pages(const void *p, size_t n) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = n / page, count = 0;
    unsigned char *seen = malloc(pages);
    assert_int_equal(mincore((void *)(uintptr_t)p, n, seen), 0);
    for (size_t i = 0; i < pages; i++) count += seen[i] & 1;
    free(seen);
    return count;
}

/* Pieces give all of [from, from + n) its pages and nothing beyond; with small pages, which show it. */
static void test_populate(void **state) {
    (void)state;
    enum { POPULATE_WRITE = 23 };
    uint8_t *probe = tsr_memory_alloc(1, NULL);
    if (madvise(probe, 1, POPULATE_WRITE) != 0) skip(); /* a kernel before 5.14 */
    tsr_memory_free(probe, 1);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), all = 5 * TSR_MEMORY_PIECE;
    const struct { size_t at, n; } cases[] = {{0, 5 * TSR_MEMORY_PIECE}, {TSR_MEMORY_PIECE, TSR_MEMORY_PIECE}, {3 * 4096, 64}, {7 * 4096, 2 * TSR_MEMORY_PIECE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *base = tsr_memory_alloc(all, NULL);
        assert_non_null(base);
        tsr_memory_huge(base, all, TSR_HUGE_PAGES_OFF);
        base[cases[i].at] = 42; /* what is there stays */
        for (size_t k = 0; k <= cases[i].n / TSR_MEMORY_PIECE; k++) tsr_memory_populate(base + cases[i].at, cases[i].n, k);
        size_t got = resident_pages(base, all), want = (cases[i].n + page - 1) / page;
        if (got > want || got + TSR_MEMORY_PIECE / page < want) fail_msg("case %zu: %zu pages for %zu", i, got, want);
        assert_int_equal(base[cases[i].at], 42);
        tsr_memory_populate(base, all, 1000); /* beyond: nothing */
        assert_int_equal(resident_pages(base, all), got);
        tsr_memory_free(base, all);
    }
}

static void test_huge_most(void **state) {
    (void)state;
    const uint8_t *at = (const uint8_t *)(uintptr_t)(100 * TSR_MEMORY_PIECE); /* never read */
    assert_int_equal(tsr_memory_huge_most(at, 3 * TSR_MEMORY_PIECE), 3 * TSR_MEMORY_PIECE);
    assert_int_equal(tsr_memory_huge_most(at + 4096, 3 * TSR_MEMORY_PIECE), 2 * TSR_MEMORY_PIECE);
    assert_int_equal(tsr_memory_huge_most(at, TSR_MEMORY_PIECE - 1), 0);
    assert_int_equal(tsr_memory_huge_most(at + 4096, TSR_MEMORY_PIECE), 0);
    assert_int_equal(tsr_memory_huge_most(at + 4096, 64), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_populate), cmocka_unit_test(test_huge_most)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
