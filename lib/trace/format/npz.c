/* NumPy's archives of arrays of expert ids: zip files of .npy, each array of ids a sequence. */
#include <string.h>

#include "trace/npy.h"
#include "trace/zip.h"

static enum moe_status read_arrays(struct moe_intake *in, struct moe_zip *zip, int64_t *next_seq, struct moe_err *err)
{
	const char *const path = zip->map->path;
	struct moe_array *arrays = MOE_NEW(&zip->arena, struct moe_array, zip->n_members);
	if (!arrays)
		return moe_err_nomem(err, zip->n_members * sizeof *arrays, path);
	for (size_t i = 0; i < zip->n_members; i++) {
		struct moe_zip_member *m = &zip->members[i];
		const size_t n = strlen(m->name);
		const uint8_t *bytes = NULL;
		char where[800];
		if (n < 4 || strcmp(m->name + n - 4, ".npy") != 0)
			return moe_err_set(err, MOE_EFORMAT, "%s: member %.200s: expected a name that ends in .npy",
			                   path, m->name);
		snprintf(where, sizeof where, "%.500s: member %.200s", path, m->name);
		enum moe_status status = moe_zip_read(zip, m, &bytes, err);
		if (!status)
			status = moe_npy_parse(&arrays[i], bytes, m->n_bytes, where, err);
		arrays[i].name = moe_arena_strndup(&zip->arena, m->name, n - 4);
		if (!status && !arrays[i].name)
			status = moe_err_nomem(err, n, "a name");
		if (status)
			return status;
	}
	return moe_arrays_import(in, path, arrays, zip->n_members, false, next_seq, err);
}

static enum moe_status read_file(struct moe_intake *in, const char *path, int64_t *next_seq, struct moe_err *err)
{
	return moe_arrays_unzip(in, path, read_arrays, next_seq, err);
}

static enum moe_status run(char *const *files, int n_files, const struct moe_import_opts *opts,
                           const struct moe_import_sink *sink, struct moe_err *err)
{
	return moe_arrays_run(files, n_files, opts, sink, read_file, err);
}

const struct moe_import moe_import_npz = {
	.name = "npz",
	.help = "NumPy archives of such arrays, each a sequence; beside ids perhaps weights and tokens",
	.run = run,
};
