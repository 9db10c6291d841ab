/* attention_segment.c: attention of one token over a segment of positions, and the sum of segments: what decoding does.
 *
 * The heads of a group are the rows of products with few rows, so that keys and values are read once for all of them. */
#include "core/ints.h"
#include "kernels/attention.h"

#include <math.h>
#include <string.h>

enum {
    CHUNK = 256,   /* positions at a time */
    HEADS = TSR_NARROW_F32_MAX, /* at a time */
};

void tsr_attention_segments(const tsr_attention *a, int64_t token, int64_t *first, int64_t *last) {
    int64_t pos = a->pos + token;
    *first = a->window > 0 ? tsr_max64(0, pos + 1 - a->window) / TSR_ATTENTION_SEGMENT : 0;
    *last = pos / TSR_ATTENTION_SEGMENT;
}

int64_t tsr_attention_partial_floats(int64_t heads, int64_t dim_v) { return tsr_round_up(heads * (2 + dim_v), 16); }

/* Up to 16 heads of the group and their results. */
typedef struct state {
    const tsr_attention *a;
    int64_t heads;
    const float *q;   /* [heads][Dk] */
    float *max, *sum; /* [heads] */
    float *o;         /* [heads][Dv] */
    float *s;         /* [heads][CHUNK] scores, then weights */
    uint16_t *q16, *s16; /* both in bf16, for matrices that are multiplied in it */
    uint8_t *b;       /* a panel of q8_0 keys or values, unpacked */
} state;

/* Whether a matrix of k and a type of cache is multiplied in bf16: never where results must be exact. */
static bool in_bf16(const tsr_attention *a, tsr_type type, int64_t k) {
    tsr_type elem = type == TSR_Q8_0 ? tsr_attention_wide(a, type)->elem : type;
    return !a->exact && k % 2 == 0 && a->kern->narrow_bf16[elem];
}

/* out[heads][16] = rows (f32, or where in_bf16 the same in bf16) times panel p of w, which is not q8_0 */
static void multiply(const state *st, const tsr_packed *w, int64_t p, const float *rows, const uint16_t *rows16, bool bf16, int64_t ld, float *out) {
    const tsr_kernels *kern = st->a->kern;
    if (bf16) kern->narrow_bf16[w->type](w, p, rows16, ld, (int)st->heads, out);
    else kern->packed_narrow_f32[w->type](w, p, rows, ld, (int)st->heads, out);
}

/* s[heads][16 positions] = scores of a panel of positions */
static void score_panel(const state *st, int64_t panel, bool bf16, float *s) {
    tsr_packed k = st->a->kv->k;
    float out[HEADS * TSR_PANEL] __attribute__((aligned(64)));
    if (k.type == TSR_Q8_0) {
        const tsr_wide *wide = tsr_attention_wide(st->a, k.type);
        wide->unpack[TSR_Q8_0](&k, panel, 0, k.k / TSR_BLOCK_K, st->b);
        k = (tsr_packed){.type = wide->elem, .n = TSR_PANEL, .k = k.k, .data = st->b};
        panel = 0;
    }
    multiply(st, &k, panel, st->q, st->q16, bf16, k.k, out);
    for (int64_t r = 0; r < st->heads; r++) memcpy(s + r * CHUNK, out + r * TSR_PANEL, TSR_PANEL * sizeof *s);
}

/* Values of n positions from `begin` on; q8_0: panel p of them, unpacked */
static tsr_packed values(const state *st, int64_t begin, int64_t n, int64_t p) {
    const tsr_kv_head *kv = st->a->kv;
    tsr_packed v = kv->v;
    if (kv->type_v == TSR_Q8_0) {
        const tsr_wide *wide = tsr_attention_wide(st->a, kv->type_v);
        wide->unpack_values8(kv->v8.codes + (p * kv->capacity + begin) * TSR_PANEL, kv->v8.scale + p / 2 * kv->capacity + begin,
                             n / TSR_BLOCK_K, st->b);
        return (tsr_packed){.type = wide->elem, .n = TSR_PANEL, .k = n, .data = st->b};
    }
    v.data += begin * TSR_PANEL * (kv->type_v == TSR_F32 ? 4 : 2);
    v.k = n;
    return v;
}

/* o += weights [heads][n positions] times values from position `begin` on */
static void mix(const state *st, int64_t begin, int64_t n) {
    const tsr_kv_head *kv = st->a->kv;
    float out[HEADS * TSR_PANEL] __attribute__((aligned(64)));
    bool bf16 = in_bf16(st->a, kv->type_v, n);
    for (int64_t r = 0; bf16 && r < st->heads; r++) st->a->kern->f32_to_bf16(st->s + r * CHUNK, st->s16 + r * CHUNK, n);
    for (int64_t d = 0; d < kv->dim_v; d += TSR_PANEL) {
        tsr_packed v = values(st, begin, n, d / TSR_PANEL);
        multiply(st, &v, kv->type_v == TSR_Q8_0 ? 0 : d / TSR_PANEL, st->s, st->s16, bf16, CHUNK, out);
        int64_t columns = tsr_min64(TSR_PANEL, kv->dim_v - d);
        for (int64_t r = 0; r < st->heads; r++) {
            float *o = st->o + r * kv->dim_v + d;
            for (int64_t i = 0; i < columns; i++) o[i] += out[r * TSR_PANEL + i];
        }
    }
}

/* Positions [from, to) of the chunk that begins at `begin` (a multiple of 32). */
static void attend_chunk(const state *st, int64_t begin, int64_t from, int64_t to) {
    const tsr_attention *a = st->a;
    int64_t n = tsr_round_up(to - begin, TSR_BLOCK_K), dim = a->kv->dim_v;
    bool bf16 = in_bf16(a, a->kv->type_k, a->kv->dim_k);
    for (int64_t at = 0; at < n; at += TSR_PANEL) score_panel(st, (begin + at) / TSR_PANEL, bf16, st->s + at);
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

/* Scratch: [HEADS][CHUNK] scores; the same and [HEADS][Dk] in bf16; a panel of Dk or of CHUNK positions, at most f32. */
static size_t half_bytes(int64_t dim_k) { return ((size_t)(HEADS * (dim_k + CHUNK)) * sizeof(uint16_t) + 63) / 64 * 64; }

static void place(state *st, void *scratch, int64_t dim_k) {
    st->s = scratch;
    st->s16 = (uint16_t *)(st->s + HEADS * CHUNK);
    st->q16 = st->s16 + HEADS * CHUNK;
    st->b = (uint8_t *)st->s16 + half_bytes(dim_k);
}

size_t tsr_attention_segment_bytes(int64_t dim_k) {
    size_t panel = (size_t)(tsr_max64(dim_k, CHUNK) * TSR_PANEL) * sizeof(float);
    return HEADS * CHUNK * sizeof(float) + half_bytes(dim_k) + panel;
}

void tsr_attend_segment(const tsr_attention *a, int64_t token, int64_t segment, float *partial, void *scratch) {
    int64_t pos = a->pos + token, dim_k = a->kv->dim_k, dim = a->kv->dim_v;
    int64_t from = tsr_max64(segment * TSR_ATTENTION_SEGMENT, a->window > 0 ? pos + 1 - a->window : 0);
    int64_t to = tsr_min64((segment + 1) * TSR_ATTENTION_SEGMENT, pos + 1);
    for (int64_t head = 0; head < a->heads; head++) {
        partial[head] = -INFINITY;
        partial[a->heads + head] = 0.0f;
    }
    memset(partial + 2 * a->heads, 0, (size_t)(a->heads * dim) * sizeof *partial);
    for (int64_t head = 0; head < a->heads; head += HEADS) {
        state st = {.a = a, .heads = tsr_min64(HEADS, a->heads - head), .q = a->q + token * a->ldq + head * dim_k, .max = partial + head,
                    .sum = partial + a->heads + head, .o = partial + 2 * a->heads + head * dim};
        place(&st, scratch, dim_k);
        if (in_bf16(a, a->kv->type_k, dim_k)) a->kern->f32_to_bf16(st.q, st.q16, st.heads * dim_k);
        for (int64_t at = from, end; at < to; at = end) {
            int64_t begin = at / TSR_BLOCK_K * TSR_BLOCK_K;
            end = tsr_min64(begin + CHUNK, to);
            attend_chunk(&st, begin, at, end);
        }
    }
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
