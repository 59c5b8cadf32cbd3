/* bfloat16: the upper half of an f32. */
#include "tensor/half.h"
#include "tensor/loop.h"
#include "tensor/tensor.h"

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, dst[i] = moe_f32_from_bf16(moe_load_u16(src + 2 * i)));
}

static void encode(const float *restrict src, uint8_t *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, moe_store_u16(dst + 2 * i, moe_bf16_from_f32(src[i])));
}

const struct moe_codec moe_codec_bf16 = {
	.name = "bf16",
	.safetensors = "BF16",
	.gguf_id = 30,
	.block_elems = 1,
	.block_bytes = 2,
	.is_float = true,
	.help = "upper half of an f32, 8 bits of precision",
	.decode = decode,
	.encode = encode,
};
