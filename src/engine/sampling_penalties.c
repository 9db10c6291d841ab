/* Methods that change the logits themselves, from what the text already holds. */
#include "engine/sampling.h"

#include <math.h>

static bool in_vocab(tsr_token t, size_t n_vocab) { return t >= 0 && (size_t)t < n_vocab; }

void tsr_apply_logit_bias(float *logits, size_t n_vocab, const tsr_logit_bias *bias, size_t n_bias) {
    for (size_t i = 0; i < n_bias; i++)
        if (in_vocab(bias[i].token, n_vocab)) logits[bias[i].token] += bias[i].bias;
}

void tsr_apply_penalties(float *logits, size_t n_vocab, const tsr_token *history, size_t n, float repeat,
                         float frequency, float presence, uint32_t *count) {
    for (size_t i = 0; i < n; i++)
        if (in_vocab(history[i], n_vocab)) count[history[i]]++;
    for (size_t i = 0; i < n; i++) {
        tsr_token t = history[i];
        if (!in_vocab(t, n_vocab) || count[t] == 0) continue; /* 0: done at an earlier occurrence */
        /* Dividing a negative logit would make the token likelier. */
        logits[t] = logits[t] > 0.0f ? logits[t] / repeat : logits[t] * repeat;
        logits[t] -= (float)count[t] * frequency + presence;
        count[t] = 0;
    }
}

/* match[i] = length of the longest common suffix of history[0..i] and history[0..n), for i < n - 1: the Z algorithm
 * (Gusfield 1997) on the reversed history, where position r stands for i = n - 1 - r. */
static void common_suffixes(const tsr_token *history, size_t n, uint32_t *match) {
    size_t left = 0, right = 0; /* [left, right): the stretch known to repeat the reversed text's beginning */
    for (size_t r = 1; r < n; r++) {
        size_t len = 0;
        if (r < right) {
            size_t known = match[n - 1 - (r - left)];
            len = known < right - r ? known : right - r;
        }
        while (r + len < n && history[n - 1 - len] == history[n - 1 - r - len]) len++;
        if (r + len > right) {
            left = r;
            right = r + len;
        }
        match[n - 1 - r] = (uint32_t)len;
    }
}

/* multiplier * base^exponent, held below where float would overflow. */
static float dry_penalty(float multiplier, float base, uint32_t exponent) {
    double penalty = multiplier * pow(base, exponent);
    return penalty < 1e30 ? (float)penalty : 1e30f;
}

void tsr_apply_dry(float *logits, size_t n_vocab, const tsr_token *history, size_t n, float multiplier, float base,
                   int allowed_length, const uint8_t *is_breaker, uint32_t *match, uint32_t *longest) {
    if (n < 2 || multiplier == 0.0f || allowed_length < 1) return;
    uint32_t allowed = (uint32_t)allowed_length;

    /* A match cannot reach past the last breaker, so the tokens since then bound every length. */
    size_t limit = 0;
    while (limit < n) {
        tsr_token t = history[n - 1 - limit];
        if (is_breaker && in_vocab(t, n_vocab) && is_breaker[t]) break;
        limit++;
    }
    if (limit < allowed) return;

    common_suffixes(history, n, match);
    for (size_t i = 0; i + 1 < n; i++) {
        tsr_token next = history[i + 1]; /* what followed last time */
        if (!in_vocab(next, n_vocab) || (is_breaker && is_breaker[next])) continue;
        uint32_t length = match[i] < limit ? match[i] : (uint32_t)limit;
        if (length >= allowed && length > longest[next]) longest[next] = length;
    }
    for (size_t i = 1; i < n; i++) {
        tsr_token next = history[i];
        if (!in_vocab(next, n_vocab) || longest[next] == 0) continue;
        logits[next] -= dry_penalty(multiplier, base, longest[next] - allowed);
        longest[next] = 0;
    }
}
