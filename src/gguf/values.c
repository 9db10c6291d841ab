/* values.c: typed access to metadata, and metadata as text. */
#include "gguf/internal.h"

#include "core/buf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *tsr_gguf_vtype_name(tsr_gguf_vtype t) {
    static const char *const names[TSR_GGUF_VTYPE_COUNT] = {
        [TSR_GGUF_U8] = "u8",      [TSR_GGUF_I8] = "i8",     [TSR_GGUF_U16] = "u16", [TSR_GGUF_I16] = "i16",
        [TSR_GGUF_U32] = "u32",    [TSR_GGUF_I32] = "i32",   [TSR_GGUF_F32] = "f32", [TSR_GGUF_BOOL] = "bool",
        [TSR_GGUF_STRING] = "str", [TSR_GGUF_ARRAY] = "arr", [TSR_GGUF_U64] = "u64", [TSR_GGUF_I64] = "i64",
        [TSR_GGUF_F64] = "f64",
    };
    return (uint32_t)t < TSR_GGUF_VTYPE_COUNT ? names[t] : "unknown";
}

/* One number, as wide as numbers get. u64 holds the integers that i64 cannot. */
typedef struct number {
    enum { NUMBER_NONE, NUMBER_INT, NUMBER_U64, NUMBER_FLOAT } kind;
    int64_t i;
    uint64_t u;
    double f;
} number;

static number int_number(int64_t i) { return (number){NUMBER_INT, i, 0, 0}; }

static number load_number(const tsr_gguf_kv *kv, uint64_t i) {
    tsr_gguf_vtype type = kv->type == TSR_GGUF_ARRAY ? kv->elem : kv->type;
    size_t size = tsr_gguf_vtype_size(type);
    if (size == 0 || i >= kv->n) return (number){NUMBER_NONE, 0, 0, 0};
    uint64_t bits = 0; /* little-endian: the low bytes of a word */
    memcpy(&bits, (const uint8_t *)kv->data + i * size, size);
    switch (type) {
    case TSR_GGUF_I8: return int_number((int8_t)bits);
    case TSR_GGUF_I16: return int_number((int16_t)bits);
    case TSR_GGUF_I32: return int_number((int32_t)bits);
    case TSR_GGUF_I64: return int_number((int64_t)bits);
    case TSR_GGUF_U64: return (number){bits > INT64_MAX ? NUMBER_U64 : NUMBER_INT, (int64_t)bits, bits, 0};
    case TSR_GGUF_F32: {
        uint32_t low = (uint32_t)bits;
        float f;
        memcpy(&f, &low, sizeof f);
        return (number){NUMBER_FLOAT, 0, 0, f};
    }
    case TSR_GGUF_F64: {
        double f;
        memcpy(&f, &bits, sizeof f);
        return (number){NUMBER_FLOAT, 0, 0, f};
    }
    default: return int_number((int64_t)bits); /* u8, u16, u32, bool */
    }
}

double tsr_gguf_num(const tsr_gguf_kv *kv, uint64_t i) {
    number n = load_number(kv, i);
    return n.kind == NUMBER_FLOAT ? n.f : n.kind == NUMBER_U64 ? (double)n.u : (double)n.i;
}

int64_t tsr_gguf_int(const tsr_gguf_kv *kv, uint64_t i) {
    number n = load_number(kv, i);
    if (n.kind == NUMBER_INT) return n.i;
    if (n.kind == NUMBER_U64) return INT64_MAX;
    if (n.kind == NUMBER_NONE || isnan(n.f)) return 0;
    if (n.f >= 0x1p63) return INT64_MAX; /* a cast of what does not fit is undefined */
    return n.f < -0x1p63 ? INT64_MIN : (int64_t)n.f;
}

/* ------------------------------------------------------------------------------------------------- getters */

static tsr_code wrong_type(const tsr_gguf *g, const tsr_gguf_kv *kv, const char *wanted, tsr_error *err) {
    char label[TSR_GGUF_LABEL];
    bool array = kv->type == TSR_GGUF_ARRAY;
    return tsr_fail(err, TSR_E_FORMAT,
                    "%s: key '%s' is of type %s%s, must be %s; the file is damaged or was made by an "
                    "unusual converter",
                    tsr_gguf_label(g, 0, label), kv->key, array ? "array of " : "",
                    tsr_gguf_vtype_name(array ? kv->elem : kv->type), wanted);
}

static bool is_int(tsr_gguf_vtype t) {
    return tsr_gguf_vtype_size(t) && t != TSR_GGUF_F32 && t != TSR_GGUF_F64 && t != TSR_GGUF_BOOL;
}

tsr_code tsr_gguf_opt_int(const tsr_gguf *g, const char *key, int64_t min, int64_t max, int64_t *out, tsr_error *err) {
    const tsr_gguf_kv *kv = tsr_gguf_find(g, key);
    if (!kv) return TSR_OK;
    if (!is_int(kv->type)) return wrong_type(g, kv, "an integer", err);
    number n = load_number(kv, 0);
    if (n.kind == NUMBER_INT && n.i >= min && n.i <= max) {
        *out = n.i;
        return TSR_OK;
    }
    char label[TSR_GGUF_LABEL], value[32];
    if (n.kind == NUMBER_U64)
        snprintf(value, sizeof value, "%" PRIu64, n.u);
    else
        snprintf(value, sizeof value, "%" PRId64, n.i);
    return tsr_fail(err, TSR_E_FORMAT, "%s: key '%s' is %s, must be from %" PRId64 " to %" PRId64,
                    tsr_gguf_label(g, 0, label), key, value, min, max);
}

tsr_code tsr_gguf_get_int(const tsr_gguf *g, const char *key, int64_t min, int64_t max, int64_t *out, tsr_error *err) {
    if (tsr_gguf_find(g, key)) return tsr_gguf_opt_int(g, key, min, max, out, err);
    char label[TSR_GGUF_LABEL];
    return tsr_fail(err, TSR_E_FORMAT, "%s: key '%s' is missing; the file is no complete language model",
                    tsr_gguf_label(g, 0, label), key);
}

tsr_code tsr_gguf_opt_f32(const tsr_gguf *g, const char *key, float *out, tsr_error *err) {
    const tsr_gguf_kv *kv = tsr_gguf_find(g, key);
    if (!kv) return TSR_OK;
    if (kv->type != TSR_GGUF_F32 && kv->type != TSR_GGUF_F64 && !is_int(kv->type))
        return wrong_type(g, kv, "a number", err);
    double value = tsr_gguf_num(kv, 0);
    float narrow = (float)value;
    if (!isfinite(narrow)) {
        char label[TSR_GGUF_LABEL];
        return tsr_fail(err, TSR_E_FORMAT, "%s: key '%s' is %g, must be a finite 32-bit number",
                        tsr_gguf_label(g, 0, label), key, value);
    }
    *out = narrow;
    return TSR_OK;
}

tsr_code tsr_gguf_opt_bool(const tsr_gguf *g, const char *key, bool *out, tsr_error *err) {
    const tsr_gguf_kv *kv = tsr_gguf_find(g, key);
    if (!kv) return TSR_OK;
    if (kv->type != TSR_GGUF_BOOL) return wrong_type(g, kv, "bool", err);
    *out = tsr_gguf_int(kv, 0) != 0;
    return TSR_OK;
}

tsr_code tsr_gguf_opt_str(const tsr_gguf *g, const char *key, tsr_str *out, tsr_error *err) {
    const tsr_gguf_kv *kv = tsr_gguf_find(g, key);
    if (!kv) return TSR_OK;
    if (kv->type != TSR_GGUF_STRING) return wrong_type(g, kv, "str", err);
    *out = kv->strings[0];
    return TSR_OK;
}

tsr_code tsr_gguf_opt_array(const tsr_gguf *g, const char *key, tsr_gguf_vtype elem, uint64_t expect_n,
                            const tsr_gguf_kv **out, tsr_error *err) {
    *out = NULL;
    const tsr_gguf_kv *kv = tsr_gguf_find(g, key);
    if (!kv) return TSR_OK;
    if (kv->type != TSR_GGUF_ARRAY || kv->elem != elem) {
        char wanted[32];
        snprintf(wanted, sizeof wanted, "array of %s", tsr_gguf_vtype_name(elem));
        return wrong_type(g, kv, wanted, err);
    }
    if (expect_n && kv->n != expect_n) {
        char label[TSR_GGUF_LABEL];
        return tsr_fail(err, TSR_E_FORMAT, "%s: key '%s' has %" PRIu64 " elements, must have %" PRIu64,
                        tsr_gguf_label(g, 0, label), key, kv->n, expect_n);
    }
    *out = kv;
    return TSR_OK;
}

/* ------------------------------------------------------------------------------------------------ as text */

/* The fewest digits that read back as the same number. */
static void format_float(double f, bool narrow, struct tsr_buf *b) {
    char text[40];
    for (int digits = narrow ? 6 : 15; digits <= (narrow ? 9 : 17); digits++) {
        snprintf(text, sizeof text, "%.*g", digits, f);
        if (narrow ? strtof(text, NULL) == (float)f : strtod(text, NULL) == f) break;
    }
    tsr_buf_puts(b, text);
}

static void format_item(const tsr_gguf_kv *kv, tsr_gguf_vtype type, uint64_t i, struct tsr_buf *b) {
    if (type == TSR_GGUF_STRING) {
        tsr_buf_append(b, kv->strings[i].s, kv->strings[i].n);
        return;
    }
    number n = load_number(kv, i);
    if (type == TSR_GGUF_BOOL)
        tsr_buf_puts(b, n.i ? "true" : "false");
    else if (n.kind == NUMBER_FLOAT)
        format_float(n.f, type == TSR_GGUF_F32, b);
    else if (n.kind == NUMBER_U64)
        tsr_buf_printf(b, "%" PRIu64, n.u);
    else
        tsr_buf_printf(b, "%" PRId64, n.i);
}

void tsr_gguf_format(const tsr_gguf_kv *kv, size_t max_items, struct tsr_buf *b) {
    if (kv->type != TSR_GGUF_ARRAY) {
        format_item(kv, kv->type, 0, b);
        return;
    }
    tsr_buf_putc(b, '[');
    for (uint64_t i = 0; i < kv->n; i++) {
        if (i > 0) tsr_buf_puts(b, ", ");
        if (i == max_items) {
            tsr_buf_puts(b, "...");
            break;
        }
        format_item(kv, kv->elem, i, b);
    }
    tsr_buf_putc(b, ']');
}
