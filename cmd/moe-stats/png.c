/* Pictures as PNG: ours are SVG, and rsvg-convert, where it is installed, paints them. It reads and writes temporary
 * files without names, so that neither program waits for the other and nothing half done is left. */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "moe-stats/job.h"

#define PAINTER "rsvg-convert"
#define ZOOM "2"   /* so that text is sharp on paper */

extern char **environ;

/* What a file holds from its start on, appended to out; at most max bytes. */
static enum moe_status read_back(FILE *file, size_t max, struct moe_buf *out, struct moe_err *err)
{
	char piece[1 << 14];
	size_t n;

	rewind(file);
	while (out->n < max && (n = fread(piece, 1, sizeof piece < max - out->n ? sizeof piece : max - out->n, file)))
		moe_buf_add(out, piece, n);
	return ferror(file) ? moe_err_sys(err, PAINTER ": cannot read what it wrote") : moe_buf_check(out, err);
}

/* Runs it with these for stdin, stdout, stderr; *how as waitpid has it. */
static enum moe_status run_painter(FILE *const ends[3], int *how, struct moe_err *err)
{
	static char name[] = PAINTER, zoom[] = "--zoom=" ZOOM, format[] = "--format=png";
	char *const argv[] = {name, zoom, format, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t mask;
	pid_t pid, got;

	tool_spawn_mask(&mask);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &mask);
	for (int i = 0; i < 3; i++)
		posix_spawn_file_actions_adddup2(&actions, fileno(ends[i]), i);
	int failed = posix_spawnp(&pid, PAINTER, &actions, &attr, argv, environ);

	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	if (failed == ENOENT)
		return moe_err_set(err, MOE_EIO,
		                   "a picture as PNG is painted by " PAINTER " (librsvg), which is not installed: "
		                   "install it, or write -o NAME.svg");
	errno = failed;
	if (failed)
		return moe_err_sys(err, PAINTER ": cannot run");
	do
		got = waitpid(pid, how, 0);
	while (got < 0 && errno == EINTR);
	return got == pid ? MOE_OK : moe_err_sys(err, PAINTER ": cannot wait for it");
}

/* Does it begin and end as a whole PNG does? */
static bool is_png(const struct moe_buf *picture)
{
	static const char head[] = "\x89PNG\r\n\x1a\n", tail[] = "IEND\xae\x42\x60\x82";

	return picture->n > 16 && memcmp(picture->p, head, 8) == 0 &&
	       memcmp(picture->p + picture->n - 8, tail, 8) == 0;
}

enum moe_status stats_paint(struct moe_buf *picture, struct moe_err *err)
{
	FILE *ends[3] = {tmpfile(), tmpfile(), tmpfile()};
	struct moe_buf png = {0}, words = {0};
	enum moe_status status = moe_buf_check(picture, err);
	int how = 0;

	if (!status && (!ends[0] || !ends[1] || !ends[2] ||
	                fwrite(picture->p, 1, picture->n, ends[0]) != picture->n || fflush(ends[0])))
		status = moe_err_sys(err, "a picture: cannot write a temporary file");
	if (!status) {
		rewind(ends[0]);
		status = run_painter(ends, &how, err);
	}
	if (!status)
		status = read_back(ends[1], SIZE_MAX, &png, err);
	if (!status && (!WIFEXITED(how) || WEXITSTATUS(how) != 0 || !is_png(&png))) {
		status = read_back(ends[2], 300, &words, err);
		words.n = words.p ? strcspn(words.p, "\n") : 0;
		if (words.n == 0)
			moe_buf_adds(&words, "it did not say why");
		if (!status && !(status = moe_buf_check(&words, err)))
			status = moe_err_set(err, MOE_EIO, PAINTER " painted no picture: %.*s", (int)words.n, words.p);
	}
	if (!status) {
		struct moe_buf svg = *picture;

		*picture = png;
		png = svg;
	}
	for (int i = 0; i < 3; i++)
		if (ends[i])
			fclose(ends[i]);
	moe_buf_free(&png);
	moe_buf_free(&words);
	return status;
}
