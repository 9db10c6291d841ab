/* types.c: the table of tensor types. */
#include "quant/quant.h"

#include <strings.h>

/* Sizes: gguf/constants.py, GGML_QUANT_SIZES. */
static const tsr_type_info types[TSR_TYPE_COUNT] = {
    /*               name      elems bytes computes quantizes */
    [TSR_F32]     = {"F32",     1,   4,    true,  true},
    [TSR_F16]     = {"F16",     1,   2,    true,  true},
    [TSR_BF16]    = {"BF16",    1,   2,    true,  true},
    [TSR_Q4_0]    = {"Q4_0",    32,  18,   true,  true},
    [TSR_Q4_1]    = {"Q4_1",    32,  20,   true,  true},
    [TSR_Q5_0]    = {"Q5_0",    32,  22,   true,  true},
    [TSR_Q5_1]    = {"Q5_1",    32,  24,   true,  true},
    [TSR_Q8_0]    = {"Q8_0",    32,  34,   true,  true},
    [TSR_Q8_1]    = {"Q8_1",    32,  36,   false, false},
    [TSR_Q2_K]    = {"Q2_K",    256, 84,   true,  true},
    [TSR_Q3_K]    = {"Q3_K",    256, 110,  true,  true},
    [TSR_Q4_K]    = {"Q4_K",    256, 144,  true,  true},
    [TSR_Q5_K]    = {"Q5_K",    256, 176,  true,  true},
    [TSR_Q6_K]    = {"Q6_K",    256, 210,  true,  true},
    [TSR_Q8_K]    = {"Q8_K",    256, 292,  false, false},
    [TSR_IQ4_NL]  = {"IQ4_NL",  32,  18,   true,  true},
    [TSR_IQ4_XS]  = {"IQ4_XS",  256, 136,  true,  true},
    [TSR_MXFP4]   = {"MXFP4",   32,  17,   true,  true},
    [TSR_IQ2_XXS] = {"IQ2_XXS", 256, 66,   false, false},
    [TSR_IQ2_XS]  = {"IQ2_XS",  256, 74,   false, false},
    [TSR_IQ2_S]   = {"IQ2_S",   256, 82,   false, false},
    [TSR_IQ3_XXS] = {"IQ3_XXS", 256, 98,   false, false},
    [TSR_IQ3_S]   = {"IQ3_S",   256, 110,  false, false},
    [TSR_IQ1_S]   = {"IQ1_S",   256, 50,   false, false},
    [TSR_IQ1_M]   = {"IQ1_M",   256, 56,   false, false},
    [TSR_TQ1_0]   = {"TQ1_0",   256, 54,   false, false},
    [TSR_TQ2_0]   = {"TQ2_0",   256, 66,   false, false},
    [TSR_NVFP4]   = {"NVFP4",   64,  36,   false, false},
    [TSR_I8]      = {"I8",      1,   1,    false, false},
    [TSR_I16]     = {"I16",     1,   2,    false, false},
    [TSR_I32]     = {"I32",     1,   4,    false, false},
    [TSR_I64]     = {"I64",     1,   8,    false, false},
    [TSR_F64]     = {"F64",     1,   8,    false, false},
};

const tsr_type_info *tsr_type_get(uint32_t type) {
    return type < TSR_TYPE_COUNT && types[type].name ? &types[type] : NULL;
}

int tsr_type_find(const char *name) {
    for (int t = 0; t < TSR_TYPE_COUNT; t++)
        if (types[t].name && strcasecmp(types[t].name, name) == 0) return t;
    return -1;
}

size_t tsr_type_row_bytes(uint32_t type, int64_t k) {
    const tsr_type_info *t = tsr_type_get(type);
    if (!t || k < 0 || k % t->block_elems) return 0;
    return (size_t)(k / t->block_elems) * (size_t)t->block_bytes;
}
