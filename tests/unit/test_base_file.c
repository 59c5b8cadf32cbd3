/* Outputs that appear complete or not at all, mappings, whole reads, and the watch. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../tap.h"
#include "base/watch.h"

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		printf("# cannot write %s: %s\n", path, strerror(errno));
}

/* The text of a file in a static buffer, or NULL. */
static const char *get(const char *path)
{
	static char text[256];
	FILE *f = fopen(path, "r");

	if (!f)
		return NULL;
	text[fread(text, 1, sizeof text - 1, f)] = '\0';
	fclose(f);
	return text;
}

/* Entries of a directory beside "." and "..". */
static int n_entries(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;

	if (!dir)
		return -1;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static void test_out(struct moe_watch *watch)
{
	struct moe_err err = {0};
	struct moe_out *out = NULL;
	struct stat st;

	ok(!moe_out_open(&out, "a", 0, watch, &err), "an output is opened");
	is_i64(n_entries("."), 1, "under another name");
	ok(access("a", F_OK) != 0, "not yet its own");
	ok(!moe_out_write(out, "12345", 5, &err) && !moe_out_printf(out, &err, "%d", 67), "written");
	is_i64((int64_t)moe_out_bytes(out), 7, "bytes are counted");
	ok(!moe_out_flush(out, &err) && !moe_out_pwrite(out, "X", 1, 2, &err) && !moe_out_write(out, "8", 1, &err),
	   "positioned writes do not move the append position");
	ok(!moe_out_commit(out, &err), "committed");
	is_str(get("a"), "12X45678", "and there");
	is_i64(n_entries("."), 1, "alone");

	is_i64(moe_out_open(&out, "a", 0, watch, &err), MOE_EUSAGE, "an existing file is not replaced");
	is_str(err.text, "'a' exists: use --force to replace it", "and the sentence says how");
	chmod("a", 0640);
	ok(!moe_out_open(&out, "a", MOE_OUT_FORCE, watch, &err) && !moe_out_printf(out, &err, "new"), "unless forced");
	is_str(get("a"), "12X45678", "the old one stays until then");
	ok(!moe_out_commit(out, &err), "commit");
	is_str(get("a"), "new", "the new one");
	ok(stat("a", &st) == 0 && (st.st_mode & 0777) == 0640, "keeps the permissions");

	ok(!moe_out_open(&out, "b", 0, watch, &err) && !moe_out_printf(out, &err, "half"), "an output given up");
	moe_out_abort(out);
	is_i64(n_entries("."), 1, "leaves nothing");
	moe_out_abort(NULL);

	ok(!moe_out_open(&out, "b", 0, watch, &err), "a file that appears meanwhile");
	put("b", "other");
	is_i64(moe_out_commit(out, &err), MOE_EUSAGE, "is not overwritten");
	is_str(get("b"), "other", "it stays");
	is_i64(n_entries("."), 2, "and no temporary does");
	unlink("b");

	ok(symlink("a", "link") == 0 && !moe_out_open(&out, "link", MOE_OUT_FORCE, watch, &err) &&
	   !moe_out_printf(out, &err, "through") && !moe_out_commit(out, &err), "through a symbolic link");
	is_str(get("a"), "through", "the target is replaced");
	ok(lstat("link", &st) == 0 && S_ISLNK(st.st_mode), "the link stays");
	unlink("link");
}

static void test_refusals(struct moe_watch *watch)
{
	struct moe_err err = {0};
	struct moe_out *out = NULL;
	char big[1000];

	is_i64(moe_out_open(&out, "none/x", 0, watch, &err), MOE_EIO, "no such directory");
	is_str(err.text, "cannot create 'none/x': No such file or directory", "is said");
	is_i64(moe_out_open(&out, ".", MOE_OUT_FORCE, watch, &err), MOE_EUSAGE, "a directory is no file");
	is_i64(moe_out_open(&out, "", 0, watch, &err), MOE_EUSAGE, "an empty name");

	memset(big, 'x', sizeof big);
	ok(!moe_out_open(&out, "/dev/full", 0, watch, &err), "a device is opened as it is, without force");
	is_i64(moe_out_pwrite(out, "x", 1, 0, &err), MOE_EUSAGE, "but not written out of order");
	ok(!moe_out_write(out, big, sizeof big, &err), "the buffer takes some");
	is_i64(moe_out_commit(out, &err), MOE_EIO, "commit finds the disk full");
	is_str(err.text, "/dev/full: cannot write: No space left on device", "and says so");
	ok(access("/dev/full", F_OK) == 0, "the device is still there");
	ok(!moe_out_open(&out, "/dev/null", 0, watch, &err) && !moe_out_write(out, big, sizeof big, &err) &&
	   !moe_out_commit(out, &err), "/dev/null takes everything");
}

/* A write that fails half-way (a limit on file size stands in for a full disk) leaves nothing. */
static void test_full(struct moe_watch *watch)
{
	pid_t child;
	int status = 0;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		struct rlimit limit = {100000, 100000};
		struct moe_err err = {0};
		struct moe_out *out = NULL;
		enum moe_status failed = MOE_OK;
		char kb[1024] = {0};

		signal(SIGXFSZ, SIG_IGN);
		if (setrlimit(RLIMIT_FSIZE, &limit) || moe_out_open(&out, "full", 0, watch, &err))
			_exit(2);
		for (int i = 0; !failed && i < 1000; i++)
			failed = moe_out_write(out, kb, sizeof kb, &err);
		if (failed != MOE_EIO || moe_out_commit(out, &err) != MOE_EIO)
			_exit(3);
		_exit(0);
	}
	waitpid(child, &status, 0);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a failed write fails, and so does the commit after it");
	is_i64(n_entries("."), 1, "nothing is left under either name");
}

static void test_outdir(struct moe_watch *watch)
{
	struct moe_err err = {0};
	struct moe_outdir *dir = NULL;
	struct moe_out *out = NULL;

	ok(!moe_outdir_open(&dir, "d/", 0, watch, &err), "a directory is opened");
	ok(access("d", F_OK) != 0, "under another name");
	ok(!moe_outdir_file(dir, "sub/deep/f", &out, &err) && !moe_out_printf(out, &err, "inside") &&
	   !moe_out_commit(out, &err), "a file in it");
	ok(!moe_outdir_file(dir, "g", &out, &err), "another one");
	moe_out_abort(out);
	is_i64(moe_outdir_file(dir, "../g", &out, &err), MOE_EFORMAT, "no file outside");
	is_i64(moe_outdir_file(dir, "/g", &out, &err), MOE_EFORMAT, "nor an absolute one");
	is_i64(moe_outdir_file(dir, "a//g", &out, &err), MOE_EFORMAT, "nor an unnamed directory");
	ok(!moe_outdir_commit(dir, &err), "committed");
	is_str(get("d/sub/deep/f"), "inside", "and there");
	is_i64(n_entries("d"), 1, "without what was given up");
	is_i64(n_entries("."), 2, "and without temporaries");

	is_i64(moe_outdir_open(&dir, "d", 0, watch, &err), MOE_EUSAGE, "an existing one needs force");
	is_i64(moe_outdir_open(&dir, "a", MOE_OUT_FORCE, watch, &err), MOE_EUSAGE, "a file is not replaced by one");
	is_i64(moe_outdir_open(&dir, "d/..", MOE_OUT_FORCE, watch, &err), MOE_EUSAGE, "nor a parent");
	ok(!moe_outdir_open(&dir, "d", MOE_OUT_FORCE, watch, &err) && !moe_outdir_file(dir, "new", &out, &err) &&
	   !moe_out_commit(out, &err), "forced");
	is_str(get("d/sub/deep/f"), "inside", "the old one stays until then");
	ok(!moe_outdir_commit(dir, &err), "commit");
	ok(access("d/new", F_OK) == 0 && access("d/sub", F_OK) != 0, "the new one has taken its place");
	is_i64(n_entries("."), 2, "and the old one is gone");

	ok(!moe_outdir_open(&dir, "e", 0, watch, &err) && !moe_outdir_file(dir, "x/y", &out, &err) &&
	   !moe_out_commit(out, &err), "a directory given up");
	moe_outdir_abort(dir);
	is_i64(n_entries("."), 2, "leaves nothing");
	moe_remove_tree("d");
	is_i64(n_entries("."), 1, "a tree is removed");
}

static void test_inputs(struct moe_watch *watch)
{
	struct moe_err err = {0};
	struct moe_map map = {0}, empty = {0};
	struct moe_buf buf = {0};
	char dash[] = "-";

	put("in", "0123456789");
	put("empty", "");
	ok(!moe_map_open(&map, "in", watch, &err) && map.n_bytes == 10 && memcmp(map.data, "0123456789", 10) == 0,
	   "a file is mapped");
	is_str(moe_watch_path_at(watch, map.data + 9), "in", "the watch knows its addresses");
	ok(moe_watch_path_at(watch, dash) == NULL, "and no others");
	moe_map_close(&map);
	moe_map_close(&map);
	ok(!moe_map_open(&empty, "empty", watch, &err) && !empty.data && empty.n_bytes == 0,
	   "an empty file has no data");
	moe_map_close(&empty);
	is_i64(moe_map_open(&map, ".", watch, &err), MOE_EIO, "a directory is refused");
	is_str(err.text, ".: is a directory, a file was expected", "with a sentence");
	is_i64(moe_map_open(&map, "/dev/null", watch, &err), MOE_EIO, "a device too");
	is_i64(moe_map_open(&map, "nothing", watch, &err), MOE_EIO, "and what is not there");
	is_str(err.text, "nothing: No such file or directory", "with a sentence");

	ok(!moe_read_all("in", 10, &buf, &err) && buf.n == 10 && strcmp(buf.p, "0123456789") == 0, "read whole");
	is_i64(moe_read_all("in", 9, &buf, &err), MOE_EFORMAT, "one byte too many");
	moe_buf_free(&buf);
	ok(!moe_read_all("empty", 0, &buf, &err) && buf.n == 0 && buf.p && *buf.p == '\0', "nothing, terminated");
	moe_buf_free(&buf);
	is_i64(moe_read_all(".", 0, &buf, &err), MOE_EIO, "a directory is not read");
	moe_buf_free(&buf);

	ok(!moe_free_space("in", 1, &err) && !moe_free_space("not/yet/there", 1, &err) && !moe_free_space("-", 1, &err),
	   "one byte is free");
	is_i64(moe_free_space("not/yet/there", UINT64_C(1) << 62, &err), MOE_EIO, "4 EiB are not");
	is_like(err.text, "not/yet/there: needs 4096.0 PiB, but only ", "which is said");
	unlink("in");
	unlink("empty");
}

static void test_sweep(void)
{
	struct moe_err err = {0};
	struct moe_watch *watch = NULL;
	struct moe_out *out[100], *late = NULL;
	struct moe_outdir *dir = NULL;
	int n = 0;

	ok(!moe_watch_new(&watch, &err), "a watch");
	for (int i = 0; i < 100; i++) {
		char name[16];

		snprintf(name, sizeof name, "o%d", i);
		n += !moe_out_open(&out[i], name, 0, watch, &err);
	}
	is_i64(n, 100, "many outputs");
	ok(!moe_outdir_open(&dir, "d", 0, watch, &err) && !moe_outdir_file(dir, "x/y", &late, &err), "and a directory");
	moe_out_abort(out[0]);
	moe_watch_sweep(watch);
	is_i64(n_entries("."), 1, "are swept");
	is_i64(moe_out_commit(out[1], &err), MOE_EIO, "none is committed after that");
	is_i64(moe_out_open(&out[1], "x", 0, watch, &err), MOE_EIO, "and none opened");
	moe_out_abort(late);
	moe_outdir_abort(dir);
	for (int i = 2; i < 100; i++)
		moe_out_abort(out[i]);
	is_i64(n_entries("."), 1, "giving up still works");
	moe_watch_free(watch);
}

int main(void)
{
	char scratch[] = "/tmp/test_base_file.XXXXXX";
	struct moe_watch *watch = NULL;
	struct moe_err err = {0};

	if (!mkdtemp(scratch) || chdir(scratch) != 0 || moe_watch_new(&watch, &err)) {
		printf("Bail out! no scratch directory\n");
		return 1;
	}
	test_out(watch);
	test_refusals(watch);
	test_full(watch);
	test_outdir(watch);
	test_inputs(watch);
	test_sweep();
	moe_watch_free(watch);
	if (chdir("/") == 0)
		moe_remove_tree(scratch);
	ok(access(scratch, F_OK) != 0, "the scratch directory is gone");
	return done();
}
