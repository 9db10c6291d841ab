/* rules.c: "REGEX=host": where the user wants tensors to be. */
#include "buffer/select.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Steps that an expression may take for a name. Names are of up to 64 bytes; only expressions that try everything several times need more. */
enum { MATCH_LIMIT = 1 << 20 };

static const char intro[] = "asked for: ";

typedef struct rule {
    pcre2_code *code;
    char why[272];  /* "asked for: REGEX=host", printable */
    tsr_place place;
    bool matched;
} rule;

struct tsr_buffer_rules {
    rule *items;
    size_t n;
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

/* The rule as it is shown. */
static const char *text_of(const rule *r) { return r->why + strlen(intro); }

static tsr_code fail_rule(tsr_error *err, const char *text, const char *problem) {
    char shown[256];
    return tsr_fail(err, TSR_E_ARG, "tensor buffer '%s': %s", tsr_printable(text, strlen(text), shown, sizeof shown), problem);
}

static tsr_place place_named(const char *name, const tsr_buffer_type *device) {
    if (strcmp(name, tsr_buffer_host_mapped.name) == 0) return TSR_PLACE_HOST;
    if (strcmp(name, tsr_buffer_packed.name) == 0) return TSR_PLACE_PACKED;
    return device && strcmp(name, device->name) == 0 ? TSR_PLACE_DEVICE : TSR_PLACE_NONE;
}

static tsr_code compile(rule *r, const char *text, const tsr_buffer_type *device, tsr_error *err) {
    const char *equals = strrchr(text, '='); /* the last: an expression may have some, (?=...) */
    char problem[320], detail[160];
    if (!equals || equals == text) return fail_rule(err, text, "write REGEX=host or REGEX=packed");
    r->place = place_named(equals + 1, device);
    if (r->place == TSR_PLACE_NONE) {
        snprintf(problem, sizeof problem, "there is no buffer '%s' (host, packed%s%s)", tsr_printable(equals + 1, strlen(equals + 1), detail, sizeof detail),
                 device ? ", " : "", device ? device->name : "");
        return fail_rule(err, text, problem);
    }
    int error;
    PCRE2_SIZE at;
    r->code = pcre2_compile((PCRE2_SPTR)text, (PCRE2_SIZE)(equals - text), PCRE2_NEVER_BACKSLASH_C, &error, &at, NULL);
    if (!r->code) {
        pcre2_get_error_message(error, (PCRE2_UCHAR *)detail, sizeof detail);
        snprintf(problem, sizeof problem, "the regular expression is wrong at character %zu: %s", at + 1, detail);
        return fail_rule(err, text, problem);
    }
    memcpy(r->why, intro, sizeof intro);
    tsr_printable(text, strlen(text), r->why + strlen(intro), sizeof r->why - strlen(intro));
    return TSR_OK;
}

tsr_buffer_rules *tsr_buffer_rules_open(const char *const *texts, const tsr_buffer_type *device, tsr_error *err) {
    size_t n = 0;
    while (texts && texts[n]) n++;
    tsr_buffer_rules *rules = calloc(1, sizeof *rules);
    if (rules) {
        rules->items = calloc(n + 1, sizeof *rules->items);
        rules->match = pcre2_match_data_create(1, NULL);
        rules->limits = pcre2_match_context_create(NULL);
    }
    tsr_code code = rules && rules->items && rules->match && rules->limits ? TSR_OK : tsr_fail(err, TSR_E_NOMEM, "out of memory");
    if (code == TSR_OK) pcre2_set_match_limit(rules->limits, MATCH_LIMIT);
    for (size_t i = 0; code == TSR_OK && i < n; i++) {
        rules->n = i + 1;
        code = compile(&rules->items[i], texts[i], device, err);
    }
    if (code == TSR_OK) return rules;
    tsr_buffer_rules_close(rules);
    return NULL;
}

void tsr_buffer_rules_close(tsr_buffer_rules *rules) {
    if (!rules) return;
    for (size_t i = 0; i < rules->n; i++) pcre2_code_free(rules->items[i].code);
    free(rules->items);
    pcre2_match_data_free(rules->match);
    pcre2_match_context_free(rules->limits);
    free(rules);
}

bool tsr_buffer_rules_want(const tsr_buffer_rules *rules, tsr_place place) {
    for (size_t i = 0; i < rules->n; i++)
        if (rules->items[i].place == place) return true;
    return false;
}

tsr_code tsr_buffer_rules_find(tsr_buffer_rules *rules, const char *name, tsr_place *place, const char **why, tsr_error *err) {
    *place = TSR_PLACE_NONE;
    for (size_t i = 0; i < rules->n; i++) {
        rule *r = &rules->items[i];
        int result = pcre2_match(r->code, (PCRE2_SPTR)name, strlen(name), 0, 0, rules->match, rules->limits);
        if (result == PCRE2_ERROR_NOMATCH) continue;
        if (result < 0) {
            char problem[320], detail[120];
            pcre2_get_error_message(result, (PCRE2_UCHAR *)detail, sizeof detail);
            snprintf(problem, sizeof problem, "at the name %s: %s", name, detail);
            return fail_rule(err, text_of(r), problem);
        }
        r->matched = true;
        *place = r->place;
        *why = r->why;
        return TSR_OK;
    }
    return TSR_OK;
}

void tsr_buffer_rules_unmatched(const tsr_buffer_rules *rules, char *out, size_t cap) {
    size_t used = 0, count = 0;
    out[0] = '\0';
    for (size_t i = 0; i < rules->n && used < cap; i++) {
        if (rules->items[i].matched) continue;
        used += (size_t)snprintf(out + used, cap - used, "%s'%s'", count++ ? ", " : "", text_of(&rules->items[i]));
    }
    if (count && used < cap)
        snprintf(out + used, cap - used, " match%s no matrix of this model, or only such as an earlier one has taken", count == 1 ? "es" : "");
}
