/* safetensors: a u64 header length, a JSON header that places every tensor, then the tensors without holes; and the
 * Hugging Face directory around it: config.json, an index of shards, tokenizer files. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "checkpoint/format.h"

#define MAX_HEADER_BYTES 100000000u
#define INDEX_NAME "model.safetensors.index.json"
#define MAX_INDEX_BYTES ((size_t)1 << 30)

/* Companions: exact names, and beginnings. */
static const char *const companion_names[] = {
	"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
	"tokenizer.model", "tiktoken.model", "vocab.json", "merges.txt", "added_tokens.json", "chat_template.jinja",
	"README.md",
};
static const char *const companion_starts[] = { "LICENSE", "PROVENANCE" };

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && !strcmp(text + n - m, end);
}

static bool is_start(const char *name)
{
	for (size_t i = 0; i < sizeof companion_starts / sizeof companion_starts[0]; i++) {
		if (!strncmp(name, companion_starts[i], strlen(companion_starts[i])))
			return true;
	}
	return false;
}

static bool is_companion(const char *name)
{
	for (size_t i = 0; i < sizeof companion_names / sizeof companion_names[0]; i++) {
		if (!strcmp(name, companion_names[i]))
			return true;
	}
	return is_start(name);
}

/* What a directory holds that matters here. */
struct listing {
	char **names;          /* malloc'd, sorted: companions and *.safetensors that are regular files */
	size_t n, cap;
	size_t n_shards;       /* names that end in .safetensors */
	const char *shard;     /* the last of them by name */
	bool has_config, has_index;
	char *odd;             /* malloc'd: a name of these that is no regular file; the first by name, or NULL */
};

static void listing_free(struct listing *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->names[i]);
	free(list->names);
	free(list->odd);
}

/* A file of a checkpoint must be a regular file once it is there: an incomplete download leaves links to nothing. A
 * directory of licences is none of these files. */
static enum moe_status listing_add_odd(struct listing *list, const char *path, const char *name, struct moe_err *err)
{
	char *copy;

	if (!moe_path_kind(path) || (moe_is_dir(path) && is_start(name)) || (list->odd && strcmp(list->odd, name) < 0))
		return MOE_OK;
	copy = strdup(name);
	if (!copy)
		return moe_err_nomem(err, strlen(name) + 1, "a directory listing");
	free(list->odd);
	list->odd = copy;
	return MOE_OK;
}

static enum moe_status refuse_odd(const struct listing *list, const char *dir, struct moe_err *err)
{
	char *path = moe_path_join(dir, list->odd);
	enum moe_status status;

	if (!path)
		return moe_err_nomem(err, strlen(dir) + strlen(list->odd), "a path");
	status = moe_err_set(err, MOE_EFORMAT, "%s: expected a file, found %s", path, moe_path_kind(path));
	free(path);
	return status;
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum moe_status listing_add(struct listing *list, const char *dir, const char *name, struct moe_err *err)
{
	char *path = moe_path_join(dir, name);
	bool regular = path && moe_is_file(path);
	enum moe_status status = path ? MOE_OK : moe_err_nomem(err, strlen(dir) + strlen(name), "a path");

	if (!status && !regular)
		status = listing_add_odd(list, path, name, err);
	free(path);
	if (status || !regular)
		return status;
	if (list->n == list->cap) {
		size_t cap = list->cap ? 2 * list->cap : 64;
		char **names = realloc(list->names, cap * sizeof *names);

		if (!names)
			return moe_err_nomem(err, cap * sizeof *names, "a directory listing");
		list->names = names;
		list->cap = cap;
	}
	list->names[list->n] = strdup(name);
	if (!list->names[list->n])
		return moe_err_nomem(err, strlen(name) + 1, "a directory listing");
	list->n++;
	return MOE_OK;
}

static enum moe_status listing_make(struct listing *list, const char *dir, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	struct dirent *entry;
	DIR *handle = opendir(dir);

	if (!handle)
		return moe_err_sys(err, "%s: cannot list the directory", dir);
	errno = 0;
	while (!status && (entry = readdir(handle))) {
		const char *name = entry->d_name;

		if (ends_with(name, ".safetensors") || !strcmp(name, INDEX_NAME) || is_companion(name))
			status = listing_add(list, dir, name, err);
		errno = 0;
	}
	if (!status && errno)
		status = moe_err_sys(err, "%s: cannot list the directory", dir);
	closedir(handle);
	if (!status && list->n > 1)
		qsort(list->names, list->n, sizeof *list->names, compare_text);
	for (size_t i = 0; i < list->n; i++) {
		if (ends_with(list->names[i], ".safetensors")) {
			list->shard = list->names[i];
			list->n_shards++;
		}
		list->has_config |= !strcmp(list->names[i], "config.json");
		list->has_index |= !strcmp(list->names[i], INDEX_NAME);
	}
	return status;
}

static bool probe(const char *path)
{
	struct listing list = { 0 };
	uint8_t start[9];
	bool ours = false;

	if (moe_is_dir(path)) {
		if (listing_make(&list, path, NULL) == MOE_OK)
			ours = list.has_config || list.has_index || list.n_shards > 0 || list.odd;
		listing_free(&list);
		return ours;
	}
	return moe_format_peek(path, start, sizeof start) && start[8] == '{' && memcmp(start, "GGUF", 4) != 0;
}

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

/* The tensors of file number i, which is open. Room in ckpt->tensors is made. */
static enum moe_status read_file(struct moe_ckpt *ckpt, int32_t i, struct moe_err *err)
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

static enum moe_status open_shard(struct moe_ckpt *ckpt, const char *dir, const char *name, const char *why,
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
		status = read_file(ckpt, ckpt->n_files - 1, err);
	free(path);
	return status;
}

static enum moe_status open_index(struct moe_ckpt *ckpt, const char *dir, struct moe_err *err)
{
	char *path = moe_path_join(dir, INDEX_NAME);
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
		status = open_shard(ckpt, dir, shards[i], path, err);
	if (!status)
		status = check_index(ckpt, index, path, err);
out:
	free(shards);
	json_decref(index);
	free(path);
	return status;
}

static enum moe_status open_companions(struct moe_ckpt *ckpt, const char *dir, const struct listing *list,
                                       struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	ckpt->companions = MOE_NEW(&ckpt->arena, struct moe_companion, list->n);
	ckpt->side_files = MOE_NEW(&ckpt->arena, struct moe_map, list->n);
	if (!ckpt->companions || !ckpt->side_files)
		return moe_err_nomem(err, list->n * sizeof *ckpt->side_files, "companion files");
	for (size_t i = 0; i < list->n && !status; i++) {
		struct moe_companion *companion = &ckpt->companions[ckpt->n_companions];
		struct moe_map *map = &ckpt->side_files[ckpt->n_side_files];
		char *path;

		if (!is_companion(list->names[i]) || ends_with(list->names[i], ".safetensors"))
			continue;
		companion->name = moe_arena_strndup(&ckpt->arena, list->names[i], strlen(list->names[i]));
		path = moe_path_join(dir, list->names[i]);
		if (!companion->name || !path)
			status = moe_err_nomem(err, strlen(list->names[i]), "a companion's name");
		else
			status = moe_map_open(map, path, ckpt->watch, err);
		free(path);
		if (status)
			break;
		companion->data = map->data;
		companion->n_bytes = map->n_bytes;
		ckpt->n_side_files++;
		ckpt->n_companions++;
	}
	return status ? status : moe_format_take_config(ckpt, err);
}

static enum moe_status open_dir(struct moe_ckpt *ckpt, const char *dir, struct moe_err *err)
{
	struct listing list = { 0 };
	const char *single = NULL;
	enum moe_status status = listing_make(&list, dir, err);

	if (!status && list.odd)
		status = refuse_odd(&list, dir, err);
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
			status = open_shard(ckpt, dir, single, dir, err);
	} else if (list.n_shards > 1) {
		status = moe_err_set(err, MOE_EFORMAT, "%s: expected model.safetensors or " INDEX_NAME
		                     ", found %zu .safetensors files and no index", dir, list.n_shards);
	}
	if (!status)
		status = open_companions(ckpt, dir, &list, err);
out:
	listing_free(&list);
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
	return status ? status : read_file(ckpt, 0, err);
}

const struct moe_format moe_format_safetensors = {
	.name = "safetensors",
	.naming = MOE_NAMING_HF,
	.help = "Hugging Face directory: config.json and .safetensors files",
	.probe = probe,
	.open = open_path,
	.writer = &moe_safetensors_writer,
};
