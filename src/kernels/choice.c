/* choice.c: which kernel a product takes, by tier, layout and number of rows: measured (doc/kernels.md), not reasoned. */
#include "kernels/kernels.h"

/* From how many rows on AMX tiles are worth unpacking to 16 bits, for weights of up to 8 bits. From the cycle model of doc/kernels.md; not
 * measured: no AMX machine at hand. */
enum { AMX_BF16_ROWS = 17, AMX_F16_ROWS = 13 };

void tsr_kernels_choose(tsr_kernels *k) {
    for (int t = 0; t < TSR_TYPE_COUNT; t++) {
        const tsr_layout *l = tsr_layout_of((tsr_type)t);
        if (!l->name) continue;
        k->choice[t] = l->code_bits == 16 ? (tsr_choice){8, 9} : (tsr_choice){8, TSR_WIDE_NEVER};
        if (k->tier >= TSR_TIER_AMX && l->code_bits < 16)
            k->choice[t].wide_rows = k->wide[t]->elem == TSR_F16 ? AMX_F16_ROWS : AMX_BF16_ROWS;
    }
}
