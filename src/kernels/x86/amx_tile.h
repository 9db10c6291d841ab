/* amx_tile.h: the tile instructions, as functions. Tiles are numbers known when compiling; all memory is 64-byte rows, one after the other.
 *
 * Inline assembly, because GCC's intrinsics do not tell the compiler which memory they read (GCC 12: _tile_loadconfig names 8 of its 64
 * bytes, _tile_loadd none, so that stores before them may be dropped or moved behind them). Here operands name all of it. Needs
 * optimisation, which makes tile numbers constants.
 * Source: Intel SDM vol. 2 (instructions) and vol. 1, chapter 18 (tiles). tests/check/amx_emulation.h has the same functions in C. */
#ifndef TSR_KERNELS_X86_AMX_TILE_H
#define TSR_KERNELS_X86_AMX_TILE_H

#include <stdint.h>

/* The operand of LDTILECFG. */
typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16]; /* of tiles 0..7; the rest is reserved */
    uint8_t rows[16];
} tile_config;
_Static_assert(sizeof(tile_config) == 64, "the operand of LDTILECFG");

enum { TILE_ROWS = 16, TILE_ROW_BYTES = 64, TILE_BYTES = TILE_ROWS * TILE_ROW_BYTES };

typedef struct tile_memory {
    uint8_t bytes[TILE_BYTES];
} tile_memory;

#define TILE_INLINE static inline __attribute__((always_inline))

TILE_INLINE void tile_configure(const tile_config *config) { __asm__ volatile("ldtilecfg %0" : : "m"(*config)); }

TILE_INLINE void tile_release(void) { __asm__ volatile("tilerelease"); }

TILE_INLINE void tile_zero(const int tile) { __asm__ volatile("tilezero %%tmm%c0" : : "i"(tile)); }

TILE_INLINE void tile_load(const int tile, const void *rows) {
    __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0"
                     :
                     : "i"(tile), "r"(rows), "r"((int64_t)TILE_ROW_BYTES), "m"(*(const tile_memory *)rows));
}

/* For what will not be used again soon. */
TILE_INLINE void tile_load_stream(const int tile, const void *rows) {
    __asm__ volatile("tileloaddt1 (%1,%2,1), %%tmm%c0"
                     :
                     : "i"(tile), "r"(rows), "r"((int64_t)TILE_ROW_BYTES), "m"(*(const tile_memory *)rows));
}

TILE_INLINE void tile_store(const int tile, void *rows) {
    __asm__ volatile("tilestored %%tmm%c1, (%2,%3,1)"
                     : "=m"(*(tile_memory *)rows)
                     : "i"(tile), "r"(rows), "r"((int64_t)TILE_ROW_BYTES));
}

/* The same where rows lie `stride` bytes apart; "memory", as what is read or written depends on the configuration. */
TILE_INLINE void tile_load_rows(const int tile, const void *rows, int64_t stride) {
    __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(tile), "r"(rows), "r"(stride) : "memory");
}

TILE_INLINE void tile_store_rows(const int tile, void *rows, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(tile), "r"(rows), "r"(stride) : "memory");
}

/* c += a b: c [16][16] f32, a [16 rows][32 k] bf16, b [16 pairs of k][16 columns][2] bf16 */
TILE_INLINE void tile_dot_bf16(const int c, const int a, const int b) {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}

/* The same in f16, spelled in bytes (VEX.128.F2.0F38.W0 5C /r, ModRM 11:c:a, vvvv = not b), because clang 14 does not know it. */
TILE_INLINE void tile_dot_f16(const int c, const int a, const int b) {
    __asm__ volatile(".byte 0xc4, 0xe2, %c0, 0x5c, %c1" : : "i"(0x03 | (~b & 15) << 3), "i"(0xc0 | c << 3 | a));
}

/* c += a b: c [16][16] int32, a [16 rows][64 k] unsigned bytes, b [16 quads of k][16 columns][4] signed bytes */
TILE_INLINE void tile_dot_u8s8(const int c, const int a, const int b) {
    __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}

/* The same, both signed. */
TILE_INLINE void tile_dot_s8s8(const int c, const int a, const int b) {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}

#endif
