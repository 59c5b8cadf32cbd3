/* E8M0: an exponent alone, 2^(code - 127); code 255 is NaN. Scales of blocks come in it, weights never. */
#include "tensor/blocks.h"
#include "tensor/loop.h"
#include "tensor/tensor.h"

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, dst[i] = moe_e8m0_value(src[i]));
}

const struct moe_codec moe_codec_f8_e8m0 = {
	.name = "f8_e8m0",
	.safetensors = "F8_E8M0",
	.gguf_id = -1,
	.block_elems = 1,
	.block_bytes = 1,
	.help = "power of two in a byte: the scale of a block, safetensors only",
	.decode = decode,
};
