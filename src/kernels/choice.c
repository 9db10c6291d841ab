/* choice.c: which kernel a product takes, by tier, layout and number of rows: measured (doc/packed.md), but for AMX. */
#include "kernels/kernels.h"

/* AMX, weights of up to 8 bits, from the cycle model of doc/amx.md; not measured: no AMX machine at hand. Up to 8 rows products are bound by
 * reading weights; int8 tiles (packed_gemm) take each group of 8 rows at half of what AVX-512 takes; from so many rows on unpacking to 16 bits
 * is cheaper. */
enum { AMX_NARROW_ROWS = 8, AMX_F16_ROWS = 13, AMX_BF16_ROWS = 17, AMX_BF16_HIGH_BITS_ROWS = 22 };

static int amx_rows(const tsr_kernels *k, int type) {
    if (k->wide[type]->elem == TSR_F16) return AMX_F16_ROWS;
    return tsr_layout_of((tsr_type)type)->high_bits ? AMX_BF16_HIGH_BITS_ROWS : AMX_BF16_ROWS;
}

/* Tiers avx2 and avxvnni, measured on a Zen 4 at n = 512, k = 1024: narrow wins up to 8 rows but for Q8_0 (16) and BF16 (12). With AVX2 alone
 * weights of 8 bits cost four instructions per 32 products: from 96 rows on (16: not yet) f32 is faster, 108 Gop/s against 101. */
static tsr_choice choose_ymm(tsr_tier tier, tsr_type type, const tsr_layout *l) {
    if (type == TSR_F16) return (tsr_choice){8, 9};
    if (type == TSR_BF16) return (tsr_choice){12, 13};
    bool eight_bits = type == TSR_Q8_0 || type == TSR_IQ4_NL || type == TSR_IQ4_XS;
    return (tsr_choice){l->code_bits == 8 ? 16 : 8, tier == TSR_TIER_AVX2 && eight_bits ? 96 : TSR_WIDE_NEVER};
}

/* 16-bit weights, measured on a Zen 4 at n = 8192, k = 2048: f32 elements need 17 rows to be worth widening weights to scratch, bf16 ones, which
 * are multiplied where they lie, 5. */
static tsr_choice choose_16_bits(const tsr_kernels *k, tsr_type type) {
    if (k->tier >= TSR_TIER_AMX) return (tsr_choice){4, 5}; /* tiles; not measured: no AMX machine at hand */
    bool in_place = type == TSR_BF16 && k->wide[type]->elem == TSR_BF16;
    return in_place ? (tsr_choice){4, 5} : (tsr_choice){16, 17};
}

/* Codes of up to 8 bits on AVX-512, measured on a Zen 4 (n = 2048, k = 2048, and the experts of qwen3-30b-a3b). Narrow products unpack anew for each 8
 * rows, in registers. 4- and 8-bit codes with a scale for each 32 unpack beside vpdpbusd, on other ports: from memory narrow products win up to 32
 * rows, by 2 to 12 %, with experts 4 to 25 %. The others win up to 16, and lose 10 to 20 % beyond. */
static int avx512_narrow_rows(const tsr_layout *l) { return l->high_bits == 0 && l->code_bits >= 4 ? TSR_NARROW_MAX : 16; }

void tsr_kernels_choose(tsr_kernels *k) {
    for (int t = 0; t < TSR_TYPE_COUNT; t++) {
        const tsr_layout *l = tsr_layout_of((tsr_type)t);
        if (!l->name) continue;
        if (l->code_bits == 16) k->choice[t] = choose_16_bits(k, (tsr_type)t);
        else k->choice[t] = (tsr_choice){k->tier >= TSR_TIER_AVX512 ? avx512_narrow_rows(l) : 8, TSR_WIDE_NEVER};
        if (k->tier >= TSR_TIER_AMX && l->code_bits < 16) k->choice[t] = (tsr_choice){AMX_NARROW_ROWS, amx_rows(k, t)};
        if (k->tier == TSR_TIER_AVX2 || k->tier == TSR_TIER_AVXVNNI) k->choice[t] = choose_ymm(k->tier, (tsr_type)t, l);
    }
}
