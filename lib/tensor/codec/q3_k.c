/* Q3_K: 256 numbers in 16 sub-blocks of 16. 32 bytes with the third bits of all codes, 64 bytes with the lower two, 16
 * six-bit scales in 12 bytes, and an f16 unit d: x = d (scale - 32) (q - 4). Byte l of 32 lower bytes holds numbers l,
 * l + 32, l + 64 and l + 96 of a half of the block; bit 4 half + t of byte l of the third bits belongs to number
 * l + 32 t of that half. Encoding: tensor/kquant.h, with weights tensor/weighted.h. */
#include "tensor/half.h"
#include "tensor/subblocks.h"
#include "tensor/tensor.h"
#include "tensor/weighted.h"

#define BLOCK_BYTES 110

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_KQUANT_BLOCK, src += BLOCK_BYTES) {
		const uint8_t *levels = src + 96;
		const float d = moe_f32_from_f16(moe_load_u16(src + 108));

		for (size_t s = 0; s < 16; s++) {
			const size_t half = s / 8, t = s % 8 / 2, first = s % 2 * 16;
			const uint8_t *low = src + 32 + half * 32 + first, *high = src + first;
			const int level = (s < 8 ? levels[s] & 15 : levels[s - 8] >> 4) |
			                  (levels[8 + s % 4] >> 2 * (s / 4) & 3) << 4;
			const float unit = d * (float)(level - 32);

			for (size_t k = 0; k < 16; k++)
				dst[i + s * 16 + k] = unit * (float)((low[k] >> 2 * t & 3) -
				                                     (high[k] >> (4 * half + t) & 1 ? 0 : 4));
		}
	}
}

static void encode_weighted(const float *restrict src, const float *restrict weights, uint8_t *restrict dst,
                            size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_KQUANT_BLOCK, dst += BLOCK_BYTES) {
		struct moe_kquant b;
		uint8_t *levels = dst + 96;

		if (weights)
			moe_kquant_symmetric_weighted(src + i, weights + i, 16, 4, 32, &b);
		else
			moe_subblocks_symmetric(src + i, 16, 4, 32, &b);
		for (size_t k = 0; k < 108; k++)
			dst[k] = 0;
		for (size_t k = 0; k < MOE_KQUANT_BLOCK; k++) {
			const unsigned q = (unsigned)(b.code[k] + 4);
			const size_t half = k / 128, t = k % 128 / 32, l = k % 32;

			dst[l] = (uint8_t)(dst[l] | q >> 2 << (4 * half + t));
			dst[32 + half * 32 + l] = (uint8_t)(dst[32 + half * 32 + l] | (q & 3) << 2 * t);
		}
		for (size_t s = 0; s < 16; s++) {
			const unsigned level = (unsigned)(b.scale[s] + 32);

			levels[s % 8] = (uint8_t)(levels[s % 8] | (level & 15) << s / 8 * 4);
			levels[8 + s % 4] = (uint8_t)(levels[8 + s % 4] | level >> 4 << 2 * (s / 4));
		}
		moe_store_u16(dst + 108, b.d);
	}
}

static void encode(const float *restrict src, uint8_t *restrict dst, size_t n_elems)
{
	encode_weighted(src, NULL, dst, n_elems);
}

const struct moe_codec moe_codec_q3_k = {
	.name = "q3_k",
	.gguf_id = 11,
	.block_elems = MOE_KQUANT_BLOCK,
	.block_bytes = BLOCK_BYTES,
	.is_float = true,
	.help = "256 codes of 3 bits and scales of 6 bits, 3.4375 bits a number, GGUF only",
	.fallback = "q4_0",
	.decode = decode,
	.encode = encode,
	.encode_weighted = encode_weighted,
};
