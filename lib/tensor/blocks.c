/* Codes with a scale for each block of a matrix. */
#include "tensor/blocks.h"

#include <float.h>
#include <math.h>

#include "tensor/half.h"

float moe_e8m0_value(uint8_t code)
{
	/* the least is half the smallest normal number, the last is NaN */
	return moe_f32_from_bits(code == 255 ? 0x7fc00000u : code ? (uint32_t)code << 23 : 0x00400000u);
}

uint8_t moe_e8m0_ceil(float x)
{
	const uint32_t bits = moe_f32_bits(x);

	if (!(x <= FLT_MAX))
		return 255;
	if (bits <= 0x00400000u || bits >> 31)
		return 0;
	const uint32_t code = (bits >> 23) + ((bits & 0x7fffffu) != 0);
	return (uint8_t)(code < 254 ? code : 254);
}

bool moe_e8m0_holds(float x)
{
	return isnan(x) || (x > 0 && x <= FLT_MAX && moe_e8m0_value(moe_e8m0_ceil(x)) == x);
}

size_t moe_blocks_of(size_t n) { return (n + MOE_SCALE_BLOCK - 1) / MOE_SCALE_BLOCK; }

/* Largest size of n numbers; NaN where one is none or infinite. */
static float largest_of(const float *x, size_t n)
{
	float largest = 0;
	bool finite = true;

	for (size_t i = 0; i < n; i++) {
		const float size = fabsf(x[i]);

		finite &= size <= FLT_MAX;
		largest = size > largest ? size : largest;
	}
	return finite ? largest : NAN;
}

/* The blocks of at most MOE_SCALE_BLOCK rows. */
static void encode_rows(const struct moe_codec *codec, float *values, size_t rows, size_t cols, bool powers,
                        uint8_t *codes, float *scales)
{
	for (size_t c = 0; c < cols; c += MOE_SCALE_BLOCK) {
		const size_t n = cols - c < MOE_SCALE_BLOCK ? cols - c : MOE_SCALE_BLOCK;
		float largest = 0, scale;

		for (size_t r = 0; r < rows; r++) {
			const float x = largest_of(values + r * cols + c, n);
			largest = x > largest || x != x ? x : largest;
			if (x != x)
				break;
		}
		scale = largest == 0 ? 1 : largest / codec->largest;
		/* of numbers near the smallest there are */
		scale = scale == 0 ? FLT_MIN : powers ? moe_e8m0_value(moe_e8m0_ceil(scale)) : scale;
		scales[c / MOE_SCALE_BLOCK] = scale;
		for (size_t r = 0; r < rows; r++) {
			float *row = values + r * cols + c;

			for (size_t i = 0; i < n; i++)
				row[i] /= scale;
		}
	}
	codec->encode(values, codes, rows * cols);
}

void moe_blocks_encode(const struct moe_codec *codec, float *values, size_t rows, size_t cols, bool powers,
                       uint8_t *codes, float *scales)
{
	for (size_t r = 0; r < rows; r += MOE_SCALE_BLOCK) {
		const size_t n = rows - r < MOE_SCALE_BLOCK ? rows - r : MOE_SCALE_BLOCK;

		encode_rows(codec, values + r * cols, n, cols, powers, codes + r * cols * codec->block_bytes,
		            scales + r / MOE_SCALE_BLOCK * moe_blocks_of(cols));
	}
}
