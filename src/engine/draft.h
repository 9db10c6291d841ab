/* draft.h: guesses how a text goes on from where it was like this before: prompt lookup (Saxena 2023), an index of the last two
 * and three tokens. Knows nothing of models. */
#ifndef TSR_ENGINE_DRAFT_H
#define TSR_ENGINE_DRAFT_H

#include "tessera.h"

enum { TSR_DRAFT_MAX = 7, TSR_DRAFT_CLASSES = 5 };

typedef struct tsr_draft {
    tsr_token *text;  /* [capacity], of which there are n */
    size_t n, capacity;
    uint32_t *after2, *after3; /* [1 << bits] by hash of 2 and 3 tokens: where the text went on after them the last time; 0 is nowhere */
    int bits;
    size_t cursor;    /* text[cursor] is expected next; 0: nothing is */
    int run;          /* so many expectations in a row came true */
    bool by_three;    /* the cursor is from after3 */
    float chance[TSR_DRAFT_CLASSES]; /* that an expectation comes true, by how it came about */
    int seen[TSR_DRAFT_CLASSES];     /* outcomes that taught it, up to some */
} tsr_draft;

/* For texts of up to so many tokens. Memory is for all of them: nothing is allocated later. */
tsr_code tsr_draft_open(tsr_draft *d, size_t capacity, tsr_error *err);
void tsr_draft_close(tsr_draft *d);
/* Forgets the text, not how well its guesses went. */
void tsr_draft_reset(tsr_draft *d);
/* The text goes on with t. Beyond the capacity it is not kept. */
void tsr_draft_add(tsr_draft *d, tsr_token t);
/* The same, of a text that is given and not to be guessed: its expectations do not count. */
void tsr_draft_add_given(tsr_draft *d, tsr_token t);
/* Up to `most` (<= TSR_DRAFT_MAX) tokens that may come next; chance[i] that out[i] does when all before it did. */
int tsr_draft_guess(const tsr_draft *d, int most, tsr_token *out, float *chance);

#endif
