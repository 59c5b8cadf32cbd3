/* Files as inputs: mappings, whole reads, and the small questions about paths. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/watch.h"

#define READ_BYTES ((size_t)262144)

/* O_NONBLOCK so that a FIFO is refused rather than waited for. */
static enum moe_status open_regular(const char *path, int *fd, size_t *n_bytes, struct moe_err *err)
{
	struct stat st;

	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0)
		return moe_err_sys(err, "%s", path);
	if (fstat(*fd, &st) != 0) {
		moe_err_sys(err, "%s", path);
	} else if (S_ISDIR(st.st_mode)) {
		moe_err_set(err, MOE_EIO, "%s: is a directory, a file was expected", path);
	} else if (!S_ISREG(st.st_mode)) {
		moe_err_set(err, MOE_EIO, "%s: is not a regular file, so it cannot be mapped", path);
	} else if (st.st_size < 0 || (uintmax_t)st.st_size > SIZE_MAX) {
		moe_err_set(err, MOE_EIO, "%s: has %jd bytes, more than can be addressed", path, (intmax_t)st.st_size);
	} else {
		*n_bytes = (size_t)st.st_size;
		return MOE_OK;
	}
	close(*fd);
	return MOE_EIO;
}

enum moe_status moe_map_open(struct moe_map *map, const char *path, struct moe_watch *watch, struct moe_err *err)
{
	enum moe_status status;
	size_t n_bytes = 0;
	void *data = NULL;
	int fd;

	*map = (struct moe_map){0};
	status = open_regular(path, &fd, &n_bytes, err);
	if (status)
		return status;
	if (n_bytes > 0) {
		data = mmap(NULL, n_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
		if (data == MAP_FAILED) {
			data = NULL;
			status = moe_err_sys(err, "%s: cannot map %zu bytes", path, n_bytes);
			goto out;
		}
	}
	map->path = strdup(path);
	if (!map->path || (data && !moe_watch_add_map(watch, path, data, n_bytes))) {
		status = moe_err_nomem(err, strlen(path) + 1, "the name of a file");
		goto out;
	}
	map->data = data;
	map->n_bytes = n_bytes;
	map->watch = watch;
	data = NULL;
out:
	close(fd);
	if (data)
		munmap(data, n_bytes);
	if (status) {
		free(map->path);
		*map = (struct moe_map){0};
	}
	return status;
}

void moe_map_close(struct moe_map *map)
{
	if (map->data) {
		moe_watch_remove_map(map->watch, map->data);
		munmap((void *)(uintptr_t)map->data, map->n_bytes);
	}
	free(map->path);
	*map = (struct moe_map){0};
}

static enum moe_status read_fd(int fd, const char *name, size_t limit_bytes, struct moe_buf *buf, struct moe_err *err)
{
	size_t n_before = buf->n;

	for (;;) {
		char *room = moe_buf_room(buf, READ_BYTES);
		ssize_t n;

		if (!room)
			return moe_err_nomem(err, buf->n + READ_BYTES, name);
		n = read(fd, room, READ_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return moe_err_sys(err, "%s", name);
		if (n == 0)
			break;
		buf->n += (size_t)n;
		if (limit_bytes > 0 && buf->n - n_before > limit_bytes)
			return moe_err_set(err, MOE_EFORMAT, "%s: is longer than the %zu bytes allowed here", name,
			                   limit_bytes);
	}
	buf->p[buf->n] = '\0';
	return MOE_OK;
}

enum moe_status moe_read_all(const char *path, size_t limit_bytes, struct moe_buf *buf, struct moe_err *err)
{
	enum moe_status status;
	struct stat st;
	int fd;

	if (strcmp(path, "-") == 0)
		return read_fd(STDIN_FILENO, "stdin", limit_bytes, buf, err);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return moe_err_sys(err, "%s", path);
	/* One growth for a file of known size. */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
	    (limit_bytes == 0 || (uintmax_t)st.st_size <= limit_bytes) && (uintmax_t)st.st_size < SIZE_MAX / 2)
		moe_buf_room(buf, (size_t)st.st_size + READ_BYTES);
	status = read_fd(fd, path, limit_bytes, buf, err);
	close(fd);
	return status;
}

bool moe_is_dir(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool moe_is_file(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

const char *moe_path_kind(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0) {
		int errnum = errno;

		if (lstat(path, &st) != 0)
			return NULL;
		if (!S_ISLNK(st.st_mode))
			return "out of reach";
		return errnum == ELOOP ? "a symbolic link that leads back to itself"
		       : errnum == ENOENT || errnum == ENOTDIR ? "a symbolic link to nothing"
		                                               : "a symbolic link to a place out of reach";
	}
	if (S_ISREG(st.st_mode))
		return NULL;
	return S_ISDIR(st.st_mode)    ? "a directory"
	       : S_ISFIFO(st.st_mode) ? "a FIFO"
	       : S_ISSOCK(st.st_mode) ? "a socket"
	                              : "a device";
}

char *moe_path_join(const char *dir, const char *name)
{
	size_t n_dir = strlen(dir), n_name = strlen(name);
	bool slash = n_dir > 0 && dir[n_dir - 1] != '/';
	char *path = malloc(n_dir + slash + n_name + 1);

	if (!path)
		return NULL;
	memcpy(path, dir, n_dir);
	if (slash)
		path[n_dir] = '/';
	memcpy(path + n_dir + slash, name, n_name + 1);
	return path;
}

const char *moe_path_base(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* Cuts the last component off; "." for a bare name, "/" stays. */
static void cut_last(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash)
		strcpy(path, ".");
	else if (slash == path)
		path[1] = '\0';
	else
		*slash = '\0';
}

/* Shortens an absolute path to the mount point it lies under. */
static void cut_to_mount(char *path)
{
	struct stat st;
	char *up = strdup(path);

	if (up && stat(path, &st) == 0) {
		dev_t dev = st.st_dev;

		while (strcmp(path, "/") != 0) {
			cut_last(up);
			if (stat(up, &st) != 0 || st.st_dev != dev)
				break;
			strcpy(path, up);
		}
	}
	free(up);
}

enum moe_status moe_free_space(const char *path, uint64_t n_bytes, struct moe_err *err)
{
	char need[24], have[24], *at, *mount;
	struct statvfs fs;
	struct stat st;
	uint64_t n_free;
	int failed;

	if (strcmp(path, "-") == 0 || (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
		return MOE_OK;
	at = malloc(strlen(path) + 2);
	if (!at)
		return moe_err_nomem(err, strlen(path) + 2, "a path");
	strcpy(at, path);
	while ((failed = statvfs(at, &fs)) != 0 && errno == ENOENT && strcmp(at, ".") != 0 && strcmp(at, "/") != 0)
		cut_last(at);
	mount = failed ? NULL : realpath(at, NULL);
	free(at);
	if (failed)
		return MOE_OK;
	if (__builtin_mul_overflow((uint64_t)fs.f_bavail, (uint64_t)fs.f_frsize, &n_free) || n_free >= n_bytes) {
		free(mount);
		return MOE_OK;
	}
	if (mount)
		cut_to_mount(mount);
	moe_err_set(err, MOE_EIO, "%s: needs %s, but only %s are free on the file system at %s", path,
	            moe_format_bytes(need, (double)n_bytes), moe_format_bytes(have, (double)n_free),
	            mount ? mount : path);
	free(mount);
	return MOE_EIO;
}
