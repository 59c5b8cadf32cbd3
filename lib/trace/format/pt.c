/* torch.save files of tensors of expert ids, each of which is a sequence. */
#include "trace/torch.h"

static enum moe_status read_tensors(struct moe_intake *in, struct moe_zip *zip, int64_t *next_seq, struct moe_err *err)
{
	struct moe_array *arrays = NULL;
	size_t n = 0;
	enum moe_status status = moe_torch_tensors(zip, &arrays, &n, err);
	return status ? status : moe_arrays_import(in, zip->map->path, arrays, n, false, next_seq, err);
}

static enum moe_status read_file(struct moe_intake *in, const char *path, int64_t *next_seq, struct moe_err *err)
{
	return moe_arrays_unzip(in, path, read_tensors, next_seq, err);
}

static enum moe_status run(char *const *files, int n_files, const struct moe_import_opts *opts,
                           const struct moe_import_sink *sink, struct moe_err *err)
{
	return moe_arrays_run(files, n_files, opts, sink, read_file, err);
}

const struct moe_import moe_import_pt = {
	.name = "pt",
	.help = "torch.save files of such tensors in plain containers; nothing in them is executed",
	.run = run,
};
