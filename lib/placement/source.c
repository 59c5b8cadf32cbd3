/* The record of the source: made, printed, read. */
#include "placement/source.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "placement/kept.h"
#include "tensor/tensor.h"

#define ZEROS "00000000000000000000000000000000"
#define MAX_JSON_BYTES ((size_t)1 << 32)

char *moe_source_path(const char *shard, bool gguf, const char *ending)
{
	struct moe_buf buf = {0};
	size_t n = strlen(shard);

	if (gguf && n > 5 && !strcmp(shard + n - 5, ".gguf"))
		n -= 5;
	while (!gguf && n > 1 && shard[n - 1] == '/')
		n--;
	moe_buf_add(&buf, shard, n);
	moe_buf_adds(&buf, gguf ? ".source" : "/moe-source");
	moe_buf_adds(&buf, ending);
	if (buf.failed)
		moe_buf_free(&buf);
	return buf.p;
}

static enum moe_status nomem(struct moe_err *err) { return moe_err_nomem(err, 0, "the record of the source"); }

/* Opens the index that a directory of several files has. */
static enum moe_status open_index(struct moe_source *source, const struct moe_ckpt *ckpt, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	char *path;

	if (source->gguf || !moe_is_dir(ckpt->path))
		return MOE_OK;
	path = moe_path_join(ckpt->path, MOE_SOURCE_INDEX);
	if (!path)
		return nomem(err);
	if (moe_is_file(path))
		status = moe_map_open(&source->index, path, ckpt->watch, err);
	free(path);
	return status;
}

/* The tensors of the files, which the checkpoint lists in order of file and offset. */
static enum moe_status add_tensors(struct moe_source *source, const struct moe_layout *layout, struct moe_err *err)
{
	const struct moe_ckpt *ckpt = layout->ckpt;

	source->n_tensors = ckpt->n_tensors;
	source->tensors = MOE_NEW(&source->arena, struct moe_source_tensor, ckpt->n_tensors + 1);
	if (!source->tensors)
		return nomem(err);
	for (size_t i = 0; i < ckpt->n_tensors; i++) {
		const struct moe_tensor *t = &ckpt->tensors[i];
		const struct moe_layout_tensor *part = &layout->tensors[i];
		bool stack = part->layer >= 0 && part->expert < 0;
		struct moe_source_tensor *to = &source->tensors[i];

		*to = (struct moe_source_tensor){ .name = t->name, .offset = t->offset, .n_bytes = t->n_bytes,
		                                  .layer = stack ? part->layer : -1,
		                                  .n_hashes = stack ? layout->n_experts : 1 };
		to->hashes = moe_arena_alloc(&source->arena, (size_t)to->n_hashes, sizeof *to->hashes);
		if (!to->hashes)
			return nomem(err);
		for (int32_t k = 0; k < to->n_hashes; k++)
			memcpy(to->hashes[k], ZEROS, 33);
		source->files[t->file].n_tensors++;
	}
	for (int32_t f = 1; f < ckpt->n_files; f++)
		source->files[f].first = source->files[f - 1].first + source->files[f - 1].n_tensors;
	return MOE_OK;
}

static void count_between(struct moe_source *source)
{
	source->n_between = 0;
	for (size_t f = 0; f < source->n_files; f++) {
		const struct moe_source_file *file = &source->files[f];

		if (file->companion || file->kept)
			continue;
		source->n_between += file->n_bytes;
		for (size_t i = file->first; i < file->first + file->n_tensors; i++)
			source->n_between -= source->tensors[i].n_bytes;
	}
}

/* Behind the files so far, where there is room. */
static enum moe_status add_kept(struct moe_source *source, const struct moe_ckpt *ckpt, const struct moe_kept *kept,
                                struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	for (size_t i = 0; i < kept->n && !status; i++) {
		const struct moe_kept_file *from = &kept->files[i];
		struct moe_source_file *file = &source->files[source->n_files];
		struct moe_map map;
		char *path;

		if (from->n_bytes > MOE_KEPT_MAX_BYTES)
			continue;
		*file = (struct moe_source_file){ .n_bytes = from->n_bytes, .kept = true, .first = ckpt->n_tensors };
		file->name = moe_arena_strndup(&source->arena, from->name, strlen(from->name));
		path = moe_path_join(ckpt->path, from->name);
		status = path && file->name ? moe_kept_open(&map, path, from->n_bytes, ckpt->watch, err) : nomem(err);
		if (!status)
			moe_map_close(&map);
		free(path);
		source->n_files++;
	}
	return status;
}

enum moe_status moe_source_of(struct moe_source *source, const struct moe_layout *layout, struct moe_err *err)
{
	const struct moe_ckpt *ckpt = layout->ckpt;
	struct moe_source_file *file;
	struct moe_kept kept = {0};
	enum moe_status status;

	memset(source, 0, sizeof *source);
	source->gguf = ckpt->format->naming == MOE_NAMING_GGUF;
	source->directory = !source->gguf || ckpt->n_files > 1;
	source->n_ranks = layout->plan.n_ranks;
	memcpy(source->plan_hash, layout->plan_hash, 33);
	memcpy(source->model_hash, layout->model_hash, 33);
	status = open_index(source, ckpt, err);
	if (!status)
		status = moe_kept_list(&kept, ckpt, err);
	if (status)
		goto out;
	source->files = MOE_NEW(&source->arena, struct moe_source_file,
	                        (size_t)ckpt->n_files + (size_t)ckpt->n_companions + kept.n + 1);
	if (!source->files) {
		status = nomem(err);
		goto out;
	}
	file = source->files;
	for (int32_t f = 0; f < ckpt->n_files; f++)
		*file++ = (struct moe_source_file){ .name = moe_path_base(ckpt->files[f].path),
		                                    .n_bytes = ckpt->files[f].n_bytes, .data = ckpt->files[f].data };
	if (source->index.path)
		*file++ = (struct moe_source_file){ .name = MOE_SOURCE_INDEX, .n_bytes = source->index.n_bytes,
		                                    .data = source->index.data, .first = ckpt->n_tensors };
	for (int32_t c = 0; c < ckpt->n_companions && !source->gguf; c++)
		*file++ = (struct moe_source_file){ .name = ckpt->companions[c].name,
			                            .n_bytes = ckpt->companions[c].n_bytes,
			                            .data = ckpt->companions[c].data,
			                            .companion = true };
	source->n_files = (size_t)(file - source->files);
	status = add_kept(source, ckpt, &kept, err);
	if (status)
		goto out;
	for (size_t f = 0; f < source->n_files; f++)
		memcpy(source->files[f].hash, ZEROS, 33);
	status = add_tensors(source, layout, err);
	count_between(source);
out:
	moe_kept_free(&kept);
	if (status)
		moe_source_free(source);
	return status;
}

void moe_source_free(struct moe_source *source)
{
	moe_map_close(&source->index);
	moe_arena_free(&source->arena);
	memset(source, 0, sizeof *source);
}

enum moe_status moe_source_hash(struct moe_source *source, struct moe_err *err)
{
	struct moe_hash *hash = moe_hash_new();

	if (!hash)
		return nomem(err);
	for (size_t f = 0; f < source->n_files; f++) {
		struct moe_source_file *file = &source->files[f];

		if (file->kept)
			continue;
		for (size_t i = file->first; i < file->first + file->n_tensors; i++) {
			struct moe_source_tensor *t = &source->tensors[i];
			uint64_t slice = t->n_bytes / (uint64_t)t->n_hashes;

			for (int32_t k = 0; k < t->n_hashes; k++) {
				moe_hash_reset(hash);
				moe_hash_add(hash, file->data + t->offset + (uint64_t)k * slice, slice);
				moe_hash_text(hash, t->hashes[k]);
			}
		}
		moe_hash_reset(hash);
		moe_hash_add(hash, file->data, file->n_bytes);
		moe_hash_text(hash, file->hash);
	}
	moe_hash_free(hash);
	return MOE_OK;
}

static void print_tensor(const struct moe_source_tensor *t, struct moe_buf *out)
{
	moe_buf_adds(out, "    [");
	moe_json_quote(out, t->name, strlen(t->name));
	moe_buf_addf(out, ",%llu,%llu", (unsigned long long)t->offset, (unsigned long long)t->n_bytes);
	if (t->layer < 0) {
		moe_buf_addf(out, ",\"%s\"]", t->hashes[0]);
		return;
	}
	moe_buf_addf(out, ",%d,[", t->layer);
	for (int32_t k = 0; k < t->n_hashes; k++)
		moe_buf_addf(out, "%s\"%s\"", k ? "," : "", t->hashes[k]);
	moe_buf_adds(out, "]]");
}

void moe_source_print(const struct moe_source *source, struct moe_buf *out)
{
	moe_buf_addf(out, "{\"moe_source\":1,\"container\":\"%s\",\"output\":\"%s\",\"ranks\":%d,\n",
	             source->gguf ? "gguf" : "safetensors", source->directory ? "directory" : "file", source->n_ranks);
	moe_buf_addf(out, " \"plan_hash\":\"%s\",\"model_hash\":\"%s\",\n \"files\":[", source->plan_hash,
	             source->model_hash);
	for (size_t f = 0; f < source->n_files; f++) {
		const struct moe_source_file *file = &source->files[f];

		moe_buf_adds(out, f ? ",\n  {" : "\n  {");
		moe_kept_print_name(out, file->name);
		moe_buf_addf(out, ",\"n_bytes\":%llu,\"xxh3\":\"%s\"", (unsigned long long)file->n_bytes, file->hash);
		if (file->companion || file->kept) {
			moe_buf_adds(out, file->kept ? ",\"kept\":true}" : ",\"companion\":true}");
			continue;
		}
		moe_buf_adds(out, ",\"tensors\":[");
		for (size_t i = 0; i < file->n_tensors; i++) {
			moe_buf_adds(out, i ? ",\n" : "\n");
			print_tensor(&source->tensors[file->first + i], out);
		}
		moe_buf_adds(out, "]}");
	}
	moe_buf_adds(out, "]}\n");
}

/* A record being read. */
struct reader {
	struct moe_source *source;
	const char *path;
	struct moe_err *err;
};

static enum moe_status wrong(struct reader *r, const char *what)
{
	return moe_err_set(r->err, MOE_EFORMAT, "%s: %s", r->path, what);
}

static bool take_hash(const json_t *json, char hash[33])
{
	const char *text = json_string_value(json);

	if (!text || strlen(text) != 32 || strspn(text, "0123456789abcdef") != 32)
		return false;
	memcpy(hash, text, 33);
	return true;
}

static const char *keep(struct reader *r, const char *text)
{
	return moe_arena_strndup(&r->source->arena, text, strlen(text));
}

/* [name, offset, n_bytes, hash] or [name, offset, n_bytes, layer, [hash, ...]] */
static enum moe_status read_tensor(struct reader *r, const json_t *json, const struct moe_source_file *file,
                                   uint64_t *end, struct moe_source_tensor *t)
{
	const char *name = json_string_value(json_array_get(json, 0));
	json_int_t offset = json_integer_value(json_array_get(json, 1)),
		   n = json_integer_value(json_array_get(json, 2));
	const json_t *hashes = json_array_get(json, 4), *layer = json_array_get(json, 3);
	bool stack = json_is_array(hashes);

	if (!name || !json_is_integer(json_array_get(json, 1)) || !json_is_integer(json_array_get(json, 2)) ||
	    (stack &&
	     (!json_is_integer(layer) || json_integer_value(layer) < 0 || json_integer_value(layer) > INT32_MAX)))
		return wrong(r, "a tensor is not [name, offset, bytes, hash]");
	if (offset < 0 || n < 0 || (uint64_t)offset < *end || (uint64_t)offset > file->n_bytes ||
	    (uint64_t)n > file->n_bytes - (uint64_t)offset)
		return moe_err_set(r->err, MOE_EFORMAT, "%s: tensor '%s' does not lie where it could in '%s'", r->path,
		                   name, file->name);
	*end = (uint64_t)offset + (uint64_t)n;
	*t = (struct moe_source_tensor){ .name = keep(r, name), .offset = (uint64_t)offset, .n_bytes = (uint64_t)n,
	                                 .layer = stack ? (int32_t)json_integer_value(layer) : -1,
	                                 .n_hashes = stack ? (int32_t)json_array_size(hashes) : 1 };
	if (t->n_hashes < 1 || t->n_bytes % (uint64_t)t->n_hashes)
		return moe_err_set(r->err, MOE_EFORMAT, "%s: tensor '%s' does not divide into %d experts", r->path,
		                   name, t->n_hashes);
	t->hashes = moe_arena_alloc(&r->source->arena, (size_t)t->n_hashes, sizeof *t->hashes);
	if (!t->name || !t->hashes)
		return nomem(r->err);
	for (int32_t k = 0; k < t->n_hashes; k++)
		if (!take_hash(stack ? json_array_get(hashes, (size_t)k) : layer, t->hashes[k]))
			return moe_err_set(r->err, MOE_EFORMAT, "%s: tensor '%s' has a hash that is not 32 hex digits",
			                   r->path, name);
	return MOE_OK;
}

static enum moe_status read_file(struct reader *r, const json_t *json, struct moe_source_file *file)
{
	const char *text = json_string_value(json_object_get(json, "name")),
		   *hex = json_string_value(json_object_get(json, "hex"));
	char *decoded = hex ? moe_kept_name_of_hex(hex) : NULL;
	const char *name = hex ? decoded : text;
	json_int_t n_bytes = json_integer_value(json_object_get(json, "n_bytes"));
	const json_t *tensors = json_object_get(json, "tensors");
	uint64_t end = 0;

	if (!name || !*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..") || n_bytes < 0 ||
	    !json_is_integer(json_object_get(json, "n_bytes")) ||
	    !take_hash(json_object_get(json, "xxh3"), file->hash)) {
		free(decoded);
		return wrong(r, "a file is without a name, n_bytes or xxh3");
	}
	file->name = keep(r, name);
	free(decoded);
	if (!file->name)
		return nomem(r->err);
	file->n_bytes = (uint64_t)n_bytes;
	file->companion = json_is_true(json_object_get(json, "companion"));
	file->kept = json_is_true(json_object_get(json, "kept"));
	file->first = r->source->n_tensors;
	if (file->kept && r->source->gguf)
		return wrong(r, "keeps files beside a GGUF file");
	if (file->companion || file->kept)
		return MOE_OK;
	if (!json_is_array(tensors))
		return moe_err_set(r->err, MOE_EFORMAT, "%s: file '%s' has no list of tensors", r->path, name);
	file->n_tensors = json_array_size(tensors);
	for (size_t i = 0; i < file->n_tensors; i++)
		if (read_tensor(r, json_array_get(tensors, i), file, &end, &r->source->tensors[r->source->n_tensors++]))
			return MOE_EFORMAT;
	return MOE_OK;
}

static enum moe_status read_record(struct reader *r, const json_t *json)
{
	struct moe_source *s = r->source;
	const json_t *files = json_object_get(json, "files");
	const char *container = json_string_value(json_object_get(json, "container"));
	const char *output = json_string_value(json_object_get(json, "output"));
	json_int_t ranks = json_integer_value(json_object_get(json, "ranks"));
	size_t n = 0;

	if (json_integer_value(json_object_get(json, "moe_source")) != 1)
		return wrong(r, "is not the record of a sharded checkpoint, version 1");
	if (!container || !output || ranks < 1 || ranks > MOE_PLAN_MAX_RANKS || !json_is_array(files) ||
	    !json_array_size(files) || !take_hash(json_object_get(json, "plan_hash"), s->plan_hash) ||
	    !take_hash(json_object_get(json, "model_hash"), s->model_hash))
		return wrong(r, "lacks one of container, output, ranks, plan_hash, model_hash, files");
	s->gguf = !strcmp(container, "gguf");
	s->directory = !strcmp(output, "directory");
	s->n_ranks = (int32_t)ranks;
	s->n_files = json_array_size(files);
	if (!s->directory && s->n_files != 1)
		return wrong(r, "has several files where one is promised");
	for (size_t f = 0; f < s->n_files; f++)
		n += json_array_size(json_object_get(json_array_get(files, f), "tensors"));
	s->files = MOE_NEW(&s->arena, struct moe_source_file, s->n_files);
	s->tensors = MOE_NEW(&s->arena, struct moe_source_tensor, n + 1);
	if (!s->files || !s->tensors)
		return nomem(r->err);
	for (size_t f = 0; f < s->n_files; f++)
		if (read_file(r, json_array_get(files, f), &s->files[f]))
			return MOE_EFORMAT;
	count_between(s);
	return MOE_OK;
}

enum moe_status moe_source_read(struct moe_source *source, const char *path, struct moe_err *err)
{
	struct reader r = { source, path, err };
	enum moe_status status;
	json_t *json;

	memset(source, 0, sizeof *source);
	status = moe_json_load(&json, path, MAX_JSON_BYTES, err);
	if (status)
		return status;
	status = read_record(&r, json);
	json_decref(json);
	if (status)
		moe_source_free(source);
	return status;
}

enum moe_status moe_source_pieces(const struct moe_source *source, const struct moe_source_file *file,
	enum moe_status (*fn)(void *arg, size_t i, uint64_t offset, uint64_t n_bytes, struct moe_err *err),
	void *arg, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	uint64_t at = 0;

	if (file->companion || file->kept)
		return MOE_OK;
	for (size_t i = file->first; i < file->first + file->n_tensors && !status; i++) {
		const struct moe_source_tensor *t = &source->tensors[i];

		if (t->offset > at)
			status = fn(arg, SIZE_MAX, at, t->offset - at, err);
		if (!status)
			status = fn(arg, i, t->offset, t->n_bytes, err);
		at = t->offset + t->n_bytes;
	}
	if (!status && at < file->n_bytes)
		status = fn(arg, SIZE_MAX, at, file->n_bytes - at, err);
	return status;
}
