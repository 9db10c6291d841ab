/* heap.h: the queue of possible merges: a binary heap, smallest key first. */
#ifndef TSR_TEXT_HEAP_H
#define TSR_TEXT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* key: how soon (high half) and where (low half: position, so that of equals the leftmost comes first). */
typedef struct tsr_heap_item {
    uint64_t key;
    uint32_t value;
} tsr_heap_item;
typedef struct tsr_heap {
    tsr_heap_item *items;
    size_t n, cap;
} tsr_heap; /* zero-initialise; free items */

bool tsr_heap_push(tsr_heap *h, tsr_heap_item item); /* false: out of memory */
tsr_heap_item tsr_heap_pop(tsr_heap *h);             /* h->n > 0 */

#endif
