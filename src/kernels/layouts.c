/* layouts.c: the table of packed layouts and the sizes that follow from it. */
#include "kernels/packed.h"

/* Codebooks plus 128, so that codes stay unsigned: IQ4 and (doubled) e2m1. */
static const uint8_t iq4_table[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};
static const uint8_t mxfp4_table[16] = {128, 129, 130, 131, 132, 134, 136, 140, 128, 127, 126, 125, 124, 122, 120, 116};

static const tsr_layout layouts[TSR_TYPE_COUNT] = {
    /*              name             code high offset table        scales              unit group min */
    [TSR_Q4_0]   = {"p16_u4_f16",     4,  0,   8,    NULL,        TSR_SCALES_F16,      32,  32, false},
    [TSR_Q4_1]   = {"p16_u4_f16m",    4,  0,   0,    NULL,        TSR_SCALES_F16_MIN,  32,  32, true},
    [TSR_Q5_0]   = {"p16_u5_f16",     4,  1,   16,   NULL,        TSR_SCALES_F16,      32,  32, false},
    [TSR_Q5_1]   = {"p16_u5_f16m",    4,  1,   0,    NULL,        TSR_SCALES_F16_MIN,  32,  32, true},
    [TSR_Q8_0]   = {"p16_u8_f16",     8,  0,   128,  NULL,        TSR_SCALES_F16,      32,  32, false},
    [TSR_Q2_K]   = {"p16_u2_k16m",    2,  0,   0,    NULL,        TSR_SCALES_K16_MIN,  256, 16, true},
    [TSR_Q3_K]   = {"p16_u3_k16",     2,  1,   4,    NULL,        TSR_SCALES_K16,      256, 16, false},
    [TSR_Q4_K]   = {"p16_u4_k32m",    4,  0,   0,    NULL,        TSR_SCALES_K32_MIN,  256, 32, true},
    [TSR_Q5_K]   = {"p16_u5_k32m",    4,  1,   0,    NULL,        TSR_SCALES_K32_MIN,  256, 32, true},
    [TSR_Q6_K]   = {"p16_u6_k16",     4,  2,   32,   NULL,        TSR_SCALES_K16,      256, 16, false},
    [TSR_IQ4_NL] = {"p16_c4_f16",     4,  0,   128,  iq4_table,   TSR_SCALES_F16,      32,  32, false},
    [TSR_IQ4_XS] = {"p16_c4_k32",     4,  0,   128,  iq4_table,   TSR_SCALES_K32,      256, 32, false},
    [TSR_MXFP4]  = {"p16_c4_e8m0",    4,  0,   128,  mxfp4_table, TSR_SCALES_E8M0,     32,  32, false},
    [TSR_F16]    = {"p16_f16",        16, 0,   0,    NULL,        TSR_SCALES_NONE,     32,  32, false},
    [TSR_BF16]   = {"p16_bf16",       16, 0,   0,    NULL,        TSR_SCALES_NONE,     32,  32, false},
};

const tsr_layout *tsr_layout_of(tsr_type type) { return &layouts[type]; }

size_t tsr_layout_unit_bytes(const tsr_layout *l) {
    switch (l->scales) {
    case TSR_SCALES_NONE: return 0;
    case TSR_SCALES_F16: return 32;
    case TSR_SCALES_F16_MIN: return 64;
    case TSR_SCALES_E8M0: return 16;
    case TSR_SCALES_K32: return 128 + 32;
    case TSR_SCALES_K32_MIN: return 2 * 128 + 64;
    case TSR_SCALES_K16: return 256 + 32;
    case TSR_SCALES_K16_MIN: return 256 + 64;
    }
    return 0;
}

static size_t align64(size_t n) { return (n + 63) & ~(size_t)63; }

bool tsr_packed_init(tsr_packed *p, tsr_type type, int64_t n, int64_t k) {
    const tsr_layout *l = tsr_layout_of(type);
    *p = (tsr_packed){.layout = l, .type = type, .n = n, .k = k};
    if (k > INT64_MAX / 64 - 32) return false;
    size_t blocks = (size_t)((k + TSR_BLOCK_K - 1) / TSR_BLOCK_K), units = (size_t)((k + l->unit_k - 1) / l->unit_k);
    p->high_offset = blocks * (size_t)l->code_bits * 64; /* 512 weights a block: bits * 64 bytes */
    p->scales_offset = p->high_offset + blocks * (size_t)l->high_bits * 64;
    p->panel_bytes = p->scales_offset + align64(units * tsr_layout_unit_bytes(l));
    size_t total;
    return !__builtin_mul_overflow(p->panel_bytes, (size_t)tsr_packed_panels(p), &total);
}

size_t tsr_packed_bytes(const tsr_packed *p) { return p->panel_bytes * (size_t)tsr_packed_panels(p); }

int64_t tsr_packed_panels(const tsr_packed *p) { return (p->n + TSR_PANEL - 1) / TSR_PANEL; }

void tsr_packed_share(const tsr_packed *p, const tsr_nodes *nodes, int k, int64_t *begin, int64_t *end) {
    tsr_nodes_share(nodes, (tsr_packed_panels(p) + 1) / 2, k, begin, end);
}
