/* safetensors: a u64 header length, a JSON header that places every tensor, then the tensors without holes; and the
 * Hugging Face directory around it: config.json, an index of shards, tokenizer files. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "checkpoint/hf_dir.h"

#define MAX_INDEX_BYTES ((size_t)1 << 30)

static bool probe(const char *path)
{
	struct moe_listing list = { 0 };
	uint8_t start[9];
	bool ours = false;

	if (moe_is_dir(path)) {
		if (moe_listing_make(&list, path, NULL) == MOE_OK)
			ours = list.has_config || list.has_index || list.n_shards > 0 || list.odd;
		moe_listing_free(&list);
		return ours;
	}
	return moe_format_peek(path, start, sizeof start) && start[8] == '{' && memcmp(start, "GGUF", 4) != 0;
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The shards an index names, each once, sorted. Borrows the strings of weight_map. */
static enum moe_status index_shards(const json_t *weight_map, const char *index_path, const char ***shards, size_t *n,
                                    struct moe_err *err)
{
	size_t n_all = json_object_size(weight_map), n_kept = 0;
	const char **list = malloc((n_all + 1) * sizeof *list);
	const char *name;
	json_t *value;

	*shards = list;
	if (!list)
		return moe_err_nomem(err, n_all * sizeof *list, "the shards of an index");
	json_object_foreach((json_t *)weight_map, name, value) {
		if (!json_is_string(value) ||
		    !moe_format_plain_name(json_string_value(value), json_string_length(value)))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: tensor %s: expected the name of a file in the same directory, found %s",
			                   index_path, name,
			                   json_is_string(value) ? json_string_value(value) : "no string");
		list[n_kept++] = json_string_value(value);
	}
	if (n_kept > 1)
		qsort(list, n_kept, sizeof *list, compare_text);
	*n = 0;
	for (size_t i = 0; i < n_kept; i++) {
		if (*n == 0 || strcmp(list[*n - 1], list[i]))
			list[(*n)++] = list[i];
	}
	return MOE_OK;
}

/* weight_map and the files say the same, and metadata.total_size, where given, is the sum of the tensors. What is found
 * becomes null in weight_map. */
static enum moe_status check_index(const struct moe_ckpt *ckpt, const json_t *index, const char *index_path,
                                   struct moe_err *err)
{
	json_t *weight_map = json_object_get(index, "weight_map");
	const json_t *size = json_object_get(json_object_get(index, "metadata"), "total_size");
	const char *name;
	json_t *value;
	uint64_t total = 0;
	bool same;

	for (size_t i = 0; i < ckpt->n_tensors; i++) {
		const struct moe_tensor *tensor = &ckpt->tensors[i];
		const char *file = moe_path_base(moe_ckpt_file(ckpt, tensor));

		value = json_object_get(weight_map, tensor->name);
		if (json_is_null(value))
			return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s lies in another file and in %s", index_path,
			                   tensor->name, file);
		if (!value || strcmp(json_string_value(value), file))
			return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s lies in %s, but the index names %s",
			                   index_path, tensor->name, file,
			                   value ? json_string_value(value) : "no file for it");
		json_object_set_new_nocheck(weight_map, tensor->name, json_null());
		total += tensor->n_bytes;
	}
	json_object_foreach(weight_map, name, value) {
		if (!json_is_null(value))
			return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s is not in %s, where the index says it is",
			                   index_path, name, json_string_value(value));
	}
	if (!size)
		return MOE_OK;
	same = json_is_integer(size) ? json_integer_value(size) >= 0 && (uint64_t)json_integer_value(size) == total
	                             : json_is_real(size) && json_real_value(size) == (double)total;
	if (!same)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected metadata.total_size to be the tensors' %llu bytes, "
		                   "found %.0f", index_path, (unsigned long long)total, json_number_value(size));
	return MOE_OK;
}

static enum moe_status open_index(struct moe_ckpt *ckpt, const char *dir, struct moe_err *err)
{
	char *path = moe_path_join(dir, MOE_INDEX_NAME);
	json_t *index = NULL, *weight_map;
	const char **shards = NULL;
	size_t n_shards = 0;
	enum moe_status status;

	if (!path)
		return moe_err_nomem(err, strlen(dir), "a path");
	status = moe_json_load(&index, path, MAX_INDEX_BYTES, err);
	if (!status)
		status = moe_watch_add_input(ckpt->watch, path, err);
	if (status)
		goto out;
	weight_map = json_object_get(index, "weight_map");
	if (!json_is_object(weight_map)) {
		status = moe_err_set(err, MOE_EFORMAT, "%s: expected an object weight_map", path);
		goto out;
	}
	status = index_shards(weight_map, path, &shards, &n_shards, err);
	if (!status)
		status = moe_format_alloc_files(ckpt, n_shards, err);
	for (size_t i = 0; i < n_shards && !status; i++)
		status = moe_safetensors_open(ckpt, dir, shards[i], path, err);
	if (!status)
		status = check_index(ckpt, index, path, err);
out:
	free(shards);
	json_decref(index);
	free(path);
	return status;
}

static enum moe_status open_dir(struct moe_ckpt *ckpt, const char *dir, struct moe_err *err)
{
	struct moe_listing list = { 0 };
	const char *single = NULL;
	enum moe_status status = moe_listing_make(&list, dir, err);

	if (!status && list.odd)
		status = moe_listing_refuse(&list, dir, err);
	if (status)
		goto out;
	for (size_t i = 0; i < list.n; i++) {
		if (!strcmp(list.names[i], "model.safetensors"))
			single = list.names[i];
	}
	if (!single && list.n_shards == 1)
		single = list.shard;
	if (list.has_index) {
		status = open_index(ckpt, dir, err);
	} else if (single) {
		status = moe_format_alloc_files(ckpt, 1, err);
		if (!status)
			status = moe_safetensors_open(ckpt, dir, single, dir, err);
	} else if (list.n_shards > 1) {
		status = moe_err_set(err, MOE_EFORMAT, "%s: expected model.safetensors or " MOE_INDEX_NAME
		                     ", found %zu .safetensors files and no index", dir, list.n_shards);
	}
	if (!status)
		status = moe_listing_companions(ckpt, dir, &list, err);
out:
	moe_listing_free(&list);
	return status;
}

static enum moe_status open_path(struct moe_ckpt *ckpt, const char *path, struct moe_err *err)
{
	enum moe_status status;

	if (moe_is_dir(path))
		return open_dir(ckpt, path, err);
	status = moe_format_alloc_files(ckpt, 1, err);
	if (!status)
		status = moe_format_open_file(ckpt, path, err);
	return status ? status : moe_safetensors_read(ckpt, 0, err);
}

const struct moe_format moe_format_safetensors = {
	.name = "safetensors",
	.naming = MOE_NAMING_HF,
	.is_default = true,
	.help = "Hugging Face directory: config.json and .safetensors files",
	.probe = probe,
	.open = open_path,
	.writer = &moe_safetensors_writer,
};
