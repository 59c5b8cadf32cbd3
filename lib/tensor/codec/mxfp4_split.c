/* MXFP4 (OCP microscaling formats, 1.0) as safetensors checkpoints hold it: a tensor of E2M1 codes, two to a byte with
 * the lower one first, and a tensor of exponents, one for each 32 codes. What is decoded here are the codes alone. */
#include "tensor/tensor.h"

static void decode(const uint8_t *src, float *dst, size_t n_elems)
{
	static const float values[16] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f,
	                                 -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

	for (size_t i = 0; i < n_elems; i += 2) {
		dst[i] = values[src[i / 2] & 15];
		dst[i + 1] = values[src[i / 2] >> 4];
	}
}

const struct moe_codec moe_codec_mxfp4_split = {
	.name = "mxfp4_split",
	.gguf_id = -1,
	.block_elems = 32,
	.block_bytes = 16,
	.is_float = true,
	.scaled = true,
	.block_exponents = true,
	.joined = "mxfp4",
	.help = "4-bit codes, an exponent for each 32 in another tensor; read, not made",
	.decode = decode,
};
