#include "buffer/buffer.h"

const tsr_buffer_type *tsr_buffer_select(const tsr_buffer_type *const *ranking, size_t n, const tsr_gguf_tensor *t,
                                         tsr_op op, const char **reason) {
    *reason = "";
    for (size_t i = 0; i < n; i++) {
        const char *refusal = ranking[i]->refuses(t, op);
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
