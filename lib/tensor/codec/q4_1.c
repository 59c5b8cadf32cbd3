/* Q4_1: 32 numbers as an f16 scale d, an f16 minimum m and 32 codes q of four bits, x = d q + m.
 *
 * Encoding as the reference does: d = (max - min) / 15, m = min, q = (x - m) (1/d) rounded half up, with d and m not
 * yet rounded to f16. A block that holds a NaN is NaN as a whole.
 * With weights a search takes its place (tensor/weighted.h), and a block with an infinity is NaN too. */
#include "tensor/half.h"
#include "tensor/nibbles.h"
#include "tensor/tensor.h"
#include "tensor/weighted.h"

#define BLOCK_BYTES 20

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_NIBBLE_BLOCK, src += BLOCK_BYTES) {
		const float d = moe_f32_from_f16(moe_load_u16(src)), m = moe_f32_from_f16(moe_load_u16(src + 2));
		uint8_t q[MOE_NIBBLE_BLOCK];

		moe_nibbles_unpack(src + 4, q);
		for (size_t k = 0; k < MOE_NIBBLE_BLOCK; k++)
			dst[i + k] = d * (float)q[k] + m;
	}
}

/* d, m and codes as the reference has them. */
static uint16_t refer(const float *restrict x, uint16_t *m, uint8_t *restrict q)
{
	float min, max;

	moe_block_range(x, MOE_NIBBLE_BLOCK, &min, &max);
	const float d = (max - min) / 15.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
	moe_cut_codes(x, min, inverse, 0.5f, 15, q);
	*m = moe_f16_from_f32(min);
	return moe_f16_from_f32(d);
}

static void encode_weighted(const float *restrict src, const float *restrict weights, uint8_t *restrict dst,
                            size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i += MOE_NIBBLE_BLOCK, dst += BLOCK_BYTES) {
		uint8_t q[MOE_NIBBLE_BLOCK];
		uint16_t m;
		const uint16_t d = weights ? moe_weighted_block_line(src + i, weights + i, 15, &m, q)
		                           : refer(src + i, &m, q);

		moe_store_u16(dst, d);
		moe_store_u16(dst + 2, m);
		moe_nibbles_pack(q, dst + 4);
	}
}

static void encode(const float *restrict src, uint8_t *restrict dst, size_t n_elems)
{
	encode_weighted(src, NULL, dst, n_elems);
}

const struct moe_codec moe_codec_q4_1 = {
	.name = "q4_1",
	.gguf_id = 3,
	.block_elems = MOE_NIBBLE_BLOCK,
	.block_bytes = BLOCK_BYTES,
	.is_float = true,
	.help = "32 codes of 4 bits, a half-precision scale and minimum, 5 bits a number, GGUF only",
	.decode = decode,
	.encode = encode,
	.encode_weighted = encode_weighted,
};
