/* memory.h: large zeroed blocks straight from the kernel, page-aligned (so 64-byte aligned too). */
#ifndef TSR_CORE_MEMORY_H
#define TSR_CORE_MEMORY_H

#include "core/error.h"

/* n bytes of zeroed memory, n >= 1; on failure NULL with the size in the message. Blocks of 2 MiB and more ask for
 * transparent huge pages. */
void *tsr_memory_alloc(size_t n, tsr_error *err);
/* The same for blocks of which only a part may ever be touched: no huge pages, no promise that RAM for all of it exists. */
void *tsr_memory_reserve(size_t n, tsr_error *err);
void tsr_memory_free(void *p, size_t n); /* n as allocated; p may be NULL */

/* Which pages memory from tsr_memory_alloc is to get when it is first touched: huge ones where there are any (auto and on: what it gets anyway),
 * or none (off). */
void tsr_memory_huge(void *p, size_t n, tsr_huge_pages wanted);
/* Gives piece i of [p, p + n), cut where addresses are multiples of TSR_MEMORY_PIECE, its pages before they are touched,
 * in one call: threads that touch a huge page for the first time together would each clear one, and keep one. There are
 * n / TSR_MEMORY_PIECE + 1 pieces (one more when both ends are cut: it is left to faults); those beyond are empty. A hint:
 * what a kernel before 5.14 refuses, faults do later. */
enum { TSR_MEMORY_PIECE = 2 << 20 };
void tsr_memory_populate(void *p, size_t n, size_t i);
/* Bytes of [p, p + n) that are in huge pages now. */
uint64_t tsr_memory_huge_bytes(const void *p, size_t n);
/* How many could be: those of whole huge pages. */
size_t tsr_memory_huge_most(const void *p, size_t n);
/* Why there may be none: what the kernel's setting says. */
const char *tsr_memory_huge_reason(void);

/* Pins [p, p + n) in RAM. On failure the message says which limit forbids it and how to raise it. */
tsr_code tsr_memory_lock(const void *p, size_t n, tsr_error *err);

/* a * b and a + b, or false when the result does not fit. */
bool tsr_mul_size(size_t a, size_t b, size_t *out);
bool tsr_add_size(size_t a, size_t b, size_t *out);

#endif
