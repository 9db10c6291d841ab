/* model.h: what a public tsr_model is made of. */
#ifndef TSR_ENGINE_MODEL_H
#define TSR_ENGINE_MODEL_H

#include "engine/tier.h"
#include "gguf/gguf.h"
#include "model/net.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

struct tsr_model {
    tsr_gguf *gguf;
    tsr_tokenizer *tokenizer;
    tsr_net *net;          /* NULL with vocab_only */
    tsr_tier tier;
    char amx_note[TSR_TIER_NOTE];
    char buffer_note[512], numa_note[128], numa_place[320];
    tsr_numa numa;         /* what was asked for; NONE where there is one node */
    tsr_nodes nodes;       /* of local and mirror */
    tsr_str chat_template; /* text in the file, s = NULL when there is none */
    char memory_note[256];
    char *name, *architecture;
    char file_type[16];
    uint64_t n_params, file_bytes;
};

/* The nodes that packed weights are placed on and threads have to be (local, mirror), or NULL. */
const tsr_nodes *tsr_model_nodes(const tsr_model *m);
/* TSR_E_IO when a file of the model changed under its mapping. */
tsr_code tsr_model_check_files(const tsr_model *m, tsr_error *err);

#endif
