/* test_cache_dir.c: the directory of cache files: whose a temporary file is, and what leaves so that another fits. */
#include "buffer/cache_room.h"

#include "test_tree.h"

#include <fcntl.h>
#include <time.h>

#define NAME(digit)                                                                                                    \
    digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit digit ".packed"
#define A NAME("aa")
#define B NAME("bb")
#define C NAME("cc")

static tsr_cache_dir d;

static int open_dir(void **state) {
    tsr_error err = {0};
    int failed = make_root(state);
    return failed ? failed : (int)tsr_cache_dir_open(&d, root, false, &err);
}

static int close_dir(void **state) {
    tsr_cache_dir_close(&d);
    return remove_root(state);
}

/* A file of n bytes on disk, last used so many seconds ago. */
static void make(const char *name, int64_t n, int age) {
    const struct timespec times[2] = {{time(NULL) - age, 0}, {time(NULL) - age, 0}};
    int fd = openat(d.fd, name, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0 && fallocate(fd, 0, 0, n) == 0 && futimens(fd, times) == 0);
    close(fd);
}

static bool there(const char *name) { return faccessat(d.fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0; }

static void test_lock(void **state) {
    (void)state;
    tsr_error err = {0};
    int first, second;
    make(A ".tmp", 4096, 5); /* left by a killed writer */
    assert_int_equal(tsr_cache_lock(&d, A, &first, &err), TSR_OK);
    assert_true(first >= 0 && lseek(first, 0, SEEK_END) == 0 && tsr_cache_is_same(&d, A ".tmp", first));
    assert_int_equal(tsr_cache_lock(&d, A, &second, &err), TSR_OK);
    assert_int_equal(second, -1); /* it is being written */
    assert_false(tsr_cache_remove_stale(&d, A ".tmp"));
    assert_int_equal(tsr_cache_remove_file(&d, A ".tmp", &err), TSR_E_IO);
    tsr_cache_drop(&d, A, first);
    assert_false(there(A ".tmp"));
    assert_int_equal(tsr_cache_remove_file(&d, A ".tmp", &err), TSR_OK); /* gone is gone */
}

/* The name leads to another file meanwhile: it is not the writer's to remove. */
static void test_replaced(void **state) {
    (void)state;
    tsr_error err = {0};
    int first, second;
    assert_int_equal(tsr_cache_lock(&d, A, &first, &err), TSR_OK);
    assert_int_equal(unlinkat(d.fd, A ".tmp", 0), 0);
    assert_int_equal(tsr_cache_lock(&d, A, &second, &err), TSR_OK);
    assert_true(second >= 0 && !tsr_cache_is_same(&d, A ".tmp", first));
    tsr_cache_drop(&d, A, first);
    assert_true(tsr_cache_is_same(&d, A ".tmp", second));
    tsr_cache_drop(&d, A, second);
    assert_false(there(A ".tmp"));
}

/* Links and pipes in the way of a temporary file are not written to. */
static void test_in_the_way(void **state) {
    (void)state;
    tsr_error err = {0};
    int fd;
    assert_int_equal(symlinkat("elsewhere", d.fd, A ".tmp"), 0);
    assert_int_equal(tsr_cache_lock(&d, A, &fd, &err), TSR_OK);
    assert_true(fd >= 0 && tsr_cache_is_same(&d, A ".tmp", fd));
    tsr_cache_drop(&d, A, fd);
    assert_int_equal(symlinkat("elsewhere", d.fd, A ".tmp"), 0);
    assert_int_equal(tsr_cache_remove_file(&d, A ".tmp", &err), TSR_OK);
    assert_int_equal(mkdirat(d.fd, A ".tmp", 0700), 0);
    assert_int_equal(tsr_cache_lock(&d, A, &fd, &err), TSR_E_IO);
    assert_int_equal(tsr_cache_remove_file(&d, A ".tmp", &err), TSR_E_IO);
    assert_non_null(strstr(err.message, "cannot remove: Is a directory"));
    assert_int_equal(mkfifoat(d.fd, B ".tmp", 0600), 0);
    assert_int_equal(tsr_cache_lock(&d, B, &fd, &err), TSR_OK);
    struct stat st;
    assert_true(fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode));
    tsr_cache_drop(&d, B, fd);
    put("outside", "precious");
    assert_int_equal(linkat(d.fd, "outside", d.fd, C ".tmp", 0), 0); /* of somebody who would have it truncated */
    assert_int_equal(tsr_cache_lock(&d, C, &fd, &err), TSR_OK);
    assert_true(fstatat(d.fd, "outside", &st, 0) == 0 && st.st_size == 8);
    tsr_cache_drop(&d, C, fd);
    assert_true(!there("elsewhere") && there(A ".tmp") && !there(B ".tmp") && !there(C ".tmp"));
}

enum { MB = 1 << 20 };

static tsr_code make_room(const char *name, int64_t n, int64_t limit, tsr_error *err) {
    int fd;
    assert_int_equal(tsr_cache_lock(&d, name, &fd, err), TSR_OK);
    assert_true(fd >= 0);
    tsr_code code = tsr_cache_make_room(&d, name, fd, (uint64_t)n, (uint64_t)limit, err);
    struct stat st;
    if (code == TSR_OK) assert_true(fstat(fd, &st) == 0 && st.st_size == n);
    tsr_cache_drop(&d, name, fd);
    return code;
}

static void test_room(void **state) {
    (void)state;
    tsr_error err = {0};
    int fd;
    make(A, 2 * MB, 10);
    make(B, 2 * MB, 20);
    assert_int_equal(make_room(C, MB, 5 * MB, &err), TSR_OK); /* fits as it is */
    assert_true(there(A) && there(B));
    assert_int_equal(make_room(C, 6 * MB, 5 * MB, &err), TSR_E_LIMIT); /* never would */
    assert_true(there(A) && there(B));
    assert_int_equal(make_room(C, INT64_C(1) << 50, INT64_C(1) << 51, &err), TSR_E_IO); /* no disk has that */
    assert_non_null(strstr(err.message, "No space left on device; make room"));
    assert_true(there(A) && there(B));
    assert_int_equal(make_room(A, 3 * MB, 5 * MB, &err), TSR_OK); /* its predecessor does not count */
    assert_true(there(A) && there(B));
    assert_int_equal(make_room(C, 3 * MB, 5 * MB, &err), TSR_OK); /* what was not used for longest goes */
    assert_true(there(A) && !there(B));

    make(B, 2 * MB, 20);
    make(NAME("00") ".tmp", 3 * MB, 0);
    assert_int_equal(tsr_cache_lock(&d, NAME("11"), &fd, &err), TSR_OK); /* is being written, and can not go */
    assert_int_equal(fallocate(fd, 0, 0, 3 * MB), 0);
    assert_int_equal(make_room(C, 3 * MB, 5 * MB, &err), TSR_E_LIMIT);
    assert_true(there(A) && there(B) && there(NAME("11") ".tmp"));
    assert_false(there(NAME("00") ".tmp")); /* which nobody writes */
    assert_int_equal(make_room(C, 2 * MB, 5 * MB, &err), TSR_OK);
    assert_true(!there(A) && !there(B));
    tsr_cache_drop(&d, NAME("11"), fd);
}

static void check_limit(const char *text, bool good, uint64_t expected) {
    uint64_t limit = 0;
    setenv("TESSERA_CACHE_LIMIT", text, 1);
    if (tsr_cache_limit(&d, &limit) != good || (good && limit != expected))
        fail_msg("\"%s\": %llu", text, (unsigned long long)limit);
}

static void test_limits(void **state) {
    (void)state;
    check_limit("1000", true, 1000);
    check_limit("20G", true, UINT64_C(20) << 30);
    check_limit("3m", true, 3 << 20);
    check_limit("16777215T", true, UINT64_C(16777215) << 40);
    check_limit("18446744073709551615", true, UINT64_MAX);
    const char *bad[] = {"16777216T", "18446744073709551616", "much", "-1", " 1", "1X", "1GB", "1.5G"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) check_limit(bad[i], false, 0);
    uint64_t limit = 0;
    unsetenv("TESSERA_CACHE_LIMIT");
    assert_true(tsr_cache_limit(&d, &limit) && limit > 0 && limit <= UINT64_C(32) << 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lock, open_dir, close_dir),
        cmocka_unit_test_setup_teardown(test_replaced, open_dir, close_dir),
        cmocka_unit_test_setup_teardown(test_in_the_way, open_dir, close_dir),
        cmocka_unit_test_setup_teardown(test_room, open_dir, close_dir),
        cmocka_unit_test_setup_teardown(test_limits, open_dir, close_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
