/* Unsigned 32-bit integers, rounded when decoded. Copied or read, not made. */
#include "base/bytes.h"
#include "tensor/loop.h"
#include "tensor/tensor.h"

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, dst[i] = (float)moe_load_u32(src + 4 * i));
}

const struct moe_codec moe_codec_u32 = {
	.name = "u32",
	.safetensors = "U32",
	.gguf_id = -1,
	.block_elems = 1,
	.block_bytes = 4,
	.help = "unsigned 32-bit integer, copied or read, not made",
	.decode = decode,
};
