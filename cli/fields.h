/* fields.h: one record of results as a line of CSV or a JSON object. */
#ifndef CLI_FIELDS_H
#define CLI_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef enum field_kind {
    FIELD_TEXT,
    FIELD_COUNT,  /* a whole number */
    FIELD_NUMBER, /* NaN: there is none (empty in CSV, null in JSON) */
    FIELD_COUNTS, /* arrays: JSON only */
    FIELD_NUMBERS
} field_kind;

/* One column of CSV, one member of a JSON object. Names, texts and arrays are the caller's and must outlive the record. */
typedef struct field {
    const char *name;
    field_kind kind;
    const char *text;
    double number;
    const double *numbers; /* [n] */
    size_t n;
} field;

enum { MOST_FIELDS = 64 };

typedef struct fields {
    field items[MOST_FIELDS];
    size_t n;
} fields;

void add_text(fields *f, const char *name, const char *text);
void add_count(fields *f, const char *name, double v);
void add_number(fields *f, const char *name, double v);
/* kind: FIELD_COUNTS or FIELD_NUMBERS */
void add_array(fields *f, const char *name, field_kind kind, const double *v, size_t n);

/* A line of CSV; with heading the line of names before it. */
void put_csv(FILE *out, const fields *f, bool heading);
/* The members of a JSON object, without its braces. */
void put_json(FILE *out, const fields *f);

#endif
