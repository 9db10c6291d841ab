/* wide_amx_f16.c: the wide float path in f16 on AMX tiles (wide_amx.h); unpacking with AVX512-FP16, at about half of what bf16 costs, and
 * with 11 significant bits instead of 8. Compiled with these ISAs' flags only.
 *
 * The range of f16, 2^-24 to 65504, is small:
 *   activations  a row whose largest number is far from 1 is multiplied by a power of two; its inverse lies behind the blocks of the
 *                row tile, [16] f32, and the last run of blocks multiplies C with it (nothing to do where all
 *                are 1, as nearly always)
 *   weights      scales are f16 in the file. Multiples of 2^-24 times integers are again multiples of 2^-24, so nothing is lost below;
 *                scales so large that weights might exceed 65504 are seen before a run, which is then computed in f32: slow, and right.
 *   MXFP4, BF16  have the range of f32 and are left to bf16. */
#include "kernels/x86/unpack_avx512.h"
#include "kernels/x86/wide_amx.h"

#ifndef TSR_HALF_HEADER
#define TSR_HALF_HEADER "kernels/x86/half_avx512fp16.h"
#endif
#include TSR_HALF_HEADER

enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC, LIMIT_32 = 0x5400, LIMIT_256 = 0x4400 /* f16 of 64 and 4 */ };

/* ------------------------------------------------------------------------------------------------- weights */

/* f16 of what the codes of a type mean before the scale, [32]: narrower codes repeat, so that bits above them do not matter. Written once,
 * by tsr_kernels_fill_wide_amx_f16. */
static uint16_t values[TSR_TYPE_COUNT][32] __attribute__((aligned(64)));

static void fill_values(tsr_type type) {
    const tsr_layout *l = tsr_layout_of(type);
    int width = l->code_bits + l->high_bits;
    for (int i = 0; i < 32 && width <= 5; i++) {
        int code = i & ((1 << width) - 1);
        values[type][i] = tsr_f32_to_f16((float)((l->table ? l->table[code] : code) - l->offset));
    }
}

/* 16 columns of f16 to lanes 2 c + p. */
TSR_INLINE __m512i half_twice(__m256i columns) {
    const __m512i index = _mm512_cvtepu16_epi32(_mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    return _mm512_permutexvar_epi16(_mm512_or_si512(index, _mm512_slli_epi32(index, 16)), _mm512_castsi256_si512(columns));
}

typedef struct half_scales {
    __m512i scale, min;
} half_scales;

/* Scale and min of group g of block b, rounded to f16 where the format's are products. */
TSR_INLINE half_scales load_half_scales(const tsr_packed *w, const uint8_t *panel, int64_t b, const int g, const format f) {
    const uint8_t *s = panel + w->scales_offset;
    if (f.scales == TSR_SCALES_F16 || f.scales == TSR_SCALES_F16_MIN) {
        s += b * (f.has_min ? 64 : 32);
        __m256i scale = _mm256_loadu_si256((const __m256i *)(const void *)s);
        __m256i min = f.has_min ? _mm256_loadu_si256((const __m256i *)(const void *)(s + 32)) : _mm256_setzero_si256();
        return (half_scales){half_twice(scale), half_twice(min)};
    }
    __m512 min = _mm512_setzero_ps(), scale = unpack_scale(w, panel, b, g, f, &min);
    return (half_scales){half_twice(_mm512_cvtps_ph(scale, NEAREST)), half_twice(_mm512_cvtps_ph(min, NEAREST))};
}

/* The values of the codes at bits `shift` of 32 lanes. Bytes become f16 by the exponent of 1024, whose ulp is 1. */
TSR_INLINE __m512i lane_values(__m512i lanes, const int shift, const format f, __m512i table) {
    const __m512i k1024 = _mm512_set1_epi16(0x6400), byte = _mm512_set1_epi16(0x00ff);
    __m512i code = shift ? _mm512_srli_epi16(lanes, (unsigned)shift) : lanes;
    if (f.code_bits + f.high_bits <= 5) return _mm512_permutexvar_epi16(code, table);
    code = _mm512_ternarylogic_epi32(code, byte, k1024, 0xea); /* code & byte | k1024 */
    return half_sub(code, _mm512_set1_epi16((short)(0x6400 + f.offset)));
}

/* Block b of a panel of codes as f16: out [16][16][2]; as unpack_block_bf16 (unpack16_avx512.h), but lanes stay of 16 bits. */
TSR_INLINE void unpack_block_f16(const tsr_packed *w, const uint8_t *panel, int64_t b, const format f, const uint16_t *table16,
                                 uint8_t *out) {
    const bool raw = f.high_bits == 0 && f.code_bits < 8;
    const int per_line = raw ? 8 / f.code_bits : 1, step = raw ? f.code_bits : 0;
    const __m512i table = _mm512_load_si512(table16);
    half_scales s = load_half_scales(w, panel, b, 0, f);
    __m512i x = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int v = 0; v < TSR_QUADS; v++) {
        if (f.halves && v == TSR_QUADS / 2) s = load_half_scales(w, panel, b, 1, f);
        if (!raw) x = unpack_vector(w, panel, b, v, f, _mm512_setzero_si512());
        else if (v % per_line == 0) x = _mm512_loadu_si512(panel + b * (f.code_bits * 64) + v / per_line * 64);
        for (int odd = 0; odd < 2; odd++) {
            const int row = v / 2 * 4 + v % 2 + 2 * odd;
            __m512i value = lane_values(x, v % per_line * step + 8 * odd, f, table);
            _mm512_storeu_si512(out + row * 64, f.has_min ? half_fma(value, s.scale, s.min) : half_mul(value, s.scale));
        }
    }
}

#define UNPACK(TYPE, ...)                                                                                                \
    static void block_##TYPE##__avx512fp16(const tsr_packed *w, const uint8_t *panel, int64_t block, uint8_t *out) {     \
        unpack_block_f16(w, panel, block, (format){__VA_ARGS__}, values[TSR_##TYPE], out);                               \
    }
TSR_FORMATS(UNPACK)

static void block_F16__avx512(const tsr_packed *w, const uint8_t *panel, int64_t block, uint8_t *out) {
    (void)w;
    for (int row = 0; row < 16; row++, out += 64) _mm512_storeu_si512(out, _mm512_loadu_si512(panel + block * TILE_BYTES + row * 64));
}

#define BLOCK(TYPE, ...) [TSR_##TYPE] = block_##TYPE##__avx512fp16,
static const unpack_block_fn unpack_block[TSR_TYPE_COUNT] = {TSR_FORMATS(BLOCK)[TSR_F16] = block_F16__avx512};

static void wide_unpack_f16__avx512fp16(const tsr_packed *w, int64_t panel, int64_t first, int64_t n, void *out) {
    const uint8_t *from = w->data + (size_t)panel * w->panel_bytes;
    for (int64_t i = 0; i < n; i++) unpack_block[w->type](w, from, first + i, (uint8_t *)out + i * TILE_BYTES);
}

/* Whether no weight of these blocks can exceed f16: by the size of their d and m alone, which is on the safe side. */
static bool fits_f16(const tsr_packed *w, int64_t panel, int64_t block, int64_t blocks) {
    const tsr_layout *l = w->layout;
    if (l->scales == TSR_SCALES_NONE) return true;
    const int64_t unit_bytes = (int64_t)tsr_layout_unit_bytes(l), unit_blocks = l->unit_k / TSR_BLOCK_K;
    const int halves = l->has_min ? 64 : 32; /* bytes of d and m, which end a unit */
    const __m512i limit = _mm512_set1_epi16(l->unit_k == 32 ? LIMIT_32 : LIMIT_256), magnitude = _mm512_set1_epi16(0x7fff);
    const uint8_t *plane = w->data + (size_t)panel * w->panel_bytes + w->scales_offset;
    __mmask32 large = 0;
    for (int64_t u = block / unit_blocks; u <= (block + blocks - 1) / unit_blocks; u++) {
        __m512i d = _mm512_maskz_loadu_epi16(halves == 64 ? 0xffffffffu : 0xffffu, plane + (u + 1) * unit_bytes - halves);
        large |= _mm512_cmpge_epu16_mask(_mm512_and_si512(d, magnitude), limit);
    }
    return large == 0;
}

/* --------------------------------------------------------------------------------------------- activations */

/* What to multiply a row with: 1, or the power of two that brings its largest finite number to 2^14. */
static float row_scale(const float *x, int64_t k) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff), infinity = _mm512_set1_epi32(0x7f800000);
    __m512i most = _mm512_setzero_si512();
    for (int64_t i = 0; i < k; i += 16) {
        __mmask16 there = (__mmask16)(k - i >= 16 ? 0xffff : (1u << (k - i)) - 1u);
        __m512i bits = _mm512_and_si512(_mm512_castps_si512(_mm512_maskz_loadu_ps(there, x + i)), magnitude);
        most = _mm512_mask_max_epu32(most, _mm512_cmplt_epu32_mask(bits, infinity), most, bits);
    }
    int exponent = (int)(_mm512_reduce_max_epu32(most) >> 23); /* of 2^(exponent - 127); 0: nothing but zeros and denormals */
    if (exponent == 0 || (exponent >= 127 - 6 && exponent <= 127 + 14)) return 1.0f;
    int wanted = 127 + 14 + 127 - exponent;
    return _mm512_cvtss_f32(_mm512_castsi512_ps(_mm512_set1_epi32((wanted > 253 ? 253 : wanted) << 23)));
}

TSR_INLINE void pack_half(const float *x, int64_t there, __m512 scale, uint8_t *half) {
    const __mmask16 mask = (__mmask16)(there >= 16 ? 0xffff : there <= 0 ? 0 : (1u << there) - 1u);
    __m256i h = _mm512_cvtps_ph(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x), scale), NEAREST);
    _mm256_storeu_si256((__m256i *)(void *)half, h);
}

static void wide_pack_rows_f16__avx512(const float *x, int64_t ldx, int rows, int64_t k, void *tiles) {
    uint8_t *line = tiles;
    float scale[TILE_ROWS], *inverse = (float *)(void *)(line + (k + TSR_BLOCK_K - 1) / TSR_BLOCK_K * TILE_BYTES);
    for (int r = 0; r < TILE_ROWS; r++) {
        scale[r] = r < rows ? row_scale(x + r * ldx, k) : 1.0f;
        inverse[r] = 1.0f / scale[r];
    }
    for (int64_t at = 0; at < k; at += TSR_BLOCK_K)
        for (int r = 0; r < TILE_ROWS; r++, line += TILE_ROW_BYTES) {
            if (r >= rows) {
                _mm512_storeu_si512(line, _mm512_setzero_si512());
                continue;
            }
            pack_half(x + r * ldx + at, k - at, _mm512_set1_ps(scale[r]), line);
            pack_half(x + r * ldx + at + 16, k - at - 16, _mm512_set1_ps(scale[r]), line + 32);
        }
}

/* ------------------------------------------------------------------------------------------------- products */

/* The same by floats, for weights that f16 does not hold. */
static void strip_by_floats(const tsr_wide_job *job) {
    const tsr_layout *l = job->w->layout;
    static const int order[2][4] = {{0, 4, 1, 5}, {2, 6, 3, 7}}; /* packed.h */
    uint8_t codes[TSR_QUADS * 64];
    float scale[2 * TSR_PANEL], min[2 * TSR_PANEL], weights[TSR_BLOCK_K][TSR_PANEL];
    for (int p = 0; p < 2; p++)
        for (int64_t b = 0; b < job->blocks; b++) {
            tsr_packed_block(job->w, job->panel[p], job->block + b, codes, scale, min);
            for (int i = 0; i < TSR_QUADS * 64; i++) {
                int v = i / 64, k = v / 2 * 8 + order[v % 2][i % 4], c = i % 64 / 4, s = k / l->group_k * TSR_PANEL + c;
                weights[k][c] = l->has_min ? scale[s] * (float)codes[i] + min[s] : scale[s] * (float)(codes[i] - l->offset);
            }
            for (int64_t r = 0; r < job->rows; r++) {
                const uint8_t *a = (const uint8_t *)job->a + (size_t)(r / TILE_ROWS) * job->a_stride + b * TILE_BYTES + r % TILE_ROWS * 64;
                float *c = job->c + ((r / TILE_ROWS * 2 + p) * TILE_ROWS + r % TILE_ROWS) * TSR_PANEL;
                __m512 sum = b || job->accumulate ? _mm512_loadu_ps(c) : _mm512_setzero_ps();
                for (int k = 0; k < TSR_BLOCK_K; k++) {
                    uint16_t h;
                    memcpy(&h, a + 2 * k, sizeof h);
                    sum = _mm512_fmadd_ps(_mm512_set1_ps(_cvtsh_ss(h)), _mm512_loadu_ps(weights[k]), sum);
                }
                _mm512_storeu_ps(c, sum);
            }
        }
}

/* C of all of k: rows times their inverse scales. */
static void unscale(const tsr_wide_job *job) {
    int64_t blocks = (job->w->k + TSR_BLOCK_K - 1) / TSR_BLOCK_K;
    if (job->block + job->blocks < blocks) return;
    for (int64_t row = 0; row < job->rows; row += TILE_ROWS) {
        const uint8_t *a = (const uint8_t *)job->a + (size_t)(row / TILE_ROWS) * job->a_stride;
        const float *inverse = (const float *)(const void *)(a + (blocks - job->block) * TILE_BYTES);
        float *c = job->c + row / TILE_ROWS * 512;
        if (_mm512_cmp_ps_mask(_mm512_loadu_ps(inverse), _mm512_set1_ps(1.0f), _CMP_NEQ_UQ) == 0) continue;
        for (int i = 0; i < 2 * TILE_ROWS; i++)
            _mm512_storeu_ps(c + i * TSR_PANEL, _mm512_mul_ps(_mm512_loadu_ps(c + i * TSR_PANEL), _mm512_set1_ps(inverse[i % TILE_ROWS])));
    }
}

static void wide_strip_f16__amxfp16(const tsr_wide_job *job) {
    bool fits = fits_f16(job->w, job->panel[0], job->block, job->blocks) && fits_f16(job->w, job->panel[1], job->block, job->blocks);
    if (fits) multiply_strip(job, unpack_block[job->w->type], true);
    else strip_by_floats(job);
    unscale(job);
}

#define PANEL(TYPE, ...) [TSR_##TYPE] = wide_unpack_f16__avx512fp16,
#define STRIP(TYPE, ...) [TSR_##TYPE] = wide_strip_f16__amxfp16,
static const tsr_wide wide_f16 = {
    .name = "wide_f16_32x32__amxfp16",
    .elem = TSR_F16,
    .elem_bytes = 2,
    .row_tile_extra = TILE_ROWS * sizeof(float),
    .run_blocks = RUN_BLOCKS,
    .pack_rows = wide_pack_rows_f16__avx512,
    .unpack = {TSR_FORMATS(PANEL)[TSR_F16] = wide_unpack_f16__avx512fp16},
    .strip = {TSR_FORMATS(STRIP)[TSR_F16] = wide_strip_f16__amxfp16},
};

void tsr_kernels_fill_wide_amx_f16(tsr_kernels *k) {
    for (int t = 0; t < TSR_TYPE_COUNT; t++) {
        if (!wide_f16.strip[t] || t == TSR_MXFP4) continue;
        fill_values((tsr_type)t);
        k->wide[t] = &wide_f16;
    }
}
