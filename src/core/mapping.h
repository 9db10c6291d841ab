/* mapping.h: read-only file mappings that survive the file shrinking underneath them.
 *
 * A page of a mapped file that lies past the file's (new) end raises SIGBUS when touched. Every mapping is entered in
 * a small table; a SIGBUS handler, installed with the first mapping (and again with a later one, should a program have
 * replaced it meanwhile), replaces a known mapping by zeros from the faulting page on and marks it damaged; other SIGBUS
 * go on to whatever handler was there before. Whoever reads a mapping asks tsr_mapping_check() afterwards (the session
 * does after each eval) and reports the file instead of dying.
 */
#ifndef TSR_CORE_MAPPING_H
#define TSR_CORE_MAPPING_H

#include "core/error.h"

/* Maps all of fd read-only. On success *base, *size and *id are set (an empty file is an error). path is only used in
 * messages and is copied. The fd may be closed afterwards. */
tsr_code tsr_mapping_open(int fd, const char *path, const uint8_t **base, size_t *size, int *id, tsr_error *err);
void tsr_mapping_close(int id);
/* TSR_E_IO naming the file when any of it was lost since it was mapped (once lost, for good). Cheap: one fstat(), which
 * sees what raises no signal: a file that shrank by less than a page. */
tsr_code tsr_mapping_check(int id, tsr_error *err);
/* The mapping that holds all of [p, p + n), or -1. */
int tsr_mapping_find(const void *p, size_t n);
/* Copies bytes [p, p + n) of the mapping to `to` by reading the file, for those that are wanted once: no page of the
 * mapping is entered in page tables, which costs about as much as the copy and has to be undone. False when the file
 * cannot be read; then the mapping tells why. */
bool tsr_mapping_read(int id, const void *p, size_t n, void *to);
/* Bytes [p, p + n) of the mapping will be read here and there: the kernel may begin to read them from disk now, in the background, where a fault
 * for each place would wait for the disk each time. */
void tsr_mapping_expect(int id, const void *p, size_t n);
/* Bytes [p, p + n) of the mapping will hardly be read again: their memory need not count as this process's. They stay readable. */
void tsr_mapping_release(int id, const void *p, size_t n);

#endif
