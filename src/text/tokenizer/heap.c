#include "text/tokenizer/heap.h"

#include <stdlib.h>

bool tsr_heap_push(tsr_heap *h, tsr_heap_item item) {
    if (h->n == h->cap) {
        size_t cap = h->cap ? 2 * h->cap : 64;
        tsr_heap_item *items = realloc(h->items, cap * sizeof *items);
        if (!items) return false;
        h->items = items;
        h->cap = cap;
    }
    size_t i = h->n++;
    for (; i > 0 && item.key < h->items[(i - 1) / 2].key; i = (i - 1) / 2) h->items[i] = h->items[(i - 1) / 2];
    h->items[i] = item;
    return true;
}

tsr_heap_item tsr_heap_pop(tsr_heap *h) {
    tsr_heap_item top = h->items[0], last = h->items[--h->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n && h->items[child + 1].key < h->items[child].key) child++;
        if (h->items[child].key >= last.key) break;
        h->items[i] = h->items[child];
    }
    h->items[i] = last;
    return top;
}
