/* quantize_blocks.h: quantisers that search for their scales, each a tsr_quantize_fn (quant.h); private to the room. */
#ifndef TSR_QUANT_QUANTIZE_BLOCKS_H
#define TSR_QUANT_QUANTIZE_BLOCKS_H

#include <stdint.h>

void tsr_quantize_q2_k(const float *src, void *dst, int64_t k, const float *importance);
void tsr_quantize_q3_k(const float *src, void *dst, int64_t k, const float *importance);
void tsr_quantize_q4_k(const float *src, void *dst, int64_t k, const float *importance);
void tsr_quantize_q5_k(const float *src, void *dst, int64_t k, const float *importance);
void tsr_quantize_q6_k(const float *src, void *dst, int64_t k, const float *importance);
void tsr_quantize_iq4_nl(const float *src, void *dst, int64_t k, const float *importance);
void tsr_quantize_iq4_xs(const float *src, void *dst, int64_t k, const float *importance);

/* Low nibbles of codes q[32]: byte l of qs = q[l] | q[l + 16] << 4. */
static inline void tsr_pack_nibbles(const uint8_t q[32], uint8_t qs[16]) {
    for (int l = 0; l < 16; l++) qs[l] = (uint8_t)((q[l] & 15) | (q[l + 16] & 15) << 4);
}

#endif
