/* choice.c: which kernel a product takes, by tier, layout and number of rows: measured (doc/kernels.md), not reasoned. */
#include "kernels/kernels.h"

void tsr_kernels_choose(tsr_kernels *k) {
    for (int t = 0; t < TSR_TYPE_COUNT; t++) {
        const tsr_layout *l = tsr_layout_of((tsr_type)t);
        if (!l->name) continue;
        /* AVX-512 VNNI: for every format narrow products are the faster ones up to the most rows that they take */
        int narrow_rows = k->tier >= TSR_TIER_AVX512 ? TSR_NARROW_MAX : 8;
        k->choice[t] = l->code_bits == 16 ? (tsr_choice){8, 9} : (tsr_choice){narrow_rows, TSR_WIDE_NEVER};
    }
}
