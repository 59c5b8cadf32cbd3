/* Writing shards: one pass over the source, all ranks at once, hashing as it goes.
 *
 * The source is taken in batches of its bytes. Over one batch, one piece of work hashes it and one piece for each rank
 * writes what the rank holds of it; the pieces run side by side, each output being touched by its own alone. */
#include "placement/shard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/hash.h"
#include "placement/begun.h"
#include "placement/kept.h"
#include "placement/layout.h"
#include "placement/predict.h"
#include "placement/source.h"
#include "tensor/tensor.h"

#define BATCH_BYTES ((uint64_t)32 << 20)
#define SPARE_FILES 24   /* beside one for each rank: the source, standard streams, what libraries hold */

/* Bytes [from, to) of a tensor; the whole where it is a stack. */
struct unit {
	size_t tensor;
	uint64_t from, to;
};

struct job {
	const struct moe_shard_opts *opts;
	const struct moe_layout *layout;
	struct moe_source *source;
	struct moe_outdir *dir;
	struct moe_ckpt_out **outs;      /* [n_ranks] */
	uint64_t *written;               /* [n_ranks] of the batch */
	struct moe_err *errs;            /* [n_ranks] */
	struct moe_begun begun;          /* where the work can be gone on with */
	char work[33];
	size_t *kept;                    /* [n_ranks] tensors that are there and still to come by */
	struct unit *units;              /* [n_units] the batch */
	size_t n_units, cap;
	struct moe_hash *file_hash, *tensor_hash;
	int32_t file;                    /* being hashed */
	uint64_t at;                     /* hashed so far in it */
};

static const struct moe_tensor *tensor_of(const struct job *job, const struct unit *unit)
{
	return &job->layout->ckpt->tensors[unit->tensor];
}

/* The rest of the current file, and all files up to `file`: their tensors are all hashed. */
static void finish_files(struct job *job, int32_t file)
{
	for (; job->file < file; job->file++) {
		const struct moe_map *map = &job->layout->ckpt->files[job->file];

		moe_hash_add(job->file_hash, map->data + job->at, map->n_bytes - job->at);
		moe_hash_text(job->file_hash, job->source->files[job->file].hash);
		moe_hash_reset(job->file_hash);
		job->at = 0;
	}
}

static void hash_unit(struct job *job, const struct unit *unit)
{
	const struct moe_tensor *t = tensor_of(job, unit);
	struct moe_source_tensor *to = &job->source->tensors[unit->tensor];
	size_t slice = t->n_bytes / (size_t)to->n_hashes;

	finish_files(job, t->file);
	if (t->offset > job->at)
		moe_hash_add(job->file_hash, job->layout->ckpt->files[t->file].data + job->at, t->offset - job->at);
	moe_hash_add(job->file_hash, t->data + unit->from, unit->to - unit->from);
	job->at = t->offset + unit->to;
	if (to->layer >= 0) {
		for (int32_t e = 0; e < to->n_hashes; e++) {
			moe_hash_reset(job->tensor_hash);
			moe_hash_add(job->tensor_hash, t->data + (size_t)e * slice, slice);
			moe_hash_text(job->tensor_hash, to->hashes[e]);
		}
		return;
	}
	if (unit->from == 0)
		moe_hash_reset(job->tensor_hash);
	moe_hash_add(job->tensor_hash, t->data + unit->from, unit->to - unit->from);
	if (unit->to == t->n_bytes)
		moe_hash_text(job->tensor_hash, to->hashes[0]);
}

static enum moe_status write_bytes(struct job *job, int32_t rank, const uint8_t *bytes, size_t n)
{
	job->written[rank] += n;
	return moe_ckpt_out_write(job->outs[rank], bytes, n, &job->errs[rank]);
}

/* Is the unit of a tensor that an earlier run wrote? */
static bool is_kept(struct job *job, int32_t rank, const struct unit *unit)
{
	const struct moe_tensor *t = tensor_of(job, unit);
	bool stack = job->source->tensors[unit->tensor].layer >= 0;
	int64_t dims[MOE_MAX_DIMS];

	if (!job->opts->resume || !job->kept[rank] || !moe_layout_holds(job->layout, unit->tensor, rank, dims))
		return false;
	job->written[rank] += stack ? moe_layout_bytes(t, dims) : unit->to - unit->from;
	if (unit->to == t->n_bytes)
		job->kept[rank]--;
	return true;
}

static enum moe_status write_unit(struct job *job, int32_t rank, const struct unit *unit)
{
	const struct moe_layout_tensor *part = &job->layout->tensors[unit->tensor];
	const struct moe_tensor *t = tensor_of(job, unit);
	const struct moe_plan_entry *entries;
	enum moe_status status = MOE_OK;
	size_t slice;
	int32_t n;

	if (is_kept(job, rank, unit))
		return MOE_OK;
	if (part->layer < 0)
		return write_bytes(job, rank, t->data + unit->from, unit->to - unit->from);
	if (part->expert >= 0) {
		entries = moe_layout_copies(job->layout, part->layer, part->expert, &n);
		for (int32_t k = 0; k < n; k++)
			if (entries[k].rank == rank)
				return write_bytes(job, rank, t->data + unit->from, unit->to - unit->from);
		return MOE_OK;
	}
	slice = t->n_bytes / (size_t)job->layout->n_experts;
	entries = moe_layout_slots(job->layout, part->layer, rank, &n);
	for (int32_t k = 0; k < n && !status; k++)
		status = write_bytes(job, rank, t->data + (size_t)entries[k].expert * slice, slice);
	return status;
}

/* Piece 0 hashes the batch, piece r + 1 writes rank r's share. */
static void do_piece(void *arg, int64_t begin, int64_t end, int thread)
{
	struct job *job = arg;

	(void)thread;
	for (int64_t piece = begin; piece < end; piece++) {
		int32_t rank = (int32_t)piece - 1;

		for (size_t u = 0; u < job->n_units; u++) {
			if (piece == 0)
				hash_unit(job, &job->units[u]);
			else if (!job->errs[rank].status)
				job->errs[rank].status = write_unit(job, rank, &job->units[u]);
		}
	}
}

static enum moe_status run_batch(struct job *job, struct moe_err *err)
{
	int32_t n_ranks = job->layout->plan.n_ranks;
	uint64_t n_bytes = 0;

	memset(job->written, 0, (size_t)n_ranks * sizeof *job->written);
	moe_pool_for(job->opts->pool, (int64_t)n_ranks + 1, 1, do_piece, job);
	job->n_units = 0;
	for (int32_t r = 0; r < n_ranks; r++) {
		if (job->errs[r].status)
			return moe_err_set(err, job->errs[r].status, "%s", job->errs[r].text);
		n_bytes += job->written[r];
	}
	if (job->opts->progress)
		job->opts->progress(job->opts->progress_arg, n_bytes);
	return MOE_OK;
}

static enum moe_status add_unit(struct job *job, struct unit unit, struct moe_err *err)
{
	if (job->n_units == job->cap) {
		size_t cap = job->cap ? 2 * job->cap : 256;
		struct unit *units = realloc(job->units, cap * sizeof *units);

		if (!units)
			return moe_err_nomem(err, cap * sizeof *units, "a batch");
		job->units = units;
		job->cap = cap;
	}
	job->units[job->n_units++] = unit;
	return MOE_OK;
}

/* All tensors, cut into batches. A stack is one unit, because its parts go out in the order of slots. */
static enum moe_status stream(struct job *job, struct moe_err *err)
{
	const struct moe_ckpt *ckpt = job->layout->ckpt;
	enum moe_status status = MOE_OK;
	uint64_t n_batch = 0;

	for (size_t i = 0; i < ckpt->n_tensors && !status; i++) {
		bool stack = job->source->tensors[i].layer >= 0;
		uint64_t from = 0, n = ckpt->tensors[i].n_bytes;

		do {
			uint64_t to = stack || n - from <= BATCH_BYTES - n_batch ? n : from + (BATCH_BYTES - n_batch);

			status = add_unit(job, (struct unit){ i, from, to }, err);
			n_batch += to - from;
			from = to;
			if (!status && n_batch >= BATCH_BYTES) {
				status = run_batch(job, err);
				n_batch = 0;
			}
		} while (from < n && !status);
	}
	if (!status)
		status = run_batch(job, err);
	if (!status)
		finish_files(job, ckpt->n_files);
	return status;
}

/* The index and companions get their hashes. */
static void hash_others(struct job *job)
{
	for (size_t f = (size_t)job->layout->ckpt->n_files; f < job->source->n_files; f++) {
		struct moe_source_file *file = &job->source->files[f];

		if (file->kept)
			continue;
		moe_hash_reset(job->file_hash);
		moe_hash_add(job->file_hash, file->data, file->n_bytes);
		moe_hash_text(job->file_hash, file->hash);
	}
}

/* A file that is no part of the checkpoint, as it is; it gets its hash. */
static enum moe_status keep_file(struct job *job, struct moe_source_file *file, struct moe_err *err)
{
	const struct moe_ckpt *ckpt = job->layout->ckpt;
	char *from = moe_path_join(ckpt->path, file->name), *shard = moe_layout_path("", 0, ckpt->format->naming);
	char *to = shard ? moe_kept_path(moe_path_base(shard), file->name) : NULL;
	struct moe_map map = {0};
	struct moe_out *out;
	enum moe_status status;

	if (from && to)
		status = moe_kept_open(&map, from, file->n_bytes, job->opts->watch, err);
	else
		status = moe_err_nomem(err, strlen(file->name), "a path");
	if (!status)
		status = moe_outdir_file(job->dir, to, &out, err);
	if (status)
		goto out;
	status = map.n_bytes ? moe_out_write(out, map.data, map.n_bytes, err) : MOE_OK;
	if (status)
		moe_out_abort(out);
	else
		status = moe_out_commit(out, err);
	moe_hash_reset(job->file_hash);
	moe_hash_add(job->file_hash, map.data, map.n_bytes);
	moe_hash_text(job->file_hash, file->hash);
	if (!status && job->opts->progress)
		job->opts->progress(job->opts->progress_arg, map.n_bytes);
out:
	moe_map_close(&map);
	free(to);
	free(shard);
	free(from);
	return status;
}

static enum moe_status keep_files(struct job *job, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	for (size_t f = 0; f < job->source->n_files && !status; f++)
		if (job->source->files[f].kept)
			status = keep_file(job, &job->source->files[f], err);
	return status;
}

struct piece_sink {
	struct moe_out *out;
	const struct moe_source_file *file;
};

static enum moe_status put_between(void *arg, size_t i, uint64_t offset, uint64_t n_bytes, struct moe_err *err)
{
	struct piece_sink *sink = arg;

	return i == SIZE_MAX ? moe_out_write(sink->out, sink->file->data + offset, n_bytes, err) : MOE_OK;
}

/* moe-source.json and .bin inside the directory, with rank 0's shard. */
static enum moe_status write_record(struct job *job, struct moe_err *err)
{
	char *json = NULL, *bin = NULL, *shard = moe_layout_path("", 0, job->layout->ckpt->format->naming);
	struct moe_buf text = {0};
	struct piece_sink sink = {0};
	enum moe_status status;

	if (shard) {
		json = moe_source_path(moe_path_base(shard), job->source->gguf, ".json");
		bin = moe_source_path(moe_path_base(shard), job->source->gguf, ".bin");
	}
	status = json && bin ? MOE_OK : moe_err_nomem(err, 64, "a path");
	if (!status) {
		moe_source_print(job->source, &text);
		status = moe_buf_check(&text, err);
	}
	if (!status)
		status = moe_outdir_file(job->dir, json, &sink.out, err);
	if (status)
		goto out;
	status = moe_out_write(sink.out, text.p, text.n, err);
	if (status) {
		moe_out_abort(sink.out);
		goto out;
	}
	status = moe_out_commit(sink.out, err);
	if (!status)
		status = moe_outdir_file(job->dir, bin, &sink.out, err);
	if (status)
		goto out;
	for (size_t f = 0; f < job->source->n_files && !status; f++) {
		sink.file = &job->source->files[f];
		status = moe_source_pieces(job->source, sink.file, put_between, &sink, err);
	}
	if (status)
		moe_out_abort(sink.out);
	else
		status = moe_out_commit(sink.out, err);
out:
	moe_buf_free(&text);
	free(bin);
	free(json);
	free(shard);
	return status;
}

static enum moe_status open_rank(struct job *job, int32_t rank, struct moe_err *err)
{
	char *path = moe_layout_path(moe_outdir_temp(job->dir), rank, job->layout->ckpt->format->naming);
	json_t *metadata = moe_layout_metadata(job->layout, rank);
	enum moe_status status;

	if (!path || !metadata) {
		status = moe_err_nomem(err, 0, "metadata");
		goto out;
	}
	/* what is inside a directory that is gone on with is replaced without asking */
	status = moe_layout_declare(job->layout, rank, path, metadata,
	                            job->opts->flags | (job->opts->resume ? MOE_OUT_FORCE : 0),
	                            job->opts->resume ? job->work : NULL, job->opts->watch, &job->outs[rank], err);
	if (!status)
		status = moe_ckpt_out_begin(job->outs[rank], err);
	if (!status)
		job->kept[rank] = moe_ckpt_out_kept(job->outs[rank]);
out:
	json_decref(metadata);
	free(path);
	return status;
}

static enum moe_status commit_ranks(struct job *job, struct moe_err *err)
{
	for (int32_t r = 0; r < job->layout->plan.n_ranks; r++) {
		struct moe_ckpt_out *out = job->outs[r];
		enum moe_status status;

		job->outs[r] = NULL;
		status = moe_ckpt_out_commit(out, err);
		if (status)
			return status;
	}
	return MOE_OK;
}

static enum moe_status check_files(const struct moe_shard_opts *opts, struct moe_err *err)
{
	/* an output each, and its journal */
	const int64_t n = (int64_t)opts->plan->n_ranks * (opts->resume ? 2 : 1) + SPARE_FILES;
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < (rlim_t)n)
		return moe_err_set(err, MOE_EIO,
		                   "%d shards are written at once, but only %llu files may be open: raise the "
		                   "limit with 'ulimit -n %lld'",
		                   opts->plan->n_ranks, (unsigned long long)limit.rlim_cur, (long long)n);
	return MOE_OK;
}

/* Bytes of the first n tensors that a rank holds. */
static uint64_t bytes_kept(const struct moe_layout *layout, int32_t rank, size_t n)
{
	uint64_t sum = 0;
	int64_t dims[MOE_MAX_DIMS];

	for (size_t i = 0; i < layout->ckpt->n_tensors && n; i++) {
		if (!moe_layout_holds(layout, i, rank, dims))
			continue;
		sum += moe_layout_bytes(&layout->ckpt->tensors[i], dims);
		n--;
	}
	return sum;
}

/* Is there room for what is still to be written? */
static enum moe_status check_room(const struct job *job, struct moe_err *err)
{
	int32_t n_ranks = job->layout->plan.n_ranks;
	uint64_t *bytes = calloc((size_t)n_ranks, sizeof *bytes), total = 0;
	enum moe_status status;

	if (!bytes)
		return moe_err_nomem(err, (size_t)n_ranks * sizeof *bytes, "sizes of shards");
	status = moe_predict(job->layout, job->source, bytes, err);
	for (int32_t r = 0; r < n_ranks && !status; r++)
		total += bytes[r] - bytes_kept(job->layout, r, job->kept[r]);
	if (!status)
		status = moe_outdir_room(job->dir, total, err);
	free(bytes);
	return status;
}

/* In a sentence, files are called what they would have been called. */
static void name_final(struct moe_err *err, const char *temp, const char *final)
{
	char *at = err ? strstr(err->text, temp) : NULL, rest[sizeof err->text];

	if (!at)
		return;
	snprintf(rest, sizeof rest, "%s", at + strlen(temp));
	snprintf(at, sizeof err->text - (size_t)(at - err->text), "%s%s", final, rest);
}

/* The directory and the files of all ranks, open, and room for them. */
static enum moe_status open_all(struct job *job, struct moe_err *err)
{
	const struct moe_shard_opts *opts = job->opts;
	unsigned flags = opts->flags | (opts->resume ? MOE_OUT_RESUME : 0);
	enum moe_status status = MOE_OK;

	if (opts->resume) {
		status = moe_begun_work(job->layout, job->work, err);
		if (!status)
			status = moe_begun_open(&job->begun, opts->out, job->work, opts->flags, err);
	}
	if (!status)
		status = moe_outdir_open(&job->dir, opts->out, flags, opts->watch, err);
	if (!status && !opts->resume)
		status = check_room(job, err);
	for (int32_t r = 0; r < job->layout->plan.n_ranks && !status; r++) {
		status = open_rank(job, r, err);
		if (opts->done)
			opts->done->n_kept += (int64_t)job->kept[r];
	}
	return !status && opts->resume ? check_room(job, err) : status;
}

/* The journals of the ranks have done their work. */
static enum moe_status remove_journals(const struct job *job, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	for (int32_t r = 0; r < job->layout->plan.n_ranks && job->opts->resume && !status; r++) {
		char *path = moe_layout_path(moe_outdir_temp(job->dir), r, job->layout->ckpt->format->naming),
		     *journal = path ? moe_partial_path(path, "journal") : NULL;

		if (!journal)
			status = moe_err_nomem(err, 64, "a path");
		else if (unlink(journal) != 0 && errno != ENOENT)
			status = moe_err_sys(err, "%s: cannot remove", journal);
		free(journal);
		free(path);
	}
	return status;
}

static enum moe_status write_all(struct job *job, struct moe_err *err)
{
	enum moe_status status = open_all(job, err);

	if (!status)
		status = stream(job, err);
	if (!status)
		status = commit_ranks(job, err);
	if (!status) {
		hash_others(job);
		status = keep_files(job, err);
	}
	if (!status)
		status = write_record(job, err);
	if (!status)
		status = remove_journals(job, err);
	for (int32_t r = 0; r < job->layout->plan.n_ranks; r++)
		moe_ckpt_out_abort(job->outs[r]);
	if (!status) {
		status = moe_outdir_commit(job->dir, err);
		if (!status && job->opts->resume)
			moe_begun_finish(&job->begun);
		return status;
	}
	if (job->dir)
		name_final(err, moe_outdir_temp(job->dir), job->opts->out);
	moe_outdir_abort(job->dir);
	return status;
}

/* Are finished shards of this plan and model there? What an interrupted run left beside them goes. */
static bool is_done(const struct moe_model *model, const struct moe_shard_opts *opts)
{
	struct moe_shard_opts look = *opts;
	struct moe_begun begun = {0};

	look.watch = NULL;   /* it may yet become an output */
	if (!opts->resume || !moe_is_dir(opts->out) || moe_shard_verify(model, &look, NULL))
		return false;
	if (opts->done)
		opts->done->complete = true;
	if (!moe_begun_open(&begun, opts->out, "", MOE_OUT_FORCE, NULL))
		moe_begun_finish(&begun);
	moe_begun_free(&begun);
	return true;
}

enum moe_status moe_shard_write(const struct moe_model *model, const struct moe_shard_opts *opts, struct moe_err *err)
{
	struct moe_layout layout;
	struct moe_source source = {0};
	struct job job = { .opts = opts, .layout = &layout, .source = &source, .begun.fd = -1 };
	enum moe_status status = check_files(opts, err);
	size_t n;

	if (status || is_done(model, opts))
		return status;
	if (opts->resume && !(opts->flags & MOE_OUT_FORCE) && moe_is_dir(opts->out))
		return moe_err_set(err, MOE_EUSAGE, "'%s' exists and is not what this run would write: use --force to "
		                   "replace it", opts->out);
	status = moe_layout_make(&layout, model->ckpt, &model->config, opts->plan, err);
	if (status)
		return status;
	n = (size_t)layout.plan.n_ranks;
	job.outs = calloc(n, sizeof(struct moe_ckpt_out *));
	job.written = calloc(n, sizeof *job.written);
	job.errs = calloc(n, sizeof *job.errs);
	job.kept = calloc(n, sizeof *job.kept);
	job.file_hash = moe_hash_new();
	job.tensor_hash = moe_hash_new();
	if (job.outs && job.written && job.errs && job.kept && job.file_hash && job.tensor_hash) {
		status = moe_source_of(&source, &layout, err);
		if (!status)
			status = write_all(&job, err);
	} else {
		status = moe_err_nomem(err, n * sizeof *job.errs, "shards");
	}
	moe_hash_free(job.tensor_hash);
	moe_hash_free(job.file_hash);
	moe_begun_free(&job.begun);
	free(job.units);
	free(job.kept);
	free(job.errs);
	free(job.written);
	free(job.outs);
	moe_source_free(&source);
	moe_layout_free(&layout);
	return status;
}
