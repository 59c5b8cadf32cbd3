/* Whole numbers of one to three dimensions, from JSON and from arrays, and back. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "placement/slots.h"
#include "trace/npy.h"

#define MAX_INTS ((int64_t)1 << 27)

void moe_ints_free(struct moe_ints *ints)
{
	free(ints->v);
	*ints = (struct moe_ints){0};
}

/* "map.json: phy2log[3][7]" */
static const char *place(char *buf, size_t size, const char *where, const int64_t *at, int32_t n)
{
	size_t used = (size_t)snprintf(buf, size, "%.300s", where);

	for (int32_t i = 0; i < n; i++)
		used += (size_t)snprintf(buf + used, size - used, "[%lld]", (long long)at[i]);
	return buf;
}

/* dims of the first list in each dimension; others are compared when they are read. */
static enum moe_status measure(struct moe_ints *out, const json_t *value, const char *where, struct moe_err *err)
{
	static const int64_t first[3];
	int64_t n = 1;
	char at[400];

	for (int32_t d = 0; d < out->n_dims; d++) {
		if (!json_is_array(value))
			return moe_json_refuse(err, value, place(at, sizeof at, where, first, d), "expected a list");
		out->dims[d] = (int64_t)json_array_size(value);
		if (!out->dims[d])
			return moe_err_set(err, MOE_EFORMAT, "%s: the list is empty",
			                   place(at, sizeof at, where, first, d));
		if (out->dims[d] > MAX_INTS / n)
			return moe_err_set(err, MOE_EFORMAT, "%s: more numbers than %lld", where, (long long)MAX_INTS);
		n *= out->dims[d];
		value = json_array_get(value, 0);
	}
	out->v = malloc((size_t)n * sizeof *out->v);
	return out->v ? MOE_OK : moe_err_nomem(err, (size_t)n * sizeof *out->v, "a map");
}

static enum moe_status read_list(struct moe_ints *out, const json_t *value, int32_t d, int64_t *at, int64_t *n,
                                 const char *where, struct moe_err *err)
{
	enum moe_status status = MOE_OK;
	char text[400];

	if (d == out->n_dims) {
		if (!json_is_integer(value))
			return moe_json_refuse(err, value, place(text, sizeof text, where, at, d),
			                       "expected a whole number");
		out->v[(*n)++] = json_integer_value(value);
		return MOE_OK;
	}
	if (!json_is_array(value))
		return moe_json_refuse(err, value, place(text, sizeof text, where, at, d), "expected a list");
	if ((int64_t)json_array_size(value) != out->dims[d])
		return moe_err_set(err, MOE_EFORMAT, "%s: %zu entries, expected %lld as in the first list",
		                   place(text, sizeof text, where, at, d), json_array_size(value),
		                   (long long)out->dims[d]);
	for (at[d] = 0; at[d] < out->dims[d] && !status; at[d]++)
		status = read_list(out, json_array_get(value, (size_t)at[d]), d + 1, at, n, where, err);
	return status;
}

enum moe_status moe_ints_json(struct moe_ints *out, const json_t *value, int32_t n_dims, const char *where,
                              struct moe_err *err)
{
	int64_t at[3] = {0}, n = 0;
	enum moe_status status;

	*out = (struct moe_ints){ .n_dims = n_dims };
	status = measure(out, value, where, err);
	if (!status)
		status = read_list(out, value, 0, at, &n, where, err);
	if (status)
		moe_ints_free(out);
	return status;
}

enum moe_status moe_ints_array(struct moe_ints *out, const struct moe_array *array, int32_t n_dims, const char *where,
                               struct moe_err *err)
{
	char shape[24 * MOE_MAX_DIMS];
	int64_t n = 1;

	*out = (struct moe_ints){ .n_dims = n_dims };
	if (!moe_array_is_integer(array) || array->n_dims != n_dims)
		return moe_err_set(err, MOE_EFORMAT, "%s: expected integers of %d dimensions, found %s %s", where,
		                   n_dims, array->codec->name, moe_dims_text(shape, array->dims, array->n_dims));
	for (int32_t d = 0; d < n_dims; d++) {
		out->dims[d] = array->dims[d];
		if (array->dims[d] < 1 || array->dims[d] > MAX_INTS / n)
			return moe_err_set(err, MOE_EFORMAT, "%s: shape %s: expected 1 to %lld numbers", where,
			                   moe_dims_text(shape, array->dims, array->n_dims), (long long)MAX_INTS);
		n *= array->dims[d];
	}
	out->v = malloc((size_t)n * sizeof *out->v);
	if (!out->v)
		return moe_err_nomem(err, (size_t)n * sizeof *out->v, "a map");
	for (int64_t i = 0; i < n; i++) {
		int64_t rest = i, at = 0;

		for (int32_t d = n_dims; d-- > 0; rest /= out->dims[d])
			at += rest % out->dims[d] * array->strides[d];
		out->v[i] = moe_array_id(array, at);
	}
	return MOE_OK;
}

enum moe_status moe_ints_read_npy(struct moe_ints *out, const char *path, int32_t n_dims, struct moe_watch *watch,
                                  struct moe_err *err)
{
	struct moe_map map = {0};
	struct moe_array array;
	enum moe_status status = moe_map_open(&map, path, watch, err);

	*out = (struct moe_ints){0};
	if (!status)
		status = moe_npy_parse(&array, map.data, map.n_bytes, path, err);
	if (!status)
		status = moe_ints_array(out, &array, n_dims, path, err);
	moe_map_close(&map);
	return status;
}

enum moe_status moe_ints_write_npy(const struct moe_ints *ints, struct moe_buf *out, struct moe_err *err)
{
	uint8_t header[MOE_NPY_HEADER];
	int64_t n = 1;
	uint8_t *p;

	for (int32_t d = 0; d < ints->n_dims; d++)
		n *= ints->dims[d];
	moe_npy_header(header, "<i8", ints->dims, ints->n_dims);
	moe_buf_add(out, header, sizeof header);
	p = (uint8_t *)moe_buf_room(out, (size_t)n * 8);
	if (!p)
		return moe_buf_check(out, err);
	for (int64_t i = 0; i < n; i++)
		moe_store_u64(p + 8 * i, (uint64_t)ints->v[i]);
	out->n += (size_t)n * 8;
	return moe_buf_check(out, err);
}
