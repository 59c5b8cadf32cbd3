/* Unsigned bytes. Copied or read, not made. */
#include "base/bytes.h"
#include "tensor/loop.h"
#include "tensor/tensor.h"

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, dst[i] = (float)src[i]);
}

const struct moe_codec moe_codec_u8 = {
	.name = "u8",
	.safetensors = "U8",
	.gguf_id = -1,
	.block_elems = 1,
	.block_bytes = 1,
	.help = "unsigned byte, copied or read, not made",
	.decode = decode,
};
