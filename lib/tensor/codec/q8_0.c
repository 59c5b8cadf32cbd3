/* Q8_0: 32 numbers as an f16 scale d and 32 signed bytes q, x = d q.
 *
 * Encoding as the reference does: d = max|x| / 127, q = x (1/d) rounded half away from zero, with d not yet rounded
 * to f16. A block that holds a NaN is NaN as a whole. */
#include <math.h>

#include "tensor/half.h"
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

static void encode_block(const float *restrict src, uint8_t *restrict dst)
{
	float max = 0, d, inverse;
	bool nan = false;

	for (size_t k = 0; k < BLOCK_ELEMS; k++) {
		float size = fabsf(src[k]);

		nan |= size != size;
		max = size > max ? size : max;
	}
	d = nan ? NAN : max / 127.0f;
	inverse = d > 0 ? 1.0f / d : 0.0f;
	moe_store_u16(dst, moe_f16_from_f32(d));
	for (size_t k = 0; k < BLOCK_ELEMS; k++) {
		/* Infinite for a subnormal d, NaN for an infinite number: the comparisons put both into range. */
		float q = roundf(src[k] * inverse);

		q = q < 127.0f ? q : 127.0f;
		q = q > -127.0f ? q : -127.0f;
		dst[2 + k] = (uint8_t)(int8_t)q;
	}
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
