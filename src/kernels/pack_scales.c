/* pack_scales.c: what a GGUF block has besides codes <-> the scale plane (picture: packed.h). */
#include "kernels/pack.h"
#include "quant/blocks.h"

#include <stddef.h>
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

/* tsr_q3_k_unpack_scales less 32 and tsr_q4_k_unpack_scales (m behind s), in words: packing spends its time here. */
static void get_q3_k(const uint8_t packed[12], uint8_t s[16]) {
    uint64_t low, high, eight = 0x0101010101010101u;
    uint32_t h;
    memcpy(&low, packed, 8);
    memcpy(&h, packed + 8, 4);
    high = h | (uint64_t)(h >> 2) << 32; /* of scales 0..7 in the lowest two bits of each byte, of 8..15 in bits 4 and 5 */
    for (int i = 0; i < 2; i++) {
        uint64_t w = (low >> 4 * i & 15 * eight) | (high >> 4 * i & 3 * eight) << 4;
        w = ((w | 128 * eight) - 32 * eight) ^ 128 * eight; /* the top bit keeps borrows within a byte */
        memcpy(s + 8 * i, &w, 8);
    }
}

static void get_q4_k(const uint8_t packed[12], uint8_t s[16]) {
    uint32_t w[3], four = 0x01010101u;
    memcpy(w, packed, sizeof w);
    for (int i = 0; i < 2; i++) { /* scales, mins */
        uint32_t first = w[i] & 63 * four, last = (w[2] >> 4 * i & 15 * four) | (w[i] >> 6 & 3 * four) << 4;
        uint64_t both = first | (uint64_t)last << 32;
        memcpy(s + 8 * i, &both, 8);
    }
}

/* The groups' bytes of a K format, behind them (IQ4_XS has 8) zeros. */
static inline void get_groups(tsr_type type, const uint8_t *block, uint8_t s[16]) {
    switch (type) {
    case TSR_Q2_K: memcpy(s, block + offsetof(tsr_block_q2_k, scales), 16); break;
    case TSR_Q3_K: get_q3_k(block + offsetof(tsr_block_q3_k, scales), s); break;
    case TSR_Q4_K: get_q4_k(block + offsetof(tsr_block_q4_k, scales), s); break;
    case TSR_Q5_K: get_q4_k(block + offsetof(tsr_block_q5_k, scales), s); break;
    case TSR_Q6_K: memcpy(s, block + offsetof(tsr_block_q6_k, scales), 16); break;
    case TSR_IQ4_XS:
        get_iq4_xs((const void *)block, s);
        memset(s + 8, 0, 8);
        break;
    default: memset(s, 0, 16); break;
    }
}

/* Where d is; dmin, if there is one, is behind it. */
static size_t d_offset(tsr_type type) {
    switch (type) {
    case TSR_Q2_K: return offsetof(tsr_block_q2_k, d);
    case TSR_Q3_K: return offsetof(tsr_block_q3_k, d);
    case TSR_Q6_K: return offsetof(tsr_block_q6_k, d);
    default: return 0;
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
        tsr_q4_k_pack_scales(f->s, f->s + 8, b->scales);
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
    default: store16(block, f->d); break; /* Q4_0 Q5_0 Q8_0 IQ4_NL */
    }
}

/* --- the scale plane: per unit, arrays of bytes for groups x 16 columns, then d, then m or dmin ----------------------------- */

enum { HALVES = 2 * TSR_PANEL }; /* bytes of an array of d */

/* Bytes that a column has before d. */
static int group_bytes(tsr_scales kind) {
    switch (kind) {
    case TSR_SCALES_NONE:
    case TSR_SCALES_F16:
    case TSR_SCALES_F16_MIN: return 0;
    case TSR_SCALES_E8M0: return 1;
    case TSR_SCALES_K32: return 8;
    case TSR_SCALES_K32_MIN:
    case TSR_SCALES_K16:
    case TSR_SCALES_K16_MIN: return 16;
    }
    return 0;
}

static bool has_m(tsr_scales kind) {
    return kind == TSR_SCALES_F16_MIN || kind == TSR_SCALES_K32_MIN || kind == TSR_SCALES_K16_MIN;
}

void tsr_pack_load_scales(tsr_scales kind, const uint8_t *unit, int column, tsr_unit_scales *f) {
    int groups = group_bytes(kind);
    const uint8_t *d = unit + TSR_PANEL * groups;
    uint8_t s[16] = {0};
    for (int j = 0; j < groups; j++) s[j] = unit[TSR_PANEL * j + column];
    memcpy(f->s, s, sizeof s);
    if (kind != TSR_SCALES_NONE && kind != TSR_SCALES_E8M0) f->d = load16(d + 2 * column);
    if (has_m(kind)) f->m = load16(d + HALVES + 2 * column);
}

/* With nothing to take apart, fields go straight to their place: these formats have a unit for every 32 weights. */
static void halves(const uint8_t *const blocks[TSR_PANEL], size_t block_bytes, int64_t count, uint8_t *d) {
    for (int64_t u = 0; u < count; u++, d += HALVES)
        for (int c = 0; c < TSR_PANEL; c++) memcpy(d + 2 * c, blocks[c] + (size_t)u * block_bytes, 2);
}

static void half_pairs(const uint8_t *const blocks[TSR_PANEL], size_t block_bytes, int64_t count, uint8_t *d) {
    for (int64_t u = 0; u < count; u++, d += 2 * HALVES)
        for (int c = 0; c < TSR_PANEL; c++) {
            memcpy(d + 2 * c, blocks[c] + (size_t)u * block_bytes, 2);
            memcpy(d + HALVES + 2 * c, blocks[c] + (size_t)u * block_bytes + 2, 2);
        }
}

static void exponents(const uint8_t *const blocks[TSR_PANEL], size_t block_bytes, int64_t count, uint8_t *e) {
    for (int64_t u = 0; u < count; u++, e += TSR_PANEL)
        for (int c = 0; c < TSR_PANEL; c++) e[c] = blocks[c][(size_t)u * block_bytes];
}

/* One unit of a K format. */
static void k_unit(const tsr_pack_kernels *kern, tsr_type type, tsr_scales kind, const uint8_t *const blocks[TSR_PANEL],
                   size_t at, uint8_t *unit) {
    uint8_t s[TSR_PANEL][16], groups[16 * TSR_PANEL];
    size_t bytes = (size_t)(TSR_PANEL * group_bytes(kind)), d_at = d_offset(type);
    uint8_t *d = unit + bytes;
    for (int c = 0; c < TSR_PANEL; c++) {
        const uint8_t *block = blocks[c] + at;
        get_groups(type, block, s[c]);
        memcpy(d + 2 * c, block + d_at, 2);
        if (has_m(kind)) memcpy(d + HALVES + 2 * c, block + d_at + 2, 2);
    }
    kern->transpose(s, groups);
    memcpy(unit, groups, bytes);
}

void tsr_pack_scale_units(const tsr_pack_kernels *kern, tsr_type type, const uint8_t *const blocks[TSR_PANEL], int64_t count,
                          uint8_t *units) {
    const tsr_layout *l = tsr_layout_of(type);
    size_t block_bytes = (size_t)tsr_type_get(type)->block_bytes, unit_bytes = tsr_layout_unit_bytes(l);
    switch (l->scales) {
    case TSR_SCALES_NONE: return;
    case TSR_SCALES_F16: halves(blocks, block_bytes, count, units); return;
    case TSR_SCALES_F16_MIN: half_pairs(blocks, block_bytes, count, units); return;
    case TSR_SCALES_E8M0: exponents(blocks, block_bytes, count, units); return;
    default: break;
    }
    for (int64_t u = 0; u < count; u++)
        k_unit(kern, type, l->scales, blocks, (size_t)u * block_bytes, units + (size_t)u * unit_bytes);
}
