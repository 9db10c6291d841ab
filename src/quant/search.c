/* search.c: search for one scale over a grid of code values, alone or shared by the sub-blocks of a super-block.
 * The method is the field's: try scales near the one that maps the largest weight to the end of the grid, solve each
 * for the least-squares scale of its codes, polish the best by rounding and solving again. */
#include "quant/search.h"

#include "quant/quant.h"

#include <math.h>
#include <string.h>

/* Sums over a block for codes v(i) of x(i): w x v and w v v. */
typedef struct sums {
    double xv, vv;
} sums;

bool tsr_scale_block(tsr_scaled *s, const float *x, const float *importance, int n) {
    float max = 0, square = 0, total = 0;
    for (int i = 0; i < n; i++) max = fmaxf(max, fabsf(x[i]));
    s->exponent = 0;
    if (max == 0) return false;
    s->exponent = ilogbf(max);
    for (int i = 0; i < n; i++) {
        s->x[i] = ldexpf(x[i], -s->exponent);
        square += s->x[i] * s->x[i];
        total += importance ? importance[i] : 0;
    }
    float mean = square / (float)n, mean_importance = total / (float)n;
    bool use = importance && mean_importance > 0 && isfinite(mean_importance);
    for (int i = 0; i < n; i++) {
        float v = mean + s->x[i] * s->x[i];
        s->w[i] = use ? fmaxf(importance[i] / mean_importance, TSR_LEAST_IMPORTANCE) * sqrtf(v) : v;
    }
    return true;
}

uint16_t tsr_scale_f16(float scale, int exponent) {
    float limit = 65504, f = tsr_clamp(ldexpf(scale, exponent), -limit, limit);
    uint16_t h = tsr_f32_to_f16(f);
    return scale != 0 && (h & 0x7fff) == 0 ? h | 1 : h;
}

/* Entries change half way between neighbours, at a multiple of 1/2: a table over 2 v is exact. */
void tsr_grid_codebook(tsr_grid *g, const int8_t values[16]) {
    *g = (tsr_grid){.lo = values[0], .hi = values[15], .codebook = true};
    g->step = 1.0f / (float)-g->lo;
    g->n_steps = 7;
    for (int t = 0, i = 0; t <= 2 * (g->hi - g->lo); t++) {
        if (i < 15 && t + 2 * g->lo >= values[i] + values[i + 1]) i++;
        g->index[t] = (uint8_t)i;
        g->value[t] = (float)values[i];
    }
}

static int codebook_place(const tsr_grid *g, float v) {
    return (int)(2 * (tsr_clamp(v, (float)g->lo, (float)g->hi) - (float)g->lo));
}

static sums codebook_sums(const tsr_grid *g, int n, const float *x, const float *w, float inverse) {
    tsr_f32x4 xv = {0}, vv = {0};
    for (int i = 0; i < n; i += 4) {
        tsr_f32x4 xi = tsr_load4(x + i), p = tsr_clamp4(xi * inverse, (float)g->lo, (float)g->hi);
        p = 2 * (p - (float)g->lo);
        tsr_f32x4 v = {g->value[(int)p[0]], g->value[(int)p[1]], g->value[(int)p[2]], g->value[(int)p[3]]};
        tsr_f32x4 wv = tsr_load4(w + i) * v;
        xv += wv * xi;
        vv += wv * v;
    }
    return (sums){tsr_sum4(xv), tsr_sum4(vv)};
}

static sums grid_sums(const tsr_grid *g, int n, const float *x, const float *w, float inverse) {
    if (g->codebook) return codebook_sums(g, n, x, w, inverse);
    tsr_f32x4 xv = {0}, vv = {0};
    for (int i = 0; i < n; i += 4) {
        tsr_f32x4 xi = tsr_load4(x + i), v = tsr_nearest4(tsr_clamp4(xi * inverse, (float)g->lo, (float)g->hi));
        tsr_f32x4 wv = tsr_load4(w + i) * v;
        xv += wv * xi;
        vv += wv * v;
    }
    return (sums){tsr_sum4(xv), tsr_sum4(vv)};
}

float tsr_search_scale(const tsr_grid *g, int n, const float *x, const float *w) {
    float max = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(max)) max = x[i];
    if (fabsf(max) <= TSR_NEGLIGIBLE) return 0;
    /* The error is sum w x x - xv^2 / vv for the best scale of the codes, xv / vv. */
    double best = 0, scale = max / (float)g->lo;
    for (int end = 0; end < 2; end++) {
        float plain = (float)(end ? g->hi : g->lo) / max;
        for (int t = -g->n_steps; t <= g->n_steps; t++) {
            sums s = grid_sums(g, n, x, w, plain * (1 + g->step * (float)t));
            if (s.vv > 0 && s.xv * s.xv > best * s.vv) {
                best = s.xv * s.xv / s.vv;
                scale = s.xv / s.vv;
            }
        }
    }
    for (int i = 0; i < TSR_POLISH; i++) {
        sums s = grid_sums(g, n, x, w, tsr_inverse((float)scale));
        if (!(s.vv > 0 && s.xv * s.xv > best * s.vv * (1 + 1e-6))) break;
        best = s.xv * s.xv / s.vv;
        scale = s.xv / s.vv;
    }
    return (float)scale;
}

void tsr_encode_scaled(const tsr_grid *g, int n, const float *x, float scale, uint8_t *q) {
    float inverse = tsr_inverse(scale);
    for (int i = 0; i < n; i++) {
        float v = x[i] * inverse;
        if (g->codebook)
            q[i] = g->index[codebook_place(g, v)];
        else
            q[i] = (uint8_t)((int)tsr_nearest(tsr_clamp(v, (float)g->lo, (float)g->hi)) - g->lo);
    }
}

/* Error of a sub-block, but for the constant sum w x x, when decoded with this scale. */
static double scaled_error(const tsr_grid *g, int n, const float *x, const float *w, float scale, sums *s) {
    *s = grid_sums(g, n, x, w, tsr_inverse(scale));
    return scale * (scale * s->vv - 2 * s->xv);
}

/* Where binary16 is denormal its steps are coarse, and the nearest scale is not always the best one. */
uint16_t tsr_search_f16_scale(const tsr_grid *g, int n, const tsr_scaled *b) {
    uint16_t middle = tsr_scale_f16(tsr_search_scale(g, n, b->x, b->w), b->exponent), d = middle;
    double best = INFINITY;
    for (int t = -1; t <= 1; t++) {
        uint16_t h = (uint16_t)(middle + t);
        float scale = ldexpf(tsr_f16_to_f32(h), -b->exponent);
        sums s;
        if ((h & 0x7fff) == 0 || (h & 0x7c00) == 0x7c00) continue;
        double e = scaled_error(g, n, b->x, b->w, scale, &s);
        if (e < best) d = h;
        best = fmin(e, best);
    }
    return d;
}

/* ls[j] for a given d: the best of the integers around scales[j] / d. Returns the error; *refit = the best d for the
 * codes chosen, a sum over all sub-blocks. */
static double choose_scales(const tsr_grid *g, int n_sub, int len, int limit, const tsr_scaled *b, float d,
                            const float *scales, int8_t *ls, float *refit) {
    double error = 0, num = 0, den = 0;
    for (int j = 0; j < n_sub; j++) {
        float middle = tsr_clamp(tsr_nearest(tsr_clamp(scales[j] / d, -1000, 1000)), (float)-limit, (float)(limit - 1));
        double best = INFINITY;
        sums best_sums = {0, 0};
        for (int l = (int)middle - 1; l <= (int)middle + 1; l++) {
            if (l < -limit || l >= limit) continue;
            sums s;
            double e = scaled_error(g, len, b->x + j * len, b->w + j * len, d * (float)l, &s);
            if (e >= best) continue;
            best = e;
            best_sums = s;
            ls[j] = (int8_t)l;
        }
        error += best;
        num += ls[j] * best_sums.xv;
        den += (double)ls[j] * ls[j] * best_sums.vv;
    }
    *refit = den > 0 ? (float)(num / den) : d;
    return error;
}

void tsr_search_shared_scale(const tsr_grid *g, int n_sub, int len, int limit, const tsr_scaled *b, uint16_t *d,
                             int8_t *ls) {
    float scales[16], max = 0, refit = 0;
    for (int j = 0; j < n_sub; j++) {
        scales[j] = tsr_search_scale(g, len, b->x + j * len, b->w + j * len);
        if (fabsf(scales[j]) > fabsf(max)) max = scales[j];
    }
    /* The largest scale goes to -limit, which reaches further than limit - 1. */
    float next = max / (float)-limit;
    double best = INFINITY;
    for (int round = 0; round < 2; round++) {
        int8_t tried[16];
        uint16_t h = tsr_scale_f16(next, b->exponent);
        double e =
            choose_scales(g, n_sub, len, limit, b, ldexpf(tsr_f16_to_f32(h), -b->exponent), scales, tried, &refit);
        if (!(e < best)) break;
        best = e;
        *d = h;
        memcpy(ls, tried, (size_t)n_sub);
        if (refit == 0) break;
        next = refit;
    }
}
