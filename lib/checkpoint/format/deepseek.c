/* DeepSeek's own inference layout: model{rank}-mp{N}.safetensors, a file for each of N ranks that compute together.
 *
 * Each holds its experts, its rows or columns of the large matrices, and a copy of all the rest, under names of their
 * own (deepseek.h). Read, it is one checkpoint under the published names, whose cut matrices lie in parts. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "checkpoint/deepseek.h"
#include "checkpoint/hf_dir.h"

#define SCALES_SUFFIX "_scale_inv"

/* Takes a number without leading zeros; false where there is none. */
static bool take_int(const char **at, int32_t *out)
{
	int64_t v = 0;
	const char *p = *at;

	if (*p < '0' || *p > '9' || (*p == '0' && p[1] >= '0' && p[1] <= '9'))
		return false;
	for (; *p >= '0' && *p <= '9' && v < INT32_MAX; p++)
		v = v * 10 + (*p - '0');
	*at = p;
	*out = (int32_t)v;
	return v <= INT32_MAX;
}

static bool is_rank_file(const char *name, int32_t *rank, int32_t *n_ranks)
{
	if (strncmp(name, "model", 5))
		return false;
	name += 5;
	if (!take_int(&name, rank) || strncmp(name, "-mp", 3))
		return false;
	name += 3;
	return take_int(&name, n_ranks) && !strcmp(name, ".safetensors") && *rank < *n_ranks;
}

static bool probe(const char *path)
{
	struct moe_listing list = { 0 };
	int32_t rank, n_ranks;
	bool ours = false;

	if (moe_is_dir(path) && moe_listing_make(&list, path, NULL) == MOE_OK && !list.has_index)
		for (size_t i = 0; i < list.n; i++)
			ours |= is_rank_file(list.names[i], &rank, &n_ranks);
	moe_listing_free(&list);
	return ours;
}

/* The first rank without a file. */
static int32_t missing_rank(const struct moe_listing *list)
{
	for (int32_t want = 0; ; want++) {
		bool found = false;

		for (size_t i = 0; i < list->n && !found; i++) {
			int32_t rank, n;

			found = is_rank_file(list->names[i], &rank, &n) && rank == want;
		}
		if (!found)
			return want;
	}
}

/* How many ranks the files are for: all are there, and no others. */
static enum moe_status count_ranks(const struct moe_listing *list, const char *dir, int32_t *n_ranks,
                                   struct moe_err *err)
{
	int32_t n_found = 0;

	*n_ranks = 0;
	for (size_t i = 0; i < list->n; i++) {
		const char *name = list->names[i], *end = strrchr(name, '.');
		int32_t rank, n;

		if (!end || strcmp(end, ".safetensors"))
			continue;
		if (!is_rank_file(name, &rank, &n))
			return moe_err_set(err, MOE_EFORMAT, "%s: %s lies beside the files of ranks and is none", dir,
			                   name);
		if (*n_ranks && n != *n_ranks)
			return moe_err_set(err, MOE_EFORMAT, "%s: files for %d ranks and for %d lie side by side", dir,
			                   *n_ranks, n);
		*n_ranks = n;
		n_found++;
	}
	if (n_found != *n_ranks)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected the files of %d ranks, found %d: there is no "
		                   "model%d-mp%d.safetensors", dir, *n_ranks, n_found, missing_rank(list), *n_ranks);
	return MOE_OK;
}

/* What the tensors of all ranks become. */
struct join {
	struct moe_ckpt *ckpt;
	int32_t n_ranks;
	struct moe_tensor *out;      /* [n] so far; the published names */
	size_t n;
	struct moe_replica *replicas;
	size_t n_replicas;
	struct moe_err *err;
};

static int compare_found(const void *a, const void *b)
{
	const struct moe_tensor *x = a, *y = b;
	const int order = strcmp(x->name, y->name);

	return order ? order : (x->file > y->file) - (x->file < y->file);
}

static enum moe_status refuse(const struct join *j, const struct moe_tensor *t, const char *what)
{
	return moe_err_set(j->err, MOE_EFORMAT, "%s: tensor '%s' %s", moe_ckpt_file(j->ckpt, t), t->name, what);
}

static bool same_shape(const struct moe_tensor *a, const struct moe_tensor *b, int32_t but)
{
	for (int32_t d = 0; d < a->n_dims && a->n_dims == b->n_dims; d++)
		if (d != but && a->dims[d] != b->dims[d])
			return false;
	return a->codec == b->codec && a->n_dims == b->n_dims;
}

/* One tensor of the parts that the ranks hold, along dimension `dim`. */
static enum moe_status join_parts(struct join *j, const struct moe_tensor *found, int32_t dim)
{
	struct moe_tensor *t = &j->out[j->n];
	struct moe_weight *parts = MOE_NEW(&j->ckpt->arena, struct moe_weight, j->n_ranks);
	struct moe_parted *parted = MOE_NEW(&j->ckpt->arena, struct moe_parted, 1);

	if (!parts || !parted)
		return moe_err_nomem(j->err, (size_t)j->n_ranks * sizeof *parts, "parts of a matrix");
	*t = found[0];
	if (t->n_dims != 2 || t->codec->block_elems != 1)
		return refuse(j, t, "is cut for ranks and no matrix");
	t->data = NULL;
	t->dims[dim] = 0;
	t->n_bytes = 0;
	for (int32_t i = 0; i < j->n_ranks; i++) {
		if (!same_shape(&found[i], &found[0], dim))
			return refuse(j, &found[i], "has another type or shape than in the first rank's file");
		parts[i] = (struct moe_weight){ .codec = found[i].codec, .data = found[i].data,
		                                .rows = found[i].dims[0], .cols = found[i].dims[1] };
		if (__builtin_add_overflow(t->dims[dim], found[i].dims[dim], &t->dims[dim]))
			return refuse(j, t, "is too large to count");
		t->n_bytes += found[i].n_bytes;
	}
	*parted = (struct moe_parted){ .n = j->n_ranks, .by_cols = dim == 1, .parts = parts };
	t->parted = parted;
	j->n++;
	return MOE_OK;
}

/* What every rank has a copy of. */
static enum moe_status join_copies(struct join *j, const struct moe_tensor *found)
{
	for (int32_t i = 1; i < j->n_ranks; i++) {
		if (!same_shape(&found[i], &found[0], -1))
			return refuse(j, &found[i], "has another type or shape than in the first rank's file");
		j->replicas[j->n_replicas++] = (struct moe_replica){ .tensor = found[0], .other = found[i] };
	}
	j->out[j->n++] = found[0];
	return MOE_OK;
}

/* `n` tensors of one name, in the order of their ranks. */
static enum moe_status join_one(struct join *j, const struct moe_tensor *found, int32_t n)
{
	struct moe_buf own = { 0 };
	enum moe_cut cut = MOE_CUT_NONE;
	const bool known = moe_deepseek_name(found[0].name, &own, &cut);
	const bool each = known && cut != MOE_CUT_EXPERTS && j->n_ranks > 1;

	moe_buf_free(&own);
	if (each && n != j->n_ranks)
		return moe_err_set(j->err, MOE_EFORMAT, "%s: tensor '%s' is in the files of %d ranks, expected all %d",
		                   j->ckpt->path, found[0].name, n, j->n_ranks);
	if (!each && n > 1)
		return refuse(j, &found[1], "is in two files");
	if (!each) {
		j->out[j->n++] = found[0];
		return MOE_OK;
	}
	return cut == MOE_CUT_NONE ? join_copies(j, found) : join_parts(j, found, cut == MOE_CUT_COLS);
}

/* The scales of matrices in parts are in parts too: each belongs to one of the matrix's, at whole blocks. */
static enum moe_status give_scales(const struct join *j, const struct moe_tensor *t)
{
	const size_t n = strlen(t->name);
	const struct moe_tensor *scales = NULL;

	/* they are sorted by name: close behind it, if they are there */
	for (const struct moe_tensor *s = t + 1; s < j->out + j->n && !scales && !strncmp(s->name, t->name, n); s++)
		if (!strcmp(s->name + n, SCALES_SUFFIX))
			scales = s;
	if (!scales || !scales->parted)
		return MOE_OK;   /* whoever needs them says so */
	for (int32_t i = 0; i < t->parted->n; i++) {
		struct moe_weight *w = (struct moe_weight *)&t->parted->parts[i];
		const struct moe_weight *s = &scales->parted->parts[i];
		const int64_t size = t->parted->by_cols ? w->cols : w->rows;

		if ((size % MOE_SCALE_BLOCK && i + 1 < t->parted->n) ||
		    s->rows != (w->rows + MOE_SCALE_BLOCK - 1) / MOE_SCALE_BLOCK ||
		    s->cols != (w->cols + MOE_SCALE_BLOCK - 1) / MOE_SCALE_BLOCK)
			return moe_err_set(j->err, MOE_EFORMAT, "%s: tensor '%s': the parts of its ranks do not begin "
			                   "at whole blocks of %d that share a scale", j->ckpt->path, t->name,
			                   MOE_SCALE_BLOCK);
		w->scales = s->data;
		w->e8m0 = !s->codec->is_float;
	}
	return MOE_OK;
}

static enum moe_status rename_all(struct moe_ckpt *ckpt, struct moe_err *err)
{
	struct moe_buf name = { 0 };
	enum moe_status st = MOE_OK;

	for (size_t i = 0; i < ckpt->n_tensors && !st; i++) {
		name.n = 0;
		moe_deepseek_published(ckpt->tensors[i].name, &name);
		st = moe_buf_check(&name, err);
		if (!st && !(ckpt->tensors[i].name = moe_arena_strndup(&ckpt->arena, name.p, name.n)))
			st = moe_err_nomem(err, name.n, "a tensor's name");
	}
	moe_buf_free(&name);
	return st;
}

static enum moe_status join_all(struct moe_ckpt *ckpt, int32_t n_ranks, struct moe_err *err)
{
	const size_t n = ckpt->n_tensors;
	struct join j = { .ckpt = ckpt, .n_ranks = n_ranks, .err = err };
	enum moe_status st = rename_all(ckpt, err);

	if (st || n_ranks == 1)
		return st;
	j.out = calloc(n + 1, sizeof *j.out);
	j.replicas = MOE_NEW(&ckpt->arena, struct moe_replica, n + 1);
	if (!j.out || !j.replicas)
		st = moe_err_nomem(err, n * sizeof *j.out, "a table of tensors");
	if (!st && n > 1)
		qsort(ckpt->tensors, n, sizeof *ckpt->tensors, compare_found);
	for (size_t i = 0, end; i < n && !st; i = end) {
		for (end = i + 1; end < n && !strcmp(ckpt->tensors[i].name, ckpt->tensors[end].name);)
			end++;
		if (end - i > (size_t)n_ranks)
			st = refuse(&j, &ckpt->tensors[i], "is there twice");
		else
			st = join_one(&j, &ckpt->tensors[i], (int32_t)(end - i));
	}
	for (size_t i = 0; i < j.n && !st; i++)
		if (j.out[i].parted && j.out[i].codec->scaled)
			st = give_scales(&j, &j.out[i]);
	if (st) {
		free(j.out);
		return st;
	}
	free(ckpt->tensors);
	ckpt->tensors = j.out;
	ckpt->n_tensors = j.n;
	ckpt->replicas = j.replicas;
	ckpt->n_replicas = j.n_replicas;
	return MOE_OK;
}

static enum moe_status open_dir(struct moe_ckpt *ckpt, const char *dir, struct moe_err *err)
{
	struct moe_listing list = { 0 };
	int32_t n_ranks = 0;
	enum moe_status st = moe_listing_make(&list, dir, err);

	if (!st && list.odd)
		st = moe_listing_refuse(&list, dir, err);
	if (!st)
		st = count_ranks(&list, dir, &n_ranks, err);
	if (!st)
		st = moe_format_alloc_files(ckpt, (size_t)n_ranks, err);
	for (int32_t r = 0; r < n_ranks && !st; r++) {
		char name[64];

		snprintf(name, sizeof name, "model%d-mp%d.safetensors", r, n_ranks);
		st = moe_safetensors_open(ckpt, dir, name, "the number of ranks", err);
	}
	if (!st)
		st = join_all(ckpt, n_ranks, err);
	if (!st)
		st = moe_listing_companions(ckpt, dir, &list, err);
	moe_listing_free(&list);
	return st;
}

const struct moe_format moe_format_deepseek = {
	.name = "deepseek",
	.naming = MOE_NAMING_HF,
	.help = "DeepSeek's inference layout: a directory of model{rank}-mp{N}.safetensors",
	.probe = probe,
	.open = open_dir,
	.rank_name = moe_deepseek_name,
	.writer = &moe_safetensors_writer,
};
