/* Shards of one plan made into those of another, from the shards alone.
 *
 * Files of ranks whose experts change are written anew beside the shards, in DIR.partial/staged, while the shards stay
 * as they are; a kill there costs what was not yet written. When all are there, the folder is renamed to
 * DIR.partial/ready. From then on there is no way back: every file takes the place of the old one by a rename, and the
 * files of the other ranks, in which only the plan's hash differs, get its 32 bytes. A run that finds `ready` goes on
 * with that, as often as needed. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "placement/begun.h"
#include "placement/layout.h"
#include "placement/patch.h"
#include "placement/shard.h"
#include "placement/shards.h"
#include "placement/source.h"

struct rebalance {
	const char *dir;
	const struct moe_shard_opts *opts;
	struct moe_begun begun;
	char work[33];
	char *staged, *ready;            /* paths */
	struct moe_shards shards;
	struct moe_source source;
	struct moe_ckpt *told;           /* the source, as record and shards tell of it */
	struct moe_config config;
	struct moe_layout old, new;
	bool *changes;                   /* [n_ranks] is its file another one? */
	struct moe_err *errs;            /* [n_ranks] */
	pthread_mutex_t opening;         /* metadata are shared, and large as JSON */
	int64_t n_kept;
};

static enum moe_status sync_path(const char *path, struct moe_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	enum moe_status status = MOE_OK;

	if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP))
		status = moe_err_sys(err, "%s: cannot write", path);
	if (fd >= 0)
		close(fd);
	return status;
}

/* The hash of the two plans: what the work is. */
static enum moe_status name_work(struct rebalance *r, const struct moe_plan *old, const struct moe_plan *new,
                                 char new_hash[33], struct moe_err *err)
{
	struct moe_hash *hash = moe_hash_new();
	char old_hash[33];
	enum moe_status status = hash ? moe_plan_hash(old, old_hash, err) : moe_err_nomem(err, 64, "a hash");

	if (!status)
		status = moe_plan_hash(new, new_hash, err);
	if (!status) {
		moe_hash_add(hash, "rebalance", sizeof "rebalance");
		moe_hash_add(hash, old_hash, sizeof old_hash);
		moe_hash_add(hash, new_hash, 33);
		moe_hash_add(hash, MOE_VERSION, sizeof MOE_VERSION);
		moe_hash_text(hash, r->work);
	}
	moe_hash_free(hash);
	return status;
}

/* Does the rank hold other experts, or in other slots where that shows? */
static bool rank_changes(const struct rebalance *r, int32_t rank)
{
	const bool slots_show = r->new.stacks || r->shards.gguf;
	const struct moe_plan *plan = &r->new.plan;

	for (int64_t i = 0; i < plan->n_entries; i++) {
		const struct moe_plan_entry *old, *new;
		int32_t layer = plan->entries[i].layer, n_old, n_new;

		if (i && plan->entries[i - 1].layer == layer)
			continue;
		old = moe_layout_slots(&r->old, layer, rank, &n_old);
		new = moe_layout_slots(&r->new, layer, rank, &n_new);
		if (n_old != n_new)
			return true;
		for (int32_t k = 0; k < n_new; k++) {
			int32_t j = 0;

			while (j < n_old && old[j].expert != new[k].expert)
				j++;
			if (j == n_old || (slots_show && j != k))
				return true;
		}
	}
	return false;
}

static enum moe_status check_shards(const struct rebalance *r, const char *new_hash, struct moe_err *err)
{
	const struct moe_shards *s = &r->shards;

	if (!strcmp(s->plan_hash, new_hash))
		return MOE_OK;
	if (strcmp(s->plan_hash, r->old.plan_hash) || s->n_ranks != r->old.plan.n_ranks)
		return moe_err_set(err, MOE_EFORMAT, "%s: the shards are of plan %s, %d ranks; the old plan is %s, "
		                   "%d ranks", r->dir, s->plan_hash, s->n_ranks, r->old.plan_hash,
		                   r->old.plan.n_ranks);
	return MOE_OK;
}

/* Is the file called as it was written? One that stays must take another plan's hash. */
static enum moe_status check_file(const struct rebalance *r, int32_t rank, struct moe_err *err)
{
	const struct moe_ckpt *ckpt = r->shards.ckpts[rank];
	char *shard = moe_layout_path(r->dir, rank, ckpt->format->naming);
	char *file = !shard || r->shards.gguf ? shard : moe_path_join(shard, "model.safetensors");
	enum moe_status status = MOE_OK;

	if (!file)
		status = moe_err_nomem(err, strlen(r->dir), "a path");
	else if (ckpt->n_files != 1 || strcmp(ckpt->path, shard) || strcmp(ckpt->files[0].path, file))
		status = moe_err_set(err, MOE_EFORMAT, "%s: expected rank %d in %s alone, as it was written",
		                     ckpt->path, rank, file);
	else if (!r->changes[rank])
		status = moe_patch_plan_hash(file, r->shards.gguf, NULL, err);
	if (file != shard)
		free(file);
	free(shard);
	return status;
}

/* ---- staging ---- */

/* The bytes of tensor i, or of one expert of a stack, where some rank has them, this one first. */
static enum moe_status find_bytes(const struct rebalance *r, size_t i, int32_t expert, int32_t rank,
                                  const uint8_t **bytes, bool *own, struct moe_err *err)
{
	const struct moe_tensor *t = &r->told->tensors[i];
	const struct moe_layout_tensor *part = &r->new.tensors[i];
	const struct moe_plan_entry *copies;
	int32_t n, from = rank, slot = 0;
	const struct moe_tensor *found;
	const bool stack = part->layer >= 0 && part->expert < 0;
	size_t slice = t->n_bytes;

	if (part->layer >= 0) {
		copies = moe_layout_copies(&r->old, part->layer, expert, &n);
		from = copies[0].rank;
		slot = copies[0].slot;
		for (int32_t k = 1; k < n; k++)
			if (copies[k].rank == rank) {
				from = rank;
				slot = copies[k].slot;
			}
	}
	if (stack)
		slice /= (size_t)r->new.n_experts;
	else
		slot = 0;
	*own = from == rank;
	found = moe_ckpt_find(r->shards.ckpts[from], t->name);
	if (!found || found->codec != t->codec || (!stack && found->n_bytes != slice) ||
	    (stack && slice && found->n_bytes / slice < (size_t)slot + 1))
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor '%s' is missing or too short, which rank %d should "
		                   "hold", r->shards.ckpts[from]->path, t->name, from);
	*bytes = found->data + (size_t)slot * slice;
	return MOE_OK;
}

/* Writes tensor i, or an expert of it; what comes from another rank must be what the source held. */
static enum moe_status put_bytes(struct rebalance *r, struct moe_ckpt_out *out, struct moe_hash *hash, size_t i,
                                 int32_t expert, int32_t rank, struct moe_err *err)
{
	const struct moe_source_tensor *t = &r->source.tensors[i];
	size_t n = t->n_bytes / (size_t)t->n_hashes;
	const uint8_t *bytes = NULL;
	char digits[33];
	bool own;
	enum moe_status status = find_bytes(r, i, expert, rank, &bytes, &own, err);

	if (status || n == 0)
		return status;
	if (!own) {
		moe_hash_reset(hash);
		moe_hash_add(hash, bytes, n);
		moe_hash_text(hash, digits);
		if (strcmp(digits, t->hashes[t->layer < 0 ? 0 : expert]))
			return moe_err_set(err, MOE_EFORMAT, "%s: expert %d of tensor '%s' is not what the source "
			                   "held", r->dir, expert, t->name);
	}
	status = moe_ckpt_out_write(out, bytes, n, err);
	if (!status && r->opts->progress)
		r->opts->progress(r->opts->progress_arg, n);
	return status;
}

static enum moe_status write_tensors(struct rebalance *r, struct moe_ckpt_out *out, struct moe_hash *hash,
                                     int32_t rank, struct moe_err *err)
{
	size_t n_kept = moe_ckpt_out_kept(out);
	enum moe_status status = MOE_OK;
	int64_t dims[MOE_MAX_DIMS];

	for (size_t i = 0; i < r->told->n_tensors && !status; i++) {
		const struct moe_layout_tensor *part = &r->new.tensors[i];
		const struct moe_plan_entry *slots;
		int32_t n;

		if (!moe_layout_holds(&r->new, i, rank, dims))
			continue;
		if (n_kept) {
			n_kept--;
			continue;
		}
		if (part->layer < 0 || part->expert >= 0) {
			status = put_bytes(r, out, hash, i, part->expert, rank, err);
			continue;
		}
		slots = moe_layout_slots(&r->new, part->layer, rank, &n);
		for (int32_t k = 0; k < n && !status; k++)
			status = put_bytes(r, out, hash, i, slots[k].expert, rank, err);
	}
	return status;
}

static enum moe_status open_rank(struct rebalance *r, int32_t rank, struct moe_ckpt_out **out, struct moe_err *err)
{
	char *path = moe_layout_path(r->staged, rank, r->told->format->naming);
	json_t *metadata = moe_layout_metadata(&r->new, rank);
	enum moe_status status = path && metadata ? MOE_OK : moe_err_nomem(err, 64, "metadata");

	if (!status)
		status = moe_layout_declare(&r->new, rank, path, metadata, MOE_OUT_FORCE, r->work, NULL, out, err);
	if (!status)
		status = moe_ckpt_out_begin(*out, err);
	json_decref(metadata);
	free(path);
	return status;
}

static void do_rank(void *arg, int64_t begin, int64_t end, int thread)
{
	struct rebalance *r = arg;

	(void)thread;
	for (int64_t i = begin; i < end; i++) {
		struct moe_err *err = &r->errs[i];
		struct moe_hash *hash = NULL;
		struct moe_ckpt_out *out = NULL;

		if (!r->changes[i])
			continue;
		pthread_mutex_lock(&r->opening);
		err->status = open_rank(r, (int32_t)i, &out, err);
		if (!err->status)
			r->n_kept += (int64_t)moe_ckpt_out_kept(out);
		pthread_mutex_unlock(&r->opening);
		if (!err->status && !(hash = moe_hash_new()))
			err->status = moe_err_nomem(err, 64, "a hash");
		if (!err->status)
			err->status = write_tensors(r, out, hash, (int32_t)i, err);
		if (!err->status) {
			err->status = moe_ckpt_out_commit(out, err);
			out = NULL;
		}
		moe_ckpt_out_abort(out);
		moe_hash_free(hash);
	}
}

/* The record names the new plan; all else in it stays. */
static enum moe_status stage_record(struct rebalance *r, const char *path, struct moe_err *err)
{
	struct moe_buf text = {0};
	enum moe_status status;

	memcpy(r->source.plan_hash, r->new.plan_hash, sizeof r->source.plan_hash);
	moe_source_print(&r->source, &text);
	status = moe_buf_check(&text, err);
	if (!status)
		status = moe_out_text(&text, path, MOE_OUT_FORCE, NULL, err);
	moe_buf_free(&text);
	return status;
}

static enum moe_status stage_end(struct rebalance *r, struct moe_err *err)
{
	char *shard = moe_layout_path(r->staged, 0, r->told->format->naming),
	     *json = shard ? moe_source_path(shard, r->shards.gguf, ".json") : NULL;
	enum moe_status status = MOE_OK;

	if (!json)
		status = moe_err_nomem(err, 64, "a path");
	else if (!r->shards.gguf && mkdir(shard, 0777) != 0 && errno != EEXIST)
		status = moe_err_sys(err, "cannot create '%s'", shard);
	else
		status = stage_record(r, json, err);
	for (int32_t rank = 0; rank < r->shards.n_ranks && !status; rank++) {
		char *path = moe_layout_path(r->staged, rank, r->told->format->naming),
		     *journal = path ? moe_partial_path(path, "journal") : NULL;

		if (!journal)
			status = moe_err_nomem(err, 64, "a path");
		else if (unlink(journal) != 0 && errno != ENOENT)
			status = moe_err_sys(err, "%s: cannot remove", journal);
		free(journal);
		free(path);
	}
	if (!status)
		status = sync_path(r->staged, err);
	if (!status && rename(r->staged, r->ready) != 0)
		status = moe_err_sys(err, "cannot create '%s'", r->ready);
	free(json);
	free(shard);
	return status ? status : sync_path(r->begun.partial, err);
}

/* Room for the files that are written anew, whatever is there of them already. */
static enum moe_status check_room(const struct rebalance *r, struct moe_shard_patched *patched, struct moe_err *err)
{
	int64_t dims[MOE_MAX_DIMS];
	uint64_t total = 0;

	for (int32_t rank = 0; rank < r->shards.n_ranks; rank++) {
		if (!r->changes[rank])
			continue;
		patched->n_rewritten++;
		for (size_t i = 0; i < r->told->n_tensors; i++)
			if (moe_layout_holds(&r->new, i, rank, dims))
				total += moe_layout_bytes(&r->told->tensors[i], dims);
	}
	patched->n_bytes = total;
	return r->opts->flags & MOE_OUT_FORCE ? MOE_OK : moe_free_space(r->dir, total, err);
}

static enum moe_status stage(struct rebalance *r, struct moe_shard_patched *patched, struct moe_err *err)
{
	int32_t n_ranks = r->shards.n_ranks;
	enum moe_status status = MOE_OK;

	r->changes = calloc((size_t)n_ranks, sizeof *r->changes);
	r->errs = calloc((size_t)n_ranks, sizeof *r->errs);
	if (!r->changes || !r->errs)
		return moe_err_nomem(err, (size_t)n_ranks * sizeof *r->errs, "errors");
	for (int32_t rank = 0; rank < n_ranks && !status; rank++) {
		r->changes[rank] = rank_changes(r, rank);
		status = check_file(r, rank, err);
	}
	if (!status)
		status = check_room(r, patched, err);
	if (status || r->opts->dry_run)
		return status;
	if (mkdir(r->begun.partial, 0777) != 0 && errno != EEXIST)
		return moe_err_sys(err, "cannot create '%s'", r->begun.partial);
	if (mkdir(r->staged, 0777) != 0 && errno != EEXIST)
		return moe_err_sys(err, "cannot create '%s'", r->staged);
	moe_pool_for(r->opts->pool, n_ranks, 1, do_rank, r);
	for (int32_t rank = 0; rank < n_ranks; rank++)
		if (r->errs[rank].status)
			return moe_err_set(err, r->errs[rank].status, "%s", r->errs[rank].text);
	if (r->opts->done)
		r->opts->done->n_kept = r->n_kept;
	return stage_end(r, err);
}

/* ---- from here on forward only ---- */

/* rename(2) of what is staged; what an earlier run has renamed is not there any more. */
static enum moe_status put_in_place(const char *from, const char *to, struct moe_err *err)
{
	if (rename(from, to) == 0 || errno == ENOENT)
		return MOE_OK;
	return moe_err_sys(err, "%s: cannot replace", to);
}

static enum moe_status roll_rank(const struct rebalance *r, int32_t rank, bool gguf, const char *hash,
                                 struct moe_err *err)
{
	enum moe_naming naming = gguf ? MOE_NAMING_GGUF : MOE_NAMING_HF;
	char *to = moe_layout_path(r->dir, rank, naming), *from = moe_layout_path(r->ready, rank, naming);
	char *file = gguf || !to ? to : moe_path_join(to, "model.safetensors");
	char *new = gguf || !from ? from : moe_path_join(from, "model.safetensors");
	enum moe_status status = file && new ? put_in_place(new, file, err) : moe_err_nomem(err, 64, "a path");

	if (!status)
		status = moe_patch_plan_hash(file, gguf, hash, err);
	if (!status)
		status = sync_path(gguf ? r->dir : to, err);
	if (!gguf) {
		free(file);
		free(new);
	}
	free(to);
	free(from);
	return status;
}

static enum moe_status roll_forward(const struct rebalance *r, int32_t n_ranks, const char *hash, struct moe_err *err)
{
	char *first = moe_layout_path(r->dir, 0, MOE_NAMING_GGUF);
	const bool gguf = first && moe_is_file(first);
	enum moe_naming naming = gguf ? MOE_NAMING_GGUF : MOE_NAMING_HF;
	char *to = moe_layout_path(r->dir, 0, naming), *from = moe_layout_path(r->ready, 0, naming);
	char *record = to ? moe_source_path(to, gguf, ".json") : NULL,
	     *new = from ? moe_source_path(from, gguf, ".json") : NULL;
	enum moe_status status = first && record && new ? MOE_OK : moe_err_nomem(err, 64, "a path");

	for (int32_t rank = 0; rank < n_ranks && !status; rank++)
		status = roll_rank(r, rank, gguf, hash, err);
	if (!status)
		status = put_in_place(new, record, err);
	if (!status)
		status = sync_path(gguf ? r->dir : to, err);
	free(new);
	free(record);
	free(from);
	free(to);
	free(first);
	return status;
}

/* Does the record cut the tensors as the layout does? */
static enum moe_status check_record(const struct rebalance *r, struct moe_err *err)
{
	for (size_t i = 0; i < r->source.n_tensors; i++) {
		const struct moe_source_tensor *t = &r->source.tensors[i];
		const struct moe_layout_tensor *part = &r->new.tensors[i];
		const bool stack = part->layer >= 0 && part->expert < 0;

		if (t->layer != (stack ? part->layer : -1) || t->n_hashes != (stack ? r->new.n_experts : 1))
			return moe_err_set(err, MOE_EFORMAT, "%s: the record of the source has %d hashes for tensor "
			                   "'%s', expected %d", r->dir, t->n_hashes, t->name,
			                   stack ? r->new.n_experts : 1);
	}
	return MOE_OK;
}

/* What the shards tell: the source, its config, and both plans laid out over it. */
static enum moe_status look(struct rebalance *r, const struct moe_plan *old, const struct moe_plan *new,
                            struct moe_err *err)
{
	char *dir = (char *)(uintptr_t)r->dir;   /* only looked at */
	enum moe_status status = moe_shards_open(&r->shards, &dir, 1, r->opts->watch, err);

	if (!status)
		status = moe_patch_source(&r->shards, &r->source, &r->told, err);
	if (!status)
		status = moe_config_of(&r->config, r->told, err);
	if (!status)
		status = moe_layout_make(&r->old, r->told, &r->config, old, err);
	if (!status)
		status = moe_layout_make(&r->new, r->told, &r->config, new, err);
	if (!status && strcmp(r->new.model_hash, r->shards.model_hash))
		status = moe_err_set(err, MOE_EFORMAT, "%s: record and shards tell of a model %s, but are of %s",
		                     r->dir, r->new.model_hash, r->shards.model_hash);
	return status ? status : check_record(r, err);
}

static enum moe_status rebalance(struct rebalance *r, const struct moe_plan *old, const struct moe_plan *new,
                                 struct moe_shard_patched *patched, struct moe_err *err)
{
	char hash[33];
	enum moe_status status = name_work(r, old, new, hash, err);

	if (!status && !r->opts->dry_run)
		status = moe_begun_open(&r->begun, r->dir, r->work, 0, err);
	if (!status && !r->opts->dry_run) {
		r->staged = moe_path_join(r->begun.partial, "staged");
		r->ready = moe_path_join(r->begun.partial, "ready");
		if (!r->staged || !r->ready)
			status = moe_err_nomem(err, strlen(r->dir), "a path");
	}
	if (status)
		return status;
	if (r->ready && moe_is_dir(r->ready)) {
		patched->went_on = true;
	} else {
		status = look(r, old, new, err);
		if (!status)
			status = check_shards(r, hash, err);
		patched->complete = !status && !strcmp(r->shards.plan_hash, hash);
		if (!status && !patched->complete)
			status = stage(r, patched, err);
	}
	if (!status && !patched->complete && !r->opts->dry_run)
		status = roll_forward(r, new->n_ranks, hash, err);
	if (!status && !r->opts->dry_run)
		moe_begun_finish(&r->begun);
	else if (status && r->staged && !moe_is_dir(r->begun.partial))
		moe_begun_finish(&r->begun);   /* nothing was begun */
	return status;
}

enum moe_status moe_shard_rebalance(const char *dir, const struct moe_plan *old, const struct moe_plan *new,
                                    const struct moe_shard_opts *opts, struct moe_shard_patched *patched,
                                    struct moe_err *err)
{
	struct rebalance r = { .dir = dir, .opts = opts, .begun.fd = -1 };
	enum moe_status status;

	*patched = (struct moe_shard_patched){0};
	if (old->n_ranks != new->n_ranks)
		return moe_err_set(err, MOE_EUSAGE, "the old plan has %d ranks, the new one %d: such shards are cut "
		                   "anew, not patched", old->n_ranks, new->n_ranks);
	if (!moe_is_dir(dir))
		return moe_err_set(err, MOE_EIO, "%s: expected the folder of all shards", dir);
	if (pthread_mutex_init(&r.opening, NULL))
		return moe_err_set(err, MOE_EIO, "cannot make a lock");
	status = rebalance(&r, old, new, patched, err);
	pthread_mutex_destroy(&r.opening);
	moe_begun_free(&r.begun);
	moe_layout_free(&r.old);
	moe_layout_free(&r.new);
	moe_config_free(&r.config);
	moe_patch_source_free(r.told);
	moe_source_free(&r.source);
	moe_shards_close(&r.shards);
	free(r.staged);
	free(r.ready);
	free(r.changes);
	free(r.errs);
	return status;
}
