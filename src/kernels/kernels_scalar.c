/* kernels_scalar.c: the reference for every slot of the contract, in portable C. Sums run in double: this is what the
 * fast kernels are compared with. */
#include "kernels/kernels.h"

#include <math.h>

static void tile_f32_4x4__scalar(const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k, float *c, int64_t ldc,
                                 int m, int n, bool accumulate) {
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            const float *x = a + i * lda, *w = b + j * ldb;
            double sum = accumulate ? c[i * ldc + j] : 0.0;
            for (int64_t l = 0; l < k; l++) sum += (double)x[l] * w[l];
            c[i * ldc + j] = (float)sum;
        }
}

static void rms_norm__scalar(const float *x, const float *w, float eps, float *y, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    float scale = (float)(1.0 / sqrt(sum / (double)n + eps));
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * scale * w[i];
}

static void silu_mul__scalar(float *gate, const float *up, int64_t n) {
    for (int64_t i = 0; i < n; i++) gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void gelu_mul__scalar(float *gate, const float *up, int64_t n) {
    const float a = 0.79788456080286535588f; /* sqrt(2 / pi) */
    for (int64_t i = 0; i < n; i++) {
        float x = gate[i];
        gate[i] = 0.5f * x * (1.0f + tanhf(a * (x + 0.044715f * x * x * x))) * up[i];
    }
}

static void softmax__scalar(float *x, int64_t n) {
    float max = -INFINITY;
    for (int64_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - max);
        sum += x[i];
    }
    float scale = (float)(1.0 / sum);
    for (int64_t i = 0; i < n; i++) x[i] *= scale;
}

static float softmax_step__scalar(float *x, int64_t n, float scale, float cap, float *max, float *sum) {
    float top = *max;
    for (int64_t i = 0; i < n; i++) {
        if (x[i] == -INFINITY) continue;
        x[i] = cap > 0.0f ? cap * tanhf(x[i] * scale / cap) : x[i] * scale;
        top = x[i] > top ? x[i] : top;
    }
    float base = top == -INFINITY ? 0.0f : top; /* nothing is visible yet */
    float factor = top == *max ? 1.0f : expf(*max - base);
    double more = 0.0;
    for (int64_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - base);
        more += x[i];
    }
    *max = top;
    *sum = (float)(*sum * (double)factor + more);
    return factor;
}

static void axpy_f32__scalar(float a, const float *x, float *y, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

static void f32_to_f16__scalar(const float *x, uint16_t *y, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = tsr_f32_to_f16(x[i]);
}

static void f32_to_bf16__scalar(const float *x, uint16_t *y, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = tsr_f32_to_bf16(x[i]);
}

void tsr_kernels_fill_scalar(tsr_kernels *k) {
    for (uint32_t t = 0; t < TSR_TYPE_COUNT; t++) k->dequantize[t] = tsr_dequantizer(t);
    k->tile_f32 = tile_f32_4x4__scalar;
    k->tile_m = 4;
    k->tile_n = 4;
    k->tile_name = "tile_f32_4x4__scalar";
    k->rms_norm = rms_norm__scalar;
    k->silu_mul = silu_mul__scalar;
    k->gelu_mul = gelu_mul__scalar;
    k->softmax = softmax__scalar;
    k->softmax_step = softmax_step__scalar;
    k->axpy_f32 = axpy_f32__scalar;
    k->f32_to_f16 = f32_to_f16__scalar;
    k->f32_to_bf16 = f32_to_bf16__scalar;
}
