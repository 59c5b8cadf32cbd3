/* Eight pairs of six-bit numbers in 12 bytes, as Q4_K and Q5_K hold scales and minima: the first four of each fill the
 * lower six bits of bytes 0..7; of the others the lower four bits share bytes 8..11, and the upper two bits fill up
 * bytes 0..3 (scales) and 4..7 (minima). */
#ifndef MOE_TENSOR_SIXBIT_H
#define MOE_TENSOR_SIXBIT_H

#include <stddef.h>
#include <stdint.h>

static inline void moe_sixbit_unpack(const uint8_t *src, uint8_t *scale, uint8_t *min)
{
	for (size_t k = 0; k < 4; k++) {
		scale[k] = src[k] & 63;
		min[k] = src[k + 4] & 63;
		scale[k + 4] = (uint8_t)((src[k + 8] & 15) | src[k] >> 6 << 4);
		min[k + 4] = (uint8_t)(src[k + 8] >> 4 | src[k + 4] >> 6 << 4);
	}
}

static inline void moe_sixbit_pack(const int8_t *scale, const uint8_t *min, uint8_t *dst)
{
	for (size_t k = 0; k < 4; k++) {
		dst[k] = (uint8_t)(scale[k] | scale[k + 4] >> 4 << 6);
		dst[k + 4] = (uint8_t)(min[k] | min[k + 4] >> 4 << 6);
		dst[k + 8] = (uint8_t)((scale[k + 4] & 15) | (min[k + 4] & 15) << 4);
	}
}

#endif
