#include "model/profile.h"

#include <time.h>

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

const char *tsr_step_name(tsr_step step) {
    static const char *const names[TSR_STEP_COUNT] = {"embed",  "qkv",         "rope, kv store", "attention", "attention output",
                                                      "router", "expert sums", "gate, up",       "down",      "logits"};
    return names[step];
}

void tsr_profile_set(tsr_profile *p, bool on) { *p = (tsr_profile){.on = on}; }

void tsr_profile_start(tsr_profile *p) {
    if (p->on) p->last = now_ns();
}

void tsr_profile_add(tsr_profile *p, tsr_step step) {
    int64_t now = now_ns();
    p->ns[step] += now - p->last;
    p->calls[step]++;
    p->last = now;
}
