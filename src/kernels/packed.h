/* packed.h: the packed layouts: weights in the order in which VNNI and AMX read them.
 *
 * A matrix [n, k] is cut into panels of 16 outputs (columns of the product), the last one padded with zero weights. A panel holds
 * three planes, one after the other, each starting on a 64-byte line:
 *
 *   codes   the low bits of every weight, in blocks of 32 k
 *   high    the bits above them, for widths that are no power of two (absent otherwise)
 *   scales  everything else of the GGUF blocks, per unit (a GGUF block: 32 or 256 weights), columns side by side
 *
 * so every bit of the GGUF blocks is kept and the inverse is exact. All layouts share one order of weights, chosen so that a shift
 * and a mask give int8 VNNI operands, and a shift and a 16-bit table lookup give 16-bit ones:
 *
 *   A block of 32 k is 8 vectors of 64 codes ("quads"). Vector v = 2 g + h (g = 0..3, h = 0, 1) holds, at byte 4 c + i, the code of
 *   column c and k = 8 g + order[h][i] of the block, with order = {{0, 4, 1, 5}, {2, 6, 3, 7}}.
 *
 *   4-bit codes   line g: byte b = vector 2g [b] | vector 2g+1 [b] << 4                          4 lines a block
 *   2-bit codes   line l: byte b = OR over f of vector 4l+f [b] << 2f                            2 lines
 *   8-bit codes   line v = vector v                                                              8 lines
 *   1 high bit    line of 8 words of 64 bits: bit b of word v belongs to vector v [b]            1 line
 *   2 high bits   as 2-bit codes                                                                 2 lines
 *   16-bit        line v: 32 halves: half 2 c + p is weight (column c, k = 2 v + p)              16 lines
 *
 *   so in a 4-bit line the four nibbles of 16-bit lane 2c + p are k = 8g + 2j + p, j = 0..3: VNNI-2 rows by shifts of 4.
 *
 * Codes are unsigned; what they mean (weight = s * (code - offset), or s * code + m, or s * codebook[code]) is in the layout's row.
 */
#ifndef TSR_KERNELS_PACKED_H
#define TSR_KERNELS_PACKED_H

#include "core/nodes.h"
#include "quant/quant.h"

enum {
    TSR_PANEL = 16,        /* columns */
    TSR_BLOCK_K = 32,      /* k of a code block */
    TSR_QUADS = 8,         /* vectors of 64 codes in a block */
};

/* How scales are stored per unit of 16 columns, in this order; every array is [groups of the unit][16 columns]. */
typedef enum tsr_scales {
    TSR_SCALES_NONE,       /* 16-bit weights */
    TSR_SCALES_F16,        /* d: f16[16] */
    TSR_SCALES_F16_MIN,    /* d: f16[16], m: f16[16] */
    TSR_SCALES_E8M0,       /* e: u8[16] */
    TSR_SCALES_K32,        /* s: u8[8][16] (0..63, means s - 32), d: f16[16]                     IQ4_XS */
    TSR_SCALES_K32_MIN,    /* s: u8[8][16], m: u8[8][16], d: f16[16], dmin: f16[16]              Q4_K Q5_K */
    TSR_SCALES_K16,        /* s: i8[16][16] (Q3_K: already minus 32), d: f16[16]                  Q3_K Q6_K */
    TSR_SCALES_K16_MIN,    /* s: u8[16][16] (low nibble scale, high nibble min), d, dmin: f16[16] Q2_K */
} tsr_scales;

typedef struct tsr_layout {
    const char *name;      /* "p16_u4_f16": panel, code width, scales; NULL: the type has no packed layout */
    int code_bits;         /* of the codes plane: 2 4 8 16 */
    int high_bits;         /* of the high plane: 0 1 2 */
    int offset;            /* weight = s * (code - offset); for codebooks: codebook entry = table[code] - offset */
    const uint8_t *table;  /* [16] codebook entries plus offset, or NULL */
    tsr_scales scales;
    int unit_k;            /* k of a unit: 32 or 256 */
    int group_k;           /* k that share a scale: 32 or 16 */
    bool has_min;          /* weight = s * code + m, m per group */
} tsr_layout;

/* The row of a type; its name is NULL when the type is not packed (F32). */
const tsr_layout *tsr_layout_of(tsr_type type);
/* Bytes of a unit (16 columns) in the scale plane, where units lie one after the other. */
size_t tsr_layout_unit_bytes(const tsr_layout *layout);

/* A packed matrix. */
typedef struct tsr_packed {
    const tsr_layout *layout;
    tsr_type type;
    int64_t n, k;
    size_t high_offset, scales_offset; /* of the planes, from the start of a panel */
    size_t panel_bytes;                /* a multiple of 64 */
    uint8_t *data;                     /* [ceil(n / 16)][panel_bytes], 64-byte aligned; NULL until the caller sets it */
    /* On several NUMA nodes (core/nodes.h), those of the pool that multiplies: */
    size_t copy_stride; /* each node has a copy of data, so many bytes after that of the node before; 0: one in all */
    bool split;                        /* panels lie on nodes as tsr_packed_share says */
} tsr_packed;

/* Fills all but data. k must be a multiple of the type's block (for 16-bit types: any k >= 1; the tail of the last 32 is zeros).
 * False when the size does not fit. */
bool tsr_packed_init(tsr_packed *p, tsr_type type, int64_t n, int64_t k);
size_t tsr_packed_bytes(const tsr_packed *p);
int64_t tsr_packed_panels(const tsr_packed *p);

/* The strips (two panels, the last perhaps one) of a split matrix that lie on node k. */
void tsr_packed_share(const tsr_packed *p, const tsr_nodes *nodes, int k, int64_t *begin, int64_t *end);

/* Packs panels [first, last) from the GGUF rows of the whole matrix (row_bytes apart); any thread may do any panels. */
void tsr_pack(const tsr_packed *p, const void *rows, size_t row_bytes, int64_t first, int64_t last);
/* The exact inverse: writes the GGUF rows of panels [first, last). */
void tsr_unpack(const tsr_packed *p, void *rows, size_t row_bytes, int64_t first, int64_t last);

/* Row `row` of the matrix as f32 into out[k], equal bit for bit to dequantising the GGUF row. */
void tsr_packed_row(const tsr_packed *p, int64_t row, float *out);
/* The same with the type's dequantiser of a tier. */
void tsr_packed_row_with(const tsr_packed *p, int64_t row, tsr_dequantize_fn dequantize, float *out);

/* --- the reference view of one block of 32 k of one panel, which every unpacking kernel must reproduce ------------------- */

/* codes [8][64] as above, after the codebook (table) if there is one; scale and min [groups of the block][16] in f32:
 * weight = scale * (code - offset) or scale * code + min. Not for 16-bit layouts. min is only written when has_min. */
void tsr_packed_block(const tsr_packed *p, int64_t panel, int64_t block, uint8_t codes[TSR_QUADS * 64], float *scale, float *min);

#endif
