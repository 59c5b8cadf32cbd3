/* What lies in a Hugging Face directory beside its tensors: a listing of the files that matter, and companions. */
#include "checkpoint/hf_dir.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

void moe_listing_free(struct moe_listing *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->names[i]);
	free(list->names);
	free(list->odd);
}

/* A file of a checkpoint must be a regular file once it is there: an incomplete download leaves links to nothing. A
 * directory of licences is none of these files. */
static enum moe_status listing_add_odd(struct moe_listing *list, const char *path, const char *name,
                                       struct moe_err *err)
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

enum moe_status moe_listing_refuse(const struct moe_listing *list, const char *dir, struct moe_err *err)
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

static enum moe_status listing_add(struct moe_listing *list, const char *dir, const char *name, struct moe_err *err)
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

enum moe_status moe_listing_make(struct moe_listing *list, const char *dir, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	struct dirent *entry;
	DIR *handle = opendir(dir);

	if (!handle)
		return moe_err_sys(err, "%s: cannot list the directory", dir);
	errno = 0;
	while (!status && (entry = readdir(handle))) {
		const char *name = entry->d_name;

		if (ends_with(name, ".safetensors") || !strcmp(name, MOE_INDEX_NAME) || is_companion(name))
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
		list->has_index |= !strcmp(list->names[i], MOE_INDEX_NAME);
	}
	return status;
}

enum moe_status moe_listing_companions(struct moe_ckpt *ckpt, const char *dir, const struct moe_listing *list,
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

