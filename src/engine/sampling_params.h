/* sampling_params.h: which sampling parameters make sense. */
#ifndef TSR_ENGINE_SAMPLING_PARAMS_H
#define TSR_ENGINE_SAMPLING_PARAMS_H

#include "core/error.h"

/* TSR_E_ARG with a message that names the parameter, its value and the range, or TSR_OK. Breakers are not looked at. */
tsr_code tsr_sampler_params_check(const tsr_sampler_params *p, int n_vocab, tsr_error *err);

#endif
