/* Checks of what the user set, one message per parameter. */
#include "engine/sampling_params.h"

#include <math.h>

tsr_sampler_params tsr_sampler_params_default(void) {
    return (tsr_sampler_params){
        .temperature = 0.8f,
        .top_k = 40,
        .top_p = 0.95f,
        .min_p = 0.05f,
        .typical_p = 1.0f,
        .penalty_last_n = 64,
        .repeat_penalty = 1.0f,
        .dry_base = 1.75f,
        .dry_allowed_length = 2,
        .dry_last_n = -1,
        .mirostat_tau = 5.0f,
        .mirostat_eta = 0.1f,
    };
}

typedef struct float_range {
    const char *name;
    float value, least, most;
} float_range;
typedef struct int_range {
    const char *name;
    int value, least;
    const char *meaning;
} int_range;

static tsr_code check_bias(const tsr_sampler_params *p, int n_vocab, tsr_error *err) {
    if (p->n_logit_bias > 0 && !p->logit_bias)
        return tsr_fail(err, TSR_E_ARG, "logit_bias is NULL but n_logit_bias is %zu", p->n_logit_bias);
    for (size_t i = 0; i < p->n_logit_bias; i++) {
        const tsr_logit_bias *b = &p->logit_bias[i];
        if (b->token < 0 || b->token >= n_vocab)
            return tsr_fail(err, TSR_E_ARG, "logit_bias names token %d, but the vocabulary has tokens 0 to %d",
                            b->token, n_vocab - 1);
        bool ban = b->bias == -INFINITY;
        if (!ban && !(fabsf(b->bias) <= 1e6f))
            return tsr_fail(err, TSR_E_ARG,
                            "logit_bias of token %d is %g; it must be from -1e6 to 1e6, or -inf to ban it", b->token,
                            (double)b->bias);
    }
    return TSR_OK;
}

tsr_code tsr_sampler_params_check(const tsr_sampler_params *p, int n_vocab, tsr_error *err) {
    /* Wide enough for any use; narrow enough that no combination overflows a float. */
    const float_range floats[] = {
        {"temperature", p->temperature, -1e6f, 1e6f},
        {"top_p", p->top_p, 0.0f, 1.0f},
        {"min_p", p->min_p, 0.0f, 1.0f},
        {"typical_p", p->typical_p, 0.0f, 1.0f},
        {"repeat_penalty", p->repeat_penalty, 0.01f, 100.0f},
        {"presence_penalty", p->presence_penalty, -100.0f, 100.0f},
        {"frequency_penalty", p->frequency_penalty, -100.0f, 100.0f},
        {"dry_multiplier", p->dry_multiplier, 0.0f, 1000.0f},
        {"dry_base", p->dry_base, 1.0f, 1000.0f},
        {"mirostat_tau", p->mirostat_tau, 0.0f, 100.0f},
        {"mirostat_eta", p->mirostat_eta, 0.0f, 1.0f},
    };
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        const float_range *f = &floats[i];
        if (!(f->value >= f->least && f->value <= f->most)) /* also refuses NaN */
            return tsr_fail(err, TSR_E_ARG, "%s is %g; it must be from %g to %g", f->name, (double)f->value,
                            (double)f->least, (double)f->most);
    }
    const int_range ints[] = {
        {"penalty_last_n", p->penalty_last_n, -1, " (-1: the whole text, 0: off)"},
        {"dry_last_n", p->dry_last_n, -1, " (-1: the whole text, 0: off)"},
        {"dry_allowed_length", p->dry_allowed_length, 1, ""},
    };
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        const int_range *n = &ints[i];
        if (n->value < n->least)
            return tsr_fail(err, TSR_E_ARG, "%s is %d; it must be at least %d%s", n->name, n->value, n->least,
                            n->meaning);
    }
    if (p->mirostat != 0 && p->mirostat != 2)
        return tsr_fail(err, TSR_E_ARG, "mirostat is %d; it must be 0 (off) or 2 (Mirostat 2.0)", p->mirostat);
    return check_bias(p, n_vocab, err);
}
