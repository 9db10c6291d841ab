/* test_gguf_files.c: opening by path: single files, split models, and everything else that a path can name. */
#include "test_gguf_image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char *dir;

static int make_dir(void **state) {
    (void)state;
    dir = new_dir();
    return 0;
}

static int remove_dir(void **state) {
    (void)state;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d)) != NULL;) unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
    int r = rmdir(dir);
    free(dir);
    return r;
}

static void join(char out[512], const char *name) { snprintf(out, 512, "%s/%s", dir, name); }

/* What one part of a split model says about itself; -1 leaves a key out. */
typedef struct part {
    int no, count, total;
    const char *tensor; /* NULL: no tensor */
    float value;
} part;

static void put_u16_kv(image *b, const char *key, int v) {
    uint16_t v16 = (uint16_t)v;
    put_key(b, key, TSR_GGUF_U16);
    tsr_buf_append(b, &v16, sizeof v16);
}

static void write_part(const char *name, part p) {
    image b = {0};
    put_header(&b, p.tensor ? 1 : 0, (uint64_t)(1 + (p.no >= 0) + (p.count >= 0) + (p.total >= 0)));
    put_str_kv(&b, "general.name", name);
    if (p.no >= 0) put_u16_kv(&b, "split.no", p.no); /* types as the usual splitters write them */
    if (p.count >= 0) put_u16_kv(&b, "split.count", p.count);
    if (p.total >= 0) {
        put_key(&b, "split.tensors.count", TSR_GGUF_I32);
        put32(&b, (uint32_t)p.total);
    }
    if (p.tensor) put_tensor(&b, p.tensor, TSR_F32, 1, 0, 0);
    put_pad(&b, 32);
    if (p.tensor) tsr_buf_append(&b, &p.value, sizeof p.value);
    free(write_file(dir, name, b.data, b.len));
    tsr_buf_free(&b);
}

/* A good model of three parts, the middle one without tensors. */
static void write_good(void) {
    write_part("m-00001-of-00003.gguf", (part){0, 3, 2, "a", 1.5f});
    write_part("m-00002-of-00003.gguf", (part){1, 3, 2, NULL, 0});
    write_part("m-00003-of-00003.gguf", (part){2, 3, 2, "c", 2.5f});
}

static void refuse(const char *name, tsr_code code, const char *needle, const char *needle2) {
    char path[512];
    join(path, name);
    tsr_error err = {0};
    tsr_gguf *g = tsr_gguf_open(path, &err);
    if (g) fail_msg("opened");
    if (!strstr(err.message, needle) || !strstr(err.message, needle2) || !strstr(err.message, dir))
        fail_msg("no '%s', '%s' or path in '%s'", needle, needle2, err.message);
    assert_int_equal(err.code, code);
}

static void test_split(void **state) {
    (void)state;
    write_good();
    char path[512];
    join(path, "m-00001-of-00003.gguf");
    tsr_error err = {0};
    tsr_gguf *g = tsr_gguf_open(path, &err);
    if (!g) fail_msg("%s", err.message);
    assert_int_equal(g->n_files, 3);
    assert_int_equal(g->n_tensors, 2);
    assert_int_equal(g->n_kv, 4); /* of the first file */
    assert_memory_equal(tsr_gguf_find(g, "general.name")->strings[0].s, "m-00001", 7);
    const tsr_gguf_tensor *a = tsr_gguf_find_tensor(g, "a"), *c = tsr_gguf_find_tensor(g, "c");
    assert_int_equal(a->file, 0);
    assert_int_equal(c->file, 2);
    assert_true(*(const float *)a->data == 1.5f);
    assert_true(*(const float *)c->data == 2.5f);
    assert_ptr_equal(c->data, g->files[2].base + c->offset);
    assert_non_null(strstr(g->files[1].path, "m-00002-of-00003.gguf"));
    for (int i = 0; i < 3; i++) assert_true(fcntl(g->files[i].fd, F_GETFD) >= 0);
    tsr_gguf_close(g);
}

static void test_split_of_one(void **state) {
    (void)state;
    char path[512];
    write_part("any-name.gguf", (part){0, 1, 1, "a", 1});
    join(path, "any-name.gguf");
    tsr_error err = {0};
    tsr_gguf *g = tsr_gguf_open(path, &err);
    if (!g) fail_msg("%s", err.message);
    assert_int_equal(g->n_files, 1);
    tsr_gguf_close(g);
}

static void test_split_wrong_part(void **state) {
    (void)state;
    write_good();
    refuse("m-00002-of-00003.gguf", TSR_E_ARG, "part 2 of 3", "m-00001-of-00003.gguf");
    refuse("m-00003-of-00003.gguf", TSR_E_ARG, "part 3 of 3", "m-00001-of-00003.gguf");
}

static void test_split_missing_part(void **state) {
    (void)state;
    char path[512];
    write_good();
    join(path, "m-00002-of-00003.gguf");
    unlink(path);
    refuse("m-00001-of-00003.gguf", TSR_E_IO, "part 2 of 3: ", "m-00002-of-00003.gguf: cannot open: No such file");
}

static void test_split_broken_part(void **state) {
    (void)state;
    write_good();
    free(write_file(dir, "m-00003-of-00003.gguf", "GGUF\3\0\0\0", 8));
    refuse("m-00001-of-00003.gguf", TSR_E_FORMAT, "part 3 of 3: ", "m-00003-of-00003.gguf: the file ends inside");
}

static void test_split_names(void **state) {
    (void)state;
    part first = {0, 3, 2, "a", 1};
    static const char *const bad[] = {"model.gguf",
                                      "m-00001-of-00004.gguf",
                                      "m-1-of-3.gguf",
                                      "m-00002-of-00003.gguf",
                                      "m-00001-of-00003.GGUF",
                                      "m-00001-of-00003.gguf.bak",
                                      "m-   +1-of-00003.gguf",
                                      "m-0x001-of-00003.gguf",
                                      "x.gguf"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_part(bad[i], first);
        refuse(bad[i], TSR_E_ARG, "part 1 of a model split into 3 files", "-00001-of-00003.gguf");
    }
}

/* Every key of every part is checked. */
static void test_split_keys(void **state) {
    (void)state;
    const char *first = "m-00001-of-00003.gguf", *second = "m-00002-of-00003.gguf", *third = "m-00003-of-00003.gguf";
    write_good();
    write_part(first, (part){-1, 3, 2, "a", 1});
    refuse(first, TSR_E_FORMAT, "'split.no' is missing", first);
    write_part(first, (part){3, 3, 2, "a", 1});
    refuse(first, TSR_E_FORMAT, "'split.no' is 3, must be from 0 to 2", first);
    write_part(first, (part){0, 3, -1, "a", 1});
    refuse(first, TSR_E_FORMAT, "'split.tensors.count' is missing", first);
    write_part(first, (part){0, 3, 3, "a", 1});
    refuse(first, TSR_E_FORMAT, "'split.tensors.count' is 2", second);
    write_good();
    write_part(second, (part){2, 3, 2, NULL, 0});
    refuse(first, TSR_E_FORMAT, "'split.no' is 2", second);
    write_part(second, (part){-1, 3, 2, NULL, 0});
    refuse(first, TSR_E_FORMAT, "'split.no' is missing", second);
    write_part(second, (part){1, 4, 2, NULL, 0});
    refuse(first, TSR_E_FORMAT, "'split.count' is 4", second);
    write_part(second, (part){1, -1, 2, NULL, 0});
    refuse(first, TSR_E_FORMAT, "'split.count' is missing", second);
    write_good();
    write_part(third, (part){2, 3, 7, "c", 0});
    refuse(first, TSR_E_FORMAT, "'split.tensors.count' is 7", third);
    write_part(third, (part){2, 3, 2, NULL, 0});
    refuse(first, TSR_E_FORMAT, "is 2, but the 3 files hold 1 tensors", first);
    write_part(third, (part){2, 3, 2, "a", 0});
    refuse(first, TSR_E_FORMAT, "tensor 'a' occurs twice", "-of-00003.gguf: ");

    image b = {0}; /* a count that is no number */
    put_header(&b, 0, 1);
    put_str_kv(&b, "split.count", "3");
    free(write_file(dir, first, b.data, b.len));
    tsr_buf_free(&b);
    refuse(first, TSR_E_FORMAT, "'split.count' is of type str, must be an integer", first);
}

static void test_split_in_memory(void **state) {
    (void)state;
    image b = {0};
    put_header(&b, 0, 1);
    put_u32_kv(&b, "split.count", 3);
    expect_refusal(&b, TSR_E_UNSUPPORTED, "split model", NULL);
    put_header(&b, 0, 1);
    put_u32_kv(&b, "split.count", 70000);
    expect_refusal(&b, TSR_E_FORMAT, "'split.count' is 70000", NULL);
}

static void test_not_a_file(void **state) {
    (void)state;
    char path[512];
    join(path, "pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    refuse("pipe", TSR_E_ARG, "a pipe", ""); /* without waiting for a writer */
    refuse("", TSR_E_ARG, "a directory", "");
    refuse("missing", TSR_E_IO, "cannot open: No such file", "missing");
    free(write_file(dir, "empty", "", 0));
    refuse("empty", TSR_E_FORMAT, "the file is empty", "");
    tsr_error err = {0};
    assert_null(tsr_gguf_open("/dev/zero", &err));
    assert_non_null(strstr(err.message, "a device"));
    assert_null(tsr_gguf_open("", &err));
    assert_null(tsr_gguf_open("/dev/zero", NULL));
}

static int count_descriptors(void) {
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

/* Opening and failing leaves no descriptor behind. */
static void test_no_descriptor_leaks(void **state) {
    (void)state;
    char path[512];
    int before = count_descriptors();
    write_good();
    join(path, "m-00001-of-00003.gguf");
    tsr_gguf *g = tsr_gguf_open(path, NULL);
    assert_non_null(g);
    tsr_gguf_close(g);
    assert_int_equal(count_descriptors(), before);
    write_part("m-00003-of-00003.gguf", (part){2, 3, 9, "c", 0});
    for (int i = 0; i < 2000; i++) assert_null(tsr_gguf_open(path, NULL)); /* beyond the 1024 slots of the table */
    assert_int_equal(count_descriptors(), before);
}

/* A file that shrinks while its tensors are being read: zeros and an error, not a dead process. */
static void test_truncated_while_open(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    image b = {0};
    put_header(&b, 1, 0);
    put_tensor(&b, "t", TSR_I8, N, 0, 0);
    put_pad(&b, 32);
    for (int i = 0; i < N; i++) tsr_buf_putc(&b, 'x');
    char *path = write_file(dir, "model.gguf", b.data, b.len);
    tsr_buf_free(&b);
    tsr_error err = {0};
    tsr_gguf *g = tsr_gguf_open(path, &err);
    if (!g) fail_msg("%s", err.message);
    assert_int_equal(truncate(path, 4096), 0);
    const volatile char *data = g->tensors[0].data;
    int lost = 0;
    for (int i = 0; i < N; i++) lost += data[i] != 'x';
    assert_true(lost >= N - 4096);
    tsr_gguf_close(g);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_split, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_split_of_one, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_split_wrong_part, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_split_missing_part, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_split_broken_part, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_split_names, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_split_keys, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_split_in_memory, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_not_a_file, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_no_descriptor_leaks, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_truncated_while_open, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
