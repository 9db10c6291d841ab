/* memory.c: the memory of buffer types that hold tensors themselves, and where in it a weight's matrices lie. */
#include "buffer/buffer.h"

#include "core/mapping.h"
#include "core/memory.h"

tsr_code tsr_buffer_alloc(tsr_buffer *b, size_t n, tsr_error *err) {
    b->base = tsr_memory_alloc(n, err);
    b->n = b->base ? n : 0;
    b->used = 0;
    return b->base ? TSR_OK : TSR_E_NOMEM;
}

void tsr_buffer_free(tsr_buffer *b) {
    if (b->mapped) tsr_mapping_close(b->mapping);
    else tsr_memory_free(b->base, b->n);
    *b = (tsr_buffer){0};
}

size_t tsr_buffer_reach(const tsr_buffer *b) { return b->copy_stride ? b->n - b->copy_stride + b->used : b->used; }

uint8_t *tsr_buffer_take(tsr_buffer *b, size_t n, const char *tensor, tsr_error *err) {
    if (n > (b->copy_stride ? b->copy_stride : b->n) - b->used) {
        tsr_fail(err, TSR_E_ARG, "tensor %s does not fit its buffer", tensor);
        return NULL;
    }
    uint8_t *taken = b->base + b->used;
    b->used += n;
    return taken;
}

const uint8_t *tsr_weight_matrix(const tsr_weight *w, int64_t expert, size_t matrix_bytes) {
    if (w->parts) return w->parts[expert].data;
    return (const uint8_t *)w->data + (size_t)expert * matrix_bytes;
}
