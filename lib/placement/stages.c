/* Cutting layers into stages: the least limit for which a greedy cut, as many layers as fit into each stage, needs no
 * more stages than there are (Pinar and Aykanat 2004: chains on chains partitioning).
 *
 * Bubbles: DeepSeek-V3 report, table 2; 1F1B: Harlap et al. 2018; zero bubble: Qi et al. 2023. DualPipe overlaps a
 * forward and a backward chunk; that no time is gained by it, F&B = F + B, is what is counted here. */
#include "placement/stages.h"

#include <math.h>
#include <stdlib.h>

#include "base/table.h"

void moe_costs_free(struct moe_costs *costs)
{
	free(costs->layers);
	free(costs->costs);
	*costs = (struct moe_costs){0};
}

/* A row as it stands, before sorting. */
struct row {
	int32_t layer;
	double cost;
	int64_t line;
};

static int by_layer(const void *pa, const void *pb)
{
	const struct row *a = pa, *b = pb;

	if (a->layer != b->layer)
		return a->layer < b->layer ? -1 : 1;
	return (a->line > b->line) - (a->line < b->line);
}

static enum moe_status read_rows(struct row *rows, int32_t *n, const struct moe_table *table, const char *column,
                                 struct moe_err *err)
{
	int c_layer, c_cost;

	if (moe_table_need(table, "layer", &c_layer, err) || moe_table_need(table, column, &c_cost, err))
		return MOE_EFORMAT;
	for (int64_t i = 0; i < moe_table_rows(table); i++) {
		int64_t layer;

		if (moe_str_eq(moe_table_str(table, i, c_layer), "all"))
			continue;
		if (moe_table_i64(table, i, c_layer, 0, INT32_MAX - 1, &layer, err) ||
		    moe_table_f64(table, i, c_cost, &rows[*n].cost, err))
			return MOE_EFORMAT;
		rows[*n].line = moe_table_line(table, i);
		rows[*n].layer = (int32_t)layer;
		if (!(rows[*n].cost >= 0) || rows[*n].cost > 1e300)
			return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: a cost of %g cannot be",
			                   moe_table_name(table), (long long)rows[*n].line, rows[*n].cost);
		++*n;
	}
	if (!*n)
		return moe_err_set(err, MOE_EFORMAT, "%s: names no layer", moe_table_name(table));
	qsort(rows, (size_t)*n, sizeof *rows, by_layer);
	for (int32_t i = 1; i < *n; i++)
		if (rows[i].layer == rows[i - 1].layer)
			return moe_err_set(err, MOE_EFORMAT, "%s: line %lld: layer %d is in line %lld already",
			                   moe_table_name(table), (long long)rows[i].line, rows[i].layer,
			                   (long long)rows[i - 1].line);
	return MOE_OK;
}

enum moe_status moe_costs_read(struct moe_costs *costs, const char *path, const char *column, struct moe_err *err)
{
	struct moe_table *table;
	struct row *rows = NULL;
	enum moe_status status = moe_table_read(&table, path, err);
	size_t n;

	*costs = (struct moe_costs){0};
	if (status)
		return status;
	n = (size_t)moe_table_rows(table);
	if (n > INT32_MAX)
		status = moe_err_set(err, MOE_EFORMAT, "%s: %zu rows are too many", path, n);
	rows = status ? NULL : calloc(n + 1, sizeof *rows);
	if (!status && !rows)
		status = moe_err_nomem(err, n * sizeof *rows, "costs");
	if (!status)
		status = read_rows(rows, &costs->n, table, column, err);
	costs->layers = status ? NULL : calloc(n + 1, sizeof *costs->layers);
	costs->costs = status ? NULL : calloc(n + 1, sizeof *costs->costs);
	if (!status && (!costs->layers || !costs->costs))
		status = moe_err_nomem(err, n * sizeof *rows, "costs");
	for (int32_t i = 0; i < costs->n && !status; i++) {
		costs->layers[i] = rows[i].layer;
		costs->costs[i] = rows[i].cost;
	}
	free(rows);
	moe_table_free(table);
	if (status)
		moe_costs_free(costs);
	return status;
}

/* Stages that a greedy cut needs, begin filled as far as it has room; and the costliest. */
static int32_t cut(const struct moe_costs *costs, double limit, int32_t n_stages, int32_t *begin, double *most)
{
	int32_t s = 0;
	double sum = 0;

	*most = 0;
	for (int32_t i = 0; i < costs->n; i++) {
		/* As many layers must be left as there are stages to fill. */
		const bool must = costs->n - i == n_stages - s - 1;

		if (i == 0 || (sum + costs->costs[i] > limit || must)) {
			s += i > 0;
			if (s < n_stages)
				begin[s] = i;
			sum = 0;
		}
		sum += costs->costs[i];
		*most = fmax(*most, sum);
	}
	return s + 1;
}

enum moe_status moe_stages_cut(const struct moe_costs *costs, int32_t n_stages, int32_t *begin, struct moe_err *err)
{
	double low = 0, high = 0, most;

	if (n_stages < 1 || n_stages > costs->n)
		return moe_err_set(err, MOE_EUSAGE, "%d layers do not fill %d stages", costs->n, n_stages);
	for (int32_t i = 0; i < costs->n; i++)
		high += costs->costs[i];
	/* Every limit that a cut keeps is lowered to what it really costs, so that the last one is met exactly. */
	while (low < high) {
		const double middle = low + (high - low) / 2;

		if (middle >= high || middle <= low)
			break;
		if (cut(costs, middle, n_stages, begin, &most) <= n_stages && most <= middle)
			high = most;
		else
			low = middle;
	}
	cut(costs, high, n_stages, begin, &most);
	begin[n_stages] = costs->n;
	return MOE_OK;
}

static double bubble_1f1b(double p, double f, double b, double w)
{
	(void)w;
	return (p - 1) * (f + b);
}

static double bubble_zero(double p, double f, double b, double w) { return (p - 1) * (f + b - 2 * w); }

static double bubble_dual(double p, double f, double b, double w) { return (p / 2 - 1) * (f + b + b - 3 * w); }

const struct moe_schedule *moe_schedule_at(size_t i)
{
	static const struct moe_schedule schedules[] = {
		{ "1F1B", "(P-1)(F+B)", false, bubble_1f1b },
		{ "zero-bubble", "(P-1)(F+B-2W)", false, bubble_zero },
		{ "DualPipe", "(P/2-1)(F&B+B-3W)", true, bubble_dual },
	};

	return i < sizeof schedules / sizeof *schedules ? &schedules[i] : NULL;
}
