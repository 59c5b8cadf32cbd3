/* Q6_K: 256 numbers in 16 sub-blocks of 16. The lower four bits of all codes, their upper two bits, 16 signed scales of
 * a byte, and an f16 unit d: x = d scale (q - 32). Each half of the block (128 numbers) has 64 bytes of lower bits, of
 * which byte l holds numbers l and l + 64, and 32 bytes of upper bits, of which byte l holds those of l, l + 32, l + 64
 * and l + 96. Encoding: tensor/kquant.h, with weights tensor/weighted.h. */
#include "tensor/half.h"
#include "tensor/subblocks.h"
#include "tensor/tensor.h"
#include "tensor/weighted.h"

#define BLOCK_BYTES 210

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_KQUANT_BLOCK, src += BLOCK_BYTES) {
		const float d = moe_f32_from_f16(moe_load_u16(src + 208));

		for (size_t s = 0; s < 16; s++) {
			const size_t half = s / 8, quarter = s % 8 / 2, first = s % 2 * 16;
			const uint8_t *low = src + half * 64 + quarter % 2 * 32 + first;
			const uint8_t *high = src + 128 + half * 32 + first;
			const float unit = d * (float)(int8_t)src[192 + s];

			for (size_t k = 0; k < 16; k++)
				dst[i + s * 16 + k] = unit * (float)(((low[k] >> quarter / 2 * 4 & 15) |
				                                      (high[k] >> 2 * quarter & 3) << 4) - 32);
		}
	}
}

static void encode_weighted(const float *restrict src, const float *restrict weights, uint8_t *restrict dst,
                            size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_KQUANT_BLOCK, dst += BLOCK_BYTES) {
		struct moe_kquant b;

		if (weights)
			moe_kquant_symmetric_weighted(src + i, weights + i, 16, 32, 128, &b);
		else
			moe_subblocks_symmetric(src + i, 16, 32, 128, &b);
		for (size_t half = 0; half < 2; half++)
			for (size_t l = 0; l < 32; l++) {
				const int8_t *code = b.code + half * 128 + l;
				unsigned q[4];

				for (size_t t = 0; t < 4; t++)
					q[t] = (unsigned)(code[t * 32] + 32);
				dst[half * 64 + l] = (uint8_t)((q[0] & 15) | (q[2] & 15) << 4);
				dst[half * 64 + 32 + l] = (uint8_t)((q[1] & 15) | (q[3] & 15) << 4);
				dst[128 + half * 32 + l] =
					(uint8_t)(q[0] >> 4 | q[1] >> 4 << 2 | q[2] >> 4 << 4 | q[3] >> 4 << 6);
			}
		for (size_t s = 0; s < 16; s++)
			dst[192 + s] = (uint8_t)b.scale[s];
		moe_store_u16(dst + 208, b.d);
	}
}

static void encode(const float *restrict src, uint8_t *restrict dst, size_t n_elems)
{
	encode_weighted(src, NULL, dst, n_elems);
}

const struct moe_codec moe_codec_q6_k = {
	.name = "q6_k",
	.gguf_id = 14,
	.block_elems = MOE_KQUANT_BLOCK,
	.block_bytes = BLOCK_BYTES,
	.is_float = true,
	.help = "256 codes of 6 bits and scales of 8 bits, 6.5625 bits a number, GGUF only",
	.fallback = "q8_0",
	.decode = decode,
	.encode = encode,
	.encode_weighted = encode_weighted,
};
