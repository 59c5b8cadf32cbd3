/* Reports: what moe-stats prints as tables. */
#include "stats/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stats/feed.h"
#include "stats/flips.h"
#include "stats/pairs.h"
#include "stats/rows.h"

enum { MAX_KEYS = 3 };

const char *moe_by_label(enum moe_by by)
{
	static const char *const labels[] = {
		[MOE_BY_SOURCE] = "source", [MOE_BY_WINDOW] = "window", [MOE_BY_POSITION] = "position"};

	return labels[by];
}

enum moe_status moe_stats_report_choose(struct moe_stats_report *report, const char *text, struct moe_err *err)
{
	struct moe_str rest = moe_str_of(text), item;

	if (!*text)
		return moe_err_set(err, MOE_EUSAGE, "--metric is empty: expected names, as --list shows them");
	while (moe_str_next(&rest, ',', &item)) {
		const struct moe_metric *metric = NULL, *first = report->metrics[0];

		for (size_t i = 0; (metric = moe_metric_at(i)) && !moe_str_eq(item, metric->name);)
			i++;
		if (!metric)
			return moe_err_set(err, MOE_EUSAGE,
			                   "--metric: there is no '%.*s'; --list shows which there are",
			                   (int)(item.n < 80 ? item.n : 80), item.p);
		for (int i = 0; i < report->n_metrics; i++)
			if (report->metrics[i] == metric)
				return moe_err_set(err, MOE_EUSAGE, "--metric: '%s' is named twice", metric->name);
		if (report->n_metrics > 0 && (metric->rows || first->rows))
			return moe_err_set(err, MOE_EUSAGE, "--metric: '%s' is a table of its own: ask for it alone",
			                   metric->rows ? metric->name : first->name);
		if (report->n_metrics > 0 && !metric->expert != !first->expert)
			return moe_err_set(
				err, MOE_EUSAGE,
				"--metric: '%s' has a number per %s, '%s' one per %s: ask for them in two calls",
				first->name, first->expert ? "expert" : "layer", metric->name,
				metric->expert ? "expert" : "layer");
		if (!metric->expert && report->by == MOE_BY_EXPERT)
			return moe_err_set(err, MOE_EUSAGE,
			                   "--by expert: '%s' has no number per expert", metric->name);
		if (report->intervals && metric->rows)
			return moe_err_set(err, MOE_EUSAGE,
			                   "--ci: '%s' is a table: metrics with a number per layer or expert have "
			                   "intervals", metric->name);
		if (report->intervals && metric->stream && metric->stream->open &&
		    metric->stream->scope == MOE_SCOPE_PART)
			return moe_err_set(err, MOE_EUSAGE,
			                   "--ci: '%s' depends on how sequences follow each other, and resamples take "
			                   "them apart", metric->name);
		if (report->n_metrics == MOE_STATS_METRICS)
			return moe_err_set(err, MOE_EUSAGE, "--metric: more than %d names", MOE_STATS_METRICS);
		report->metrics[report->n_metrics++] = metric;
	}
	return MOE_OK;
}

static const char *const alls[] = {
	[MOE_ALL_MEAN] = "mean", [MOE_ALL_SUM] = "sum", [MOE_ALL_POOL] = "pooled", [MOE_ALL_NONE] = "none"};

/* "layer expert", or what a table of its own has for keys. */
static void list_keys(struct moe_rows *rows, const struct moe_metric *metric)
{
	char text[200] = "layer";
	size_t n = strlen(text);

	if (metric->expert)
		n += (size_t)snprintf(text + n, sizeof text - n, " expert");
	for (int i = 0; i < metric->n_keys && n < sizeof text; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, " %s", metric->columns[i]);
	moe_rows_str(rows, text);
}

/* What an input must keep: "counts", "tokens", "tokens logits" ... */
static void list_needs(struct moe_rows *rows, const struct moe_metric *metric)
{
	char text[120];

	snprintf(text, sizeof text, "%s%s%s%s%s%s%s%s", metric->stream ? "tokens" : "counts",
	         metric->needs & MOE_NEEDS_GATES ? " gates" : "", metric->needs & MOE_NEEDS_LOGITS ? " logits" : "",
	         metric->needs & MOE_NEEDS_MARGINS ? " margins" : "",
	         metric->needs & MOE_NEEDS_GROUPS ? " groups" : "",
	         metric->needs & MOE_NEEDS_AGAINST ? " against" : "",
	         metric->needs & MOE_NEEDS_PLAN ? " plan" : "", metric->needs & MOE_NEEDS_BYTES ? " bytes" : "");
	moe_rows_str(rows, text);
}

void moe_stats_report_list(const struct moe_stats_report *report, struct moe_buf *out)
{
	static const char *const columns[] = {"metric", "unit", "keys", "all", "help", "formula", "reads"};
	const struct moe_metric *metric;
	struct moe_rows rows;

	moe_rows_begin(&rows, out, report->json, columns, 7);
	for (size_t i = 0; (metric = moe_metric_at(i)); i++) {
		moe_rows_str(&rows, metric->name);
		moe_rows_str(&rows, metric->unit);
		list_keys(&rows, metric);
		moe_rows_str(&rows, alls[metric->all]);
		moe_rows_str(&rows, metric->help);
		moe_rows_str(&rows, metric->formula);
		list_needs(&rows, metric);
	}
}

/* The key columns that --by asks for come first. */
static int key_columns(const struct moe_stats_report *report, bool expert, const char **columns)
{
	int n = 0;

	if (moe_by_label(report->by))
		columns[n++] = moe_by_label(report->by);
	if (report->by != MOE_BY_EXPERT)
		columns[n++] = "layer";
	if (expert)
		columns[n++] = "expert";
	return n;
}

/* Keys of a row; layer NULL: `all`. */
static void print_keys(const struct moe_stats_report *report, struct moe_rows *rows, size_t source,
                       const int32_t *layer, bool expert, int32_t e)
{
	if (moe_by_label(report->by))
		moe_rows_str(rows, report->gather->sources[source]);
	if (report->by != MOE_BY_EXPERT && layer)
		moe_rows_u64(rows, (uint64_t)*layer);
	else if (report->by != MOE_BY_EXPERT)
		moe_rows_str(rows, "all");
	if (expert)
		moe_rows_u64(rows, (uint64_t)e);
}

/* Values of a metric in all resamples: *out [MOE_RESAMPLES][(n_layers + 1) * width], malloc'd. */
static enum moe_status resampled_values(const struct moe_metric *metric, const struct moe_load *load,
                                        const struct moe_bootstrap *bootstrap, double **out, struct moe_err *err)
{
	const size_t n = ((size_t)load->n_layers + 1) * (metric->expert ? (size_t)load->n_experts : 1);
	struct moe_load other = *load;
	enum moe_status status = MOE_OK;

	*out = calloc(MOE_RESAMPLES, n * sizeof **out);
	if (!*out)
		return moe_err_nomem(err, MOE_RESAMPLES * n * sizeof **out, "resamples");
	for (size_t i = 0; i < MOE_RESAMPLES * n && !bootstrap->several; i++)
		(*out)[i] = NAN;
	for (int i = 0; i < MOE_RESAMPLES && !status && bootstrap->several; i++) {
		double *values;

		other.counts = bootstrap->counts + (size_t)i * bootstrap->n_pairs;
		if (bootstrap->gates)
			other.weights = bootstrap->gates + (size_t)i * bootstrap->n_pairs;
		status = moe_metric_values(metric, &other, metric->stream ? bootstrap->feeds[i] : NULL, &values, err);
		if (status)
			break;
		memcpy(*out + (size_t)i * n, values, n * sizeof *values);
		free(values);
	}
	return status;
}

/* Numbers of one label: for each metric [(n_layers + 1) * width], and of resamples. */
struct numbers {
	double *values[MOE_STATS_METRICS], *resampled[MOE_STATS_METRICS];
	size_t n;
};

static void numbers_free(struct numbers *numbers)
{
	for (int i = 0; i < MOE_STATS_METRICS; i++) {
		free(numbers->values[i]);
		free(numbers->resampled[i]);
	}
}

static void put_numbers(const struct moe_stats_report *report, const struct numbers *numbers, size_t at,
                        struct moe_rows *rows)
{
	for (int i = 0; i < report->n_metrics; i++) {
		double again[MOE_RESAMPLES], low, high;

		moe_rows_f64(rows, numbers->values[i][at]);
		if (!report->intervals)
			continue;
		for (size_t k = 0; k < MOE_RESAMPLES; k++)
			again[k] = numbers->resampled[i][k * numbers->n + at];
		moe_bootstrap_interval(again, MOE_RESAMPLES, &low, &high);
		moe_bootstrap_correct(again, MOE_RESAMPLES, numbers->values[i][at], &low, &high);
		moe_rows_f64(rows, low);
		moe_rows_f64(rows, high);
	}
}

/* The rows of a layer, or of all. */
static enum moe_status put_layer(const struct moe_stats_report *report, const struct numbers *numbers, size_t source,
                                 int32_t row, struct moe_rows *rows, struct moe_err *err)
{
	const struct moe_load *load = &report->gather->loads[source];
	const bool expert = report->metrics[0]->expert;
	const size_t width = expert ? (size_t)load->n_experts : 1, from = (size_t)row * width;
	double *keys = calloc(width, sizeof *keys);
	size_t *order = NULL, n_order = 0;
	enum moe_status status = keys ? MOE_OK : moe_err_nomem(err, width * sizeof *keys, "rows in order");

	for (size_t e = 0; e < width && !status; e++) {
		double value = numbers->values[0][from + e];

		keys[e] = isnan(value) ? -(double)INFINITY : value;
	}
	if (!status)
		status = moe_pick_top(keys, width, expert ? report->top_n : 0, &order, &n_order, err);
	for (size_t o = 0; o < n_order && !status; o++) {
		print_keys(report, rows, source, row < load->n_layers ? load->layers + row : NULL, expert,
		           (int32_t)order[o]);
		put_numbers(report, numbers, from + order[o], rows);
	}
	free(keys);
	free(order);
	return status;
}

static enum moe_status print_metrics_of(const struct moe_stats_report *report, struct moe_rows *rows, size_t source,
                                        struct moe_err *err)
{
	const struct moe_gather *gather = report->gather;
	const struct moe_load *load = &gather->loads[source];
	struct numbers numbers = {.n = ((size_t)load->n_layers + 1) *
	                               (report->metrics[0]->expert ? (size_t)load->n_experts : 1)};
	enum moe_status status = MOE_OK;

	for (int i = 0; i < report->n_metrics && !status; i++) {
		status = moe_metric_values(report->metrics[i], load, gather->feeds[source], &numbers.values[i], err);
		if (!status && report->intervals)
			status = resampled_values(report->metrics[i], load, gather->bootstraps[source],
			                          &numbers.resampled[i], err);
	}
	for (int32_t l = report->by == MOE_BY_EXPERT ? load->n_layers : 0; l <= load->n_layers && !status; l++)
		status = put_layer(report, &numbers, source, l, rows, err);
	numbers_free(&numbers);
	return status;
}

/* A metric that is a table of its own. */
static enum moe_status print_table(const struct moe_stats_report *report, struct moe_buf *out, struct moe_err *err)
{
	const struct moe_metric *metric = report->metrics[0];
	const char *columns[MAX_KEYS + MOE_STATS_COLUMNS];
	int n_keys = key_columns(report, false, columns), n = n_keys;
	enum moe_status status = MOE_OK;
	struct moe_rows rows;

	for (int i = 0; metric->columns[i]; i++)
		columns[n++] = metric->columns[i];
	moe_rows_begin(&rows, out, report->json, columns, n);
	rows.n_keys = n_keys;
	for (size_t s = 0; s < report->gather->n && !status; s++) {
		rows.source = report->gather->sources[s];
		status = moe_metric_rows(metric, &report->gather->loads[s], report->gather->feeds[s], &rows, err);
	}
	return status;
}

enum moe_status moe_stats_report_metrics(const struct moe_stats_report *report, struct moe_buf *out,
                                         struct moe_err *err)
{
	if (report->metrics[0]->rows)
		return print_table(report, out, err);
	const char *columns[3 * MOE_STATS_METRICS + MAX_KEYS];
	char bounds[MOE_STATS_METRICS][2][64];
	int n = key_columns(report, report->metrics[0]->expert, columns);
	enum moe_status status = MOE_OK;
	struct moe_rows rows;

	for (int i = 0; i < report->n_metrics; i++) {
		columns[n++] = report->metrics[i]->name;
		for (int b = 0; b < 2 && report->intervals; b++) {
			snprintf(bounds[i][b], sizeof bounds[i][b], "%.58s_%s", report->metrics[i]->name,
			         b ? "hi" : "lo");
			columns[n++] = bounds[i][b];
		}
	}
	moe_rows_begin(&rows, out, report->json, columns, n);
	for (size_t s = 0; s < report->gather->n && !status; s++)
		status = print_metrics_of(report, &rows, s, err);
	return status;
}

/* Counts and gates over all layers: --by expert. */
static void print_expert_loads(struct moe_rows *rows, const struct moe_load *load)
{
	for (int32_t e = 0; e < load->n_experts; e++) {
		struct moe_gate_sum weight = {0};
		uint64_t count = 0;

		for (int32_t l = 0; l < load->n_layers; l++) {
			size_t pair = (size_t)l * (size_t)load->n_experts + (size_t)e;

			count += load->counts[pair];
			moe_gate_sum_merge(&weight, &load->weights[pair]);
		}
		moe_rows_u64(rows, (uint64_t)e);
		moe_rows_u64(rows, count);
		moe_rows_f64(rows, moe_gate_sum_value(&weight));
	}
}

void moe_stats_report_loads(const struct moe_stats_report *report, struct moe_buf *out)
{
	const char *columns[MAX_KEYS + 2];
	int n = key_columns(report, true, columns);
	struct moe_rows rows;

	if (report->by == MOE_BY_LAYER && !report->json) {
		moe_load_print(&report->gather->loads[0], out);
		return;
	}
	columns[n++] = "count";
	columns[n++] = "weight";
	moe_rows_begin(&rows, out, report->json, columns, n);
	for (size_t s = 0; s < report->gather->n; s++) {
		const struct moe_load *load = &report->gather->loads[s];

		if (report->by == MOE_BY_EXPERT) {
			print_expert_loads(&rows, load);
			continue;
		}
		for (int64_t i = 0; i < (int64_t)load->n_layers * load->n_experts; i++) {
			print_keys(report, &rows, s, load->layers + i / load->n_experts, true,
			           (int32_t)(i % load->n_experts));
			moe_rows_u64(&rows, load->counts[i]);
			moe_rows_f64(&rows, moe_gate_sum_value(&load->weights[i]));
		}
	}
}

bool moe_stats_report_compares(const struct moe_stats_report *report)
{
	return report->n_metrics > 0 && report->metrics[0]->stream == &moe_stream_flips;
}

enum moe_status moe_stats_report_diff(const struct moe_stats_report *report, struct moe_err *err)
{
	uint64_t n_flips = 0, n_tokens = 0;
	int32_t n_layers = 0, worst_layer = 0;
	uint64_t worst = 0;

	for (size_t s = 0; s < report->gather->n; s++)
		for (int32_t l = 0; l < report->gather->loads[s].n_layers; l++) {
			int32_t layer = report->gather->loads[s].layers[l];
			const struct moe_flips *f =
				moe_feed_state(report->gather->feeds[s], &moe_stream_flips, layer);

			n_flips += f->n_flips;
			n_tokens += f->n_tokens;
			n_layers += f->n_flips > 0;
			if (f->n_flips > worst) {
				worst = f->n_flips;
				worst_layer = layer;
			}
		}
	if (n_flips == 0)
		return MOE_OK;
	return moe_err_set(err, MOE_ECHECK,
	                   "the traces differ: %ju of %ju choices of a token in a layer, in %d %s; most, %ju, in layer "
	                   "%d",
	                   n_flips, n_tokens, n_layers, n_layers == 1 ? "layer" : "layers", worst, worst_layer);
}
