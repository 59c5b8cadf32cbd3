/* E5M2: the upper byte of an IEEE half. Copied or read, not made. */
#include "tensor/half.h"
#include "tensor/loop.h"
#include "tensor/tensor.h"

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, dst[i] = moe_f32_from_f16((uint16_t)(src[i] << 8)));
}

const struct moe_codec moe_codec_f8_e5m2 = {
	.name = "f8_e5m2",
	.safetensors = "F8_E5M2",
	.gguf_id = -1,
	.block_elems = 1,
	.block_bytes = 1,
	.is_float = true,
	.help = "8-bit float with 5 bits of exponent, copied or read, not made",
	.decode = decode,
};
