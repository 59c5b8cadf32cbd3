/* The load table read: one load, or one for each source, every pair of layer and expert once. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "stats/load.h"

static size_t n_pairs(const struct moe_load *load) { return (size_t)load->n_layers * (size_t)load->n_experts; }

/* The columns of a load table. */
struct columns {
	int layer, expert, count, weight, source; /* source -1: there is none */
};

static int by_value(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

	return (x > y) - (x < y);
}

/* The layers named, ascending and once each, and the number of experts: the largest id and one. */
static enum moe_status find_shape(const struct moe_table *table, const struct columns *col, int64_t n_sources,
                                  struct moe_load *load, struct moe_err *err)
{
	int64_t n_rows = moe_table_rows(table), layer, expert, n_experts = 0;
	int32_t *layers = NULL, n_layers = 0;
	enum moe_status status;

	layers = calloc((size_t)n_rows, sizeof *layers);
	if (!layers)
		return moe_err_nomem(err, (size_t)n_rows * sizeof *layers, "the layers of a load table");
	for (int64_t row = 0; row < n_rows; row++) {
		status = moe_table_i64(table, row, col->layer, 0, INT32_MAX, &layer, err);
		if (status)
			goto out;
		status = moe_table_i64(table, row, col->expert, 0, INT32_MAX - 1, &expert, err);
		if (status)
			goto out;
		layers[row] = (int32_t)layer;
		if (expert >= n_experts)
			n_experts = expert + 1;
	}
	qsort(layers, (size_t)n_rows, sizeof *layers, by_value);
	for (int64_t row = 0; row < n_rows; row++)
		if (row == 0 || layers[row] != layers[n_layers - 1])
			layers[n_layers++] = layers[row];
	/* A hostile id or label must not ask for memory. What comes near is let through: the missing pair is named
	 * later. */
	if (n_experts * n_layers / 2 > n_rows + 512) {
		status = moe_err_set(
			err, MOE_EFORMAT,
			"%s: %jd rows for %d layers of %jd experts: expected one for each pair, %jd in all",
			moe_table_name(table), n_rows, n_layers, n_experts, n_experts * n_layers);
		goto out;
	}
	if (n_sources > (2 * n_rows + 1024) / (n_experts * n_layers)) {
		status = moe_err_set(err, MOE_EFORMAT,
		                     "%s: %jd rows for %jd sources, %d layers of %jd experts: expected one for each "
		                     "pair of each source, %jd times %jd",
		                     moe_table_name(table), n_rows, n_sources, n_layers, n_experts,
		                     n_experts * n_layers, n_sources);
		goto out;
	}
	status = moe_load_init(load, layers, n_layers, (int32_t)n_experts, err);
out:
	free(layers);
	return status;
}

/* "source 'x', " for a sentence, or "". */
static const char *in_source(char text[120], const struct moe_load_parts *parts, size_t part)
{
	text[0] = '\0';
	if (parts->sources)
		snprintf(text, 120, "source '%.100s', ", parts->sources[part]);
	return text;
}

/* Into the load of `part`. seen: [parts->n][pairs]. */
static enum moe_status read_row(const struct moe_table *table, int64_t row, const struct columns *col,
                                struct moe_load_parts *parts, size_t part, bool *seen, struct moe_err *err)
{
	struct moe_load *load = &parts->loads[part];
	const char *name = moe_table_name(table);
	int64_t line = moe_table_line(table, row), layer, expert, count;
	double weight = 0;
	enum moe_status status;
	char source[120];
	size_t pair;

	/* find_shape has read these two already; the checks of ranges are its own. */
	status = moe_table_i64(table, row, col->layer, 0, INT32_MAX, &layer, err);
	if (status)
		return status;
	status = moe_table_i64(table, row, col->expert, 0, INT32_MAX - 1, &expert, err);
	if (status)
		return status;
	status = moe_table_f64(table, row, col->weight, &weight, err);
	if (status)
		return status;
	if (!moe_parse_i64(moe_table_str(table, row, col->count), &count) || count < 0 ||
	    (uint64_t)count > MOE_LOAD_COUNT_MAX)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: line %jd: count '%.80s', expected a whole number from 0 to 2^53", name, line,
		                   moe_table_str(table, row, col->count).p);
	if (!(weight >= 0 && weight <= (double)MOE_LOAD_COUNT_MAX))
		return moe_err_set(err, MOE_EFORMAT, "%s: line %jd: weight '%.80s', expected a number from 0 to 2^53",
		                   name, line, moe_table_str(table, row, col->weight).p);
	pair = (size_t)moe_load_find(load, (int32_t)layer) * (size_t)load->n_experts + (size_t)expert;
	seen += part * n_pairs(load);
	if (seen[pair])
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: line %jd: %slayer %jd, expert %jd is there twice: expected every pair once",
		                   name, line, in_source(source, parts, part), layer, expert);
	seen[pair] = true;
	load->counts[pair] = (uint64_t)count;
	moe_gate_sum_set(load->weights + pair, weight);
	return MOE_OK;
}

struct label {
	const char *name;
	size_t row;
};

static int by_name(const void *a, const void *b)
{
	const struct label *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->row > y->row) - (x->row < y->row);
}

/* The sources, in order of their first row, and which of them each row is of. */
static enum moe_status find_sources(const struct moe_table *table, int column, struct moe_load_parts *parts,
                                    size_t *of_row, struct moe_err *err)
{
	size_t n_rows = (size_t)moe_table_rows(table), n = 0;
	struct label *labels = calloc(n_rows, sizeof *labels);

	if (!labels)
		goto nomem;
	for (size_t row = 0; row < n_rows; row++)
		labels[row] = (struct label){moe_table_str(table, (int64_t)row, column).p, row};
	qsort(labels, n_rows, sizeof *labels, by_name);
	/* First the row where its source begins ... */
	for (size_t i = 0; i < n_rows; i++) {
		bool begins = i == 0 || strcmp(labels[i].name, labels[i - 1].name) != 0;

		of_row[labels[i].row] = begins ? labels[i].row : of_row[labels[i - 1].row];
		n += begins;
	}
	free(labels);
	parts->sources = calloc(n, sizeof *parts->sources);
	if (!parts->sources)
		goto nomem;
	/* ... then, as rows before this one are done, the source's number. */
	for (size_t row = 0; row < n_rows; row++) {
		if (of_row[row] != row) {
			of_row[row] = of_row[of_row[row]];
			continue;
		}
		parts->sources[parts->n] = strdup(moe_table_str(table, (int64_t)row, column).p);
		if (!parts->sources[parts->n])
			goto nomem;
		of_row[row] = parts->n++;
	}
	return MOE_OK;
nomem:
	return moe_err_nomem(err, n_rows * sizeof *labels, "the sources of a load table");
}

/* Loads of the table's shape, all zero, as many as there are sources. */
static enum moe_status make_loads(const struct moe_table *table, const struct columns *col,
                                  struct moe_load_parts *parts, struct moe_err *err)
{
	const struct moe_load *first;
	enum moe_status status;

	parts->loads = calloc(parts->n, sizeof *parts->loads);
	if (!parts->loads)
		return moe_err_nomem(err, parts->n * sizeof *parts->loads, "the loads of sources");
	first = &parts->loads[0];
	status = find_shape(table, col, (int64_t)parts->n, &parts->loads[0], err);
	for (size_t i = 1; i < parts->n && !status; i++)
		status = moe_load_init(&parts->loads[i], first->layers, first->n_layers, first->n_experts, err);
	return status;
}

static enum moe_status read_meta(const struct moe_table *table, struct moe_load_parts *parts, struct moe_err *err)
{
	const char *tokens = moe_table_meta(table, "tokens");
	enum moe_status status = MOE_OK;
	int64_t n;

	if (tokens) {
		if (!moe_parse_i64(moe_str_of(tokens), &n) || n < 0)
			return moe_err_set(err, MOE_EFORMAT, "%s: #tokens=%s, expected a whole number from 0",
			                   moe_table_name(table), tokens);
		parts->n_tokens = (uint64_t)n;
		if (parts->n == 1)
			parts->loads[0].n_tokens = parts->n_tokens;
	}
	for (size_t i = 0; i < parts->n && !status; i++)
		status = moe_load_set_model(&parts->loads[i], moe_table_meta(table, "model"), err);
	return status;
}

/* Every pair of every source must have been seen. */
static enum moe_status check_seen(const struct moe_table *table, const struct moe_load_parts *parts, const bool *seen,
                                  struct moe_err *err)
{
	const struct moe_load *load = &parts->loads[0];
	size_t n = n_pairs(load), n_experts = (size_t)load->n_experts;
	char source[120];

	for (size_t i = 0; i < parts->n * n; i++)
		if (!seen[i])
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: %slayer %d, expert %zu is missing: expected every pair, zeros included",
			                   moe_table_name(table), in_source(source, parts, i / n),
			                   load->layers[i % n / n_experts], i % n_experts);
	return MOE_OK;
}

static enum moe_status read_rows(const struct moe_table *table, const struct columns *col, struct moe_load_parts *parts,
                                 const size_t *of_row, struct moe_err *err)
{
	enum moe_status status = make_loads(table, col, parts, err);
	bool *seen;

	if (status)
		return status;
	seen = calloc(parts->n, n_pairs(&parts->loads[0]) * sizeof *seen);
	if (!seen)
		return moe_err_nomem(err, parts->n * n_pairs(&parts->loads[0]), "the pairs of a load table");
	for (int64_t row = 0; row < moe_table_rows(table) && !status; row++)
		status = read_row(table, row, col, parts, of_row[row], seen, err);
	if (!status)
		status = check_seen(table, parts, seen, err);
	free(seen);
	return status ? status : read_meta(table, parts, err);
}

static enum moe_status from_table(struct moe_load_parts *parts, const struct moe_table *table, struct moe_err *err)
{
	size_t n_rows = (size_t)moe_table_rows(table), *of_row;
	struct columns col;
	enum moe_status status;

	if ((status = moe_table_need(table, "layer", &col.layer, err)) ||
	    (status = moe_table_need(table, "expert", &col.expert, err)) ||
	    (status = moe_table_need(table, "count", &col.count, err)) ||
	    (status = moe_table_need(table, "weight", &col.weight, err)))
		return status;
	if (n_rows == 0)
		return moe_err_set(err, MOE_EFORMAT,
		                   "%s: a load table without rows: expected one for every (layer, expert)",
		                   moe_table_name(table));
	of_row = calloc(n_rows, sizeof *of_row);
	if (!of_row)
		return moe_err_nomem(err, n_rows * sizeof *of_row, "the sources of a load table");
	col.source = moe_table_find(table, "source");
	if (col.source >= 0)
		status = find_sources(table, col.source, parts, of_row, err);
	else
		parts->n = 1;
	if (!status)
		status = read_rows(table, &col, parts, of_row, err);
	free(of_row);
	if (status)
		moe_load_parts_free(parts);
	return status;
}

void moe_load_parts_free(struct moe_load_parts *parts)
{
	for (size_t i = 0; i < parts->n; i++) {
		if (parts->loads)
			moe_load_free(&parts->loads[i]);
		if (parts->sources)
			free(parts->sources[i]);
	}
	free(parts->loads);
	free(parts->sources);
	*parts = (struct moe_load_parts){0};
}

enum moe_status moe_load_parts_read(struct moe_load_parts *parts, const char *path, struct moe_err *err)
{
	struct moe_table *table;
	enum moe_status status;

	*parts = (struct moe_load_parts){0};
	const bool is_gguf = moe_load_is_gguf(path);
	if (is_gguf || moe_load_is_torch(path)) {
		parts->loads = calloc(1, sizeof *parts->loads);
		if (!parts->loads)
			return moe_err_nomem(err, sizeof *parts->loads, "a load");
		parts->n = 1;
		status = is_gguf ? moe_load_imatrix_read(parts->loads, path, err)
		                 : moe_load_sglang_read(parts->loads, path, err);
		if (status)
			moe_load_parts_free(parts);
		return status;
	}
	status = moe_table_read(&table, path, err);
	if (status)
		return status;
	status = from_table(parts, table, err);
	moe_table_free(table);
	return status;
}

enum moe_status moe_load_parts_parse(struct moe_load_parts *parts, const char *text, size_t n, const char *name,
                                     struct moe_err *err)
{
	struct moe_table *table;
	enum moe_status status;

	*parts = (struct moe_load_parts){0};
	status = moe_table_parse(&table, text, n, name, err);
	if (status)
		return status;
	status = from_table(parts, table, err);
	moe_table_free(table);
	return status;
}

/* Takes all parts into one load, which is again one that a table can hold. */
static enum moe_status sum_up(struct moe_load *load, struct moe_load_parts *parts, const char *name,
                              struct moe_err *err)
{
	enum moe_status status = MOE_OK;

	for (size_t i = 1; i < parts->n && !status; i++)
		status = moe_load_merge(&parts->loads[0], &parts->loads[i], err);
	for (size_t i = 0; i < n_pairs(&parts->loads[0]) && !status; i++)
		if (parts->loads[0].counts[i] > MOE_LOAD_COUNT_MAX ||
		    moe_gate_sum_value(&parts->loads[0].weights[i]) > (double)MOE_LOAD_COUNT_MAX)
			status = moe_err_set(err, MOE_EFORMAT,
			                     "%s: layer %d, expert %zu: count or weight exceed 2^53, summed over "
			                     "sources",
			                     name, parts->loads[0].layers[i / (size_t)parts->loads[0].n_experts],
			                     i % (size_t)parts->loads[0].n_experts);
	if (!status) {
		*load = parts->loads[0];
		load->n_tokens = parts->n_tokens;
		parts->loads[0] = (struct moe_load){0};
	}
	moe_load_parts_free(parts);
	return status;
}

enum moe_status moe_load_read(struct moe_load *load, const char *path, struct moe_err *err)
{
	struct moe_load_parts parts;
	enum moe_status status = moe_load_parts_read(&parts, path, err);

	*load = (struct moe_load){0};
	return status ? status : sum_up(load, &parts, strcmp(path, "-") ? path : "stdin", err);
}

enum moe_status moe_load_parse(struct moe_load *load, const char *text, size_t n, const char *name,
                               struct moe_err *err)
{
	struct moe_load_parts parts;
	enum moe_status status = moe_load_parts_parse(&parts, text, n, name, err);

	*load = (struct moe_load){0};
	return status ? status : sum_up(load, &parts, name, err);
}
