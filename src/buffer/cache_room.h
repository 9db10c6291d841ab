/* cache_room.h: how much all cache files may take: a limit for them together, and the disk. */
#ifndef TSR_BUFFER_CACHE_ROOM_H
#define TSR_BUFFER_CACHE_ROOM_H

#include "buffer/cache_dir.h"

/* TESSERA_CACHE_LIMIT ("20G"), or the smaller of 32 GiB and a tenth of the disk. False when the variable is no size. */
bool tsr_cache_limit(const tsr_cache_dir *d, uint64_t *limit);
/* Room for the file of that name, `bytes` large, whose temporary file fd is: temporary files that nobody writes go, its
 * space on the disk is reserved, and the least recently used of the others are removed until all are within the limit.
 * They stay when that would not help. Fails with what to do. */
tsr_code tsr_cache_make_room(const tsr_cache_dir *d, const char *name, int fd, uint64_t bytes, uint64_t limit,
                             tsr_error *err);
/* A file of so many bytes cannot be written: error is an errno. */
tsr_code tsr_cache_fail_write(const tsr_cache_dir *d, int error, uint64_t bytes, tsr_error *err);

#endif
