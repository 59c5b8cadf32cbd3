/* Shards against plan and source, byte for byte. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "placement/kept.h"
#include "placement/layout.h"
#include "placement/shard.h"
#include "placement/shards.h"
#include "placement/source.h"

struct check {
	const struct moe_shard_opts *opts;
	const struct moe_layout *layout;
	struct moe_source *source;
	struct moe_shards shards;
	struct moe_err *errs;   /* [n_ranks + 1] the last: hashing the source */
};

/* The bytes of tensor i in a rank's shard: whole, or the slices of its slots. */
static bool same_bytes(const struct moe_layout *layout, size_t i, int32_t rank, const struct moe_tensor *found)
{
	const struct moe_tensor *t = &layout->ckpt->tensors[i];
	const struct moe_layout_tensor *part = &layout->tensors[i];
	const struct moe_plan_entry *slots;
	size_t slice;
	int32_t n;

	if (part->layer < 0 || part->expert >= 0)
		return t->n_bytes == found->n_bytes && (!t->n_bytes || !memcmp(t->data, found->data, t->n_bytes));
	slice = t->n_bytes / (size_t)layout->n_experts;
	slots = moe_layout_slots(layout, part->layer, rank, &n);
	if (found->n_bytes != (size_t)n * slice)
		return false;
	for (int32_t k = 0; k < n && slice; k++)
		if (memcmp(t->data + (size_t)slots[k].expert * slice, found->data + (size_t)k * slice, slice))
			return false;
	return true;
}

static enum moe_status check_tensor(const struct check *c, size_t i, int32_t rank, const int64_t *dims,
                                    struct moe_err *err)
{
	const struct moe_tensor *t = &c->layout->ckpt->tensors[i];
	const struct moe_tensor *found = moe_ckpt_find(c->shards.ckpts[rank], t->name);
	const char *path = c->shards.ckpts[rank]->path;
	char want[24 * MOE_MAX_DIMS], got[24 * MOE_MAX_DIMS];

	if (!found)
		return moe_err_set(err, MOE_ECHECK, "%s: tensor '%s' is missing, which rank %d should hold", path,
		                   t->name, rank);
	if (found->codec != t->codec || found->n_dims != t->n_dims ||
	    memcmp(found->dims, dims, (size_t)t->n_dims * sizeof *dims))
		return moe_err_set(err, MOE_ECHECK, "%s: tensor '%s' is %s %s, expected %s %s", path, t->name,
		                   found->codec->name, moe_dims_text(got, found->dims, found->n_dims), t->codec->name,
		                   moe_dims_text(want, dims, t->n_dims));
	if (!same_bytes(c->layout, i, rank, found))
		return moe_err_set(err, MOE_ECHECK, "%s: tensor '%s' of rank %d differs from the source", path,
		                   t->name, rank);
	return MOE_OK;
}

/* The moe.* keys. */
static enum moe_status check_metadata(const struct check *c, int32_t rank, struct moe_err *err)
{
	const struct moe_ckpt *ckpt = c->shards.ckpts[rank];
	json_t *metadata = moe_layout_metadata(c->layout, rank), *value;
	enum moe_status status = MOE_OK;
	const char *key;

	if (!metadata)
		return moe_err_nomem(err, 0, "metadata");
	json_object_foreach(metadata, key, value) if (!strncmp(key, "moe.", 4) &&
	                                              !json_equal(value, json_object_get(ckpt->metadata, key)) &&
	                                              !status) status =
		moe_err_set(err, MOE_ECHECK, "%s: metadata key '%s' of rank %d is not what plan and source say",
	                    ckpt->path, key, rank);
	json_decref(metadata);
	return status;
}

static enum moe_status check_companions(const struct check *c, int32_t rank, struct moe_err *err)
{
	const struct moe_ckpt *source = c->layout->ckpt, *ckpt = c->shards.ckpts[rank];

	for (int32_t i = 0; i < source->n_companions; i++) {
		const struct moe_companion *want = &source->companions[i],
					   *found = moe_ckpt_companion(ckpt, want->name);

		if (!found || found->n_bytes != want->n_bytes ||
		    (want->n_bytes && memcmp(found->data, want->data, want->n_bytes)))
			return moe_err_set(err, MOE_ECHECK, "%s: file '%s' is missing or differs from the source",
			                   ckpt->path, want->name);
	}
	return MOE_OK;
}

static enum moe_status check_rank(const struct check *c, int32_t rank, struct moe_err *err)
{
	const struct moe_ckpt *ckpt = c->shards.ckpts[rank];
	enum moe_status status = check_metadata(c, rank, err);
	int64_t dims[MOE_MAX_DIMS];
	size_t n = 0;

	if (!status)
		status = check_companions(c, rank, err);
	for (size_t i = 0; i < c->layout->ckpt->n_tensors && !status; i++) {
		if (!moe_layout_holds(c->layout, i, rank, dims))
			continue;
		n++;
		status = check_tensor(c, i, rank, dims, err);
	}
	if (!status && n != ckpt->n_tensors)
		status = moe_err_set(err, MOE_ECHECK, "%s: holds %zu tensors, rank %d should hold %zu", ckpt->path,
		                     ckpt->n_tensors, rank, n);
	return status;
}

/* Item 0 hashes the source, item r + 1 compares rank r. */
static void do_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	struct check *c = arg;
	int32_t n_ranks = c->shards.n_ranks;

	(void)thread;
	for (int64_t i = begin; i < end; i++) {
		struct moe_err *err = &c->errs[i ? i - 1 : n_ranks];

		err->status = i ? check_rank(c, (int32_t)i - 1, err) : moe_source_hash(c->source, err);
	}
}

/* Bytes of the .bin compared with what lies between the tensors. */
struct between {
	const struct moe_map *map;
	const struct moe_source_file *file;
	uint64_t at;
};

static enum moe_status compare_between(void *arg, size_t i, uint64_t offset, uint64_t n_bytes, struct moe_err *err)
{
	struct between *b = arg;

	if (i != SIZE_MAX)
		return MOE_OK;
	if (n_bytes > b->map->n_bytes - b->at || memcmp(b->map->data + b->at, b->file->data + offset, n_bytes))
		return moe_err_set(err, MOE_ECHECK, "%s: differs from what lies between the tensors of '%s'",
		                   b->map->path, b->file->name);
	b->at += n_bytes;
	return MOE_OK;
}

/* A file that is no part of the checkpoint, against its copy with rank 0; it gets its hash. */
static enum moe_status check_kept(const struct check *c, struct moe_source_file *file, struct moe_hash *hash,
                                  struct moe_err *err)
{
	const char *shard = c->shards.ckpts[0]->path;
	char *from = moe_path_join(c->layout->ckpt->path, file->name), *to = moe_kept_path(shard, file->name);
	struct moe_map want = {0}, found = {0};
	enum moe_status status;

	if (from && to)
		status = moe_kept_open(&want, from, file->n_bytes, c->opts->watch, err);
	else
		status = moe_err_nomem(err, strlen(file->name), "a path");
	if (status)
		goto out;
	moe_hash_reset(hash);
	moe_hash_add(hash, want.data, want.n_bytes);
	moe_hash_text(hash, file->hash);
	if (moe_kept_open(&found, to, file->n_bytes, c->opts->watch, NULL) ||
	    (want.n_bytes && memcmp(want.data, found.data, want.n_bytes)))
		status = moe_err_set(err, MOE_ECHECK, "%s: file '%s' is missing or differs from the source", shard,
		                     file->name);
out:
	moe_map_close(&found);
	moe_map_close(&want);
	free(to);
	free(from);
	return status;
}

static enum moe_status check_all_kept(const struct check *c, struct moe_err *err)
{
	struct moe_hash *hash = moe_hash_new();
	enum moe_status status = hash ? MOE_OK : moe_err_nomem(err, 0, "hashes");

	for (size_t f = 0; f < c->source->n_files && !status; f++)
		if (c->source->files[f].kept)
			status = check_kept(c, &c->source->files[f], hash, err);
	moe_hash_free(hash);
	return status;
}

/* The record kept with rank 0, as it would be written now. */
static enum moe_status check_record(const struct check *c, struct moe_err *err)
{
	const char *shard = c->shards.ckpts[0]->path;
	char *json = moe_source_path(shard, c->shards.gguf, ".json"),
	     *bin = moe_source_path(shard, c->shards.gguf, ".bin");
	struct moe_buf want = {0};
	struct moe_map found = {0}, map = {0};
	struct between between = { .map = &map };
	enum moe_status status;

	if (!json || !bin) {
		status = moe_err_nomem(err, strlen(shard), "a path");
		goto out;
	}
	moe_source_print(c->source, &want);
	status = moe_buf_check(&want, err);
	if (!status)
		status = moe_map_open(&found, json, c->opts->watch, err);
	if (!status && (found.n_bytes != want.n || memcmp(found.data, want.p, want.n)))
		status = moe_err_set(err, MOE_ECHECK, "%s: does not describe this source under this plan", json);
	if (!status)
		status = moe_map_open(&map, bin, c->opts->watch, err);
	for (size_t f = 0; f < c->source->n_files && !status; f++) {
		between.file = &c->source->files[f];
		status = moe_source_pieces(c->source, between.file, compare_between, &between, err);
	}
	if (!status && between.at != map.n_bytes)
		status = moe_err_set(err, MOE_ECHECK, "%s: has bytes behind its end", bin);
out:
	moe_map_close(&map);
	moe_map_close(&found);
	moe_buf_free(&want);
	free(bin);
	free(json);
	return status;
}

static enum moe_status check_all(struct check *c, struct moe_err *err)
{
	const struct moe_layout *layout = c->layout;
	int32_t n_ranks = c->shards.n_ranks;
	enum moe_status status = MOE_OK;

	if (c->shards.gguf != c->source->gguf)
		return moe_err_set(err, MOE_ECHECK, "%s: the shards are of another container than %s", c->opts->out,
		                   layout->ckpt->path);
	if (n_ranks != layout->plan.n_ranks || strcmp(c->shards.plan_hash, layout->plan_hash))
		return moe_err_set(
			err, MOE_ECHECK, "%s: the shards are of plan %s, %d ranks; the plan given is %s, %d ranks",
			c->opts->out, c->shards.plan_hash, n_ranks, layout->plan_hash, layout->plan.n_ranks);
	if (strcmp(c->shards.model_hash, layout->model_hash))
		return moe_err_set(err, MOE_ECHECK,
		                   "%s: the shards are of a model of other names, types or shapes than %s",
		                   c->opts->out, layout->ckpt->path);
	c->errs = calloc((size_t)n_ranks + 1, sizeof *c->errs);
	if (!c->errs)
		return moe_err_nomem(err, (size_t)n_ranks * sizeof *c->errs, "errors");
	moe_pool_for(c->opts->pool, (int64_t)n_ranks + 1, 1, do_piece, c);
	for (int32_t r = 0; r <= n_ranks && !status; r++)
		if (c->errs[r].status)
			status = moe_err_set(err, c->errs[r].status, "%s", c->errs[r].text);
	free(c->errs);
	if (!status)
		status = check_all_kept(c, err);
	return status ? status : check_record(c, err);
}

enum moe_status moe_shard_verify(const struct moe_model *model, const struct moe_shard_opts *opts, struct moe_err *err)
{
	char *dir = (char *)(uintptr_t)opts->out;   /* only looked at */
	struct moe_layout layout;
	struct moe_source source = {0};
	struct check c = { .opts = opts, .layout = &layout, .source = &source };
	enum moe_status status = moe_layout_make(&layout, model->ckpt, &model->config, opts->plan, err);

	if (status)
		return status;
	status = moe_source_of(&source, &layout, err);
	if (!status)
		status = moe_shards_open(&c.shards, &dir, 1, opts->watch, err);
	if (!status) {
		status = check_all(&c, err);
		moe_shards_close(&c.shards);
	}
	moe_source_free(&source);
	moe_layout_free(&layout);
	return status;
}
