/* internal.h: what the files of this room share: limits, the parser of one file, the name index. */
#ifndef TSR_GGUF_INTERNAL_H
#define TSR_GGUF_INTERNAL_H

#include "gguf/gguf.h"

/* Limits. The first three are the specification's; the rest only keep nonsense out (the largest models known have
 * some thousands of tensors and about a hundred keys). */
#define TSR_GGUF_KEY_MAX       65535       /* bytes of a key */
#define TSR_GGUF_NAME_MAX      64          /* bytes of a tensor name */
#define TSR_GGUF_ALIGNMENT     32          /* when general.alignment is absent */
#define TSR_GGUF_ALIGNMENT_MAX (16u << 20) /* bytes */
#define TSR_GGUF_COUNT_MAX     (1u << 20)  /* keys, and tensors, of one file */

/* Bytes of one value; 0 for strings, arrays and unknown types. */
size_t tsr_gguf_vtype_size(uint32_t type);

/* The specification asks for a multiple of 8, every known implementation for a power of two: both must hold. */
bool tsr_gguf_alignment_ok(uint64_t alignment);

/* Sizes of a tensor, or TSR_E_FORMAT / TSR_E_UNSUPPORTED; the caller prefixes the message with file and tensor. */
tsr_code tsr_gguf_tensor_size(uint32_t type, int n_dims, const int64_t *ne, uint64_t *n_elems, uint64_t *n_bytes,
                              tsr_error *err);

/* Parses g->files[0] (base and size set) into g's keys and tensors, and builds its index. */
tsr_code tsr_gguf_read_image(tsr_gguf *g, tsr_error *err);

/* Says what the file that does not start with "GGUF" seems to be, and what to do about it. Always fails. */
tsr_code tsr_gguf_refuse_foreign(const char *label, const uint8_t *p, size_t n, tsr_error *err);

/* Names in order, to search by bisection and to find duplicates. Sorting instead of hashing: no input is slow. */
typedef struct tsr_gguf_entry {
    const char *name;
    size_t i;
} tsr_gguf_entry;
/* By name, equal names by i. */
void tsr_gguf_entries_sort(tsr_gguf_entry *e, size_t n);

/* (Re)builds the index of keys and of tensor names; duplicates fail. */
tsr_code tsr_gguf_index_build(tsr_gguf *g, tsr_error *err);
void tsr_gguf_index_free(tsr_gguf *g);

#endif
