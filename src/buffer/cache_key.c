#include "buffer/cache_key.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLES = 16, SAMPLE_BYTES = 4096 };

uint64_t tsr_cache_source_bytes(const tsr_gguf *g) {
    uint64_t n = 0;
    for (int i = 0; i < g->n_files; i++) n += g->files[i].size;
    return n;
}

/* What tsr_pack makes of one panel of arbitrary blocks: when packing changes, so does every key, whether or not somebody thought of it. */
static tsr_code add_probe(tsr_digest *chain, tsr_type type, tsr_error *err) {
    enum { K = 512 };
    tsr_packed p;
    tsr_packed_init(&p, type, TSR_PANEL, K); /* the type has a layout: it is in the plan */
    size_t row_bytes = tsr_type_row_bytes(type, K), n_rows = TSR_PANEL * row_bytes, n = tsr_packed_bytes(&p);
    uint8_t *rows = malloc(n_rows);
    p.data = aligned_alloc(64, n);
    tsr_code code = rows && p.data ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory");
    if (code == TSR_OK) {
        uint32_t x = 1;
        for (size_t i = 0; i < n_rows; i++) rows[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
        memset(p.data, 0, n);
        tsr_pack(&p, rows, row_bytes, 0, 1);
        tsr_digest_add(chain, p.data, n);
    }
    free(rows);
    free(p.data);
    return code;
}

/* Sizes, everything before the first tensor, and samples of what follows: read, not touched in the mapping. */
static tsr_code add_file(tsr_digest *chain, const tsr_gguf *g, int file, tsr_error *err) {
    const tsr_gguf_file *f = &g->files[file];
    uint64_t head = f->size;
    for (size_t i = 0; i < g->n_tensors; i++)
        if (g->tensors[i].file == file && g->tensors[i].offset < head) head = g->tensors[i].offset;
    const uint64_t sizes[2] = {f->size, head};
    tsr_digest_add(chain, sizes, sizeof sizes);
    tsr_digest_add(chain, f->base, (size_t)head);
    for (uint64_t i = 0; i < SAMPLES; i++) {
        uint8_t sample[SAMPLE_BYTES] = {0};
        ssize_t got = pread(f->fd, sample, sizeof sample, (off_t)(head + (f->size - head) / SAMPLES * i));
        if (got < 0) return tsr_fail(err, TSR_E_IO, "cannot read the model: %s", strerror(errno));
        tsr_digest_add(chain, sample, sizeof sample);
    }
    return TSR_OK;
}

tsr_code tsr_cache_key(const tsr_cache_plan *plan, tsr_digest *key, tsr_error *err) {
    bool probed[TSR_TYPE_COUNT] = {false};
    const uint32_t version = TSR_CACHE_VERSION;
    tsr_code code = TSR_OK;
    *key = (tsr_digest){0};
    tsr_digest_add(key, &version, sizeof version);
    for (size_t i = 0; code == TSR_OK && i < plan->n; i++) {
        const tsr_cache_tensor *t = &plan->tensors[i];
        tsr_digest_add(key, t, offsetof(tsr_cache_tensor, offset));
        tsr_digest_add(key, &t->bytes, sizeof t->bytes);
        if (!probed[t->type]) code = add_probe(key, (tsr_type)t->type, err);
        probed[t->type] = true;
    }
    for (int i = 0; code == TSR_OK && i < plan->g->n_files; i++) code = add_file(key, plan->g, i, err);
    return code;
}

tsr_code tsr_cache_identity(const tsr_gguf *g, tsr_digest *identity, bool *settled, tsr_error *err) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *settled = true;
    *identity = (tsr_digest){0};
    for (int i = 0; i < g->n_files; i++) {
        struct stat st;
        if (fstat(g->files[i].fd, &st) != 0) return tsr_fail(err, TSR_E_IO, "cannot examine the model: %s", strerror(errno));
        const uint64_t what[] = {(uint64_t)st.st_dev, (uint64_t)st.st_ino, (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec,
                                 (uint64_t)st.st_mtim.tv_nsec, (uint64_t)st.st_ctim.tv_sec, (uint64_t)st.st_ctim.tv_nsec};
        tsr_digest_add(identity, what, sizeof what);
        if (st.st_ctim.tv_sec + 1 >= now.tv_sec) *settled = false;
    }
    return TSR_OK;
}
