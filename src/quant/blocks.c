/* blocks.c: codebooks and packed scales of the block formats. */
#include "quant/blocks.h"

#include <string.h>

const int8_t tsr_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const int8_t tsr_mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

float tsr_e8m0_half(uint8_t e) {
    uint32_t u = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Low nibbles of s[0..7] and s[8..15] in the nibbles of packed[0..7]; the upper two bits of s[j], s[j + 4], s[j + 8],
 * s[j + 12] in packed[8 + j], lowest first. */
void tsr_q3_k_unpack_scales(const uint8_t packed[12], uint8_t s[16]) {
    for (int j = 0; j < 16; j++) {
        int low = packed[j % 8] >> (j / 8 * 4) & 15, high = packed[8 + j % 4] >> (j / 4 * 2) & 3;
        s[j] = (uint8_t)(low | high << 4);
    }
}

void tsr_q3_k_pack_scales(const uint8_t s[16], uint8_t packed[12]) {
    memset(packed, 0, 12);
    for (int j = 0; j < 16; j++) {
        packed[j % 8] |= (uint8_t)((s[j] & 15) << (j / 8 * 4));
        packed[8 + j % 4] |= (uint8_t)(s[j] >> 4 << (j / 4 * 2));
    }
}

/* s[0..3] and m[0..3] in the low 6 bits of packed[0..3] and packed[4..7]; s[4..7] and m[4..7] have their low nibbles
 * in packed[8..11] and their upper two bits on top of packed[0..3] and packed[4..7]. */
void tsr_q4_k_unpack_scales(const uint8_t packed[12], uint8_t s[8], uint8_t m[8]) {
    for (int j = 0; j < 4; j++) {
        s[j] = packed[j] & 63;
        m[j] = packed[j + 4] & 63;
        s[j + 4] = (uint8_t)((packed[j + 8] & 15) | packed[j] >> 6 << 4);
        m[j + 4] = (uint8_t)(packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4);
    }
}

void tsr_q4_k_pack_scales(const uint8_t s[8], const uint8_t m[8], uint8_t packed[12]) {
    for (int j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(s[j] | s[j + 4] >> 4 << 6);
        packed[j + 4] = (uint8_t)(m[j] | m[j + 4] >> 4 << 6);
        packed[j + 8] = (uint8_t)((s[j + 4] & 15) | (m[j + 4] & 15) << 4);
    }
}
