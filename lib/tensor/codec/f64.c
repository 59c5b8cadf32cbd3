/* IEEE binary64, read only: decoding rounds to f32. */
#include "base/bytes.h"
#include "tensor/tensor.h"

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	for (size_t i = 0; i < n_elems; i++) {
		uint64_t bits = moe_load_u64(src + 8 * i);
		double value;

		memcpy(&value, &bits, sizeof value);
		dst[i] = (float)value;
	}
}

const struct moe_codec moe_codec_f64 = {
	.name = "f64",
	.safetensors = "F64",
	.gguf_id = 28,
	.block_elems = 1,
	.block_bytes = 8,
	.is_float = true,
	.help = "IEEE double precision, copied or read, not made",
	.decode = decode,
};
