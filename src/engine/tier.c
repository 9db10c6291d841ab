#include "engine/tier.h"

#include "kernels/self_test.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* --- this machine ---------------------------------------------------------------------------------------------------------- */

static tsr_error answers[2]; /* of the self-tests of tiers amx and amxfp16 */
static pthread_once_t tested[2] = {PTHREAD_ONCE_INIT, PTHREAD_ONCE_INIT}, asked = PTHREAD_ONCE_INIT;
static tsr_tier_machine this_machine;

static void test_amx(void) { tsr_kernels_self_test(tsr_kernels_get(TSR_TIER_AMX), &answers[0]); }

static void test_amxfp16(void) { tsr_kernels_self_test(tsr_kernels_get(TSR_TIER_AMXFP16), &answers[1]); }

static tsr_code self_test(tsr_tier tier, tsr_error *err) {
    int i = tier == TSR_TIER_AMXFP16;
    pthread_once(&tested[i], i ? test_amxfp16 : test_amx);
    return answers[i].code == TSR_OK ? TSR_OK : tsr_fail(err, answers[i].code, "%s", answers[i].message);
}

static void describe(void) {
    this_machine = (tsr_tier_machine){.below_amx = tsr_cpu_get()->tier,
                                      .amx = tsr_tier_in_cpu(TSR_TIER_AMX),
                                      .amx_fp16 = tsr_tier_in_cpu(TSR_TIER_AMXFP16),
                                      .permission = tsr_cpu_amx_request,
                                      .self_test = self_test};
}

const tsr_tier_machine *tsr_tier_this_machine(void) {
    pthread_once(&asked, describe);
    return &this_machine;
}

/* --- choosing -------------------------------------------------------------------------------------------------------------- */

/* TSR_OK when the kernels of an AMX tier may be used, or why not. */
static tsr_code try_amx(const tsr_tier_machine *m, tsr_tier tier, tsr_error *err) {
    tsr_code code =
        m->amx ? TSR_OK : m->permission(err); /* without the instructions there is no permission: it tells which layer lacks what */
    if (code == TSR_OK && !m->amx)
        return tsr_fail(err, TSR_E_UNSUPPORTED,
                        "AMX is not enough alone: the kernels also need amx_int8, amx_bf16 and avx512_bf16, which this CPU "
                        "(or its hypervisor) lacks");
    if (code == TSR_OK && tier == TSR_TIER_AMXFP16 && !m->amx_fp16)
        return tsr_fail(err, TSR_E_UNSUPPORTED, "this CPU (or its hypervisor) lacks amx_fp16 or avx512_fp16");
    if (code == TSR_OK) code = m->permission(err);
    return code == TSR_OK ? m->self_test(tier, err) : code;
}

tsr_code tsr_tier_best_amx(const tsr_tier_machine *m, tsr_tier *tier, char note[static TSR_TIER_NOTE], tsr_error *err) {
    tsr_error why = {0};
    note[0] = '\0';
    if (m->amx && m->amx_fp16 && try_amx(m, TSR_TIER_AMXFP16, &why) == TSR_OK) {
        *tier = TSR_TIER_AMXFP16;
        return TSR_OK;
    }
    tsr_code code = try_amx(m, TSR_TIER_AMX, err);
    if (code != TSR_OK) return code;
    *tier = TSR_TIER_AMX;
    if (why.code != TSR_OK) snprintf(note, TSR_TIER_NOTE, "AMX is used without f16: %s", why.message);
    return TSR_OK;
}

static tsr_code choose_named(const tsr_tier_machine *m, const char *name, tsr_amx amx, tsr_tier *tier, tsr_error *err) {
    int found = tsr_tier_find(name);
    char shown[64];
    if (found < 0)
        return tsr_fail(err, TSR_E_ARG, "unknown CPU tier '%s' (scalar, avx2, avxvnni, avx512, avx512bf16, amx, amxfp16)",
                        tsr_printable(name, strlen(name), shown, sizeof shown));
    if (found >= TSR_TIER_AMX && amx == TSR_AMX_OFF)
        return tsr_fail(err, TSR_E_ARG, "CPU tier %s is asked for and AMX is switched off: leave out one of them", name);
    if (found < TSR_TIER_AMX && amx == TSR_AMX_ON)
        return tsr_fail(err, TSR_E_ARG, "CPU tier %s is asked for, which has no AMX, and AMX must be used: leave out one of them", name);
    if (found >= TSR_TIER_AMX) {
        tsr_error why = {0};
        tsr_code code = try_amx(m, (tsr_tier)found, &why);
        if (code != TSR_OK) return tsr_fail(err, code, "CPU tier %s is not available: %s", name, why.message);
    } else if (!tsr_tier_usable((tsr_tier)found)) {
        return tsr_fail(err, TSR_E_UNSUPPORTED, "CPU tier %s is not available: this CPU (or its hypervisor) lacks its instructions; leave out --cpu-tier for "
                        "the best that it has, %s", name, tsr_tier_name(m->below_amx));
    }
    *tier = (tsr_tier)found;
    return TSR_OK;
}

tsr_code tsr_tier_choose(const tsr_tier_machine *m, const char *name, tsr_amx amx, tsr_tier *tier, char note[static TSR_TIER_NOTE],
                         tsr_error *err) {
    note[0] = '\0';
    *tier = m->below_amx;
    if (amx != TSR_AMX_AUTO && amx != TSR_AMX_ON && amx != TSR_AMX_OFF)
        return tsr_fail(err, TSR_E_ARG, "unknown value %d for AMX: TSR_AMX_AUTO, TSR_AMX_ON or TSR_AMX_OFF", (int)amx);
    if (name) return choose_named(m, name, amx, tier, err);
    if (amx == TSR_AMX_OFF) return TSR_OK;
    if (amx == TSR_AMX_ON) {
        tsr_error why = {0};
        tsr_code code = tsr_tier_best_amx(m, tier, note, &why);
        return code == TSR_OK ? TSR_OK : tsr_fail(err, code, "AMX must be used, and cannot: %s", why.message);
    }
    tsr_error why = {0};
    if (m->amx && tsr_tier_best_amx(m, tier, note, &why) != TSR_OK)
        snprintf(note, TSR_TIER_NOTE, "AMX is not used though this CPU has it: %s; the kernels are those of tier %s", why.message,
                 tsr_tier_name(*tier));
    return TSR_OK;
}
