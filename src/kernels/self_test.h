/* self_test.h: whether the kernels of a tier work here: CPUID and the kernel's permission say so, but virtual machines have lied. */
#ifndef TSR_KERNELS_SELF_TEST_H
#define TSR_KERNELS_SELF_TEST_H

#include "core/error.h"
#include "kernels/kernels.h"

/* Computes a small product on the wide float path of a record, in each format of elements that it has, and compares it with a scalar one: a
 * few microseconds. An instruction that the CPU refuses (SIGILL) is caught and reported; other threads' faults go where they went before.
 * TSR_OK, or TSR_E_UNSUPPORTED with what went wrong. Calls are serialised; the answer is not kept. */
tsr_code tsr_kernels_self_test(const tsr_kernels *kern, tsr_error *err);

#endif
