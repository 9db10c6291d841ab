/* open.c: opening and closing model files, single and split. */
#include "gguf/internal.h"

#include "core/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SPLIT_MAX = 65535 }; /* split.count is a u16 in the files that exist */

const char *tsr_gguf_label(const tsr_gguf *g, int i, char out[TSR_GGUF_LABEL]) {
    return tsr_printable(g->files[i].path, strlen(g->files[i].path), out, TSR_GGUF_LABEL);
}

/* ------------------------------------------------------------------------------------------------ one file */

/* A tsr_gguf with one file slot, empty but for its path. */
static tsr_gguf *new_gguf(const char *path, tsr_error *err) {
    tsr_gguf *g = calloc(1, sizeof *g);
    if (g) g->files = calloc(1, sizeof *g->files);
    if (g && g->files) {
        g->n_files = 1;
        g->files[0].fd = -1;
        g->files[0].mapping = -1;
        g->files[0].path = strdup(path);
    }
    if (g && g->files && g->files[0].path) return g;
    tsr_fail(err, TSR_E_NOMEM, "out of memory while opening a GGUF file");
    tsr_gguf_close(g);
    return NULL;
}

static tsr_code refuse_kind(const char *label, mode_t mode, tsr_error *err) {
    if (S_ISDIR(mode))
        return tsr_fail(err, TSR_E_ARG, "%s: a directory; give the .gguf file in it (of a split model: the first)",
                        label);
    const char *kind = S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
    return tsr_fail(err, TSR_E_ARG, "%s: %s; models are mapped into memory, so give a regular .gguf file", label, kind);
}

static tsr_code map_file(tsr_gguf_file *f, const char *label, tsr_error *err) {
    /* O_NONBLOCK: opening a pipe that nobody writes to must not hang. It means nothing to regular files. */
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f->fd < 0)
        return tsr_fail(err, TSR_E_IO, "%s: cannot open: %s%s", label, strerror(errno),
                        errno != ENOENT          ? ""
                        : strstr(f->path, "://") ? "; download the file first, Tessera reads local files"
                                                 : "; check the path of the model");
    struct stat st;
    if (fstat(f->fd, &st) != 0) return tsr_fail(err, TSR_E_IO, "%s: cannot examine: %s", label, strerror(errno));
    if (!S_ISREG(st.st_mode)) return refuse_kind(label, st.st_mode, err);
    return tsr_mapping_open(f->fd, f->path, &f->base, &f->size, &f->mapping, err);
}

static tsr_gguf *open_one(const char *path, tsr_error *err) {
    tsr_gguf *g = new_gguf(path, err);
    if (!g) return NULL;
    char label[TSR_GGUF_LABEL];
    tsr_code code = map_file(&g->files[0], tsr_gguf_label(g, 0, label), err);
    if (code == TSR_OK) {
        code = tsr_gguf_read_image(g, err);
        /* What was parsed may have been zeros in the place of lost pages; then that is the error to report. */
        tsr_code lost = tsr_mapping_check(g->files[0].mapping, err);
        if (lost != TSR_OK) code = lost;
    }
    if (code == TSR_OK) return g;
    tsr_gguf_close(g);
    return NULL;
}

void tsr_gguf_close(tsr_gguf *g) {
    if (!g) return;
    for (size_t i = 0; i < g->n_kv; i++) {
        free(g->kv[i].key);
        free(g->kv[i].strings);
    }
    for (size_t i = 0; i < g->n_tensors; i++) free(g->tensors[i].name);
    for (int i = 0; i < g->n_files; i++) {
        if (g->files[i].mapping >= 0) tsr_mapping_close(g->files[i].mapping);
        if (g->files[i].fd >= 0) close(g->files[i].fd);
        free(g->files[i].path);
    }
    tsr_gguf_index_free(g);
    free(g->kv);
    free(g->tensors);
    free(g->files);
    free(g);
}

/* ------------------------------------------------------------------------------------------- split models */

/* split.count of a file, 0 when it is not part of a split model. */
static tsr_code split_count(const tsr_gguf *g, int64_t *count, tsr_error *err) {
    *count = 0;
    tsr_code code = tsr_gguf_opt_int(g, "split.count", 0, SPLIT_MAX, count, err);
    if (*count <= 1) *count = 0;
    return code;
}

/* The path of part no (from 0) of count: path with its last bytes, which should be -00001-of-00003.gguf or the like,
 * exchanged. NULL when memory is out. */
static char *part_path(const char *path, int64_t no, int64_t count) {
    char suffix[64];
    int m = snprintf(suffix, sizeof suffix, "-%05d-of-%05d.gguf", (int)no + 1, (int)count);
    size_t n = strlen(path), kept = n > (size_t)m ? n - (size_t)m : 0;
    char *result = malloc(kept + (size_t)m + 1);
    if (!result) return NULL;
    memcpy(result, path, kept);
    memcpy(result + kept, suffix, (size_t)m + 1);
    return result;
}

static tsr_code fail_part_name(const tsr_gguf *g, int64_t no, int64_t count, tsr_error *err) {
    char label[TSR_GGUF_LABEL];
    return tsr_fail(err, TSR_E_ARG,
                    "%s: part %lld of a model split into %lld files, so its name must end in -%05d-of-%05d.gguf; "
                    "give the parts their original names, all in one directory",
                    tsr_gguf_label(g, 0, label), (long long)no + 1, (long long)count, (int)no + 1, (int)count);
}

/* Checks that g, the file the user named, is part 0 of count and named so. */
static tsr_code check_first(const tsr_gguf *g, int64_t count, tsr_error *err) {
    int64_t no = 0;
    tsr_code code = tsr_gguf_get_int(g, "split.no", 0, count - 1, &no, err);
    if (code != TSR_OK) return code;
    char *named = part_path(g->files[0].path, no, count);
    char *first = part_path(g->files[0].path, 0, count);
    if (!named || !first) {
        code = tsr_fail(err, TSR_E_NOMEM, "out of memory while opening a split model");
    } else if (strcmp(named, g->files[0].path) != 0) {
        code = fail_part_name(g, no, count, err);
    } else if (no != 0) {
        char label[TSR_GGUF_LABEL], shown[TSR_GGUF_LABEL];
        code = tsr_fail(err, TSR_E_ARG, "%s: part %lld of %lld of a split model; open its first file: %s",
                        tsr_gguf_label(g, 0, label), (long long)no + 1, (long long)count,
                        tsr_printable(first, strlen(first), shown, sizeof shown));
    }
    free(named);
    free(first);
    return code;
}

/* Checks one key of a further part against what it must be. */
static tsr_code check_part_key(const tsr_gguf *part, const char *key, int64_t want, tsr_error *err) {
    int64_t got = 0;
    tsr_code code = tsr_gguf_get_int(part, key, INT64_MIN, INT64_MAX, &got, err);
    if (code != TSR_OK || got == want) return code;
    char label[TSR_GGUF_LABEL];
    return tsr_fail(err, TSR_E_FORMAT,
                    "%s: key '%s' is %lld, but by the first file and its name it must be %lld; the parts do not "
                    "belong together: download the model again",
                    tsr_gguf_label(part, 0, label), key, (long long)got, (long long)want);
}

/* Moves the file and the tensors of part, whose files[] has one entry, to the end of g's. */
static tsr_code absorb(tsr_gguf *g, tsr_gguf *part, tsr_error *err) {
    tsr_gguf_file *files = realloc(g->files, (size_t)(g->n_files + 1) * sizeof *files);
    if (files) g->files = files;
    tsr_gguf_tensor *tensors = realloc(g->tensors, (g->n_tensors + part->n_tensors + 1) * sizeof *tensors);
    if (tensors) g->tensors = tensors;
    if (!files || !tensors) return tsr_fail(err, TSR_E_NOMEM, "out of memory while opening a split model");
    for (size_t i = 0; i < part->n_tensors; i++) {
        tensors[g->n_tensors + i] = part->tensors[i];
        tensors[g->n_tensors + i].file = g->n_files;
    }
    files[g->n_files++] = part->files[0];
    g->n_tensors += part->n_tensors;
    part->n_files = 0;
    part->n_tensors = 0;
    return TSR_OK;
}

static tsr_code open_part(tsr_gguf *g, int64_t no, int64_t count, int64_t n_tensors, tsr_error *err) {
    char *path = part_path(g->files[0].path, no, count);
    if (!path) return tsr_fail(err, TSR_E_NOMEM, "out of memory while opening a split model");
    tsr_error why = {0};
    tsr_gguf *part = open_one(path, &why);
    tsr_code code = part ? TSR_OK : why.code;
    if (!part) tsr_fail(err, code, "part %lld of %lld: %s", (long long)no + 1, (long long)count, why.message);
    if (code == TSR_OK) code = check_part_key(part, "split.no", no, err);
    if (code == TSR_OK) code = check_part_key(part, "split.count", count, err);
    if (code == TSR_OK) code = check_part_key(part, "split.tensors.count", n_tensors, err);
    if (code == TSR_OK) code = absorb(g, part, err);
    tsr_gguf_close(part);
    free(path);
    return code;
}

static tsr_code open_parts(tsr_gguf *g, int64_t count, tsr_error *err) {
    int64_t n_tensors = 0;
    tsr_code code = check_first(g, count, err);
    if (code == TSR_OK) code = tsr_gguf_get_int(g, "split.tensors.count", 0, INT32_MAX, &n_tensors, err);
    for (int64_t no = 1; no < count && code == TSR_OK; no++) code = open_part(g, no, count, n_tensors, err);
    if (code != TSR_OK) return code;
    if ((uint64_t)n_tensors != g->n_tensors) {
        char label[TSR_GGUF_LABEL];
        return tsr_fail(err, TSR_E_FORMAT,
                        "%s: key 'split.tensors.count' is %lld, but the %lld files hold %zu tensors; the parts do not "
                        "belong together: download the model again",
                        tsr_gguf_label(g, 0, label), (long long)n_tensors, (long long)count, g->n_tensors);
    }
    return tsr_gguf_index_build(g, err);
}

/* --------------------------------------------------------------------------------------------------- entry */

tsr_gguf *tsr_gguf_open(const char *path, tsr_error *err) {
    tsr_gguf *g = open_one(path, err);
    if (!g) return NULL;
    int64_t count;
    tsr_code code = split_count(g, &count, err);
    if (code == TSR_OK && count) code = open_parts(g, count, err);
    if (code == TSR_OK) return g;
    tsr_gguf_close(g);
    return NULL;
}

tsr_gguf *tsr_gguf_parse(const void *data, size_t n, const char *name, tsr_error *err) {
    tsr_gguf *g = new_gguf(name, err);
    if (!g) return NULL;
    g->files[0].base = data;
    g->files[0].size = n;
    int64_t count = 0;
    tsr_code code = tsr_gguf_read_image(g, err);
    if (code == TSR_OK) code = split_count(g, &count, err);
    if (code == TSR_OK && count) {
        char label[TSR_GGUF_LABEL];
        code = tsr_fail(err, TSR_E_UNSUPPORTED, "%s: one part of a split model; open it by its path",
                        tsr_gguf_label(g, 0, label));
    }
    if (code == TSR_OK) return g;
    tsr_gguf_close(g);
    return NULL;
}
