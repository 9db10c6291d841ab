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

void tsr_matmul_run(const tsr_matmul *job) {
    if (!job->w->parts) {
        job->w->buffer_type->matmul(job);
        return;
    }
    tsr_matmul part = *job;
    part.w = &job->w->parts[job->expert];
    part.expert = 0;
    part.w->buffer_type->matmul(&part);
}

bool tsr_matmul_work_bytes(int64_t max_m, int64_t max_k, size_t *out) { return tsr_packed_work_bytes(max_m, 1, max_k, out); }

size_t tsr_matmul_scratch_bytes(int64_t max_k) {
    size_t host = TSR_MATMUL_SCRATCH_FLOATS * sizeof(float), packed = tsr_packed_scratch_bytes(max_k);
    return ((host > packed ? host : packed) + 63) & ~(size_t)63;
}
