#include "model/profile.h"

#include "core/clock.h"

const char *tsr_step_name(tsr_step step) {
    static const char *const names[TSR_STEP_COUNT] = {"embed",  "qkv",         "rope, kv store", "attention", "attention output",
                                                      "router", "expert sums", "gate, up",       "down",      "logits"};
    return names[step];
}

void tsr_profile_set(tsr_profile *p, bool on) { *p = (tsr_profile){.on = on}; }

void tsr_profile_start(tsr_profile *p) {
    if (p->on) p->last = tsr_clock_ns();
}

void tsr_profile_add(tsr_profile *p, tsr_step step) {
    int64_t now = tsr_clock_ns();
    p->ns[step] += now - p->last;
    p->calls[step]++;
    p->last = now;
}
