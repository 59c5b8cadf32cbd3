/* Signed 64-bit integers, rounded when decoded. Copied or read, not made. */
#include "base/bytes.h"
#include "tensor/loop.h"
#include "tensor/tensor.h"

static void decode(const uint8_t *restrict src, float *restrict dst, size_t n_elems)
{
	MOE_LOOP(i, n_elems, dst[i] = (float)(int64_t)moe_load_u64(src + 8 * i));
}

const struct moe_codec moe_codec_i64 = {
	.name = "i64",
	.safetensors = "I64",
	.gguf_id = 27,
	.block_elems = 1,
	.block_bytes = 8,
	.help = "signed 64-bit integer, copied or read, not made",
	.decode = decode,
};
