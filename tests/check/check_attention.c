/* check_attention.c: attention (kernels/attention.h) against sums in double precision over the keys and values as the cache rounds them, and
 * the kernels that only it uses. */
#include "check.h"

#include "kernels/attention.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const tsr_type cache_types[] = {TSR_F32, TSR_F16, TSR_BF16, TSR_Q8_0};

/* --- softmax, step by step -------------------------------------------------------------------------------------------------- */

static void softmax_steps(check *c, int64_t step, int steps, float cap, bool with_nan) {
    enum { MAX_N = 1024 };
    float max = -INFINITY, sum = 0.0f, scale = cap > 0.0f ? 0.3f : 0.1f;
    double want[MAX_N], got[MAX_N], total = 0.0, most = -INFINITY;
    int64_t n = step * steps, nan_at = with_nan ? check_between(c, 0, n - 1) : -1;
    for (int s = 0; s < steps; s++) {
        float *x = check_floats(c, step, CHECK_NORMAL);
        bool nothing = s == 0 && steps > 1; /* no position of the first step is seen */
        for (int64_t i = 0; i < step; i++) {
            x[i] *= 40.0f;
            if (nothing || check_between(c, 0, 4) == 0) x[i] = -INFINITY;
            if (s * step + i == nan_at) x[i] = NAN;
            double z = (double)x[i] * scale;
            if (cap > 0.0f && x[i] != -INFINITY) z = cap * tanh(z / cap);
            want[s * step + i] = z;
            most = z > most ? z : most;
        }
        float factor = c->kern->softmax_step(x, step, scale, cap, &max, &sum);
        for (int64_t i = 0; i < s * step; i++) got[i] *= factor;
        for (int64_t i = 0; i < step; i++) got[s * step + i] = x[i];
        check_release(c);
    }
    for (int64_t i = 0; i < n; i++) total += exp(want[i] - (most == -INFINITY ? 0.0 : most));
    if (total == 0.0) check_near(c, sum, 0.0, 0.0, "sum of nothing", 0);
    if (with_nan) check_near(c, isnan(sum), 1.0, 0.0, "NaN lost", nan_at);
    for (int64_t i = 0; i < n && total > 0.0 && !with_nan; i++) {
        double weight = exp(want[i] - most) / total;
        double far = weight > 0.0 ? fabs(want[i] - most) : 0.0;
        check_near(c, got[i] / sum, weight, weight * (0x1p-18 + 0x1p-22 * far + (double)cap * 0x1p-21) + 1e-37, "weight", i);
    }
}

/* --- panels of f32 and of q8_0 values --------------------------------------------------------------------------------------- */

static void narrow_f32(check *c, int64_t k, int rows) {
    tsr_packed w = {.type = TSR_F32, .n = 32, .k = k, .panel_bytes = (size_t)(k + 31) / 32 * 2048};
    float *panel = check_floats(c, k * TSR_PANEL, CHECK_NORMAL); /* of the last panel what exists of k is read */
    int64_t ldx = k + check_between(c, 0, 5);
    float *x = check_floats(c, (rows - 1) * ldx + k, CHECK_NORMAL), *out = check_operand(c, rows * TSR_PANEL, sizeof *out);
    w.data = (uint8_t *)panel - w.panel_bytes;
    c->kern->packed_narrow_f32[TSR_F32](&w, 1, x, ldx, rows, out);
    for (int i = 0; i < rows * TSR_PANEL; i++) {
        double want = 0.0, magnitude = 0.0;
        for (int64_t l = 0; l < k; l++) {
            double term = (double)x[i / TSR_PANEL * ldx + l] * panel[l * TSR_PANEL + i % TSR_PANEL];
            want += term;
            magnitude += fabs(term);
        }
        check_near(c, out[i], want, magnitude * (4.0 + (double)k / 2) * 0x1p-24, "narrow f32", i);
    }
    check_release(c);
}

static void narrow_bf16(check *c, tsr_type type, int64_t k, int rows) {
    tsr_packed w = check_matrix(c, type, check_between(c, 1, 40), k);
    int64_t ldx = k + check_between(c, 0, 5), p = check_between(c, 0, tsr_packed_panels(&w) - 1);
    float *x = check_floats(c, (rows - 1) * ldx + k, CHECK_NORMAL), *out = check_operand(c, rows * TSR_PANEL, sizeof *out);
    uint16_t *half = check_operand(c, (rows - 1) * ldx + k, sizeof *half);
    float *row = malloc((size_t)k * sizeof *row);
    c->kern->f32_to_bf16(x, half, (rows - 1) * ldx + k);
    for (int64_t i = 0; i < (rows - 1) * ldx + k; i++) check_near(c, half[i], tsr_f32_to_bf16(x[i]), 0.0, "bf16", i);
    c->kern->narrow_bf16[type](&w, p, half, ldx, rows, out);
    for (int column = 0; column < TSR_PANEL && p * TSR_PANEL + column < w.n; column++) {
        tsr_packed_row(&w, p * TSR_PANEL + column, row);
        for (int r = 0; r < rows; r++) {
            double want = 0.0, magnitude = 0.0;
            for (int64_t l = 0; l < k; l++) {
                double term = (double)tsr_bf16_to_f32(half[r * ldx + l]) * tsr_bf16_to_f32(tsr_f32_to_bf16(row[l]));
                want += term;
                magnitude += fabs(term);
            }
            check_near(c, out[r * TSR_PANEL + column], want, magnitude * (4.0 + (double)k / 2) * 0x1p-24, "narrow bf16", r * TSR_PANEL + column);
        }
    }
    free(row);
    check_release(c);
}

static void fill_values8(check *c, int8_t *codes, uint16_t *scale, int64_t n) {
    for (int64_t i = 0; i < n * TSR_PANEL; i++) codes[i] = (int8_t)check_between(c, -127, 127);
    for (int64_t i = 0; i < n; i++) scale[i] = tsr_f32_to_f16((float)check_uniform(c));
}

static void unpack_values8(check *c, const tsr_wide *wide, int64_t blocks) {
    int64_t n = blocks * TSR_BLOCK_K;
    int8_t *codes = check_operand(c, n * TSR_PANEL, 1);
    uint16_t *scale = check_operand(c, n, 2), half;
    uint8_t *out = check_operand(c, n * TSR_PANEL * wide->elem_bytes, 1);
    fill_values8(c, codes, scale, n);
    wide->unpack_values8(codes, scale, blocks, out);
    for (int64_t l = 0; l < n; l++)
        for (int column = 0; column < TSR_PANEL; column++) {
            double want = (double)tsr_f16_to_f32(scale[l]) * codes[l * TSR_PANEL + column];
            float got;
            if (wide->elem == TSR_F32) memcpy(&got, out + (l * TSR_PANEL + column) * 4, sizeof got);
            else {
                memcpy(&half, out + ((l / 2 * TSR_PANEL + column) * 2 + l % 2) * 2, sizeof half);
                got = tsr_bf16_to_f32(half);
            }
            check_near(c, got, want, fabs(want) * (wide->elem == TSR_F32 ? 0x1p-23 : 0x1p-8), "element of B", l * TSR_PANEL + column);
        }
    check_release(c);
}

/* --- attention -------------------------------------------------------------------------------------------------------------- */

typedef struct shape {
    int64_t heads, dim_k, dim_v;
    int64_t pos, tokens, window;
    float softcap;
} shape;

typedef struct sequence {
    shape s;
    tsr_kv_head kv;
    uint8_t *memory_k, *memory_v;
    float *q;      /* [tokens][heads][Dk] */
    float *k, *v;  /* [positions][Dk], [Dv], as the cache rounds them */
    float *out;    /* [tokens][heads][Dv] */
} sequence;

static void *zeroed(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    return p ? memset(p, 0, (bytes + 63) & ~(size_t)63) : NULL;
}

/* x[n] as the cache gives it back. */
static void round_like(tsr_type type, float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (type == TSR_F16) x[i] = tsr_f16_to_f32(tsr_f32_to_f16(x[i]));
        if (type == TSR_BF16) x[i] = tsr_bf16_to_f32(tsr_f32_to_bf16(x[i]));
    }
    for (int64_t b = 0; type == TSR_Q8_0 && b < n; b += TSR_BLOCK_K) {
        float most = 0.0f;
        for (int64_t i = b; i < b + TSR_BLOCK_K; i++) most = fmaxf(most, fabsf(x[i]));
        float d = tsr_f16_to_f32(tsr_f32_to_f16(most / 127.0f));
        for (int64_t i = b; i < b + TSR_BLOCK_K; i++) x[i] = most > 0.0f ? d * roundf(x[i] * (127.0f / most)) : 0.0f;
    }
}

static float *normals(check *c, int64_t n) {
    float *x = malloc((size_t)n * sizeof *x), *from;
    for (int64_t at = 0; at < n; at += 4096) {
        int64_t count = n - at < 4096 ? n - at : 4096;
        from = check_floats(c, count, CHECK_NORMAL);
        memcpy(x + at, from, (size_t)count * sizeof *x);
        check_release(c);
    }
    return x;
}

static sequence sequence_open(check *c, shape s, tsr_type type_k, tsr_type type_v) {
    sequence q = {.s = s};
    int64_t positions = s.pos + s.tokens;
    tsr_kv_head_init(&q.kv, type_k, type_v, s.dim_k, s.dim_v, positions);
    q.memory_k = zeroed(q.kv.bytes_k);
    q.memory_v = zeroed(q.kv.bytes_v);
    tsr_kv_head_place(&q.kv, q.memory_k, q.memory_v);
    q.q = normals(c, s.tokens * s.heads * s.dim_k);
    q.k = normals(c, positions * s.dim_k);
    q.v = normals(c, positions * s.dim_v);
    q.out = zeroed((size_t)(s.tokens * s.heads * s.dim_v) * sizeof(float));
    for (int64_t i = 0; i < positions; i++) { /* some positions stand out, so that the largest score moves */
        float *k = q.k + i * s.dim_k, *v = q.v + i * s.dim_v;
        for (int64_t d = 0; d < s.dim_k && i % 37 == 0; d++) k[d] *= 2.5f;
        tsr_kv_put(&q.kv, c->kern, i, k, v);
        round_like(type_k, k, s.dim_k);
        round_like(type_v, v, s.dim_v);
    }
    return q;
}

static void sequence_close(sequence *q) {
    free(q->memory_k);
    free(q->memory_v);
    free(q->q);
    free(q->k);
    free(q->v);
    free(q->out);
}

static tsr_attention attention_of(const check *c, const sequence *q, bool exact) {
    const shape *s = &q->s;
    return (tsr_attention){.kern = c->kern, .exact = exact, .kv = &q->kv, .pos = s->pos, .heads = s->heads,
                           .window = s->window, .scale = 1.0f / sqrtf((float)s->dim_k), .softcap = s->softcap,
                           .q = q->q, .ldq = s->heads * s->dim_k, .out = q->out, .ldo = s->heads * s->dim_v};
}

/* out of a token and head in double precision */
static void reference(const sequence *q, int64_t token, int64_t head, double *weight, double *out) {
    const shape *s = &q->s;
    int64_t last = s->pos + token, first = s->window > 0 && last + 1 > s->window ? last + 1 - s->window : 0;
    const float *row = q->q + (token * s->heads + head) * s->dim_k;
    double most = -INFINITY, sum = 0.0;
    for (int64_t i = first; i <= last; i++) {
        double dot = 0.0;
        for (int64_t d = 0; d < s->dim_k; d++) dot += (double)row[d] * q->k[i * s->dim_k + d];
        dot /= sqrt((double)s->dim_k);
        weight[i] = s->softcap > 0.0f ? s->softcap * tanh(dot / s->softcap) : dot;
        most = weight[i] > most ? weight[i] : most;
    }
    for (int64_t d = 0; d < s->dim_v; d++) out[d] = 0.0;
    for (int64_t i = first; i <= last; i++) {
        double w = exp(weight[i] - most);
        sum += w;
        for (int64_t d = 0; d < s->dim_v; d++) out[d] += w * q->v[i * s->dim_v + d];
    }
    for (int64_t d = 0; d < s->dim_v; d++) out[d] /= sum;
}

/* bound: relative to the size of values, about 1 */
static void compare(check *c, const sequence *q, double bound, const char *what) {
    const shape *s = &q->s;
    double *weight = malloc((size_t)(s->pos + s->tokens) * sizeof *weight), *out = malloc((size_t)s->dim_v * sizeof *out);
    for (int64_t i = 0; i < s->tokens * s->heads; i++) {
        reference(q, i / s->heads, i % s->heads, weight, out);
        for (int64_t d = 0; d < s->dim_v; d++) check_near(c, q->out[i * s->dim_v + d], out[d], bound, what, i * s->dim_v + d);
    }
    free(weight);
    free(out);
}

static void by_blocks(check *c, sequence *q, bool exact, double bound) {
    const shape *s = &q->s;
    tsr_attention a = attention_of(c, q, exact);
    int64_t block = tsr_attention_block(s->heads, s->dim_k, s->dim_v);
    void *scratch = zeroed(tsr_attention_block_bytes(s->heads, s->dim_k, s->dim_v));
    for (int64_t first = 0; first < s->tokens; first += block)
        tsr_attend_block(&a, first, s->tokens - first < block ? s->tokens - first : block, scratch);
    free(scratch);
    compare(c, q, bound, "attention by blocks");
}

static void by_segments(check *c, sequence *q, bool exact, double bound) {
    const shape *s = &q->s;
    tsr_attention a = attention_of(c, q, exact);
    void *scratch = zeroed(tsr_attention_segment_bytes(s->dim_k));
    float *sum = zeroed((size_t)(2 * tsr_attention_partial_floats(s->heads, s->dim_v)) * sizeof(float));
    float *more = sum + tsr_attention_partial_floats(s->heads, s->dim_v);
    for (int64_t token = 0; token < s->tokens; token++) {
        int64_t first, last;
        tsr_attention_segments(&a, token, &first, &last);
        tsr_attend_segment(&a, token, first, sum, scratch);
        for (int64_t i = first + 1; i <= last; i++) {
            tsr_attend_segment(&a, token, i, more, scratch);
            tsr_attention_add(&a, sum, more);
        }
        tsr_attention_finish(&a, token, sum);
    }
    free(scratch);
    free(sum);
    compare(c, q, bound, "attention by segments");
}

static void attention_case(check *c, shape s, tsr_type type_k, tsr_type type_v) {
    sequence q = sequence_open(c, s, type_k, type_v);
    bool rounds = c->kern->wide_attention[type_k]->elem != TSR_F32 || c->kern->wide_attention[type_v]->elem != TSR_F32;
    by_blocks(c, &q, true, 2e-5);
    if (rounds) by_blocks(c, &q, false, 0.04);
    if (s.tokens < TSR_ATTENTION_BLOCK_MIN) by_segments(c, &q, true, 2e-5);
    if (s.tokens < TSR_ATTENTION_BLOCK_MIN && rounds) by_segments(c, &q, false, 0.04);
    sequence_close(&q);
}

static void attention_entry(check *c, tsr_type type, bool longest) {
    const shape shapes[] = {
        {1, 64, 64, 0, 1, 0, 0},      {1, 64, 64, 0, 9, 0, 0},       {3, 64, 64, 31, 8, 0, 0},      {4, 64, 64, 0, 100, 0, 0},
        {7, 64, 64, 130, 40, 0, 0},   {8, 128, 128, 500, 20, 0, 0},  {4, 256, 256, 20, 50, 0, 0},   {2, 96, 96, 100, 33, 0, 0},
        {2, 64, 64, 600, 5, 0, 0},    {2, 64, 64, 1020, 8, 0, 0},    {17, 32, 32, 70, 3, 0, 0},     {20, 64, 32, 3, 18, 0, 0},
        {4, 64, 64, 200, 70, 64, 0},  {4, 64, 64, 700, 3, 520, 0},   {4, 64, 64, 700, 30, 1, 0},    {2, 64, 64, 900, 2, 512, 0},
        {2, 128, 64, 100, 30, 0, 5},  {2, 64, 128, 100, 3, 60, 30},  {1, 64, 64, 1535, 2, 0, 0},    {1, 64, 64, 1500, 40, 1000, 0},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) attention_case(c, shapes[i], type, type);
    for (size_t t = 0; t < 4; t++) attention_case(c, (shape){3, 64, 64, 40, 20, 0, 0}, type, cache_types[t]);
    if (type != TSR_Q8_0) attention_case(c, (shape){2, 72, 40, 40, 20, 0, 0}, type, type); /* no multiples of 32 */
    if (type != TSR_Q8_0) attention_case(c, (shape){2, 33, 17, 600, 3, 0, 0}, type, type);
    if (!longest) return;
    attention_case(c, (shape){1, 64, 64, 4096 - 10, 10, 0, 0}, type, type);
    attention_case(c, (shape){1, 64, 64, 32768 - 9, 9, 0, 0}, type, type);
    attention_case(c, (shape){2, 64, 64, 32768 - 1, 1, 0, 0}, type, type);
}

/* --- times ------------------------------------------------------------------------------------------------------------------ */

typedef struct bench {
    tsr_attention a;
    int64_t tokens;
    void *scratch;
    float *partial;
} bench;

static void run_blocks(void *ctx) {
    const bench *b = ctx;
    int64_t block = tsr_attention_block(b->a.heads, b->a.kv->dim_k, b->a.kv->dim_v);
    for (int64_t first = 0; first < b->tokens; first += block) tsr_attend_block(&b->a, first, block, b->scratch);
}

static void run_segments(void *ctx) {
    const bench *b = ctx;
    int64_t first, last;
    tsr_attention_segments(&b->a, 0, &first, &last);
    for (int64_t i = first; i <= last; i++) tsr_attend_segment(&b->a, 0, i, b->partial, b->scratch);
}

static void bench_attention(check *c, tsr_type type) {
    char name[64];
    shape s = {4, 64, 64, 3584, 512, 0, 0};
    sequence q = sequence_open(c, s, type, type);
    bench b = {.a = attention_of(c, &q, false), .tokens = s.tokens, .scratch = zeroed(tsr_attention_block_bytes(4, 64, 64))};
    double seconds = check_time(run_blocks, &b);
    check_near(c, 0.0, 0.0, 0.0, "", 0);
    snprintf(name, sizeof name, "attention_%s 512 at 3584", tsr_type_get(type)->name);
    check_report(c, name, seconds, 4.0 * 512 * (3584 + 256) * 4 * 64, "op");
    free(b.scratch);
    sequence_close(&q);
    s = (shape){4, 64, 64, 262144, 1, 0, 0}; /* more than caches hold */
    q = sequence_open(c, s, type, type);
    b.a = attention_of(c, &q, false);
    b.scratch = zeroed(tsr_attention_segment_bytes(64));
    b.partial = zeroed((size_t)tsr_attention_partial_floats(4, 64) * sizeof(float));
    seconds = check_time(run_segments, &b);
    check_near(c, 0.0, 0.0, 0.0, "", 0);
    snprintf(name, sizeof name, "attention_%s 1 at 262144", tsr_type_get(type)->name);
    check_report(c, name, seconds, (double)(q.kv.bytes_k + q.kv.bytes_v), "B");
    free(b.scratch);
    free(b.partial);
    sequence_close(&q);
}

/* --- entries ---------------------------------------------------------------------------------------------------------------- */

void check_attention_kernels(check *c) {
    bool best = c->kern->tier == tsr_cpu_get()->tier; /* the longest take long: all types on one tier, one on the others */
    bool scalar = c->kern->softmax_step == tsr_kernels_get(TSR_TIER_SCALAR)->softmax_step;
    if (check_selected(c, "softmax_step")) {
        static const int64_t steps[] = {1, 3, 8, 15, 16, 17, 32, 128, 250};
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
            for (int j = 0; j < 24; j++) softmax_steps(c, steps[i], 1 + j % 4, j % 3 ? 0.0f : (float)(j + 5), j % 8 == 7);
        check_report(c, "softmax_step", 0.0, 0.0, "");
    }
    if (check_selected(c, "attention_panels")) {
        for (int rows = 1; rows <= TSR_NARROW_F32_MAX; rows++) {
            narrow_f32(c, check_between(c, 1, 130), rows);
            if (c->kern->narrow_bf16[TSR_F16]) narrow_bf16(c, TSR_F16, 2 * check_between(c, 1, 70), rows);
            if (c->kern->narrow_bf16[TSR_BF16]) narrow_bf16(c, TSR_BF16, 2 * check_between(c, 1, 70), rows);
        }
        for (int64_t blocks = 1; blocks <= 5; blocks++) {
            unpack_values8(c, c->kern->wide_f32, blocks);
            unpack_values8(c, c->kern->wide_attention[TSR_Q8_0], blocks);
        }
        check_report(c, "attention_panels", 0.0, 0.0, "");
    }
    for (size_t t = 0; t < 4; t++) {
        char name[64];
        snprintf(name, sizeof name, "attention_%s", tsr_type_get(cache_types[t])->name);
        if (!check_selected(c, name)) continue;
        attention_entry(c, cache_types[t], !scalar && (best || cache_types[t] == TSR_F16));
        check_report(c, name, 0.0, 0.0, "");
        if (c->bench && !scalar) bench_attention(c, cache_types[t]);
    }
}
