/* attention_segment.c: attention of one token over a segment of positions, and the sum of segments: what decoding does.
 *
 * The heads of a group are the rows of products with few rows, so that keys and values are read once for all of them. */
#include "kernels/attention.h"

#include <math.h>
#include <string.h>

enum {
    CHUNK = 256,   /* positions at a time */
    HEADS = TSR_NARROW_MAX, /* at a time */
};

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

void tsr_attention_segments(const tsr_attention *a, int64_t token, int64_t *first, int64_t *last) {
    int64_t pos = a->pos + token;
    *first = a->window > 0 ? max64(0, pos + 1 - a->window) / TSR_ATTENTION_SEGMENT : 0;
    *last = pos / TSR_ATTENTION_SEGMENT;
}

int64_t tsr_attention_partial_floats(int64_t heads, int64_t dim_v) { return (heads * (2 + dim_v) + 15) / 16 * 16; }

/* Up to 16 heads of the group and their results. */
typedef struct state {
    const tsr_attention *a;
    int64_t heads;
    const float *q;   /* [heads][Dk] */
    float *max, *sum; /* [heads] */
    float *o;         /* [heads][Dv] */
    float *s;         /* [heads][CHUNK] scores, then weights */
    tsr_act8 q8;      /* q8_0 keys: q in 8 bits */
} state;

/* s[heads][16 positions] = scores of a panel of positions */
static void score_panel(const state *st, int64_t panel, float *s) {
    const tsr_kernels *kern = st->a->kern;
    const tsr_packed *k = &st->a->kv->k;
    float out[HEADS * TSR_PANEL] __attribute__((aligned(64)));
    bool paired = k->type == TSR_Q8_0 && st->q8.rows != st->heads; /* act8.h: rounding errors in rows of their own */
    if (k->type == TSR_Q8_0) kern->packed_narrow[TSR_Q8_0](k, panel, &st->q8, out);
    else kern->packed_narrow_f32[k->type](k, panel, st->q, k->k, (int)st->heads, out);
    for (int64_t r = 0; r < st->heads; r++) {
        const float *from = out + (paired ? 2 * r : r) * TSR_PANEL;
        float *to = s + r * CHUNK;
        for (int i = 0; i < TSR_PANEL; i++) to[i] = paired ? from[i] + from[TSR_PANEL + i] : from[i];
    }
}

/* o += weights [heads][n positions] times values from position `begin` on */
static void mix(const state *st, int64_t begin, int64_t n) {
    const tsr_kv_head *kv = st->a->kv;
    const tsr_kernels *kern = st->a->kern;
    float out[HEADS * TSR_PANEL] __attribute__((aligned(64)));
    tsr_packed v = kv->v;
    v.k = n;
    if (kv->type_v != TSR_Q8_0) v.data += begin * TSR_PANEL * (kv->type_v == TSR_F32 ? 4 : 2);
    for (int64_t d = 0; d < kv->dim_v; d += TSR_PANEL) {
        if (kv->type_v == TSR_Q8_0)
            kern->narrow_values8(kv->v8.codes + (d / TSR_PANEL * kv->capacity + begin) * TSR_PANEL,
                                 kv->v8.scale + d / TSR_BLOCK_K * kv->capacity + begin, n, st->s, CHUNK, (int)st->heads, out);
        else kern->packed_narrow_f32[v.type](&v, d / TSR_PANEL, st->s, CHUNK, (int)st->heads, out);
        int64_t columns = min64(TSR_PANEL, kv->dim_v - d);
        for (int64_t r = 0; r < st->heads; r++) {
            float *o = st->o + r * kv->dim_v + d;
            for (int64_t i = 0; i < columns; i++) o[i] += out[r * TSR_PANEL + i];
        }
    }
}

/* Positions [from, to) of the chunk that begins at `begin` (a multiple of 32). */
static void attend_chunk(const state *st, int64_t begin, int64_t from, int64_t to) {
    const tsr_attention *a = st->a;
    int64_t n = (to - begin + TSR_BLOCK_K - 1) / TSR_BLOCK_K * TSR_BLOCK_K, dim = a->kv->dim_v;
    for (int64_t at = 0; at < n; at += TSR_PANEL) score_panel(st, (begin + at) / TSR_PANEL, st->s + at);
    for (int64_t head = 0; head < st->heads; head++) {
        float *s = st->s + head * CHUNK;
        for (int64_t i = 0; i < from - begin; i++) s[i] = -INFINITY;
        for (int64_t i = to - begin; i < n; i++) s[i] = -INFINITY;
        float factor = a->kern->softmax_step(s, n, a->scale, a->softcap, &st->max[head], &st->sum[head]);
        if (factor == 1.0f) continue;
        for (int64_t d = 0; d < dim; d++) st->o[head * dim + d] *= factor;
    }
    mix(st, begin, n);
}

void tsr_attend_segment(const tsr_attention *a, int64_t token, int64_t segment, float *partial, void *scratch) {
    int64_t pos = a->pos + token, dim_k = a->kv->dim_k, dim = a->kv->dim_v;
    int64_t from = max64(segment * TSR_ATTENTION_SEGMENT, a->window > 0 ? pos + 1 - a->window : 0);
    int64_t to = min64((segment + 1) * TSR_ATTENTION_SEGMENT, pos + 1);
    for (int64_t head = 0; head < a->heads; head++) {
        partial[head] = -INFINITY;
        partial[a->heads + head] = 0.0f;
    }
    memset(partial + 2 * a->heads, 0, (size_t)(a->heads * dim) * sizeof *partial);
    for (int64_t head = 0; head < a->heads; head += HEADS) {
        state st = {.a = a, .heads = min64(HEADS, a->heads - head), .q = a->q + token * a->ldq + head * dim_k, .max = partial + head,
                    .sum = partial + a->heads + head, .o = partial + 2 * a->heads + head * dim, .s = scratch};
        if (a->kv->type_k == TSR_Q8_0) {
            const tsr_act8_source q = {a->kern, &a->kv->k.layout, 1, {.x = st.q, .ldx = dim_k, .k = dim_k}, st.heads, NULL};
            tsr_act8_place(&st.q8, 1, st.s + HEADS * CHUNK, st.heads, dim_k);
            tsr_act8_quantize(&st.q8, &q, NULL, 0, 1);
        }
        for (int64_t at = from, end; at < to; at = end) {
            int64_t begin = at / TSR_BLOCK_K * TSR_BLOCK_K;
            end = min64(begin + CHUNK, to);
            attend_chunk(&st, begin, at, end);
        }
    }
}

size_t tsr_attention_segment_bytes(int64_t dim_k) {
    size_t act = 0;
    tsr_act8_bytes(HEADS, dim_k, &act); /* heads are not so large that it would not fit */
    return HEADS * CHUNK * sizeof(float) + act;
}

void tsr_attention_add(const tsr_attention *a, float *sum, const float *more) {
    int64_t dim = a->kv->dim_v;
    for (int64_t head = 0; head < a->heads; head++) {
        float max = sum[head], other = more[head], most = max > other ? max : other;
        float *o = sum + 2 * a->heads + head * dim, keep = expf(max - most), take = expf(other - most);
        const float *p = more + 2 * a->heads + head * dim;
        sum[head] = most;
        sum[a->heads + head] = sum[a->heads + head] * keep + more[a->heads + head] * take;
        for (int64_t d = 0; d < dim; d++) o[d] = o[d] * keep + p[d] * take;
    }
}

void tsr_attention_finish(const tsr_attention *a, int64_t token, const float *sum) {
    int64_t dim = a->kv->dim_v;
    for (int64_t head = 0; head < a->heads; head++) {
        float *out = a->out + token * a->ldo + head * dim, scale = 1.0f / sum[a->heads + head];
        const float *o = sum + 2 * a->heads + head * dim;
        for (int64_t d = 0; d < dim; d++) out[d] = o[d] * scale;
    }
}
