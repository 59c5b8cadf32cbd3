/* Outputs that a later run goes on with.
 *
 * Beside an output NAME lie `NAME.partial`, what is written of it, and `NAME.journal`: a line that names the
 * conversion (a hash of all that decides the output's bytes), then a line for each complete tensor in declared order,
 * the hash of its bytes. A tensor's line is written after its bytes; whether those reached the disk is asked when the
 * next run reads them. The journal stays beside a finished output, as the proof of what it is. It is locked while a run
 * writes. */
#include "checkpoint/resume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"

#define HEAD "moe-journal 1 "
#define HEAD_BYTES 47   /* HEAD, 32 digits, a newline */
#define LINE_BYTES 33
#define LOCK_TRIES 100
#define READ_BYTES ((size_t)1 << 20)

struct moe_resume {
	char *journal, *partial;
	int fd;
	struct moe_hash *hash;     /* of the tensor being written */
	struct moe_buf text;       /* of the journal as it was found */
	size_t n_lines;            /* whole ones behind its head */
	uint8_t *bytes;            /* [READ_BYTES] */
};

/* The hash of everything that decides the output's bytes. */
static enum moe_status make_head(const struct moe_ckpt_out *out, struct moe_hash *hash, const char *recipe,
                                 char head[HEAD_BYTES + 1], struct moe_err *err)
{
	char *keys = out->metadata ? json_dumps(out->metadata, JSON_COMPACT) : strdup("");
	char digits[33];

	if (!keys)
		return moe_err_nomem(err, 64, "metadata");
	moe_hash_add(hash, recipe, strlen(recipe) + 1);
	moe_hash_add(hash, out->format->name, strlen(out->format->name) + 1);
	moe_hash_add(hash, keys, strlen(keys) + 1);
	moe_hash_add(hash, &out->shard_bytes, sizeof out->shard_bytes);
	moe_hash_add(hash, &out->n_ranks, sizeof out->n_ranks);
	free(keys);
	for (size_t i = 0; i < out->n_tensors; i++) {
		const struct moe_declared *t = &out->tensors[i];

		moe_hash_add(hash, t->name, strlen(t->name) + 1);
		moe_hash_add(hash, t->codec->name, strlen(t->codec->name) + 1);
		moe_hash_add(hash, t->dims, (size_t)t->n_dims * sizeof *t->dims);
	}
	for (int32_t i = 0; i < out->n_companions; i++) {
		moe_hash_add(hash, out->companions[i].name, strlen(out->companions[i].name) + 1);
		moe_hash_add(hash, out->companions[i].data, out->companions[i].n_bytes);
	}
	moe_hash_text(hash, digits);
	moe_hash_reset(hash);
	snprintf(head, HEAD_BYTES + 1, HEAD "%s\n", digits);
	return MOE_OK;
}

/* Opens and locks the journal, and reads it. */
static enum moe_status open_journal(struct moe_resume *r, struct moe_err *err)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	ssize_t n = 1;
	struct stat st;
	bool failed = false;

	r->fd = open(r->journal, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
	if (r->fd < 0 || fstat(r->fd, &st) != 0)
		return moe_err_sys(err, "cannot create '%s'", r->journal);
	if (!S_ISREG(st.st_mode))
		return moe_err_set(err, MOE_EIO, "%s: expected a file", r->journal);
	/* a run that was just killed may take a moment to be gone; file systems without locks go without */
	for (int i = 0; i < LOCK_TRIES && (failed = flock(r->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK); i++)
		nanosleep(&pause, NULL);
	if (failed)
		return moe_err_set(err, MOE_EIO, "%s: another run that can be resumed is writing this output",
		                   r->journal);
	while (n != 0) {
		n = read(r->fd, r->bytes, READ_BYTES);
		if (n < 0 && errno != EINTR)
			return moe_err_sys(err, "%s", r->journal);
		if (n > 0)
			moe_buf_add(&r->text, r->bytes, (size_t)n);
	}
	if (r->text.n && (r->text.n < strlen(HEAD) || memcmp(r->text.p, HEAD, strlen(HEAD)) != 0))
		return moe_err_set(err, MOE_EUSAGE, "'%s' is there and no journal of a conversion: name another output",
		                   r->journal);
	return moe_buf_check(&r->text, err);
}

static const char *line_at(const struct moe_resume *r, size_t i) { return r->text.p + HEAD_BYTES + i * LINE_BYTES; }

/* How many lines of the journal are whole. */
static size_t whole_lines(const struct moe_resume *r, size_t most)
{
	size_t n = 0;

	while (n < most && HEAD_BYTES + (n + 1) * LINE_BYTES <= r->text.n && line_at(r, n)[LINE_BYTES - 1] == '\n')
		n++;
	return n;
}

/* Reads n_bytes at an offset and compares them, or (want NULL) adds them to the hash. */
static bool read_part(struct moe_resume *r, int fd, uint64_t at, uint64_t n_bytes, const char *want)
{
	while (n_bytes) {
		const size_t part = n_bytes < READ_BYTES ? (size_t)n_bytes : READ_BYTES;
		const ssize_t n = pread(fd, r->bytes, part, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || (want && memcmp(want, r->bytes, (size_t)n) != 0))
			return false;
		if (!want)
			moe_hash_add(r->hash, r->bytes, (size_t)n);
		else
			want += n;
		at += (uint64_t)n;
		n_bytes -= (uint64_t)n;
	}
	return true;
}

/* How many of the first n_lines tensors are at `base` as the journal has them. */
static size_t count_kept(const struct moe_ckpt_out *out, struct moe_resume *r, const char *base)
{
	char open_name[sizeof ((struct moe_format_place *)0)->name] = "?";
	size_t i;
	int fd = -1;

	for (i = 0; i < r->n_lines; i++) {
		struct moe_format_place place;
		char digits[33];
		bool good;

		out->format->writer->place(out, out->layout, i, &place);
		if (fd < 0 || strcmp(open_name, place.name) != 0) {
			char *path = *place.name ? moe_path_join(base, place.name) : strdup(base);

			if (fd >= 0)
				close(fd);
			fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
			free(path);
			if (fd < 0)
				return i;
			/* a kill may have come before it was synced; a file system that cannot need not */
			(void)fsync(fd);
			snprintf(open_name, sizeof open_name, "%s", place.name);
			if (!read_part(r, fd, 0, place.header->n, place.header->p))
				break;
		}
		moe_hash_reset(r->hash);
		good = read_part(r, fd, place.offset, out->tensors[i].n_bytes, NULL);
		moe_hash_text(r->hash, digits);
		if (!good || memcmp(digits, line_at(r, i), 32) != 0)
			break;
	}
	if (fd >= 0)
		close(fd);
	moe_hash_reset(r->hash);
	return i;
}

struct sizes {
	const char *base;
	bool right;
};

static void check_size(void *arg, const char *name, uint64_t n_bytes)
{
	struct sizes *sizes = arg;
	char *path = *name ? moe_path_join(sizes->base, name) : strdup(sizes->base);
	struct stat st;

	sizes->right = sizes->right && path && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
	               (uint64_t)st.st_size == n_bytes;
	free(path);
}

/* Is the output there, every byte of its tensors and companions? */
static bool is_complete(const struct moe_ckpt_out *out, struct moe_resume *r)
{
	struct sizes sizes = { .base = out->path, .right = r->n_lines == out->n_tensors };
	struct stat st;

	if (!sizes.right || stat(out->path, &st) != 0)
		return false;
	out->format->writer->files(out, out->layout, out->total, check_size, &sizes);
	for (int32_t i = 0; sizes.right && out->format->naming == MOE_NAMING_HF && i < out->n_companions; i++) {
		char *path = moe_path_join(out->path, out->companions[i].name);
		const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

		sizes.right = fd >= 0 && read_part(r, fd, 0, out->companions[i].n_bytes,
		                                   (const char *)out->companions[i].data);
		if (fd >= 0)
			close(fd);
		free(path);
	}
	return sizes.right && count_kept(out, r, out->path) == out->n_tensors;
}

/* A journal of this conversion, with the first n lines of the old one. */
static enum moe_status keep_lines(struct moe_resume *r, const char *head, size_t n, struct moe_err *err)
{
	if (pwrite(r->fd, head, HEAD_BYTES, 0) != HEAD_BYTES ||
	    ftruncate(r->fd, (off_t)(HEAD_BYTES + n * LINE_BYTES)) != 0 ||
	    (fsync(r->fd) != 0 && errno != EINVAL && errno != ENOTSUP))
		return moe_err_sys(err, "%s: cannot write", r->journal);
	return MOE_OK;
}

/* What is there, and from which tensor on it is to be written. */
static enum moe_status take_stock(struct moe_ckpt_out *out, struct moe_resume *r, const char *head, struct moe_err *err)
{
	const bool ours = r->text.n >= HEAD_BYTES && memcmp(r->text.p, head, HEAD_BYTES) == 0;
	size_t n = 0;
	struct stat st;

	if (!ours && lstat(r->partial, &st) == 0 && !(out->flags & MOE_OUT_FORCE))
		return moe_err_set(err, MOE_EUSAGE,
		                   "'%s' was begun from another source or with other options: remove it, or use "
		                   "--force to begin anew", r->partial);
	if (!ours)
		moe_partial_remove(out->path);
	r->n_lines = ours ? whole_lines(r, out->n_tensors) : 0;
	if (ours && lstat(r->partial, &st) == 0)
		n = count_kept(out, r, r->partial);
	if (n < out->n_tensors || lstat(r->partial, &st) != 0)
		out->complete = ours && is_complete(out, r);
	if (out->complete) {
		moe_partial_remove(out->path);   /* what it took the place of */
		out->current = out->n_tensors;
		return MOE_OK;
	}
	if (lstat(out->path, &st) == 0 && !(out->flags & MOE_OUT_FORCE))
		return moe_err_set(err, MOE_EUSAGE, "'%s' exists and is not what this run would write: use --force to "
		                   "replace it", out->path);
	while (n > 0 && n < out->n_tensors && out->tensors[n].tied)
		n--;
	out->current = n;
	return keep_lines(r, head, n, err);
}

enum moe_status moe_resume_open(struct moe_ckpt_out *out, const char *recipe, struct moe_err *err)
{
	char head[HEAD_BYTES + 1];
	struct moe_resume *r = calloc(1, sizeof *r);
	enum moe_status status;

	if (!r)
		return moe_err_nomem(err, sizeof *r, "a journal");
	out->resume = r;
	r->fd = -1;
	if (strcmp(out->path, "-") == 0)
		return moe_err_set(err, MOE_EUSAGE, "--resume: stdout cannot be gone on with: name a file");
	r->journal = moe_partial_path(out->path, "journal");
	r->partial = moe_partial_path(out->path, "partial");
	r->hash = moe_hash_new();
	r->bytes = malloc(READ_BYTES);
	if (!r->journal || !r->partial || !r->hash || !r->bytes)
		return moe_err_nomem(err, READ_BYTES, "a journal");
	status = out->format->naming == MOE_NAMING_HF ? moe_outdir_check(r->partial, MOE_OUT_FORCE, out->watch, err)
	                                              : moe_out_check(r->partial, MOE_OUT_FORCE, out->watch, err);
	if (!status)
		status = moe_out_check(r->journal, MOE_OUT_FORCE, out->watch, err);
	if (!status)
		status = make_head(out, r->hash, recipe, head, err);
	if (!status)
		status = open_journal(r, err);
	if (!status)
		status = take_stock(out, r, head, err);
	moe_buf_free(&r->text);
	free(r->bytes);
	r->bytes = NULL;   /* many outputs may be open at once */
	return status;
}

void moe_resume_add(struct moe_resume *r, const void *bytes, size_t n_bytes) { moe_hash_add(r->hash, bytes, n_bytes); }

enum moe_status moe_resume_tensor(struct moe_ckpt_out *out, struct moe_err *err)
{
	struct moe_resume *r = out->resume;
	char line[LINE_BYTES + 1];
	enum moe_status status = moe_format_flush(out, err);

	if (!status)
		status = moe_out_flush(out->sink, err);
	if (status)
		return status;
	moe_hash_text(r->hash, line);
	moe_hash_reset(r->hash);
	line[LINE_BYTES - 1] = '\n';
	const ssize_t n = pwrite(r->fd, line, LINE_BYTES, (off_t)(HEAD_BYTES + out->current * LINE_BYTES));

	if (n >= 0 && n < LINE_BYTES)
		errno = ENOSPC;   /* what else ends a short write to a file early */
	if (n != LINE_BYTES)
		return moe_err_sys(err, "%s: cannot write", r->journal);
	return MOE_OK;
}

void moe_resume_free(struct moe_resume *r)
{
	if (!r)
		return;
	if (r->fd >= 0)
		close(r->fd);
	free(r->journal);
	free(r->partial);
	moe_hash_free(r->hash);
	moe_buf_free(&r->text);
	free(r->bytes);
	free(r);
}
