/* Signed bytes. Copied or read, not made. */
#include "base/bytes.h"
#include "tensor/loop.h"
#include "tensor/tensor.h"

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, dst[i] = (float)(int8_t)src[i]);
}

const struct moe_codec moe_codec_i8 = {
	.name = "i8",
	.safetensors = "I8",
	.gguf_id = 24,
	.block_elems = 1,
	.block_bytes = 1,
	.help = "signed byte, copied or read, not made",
	.decode = decode,
};
