/* lexer.c: template source to tokens. Whitespace control (-, +, trim_blocks, lstrip_blocks) is done here. */
#include "text/jinja/value.h"

#include "core/utf8.h"

#include <stdlib.h>
#include <string.h>

typedef struct lexer {
    tpl_ctx *c;
    const char *s;
    size_t n, i;
    tpl_token *tokens;
    size_t n_tokens, cap;
    bool line_starting; /* the last tag ended with a newline, or nothing came before */
    char *brackets;     /* open ( [ { of the current tag */
    size_t n_brackets, cap_brackets;
} lexer;

char *tpl_normalise(tpl_ctx *c, const char *source, size_t n, size_t *n_out) {
    char *out = tpl_alloc(c, n + 1);
    size_t o = 0;
    for (size_t i = 0; i < n; i++) {
        char ch = source[i];
        if (ch == '\r') {
            ch = '\n';
            if (i + 1 < n && source[i + 1] == '\n') i++;
        }
        out[o++] = ch;
    }
    if (o && out[o - 1] == '\n') o--;
    out[o] = '\0';
    *n_out = o;
    return out;
}

static tpl_token *push(lexer *x, tpl_tok type, size_t at) {
    if (x->n_tokens == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 256;
        x->tokens = tpl_grow(x->c, x->tokens, x->n_tokens, cap, sizeof *x->tokens);
        x->cap = cap;
    }
    tpl_token *t = &x->tokens[x->n_tokens++];
    t->type = type;
    t->at = at;
    return t;
}

static bool at(const lexer *x, size_t i, const char *literal) {
    size_t n = strlen(literal);
    return i + n <= x->n && memcmp(x->s + i, literal, n) == 0;
}

static size_t skip_space(const lexer *x, size_t i) {
    while (i < x->n) {
        uint32_t cp;
        size_t len = tsr_utf8_decode(x->s + i, x->n - i, &cp);
        if (len == 0 || !tpl_is_space(cp)) break;
        i += len;
    }
    return i;
}

/* Start of the whitespace that ends at `end`, not before `from`. */
static size_t space_before(const lexer *x, size_t from, size_t end) {
    while (end > from) {
        size_t k = end - 1;
        while (k > from && (x->s[k] & 0xc0) == 0x80) k--;
        uint32_t cp;
        if (tsr_utf8_decode(x->s + k, end - k, &cp) != end - k || !tpl_is_space(cp)) break;
        end = k;
    }
    return end;
}

/* Text [from, to) before a tag whose sign is '-', '+' or 0. Variables are never lstripped. */
static void push_text(lexer *x, size_t from, size_t to, char sign, bool variable) {
    if (sign == '-') {
        to = space_before(x, from, to);
    } else if (sign != '+' && !variable) {
        size_t line = to;
        while (line > from && x->s[line - 1] != '\n') line--;
        if ((line > from || x->line_starting) && space_before(x, line, to) == line) to = line;
    }
    if (to > from) push(x, TPL_T_TEXT, from)->str = tpl_str_wrap(x->c, x->s + from, to - from);
}

/* After the closing "%}" or "#}" at i (sign already seen, if any): newline trimming. */
static size_t after_close(const lexer *x, size_t i, char sign) {
    if (sign == '-') return skip_space(x, i);
    if (sign != '+' && i < x->n && x->s[i] == '\n') return i + 1;
    return i;
}

/* Is there [sign] close at i? Stores the sign and where the text goes on. */
static bool closes(const lexer *x, size_t i, const char *close, size_t *next) {
    char sign = 0;
    if (i < x->n && (x->s[i] == '-' || (x->s[i] == '+' && close[0] != '}'))) sign = x->s[i];
    if (!at(x, i + (sign != 0), close)) return false;
    *next = i + (sign != 0) + 2;
    if (close[0] == '}')
        *next = sign == '-' ? skip_space(x, *next) : *next;
    else
        *next = after_close(x, *next, sign);
    return true;
}

static void lex_comment(lexer *x, size_t start) {
    for (size_t i = x->i; i + 1 < x->n; i++) {
        size_t next;
        if (!closes(x, i, "#}", &next)) continue;
        x->i = next;
        return;
    }
    tpl_fail_at(x->c, start, "missing end of comment tag: \"#}\"");
}

/* "{% [sign] raw %}" at i: returns where its content starts, else 0. */
static size_t raw_begin(const lexer *x, size_t i) {
    i = skip_space(x, i);
    if (!at(x, i, "raw")) return 0;
    i = skip_space(x, i + 3);
    if (at(x, i, "%}")) return i + 2;
    if (at(x, i, "-%}")) return skip_space(x, i + 3);
    return 0;
}

static void lex_raw(lexer *x, size_t start) {
    size_t from = x->i;
    for (size_t i = from; i + 1 < x->n; i++) {
        if (!at(x, i, "{%")) continue;
        size_t k = i + 2;
        char sign = 0;
        if (k < x->n && (x->s[k] == '-' || x->s[k] == '+')) sign = x->s[k++];
        k = skip_space(x, k);
        if (!at(x, k, "endraw")) continue;
        size_t next;
        if (!closes(x, skip_space(x, k + 6), "%}", &next)) continue;
        push_text(x, from, i, sign, false);
        x->i = next;
        return;
    }
    tpl_fail_at(x->c, start, "missing end of raw directive: \"{%% endraw %%}\"");
}

/* ------------------------------------------------------------------------------------- inside of a tag */

static int digit_value(char ch) {
    if (ch >= '0' && ch <= '9') return ch - '0';
    if (ch >= 'a' && ch <= 'f') return ch - 'a' + 10;
    if (ch >= 'A' && ch <= 'F') return ch - 'A' + 10;
    return 99;
}

/* Digits with single underscores between them; returns the end. */
static size_t digits(const lexer *x, size_t i, int base) {
    while (i < x->n) {
        if (digit_value(x->s[i]) < base)
            i++;
        else if (x->s[i] == '_' && i + 1 < x->n && digit_value(x->s[i + 1]) < base)
            i += 2;
        else
            break;
    }
    return i;
}

static void lex_float(lexer *x, size_t start, size_t end) {
    char *text = tpl_alloc(x->c, end - start + 1);
    size_t o = 0;
    for (size_t i = start; i < end; i++)
        if (x->s[i] != '_') text[o++] = x->s[i];
    push(x, TPL_T_FLOAT, start)->f = strtod(text, NULL);
    x->i = end;
}

static void lex_number(lexer *x) {
    size_t start = x->i, end = digits(x, start, 10);
    bool after_dot = start > 0 && x->s[start - 1] == '.'; /* a.1.2 are subscripts, not floats */
    if (!after_dot) {
        size_t e = end;
        if (e + 1 < x->n && x->s[e] == '.' && digit_value(x->s[e + 1]) < 10) e = digits(x, e + 1, 10);
        size_t k = e;
        if (k < x->n && (x->s[k] == 'e' || x->s[k] == 'E')) {
            k++;
            if (k < x->n && (x->s[k] == '+' || x->s[k] == '-')) k++;
            if (k < x->n && digit_value(x->s[k]) < 10) e = digits(x, k, 10);
        }
        if (e > end) {
            lex_float(x, start, e);
            return;
        }
    }
    int base = 10;
    size_t i = start;
    if (x->s[i] == '0' && i + 1 < x->n) {
        char mark = x->s[i + 1] | 0x20;
        int other = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
        size_t from = i + 2;
        if (other != 10 && from < x->n && x->s[from] == '_') from++;
        if (other != 10 && from < x->n && digit_value(x->s[from]) < other) {
            base = other;
            i = from;
            end = digits(x, i, base);
        }
    }
    if (base == 10 && x->s[start] == '0') { /* zeros only: 007 is an error, as in Python */
        end = start + 1;
        while (end < x->n && (x->s[end] == '0' || (x->s[end] == '_' && end + 1 < x->n && x->s[end + 1] == '0')))
            end += x->s[end] == '_' ? 2 : 1;
    }
    int64_t value = 0;
    for (; i < end; i++) {
        if (x->s[i] == '_') continue;
        if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit_value(x->s[i]), &value))
            tpl_fail_at(x->c, start, "integer does not fit 64 bits");
    }
    push(x, TPL_T_INT, start)->i = value;
    x->i = end;
}

static void lex_name(lexer *x) {
    size_t start = x->i;
    while (x->i < x->n) {
        uint32_t cp;
        size_t len = tsr_utf8_decode(x->s + x->i, x->n - x->i, &cp);
        if (len == 0 || !tpl_word_cp(cp)) break;
        x->i += len;
    }
    tpl_str *name = tpl_str_wrap(x->c, x->s + start, x->i - start);
    if (!tpl_all_of(TPL_C_IDENTIFIER, name)) tpl_fail_at(x->c, start, "invalid character in identifier");
    push(x, TPL_T_NAME, start)->str = name;
}

/* Number in `base` of exactly `want` digits (octal: up to) at i; advances i. */
static uint32_t escape_number(lexer *x, size_t *i, size_t end, int base, int want) {
    uint32_t value = 0;
    int got = 0;
    while (got < want && *i < end && digit_value(x->s[*i]) < base) {
        value = value * (uint32_t)base + (uint32_t)digit_value(x->s[(*i)++]);
        got++;
    }
    if (base == 16 && got < want) tpl_fail_at(x->c, *i, "truncated \\x, \\u or \\U escape in a string");
    return value;
}

static void unescape(lexer *x, size_t i, size_t end, tpl_out *o) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    while (i < end) {
        if (x->s[i] != '\\') {
            tpl_out_add(x->c, o, x->s + i++, 1);
            continue;
        }
        size_t slash = i++;
        char ch = x->s[i++];
        const char *simple = ch ? strchr(from, ch) : NULL;
        if (ch == '\n') continue;
        if (simple) {
            tpl_out_add(x->c, o, to + (simple - from), 1);
            continue;
        }
        uint32_t cp;
        if (ch == 'x' || ch == 'u' || ch == 'U') {
            cp = escape_number(x, &i, end, 16, ch == 'x' ? 2 : ch == 'u' ? 4 : 8);
        } else if (ch >= '0' && ch <= '7') {
            i--;
            cp = escape_number(x, &i, end, 8, 3);
        } else if (ch == 'N') {
            tpl_fail_at(x->c, slash, "\\N{...} escapes are not supported; write the character or \\uXXXX");
        } else { /* an unknown escape stays as it is */
            tpl_out_add(x->c, o, "\\", 1);
            i--;
            continue;
        }
        char utf8[4];
        size_t len = tsr_utf8_encode(cp, utf8);
        if (len == 0) tpl_fail_at(x->c, slash, "escape of U+%X, which is not a character", (unsigned)cp);
        tpl_out_add(x->c, o, utf8, len);
    }
}

static void lex_string(lexer *x) {
    size_t start = x->i, i = start + 1;
    char quote = x->s[start];
    bool plain = true;
    while (i < x->n && x->s[i] != quote) {
        if (x->s[i] == '\\') {
            plain = false;
            i++;
        }
        i++;
    }
    if (i >= x->n) tpl_fail_at(x->c, start, "string without a closing %c", quote);
    tpl_token *t = push(x, TPL_T_STR, start);
    x->i = i + 1;
    if (plain) {
        t->str = tpl_str_wrap(x->c, x->s + start + 1, i - start - 1);
    } else {
        tpl_out o = {0};
        unescape(x, start + 1, i, &o);
        t->str = tpl_out_str(x->c, &o).u.str;
    }
}

static void bracket(lexer *x, char ch) {
    static const char open[] = "([{", close[] = ")]}";
    const char *p = strchr(open, ch);
    if (p) {
        if (x->n_brackets == x->cap_brackets) {
            size_t cap = x->cap_brackets ? x->cap_brackets * 2 : 64;
            x->brackets = tpl_grow(x->c, x->brackets, x->n_brackets, cap, 1);
            x->cap_brackets = cap;
        }
        x->brackets[x->n_brackets++] = close[p - open];
        return;
    }
    if (x->n_brackets == 0) tpl_fail_at(x->c, x->i, "unexpected '%c'", ch);
    char want = x->brackets[--x->n_brackets];
    if (want != ch) tpl_fail_at(x->c, x->i, "unexpected '%c', expected '%c'", ch, want);
}

static void lex_operator(lexer *x) {
    static const struct {
        char text[3];
        tpl_tok type;
    } ops[] = {{"==", TPL_T_EQ},       {"!=", TPL_T_NE},      {"<=", TPL_T_LE},      {">=", TPL_T_GE},
               {"//", TPL_T_FLOORDIV}, {"**", TPL_T_POW},     {"+", TPL_T_ADD},      {"-", TPL_T_SUB},
               {"*", TPL_T_MUL},       {"/", TPL_T_DIV},      {"%", TPL_T_MOD},      {"~", TPL_T_TILDE},
               {"(", TPL_T_LPAREN},    {")", TPL_T_RPAREN},   {"[", TPL_T_LBRACKET}, {"]", TPL_T_RBRACKET},
               {"{", TPL_T_LBRACE},    {"}", TPL_T_RBRACE},   {"<", TPL_T_LT},       {">", TPL_T_GT},
               {"=", TPL_T_ASSIGN},    {".", TPL_T_DOT},      {":", TPL_T_COLON},    {"|", TPL_T_PIPE},
               {",", TPL_T_COMMA},     {";", TPL_T_SEMICOLON}};
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        if (!at(x, x->i, ops[k].text)) continue;
        if (ops[k].type >= TPL_T_LPAREN && ops[k].type <= TPL_T_RBRACE) bracket(x, ops[k].text[0]);
        push(x, ops[k].type, x->i);
        x->i += strlen(ops[k].text);
        return;
    }
    char shown[16];
    uint32_t cp;
    size_t len = tsr_utf8_decode(x->s + x->i, x->n - x->i, &cp);
    tpl_fail_at(x->c, x->i, "unexpected character \"%s\"",
                tsr_printable(x->s + x->i, len ? len : 1, shown, sizeof shown));
}

/* Tokens up to and including the closing "}}" or "%}". */
static void lex_tag(lexer *x, size_t start, const char *close, tpl_tok end) {
    x->n_brackets = 0;
    for (;;) {
        size_t next;
        if (x->n_brackets == 0 && closes(x, x->i, close, &next)) {
            push(x, end, x->i);
            x->i = next;
            return;
        }
        size_t i = skip_space(x, x->i);
        if (i > x->i) {
            x->i = i;
            continue;
        }
        if (x->i >= x->n) tpl_fail_at(x->c, start, "tag is never closed: \"%s\" is missing", close);
        char ch = x->s[x->i];
        uint32_t cp;
        size_t len = tsr_utf8_decode(x->s + x->i, x->n - x->i, &cp);
        if (ch >= '0' && ch <= '9')
            lex_number(x);
        else if (ch == '"' || ch == '\'')
            lex_string(x);
        else if (len && tpl_word_cp(cp))
            lex_name(x);
        else
            lex_operator(x);
    }
}

tpl_token *tpl_lex(tpl_ctx *c, size_t *n_tokens) {
    lexer x = {.c = c, .s = c->source, .n = c->n_source, .line_starting = true};
    while (x.i < x.n) {
        size_t from = x.i, i = from;
        while (i < x.n && !(x.s[i] == '{' && i + 1 < x.n && strchr("{%#", x.s[i + 1]) && x.s[i + 1])) i++;
        if (i >= x.n) {
            push(&x, TPL_T_TEXT, from)->str = tpl_str_wrap(c, x.s + from, x.n - from);
            break;
        }
        char kind = x.s[i + 1], sign = 0;
        size_t inner = i + 2;
        if (inner < x.n && (x.s[inner] == '-' || x.s[inner] == '+')) sign = x.s[inner++];
        push_text(&x, from, i, sign, kind == '{');
        size_t raw = kind == '%' ? raw_begin(&x, inner) : 0;
        x.i = raw ? raw : inner;
        x.line_starting = raw && x.s[raw - 1] == '\n';
        if (raw) {
            lex_raw(&x, i);
        } else if (kind == '#') {
            lex_comment(&x, i);
        } else if (kind == '{') {
            push(&x, TPL_T_VAR_BEGIN, i);
            lex_tag(&x, i, "}}", TPL_T_VAR_END);
        } else {
            push(&x, TPL_T_BLOCK_BEGIN, i);
            lex_tag(&x, i, "%}", TPL_T_BLOCK_END);
        }
        x.line_starting = x.s[x.i - 1] == '\n';
    }
    push(&x, TPL_T_EOF, x.n);
    *n_tokens = x.n_tokens;
    return x.tokens;
}
