/* Unsigned 16-bit integers. Copied or read, not made. */
#include "base/bytes.h"
#include "tensor/loop.h"
#include "tensor/tensor.h"

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, dst[i] = (float)moe_load_u16(src + 2 * i));
}

const struct moe_codec moe_codec_u16 = {
	.name = "u16",
	.safetensors = "U16",
	.gguf_id = -1,
	.block_elems = 1,
	.block_bytes = 2,
	.help = "unsigned 16-bit integer, copied or read, not made",
	.decode = decode,
};
