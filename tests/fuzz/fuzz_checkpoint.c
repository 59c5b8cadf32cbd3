/* Containers from hostile bytes: a .safetensors or GGUF file, its tensors, its config. */
#include "fuzz.h"

#include "checkpoint/checkpoint.h"
#include "model/model.h"

static void fuzz_one(const uint8_t *data, size_t n)
{
	struct moe_err err = {0};
	struct moe_ckpt *ckpt;
	struct moe_model *model;
	char path[64], hash[33];
	int fd;

	fuzz_file(data, n, path, &fd);
	if (!moe_ckpt_open(&ckpt, path, NULL, &err)) {
		if (moe_ckpt_hash(ckpt, true, hash, &err))
			err = (struct moe_err){0};
		if (!moe_model_bind(&model, ckpt, &err))
			moe_model_free(model);
		moe_ckpt_close(ckpt);
	}
	close(fd);
}
