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

void tsr_matmul_run(const tsr_matmul *job) {
    if (!job->w->parts_differ) {
        job->w->buffer_type->matmul(job);
        return;
    }
    for (int64_t i = 0; i < job->n_experts; i++) {
        const tsr_expert_rows *rows = &job->experts[i];
        tsr_matmul part = *job;
        part.w = &job->w->parts[rows->expert];
        part.experts = NULL;
        part.x += rows->first * job->ldx;
        part.y += rows->first * job->ldy;
        part.m = rows->rows;
        part.w->buffer_type->matmul(&part);
    }
}

bool tsr_matmul_work_bytes(int64_t max_m, int64_t max_experts, int64_t max_k, size_t *out) {
    return tsr_packed_matmul_work_bytes(max_m, max_experts, max_k, out); /* the host types need none */
}

size_t tsr_matmul_scratch_bytes(int64_t max_k) {
    size_t host = TSR_MATMUL_SCRATCH_FLOATS * sizeof(float), packed = tsr_packed_scratch_bytes(max_k);
    return ((host > packed ? host : packed) + 63) & ~(size_t)63;
}
