/* Which buffer gets what: rules, refusals, and a device (a fake one) that takes layers and leaves the rest as it was. */
#include "core/cpu.h"
#include "model/weights.h"
#include "test_two_nodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

enum { WIDTH = 256, LAYERS = 3, VOCAB = 64, MOST_TENSORS = 40 };

static char dir[] = "/tmp/tessera-select-XXXXXX", path[64];
static tsr_gguf *model;
static tsr_hparams hparams;
static tsr_buffer_type device; /* holds what a device would, in memory of its own, but refuses all attn_v */
static int device_tensors;

/* ------------------------------------------------------------------------------------------------ a fake device */

static const char *device_refuses(const tsr_gguf_tensor *t, tsr_op op, const tsr_kernels *kern) {
    (void)kern;
    if (op != TSR_OP_MATMUL) return "the device only multiplies";
    return strstr(t->name, "attn_v") ? "the device does not like attn_v" : NULL;
}

static tsr_code device_set(tsr_buffer *b, const tsr_gguf_tensor *t, tsr_weight *w, tsr_pool *pool, tsr_error *err) {
    device_tensors++;
    return tsr_buffer_host_copied.set_tensor(b, t, w, pool, err);
}

/* ----------------------------------------------------------------------------------------------------- a model */

typedef struct shape {
    const char *name;
    tsr_type type;
    int64_t ne[2];
} shape;

static const shape of_model[] = {{"token_embd.weight", TSR_Q8_0, {WIDTH, VOCAB}}, {"output_norm.weight", TSR_F32, {WIDTH, 0}}, {"output.weight", TSR_Q8_0, {WIDTH, VOCAB}}};
static const shape of_layer[] = {
    {"attn_norm.weight", TSR_F32, {WIDTH, 0}},     {"attn_q.weight", TSR_Q8_0, {WIDTH, WIDTH}}, {"attn_k.weight", TSR_Q8_0, {WIDTH, WIDTH}},
    {"attn_v.weight", TSR_Q8_0, {WIDTH, WIDTH}},   {"attn_output.weight", TSR_F32, {WIDTH, WIDTH}}, /* nothing packs F32 */
    {"ffn_norm.weight", TSR_F32, {WIDTH, 0}},      {"ffn_gate.weight", TSR_Q8_0, {WIDTH, WIDTH}},
    {"ffn_up.weight", TSR_Q8_0, {WIDTH, WIDTH}},   {"ffn_down.weight", TSR_Q8_0, {WIDTH, WIDTH}}};

static void describe(tsr_gguf_writer *w, const shape *s, int layer) {
    tsr_error err = {0};
    char name[64];
    if (layer < 0) snprintf(name, sizeof name, "%s", s->name);
    else snprintf(name, sizeof name, "blk.%d.%s", layer, s->name);
    assert_int_equal(tsr_gguf_writer_tensor(w, name, s->type, s->ne[1] ? 2 : 1, s->ne, &err), TSR_OK);
}

static void write_zeros(tsr_gguf_writer *w, const shape *s) {
    tsr_error err = {0};
    size_t n = tsr_type_row_bytes(s->type, s->ne[0]) * (size_t)(s->ne[1] ? s->ne[1] : 1);
    void *zeros = calloc(1, n);
    assert_int_equal(tsr_gguf_writer_data(w, zeros, n, &err), TSR_OK);
    free(zeros);
}

static int set_up(void **state) {
    (void)state;
    tsr_error err = {0};
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    const size_t n_model = sizeof of_model / sizeof *of_model, n_layer = sizeof of_layer / sizeof *of_layer;
    tsr_gguf_writer *w = tsr_gguf_writer_open(path, 32, &err);
    for (size_t i = 0; i < n_model; i++) describe(w, &of_model[i], -1);
    for (int layer = 0; layer < LAYERS; layer++)
        for (size_t i = 0; i < n_layer; i++) describe(w, &of_layer[i], layer);
    if (tsr_gguf_writer_begin(w, &err) != TSR_OK) return -1;
    for (size_t i = 0; i < n_model; i++) write_zeros(w, &of_model[i]);
    for (int layer = 0; layer < LAYERS; layer++)
        for (size_t i = 0; i < n_layer; i++) write_zeros(w, &of_layer[i]);
    if (tsr_gguf_writer_finish(w, &err) != TSR_OK) return -1;
    model = tsr_gguf_open(path, &err);
    hparams = (tsr_hparams){.arch = tsr_arch_find("llama", 5, &err), .n_vocab = VOCAB, .n_embd = WIDTH, .n_layer = LAYERS, .n_head = 2, .n_head_kv = 2,
                            .head_k = WIDTH / 2, .head_v = WIDTH / 2, .n_rot = WIDTH / 2, .n_ff = WIDTH};
    device = tsr_buffer_host_copied;
    device.name = "fake";
    device.refuses = device_refuses;
    device.set_tensor = device_set;
    return model ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    tsr_gguf_close(model);
    char command[80];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    return system(command);
}

static tsr_load loaded(const char *const *rules) {
    return (tsr_load){.tier = tsr_cpu_get()->tier, .packed = true, .tensor_buffers = rules, .n_threads = 1};
}

static void bind(const tsr_load *load, tsr_weights *w) {
    tsr_error err = {0};
    if (tsr_weights_bind(model, &hparams, load, w, &err) != TSR_OK) fail_msg("%s", err.message);
}

/* "host", "packed" or "fake"; *reason may be NULL. */
static const char *place_of(const tsr_weights *w, const char *name, const char **reason) {
    const tsr_gguf_tensor *t = tsr_gguf_find_tensor(model, name);
    assert_non_null(t);
    const tsr_placement *p = &w->placements[t - model->tensors];
    if (reason) *reason = p->reason;
    return p->weight ? p->weight->buffer_type->name : "host";
}

static void expect(const tsr_weights *w, const char *name, const char *place, const char *why) {
    const char *reason;
    assert_string_equal(place_of(w, name, &reason), place);
    assert_string_equal(reason, why);
}

static void skip_without_packed(void) {
    if (tsr_cpu_get()->tier < TSR_TIER_AVX2) skip();
}

/* ------------------------------------------------------------------------------------------------------- tests */

static void test_defaults(void **state) {
    (void)state;
    skip_without_packed();
    tsr_weights w;
    tsr_load load = loaded(NULL);
    bind(&load, &w);
    expect(&w, "token_embd.weight", "host", "no product is computed with it");
    expect(&w, "output_norm.weight", "host", "no product is computed with it");
    expect(&w, "blk.1.attn_q.weight", "packed", "");
    expect(&w, "blk.1.attn_output.weight", "host", "no packed layout for this format");
    tsr_weights_free(&w);
    load.packed = false;
    bind(&load, &w);
    expect(&w, "blk.1.attn_q.weight", "host", "packing is switched off");
    assert_int_equal(w.packed.used, 0);
    tsr_weights_free(&w);
    load.packed = true;
    load.tier = TSR_TIER_SCALAR;
    bind(&load, &w);
    expect(&w, "blk.1.attn_q.weight", "host", "packed kernels need the avx2 tier");
    tsr_weights_free(&w);
}

static void test_first_rule_that_matches_counts(void **state) {
    (void)state;
    skip_without_packed();
    static const char *const rules[] = {"blk\\.1\\.attn_q=packed", "blk\\.[12]\\.(?=attn)=host", "ffn_(up|gate)=host", "ffn_up=packed", "no such name=host", NULL};
    char note[512];
    tsr_weights w;
    const tsr_load load = loaded(rules);
    bind(&load, &w);
    expect(&w, "blk.1.attn_q.weight", "packed", "");
    expect(&w, "blk.2.attn_q.weight", "host", "asked for: blk\\.[12]\\.(?=attn)=host");
    expect(&w, "blk.0.attn_q.weight", "packed", "");
    expect(&w, "blk.0.ffn_up.weight", "host", "asked for: ffn_(up|gate)=host");
    expect(&w, "blk.0.ffn_down.weight", "packed", "");
    expect(&w, "blk.1.attn_norm.weight", "host", "no product is computed with it"); /* rules are for matrices */
    tsr_buffer_rules_unmatched(w.rules, note, sizeof note);
    assert_string_equal(note, "'ffn_up=packed', 'no such name=host' match no matrix of this model, or only such as an earlier one has taken");
    tsr_weights_free(&w);
}

/* With packing switched off, a rule is the only way into a packed buffer. */
static void test_rule_packs_without_packing(void **state) {
    (void)state;
    skip_without_packed();
    static const char *const rules[] = {"ffn_(up|down)=packed", NULL};
    tsr_weights w;
    tsr_load load = loaded(rules);
    load.packed = false;
    bind(&load, &w);
    expect(&w, "blk.2.ffn_down.weight", "packed", "");
    expect(&w, "blk.2.ffn_gate.weight", "host", "packing is switched off");
    assert_true(w.packed.used > 0);
    tsr_weights_free(&w);
}

static void expect_failure(const tsr_load *load, const char *a, const char *b) {
    tsr_error err = {0};
    tsr_weights w;
    assert_int_not_equal(tsr_weights_bind(model, &hparams, load, &w, &err), TSR_OK);
    if (!strstr(err.message, a) || !strstr(err.message, b)) fail_msg("%s", err.message);
    assert_null(w.layers); /* all is released */
}

static void test_bad_rules(void **state) {
    (void)state;
    static const char *const bad[][3] = {
        {"attn_q", "'attn_q'", "REGEX=host"},          {"=host", "'=host'", "REGEX=host"},
        {"attn_q=", "no buffer ''", "host, packed"},   {"attn_q=gpu", "no buffer 'gpu'", "host, packed)"},
        {"at(tn=host", "'at(tn=host'", "character 6"}, {"attn_q=host\n", "\\x0a", "no buffer"},
        {"x=fake", "no buffer 'fake'", "host, packed)"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *const rules[] = {"ffn=host", bad[i][0], NULL};
        const tsr_load load = loaded(rules);
        expect_failure(&load, bad[i][1], bad[i][2]);
    }
    static const char *const slow[] = {"(.*)*(.*)*(.*)*(.*)*(.*)*[x-z]q=host", NULL};
    const tsr_load load = loaded(slow);
    expect_failure(&load, "(.*)*", "limit");
}

static void test_refused_rules(void **state) {
    (void)state;
    static const char *const embedding[] = {"token_embd=packed", NULL}, *const f32[] = {"attn=packed", NULL};
    tsr_load load = loaded(embedding);
    expect_failure(&load, "token_embd.weight is Q8_0", "no product is computed with it");
    if (tsr_cpu_get()->tier >= TSR_TIER_AVX2) {
        load = loaded(f32);
        expect_failure(&load, "blk.0.attn_output.weight is F32", "no packed layout for this format");
    }
    load = loaded(f32);
    load.tier = TSR_TIER_SCALAR;
    expect_failure(&load, "blk.0.attn_q.weight is Q8_0", "packed kernels need the avx2 tier");
}

/* A device changes the place of what it takes of its own layers, and of nothing else: packed weights stay packed. */
static void test_device_takes_only_its_layers(void **state) {
    (void)state;
    skip_without_packed();
    tsr_weights before, after;
    tsr_load load = loaded(NULL);
    bind(&load, &before);
    load.device = &device;
    for (int64_t n = 0; n <= LAYERS + 2; n++) {
        load.n_offload_layers = n;
        device_tensors = 0;
        bind(&load, &after);
        int moved = 0;
        for (size_t i = 0; i < model->n_tensors; i++) {
            const char *name = model->tensors[i].name, *was = place_of(&before, name, NULL), *is = place_of(&after, name, NULL);
            int layer = LAYERS + 1; /* of nothing that is offloaded */
            if (sscanf(name, "blk.%d.", &layer) != 1) layer = strcmp(name, "output.weight") == 0 ? LAYERS : -1;
            bool vector = model->tensors[i].n_dims == 1, mine = layer >= 0 && layer >= LAYERS + 1 - n && !vector && !strstr(name, "attn_v");
            assert_string_equal(is, mine ? "fake" : was);
            moved += mine;
        }
        assert_int_equal(moved, device_tensors);
        if (n > 1) expect(&after, "blk.2.attn_v.weight", "packed", "the device does not like attn_v");
        assert_int_equal(after.host_bytes, before.host_bytes - (n > 1 ? (uint64_t)(n > LAYERS ? LAYERS : n - 1) * WIDTH * WIDTH * 4 : 0)); /* attn_output */
        tsr_weights_free(&after);
    }
    tsr_weights_free(&before);
}

/* A rule may name the device, for any layer, and take a tensor of an offloaded layer back. */
static void test_rules_and_device(void **state) {
    (void)state;
    skip_without_packed();
    static const char *const rules[] = {"blk\\.0\\.ffn=fake", "blk\\.2\\.ffn_up=host", "blk\\.2\\.ffn_down=packed", NULL}, *const refused[] = {"attn_v=fake", NULL};
    tsr_weights w;
    tsr_load load = loaded(rules);
    load.device = &device;
    load.n_offload_layers = 2; /* output, layer 2 */
    bind(&load, &w);
    expect(&w, "blk.0.ffn_up.weight", "fake", "");
    expect(&w, "blk.0.attn_q.weight", "packed", "");
    expect(&w, "blk.1.ffn_up.weight", "packed", "");
    expect(&w, "blk.2.attn_q.weight", "fake", "");
    expect(&w, "blk.2.ffn_up.weight", "host", "asked for: blk\\.2\\.ffn_up=host");
    expect(&w, "blk.2.ffn_down.weight", "packed", "");
    expect(&w, "output.weight", "fake", "");
    tsr_weights_free(&w);
    load.tensor_buffers = refused;
    expect_failure(&load, "blk.0.attn_v.weight", "the device does not like attn_v");
}

/* The kernel says of the memory of packed and of copied weights that it is spread. */
static void test_interleaved(void **state) {
    (void)state;
    enum { F_ADDR = 2, INTERLEAVE = 3 };
    tsr_error err = {0};
    tsr_weights w;
    tsr_load load = loaded(NULL);
    load.numa = TSR_NUMA_INTERLEAVE;
    load.copy = true;
    if (tsr_weights_bind(model, &hparams, &load, &w, &err) != TSR_OK) {
        assert_non_null(strstr(err.message, "mbind"));
        skip(); /* forbidden here */
    }
    const tsr_buffer *held[] = {&w.host, &w.packed};
    for (int i = 0; i < 2; i++) {
        int mode = -1;
        if (!held[i]->used) continue;
        assert_int_equal(syscall(SYS_get_mempolicy, &mode, NULL, 0ul, held[i]->base, (unsigned long)F_ADDR), 0);
        assert_int_equal(mode, INTERLEAVE);
    }
    assert_true(w.host.used > 0);
    tsr_weights_free(&w);
}

static void expect_copies(const tsr_weights *w) {
    assert_true(w->packed.copy_stride >= w->packed.used && w->packed.used > 0);
    assert_memory_equal(w->packed.base, w->packed.base + w->packed.copy_stride, w->packed.used);
    assert_int_equal(w->layers[1].attn_q.packed.copy_stride, w->packed.copy_stride);
}

/* A copy on each node, of what is packed now and of what the cache has; or rows of each matrix, of which products are
 * told. */
static void test_placed_by_node(void **state) {
    (void)state;
    skip_without_packed();
    enum { F_ADDR = 2, BIND = 2 };
    tsr_error err = {0};
    tsr_weights w;
    char cache_dir[80];
    snprintf(cache_dir, sizeof cache_dir, "%s/cache", dir);
    const tsr_cache_params cache = {.dir = cache_dir, .read = true};
    tsr_load load = loaded(NULL);
    static tsr_nodes nodes; /* large */
    make_two_nodes(&nodes, 1, 1);
    load.nodes = &nodes;
    load.numa = TSR_NUMA_MIRROR;
    load.cache = &cache;
    if (tsr_weights_bind(model, &hparams, &load, &w, &err) != TSR_OK) {
        assert_non_null(strstr(err.message, "mbind"));
        skip(); /* forbidden here */
    }
    assert_string_equal(w.packing.outcome, TSR_CACHE_PACKED);
    expect_copies(&w);
    tsr_weights_free(&w); /* waits for the file */
    bind(&load, &w);
    assert_string_equal(w.packing.outcome, TSR_CACHE_READ);
    expect_copies(&w);
    tsr_weights_free(&w);
    load.numa = TSR_NUMA_LOCAL;
    bind(&load, &w);
    assert_string_equal(w.packing.outcome, TSR_CACHE_READ); /* the file does not depend on places */
    assert_true(w.packed.copy_stride == 0 && w.layers[1].attn_q.packed.split);
    int mode = -1;
    assert_int_equal(syscall(SYS_get_mempolicy, &mode, NULL, 0ul, w.packed.base, (unsigned long)F_ADDR), 0);
    assert_int_equal(mode, BIND);
    tsr_weights_free(&w);
    nodes.available[1] = 1000;
    load.numa = TSR_NUMA_MIRROR;
    expect_failure(&load, "packed weights need 2 MB of NUMA node", "--numa local and interleave");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_first_rule_that_matches_counts),
        cmocka_unit_test(test_rule_packs_without_packing),
        cmocka_unit_test(test_bad_rules),
        cmocka_unit_test(test_refused_rules),
        cmocka_unit_test(test_device_takes_only_its_layers),
        cmocka_unit_test(test_rules_and_device),
        cmocka_unit_test(test_interleaved),
        cmocka_unit_test(test_placed_by_node),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
