#include "buffer/cache_write.h"

#include "buffer/cache_room.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_MS = 500 };
enum { PIECE = 4 << 20, AHEAD = 16 << 20 }; /* bytes of one write; of the data that the disk is behind at most, twice */

static int write_at(int fd, const void *p, size_t n, uint64_t offset) {
    for (const uint8_t *from = p; n > 0;) {
        ssize_t done = pwrite(fd, from, n, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return done < 0 ? errno : EIO;
        from += done;
        offset += (uint64_t)done;
        n -= (size_t)done;
    }
    return 0;
}

/* The data, with the disk never far behind: a process that writes much more than memory can hold back would be stopped by the kernel at some
 * point, and others with it. Waiting shows errors, too. */
static int write_data(tsr_cache_writer *w) {
    uint64_t start = w->header.data_offset;
    for (uint64_t at = 0; at < w->bytes; at += PIECE) {
        size_t n = w->bytes - at < PIECE ? (size_t)(w->bytes - at) : PIECE;
        int error = atomic_load(&w->abandoned) ? ECANCELED : write_at(w->fd, w->data + at, n, start + at);
        if (error) return error;
        atomic_store(&w->written, at + n);
        if (at % AHEAD != 0 || at == 0) continue;
        sync_file_range(w->fd, (off_t)(start + at - AHEAD), AHEAD, SYNC_FILE_RANGE_WRITE);
        if (at < 2 * (uint64_t)AHEAD) continue;
        if (sync_file_range(w->fd, (off_t)(start + at - 2 * (uint64_t)AHEAD), AHEAD, SYNC_FILE_RANGE_WAIT_BEFORE) != 0 && errno == EIO) return EIO;
    }
    return 0;
}

static int write_head(const tsr_cache_writer *w) {
    int error = write_at(w->fd, w->tensors, w->n_tensors * sizeof *w->tensors, TSR_CACHE_DIRECTORY);
    if (!error) error = write_at(w->fd, &w->seen, sizeof w->seen, sizeof w->header);
    return error ? error : write_at(w->fd, &w->header, sizeof w->header, 0);
}

static int digest_tensors(tsr_cache_writer *w) {
    const uint8_t *p = w->data;
    for (uint32_t i = 0; i < w->n_tensors; i++) {
        if (atomic_load(&w->abandoned)) return ECANCELED;
        w->tensors[i].checksum = tsr_digest_blocks(p, (size_t)w->tensors[i].bytes);
        futimens(w->fd, NULL); /* a sign of life, as writing is */
        p += w->tensors[i].bytes;
    }
    return 0;
}

/* Everything is on disk before the file takes its name, so that a file of that name is whole even after a crash. */
static int write_file(tsr_cache_writer *w) {
    char temporary[TSR_CACHE_NAME];
    tsr_cache_temporary(w->name, temporary);
    w->header.data_offset = tsr_cache_data_offset(w->n_tensors);
    int error = write_data(w);
    if (!error) error = digest_tensors(w);
    if (error) return error;
    tsr_cache_seal(&w->header, w->tensors, w->n_tensors);
    error = write_head(w);
    if (!error && ftruncate(w->fd, (off_t)w->header.file_bytes) != 0) error = errno;
    if (!error && fsync(w->fd) != 0) error = errno;
    if (!error && atomic_load(&w->abandoned)) error = ECANCELED;
    if (!error && !tsr_cache_is_same(w->dir, temporary, w->fd)) error = ESTALE;
    if (!error && renameat(w->dir->fd, temporary, w->dir->fd, w->name) != 0) error = errno;
    if (!error) fsync(w->dir->fd); /* the name, too; not every file system can */
    return error;
}

/* A short prompt is answered first: it needs all CPUs for a moment. Whoever waits for the file ends the pause. */
static void pause_first(tsr_cache_writer *w) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += PAUSE_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    sem_clockwait(&w->hurry, CLOCK_MONOTONIC, &until); /* all signals are blocked: nothing else ends it */
}

static void *write_thread(void *arg) {
    tsr_cache_writer *w = arg;
    pause_first(w);
    int error = write_file(w);
    if (!error) close(w->fd); /* and the lock with it; after fsync, nothing can be lost any more */
    else tsr_cache_drop(w->dir, w->name, w->fd);
    if (error && error != ECANCELED)
        tsr_cache_fail_write(w->dir, error, tsr_cache_data_offset(w->n_tensors) + w->bytes, &w->failure);
    atomic_store(&w->finished, true);
    return NULL;
}

tsr_code tsr_cache_write_start(tsr_cache_writer *w, tsr_error *err) {
    sigset_t all, old;
    sem_init(&w->hurry, 0, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&w->thread, NULL, write_thread, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    w->running = error == 0;
    if (w->running) return TSR_OK;
    tsr_cache_drop(w->dir, w->name, w->fd);
    return tsr_fail(err, TSR_E_NOMEM, "cannot start the thread that writes the cache file: %s", strerror(error));
}

tsr_code tsr_cache_write_join(tsr_cache_writer *w, bool abandon, tsr_progress_fn progress, void *user, tsr_error *err) {
    const struct timespec pause = {0, 20 * 1000000L};
    bool cancelled = false;
    if (w->running) {
        if (abandon) atomic_store(&w->abandoned, true);
        sem_post(&w->hurry);
        while (progress && !cancelled && !atomic_load(&w->finished)) {
            cancelled = !progress(user, atomic_load(&w->written), w->bytes);
            nanosleep(&pause, NULL);
        }
        if (cancelled) atomic_store(&w->abandoned, true);
        pthread_join(w->thread, NULL);
        sem_destroy(&w->hurry);
        w->running = false;
    }
    if (cancelled) return tsr_fail(err, TSR_E_CANCELLED, "interrupted");
    return w->failure.code == TSR_OK ? TSR_OK : tsr_fail(err, w->failure.code, "%s", w->failure.message);
}
