/* Outputs that appear complete or not at all, mappings, whole reads, and the watch. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
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
	is_i64(moe_outdir_open(&dir, "d", MOE_OUT_FORCE, watch, &err), MOE_EUSAGE, "what is no checkpoint stays");
	is_like(err.text, "'d' is not replaced, because it holds 'sub': ", "which is said");
	moe_remove_tree("d/sub");
	put("d/config.json", "old");
	ok(!moe_outdir_open(&dir, "d", MOE_OUT_FORCE, watch, &err) && !moe_outdir_file(dir, "new", &out, &err) &&
	   !moe_out_commit(out, &err), "forced");
	is_str(get("d/config.json"), "old", "the old one stays until then");
	ok(!moe_outdir_commit(dir, &err), "commit");
	ok(access("d/new", F_OK) == 0 && access("d/config.json", F_OK) != 0, "the new one has taken its place");
	is_i64(n_entries("."), 2, "and the old one is gone");
	put("d/config.json", "old");
	ok(!moe_outdir_open(&dir, "d", MOE_OUT_FORCE, watch, &err) && mkdir("d/mine", 0777) == 0, "a late stranger");
	is_i64(moe_outdir_commit(dir, &err), MOE_EUSAGE, "is found when the directory would be replaced");
	ok(access("d/mine", F_OK) == 0 && n_entries(".") == 2, "and stays, and nothing else is left");

	ok(!moe_outdir_open(&dir, "e", 0, watch, &err) && !moe_outdir_file(dir, "x/y", &out, &err) &&
	   !moe_out_commit(out, &err), "a directory given up");
	moe_outdir_abort(dir);
	is_i64(n_entries("."), 2, "leaves nothing");
	moe_remove_tree("d");
	is_i64(n_entries("."), 1, "a tree is removed");
}

/* Which directories --force replaces. */
static void test_replaced(struct moe_watch *watch)
{
	static const struct {
		const char *dirs, *file, *foreign;   /* made in "r"; NULL: it is replaced */
	} cases[] = {
		{"", NULL, NULL},
		{"", "config.json", NULL},
		{"", "a.safetensors", NULL},
		{"", "model.safetensors.index.json", NULL},
		{"", "notes.txt", "notes.txt"},
		{"", "rank-000.gguf", NULL},
		{"", "rank-000.source.json", NULL},
		{"", "rank-x.gguf", "rank-x.gguf"},
		{"rank-007", NULL, NULL},
		{"rank-007", "rank-007/config.json", NULL},
		{"rank-007", "notes.txt", "notes.txt"},
		{"rank-007", "rank-007/notes.txt", "rank-007/notes.txt"},
		{"rank-007 rank-007/moe-source.files", "rank-007/config.json", NULL},
		{"rank-007 rank-007/moe-source.files", "rank-007/moe-source.files/config.json", NULL},
		{"rank-007 rank-007/moe-source.files rank-007/moe-source.files/d", "config.json",
		 "rank-007/moe-source.files/d"},
		{"rank-007 rank-007/rank-007", "config.json", "rank-007/rank-007"},
		{"zebra other", "config.json", "other"},
		{"rank-007x", "config.json", "rank-007x"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct moe_str rest = moe_str_of(cases[i].dirs), name;
		struct moe_err err = {0};
		enum moe_status status;
		char path[128];

		mkdir("r", 0777);
		while (moe_str_next(&rest, ' ', &name)) {
			snprintf(path, sizeof path, "r/%.*s", (int)name.n, name.p);
			if (name.n)
				mkdir(path, 0777);
		}
		snprintf(path, sizeof path, "r/%s", cases[i].file ? cases[i].file : "");
		if (cases[i].file)
			put(path, "x");
		status = moe_outdir_check("r", MOE_OUT_FORCE, watch, &err);
		snprintf(path, sizeof path, "'r' is not replaced, because it holds '%s': ",
		         cases[i].foreign ? cases[i].foreign : "");
		if (cases[i].foreign)
			ok(status == MOE_EUSAGE && strncmp(err.text, path, strlen(path)) == 0, "[%s] and %s: %s",
			   cases[i].dirs, cases[i].file ? cases[i].file : "nothing", err.text);
		else
			ok(!status, "[%s] and %s may be replaced: %s", cases[i].dirs,
			   cases[i].file ? cases[i].file : "nothing", err.text);
		moe_remove_tree("r");
	}
}

/* No output destroys what is read, by whatever name. */
static void test_guard(void)
{
	struct moe_watch *watch = NULL;
	struct moe_err err = {0};
	struct moe_out *out = NULL;

	if (moe_watch_new(&watch, &err) || mkdir("g", 0777) || mkdir("g/m", 0777) || symlink("g", "alias"))
		printf("# no scratch\n");
	put("g/m/config.json", "{}");
	put("g/text", "words");
	ok(link("g/text", "hard") == 0, "a second name");
	ok(!moe_watch_add_input(watch, "g/m", &err) && !moe_watch_add_input(watch, "g/text", &err) &&
	   !moe_watch_add_input(watch, "-", &err) && !moe_watch_add_input(watch, "none", &err) &&
	   !moe_watch_add_input(watch, "/dev/null", &err) && !moe_watch_add_input(watch, NULL, &err), "inputs");
	is_i64(moe_out_open(&out, "alias/text", MOE_OUT_FORCE, watch, &err), MOE_EUSAGE, "an input is no output");
	is_str(err.text, "the output 'alias/text' is the same file as 'g/text', which is read: name another place",
	       "and both are named");
	is_i64(moe_out_check("hard", MOE_OUT_FORCE, watch, &err), MOE_EUSAGE, "nor is its other name");
	ok(!moe_out_check("/dev/null", 0, watch, &err) && !moe_out_check("-", 0, watch, &err), "a device may be both");
	ok(!moe_out_check("g/m/new", 0, watch, &err), "a new file may lie beside inputs");
	is_i64(moe_outdir_check("g", MOE_OUT_FORCE, watch, &err), MOE_EUSAGE, "a directory that holds an input");
	is_str(err.text, "the output 'g' holds 'g/m', which is read: name another place", "is said to");
	is_i64(moe_outdir_check("alias/m/", MOE_OUT_FORCE, watch, &err), MOE_EUSAGE, "that is one");
	is_str(err.text, "the output 'alias/m' is the same as 'g/m', which is read: name another place", "is said to");
	is_i64(moe_outdir_check("alias/m/new", 0, watch, &err), MOE_EUSAGE, "that would lie inside one");
	is_str(err.text, "the output 'alias/m/new' lies inside 'g/m', which is read: name another place", "is said to");
	ok(!moe_outdir_check("g/new", 0, watch, &err), "beside one is fine");
	is_i64(moe_outdir_check("-", 0, watch, &err), MOE_EUSAGE, "stdout is no directory");
	ok(!moe_outdir_check("./-", 0, watch, &err), "but one may be called like that");

	is_i64(moe_out_distinct("z", "./z", &err), MOE_EUSAGE, "two new outputs of one name");
	is_i64(moe_out_distinct("g/z", "alias/z", &err), MOE_EUSAGE, "by two ways");
	is_i64(moe_out_distinct("hard", "g/text", &err), MOE_EUSAGE, "and two links");
	is_i64(moe_out_distinct("-", "-", &err), MOE_EUSAGE, "and stdout twice");
	ok(!moe_out_distinct("z", "g/z", &err) && !moe_out_distinct("z", "hard", &err) &&
	   !moe_out_distinct("/dev/null", "/dev/null", &err) && !moe_out_distinct("z", "-", &err), "others are two");
	moe_remove_tree("g");
	unlink("hard");
	unlink("alias");
	moe_watch_free(watch);
}

/* --force promises that free space does not matter. */
static void test_room(struct moe_watch *watch)
{
	struct moe_err err = {0};
	struct moe_out *out = NULL;
	struct moe_outdir *dir = NULL;

	ok(!moe_out_open(&out, "o", 0, watch, &err) && !moe_outdir_open(&dir, "e", 0, watch, &err), "two outputs");
	ok(!moe_out_room(out, 1, &err) && !moe_outdir_room(dir, 1, &err), "one byte is free");
	is_i64(moe_out_room(out, UINT64_C(1) << 62, &err), MOE_EIO, "4 EiB are not");
	is_like(err.text, "o: needs 4096.0 PiB, but only ", "and the output is named");
	is_i64(moe_outdir_room(dir, UINT64_C(1) << 62, &err), MOE_EIO, "nor for a directory");
	is_like(err.text, "e: needs 4096.0 PiB, but only ", "which is named");
	moe_out_abort(out);
	moe_outdir_abort(dir);
	ok(!moe_out_open(&out, "o", MOE_OUT_FORCE, watch, &err) &&
	   !moe_outdir_open(&dir, "e", MOE_OUT_FORCE, watch, &err), "two forced ones");
	ok(!moe_out_room(out, UINT64_C(1) << 62, &err) && !moe_outdir_room(dir, UINT64_C(1) << 62, &err),
	   "go on all the same");
	moe_out_abort(out);
	moe_outdir_abort(dir);
}

/* Creates files in the directory until it may not any more. */
static void *create_files(void *arg)
{
	struct moe_err err = {0};
	struct moe_out *out;
	char name[64];

	for (int i = 0;; i++) {
		snprintf(name, sizeof name, "%p/%d", (void *)&err, i);
		if (moe_outdir_file(arg, name, &out, &err))
			return NULL;
		if (moe_out_commit(out, &err))
			return NULL;
	}
}

/* A sweep while threads create files: nothing may be left behind it. */
static void test_sweep_race(void)
{
	struct moe_err err = {0};
	struct moe_outdir *dir = NULL;
	pthread_t threads[4];
	int n_before = n_entries(".");

	for (int round = 0; round < 10; round++) {
		const struct timespec pause = {.tv_nsec = 3000000};
		struct moe_watch *watch = NULL;

		if (moe_watch_new(&watch, &err) || moe_outdir_open(&dir, "d", 0, watch, &err)) {
			ok(false, "a directory: %s", err.text);
			return;
		}
		for (int i = 0; i < 4; i++)
			pthread_create(&threads[i], NULL, create_files, dir);
		nanosleep(&pause, NULL);
		moe_watch_sweep(watch);
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
		moe_outdir_abort(dir);
		moe_watch_free(watch);
	}
	is_i64(n_entries("."), n_before, "no file outlives a sweep");
}

static void test_kinds(void)
{
	if (mkfifo("fifo", 0666) || symlink("none", "dangling") || symlink("loop", "loop"))
		printf("# no scratch\n");
	put("plain", "");
	ok(!moe_path_kind("plain") && !moe_path_kind("none"), "a file, and nothing");
	is_str(moe_path_kind("."), "a directory", "a directory");
	is_str(moe_path_kind("fifo"), "a FIFO", "a FIFO");
	is_str(moe_path_kind("dangling"), "a symbolic link to nothing", "a dangling link");
	is_str(moe_path_kind("loop"), "a symbolic link that leads back to itself", "a loop");
	is_str(moe_path_kind("/dev/null"), "a device", "a device");
	unlink("plain");
	unlink("fifo");
	unlink("dangling");
	unlink("loop");
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
	test_replaced(watch);
	test_guard();
	test_room(watch);
	test_kinds();
	test_inputs(watch);
	test_sweep();
	test_sweep_race();
	moe_watch_free(watch);
	if (chdir("/") == 0)
		moe_remove_tree(scratch);
	ok(access(scratch, F_OK) != 0, "the scratch directory is gone");
	return done();
}
