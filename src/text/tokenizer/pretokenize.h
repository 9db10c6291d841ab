/* pretokenize.h: cuts text into the words that byte-level BPE never merges across, with the regular expressions that
 * models name in tokenizer.ggml.pre (as their tokenizer.json files spell them). */
#ifndef TSR_TEXT_PRETOKENIZE_H
#define TSR_TEXT_PRETOKENIZE_H

#include "core/error.h"

typedef struct tsr_pretokenizer tsr_pretokenizer;

/* name: n bytes from the file. Unknown names fail with the list of the known ones. */
tsr_pretokenizer *tsr_pretokenizer_open(const char *name, size_t n, tsr_error *err);
void tsr_pretokenizer_close(tsr_pretokenizer *p);
/* A word that is in the vocabulary as a whole is taken as it is, merges or not. */
bool tsr_pretokenizer_ignores_merges(const tsr_pretokenizer *p);
bool tsr_pretokenizer_adds_bos(const tsr_pretokenizer *p);

/* Calls word() for each word in order; together they are the text, byte for byte. A run of bytes that are not UTF-8
 * is a word of its own. Stops at the first failure. */
typedef tsr_code (*tsr_word_fn)(void *ctx, const char *s, size_t n, tsr_error *err);
tsr_code tsr_pretokenize(const tsr_pretokenizer *p, const char *s, size_t n, tsr_word_fn word, void *ctx,
                         tsr_error *err);
/* The names taken, i = 0 .. until NULL. */
const char *tsr_pretokenizer_name(size_t i);

#endif
