/* pack.c: panels from GGUF rows and back, and the reference view of a block. Order of everything: packed.h. */
#include "core/ints.h"
#include "kernels/pack.h"
#include "quant/blocks.h"

#include <string.h>

/* Byte 4 c + i of vector 2 g + h is column c, k = 8 g + order[h][i]. */
static const uint8_t order[2][4] = {{0, 4, 1, 5}, {2, 6, 3, 7}};

enum { LINE = 64, VECTORS = TSR_QUADS * LINE, MAX_CHUNK_BYTES = 2 * TSR_PACK_CHUNK };

/* --- one block: codes in k order -> lines (scalar tier), lines -> vectors -------------------------------------------------- */

void tsr_pack_lines__scalar(const uint8_t *codes, size_t stride, int code_bits, int high_bits, uint8_t *low, uint8_t *high) {
    uint8_t q[TSR_QUADS][LINE];
    for (int c = 0; c < TSR_PANEL; c++, codes += stride)
        for (int v = 0; v < TSR_QUADS; v++)
            for (int i = 0; i < 4; i++) q[v][4 * c + i] = codes[8 * (v / 2) + order[v % 2][i]];
    int mask = (1 << code_bits) - 1;
    if (code_bits == 8) memcpy(low, q, sizeof q);
    if (code_bits == 4)
        for (int g = 0; g < 4; g++)
            for (int b = 0; b < LINE; b++) low[LINE * g + b] = (uint8_t)((q[2 * g][b] & mask) | (q[2 * g + 1][b] & mask) << 4);
    int pairs = code_bits == 2 ? 0 : code_bits; /* the two bits of the codes that make a plane of pairs */
    if (code_bits == 2 || high_bits == 2)
        for (int l = 0; l < 2; l++)
            for (int b = 0; b < LINE; b++) {
                int byte = 0;
                for (int f = 0; f < 4; f++) byte |= (q[4 * l + f][b] >> pairs & 3) << 2 * f;
                (code_bits == 2 ? low : high)[LINE * l + b] = (uint8_t)byte;
            }
    if (high_bits == 1)
        for (int v = 0; v < TSR_QUADS; v++)
            for (int i = 0; i < 8; i++) {
                uint64_t w;
                memcpy(&w, q[v] + 8 * i, sizeof w);
                w = w >> code_bits & 0x0101010101010101u;
                high[8 * v + i] = (uint8_t)((w * 0x0102040810204080u) >> 56); /* bit 0 of byte b to bit 56 + b */
            }
}

void tsr_pack_lines16__scalar(const uint8_t *weights, size_t stride, uint8_t *lines) {
    for (int c = 0; c < TSR_PANEL; c++, weights += stride)
        for (int v = 0; v < 16; v++) memcpy(lines + LINE * v + 4 * c, weights + 4 * v, 4);
}

void tsr_pack_transpose__scalar(const uint8_t in[TSR_PANEL][16], uint8_t out[16 * TSR_PANEL]) {
    for (int c = 0; c < TSR_PANEL; c++)
        for (int j = 0; j < 16; j++) out[TSR_PANEL * j + c] = in[c][j];
}

/* The four codes of a column in vector v, from the lines of a block: byte i of the result is byte 4 c + i of the vector. */
static uint32_t quad(const tsr_layout *l, const uint8_t *low, const uint8_t *high, int v, int column) {
    uint32_t w;
    int at = 4 * column;
    if (l->code_bits == 8) {
        memcpy(&w, low + LINE * v + at, 4);
    } else if (l->code_bits == 4) {
        memcpy(&w, low + LINE * (v / 2) + at, 4);
        w = w >> 4 * (v % 2) & 0x0f0f0f0fu;
    } else {
        memcpy(&w, low + LINE * (v / 4) + at, 4);
        w = w >> 2 * (v % 4) & 0x03030303u;
    }
    if (l->high_bits == 1) {
        uint32_t bits = high[8 * v + column / 2] >> 4 * (column % 2) & 15;
        w |= ((bits * 0x00204081u) & 0x01010101u) << l->code_bits; /* bit i to byte i */
    } else if (l->high_bits == 2) {
        uint32_t pairs;
        memcpy(&pairs, high + LINE * (v / 4) + at, 4);
        w |= (pairs >> 2 * (v % 4) & 0x03030303u) << l->code_bits;
    }
    return w;
}

static const uint8_t *low_lines(const tsr_packed *p, int64_t panel, int64_t block) {
    return p->data + (size_t)panel * p->panel_bytes + (size_t)block * (size_t)p->layout->code_bits * LINE;
}

static const uint8_t *high_lines(const tsr_packed *p, int64_t panel, int64_t block) {
    return p->data + (size_t)panel * p->panel_bytes + p->high_offset + (size_t)block * (size_t)p->layout->high_bits * LINE;
}

static uint8_t *unit_scales(const tsr_packed *p, int64_t panel, int64_t unit) {
    return p->data + (size_t)panel * p->panel_bytes + p->scales_offset + (size_t)unit * tsr_layout_unit_bytes(p->layout);
}

/* The codes of a block of one column, in k order. */
static void column_codes(const tsr_packed *p, int64_t panel, int64_t block, int column, uint8_t codes[TSR_BLOCK_K]) {
    const uint8_t *low = low_lines(p, panel, block), *high = high_lines(p, panel, block);
    for (int v = 0; v < TSR_QUADS; v++) {
        uint32_t w = quad(p->layout, low, high, v, column);
        for (int i = 0; i < 4; i++) codes[8 * (v / 2) + order[v % 2][i]] = (uint8_t)(w >> 8 * i);
    }
}

/* --- packing --------------------------------------------------------------------------------------------------------------- */

/* A block of zero weights with the code in the middle, so that code - offset is 0 too; all scale fields are 0. */
static void pad_blocks(const tsr_packed *p, uint8_t blocks[MAX_CHUNK_BYTES]) {
    memset(blocks, 0, MAX_CHUNK_BYTES);
    if (p->layout->code_bits == 16) return;
    uint8_t codes[TSR_PACK_CHUNK];
    memset(codes, p->layout->table ? 0 : p->layout->offset, sizeof codes);
    tsr_pack_put_codes(p->type, codes, sizeof codes, blocks);
    const tsr_type_info *type = tsr_type_get(p->type);
    for (int i = 0; i < TSR_PACK_CHUNK / type->block_elems; i++)
        tsr_pack_put_scales(p->type, &(tsr_unit_scales){.d = 0}, blocks + i * type->block_bytes);
}

static void pack_panel(const tsr_pack_kernels *kern, const tsr_packed *p, const uint8_t *rows, size_t row_bytes, int64_t panel,
                       const uint8_t *pad) {
    const tsr_layout *l = p->layout;
    const tsr_type_info *type = tsr_type_get(p->type);
    int columns = (int)tsr_min64(TSR_PANEL, p->n - panel * TSR_PANEL);
    uint8_t codes[TSR_PANEL][MAX_CHUNK_BYTES];
    uint8_t *end = p->data + (size_t)(panel + 1) * p->panel_bytes;
    memset(end - LINE, 0, l->code_bits == 16 ? 0 : LINE); /* what the scale plane does not fill of its last line */
    for (int64_t k = 0; k < p->k; k += TSR_PACK_CHUNK) {
        int64_t count = tsr_min64(TSR_PACK_CHUNK, p->k - k);
        const uint8_t *blocks[TSR_PANEL], *here = rows + k / type->block_elems * type->block_bytes;
        for (int c = 0; c < TSR_PANEL; c++) {
            blocks[c] = c < columns ? here + (size_t)(panel * TSR_PANEL + c) * row_bytes : pad;
            if (l->code_bits == 16) {
                memcpy(codes[c], blocks[c], (size_t)count * 2);
                memset(codes[c] + count * 2, 0, (size_t)(-count & (TSR_BLOCK_K - 1)) * 2);
            } else {
                kern->get_codes(p->type, blocks[c], count, codes[c]);
            }
        }
        for (int64_t b = 0; b < count; b += TSR_BLOCK_K) {
            uint8_t *low = (uint8_t *)low_lines(p, panel, (k + b) / TSR_BLOCK_K);
            if (l->code_bits == 16)
                kern->lines16(codes[0] + 2 * b, sizeof *codes, low);
            else
                kern->lines(codes[0] + b, sizeof *codes, l->code_bits, l->high_bits, low,
                            (uint8_t *)high_lines(p, panel, (k + b) / TSR_BLOCK_K));
        }
        tsr_pack_scale_units(kern, p->type, blocks, count / l->unit_k, unit_scales(p, panel, k / l->unit_k));
    }
}

void tsr_pack_with(const tsr_pack_kernels *kern, const tsr_packed *p, const void *rows, size_t row_bytes, int64_t first,
                   int64_t last) {
    uint8_t pad[MAX_CHUNK_BYTES];
    pad_blocks(p, pad);
    for (int64_t panel = first; panel < last; panel++) pack_panel(kern, p, rows, row_bytes, panel, pad);
    if (kern->finish) kern->finish();
}

void tsr_pack(const tsr_packed *p, const void *rows, size_t row_bytes, int64_t first, int64_t last) {
    tsr_pack_with(tsr_pack_kernels_get(tsr_cpu_get()->tier), p, rows, row_bytes, first, last);
}

/* --- unpacking ------------------------------------------------------------------------------------------------------------- */

/* The GGUF block(s) of weights [k, k + count) of a column, count <= 256 and whole units; out holds whole blocks of 32. */
static void column_blocks(const tsr_packed *p, int64_t panel, int column, int64_t k, int64_t count, uint8_t *out) {
    const tsr_layout *l = p->layout;
    if (l->code_bits == 16) {
        for (int64_t i = 0; i < count; i += 2) {
            const uint8_t *lines = low_lines(p, panel, (k + i) / TSR_BLOCK_K);
            memcpy(out + 2 * i, lines + LINE * (i % TSR_BLOCK_K / 2) + 4 * column, 4);
        }
        return;
    }
    uint8_t codes[TSR_PACK_CHUNK];
    for (int64_t i = 0; i < count; i += TSR_BLOCK_K) column_codes(p, panel, (k + i) / TSR_BLOCK_K, column, codes + i);
    tsr_pack_put_codes(p->type, codes, count, out);
    int64_t bytes = tsr_type_get(p->type)->block_bytes;
    for (int64_t u = 0; u < count / l->unit_k; u++) {
        tsr_unit_scales scales;
        tsr_pack_load_scales(l->scales, unit_scales(p, panel, k / l->unit_k + u), column, &scales);
        tsr_pack_put_scales(p->type, &scales, out + u * bytes);
    }
}

void tsr_unpack(const tsr_packed *p, void *rows, size_t row_bytes, int64_t first, int64_t last) {
    uint8_t *out = rows, blocks[MAX_CHUNK_BYTES];
    const tsr_type_info *type = tsr_type_get(p->type);
    for (int64_t row = first * TSR_PANEL; row < tsr_min64(last * TSR_PANEL, p->n); row++)
        for (int64_t k = 0; k < p->k; k += TSR_PACK_CHUNK) {
            int64_t count = tsr_min64(TSR_PACK_CHUNK, p->k - k);
            column_blocks(p, row / TSR_PANEL, (int)(row % TSR_PANEL), k, count, blocks);
            memcpy(out + (size_t)row * row_bytes + (size_t)(k / type->block_elems * type->block_bytes), blocks,
                   (size_t)(count / type->block_elems * type->block_bytes));
        }
}

void tsr_packed_row_with(const tsr_packed *p, int64_t row, tsr_dequantize_fn dequantize, float *out) {
    uint8_t blocks[MAX_CHUNK_BYTES];
    for (int64_t k = 0; k < p->k; k += TSR_PACK_CHUNK) {
        int64_t count = tsr_min64(TSR_PACK_CHUNK, p->k - k);
        column_blocks(p, row / TSR_PANEL, (int)(row % TSR_PANEL), k, count, blocks);
        dequantize(blocks, out + k, count);
    }
}

void tsr_packed_row(const tsr_packed *p, int64_t row, float *out) { tsr_packed_row_with(p, row, tsr_dequantizer(p->type), out); }

/* --- the reference view of a block ----------------------------------------------------------------------------------------- */

/* Scale and min of group g of a unit: the products that the dequantisers form. */
static void group_scale(tsr_scales kind, const tsr_unit_scales *f, int g, float *scale, float *min) {
    float d = tsr_f16_to_f32(f->d), m = tsr_f16_to_f32(f->m);
    switch (kind) {
    case TSR_SCALES_NONE: break;
    case TSR_SCALES_F16: *scale = d; break;
    case TSR_SCALES_F16_MIN:
        *scale = d;
        *min = m;
        break;
    case TSR_SCALES_E8M0: *scale = tsr_e8m0_half(f->s[0]); break;
    case TSR_SCALES_K32: *scale = d * (float)(f->s[g] - 32); break;
    case TSR_SCALES_K32_MIN:
        *scale = d * (float)f->s[g];
        *min = -(m * (float)f->s[8 + g]);
        break;
    case TSR_SCALES_K16: *scale = d * (float)(int8_t)f->s[g]; break;
    case TSR_SCALES_K16_MIN:
        *scale = d * (float)(f->s[g] & 15);
        *min = -(m * (float)(f->s[g] >> 4));
        break;
    }
}

void tsr_packed_block(const tsr_packed *p, int64_t panel, int64_t block, uint8_t codes[VECTORS], float *scale, float *min) {
    const tsr_layout *l = p->layout;
    const uint8_t *low = low_lines(p, panel, block), *high = high_lines(p, panel, block);
    for (int v = 0; v < TSR_QUADS; v++)
        for (int c = 0; c < TSR_PANEL; c++) {
            uint32_t w = quad(l, low, high, v, c);
            memcpy(codes + LINE * v + 4 * c, &w, 4);
        }
    if (l->table)
        for (int i = 0; i < VECTORS; i++) codes[i] = l->table[codes[i]];
    int groups = TSR_BLOCK_K / l->group_k, first = (int)(block % (l->unit_k / TSR_BLOCK_K)) * groups;
    const uint8_t *unit = unit_scales(p, panel, block * TSR_BLOCK_K / l->unit_k);
    for (int c = 0; c < TSR_PANEL; c++) {
        tsr_unit_scales f = {.d = 0};
        tsr_pack_load_scales(l->scales, unit, c, &f);
        for (int g = 0; g < groups; g++)
            group_scale(l->scales, &f, first + g, &scale[TSR_PANEL * g + c], l->has_min ? &min[TSR_PANEL * g + c] : NULL);
    }
}
