/* net.h: the network: hyperparameters, weights, rope tables and the kernels that compute them. Read-only once open. */
#ifndef TSR_MODEL_NET_H
#define TSR_MODEL_NET_H

#include "model/hparams.h"
#include "model/rope.h"
#include "model/weights.h"

typedef struct tsr_net {
    tsr_hparams hparams;
    tsr_weights weights;
    tsr_rope rope_global, rope_swa;   /* of layers without and with a sliding window */
    const tsr_kernels *kern;
    bool exact;                       /* weights are not packed: f32 throughout */
} tsr_net;

/* g must outlive the net. */
tsr_net *tsr_net_open(const tsr_gguf *g, int64_t n_vocab, const tsr_load *load, tsr_error *err);
void tsr_net_close(tsr_net *net);

#endif
