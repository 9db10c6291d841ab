#include "model/arch.h"

#include "core/buf.h"

#include <string.h>

static const tsr_arch architectures[] = {
    {
        .name = "llama",
        .describes = "Llama 2 and 3, Mistral, Mixtral, SmolLM",
        .rope_pairs = TSR_ROPE_ADJACENT,
        .activation = TSR_ACT_SILU,
        .experts_allowed = true,
    },
    {
        .name = "qwen2",
        .describes = "Qwen 1.5, 2 and 2.5",
        .rope_pairs = TSR_ROPE_HALVES,
        .activation = TSR_ACT_SILU,
        .qkv_bias = true,
    },
    {
        .name = "qwen3",
        .describes = "Qwen 3, dense",
        .rope_pairs = TSR_ROPE_HALVES,
        .activation = TSR_ACT_SILU,
        .qk_norm = true,
    },
    {
        .name = "qwen3moe",
        .describes = "Qwen 3, mixture of experts",
        .rope_pairs = TSR_ROPE_HALVES,
        .activation = TSR_ACT_SILU,
        .qk_norm = true,
        .experts_required = true,
        .experts_allowed = true,
    },
    {
        .name = "gemma3",
        .describes = "Gemma 3, text",
        .rope_pairs = TSR_ROPE_HALVES,
        .activation = TSR_ACT_GELU,
        .qk_norm = true,
        .post_norms = true,
        .scale_embedding = true,
        .swa_period = 6,
        .rope_base_swa = 10000.0f,
    },
};

const tsr_arch *tsr_arch_find(const char *name, size_t n, tsr_error *err) {
    size_t count = sizeof architectures / sizeof *architectures;
    for (size_t i = 0; i < count; i++)
        if (strlen(architectures[i].name) == n && memcmp(architectures[i].name, name, n) == 0) return &architectures[i];
    tsr_buf known = {0};
    for (size_t i = 0; i < count; i++) tsr_buf_printf(&known, "%s%s", i ? ", " : "", architectures[i].name);
    char shown[64];
    tsr_fail(err, TSR_E_UNSUPPORTED, "architecture '%s' is not one that Tessera knows (%s)",
             tsr_printable(name, n, shown, sizeof shown), known.oom ? "" : known.data);
    tsr_buf_free(&known);
    return NULL;
}
