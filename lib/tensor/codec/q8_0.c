/* Q8_0: 32 numbers as an f16 scale d and 32 signed bytes q, x = d q.
 *
 * Encoding as the reference does: d = max|x| / 127, q = x (1/d) rounded half away from zero, with d not yet rounded
 * to f16. A block that holds a NaN is NaN as a whole. */
#include "tensor/half.h"
#include "tensor/nibbles.h"
#include "tensor/tensor.h"

#define BLOCK_ELEMS 32
#define BLOCK_BYTES 34

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	for (size_t b = 0; b < n_elems / BLOCK_ELEMS; b++, src += BLOCK_BYTES, dst += BLOCK_ELEMS) {
		float d = moe_f32_from_f16(moe_load_u16(src));

		for (size_t k = 0; k < BLOCK_ELEMS; k++)
			dst[k] = d * (float)(int8_t)src[2 + k];
	}
}

/* roundf of numbers of at most 127: what is added is the largest number below a half, so that nothing but a half itself
 * is carried over. */
static inline moe_v8_mask whole(moe_v8 x)
{
	const moe_v8_mask sign = (moe_v8_mask)x & INT32_MIN;

	return moe_v8_cut(x + (moe_v8)(sign | (moe_v8_mask)moe_v8_all(0x1.fffffep-2f)));
}

static void encode_block(const float *restrict src, uint8_t *restrict dst)
{
	const float d = moe_block_largest(src, BLOCK_ELEMS) / 127.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
	const moe_v8 top = moe_v8_all(127), bottom = moe_v8_all(-127);
	int32_t codes[BLOCK_ELEMS];

	moe_store_u16(dst, moe_f16_from_f32(d));
	for (size_t k = 0; k < BLOCK_ELEMS; k += 8) {
		/* Infinite for a subnormal d, NaN for an infinite number: the comparisons put both into range. */
		const moe_v8 q = moe_v8_above(moe_v8_below(moe_v8_load(src + k) * inverse, top), bottom);
		const moe_v8_mask code = whole(q);

		memcpy(codes + k, &code, sizeof code);
	}
	for (size_t k = 0; k < BLOCK_ELEMS; k++)
		dst[2 + k] = (uint8_t)codes[k];
}

static void encode(const float *restrict src, uint8_t *restrict dst, size_t n_elems)
{
	for (size_t b = 0; b < n_elems / BLOCK_ELEMS; b++)
		encode_block(src + b * BLOCK_ELEMS, dst + b * BLOCK_BYTES);
}

const struct moe_codec moe_codec_q8_0 = {
	.name = "q8_0",
	.gguf_id = 8,
	.block_elems = BLOCK_ELEMS,
	.block_bytes = BLOCK_BYTES,
	.is_float = true,
	.help = "32 signed bytes and a half-precision scale, 8.5 bits a number, GGUF only",
	.decode = decode,
	.encode = encode,
};
