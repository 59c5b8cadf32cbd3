/* For tests of checkpoints: files in a directory of their own, and opening them. Included after tap.h. */
#ifndef MOE_TESTS_CKPT_H
#define MOE_TESTS_CKPT_H

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/str.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/write.h"

/* A new directory; the program ends if there is none to be had. */
static char *make_dir(void)
{
	const char *top = getenv("TMPDIR");
	struct moe_buf path = { 0 };

	moe_buf_addf(&path, "%s/moe-test-XXXXXX", top && *top ? top : "/tmp");
	if (!path.p || !mkdtemp(path.p)) {
		ok(false, "a temporary directory");
		exit(done());
	}
	return path.p;
}

/* Removes a directory of plain files and of such directories. */
static void remove_dir(const char *dir)
{
	DIR *handle = opendir(dir);
	struct dirent *entry;

	while (handle && (entry = readdir(handle))) {
		char *path = moe_path_join(dir, entry->d_name);

		if (entry->d_name[0] != '.' && moe_is_dir(path))
			remove_dir(path);
		else
			unlink(path);
		free(path);
	}
	if (handle)
		closedir(handle);
	rmdir(dir);
}

static void put_bytes(const char *dir, const char *name, const void *bytes, size_t n)
{
	char *path = moe_path_join(dir, name);
	FILE *file = fopen(path, "wb");

	if (!file || fwrite(bytes, 1, n, file) != n || fclose(file)) {
		ok(false, "%s can be written", path);
		exit(done());
	}
	free(path);
}

__attribute__((unused)) static void put_text(const char *dir, const char *name, const char *text)
{
	put_bytes(dir, name, text, strlen(text));
}

/* dir/name opens (name NULL: dir itself), or the program ends with the reason. */
__attribute__((unused)) static struct moe_ckpt *open_good(const char *dir, const char *name, const char *what)
{
	char *path = moe_path_join(dir, name ? name : ".");
	struct moe_ckpt *ckpt = NULL;
	struct moe_err err = { 0 };

	if (!ok(moe_ckpt_open(&ckpt, name ? path : dir, NULL, &err) == MOE_OK, "%s opens", what)) {
		printf("# %s\n", err.text);
		exit(done());
	}
	free(path);
	return ckpt;
}

/* dir/name (or dir) is refused as badly formed, with a sentence that holds both parts. */
__attribute__((unused)) static void open_bad(const char *dir, const char *name, const char *part,
                                              const char *part2, const char *what)
{
	char *path = moe_path_join(dir, name ? name : ".");
	struct moe_ckpt *ckpt = NULL;
	struct moe_err err = { 0 };
	enum moe_status status = moe_ckpt_open(&ckpt, name ? path : dir, NULL, &err);
	bool good = status == MOE_EFORMAT && !ckpt && strstr(err.text, part) && strstr(err.text, part2);

	if (!ok(good, "%s is refused", what))
		printf("# status %d: '%s'\n# without '%s' or '%s'\n", (int)status, err.text, part, part2);
	moe_ckpt_close(ckpt);
	free(path);
}

/* A step of writing that must succeed. */
static void step(enum moe_status status, const struct moe_err *err, const char *what)
{
	if (!ok(status == MOE_OK, "%s", what)) {
		printf("# %s\n", err->text);
		exit(done());
	}
}

/* Both hold the same tensors, values included, in any order of files. */
__attribute__((unused)) static void is_same(const struct moe_ckpt *got, const struct moe_ckpt *wanted, const char *what)
{
	bool same = got->n_tensors == wanted->n_tensors;

	for (size_t i = 0; i < wanted->n_tensors && same; i++) {
		const struct moe_tensor *a = &wanted->tensors[i], *b = moe_ckpt_find(got, a->name);

		same = b && a->codec == b->codec && a->n_dims == b->n_dims && a->n_bytes == b->n_bytes &&
		       !memcmp(a->dims, b->dims, (size_t)a->n_dims * sizeof a->dims[0]) &&
		       !memcmp(a->data, b->data, a->n_bytes);
		if (!same)
			printf("# tensor %s\n", a->name);
	}
	ok(same, "%s: the same tensors", what);
}

/* Declares everything of src, writes it in pieces of at most n_piece bytes, and commits. */
__attribute__((unused)) static void copy_tensors(struct moe_ckpt_out *out, const struct moe_ckpt *src, size_t n_piece)
{
	enum moe_status status = MOE_OK;
	struct moe_err err = { 0 };
	uint64_t total;

	for (size_t i = 0; i < src->n_tensors && !status; i++) {
		const struct moe_tensor *tensor = &src->tensors[i];

		status = moe_ckpt_out_declare(out, tensor->name, tensor->codec, tensor->dims, tensor->n_dims, &err);
	}
	step(status, &err, "tensors are declared");
	total = moe_ckpt_out_total(out);
	step(moe_ckpt_out_begin(out, &err), &err, "writing begins");
	ok(total > 0 && total == moe_ckpt_out_total(out), "the total is known before");
	for (size_t i = 0; i < src->n_tensors && !status; i++) {
		const struct moe_tensor *tensor = &src->tensors[i];

		for (size_t at = 0; at < tensor->n_bytes && !status; at += n_piece) {
			size_t n = tensor->n_bytes - at < n_piece ? tensor->n_bytes - at : n_piece;

			status = moe_ckpt_out_write(out, tensor->data + at, n, &err);
		}
	}
	step(status, &err, "tensors are written");
	step(moe_ckpt_out_commit(out, &err), &err, "writing ends");
}

#endif
