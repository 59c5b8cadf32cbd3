/* IQ4_NL: 32 numbers as an f16 scale d and 32 codes q of four bits, x = d v[q], with unevenly spaced values v, denser
 * around zero, where weights are.
 *
 * Encoding minimises the squared error: several scales are tried, and for the codes that each gives the best scale
 * follows by least squares, which gives new codes. A block that holds a NaN or an infinity is NaN as a whole. */
#include <float.h>
#include <math.h>

#include "tensor/half.h"
#include "tensor/lanes.h"
#include "tensor/nibbles.h"
#include "tensor/tensor.h"

#define BLOCK_BYTES 18

static const float values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_NIBBLE_BLOCK, src += BLOCK_BYTES) {
		const float d = moe_f32_from_f16(moe_load_u16(src));
		uint8_t q[MOE_NIBBLE_BLOCK];

		moe_nibbles_unpack(src + 2, q);
		for (size_t k = 0; k < MOE_NIBBLE_BLOCK; k++)
			dst[i + k] = d * values[q[k]];
	}
}

/* The value nearest to each number. */
static moe_lanes nearest(moe_lanes y)
{
	moe_lanes v = moe_lanes_all(values[0]);

	for (size_t i = 0; i < 15; i++) {
		const moe_lane_masks above = y > moe_lanes_all(0.5f * (values[i] + values[i + 1]));

		v += (moe_lanes)(above & (moe_lane_masks)moe_lanes_all(values[i + 1] - values[i]));
	}
	return v;
}

/* The scale of least error for the values nearest to x / d, and by how much its squared error is less than that of
 * zeros. */
static float solve(const float *x, float d, float *gain)
{
	const moe_lanes inverse = moe_lanes_all(d != 0 ? 1 / d : 0);
	moe_lanes xv0 = moe_lanes_all(0), xv1 = xv0, vv0 = xv0, vv1 = xv0;

	for (size_t k = 0; k < MOE_NIBBLE_BLOCK; k += 2 * MOE_LANES) {
		const moe_lanes x0 = moe_lanes_load(x + k), x1 = moe_lanes_load(x + k + MOE_LANES);
		const moe_lanes v0 = nearest(x0 * inverse), v1 = nearest(x1 * inverse);

		xv0 += x0 * v0;
		xv1 += x1 * v1;
		vv0 += v0 * v0;
		vv1 += v1 * v1;
	}
	const float xv = moe_lane_sum(xv0, xv1), vv = moe_lane_sum(vv0, vv1);
	*gain = xv / vv * xv;
	return xv / vv;   /* no value is 0 */
}

/* Of the scales tried, with the number of largest size at either end of the values or near it, the best. */
static float fit(const float *x, float peak)
{
	static const float spreads[] = {1, 0.94f, 1.07f, 1.15f};
	float best = 0, best_gain = 0;

	for (size_t t = 0; t < 2 * sizeof spreads / sizeof *spreads; t++) {
		float d = peak / (values[t % 2 ? 15 : 0] * spreads[t / 2]), gain;

		for (int round = 0; round < 2; round++) {
			d = solve(x, d, &gain);
			if (gain > best_gain) {
				best_gain = gain;
				best = d;
			}
		}
	}
	return best;
}

/* The same with weights. */
static float solve_weighted(const float *x, const float *w, float d, float *gain)
{
	const moe_lanes inverse = moe_lanes_all(d != 0 ? 1 / d : 0);
	moe_lanes xv = moe_lanes_all(0), vv = xv;

	for (size_t k = 0; k < MOE_NIBBLE_BLOCK; k += MOE_LANES) {
		const moe_lanes y = moe_lanes_load(x + k), v = nearest(y * inverse), wv = moe_lanes_load(w + k) * v;

		xv += wv * y;
		vv += wv * v;
	}
	const float sum_xv = moe_lane_sum(xv, moe_lanes_all(0)), sum_vv = moe_lane_sum(vv, moe_lanes_all(0));
	*gain = sum_xv / sum_vv * sum_xv;
	return sum_xv / sum_vv;   /* no value is 0, and no weight */
}

static float fit_weighted(const float *x, const float *w, float peak)
{
	static const float spreads[] = {1, 0.87f, 0.94f, 1.07f, 1.15f, 1.25f};
	float best = 0, best_gain = 0;

	for (size_t t = 0; t < 2 * sizeof spreads / sizeof *spreads; t++) {
		float d = peak / (values[t % 2 ? 15 : 0] * spreads[t / 2]), gain;

		for (int round = 0; round < 3; round++) {
			d = solve_weighted(x, w, d, &gain);
			if (gain > best_gain) {
				best_gain = gain;
				best = d;
			}
		}
	}
	return best;
}

static void encode_weighted(const float *restrict src, const float *restrict weights, uint8_t *restrict dst,
                            size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_NIBBLE_BLOCK, dst += BLOCK_BYTES) {
		const float peak = moe_block_peak(src + i, MOE_NIBBLE_BLOCK);
		const bool finite = fabsf(peak) <= FLT_MAX;
		const float found = !finite   ? NAN
		                    : weights ? fit_weighted(src + i, weights + i, peak)
		                              : fit(src + i, peak);
		const uint16_t stored = moe_f16_from_f32(found);
		const float d = moe_f32_from_f16(stored), inverse = d != 0 && d == d ? 1 / d : 0;
		uint8_t q[MOE_NIBBLE_BLOCK] = {0};

		for (size_t k = 0; k < MOE_NIBBLE_BLOCK; k++)
			for (size_t v = 0; v < 15; v++)
				q[k] = (uint8_t)(q[k] + (src[i + k] * inverse > 0.5f * (values[v] + values[v + 1])));
		moe_store_u16(dst, stored);
		moe_nibbles_pack(q, dst + 2);
	}
}

static void encode(const float *restrict src, uint8_t *restrict dst, size_t n_elems)
{
	encode_weighted(src, NULL, dst, n_elems);
}

const struct moe_codec moe_codec_iq4_nl = {
	.name = "iq4_nl",
	.gguf_id = 20,
	.block_elems = MOE_NIBBLE_BLOCK,
	.block_bytes = BLOCK_BYTES,
	.is_float = true,
	.help = "32 codes of 4 bits for uneven values and a half-precision scale, 4.5 bits a number, GGUF only",
	.decode = decode,
	.encode = encode,
	.encode_weighted = encode_weighted,
};
