/* chat.c: the public chat-template function. */
#include "engine/model.h"

#include <stdlib.h>
#include <string.h>

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
    *out = NULL;
    if (!source) return tsr_fail(err, TSR_E_UNSUPPORTED, "the model has no chat template: give one, or use the raw prompt");
    json_error_t where;
    if (!request_json) return tsr_fail(err, TSR_E_ARG, "chat request: is NULL, must be JSON");
    json_t *vars = json_loads(request_json, JSON_REJECT_DUPLICATES, &where);
    if (!vars) {
        char shown[sizeof where.text]; /* it quotes the request */
        return tsr_fail(err, TSR_E_ARG, "chat request, line %d, column %d: %s", where.line, where.column,
                        tsr_printable(where.text, strlen(where.text), shown, sizeof shown));
    }
    tsr_code code = TSR_OK;
    if (!json_is_object(vars) || !json_is_array(json_object_get(vars, "messages")))
        code = tsr_fail(err, TSR_E_ARG, "chat request: must be an object with an array \"messages\"");
    if (code == TSR_OK) code = render(m, source, n, vars, out, err);
    json_decref(vars);
    tsr_code lost = tsr_model_check_files(m, err); /* the template lies in the mapped file */
    if (lost == TSR_OK) return code;
    free(*out);
    *out = NULL;
    return lost;
}
