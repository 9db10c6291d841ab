/* test_gguf_writer.c: what the writer writes is read back the same; what goes wrong leaves nothing behind. */
#include "test_gguf_image.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char *dir;

static int make_dir(void **state) {
    (void)state;
    dir = new_dir();
    return 0;
}

/* Removes the directory; what a test left in it (a temporary file, say) makes this fail. */
static int remove_dir(void **state) {
    (void)state;
    int r = rmdir(dir);
    if (r != 0) print_error("%s: %s\n", dir, strerror(errno));
    free(dir);
    return r;
}

static char *join(const char *name) {
    size_t cap = strlen(dir) + strlen(name) + 2;
    char *path = malloc(cap);
    assert_non_null(path);
    snprintf(path, cap, "%s/%s", dir, name);
    return path;
}

static int count_entries(void) {
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void ok(tsr_code code, const tsr_error *err) {
    if (code != TSR_OK) fail_msg("%s", err->message);
}

static tsr_gguf_writer *must_open(const char *path, uint32_t alignment) {
    tsr_error err = {0};
    tsr_gguf_writer *w = tsr_gguf_writer_open(path, alignment, &err);
    if (!w) fail_msg("%s", err.message);
    return w;
}

static void add_tensor(tsr_gguf_writer *w, const char *name, tsr_type type, int64_t ne0, int64_t ne1) {
    tsr_error err = {0};
    ok(tsr_gguf_writer_tensor(w, name, type, 2, (int64_t[]){ne0, ne1}, &err), &err);
}

static void test_round_trip(void **state) {
    (void)state;
    char *path = join("out.gguf");
    for (uint32_t alignment = 8; alignment <= 16384; alignment *= 2) {
        tsr_error err = {0};
        tsr_gguf_writer *w = must_open(path, alignment);
        ok(tsr_gguf_writer_str(w, "name", "first", &err), &err);
        ok(tsr_gguf_writer_u32(w, "n", 7, &err), &err);
        ok(tsr_gguf_writer_str(w, "name", "last", &err), &err);
        ok(tsr_gguf_writer_str(w, "empty", "", &err), &err);
        ok(tsr_gguf_writer_u32(w, "n", 8, &err), &err);
        ok(tsr_gguf_writer_u32(w, "n", 9, &err), &err);
        add_tensor(w, "a", TSR_F32, 3, 1);
        add_tensor(w, "b", TSR_Q4_0, 32, 2);
        add_tensor(w, "c", TSR_F16, 1, 1);
        float a[3] = {1, 2, 3};
        uint8_t b[36], c[2] = {0xaa, 0xbb};
        for (int i = 0; i < 36; i++) b[i] = (uint8_t)i;
        ok(tsr_gguf_writer_begin(w, &err), &err);
        ok(tsr_gguf_writer_data(w, a, sizeof a, &err), &err);
        ok(tsr_gguf_writer_data(w, b, sizeof b, &err), &err);
        ok(tsr_gguf_writer_data(w, c, sizeof c, &err), &err);
        ok(tsr_gguf_writer_finish(w, &err), &err);

        tsr_gguf *g = tsr_gguf_open(path, &err);
        if (!g) fail_msg("%s", err.message);
        assert_int_equal(g->alignment, alignment);
        assert_int_equal(g->n_kv, alignment == 32 ? 3 : 4);
        assert_string_equal(g->kv[0].key, "name");
        assert_int_equal(g->kv[0].strings[0].n, 4);
        assert_memory_equal(g->kv[0].strings[0].s, "last", 4);
        assert_string_equal(g->kv[1].key, "n");
        assert_int_equal(tsr_gguf_int(&g->kv[1], 0), 9);
        assert_string_equal(g->kv[2].key, "empty");
        assert_int_equal(g->kv[2].strings[0].n, 0);
        assert_int_equal(g->n_tensors, 3);
        assert_memory_equal(g->tensors[0].data, a, sizeof a);
        assert_memory_equal(g->tensors[1].data, b, sizeof b);
        assert_memory_equal(g->tensors[2].data, c, sizeof c);
        assert_int_equal(g->tensors[1].ne[1], 2);
        assert_int_equal(g->files[0].size % alignment, 0);
        tsr_gguf_close(g);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        mode_t mask = umask(022);
        umask(mask);
        assert_int_equal(st.st_mode & 0777, 0666 & ~mask); /* like any new file, not private */
        assert_int_equal(count_entries(), 1);
    }
    unlink(path);
    free(path);
}

/* The alignment of open() wins over a copied key. */
static void test_copied_alignment(void **state) {
    (void)state;
    char *path = join("out.gguf");
    image b = {0};
    put_header(&b, 0, 1);
    put_u32_kv(&b, "general.alignment", 64);
    tsr_gguf *source = expect_accepted(&b);
    tsr_error err = {0};
    tsr_gguf_writer *w = must_open(path, 32);
    ok(tsr_gguf_writer_copy(w, &source->kv[0], &err), &err);
    ok(tsr_gguf_writer_begin(w, &err), &err);
    ok(tsr_gguf_writer_finish(w, &err), &err);
    tsr_gguf_close(source);
    tsr_gguf *g = tsr_gguf_open(path, &err);
    if (!g) fail_msg("%s", err.message);
    assert_int_equal(g->alignment, 32);
    assert_int_equal(g->n_kv, 1);
    tsr_gguf_close(g);
    tsr_buf_free(&b);
    unlink(path);
    free(path);
}

static void test_existing_target_survives_failure(void **state) {
    (void)state;
    char *path = write_file(dir, "out.gguf", "precious", 8), content[16];
    tsr_error err = {0};
    tsr_gguf_writer *w = must_open(path, 32);
    add_tensor(w, "a", TSR_F32, 4, 1);
    ok(tsr_gguf_writer_begin(w, &err), &err);
    assert_int_equal(count_entries(), 2);
    tsr_gguf_writer_abort(w);
    assert_int_equal(count_entries(), 1);

    w = must_open(path, 32);
    add_tensor(w, "a", TSR_F32, 4, 1);
    ok(tsr_gguf_writer_begin(w, &err), &err);
    assert_int_equal(tsr_gguf_writer_finish(w, &err), TSR_E_ARG); /* the data is missing */
    assert_non_null(strstr(err.message, "0 tensors of 1"));
    assert_int_equal(tsr_gguf_writer_finish(must_open(path, 32), &err), TSR_E_ARG);
    assert_int_equal(count_entries(), 1);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(content, 1, sizeof content, f), 8);
    assert_memory_equal(content, "precious", 8);
    fclose(f);
    unlink(path);
    free(path);
}

/* RLIMIT_FSIZE stands in for a full disk; its signal must not reach the process (the default action kills). */
static void test_size_limit(void **state) {
    (void)state;
    char *path = write_file(dir, "out.gguf", "precious", 8);
    static char data[1 << 20];
    tsr_error err = {0};
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 65536;

    tsr_gguf_writer *early = must_open(path, 32), *late = must_open(path, 32), *header = must_open(path, 32);
    add_tensor(early, "a", TSR_I8, sizeof data, 1);
    add_tensor(late, "a", TSR_I8, sizeof data, 1);
    for (int i = 0; i < 4096; i++) {
        char key[32];
        snprintf(key, sizeof key, "key.%d", i);
        ok(tsr_gguf_writer_str(header, key, key, &err), &err);
    }
    ok(tsr_gguf_writer_begin(late, &err), &err); /* space is promised, then the limit comes */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    tsr_error e1 = {0}, e2 = {0}, e3 = {0}, e4 = {0};
    tsr_code c1 = tsr_gguf_writer_begin(early, &e1);
    tsr_code c2 = tsr_gguf_writer_data(late, data, sizeof data, &e2);
    tsr_code c3 = tsr_gguf_writer_begin(header, &e3);
    tsr_code c4 = tsr_gguf_writer_finish(late, &e4);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(c1, TSR_E_IO);
    assert_int_equal(c2, TSR_E_IO);
    assert_int_equal(c3, TSR_E_IO);
    assert_int_equal(c4, TSR_E_ARG);
    assert_non_null(strstr(e2.message, "out.gguf: cannot write: File too large"));
    assert_non_null(strstr(e4.message, "failed before"));
    tsr_gguf_writer_abort(early);
    tsr_gguf_writer_abort(header);
    assert_int_equal(count_entries(), 1);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 8);
    sigset_t pending;
    assert_int_equal(sigpending(&pending), 0);
    assert_false(sigismember(&pending, SIGXFSZ));
    unlink(path);
    free(path);
}

static void refuse_target(const char *path, const char *needle) {
    tsr_error err = {0};
    assert_null(tsr_gguf_writer_open(path, 32, &err));
    if (!strstr(err.message, needle)) fail_msg("'%s'", err.message);
}

static void test_bad_targets(void **state) {
    (void)state;
    char *missing = join("no/such/out.gguf");
    refuse_target(dir, "a directory");
    refuse_target("/dev/null", "no regular file");
    refuse_target(missing, "No such file");
    free(missing);
    char *path = join("out.gguf");
    assert_null(tsr_gguf_writer_open(path, 0, NULL));
    assert_null(tsr_gguf_writer_open(path, 24, NULL));
    assert_null(tsr_gguf_writer_open(path, 4, NULL));
    assert_null(tsr_gguf_writer_open(path, 1u << 31, NULL));
    assert_int_equal(count_entries(), 0);
    free(path);
}

static void test_misuse(void **state) {
    (void)state;
    char *path = join("out.gguf"), long_key[65537];
    tsr_error err = {0};
    int64_t ne[4] = {32, 1, 1, 1};
    memset(long_key, 'k', sizeof long_key);
    long_key[65536] = '\0';
    tsr_gguf_writer *w = must_open(path, 32);
    assert_int_equal(tsr_gguf_writer_u32(w, "", 1, &err), TSR_E_ARG);
    assert_int_equal(tsr_gguf_writer_u32(w, long_key, 1, &err), TSR_E_ARG);
    assert_int_equal(tsr_gguf_writer_u32(w, long_key + 1, 1, &err), TSR_OK);
    assert_int_equal(tsr_gguf_writer_tensor(w, "", TSR_F32, 1, ne, &err), TSR_E_ARG);
    assert_int_equal(tsr_gguf_writer_tensor(w, long_key + 65536 - 65, TSR_F32, 1, ne, &err), TSR_E_ARG);
    assert_int_equal(tsr_gguf_writer_tensor(w, "a", (tsr_type)5, 1, ne, &err), TSR_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "tensor 'a'"));
    assert_int_equal(tsr_gguf_writer_tensor(w, "a", TSR_F32, 0, ne, &err), TSR_E_FORMAT);
    assert_int_equal(tsr_gguf_writer_tensor(w, "a", TSR_F32, 5, ne, &err), TSR_E_FORMAT);
    assert_int_equal(tsr_gguf_writer_tensor(w, "a", TSR_Q4_K, 1, ne, &err), TSR_E_FORMAT);
    assert_int_equal(tsr_gguf_writer_tensor(w, "a", TSR_F32, 1, (int64_t[]){0}, &err), TSR_E_FORMAT);
    assert_int_equal(tsr_gguf_writer_tensor(w, "a", TSR_I8, 1, (int64_t[]){INT64_MAX}, &err), TSR_E_LIMIT);
    assert_int_equal(tsr_gguf_writer_data(w, ne, 4, &err), TSR_E_ARG); /* no header yet */
    add_tensor(w, "a", TSR_F32, 1, 1);
    ok(tsr_gguf_writer_begin(w, &err), &err);
    assert_int_equal(tsr_gguf_writer_begin(w, &err), TSR_E_ARG);
    assert_int_equal(tsr_gguf_writer_u32(w, "k", 1, &err), TSR_E_ARG);
    assert_int_equal(tsr_gguf_writer_tensor(w, "b", TSR_F32, 1, ne, &err), TSR_E_ARG);
    assert_int_equal(tsr_gguf_writer_data(w, ne, 8, &err), TSR_E_ARG); /* 4 expected */
    ok(tsr_gguf_writer_data(w, ne, 4, &err), &err);                    /* which does not spoil it */
    assert_int_equal(tsr_gguf_writer_data(w, ne, 4, &err), TSR_E_ARG); /* one too many */
    ok(tsr_gguf_writer_finish(w, &err), &err);
    unlink(path);

    w = must_open(path, 32);
    add_tensor(w, "twice", TSR_F32, 1, 1);
    add_tensor(w, "twice", TSR_F32, 1, 1);
    assert_int_equal(tsr_gguf_writer_begin(w, &err), TSR_E_ARG);
    assert_non_null(strstr(err.message, "tensor 'twice' was added twice"));
    assert_int_equal(tsr_gguf_writer_data(w, ne, 4, &err), TSR_E_ARG);
    assert_int_equal(tsr_gguf_writer_finish(w, &err), TSR_E_ARG);
    assert_non_null(strstr(err.message, "failed before"));
    tsr_gguf_writer_abort(NULL);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_copied_alignment, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_existing_target_survives_failure, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_size_limit, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_bad_targets, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_misuse, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
