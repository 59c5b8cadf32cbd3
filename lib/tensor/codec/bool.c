/* Truth values, a byte each. Copied or read, not made. */
#include "base/bytes.h"
#include "tensor/loop.h"
#include "tensor/tensor.h"

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, dst[i] = (float)(src[i] != 0));
}

const struct moe_codec moe_codec_bool = {
	.name = "bool",
	.safetensors = "BOOL",
	.gguf_id = -1,
	.block_elems = 1,
	.block_bytes = 1,
	.help = "truth value, copied or read, not made",
	.decode = decode,
};
