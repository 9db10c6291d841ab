#include "model/net.h"

#include <stdlib.h>

/* The divisors of the RoPE frequencies and their tensor's name, or NULL. A file that has them means them, whether it names a
 * scaling type or not. LongRoPE has one set for contexts up to the original length and one for longer ones; Tessera uses the
 * set of the model's full context, as the trained context of such a model is the long one. */
static const float *rope_divisors(const tsr_hparams *h, const tsr_weights *w, const char **name) {
    *name = "rope_freqs.weight";
    if (w->rope_freqs && h->rope.scaling != TSR_ROPE_LONGROPE) return w->rope_freqs;
    bool is_long = h->n_ctx_train > h->rope.n_ctx_orig;
    *name = is_long ? "rope_factors_long.weight" : "rope_factors_short.weight";
    return is_long ? w->rope_long : w->rope_short;
}

static tsr_code init_ropes(tsr_net *net, tsr_error *err) {
    const char *name;
    const float *divisors = rope_divisors(&net->hparams, &net->weights, &name);
    if (!divisors && net->hparams.rope.scaling == TSR_ROPE_LONGROPE)
        return tsr_fail(err, TSR_E_FORMAT, "%s.rope.scaling.type is longrope, but the tensor %s is missing; get a complete file",
                        net->hparams.arch->name, name);
    tsr_code code = tsr_rope_init(&net->rope_global, &net->hparams, false, divisors, name, err);
    return code == TSR_OK ? tsr_rope_init(&net->rope_swa, &net->hparams, true, divisors, name, err) : code;
}

tsr_net *tsr_net_open(const tsr_gguf *g, int64_t n_vocab, const tsr_load *load, tsr_error *err) {
    tsr_net *net = calloc(1, sizeof *net);
    if (!net) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory");
        return NULL;
    }
    net->kern = tsr_kernels_get(load->tier);
    net->exact = !load->packed;
    tsr_code code = tsr_hparams_read(g, n_vocab, &net->hparams, err);
    if (code == TSR_OK) code = tsr_weights_bind(g, &net->hparams, load, &net->weights, err);
    if (code == TSR_OK) code = init_ropes(net, err);
    if (code == TSR_OK) return net;
    net->weights.complete = false;
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
