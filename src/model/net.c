#include "model/net.h"

#include <stdlib.h>

/* LongRoPE has one set of divisors for contexts up to the original length and one for longer ones; Tessera uses the set of the
 * model's full context, as the trained context of such a model is the long one. */
static const float *rope_divisors(const tsr_hparams *h, const tsr_weights *w) {
    if (h->rope.scaling != TSR_ROPE_LONGROPE) return w->rope_freqs;
    return h->n_ctx_train > h->rope.n_ctx_orig ? w->rope_long : w->rope_short;
}

tsr_net *tsr_net_open(const tsr_gguf *g, int64_t n_vocab, const tsr_load *load, tsr_error *err) {
    tsr_net *net = calloc(1, sizeof *net);
    if (!net) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory");
        return NULL;
    }
    net->kern = tsr_kernels_get(load->tier);
    tsr_code code = tsr_hparams_read(g, n_vocab, &net->hparams, err);
    if (code == TSR_OK) code = tsr_weights_bind(g, &net->hparams, load, &net->weights, err);
    if (code == TSR_OK && net->hparams.rope.scaling == TSR_ROPE_LONGROPE && !rope_divisors(&net->hparams, &net->weights))
        code = tsr_fail(err, TSR_E_FORMAT, "rope scaling is longrope, but the tensor rope_factors_long.weight or rope_factors_short.weight is missing");
    const float *divisors = rope_divisors(&net->hparams, &net->weights);
    if (code == TSR_OK) code = tsr_rope_init(&net->rope_global, &net->hparams, false, divisors, err);
    if (code == TSR_OK) code = tsr_rope_init(&net->rope_swa, &net->hparams, true, divisors, err);
    if (code == TSR_OK) return net;
    tsr_net_close(net);
    return NULL;
}

void tsr_net_close(tsr_net *net) {
    if (!net) return;
    tsr_rope_free(&net->rope_global);
    tsr_rope_free(&net->rope_swa);
    tsr_weights_free(&net->weights);
    free(net);
}
