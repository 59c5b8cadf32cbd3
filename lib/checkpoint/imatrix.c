/* Reading tables of importance. */
#include "checkpoint/imatrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/str.h"
#include "checkpoint/format.h"

#define SUMS ".in_sum2"
#define COUNTS ".counts"

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct moe_imatrix_entry *)a)->name, ((const struct moe_imatrix_entry *)b)->name);
}

/* Sorts what was read; each name once. */
static enum moe_status finish(struct moe_imatrix *im, struct moe_err *err)
{
	if (im->n == 0)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected a table of importance, tensors such as "
		                   "blk.0.attn_q.weight" SUMS ", found none", im->path);
	qsort(im->entries, im->n, sizeof *im->entries, by_name);
	for (size_t i = 1; i < im->n; i++)
		if (!strcmp(im->entries[i - 1].name, im->entries[i].name))
			return moe_err_set(err, MOE_EFORMAT, "%s: an entry '%s' is there twice", im->path,
			                   im->entries[i].name);
	return MOE_OK;
}

/* ---- GGUF ---- */

/* The name without an ending, or 0 where it has another one. */
static size_t base_of(const char *name, const char *ending)
{
	const size_t n = strlen(name), m = strlen(ending);
	return n > m && !strcmp(name + n - m, ending) ? n - m : 0;
}

static enum moe_status check_shape(const struct moe_imatrix *im, const struct moe_tensor *t, const char *expected,
                                   bool right, struct moe_err *err)
{
	char dims[24 * MOE_MAX_DIMS];

	if (right && !strcmp(t->codec->name, "f32"))
		return MOE_OK;
	return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s: expected f32 %s, found %s %s", im->path, t->name, expected,
	                   t->codec->name, moe_dims_text(dims, t->dims, t->n_dims));
}

static enum moe_status take_tensor(struct moe_imatrix *im, const struct moe_tensor *sums, size_t n_base,
                                   struct moe_err *err)
{
	struct moe_imatrix_entry *entry = &im->entries[im->n];
	struct moe_buf name = {0};
	int64_t n_sums = 1;

	entry->name = moe_arena_strndup(&im->arena, sums->name, n_base);
	moe_buf_addf(&name, "%.*s" COUNTS, (int)n_base, sums->name);
	enum moe_status st = entry->name ? moe_buf_check(&name, err) : moe_err_nomem(err, n_base, "a name");
	const struct moe_tensor *counts = st ? NULL : moe_ckpt_find(im->ckpt, name.p);
	moe_buf_free(&name);
	if (st)
		return st;
	if (!counts)
		return moe_err_set(err, MOE_EFORMAT, "%s: tensor %s comes without %s" COUNTS, im->path, sums->name,
		                   entry->name);
	st = check_shape(im, counts, "[matrices, 1]",
	                 counts->n_dims == 2 && counts->dims[1] == 1 && counts->dims[0] > 0, err);
	if (st)
		return st;
	for (int32_t d = 0; d < sums->n_dims; d++)
		n_sums *= sums->dims[d];   /* within the file, so it fits */
	st = check_shape(im, sums, "[matrices, columns], as many as there are counts",
	                 sums->n_dims == 2 && sums->dims[0] == counts->dims[0] && n_sums > 0, err);
	entry->n_values = n_sums;
	entry->values = sums->data;
	entry->n_counts = counts->dims[0];
	entry->counts = counts->data;
	im->n += !st;
	return st;
}

static enum moe_status read_gguf(struct moe_imatrix *im, struct moe_watch *watch, struct moe_err *err)
{
	enum moe_status st = moe_ckpt_open(&im->ckpt, im->path, watch, err);

	if (st)
		return st;
	im->entries = calloc(im->ckpt->n_tensors + 1, sizeof *im->entries);
	if (!im->entries)
		return moe_err_nomem(err, im->ckpt->n_tensors * sizeof *im->entries, "a table of importance");
	for (size_t i = 0; i < im->ckpt->n_tensors && !st; i++) {
		const size_t n_base = base_of(im->ckpt->tensors[i].name, SUMS);
		if (n_base)
			st = take_tensor(im, &im->ckpt->tensors[i], n_base, err);
	}
	return st;
}

/* ---- the older format ---- */

struct reader {
	const struct moe_imatrix *im;
	size_t at;
	struct moe_err *err;
};

/* The next n bytes, or NULL with a sentence. */
static const uint8_t *take(struct reader *r, size_t n, const char *what)
{
	const struct moe_map *map = &r->im->map;

	if (n > map->n_bytes - r->at) {
		moe_err_set(r->err, MOE_EFORMAT, "%s: offset %zu: expected %s of %zu bytes, found %zu to the end",
		            r->im->path, r->at, what, n, map->n_bytes - r->at);
		return NULL;
	}
	r->at += n;
	return map->data + r->at - n;
}

/* A count of at least `least`. */
static bool take_count(struct reader *r, const char *what, int32_t least, int32_t *out)
{
	const uint8_t *p = take(r, 4, what);

	if (!p)
		return false;
	*out = (int32_t)moe_load_u32(p);
	if (*out >= least)
		return true;
	moe_err_set(r->err, MOE_EFORMAT, "%s: offset %zu: expected %s of at least %d, found %d", r->im->path, r->at - 4,
	            what, least, *out);
	return false;
}

static bool take_old(struct reader *r, struct moe_arena *arena, struct moe_imatrix_entry *entry)
{
	int32_t n_name, n_calls, n_values;
	const uint8_t *name;

	if (!take_count(r, "a name's length", 1, &n_name) || !(name = take(r, (size_t)n_name, "a name")))
		return false;
	if (memchr(name, 0, (size_t)n_name) || !moe_format_is_utf8(name, (size_t)n_name)) {
		moe_err_set(r->err, MOE_EFORMAT, "%s: offset %zu: expected a name in UTF-8", r->im->path,
		            r->at - (size_t)n_name);
		return false;
	}
	if (!take_count(r, "a number of calls", 0, &n_calls) || !take_count(r, "a number of values", 1, &n_values) ||
	    !(entry->values = take(r, 4 * (size_t)n_values, "values")))
		return false;
	entry->n_values = n_values;
	entry->name = moe_arena_strndup(arena, (const char *)name, (size_t)n_name);
	if (!entry->name)
		(void)!moe_err_nomem(r->err, (size_t)n_name, "a name");
	return entry->name;
}

static enum moe_status read_old(struct moe_imatrix *im, struct moe_watch *watch, struct moe_err *err)
{
	enum { LEAST_BYTES = 4 + 1 + 4 + 4 + 4 };   /* of an entry */
	struct moe_err why = {0};
	struct reader r = { .im = im, .err = &why };
	int32_t n = 0;
	enum moe_status st = moe_map_open(&im->map, im->path, watch, err);

	if (st)
		return st;
	if (take_count(&r, "a number of entries", 1, &n) && (size_t)n > im->map.n_bytes / LEAST_BYTES)
		moe_err_set(&why, MOE_EFORMAT, "%s: offset 0: %d entries do not fit %zu bytes", im->path, n,
		            im->map.n_bytes);
	if (!why.text[0] && !(im->entries = calloc((size_t)n, sizeof *im->entries)))
		return moe_err_nomem(err, (size_t)n * sizeof *im->entries, "a table of importance");
	while (!why.text[0] && im->n < (size_t)n && take_old(&r, &im->arena, &im->entries[im->n]))
		im->n++;
	/* what follows is of no use here; but it says whether the file was cut */
	if (!why.text[0] && r.at < im->map.n_bytes && take_count(&r, "a number of calls", 0, &n) &&
	    r.at < im->map.n_bytes && take_count(&r, "a name's length", 0, &n))
		(void)!take(&r, (size_t)n, "a name");
	if (!why.text[0] && r.at < im->map.n_bytes)
		moe_err_set(&why, MOE_EFORMAT, "%s: offset %zu: expected the end, found %zu bytes more", im->path, r.at,
		            im->map.n_bytes - r.at);
	return why.text[0] ? moe_err_set(err, MOE_EFORMAT, "%s (is it a table of importance?)", why.text) : MOE_OK;
}

/* ---- both ---- */

enum moe_status moe_imatrix_open(struct moe_imatrix *im, const char *path, struct moe_watch *watch,
                                 struct moe_err *err)
{
	char magic[4];
	enum moe_status st = moe_watch_add_input(watch, path, err);

	*im = (struct moe_imatrix){ .path = strdup(path) };
	if (!st && !im->path)
		st = moe_err_nomem(err, strlen(path), "a path");
	if (!st && moe_format_peek(path, magic, sizeof magic) && !memcmp(magic, "GGUF", sizeof magic))
		st = read_gguf(im, watch, err);
	else if (!st)
		st = read_old(im, watch, err);
	if (!st)
		st = finish(im, err);
	if (st)
		moe_imatrix_close(im);
	return st;
}

void moe_imatrix_close(struct moe_imatrix *im)
{
	moe_ckpt_close(im->ckpt);
	moe_map_close(&im->map);
	moe_arena_free(&im->arena);
	free(im->entries);
	free(im->path);
	*im = (struct moe_imatrix){0};
}

const struct moe_imatrix_entry *moe_imatrix_find(const struct moe_imatrix *im, const char *name)
{
	const struct moe_imatrix_entry key = { .name = name };
	return bsearch(&key, im->entries, im->n, sizeof key, by_name);
}

static float number_at(const uint8_t *numbers, int64_t i) { return moe_f32_from_bits(moe_load_u32(numbers + 4 * i)); }

enum moe_status moe_imatrix_values(const struct moe_imatrix *im, const struct moe_imatrix_entry *entry, int64_t at,
                                   int64_t n, float *out, struct moe_err *err)
{
	for (int64_t i = 0; i < n; i++) {
		out[i] = number_at(entry->values, at + i);
		if (!(out[i] >= 0) || isinf(out[i]))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: %s, value %lld: expected a sum of squares, found %g", im->path,
			                   entry->name, (long long)(at + i), (double)out[i]);
	}
	return MOE_OK;
}

enum moe_status moe_imatrix_count(const struct moe_imatrix *im, const struct moe_imatrix_entry *entry, int64_t i,
                                  int64_t *out, struct moe_err *err)
{
	const float value = number_at(entry->counts, i);

	if (!(value >= 0) || value >= 0x1p63f || value != truncf(value))
		return moe_err_set(err, MOE_EFORMAT, "%s: %s" COUNTS ", number %lld: expected a count, found %g",
		                   im->path, entry->name, (long long)i, (double)value);
	*out = (int64_t)value;
	return MOE_OK;
}
