/* Sampling options; their names are those that llama.cpp's users know. */
#include "cli/sampling_options.h"

#include "cli/engine.h"
#include "cli/term.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PARAM(field) offsetof(sampling_options, params.field)

const option sampling_option_table[] = {
    {"seed", 's', OPTION_SEED, "N", PARAM(seed), 0, 0, "the same seed gives the same text; 0: another one each time"},
    {"temp", 0, OPTION_FLOAT, "X", PARAM(temperature), 0, 1e6, "temperature; 0: always the likeliest token"},
    {"top-k", 0, OPTION_INT, "N", PARAM(top_k), 0, 1 << 24, "choose among the N likeliest; 0: off"},
    {"top-p", 0, OPTION_FLOAT, "X", PARAM(top_p), 0, 1,
     "choose among the likeliest that together have probability X; 1: off"},
    {"min-p", 0, OPTION_FLOAT, "X", PARAM(min_p), 0, 1, "drop tokens less likely than X times the likeliest; 0: off"},
    {"typical", 0, OPTION_FLOAT, "X", PARAM(typical_p), 0, 1,
     "choose among tokens of typical surprise that together have probability X; 1: off"},
    {"repeat-penalty", 0, OPTION_FLOAT, "X", PARAM(repeat_penalty), 0.01, 100,
     "penalise tokens already in the text; 1: off"},
    {"repeat-last-n", 0, OPTION_INT, "N", PARAM(penalty_last_n), -1, 1 << 24,
     "tokens the three penalties look back at; 0: off, -1: all"},
    {"presence-penalty", 0, OPTION_FLOAT, "X", PARAM(presence_penalty), -100, 100,
     "taken off once for every token in the text"},
    {"frequency-penalty", 0, OPTION_FLOAT, "X", PARAM(frequency_penalty), -100, 100,
     "taken off for every time a token is in the text"},
    {"dry-multiplier", 0, OPTION_FLOAT, "X", PARAM(dry_multiplier), 0, 1000, "DRY, against repeated passages; 0: off"},
    {"dry-base", 0, OPTION_FLOAT, "X", PARAM(dry_base), 1, 1000, "DRY: growth of the penalty with each token repeated"},
    {"dry-allowed-length", 0, OPTION_INT, "N", PARAM(dry_allowed_length), 1, 1 << 24,
     "DRY: repetitions shorter than N are free"},
    {"dry-last-n", 0, OPTION_INT, "N", PARAM(dry_last_n), -1, 1 << 24, "DRY: tokens looked back at; 0: off, -1: all"},
    {"dry-breaker", 0, OPTION_TEXTS, "TEXT", offsetof(sampling_options, breakers), 0, 0,
     "DRY: text that no repetition reaches across; repeatable, replaces newline, colon, quote and star"},
    {"mirostat", 0, OPTION_CHOICE, "off|2", offsetof(sampling_options, mirostat), 0, 0,
     "Mirostat 2.0: steer the surprise of the text; replaces top-k, typical, top-p and min-p"},
    {"mirostat-tau", 0, OPTION_FLOAT, "X", PARAM(mirostat_tau), 0, 100, "Mirostat: surprise aimed at, in bits a token"},
    {"mirostat-eta", 0, OPTION_FLOAT, "X", PARAM(mirostat_eta), 0, 1, "Mirostat: how fast it steers"},
    {"logit-bias", 0, OPTION_TEXTS, "ID=X", offsetof(sampling_options, bias), 0, 0,
     "add X to the logit of token ID, -inf bans it; repeatable"},
    {"ignore-eos", 0, OPTION_FLAG, NULL, offsetof(sampling_options, ignore_eos), 0, 0,
     "never choose a token that ends the answer"},
    {0},
};

void sampling_defaults(sampling_options *s) { s->params = tsr_sampler_params_default(); }

/* "15043=2.5", "15043=-inf", or llama.cpp's "15043+2.5", "15043-1". */
static bool parse_bias(const char *text, tsr_logit_bias *out) {
    char *end;
    long id = strtol(text, &end, 10);
    if (end == text || id < 0 || id > INT32_MAX || !strchr("=+-", *end) || !*end) return false;
    const char *number = end + (*end == '=');
    out->token = (tsr_token)id;
    out->bias = strtof(number, &end);
    return end != number && !*end && !isnan(out->bias);
}

static bool collect_bias(const sampling_options *s, const tsr_model *model, tsr_logit_bias *list, size_t *n) {
    for (size_t i = 0; i < s->bias.n; i++) {
        if (parse_bias(s->bias.items[i], &list[(*n)++])) continue;
        say_error("--logit-bias %s: write ID=X, for example 15043=-1.5, or 15043=-inf to ban the token",
                  s->bias.items[i]);
        return false;
    }
    tsr_model_info info;
    tsr_model_get_info(model, &info);
    for (tsr_token t = 0; s->ignore_eos && t < info.n_vocab; t++)
        if (tsr_token_is_end(model, t)) list[(*n)++] = (tsr_logit_bias){t, -INFINITY};
    return true;
}

int sampling_open(const sampling_options *s, const tsr_model *model, uint64_t seed, tsr_sampler **out) {
    size_t n = 0, n_end = 0;
    tsr_model_info info;
    tsr_model_get_info(model, &info);
    for (tsr_token t = 0; s->ignore_eos && t < info.n_vocab; t++) n_end += tsr_token_is_end(model, t);
    tsr_logit_bias *bias = calloc(s->bias.n + n_end + 1, sizeof *bias);
    if (!bias) {
        say_error("out of memory");
        return EXIT_FAILED;
    }
    int status = EXIT_USAGE;
    if (collect_bias(s, model, bias, &n)) {
        tsr_error err = {0};
        tsr_sampler_params p = s->params;
        p.seed = seed ? seed : p.seed;
        p.mirostat = s->mirostat == 1 ? 2 : 0;
        p.logit_bias = bias;
        p.n_logit_bias = n;
        p.dry_breakers = s->breakers.n ? s->breakers.items : NULL;
        p.n_dry_breakers = s->breakers.n;
        *out = tsr_sampler_open(model, &p, &err);
        status = *out ? EXIT_FINE : fail_with(&err);
    }
    free(bias);
    return status;
}
