/* Q2_K: 256 numbers in 16 sub-blocks of 16. 16 bytes with a four-bit scale (lower half) and minimum (upper half) each,
 * 64 bytes with two bits a number, and two f16 units d and d_min: x = d scale q - d_min min. Byte l of 32 holds numbers
 * l, l + 32, l + 64 and l + 96 of a half of the block. Encoding: tensor/kquant.h, with weights tensor/weighted.h. */
#include "tensor/half.h"
#include "tensor/subblocks.h"
#include "tensor/tensor.h"
#include "tensor/weighted.h"

#define BLOCK_BYTES 84

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_KQUANT_BLOCK, src += BLOCK_BYTES) {
		const float d = moe_f32_from_f16(moe_load_u16(src + 80));
		const float d_min = moe_f32_from_f16(moe_load_u16(src + 82));

		for (size_t s = 0; s < 16; s++) {
			const size_t half = s / 8, t = s % 8 / 2;
			const uint8_t *q = src + 16 + half * 32 + s % 2 * 16;
			const float unit = d * (float)(src[s] & 15), low = d_min * (float)(src[s] >> 4);

			for (size_t k = 0; k < 16; k++)
				dst[i + s * 16 + k] = unit * (float)(q[k] >> 2 * t & 3) - low;
		}
	}
}

static void encode_weighted(const float *restrict src, const float *restrict weights, uint8_t *restrict dst,
                            size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_KQUANT_BLOCK, dst += BLOCK_BYTES) {
		struct moe_kquant b;

		if (weights)
			moe_kquant_affine_weighted(src + i, weights + i, 16, 3, 15, &b);
		else
			moe_subblocks_affine(src + i, 16, 3, 15, &b);
		for (size_t s = 0; s < 16; s++)
			dst[s] = (uint8_t)(b.scale[s] | b.min[s] << 4);
		for (size_t half = 0; half < 2; half++)
			for (size_t l = 0; l < 32; l++) {
				const int8_t *code = b.code + half * 128 + l;

				dst[16 + half * 32 + l] =
					(uint8_t)(code[0] | code[32] << 2 | code[64] << 4 | code[96] << 6);
			}
		moe_store_u16(dst + 80, b.d);
		moe_store_u16(dst + 82, b.d_min);
	}
}

static void encode(const float *restrict src, uint8_t *restrict dst, size_t n_elems)
{
	encode_weighted(src, NULL, dst, n_elems);
}

const struct moe_codec moe_codec_q2_k = {
	.name = "q2_k",
	.gguf_id = 10,
	.block_elems = MOE_KQUANT_BLOCK,
	.block_bytes = BLOCK_BYTES,
	.is_float = true,
	.help = "256 codes of 2 bits, scales and minima of 4 bits, 2.625 bits a number, GGUF only",
	.fallback = "q4_0",
	.decode = decode,
	.encode = encode,
	.encode_weighted = encode_weighted,
};
