/* tier.h: which tier of kernels a model uses: the best that works, or what the caller asks for. */
#ifndef TSR_ENGINE_TIER_H
#define TSR_ENGINE_TIER_H

#include "core/cpu.h"
#include "core/error.h"

/* What the machine answers; tests answer for machines that they do not run on. */
typedef struct tsr_tier_machine {
    tsr_tier below_amx;                     /* the best tier below AMX */
    bool amx, amx_fp16;                     /* CPUID and XCR0 show what tiers amx and amxfp16 need */
    tsr_code (*permission)(tsr_error *err); /* asks the kernel for tiles, or says why there are none */
    tsr_code (*self_test)(tsr_tier tier, tsr_error *err);
} tsr_tier_machine;

enum { TSR_TIER_NOTE = 1280 }; /* bytes of a note */

/* This machine. Permission is asked for, and each tier tested, at most once per process, and only when called. */
const tsr_tier_machine *tsr_tier_this_machine(void);

/* name: a tier by name, or NULL for the best that works. *note: "", or why AMX is not used though the CPU has it. With TSR_AMX_OFF neither
 * permission nor self_test is called. Fails when name is unknown or not available, when amx is TSR_AMX_ON and there is none (with the
 * true reason), and when name and amx contradict each other. */
tsr_code tsr_tier_choose(const tsr_tier_machine *machine, const char *name, tsr_amx amx, tsr_tier *tier, char note[static TSR_TIER_NOTE],
                         tsr_error *err);

/* The better of the AMX tiers that works, with a note when amxfp16 should have, or the reason why none does. */
tsr_code tsr_tier_best_amx(const tsr_tier_machine *machine, tsr_tier *tier, char note[static TSR_TIER_NOTE], tsr_error *err);

#endif
