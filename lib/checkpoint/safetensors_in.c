/* The header of a safetensors file: JSON that places every tensor, then the tensors without holes. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "checkpoint/hf_dir.h"

#define MAX_HEADER_BYTES 100000000u

/* A tensor's place as its header states it; both are checked against the data area. */
struct place {
	uint64_t begin, end;
	struct moe_tensor tensor;
};

static int compare_places(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	if (x->end != y->end)
		return x->end < y->end ? -1 : 1;
	return strcmp(x->tensor.name, y->tensor.name);
}

static enum moe_status parse_shape(const struct moe_map *file, const json_t *shape, struct moe_tensor *tensor,
                                   struct moe_err *err)
{
	if (!json_is_array(shape))
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s: expected an array of integers as shape",
		                   file->path, tensor->name);
	if (json_array_size(shape) > MOE_MAX_DIMS)
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s: expected at most %d dimensions, found %zu",
		                   file->path, tensor->name, MOE_MAX_DIMS, json_array_size(shape));
	tensor->n_dims = (int32_t)json_array_size(shape);
	for (int32_t i = 0; i < tensor->n_dims; i++) {
		const json_t *dim = json_array_get(shape, (size_t)i);

		if (!json_is_integer(dim) || json_integer_value(dim) < 0)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: tensor %s: expected shape[%d] to be an integer of at least 0",
			                   file->path, tensor->name, (int)i);
		tensor->dims[i] = json_integer_value(dim);
	}
	return MOE_OK;
}

static enum moe_status parse_place(const struct moe_map *file, const json_t *entry, uint64_t n_data,
                                   struct place *place, struct moe_err *err)
{
	struct moe_tensor *tensor = &place->tensor;
	const json_t *dtype = json_object_get(entry, "dtype"), *offsets = json_object_get(entry, "data_offsets");
	const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
	char dims[24 * MOE_MAX_DIMS];
	enum moe_status status;

	if (!json_is_object(entry))
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s: expected an object", file->path, tensor->name);
	tensor->codec = json_is_string(dtype) ? moe_codec_by_safetensors(json_string_value(dtype)) : NULL;
	if (!tensor->codec)
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s: expected a dtype known here, found %s", file->path,
		                   tensor->name, json_is_string(dtype) ? json_string_value(dtype) : "none");
	status = parse_shape(file, json_object_get(entry, "shape"), tensor, err);
	if (status)
		return status;
	if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s: expected data_offsets to be two integers",
		                   file->path, tensor->name);
	if (json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin) ||
	    (uint64_t)json_integer_value(end) > n_data)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: tensor %s: expected data_offsets within 0..%llu, found %lld..%lld", file->path,
		                   tensor->name, (unsigned long long)n_data, (long long)json_integer_value(begin),
		                   (long long)json_integer_value(end));
	place->begin = (uint64_t)json_integer_value(begin);
	place->end = (uint64_t)json_integer_value(end);
	moe_dims_text(dims, tensor->dims, tensor->n_dims);
	if (!moe_dims_bytes(tensor->codec, tensor->dims, tensor->n_dims, &tensor->n_bytes))
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s: shape %s has more bytes than can be counted",
		                   file->path, tensor->name, dims);
	if (tensor->n_bytes != place->end - place->begin)
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s: expected %zu bytes for %s %s, found %llu",
		                   file->path, tensor->name, tensor->n_bytes, tensor->codec->safetensors, dims,
		                   (unsigned long long)(place->end - place->begin));
	return MOE_OK;
}

static enum moe_status check_metadata(const struct moe_map *file, const json_t *metadata, struct moe_err *err)
{
	const char *key;
	const json_t *value;

	if (!metadata)
		return MOE_OK;
	if (!json_is_object(metadata))
		return moe_err_set(err, MOE_EFORMAT, "%s: expected __metadata__ to be an object", file->path);
	json_object_foreach((json_t *)metadata, key, value) {
		if (!json_is_string(value))
			return moe_err_set(err, MOE_EFORMAT, "%s: expected __metadata__ %s to be a string", file->path,
			                   key);
	}
	return MOE_OK;
}

/* The places sorted, checked to fill the data area exactly, and appended to ckpt->tensors (which has room). */
static enum moe_status take_places(struct moe_ckpt *ckpt, const struct moe_map *file, struct place *places, size_t n,
                                   uint64_t data_start, struct moe_err *err)
{
	uint64_t at = 0, n_data = file->n_bytes - data_start;

	if (n > 1)
		qsort(places, n, sizeof *places, compare_places);
	for (size_t i = 0; i < n; i++) {
		struct moe_tensor *tensor = &places[i].tensor;

		if (places[i].begin != at)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: tensor %s: expected to begin at %llu, where %s ends, found %llu",
			                   file->path, tensor->name, (unsigned long long)at,
			                   i ? places[i - 1].tensor.name : "the header",
			                   (unsigned long long)places[i].begin);
		at = places[i].end;
		tensor->file = (int32_t)(file - ckpt->files);
		tensor->offset = data_start + places[i].begin;
		tensor->data = file->data + tensor->offset;
		ckpt->tensors[ckpt->n_tensors++] = *tensor;
	}
	if (at != n_data)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected %llu bytes of data as its header says, found %llu",
		                   file->path, (unsigned long long)at, (unsigned long long)n_data);
	return MOE_OK;
}

/* The header of a file as JSON; *data_start is where the tensors begin. */
static enum moe_status read_header(const struct moe_map *file, json_t **header, uint64_t *data_start,
                                   struct moe_err *err)
{
	enum moe_status status;
	uint64_t n;

	if (file->n_bytes < 9)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected a safetensors header, found only %zu bytes",
		                   file->path, file->n_bytes);
	n = moe_load_u64(file->data);
	if (n > MAX_HEADER_BYTES)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected a header of at most %u bytes, found %llu",
		                   file->path, MAX_HEADER_BYTES, (unsigned long long)n);
	if (n > file->n_bytes - 8)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: its header should take %llu bytes, found only %zu behind its length",
		                   file->path, (unsigned long long)n, file->n_bytes - 8);
	if (n == 0 || file->data[8] != '{')
		return moe_err_set(err, MOE_EFORMAT, "%s: expected the header to start with '{'", file->path);
	status = moe_json_parse(header, file->data + 8, (size_t)n, file->path, err);
	if (!status && !json_is_object(*header))
		status = moe_err_set(err, MOE_EFORMAT, "%s: expected the header to be a JSON object", file->path);
	*data_start = 8 + n;
	return status;
}

enum moe_status moe_safetensors_read(struct moe_ckpt *ckpt, int32_t i, struct moe_err *err)
{
	const struct moe_map *file = &ckpt->files[i];
	struct place *places = NULL;
	struct moe_tensor *grown;
	json_t *header = NULL, *entry, *metadata;
	const char *name;
	uint64_t data_start = 0;
	size_t n = 0, n_all;
	enum moe_status status = read_header(file, &header, &data_start, err);

	if (status)
		goto out;
	metadata = json_object_get(header, "__metadata__");
	status = check_metadata(file, metadata, err);
	if (status)
		goto out;
	n_all = json_object_size(header) - (metadata != NULL);
	places = calloc(n_all + 1, sizeof *places);
	grown = realloc(ckpt->tensors, (ckpt->n_tensors + n_all + 1) * sizeof *grown);
	if (grown)
		ckpt->tensors = grown;
	if (!places || !grown) {
		status = moe_err_nomem(err, n_all * sizeof *places, "a table of tensors");
		goto out;
	}
	json_object_foreach(header, name, entry) {
		if (entry == metadata)
			continue;
		places[n].tensor.name = moe_arena_strndup(&ckpt->arena, name, strlen(name));
		if (!places[n].tensor.name)
			status = moe_err_nomem(err, strlen(name) + 1, "a tensor's name");
		if (!status)
			status = parse_place(file, entry, file->n_bytes - data_start, &places[n], err);
		if (status)
			goto out;
		n++;
	}
	status = take_places(ckpt, file, places, n, data_start, err);
	if (!status && i == 0 && metadata)
		ckpt->metadata = json_incref(metadata);
out:
	free(places);
	json_decref(header);
	return status;
}

enum moe_status moe_safetensors_open(struct moe_ckpt *ckpt, const char *dir, const char *name, const char *why,
                                  struct moe_err *err)
{
	char *path = moe_path_join(dir, name);
	enum moe_status status;

	if (!path)
		return moe_err_nomem(err, strlen(dir) + strlen(name), "a path");
	if (moe_is_file(path))
		status = moe_format_open_file(ckpt, path, err);
	else
		status = moe_err_set(err, MOE_EFORMAT, "%s: there is no such file, but %s names it", path, why);
	if (!status)
		status = moe_safetensors_read(ckpt, ckpt->n_files - 1, err);
	free(path);
	return status;
}
