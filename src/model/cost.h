/* cost.h: what a forward pass must do at least, to hold its speed against the machine's: operations, and bytes that it reads. */
#ifndef TSR_MODEL_COST_H
#define TSR_MODEL_COST_H

#include "model/kv_cache.h"

/* One pass over n tokens at positions pos .. pos + n - 1 that yields n_logits rows of logits. */
void tsr_pass_cost(const tsr_net *net, const tsr_kv_cache *kv, int64_t pos, int64_t n, int64_t n_logits, tsr_cost *out);

#endif
