/* unicode.c: what Python's str knows of characters, from utf8proc's tables. */
#include "text/jinja/value.h"

#include "core/utf8.h"

#include <utf8proc.h>

bool tpl_is_space(uint32_t cp) {
    if (cp <= 0x20) return cp == 0x20 || (cp >= 0x09 && cp <= 0x0d) || (cp >= 0x1c && cp <= 0x1f);
    if (cp < 0x80) return false;
    if (cp == 0x85 || cp == 0xa0) return true;
    if (cp < 0x1680) return false;
    return cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f ||
           cp == 0x205f || cp == 0x3000;
}

static utf8proc_category_t category(uint32_t cp) { return utf8proc_category((utf8proc_int32_t)cp); }

static bool is_alpha(uint32_t cp) {
    utf8proc_category_t k = category(cp);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT ||
           k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_LO;
}

static bool is_decimal(uint32_t cp) { return category(cp) == UTF8PROC_CATEGORY_ND; }

/* Superscripts and circled digits count as digits, fractions and Roman numerals only as numeric. */
static bool is_digit(uint32_t cp) {
    if (is_decimal(cp)) return true;
    return cp == 0xb2 || cp == 0xb3 || cp == 0xb9 || (cp >= 0x1369 && cp <= 0x1371) || cp == 0x19da || cp == 0x2070 ||
           (cp >= 0x2074 && cp <= 0x2079) || (cp >= 0x2080 && cp <= 0x2089) || (cp >= 0x2460 && cp <= 0x2468) ||
           (cp >= 0x2474 && cp <= 0x247c) || (cp >= 0x2488 && cp <= 0x2490) || cp == 0x24ea ||
           (cp >= 0x24f5 && cp <= 0x24fd) || cp == 0x24ff || (cp >= 0x2776 && cp <= 0x277e) ||
           (cp >= 0x2780 && cp <= 0x2788) || (cp >= 0x278a && cp <= 0x2792);
}

static bool is_numeric(uint32_t cp) {
    utf8proc_category_t k = category(cp);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO || is_digit(cp);
}

bool tpl_word_cp(uint32_t cp) {
    if (cp < 0x80) return (cp >= '0' && cp <= '9') || ((cp | 0x20) >= 'a' && (cp | 0x20) <= 'z') || cp == '_';
    return is_alpha(cp) || is_numeric(cp);
}

bool tpl_printable_cp(uint32_t cp) {
    switch (category(cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return cp == ' ';
    default: return true;
    }
}

static bool is_identifier(uint32_t cp, bool first) {
    if (cp == '_') return true;
    if (is_alpha(cp) || category(cp) == UTF8PROC_CATEGORY_NL) return true;
    utf8proc_category_t k = category(cp);
    return !first && (k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC ||
                      k == UTF8PROC_CATEGORY_PC);
}

static bool is_upper(uint32_t cp) { return utf8proc_isupper((utf8proc_int32_t)cp); }
static bool is_lower(uint32_t cp) { return utf8proc_islower((utf8proc_int32_t)cp); }
static bool is_title(uint32_t cp) { return category(cp) == UTF8PROC_CATEGORY_LT; }
static bool is_cased(uint32_t cp) { return is_upper(cp) || is_lower(cp) || is_title(cp); }

/* islower(), isupper(), istitle(): at least one cased character, and all cased ones as they should be. */
static bool case_of(tpl_class what, const tpl_str *s) {
    bool any = false, previous_cased = false;
    for (size_t i = 0; i < s->n;) {
        uint32_t cp = 0;
        i += tsr_utf8_decode(s->s + i, s->n - i, &cp);
        bool cased = is_cased(cp);
        if (cased && what == TPL_C_LOWER && !is_lower(cp)) return false;
        if (cased && what == TPL_C_UPPER && !is_upper(cp)) return false;
        if (cased && what == TPL_C_TITLE && (previous_cased ? !is_lower(cp) : is_lower(cp))) return false;
        any |= cased;
        previous_cased = cased;
    }
    return any;
}

bool tpl_all_of(tpl_class what, const tpl_str *s) {
    if (what == TPL_C_LOWER || what == TPL_C_UPPER || what == TPL_C_TITLE) return case_of(what, s);
    for (size_t i = 0; i < s->n;) {
        uint32_t cp = 0;
        size_t len = tsr_utf8_decode(s->s + i, s->n - i, &cp);
        bool ok = false;
        switch (what) {
        case TPL_C_ALPHA: ok = is_alpha(cp); break;
        case TPL_C_DECIMAL: ok = is_decimal(cp); break;
        case TPL_C_DIGIT: ok = is_digit(cp); break;
        case TPL_C_NUMERIC: ok = is_numeric(cp); break;
        case TPL_C_ALNUM: ok = is_alpha(cp) || is_numeric(cp); break;
        case TPL_C_SPACE: ok = tpl_is_space(cp); break;
        case TPL_C_ASCII: ok = cp < 0x80; break;
        case TPL_C_IDENTIFIER: ok = is_identifier(cp, i == 0); break;
        case TPL_C_PRINTABLE: ok = tpl_printable_cp(cp); break;
        default: break;
        }
        if (!ok) return false;
        i += len;
    }
    return s->n > 0 || what == TPL_C_ASCII || what == TPL_C_PRINTABLE;
}

/* ------------------------------------------------------------------------------------------------- case */

static void add_cp(tpl_ctx *c, tpl_out *o, uint32_t cp) {
    char utf8[4];
    tpl_out_add(c, o, utf8, tsr_utf8_encode(cp, utf8));
}

/* Characters whose upper or title case is several characters (Unicode SpecialCasing.txt, unconditional part, those
 * that occur in running text). */
static bool add_special(tpl_ctx *c, tpl_out *o, uint32_t cp, bool title) {
    static const struct {
        uint16_t cp;
        const char *upper, *title;
    } special[] = {{0xdf, "SS", "Ss"},
                   {0x149, "\u02bcN", "\u02bcN"},
                   {0x1f0, "J\u030c", "J\u030c"},
                   {0x390, "\u0399\u0308\u0301", "\u0399\u0308\u0301"},
                   {0x3b0, "\u03a5\u0308\u0301", "\u03a5\u0308\u0301"},
                   {0x587, "\u0535\u0552", "\u0535\u0582"},
                   {0xfb00, "FF", "Ff"},
                   {0xfb01, "FI", "Fi"},
                   {0xfb02, "FL", "Fl"},
                   {0xfb03, "FFI", "Ffi"},
                   {0xfb04, "FFL", "Ffl"},
                   {0xfb05, "ST", "St"},
                   {0xfb06, "ST", "St"}};
    if (cp < 0xdf) return false;
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        if (special[i].cp != cp) continue;
        tpl_out_puts(c, o, title ? special[i].title : special[i].upper);
        return true;
    }
    return false;
}

static void add_upper(tpl_ctx *c, tpl_out *o, uint32_t cp) {
    if (!add_special(c, o, cp, false)) add_cp(c, o, (uint32_t)utf8proc_toupper((utf8proc_int32_t)cp));
}

static void add_title(tpl_ctx *c, tpl_out *o, uint32_t cp) {
    if (!add_special(c, o, cp, true)) add_cp(c, o, (uint32_t)utf8proc_totitle((utf8proc_int32_t)cp));
}

static bool case_ignorable(uint32_t cp) {
    utf8proc_category_t k = category(cp);
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
           k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK || cp == '\'' || cp == '.' || cp == ':' ||
           cp == 0xb7 || cp == 0x2018 || cp == 0x2019 || cp == 0x2024 || cp == 0x2027;
}

/* Capital sigma becomes final sigma at the end of a word. */
static bool final_sigma(const tpl_str *s, size_t at) {
    bool before = false;
    for (size_t i = at; i > 0;) {
        size_t end = i--;
        while (i > 0 && (s->s[i] & 0xc0) == 0x80) i--;
        uint32_t cp = 0;
        tsr_utf8_decode(s->s + i, end - i, &cp);
        if (case_ignorable(cp)) continue;
        before = is_cased(cp);
        break;
    }
    if (!before) return false;
    for (size_t i = at + 2; i < s->n;) {
        uint32_t cp = 0;
        i += tsr_utf8_decode(s->s + i, s->n - i, &cp);
        if (!case_ignorable(cp)) return !is_cased(cp);
    }
    return true;
}

static void add_lower(tpl_ctx *c, tpl_out *o, const tpl_str *s, size_t at, uint32_t cp) {
    if (cp == 0x130)
        tpl_out_puts(c, o, "i\u0307");
    else if (cp == 0x3a3)
        add_cp(c, o, final_sigma(s, at) ? 0x3c2 : 0x3c3);
    else
        add_cp(c, o, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
}

typedef enum { UPPER, LOWER, CAPITALIZE, TITLE, SWAP } mapping;

static const tpl_str *map_case(tpl_ctx *c, const tpl_str *s, mapping how) {
    tpl_out o = {0};
    bool previous_cased = false;
    tpl_work(c, s->n / 2);
    for (size_t i = 0; i < s->n;) {
        uint32_t cp = 0;
        size_t len = tsr_utf8_decode(s->s + i, s->n - i, &cp);
        bool upper = how == UPPER || (how == SWAP && is_lower(cp)), title = false;
        if (how == CAPITALIZE) title = i == 0;
        if (how == TITLE) title = !previous_cased;
        if (upper)
            add_upper(c, &o, cp);
        else if (title)
            add_title(c, &o, cp);
        else if (how == SWAP && !is_upper(cp))
            add_cp(c, &o, cp);
        else
            add_lower(c, &o, s, i, cp);
        previous_cased = is_cased(cp);
        i += len;
    }
    tpl_val v = tpl_out_str(c, &o);
    return s->markup ? tpl_str_as_markup(c, v.u.str, true) : v.u.str;
}

const tpl_str *tpl_upper(tpl_ctx *c, const tpl_str *s) { return map_case(c, s, UPPER); }
const tpl_str *tpl_lower(tpl_ctx *c, const tpl_str *s) { return map_case(c, s, LOWER); }
const tpl_str *tpl_capitalize(tpl_ctx *c, const tpl_str *s) { return map_case(c, s, CAPITALIZE); }
const tpl_str *tpl_title(tpl_ctx *c, const tpl_str *s) { return map_case(c, s, TITLE); }
const tpl_str *tpl_swapcase(tpl_ctx *c, const tpl_str *s) { return map_case(c, s, SWAP); }
