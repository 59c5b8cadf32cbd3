/* What the types of 32 numbers with four bits each share: 16 bytes hold numbers j and j + 16 in their lower and upper
 * halves, and the extremes of a block decide its scale. */
#ifndef MOE_TENSOR_NIBBLES_H
#define MOE_TENSOR_NIBBLES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "tensor/lanes8.h"

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

/* The largest of the sizes of n numbers, NaN if there is one. Sizes are in the order of their bits, NaN behind all, and
 * whole numbers make vector code. */
static inline float moe_block_largest(const float *x, size_t n)
{
	uint32_t largest = 0;

	for (size_t j = 0; j < n; j++) {
		const uint32_t bits = moe_f32_bits(x[j]) & 0x7fffffff;
		largest = bits > largest ? bits : largest;
	}
	return largest > 0x7f800000 ? NAN : moe_f32_from_bits(largest);
}

/* The number of largest size, the first of several, with its sign; NaN if there is one. */
static inline float moe_block_peak(const float *x, size_t n)
{
	const float largest = moe_block_largest(x, n);
	const uint32_t wanted = moe_f32_bits(largest);
	uint32_t first = (uint32_t)n - 1;

	for (size_t j = 0; j < n; j++) {
		const uint32_t at = (moe_f32_bits(x[j]) & 0x7fffffff) == wanted ? (uint32_t)j : (uint32_t)n - 1;
		first = at < first ? at : first;
	}
	return largest > 0 ? x[first] : largest;
}

/* Smallest and largest number, the first of several; both NaN if one is. */
static inline void moe_block_range(const float *x, size_t n, float *min, float *max)
{
	float low = x[0], high = x[0];
	uint32_t nan = 0;

	for (size_t j = 0; j < n; j++) {
		nan |= x[j] != x[j];
		low = x[j] < low ? x[j] : low;
		high = x[j] > high ? x[j] : high;
	}
	*min = nan ? NAN : low;
	*max = nan ? NAN : high;
}

/* Codes of a block: (x - low) inverse + half, cut to a whole number in 0..top. The comparisons put NaN and what is
 * beyond into range. */
static inline void moe_cut_codes(const float *x, float low, float inverse, float half, float top, uint8_t *q)
{
	const moe_v8 none = moe_v8_all(0), tops = moe_v8_all(top);
	int32_t codes[MOE_NIBBLE_BLOCK];

	for (size_t k = 0; k < MOE_NIBBLE_BLOCK; k += 8) {
		const moe_v8 y = (moe_v8_load(x + k) - low) * inverse + half;
		const moe_v8_mask code = moe_v8_cut(moe_v8_below(moe_v8_above(y, none), tops));

		memcpy(codes + k, &code, sizeof code);
	}
	for (size_t k = 0; k < MOE_NIBBLE_BLOCK; k++)
		q[k] = (uint8_t)codes[k];
}

#endif
