/* outfile.h: a file that appears whole or not at all: written beside its target under a temporary name, synced,
 * renamed. What was at the target stays as it is until then. */
#ifndef TSR_GGUF_OUTFILE_H
#define TSR_GGUF_OUTFILE_H

#include "core/error.h"

typedef struct tsr_outfile {
    char *path, *temp; /* the target; PATH.tmp.XXXXXX, NULL when there is none */
    int fd;
    char label[320]; /* path, printable */
} tsr_outfile;

/* Creates the temporary file. A target that exists must be a regular file (a symbolic link to one is replaced, not
 * followed). On failure f needs no abort. */
tsr_code tsr_outfile_open(tsr_outfile *f, const char *path, tsr_error *err);
/* Asks the file system for n bytes in advance, so that a full disk is known now and not after hours. */
tsr_code tsr_outfile_reserve(tsr_outfile *f, uint64_t n, tsr_error *err);
tsr_code tsr_outfile_write(tsr_outfile *f, const void *bytes, size_t n, tsr_error *err);
/* Syncs, renames and releases; on failure as abort. */
tsr_code tsr_outfile_commit(tsr_outfile *f, tsr_error *err);
void tsr_outfile_abort(tsr_outfile *f); /* removes the temporary file and releases */

#endif
