/* profile.h: where the time of a forward pass goes. The pass laps the clock behind each step; a lap costs one branch when profiling is off. */
#ifndef TSR_MODEL_PROFILE_H
#define TSR_MODEL_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum tsr_step {
    TSR_STEP_EMBED,
    TSR_STEP_QKV,        /* with the norm before it, as router and gate, up */
    TSR_STEP_ROPE,       /* norms of heads, RoPE, storing K and V */
    TSR_STEP_ATTENTION,
    TSR_STEP_ATTN_OUT,   /* with the sum with what came before, as down */
    TSR_STEP_ROUTER,     /* scores, the best experts, sorting tokens by expert */
    TSR_STEP_EXPERTS,    /* summing up what a token's experts yield */
    TSR_STEP_GATE_UP,    /* with the activation function */
    TSR_STEP_DOWN,
    TSR_STEP_LOGITS,
    TSR_STEP_COUNT
} tsr_step;

typedef struct tsr_profile {
    bool on;
    int64_t last; /* clock at the last lap, ns */
    int64_t ns[TSR_STEP_COUNT];
    uint64_t calls[TSR_STEP_COUNT];
} tsr_profile;

const char *tsr_step_name(tsr_step step);
/* Everything to zero. */
void tsr_profile_set(tsr_profile *p, bool on);
void tsr_profile_start(tsr_profile *p);              /* the clock now: what came before belongs to no step */
void tsr_profile_add(tsr_profile *p, tsr_step step); /* the time since the last lap, or the start */

static inline void tsr_profile_lap(tsr_profile *p, tsr_step step) {
    if (p->on) tsr_profile_add(p, step);
}

#endif
