/* Temporary names beside final ones, and the renames between them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/out.h"
#include "base/watch.h"

#define MAX_ATTEMPTS 10000

char *moe_path_parent(const char *path)
{
	const char *base = moe_path_base(path);

	if (base == path)
		return strdup(".");
	return strndup(path, base - path > 1 ? (size_t)(base - path - 1) : 1);
}

char *moe_partial_path(const char *path, const char *mark)
{
	char *plain = strdup(path), *final = NULL;
	struct moe_buf buf = {0};

	for (size_t n = plain ? strlen(plain) : 0; n > 1 && plain[n - 1] == '/'; n--)
		plain[n - 1] = '\0';
	if (plain)
		final = moe_path_resolve(plain);
	if (final)
		moe_buf_addf(&buf, "%s.%s", final, mark);
	if (buf.failed)
		moe_buf_free(&buf);
	free(plain);
	free(final);
	return buf.p;
}

void moe_partial_remove(const char *path)
{
	char *partial = moe_partial_path(path, "partial");

	if (partial)
		moe_remove_tree(partial);
	free(partial);
}

/* NAME is cut so that the whole fits a directory entry. */
char *moe_temp_name(const char *final, const char *mark, int attempt)
{
	struct moe_buf buf = {0};
	const char *base = moe_path_base(final);

	moe_buf_add(&buf, final, (size_t)(base - final));
	moe_buf_addf(&buf, ".%.200s.%s-%ld-%d", base, mark, (long)getpid(), attempt);
	if (buf.failed)
		moe_buf_free(&buf);
	return buf.p;
}

enum moe_status moe_temp_create(const char *path, const char *final, enum moe_temp_kind kind, struct moe_watch *watch,
                                char **temp, int *fd, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	bool made = false;

	*temp = NULL;
	*fd = -1;
	if (!moe_watch_lock(watch))
		return moe_err_set(err, MOE_EIO, "%s: not created, the program is ending", path);
	for (int attempt = 0; !made && attempt < MAX_ATTEMPTS; attempt++) {
		free(*temp);
		*temp = moe_temp_name(final, "tmp", attempt);
		if (!*temp) {
			status = moe_err_nomem(err, strlen(final) + 40, "a path");
			goto out;
		}
		if (kind == MOE_TEMP_DIR) {
			made = mkdir(*temp, 0777) == 0;
		} else {
			*fd = open(*temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
			made = *fd >= 0;
		}
		if (!made && errno != EEXIST)
			break;
	}
	if (!made) {
		status = moe_err_sys(err, "cannot create '%s'", path);
	} else if (kind != MOE_TEMP_INNER && !moe_watch_add_temp(watch, *temp)) {
		status = moe_err_nomem(err, strlen(*temp) + 1, "the list of open files");
		moe_remove_tree(*temp);
	}
out:
	moe_watch_unlock(watch);
	if (status) {
		if (*fd >= 0)
			close(*fd);
		free(*temp);
		*temp = NULL;
		*fd = -1;
	}
	return status;
}

/* What a file system cannot do (EINVAL) or a directory without read
 * permission does not allow is not a failure of the output. */
enum moe_status moe_sync_dir(const char *dir, struct moe_err *err)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum moe_status status = MOE_OK;

	if (fd < 0)
		return errno == EACCES ? MOE_OK : moe_err_sys(err, "%s", dir);
	if (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS)
		status = moe_err_sys(err, "%s", dir);
	close(fd);
	return status;
}

enum moe_status moe_sync_parent(const char *path, struct moe_err *err)
{
	char *dir = moe_path_parent(path);
	enum moe_status status = dir ? moe_sync_dir(dir, err) : moe_err_nomem(err, strlen(path), "a path");

	free(dir);
	return status;
}

enum moe_status moe_refuse_existing(const char *path, struct moe_err *err)
{
	return moe_err_set(err, MOE_EUSAGE, "'%s' exists: use --force to replace it", path);
}

int moe_rename_new(const char *from, const char *to)
{
	struct stat st;

	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (lstat(to, &st) == 0) {
		errno = EEXIST;
		return -1;
	}
	return rename(from, to);
}

/* The target of a symbolic link, else path itself. */
char *moe_path_resolve(const char *path)
{
	struct stat st;
	char *real = NULL;

	if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
		real = realpath(path, NULL);
	return real ? real : strdup(path);
}
