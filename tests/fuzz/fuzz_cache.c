/* fuzz_cache.c: any bytes as the head of a cache file. The checksum is repaired, else nothing behind it would ever be seen. */
#include "buffer/cache_file.h"

#include <stdlib.h>
#include <string.h>

static void require(bool condition) {
    if (!condition) abort();
}

/* What a file with right checksums would hold there: as tsr_cache_seal computes it. */
static void repair(uint8_t *image, size_t n) {
    tsr_cache_header h;
    memcpy(&h, image, sizeof h);
    if ((n - TSR_CACHE_DIRECTORY) / sizeof(tsr_cache_tensor) < h.n_tensors) return;
    h.checksum = (tsr_digest){0};
    const tsr_digest both[2] = {tsr_digest_bytes(&h, sizeof h),
                                tsr_digest_bytes(image + TSR_CACHE_DIRECTORY, h.n_tensors * sizeof(tsr_cache_tensor))};
    h.checksum = tsr_digest_bytes(both, sizeof both);
    memcpy(image, &h, sizeof h);
}

static void check(const tsr_cache_header *h, const tsr_cache_tensor *tensors, uint64_t file_bytes) {
    uint64_t at = 0;
    require(h->version == TSR_CACHE_VERSION && h->n_tensors >= 1 && h->data_offset + h->data_bytes == file_bytes);
    require(strlen(h->model) < sizeof h->model && strlen(h->source) < sizeof h->source);
    for (uint32_t i = 0; i < h->n_tensors; i++) {
        const tsr_cache_tensor *t = &tensors[i];
        require(strlen(t->name) < sizeof t->name && strlen(t->layout) < sizeof t->layout && t->k >= 1 && t->n >= 1 && t->n_experts >= 1);
        require(t->offset == at && t->bytes > 0 && t->bytes % 64 == 0);
        at += t->bytes;
        require(at <= h->data_bytes);
    }
    require(at == h->data_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 9) return 0;
    uint64_t file_bytes; /* the first bytes say how large the file is, and whether the checksum is repaired */
    memcpy(&file_bytes, data, sizeof file_bytes);
    bool repaired = data[8] & 1;
    data += 9;
    size -= 9;
    uint8_t *image = malloc(size + 1); /* exactly as large, so that the sanitizers see a step beyond */
    require(image != NULL);
    memcpy(image, data, size);
    if (repaired && size >= TSR_CACHE_DIRECTORY) repair(image, size);
    tsr_error err = {0};
    tsr_cache_header header;
    const tsr_cache_tensor *tensors;
    if (tsr_cache_parse(image, size, file_bytes, &header, &tensors, &err) == TSR_OK) check(&header, tensors, file_bytes);
    else require(err.code == TSR_E_FORMAT && err.message[0] != '\0' && !strchr(err.message, '\n'));
    if (size >= TSR_CACHE_DIRECTORY) {
        const tsr_digest identity = {1, 2};
        int slot = tsr_cache_seen_slot(image, identity);
        require(slot >= 0 && slot < TSR_CACHE_SEEN);
        tsr_cache_has_seen(image, identity);
    }
    free(image);
    return 0;
}
