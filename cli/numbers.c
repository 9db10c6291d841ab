#include "cli/numbers.h"

#include "cli/term.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool next_word(const char **list, char *word, size_t cap) {
    if (!*list) return false;
    size_t n = strcspn(*list, ",");
    snprintf(word, cap, "%.*s", (int)(n < cap ? n : cap - 1), *list);
    *list = (*list)[n] ? *list + n + 1 : NULL;
    return true;
}

/* A number at the beginning of *text, which moves behind it. */
static bool take_number(const char **text, int64_t *out) {
    char *end;
    if (**text < '0' || **text > '9') return false;
    errno = 0;
    *out = strtoll(*text, &end, 10);
    *text = end;
    return errno == 0;
}

/* "first", "first-last", "first-last+step" or "first-last*factor". */
static bool parse_range(const char *word, int64_t *first, int64_t *last, int64_t *step, int64_t *factor) {
    *step = *factor = 1;
    if (!take_number(&word, first)) return false;
    *last = *first;
    if (*word == '-') {
        word++;
        if (!take_number(&word, last) || *last < *first) return false;
        char sign = *word;
        if (sign == '+' || sign == '*') {
            word++;
            if (!take_number(&word, sign == '+' ? step : factor)) return false;
            if (sign == '+' ? *step < 1 : *factor < 2 || *first < 1) return false; /* would not end */
        }
    }
    return *word == '\0';
}

bool parse_numbers(const char *name, const char *list, int64_t least, int64_t most, number_list *out) {
    char word[80];
    for (const char *rest = list; next_word(&rest, word, sizeof word);) {
        int64_t first, last, step, factor;
        if (!parse_range(word, &first, &last, &step, &factor) || first < least || last > most) {
            say_error("--%s must be whole numbers from %lld to %lld with commas between them (or ranges: 0-4096+1024, 512-4096*2), not \"%s\"",
                      name, (long long)least, (long long)most, list);
            return false;
        }
        for (int64_t v = first; v <= last; v = factor > 1 ? v * factor : v + step) {
            if (out->n == MOST_NUMBERS) {
                say_error("--%s has more than %d numbers", name, MOST_NUMBERS);
                return false;
            }
            out->items[out->n++] = v;
            if (factor > 1 ? v > last / factor : v > last - step) break; /* the next one could wrap */
        }
    }
    return true;
}

bool parse_size(const char *name, const char *text, uint64_t *out) {
    static const char units[] = "KMGT";
    int64_t n = 0;
    const char *at = text;
    bool good = take_number(&at, &n) && n > 0;
    const char *unit = good && *at ? strchr(units, toupper((unsigned char)*at)) : NULL;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    if (good && *at) good = unit && at[1] == '\0' && n <= INT64_MAX >> shift;
    if (good) *out = (uint64_t)n << shift;
    else
        say_error("--%s must be a whole number of bytes above 0, or one with K, M, G or T (like 20G), not \"%s\"", name,
                  text);
    return good;
}

double mean_of(const double *v, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += v[i];
    return n ? sum / (double)n : 0.0;
}

double deviation_of(const double *v, size_t n) {
    if (n < 2) return 0.0;
    double mean = mean_of(v, n), sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += (v[i] - mean) * (v[i] - mean);
    return sqrt(sum / (double)(n - 1));
}
