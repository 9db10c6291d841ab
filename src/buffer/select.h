/* select.h: which buffer holds a tensor. One function decides, from one table (select.c), for every tensor of a model. */
#ifndef TSR_BUFFER_SELECT_H
#define TSR_BUFFER_SELECT_H

#include "buffer/buffer.h"

/* Where a tensor may go. */
typedef enum tsr_place { TSR_PLACE_NONE, TSR_PLACE_HOST, TSR_PLACE_PACKED, TSR_PLACE_DEVICE, TSR_PLACES } tsr_place;

/* --- what the user asks for ------------------------------------------------------------------------------------------------ */

/* "REGEX=host", "REGEX=packed" or "REGEX=" and the device's name: matrices whose name the regular expression (PCRE2, anywhere in the name)
 * matches go there. The first rule that matches counts. */
typedef struct tsr_buffer_rules tsr_buffer_rules;

/* texts: NULL-terminated, or NULL for no rules; device: NULL when there is none. */
tsr_buffer_rules *tsr_buffer_rules_open(const char *const *texts, const tsr_buffer_type *device, tsr_error *err);
void tsr_buffer_rules_close(tsr_buffer_rules *rules);
/* Does a rule send tensors there? */
bool tsr_buffer_rules_want(const tsr_buffer_rules *rules, tsr_place place);
/* The place that the first matching rule names, and why ("asked for: REGEX=host"; lives as long as the rules); TSR_PLACE_NONE when none
 * matches. Fails when an expression needs too long for a name. */
tsr_code tsr_buffer_rules_find(tsr_buffer_rules *rules, const char *name, tsr_place *place, const char **why, tsr_error *err);
/* "", or which rules have matched nothing so far. */
void tsr_buffer_rules_unmatched(const tsr_buffer_rules *rules, char *out, size_t cap);

/* --- choosing -------------------------------------------------------------------------------------------------------------- */

typedef struct tsr_selection {
    const tsr_buffer_type *types[TSR_PLACES]; /* by place; NULL: there is no such buffer */
    const tsr_kernels *kern;                  /* of the tier in use, which --amx and --cpu-tier decide */
    tsr_buffer_rules *rules;                  /* may be NULL */
    bool packed;                              /* matrices go to packed buffers unasked */
    int64_t n_layer, n_offload_layers;        /* the last so many layers are the device's; the output matrix counts as one more, the very last */
} tsr_selection;

/* The place of tensor t, and why it is not in a faster one ("" when it is). Fails, naming the tensor and the reason, when a rule
 * asks for a place that cannot hold it, and when none can. */
tsr_code tsr_buffer_select(const tsr_selection *s, const tsr_gguf_tensor *t, tsr_op op, tsr_place *place, const char **reason, tsr_error *err);

#endif
