/* Files beside a checkpoint: which there are, what they are called, and which are too large. */
#include "placement/kept.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "placement/shard.h"
#include "placement/source.h"

#define MAX_NAMED_BYTES ((size_t)1000)   /* of names in one sentence; what comes behind is counted */

/* Do the shards have it in another way? */
static bool is_of_checkpoint(const struct moe_ckpt *ckpt, const char *name)
{
	for (int32_t f = 0; f < ckpt->n_files; f++)
		if (!strcmp(moe_path_base(ckpt->files[f].path), name))
			return true;
	return !strcmp(name, MOE_SOURCE_INDEX) || moe_ckpt_companion(ckpt, name);
}

static enum moe_status add(struct moe_kept *kept, const struct moe_ckpt *ckpt, const char *name, struct moe_err *err)
{
	char *path = moe_path_join(ckpt->path, name), *copy = strdup(name);
	struct moe_kept_file *grown;
	struct stat st;
	bool regular = path && !stat(path, &st) && S_ISREG(st.st_mode);

	free(path);
	if (!path || !copy)
		goto nomem;
	if (!regular) {
		free(copy);
		return MOE_OK;
	}
	grown = reallocarray(kept->files, kept->n + 1, sizeof *grown);
	if (!grown)
		goto nomem;
	kept->files = grown;
	kept->files[kept->n++] = (struct moe_kept_file){ copy, (uint64_t)st.st_size };
	return MOE_OK;
nomem:
	free(copy);
	return moe_err_nomem(err, (kept->n + 1) * sizeof *grown, "the files beside a checkpoint");
}

static int compare_files(const void *a, const void *b)
{
	return strcmp(((const struct moe_kept_file *)a)->name, ((const struct moe_kept_file *)b)->name);
}

enum moe_status moe_kept_list(struct moe_kept *kept, const struct moe_ckpt *ckpt, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	struct dirent *entry;
	DIR *handle;

	*kept = (struct moe_kept){0};
	if (ckpt->format->naming != MOE_NAMING_HF || !moe_is_dir(ckpt->path))
		return MOE_OK;
	handle = opendir(ckpt->path);
	if (!handle)
		return moe_err_sys(err, "%s: cannot list the directory", ckpt->path);
	errno = 0;
	while (!status && (entry = readdir(handle))) {
		if (entry->d_name[0] != '.' && !is_of_checkpoint(ckpt, entry->d_name))
			status = add(kept, ckpt, entry->d_name, err);
		errno = 0;
	}
	if (!status && errno)
		status = moe_err_sys(err, "%s: cannot list the directory", ckpt->path);
	closedir(handle);
	if (kept->n > 1)
		qsort(kept->files, kept->n, sizeof *kept->files, compare_files);
	if (status)
		moe_kept_free(kept);
	return status;
}

void moe_kept_free(struct moe_kept *kept)
{
	for (size_t i = 0; i < kept->n; i++)
		free(kept->files[i].name);
	free(kept->files);
	*kept = (struct moe_kept){0};
}

char *moe_kept_path(const char *shard, const char *name)
{
	char *dir = moe_source_path(shard, false, ".files"), *path = dir ? moe_path_join(dir, name) : NULL;

	free(dir);
	return path;
}

enum moe_status moe_kept_open(struct moe_map *map, const char *path, uint64_t n_bytes, struct moe_watch *watch,
                              struct moe_err *err)
{
	enum moe_status status = moe_map_open(map, path, watch, err);

	if (status || map->n_bytes == n_bytes)
		return status;
	status = moe_err_set(err, MOE_EFORMAT, "%s: has %zu bytes, expected %llu", path, map->n_bytes,
	                     (unsigned long long)n_bytes);
	moe_map_close(map);
	return status;
}

static bool is_ascii(const char *name)
{
	for (; *name; name++)
		if ((unsigned char)*name >= 0x80)
			return false;
	return true;
}

void moe_kept_print_name(struct moe_buf *out, const char *name)
{
	if (is_ascii(name)) {
		moe_buf_adds(out, "\"name\":");
		moe_json_quote(out, name, strlen(name));
		return;
	}
	moe_buf_adds(out, "\"hex\":\"");
	for (; *name; name++)
		moe_buf_addf(out, "%02x", (unsigned char)*name);
	moe_buf_addc(out, '"');
}

char *moe_kept_name_of_hex(const char *hex)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = strlen(hex);
	char *name;

	if (n % 2 || strspn(hex, digits) != n)
		return NULL;
	name = calloc(n / 2 + 1, 1);
	for (size_t i = 0; name && i < n / 2; i++) {
		ptrdiff_t high = strchr(digits, hex[2 * i]) - digits, low = strchr(digits, hex[2 * i + 1]) - digits;

		name[i] = (char)(high << 4 | low);
		if (!name[i]) {
			free(name);
			return NULL;
		}
	}
	return name;
}

enum moe_status moe_shard_left_out(const struct moe_model *model, struct moe_buf *names, struct moe_err *err)
{
	struct moe_kept kept;
	enum moe_status status = moe_kept_list(&kept, model->ckpt, err);
	size_t n_more = 0;

	if (status)
		return status;
	for (size_t i = 0; i < kept.n; i++) {
		if (kept.files[i].n_bytes <= MOE_KEPT_MAX_BYTES)
			continue;
		if (names->n > MAX_NAMED_BYTES) {
			n_more++;
			continue;
		}
		moe_buf_adds(names, names->n ? ", " : "");
		/* What could steer a terminal is shown as '?'. */
		for (const char *p = kept.files[i].name; *p; p++)
			moe_buf_addc(names, (unsigned char)*p < ' ' || *p == 0x7f ? '?' : *p);
	}
	if (n_more)
		moe_buf_addf(names, " and %zu more", n_more);
	moe_kept_free(&kept);
	return moe_buf_check(names, err);
}
