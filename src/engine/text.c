/* text.c: the public tokenizer and streaming functions: thin wrappers of src/text. */
#include "engine/model.h"

#include <stdlib.h>

tsr_code tsr_tokenize(const tsr_model *m, const char *text, size_t n_bytes, unsigned flags, tsr_token **out, size_t *n_out,
                      tsr_error *err) {
    if (!text && n_bytes > 0) {
        *out = NULL;
        *n_out = 0;
        return tsr_fail(err, TSR_E_ARG, "the text to tokenize is NULL, but has %zu bytes", n_bytes);
    }
    tsr_code code = tsr_tokenizer_encode(m->tokenizer, text, n_bytes, flags, out, n_out, err);
    tsr_code lost = tsr_model_check_files(m, err); /* the vocabulary lies in the mapped file */
    if (lost == TSR_OK) return code;
    free(*out);
    *out = NULL;
    *n_out = 0;
    return lost;
}

tsr_code tsr_detokenize(const tsr_model *m, const tsr_token *tokens, size_t n, unsigned flags, char **out, size_t *n_out,
                        tsr_error *err) {
    if (!tokens && n > 0) {
        *out = NULL;
        if (n_out) *n_out = 0;
        return tsr_fail(err, TSR_E_ARG, "the tokens to detokenize are NULL, but there are %zu", n);
    }
    return tsr_tokenizer_decode(m->tokenizer, tokens, n, flags, out, n_out, err);
}

const char *tsr_token_text(const tsr_model *m, tsr_token token) { return tsr_tokenizer_text(m->tokenizer, token); }

bool tsr_token_is_end(const tsr_model *m, tsr_token token) { return tsr_tokenizer_is_end(m->tokenizer, token); }

tsr_token tsr_token_bos(const tsr_model *m) { return tsr_tokenizer_special(m->tokenizer)->bos; }

tsr_token tsr_token_eos(const tsr_model *m) { return tsr_tokenizer_special(m->tokenizer)->eos; }

/* A stream is the tokenizer's decoder under its public name. */
tsr_stream *tsr_stream_open(const tsr_model *m, unsigned flags, tsr_error *err) {
    return (tsr_stream *)tsr_decoder_open(m->tokenizer, flags, err);
}

const char *tsr_stream_push(tsr_stream *s, tsr_token token, size_t *n_bytes) {
    return tsr_decoder_push((tsr_decoder *)s, token, n_bytes);
}

const char *tsr_stream_finish(tsr_stream *s, size_t *n_bytes) { return tsr_decoder_finish((tsr_decoder *)s, n_bytes); }

void tsr_stream_close(tsr_stream *s) { tsr_decoder_close((tsr_decoder *)s); }
