/* The source of shards, told from what they hold. */
#include "placement/patch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

#define HASH_BYTES 32

static enum moe_status nomem(struct moe_err *err) { return moe_err_nomem(err, 0, "the tensors of the source"); }

/* A tensor of the source, from the first shard that has it or a part of it. */
static enum moe_status tell_tensor(const struct moe_shards *shards, const struct moe_source_tensor *from,
                                   struct moe_tensor *t, struct moe_err *err)
{
	for (int32_t r = 0; r < shards->n_ranks; r++) {
		const struct moe_tensor *found = moe_ckpt_find(shards->ckpts[r], from->name);
		uint64_t row;
		size_t n_bytes;

		if (!found)
			continue;
		*t = *found;
		t->name = from->name;
		t->n_bytes = from->n_bytes;
		t->file = 0;
		t->offset = from->offset;
		if (from->layer >= 0) {
			t->data = NULL;
			row = found->n_dims && found->dims[0] ? found->n_bytes / (uint64_t)found->dims[0] : 0;
			t->dims[0] = row ? (int64_t)(from->n_bytes / row) : 0;
		}
		if (!moe_dims_bytes(t->codec, t->dims, t->n_dims, &n_bytes) || n_bytes != from->n_bytes)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: tensor '%s' of rank %d is not a part of the %llu bytes that the source "
			                   "had", moe_ckpt_file(shards->ckpts[r], found), from->name, r,
			                   (unsigned long long)from->n_bytes);
		return MOE_OK;
	}
	return moe_err_set(err, MOE_EFORMAT, "no shard holds tensor '%s'", from->name);
}

static int compare_names(const void *a, const void *b, void *arg)
{
	const struct moe_tensor *tensors = arg;

	return strcmp(tensors[*(const uint32_t *)a].name, tensors[*(const uint32_t *)b].name);
}

/* The keys of the source: those of rank 0 without what sharding added. */
static json_t *tell_metadata(const json_t *metadata)
{
	static const char *const added[] = { "moe.rank", "moe.ranks", "moe.plan_hash", "moe.model_hash" };
	json_t *copy = json_copy((json_t *)(uintptr_t)metadata), *value;
	const char *key;
	void *next;

	for (size_t i = 0; copy && i < sizeof added / sizeof added[0]; i++)
		json_object_del(copy, added[i]);
	json_object_foreach_safe(copy, next, key, value)
		if (!strncmp(key, "moe.slots.", 10))
			json_object_del(copy, key);
	return copy;
}

static enum moe_status open_record(const struct moe_shards *shards, struct moe_source *source, struct moe_err *err)
{
	char *json = moe_source_path(shards->ckpts[0]->path, shards->gguf, ".json");
	enum moe_status status = json ? moe_source_read(source, json, err) : nomem(err);

	if (!status && (source->n_ranks != shards->n_ranks || strcmp(source->plan_hash, shards->plan_hash) ||
	                strcmp(source->model_hash, shards->model_hash) || source->gguf != shards->gguf))
		status = moe_err_set(err, MOE_EFORMAT, "%s: belongs to other shards than these", json);
	free(json);
	return status;
}

static enum moe_status tell(struct moe_ckpt *told, const struct moe_shards *shards, const struct moe_source *source,
                            struct moe_err *err)
{
	const struct moe_ckpt *first = shards->ckpts[0];
	enum moe_status status = MOE_OK;

	told->format = first->format;
	told->path = strdup(first->path);
	told->n_files = 1;
	told->files = calloc(1, sizeof *told->files);
	told->n_tensors = source->n_tensors;
	told->tensors = calloc(source->n_tensors + 1, sizeof *told->tensors);
	told->by_name = MOE_NEW(&told->arena, uint32_t, source->n_tensors + 1);
	told->config = json_incref(first->config);
	told->metadata = first->metadata ? tell_metadata(first->metadata) : NULL;
	told->n_companions = first->n_companions;
	told->companions = first->companions;
	if (!told->path || !told->files || !told->tensors || !told->by_name || (first->metadata && !told->metadata))
		return nomem(err);
	told->files[0].path = told->path;
	if (source->n_tensors > UINT32_MAX)
		return moe_err_set(err, MOE_EFORMAT, "%s: the source has more tensors than can be counted", told->path);
	for (size_t i = 0; i < source->n_tensors && !status; i++) {
		told->by_name[i] = (uint32_t)i;
		status = tell_tensor(shards, &source->tensors[i], &told->tensors[i], err);
	}
	if (status)
		return status;
	if (source->n_tensors > 1)
		qsort_r(told->by_name, source->n_tensors, sizeof *told->by_name, compare_names, told->tensors);
	for (size_t i = 1; i < source->n_tensors; i++)
		if (!strcmp(told->tensors[told->by_name[i - 1]].name, told->tensors[told->by_name[i]].name))
			return moe_err_set(err, MOE_EFORMAT, "%s: its record names tensor '%s' twice", told->path,
			                   told->tensors[told->by_name[i]].name);
	return MOE_OK;
}

enum moe_status moe_patch_source(const struct moe_shards *shards, struct moe_source *source, struct moe_ckpt **told,
                                 struct moe_err *err)
{
	enum moe_status status = open_record(shards, source, err);

	*told = NULL;
	if (status)
		return status;
	*told = calloc(1, sizeof **told);
	return *told ? tell(*told, shards, source, err) : nomem(err);
}

void moe_patch_source_free(struct moe_ckpt *told)
{
	if (!told)
		return;
	json_decref(told->config);
	json_decref(told->metadata);
	moe_arena_free(&told->arena);
	free(told->tensors);
	free(told->files);
	free(told->path);
	free(told);
}

/* What stands before the hash, and where the header ends. */
static enum moe_status find_hash(const struct moe_map *map, bool gguf, uint64_t end, uint64_t *at, struct moe_err *err)
{
	static const char text[] = "\"moe.plan_hash\":\"", key[] = "moe.plan_hash\x08\0\0\0\x20\0\0\0\0\0\0";
	const char *mark = gguf ? key : text;
	const size_t n = gguf ? sizeof key : sizeof text - 1;   /* the key's last byte is the NUL behind it */
	const uint8_t *found = memmem(map->data, end, mark, n);

	if (!found || end - (uint64_t)(found - map->data) < n + HASH_BYTES ||
	    memmem(found + n, end - (uint64_t)(found - map->data) - n, mark, n))
		return moe_err_set(err, MOE_EFORMAT, "%s: expected one place for the plan's hash in its header, found "
		                   "%s", map->path, found ? "several" : "none");
	*at = (uint64_t)(found - map->data) + n;
	return MOE_OK;
}

/* Where the tensors of a file begin. */
static enum moe_status find_end(const char *path, const struct moe_map *map, bool gguf, uint64_t *end,
                                struct moe_err *err)
{
	struct moe_ckpt *ckpt;
	enum moe_status status;

	*end = map->n_bytes;
	if (!gguf) {
		if (map->n_bytes >= 8 && moe_load_u64(map->data) <= map->n_bytes - 8)
			*end = 8 + moe_load_u64(map->data);
		return MOE_OK;
	}
	status = moe_ckpt_open(&ckpt, path, NULL, err);
	if (status)
		return status;
	for (size_t i = 0; i < ckpt->n_tensors; i++)
		*end = ckpt->tensors[i].offset < *end ? ckpt->tensors[i].offset : *end;
	moe_ckpt_close(ckpt);
	return MOE_OK;
}

static enum moe_status write_hash(const char *path, uint64_t at, const char *hash, struct moe_err *err)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	enum moe_status status = MOE_OK;

	if (fd < 0)
		return moe_err_sys(err, "%s: cannot write", path);
	errno = ENOSPC;   /* what else makes a short write */
	if (pwrite(fd, hash, HASH_BYTES, (off_t)at) != HASH_BYTES ||
	    (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP))
		status = moe_err_sys(err, "%s: cannot write", path);
	close(fd);
	return status;
}

enum moe_status moe_patch_plan_hash(const char *path, bool gguf, const char *hash, struct moe_err *err)
{
	struct moe_map map;
	uint64_t end, at = 0;
	bool same = false;
	enum moe_status status = moe_map_open(&map, path, NULL, err);

	if (status)
		return status;
	status = find_end(path, &map, gguf, &end, err);
	if (!status)
		status = find_hash(&map, gguf, end, &at, err);
	if (!status)
		same = !hash || memcmp(map.data + at, hash, HASH_BYTES) == 0;
	moe_map_close(&map);
	return status || same ? status : write_hash(path, at, hash, err);
}
