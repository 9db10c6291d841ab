/* search_affine.c: search for a scale and a minimum, alone or shared by the sub-blocks of a super-block. */
#include "quant/search.h"

#include "quant/quant.h"

#include <math.h>
#include <string.h>

/* Sums over a block for codes q(i) of x(i). */
typedef struct sums {
    double q, qq, xq;
} sums;

/* Codes q = (x - m) * inverse, rounded. */
static sums affine_sums(int n, const float *x, const float *w, float nmax, float inverse, float m) {
    tsr_f32x4 q1 = {0}, qq = {0}, xq = {0};
    for (int i = 0; i < n; i += 4) {
        tsr_f32x4 xi = tsr_load4(x + i), q = tsr_nearest4(tsr_clamp4((xi - m) * inverse, 0, nmax));
        tsr_f32x4 wq = tsr_load4(w + i) * q;
        q1 += wq;
        qq += wq * q;
        xq += wq * xi;
    }
    return (sums){tsr_sum4(q1), tsr_sum4(qq), tsr_sum4(xq)};
}

/* Weights of a block and their first moment. */
typedef struct moments {
    double w, wx;
} moments;

static moments block_moments(int n, const float *x, const float *w) {
    tsr_f32x4 s = {0}, sx = {0};
    for (int i = 0; i < n; i += 4) {
        tsr_f32x4 wi = tsr_load4(w + i);
        s += wi;
        sx += wi * tsr_load4(x + i);
    }
    return (moments){tsr_sum4(s), tsr_sum4(sx)};
}

/* Error, but for the constant sum w x x, of x ~ s q + m. */
static double affine_error(const sums *a, const moments *b, double s, double m) {
    return s * (s * a->qq + 2 * (m * a->q - a->xq)) + m * (m * b->w - 2 * b->wx);
}

/* The best s and m for given codes. Returns false when they do not determine a positive scale. */
static bool solve(const sums *a, const moments *b, bool nonpositive, double *s, double *m) {
    double det = b->w * a->qq - a->q * a->q;
    if (det > 1e-9 * b->w * a->qq) {
        *s = (b->w * a->xq - b->wx * a->q) / det;
        *m = (a->qq * b->wx - a->q * a->xq) / det;
    } else {
        *m = INFINITY;
    }
    if (nonpositive && *m > 0) {
        *m = 0;
        *s = a->qq > 0 ? a->xq / a->qq : 0;
    }
    return *s > 0 && isfinite(*m);
}

void tsr_search_affine(int n, const float *x, const float *w, int nmax, bool nonpositive, float *s, float *m) {
    float min = x[0], max = x[0];
    for (int i = 1; i < n; i++) {
        min = x[i] < min ? x[i] : min;
        max = x[i] > max ? x[i] : max;
    }
    if (nonpositive && min > 0) min = 0;
    *m = min;
    *s = (max - min) / (float)nmax;
    if (max - min <= TSR_NEGLIGIBLE) return;
    moments b = block_moments(n, x, w);
    double best = INFINITY, scale = *s, low = min;
    for (int t = -6; t <= 6; t++) {
        sums a = affine_sums(n, x, w, (float)nmax, ((float)nmax + 0.15f * (float)t) / (max - min), min);
        double new_s = 0, new_m = 0;
        if (!solve(&a, &b, nonpositive, &new_s, &new_m)) continue;
        double e = affine_error(&a, &b, new_s, new_m);
        if (e >= best) continue;
        best = e;
        scale = new_s;
        low = new_m;
    }
    for (int i = 0; i < TSR_POLISH; i++) {
        sums a = affine_sums(n, x, w, (float)nmax, tsr_inverse((float)scale), (float)low);
        double new_s = 0, new_m = 0;
        if (!solve(&a, &b, nonpositive, &new_s, &new_m)) break;
        double e = affine_error(&a, &b, new_s, new_m);
        if (!(e < best - 1e-6 * fabs(best))) break;
        best = e;
        scale = new_s;
        low = new_m;
    }
    *s = (float)scale;
    *m = (float)low;
}

void tsr_encode_affine(int n, const float *x, int nmax, float s, float m, uint8_t *q) {
    float inverse = tsr_inverse(s);
    for (int i = 0; i < n; i++) q[i] = (uint8_t)tsr_nearest(tsr_clamp((x[i] - m) * inverse, 0, (float)nmax));
}

/* The normal equations of d and dmin over a super-block: x ~ d (ls q) - dmin (lm). */
typedef struct normal {
    double ss, sm, mm, xs, xm;
} normal;

/* Integers around s / d and m / dmin, the best of the nine pairs of each sub-block. Returns the error. */
static double choose_scales(int n_sub, int len, int nmax, int limit, const tsr_scaled *b, float d, float dmin,
                            const float *s, const float *m, uint8_t *ls, uint8_t *lm, normal *eq) {
    double error = 0;
    *eq = (normal){0};
    for (int j = 0; j < n_sub; j++) {
        const float *x = b->x + j * len, *w = b->w + j * len;
        int mid_s = d > 0 ? (int)tsr_nearest(tsr_clamp(s[j] / d, 0, (float)limit)) : 0;
        int mid_m = dmin > 0 ? (int)tsr_nearest(tsr_clamp(m[j] / dmin, 0, (float)limit)) : 0;
        moments mo = block_moments(len, x, w);
        double best = INFINITY;
        sums best_sums = {0};
        for (int is = mid_s - 1; is <= mid_s + 1; is++) {
            for (int im = mid_m - 1; im <= mid_m + 1; im++) {
                if (is < 0 || is > limit || im < 0 || im > limit) continue;
                float dl = d * (float)is, ml = dmin * (float)im;
                sums a = affine_sums(len, x, w, (float)nmax, tsr_inverse(dl), -ml);
                double e = affine_error(&a, &mo, dl, -ml);
                if (e >= best) continue;
                best = e;
                best_sums = a;
                ls[j] = (uint8_t)is;
                lm[j] = (uint8_t)im;
            }
        }
        error += best;
        eq->ss += (double)ls[j] * ls[j] * best_sums.qq;
        eq->sm -= (double)ls[j] * lm[j] * best_sums.q;
        eq->mm += (double)lm[j] * lm[j] * mo.w;
        eq->xs += ls[j] * best_sums.xq;
        eq->xm -= lm[j] * mo.wx;
    }
    return error;
}

/* d and dmin from the normal equations; left alone where these do not determine a sensible pair. */
static void refit(const normal *e, float *d, float *dmin) {
    double det = e->ss * e->mm - e->sm * e->sm;
    if (det > 1e-9 * e->ss * e->mm) {
        double new_d = (e->xs * e->mm - e->xm * e->sm) / det, new_min = (e->xm * e->ss - e->xs * e->sm) / det;
        if (new_d > 0 && new_min > 0) {
            *d = (float)new_d;
            *dmin = (float)new_min;
        }
    } else if (e->mm == 0 && e->ss > 0 && e->xs > 0) {
        *d = (float)(e->xs / e->ss);
    }
}

void tsr_search_shared_affine(int n_sub, int len, int nmax, int limit, const tsr_scaled *b, uint16_t *d, uint16_t *dmin,
                              uint8_t *ls, uint8_t *lm) {
    float s[16], m[16], max_s = 0, max_m = 0;
    for (int j = 0; j < n_sub; j++) {
        tsr_search_affine(len, b->x + j * len, b->w + j * len, nmax, true, &s[j], &m[j]);
        m[j] = -m[j];
        max_s = fmaxf(max_s, s[j]);
        max_m = fmaxf(max_m, m[j]);
    }
    float next_d = max_s / (float)limit, next_min = max_m / (float)limit;
    double best = INFINITY;
    for (int round = 0; round < 2; round++) {
        uint8_t tried_s[16], tried_m[16];
        normal eq;
        uint16_t hd = tsr_scale_f16(next_d, b->exponent), hm = tsr_scale_f16(next_min, b->exponent);
        double e = choose_scales(n_sub, len, nmax, limit, b, ldexpf(tsr_f16_to_f32(hd), -b->exponent),
                                 ldexpf(tsr_f16_to_f32(hm), -b->exponent), s, m, tried_s, tried_m, &eq);
        if (!(e < best)) break;
        best = e;
        *d = hd;
        *dmin = hm;
        memcpy(ls, tried_s, (size_t)n_sub);
        memcpy(lm, tried_m, (size_t)n_sub);
        refit(&eq, &next_d, &next_min);
    }
}
