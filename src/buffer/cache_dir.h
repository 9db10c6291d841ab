/* cache_dir.h: the directory of cache files: where it is, whose it is, what is in it, and what has to leave it.
 *
 * A cache file is KEY.packed; while it is written it is KEY.packed.tmp, whose writer holds a lock (flock) on it. A
 * temporary file that is not locked is what a killed writer left: whoever gets its lock may remove it or write it anew.
 * Where the file system has no locks, it belongs to its creator, and is left when nothing has touched it for
 * TSR_CACHE_SILENCE. Should a writer have been taken for dead, it finds another file under the name, or none, and gives
 * up. */
#ifndef TSR_BUFFER_CACHE_DIR_H
#define TSR_BUFFER_CACHE_DIR_H

#include "buffer/cache_file.h"

enum { TSR_CACHE_NAME = 64 };     /* bytes of a file name of ours, NUL included */
enum { TSR_CACHE_SILENCE = 600 }; /* seconds */

typedef struct tsr_cache_dir {
    int fd;
    char path[4096];
    char label[320]; /* path, printable */
} tsr_cache_dir;

/* Sets path and label of d, which need not be closed. path: NULL or "" for $XDG_CACHE_HOME/tessera/packed, or
 * ~/.cache/tessera/packed. */
tsr_code tsr_cache_dir_find(tsr_cache_dir *d, const char *path, tsr_error *err);
/* With create, the directory and what is missing above it are made, for this user only (0700). Refuses one of somebody
 * else, or into which others may write. A message says what to do. */
tsr_code tsr_cache_dir_open(tsr_cache_dir *d, const char *path, bool create, tsr_error *err);
void tsr_cache_dir_close(tsr_cache_dir *d);

void tsr_cache_name(tsr_digest key, char out[TSR_CACHE_NAME]);
bool tsr_cache_is_name(const char *name, bool *temporary);
/* The name under which the file of that name is written. */
void tsr_cache_temporary(const char *name, char out[TSR_CACHE_NAME]);

/* Opens a file of ours to read: a regular file of this user that nobody else may even read, with one name. -1 and TSR_OK when there is none;
 * else TSR_E_FORMAT with what is wrong. *bytes is its size. */
tsr_code tsr_cache_open_file(const tsr_cache_dir *d, const char *name, int *fd, uint64_t *bytes, tsr_error *err);
/* Reads header and directory of an open file into *image (for free()) and parses them. */
tsr_code tsr_cache_read_head(int fd, uint64_t bytes, uint8_t **image, tsr_cache_header *header, const tsr_cache_tensor **tensors, tsr_error *err);

/* Creates (or takes over) the temporary file of name and its lock: *fd to write it. -1 and TSR_OK: somebody else is writing it. */
tsr_code tsr_cache_lock(const tsr_cache_dir *d, const char *name, int *fd, tsr_error *err);
/* Gives up the temporary file of name, and its lock. */
void tsr_cache_drop(const tsr_cache_dir *d, const char *name, int fd);
/* Does the name still lead to this open file? */
bool tsr_cache_is_same(const tsr_cache_dir *d, const char *name, int fd);
/* Bytes that the writer has reached, for those who wait; -1 when there is none. */
int64_t tsr_cache_writer_at(const tsr_cache_dir *d, const char *name);

typedef struct tsr_cache_file {
    char name[TSR_CACHE_NAME];
    bool temporary;
    uint64_t bytes;   /* on disk */
    int64_t used;     /* seconds since 1970: written or last mapped */
} tsr_cache_file;

/* The files of ours, the least recently used first; *files is for free(). */
tsr_code tsr_cache_list_files(const tsr_cache_dir *d, tsr_cache_file **files, size_t *n, tsr_error *err);
/* Removes a file; a temporary one only when nobody is writing it. */
tsr_code tsr_cache_remove_file(const tsr_cache_dir *d, const char *name, tsr_error *err);
/* Removes a temporary file unless somebody is writing it; false when it stays. */
bool tsr_cache_remove_stale(const tsr_cache_dir *d, const char *temporary);

#endif
