/* Bias tables: layer expert bias, one row for every expert of each layer named; and how biases balance loads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "route/route.h"

static int compare(const void *a, const void *b)
{
	const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
	return (x > y) - (x < y);
}

/* The distinct layers of the table, ascending. */
static enum moe_status list_layers(struct moe_bias *bias, const struct moe_table *table, int column,
                                   struct moe_err *err)
{
	const int64_t n_rows = moe_table_rows(table);
	bias->layers = calloc((size_t)n_rows + 1, sizeof *bias->layers);
	if (!bias->layers)
		return moe_err_nomem(err, (size_t)n_rows * sizeof *bias->layers, "a bias table");
	for (int64_t row = 0; row < n_rows; row++) {
		int64_t layer;
		enum moe_status status = moe_table_i64(table, row, column, 0, INT32_MAX, &layer, err);
		if (status)
			return status;
		bias->layers[row] = (int32_t)layer;
	}
	qsort(bias->layers, (size_t)n_rows, sizeof *bias->layers, compare);
	for (int64_t row = 0; row < n_rows; row++)
		if (bias->n_layers == 0 || bias->layers[bias->n_layers - 1] != bias->layers[row])
			bias->layers[bias->n_layers++] = bias->layers[row];
	return MOE_OK;
}

static float *row_of(const struct moe_bias *bias, int32_t layer)
{
	const int32_t *at = bsearch(&layer, bias->layers, (size_t)bias->n_layers, sizeof layer, compare);
	return at ? bias->values + (at - bias->layers) * bias->n_experts : NULL;
}

enum moe_status moe_bias_check(const float *values, int32_t n_experts, int32_t layer, const char *path,
                               struct moe_err *err)
{
	for (int32_t e = 0; e < n_experts; e++)
		if (!isfinite(values[e]))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: layer %d, expert %d: expected a finite correction bias, found %g", path,
			                   (int)layer, (int)e, (double)values[e]);
	return MOE_OK;
}

static enum moe_status fill(struct moe_bias *bias, const struct moe_table *table, const int columns[3],
                            struct moe_err *err)
{
	for (int64_t row = 0; row < moe_table_rows(table); row++) {
		int64_t layer, expert;
		double value;
		enum moe_status status = moe_table_i64(table, row, columns[0], 0, INT32_MAX, &layer, err);
		if (!status)
			status = moe_table_i64(table, row, columns[1], 0, bias->n_experts - 1, &expert, err);
		if (!status)
			status = moe_table_f64(table, row, columns[2], &value, err);
		if (status)
			return status;
		float *at = &row_of(bias, (int32_t)layer)[expert];
		if (!isnan(*at))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: line %lld: layer %lld, expert %lld stands there twice",
			                   moe_table_name(table), (long long)moe_table_line(table, row),
			                   (long long)layer, (long long)expert);
		*at = (float)value;
	}
	for (int64_t i = 0; i < (int64_t)bias->n_layers * bias->n_experts; i++)
		if (isnan(bias->values[i]))
			return moe_err_set(err, MOE_EFORMAT,
			                   "%s: layer %d, expert %d is missing: every expert of a layer needs a row",
			                   moe_table_name(table), (int)bias->layers[i / bias->n_experts],
			                   (int)(i % bias->n_experts));
	enum moe_status status = MOE_OK;
	for (int32_t l = 0; l < bias->n_layers && !status; l++)
		status = moe_bias_check(bias->values + (int64_t)l * bias->n_experts, bias->n_experts, bias->layers[l],
		                        moe_table_name(table), err);
	return status;
}

enum moe_status moe_bias_read(struct moe_bias *bias, const char *path, int32_t n_experts, struct moe_err *err)
{
	static const char *const names[3] = { "layer", "expert", "bias" };
	struct moe_table *table = NULL;
	int columns[3];
	size_t n = 0;
	*bias = (struct moe_bias){ .n_experts = n_experts };
	enum moe_status status = moe_table_read(&table, path, err);
	for (int i = 0; i < 3 && !status; i++)
		status = moe_table_need(table, names[i], &columns[i], err);
	if (!status)
		status = list_layers(bias, table, columns[0], err);
	if (!status && (moe_table_rows(table) != (int64_t)bias->n_layers * n_experts))
		status = moe_err_set(err, MOE_EFORMAT, "%s: %lld rows, expected %lld: %d layers of %d experts", path,
		                     (long long)moe_table_rows(table), (long long)bias->n_layers * n_experts,
		                     (int)bias->n_layers, (int)n_experts);
	if (!status) {
		n = (size_t)bias->n_layers * (size_t)n_experts;
		bias->values = calloc(n + 1, sizeof *bias->values);
		if (!bias->values)
			status = moe_err_nomem(err, n * sizeof *bias->values, "a bias table");
	}
	for (size_t i = 0; i < n && !status; i++)
		bias->values[i] = NAN;
	if (!status)
		status = fill(bias, table, columns, err);
	moe_table_free(table);
	if (status)
		moe_bias_free(bias);
	return status;
}

void moe_bias_adapt(float *bias, const int64_t *counts, int32_t n_experts, int32_t rule, double rate)
{
	double mean = 0, shift = 0;
	for (int32_t e = 0; e < n_experts; e++)
		mean += (double)counts[e];
	mean /= n_experts;
	for (int32_t e = 0; e < n_experts; e++)
		shift += ((mean > (double)counts[e]) - (mean < (double)counts[e])) / (double)n_experts;
	for (int32_t e = 0; e < n_experts; e++) {
		const double error = mean - (double)counts[e], sign = (error > 0) - (error < 0);
		const double step = rule == MOE_ADAPT_PROPORTIONAL ? (mean > 0 ? error / mean : 0)
		                    : rule == MOE_ADAPT_CENTRED    ? sign - shift
		                                                   : sign;
		bias[e] = (float)(bias[e] + rate * step);
	}
}

const float *moe_bias_at(const struct moe_bias *bias, int32_t layer) { return row_of(bias, layer); }

void moe_bias_free(struct moe_bias *bias)
{
	free(bias->layers);
	free(bias->values);
	*bias = (struct moe_bias){ 0 };
}
