/* quantize.h: what the parts of the file quantiser share: the choice of formats (quantize_mix.c), the conversion of one
 * tensor (quantize_tensor.c) and the file around them (quantize.c, tsr_quantize in tessera.h). */
#ifndef TSR_ENGINE_QUANTIZE_H
#define TSR_ENGINE_QUANTIZE_H

#include "core/error.h"
#include "gguf/gguf.h"

/* A named choice of formats. */
typedef struct tsr_mix {
    const char *name, *description;
    tsr_type base;      /* the format of most matrices */
    uint32_t file_type; /* general.file_type: the number that the field uses for this mix */
} tsr_mix;

/* Mix i, or NULL at the end. Some are two names for the same. */
const tsr_mix *tsr_mix_get(size_t i);
const tsr_mix *tsr_mix_find(const char *name); /* case-insensitive, NULL when unknown */

/* What the rules look at in a model. */
typedef struct tsr_mix_model {
    int n_layer, n_expert;
    int n_gqa;       /* query heads per KV head */
    int n_attn_v;    /* layers that have an attn_v (or attn_qkv, attn_kv_b) */
    bool has_output; /* else token_embd is the output matrix too */
} tsr_mix_model;

void tsr_mix_model_read(const tsr_gguf *g, tsr_mix_model *m);

/* True for the matrices that quantising is about; false for what stays as it is: vectors, norms, expert routers, small
 * convolutions and such. */
bool tsr_mix_applies(const tsr_gguf_tensor *t);

/* The format of a tensor to which the mix applies. i_attn_v: how many layers before this one have an attn_v. Falls back
 * to a format with smaller blocks when ne[0] asks for it, at last to F16. */
tsr_type tsr_mix_type(const tsr_mix *mix, const tsr_mix_model *m, const tsr_gguf_tensor *t, int i_attn_v);

enum { TSR_LAYER_MAX = 65536 };
/* N of "blk.N.", N < TSR_LAYER_MAX; -1 for other names. */
int tsr_tensor_layer(const char *name);

/* Converts t to type `to` into out (tsr_type_row_bytes of its rows), n_threads >= 1 of them working; tick is called by
 * the calling thread now and then with the source bytes done so far of this tensor, and may return false to cancel.
 * Fails on weights that are not finite, or too large for `to`, naming the tensor and the weight. */
typedef bool (*tsr_tick_fn)(void *user, uint64_t bytes);
tsr_code tsr_convert_tensor(const tsr_gguf_tensor *t, tsr_type to, void *out, int n_threads, tsr_tick_fn tick,
                            void *user, tsr_error *err);

#endif
