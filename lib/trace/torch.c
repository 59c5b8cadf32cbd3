/* Files of torch.save: a zip of a pickle, which is read and not executed, and of the storages it names. */
#include "trace/torch.h"

#include <stdio.h>
#include <string.h>

#include "trace/pickle.h"

/* Does the tensor lie within its storage of n_bytes, and are there no more elements than the storage holds? */
static bool fits(const struct moe_pickle_tensor *t, size_t n_bytes)
{
	const int64_t n_elems = (int64_t)(n_bytes / t->codec->block_bytes);
	int64_t n = 1, last = t->offset;
	for (int32_t i = 0; i < t->n_dims; i++)
		if (t->dims[i] == 0)
			return true;
	for (int32_t i = 0; i < t->n_dims; i++) {
		int64_t way;
		if (__builtin_mul_overflow(n, t->dims[i], &n) || n > n_elems ||
		    __builtin_mul_overflow(t->dims[i] - 1, t->strides[i], &way) ||
		    __builtin_add_overflow(last, way, &last) || last >= n_elems)
			return false;
	}
	return last < n_elems;
}

static enum moe_status view_tensor(struct moe_zip *zip, const char *prefix, const struct moe_pickle_tensor *t,
                                   struct moe_array *out, struct moe_err *err)
{
	const char *const path = zip->map->path;
	char member_name[512];
	const uint8_t *bytes = NULL;
	snprintf(member_name, sizeof member_name, "%.400sdata/%.64s", prefix, t->storage);
	struct moe_zip_member *m = moe_zip_find(zip, member_name);
	if (!m)
		return moe_err_set(err, MOE_EFORMAT, "%s: member %s, which a tensor lies in, is not there", path,
		                   member_name);
	if (!fits(t, m->n_bytes)) {
		char shape[24 * MOE_MAX_DIMS];
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: tensor '%.100s' of %s %s: its storage of %zu bytes does not hold it", path,
		                   t->name, t->codec->name, moe_dims_text(shape, t->dims, t->n_dims), m->n_bytes);
	}
	enum moe_status status = moe_zip_read(zip, m, &bytes, err);
	if (status)
		return status;
	*out = (struct moe_array) { .name = t->name, .codec = t->codec, .n_dims = t->n_dims, .data = bytes };
	for (int32_t i = 0; i < t->n_dims; i++) {
		out->dims[i] = t->dims[i];
		out->strides[i] = t->strides[i];
		if (t->dims[i] == 0)
			return MOE_OK;   /* nothing is read of it */
	}
	out->data += (size_t)t->offset * t->codec->block_bytes;
	return MOE_OK;
}

/* The member that ends in "/data.pkl"; *prefix is what comes before "data.pkl". */
static struct moe_zip_member *find_pickle(const struct moe_zip *zip, char *prefix, size_t cap)
{
	static const char name[] = "data.pkl";
	for (size_t i = 0; i < zip->n_members; i++) {
		const size_t n = strlen(zip->members[i].name), n_name = sizeof name - 1;
		if (n <= n_name || n - n_name >= cap || strcmp(zip->members[i].name + n - n_name, name) != 0 ||
		    zip->members[i].name[n - n_name - 1] != '/')
			continue;
		memcpy(prefix, zip->members[i].name, n - n_name);
		prefix[n - n_name] = '\0';
		return &zip->members[i];
	}
	return NULL;
}

static enum moe_status check_order(struct moe_zip *zip, const char *prefix, struct moe_err *err)
{
	char name[512];
	const uint8_t *bytes = NULL;
	snprintf(name, sizeof name, "%.400sbyteorder", prefix);
	struct moe_zip_member *m = moe_zip_find(zip, name);   /* absent before torch 2.1, which wrote little */
	enum moe_status status = m ? moe_zip_read(zip, m, &bytes, err) : MOE_OK;
	if (status || !m || (m->n_bytes == 6 && memcmp(bytes, "little", 6) == 0))
		return status;
	return moe_err_set(err, MOE_EFORMAT, "%s: expected little-endian numbers, found '%.*s'", zip->map->path,
	                   (int)(m->n_bytes < 20 ? m->n_bytes : 20), (const char *)bytes);
}

enum moe_status moe_torch_tensors(struct moe_zip *zip, struct moe_array **out, size_t *n_out, struct moe_err *err)
{
	const char *const path = zip->map->path;
	struct moe_pickle_tensor *tensors = NULL;
	struct moe_array *arrays = NULL;
	const uint8_t *bytes = NULL;
	size_t n = 0;
	char prefix[400];
	struct moe_zip_member *pickle = find_pickle(zip, prefix, sizeof prefix);
	if (!pickle)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected a file of torch.save with a member data.pkl, found "
		                   "none", path);
	enum moe_status status = check_order(zip, prefix, err);
	if (!status)
		status = moe_zip_read(zip, pickle, &bytes, err);
	if (!status)
		status = moe_pickle_read(&tensors, &n, &zip->arena, bytes, pickle->n_bytes, path, err);
	if (!status && !(arrays = MOE_NEW(&zip->arena, struct moe_array, n)))
		status = moe_err_nomem(err, n * sizeof *arrays, path);
	for (size_t i = 0; !status && i < n; i++)
		status = view_tensor(zip, prefix, &tensors[i], &arrays[i], err);
	*out = arrays;
	*n_out = n;
	return status;
}

enum moe_status moe_torch_open(struct moe_torch *file, const char *path, struct moe_err *err)
{
	*file = (struct moe_torch) { 0 };
	enum moe_status status = moe_map_open(&file->map, path, NULL, err);
	if (!status)
		status = moe_zip_open(&file->zip, &file->map, err);
	if (!status)
		status = moe_torch_tensors(&file->zip, &file->tensors, &file->n_tensors, err);
	if (status)
		moe_torch_close(file);
	return status;
}

void moe_torch_close(struct moe_torch *file)
{
	moe_zip_close(&file->zip);
	moe_map_close(&file->map);
	*file = (struct moe_torch) { 0 };
}
