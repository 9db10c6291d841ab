/* The SentencePiece normaliser: replacements of a compiled character map (NFKC and the like), white space clean-up,
 * spaces as U+2581. Source: the SentencePiece project's normalizer and the Darts-clone double array that it stores.
 *
 * tokenizer.ggml.precompiled_charsmap = u32 size of the double array in bytes | double array | replacement strings. */
#include "core/utf8.h"
#include "text/tokenizer/vocab.h"

#include <string.h>

#define SPACE_SYMBOL "\xe2\x96\x81"
/* Real maps match at most some 20 bytes and replace by at most 33 (U+FDFA); the bounds keep hostile ones linear. */
#define MAX_MATCH       256
#define MAX_REPLACEMENT 256
/* Bytes a normalised text may have for one of the original. Real maps stay below 14 (U+FDFA again, its spaces as
 * U+2581). */
#define MAX_GROWTH 32

static const char *const charsmap_key = "tokenizer.ggml.precompiled_charsmap";

static tsr_code load_charsmap(tsr_normalizer *z, const tsr_gguf *g, tsr_error *err) {
    const tsr_gguf_kv *kv = tsr_gguf_find(g, charsmap_key);
    if (!kv) return TSR_OK;
    if (kv->type != TSR_GGUF_ARRAY || (kv->elem != TSR_GGUF_U8 && kv->elem != TSR_GGUF_I8))
        return tsr_fail(err, TSR_E_FORMAT, "%s must be an array of u8 or i8, but is %s%s", charsmap_key,
                        kv->type == TSR_GGUF_ARRAY ? "an array of " : "",
                        tsr_gguf_vtype_name(kv->type == TSR_GGUF_ARRAY ? kv->elem : kv->type));
    if (kv->n == 0) return TSR_OK; /* written by converters for models without a map */
    uint32_t size = 0;
    if (kv->n >= sizeof size) memcpy(&size, kv->data, sizeof size);
    if (kv->n < sizeof size || size > kv->n - sizeof size || size < 4 || size % 4)
        return tsr_fail(err, TSR_E_FORMAT, "%s: %llu bytes cannot hold a double array of %u bytes (a multiple of 4)",
                        charsmap_key, (unsigned long long)kv->n, size);
    z->nodes = (const uint8_t *)kv->data + sizeof size;
    z->n_nodes = size / 4;
    z->replacements = (const char *)kv->data + sizeof size + size;
    z->n_replacements = kv->n - sizeof size - size;
    return TSR_OK;
}

tsr_code tsr_normalizer_load(tsr_tokenizer *t, const tsr_gguf *g, tsr_error *err) {
    tsr_normalizer *z = &t->normalizer;
    z->add_space_prefix = t->model == TSR_MODEL_SPM;
    z->keep_invalid = t->byte_fallback;
    tsr_code code = tsr_gguf_opt_bool(g, "tokenizer.ggml.add_space_prefix", &z->add_space_prefix, err);
    if (code == TSR_OK)
        code = tsr_gguf_opt_bool(g, "tokenizer.ggml.remove_extra_whitespaces", &z->remove_extra_whitespaces, err);
    t->special.add_space_prefix = z->add_space_prefix;
    return code == TSR_OK ? load_charsmap(z, g, err) : code;
}

static bool node_at(const tsr_normalizer *z, uint32_t i, uint32_t *unit) {
    if (i >= z->n_nodes) return false;
    memcpy(unit, z->nodes + 4 * (size_t)i, sizeof *unit);
    return true;
}

/* Darts-clone units: bits 0-7 label, 8 has-value, 10-30 offset to the children (<< 8 when bit 9 is set); a value unit
 * has bit 31 set and 31 bits of value. */
static uint32_t unit_offset(uint32_t unit) { return (unit >> 10) << ((unit & 1u << 9) >> 6); }

/* The longest key of the map that s[0..n) starts with: *len bytes, 0 for none, and its replacement's offset. */
static bool longest_match(const tsr_normalizer *z, const char *s, size_t n, size_t *len, uint32_t *value) {
    uint32_t unit, at;
    *len = 0;
    if (!node_at(z, 0, &unit)) return true;
    at = unit_offset(unit);
    for (size_t i = 0; i < n && i < MAX_MATCH; i++) {
        uint8_t c = (uint8_t)s[i];
        at ^= c;
        if (!node_at(z, at, &unit)) return false;
        if ((unit & (1u << 31 | 0xff)) != c) return true;
        at ^= unit_offset(unit);
        if (!(unit >> 8 & 1)) continue;
        uint32_t leaf;
        if (!node_at(z, at, &leaf)) return false;
        *len = i + 1;
        *value = leaf & ~(1u << 31);
    }
    return true;
}

/* What s[0..n), n > 0, starts with after normalisation: *n_out bytes at *out for *used bytes of s. */
static tsr_code normalize_prefix(const tsr_normalizer *z, const char *s, size_t n, const char **out, size_t *n_out,
                                 size_t *used, tsr_error *err) {
    uint32_t value = 0;
    size_t len;
    if (!longest_match(z, s, n, &len, &value))
        return tsr_fail(err, TSR_E_FORMAT, "%s: the double array of %u units points outside itself", charsmap_key,
                        z->n_nodes);
    if (len > 0) {
        size_t room = value < z->n_replacements ? z->n_replacements - value : 0;
        const char *end =
            room ? memchr(z->replacements + value, 0, room < MAX_REPLACEMENT ? room : MAX_REPLACEMENT) : NULL;
        if (!end)
            return tsr_fail(err, TSR_E_FORMAT, "%s: no replacement of less than %d bytes at offset %u of %zu",
                            charsmap_key, MAX_REPLACEMENT, value, z->n_replacements);
        *out = z->replacements + value;
        *n_out = (size_t)(end - *out);
        *used = len;
        return TSR_OK;
    }
    uint32_t cp;
    len = tsr_utf8_decode(s, n, &cp);
    *used = len ? len : 1;
    bool replace = len == 0 && !z->keep_invalid;
    *out = replace ? "\xef\xbf\xbd" : s;
    *n_out = replace ? 3 : *used;
    return TSR_OK;
}

static bool ends_with_symbol(const tsr_buf *b, size_t begin) {
    return b->len >= begin + 3 && memcmp(b->data + b->len - 3, SPACE_SYMBOL, 3) == 0;
}

tsr_code tsr_normalize(const tsr_normalizer *z, tsr_fragment f, tsr_buf *out, tsr_error *err) {
    bool trim = z->remove_extra_whitespaces;
    bool after_space = trim && f.first; /* spaces here are dropped */
    bool prefix = z->add_space_prefix && f.first && f.n > 0;
    size_t begin = out->len;
    for (size_t i = 0; i < f.n;) {
        const char *piece = NULL;
        size_t n = 0, used = 0;
        tsr_code code = normalize_prefix(z, f.s + i, f.n - i, &piece, &n, &used, err);
        if (code != TSR_OK) return code;
        i += used;
        while (after_space && n > 0 && *piece == ' ') piece++, n--;
        if (n == 0) continue;
        if (prefix) tsr_buf_puts(out, SPACE_SYMBOL);
        prefix = false;
        for (size_t k = 0; k < n; k++) {
            if (piece[k] == ' ')
                tsr_buf_puts(out, SPACE_SYMBOL);
            else
                tsr_buf_putc(out, piece[k]);
        }
        after_space = trim && piece[n - 1] == ' ';
        if (out->len - begin > MAX_GROWTH * f.n + 64)
            return tsr_fail(err, TSR_E_FORMAT, "%s makes a text of %zu bytes more than %d times as long", charsmap_key,
                            f.n, MAX_GROWTH);
    }
    while (trim && f.last && ends_with_symbol(out, begin)) out->len -= 3;
    return out->oom ? tsr_fail(err, TSR_E_NOMEM, "out of memory for a normalised text of %zu bytes", f.n) : TSR_OK;
}
