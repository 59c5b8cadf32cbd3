/* Journals of directories: one head each, a lock, and no lines; the files inside have journals of their own. */
#include "placement/begun.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"

#define HEAD "moe-shards 1 "
#define HEAD_BYTES 46   /* HEAD, 32 digits, a newline */
#define LOCK_TRIES 100

/* Is what was locked still called that? Another run may have finished and removed it in between. */
static bool is_current(const struct moe_begun *b)
{
	struct stat there, open;

	return stat(b->journal, &there) == 0 && fstat(b->fd, &open) == 0 && there.st_ino == open.st_ino &&
	       there.st_dev == open.st_dev;
}

static enum moe_status lock(struct moe_begun *b, struct moe_err *err)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	struct stat st;

	/* a run that was just killed may take a moment to be gone; file systems without locks go without */
	for (int i = 0; i < LOCK_TRIES; i++) {
		b->fd = open(b->journal, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
		if (b->fd < 0 || fstat(b->fd, &st) != 0)
			return moe_err_sys(err, "cannot create '%s'", b->journal);
		if (!S_ISREG(st.st_mode))
			return moe_err_set(err, MOE_EIO, "%s: expected a file", b->journal);
		if ((flock(b->fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) && is_current(b))
			return MOE_OK;
		close(b->fd);
		b->fd = -1;
		nanosleep(&pause, NULL);
	}
	return moe_err_set(err, MOE_EIO, "%s: another run is at work on this directory", b->journal);
}

enum moe_status moe_begun_open(struct moe_begun *b, const char *dir, const char *work, unsigned flags,
                               struct moe_err *err)
{
	char want[HEAD_BYTES + 1], found[HEAD_BYTES] = {0};
	enum moe_status status;
	struct stat st;
	ssize_t n;

	*b = (struct moe_begun){ .journal = moe_partial_path(dir, "journal"),
	                         .partial = moe_partial_path(dir, "partial"), .fd = -1 };
	if (!b->journal || !b->partial)
		return moe_err_nomem(err, strlen(dir), "a path");
	status = lock(b, err);
	if (status)
		return status;
	snprintf(want, sizeof want, HEAD "%.32s\n", work);
	n = pread(b->fd, found, HEAD_BYTES, 0);
	if (n < 0)
		return moe_err_sys(err, "%s", b->journal);
	if (n == HEAD_BYTES && memcmp(found, want, HEAD_BYTES) == 0)
		return MOE_OK;
	if (n > 0 && memcmp(found, HEAD, n < (ssize_t)strlen(HEAD) ? (size_t)n : strlen(HEAD)) != 0)
		return moe_err_set(err, MOE_EUSAGE, "'%s' is there and no journal of shards: name another output",
		                   b->journal);
	if (lstat(b->partial, &st) == 0) {
		if (!(flags & MOE_OUT_FORCE))
			return moe_err_set(err, MOE_EUSAGE,
			                   "'%s' was begun from another source or with another plan: remove it, or "
			                   "use --force to begin anew",
			                   b->partial);
		moe_partial_remove(dir);
	}
	errno = ENOSPC;   /* what else makes a short write */
	if (pwrite(b->fd, want, HEAD_BYTES, 0) != HEAD_BYTES || ftruncate(b->fd, HEAD_BYTES) != 0 ||
	    (fsync(b->fd) != 0 && errno != EINVAL && errno != ENOTSUP))
		return moe_err_sys(err, "%s: cannot write", b->journal);
	return MOE_OK;
}

void moe_begun_finish(struct moe_begun *b)
{
	char *dir = strndup(b->partial, strlen(b->partial) - strlen(".partial"));

	if (dir)
		moe_partial_remove(dir);
	free(dir);
	unlink(b->journal);
}

void moe_begun_free(struct moe_begun *b)
{
	if (b->fd >= 0)
		close(b->fd);
	free(b->journal);
	free(b->partial);
	*b = (struct moe_begun){ .fd = -1 };
}

enum moe_status moe_begun_work(const struct moe_layout *layout, char work[33], struct moe_err *err)
{
	const struct moe_ckpt *ckpt = layout->ckpt;
	struct moe_hash *hash = moe_hash_new();
	enum moe_status status = hash ? MOE_OK : moe_err_nomem(err, 1024, "a hash");

	for (int32_t i = 0; i < ckpt->n_files && !status; i++) {
		const char *base = moe_path_base(ckpt->files[i].path);
		struct stat now;

		if (stat(ckpt->files[i].path, &now) != 0) {
			status = moe_err_sys(err, "%s", ckpt->files[i].path);
			break;
		}
		const int64_t facts[] = {now.st_size, now.st_mtim.tv_sec, now.st_mtim.tv_nsec};
		moe_hash_add(hash, base, strlen(base) + 1);
		moe_hash_add(hash, facts, sizeof facts);
	}
	if (!status) {
		moe_hash_add(hash, layout->plan_hash, sizeof layout->plan_hash);
		moe_hash_add(hash, layout->model_hash, sizeof layout->model_hash);
		moe_hash_add(hash, MOE_VERSION, sizeof MOE_VERSION);
		moe_hash_text(hash, work);
	}
	moe_hash_free(hash);
	return status;
}
