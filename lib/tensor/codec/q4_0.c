/* Q4_0: 32 numbers as an f16 scale d and 32 codes q of four bits, x = d (q - 8).
 *
 * Encoding as the reference does: the number m of largest size becomes code 0, d = m / -8, q = x (1/d) + 8 rounded half
 * up, with d not yet rounded to f16. A block that holds a NaN is NaN as a whole.
 * With weights a search takes its place (tensor/weighted.h), and a block with an infinity is NaN too. */
#include "tensor/half.h"
#include "tensor/nibbles.h"
#include "tensor/tensor.h"
#include "tensor/weighted.h"

#define BLOCK_BYTES 18

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_NIBBLE_BLOCK, src += BLOCK_BYTES) {
		const float d = moe_f32_from_f16(moe_load_u16(src));
		uint8_t q[MOE_NIBBLE_BLOCK];

		moe_nibbles_unpack(src + 2, q);
		for (size_t k = 0; k < MOE_NIBBLE_BLOCK; k++)
			dst[i + k] = d * (float)(q[k] - 8);
	}
}

/* d and codes as the reference has them. */
static uint16_t refer(const float *restrict x, uint8_t *restrict q)
{
	const float d = moe_block_peak(x, MOE_NIBBLE_BLOCK) / -8.0f;
	const float inverse = d != 0 ? 1.0f / d : 0.0f;

	moe_cut_codes(x, 0, inverse, 8.5f, 15, q);
	return moe_f16_from_f32(d);
}

static void encode_weighted(const float *restrict src, const float *restrict weights, uint8_t *restrict dst,
                            size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_NIBBLE_BLOCK, dst += BLOCK_BYTES) {
		uint8_t q[MOE_NIBBLE_BLOCK];
		const uint16_t d = weights ? moe_weighted_block_scale(src + i, weights + i, 8, q)
		                           : refer(src + i, q);

		moe_store_u16(dst, d);
		moe_nibbles_pack(q, dst + 2);
	}
}

static void encode(const float *restrict src, uint8_t *restrict dst, size_t n_elems)
{
	encode_weighted(src, NULL, dst, n_elems);
}

const struct moe_codec moe_codec_q4_0 = {
	.name = "q4_0",
	.gguf_id = 2,
	.block_elems = MOE_NIBBLE_BLOCK,
	.block_bytes = BLOCK_BYTES,
	.is_float = true,
	.help = "32 codes of 4 bits and a half-precision scale, 4.5 bits a number, GGUF only",
	.decode = decode,
	.encode = encode,
	.encode_weighted = encode_weighted,
};
