/* Directories that appear complete or not at all: filled under a hidden name, renamed or exchanged. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/out.h"
#include "base/watch.h"

#define RETIRED_ATTEMPTS 100

struct moe_outdir {
	char *path, *final, *temp;
	bool replace, kept;
	struct moe_watch *watch;
};

static void free_outdir(struct moe_outdir *dir)
{
	free(dir->path);
	free(dir->final);
	free(dir->temp);
	free(dir);
}

/* May a directory be put at dir->path? */
static enum moe_status check_place(const struct moe_outdir *dir, struct moe_err *err)
{
	const char *path = dir->path, *base = moe_path_base(path);
	enum moe_status status;
	struct stat st;

	if (strcmp(path, "-") == 0)
		return moe_err_set(err, MOE_EUSAGE, "'-' is stdout, and this output is a directory: name one");
	if (*base == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		return moe_err_set(err, MOE_EUSAGE, "'%s' cannot be an output: name a new directory", path);
	status = moe_guard_dir(path, dir->watch, err);
	if (status)
		return status;
	if (lstat(path, &st) == 0 && !dir->replace)
		return moe_refuse_existing(path, err);
	if (stat(path, &st) != 0)
		return MOE_OK;
	if (!S_ISDIR(st.st_mode))
		return moe_err_set(err, MOE_EUSAGE, "'%s' is not a directory, so it is not replaced by one", path);
	return moe_guard_replaced(path, path, err);
}

static enum moe_status new_outdir(struct moe_outdir **result, const char *path, unsigned flags,
                                  struct moe_watch *watch, struct moe_err *err)
{
	struct moe_outdir *dir = calloc(1, sizeof *dir);

	if (dir)
		dir->path = strdup(path);
	if (!dir || !dir->path) {
		free(dir);
		return moe_err_nomem(err, strlen(path) + 1, "an output");
	}
	for (size_t n = strlen(dir->path); n > 1 && dir->path[n - 1] == '/'; n--)
		dir->path[n - 1] = '\0';
	dir->replace = flags & MOE_OUT_FORCE;
	dir->kept = flags & MOE_OUT_RESUME;
	dir->watch = watch;
	*result = dir;
	return MOE_OK;
}

enum moe_status moe_outdir_check(const char *path, unsigned flags, struct moe_watch *watch, struct moe_err *err)
{
	struct moe_outdir *dir;
	enum moe_status status = new_outdir(&dir, path, flags, watch, err);

	if (status)
		return status;
	status = check_place(dir, err);
	free_outdir(dir);
	return status;
}

/* The directory that outlives this run; it may be there from an earlier one. */
static enum moe_status open_kept(struct moe_outdir *dir, struct moe_err *err)
{
	struct stat st;

	dir->temp = moe_partial_path(dir->path, "partial");
	if (!dir->temp)
		return moe_err_nomem(err, strlen(dir->path) + 1, "a path");
	if (mkdir(dir->temp, 0777) != 0 && errno != EEXIST)
		return moe_err_sys(err, "cannot create '%s'", dir->temp);
	if (lstat(dir->temp, &st) != 0 || !S_ISDIR(st.st_mode))
		return moe_err_set(err, MOE_EIO, "%s: expected a directory", dir->temp);
	return MOE_OK;
}

enum moe_status moe_outdir_open(struct moe_outdir **result, const char *path, unsigned flags, struct moe_watch *watch,
                                struct moe_err *err)
{
	struct moe_outdir *dir;
	enum moe_status status = new_outdir(&dir, path, flags, watch, err);
	int fd;

	if (status)
		return status;
	status = check_place(dir, err);
	if (!status) {
		dir->final = moe_path_resolve(dir->path);
		if (!dir->final)
			status = moe_err_nomem(err, strlen(path) + 1, "a path");
	}
	if (!status)
		status = dir->kept ? open_kept(dir, err)
		                   : moe_temp_create(dir->path, dir->final, MOE_TEMP_DIR, watch, &dir->temp, &fd, err);
	if (status) {
		free_outdir(dir);
		return status;
	}
	*result = dir;
	return MOE_OK;
}

enum moe_status moe_outdir_room(const struct moe_outdir *dir, uint64_t n_bytes, struct moe_err *err)
{
	return dir->replace ? MOE_OK : moe_free_space(dir->path, n_bytes, err);
}

/* A name inside: relative, every component there and none of them "..". */
static bool is_inner_name(const char *name)
{
	struct moe_str rest = moe_str_of(name), part;

	if (rest.n == 0 || name[0] == '/' || name[rest.n - 1] == '/')
		return false;
	while (moe_str_next(&rest, '/', &part))
		if (part.n == 0 || moe_str_eq(part, ".") || moe_str_eq(part, ".."))
			return false;
	return true;
}

/* Makes the directories that lead to path, below its first n_base bytes. */
static enum moe_status make_parents(char *path, size_t n_base, struct moe_err *err)
{
	for (char *slash = strchr(path + n_base + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		enum moe_status status = MOE_OK;

		*slash = '\0';
		if (mkdir(path, 0777) == 0)
			status = moe_sync_parent(path, err);
		else if (errno != EEXIST)
			status = moe_err_sys(err, "cannot create '%s'", path);
		*slash = '/';
		if (status)
			return status;
	}
	return MOE_OK;
}

enum moe_status moe_outdir_file_kept(struct moe_outdir *dir, const char *name, uint64_t n_kept,
                                     struct moe_out **result, struct moe_err *err)
{
	enum moe_status status;
	char *inner, *shown;

	if (!is_inner_name(name))
		return moe_err_set(err, MOE_EFORMAT, "%s: '%s' is not a name inside this directory", dir->path, name);
	inner = moe_path_join(dir->temp, name);
	shown = moe_path_join(dir->path, name);
	if (!inner || !shown) {
		status = moe_err_nomem(err, strlen(dir->temp) + strlen(name) + 2, "a path");
	} else if (!moe_watch_lock(dir->watch)) {
		status = moe_err_set(err, MOE_EIO, "%s: not created, the program is ending", shown);
	} else {
		status = make_parents(inner, strlen(dir->temp), err);
		moe_watch_unlock(dir->watch);
	}
	if (!status)
		status = dir->kept ? moe_out_open_inner_kept(result, inner, shown, n_kept, dir->watch, err)
		                   : moe_out_open_inner(result, inner, shown, dir->watch, err);
	free(inner);
	free(shown);
	return status;
}

enum moe_status moe_outdir_file(struct moe_outdir *dir, const char *name, struct moe_out **result, struct moe_err *err)
{
	return moe_outdir_file_kept(dir, name, 0, result, err);
}

const char *moe_outdir_temp(const struct moe_outdir *dir) { return dir->temp; }

/* Puts the new directory where an old one is, with the watch's lock held. An exchange is atomic; where the file system
 * has none, the old one steps aside and returns if the second rename fails. Either way the old one ends under *retired,
 * malloc'd and registered, so that a sweep removes what is left of it; NULL where there was none. */
static int exchange_dirs(struct moe_outdir *dir, char **retired)
{
	int errnum, moved = -1;

	*retired = NULL;
	if (renameat2(AT_FDCWD, dir->temp, AT_FDCWD, dir->final, RENAME_EXCHANGE) == 0) {
		*retired = dir->temp;
		dir->temp = NULL;
		/* a kept one was not registered, and is rubbish from now on; without memory for that it only stays
		 * longer after a kill */
		if (dir->kept)
			(void)moe_watch_add_temp(dir->watch, *retired);
		return 0;
	}
	if (errno == ENOENT && moe_rename_new(dir->temp, dir->final) == 0)
		goto done;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	errno = EEXIST;
	for (int attempt = 0; moved != 0 && errno == EEXIST && attempt < RETIRED_ATTEMPTS; attempt++) {
		free(*retired);
		*retired = moe_temp_name(dir->final, "old", attempt);
		moved = *retired ? moe_rename_new(dir->final, *retired) : -1;
	}
	if (moved == 0 && moe_watch_add_temp(dir->watch, *retired) && rename(dir->temp, dir->final) == 0)
		goto done;
	errnum = errno;
	if (moved == 0) {
		moe_watch_remove_temp(dir->watch, *retired);
		rename(*retired, dir->final);
	}
	free(*retired);
	*retired = NULL;
	errno = errnum;
	return -1;
done:
	moe_watch_remove_temp(dir->watch, dir->temp);
	return 0;
}

/* rename(2) or exchange, and what is registered after it. */
static int put_in_place(struct moe_outdir *dir, char **retired)
{
	int failed;

	*retired = NULL;
	if (dir->replace)
		return exchange_dirs(dir, retired);
	failed = moe_rename_new(dir->temp, dir->final);
	if (!failed)
		moe_watch_remove_temp(dir->watch, dir->temp);
	return failed;
}

/* What a sweep has taken over is left to it. */
static void remove_retired(struct moe_outdir *dir, const char *retired)
{
	moe_remove_tree(retired);
	if (moe_watch_lock(dir->watch)) {
		moe_watch_remove_temp(dir->watch, retired);
		moe_watch_unlock(dir->watch);
	}
}

enum moe_status moe_outdir_commit(struct moe_outdir *dir, struct moe_err *err)
{
	enum moe_status status = moe_sync_dir(dir->temp, err);
	char *retired = NULL;
	struct stat st;
	int failed;

	/* It took a while to fill the new one: the old one may have become something else. */
	if (!status && dir->replace && stat(dir->final, &st) == 0 && S_ISDIR(st.st_mode))
		status = moe_guard_replaced(dir->final, dir->path, err);
	if (!status && !moe_watch_lock(dir->watch))
		status = moe_err_set(err, MOE_EIO, "%s: not written, the program is ending", dir->path);
	if (status)
		goto out;
	failed = put_in_place(dir, &retired);
	moe_watch_unlock(dir->watch);
	if (failed) {
		status = errno == EEXIST ? moe_refuse_existing(dir->path, err)
		                         : moe_err_sys(err, "cannot create '%s'", dir->path);
		goto out;
	}
	free(dir->temp);
	dir->temp = NULL;
	if (retired)
		remove_retired(dir, retired);
	status = moe_sync_parent(dir->final, err);
out:
	free(retired);
	moe_outdir_abort(dir);
	return status;
}

void moe_outdir_abort(struct moe_outdir *dir)
{
	if (!dir)
		return;
	if (dir->temp && !dir->kept && moe_watch_lock(dir->watch)) {
		moe_remove_tree(dir->temp);
		moe_watch_remove_temp(dir->watch, dir->temp);
		moe_watch_unlock(dir->watch);
	}
	free_outdir(dir);
}
