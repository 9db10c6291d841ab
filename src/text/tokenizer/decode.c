#include "core/utf8.h"
#include "text/tokenizer/vocab.h"

#include <stdlib.h>
#include <string.h>

#define WORD_MARK "\xe2\x96\x81"

/* An entry with its U+2581 as spaces. */
static void append_unmarked(const char *text, size_t n, tsr_buf *b) {
    for (size_t i = 0; i < n;) {
        bool mark = n - i >= 3 && memcmp(text + i, WORD_MARK, 3) == 0;
        tsr_buf_putc(b, mark ? ' ' : text[i]);
        i += mark ? 3 : 1;
    }
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "<0x0A>" is one byte; an entry of byte type spelled otherwise is taken as it is. */
static void append_byte(const char *text, size_t n, tsr_buf *b) {
    int high = n == 6 && !memcmp(text, "<0x", 3) && text[5] == '>' ? hex_digit(text[3]) : -1;
    int low = high < 0 ? -1 : hex_digit(text[4]);
    if (low < 0)
        tsr_buf_append(b, text, n);
    else
        tsr_buf_putc(b, (char)(high << 4 | low));
}

void tsr_tokenizer_piece(const tsr_tokenizer *t, tsr_token id, unsigned flags, tsr_buf *b) {
    if (id < 0 || id >= t->n_vocab) return;
    size_t n;
    const char *text = tsr_vocab_text(t, id, &n);
    switch ((tsr_token_kind)t->kinds[id]) {
    case TSR_TOK_CONTROL:
    case TSR_TOK_UNKNOWN:
        if (flags & TSR_RENDER_SPECIAL) tsr_buf_append(b, text, n);
        return;
    case TSR_TOK_BYTE: append_byte(text, n, b); return;
    case TSR_TOK_USER_DEFINED:
        if (t->model == TSR_MODEL_BPE || t->model == TSR_MODEL_WORDPIECE)
            tsr_buf_append(b, text, n);
        else
            append_unmarked(text, n, b);
        return;
    case TSR_TOK_NORMAL:
    case TSR_TOK_UNUSED:
        if (t->model == TSR_MODEL_BPE)
            tsr_bpe_spell(text, n, b);
        else
            append_unmarked(text, n, b);
        return;
    }
}

tsr_code tsr_tokenizer_decode(const tsr_tokenizer *t, const tsr_token *tokens, size_t n, unsigned flags, char **out,
                              size_t *n_out, tsr_error *err) {
    *out = NULL;
    if (n_out) *n_out = 0;
    tsr_buf b = {0};
    /* The first word's space was added by the encoder, not by the writer. */
    bool trim = t->model == TSR_MODEL_WORDPIECE || t->special.add_space_prefix;
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= t->n_vocab) {
            tsr_buf_free(&b);
            return tsr_fail(err, TSR_E_ARG, "token %zu is %d, but the vocabulary has entries 0 to %d", i, tokens[i],
                            t->n_vocab - 1);
        }
        size_t before = b.len;
        tsr_tokenizer_piece(t, tokens[i], flags, &b);
        bool text = t->kinds[tokens[i]] != TSR_TOK_CONTROL && t->kinds[tokens[i]] != TSR_TOK_UNKNOWN;
        if (trim && text && b.len > before && b.data[before] == ' ') {
            memmove(b.data + before, b.data + before + 1, b.len - before);
            b.len--;
        }
        if (text) trim = false;
    }
    *out = tsr_buf_take(&b, n_out);
    return *out ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory for the text of %zu tokens", n);
}

/* ----------------------------------------------------------------------------------------------- streaming */

struct tsr_decoder {
    const tsr_tokenizer *t;
    unsigned flags;
    tsr_buf pending; /* bytes not yet handed out: at most an incomplete character between calls */
    tsr_buf out;
};

tsr_decoder *tsr_decoder_open(const tsr_tokenizer *t, unsigned flags, tsr_error *err) {
    tsr_decoder *d = calloc(1, sizeof *d);
    if (!d) {
        tsr_fail(err, TSR_E_NOMEM, "out of memory for a decoder");
        return NULL;
    }
    d->t = t;
    d->flags = flags;
    return d;
}

/* Length of the part of s[0..n) that one U+FFFD stands for: as many bytes as could have begun a character (Unicode
 * standard, section 3.9, "maximal subpart"). s does not start with a valid character; n > 0. */
static size_t broken_part(const char *s, size_t n) {
    size_t len = 1;
    while (len < n && len < 3 && tsr_utf8_incomplete(s, len + 1)) len++;
    return len;
}

/* Moves from pending to out what is decided: whole characters, and U+FFFD for what can never become one. */
static const char *settle(tsr_decoder *d, bool last, size_t *n_bytes) {
    tsr_buf_clear(&d->out);
    size_t i = 0;
    while (i < d->pending.len) {
        const char *s = d->pending.data + i;
        size_t n = d->pending.len - i, valid = tsr_utf8_valid_prefix(s, n);
        tsr_buf_append(&d->out, s, valid);
        i += valid;
        if (valid == n || (!last && tsr_utf8_incomplete(s + valid, n - valid))) break;
        tsr_buf_puts(&d->out, "\xef\xbf\xbd");
        i += broken_part(s + valid, n - valid);
    }
    if (i > 0) memmove(d->pending.data, d->pending.data + i, d->pending.len - i);
    d->pending.len -= i;
    if (n_bytes) *n_bytes = d->out.len;
    return d->out.len ? d->out.data : "";
}

const char *tsr_decoder_push(tsr_decoder *d, tsr_token id, size_t *n_bytes) {
    tsr_tokenizer_piece(d->t, id, d->flags, &d->pending);
    return settle(d, false, n_bytes);
}

const char *tsr_decoder_finish(tsr_decoder *d, size_t *n_bytes) { return settle(d, true, n_bytes); }

void tsr_decoder_close(tsr_decoder *d) {
    if (!d) return;
    tsr_buf_free(&d->pending);
    tsr_buf_free(&d->out);
    free(d);
}
