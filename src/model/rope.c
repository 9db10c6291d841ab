#include "model/rope.h"

#include <math.h>
#include <stdlib.h>

static const double pi = 3.14159265358979323846;

/* YaRN: the pair index at which a wave makes `turns` turns over the training context. */
static double yarn_pair(const tsr_hparams *h, double base, double turns) {
    return (double)h->n_rot * log((double)h->rope.n_ctx_orig / (turns * 2.0 * pi)) / (2.0 * log(base));
}

/* YaRN: 1 where pair i keeps its frequency (fast waves), 0 where it is interpolated (slow waves), a ramp between. */
static double yarn_keep(const tsr_hparams *h, double base, int64_t i) {
    double low = floor(yarn_pair(h, base, h->rope.beta_fast)), high = ceil(yarn_pair(h, base, h->rope.beta_slow));
    double last = (double)(h->n_rot - 1);
    low = fmax(0.0, fmin(low, last));
    high = fmax(0.0, fmin(high, last));
    double ramp = ((double)i - low) / fmax(0.001, high - low);
    return 1.0 - fmin(1.0, fmax(0.0, ramp));
}

/* Llama 3.1, when the file names the scaling instead of holding its result as a tensor of divisors: waves longer than the training context / low_freq_factor are stretched by `factor`, shorter than / high_freq_factor
 * are kept, a blend between (the reference implementation's formula). */
static double llama3_freq(const tsr_rope_params *p, double freq) {
    double turns = (double)p->n_ctx_orig * freq / (2.0 * pi);
    if (turns < p->low_freq_factor) return freq / p->factor;
    if (turns > p->high_freq_factor) return freq;
    double smooth = (turns - p->low_freq_factor) / (p->high_freq_factor - p->low_freq_factor);
    return (1.0 - smooth) * freq / p->factor + smooth * freq;
}

tsr_code tsr_rope_init(tsr_rope *r, const tsr_hparams *h, bool swa, const float *divisors, const char *name, tsr_error *err) {
    const tsr_rope_params *p = &h->rope;
    *r = (tsr_rope){.pairs = h->arch->rope_pairs, .n_half = h->n_rot / 2, .magnitude = 1.0f};
    r->freq = calloc((size_t)r->n_half + 1, sizeof *r->freq);
    if (!r->freq) return tsr_fail(err, TSR_E_NOMEM, "out of memory");
    double base = swa ? p->base_swa : p->base;
    bool stretched = !(swa && h->arch->rope_base_swa > 0.0f); /* families with a base of their own stretch only global layers */
    for (int64_t i = 0; i < r->n_half; i++) {
        double freq = pow(base, -2.0 * (double)i / (double)h->n_rot);
        if (divisors && !(divisors[i] > 0.0f && isfinite(divisors[i])))
            return tsr_fail(err, TSR_E_FORMAT, "tensor %s: element %lld is %g, must be above 0; the file is damaged", name, (long long)i,
                            (double)divisors[i]);
        if (divisors) freq /= divisors[i];
        if (stretched && p->scaling == TSR_ROPE_LINEAR) freq /= p->factor;
        if (stretched && p->scaling == TSR_ROPE_LLAMA3 && !divisors) freq = llama3_freq(p, freq);
        if (stretched && p->scaling == TSR_ROPE_YARN) {
            double keep = yarn_keep(h, base, i) * p->ext_factor;
            freq = freq / p->factor * (1.0 - keep) + freq * keep;
        }
        r->freq[i] = (float)freq;
    }
    if (stretched && p->scaling == TSR_ROPE_YARN && p->ext_factor != 0.0f)
        r->magnitude = p->attn_factor * (1.0f + 0.1f * logf(p->factor));
    else if (stretched) r->magnitude = p->attn_factor;
    return TSR_OK;
}

void tsr_rope_free(tsr_rope *r) {
    free(r->freq);
    r->freq = NULL;
}

void tsr_rope_angles(const tsr_rope *r, int64_t pos, float *cos_sin) {
    for (int64_t i = 0; i < r->n_half; i++) {
        double angle = (double)pos * r->freq[i];
        cos_sin[2 * i] = (float)cos(angle) * r->magnitude;
        cos_sin[2 * i + 1] = (float)sin(angle) * r->magnitude;
    }
}

void tsr_rope_apply(const tsr_rope *r, const float *cos_sin, float *head) {
    int64_t step = r->pairs == TSR_ROPE_ADJACENT ? 2 : 1, apart = r->pairs == TSR_ROPE_ADJACENT ? 1 : r->n_half;
    for (int64_t i = 0; i < r->n_half; i++) {
        float *x = head + i * step, a = x[0], b = x[apart];
        float c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
        x[0] = a * c - b * s;
        x[apart] = a * s + b * c;
    }
}
