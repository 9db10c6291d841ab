#include "model/cost.h"

#include <math.h>

/* Bytes of one matrix (of the expert e) as they lie in memory. */
static double matrix_bytes(const tsr_weight *w, int64_t e) {
    if (w->parts) return matrix_bytes(&w->parts[e], 0);
    return w->packed.layout ? (double)tsr_packed_bytes(&w->packed) : (double)w->row_bytes * (double)w->n;
}

/* Rows times one matrix, which is read once. An absent one costs nothing. */
static void add_matrix(tsr_cost *c, const tsr_weight *w, int64_t rows) {
    if (!w->name || rows == 0) return;
    c->ops += 2.0 * (double)w->n * (double)w->k * (double)rows;
    c->weight_bytes += matrix_bytes(w, 0);
}

/* n tokens, `used` of the experts each. How many different ones that are is known for one token only; for more it is the mean when each
 * token chooses at random: X (1 - (1 - used / X)^n). */
static void add_experts(tsr_cost *c, const tsr_weight *w, int64_t used, int64_t n) {
    double count = (double)w->n_experts, bytes = 0.0;
    c->ops += 2.0 * (double)w->n * (double)w->k * (double)used * (double)n;
    for (int64_t e = 0; e < w->n_experts; e++) bytes += matrix_bytes(w, e);
    c->weight_bytes += bytes * (1.0 - pow(1.0 - (double)used / count, (double)n));
}

/* The sum over n tokens of the positions that each sees, its own included, at most `window` (0: all). */
static double positions_seen(int64_t pos, int64_t n, int64_t window) {
    double sum = 0.0;
    for (int64_t i = pos + 1; i <= pos + n; i++) sum += (double)(window > 0 && i > window ? window : i);
    return sum;
}

void tsr_pass_cost(const tsr_net *net, const tsr_kv_cache *kv, int64_t pos, int64_t n, int64_t n_logits, tsr_cost *out) {
    const tsr_hparams *h = &net->hparams;
    /* of a position in one layer */
    double kv_bytes = (double)(kv->shape.bytes_k + kv->shape.bytes_v) / (double)kv->shape.capacity * (double)h->n_head_kv;
    double attention_ops = 2.0 * (double)h->n_head * (double)(h->head_k + h->head_v);
    *out = (tsr_cost){0};
    for (int64_t il = 0; il < h->n_layer; il++) {
        const tsr_layer *l = &net->weights.layers[il];
        const tsr_weight *each[] = {&l->attn_q, &l->attn_k, &l->attn_v, &l->attn_output, &l->ffn_gate, &l->ffn_up, &l->ffn_down, &l->ffn_gate_inp};
        const tsr_weight *experts[] = {&l->ffn_gate_exps, &l->ffn_up_exps, &l->ffn_down_exps};
        for (size_t i = 0; i < sizeof each / sizeof *each; i++) add_matrix(out, each[i], n);
        for (size_t i = 0; h->n_expert > 0 && i < sizeof experts / sizeof *experts; i++) add_experts(out, experts[i], h->n_expert_used, n);
        int64_t window = h->n_swa > 0 && h->is_swa[il] ? h->n_swa : 0, seen = pos + n;
        if (window > 0 && seen > window + n - 1) seen = window + n - 1;
        out->ops += attention_ops * positions_seen(pos, n, window);
        out->kv_bytes += kv_bytes * (double)seen;
    }
    add_matrix(out, &net->weights.output, n_logits);
}
