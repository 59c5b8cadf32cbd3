/* E4M3 (fn): bias 7, no infinity, 0x7f and 0xff are NaN, largest number 448. The scales of 128x128 blocks that belong
 * to it lie in a tensor of their own and are not applied here. Encoding rounds to nearest even and saturates. */
#include "tensor/half.h"
#include "tensor/loop.h"
#include "tensor/tensor.h"

/* Exponents move from bias 7 to bias 127; below 2^-6 the value is mantissa * 2^-9. */
static inline float decode_one(uint8_t code)
{
	uint32_t rest = code & 0x7f;
	uint32_t normal = (rest << 20) + (120u << 23);
	uint32_t small = moe_f32_bits((float)(int32_t)rest * 0x1p-9f);
	uint32_t bits = moe_select_u32(rest < 8, small, normal);

	bits = moe_select_u32(rest == 0x7f, 0x7ff00000u, bits);
	return moe_f32_from_bits(bits | (uint32_t)(code & 0x80) << 24);
}

static inline uint8_t encode_one(float f)
{
	uint32_t bits = moe_f32_bits(f);
	uint32_t rest = bits & 0x7fffffffu;
	uint32_t normal = (rest - (120u << 23) + 0x7ffff + (rest >> 20 & 1)) >> 20;
	/* Adding 2^14 makes the adder round to a multiple of 2^-9. */
	uint32_t small = moe_f32_bits(moe_f32_from_bits(rest) + 0x1p14f) - 0x46800000u;
	uint32_t code = moe_select_u32(rest < 0x3c800000u, small, normal);

	code = moe_select_u32(rest >= 0x43e00000u, 0x7e, code);   /* 448 */
	code = moe_select_u32(rest > 0x7f800000u, 0x7f, code);
	return (uint8_t)(code | (bits >> 24 & 0x80));
}

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, dst[i] = decode_one(src[i]));
}

static void encode(const float *restrict src, uint8_t *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, dst[i] = encode_one(src[i]));
}

const struct moe_codec moe_codec_f8_e4m3 = {
	.name = "f8_e4m3",
	.safetensors = "F8_E4M3",
	.gguf_id = -1,
	.block_elems = 1,
	.block_bytes = 1,
	.is_float = true,
	.scaled = true,
	.largest = 448,
	.help = "8-bit float with a scale per 128x128 block, safetensors only",
	.decode = decode,
	.encode = encode,
};
