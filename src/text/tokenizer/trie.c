#include "text/tokenizer/trie.h"

#include <stdlib.h>
#include <string.h>

static int compare_keys(const void *pa, const void *pb) {
    const tsr_trie_key *a = pa, *b = pb;
    int c = memcmp(a->s, b->s, a->n < b->n ? a->n : b->n);
    if (c) return c;
    if (a->n != b->n) return a->n < b->n ? -1 : 1;
    return a->value < b->value ? -1 : a->value > b->value;
}

/* The keys below a node, while it is built: keys[lo .. hi) share their first depth bytes. */
typedef struct range {
    uint32_t lo, hi, depth;
} range;

/* Appends the children of `node` to the arrays; *n_nodes is the next free number. */
static void expand(tsr_trie *t, range *ranges, const tsr_trie_key *keys, uint32_t node, uint32_t *n_nodes) {
    range r = ranges[node];
    uint32_t i = r.lo;
    t->value[node] = -1;
    if (node > 0 && keys[i].n == r.depth) { /* shorter keys sort first, the lowest value ahead */
        t->value[node] = keys[i].value;
        while (i < r.hi && keys[i].n == r.depth) i++;
    }
    t->first[node] = *n_nodes;
    while (i < r.hi) {
        uint8_t c = (uint8_t)keys[i].s[r.depth];
        uint32_t begin = i;
        while (i < r.hi && (uint8_t)keys[i].s[r.depth] == c) i++;
        t->label[*n_nodes] = c;
        ranges[*n_nodes] = (range){begin, i, r.depth + 1};
        (*n_nodes)++;
    }
}

tsr_code tsr_trie_build(tsr_trie *t, tsr_trie_key *keys, size_t n_keys, tsr_error *err) {
    *t = (tsr_trie){0};
    qsort(keys, n_keys, sizeof *keys, compare_keys);
    uint64_t most =
        1; /* nodes: the root, and at most one for every byte that a key does not share with the one before */
    for (size_t i = 0; i < n_keys; i++) {
        size_t shared = 0;
        if (i > 0)
            while (shared < keys[i].n && shared < keys[i - 1].n && keys[i].s[shared] == keys[i - 1].s[shared]) shared++;
        most += keys[i].n - shared;
    }
    if (most >= UINT32_MAX || n_keys >= UINT32_MAX)
        return tsr_fail(err, TSR_E_LIMIT, "the vocabulary is too large for a prefix tree (%zu entries)", n_keys);
    range *ranges = malloc(most * sizeof *ranges);
    t->label = calloc(most, 1);
    t->first = malloc((most + 1) * sizeof *t->first);
    t->value = malloc(most * sizeof *t->value);
    if (!ranges || !t->label || !t->first || !t->value) {
        free(ranges);
        tsr_trie_free(t);
        return tsr_fail(err, TSR_E_NOMEM, "out of memory for a prefix tree of %zu vocabulary entries", n_keys);
    }
    ranges[0] = (range){0, (uint32_t)n_keys, 0};
    uint32_t n_nodes = 1;
    for (uint32_t node = 0; node < n_nodes; node++) expand(t, ranges, keys, node, &n_nodes);
    t->first[n_nodes] = n_nodes;
    t->n_nodes = n_nodes;
    free(ranges);
    return TSR_OK;
}

void tsr_trie_free(tsr_trie *t) {
    free(t->label);
    free(t->first);
    free(t->value);
    *t = (tsr_trie){0};
}

uint32_t tsr_trie_step(const tsr_trie *t, uint32_t node, uint8_t c) {
    uint32_t begin = t->first[node], count = t->first[node + 1] - begin;
    if (count == 0) return 0;
    const uint8_t *hit = memchr(t->label + begin, c, count);
    return hit ? (uint32_t)(hit - t->label) : 0;
}

size_t tsr_trie_longest(const tsr_trie *t, const char *s, size_t n, int32_t *value) {
    size_t longest = 0;
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        node = tsr_trie_step(t, node, (uint8_t)s[i]);
        if (node == 0) break;
        if (t->value[node] >= 0) {
            longest = i + 1;
            *value = t->value[node];
        }
    }
    return longest;
}
