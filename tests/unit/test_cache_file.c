/* test_cache_file.c: the directory of cache files of packed weights: what is written is read back, and what is hostile is refused. */
#include "buffer/cache_dir.h"
#include "core/cpu.h"
#include "kernels/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N = 3 };

typedef struct head {
    _Alignas(8) uint8_t bytes[TSR_CACHE_DIRECTORY + N * sizeof(tsr_cache_tensor)];
} head;

static tsr_cache_header *header_of(head *h) { return (tsr_cache_header *)(void *)h->bytes; }
static tsr_cache_tensor *tensor_of(head *h, int i) { return (tsr_cache_tensor *)(void *)(h->bytes + TSR_CACHE_DIRECTORY) + i; }

static head make(void) {
    head h = {0};
    for (int i = 0; i < N; i++) {
        tsr_cache_tensor *t = tensor_of(&h, i);
        *t = (tsr_cache_tensor){.type = 2, .k = 64, .n = 16, .n_experts = 1, .bytes = 640u * (unsigned)(i + 1), .source = {1, (uint64_t)i}};
        snprintf(t->name, sizeof t->name, "blk.%d.attn_q.weight", i);
        snprintf(t->layout, sizeof t->layout, "p16_u4_f16");
    }
    snprintf(header_of(&h)->model, 10, "model");
    tsr_cache_seal(header_of(&h), tensor_of(&h, 0), N);
    return h;
}

/* The checksum made right again: what somebody does who writes such a file on purpose. */
static void reseal(head *h) {
    tsr_cache_header *p = header_of(h);
    p->checksum = (tsr_digest){0};
    uint32_t n = p->n_tensors < N ? p->n_tensors : N;
    const tsr_digest both[2] = {tsr_digest_bytes(p, sizeof *p), tsr_digest_bytes(tensor_of(h, 0), n * sizeof(tsr_cache_tensor))};
    p->checksum = tsr_digest_bytes(both, sizeof both);
}

static tsr_code parse(const head *h, uint64_t file_bytes, tsr_error *err) {
    tsr_cache_header header;
    const tsr_cache_tensor *tensors;
    *err = (tsr_error){0};
    return tsr_cache_parse(h->bytes, sizeof h->bytes, file_bytes, &header, &tensors, err);
}

static void refuses(head *h, const char *why) {
    tsr_error err;
    assert_int_equal(parse(h, header_of(h)->file_bytes, &err), TSR_E_FORMAT);
    if (!strstr(err.message, why)) fail_msg("\"%s\" does not say \"%s\"", err.message, why);
}

static void test_round_trip(void **state) {
    (void)state;
    head h = make();
    tsr_cache_header header;
    const tsr_cache_tensor *tensors;
    tsr_error err;
    uint64_t n = header_of(&h)->file_bytes;
    assert_int_equal(n, TSR_CACHE_ALIGN + 640 + 1280 + 1920);
    assert_int_equal(tsr_cache_parse(h.bytes, sizeof h.bytes, n, &header, &tensors, &err), TSR_OK);
    assert_int_equal(header.n_tensors, N);
    assert_int_equal(tensors[2].offset, 640 + 1280);
    assert_string_equal(tensors[1].name, "blk.1.attn_q.weight");
    assert_int_equal(parse(&h, n - 1, &err), TSR_E_FORMAT); /* truncated, grown */
    assert_int_equal(parse(&h, n + 1, &err), TSR_E_FORMAT);
}

/* Every bit of header and directory counts. */
static void test_every_bit(void **state) {
    (void)state;
    const head good = make();
    tsr_error err;
    uint64_t n = TSR_CACHE_ALIGN + 640 + 1280 + 1920;
    for (size_t i = 0; i < sizeof good.bytes; i++) {
        if (i == sizeof(tsr_cache_header)) i = TSR_CACHE_DIRECTORY; /* seen sources stand for themselves */
        for (int bit = 0; bit < 8; bit++) {
            head h = good;
            h.bytes[i] ^= (uint8_t)(1 << bit);
            if (parse(&h, n, &err) != TSR_E_FORMAT) fail_msg("byte %zu, bit %d", i, bit);
        }
    }
}

/* With a right checksum. */
static void test_hostile(void **state) {
    (void)state;
    head h;
#define CASE(change, why) \
    h = make();           \
    change;               \
    reseal(&h);           \
    refuses(&h, why)
    CASE(header_of(&h)->n_tensors = 0, "it says that it has 0 tensors");
    CASE(header_of(&h)->n_tensors = UINT32_MAX, "tensors");
    CASE(header_of(&h)->n_tensors = TSR_CACHE_MOST_TENSORS, "contradict");
    CASE(header_of(&h)->n_tensors = N + 1, "cut off");
    CASE(header_of(&h)->data_offset = 4096, "contradict");
    CASE(header_of(&h)->data_bytes = UINT64_MAX, "contradict");
    CASE(header_of(&h)->file_bytes = 1 << 20, "contradict");
    CASE(header_of(&h)->version = TSR_CACHE_VERSION + 1, "it is of version");
    CASE(memset(header_of(&h)->model, 'x', sizeof header_of(&h)->model), "do not end");
    CASE(memset(header_of(&h)->source, 'x', sizeof header_of(&h)->source), "do not end");
    CASE(tensor_of(&h, 1)->offset = 0, "behind the one before");          /* overlaps */
    CASE(tensor_of(&h, 1)->offset = 1280, "behind the one before");       /* a gap */
    CASE(tensor_of(&h, 1)->offset = UINT64_MAX - 63, "behind the one before");
    CASE(tensor_of(&h, 0)->bytes = 0, "behind the one before");
    CASE(tensor_of(&h, 2)->bytes = UINT64_MAX - 63, "within the file");   /* the sum would wrap */
    CASE(tensor_of(&h, 2)->bytes = 1920 + 64, "within the file");
    CASE(tensor_of(&h, 2)->bytes = 1920 - 64, "end before");
    CASE(tensor_of(&h, 2)->bytes = 1920 - 1, "within the file");          /* not whole lines */
    CASE(tensor_of(&h, 2)->n = 0, "shape");
    CASE(tensor_of(&h, 2)->k = -1, "shape");
    CASE(tensor_of(&h, 2)->name[0] = '\0', "name");
    CASE(memset(tensor_of(&h, 2)->name, 'x', sizeof tensor_of(&h, 2)->name), "name");
    CASE(memset(tensor_of(&h, 2)->layout, 'x', sizeof tensor_of(&h, 2)->layout), "name");
    CASE(memcpy(header_of(&h)->magic, "GGUF\3\0\0", 8), "no cache file");
    CASE(memset(header_of(&h)->magic, 0, 8), "not written to its end");
#undef CASE
    tsr_error err;
    assert_int_equal(tsr_cache_parse(h.bytes, 100, 100, &(tsr_cache_header){0}, &(const tsr_cache_tensor *){NULL}, &err), TSR_E_FORMAT);
}

static void test_seen_sources(void **state) {
    (void)state;
    head h = make();
    tsr_digest ids[TSR_CACHE_SEEN + 1];
    for (int i = 0; i <= TSR_CACHE_SEEN; i++) {
        ids[i] = (tsr_digest){(uint64_t)i * 77, 5};
        assert_false(tsr_cache_has_seen(h.bytes, ids[i]));
        int slot = tsr_cache_seen_slot(h.bytes, ids[i]);
        if (i < TSR_CACHE_SEEN) assert_int_equal(slot, i); /* empty ones first */
        tsr_cache_seen seen = tsr_cache_seen_make(ids[i]);
        memcpy(h.bytes + sizeof(tsr_cache_header) + (size_t)slot * sizeof seen, &seen, sizeof seen);
        assert_true(tsr_cache_has_seen(h.bytes, ids[i]));
    }
    h.bytes[sizeof(tsr_cache_header) + 40] ^= 1; /* half of one is none */
    assert_false(tsr_cache_has_seen(h.bytes, ids[1]));
    assert_int_equal(tsr_cache_seen_slot(h.bytes, ids[1]), 1);
    tsr_error err;
    assert_int_equal(parse(&h, header_of(&h)->file_bytes, &err), TSR_OK);
}

static void test_names(void **state) {
    (void)state;
    bool temporary;
    char name[TSR_CACHE_NAME];
    tsr_cache_name((tsr_digest){0x0123456789abcdef, 0xfedcba9876543210}, name);
    assert_string_equal(name, "fedcba98765432100123456789abcdef.packed");
    assert_true(tsr_cache_is_name(name, &temporary) && !temporary);
    assert_true(tsr_cache_is_name("fedcba98765432100123456789abcdef.packed.tmp", &temporary) && temporary);
    const char *others[] = {"", "..", "fedcba98765432100123456789abcdef", "fedcba98765432100123456789abcdef.packed2",
                            "../cba98765432100123456789abcdef.packed", "Fedcba98765432100123456789abcdef.packed"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_false(tsr_cache_is_name(others[i], &temporary));
}

/* Every length of the ways that xxHash has for short and long input. */
static void test_hashes(void **state) {
    (void)state;
    enum { LONGEST = 5000 };
    uint8_t p[LONGEST];
    if (tsr_cpu_get()->tier < TSR_TIER_AVX2) skip();
    for (size_t i = 0; i < LONGEST; i++) p[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t n = 0; n <= LONGEST; n += n < 1100 ? 1 : 13) {
        uint64_t a[2], b[2];
        tsr_hash__scalar(p, n, a);
        tsr_hash__avx2(p, n, b);
        if (a[0] != b[0] || a[1] != b[1]) fail_msg("%zu bytes", n);
    }
}

/* Digests on several threads are those on one; every size of the last block. */
static void test_digests(void **state) {
    (void)state;
    enum { BYTES = 3 * TSR_DIGEST_BLOCK + 100 };
    uint8_t *p = malloc(BYTES);
    tsr_pool *pool = tsr_pool_open(3, false, NULL);
    assert_true(p && pool);
    for (size_t i = 0; i < BYTES; i++) p[i] = (uint8_t)(i * 2654435761u >> 13);
    tsr_digest_item items[] = {{.p = p, .n = 1}, {.p = p + 1, .n = TSR_DIGEST_BLOCK}, {.p = p + 5, .n = TSR_DIGEST_BLOCK + 1}, {.p = p, .n = BYTES}};
    tsr_digest_job job = {.items = items, .n_items = 4, .pool = pool, .fd = -1};
    assert_int_equal(tsr_digest_run(&job, NULL), TSR_OK);
    for (int i = 0; i < 4; i++) assert_true(tsr_digest_equal(items[i].digest, tsr_digest_blocks(items[i].p, items[i].n)));
    assert_false(tsr_digest_equal(items[0].digest, items[1].digest));
    /* By parts: no block is of two. 3 parts of 700 bytes, in blocks of 300, 300 and 100. */
    tsr_digest_item parts = {.p = p, .n = 2100, .part = 700, .block = 300};
    tsr_digest blocks[9];
    job.items = &parts;
    job.n_items = 1;
    assert_int_equal(tsr_digest_run(&job, NULL), TSR_OK);
    for (int i = 0; i < 9; i++) blocks[i] = tsr_digest_bytes(p + 700 * (i / 3) + 300 * (i % 3), i % 3 == 2 ? 100 : 300);
    assert_true(tsr_digest_equal(parts.digest, tsr_digest_chain(blocks, 9)));
    p[2 * TSR_DIGEST_BLOCK] ^= 1;
    assert_false(tsr_digest_equal(items[3].digest, tsr_digest_blocks(items[3].p, items[3].n)));
    tsr_pool_close(pool);
    free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_every_bit), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_seen_sources), cmocka_unit_test(test_names),     cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_digests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
