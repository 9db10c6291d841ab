#include "buffer/cache.h"

#include "buffer/cache_key.h"
#include "buffer/cache_room.h"
#include "buffer/cache_write.h"
#include "core/clock.h"
#include "core/mapping.h"
#include "core/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How long others wait for a writer: as long as it shows progress, but not much longer than packing beside it would
 * take (in milliseconds). */
enum { FIRST_PAUSE = 10, LAST_PAUSE = 160, SILENCE = 4000, LEAST_WAIT = 5000, BYTES_PER_WAIT = 400000 };

/* A file as it was when it was refused: it need not be read again. */
typedef struct refused {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec modified, changed;
} refused;

struct tsr_cache {
    const tsr_cache_plan *plan;
    tsr_cache_dir dir;
    char name[TSR_CACHE_NAME];
    uint64_t limit;
    bool read;
    tsr_digest key, identity;
    bool settled;              /* the identity will tell a change */
    int lock;                  /* the locked temporary file, -1: nothing is going to be written */
    tsr_cache_writer writer;
    refused refused;
    char note[768];
};

/* ------------------------------------------------------------------------------------------- open and close */

tsr_cache *tsr_cache_open(const tsr_cache_plan *plan, const tsr_cache_params *params, tsr_error *err) {
    tsr_cache *c = calloc(1, sizeof *c);
    if (!c) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory");
        return NULL;
    }
    c->plan = plan;
    c->lock = c->dir.fd = -1;
    c->limit = params->limit;
    c->read = params->read;
    tsr_code code = tsr_cache_dir_open(&c->dir, params->dir, true, err);
    if (code == TSR_OK && !c->limit && !tsr_cache_limit(&c->dir, &c->limit))
        code = tsr_fail(err, TSR_E_ARG, "TESSERA_CACHE_LIMIT is no size: give bytes, or a number with K, M, G or T");
    if (code == TSR_OK) code = tsr_cache_key(plan, &c->key, err);
    if (code == TSR_OK) code = tsr_cache_identity(plan->g, &c->identity, &c->settled, err);
    if (code == TSR_OK) {
        tsr_cache_name(c->key, c->name);
        return c;
    }
    tsr_cache_close(c, true);
    return NULL;
}

static void unlock(tsr_cache *c) {
    if (c->lock >= 0) tsr_cache_drop(&c->dir, c->name, c->lock);
    c->lock = -1;
}

tsr_code tsr_cache_wait(tsr_cache *c, tsr_progress_fn progress, void *user, tsr_error *err) {
    return tsr_cache_write_join(&c->writer, false, progress, user, err);
}

void tsr_cache_close(tsr_cache *c, bool abandon) {
    if (!c) return;
    tsr_cache_write_join(&c->writer, abandon, NULL, NULL, NULL);
    unlock(c);
    tsr_cache_dir_close(&c->dir);
    free(c);
}

const char *tsr_cache_note(const tsr_cache *c) { return c->note; }

/* A file that cannot be used is named, and why. */
static void note_damage(tsr_cache *c, const tsr_error *why) {
    snprintf(c->note, sizeof c->note, "the cache file %s/%s is not used: %.256s; the weights are packed anew", c->dir.label, c->name, why->message);
}

static void note_unwritten(tsr_cache *c, const char *why) {
    size_t n = strlen(c->note);
    snprintf(c->note + n, sizeof c->note - n, "%spacked weights are not kept for the next start: %.400s", n ? "; " : "",
             why);
}

/* -------------------------------------------------------------------------------------------- a file's worth */

static tsr_code compare_plan(const tsr_cache *c, const tsr_cache_header *h, const tsr_cache_tensor *tensors, tsr_error *err) {
    bool same = tsr_digest_equal(h->key, c->key) && h->n_tensors == c->plan->n && h->data_bytes == c->plan->bytes;
    for (size_t i = 0; same && i < c->plan->n; i++) {
        const tsr_cache_tensor *have = &tensors[i], *want = &c->plan->tensors[i];
        same = memcmp(have, want, offsetof(tsr_cache_tensor, offset)) == 0 && have->bytes == want->bytes;
    }
    return same ? TSR_OK : tsr_fail(err, TSR_E_FORMAT, "it holds the weights of another model");
}

/* Reads all of the model's packed tensors and compares. Files that were copied or touched, or are too new to tell, come here. */
static tsr_code compare_source(const tsr_cache *c, const tsr_cache_tensor *tensors, tsr_pool *pool, tsr_progress_fn progress, void *user, tsr_error *err) {
    size_t n = c->plan->n;
    tsr_digest_item *items = calloc(n, sizeof *items);
    if (!items) return tsr_fail(err, TSR_E_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) items[i] = tsr_packed_source(c->plan->sources[i]);
    const tsr_digest_job job = {.items = items, .n_items = n, .pool = pool, .mapped = true, .fd = -1, .progress = progress, .progress_user = user};
    tsr_code code = tsr_digest_run(&job, err);
    for (size_t i = 0; i < n; i++) {
        const tsr_gguf_tensor *t = c->plan->sources[i];
        tsr_mapping_release(c->plan->g->files[t->file].mapping, t->data, (size_t)t->n_bytes);
        if (code == TSR_OK && !tsr_digest_equal(items[i].digest, tensors[i].source))
            code = tsr_fail(err, TSR_E_FORMAT, "it was made from other weights than the model has now (tensor %s)", t->name);
    }
    free(items);
    return code;
}

/* What data holds against the directory. fd: read into it first, or -1. */
static tsr_code verify(const tsr_cache_header *h, const tsr_cache_tensor *tensors, const uint8_t *data, int fd, tsr_pool *pool,
                       tsr_progress_fn progress, void *user, tsr_error *err) {
    tsr_digest_item *items = calloc(h->n_tensors, sizeof *items);
    if (!items) return tsr_fail(err, TSR_E_NOMEM, "out of memory");
    for (uint32_t i = 0; i < h->n_tensors; i++) items[i] = (tsr_digest_item){.p = data + tensors[i].offset, .n = (size_t)tensors[i].bytes};
    const tsr_digest_job job = {.items = items, .n_items = h->n_tensors, .pool = pool, .mapped = fd < 0, .fd = fd, .offset = h->data_offset,
                                .progress = progress, .progress_user = user};
    tsr_code code = tsr_digest_run(&job, err);
    for (uint32_t i = 0; code == TSR_OK && i < h->n_tensors; i++) {
        char name[4 * sizeof tensors[i].name];
        if (!tsr_digest_equal(items[i].digest, tensors[i].checksum))
            code = tsr_fail(err, TSR_E_FORMAT, "the checksum of tensor %s is wrong",
                            tsr_printable(tensors[i].name, strlen(tensors[i].name), name, sizeof name));
    }
    free(items);
    return code;
}

tsr_code tsr_cache_verify_data(int fd, const char *path, const tsr_cache_header *header, const tsr_cache_tensor *tensors, tsr_pool *pool,
                               tsr_progress_fn progress, void *user, tsr_error *err) {
    const uint8_t *base;
    size_t size;
    int mapping;
    tsr_code code = tsr_mapping_open(fd, path, &base, &size, &mapping, err);
    if (code != TSR_OK) return code;
    if (size != header->file_bytes) code = tsr_fail(err, TSR_E_FORMAT, "its size has changed");
    if (code == TSR_OK) code = verify(header, tensors, base + header->data_offset, -1, pool, progress, user, err);
    tsr_code lost = tsr_mapping_check(mapping, code == TSR_OK ? err : NULL);
    tsr_mapping_close(mapping);
    return code == TSR_OK ? lost : code;
}

/* ------------------------------------------------------------------------------------------------- taking it */

static tsr_code take_mapped(const tsr_cache *c, int fd, const tsr_cache_header *h, const tsr_cache_tensor *tensors, tsr_buffer *b, tsr_pool *pool,
                            tsr_progress_fn progress, void *user, tsr_error *err) {
    char path[sizeof c->dir.path + TSR_CACHE_NAME + 1];
    const uint8_t *base;
    size_t size;
    int mapping;
    snprintf(path, sizeof path, "%s/%s", c->dir.path, c->name);
    tsr_code code = tsr_mapping_open(fd, path, &base, &size, &mapping, err);
    if (code != TSR_OK) return code;
    if (size != h->file_bytes) code = tsr_fail(err, TSR_E_FORMAT, "its size has changed");
    if (code == TSR_OK) code = verify(h, tensors, base + h->data_offset, -1, pool, progress, user, err);
    if (code == TSR_OK) code = tsr_mapping_check(mapping, err);
    if (code != TSR_OK) {
        tsr_mapping_close(mapping);
        return code;
    }
    /* Never written to: a filled buffer is only read. */
    *b = (tsr_buffer){.base = (uint8_t *)(uintptr_t)(base + h->data_offset), .n = (size_t)h->data_bytes, .filled = true, .mapped = true, .mapping = mapping};
    return TSR_OK;
}

static tsr_code take_read(int fd, const tsr_cache_header *h, const tsr_cache_tensor *tensors, tsr_buffer *b, tsr_pool *pool,
                          tsr_progress_fn progress, void *user, tsr_error *err) {
    tsr_code code = verify(h, tensors, b->base, fd, pool, progress, user, err);
    b->filled = code == TSR_OK;
    return code;
}

/* The model is known from now on; and the time of last use. What fails here only costs time at a later start. */
static void mark_used(const tsr_cache *c, int fd, const uint8_t *head) {
    if (c->settled && !tsr_cache_has_seen(head, c->identity)) {
        int writable = openat(c->dir.fd, c->name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
        struct stat a, b;
        const tsr_cache_seen seen = tsr_cache_seen_make(c->identity);
        off_t at = (off_t)(sizeof(tsr_cache_header) + (size_t)tsr_cache_seen_slot(head, c->identity) * sizeof seen);
        if (writable >= 0 && fstat(fd, &a) == 0 && fstat(writable, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev &&
            pwrite(writable, &seen, sizeof seen, at) != (ssize_t)sizeof seen)
            errno = 0; /* half of one is none */
        if (writable >= 0) close(writable);
    }
    futimens(fd, NULL);
}

/* Was this very file refused before? Remembers it for the next time. */
static bool was_refused(tsr_cache *c, int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0) return false;
    const refused old = c->refused;
    c->refused = (refused){st.st_dev, st.st_ino, st.st_size, st.st_mtim, st.st_ctim};
    return old.ino == st.st_ino && old.dev == st.st_dev && old.size == st.st_size &&
           old.modified.tv_sec == st.st_mtim.tv_sec && old.modified.tv_nsec == st.st_mtim.tv_nsec &&
           old.changed.tv_sec == st.st_ctim.tv_sec && old.changed.tv_nsec == st.st_ctim.tv_nsec;
}

/* Fills b from the file if there is one and it is good. A file that is not leaves a note, and is not read again. */
static tsr_code take_file(tsr_cache *c, tsr_buffer *b, tsr_pool *pool, tsr_progress_fn progress, void *user, tsr_error *err) {
    tsr_error why = {0};
    uint64_t bytes;
    int fd;
    uint8_t *head = NULL;
    tsr_cache_header header;
    const tsr_cache_tensor *tensors;
    tsr_code code = tsr_cache_open_file(&c->dir, c->name, &fd, &bytes, &why);
    if (code == TSR_OK && fd < 0) return TSR_OK;
    if (code == TSR_OK && was_refused(c, fd)) {
        close(fd);
        return TSR_OK;
    }
    if (code == TSR_OK) code = tsr_cache_read_head(fd, bytes, &head, &header, &tensors, &why);
    if (code == TSR_OK) code = compare_plan(c, &header, tensors, &why);
    if (code == TSR_OK && !tsr_cache_has_seen(head, c->identity)) code = compare_source(c, tensors, pool, progress, user, &why);
    if (code == TSR_OK && c->read) code = take_read(fd, &header, tensors, b, pool, progress, user, &why);
    else if (code == TSR_OK) code = take_mapped(c, fd, &header, tensors, b, pool, progress, user, &why);
    if (code == TSR_OK) {
        mark_used(c, fd, head);
        c->note[0] = '\0'; /* of a bad one before it */
    }
    free(head);
    if (fd >= 0) close(fd);
    if (code == TSR_E_CANCELLED || code == TSR_E_NOMEM) return tsr_fail(err, code, "%s", why.message);
    if (code != TSR_OK) note_damage(c, &why);
    return TSR_OK;
}

/* ------------------------------------------------------------------------------------------------ or writing one */

static void make_room(tsr_cache *c) {
    tsr_error why = {0};
    uint64_t n = tsr_cache_data_offset((uint32_t)c->plan->n) + c->plan->bytes;
    if (tsr_cache_make_room(&c->dir, c->name, c->lock, n, c->limit, &why) == TSR_OK) return;
    note_unwritten(c, why.message);
    unlock(c);
}

typedef struct waiting {
    int64_t since, moved; /* when it began, and when the writer last showed progress, in milliseconds; 0: not yet */
    int64_t at;           /* what the writer has reached */
    int pause;
} waiting;

/* Sleeps a little, longer each time; false, with a note, when it is better to pack than to wait on. */
static bool wait_for_writer(tsr_cache *c, waiting *w) {
    int64_t now = tsr_clock_ns() / 1000000, at = tsr_cache_writer_at(&c->dir, c->name);
    if (w->since == 0) *w = (waiting){.since = now, .moved = now, .at = at, .pause = FIRST_PAUSE};
    if (at != w->at) w->moved = now;
    w->at = at;
    const char *what = NULL;
    if (now - w->moved > SILENCE)
        what = "has begun to write it, but stands still";
    else if (now - w->since > LEAST_WAIT + (int64_t)(c->plan->bytes / BYTES_PER_WAIT))
        what = "is still writing it, and packing takes no longer than waiting";
    if (what) {
        char why[512];
        snprintf(why, sizeof why, "%s/%s: another process %s", c->dir.label, c->name, what);
        note_unwritten(c, why);
        return false;
    }
    const struct timespec pause = {0, w->pause * 1000000L};
    nanosleep(&pause, NULL);
    w->pause = w->pause * 3 / 2 < LAST_PAUSE ? w->pause * 3 / 2 : LAST_PAUSE;
    return true;
}

/* With the lock, a file may have got its name since the last look. One that is no good is left for the new one to replace. */
tsr_code tsr_cache_load(tsr_cache *c, tsr_buffer *b, tsr_pool *pool, tsr_progress_fn progress, void *user, tsr_error *err) {
    waiting w = {0};
    for (;;) {
        tsr_error why = {0};
        tsr_code code = take_file(c, b, pool, progress, user, err);
        if (code != TSR_OK || b->filled) {
            unlock(c);
            return code;
        }
        if (c->lock >= 0) {
            make_room(c);
            return TSR_OK;
        }
        if (tsr_cache_lock(&c->dir, c->name, &c->lock, &why) != TSR_OK) {
            note_unwritten(c, why.message);
            return TSR_OK;
        }
        if (c->lock >= 0) continue;
        if (progress && !progress(user, 0, c->plan->bytes)) return tsr_fail(err, TSR_E_CANCELLED, "loading was cancelled");
        if (!wait_for_writer(c, &w)) return TSR_OK;
    }
}

tsr_digest *tsr_cache_source(tsr_cache *c, size_t i) {
    if (c->lock < 0) return NULL;
    futimens(c->lock, NULL); /* a sign of life for those who wait */
    return &c->plan->tensors[i].source;
}

void tsr_cache_store(tsr_cache *c, const tsr_buffer *b) {
    if (c->lock < 0) return;
    tsr_error why = {0};
    tsr_digest now;
    tsr_code code = tsr_cache_identity(c->plan->g, &now, &(bool){false}, &why);
    for (int i = 0; code == TSR_OK && i < c->plan->g->n_files; i++) code = tsr_mapping_check(c->plan->g->files[i].mapping, &why);
    if (code == TSR_OK && !tsr_digest_equal(now, c->identity)) code = tsr_fail(&why, TSR_E_IO, "the model's file changed while it was read");
    if (code != TSR_OK) {
        unlock(c);
        note_unwritten(c, why.message);
        return;
    }
    tsr_cache_writer *w = &c->writer;
    w->dir = &c->dir;
    w->fd = c->lock;
    memcpy(w->name, c->name, sizeof w->name);
    w->header = (tsr_cache_header){.source_bytes = tsr_cache_source_bytes(c->plan->g), .created = (int64_t)time(NULL), .key = c->key};
    tsr_printable(c->plan->model, strlen(c->plan->model), w->header.model, sizeof w->header.model);
    char *path = realpath(c->plan->g->files[0].path, NULL), *shown = path ? path : c->plan->g->files[0].path;
    size_t n = strlen(shown), most = sizeof w->header.source - 1, cut = n > most ? n - most : 0;
    if (cut && shown[cut] == '/') cut++; /* what is left of a path is none itself */
    snprintf(w->header.source, sizeof w->header.source, "%s", shown + cut);
    free(path);
    w->tensors = c->plan->tensors;
    w->n_tensors = (uint32_t)c->plan->n;
    w->data = b->base;
    w->bytes = c->plan->bytes;
    if (c->settled) w->seen = tsr_cache_seen_make(c->identity);
    c->lock = -1; /* the writer's from now on */
    if (tsr_cache_write_start(w, &why) != TSR_OK) note_unwritten(c, why.message);
}
