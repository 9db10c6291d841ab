/* sampling_options.h: how tokens are chosen, as options and as the library's parameters. */
#ifndef CLI_SAMPLING_OPTIONS_H
#define CLI_SAMPLING_OPTIONS_H

#include "cli/args.h"
#include "tessera.h"

typedef struct sampling_options {
    tsr_sampler_params params; /* but for the lists, which are in the fields below */
    text_list breakers, bias;
    int mirostat; /* index into "off|2" */
    bool ignore_eos;
} sampling_options;

extern const option sampling_option_table[];
void sampling_defaults(sampling_options *s);

/* Opens a sampler. seed replaces the options' unless it is 0. Returns an exit status; failures have been reported. */
int sampling_open(const sampling_options *s, const tsr_model *model, uint64_t seed, tsr_sampler **out);

#endif
