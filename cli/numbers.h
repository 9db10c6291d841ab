/* numbers.h: lists of numbers as options take them, and the statistics of samples. */
#ifndef CLI_NUMBERS_H
#define CLI_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOST_NUMBERS = 64 };

typedef struct number_list {
    int64_t items[MOST_NUMBERS];
    size_t n;
} number_list;

/* The next word of a comma-separated list into word[cap]; false at the end. */
bool next_word(const char **list, char *word, size_t cap);
/* Appends the numbers of a list: "1,8,512", and ranges in it: "1-4" (1 2 3 4), "0-4096+1024", "512-4096*2". False, after a message that
 * names option --name, when it is none, a number is not in [least, most], or there are too many. */
bool parse_numbers(const char *name, const char *list, int64_t least, int64_t most, number_list *out);

/* "1500000", or a number with K, M, G or T (powers of 1024). False, after a message that names option --name. */
bool parse_size(const char *name, const char *text, uint64_t *out);

double mean_of(const double *v, size_t n);
/* Of the sample (n - 1 in the denominator); 0 when n < 2. */
double deviation_of(const double *v, size_t n);

#endif
