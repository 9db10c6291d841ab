/* peaks_amx.c: tdpbssd, tdpbf16ps and tdpfp16ps: two row tiles times two column tiles, four sums, as the largest kernels have them. */
#include "kernels/peaks.h"

#include "kernels/peak_loop.h"

/* Palette 1, eight tiles of 16 rows of 64 bytes (Intel SDM vol. 2, LDTILECFG). */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} config __attribute__((aligned(64))) = {.palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

static void fill(uint32_t tile[256]) {
    for (int i = 0; i < 256; i++) tile[i] = TSR_PEAK_OPERAND;
}

#define SETUP                                                               \
    "ldtilecfg %1\n"                                                        \
    "tilezero %%tmm0\ntilezero %%tmm1\ntilezero %%tmm2\ntilezero %%tmm3\n"  \
    "tileloadd (%2,%3,1), %%tmm4\ntileloadd (%2,%3,1), %%tmm5\n"            \
    "tileloadd (%2,%3,1), %%tmm6\ntileloadd (%2,%3,1), %%tmm7\n"
#define FOUR(op)                                                            \
    op " %%tmm6, %%tmm4, %%tmm0\n" op " %%tmm7, %%tmm4, %%tmm1\n"           \
    op " %%tmm6, %%tmm5, %%tmm2\n" op " %%tmm7, %%tmm5, %%tmm3\n"
/* tdpfp16ps in bytes: assemblers older than the instruction are still in use. */
#define FOUR_FP16                                                           \
    ".byte 0xc4,0xe2,0x4b,0x5c,0xc4\n.byte 0xc4,0xe2,0x43,0x5c,0xcc\n"      \
    ".byte 0xc4,0xe2,0x4b,0x5c,0xd5\n.byte 0xc4,0xe2,0x43,0x5c,0xdd\n"

enum { INT8_OPS = 16 * 16 * 64 * 2, HALF_OPS = 16 * 16 * 32 * 2 };

static void int8__amx(int64_t steps) {
    uint32_t tile[256] __attribute__((aligned(64)));
    fill(tile);
    __asm__ volatile(TSR_LOOP(SETUP, FOUR("tdpbssd") FOUR("tdpbssd")) "tilerelease\n"
                     : "+r"(steps)
                     : "m"(config), "r"(tile), "r"((int64_t)64)
                     : "cc", "memory");
}

static void half__amx(int64_t steps) {
    uint32_t tile[256] __attribute__((aligned(64)));
    fill(tile);
    __asm__ volatile(TSR_LOOP(SETUP, FOUR("tdpbf16ps") FOUR("tdpbf16ps")) "tilerelease\n"
                     : "+r"(steps)
                     : "m"(config), "r"(tile), "r"((int64_t)64)
                     : "cc", "memory");
}

static void half__amxfp16(int64_t steps) {
    uint32_t tile[256] __attribute__((aligned(64)));
    fill(tile);
    __asm__ volatile(TSR_LOOP(SETUP, FOUR_FP16 FOUR_FP16) "tilerelease\n"
                     : "+r"(steps)
                     : "m"(config), "r"(tile), "r"((int64_t)64)
                     : "cc", "memory");
}

const tsr_peak tsr_peak_int8__amx = {"tdpbssd", 8.0 * INT8_OPS, int8__amx};
const tsr_peak tsr_peak_half__amx = {"tdpbf16ps", 8.0 * HALF_OPS, half__amx};
const tsr_peak tsr_peak_half__amxfp16 = {"tdpfp16ps", 8.0 * HALF_OPS, half__amxfp16};
