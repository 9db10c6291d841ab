/* Records of results. Texts may come from files (names of models), so they are escaped. */
#include "cli/fields.h"

#include <math.h>
#include <string.h>

static void add(fields *f, field v) {
    if (f->n < MOST_FIELDS) f->items[f->n++] = v;
}

void add_text(fields *f, const char *name, const char *text) { add(f, (field){.name = name, .kind = FIELD_TEXT, .text = text}); }
void add_count(fields *f, const char *name, double v) { add(f, (field){.name = name, .kind = FIELD_COUNT, .number = v}); }
void add_number(fields *f, const char *name, double v) { add(f, (field){.name = name, .kind = FIELD_NUMBER, .number = v}); }

void add_array(fields *f, const char *name, field_kind kind, const double *v, size_t n) {
    add(f, (field){.name = name, .kind = kind, .numbers = v, .n = n});
}

static void put_json_text(FILE *out, const char *text) {
    fputc('"', out);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') fprintf(out, "\\%c", c);
        else if (c < ' ') fprintf(out, "\\u%04x", c);
        else fputc(c, out);
    }
    fputc('"', out);
}

static void put_csv_text(FILE *out, const char *text) {
    if (!strpbrk(text, ", \"\r\n")) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static void put_number(FILE *out, double v, bool whole, const char *absent) {
    if (!isfinite(v)) fputs(absent, out);
    else fprintf(out, whole ? "%.0f" : "%.6g", v);
}

static bool is_array(const field *v) { return v->kind == FIELD_COUNTS || v->kind == FIELD_NUMBERS; }

void put_csv(FILE *out, const fields *f, bool heading) {
    for (int line = heading ? 0 : 1; line < 2; line++) {
        const char *comma = "";
        for (size_t i = 0; i < f->n; i++) {
            const field *v = &f->items[i];
            if (is_array(v)) continue;
            fputs(comma, out);
            comma = ",";
            if (line == 0) fputs(v->name, out);
            else if (v->kind == FIELD_TEXT) put_csv_text(out, v->text);
            else put_number(out, v->number, v->kind == FIELD_COUNT, "");
        }
        fputc('\n', out);
    }
}

void put_json(FILE *out, const fields *f) {
    for (size_t i = 0; i < f->n; i++) {
        const field *v = &f->items[i];
        fprintf(out, "%s\"%s\":", i ? "," : "", v->name);
        if (v->kind == FIELD_TEXT) put_json_text(out, v->text);
        else if (!is_array(v)) put_number(out, v->number, v->kind == FIELD_COUNT, "null");
        else {
            fputc('[', out);
            for (size_t k = 0; k < v->n; k++) {
                if (k) fputc(',', out);
                put_number(out, v->numbers[k], v->kind == FIELD_COUNTS, "null");
            }
            fputc(']', out);
        }
    }
}
