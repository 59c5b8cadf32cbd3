/* --merge-experts: new experts as weighted averages of old ones, with their rows of the router and their biases (as by
 * how often each is chosen: MC-SMoE, Li et al. 2024). A table with a row for each old expert in each new one. Every
 * layer has as many new experts; where the router ranks groups, every one keeps as many, made of its own. */
#include <math.h>
#include <stdlib.h>

#include "convert/surgery/kinds.h"

struct row {
	int32_t layer, to, from;
	double weight;
	long long line;
};

struct rows {
	const char *path;
	struct row *row;       /* [n], malloc'd, in the table's order */
	size_t n;
	int32_t n_new;
};

static enum moe_status read_row(struct rows *rows, const struct moe_table *table, int64_t i, const int column[4],
                                const struct moe_config *c, struct moe_err *err)
{
	struct row *row = &rows->row[rows->n];
	int64_t layer = 0, to = 0, from = 0;
	enum moe_status st = moe_expert_list_layer(table, i, column[0], c, &layer, err);

	if (!st)
		st = moe_table_i64(table, i, column[1], 0, c->n_experts - 1, &to, err);
	if (!st)
		st = moe_table_i64(table, i, column[2], 0, c->n_experts - 1, &from, err);
	if (!st)
		st = moe_table_f64(table, i, column[3], &row->weight, err);
	if (st)
		return st;
	row->layer = (int32_t)layer;
	row->to = (int32_t)to;
	row->from = (int32_t)from;
	row->line = (long long)moe_table_line(table, i);
	if (!(row->weight > 0) || !isfinite(row->weight))
		return moe_err_set(err, MOE_EUSAGE, "%s: line %lld: weight: expected a number above 0, found %g",
		                   rows->path, row->line, row->weight);
	if (row->to >= rows->n_new)
		rows->n_new = row->to + 1;
	rows->n++;
	return MOE_OK;
}

static enum moe_status read_rows(struct rows *rows, const char *path, const struct moe_config *c, struct moe_err *err)
{
	static const char *const names[] = {"layer", "new", "old", "weight"};
	struct moe_table *table;
	int column[4] = {0};
	enum moe_status st = moe_table_read(&table, path, err);

	*rows = (struct rows){ .path = path };
	if (st)
		return st;
	for (int i = 0; i < 4 && !st; i++)
		st = moe_table_need(table, names[i], &column[i], err);
	const int64_t n = st ? 0 : moe_table_rows(table);
	if (!st && !(rows->row = calloc((size_t)n + 1, sizeof *rows->row)))
		st = moe_err_nomem(err, (size_t)n * sizeof *rows->row, "a table of experts");
	for (int64_t i = 0; i < n && !st; i++)
		st = read_row(rows, table, i, column, c, err);
	if (!st && n == 0)
		st = moe_err_set(err, MOE_EUSAGE, "%s: no expert is named", path);
	moe_table_free(table);
	return st;
}

/* Where new expert `to` of a layer has its place in first[]. */
static size_t place(const struct rows *rows, int32_t layer, int32_t to)
{
	return (size_t)layer * (size_t)rows->n_new + (size_t)to;
}

/* first[] from how many terms each new expert has; layers without rows keep what they have. */
static enum moe_status count_terms(const struct moe_operation *op, const struct rows *rows, struct moe_err *err)
{
	const struct moe_config *c = op->config;
	struct moe_surgery *s = op->s;
	size_t *first = s->first;

	for (size_t i = 0; i <= place(rows, s->n_layers, 0); i++)
		first[i] = 0;
	for (size_t i = 0; i < rows->n; i++)
		first[place(rows, rows->row[i].layer, rows->row[i].to) + 1]++;
	for (int32_t l = 0; l < s->n_layers; l++) {
		int32_t n = 0, missing = -1;

		for (int32_t e = 0; e < rows->n_new; e++) {
			n += first[place(rows, l, e) + 1] > 0;
			if (missing < 0 && first[place(rows, l, e) + 1] == 0)
				missing = e;
		}
		if (n == 0 && c->layers[l].ffn == MOE_FFN_MOE && rows->n_new != c->n_experts)
			return moe_err_set(err, MOE_EUSAGE, "%s: layer %d is not named and keeps %d experts, others "
			                   "get %d: a config has one number for all layers%s", rows->path, l,
			                   c->n_experts, rows->n_new,
			                   l >= c->n_layers ? " (--drop-mtp leaves that one out)" : "");
		if (n > 0 && missing >= 0)
			return moe_err_set(err, MOE_EUSAGE, "%s: layer %d: nothing is said of new expert %d of %d",
			                   rows->path, l, missing, rows->n_new);
		for (int32_t e = 0; n == 0 && e < rows->n_new; e++)
			first[place(rows, l, e) + 1] = 1;
	}
	for (size_t i = 0; i < place(rows, s->n_layers, 0); i++)
		first[i + 1] += first[i];
	return MOE_OK;
}

static enum moe_status add_term(const struct moe_operation *op, const struct rows *rows, const struct row *row,
                                double *weights, struct moe_err *err)
{
	const struct moe_config *c = op->config;
	const int32_t n_groups = c->router.n_groups > 1 ? c->router.n_groups : 1;
	const size_t at = place(rows, row->layer, row->to);
	size_t i = op->s->first[at];

	if (rows->n_new % n_groups || row->from / moe_surgery_group_size(c) != row->to / (rows->n_new / n_groups))
		return moe_err_set(err, MOE_EUSAGE, "%s: line %lld: layer %d: the router ranks %d groups of experts: "
		                   "each must get as many new ones, made of its own", rows->path, row->line, row->layer,
		                   n_groups);
	for (; weights[i] > 0; i++)
		if (op->s->terms[i].expert == row->from)
			return moe_err_set(err, MOE_EUSAGE, "%s: line %lld: layer %d: expert %d is named twice for new "
			                   "expert %d", rows->path, row->line, row->layer, row->from, row->to);
	op->s->terms[i].expert = row->from;
	weights[i] = row->weight;
	return MOE_OK;
}

/* Weights that add up to 1. */
static enum moe_status normalise(const struct moe_surgery *s, const struct rows *rows, const double *weights,
                                 struct moe_err *err)
{
	for (size_t e = 0; e < place(rows, s->n_layers, 0); e++) {
		double sum = 0;

		for (size_t i = s->first[e]; i < s->first[e + 1]; i++)
			sum += weights[i];
		if (!isfinite(sum))
			return moe_err_set(err, MOE_EUSAGE, "%s: layer %zu: the weights of new expert %zu are too "
			                   "large to add", rows->path, e / (size_t)rows->n_new,
			                   e % (size_t)rows->n_new);
		for (size_t i = s->first[e]; i < s->first[e + 1]; i++)
			s->terms[i].weight = sum > 0 ? (float)(weights[i] / sum) : 1;
	}
	return MOE_OK;
}

static enum moe_status fill_terms(const struct moe_operation *op, const struct rows *rows, struct moe_err *err)
{
	struct moe_surgery *s = op->s;
	const size_t n = s->first[place(rows, s->n_layers, 0)];
	double *weights = calloc(n + 1, sizeof *weights);
	enum moe_status st = MOE_OK;

	free(s->terms);
	s->n_terms = n;
	s->terms = calloc(n + 1, sizeof *s->terms);
	if (!s->terms || !weights)
		st = moe_err_nomem(err, n * sizeof *s->terms, "a list of experts");
	for (int32_t l = 0; l < s->n_layers && !st; l++)   /* as they are, where nothing is said */
		for (int32_t e = 0; e < rows->n_new; e++)
			s->terms[s->first[place(rows, l, e)]].expert = e;
	for (size_t i = 0; i < rows->n && !st; i++)
		st = add_term(op, rows, &rows->row[i], weights, err);
	if (!st)
		st = normalise(s, rows, weights, err);
	free(weights);
	return st;
}

/* Experts of layers with rows that no row names. */
static enum moe_status say_lost(const struct moe_operation *op, const struct rows *rows, struct moe_err *err)
{
	const struct moe_config *c = op->config;
	const size_t n_experts = (size_t)c->n_experts;
	unsigned char *state = calloc((size_t)op->s->n_layers, n_experts + 1);   /* the last: is the layer named? */
	long long lost = 0;

	if (!state)
		return moe_err_nomem(err, (size_t)op->s->n_layers * n_experts, "a list of experts");
	for (size_t i = 0; i < rows->n; i++) {
		unsigned char *layer = state + (size_t)rows->row[i].layer * (n_experts + 1);

		layer[rows->row[i].from] = layer[n_experts] = 1;
	}
	for (int32_t l = 0; l < op->s->n_layers; l++) {
		const unsigned char *layer = state + (size_t)l * (n_experts + 1);

		for (size_t e = 0; e < n_experts; e++)
			lost += layer[n_experts] && !layer[e];
	}
	free(state);
	if (lost)
		moe_buf_addf(op->notes, "%lld experts go into no new one: they are left out\n", lost);
	return MOE_OK;
}

enum moe_status moe_surgery_merge(const struct moe_operation *op, struct moe_err *err)
{
	struct rows rows;
	enum moe_status st = read_rows(&rows, op->opts->merge, op->config, err);

	if (!st)
		st = moe_surgery_alloc(op, rows.n_new, err);
	if (!st)
		st = count_terms(op, &rows, err);
	if (!st)
		st = fill_terms(op, &rows, err);
	if (!st)
		st = say_lost(op, &rows, err);
	if (!st) {
		moe_surgery_set(op->json, moe_surgery_expert_keys, json_integer(rows.n_new));
		moe_surgery_say_fewer(op);
	}
	free(rows.row);
	return st;
}
