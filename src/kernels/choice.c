/* choice.c: which kernel a product takes, by tier, layout and number of rows: measured (doc/kernels.md), not reasoned. */
#include "kernels/kernels.h"

void tsr_kernels_choose(tsr_kernels *k) {
    for (int t = 0; t < TSR_TYPE_COUNT; t++) {
        const tsr_layout *l = tsr_layout_of((tsr_type)t);
        if (!l->name) continue;
        k->choice[t] = l->code_bits == 16 ? (tsr_choice){8, 9} : (tsr_choice){8, TSR_WIDE_NEVER};
    }
}
