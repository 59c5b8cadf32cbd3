/* What an output may not destroy: an input, by whatever name, and a directory that no program here filled. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/out.h"
#include "base/watch.h"

/* Where an output is or will be. */
struct place {
	bool exists;
	dev_t dev;
	ino_t ino;
	char *real;   /* of the output, or of the directory it will lie in; malloc'd */
};

/* Is (dev, ino) the absolute path `real` or a directory above it? Compared by inode, so that mounts and links count. */
static bool is_on_path(const char *real, dev_t dev, ino_t ino)
{
	char *up = strdup(real);
	bool found = false;
	struct stat st;

	while (up && !found) {
		char *slash = strrchr(up, '/');

		found = stat(up, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
		if (!slash || slash[1] == '\0')
			break;
		slash[slash == up] = '\0';
	}
	free(up);
	return found;
}

static bool is_input(const void *arg, const struct moe_input *input)
{
	const struct place *place = arg;
	return place->exists && place->dev == input->dev && place->ino == input->ino;
}

static bool holds_input(const void *arg, const struct moe_input *input)
{
	const struct place *place = arg;
	return place->exists && is_on_path(input->real, place->dev, place->ino);
}

static bool lies_inside(const void *arg, const struct moe_input *input)
{
	const struct place *place = arg;
	return input->is_dir && place->real && is_on_path(place->real, input->dev, input->ino);
}

static enum moe_status refuse_input(const char *path, const char *how, const struct moe_input *input,
                                    struct moe_err *err)
{
	return moe_err_set(err, MOE_EUSAGE, "the output '%s' %s '%s', which is read: name another place", path, how,
	                   input->name);
}

enum moe_status moe_guard_file(const char *path, struct moe_watch *watch, struct moe_err *err)
{
	const struct moe_input *input;
	struct place place = {0};
	struct stat st;

	if (stat(path, &st) != 0)
		return MOE_OK;
	place = (struct place){.exists = true, .dev = st.st_dev, .ino = st.st_ino};
	input = moe_watch_find_input(watch, is_input, &place);
	return input ? refuse_input(path, "is the same file as", input, err) : MOE_OK;
}

enum moe_status moe_guard_dir(const char *path, struct moe_watch *watch, struct moe_err *err)
{
	const struct moe_input *input;
	struct place place = {0};
	enum moe_status status = MOE_OK;
	struct stat st;
	char *parent;

	if (stat(path, &st) == 0)
		place = (struct place){.exists = true, .dev = st.st_dev, .ino = st.st_ino};
	place.real = realpath(path, NULL);
	if (!place.real) {
		parent = moe_path_parent(path);
		if (!parent)
			return moe_err_nomem(err, strlen(path), "a path");
		place.real = realpath(parent, NULL);
		free(parent);
	}
	if ((input = moe_watch_find_input(watch, is_input, &place)))
		status = refuse_input(path, "is the same as", input, err);
	else if ((input = moe_watch_find_input(watch, holds_input, &place)))
		status = refuse_input(path, "holds", input, err);
	else if ((input = moe_watch_find_input(watch, lies_inside, &place)))
		status = refuse_input(path, "lies inside", input, err);
	free(place.real);
	return status;
}

/* ---- two outputs ---- */

/* The directory that holds path, by inode. */
static bool stat_parent(const char *path, struct stat *st)
{
	char *parent = moe_path_parent(path);
	bool found = parent && stat(parent, st) == 0;

	free(parent);
	return found;
}

enum moe_status moe_out_distinct(const char *a, const char *b, struct moe_err *err)
{
	struct stat sa, sb;
	bool have_a = stat(a, &sa) == 0, have_b = stat(b, &sb) == 0, same;

	if (strcmp(a, "-") == 0 || strcmp(b, "-") == 0)
		same = strcmp(a, b) == 0;
	else if (have_a && have_b)
		same = sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino && !S_ISCHR(sa.st_mode);
	else if (have_a || have_b)
		same = false;
	else
		same = strcmp(moe_path_base(a), moe_path_base(b)) == 0 && stat_parent(a, &sa) && stat_parent(b, &sb) &&
		       sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
	return same ? moe_err_set(err, MOE_EUSAGE, "two outputs are the same file: '%s' and '%s'", a, b) : MOE_OK;
}

/* ---- directories that may be replaced ---- */

/* TOP: what a program is asked to write. SHARD: a rank's part of it. FILES: what a shard keeps beside its tensors. */
enum level { LEVEL_TOP, LEVEL_SHARD, LEVEL_FILES };

/* "rank-" digits, and with that beginning the files of a shard that is one file. */
static bool is_rank_name(const char *name, bool directory)
{
	size_t n = strncmp(name, "rank-", 5) ? 0 : strspn(name + 5, "0123456789");
	return n > 0 && (directory ? !name[5 + n] : name[5 + n] == '.');
}

static bool marks_checkpoint(const char *name)
{
	static const char end[] = ".safetensors";
	size_t n = strlen(name);

	return !strcmp(name, "config.json") || !strcmp(name, "model.safetensors.index.json") ||
	       (n >= sizeof end - 1 && !strcmp(name + n - (sizeof end - 1), end));
}

/* Where a subdirectory stands, or -1: it does not belong. */
static int level_below(enum level level, const char *name)
{
	if (level == LEVEL_TOP && is_rank_name(name, true))
		return LEVEL_SHARD;
	if (level != LEVEL_FILES && !strcmp(name, "moe-source.files"))
		return LEVEL_FILES;
	return -1;
}

/* Keeps the path that sorts first, and frees the other. *failed: memory ran out where there is none. */
static void keep_first(char **first, char *path, int *failed)
{
	if (!path) {
		*failed = ENOMEM;
	} else if (!*first || strcmp(path, *first) < 0) {
		free(*first);
		*first = path;
	} else {
		free(path);
	}
}

/* The entry below path that does not belong there, relative to path and malloc'd; NULL where all do. *failed: errno of
 * a directory that cannot be listed. */
static char *find_foreign(const char *path, enum level level, int *failed)
{
	char *foreign_dir = NULL, *unmarked = NULL;
	bool marked = level == LEVEL_FILES;
	struct dirent *entry;
	DIR *handle = opendir(path);

	if (!handle)
		*failed = errno;
	while (handle && !*failed && (errno = 0, entry = readdir(handle))) {
		const char *name = entry->d_name;
		char *full, *inner;
		int below;

		if (!strcmp(name, ".") || !strcmp(name, ".."))
			continue;
		full = moe_path_join(path, name);
		if (!full) {
			*failed = ENOMEM;
		} else if (!moe_is_dir(full)) {
			marked = marked || marks_checkpoint(name);
			if (level != LEVEL_TOP || !is_rank_name(name, false))
				keep_first(&unmarked, strdup(name), failed);
		} else if ((below = level_below(level, name)) < 0) {
			keep_first(&foreign_dir, strdup(name), failed);
		} else if ((inner = find_foreign(full, (enum level)below, failed))) {
			keep_first(&foreign_dir, moe_path_join(name, inner), failed);
			free(inner);
		}
		free(full);
	}
	if (handle && !*failed)
		*failed = errno;
	if (handle)
		closedir(handle);
	if (marked || foreign_dir) {
		free(unmarked);
		unmarked = NULL;
	}
	return foreign_dir ? foreign_dir : unmarked;
}

enum moe_status moe_guard_replaced(const char *path, const char *shown, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	int failed = 0;
	char *foreign = find_foreign(path, LEVEL_TOP, &failed);

	if (failed) {
		errno = failed;
		status = moe_err_sys(err, "%s: cannot list the directory that would be replaced", shown);
	} else if (foreign) {
		status = moe_err_set(err, MOE_EUSAGE,
		                     "'%s' is not replaced, because it holds '%s': --force replaces only a directory "
		                     "with a checkpoint or shards in it and no others",
		                     shown, foreign);
	}
	free(foreign);
	return status;
}
