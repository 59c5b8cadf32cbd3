/* Shards back into the source: every file as its record says, every piece checked by its hash on the way. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "placement/kept.h"
#include "placement/shard.h"
#include "placement/shards.h"
#include "placement/source.h"

#define CHUNK_BYTES ((uint64_t)16 << 20)

/* Where an expert of a stack lies. */
struct place {
	int32_t rank, slot;   /* rank -1: nowhere */
};

struct merge {
	const struct moe_shard_opts *opts;
	struct moe_shards shards;
	struct moe_source source;
	struct moe_map between;                /* the .bin */
	uint64_t at;                           /* consumed of it */
	struct moe_outdir *dir;                /* NULL where the source is one file */
	struct moe_out *out;                   /* the file being written */
	struct moe_hash *file_hash, *piece_hash;
	struct place *places;                  /* [n_places] of the layer `places_layer` */
	int32_t n_places, places_layer;
	/* the chunk at hand */
	const uint8_t *chunk;
	uint64_t n_chunk;
	struct moe_err write_err;
};

static void do_chunk(void *arg, int64_t begin, int64_t end, int thread)
{
	struct merge *m = arg;

	(void)thread;
	for (int64_t what = begin; what < end; what++) {
		if (what == 0)
			moe_hash_add(m->file_hash, m->chunk, m->n_chunk);
		else if (what == 1)
			moe_hash_add(m->piece_hash, m->chunk, m->n_chunk);
		else
			m->write_err.status = moe_out_write(m->out, m->chunk, m->n_chunk, &m->write_err);
	}
}

/* Writes bytes and adds them to both hashes; hash gets that of these bytes alone. */
static enum moe_status put(struct merge *m, const uint8_t *bytes, uint64_t n, char hash[33], struct moe_err *err)
{
	moe_hash_reset(m->piece_hash);
	for (uint64_t at = 0; at < n; at += m->n_chunk) {
		m->chunk = bytes + at;
		m->n_chunk = n - at < CHUNK_BYTES ? n - at : CHUNK_BYTES;
		moe_pool_for(n < 65536 ? NULL : m->opts->pool, 3, 1, do_chunk, m);
		if (m->write_err.status)
			return moe_err_set(err, m->write_err.status, "%s", m->write_err.text);
		if (m->opts->progress)
			m->opts->progress(m->opts->progress_arg, m->n_chunk);
	}
	moe_hash_text(m->piece_hash, hash);
	return MOE_OK;
}

/* A tensor that lies whole in some shard. */
static enum moe_status put_whole(struct merge *m, const struct moe_source_tensor *t, struct moe_err *err)
{
	enum moe_status status;
	char hash[33];

	for (int32_t r = 0; r < m->shards.n_ranks; r++) {
		const struct moe_tensor *found = moe_ckpt_find(m->shards.ckpts[r], t->name);

		if (!found)
			continue;
		if (found->n_bytes != t->n_bytes)
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: tensor '%s' of rank %d has %zu bytes, the source had %llu",
			                   moe_ckpt_file(m->shards.ckpts[r], found), t->name, r, found->n_bytes,
			                   (unsigned long long)t->n_bytes);
		status = put(m, found->data, found->n_bytes, hash, err);
		if (!status && strcmp(hash, t->hashes[0]))
			status = moe_err_set(err, MOE_EFORMAT,
			                     "%s: tensor '%s' of rank %d is not what the source held: its hash is "
			                     "%s, expected %s",
			                     moe_ckpt_file(m->shards.ckpts[r], found), t->name, r, hash, t->hashes[0]);
		return status;
	}
	return moe_err_set(err, MOE_EFORMAT, "no shard holds tensor '%s'", t->name);
}

/* moe.slots.LAYER of a shard: a new reference, or NULL. */
static json_t *slots_of(const struct moe_ckpt *ckpt, const char *key)
{
	const json_t *value = json_object_get(ckpt->metadata, key);

	if (json_is_string(value))
		return json_loads(json_string_value(value), 0, NULL);
	return json_incref(json_object_get(value, "value"));
}

/* Finds the experts of a layer by moe.slots.LAYER of every rank. */
static enum moe_status find_places(struct merge *m, int32_t layer, int32_t n_experts, struct moe_err *err)
{
	char key[40];

	if (m->places && m->places_layer == layer && m->n_places == n_experts)
		return MOE_OK;
	free(m->places);
	m->places = calloc((size_t)n_experts, sizeof *m->places);
	if (!m->places)
		return moe_err_nomem(err, (size_t)n_experts * sizeof *m->places, "places of experts");
	m->places_layer = layer;
	m->n_places = n_experts;
	for (int32_t e = 0; e < n_experts; e++)
		m->places[e].rank = -1;
	snprintf(key, sizeof key, "moe.slots.%d", layer);
	for (int32_t r = 0; r < m->shards.n_ranks; r++) {
		const struct moe_ckpt *ckpt = m->shards.ckpts[r];
		json_t *slots = slots_of(ckpt, key), *slot;
		enum moe_status status = MOE_OK;
		size_t k;

		if (!json_is_array(slots)) {
			json_decref(slots);
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: has no key %s, which says which experts rank %d holds", ckpt->path,
			                   key, r);
		}
		json_array_foreach(slots, k, slot) {
			json_int_t e = json_integer_value(slot);

			if (!json_is_integer(slot) || e < 0 || e >= n_experts) {
				status = moe_err_set(err, MOE_EFORMAT,
				                     "%s: %s names an expert that the model does not have",
				                     ckpt->path, key);
				break;
			}
			if (m->places[e].rank < 0)
				m->places[e] = (struct place){ r, (int32_t)k };
		}
		json_decref(slots);
		if (status)
			return status;
	}
	return MOE_OK;
}

/* A stack, expert by expert from where they are. */
static enum moe_status put_stack(struct merge *m, const struct moe_source_tensor *t, struct moe_err *err)
{
	uint64_t slice = t->n_bytes / (uint64_t)t->n_hashes;
	enum moe_status status = find_places(m, t->layer, t->n_hashes, err);
	char hash[33];

	for (int32_t e = 0; e < t->n_hashes && !status; e++) {
		const struct place *place = &m->places[e];
		const struct moe_tensor *found;

		if (place->rank < 0)
			return moe_err_set(err, MOE_EFORMAT, "no shard holds expert %d of tensor '%s'", e, t->name);
		found = moe_ckpt_find(m->shards.ckpts[place->rank], t->name);
		if (!found || found->n_bytes < slice || ((uint64_t)place->slot > found->n_bytes / slice - 1))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: tensor '%s' of rank %d is missing or too short for slot %d",
			                   m->shards.ckpts[place->rank]->path, t->name, place->rank, place->slot);
		status = put(m, found->data + (uint64_t)place->slot * slice, slice, hash, err);
		if (!status && strcmp(hash, t->hashes[e]))
			status = moe_err_set(err, MOE_EFORMAT,
			                     "%s: expert %d of tensor '%s', slot %d of rank %d, is not what the "
			                     "source held: its hash is %s, expected %s",
			                     m->shards.ckpts[place->rank]->path, e, t->name, place->slot, place->rank,
			                     hash, t->hashes[e]);
	}
	return status;
}

static enum moe_status put_piece(void *arg, size_t i, uint64_t offset, uint64_t n_bytes, struct moe_err *err)
{
	struct merge *m = arg;
	enum moe_status status;
	char hash[33];

	(void)offset;
	if (i == SIZE_MAX) {
		if (n_bytes > m->between.n_bytes - m->at)
			return moe_err_set(err, MOE_EFORMAT, "%s: ends before the last file is complete",
			                   m->between.path);
		status = put(m, m->between.data + m->at, n_bytes, hash, err);
		m->at += n_bytes;
		return status;
	}
	if (n_bytes == 0)
		return MOE_OK;
	return m->source.tensors[i].layer < 0 ? put_whole(m, &m->source.tensors[i], err)
	                                      : put_stack(m, &m->source.tensors[i], err);
}

static enum moe_status put_companion(struct merge *m, const struct moe_source_file *file, struct moe_err *err)
{
	const struct moe_companion *companion = moe_ckpt_companion(m->shards.ckpts[0], file->name);
	char hash[33];

	if (!companion)
		return moe_err_set(err, MOE_EFORMAT, "%s: has no file '%s', which the source had",
		                   m->shards.ckpts[0]->path, file->name);
	return put(m, companion->data, companion->n_bytes, hash, err);
}

static enum moe_status put_kept(struct merge *m, const struct moe_source_file *file, struct moe_err *err)
{
	char *path = moe_kept_path(m->shards.ckpts[0]->path, file->name), hash[33];
	struct moe_map map = {0};
	enum moe_status status = path ? moe_kept_open(&map, path, file->n_bytes, m->opts->watch, err)
	                              : moe_err_nomem(err, strlen(file->name), "a path");

	if (!status)
		status = put(m, map.data, map.n_bytes, hash, err);
	moe_map_close(&map);
	free(path);
	return status;
}

static enum moe_status put_content(struct merge *m, const struct moe_source_file *file, struct moe_err *err)
{
	enum moe_status status = m->dir ? MOE_OK : moe_out_room(m->out, file->n_bytes, err);

	if (status)
		return status;
	if (file->kept)
		return put_kept(m, file, err);
	return file->companion ? put_companion(m, file, err)
	                       : moe_source_pieces(&m->source, file, put_piece, m, err);
}

static enum moe_status put_file(struct merge *m, const struct moe_source_file *file, struct moe_err *err)
{
	enum moe_status status;
	bool copied = file->companion || file->kept;
	struct moe_out *out;
	char hash[33];

	if (m->dir)
		status = moe_outdir_file(m->dir, file->name, &m->out, err);
	else
		status = moe_out_open(&m->out, m->opts->out, m->opts->flags | MOE_OUT_BINARY, m->opts->watch, err);
	if (status)
		return status;
	moe_hash_reset(m->file_hash);
	status = put_content(m, file, err);
	moe_hash_text(m->file_hash, hash);
	if (!status && strcmp(hash, file->hash))
		status = moe_err_set(err, MOE_EFORMAT,
		                     "%s: '%s' is not what the source held: the hash of the whole file is %s, "
		                     "expected %s",
		                     copied ? m->shards.ckpts[0]->path : m->between.path, file->name, hash,
		                     file->hash);
	out = m->out;
	m->out = NULL;
	if (!status)
		return moe_out_commit(out, err);
	moe_out_abort(out);
	return status;
}

/* Opens the record that is with rank 0 and compares it with the shards. */
static enum moe_status open_record(struct merge *m, struct moe_err *err)
{
	const char *shard = m->shards.ckpts[0]->path;
	char *json = moe_source_path(shard, m->shards.gguf, ".json"),
	     *bin = moe_source_path(shard, m->shards.gguf, ".bin");
	enum moe_status status;

	if (!json || !bin) {
		status = moe_err_nomem(err, strlen(shard), "a path");
		goto out;
	}
	status = moe_source_read(&m->source, json, err);
	if (!status)
		status = moe_watch_add_input(m->opts->watch, json, err);
	if (!status)
		status = moe_watch_add_input(m->opts->watch, bin, err);
	if (status)
		goto out;
	if (m->source.n_ranks != m->shards.n_ranks || strcmp(m->source.plan_hash, m->shards.plan_hash) ||
	    strcmp(m->source.model_hash, m->shards.model_hash) || m->source.gguf != m->shards.gguf) {
		status = moe_err_set(err, MOE_EFORMAT, "%s: belongs to other shards than these", json);
		goto out;
	}
	status = moe_map_open(&m->between, bin, m->opts->watch, err);
	if (!status && m->between.n_bytes != m->source.n_between)
		status = moe_err_set(err, MOE_EFORMAT, "%s: has %zu bytes, expected %llu", bin, m->between.n_bytes,
		                     (unsigned long long)m->source.n_between);
out:
	free(bin);
	free(json);
	return status;
}

static enum moe_status write_files(struct merge *m, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	uint64_t total = 0;

	if (m->source.directory)
		status = moe_outdir_open(&m->dir, m->opts->out, m->opts->flags, m->opts->watch, err);
	for (size_t f = 0; f < m->source.n_files; f++)
		if (__builtin_add_overflow(total, m->source.files[f].n_bytes, &total))
			total = UINT64_MAX;
	if (!status && m->dir)
		status = moe_outdir_room(m->dir, total, err);
	for (size_t f = 0; f < m->source.n_files && !status; f++)
		status = put_file(m, &m->source.files[f], err);
	if (m->dir && status)
		moe_outdir_abort(m->dir);
	else if (m->dir)
		status = moe_outdir_commit(m->dir, err);
	return status;
}

enum moe_status moe_shard_merge(char *const *dirs, int n_dirs, const struct moe_shard_opts *opts, struct moe_err *err)
{
	struct merge m = { .opts = opts };
	enum moe_status status = moe_shards_open(&m.shards, dirs, n_dirs, opts->watch, err);

	if (status)
		return status;
	m.file_hash = moe_hash_new();
	m.piece_hash = moe_hash_new();
	if (!m.file_hash || !m.piece_hash)
		status = moe_err_nomem(err, 0, "hashes");
	else
		status = open_record(&m, err);
	if (!status)
		status = write_files(&m, err);
	free(m.places);
	moe_hash_free(m.piece_hash);
	moe_hash_free(m.file_hash);
	moe_map_close(&m.between);
	moe_source_free(&m.source);
	moe_shards_close(&m.shards);
	return status;
}
