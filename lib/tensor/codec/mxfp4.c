/* MXFP4 (OCP microscaling formats, 1.0) as GGUF holds it: 32 numbers as the biased exponent e of a power of two and 32
 * E2M1 codes, numbers j and j + 16 in one byte, x = E2M1(code) 2^(e - 127).
 *
 * Encoding as the reference does: e = floor(log2 max|x|) - 2 + 127, so that the largest number lies in [4, 8) units,
 * and each number takes the nearest of the 16 values, the one of the lower code where two are as near. With weights
 * the exponents beside it are tried too. The exponent 255 stands for NaN, as in the standard: a block that holds one
 * becomes NaN as a whole. */
#include <float.h>
#include <math.h>

#include "tensor/half.h"
#include "tensor/nibbles.h"
#include "tensor/tensor.h"

#define BLOCK_BYTES 17
#define NAN_EXPONENT 255

/* Twice the values, so that they are whole; e is one less for it. */
static const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_NIBBLE_BLOCK, src += BLOCK_BYTES) {
		const float half_unit = src[0] == NAN_EXPONENT ? NAN : (float)ldexp(1, src[0] - 128);
		uint8_t q[MOE_NIBBLE_BLOCK];

		moe_nibbles_unpack(src + 1, q);
		for (size_t k = 0; k < MOE_NIBBLE_BLOCK; k++)
			dst[i + k] = half_unit * (float)doubled[q[k]];
	}
}

static uint8_t nearest(float x, float half_unit)
{
	uint8_t best = 0;
	float least = fabsf(x);

	for (uint8_t q = 1; q < 16; q++) {
		const float miss = fabsf(half_unit * (float)doubled[q] - x);

		if (miss < least) {
			least = miss;
			best = q;
		}
	}
	return best;
}

/* Of three exponents, the reference's and its neighbours, the one of least weighted error. */
static int choose_exponent(const float *x, const float *w, int e)
{
	double least = INFINITY;
	int best = e;

	for (int t = 0; t < 3; t++) {
		const int tried = e + (t == 0 ? 0 : t == 1 ? 1 : -1);
		const float half_unit = (float)ldexp(1, tried - 128);
		double error = 0;

		if (tried < 0 || tried >= NAN_EXPONENT)
			continue;
		for (size_t k = 0; k < MOE_NIBBLE_BLOCK; k++) {
			const double miss = (double)half_unit * doubled[nearest(x[k], half_unit)] - (double)x[k];
			error += (double)w[k] * miss * miss;
		}
		if (error < least) {
			least = error;
			best = tried;
		}
	}
	return best;
}

static void encode_weighted(const float *restrict src, const float *restrict weights, uint8_t *restrict dst,
                            size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_NIBBLE_BLOCK, dst += BLOCK_BYTES) {
		const float peak = fabsf(moe_block_peak(src + i, MOE_NIBBLE_BLOCK));
		uint8_t q[MOE_NIBBLE_BLOCK] = {0};
		int e = 0;

		if (peak != peak)
			e = NAN_EXPONENT;
		else if (peak > FLT_MAX)
			e = NAN_EXPONENT - 1;
		else if (peak > 0)
			e = ilogbf(peak) - 2 + 127;
		e = e > 0 ? e : 0;
		if (weights && e < NAN_EXPONENT - 1)
			e = choose_exponent(src + i, weights + i, e);
		for (size_t k = 0; k < MOE_NIBBLE_BLOCK && e < NAN_EXPONENT; k++)
			q[k] = nearest(src[i + k], (float)ldexp(1, e - 128));
		*dst = (uint8_t)e;
		moe_nibbles_pack(q, dst + 1);
	}
}

static void encode(const float *restrict src, uint8_t *restrict dst, size_t n_elems)
{
	encode_weighted(src, NULL, dst, n_elems);
}

const struct moe_codec moe_codec_mxfp4 = {
	.name = "mxfp4",
	.gguf_id = 39,
	.block_elems = MOE_NIBBLE_BLOCK,
	.block_bytes = BLOCK_BYTES,
	.is_float = true,
	.help = "32 codes of 4 bits and an exponent, 4.25 bits a number, GGUF only",
	.decode = decode,
	.encode = encode,
	.encode_weighted = encode_weighted,
};
