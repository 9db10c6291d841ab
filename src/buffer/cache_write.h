/* cache_write.h: writes a cache file, on a thread of its own. */
#ifndef TSR_BUFFER_CACHE_WRITE_H
#define TSR_BUFFER_CACHE_WRITE_H

#include "buffer/cache.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

typedef struct tsr_cache_writer {
    const tsr_cache_dir *dir;
    char name[TSR_CACHE_NAME];
    int fd;                     /* of the temporary file, locked */
    tsr_cache_header header;    /* key, model, source, sizes of the source */
    tsr_cache_tensor *tensors;  /* [n_tensors] with digests of the sources */
    uint32_t n_tensors;
    const uint8_t *data;
    uint64_t bytes;
    tsr_cache_seen seen;        /* zeros: none */
    atomic_bool abandoned;
    atomic_ullong written;      /* bytes */
    atomic_bool finished;
    sem_t hurry;                /* somebody waits for the end */
    pthread_t thread;
    bool running;
    tsr_error failure;          /* code TSR_OK: none; after joining */
} tsr_cache_writer;

tsr_code tsr_cache_write_start(tsr_cache_writer *w, tsr_error *err);
/* Waits for its end; the failure, or TSR_OK. The temporary file is gone either way. progress may be NULL; TSR_E_CANCELLED when it says so. */
tsr_code tsr_cache_write_join(tsr_cache_writer *w, bool abandon, tsr_progress_fn progress, void *user, tsr_error *err);

#endif
