/* search.h: the scale searches behind the quantisers that are free to choose their scale. All minimise a weighted sum
 * of squared errors, sum w (x - x')^2; all sums have a fixed order, so results do not depend on the compiler. */
#ifndef TSR_QUANT_SEARCH_H
#define TSR_QUANT_SEARCH_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    TSR_BLOCK_MAX = 256,
    TSR_POLISH = 3,    /* rounds of "codes for the scale, scale for the codes" after a search */
};

/* Four weights side by side (a compiler extension that gcc and clang share): no ISA, and one order of summing. */
typedef float tsr_f32x4 __attribute__((vector_size(16)));
typedef int32_t tsr_i32x4 __attribute__((vector_size(16)));

static inline tsr_f32x4 tsr_load4(const float *p) {
    tsr_f32x4 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline double tsr_sum4(tsr_f32x4 v) { return ((double)v[0] + v[1]) + ((double)v[2] + v[3]); }

static inline tsr_f32x4 tsr_clamp4(tsr_f32x4 x, float lo, float hi) {
    tsr_f32x4 l = {lo, lo, lo, lo}, h = {hi, hi, hi, hi};
    tsr_i32x4 below = x < l, above = x > h;
    return (tsr_f32x4)((below & (tsr_i32x4)l) | (above & (tsr_i32x4)h) | (~(below | above) & (tsr_i32x4)x));
}

static inline float tsr_clamp(float x, float lo, float hi) {
    x = x < lo ? lo : x;
    return x > hi ? hi : x;
}

/* Nearest integer, ties to even, for |x| < 2^22. */
static inline float tsr_nearest(float x) { return (x + 12582912.0f) - 12582912.0f; }
static inline tsr_f32x4 tsr_nearest4(tsr_f32x4 x) { return (x + 12582912.0f) - 12582912.0f; }

/* Scales and ranges below this are nothing beside the largest weight of a scaled block, which is at least 1; and 1 / s
 * times a weight must stay finite. */
#define TSR_NEGLIGIBLE 0x1p-100f

/* 1 / scale, or 0 for a negligible one: all codes are then those of 0. */
static inline float tsr_inverse(float scale) {
    return scale > TSR_NEGLIGIBLE || scale < -TSR_NEGLIGIBLE ? 1 / scale : 0;
}

/* The values that codes stand for, times a scale: the integers lo..hi, or the entries of a codebook of 16. */
typedef struct tsr_grid {
    int lo, hi;           /* least and greatest value */
    float step;           /* spread of the scales tried, relative to the plain one */
    int n_steps;          /* scales tried on each side of it */
    bool codebook;
    uint8_t index[512];   /* codebook: [(int)(2 v) - 2 lo] = the entry nearest to v */
    float value[512];     /* codebook: that entry */
} tsr_grid;

/* values[16] ascending; hi - lo <= 255. */
void tsr_grid_codebook(tsr_grid *g, const int8_t values[16]);

/* x scaled by a power of two so that the largest magnitude is in [1, 2), and the weights of its errors. */
typedef struct tsr_scaled {
    float x[TSR_BLOCK_MAX], w[TSR_BLOCK_MAX];
    int exponent; /* original = x * 2^exponent */
} tsr_scaled;

/* Of the mean: weights that nothing is known to depend on must not be sacrificed altogether. */
#define TSR_LEAST_IMPORTANCE 1e-3f

/* n <= 256, a multiple of 16. Without importance, w = mean(x^2) + x^2; with it, importance * sqrt(mean(x^2) + x^2).
 * Returns false when all x are zero (then only exponent is set, to 0). */
bool tsr_scale_block(tsr_scaled *s, const float *x, const float *importance, int n);

/* The scale s for which x ~ s * value is best; may be negative; 0 when all x are negligible. n is a multiple of 4. */
float tsr_search_scale(const tsr_grid *g, int n, const float *x, const float *w);
/* The same for a whole block b of n weights, as binary16: the rounded scale or a neighbour, whichever decodes best. */
uint16_t tsr_search_f16_scale(const tsr_grid *g, int n, const tsr_scaled *b);
/* Codes for a given scale: integers code - lo = 0.., or indices into the codebook. A scale of 0 gives the code of 0. */
void tsr_encode_scaled(const tsr_grid *g, int n, const float *x, float scale, uint8_t *q);

/* Scales s[n_sub] of the sub-blocks quantised to integers ls in [-limit, limit - 1] times one binary16 scale *d.
 * sub-block j is x + j * len. */
void tsr_search_shared_scale(const tsr_grid *g, int n_sub, int len, int limit, const tsr_scaled *b, uint16_t *d,
                             int8_t *ls);

/* x ~ s q + m with q in 0..nmax, s >= 0; with nonpositive, m <= 0. n is a multiple of 4. */
void tsr_search_affine(int n, const float *x, const float *w, int nmax, bool nonpositive, float *s, float *m);
/* The same for n_sub sub-blocks of len weights whose scales and (negated) mins are integers 0..limit times binary16 d
 * and dmin. */
void tsr_search_shared_affine(int n_sub, int len, int nmax, int limit, const tsr_scaled *b, uint16_t *d, uint16_t *dmin,
                              uint8_t *ls, uint8_t *lm);
void tsr_encode_affine(int n, const float *x, int nmax, float s, float m, uint8_t *q);

/* scale * 2^exponent as binary16: the nearest finite one, and not 0 unless scale is 0. */
uint16_t tsr_scale_f16(float scale, int exponent);

#endif
