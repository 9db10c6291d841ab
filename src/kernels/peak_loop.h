/* peak_loop.h: the text of the loops of peaks*.c. Each DO is a macro of one number that expands to a string of assembly. */
#ifndef TSR_KERNELS_PEAK_LOOP_H
#define TSR_KERNELS_PEAK_LOOP_H

#define TSR_SIX(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define TSR_TWELVE(DO) TSR_SIX(DO) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

/* setup, then body until %0 is 0 */
#define TSR_LOOP(setup, body) setup "1:\n" body "dec %0\njnz 1b\n"

/* Two bf16 ones; as f32 1.002, as bytes 128 and 63: operands that are neither zero nor denormal whatever they are taken for. */
#define TSR_PEAK_OPERAND 0x3f803f80

#endif
