/* Chat templates from arbitrary bytes: parsing and rendering end with text or an error, within their budgets.
 * A NUL byte separates the template from the JSON variables; without one, a small conversation is used. */
#include "text/chat_template.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char conversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be \\u00e9 'b' <i>\"}, {\"role\": \"user\", \"content\": \"Hi\\n\"},"
    "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": \"1\", \"type\": \"function\", \"function\": {\"name\":"
    "\"f\", \"arguments\": {\"a\": 1, \"b\": [1.5, true, null]}}}]}, {\"role\": \"tool\", \"content\": \"x\"}],"
    "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": \"object\"}}}],"
    "\"bos_token\": \"<s>\", \"add_generation_prompt\": true, \"x\": 3, \"s\": \"aXbXc\", \"l\": [3, 1, 2], \"f\": -2.5}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    tsr_error err;
    const uint8_t *split = n ? memchr(data, 0, n) : NULL;
    size_t n_source = split ? (size_t)(split - data) : n;
    tsr_template *t = tsr_template_parse((const char *)data, n_source, &err);
    if (!t) return 0;
    json_t *vars = split ? json_loadb((const char *)split + 1, n - n_source - 1, JSON_ALLOW_NUL, NULL)
                         : json_loads(conversation, 0, NULL);
    if (vars) {
        const tsr_template_limits limits = {.max_steps = 100 * 1000, .max_output = 1 << 20, .now = 1722470400};
        char *out;
        size_t n_out;
        if (tsr_template_render(t, vars, &limits, &out, &n_out, &err) == TSR_OK && strlen(out) > n_out) abort();
        free(out);
    }
    json_decref(vars);
    tsr_template_free(t);
    return 0;
}
