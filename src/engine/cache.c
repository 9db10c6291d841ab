/* cache.c: what tessera.h offers for looking after the files of packed weights. */
#include "buffer/cache.h"
#include "core/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Compares the tensors that were packed with those that the model has now. TSR_E_FORMAT: they are others. */
static tsr_code compare_tensors(const tsr_gguf *g, const tsr_cache_header *h, const tsr_cache_tensor *tensors,
                                tsr_pool *pool, tsr_error *err) {
    tsr_digest_item *items = calloc(h->n_tensors, sizeof *items);
    tsr_code code = items ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory");
    for (uint32_t i = 0; code == TSR_OK && i < h->n_tensors; i++) {
        const tsr_gguf_tensor *t = tsr_gguf_find_tensor(g, tensors[i].name);
        if (t) items[i] = tsr_packed_source(t);
        else code = tsr_fail(err, TSR_E_FORMAT, "the model has changed");
    }
    const tsr_digest_job job = {.items = items, .n_items = h->n_tensors, .pool = pool, .mapped = true, .fd = -1};
    if (code == TSR_OK) code = tsr_digest_run(&job, err);
    for (uint32_t i = 0; code == TSR_OK && i < h->n_tensors; i++)
        if (!tsr_digest_equal(items[i].digest, tensors[i].source))
            code = tsr_fail(err, TSR_E_FORMAT, "the model has changed");
    free(items);
    return code;
}

/* Is the model still there, and the one that was packed? Sets *stale, and why in err, when not. One that may not be
 * read, or whose path was too long to be kept, cannot be asked. */
static tsr_code check_source(const tsr_cache_header *h, const tsr_cache_tensor *tensors, tsr_pool *pool, bool *stale,
                             tsr_error *err) {
    tsr_error why = {0};
    *stale = false;
    if (h->source[0] != '/') return TSR_OK;
    if (access(h->source, R_OK) != 0) {
        *stale = errno == ENOENT || errno == ENOTDIR;
        return *stale ? tsr_fail(err, TSR_E_FORMAT, "the model is gone") : TSR_OK;
    }
    tsr_gguf *g = tsr_gguf_open(h->source, &why);
    tsr_code code = g ? compare_tensors(g, h, tensors, pool, &why) : why.code;
    tsr_gguf_close(g);
    *stale = code != TSR_OK && code != TSR_E_NOMEM;
    if (!*stale) return TSR_OK;
    return tsr_fail(err, TSR_E_FORMAT, "%s",
                    code == TSR_E_IO ? "the model can no longer be read" : "the model has changed");
}

/* Text of a file as UTF-8: as it is, or with its odd bytes written out. */
static const char *as_utf8(const char *text, char *out, size_t cap) {
    size_t n = strlen(text);
    return tsr_utf8_valid_prefix(text, n) == n ? text : tsr_printable(text, n, out, cap);
}

/* Checks a file, its head or all of it, and tells the caller about it. False when that wants no more. */
static bool visit_file(const tsr_cache_dir *d, const tsr_cache_file *f, tsr_pool *verify, tsr_cache_fn visit, void *user) {
    char path[sizeof d->path + TSR_CACHE_NAME];
    tsr_error why = {0};
    tsr_cache_header header = {0};
    char model[4 * sizeof header.model], source[4 * sizeof header.source];
    const tsr_cache_tensor *tensors;
    uint8_t *head = NULL;
    uint64_t bytes = 0;
    int fd = -1;
    bool stale = false;
    snprintf(path, sizeof path, "%s/%s", d->path, f->name);
    tsr_code code = f->temporary ? tsr_fail(&why, TSR_E_FORMAT, "being written, or left by a killed process")
                                 : tsr_cache_open_file(d, f->name, &fd, &bytes, &why);
    if (code == TSR_OK && fd < 0) return true; /* gone meanwhile */
    if (code == TSR_OK) code = tsr_cache_read_head(fd, bytes, &head, &header, &tensors, &why);
    bool parsed = code == TSR_OK;
    if (parsed && verify) code = tsr_cache_verify_data(fd, path, &header, tensors, verify, NULL, NULL, &why);
    if (code == TSR_OK && verify) code = check_source(&header, tensors, verify, &stale, &why);
    const tsr_cache_entry entry = {.file = f->name,
                                   .model = parsed ? as_utf8(header.model, model, sizeof model) : "",
                                   .source = parsed ? as_utf8(header.source, source, sizeof source) : "",
                                   .problem = code == TSR_OK ? "" : why.message,
                                   .bytes = f->bytes,
                                   .created = parsed ? header.created : 0,
                                   .used = f->used,
                                   .temporary = f->temporary,
                                   .stale = stale};
    bool more = visit(user, &entry);
    free(head);
    if (fd >= 0) close(fd);
    return more;
}

tsr_code tsr_cache_visit(const char *dir, bool verify, tsr_cache_fn visit, void *user, tsr_error *err) {
    tsr_cache_dir d;
    tsr_cache_file *files = NULL;
    size_t n = 0;
    tsr_pool *pool = NULL;
    tsr_cpuset cpus;
    tsr_error why = {0};
    tsr_code code = tsr_cache_dir_open(&d, dir, false, &why);
    if (code != TSR_OK && *d.path && access(d.path, F_OK) != 0 && errno == ENOENT) return TSR_OK; /* nothing was ever kept there */
    if (code != TSR_OK) return tsr_fail(err, code, "%s", why.message);
    tsr_cpuset_read("", &cpus);
    if (verify && !(pool = tsr_pool_open(tsr_cpuset_threads(&cpus, 0), true, err))) code = TSR_E_NOMEM;
    if (code == TSR_OK) code = tsr_cache_list_files(&d, &files, &n, err);
    for (size_t i = 0; code == TSR_OK && i < n; i++)
        if (!visit_file(&d, &files[i], pool, visit, user)) break;
    free(files);
    if (pool) tsr_pool_close(pool);
    tsr_cache_dir_close(&d);
    return code;
}

tsr_code tsr_cache_remove(const char *dir, const char *file, tsr_error *err) {
    tsr_cache_dir d;
    bool temporary;
    if (!file || !tsr_cache_is_name(file, &temporary)) return tsr_fail(err, TSR_E_ARG, "that is no name of a cache file");
    tsr_code code = tsr_cache_dir_open(&d, dir, false, err);
    if (code != TSR_OK) return code;
    code = tsr_cache_remove_file(&d, file, err);
    tsr_cache_dir_close(&d);
    return code;
}
