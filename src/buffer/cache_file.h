/* cache_file.h: the format of a cache file of packed weights (doc/cache.md): header, seen sources, directory, and the tensors
 * as they lie in a packed buffer, one after the other. All integers are little-endian. The file is hostile until parsed.
 *
 *   0      tsr_cache_header
 *   512    TSR_CACHE_SEEN times tsr_cache_seen
 *   1024   n_tensors times tsr_cache_tensor
 *   data_offset (a multiple of 2 MiB, so that huge pages of the page cache fit)  the tensors, data_bytes
 */
#ifndef TSR_BUFFER_CACHE_FILE_H
#define TSR_BUFFER_CACHE_FILE_H

#include "buffer/digest.h"

#define TSR_CACHE_MAGIC "TSRPACK"
enum { TSR_CACHE_VERSION = 2, TSR_CACHE_SEEN = 16, TSR_CACHE_DIRECTORY = 1024, TSR_CACHE_ALIGN = 2 << 20, TSR_CACHE_MOST_TENSORS = 1 << 20 };

typedef struct tsr_cache_header {
    char magic[8];
    uint32_t version, n_tensors;
    uint64_t file_bytes, data_offset, data_bytes;
    uint64_t source_bytes; /* of the model's files */
    int64_t created;       /* seconds since 1970 */
    tsr_digest key;        /* the file's name: what was packed, and how */
    tsr_digest content;    /* of the digests of all source tensors */
    tsr_digest checksum;   /* of header (with zeros here) and directory */
    char model[152];       /* general.name, printable, NUL-terminated */
    char source[256];      /* path of the model's first file, NUL-terminated; a longer one is cut at its front */
} tsr_cache_header;

/* The files (device, inode, sizes, times) of a source that is known to have the content: it need not be read again. Kept outside of the
 * header's checksum, because one is added when the model was copied or moved: each stands for itself. */
typedef struct tsr_cache_seen {
    tsr_digest identity, check;
} tsr_cache_seen;

/* One tensor, [n_experts][n][k]. */
typedef struct tsr_cache_tensor {
    char name[72];   /* NUL-terminated */
    char layout[32]; /* likewise */
    uint32_t type, reserved;
    int64_t k, n, n_experts;
    uint64_t offset, bytes; /* in the data; multiples of 64; offset is the end of the tensor before */
    tsr_digest checksum;    /* of the packed bytes, by blocks */
    tsr_digest source;      /* of the GGUF bytes, by rows: tsr_packed_source */
} tsr_cache_tensor;

/* The offset of the data behind a directory of n tensors. */
uint64_t tsr_cache_data_offset(uint32_t n_tensors);

/* Checks everything that can be checked without the data: magic, version, checksum, sizes, a directory without gaps or overlaps. image: the
 * first n bytes of a file of file_bytes, which must hold the whole directory. *tensors points into image, 8-byte aligned like it.
 * TSR_E_FORMAT with what is wrong, for a message behind the file's name. */
tsr_code tsr_cache_parse(const void *image, size_t n, uint64_t file_bytes, tsr_cache_header *header, const tsr_cache_tensor **tensors,
                         tsr_error *err);
/* Bytes that tsr_cache_parse needs, from the first 512; at least 1024. TSR_E_FORMAT when they are no header of a cache file. */
tsr_code tsr_cache_head_bytes(const void *image, uint64_t file_bytes, size_t *n, tsr_error *err);

/* Fills magic, version, sizes, content and checksum of header and the offsets of the tensors. */
void tsr_cache_seal(tsr_cache_header *header, tsr_cache_tensor *tensors, uint32_t n_tensors);

/* Is the identity among the seen ones (image as above)? */
bool tsr_cache_has_seen(const void *image, tsr_digest identity);
/* A place for another one: an empty or a broken one, else one that the identity chooses. */
int tsr_cache_seen_slot(const void *image, tsr_digest identity);
tsr_cache_seen tsr_cache_seen_make(tsr_digest identity);

#endif
