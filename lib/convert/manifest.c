/* Manifests: hashes of files and tensors as they lie on disk. */
#include "convert/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/sha256.h"
#include "base/table.h"

/* A file, or a tensor. */
struct item {
	char *path;                      /* of a file, malloc'd; NULL: a tensor */
	const char *name;                /* a view */
	const struct moe_tensor *tensor;
	uint64_t n_bytes;
	char xxh3[33], sha256[65];
	enum moe_status status;
};

struct items {
	const struct moe_ckpt *ckpt;
	bool sha256;
	struct item *items;
	size_t n, cap;
	struct moe_err *errs;            /* [n_threads] */
};

static void items_free(struct items *all)
{
	for (size_t i = 0; i < all->n; i++)
		free(all->items[i].path);
	free(all->items);
	free(all->errs);
}

/* Takes over path. */
static enum moe_status add(struct items *all, char *path, const struct moe_tensor *tensor, struct moe_err *err)
{
	if (all->n == all->cap) {
		const size_t cap = all->cap ? 2 * all->cap : 1024;
		struct item *grown = reallocarray(all->items, cap, sizeof *grown);

		if (!grown) {
			free(path);
			return moe_err_nomem(err, cap * sizeof *grown, "a manifest");
		}
		all->items = grown;
		all->cap = cap;
	}
	all->items[all->n++] = (struct item){ .path = path, .name = tensor ? tensor->name : moe_path_base(path),
	                                      .tensor = tensor };
	return MOE_OK;
}

static int compare_items(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static enum moe_status add_dir(struct items *all, const char *dir, struct moe_err *err)
{
	DIR *handle = opendir(dir);
	struct dirent *entry;
	enum moe_status st = handle ? MOE_OK : moe_err_sys(err, "%s: cannot list the directory", dir);

	while (!st && (errno = 0, entry = readdir(handle))) {
		char *path = moe_path_join(dir, entry->d_name);

		if (!path)
			st = moe_err_nomem(err, strlen(dir), "a path");
		else if (moe_is_file(path))
			st = add(all, path, NULL, err);
		else
			free(path);
	}
	if (!st && errno)
		st = moe_err_sys(err, "%s: cannot list the directory", dir);
	if (handle)
		closedir(handle);
	return st;
}

static enum moe_status add_all(struct items *all, struct moe_err *err)
{
	const struct moe_ckpt *ckpt = all->ckpt;
	enum moe_status st = MOE_OK;

	if (moe_is_dir(ckpt->path))
		st = add_dir(all, ckpt->path, err);
	for (int32_t i = 0; !st && i < ckpt->n_files && !moe_is_dir(ckpt->path); i++) {
		char *path = strdup(ckpt->files[i].path);

		st = path ? add(all, path, NULL, err) : moe_err_nomem(err, 64, "a path");
	}
	if (!st && all->n > 1)
		qsort(all->items, all->n, sizeof *all->items, compare_items);
	for (size_t i = 0; !st && i < ckpt->n_tensors; i++)
		st = add(all, NULL, &ckpt->tensors[i], err);
	return st;
}

struct hashes {
	struct moe_hash *xxh3;
	struct moe_sha256 *sha256;
};

static void put(struct hashes *h, const uint8_t *bytes, size_t n)
{
	enum { PART = 1 << 20 };   /* what one hash has read, the other finds in the cache */

	for (size_t at = 0; at < n; at += PART) {
		const size_t part = n - at < PART ? n - at : PART;

		moe_hash_add(h->xxh3, bytes + at, part);
		if (h->sha256)
			moe_sha256_add(h->sha256, bytes + at, part);
	}
}

static void put_tensor(struct hashes *h, const struct moe_tensor *t)
{
	if (!t->parted)
		put(h, t->data, t->n_bytes);
	for (int32_t i = 0; t->parted && i < t->parted->n; i++) {
		const struct moe_weight *w = &t->parted->parts[i];

		put(h, w->data, (size_t)w->rows * (size_t)w->cols / w->codec->block_elems * w->codec->block_bytes);
	}
}

static enum moe_status hash_item(const struct items *all, struct item *item, struct moe_err *err)
{
	struct hashes h = { .xxh3 = moe_hash_new(), .sha256 = all->sha256 ? moe_sha256_new() : NULL };
	struct moe_map map = {0};
	enum moe_status st = h.xxh3 && (h.sha256 || !all->sha256) ? MOE_OK : moe_err_nomem(err, 1024, "hashes");

	if (!st && item->tensor) {
		put_tensor(&h, item->tensor);
		item->n_bytes = item->tensor->n_bytes;
	} else if (!st) {
		st = moe_map_open(&map, item->path, all->ckpt->watch, err);
		put(&h, map.data, map.n_bytes);
		item->n_bytes = map.n_bytes;
		moe_map_close(&map);
	}
	if (!st) {
		moe_hash_text(h.xxh3, item->xxh3);
		snprintf(item->sha256, sizeof item->sha256, "-");
		if (all->sha256)
			moe_sha256_text(h.sha256, item->sha256);
	}
	moe_hash_free(h.xxh3);
	moe_sha256_free(h.sha256);
	return st;
}

static void hash_range(void *arg, int64_t begin, int64_t end, int thread)
{
	struct items *all = arg;

	for (int64_t i = begin; i < end; i++)
		all->items[i].status = hash_item(all, &all->items[i], &all->errs[thread]);
}

static enum moe_status make(struct items *all, struct moe_pool *pool, struct moe_err *err)
{
	const size_t n_threads = (size_t)moe_pool_threads(pool);
	enum moe_status st = all->sha256 ? moe_sha256_check(err) : MOE_OK;

	if (!st)
		st = add_all(all, err);
	all->errs = calloc(n_threads, sizeof *all->errs);
	if (!st && !all->errs)
		st = moe_err_nomem(err, n_threads * sizeof *all->errs, "a manifest");
	if (!st)
		moe_pool_for(pool, (int64_t)all->n, 1, hash_range, all);
	for (size_t t = 0; !st && t < n_threads; t++)
		if (all->errs[t].status) {
			st = all->errs[t].status;
			if (err)
				*err = all->errs[t];
		}
	return st;
}

static const char *kind_of(const struct item *item) { return item->tensor ? "tensor" : "file"; }

enum moe_status moe_manifest_rows(struct moe_rows *r, const struct moe_ckpt *ckpt, bool sha256, struct moe_pool *pool,
                                  struct moe_err *err)
{
	struct items all = { .ckpt = ckpt, .sha256 = sha256 };
	enum moe_status st = make(&all, pool, err);

	for (size_t i = 0; i < all.n && !st; i++) {
		const struct item *item = &all.items[i];
		const struct moe_tensor *t = item->tensor;
		char shape[24 * MOE_MAX_DIMS], bytes[32];
		const struct moe_cell cells[] = {
			{"kind", kind_of(item), false},
			{"name", item->name, false},
			{"file", t ? moe_path_base(moe_ckpt_file(ckpt, t)) : item->name, false},
			{"dtype", t ? t->codec->name : NULL, false},
			{"shape", t ? moe_dims_text(shape, t->dims, t->n_dims) : NULL, false},
			{"bytes", moe_cell_int(bytes, (int64_t)item->n_bytes), true},
			{"xxh3", item->xxh3, false},
			{"sha256", item->sha256, false},
			{NULL, NULL, false},
		};
		st = moe_rows_add(r, cells, err);
	}
	items_free(&all);
	return st;
}

/* ---- comparing ---- */

enum { KIND, NAME, XXH3, SHA256, N_COLUMNS };

struct expected {
	const struct moe_table *table;
	int columns[N_COLUMNS];
	int64_t *rows;      /* [n] sorted by kind and name */
	int64_t n;
};

static int compare_str(struct moe_str a, struct moe_str b)
{
	const int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);

	return order ? order : (a.n > b.n) - (a.n < b.n);
}

static struct moe_str field(const struct expected *e, int64_t row, int column)
{
	return moe_table_str(e->table, row, e->columns[column]);
}

static int compare_rows(const void *a, const void *b, void *arg)
{
	const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	const int order = compare_str(field(arg, x, KIND), field(arg, y, KIND));

	return order ? order : compare_str(field(arg, x, NAME), field(arg, y, NAME));
}

/* The row about an item, or -1; it is then taken out: its place in rows is negative. */
static int64_t take_row(const struct expected *e, const struct item *item)
{
	const struct moe_str kind = moe_str_of(kind_of(item)), name = moe_str_of(item->name);
	int64_t low = 0, high = e->n;

	while (low < high) {
		const int64_t mid = low + (high - low) / 2, row = e->rows[mid] < 0 ? ~e->rows[mid] : e->rows[mid];
		int order = compare_str(kind, field(e, row, KIND));

		order = order ? order : compare_str(name, field(e, row, NAME));
		if (order == 0) {
			e->rows[mid] = ~row;
			return row;
		}
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return -1;
}

static enum moe_status add_difference(struct moe_rows *r, const char *kind, const char *name, const char *expected,
                                      const char *found, int64_t *n_different, struct moe_err *err)
{
	const struct moe_cell cells[] = {{"kind", kind, false}, {"name", name, false}, {"expected", expected, false},
	                                 {"found", found, false}, {NULL, NULL, false}};

	++*n_different;
	return moe_rows_add(r, cells, err);
}

static enum moe_status compare_item(struct moe_rows *r, const struct expected *e, const struct item *item,
                                    int64_t *n_different, struct moe_err *err)
{
	const int64_t row = take_row(e, item);

	/* what was put beside the files later is nobody's loss */
	if (row < 0 && !item->tensor)
		return MOE_OK;
	if (row < 0)
		return add_difference(r, kind_of(item), item->name, NULL, item->xxh3, n_different, err);
	const struct moe_str sha256 = field(e, row, SHA256), xxh3 = field(e, row, XXH3);
	const bool both = !moe_str_eq(sha256, "-");
	const struct moe_str want = both ? sha256 : xxh3;

	if (moe_str_eq(xxh3, item->xxh3) && (!both || moe_str_eq(sha256, item->sha256)))
		return MOE_OK;
	return add_difference(r, kind_of(item), item->name, want.p, both ? item->sha256 : item->xxh3, n_different, err);
}

/* The table's rows, and whether any has a SHA-256. */
static enum moe_status expect(struct expected *e, bool *sha256, struct moe_err *err)
{
	static const char *const names[N_COLUMNS] = {"kind", "name", "xxh3", "sha256"};
	enum moe_status st = MOE_OK;

	for (int c = 0; c < N_COLUMNS && !st; c++)
		st = moe_table_need(e->table, names[c], &e->columns[c], err);
	e->n = st ? 0 : moe_table_rows(e->table);
	e->rows = calloc((size_t)e->n + 1, sizeof *e->rows);
	if (!st && !e->rows)
		st = moe_err_nomem(err, (size_t)e->n * sizeof *e->rows, "a manifest");
	*sha256 = false;
	for (int64_t i = 0; i < e->n && !st; i++) {
		e->rows[i] = i;
		*sha256 = *sha256 || !moe_str_eq(field(e, i, SHA256), "-");
	}
	if (!st && e->n > 1)
		qsort_r(e->rows, (size_t)e->n, sizeof *e->rows, compare_rows, e);
	return st;
}

enum moe_status moe_manifest_verify(struct moe_rows *r, const struct moe_ckpt *ckpt, const char *path,
                                    struct moe_pool *pool, int64_t *n, int64_t *n_different, struct moe_err *err)
{
	struct moe_table *table = NULL;
	struct expected e = {0};
	struct items all = { .ckpt = ckpt };
	enum moe_status st = moe_table_read(&table, path, err);

	*n = *n_different = 0;
	e.table = table;
	if (!st)
		st = expect(&e, &all.sha256, err);
	if (!st)
		st = make(&all, pool, err);
	for (size_t i = 0; i < all.n && !st; i++)
		st = compare_item(r, &e, &all.items[i], n_different, err);
	for (int64_t i = 0; i < e.n && !st; i++)
		if (e.rows[i] >= 0)
			st = add_difference(r, field(&e, e.rows[i], KIND).p, field(&e, e.rows[i], NAME).p,
			                    field(&e, e.rows[i], XXH3).p, NULL, n_different, err);
	*n = (int64_t)all.n;
	items_free(&all);
	free(e.rows);
	moe_table_free(table);
	return st;
}
