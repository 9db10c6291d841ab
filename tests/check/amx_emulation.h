/* amx_emulation.h: the functions of kernels/x86/amx_tile.h on a plain C struct, one per thread, with the semantics of palette 1 (Intel SDM
 * vol. 1, chapter 18; operation sections of vol. 2), so that the AMX kernels are checked on hosts without AMX: their sources are compiled a
 * second time with this header in place of the other (TSR_AMX_TILE_HEADER). What the processor answers with an exception, a tile that is
 * not configured, shapes that do not fit, a bad configuration, calls amx_emulation_fault. */
#ifndef TSR_TESTS_AMX_EMULATION_H
#define TSR_TESTS_AMX_EMULATION_H

#include <stdint.h>

typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

enum { TILE_ROWS = 16, TILE_ROW_BYTES = 64, TILE_BYTES = TILE_ROWS * TILE_ROW_BYTES };

#define TILE_INLINE static inline __attribute__((always_inline))

void tile_configure(const tile_config *config);
void tile_release(void);
void tile_zero(int tile);
void tile_load(int tile, const void *rows);
void tile_load_stream(int tile, const void *rows);
void tile_store(int tile, void *rows);
void tile_load_rows(int tile, const void *rows, int64_t stride);
void tile_store_rows(int tile, void *rows, int64_t stride);
void tile_dot_bf16(int c, int a, int b);
void tile_dot_f16(int c, int a, int b);
void tile_dot_u8s8(int c, int a, int b);
void tile_dot_s8s8(int c, int a, int b);

/* Called with what is wrong; must not return. The one set at start prints it and aborts. */
extern void (*amx_emulation_fault)(const char *why);
/* Whether this thread's tiles are configured: kernels must leave none behind. */
int amx_emulation_configured(void);

#endif
