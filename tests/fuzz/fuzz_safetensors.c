/* Any bytes as a .safetensors file: opens or is refused, and what opens lies within the file. */
#include "fuzz.h"

#include "checkpoint/checkpoint.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	const struct moe_format *format = moe_format_by_name("safetensors");
	struct moe_ckpt *ckpt = NULL;
	struct moe_err err = {0};
	char path[64], hash[33];
	int fd;

	fuzz_file(data, n, path, &fd);
	if (moe_ckpt_open(&ckpt, path, NULL, &err) == MOE_OK && ckpt->format == format) {
		for (size_t i = 0; i < ckpt->n_tensors; i++) {
			const struct moe_tensor *tensor = &ckpt->tensors[i];

			if (moe_ckpt_find(ckpt, tensor->name) != tensor || tensor->offset + tensor->n_bytes > n)
				abort();
		}
		if (moe_ckpt_hash(ckpt, true, hash, &err))
			abort();
	} else if (!ckpt && !err.text[0]) {
		abort();
	}
	moe_ckpt_close(ckpt);
	close(fd);
}
