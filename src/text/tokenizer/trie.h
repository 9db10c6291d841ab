/* trie.h: a compact, immutable byte trie over vocabulary entries.
 *
 * Nodes are numbered breadth first, so the children of node i are exactly first[i] .. first[i + 1] - 1, ordered by
 * label: finding a child is one memchr over neighbouring bytes. Node 0 is the root. */
#ifndef TSR_TEXT_TRIE_H
#define TSR_TEXT_TRIE_H

#include "core/error.h"

typedef struct tsr_trie_key {
    const char *s;
    size_t n;
    int32_t value;
} tsr_trie_key; /* n > 0, value >= 0 */

typedef struct tsr_trie {
    uint8_t *label;   /* [n_nodes] the byte that leads to the node */
    uint32_t *first;  /* [n_nodes + 1] */
    int32_t *value;   /* [n_nodes] of the key that ends here, or -1 */
    uint32_t n_nodes; /* 0: never built */
} tsr_trie;

/* Sorts keys in place. Of equal keys the lowest value stays. No keys: a trie that matches nothing. */
tsr_code tsr_trie_build(tsr_trie *t, tsr_trie_key *keys, size_t n_keys, tsr_error *err);
void tsr_trie_free(tsr_trie *t);

/* The child of node by byte c, or 0 (never a child) when there is none. t must have been built. */
uint32_t tsr_trie_step(const tsr_trie *t, uint32_t node, uint8_t c);
/* Length of the longest key that s[0..n) starts with, its value in *value; 0 when none. */
size_t tsr_trie_longest(const tsr_trie *t, const char *s, size_t n, int32_t *value);

#endif
