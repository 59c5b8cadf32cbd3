/* What the types of 32 numbers with four bits each share: 16 bytes hold numbers j and j + 16 in their lower and upper
 * halves, and the extremes of a block decide its scale. */
#ifndef MOE_TENSOR_NIBBLES_H
#define MOE_TENSOR_NIBBLES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#define MOE_NIBBLE_BLOCK 32

static inline void moe_nibbles_unpack(const uint8_t *src, uint8_t *q)
{
	for (size_t j = 0; j < MOE_NIBBLE_BLOCK / 2; j++) {
		q[j] = src[j] & 15;
		q[j + MOE_NIBBLE_BLOCK / 2] = src[j] >> 4;
	}
}

/* Higher bits of q are left out. */
static inline void moe_nibbles_pack(const uint8_t *q, uint8_t *dst)
{
	for (size_t j = 0; j < MOE_NIBBLE_BLOCK / 2; j++)
		dst[j] = (uint8_t)((q[j] & 15) | (q[j + MOE_NIBBLE_BLOCK / 2] & 15) << 4);
}

/* The number of largest size, the first of several, with its sign; NaN if there is one. */
static inline float moe_block_peak(const float *x, size_t n)
{
	float peak = 0, size = 0;

	for (size_t j = 0; j < n; j++) {
		if (x[j] != x[j])
			return NAN;
		if (fabsf(x[j]) > size) {
			size = fabsf(x[j]);
			peak = x[j];
		}
	}
	return peak;
}

/* Smallest and largest number; both NaN if one is. */
static inline void moe_block_range(const float *x, size_t n, float *min, float *max)
{
	*min = *max = x[0];
	for (size_t j = 0; j < n; j++) {
		if (x[j] != x[j]) {
			*min = *max = NAN;
			return;
		}
		*min = x[j] < *min ? x[j] : *min;
		*max = x[j] > *max ? x[j] : *max;
	}
}

/* x cut to a whole number in 0..max: the comparisons put NaN and what is beyond into range. */
static inline uint8_t moe_cut_code(float x, float max)
{
	x = x > 0 ? x : 0;
	return (uint8_t)(x < max ? x : max);
}

#endif
