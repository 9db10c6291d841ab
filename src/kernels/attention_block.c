/* attention_block.c: attention of a block of tokens over all positions they see, as products on the wide float path.
 *
 * Rows are (token, head) pairs in tiles of 16: tile t * heads + h has tokens 16 t .. of head h, so that the tokens which see some positions are
 * a run of tiles. For each chunk of positions: scores S = Q K^T, strip by strip of 32 positions; the softmax step of each row; O += P V.
 * Keys and values are read once for all rows of the block. */
#include "core/ints.h"
#include "kernels/attention.h"

#include <math.h>
#include <string.h>

enum {
    TILE_ROWS = 16,
    TILE_FLOATS = TILE_ROWS * TSR_PANEL,
    STRIP = 2 * TSR_PANEL,      /* positions of a strip of scores, columns of a strip of out */
    CHUNK = 128,                /* positions at a time */
    CHUNK_STRIPS = CHUNK / STRIP,
    BLOCK_ROWS = 256, BLOCK_ROWS_BIG = 128, /* rows of a block; of heads that are large */
    BIG_DIM = 128,
    B_BYTES = 2 * TSR_WIDE_MAX_BLOCKS * TSR_BLOCK_K * TSR_PANEL * 4,
};

int64_t tsr_attention_block(int64_t heads, int64_t dim_k, int64_t dim_v) {
    int64_t rows = tsr_max64(dim_k, dim_v) > BIG_DIM ? BLOCK_ROWS_BIG : BLOCK_ROWS;
    return tsr_max64(rows / heads / TILE_ROWS, 1) * TILE_ROWS;
}

/* The state of a block; arrays are in scratch. */
typedef struct block {
    const tsr_attention *a;
    const tsr_wide *wide_k, *wide_v; /* elements of Q and K, of P and V */
    int64_t first, n;      /* tokens */
    int64_t token_tiles;   /* of 16 tokens */
    int64_t tiles;         /* token_tiles * heads */
    size_t q_stride, p_stride; /* bytes of a row tile */
    float *max, *sum;      /* [tiles][16] */
    uint8_t *q;            /* [tiles] row tiles of Dk */
    float *s;              /* [CHUNK_STRIPS][tiles][2][16][16] */
    float *rows;           /* [16][CHUNK] weights of a tile */
    uint8_t *p;            /* [tiles] row tiles of CHUNK */
    float *o;              /* [strips of Dv][tiles][2][16][16] */
    uint8_t *b;            /* B_BYTES of the kernels; behind it the same again: values8 unpacked */
} block;

static int64_t block_tiles(int64_t heads, int64_t dim_k, int64_t dim_v) { return tsr_attention_block(heads, dim_k, dim_v) / TILE_ROWS * heads; }

static int64_t out_strips(int64_t dim_v) { return (dim_v + STRIP - 1) / STRIP; }

size_t tsr_attention_block_bytes(int64_t heads, int64_t dim_k, int64_t dim_v) {
    int64_t rows = block_tiles(heads, dim_k, dim_v) * TILE_ROWS;
    int64_t floats = rows * (2 + tsr_round_up(dim_k, TSR_BLOCK_K) + 2 * CHUNK + out_strips(dim_v) * STRIP) + TILE_ROWS * CHUNK;
    return (size_t)floats * sizeof(float) + 2 * B_BYTES;
}

static void open_block(block *b, const tsr_attention *a, int64_t first, int64_t n, uint8_t *scratch) {
    *b = (block){.a = a, .first = first, .n = n, .token_tiles = (n + TILE_ROWS - 1) / TILE_ROWS};
    b->wide_k = tsr_attention_wide(a, a->kv->type_k);
    b->wide_v = tsr_attention_wide(a, a->kv->type_v);
    b->tiles = b->token_tiles * a->heads;
    b->q_stride = (size_t)(TILE_ROWS * tsr_round_up(a->kv->dim_k, TSR_BLOCK_K)) * (size_t)b->wide_k->elem_bytes;
    b->p_stride = (size_t)TILE_ROWS * CHUNK * (size_t)b->wide_v->elem_bytes;
    b->b = scratch;
    b->q = scratch + 2 * B_BYTES;
    b->p = b->q + (size_t)b->tiles * b->q_stride;
    b->s = (float *)(void *)(b->p + (size_t)b->tiles * b->p_stride);
    b->o = b->s + CHUNK_STRIPS * b->tiles * 2 * TILE_FLOATS;
    b->rows = b->o + out_strips(a->kv->dim_v) * b->tiles * 2 * TILE_FLOATS;
    b->max = b->rows + TILE_ROWS * CHUNK;
    b->sum = b->max + b->tiles * TILE_ROWS;
    for (int64_t i = 0; i < b->tiles * TILE_ROWS; i++) {
        b->max[i] = -INFINITY;
        b->sum[i] = 0.0f;
    }
    for (int64_t tile = 0; tile < b->tiles; tile++) {
        int64_t token = first + tile / a->heads * TILE_ROWS;
        b->wide_k->pack_rows(a->q + token * a->ldq + tile % a->heads * a->kv->dim_k, a->ldq, (int)tsr_min64(TILE_ROWS, first + n - token),
                             a->kv->dim_k, b->q + (size_t)tile * b->q_stride);
    }
}

/* First position that a token sees. */
static int64_t sees_from(const tsr_attention *a, int64_t token) {
    return a->window > 0 ? tsr_max64(0, a->pos + token + 1 - a->window) : 0;
}

/* The tiles [*from, *to) of which a token sees one of the positions [begin, end). */
static void seeing(const block *b, int64_t begin, int64_t end, int64_t *from, int64_t *to) {
    const tsr_attention *a = b->a;
    int64_t last = b->first + b->n - 1;
    *from = b->token_tiles;
    *to = 0;
    for (int64_t t = 0; t < b->token_tiles; t++) {
        int64_t token = b->first + t * TILE_ROWS, end_token = tsr_min64(token + TILE_ROWS - 1, last);
        if (a->pos + end_token < begin || sees_from(a, token) >= end) continue;
        *from = tsr_min64(*from, t);
        *to = t + 1;
    }
    *from *= a->heads;
    *to *= a->heads;
}

/* S[strip] = Q K^T for the positions [begin, begin + STRIP) and the tiles that see them. */
static void score(const block *b, int64_t strip, int64_t begin) {
    const tsr_packed *k = &b->a->kv->k;
    int64_t from, to, blocks = tsr_round_up(k->k, TSR_BLOCK_K) / TSR_BLOCK_K;
    seeing(b, begin, begin + STRIP, &from, &to);
    if (from >= to) return;
    size_t tile_block = (size_t)TILE_ROWS * TSR_BLOCK_K * (size_t)b->wide_k->elem_bytes;
    tsr_wide_job job = {.w = k, .panel = {begin / TSR_PANEL, begin / TSR_PANEL + 1}, .b = b->b, .a_stride = b->q_stride,
                        .rows = (to - from) * TILE_ROWS, .c = b->s + (strip * b->tiles + from) * 2 * TILE_FLOATS};
    for (job.block = 0; job.block < blocks; job.block += job.blocks) {
        job.blocks = tsr_min64(b->wide_k->run_blocks, blocks - job.block);
        job.a = b->q + (size_t)from * b->q_stride + (size_t)job.block * tile_block;
        job.accumulate = job.block > 0;
        b->wide_k->strip[k->type](&job);
    }
}

/* O of a row times factor. */
static void rescale(const block *b, int64_t tile, int64_t row, float factor) {
    for (int64_t strip = 0; strip < out_strips(b->a->kv->dim_v); strip++) {
        float *o = b->o + (strip * b->tiles + tile) * 2 * TILE_FLOATS + row * TSR_PANEL;
        for (int i = 0; i < TSR_PANEL; i++) o[i] *= factor;
        for (int i = 0; i < TSR_PANEL; i++) o[TILE_FLOATS + i] *= factor;
    }
}

/* P of a tile from its scores of the chunk at position `begin`, n positions (whole strips). */
static void weigh(const block *b, int64_t tile, int64_t begin, int64_t n) {
    const tsr_attention *a = b->a;
    int64_t token = b->first + tile / a->heads * TILE_ROWS, tokens = tsr_min64(TILE_ROWS, b->first + b->n - token);
    for (int64_t row = 0; row < tokens; row++) {
        float *x = b->rows + row * n;
        int64_t from = tsr_max64(sees_from(a, token + row) - begin, 0), to = tsr_min64(a->pos + token + row + 1 - begin, n);
        if (from >= to) {
            memset(x, 0, (size_t)n * sizeof *x);
            continue;
        }
        const float *s = b->s + tile * 2 * TILE_FLOATS + row * TSR_PANEL;
        for (int64_t at = 0; at < n; at += STRIP, s += b->tiles * 2 * TILE_FLOATS) {
            memcpy(x + at, s, TSR_PANEL * sizeof *x);
            memcpy(x + at + TSR_PANEL, s + TILE_FLOATS, TSR_PANEL * sizeof *x);
        }
        for (int64_t i = 0; i < from; i++) x[i] = -INFINITY;
        for (int64_t i = to; i < n; i++) x[i] = -INFINITY;
        int64_t at = tile * TILE_ROWS + row;
        float factor = a->kern->softmax_step(x, n, a->scale, a->softcap, &b->max[at], &b->sum[at]);
        if (factor != 1.0f) rescale(b, tile, row, factor);
    }
    b->wide_v->pack_rows(b->rows, n, (int)tokens, n, b->p + (size_t)tile * b->p_stride);
}

/* q8_0: values of n positions from `begin` on and of strip `strip` of Dv, laid out as B: [2 panels][blocks] at w->data */
static void lay_out8(const block *b, int64_t strip, int64_t begin, int64_t n, const tsr_packed *w) {
    const tsr_kv_head *kv = b->a->kv;
    for (int64_t p = 0; p < 2; p++)
        b->wide_v->unpack_values8(kv->v8.codes + ((2 * strip + p) * kv->capacity + begin) * TSR_PANEL,
                                  kv->v8.scale + strip * kv->capacity + begin, n / TSR_BLOCK_K, w->data + (size_t)p * w->panel_bytes);
}

/* O += P V for tiles [from, to) and n positions from `begin` on. */
static void mix(const block *b, int64_t begin, int64_t n, int64_t from, int64_t to) {
    const tsr_kv_head *kv = b->a->kv;
    const tsr_packed laid = {.type = b->wide_v->elem, .n = STRIP, .k = n, .data = b->b + B_BYTES,
                             .panel_bytes = (size_t)(n * TSR_PANEL * b->wide_v->elem_bytes)};
    bool q8 = kv->type_v == TSR_Q8_0;
    int64_t panels = (kv->dim_v + TSR_PANEL - 1) / TSR_PANEL;
    tsr_wide_job job = {.w = q8 ? &laid : &kv->v, .block = q8 ? 0 : begin / TSR_BLOCK_K, .blocks = n / TSR_BLOCK_K, .b = b->b,
                        .a = b->p + (size_t)from * b->p_stride, .a_stride = b->p_stride, .rows = (to - from) * TILE_ROWS,
                        .accumulate = true};
    for (int64_t strip = 0; strip < out_strips(kv->dim_v); strip++) {
        if (q8) lay_out8(b, strip, begin, n, &laid);
        job.panel[0] = q8 ? 0 : 2 * strip;
        job.panel[1] = q8 ? 1 : tsr_min64(2 * strip + 1, panels - 1);
        job.c = b->o + (strip * b->tiles + from) * 2 * TILE_FLOATS;
        b->wide_v->strip[job.w->type](&job);
    }
}

static void store(const block *b) {
    const tsr_attention *a = b->a;
    int64_t dim = a->kv->dim_v;
    for (int64_t t = 0; t < b->n; t++)
        for (int64_t head = 0; head < a->heads; head++) {
            int64_t tile = t / TILE_ROWS * a->heads + head, row = t % TILE_ROWS;
            float scale = 1.0f / b->sum[tile * TILE_ROWS + row], *out = a->out + (b->first + t) * a->ldo + head * dim;
            for (int64_t d = 0; d < dim; d += TSR_PANEL) {
                const float *o = b->o + ((d / STRIP * b->tiles + tile) * 2 + d / TSR_PANEL % 2) * TILE_FLOATS + row * TSR_PANEL;
                for (int64_t i = 0; i < tsr_min64(TSR_PANEL, dim - d); i++) out[d + i] = o[i] * scale;
            }
        }
}

void tsr_attend_block(const tsr_attention *a, int64_t first, int64_t n, void *scratch) {
    block b;
    open_block(&b, a, first, n, scratch);
    int64_t end = a->pos + first + n, begin = sees_from(a, first) / TSR_BLOCK_K * TSR_BLOCK_K;
    memset(b.o, 0, (size_t)(out_strips(a->kv->dim_v) * b.tiles * 2 * TILE_FLOATS) * sizeof *b.o);
    if (a->kern->enter) a->kern->enter();
    for (; begin < end; begin += CHUNK) {
        int64_t positions = tsr_min64(CHUNK, tsr_round_up(end - begin, STRIP)), from, to;
        for (int64_t strip = 0; strip < positions / STRIP; strip++) score(&b, strip, begin + strip * STRIP);
        seeing(&b, begin, begin + positions, &from, &to);
        for (int64_t tile = from; tile < to; tile++) weigh(&b, tile, begin, positions);
        mix(&b, begin, positions, from, to);
    }
    if (a->kern->leave) a->kern->leave();
    store(&b);
}
