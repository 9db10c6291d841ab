#include "buffer/select.h"

#include <stdio.h>
#include <string.h>

/* Whose a tensor is. */
typedef enum owner { OWNER_NONE, OWNER_CPU, OWNER_DEVICE } owner;

/* The table: where tensors may go, the best place first.
 * A layer that stays with the CPU never sees the device before packed and host have refused, so a device that is switched on changes nothing
 * for it; and what the device refuses of its own layers is packed like everything else. Host buffers hold what nothing else can. */
static const tsr_place rankings[][TSR_PLACES] = {
    [OWNER_NONE] = {TSR_PLACE_HOST}, /* norms, biases, factors: converted to f32 when the model opens */
    [OWNER_CPU] = {TSR_PLACE_PACKED, TSR_PLACE_HOST, TSR_PLACE_DEVICE},
    [OWNER_DEVICE] = {TSR_PLACE_DEVICE, TSR_PLACE_PACKED, TSR_PLACE_HOST},
};

/* "blk.7.attn_q.weight" is of layer 7; the output matrix is of one after the last, all else of none (-1). */
static int64_t layer_of(const char *name, int64_t n_layer) {
    long long layer;
    if (sscanf(name, "blk.%9lld.", &layer) == 1) return layer;
    return strcmp(name, "output.weight") == 0 ? n_layer : -1;
}

static owner owner_of(const tsr_selection *s, const tsr_gguf_tensor *t, tsr_op op) {
    if (op == TSR_OP_VECTOR) return OWNER_NONE;
    bool offloaded = layer_of(t->name, s->n_layer) >= s->n_layer + 1 - s->n_offload_layers;
    return s->types[TSR_PLACE_DEVICE] && s->n_offload_layers > 0 && offloaded ? OWNER_DEVICE : OWNER_CPU;
}

/* NULL when the place can hold the tensor, else why not. */
static const char *refusal(const tsr_selection *s, tsr_place place, const tsr_gguf_tensor *t, tsr_op op) {
    return s->types[place] ? s->types[place]->refuses(t, op, s->kern) : "there is no such buffer";
}

static tsr_code select_asked(const tsr_selection *s, const tsr_gguf_tensor *t, tsr_op op, tsr_place place, const char *why, const char **reason,
                             tsr_error *err) {
    const char *refused = refusal(s, place, t, op);
    *reason = place == TSR_PLACE_HOST ? why : "";
    if (!refused) return TSR_OK;
    return tsr_fail(err, TSR_E_ARG, "tensor %s is %s and cannot be where it is %s: %s; make the expression narrower, or leave it out", t->name,
                    tsr_type_get(t->type)->name, why, refused);
}

tsr_code tsr_buffer_select(const tsr_selection *s, const tsr_gguf_tensor *t, tsr_op op, tsr_place *place, const char **reason, tsr_error *err) {
    const char *why;
    *place = TSR_PLACE_NONE;
    *reason = "";
    if (s->rules && op != TSR_OP_VECTOR) {
        tsr_code code = tsr_buffer_rules_find(s->rules, t->name, place, &why, err);
        if (code != TSR_OK) return code;
        if (*place != TSR_PLACE_NONE) return select_asked(s, t, op, *place, why, reason, err);
    }
    if (op == TSR_OP_VECTOR) *reason = "no product is computed with it";
    const tsr_place *ranking = rankings[owner_of(s, t, op)];
    for (int i = 0; i < TSR_PLACES && ranking[i] != TSR_PLACE_NONE; i++) {
        bool off = ranking[i] == TSR_PLACE_PACKED && !s->packed;
        const char *refused = off ? "packing is switched off" : refusal(s, ranking[i], t, op);
        if (!refused) {
            *place = ranking[i];
            return TSR_OK;
        }
        if (s->types[ranking[i]] || off) *reason = refused; /* a device that is not there is no reason */
    }
    return tsr_fail(err, TSR_E_UNSUPPORTED, "tensor %s is %s: %s", t->name, tsr_type_get(t->type)->name, *reason);
}
