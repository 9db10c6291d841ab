/* pack_scales.c: what a GGUF block has besides codes <-> the scale plane (picture: packed.h). */
#include "kernels/pack.h"
#include "quant/blocks.h"

#include <string.h>

static inline uint16_t load16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static inline void store16(uint8_t *p, uint16_t h) { memcpy(p, &h, sizeof h); }

/* IQ4_XS: scale j has its low nibble in scales_l and its upper two bits in scales_h. */
static void get_iq4_xs(const tsr_block_iq4_xs *b, uint8_t s[8]) {
    uint16_t high = b->scales_h;
    for (int j = 0; j < 8; j++)
        s[j] = (uint8_t)((b->scales_l[j / 2] >> (j % 2 * 4) & 15) | (high >> (2 * j) & 3) << 4);
}

static void put_iq4_xs(const uint8_t s[8], tsr_block_iq4_xs *b) {
    unsigned high = 0;
    for (int j = 0; j < 8; j++) high |= (unsigned)(s[j] >> 4) << (2 * j);
    b->scales_h = (uint16_t)high;
    for (int j = 0; j < 4; j++) b->scales_l[j] = (uint8_t)((s[2 * j] & 15) | (s[2 * j + 1] & 15) << 4);
}

void tsr_pack_get_scales(tsr_type type, const uint8_t *block, tsr_unit_scales *f) {
    const void *v = block;
    switch (type) {
    case TSR_MXFP4: f->s[0] = block[0]; break;
    case TSR_Q4_1:
    case TSR_Q5_1:
        f->d = load16(block);
        f->m = load16(block + 2);
        break;
    case TSR_Q2_K: {
        const tsr_block_q2_k *b = v;
        f->d = b->d;
        f->m = b->dmin;
        memcpy(f->s, b->scales, 16);
        break;
    }
    case TSR_Q3_K: {
        const tsr_block_q3_k *b = v;
        f->d = b->d;
        tsr_q3_k_unpack_scales(b->scales, f->s);
        for (int j = 0; j < 16; j++) f->s[j] = (uint8_t)(f->s[j] - 32);
        break;
    }
    case TSR_Q4_K:
    case TSR_Q5_K: { /* both begin alike */
        const tsr_block_q4_k *b = v;
        f->d = b->d;
        f->m = b->dmin;
        tsr_q4_k_unpack_scales(b->scales, f->s, f->t);
        break;
    }
    case TSR_Q6_K: {
        const tsr_block_q6_k *b = v;
        f->d = b->d;
        memcpy(f->s, b->scales, 16);
        break;
    }
    case TSR_IQ4_XS:
        f->d = load16(block);
        get_iq4_xs(v, f->s);
        break;
    default: f->d = load16(block); break; /* Q4_0 Q5_0 Q8_0 IQ4_NL */
    }
}

void tsr_pack_put_scales(tsr_type type, const tsr_unit_scales *f, uint8_t *block) {
    void *v = block;
    switch (type) {
    case TSR_MXFP4: block[0] = f->s[0]; break;
    case TSR_Q4_1:
    case TSR_Q5_1:
        store16(block, f->d);
        store16(block + 2, f->m);
        break;
    case TSR_Q2_K: {
        tsr_block_q2_k *b = v;
        b->d = f->d;
        b->dmin = f->m;
        memcpy(b->scales, f->s, 16);
        break;
    }
    case TSR_Q3_K: {
        tsr_block_q3_k *b = v;
        uint8_t s[16];
        b->d = f->d;
        for (int j = 0; j < 16; j++) s[j] = (uint8_t)(f->s[j] + 32);
        tsr_q3_k_pack_scales(s, b->scales);
        break;
    }
    case TSR_Q4_K:
    case TSR_Q5_K: {
        tsr_block_q4_k *b = v;
        b->d = f->d;
        b->dmin = f->m;
        tsr_q4_k_pack_scales(f->s, f->t, b->scales);
        break;
    }
    case TSR_Q6_K: {
        tsr_block_q6_k *b = v;
        b->d = f->d;
        memcpy(b->scales, f->s, 16);
        break;
    }
    case TSR_IQ4_XS:
        store16(block, f->d);
        put_iq4_xs(f->s, v);
        break;
    default: store16(block, f->d); break;
    }
}

/* --- the scale plane: arrays of groups x 16 columns ------------------------------------------------------------------------ */

static inline void load_bytes(const uint8_t *plane, int groups, int column, uint8_t *out) {
    for (int j = 0; j < groups; j++) out[j] = plane[TSR_PANEL * j + column];
}

static inline void store_bytes(const uint8_t *in, int groups, int column, uint8_t *plane) {
    for (int j = 0; j < groups; j++) plane[TSR_PANEL * j + column] = in[j];
}

enum { HALVES = 2 * TSR_PANEL, GROUPS8 = 8 * TSR_PANEL, GROUPS16 = 16 * TSR_PANEL }; /* bytes of the arrays of a unit */

void tsr_pack_load_scales(tsr_scales kind, const uint8_t *unit, int column, tsr_unit_scales *f) {
    const uint8_t *d = unit; /* f16 d, and behind it m or dmin */
    switch (kind) {
    case TSR_SCALES_NONE: return;
    case TSR_SCALES_E8M0: f->s[0] = unit[column]; return;
    case TSR_SCALES_F16:
    case TSR_SCALES_F16_MIN: break;
    case TSR_SCALES_K32:
        load_bytes(unit, 8, column, f->s);
        d = unit + GROUPS8;
        break;
    case TSR_SCALES_K32_MIN:
        load_bytes(unit, 8, column, f->s);
        load_bytes(unit + GROUPS8, 8, column, f->t);
        d = unit + 2 * GROUPS8;
        break;
    case TSR_SCALES_K16:
    case TSR_SCALES_K16_MIN:
        load_bytes(unit, 16, column, f->s);
        d = unit + GROUPS16;
        break;
    }
    f->d = load16(d + 2 * column);
    if (kind == TSR_SCALES_F16_MIN || kind == TSR_SCALES_K32_MIN || kind == TSR_SCALES_K16_MIN)
        f->m = load16(d + HALVES + 2 * column);
}

void tsr_pack_store_scales(tsr_scales kind, const tsr_unit_scales *f, int column, uint8_t *unit) {
    uint8_t *d = unit;
    switch (kind) {
    case TSR_SCALES_NONE: return;
    case TSR_SCALES_E8M0: unit[column] = f->s[0]; return;
    case TSR_SCALES_F16:
    case TSR_SCALES_F16_MIN: break;
    case TSR_SCALES_K32:
        store_bytes(f->s, 8, column, unit);
        d = unit + GROUPS8;
        break;
    case TSR_SCALES_K32_MIN:
        store_bytes(f->s, 8, column, unit);
        store_bytes(f->t, 8, column, unit + GROUPS8);
        d = unit + 2 * GROUPS8;
        break;
    case TSR_SCALES_K16:
    case TSR_SCALES_K16_MIN:
        store_bytes(f->s, 16, column, unit);
        d = unit + GROUPS16;
        break;
    }
    store16(d + 2 * column, f->d);
    if (kind == TSR_SCALES_F16_MIN || kind == TSR_SCALES_K32_MIN || kind == TSR_SCALES_K16_MIN)
        store16(d + HALVES + 2 * column, f->m);
}
