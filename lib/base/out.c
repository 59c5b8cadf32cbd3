/* Files that appear complete or not at all: written to a hidden sibling, synced, renamed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/out.h"
#include "base/watch.h"

#define BUFFER_BYTES ((size_t)262144)

struct moe_out {
	char *path;       /* as the caller named it, for messages */
	char *final;      /* where it ends up: path with symbolic links resolved; NULL where there is no temporary */
	char *temp;
	int fd;
	bool regular, replace, inner;
	bool stays;       /* temp is PATH.partial, or a file in such a directory */
	_Atomic bool failed;
	uint64_t n_appended;
	size_t n_buffered;
	uint8_t *buffer;  /* [BUFFER_BYTES] */
	struct moe_watch *watch;
};

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

static enum moe_status open_temp(struct moe_out *out, bool exists, mode_t old_mode, struct moe_err *err)
{
	enum moe_status status;

	if (!out->final)
		out->final = moe_path_resolve(out->path);
	if (!out->final)
		return moe_err_nomem(err, strlen(out->path) + 1, "a path");
	status = moe_temp_create(out->path, out->final, out->inner ? MOE_TEMP_INNER : MOE_TEMP_FILE, out->watch,
	                         &out->temp, &out->fd, err);
	if (status)
		return status;
	out->regular = true;
	/* A replaced file keeps its permissions; where that is refused the umask's stand. */
	if (exists && fchmod(out->fd, old_mode & 0777) != 0 && errno != EPERM)
		return moe_err_sys(err, "%s", out->path);
	return MOE_OK;
}

static enum moe_status refuse_busy(const char *path, struct moe_err *err)
{
	return moe_err_set(err, MOE_EIO, "'%s' is being written by another run", path);
}

/* Is another run still at it, or was one interrupted? */
static enum moe_status refuse_partial(const char *path, struct moe_err *err)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	const bool busy = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;

	if (fd >= 0)
		close(fd);
	if (busy)
		return refuse_busy(path, err);
	return moe_err_set(err, MOE_EUSAGE, "'%s' is there, what an interrupted run did: --resume goes on with it, "
	                   "--force begins anew", path);
}

static enum moe_status open_partial(struct moe_out *out, bool resume, struct moe_err *err)
{
	struct moe_buf name = {0};
	struct stat st;

	out->final = moe_path_resolve(out->path);
	moe_buf_addf(&name, "%s.partial", out->final ? out->final : "");
	out->temp = name.p;
	out->stays = true;
	if (!out->final || name.failed)
		return moe_err_nomem(err, strlen(out->path) + 9, "a path");
	enum moe_status status = lstat(out->temp, &st) == 0 ? moe_guard_file(out->temp, out->watch, err) : MOE_OK;
	if (status)
		return status;
	out->fd = open(out->temp, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (resume || out->replace ? 0 : O_EXCL),
	               0666);
	if (out->fd < 0 && errno == EEXIST)
		return refuse_partial(out->temp, err);
	if (out->fd < 0 || fstat(out->fd, &st) != 0)
		return moe_err_sys(err, "%s", out->temp);
	if (!S_ISREG(st.st_mode))
		return moe_err_set(err, MOE_EUSAGE, "'%s' is not a regular file", out->temp);
	/* File systems without locks go without. */
	if (flock(out->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
		return refuse_busy(out->temp, err);
	out->regular = true;
	return moe_out_cut(out, resume ? (uint64_t)st.st_size : 0, err);
}

static bool is_stdout(const char *path) { return strcmp(path, "-") == 0 || strcmp(path, "/dev/stdout") == 0; }

/* May path be written to? st describes what *exists there. */
static enum moe_status check_target(const char *path, bool replace, struct moe_watch *watch, struct stat *st,
                                    bool *exists, struct moe_err *err)
{
	enum moe_status status;
	struct stat link;

	*exists = false;
	if (is_stdout(path))
		return MOE_OK;
	if (*path == '\0')
		return moe_err_set(err, MOE_EUSAGE, "the name of an output is empty");
	*exists = stat(path, st) == 0;
	if (!*exists && errno != ENOENT)
		return moe_err_sys(err, "%s", path);
	if (*exists && S_ISDIR(st->st_mode))
		return moe_err_set(err, MOE_EUSAGE, "'%s' is a directory, a file was expected", path);
	if (*exists && !S_ISREG(st->st_mode))
		return MOE_OK;
	status = moe_guard_file(path, watch, err);
	if (!status && !replace && lstat(path, &link) == 0)
		status = moe_refuse_existing(path, err);
	return status;
}

enum moe_status moe_out_check(const char *path, unsigned flags, struct moe_watch *watch, struct moe_err *err)
{
	struct stat st;
	bool exists;

	return check_target(path, flags & MOE_OUT_FORCE, watch, &st, &exists, err);
}

/* Opens whatever path means: stdout, a device or FIFO as it is, or a temporary. */
static enum moe_status open_target(struct moe_out *out, bool partial, unsigned flags, struct moe_err *err)
{
	const char *path = out->path;
	enum moe_status status;
	struct stat st;
	bool exists;

	status = check_target(path, out->replace, out->watch, &st, &exists, err);
	if (status)
		return status;
	if (is_stdout(path)) {
		fflush(stdout);
		out->fd = STDOUT_FILENO;
		return MOE_OK;
	}
	if (exists && !S_ISREG(st.st_mode)) {
		out->fd = open(path, O_WRONLY | O_CLOEXEC);
		return out->fd < 0 ? moe_err_sys(err, "%s", path) : MOE_OK;
	}
	return partial ? open_partial(out, flags & MOE_OUT_RESUME, err)
	               : open_temp(out, exists, exists ? st.st_mode : 0, err);
}

static struct moe_out *new_out(const char *path, unsigned flags, struct moe_watch *watch)
{
	struct moe_out *out = calloc(1, sizeof *out);

	if (!out)
		return NULL;
	out->fd = -1;
	out->watch = watch;
	out->replace = flags & MOE_OUT_FORCE;
	out->path = strdup(path);
	out->buffer = malloc(BUFFER_BYTES);
	if (out->path && out->buffer)
		return out;
	free_out(out);
	return NULL;
}

static enum moe_status open_any(struct moe_out **result, const char *path, bool partial, unsigned flags,
                                struct moe_watch *watch, struct moe_err *err)
{
	struct moe_out *out = new_out(path, flags, watch);
	enum moe_status status;

	if (!out)
		return moe_err_nomem(err, BUFFER_BYTES, "an output");
	status = open_target(out, partial, flags, err);
	if (!status && (flags & MOE_OUT_BINARY) && isatty(out->fd))
		status = moe_err_set(err, MOE_EUSAGE,
		                     "binary data is not written to a terminal: name a file or redirect it");
	if (status) {
		moe_out_abort(out);
		return status;
	}
	*result = out;
	return MOE_OK;
}

enum moe_status moe_out_open(struct moe_out **result, const char *path, unsigned flags, struct moe_watch *watch,
                             struct moe_err *err)
{
	return open_any(result, path, false, flags, watch, err);
}

enum moe_status moe_out_open_partial(struct moe_out **result, const char *path, unsigned flags,
                                     struct moe_watch *watch, struct moe_err *err)
{
	return open_any(result, path, true, flags, watch, err);
}

const char *moe_out_partial(const struct moe_out *out) { return out->stays ? out->temp : NULL; }

enum moe_status moe_out_cut(struct moe_out *out, uint64_t n_bytes, struct moe_err *err)
{
	out->n_buffered = 0;
	out->n_appended = n_bytes;
	if (n_bytes > INT64_MAX || ftruncate(out->fd, (off_t)n_bytes) != 0 ||
	    lseek(out->fd, (off_t)n_bytes, SEEK_SET) < 0)
		return moe_err_sys(err, "%s: cannot write", out->temp);
	return MOE_OK;
}

enum moe_status moe_out_open_inner(struct moe_out **result, const char *path, const char *shown,
                                   struct moe_watch *watch, struct moe_err *err)
{
	struct moe_out *out = new_out(shown, 0, watch);
	enum moe_status status;

	if (!out)
		return moe_err_nomem(err, BUFFER_BYTES, "an output");
	out->inner = true;
	out->final = strdup(path);
	status = out->final ? open_temp(out, false, 0, err) : moe_err_nomem(err, strlen(path) + 1, "a path");
	if (status)
		moe_out_abort(out);
	else
		*result = out;
	return status;
}

enum moe_status moe_out_open_inner_kept(struct moe_out **result, const char *path, const char *shown, uint64_t n_kept,
                                        struct moe_watch *watch, struct moe_err *err)
{
	struct moe_out *out = new_out(shown, 0, watch);
	enum moe_status status = MOE_OK;
	struct stat st;

	if (!out)
		return moe_err_nomem(err, BUFFER_BYTES, "an output");
	out->inner = out->stays = true;
	out->temp = strdup(path);
	if (!out->temp)
		status = moe_err_nomem(err, strlen(path) + 1, "a path");
	else if ((out->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666)) < 0 || fstat(out->fd, &st))
		status = moe_err_sys(err, "cannot create '%s'", path);
	else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < n_kept)
		status = moe_err_set(err, MOE_EIO, "%s: expected a file of at least %ju bytes", path,
		                     (uintmax_t)n_kept);
	else
		status = moe_out_cut(out, n_kept, err);
	out->regular = !status;
	if (status)
		moe_out_abort(out);
	else
		*result = out;
	return status;
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

enum moe_status moe_out_room(const struct moe_out *out, uint64_t n_bytes, struct moe_err *err)
{
	return out->replace ? MOE_OK : moe_free_space(out->path, n_bytes, err);
}

/* The rename and the end of the registration are one step for a sweep. */
static enum moe_status publish(struct moe_out *out, struct moe_err *err)
{
	int failed;

	if (!moe_watch_lock(out->watch))
		return moe_err_set(err, MOE_EIO, "%s: not written, the program is ending", out->path);
	failed = out->replace ? rename(out->temp, out->final) : moe_rename_new(out->temp, out->final);
	if (!failed)
		moe_watch_remove_temp(out->watch, out->temp);
	moe_watch_unlock(out->watch);
	if (failed)
		return errno == EEXIST ? moe_refuse_existing(out->path, err)
		                       : moe_err_sys(err, "cannot create '%s'", out->path);
	free(out->temp);
	out->temp = NULL;
	return moe_sync_parent(out->final, err);
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
	if (!status && out->stays && out->inner) {
		/* it has its name already */
		free(out->temp);
		out->temp = NULL;
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
	if (out->temp && out->stays) {
		if (out->regular && out->n_appended == 0)
			unlink(out->temp);
	} else if (out->temp && moe_watch_lock(out->watch)) {
		unlink(out->temp);
		moe_watch_remove_temp(out->watch, out->temp);
		moe_watch_unlock(out->watch);
	}
	free_out(out);
}

enum moe_status moe_out_text(const struct moe_buf *text, const char *path, unsigned flags, struct moe_watch *watch,
                             struct moe_err *err)
{
	enum moe_status status = moe_buf_check(text, err);
	struct moe_out *out;

	if (!status)
		status = moe_out_open(&out, path, flags, watch, err);
	if (status)
		return status;
	status = moe_out_write(out, text->p ? text->p : "", text->n, err);
	if (!status)
		return moe_out_commit(out, err);
	moe_out_abort(out);
	return status;
}
