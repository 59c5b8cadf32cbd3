/* Q5_K: 256 numbers in 8 sub-blocks of 32. Two f16 units d and d_min, then 8 pairs of six-bit scales and minima in 12
 * bytes, 32 bytes with the fifth bits (bit s of byte k: number k of sub-block s), then four bits a number:
 * x = d scale q - d_min min. Encoding: tensor/kquant.h, with weights tensor/weighted.h. */
#include "tensor/half.h"
#include "tensor/subblocks.h"
#include "tensor/sixbit.h"
#include "tensor/tensor.h"
#include "tensor/weighted.h"

#define BLOCK_BYTES 176

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_KQUANT_BLOCK, src += BLOCK_BYTES) {
		const float d = moe_f32_from_f16(moe_load_u16(src)), d_min = moe_f32_from_f16(moe_load_u16(src + 2));
		const uint8_t *high = src + 16;
		uint8_t scale[8], min[8];

		moe_sixbit_unpack(src + 4, scale, min);
		for (size_t s = 0; s < 8; s++) {
			const float unit = d * (float)scale[s], low = d_min * (float)min[s];
			const uint8_t *q = src + 48 + s / 2 * 32;

			for (size_t k = 0; k < 32; k++)
				dst[i + s * 32 + k] =
					unit * (float)((q[k] >> s % 2 * 4 & 15) | (high[k] >> s & 1) << 4) - low;
		}
	}
}

static void encode_weighted(const float *restrict src, const float *restrict weights, uint8_t *restrict dst,
                            size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_KQUANT_BLOCK, dst += BLOCK_BYTES) {
		struct moe_kquant b;

		if (weights)
			moe_kquant_affine_weighted(src + i, weights + i, 8, 31, 63, &b);
		else
			moe_subblocks_affine(src + i, 8, 31, 63, &b);
		moe_store_u16(dst, b.d);
		moe_store_u16(dst + 2, b.d_min);
		moe_sixbit_pack(b.scale, b.min, dst + 4);
		for (size_t k = 0; k < 32; k++) {
			unsigned high = 0;

			for (size_t s = 0; s < 8; s++)
				high |= (unsigned)(b.code[s * 32 + k] >> 4) << s;
			dst[16 + k] = (uint8_t)high;
			for (size_t p = 0; p < 4; p++)
				dst[48 + p * 32 + k] =
					(uint8_t)((b.code[p * 64 + k] & 15) | (b.code[p * 64 + 32 + k] & 15) << 4);
		}
	}
}

static void encode(const float *restrict src, uint8_t *restrict dst, size_t n_elems)
{
	encode_weighted(src, NULL, dst, n_elems);
}

const struct moe_codec moe_codec_q5_k = {
	.name = "q5_k",
	.gguf_id = 13,
	.block_elems = MOE_KQUANT_BLOCK,
	.block_bytes = BLOCK_BYTES,
	.is_float = true,
	.help = "256 codes of 5 bits, scales and minima of 6 bits, 5.5 bits a number, GGUF only",
	.fallback = "q5_1",
	.decode = decode,
	.encode = encode,
	.encode_weighted = encode_weighted,
};
