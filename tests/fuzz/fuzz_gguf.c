/* Any bytes as a GGUF file: opens or is refused; what opens lies within the file, and its keys can be written and are
 * the same when read again. */
#include "fuzz.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/write.h"

/* The layout of a copy is made, without writing it: every key that was read must fit. Names of tensors may be longer
 * than the writer takes. */
static void check_keys(const struct moe_ckpt *ckpt)
{
	struct moe_ckpt_out_opts opts = { .format = ckpt->format, .path = "/nowhere", .metadata = ckpt->metadata };
	struct moe_ckpt_out *out = NULL;

	if (moe_ckpt_out_open(&out, &opts, NULL) || moe_ckpt_out_total(out) == 0)
		abort();
	moe_ckpt_out_abort(out);
}

static void fuzz_one(const uint8_t *data, size_t n)
{
	struct moe_ckpt *ckpt = NULL;
	struct moe_err err = {0};
	char path[64], hash[33];
	int fd;

	fuzz_file(data, n, path, &fd);
	if (moe_ckpt_open(&ckpt, path, NULL, &err) == MOE_OK) {
		for (size_t i = 0; i < ckpt->n_tensors; i++) {
			const struct moe_tensor *tensor = &ckpt->tensors[i];

			if (moe_ckpt_find(ckpt, tensor->name) != tensor)
				abort();
			if (tensor->n_bytes && tensor->offset + tensor->n_bytes > n)
				abort();
		}
		for (int32_t i = 0; i < ckpt->n_companions; i++) {
			const struct moe_companion *companion = &ckpt->companions[i];

			if (!*companion->name || strchr(companion->name, '/') || companion->n_bytes > n)
				abort();
		}
		if (moe_ckpt_hash(ckpt, true, hash, &err))
			abort();
		if (!strcmp(ckpt->format->name, "gguf"))
			check_keys(ckpt);
	} else if (!err.text[0]) {
		abort();
	}
	moe_ckpt_close(ckpt);
	close(fd);
}
