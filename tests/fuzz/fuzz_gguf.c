/* fuzz_gguf.c: any bytes as a GGUF image. What the parser accepts must hold what gguf.h promises. */
#include "core/buf.h"
#include "gguf/gguf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void require(bool condition) {
    if (!condition) abort();
}

/* Reads every byte that a kv points to, through the sanitizers' eyes. */
static void check_kv(const tsr_gguf *g, const tsr_gguf_kv *kv) {
    require(tsr_gguf_find(g, kv->key) == kv);
    require(kv->key[0] != '\0');
    tsr_buf text = {0};
    tsr_gguf_format(kv, SIZE_MAX, &text);
    require(text.oom || text.data || text.len == 0);
    tsr_buf_free(&text);
    bool array = kv->type == TSR_GGUF_ARRAY;
    require(array || kv->n == 1);
    tsr_gguf_vtype type = array ? kv->elem : kv->type;
    require(type < TSR_GGUF_VTYPE_COUNT && type != TSR_GGUF_ARRAY);
    require((kv->strings != NULL) == (type == TSR_GGUF_STRING));
    double sum = 0;
    for (uint64_t i = 0; i < kv->n && type != TSR_GGUF_STRING; i++)
        sum += tsr_gguf_num(kv, i) + (double)tsr_gguf_int(kv, i);
    (void)sum;

    int64_t integer = 5;
    float number = 0.5f;
    bool flag = false;
    tsr_str string = {0};
    const tsr_gguf_kv *found = NULL;
    tsr_error err = {0};
    if (tsr_gguf_get_int(g, kv->key, -100, 100, &integer, &err) != TSR_OK) require(err.message[0] != '\0');
    require(integer >= -100 && integer <= 100);
    tsr_gguf_opt_f32(g, kv->key, &number, &err);
    require(isfinite(number));
    tsr_gguf_opt_bool(g, kv->key, &flag, &err);
    if (tsr_gguf_opt_str(g, kv->key, &string, &err) == TSR_OK) require(string.s == kv->strings[0].s);
    if (tsr_gguf_opt_array(g, kv->key, kv->elem, 3, &found, &err) == TSR_OK) require(found == kv && kv->n == 3);
}

static void check_tensor(const tsr_gguf *g, const tsr_gguf_tensor *t, size_t size) {
    require(tsr_gguf_find_tensor(g, t->name) == t);
    require(t->n_dims >= 1 && t->n_dims <= 4);
    uint64_t n = 1;
    for (int d = 0; d < 4; d++) {
        require(t->ne[d] >= 1 && (d < t->n_dims || t->ne[d] == 1));
        n *= (uint64_t)t->ne[d];
    }
    require(n == t->n_elems);
    require(t->n_bytes == tsr_type_row_bytes(t->type, t->ne[0]) * (n / (uint64_t)t->ne[0]) && t->n_bytes > 0);
    require(t->offset % g->alignment == 0 && t->n_bytes <= size && t->offset <= size - t->n_bytes);
    const uint8_t *data = t->data;
    volatile uint8_t sink = (uint8_t)(data[0] + data[t->n_bytes - 1]);
    (void)sink;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tsr_error err = {0};
    tsr_gguf *g = tsr_gguf_parse(data, size, "fuzz", &err);
    if (!g) {
        require(err.code != TSR_OK && strncmp(err.message, "fuzz: ", 6) == 0 && !strchr(err.message, '\n'));
        return 0;
    }
    require(g->version == 2 || g->version == 3);
    for (size_t i = 0; i < g->n_kv; i++) check_kv(g, &g->kv[i]);
    for (size_t i = 0; i < g->n_tensors; i++) check_tensor(g, &g->tensors[i], size);
    tsr_gguf_close(g);
    return 0;
}
