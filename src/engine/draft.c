#include "engine/draft.h"

#include "core/error.h"

#include <stdlib.h>

/* An outcome moves a chance by this share at least; the first ones by more, as if what it was at first had been seen this often. */
#define LEARNING 0.0625f
enum { FIRST_WEIGHT = 3 };

/* How good guesses are before any was made, by class_of. */
static const float first_chance[TSR_DRAFT_CLASSES] = {0.3f, 0.5f, 0.7f, 0.8f, 0.9f};

/* What an expectation rests on: two tokens, three tokens, or how many of the same run came true before it. */
static int class_of(bool by_three, int run) {
    if (run == 0) return by_three;
    return run <= 2 ? 2 : run <= 7 ? 3 : 4;
}

tsr_code tsr_draft_open(tsr_draft *d, size_t capacity, tsr_error *err) {
    *d = (tsr_draft){.capacity = capacity, .bits = 8};
    while (d->bits < 31 && (size_t)1 << d->bits < 2 * capacity) d->bits++;
    d->text = malloc(capacity * sizeof *d->text);
    d->after2 = calloc((size_t)1 << d->bits, sizeof *d->after2);
    d->after3 = calloc((size_t)1 << d->bits, sizeof *d->after3);
    for (int i = 0; i < TSR_DRAFT_CLASSES; i++) d->chance[i] = first_chance[i];
    if (d->text && d->after2 && d->after3) return TSR_OK;
    tsr_draft_close(d);
    return tsr_fail(err, TSR_E_NOMEM, "out of memory for an index of %zu tokens", capacity);
}

void tsr_draft_close(tsr_draft *d) {
    free(d->text);
    free(d->after2);
    free(d->after3);
    *d = (tsr_draft){0};
}

/* What the tables say of an older text is checked before it is believed. */
void tsr_draft_reset(tsr_draft *d) {
    d->n = d->cursor = 0;
    d->run = 0;
}

/* Multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4) of the last two or three tokens before `end`. */
static uint32_t slot(const tsr_draft *d, size_t end, bool three) {
    const tsr_token *t = d->text + end;
    uint32_t h = (uint32_t)t[-1] * 0x9e3779b1u + (uint32_t)t[-2] * 0x85ebca77u + (three ? (uint32_t)t[-3] * 0xc2b2ae3du : 0);
    h ^= h >> 15;
    return (h * 0x9e3779b1u) >> (32 - d->bits);
}

/* Where the text went on after its last `count` tokens when they came before; 0: they did not, or others took their slot. */
static size_t find(const tsr_draft *d, size_t count) {
    if (d->n < count) return 0;
    size_t at = (count == 3 ? d->after3 : d->after2)[slot(d, d->n, count == 3)];
    if (at < count || at >= d->n) return 0;
    for (size_t i = 1; i <= count; i++)
        if (d->text[at - i] != d->text[d->n - i]) return 0;
    return at;
}

static void expect(tsr_draft *d) {
    d->run = 0;
    d->cursor = find(d, 3);
    d->by_three = d->cursor > 0;
    if (!d->by_three) d->cursor = find(d, 2);
}

/* The index learns of what comes before a token when the token is there, so that the end of the text never finds itself. */
static void append(tsr_draft *d, tsr_token t) {
    if (d->n >= 2) d->after2[slot(d, d->n, false)] = (uint32_t)d->n;
    if (d->n >= 3) d->after3[slot(d, d->n, true)] = (uint32_t)d->n;
    d->text[d->n++] = t;
}

static void learn(tsr_draft *d, int class, bool right) {
    float share = 1.0f / (float)(FIRST_WEIGHT + ++d->seen[class]);
    if (share < LEARNING) {
        share = LEARNING;
        d->seen[class]--; /* enough */
    }
    d->chance[class] += ((right ? 1.0f : 0.0f) - d->chance[class]) * share;
}

void tsr_draft_add(tsr_draft *d, tsr_token t) {
    if (d->n >= d->capacity) return;
    bool expected = d->cursor > 0, right = expected && d->text[d->cursor] == t;
    if (expected) learn(d, class_of(d->by_three, d->run), right);
    append(d, t);
    if (right) {
        d->cursor++; /* stays behind the end, as both went one further */
        d->run++;
    } else {
        expect(d);
    }
}

void tsr_draft_add_given(tsr_draft *d, tsr_token t) {
    if (d->n >= d->capacity) return;
    append(d, t);
    expect(d);
}

/* Where the text that is copied ends, the guess itself goes on: as in LZ77 (Ziv, Lempel 1977), so that what repeats itself is guessed at
 * any length. */
int tsr_draft_guess(const tsr_draft *d, int most, tsr_token *out, float *chance) {
    if (d->cursor == 0) return 0;
    for (int i = 0; i < most; i++) {
        size_t at = d->cursor + (size_t)i;
        out[i] = at < d->n ? d->text[at] : out[at - d->n];
        chance[i] = d->chance[class_of(d->by_three, d->run + i)];
    }
    return most;
}
