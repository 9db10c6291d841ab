/* text.c: the public tokenizer, streaming and chat-template functions: thin wrappers of src/text. */
#include "engine/model.h"

#include <stdlib.h>
#include <string.h>

tsr_code tsr_tokenize(const tsr_model *m, const char *text, size_t n_bytes, unsigned flags, tsr_token **out, size_t *n_out,
                      tsr_error *err) {
    return tsr_tokenizer_encode(m->tokenizer, text, n_bytes, flags, out, n_out, err);
}

tsr_code tsr_detokenize(const tsr_model *m, const tsr_token *tokens, size_t n, unsigned flags, char **out, size_t *n_out,
                        tsr_error *err) {
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

/* Templates may use bos_token and eos_token as variables: their text, unless the request sets them. */
static void set_token(json_t *vars, const char *name, const tsr_model *m, tsr_token token) {
    const char *text = token == TSR_TOKEN_NONE ? NULL : tsr_tokenizer_text(m->tokenizer, token);
    if (!json_object_get(vars, name)) json_object_set_new(vars, name, json_string(text ? text : ""));
}

static tsr_code render(const tsr_model *m, const char *source, size_t n, json_t *vars, char **out, tsr_error *err) {
    set_token(vars, "bos_token", m, tsr_token_bos(m));
    set_token(vars, "eos_token", m, tsr_token_eos(m));
    tsr_template *t = tsr_template_parse(source, n, err);
    if (!t) return TSR_E_TEMPLATE;
    tsr_code code = tsr_template_render(t, vars, NULL, out, NULL, err);
    tsr_template_free(t);
    return code;
}

tsr_code tsr_chat_render(const tsr_model *m, const char *request_json, const char *template_override, char **out, tsr_error *err) {
    const char *source = template_override ? template_override : m->chat_template.s;
    size_t n = template_override ? strlen(template_override) : m->chat_template.n;
    if (!source) return tsr_fail(err, TSR_E_UNSUPPORTED, "the model has no chat template: give one, or use the raw prompt");
    json_error_t where;
    json_t *vars = json_loads(request_json, JSON_REJECT_DUPLICATES, &where);
    if (!vars) return tsr_fail(err, TSR_E_ARG, "chat request, line %d, column %d: %s", where.line, where.column, where.text);
    tsr_code code = TSR_OK;
    if (!json_is_object(vars) || !json_is_array(json_object_get(vars, "messages")))
        code = tsr_fail(err, TSR_E_ARG, "chat request: must be an object with an array \"messages\"");
    if (code == TSR_OK) code = render(m, source, n, vars, out, err);
    json_decref(vars);
    return code;
}
