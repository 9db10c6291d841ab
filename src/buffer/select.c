#include "buffer/buffer.h"

const tsr_buffer_type *tsr_buffer_select(const tsr_buffer_type *const *ranking, size_t n, const tsr_gguf_tensor *t,
                                         tsr_op op, const tsr_kernels *kern, const char **reason) {
    *reason = "";
    for (size_t i = 0; i < n; i++) {
        const char *refusal = ranking[i]->refuses(t, op, kern);
        if (!refusal) return ranking[i];
        *reason = refusal;
    }
    return NULL;
}

const uint8_t *tsr_weight_matrix(const tsr_weight *w, int64_t expert, size_t matrix_bytes) {
    if (w->parts) return w->parts[expert].data;
    return (const uint8_t *)w->data + (size_t)expert * matrix_bytes;
}
