/* check_rows.c: kernels that work on one row: norms, activations, softmax, conversions. */
#include "check.h"

#include <math.h>
#include <string.h>

static const int64_t lengths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 255, 576, 1000};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths, BENCH_N = 4096 };

static void norm_case(check *c, int64_t n, check_fill fill) {
    if (fill == CHECK_HUGE || fill == CHECK_TINY) fill = CHECK_NORMAL; /* squares beyond f32 are outside the contract */
    float *x = check_floats(c, n, fill), *w = check_floats(c, n, CHECK_NORMAL), *y = check_floats(c, n, CHECK_ZERO);
    bool in_place = check_between(c, 0, 1);
    double sum = 0.0, want[1000];
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    double scale = 1.0 / sqrt(sum / (double)n + 1e-5);
    for (int64_t i = 0; i < n; i++) want[i] = x[i] * scale * w[i];
    c->kern->rms_norm(x, w, 1e-5f, in_place ? x : y, n);
    for (int64_t i = 0; i < n; i++) check_near(c, (in_place ? x : y)[i], want[i], (16 + (double)n / 8) * 0x1p-24 * fabs(want[i]) + 1e-37, "rms_norm", i);
    check_release(c);
}

static double silu(double x) { return x / (1.0 + exp(-x)); }

static double gelu(double x) { return 0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))); }

static void gate(check *c, int64_t n, check_fill fill, bool is_gelu) {
    float *g = check_floats(c, n, fill == CHECK_HUGE ? CHECK_NORMAL : fill), *up = check_floats(c, n, CHECK_NORMAL);
    if (fill == CHECK_HUGE)
        for (int64_t i = 0; i < n; i++) g[i] *= 60.0f; /* both saturated ends */
    double want[1000], x[1000];
    for (int64_t i = 0; i < n; i++) {
        x[i] = g[i];
        want[i] = (is_gelu ? gelu(x[i]) : silu(x[i])) * up[i];
    }
    (is_gelu ? c->kern->gelu_mul : c->kern->silu_mul)(g, up, n);
    /* relative to the input: far out on the negative side the value itself vanishes in rounding (tanh -> -1) */
    for (int64_t i = 0; i < n; i++)
        check_near(c, g[i], want[i], 0x1p-20 * fabs(want[i]) + 0x1p-22 * fabs(x[i] * up[i]) + 1e-37, is_gelu ? "gelu_mul" : "silu_mul", i);
    check_release(c);
}

static void silu_case(check *c, int64_t n, check_fill fill) { gate(c, n, fill, false); }

static void gelu_case(check *c, int64_t n, check_fill fill) { gate(c, n, fill, true); }

static void softmax_case(check *c, int64_t n, check_fill fill) {
    float *x = check_floats(c, n, fill == CHECK_HUGE ? CHECK_NORMAL : fill);
    for (int64_t i = 0; i < n; i++) {
        if (fill == CHECK_HUGE) x[i] *= 50.0f;
        if (fill == CHECK_SPARSE && i + 1 < n && check_between(c, 0, 3) == 0) x[i] = -INFINITY; /* masked */
    }
    double max = -INFINITY, sum = 0.0, want[1000];
    for (int64_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    double bound[1000]; /* x - max is rounded to f32 before it is exponentiated */
    for (int64_t i = 0; i < n; i++) {
        sum += want[i] = exp((double)x[i] - max);
        bound[i] = want[i] == 0.0 ? 0.0 : (0x1p-20 + 0x1p-23 * fabs((double)x[i] - max)) * want[i];
    }
    c->kern->softmax(x, n);
    for (int64_t i = 0; i < n; i++) check_near(c, x[i], want[i] / sum, bound[i] / sum + 1e-37, "softmax", i);
    check_release(c);
}

/* One NaN among the elements: its result is NaN, and of softmax every result. */
static void nan_case(check *c, int64_t n, check_fill fill) {
    if (fill != CHECK_NORMAL) return;
    int64_t at = check_between(c, 0, (int)n - 1);
    for (int which = 0; which < 3; which++) {
        float *x = check_floats(c, n, fill), *up = check_floats(c, n, fill);
        x[at] = NAN;
        if (which == 0) c->kern->silu_mul(x, up, n);
        if (which == 1) c->kern->gelu_mul(x, up, n);
        if (which == 2) c->kern->softmax(x, n);
        for (int64_t i = 0; i < n; i++) check_near(c, isnan(x[i]), which == 2 || i == at, 0.0, "NaN lost", i);
        check_release(c);
    }
}

static void to_f16_case(check *c, int64_t n, check_fill fill) {
    float *x = check_floats(c, n, fill);
    uint16_t *y = check_operand(c, n, sizeof *y);
    /* FTZ and DAZ do not touch this conversion: denormal halves are results like any other */
    if (fill == CHECK_ZERO)
        for (int64_t i = 0; i < n; i++) x[i] = (float)(check_uniform(c) * 6e-5);
    c->kern->f32_to_f16(x, y, n);
    for (int64_t i = 0; i < n; i++) check_near(c, y[i], tsr_f32_to_f16(x[i]), 0.0, "f32_to_f16", i);
    check_release(c);
}

typedef struct row_bench {
    const tsr_kernels *kern;
    float *x, *w;
    uint16_t *h;
} row_bench;

static void bench_norm(void *ctx) {
    const row_bench *b = ctx;
    b->kern->rms_norm(b->x, b->w, 1e-5f, b->x, BENCH_N);
}

static void bench_silu(void *ctx) {
    const row_bench *b = ctx;
    b->kern->silu_mul(b->x, b->w, BENCH_N);
}

static void bench_gelu(void *ctx) {
    const row_bench *b = ctx;
    b->kern->gelu_mul(b->x, b->w, BENCH_N);
}

static void bench_softmax(void *ctx) {
    const row_bench *b = ctx;
    b->kern->softmax(b->x, BENCH_N);
}

static void bench_to_f16(void *ctx) {
    const row_bench *b = ctx;
    b->kern->f32_to_f16(b->x, b->h, BENCH_N);
}

static const struct {
    const char *name;
    void (*run_case)(check *c, int64_t n, check_fill fill);
    void (*bench)(void *ctx);
} entries[] = {
    {"rms_norm", norm_case, bench_norm},       {"silu_mul", silu_case, bench_silu},       {"gelu_mul", gelu_case, bench_gelu},
    {"softmax", softmax_case, bench_softmax}, {"f32_to_f16", to_f16_case, bench_to_f16},
    {"nan", nan_case, NULL},
};

void check_rows_kernels(check *c) {
    for (size_t e = 0; e < sizeof entries / sizeof *entries; e++) {
        if (!check_selected(c, entries[e].name)) continue;
        for (int l = 0; l < N_LENGTHS; l++)
            for (int fill = 0; fill < CHECK_FILLS; fill++) entries[e].run_case(c, lengths[l], (check_fill)fill);
        double seconds = 0.0;
        if (c->bench && entries[e].bench) {
            row_bench b = {c->kern, check_floats(c, BENCH_N, CHECK_NORMAL), check_floats(c, BENCH_N, CHECK_NORMAL),
                           check_operand(c, BENCH_N, sizeof(uint16_t))};
            seconds = check_time(entries[e].bench, &b);
            check_release(c);
        }
        check_report(c, entries[e].name, seconds, BENCH_N, "elem");
    }
}
