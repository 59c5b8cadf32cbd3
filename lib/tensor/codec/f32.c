/* IEEE binary32, little-endian. */
#include "base/bytes.h"
#include "tensor/loop.h"
#include "tensor/tensor.h"

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, dst[i] = moe_f32_from_bits(moe_load_u32(src + 4 * i)));
}

static void encode(const float *restrict src, uint8_t *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, moe_store_u32(dst + 4 * i, moe_f32_bits(src[i])));
}

const struct moe_codec moe_codec_f32 = {
	.name = "f32",
	.safetensors = "F32",
	.gguf_id = 0,
	.block_elems = 1,
	.block_bytes = 4,
	.is_float = true,
	.help = "IEEE single precision",
	.decode = decode,
	.encode = encode,
};
