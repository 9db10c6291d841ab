#include "buffer/cache_file.h"

#include "core/memory.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

static_assert(sizeof(tsr_cache_header) == 512, "the header's size is part of the format");
static_assert(sizeof(tsr_cache_seen) == 32, "a seen source's size is part of the format");
static_assert(sizeof(tsr_cache_tensor) == 184, "a tensor's size is part of the format");
static_assert(sizeof(tsr_cache_header) + TSR_CACHE_SEEN * sizeof(tsr_cache_seen) == TSR_CACHE_DIRECTORY, "the directory follows");

uint64_t tsr_cache_data_offset(uint32_t n_tensors) {
    uint64_t end = TSR_CACHE_DIRECTORY + (uint64_t)n_tensors * sizeof(tsr_cache_tensor);
    return (end + TSR_CACHE_ALIGN - 1) / TSR_CACHE_ALIGN * TSR_CACHE_ALIGN;
}

static tsr_digest checksum_of(const tsr_cache_header *header, const tsr_cache_tensor *tensors) {
    tsr_cache_header blank = *header;
    blank.checksum = (tsr_digest){0};
    const tsr_digest both[2] = {tsr_digest_bytes(&blank, sizeof blank),
                                tsr_digest_bytes(tensors, header->n_tensors * sizeof *tensors)};
    return tsr_digest_bytes(both, sizeof both);
}

tsr_code tsr_cache_head_bytes(const void *image, uint64_t file_bytes, size_t *n, tsr_error *err) {
    tsr_cache_header h;
    if (file_bytes < TSR_CACHE_DIRECTORY) return tsr_fail(err, TSR_E_FORMAT, "it is too short: it was not written to its end, or is no cache file");
    memcpy(&h, image, sizeof h);
    if (memcmp(h.magic, (char[8]){0}, sizeof h.magic) == 0)
        return tsr_fail(err, TSR_E_FORMAT, "it begins with zeros: it was not written to its end");
    if (memcmp(h.magic, TSR_CACHE_MAGIC, sizeof h.magic) != 0) return tsr_fail(err, TSR_E_FORMAT, "it is no cache file of Tessera");
    if (h.version != TSR_CACHE_VERSION)
        return tsr_fail(err, TSR_E_FORMAT, "it is of version %" PRIu32 ", this program writes %d", h.version, TSR_CACHE_VERSION);
    if (h.n_tensors == 0 || h.n_tensors > TSR_CACHE_MOST_TENSORS)
        return tsr_fail(err, TSR_E_FORMAT, "it says that it has %" PRIu32 " tensors", h.n_tensors);
    if (h.file_bytes != file_bytes)
        return tsr_fail(err, TSR_E_FORMAT, "it has %" PRIu64 " bytes, but should have %" PRIu64, file_bytes, h.file_bytes);
    if (h.data_offset != tsr_cache_data_offset(h.n_tensors) || h.data_offset > file_bytes || h.data_bytes != file_bytes - h.data_offset)
        return tsr_fail(err, TSR_E_FORMAT, "its sizes contradict each other");
    *n = TSR_CACHE_DIRECTORY + h.n_tensors * sizeof(tsr_cache_tensor); /* within data_offset, so within the file */
    return TSR_OK;
}

static bool ends(const char *text, size_t cap) { return text[0] != '\0' && memchr(text, '\0', cap); }

static tsr_code check_tensor(const tsr_cache_tensor *t, uint32_t i, uint64_t at, uint64_t data_bytes, tsr_error *err) {
    if (!ends(t->name, sizeof t->name) || !ends(t->layout, sizeof t->layout))
        return tsr_fail(err, TSR_E_FORMAT, "tensor %" PRIu32 " has no proper name", i);
    if (t->k < 1 || t->n < 1 || t->n_experts < 1) return tsr_fail(err, TSR_E_FORMAT, "tensor %" PRIu32 " has no proper shape", i);
    if (t->offset != at || t->bytes == 0 || t->bytes % 64 != 0 || t->bytes > data_bytes - at)
        return tsr_fail(err, TSR_E_FORMAT, "tensor %" PRIu32 " does not lie behind the one before it and within the file", i);
    return TSR_OK;
}

tsr_code tsr_cache_parse(const void *image, size_t n, uint64_t file_bytes, tsr_cache_header *header, const tsr_cache_tensor **tensors,
                         tsr_error *err) {
    size_t needed;
    if (n < TSR_CACHE_DIRECTORY) return tsr_fail(err, TSR_E_FORMAT, "it is too short");
    tsr_code code = tsr_cache_head_bytes(image, file_bytes, &needed, err);
    if (code != TSR_OK) return code;
    if (n < needed) return tsr_fail(err, TSR_E_FORMAT, "its directory is cut off");
    memcpy(header, image, sizeof *header);
    *tensors = (const tsr_cache_tensor *)(const void *)((const uint8_t *)image + TSR_CACHE_DIRECTORY);
    if (!tsr_digest_equal(header->checksum, checksum_of(header, *tensors)))
        return tsr_fail(err, TSR_E_FORMAT, "the checksum of its directory is wrong");
    if (!memchr(header->model, '\0', sizeof header->model) || !memchr(header->source, '\0', sizeof header->source))
        return tsr_fail(err, TSR_E_FORMAT, "the names in its header do not end");
    uint64_t at = 0;
    for (uint32_t i = 0; i < header->n_tensors; i++) {
        code = check_tensor(&(*tensors)[i], i, at, header->data_bytes, err);
        if (code != TSR_OK) return code;
        at += (*tensors)[i].bytes;
    }
    if (at != header->data_bytes) return tsr_fail(err, TSR_E_FORMAT, "its tensors end before its data does");
    return TSR_OK;
}

void tsr_cache_seal(tsr_cache_header *header, tsr_cache_tensor *tensors, uint32_t n_tensors) {
    uint64_t at = 0;
    header->content = (tsr_digest){0};
    for (uint32_t i = 0; i < n_tensors; i++) {
        tsr_digest_add(&header->content, &tensors[i].source, sizeof tensors[i].source);
        tensors[i].offset = at;
        at += tensors[i].bytes;
    }
    memcpy(header->magic, TSR_CACHE_MAGIC, sizeof header->magic);
    header->version = TSR_CACHE_VERSION;
    header->n_tensors = n_tensors;
    header->data_offset = tsr_cache_data_offset(n_tensors);
    header->data_bytes = at;
    header->file_bytes = header->data_offset + at;
    header->checksum = checksum_of(header, tensors);
}

/* ------------------------------------------------------------------------------------------- seen sources */

static tsr_cache_seen slot(const void *image, int i) {
    tsr_cache_seen seen;
    memcpy(&seen, (const uint8_t *)image + sizeof(tsr_cache_header) + (size_t)i * sizeof seen, sizeof seen);
    return seen;
}

tsr_cache_seen tsr_cache_seen_make(tsr_digest identity) {
    return (tsr_cache_seen){identity, tsr_digest_bytes(&identity, sizeof identity)};
}

static bool whole(const tsr_cache_seen *seen) {
    return tsr_digest_equal(seen->check, tsr_digest_bytes(&seen->identity, sizeof seen->identity));
}

bool tsr_cache_has_seen(const void *image, tsr_digest identity) {
    for (int i = 0; i < TSR_CACHE_SEEN; i++) {
        tsr_cache_seen seen = slot(image, i);
        if (whole(&seen) && tsr_digest_equal(seen.identity, identity)) return true;
    }
    return false;
}

int tsr_cache_seen_slot(const void *image, tsr_digest identity) {
    for (int i = 0; i < TSR_CACHE_SEEN; i++) {
        tsr_cache_seen seen = slot(image, i);
        if (!whole(&seen)) return i;
    }
    return (int)(identity.low % TSR_CACHE_SEEN);
}
