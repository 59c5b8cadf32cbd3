/* Finding and opening the shards that belong together. */
#include "placement/shards.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "plan/plan.h"

/* "rank-" digits, with or without ".gguf". */
static bool is_shard_name(const char *name)
{
	size_t n;

	if (strncmp(name, "rank-", 5))
		return false;
	n = strspn(name + 5, "0123456789");
	return n > 0 && (!name[5 + n] || !strcmp(name + 5 + n, ".gguf"));
}

struct list {
	char **paths;   /* [n] malloc'd */
	size_t n;
};

static enum moe_status list_add(struct list *list, char *path, struct moe_err *err)
{
	char **grown = path ? realloc(list->paths, (list->n + 1) * sizeof(char *)) : NULL;

	if (!grown) {
		free(path);
		return moe_err_nomem(err, (list->n + 1) * sizeof(char *), "a list of shards");
	}
	list->paths = grown;
	list->paths[list->n++] = path;
	return MOE_OK;
}

static enum moe_status list_folder(struct list *list, const char *dir, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	struct dirent *entry;
	DIR *handle = opendir(dir);

	if (!handle)
		return moe_err_sys(err, "%s: cannot list the directory", dir);
	while (!status && (entry = readdir(handle)))
		if (is_shard_name(entry->d_name))
			status = list_add(list, moe_path_join(dir, entry->d_name), err);
	closedir(handle);
	return status;
}

static int compare_paths(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static enum moe_status list_shards(struct list *list, char *const *dirs, int n_dirs, struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	if (n_dirs == 1 && moe_is_dir(dirs[0])) {
		status = list_folder(list, dirs[0], err);
		if (status || list->n) {
			if (list->n > 1)
				qsort(list->paths, list->n, sizeof(char *), compare_paths);
			return status;
		}
	}
	for (int i = 0; i < n_dirs && !status; i++)
		status = list_add(list, strdup(dirs[i]), err);
	return status;
}

/* The text or number of a metadata key, whatever the container; NULL and false where it is not there. */
static const json_t *value_of(const struct moe_ckpt *ckpt, const char *key)
{
	const json_t *value = json_object_get(ckpt->metadata, key);

	return json_is_object(value) ? json_object_get(value, "value") : value;
}

static const char *text_of(const struct moe_ckpt *ckpt, const char *key)
{
	return json_string_value(value_of(ckpt, key));
}

static bool number_of(const struct moe_ckpt *ckpt, const char *key, int64_t max, int64_t *out)
{
	const json_t *value = value_of(ckpt, key);

	if (json_is_string(value)) {
		if (!moe_parse_i64(moe_str_of(json_string_value(value)), out))
			return false;
	} else if (json_is_integer(value)) {
		*out = json_integer_value(value);
	} else {
		return false;
	}
	return *out >= 0 && *out <= max;
}

/* Takes an open shard to its place, or says why it does not belong. */
static enum moe_status place(struct moe_shards *shards, struct moe_ckpt *ckpt, struct moe_err *err)
{
	const char *plan_hash = text_of(ckpt, "moe.plan_hash"), *model_hash = text_of(ckpt, "moe.model_hash");
	bool gguf = ckpt->format->naming == MOE_NAMING_GGUF;
	int64_t rank, n_ranks;

	if (!plan_hash || !model_hash || !number_of(ckpt, "moe.ranks", MOE_PLAN_MAX_RANKS, &n_ranks) || n_ranks < 1 ||
	    !number_of(ckpt, "moe.rank", n_ranks - 1, &rank))
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: is not a shard: it lacks moe.rank, moe.ranks, moe.plan_hash or "
		                   "moe.model_hash",
		                   ckpt->path);
	if (!shards->ckpts) {
		shards->ckpts = calloc((size_t)n_ranks, sizeof(struct moe_ckpt *));
		if (!shards->ckpts)
			return moe_err_nomem(err, (size_t)n_ranks * sizeof(struct moe_ckpt *), "a list of shards");
		shards->n_ranks = (int32_t)n_ranks;
		shards->gguf = gguf;
		shards->plan_hash = plan_hash;
		shards->model_hash = model_hash;
	}
	if (gguf != shards->gguf)
		return moe_err_set(err, MOE_EFORMAT, "%s: is of another container than the other shards", ckpt->path);
	if (strcmp(plan_hash, shards->plan_hash) || n_ranks != shards->n_ranks)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: is a shard of plan %s, %d ranks; the others are of plan %s, %d ranks",
		                   ckpt->path, plan_hash, (int)n_ranks, shards->plan_hash, shards->n_ranks);
	if (strcmp(model_hash, shards->model_hash))
		return moe_err_set(err, MOE_EFORMAT, "%s: is a shard of model %s, the others are of model %s",
		                   ckpt->path, model_hash, shards->model_hash);
	if (shards->ckpts[rank])
		return moe_err_set(err, MOE_EFORMAT, "rank %d is there twice: %s and %s", (int)rank,
		                   shards->ckpts[rank]->path, ckpt->path);
	shards->ckpts[rank] = ckpt;
	return MOE_OK;
}

enum moe_status moe_shards_open(struct moe_shards *shards, char *const *dirs, int n_dirs, struct moe_watch *watch,
                                struct moe_err *err)
{
	struct list list = {0};
	enum moe_status status;

	memset(shards, 0, sizeof *shards);
	status = list_shards(&list, dirs, n_dirs, err);
	for (size_t i = 0; i < list.n && !status; i++) {
		struct moe_ckpt *ckpt;

		status = moe_ckpt_open(&ckpt, list.paths[i], watch, err);
		if (status)
			break;
		status = place(shards, ckpt, err);
		if (status) {
			moe_ckpt_close(ckpt);
			break;
		}
	}
	for (int32_t r = 0; r < shards->n_ranks && !status; r++)
		if (!shards->ckpts[r])
			status = moe_err_set(err, MOE_EFORMAT, "the shard of rank %d of %d is missing", r,
			                     shards->n_ranks);
	for (size_t i = 0; i < list.n; i++)
		free(list.paths[i]);
	free(list.paths);
	if (status)
		moe_shards_close(shards);
	return status;
}

void moe_shards_close(struct moe_shards *shards)
{
	for (int32_t r = 0; shards->ckpts && r < shards->n_ranks; r++)
		moe_ckpt_close(shards->ckpts[r]);
	free(shards->ckpts);
	memset(shards, 0, sizeof *shards);
}
