/* chat_template.h: a Jinja interpreter for chat templates (language reference: the Jinja 2 / 3 template designer
 * documentation; behaviour as Hugging Face transformers sets it up: trim_blocks, lstrip_blocks, loop controls,
 * raise_exception(), strftime_now(), tojson without HTML escaping).
 *
 * A parsed template is immutable and may be rendered by several threads at once. Templates are hostile input: parse
 * depth, steps, recursion and output size are bounded; every error names line and column.
 */
#ifndef TSR_TEXT_CHAT_TEMPLATE_H
#define TSR_TEXT_CHAT_TEMPLATE_H

#include "core/error.h"

#include <jansson.h>
#include <time.h>

typedef struct tsr_template tsr_template;

/* source: n bytes of UTF-8 (checked). */
tsr_template *tsr_template_parse(const char *source, size_t n, tsr_error *err);
void tsr_template_free(tsr_template *t);

typedef struct tsr_template_limits {
    uint64_t max_steps;   /* evaluated nodes; 0 = 20 million */
    size_t max_output;    /* bytes; 0 = 64 MiB */
    time_t now;           /* what strftime_now() formats (local time); 0 = the clock */
} tsr_template_limits;

/* vars: a JSON object whose members become global variables (objects keep their key order). limits may be NULL.
 * *out is malloc'ed and NUL-terminated. */
tsr_code tsr_template_render(const tsr_template *t, const json_t *vars, const tsr_template_limits *limits,
                             char **out, size_t *n_out, tsr_error *err);

#endif
