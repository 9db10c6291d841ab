#include "amx_emulation.h"

#include <immintrin.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TILES = 8 };

/* Tile state of a thread, as after TILERELEASE when it starts. */
static _Thread_local struct {
    tile_config config; /* palette 0: none */
    uint8_t data[TILES][TILE_ROWS][TILE_ROW_BYTES];
} state;

static void die(const char *why) {
    fprintf(stderr, "amx emulation: %s\n", why);
    abort();
}

void (*amx_emulation_fault)(const char *why) = die;

int amx_emulation_configured(void) { return state.config.palette != 0; }

static void need(int condition, const char *why) {
    if (condition) return;
    amx_emulation_fault(why);
    abort(); /* it must not return */
}

/* LDTILECFG's checks raise #GP. */
static void check_config(const tile_config *c) {
    need(c->palette <= 1, "LDTILECFG: unknown palette");
    for (int i = 0; i < 14; i++) need(c->reserved[i] == 0, "LDTILECFG: reserved bytes are not zero");
    for (int i = 0; i < 16; i++) {
        need(i < TILES || (c->row_bytes[i] == 0 && c->rows[i] == 0), "LDTILECFG: more than 8 tiles");
        need(c->row_bytes[i] <= TILE_ROW_BYTES, "LDTILECFG: rows of more than 64 bytes");
        need(c->rows[i] <= TILE_ROWS, "LDTILECFG: more than 16 rows");
        need((c->row_bytes[i] == 0) == (c->rows[i] == 0), "LDTILECFG: rows without bytes, or bytes without rows");
    }
}

void tile_configure(const tile_config *config) {
    if (config->palette != 0) check_config(config);
    memset(&state, 0, sizeof state);
    if (config->palette != 0) state.config = *config;
}

void tile_release(void) { memset(&state, 0, sizeof state); }

/* #UD */
static void need_tile(int tile) {
    need(state.config.palette == 1, "tile instruction without a configuration");
    need(tile >= 0 && tile < TILES, "no such tile");
    need(state.config.rows[tile] > 0, "tile is not configured");
}

void tile_zero(int tile) {
    need_tile(tile);
    memset(state.data[tile], 0, sizeof state.data[tile]);
}

/* Rows and bytes that the configuration does not have become zeros. */
void tile_load_rows(int tile, const void *rows, int64_t stride) {
    need_tile(tile);
    need(state.config.start_row == 0, "start_row is for interrupted instructions");
    memset(state.data[tile], 0, sizeof state.data[tile]);
    for (int r = 0; r < state.config.rows[tile]; r++)
        memcpy(state.data[tile][r], (const uint8_t *)rows + r * stride, state.config.row_bytes[tile]);
}

void tile_load(int tile, const void *rows) { tile_load_rows(tile, rows, TILE_ROW_BYTES); }

void tile_load_stream(int tile, const void *rows) { tile_load(tile, rows); }

void tile_store_rows(int tile, void *rows, int64_t stride) {
    need_tile(tile);
    for (int r = 0; r < state.config.rows[tile]; r++)
        memcpy((uint8_t *)rows + r * stride, state.data[tile][r], state.config.row_bytes[tile]);
}

void tile_store(int tile, void *rows) { tile_store_rows(tile, rows, TILE_ROW_BYTES); }

/* Shapes of c [m][n] += a [m][k] b [k][n], in dwords. */
typedef struct shape {
    int m, n, k;
} shape;

static shape need_product(int c, int a, int b) {
    need_tile(c);
    need_tile(a);
    need_tile(b);
    need(c != a && a != b && c != b, "a product needs three different tiles");
    const tile_config *f = &state.config;
    need(f->rows[c] == f->rows[a], "product: rows of C and A differ");
    need(f->row_bytes[c] == f->row_bytes[b], "product: columns of C and B differ");
    need(f->row_bytes[a] == 4 * f->rows[b], "product: k of A and B differ");
    need(f->row_bytes[c] % 4 == 0, "product: rows are not whole dwords");
    return (shape){f->rows[c], f->row_bytes[c] / 4, f->row_bytes[a] / 4};
}

/* The result replaces c; rows and columns beyond its shape become zeros. */
static void finish(int c, uint32_t sums[TILE_ROWS][16], shape s) {
    memset(state.data[c], 0, sizeof state.data[c]);
    for (int m = 0; m < s.m; m++) memcpy(state.data[c][m], sums[m], (size_t)s.n * 4);
}

/* Of a dword: its low (0) and high (1) half. */
static float bf16_half(uint32_t dword, int half) {
    uint32_t bits = half ? dword & 0xffff0000u : dword << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float f16_half(uint32_t dword, int half) { return _cvtsh_ss((uint16_t)(half ? dword >> 16 : dword)); }

/* For each column two sums over k, of even and of odd elements, by FMA from zero; then their sum; then that added to c: each rounded to
 * nearest even with denormals, read or made, taken as zero. Those of f16 are not: they become normal floats. MXCSR is not consulted. */
static void dot_floats(int c, int a, int b, float (*half_of)(uint32_t dword, int half)) {
    shape s = need_product(c, a, b);
    unsigned mode = _mm_getcsr();
    _mm_setcsr(0x9fc0); /* FTZ, DAZ, nearest, no traps */
    uint32_t out[TILE_ROWS][16];
    for (int m = 0; m < s.m; m++) {
        float even[16] = {0}, odd[16] = {0};
        for (int k = 0; k < s.k; k++) {
            uint32_t pair, row[16];
            memcpy(&pair, state.data[a][m] + 4 * k, sizeof pair);
            memcpy(row, state.data[b][k], sizeof row);
            float a0 = half_of(pair, 0), a1 = half_of(pair, 1);
            for (int n = 0; n < s.n; n++) {
                even[n] = fmaf(a0, half_of(row[n], 0), even[n]);
                odd[n] = fmaf(a1, half_of(row[n], 1), odd[n]);
            }
        }
        float sums[16];
        memcpy(sums, state.data[c][m], sizeof sums);
        for (int n = 0; n < s.n; n++) sums[n] += even[n] + odd[n];
        memcpy(out[m], sums, sizeof sums);
    }
    _mm_setcsr(mode);
    finish(c, out, s);
}

void tile_dot_bf16(int c, int a, int b) { dot_floats(c, a, b, bf16_half); }

void tile_dot_f16(int c, int a, int b) { dot_floats(c, a, b, f16_half); }

static int unsigned_byte(uint32_t dword, int i) { return (int)(dword >> 8 * i & 255); }

static int signed_byte(uint32_t dword, int i) { return (int8_t)(dword >> 8 * i & 255); }

/* Exact; sums wrap. */
static void dot_bytes(int c, int a, int b, int (*byte_of_a)(uint32_t dword, int i)) {
    shape s = need_product(c, a, b);
    uint32_t out[TILE_ROWS][16];
    for (int m = 0; m < s.m; m++) {
        memcpy(out[m], state.data[c][m], sizeof out[m]);
        for (int k = 0; k < s.k; k++) {
            uint32_t quad, row[16];
            memcpy(&quad, state.data[a][m] + 4 * k, sizeof quad);
            memcpy(row, state.data[b][k], sizeof row);
            for (int n = 0; n < s.n; n++)
                for (int i = 0; i < 4; i++) out[m][n] += (uint32_t)(byte_of_a(quad, i) * signed_byte(row[n], i));
        }
    }
    finish(c, out, s);
}

void tile_dot_u8s8(int c, int a, int b) { dot_bytes(c, a, b, unsigned_byte); }

void tile_dot_s8s8(int c, int a, int b) { dot_bytes(c, a, b, signed_byte); }
