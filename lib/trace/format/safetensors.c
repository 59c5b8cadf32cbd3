/* Safetensors of arrays of expert ids, each array of ids a sequence, in the order of their names. */
#include <string.h>

#include "checkpoint/checkpoint.h"
#include "trace/arrays.h"

static enum moe_status read_tensors(struct moe_intake *in, const struct moe_ckpt *ckpt, const char *path,
                                    int64_t *next_seq, struct moe_err *err)
{
	struct moe_array *arrays = MOE_NEW(&in->arena, struct moe_array, ckpt->n_tensors);
	if (!arrays)
		return moe_err_nomem(err, ckpt->n_tensors * sizeof *arrays, path);
	for (size_t i = 0; i < ckpt->n_tensors; i++) {
		const struct moe_tensor *t = &ckpt->tensors[i];
		arrays[i] = (struct moe_array) { .name = t->name, .codec = t->codec, .n_dims = t->n_dims,
			                         .data = t->data };
		memcpy(arrays[i].dims, t->dims, (size_t)t->n_dims * sizeof *t->dims);
		moe_array_pack(&arrays[i], false);
	}
	return moe_arrays_import(in, path, arrays, ckpt->n_tensors, true, next_seq, err);
}

static enum moe_status read_file(struct moe_intake *in, const char *path, int64_t *next_seq, struct moe_err *err)
{
	struct moe_ckpt *ckpt = NULL;
	enum moe_status status = MOE_OK;
	if (moe_is_dir(path))
		return moe_err_set(err, MOE_EUSAGE, "%s: expected a .safetensors file, found a directory", path);
	status = moe_ckpt_open(&ckpt, path, in->opts->watch, err);
	if (!status && strcmp(ckpt->format->name, "safetensors") != 0)
		status = moe_err_set(err, MOE_EFORMAT, "%s: expected a .safetensors file, found %s", path,
		                     ckpt->format->name);
	if (!status)
		status = read_tensors(in, ckpt, path, next_seq, err);
	moe_ckpt_close(ckpt);
	return status;
}

static enum moe_status run(char *const *files, int n_files, const struct moe_import_opts *opts,
                           const struct moe_import_sink *sink, struct moe_err *err)
{
	return moe_arrays_run(files, n_files, opts, sink, read_file, err);
}

const struct moe_import moe_import_safetensors = {
	.name = "safetensors",
	.help = "safetensors of such arrays, each a sequence, in the order of their names",
	.run = run,
};
