/* What two checkpoints differ in: config, names, shapes, types and values, whatever the containers are. */
#include <stdlib.h>
#include <string.h>

#include "convert/check.h"
#include "convert/report.h"

enum { BATCH = 512 };   /* tensors worked on between two writes of rows */

enum moe_status moe_diff_parse(unsigned *what, const char *text, struct moe_err *err)
{
	static const char *const words[] = {"config", "names", "shapes", "types", "values"};
	struct moe_str rest = moe_str_of(text), word;

	*what = 0;
	while (moe_str_next(&rest, ',', &word)) {
		unsigned bit = 0;

		for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
			if (moe_str_eq(word, words[i]))
				bit = 1u << i;
		if (!bit)
			return moe_err_set(err, MOE_EUSAGE, "--only: '%.*s' is nothing that is compared; there are "
			                   "config names shapes types values", (int)(word.n < 64 ? word.n : 64),
			                   word.p);
		if (*what & bit)
			return moe_err_set(err, MOE_EUSAGE, "--only: %.*s is given twice", (int)word.n, word.p);
		*what |= bit;
	}
	return *what ? MOE_OK : moe_err_set(err, MOE_EUSAGE, "--only: expected what to compare, found nothing");
}

/* a, b NULL: not there. check NULL: no values were compared. */
static enum moe_status add_row(struct moe_rows *r, const char *what, const char *name, const char *a, const char *b,
                               const struct moe_tensor_check *check, struct moe_err *err)
{
	char max[32], rms[32], rel[32];
	const struct moe_cell cells[] = {
		{"what", what, false}, {"name", name, false}, {"a", a, false}, {"b", b, false},
		{"max", check ? moe_cell_real(max, check->max) : NULL, true},
		{"rms", check ? moe_cell_real(rms, check->rms) : NULL, true},
		{"rel", check ? moe_cell_real(rel, check->rel) : NULL, true}, {NULL, NULL, false},
	};

	return moe_rows_add(r, cells, err);
}

/* ---- configs ---- */

/* 1 and 1.0 are the same number. */
static bool same_json(const json_t *a, const json_t *b)
{
	return json_is_number(a) && json_is_number(b) ? json_number_value(a) == json_number_value(b)
	                                              : json_equal((json_t *)a, (json_t *)b);
}

static enum moe_status config_row(struct moe_rows *r, const char *key, const json_t *a, const json_t *b,
                                  struct moe_differences *d, struct moe_err *err)
{
	char *text_a = a ? json_dumps(a, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	char *text_b = b ? json_dumps(b, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	enum moe_status st = (a && !text_a) || (b && !text_b) ? moe_err_nomem(err, 64, "a key of a config")
	                                                      : add_row(r, "config", key, text_a, text_b, NULL, err);

	d->n_config++;
	free(text_a);
	free(text_b);
	return st;
}

/* Objects are gone into where both are some; depth is bounded by what the parser takes. */
static enum moe_status diff_objects(struct moe_rows *r, struct moe_buf *path, const json_t *a, const json_t *b,
                                    struct moe_differences *d, struct moe_err *err)
{
	const size_t n = path->n;
	enum moe_status st = MOE_OK;

	/* first what a has, in its order, then what b has more */
	for (int side = 0; side < 2; side++) {
		const char *key;
		json_t *value;

		json_object_foreach((json_t *)(side ? b : a), key, value) {
			const json_t *in_a = json_object_get(a, key), *in_b = json_object_get(b, key);

			if (st || (side && in_a))
				continue;
			path->n = n;
			moe_buf_addf(path, "%s%s", n ? "." : "", key);
			st = moe_buf_check(path, err);
			if (!st && json_is_object(in_a) && json_is_object(in_b))
				st = diff_objects(r, path, in_a, in_b, d, err);
			else if (!st && (!in_a || !in_b || !same_json(in_a, in_b)))
				st = config_row(r, path->p, in_a, in_b, d, err);
		}
	}
	path->n = n;
	return st;
}

enum moe_status moe_diff_configs(struct moe_rows *r, const json_t *a, const json_t *b, struct moe_differences *d,
                                 struct moe_err *err)
{
	struct moe_buf path = {0};
	const enum moe_status st = diff_objects(r, &path, a, b, d, err);

	moe_buf_free(&path);
	return st;
}

/* ---- tensors ---- */

static const char *shape_of(const struct moe_seen *seen, char *text)
{
	return moe_dims_text(text, seen->dims, seen->n_dims);
}

/* What the numbers are stored as: of its first part, which stands for the others. */
static const char *type_of(const struct moe_view *view, const struct moe_seen *seen)
{
	const struct moe_codec *codec = seen->n_segments ? moe_seen_segment(view, seen, 0).parts[0].codec : NULL;

	if (moe_spec_is_mx(seen->id.spec))
		return "mxfp4";
	return codec && codec->joined ? codec->joined : codec ? codec->name : NULL;
}

static enum moe_status diff_forms(struct moe_rows *r, const struct moe_view *a, const struct moe_seen *in_a,
                                  const struct moe_view *b, const struct moe_seen *in_b, unsigned what, bool *alike,
                                  struct moe_differences *d, struct moe_err *err)
{
	const char *type_a = type_of(a, in_a), *type_b = type_of(b, in_b);
	char shape_a[24 * MOE_MAX_DIMS], shape_b[24 * MOE_MAX_DIMS];
	enum moe_status st = MOE_OK;

	*alike = in_a->n_dims == in_b->n_dims &&
	         !memcmp(in_a->dims, in_b->dims, (size_t)in_a->n_dims * sizeof in_a->dims[0]);
	if (!*alike && (what & MOE_DIFF_SHAPES)) {
		d->n_shapes++;
		st = add_row(r, "shape", in_a->name, shape_of(in_a, shape_a), shape_of(in_b, shape_b), NULL, err);
	}
	if (!st && (what & MOE_DIFF_TYPES) && type_a && type_b && strcmp(type_a, type_b)) {
		d->n_types++;
		st = add_row(r, "type", in_a->name, type_a, type_b, NULL, err);
	}
	return st;
}

/* Tensors [first, first + n) of a. */
static enum moe_status diff_batch(struct moe_rows *r, const struct moe_view *a, const struct moe_view *b, size_t first,
                                  size_t n, unsigned what, struct moe_pool *pool, struct moe_tensor_check *checks,
                                  struct moe_differences *d, struct moe_err *err)
{
	int64_t index[BATCH];
	enum moe_status st = MOE_OK;

	for (size_t i = 0; i < n && !st; i++) {
		const struct moe_seen *seen = &a->seen[first + i];
		bool alike = false;

		index[i] = moe_view_find(b, seen->name);
		if (index[i] >= 0)
			st = diff_forms(r, a, seen, b, &b->seen[index[i]], what, &alike, d, err);
		else if (what & MOE_DIFF_NAMES)
			d->n_names++, st = add_row(r, "name", seen->name, seen->name, NULL, NULL, err);
		if (index[i] >= 0 && !alike)
			index[i] = -1;   /* values of other shapes are not compared */
	}
	if (!st && (what & MOE_DIFF_VALUES))
		st = moe_check_values(a, b, index, first, n, pool, checks, err);
	for (size_t i = 0; i < n && !st && (what & MOE_DIFF_VALUES); i++)
		if (checks[i].max > 0) {
			d->n_values++;
			st = add_row(r, "values", a->seen[first + i].name, NULL, NULL, &checks[i], err);
		}
	return st;
}

enum moe_status moe_diff_tensors(struct moe_rows *r, const struct moe_view *a, const struct moe_view *b, unsigned what,
                                 struct moe_pool *pool, struct moe_differences *d, struct moe_err *err)
{
	struct moe_tensor_check *checks = calloc(BATCH, sizeof *checks);
	enum moe_status st = checks ? MOE_OK : moe_err_nomem(err, BATCH * sizeof *checks, "checks");

	for (size_t first = 0; first < a->n && !st; first += BATCH) {
		const size_t n = a->n - first < BATCH ? a->n - first : BATCH;

		st = diff_batch(r, a, b, first, n, what, pool, checks, d, err);
	}
	for (size_t i = 0; i < b->n && !st && (what & MOE_DIFF_NAMES); i++)
		if (moe_view_find(a, b->seen[i].name) < 0)
			d->n_names++, st = add_row(r, "name", b->seen[i].name, NULL, b->seen[i].name, NULL, err);
	free(checks);
	return st;
}
