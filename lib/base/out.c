/* Outputs that appear complete or not at all: written to a hidden sibling, synced, renamed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/watch.h"

#define BUFFER_BYTES ((size_t)262144)
#define MAX_ATTEMPTS 10000
#define RETIRED_ATTEMPTS 100

struct moe_out {
	char *path;       /* as the caller named it, for messages */
	char *final;      /* where it ends up: path with symbolic links resolved; NULL where there is no temporary */
	char *temp;
	int fd;
	bool regular, replace;
	_Atomic bool failed;
	uint64_t n_appended;
	size_t n_buffered;
	uint8_t *buffer;  /* [BUFFER_BYTES] */
	struct moe_watch *watch;
};

struct moe_outdir {
	char *path, *final, *temp;
	bool replace;
	struct moe_watch *watch;
};

/* The directory that holds path, malloc'd. */
static char *parent_of(const char *path)
{
	const char *base = moe_path_base(path);

	if (base == path)
		return strdup(".");
	return strndup(path, base - path > 1 ? (size_t)(base - path - 1) : 1);
}

/* ".NAME.tmp-PID-N" beside final, malloc'd. NAME is cut so that the whole fits a directory entry. */
static char *temp_name(const char *final, const char *mark, int attempt)
{
	struct moe_buf buf = {0};
	const char *base = moe_path_base(final);

	moe_buf_add(&buf, final, (size_t)(base - final));
	moe_buf_addf(&buf, ".%.200s.%s-%ld-%d", base, mark, (long)getpid(), attempt);
	if (buf.failed)
		moe_buf_free(&buf);
	return buf.p;
}

/* Creates the temporary file (or directory) of final and registers it. *fd is -1 for a directory. */
static enum moe_status create_temp(const char *path, const char *final, bool directory, struct moe_watch *watch,
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
		*temp = temp_name(final, "tmp", attempt);
		if (!*temp) {
			status = moe_err_nomem(err, strlen(final) + 40, "a path");
			goto out;
		}
		if (directory) {
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
	} else if (!moe_watch_add_temp(watch, *temp)) {
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

/* Makes the names inside a directory last. What a file system cannot do (EINVAL) or a directory without read
 * permission does not allow is not a failure of the output. */
static enum moe_status sync_dir(const char *dir, struct moe_err *err)
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

static enum moe_status sync_parent(const char *path, struct moe_err *err)
{
	char *dir = parent_of(path);
	enum moe_status status = dir ? sync_dir(dir, err) : moe_err_nomem(err, strlen(path), "a path");

	free(dir);
	return status;
}

static enum moe_status refuse_existing(const char *path, struct moe_err *err)
{
	return moe_err_set(err, MOE_EUSAGE, "'%s' exists: use --force to replace it", path);
}

/* rename(2) that does not replace, as far as the file system offers that. */
static int rename_new(const char *from, const char *to)
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

static void free_out(struct moe_out *out)
{
	if (out->fd > STDERR_FILENO)
		close(out->fd);
	free(out->path);
	free(out->final);
	free(out->temp);
	free(out->buffer);
	free(out);
}

/* Where the file at path will be: the target of a symbolic link, else path itself; malloc'd. */
static char *resolve(const char *path)
{
	struct stat st;
	char *real = NULL;

	if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
		real = realpath(path, NULL);
	return real ? real : strdup(path);
}

static enum moe_status open_temp(struct moe_out *out, bool exists, mode_t old_mode, struct moe_err *err)
{
	enum moe_status status;

	out->final = resolve(out->path);
	if (!out->final)
		return moe_err_nomem(err, strlen(out->path) + 1, "a path");
	status = create_temp(out->path, out->final, false, out->watch, &out->temp, &out->fd, err);
	if (status)
		return status;
	out->regular = true;
	/* A replaced file keeps its permissions; where that is refused the umask's stand. */
	if (exists && fchmod(out->fd, old_mode & 0777) != 0 && errno != EPERM)
		return moe_err_sys(err, "%s", out->path);
	return MOE_OK;
}

/* Opens whatever path means: stdout, a device or FIFO as it is, or a temporary. */
static enum moe_status open_target(struct moe_out *out, struct moe_err *err)
{
	const char *path = out->path;
	struct stat st;
	bool exists;

	if (strcmp(path, "-") == 0 || strcmp(path, "/dev/stdout") == 0) {
		fflush(stdout);
		out->fd = STDOUT_FILENO;
		return MOE_OK;
	}
	if (*path == '\0')
		return moe_err_set(err, MOE_EUSAGE, "the name of an output is empty");
	exists = stat(path, &st) == 0;
	if (!exists && errno != ENOENT)
		return moe_err_sys(err, "%s", path);
	if (exists && S_ISDIR(st.st_mode))
		return moe_err_set(err, MOE_EUSAGE, "'%s' is a directory, a file was expected", path);
	if (exists && !S_ISREG(st.st_mode)) {
		out->fd = open(path, O_WRONLY | O_CLOEXEC);
		return out->fd < 0 ? moe_err_sys(err, "%s", path) : MOE_OK;
	}
	if (!out->replace && lstat(path, &st) == 0)
		return refuse_existing(path, err);
	return open_temp(out, exists, exists ? st.st_mode : 0, err);
}

enum moe_status moe_out_open(struct moe_out **result, const char *path, unsigned flags, struct moe_watch *watch,
                             struct moe_err *err)
{
	struct moe_out *out = calloc(1, sizeof *out);
	enum moe_status status;

	if (out) {
		out->fd = -1;
		out->watch = watch;
		out->replace = flags & MOE_OUT_FORCE;
		out->path = strdup(path);
		out->buffer = malloc(BUFFER_BYTES);
	}
	if (!out || !out->path || !out->buffer) {
		status = moe_err_nomem(err, BUFFER_BYTES, "an output");
	} else {
		status = open_target(out, err);
		if (!status && (flags & MOE_OUT_BINARY) && isatty(out->fd))
			status = moe_err_set(err, MOE_EUSAGE,
			                     "binary data is not written to a terminal: name a file or redirect it");
	}
	if (status) {
		moe_out_abort(out);
		return status;
	}
	*result = out;
	return MOE_OK;
}

static const char *label(const struct moe_out *out) { return strcmp(out->path, "-") == 0 ? "stdout" : out->path; }

static enum moe_status write_all(struct moe_out *out, const uint8_t *bytes, size_t n_bytes, struct moe_err *err)
{
	while (n_bytes > 0) {
		ssize_t n = write(out->fd, bytes, n_bytes < SSIZE_MAX ? n_bytes : SSIZE_MAX);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			out->failed = true;
			return moe_err_sys(err, "%s: cannot write", label(out));
		}
		bytes += n;
		n_bytes -= (size_t)n;
	}
	return MOE_OK;
}

enum moe_status moe_out_flush(struct moe_out *out, struct moe_err *err)
{
	size_t n = out->n_buffered;

	out->n_buffered = 0;
	return write_all(out, out->buffer, n, err);
}

enum moe_status moe_out_write(struct moe_out *out, const void *bytes, size_t n_bytes, struct moe_err *err)
{
	if (n_bytes > BUFFER_BYTES - out->n_buffered) {
		enum moe_status status = moe_out_flush(out, err);
		if (status)
			return status;
	}
	out->n_appended += n_bytes;
	if (n_bytes >= BUFFER_BYTES)
		return write_all(out, bytes, n_bytes, err);
	if (n_bytes > 0)
		memcpy(out->buffer + out->n_buffered, bytes, n_bytes);
	out->n_buffered += n_bytes;
	return MOE_OK;
}

enum moe_status moe_out_printf(struct moe_out *out, struct moe_err *err, const char *fmt, ...)
{
	enum moe_status status;
	char small[512], *text = small;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(small, sizeof small, fmt, args);
	va_end(args);
	if (n < 0)
		return moe_err_sys(err, "%s: cannot format", label(out));
	if ((size_t)n >= sizeof small) {
		text = malloc((size_t)n + 1);
		if (!text)
			return moe_err_nomem(err, (size_t)n + 1, "text");
		va_start(args, fmt);
		vsnprintf(text, (size_t)n + 1, fmt, args);
		va_end(args);
	}
	status = moe_out_write(out, text, (size_t)n, err);
	if (text != small)
		free(text);
	return status;
}

enum moe_status moe_out_pwrite(struct moe_out *out, const void *bytes, size_t n_bytes, uint64_t offset,
                               struct moe_err *err)
{
	const uint8_t *p = bytes;

	if (!out->regular)
		return moe_err_set(err, MOE_EUSAGE, "%s: is written out of order, so it must be a regular file",
		                   label(out));
	if (offset > INT64_MAX || n_bytes > INT64_MAX - offset)
		return moe_err_set(err, MOE_EIO, "%s: no file has a byte %ju", label(out), (uintmax_t)offset);
	while (n_bytes > 0) {
		ssize_t n = pwrite(out->fd, p, n_bytes < SSIZE_MAX ? n_bytes : SSIZE_MAX, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			out->failed = true;
			return moe_err_sys(err, "%s: cannot write", label(out));
		}
		p += n;
		offset += (uint64_t)n;
		n_bytes -= (size_t)n;
	}
	return MOE_OK;
}

uint64_t moe_out_bytes(const struct moe_out *out) { return out->n_appended; }

const char *moe_out_path(const struct moe_out *out) { return out->path; }

/* The rename and the end of the registration are one step for a sweep. */
static enum moe_status publish(struct moe_out *out, struct moe_err *err)
{
	int failed;

	if (!moe_watch_lock(out->watch))
		return moe_err_set(err, MOE_EIO, "%s: not written, the program is ending", out->path);
	failed = out->replace ? rename(out->temp, out->final) : rename_new(out->temp, out->final);
	if (!failed)
		moe_watch_remove_temp(out->watch, out->temp);
	moe_watch_unlock(out->watch);
	if (failed)
		return errno == EEXIST ? refuse_existing(out->path, err)
		                       : moe_err_sys(err, "cannot create '%s'", out->path);
	free(out->temp);
	out->temp = NULL;
	return sync_parent(out->final, err);
}

enum moe_status moe_out_commit(struct moe_out *out, struct moe_err *err)
{
	enum moe_status status;
	int fd = out->fd;

	if (out->failed)
		status = moe_err_set(err, MOE_EIO, "%s: an earlier write failed", label(out));
	else
		status = moe_out_flush(out, err);
	if (!status && out->regular && fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP)
		status = moe_err_sys(err, "%s: cannot write", out->path);
	if (!status && fd > STDERR_FILENO) {
		/* Network file systems report a full disk or quota only here. */
		out->fd = -1;
		if (close(fd) != 0 && errno != EINTR)
			status = moe_err_sys(err, "%s: cannot write", out->path);
	}
	if (!status && out->temp)
		status = publish(out, err);
	moe_out_abort(out);
	return status;
}

void moe_out_abort(struct moe_out *out)
{
	if (!out)
		return;
	if (out->temp && moe_watch_lock(out->watch)) {
		unlink(out->temp);
		moe_watch_remove_temp(out->watch, out->temp);
		moe_watch_unlock(out->watch);
	}
	free_out(out);
}

static void free_outdir(struct moe_outdir *dir)
{
	free(dir->path);
	free(dir->final);
	free(dir->temp);
	free(dir);
}

enum moe_status moe_outdir_open(struct moe_outdir **result, const char *path, unsigned flags, struct moe_watch *watch,
                                struct moe_err *err)
{
	struct moe_outdir *dir = calloc(1, sizeof *dir);
	enum moe_status status = MOE_OK;
	const char *base;
	struct stat st;
	int fd;

	if (dir)
		dir->path = strdup(path);
	if (!dir || !dir->path) {
		free(dir);
		return moe_err_nomem(err, strlen(path) + 1, "an output");
	}
	for (size_t n = strlen(dir->path); n > 1 && dir->path[n - 1] == '/'; n--)
		dir->path[n - 1] = '\0';
	dir->replace = flags & MOE_OUT_FORCE;
	dir->watch = watch;
	base = moe_path_base(dir->path);
	if (*base == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		status = moe_err_set(err, MOE_EUSAGE, "'%s' cannot be an output: name a new directory", path);
	else if (lstat(dir->path, &st) == 0 && !dir->replace)
		status = refuse_existing(dir->path, err);
	else if (stat(dir->path, &st) == 0 && !S_ISDIR(st.st_mode))
		status = moe_err_set(err, MOE_EUSAGE, "'%s' is not a directory, so it is not replaced by one",
		                     dir->path);
	if (!status) {
		dir->final = resolve(dir->path);
		if (!dir->final)
			status = moe_err_nomem(err, strlen(path) + 1, "a path");
	}
	if (!status)
		status = create_temp(dir->path, dir->final, true, watch, &dir->temp, &fd, err);
	if (status) {
		free_outdir(dir);
		return status;
	}
	*result = dir;
	return MOE_OK;
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
			status = sync_parent(path, err);
		else if (errno != EEXIST)
			status = moe_err_sys(err, "cannot create '%s'", path);
		*slash = '/';
		if (status)
			return status;
	}
	return MOE_OK;
}

enum moe_status moe_outdir_file(struct moe_outdir *dir, const char *name, struct moe_out **result, struct moe_err *err)
{
	enum moe_status status;
	char *inner, *shown;

	if (!is_inner_name(name))
		return moe_err_set(err, MOE_EFORMAT, "%s: '%s' is not a name inside this directory", dir->path, name);
	inner = moe_path_join(dir->temp, name);
	shown = moe_path_join(dir->path, name);
	if (!inner || !shown)
		status = moe_err_nomem(err, strlen(dir->temp) + strlen(name) + 2, "a path");
	else
		status = make_parents(inner, strlen(dir->temp), err);
	if (!status)
		status = moe_out_open(result, inner, 0, NULL, err);
	if (!status) {
		free((*result)->path);
		(*result)->path = shown;
		shown = NULL;
	}
	free(inner);
	free(shown);
	return status;
}

const char *moe_outdir_temp(const struct moe_outdir *dir) { return dir->temp; }

/* Puts the new directory where an old one is. An exchange is atomic; where the file system has none, the old one
 * steps aside and returns if the second rename fails. Either way the old one ends under *retired, malloc'd. */
static int exchange_dirs(struct moe_outdir *dir, char **retired)
{
	int errnum, moved = -1;

	*retired = NULL;
	if (renameat2(AT_FDCWD, dir->temp, AT_FDCWD, dir->final, RENAME_EXCHANGE) == 0) {
		*retired = strdup(dir->temp);
		return 0;
	}
	if (errno == ENOENT)
		return rename_new(dir->temp, dir->final);
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	errno = EEXIST;
	for (int attempt = 0; moved != 0 && errno == EEXIST && attempt < RETIRED_ATTEMPTS; attempt++) {
		free(*retired);
		*retired = temp_name(dir->final, "old", attempt);
		moved = *retired ? rename_new(dir->final, *retired) : -1;
	}
	if (moved == 0 && rename(dir->temp, dir->final) == 0)
		return 0;
	errnum = errno;
	if (moved == 0)
		rename(*retired, dir->final);
	free(*retired);
	*retired = NULL;
	errno = errnum;
	return -1;
}

enum moe_status moe_outdir_commit(struct moe_outdir *dir, struct moe_err *err)
{
	enum moe_status status = sync_dir(dir->temp, err);
	char *retired = NULL;
	int failed;

	if (!status && !moe_watch_lock(dir->watch))
		status = moe_err_set(err, MOE_EIO, "%s: not written, the program is ending", dir->path);
	if (status)
		goto out;
	failed = dir->replace ? exchange_dirs(dir, &retired) : rename_new(dir->temp, dir->final);
	if (!failed)
		moe_watch_remove_temp(dir->watch, dir->temp);
	moe_watch_unlock(dir->watch);
	if (failed) {
		status = errno == EEXIST ? refuse_existing(dir->path, err)
		                         : moe_err_sys(err, "cannot create '%s'", dir->path);
		goto out;
	}
	if (retired)
		moe_remove_tree(retired);
	free(dir->temp);
	dir->temp = NULL;
	status = sync_parent(dir->final, err);
out:
	free(retired);
	moe_outdir_abort(dir);
	return status;
}

void moe_outdir_abort(struct moe_outdir *dir)
{
	if (!dir)
		return;
	if (dir->temp && moe_watch_lock(dir->watch)) {
		moe_remove_tree(dir->temp);
		moe_watch_remove_temp(dir->watch, dir->temp);
		moe_watch_unlock(dir->watch);
	}
	free_outdir(dir);
}
